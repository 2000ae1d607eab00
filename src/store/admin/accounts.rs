//! Administration of users, on a connection of its own. A server may have the database open: its writer detects the changes.
//!
//! Invariant: every change is one transaction, and is on disk when its method returns. No method changes the journal, so only
//! the writer assigns numbers.

use crate::base::limits::QUERY_ROWS_EXAMINED_MAX;
use crate::base::time::WallTime;
use crate::config::types::Database;
use crate::domain::id::UserId;
use crate::domain::model::UserStatus;
use crate::domain::usage::{DayRange, UsageBy, UsageReport};
use crate::store::admin::account_rows::{self, Account, UserSelector};
use crate::store::admin::admin_error::AdminError;
use crate::store::admin::development_user::is_development_user;
use crate::store::error::{Abort, OpenError};
#[cfg(feature = "cluster")]
use crate::store::postgres::{
    address::{Address, SessionUse},
    migration, schema,
    turn::Turns,
};
use crate::store::read::step_budget::StepBudget;
use crate::store::read::usage_search::UsageSearch;
use crate::store::sql::{EngineError, SqlConnection, SqlResult};
use crate::store::sqlite::connection::{self, Durability};
use crate::store::sqlite::files::lock::Lock;
use crate::store::sqlite::files::paths::{FileId, chown_to_parent, file_id};
use crate::store::sqlite::schema::DatabaseMeta;
#[cfg(feature = "cluster")]
use crate::store::sqlite::schema::SchemaState;
use crate::store::tables::{usage, users};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often to wait for another process that creates or migrates the database.
const MIGRATION_WAITS_MAX: u32 = 40;
/// How long to wait each time.
const MIGRATION_WAIT: Duration = Duration::from_millis(50);

/// A connection for administrative commands.
///
/// # Errors
/// Every operation on users fails if the database cannot be used, or for one of the reasons in `AdminError`. A failed change
/// is rolled back.
pub struct Admin {
    db: SqlConnection,
    meta: DatabaseMeta,
    path: PathBuf,
    /// The file that was opened.
    file: Option<FileId>,
}

/// A user to add with a password.
#[derive(Debug)]
pub struct NewUser<'n> {
    /// The `oid` of the user's tokens. A user with this id may exist without a password.
    pub id: &'n UserId,
    /// The email for logins.
    pub email: &'n str,
    /// The display name; `None` keeps the name of an existing user.
    pub name: Option<&'n str>,
}

impl Admin {
    /// Opens a database. Creates it, or its tables on a server, if `create` is set. Migrates an older schema unless a server
    /// of this program has the database open.
    ///
    /// # Errors
    /// Fails if the database does not exist, cannot be opened, or is in memory.
    pub fn open(database: &Database, create: bool) -> Result<Admin, OpenError> {
        match database {
            Database::File(path) => Admin::open_file(path, create),
            Database::Memory => Err(OpenError::in_memory()),
            #[cfg(feature = "cluster")]
            Database::Server(url) => {
                let address = Address::parse(url)?;
                let path = PathBuf::from(address.name());
                let db = address.connect(SessionUse::Writer)?;
                if !create && schema::check_version(&db, &path)? == SchemaState::Empty {
                    let reason = "it is empty: create its tables with user add, or start a server".into();
                    return Err(OpenError::CannotOpen { path, reason });
                }
                let meta = migration::create(&db, &path, |_| Ok(()))?;
                Ok(Admin { db, meta, path, file: None })
            }
        }
    }

    fn open_file(path: &Path, create: bool) -> Result<Admin, OpenError> {
        // Read before the file is opened, so that `change` detects a file that replaces it in the meantime.
        let file = file_id(path);
        let exists = file.is_some();
        if !exists && !create {
            let reason = "there is no such file: create it with user add, or start a server".into();
            return Err(OpenError::CannotOpen { path: path.into(), reason });
        }
        let opened = if exists { connection::open_shared(path)? } else { None };
        let (db, meta) = match opened {
            Some(opened) => opened,
            None => create_or_migrate(path)?,
        };
        let file = file.or_else(|| file_id(path));
        let admin = Admin { db, meta, path: path.into(), file };
        // Deleted names and passwords are overwritten in the file as well.
        admin.db.query_row("PRAGMA secure_delete = ON", [], |_| Ok(())).map_err(|error| admin.open_error(&error))?;
        Ok(admin)
    }

    /// The path of the database.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The signing key for tokens in development, which was generated with the database.
    pub(crate) fn signing_key(&self) -> [u8; 32] {
        self.meta.signing_key
    }

    /// Up to `limit` users after `after`, in creation order, without responders.
    pub(crate) fn users(&self, after: Option<&Account>, limit: u32) -> Result<Vec<Account>, OpenError> {
        account_rows::list(&self.db, after, limit).map_err(|error| self.open_error(&error))
    }

    /// The selected user.
    pub fn find(&self, selector: &UserSelector) -> Result<Account, AdminError> {
        self.resolve(selector).map_err(|abort| self.admin_error(abort))
    }

    /// The selected user, if the user has a password that can be changed.
    pub(crate) fn with_password(&self, selector: &UserSelector) -> Result<Account, AdminError> {
        self.resolve_with_password(selector).map_err(|abort| self.admin_error(abort))
    }

    /// Checks whether `add` would succeed.
    pub(crate) fn check_new(&self, new: &NewUser<'_>) -> Result<(), AdminError> {
        self.user_without_password(new).map(drop).map_err(|abort| self.admin_error(abort))
    }

    /// Adds a user with a password, or sets the first password of an existing user.
    pub fn add(&mut self, new: &NewUser<'_>, hash: &str, now: WallTime) -> Result<(), AdminError> {
        self.change(|admin| {
            let key = match admin.user_without_password(new)? {
                Some(existing) => {
                    let name = new.name.unwrap_or(&existing.name);
                    users::set_profile(&admin.db, existing.key, name, new.email)?;
                    existing.key
                }
                None => users::insert(&admin.db, new.id, new.name.unwrap_or_default(), new.email, now)?,
            };
            Ok(users::set_password(&admin.db, key, hash)?)
        })
    }

    /// Changes the password of a user who has one. Tokens that were issued before are rejected from now on.
    pub fn set_password(&mut self, selector: &UserSelector, hash: &str, now: WallTime) -> Result<Account, AdminError> {
        self.change(|admin| {
            let found = admin.resolve_with_password(selector)?;
            users::set_password(&admin.db, found.key, hash)?;
            users::end_tokens(&admin.db, found.key, now)?;
            Ok(found)
        })
    }

    /// Rejects the password of a user until the user is enabled, and every token that was issued before. An unknown id gets a
    /// row first.
    pub fn disable(&mut self, selector: &UserSelector, now: WallTime) -> Result<Account, AdminError> {
        self.change(|admin| {
            let found = admin.resolve_or_insert(selector, now)?;
            if found.status == UserStatus::Deleted {
                return Err(AdminError::Deleted(found.id).into());
            }
            users::set_status(&admin.db, found.key, UserStatus::Disabled)?;
            users::end_tokens(&admin.db, found.key, now)?;
            Ok(found)
        })
    }

    /// Accepts new tokens and the password of a user again, unless the user is deleted.
    pub fn enable(&mut self, selector: &UserSelector) -> Result<Account, AdminError> {
        self.change(|admin| {
            let found = admin.resolve(selector)?;
            if found.status == UserStatus::Deleted {
                return Err(AdminError::Deleted(found.id).into());
            }
            users::set_status(&admin.db, found.key, UserStatus::Enabled)?;
            Ok(found)
        })
    }

    /// Deletes the name, email and password of a user, and rejects every token with the id from now on. The user's messages
    /// stay in their conversations, under the id.
    pub(crate) fn delete(&mut self, selector: &UserSelector, now: WallTime) -> Result<Account, AdminError> {
        self.change(|admin| {
            let found = admin.resolve_or_insert(selector, now)?;
            admin.db.run(DELETE, [found.key, users::status_code(UserStatus::Deleted)])?;
            Ok(found)
        })
    }

    /// The existing user to whom `add` gives a password; `None` if no user has the id.
    fn user_without_password(&self, new: &NewUser<'_>) -> Result<Option<Account>, Abort<AdminError>> {
        if is_development_user(new.id) {
            return Err(AdminError::DevelopmentUser(new.id.clone()).into());
        }
        let existing = account_rows::by_id(&self.db, new.id.as_str())?;
        if let Some(Account { id, status, has_password, .. }) = &existing {
            match status {
                UserStatus::Deleted => return Err(AdminError::Deleted(id.clone()).into()),
                _ if *has_password => return Err(AdminError::HasPassword(id.clone()).into()),
                UserStatus::Disabled | UserStatus::SwitchedOff => return Err(AdminError::Disabled(id.clone()).into()),
                UserStatus::Enabled => {}
            }
        }
        match account_rows::by_email(&self.db, new.email)? {
            Some(other) => Err(AdminError::EmailTaken { email: new.email.to_owned(), by: other.id }.into()),
            None => Ok(existing),
        }
    }

    fn resolve(&self, selector: &UserSelector) -> Result<Account, Abort<AdminError>> {
        let text = match selector {
            UserSelector::Id(id) => {
                let found = account_rows::by_id(&self.db, id.as_str())?;
                return Ok(found.ok_or_else(|| AdminError::Unknown(id.to_string()))?);
            }
            UserSelector::IdOrEmail(text) => text,
        };
        match (account_rows::by_email(&self.db, text)?, account_rows::by_id(&self.db, text)?) {
            (Some(by_email), Some(by_id)) if by_email.key != by_id.key => {
                Err(AdminError::Ambiguous { text: text.clone(), by_email: by_email.id }.into())
            }
            (Some(found), _) | (None, Some(found)) => Ok(found),
            (None, None) => Err(AdminError::Unknown(text.clone()).into()),
        }
    }

    fn resolve_with_password(&self, selector: &UserSelector) -> Result<Account, Abort<AdminError>> {
        let found = self.resolve(selector)?;
        match found.status {
            UserStatus::Deleted => Err(AdminError::Deleted(found.id).into()),
            _ if !found.has_password => Err(AdminError::NoPassword(found.id).into()),
            _ => Ok(found),
        }
    }

    /// As `resolve`, but inserts a row for an unknown id.
    fn resolve_or_insert(&self, selector: &UserSelector, now: WallTime) -> Result<Account, Abort<AdminError>> {
        if let UserSelector::Id(id) = selector
            && account_rows::by_id(&self.db, id.as_str())?.is_none()
        {
            users::insert(&self.db, id, "", "", now)?;
        }
        self.resolve(selector)
    }

    /// Has the log written again, as a server does when it starts, unless one has the database open. A server that was killed after a
    /// failed sync has left frames behind which a commit would be lost by a power cut.
    fn settle(&self) -> Result<(), OpenError> {
        if self.file.is_some()
            && file_id(&self.path) == self.file
            && let Some(_lock) = open_as_server(&self.path)?
        {
            // What is erased is erased in the file as well.
            connection::checkpoint_on_close(self.db.sqlite(), true)
                .map_err(|error| OpenError::of(&self.path, &error))?;
        }
        Ok(())
    }

    /// Runs `change` in one transaction, and commits it if it does not fail.
    fn change<T>(&mut self, change: impl FnOnce(&Admin) -> Result<T, Abort<AdminError>>) -> Result<T, AdminError> {
        self.settle()?;
        let run = || {
            #[cfg(feature = "cluster")]
            let mut turns = Turns::new(false, 0);
            match &self.db {
                SqlConnection::Sqlite(..) => self.db.begin()?,
                #[cfg(feature = "cluster")]
                SqlConnection::Postgres(_) => turns.begin(&self.db)?,
            }
            if file_id(&self.path) != self.file {
                // A restore may have replaced the database while the administrator typed a password.
                let reason = "another database has taken its place: try again".into();
                return Err(AdminError::from(OpenError::CannotOpen { path: self.path.clone(), reason }).into());
            }
            let done = change(self)?;
            match &self.db {
                SqlConnection::Sqlite(..) => self.db.commit()?,
                #[cfg(feature = "cluster")]
                SqlConnection::Postgres(_) => turns.commit(&self.db)?,
            }
            Ok(done)
        };
        let done = run();
        if done.is_err() {
            self.db.roll_back().unwrap_or_else(|error| log::warn!("cannot roll back a transaction: {error}"));
        }
        done.map_err(|abort| self.admin_error(abort))
    }

    fn admin_error(&self, abort: Abort<AdminError>) -> AdminError {
        match abort {
            Abort::Rejected(error) => error,
            Abort::Failed(error) => self.open_error(&error).into(),
        }
    }

    /// The tokens that the answers of all users used.
    pub(crate) fn usage(&self, days: DayRange, by: UsageBy) -> Result<UsageReport, OpenError> {
        let read = || -> SqlResult<UsageReport> {
            let mut search = UsageSearch::new(days, by);
            let mut statement = self.db.prepare_cached(usage::USERS)?;
            let mut rows = statement.query([days.from.0, days.to.0])?;
            while let Some(row) = rows.next()? {
                let user = UserId::new_unchecked(row.get::<Arc<str>>(1)?);
                while !search.step(&self.db, row.get(0)?, &user, &mut StepBudget::new(QUERY_ROWS_EXAMINED_MAX))? {}
            }
            Ok(search.report(&self.meta.ids))
        };
        read().map_err(|error| self.open_error(&error))
    }

    fn open_error(&self, error: &EngineError) -> OpenError {
        OpenError::of_engine(&self.path, error)
    }
}

/// Opens and closes a database as a server does, unless a server has it open: creates or migrates it, and writes the log of a killed
/// server again. Returns the lock; `None` if another process has it.
fn open_as_server(path: &Path) -> Result<Option<Lock>, OpenError> {
    let lock = Lock::try_acquire(path)?;
    if lock.is_some() {
        drop(connection::open_writing(path, Durability::Full)?);
    }
    Ok(lock)
}

/// Creates or migrates a database, or waits for another process that is doing so.
fn create_or_migrate(path: &Path) -> Result<(SqlConnection, DatabaseMeta), OpenError> {
    for _ in 0..MIGRATION_WAITS_MAX {
        if let Some(_lock) = open_as_server(path)? {
            if let Ok(file) = File::open(path) {
                chown_to_parent(&file, path);
            }
        } else {
            std::thread::sleep(MIGRATION_WAIT);
        }
        if path.exists()
            && let Some(opened) = connection::open_shared(path)?
        {
            return Ok(opened);
        }
    }
    Err(OpenError::Locked(path.to_path_buf()))
}

const DELETE: &str = "UPDATE users SET name = '', email = '', password = NULL, tokens_since = NULL, token_generation = 0, status = ?2 \
     WHERE key = ?1";
