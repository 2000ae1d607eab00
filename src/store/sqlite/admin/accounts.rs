//! Users as an administrator manages them, on a connection of its own, with or without a server that runs on the database.
//! The server's writer detects the changes.
//!
//! Invariant: every change is one transaction, which is on disk when its method returns. The journal is not changed, so only
//! the writer assigns numbers.

use crate::base::time::WallTime;
use crate::config::types::Database;
use crate::domain::id::UserId;
use crate::domain::model::UserStatus;
use crate::store::error::{Abort, OpenError};
use crate::store::sqlite::admin::development_user::is_development_user;
use crate::store::sqlite::connection::{self, Durability};
use crate::store::sqlite::files::lock::Lock;
use crate::store::sqlite::files::paths::{FileId, chown_to_parent, file_id};
use crate::store::sqlite::schema::DatabaseMeta;
use crate::store::sqlite::tables::journal_head;
use crate::store::sqlite::tables::users;
use crate::store::sqlite::values::decode;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often, and how long each time, to wait for another process that creates or migrates the database.
const MAKING_TRIES_MAX: u32 = 40;
const MAKING_PATIENCE: Duration = Duration::from_millis(50);

/// A connection for an administrator.
pub(crate) struct Admin {
    db: Connection,
    meta: DatabaseMeta,
    path: PathBuf,
    /// The file that was opened.
    file: Option<FileId>,
}

/// A user, as an administrator sees one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    key: i64,
    /// The `oid` of their tokens.
    pub id: UserId,
    /// Empty if it is not known.
    pub name: String,
    /// Empty if it is not known. Users with a password log in with it.
    pub email: String,
    /// Whether they can log in with a password.
    pub has_password: bool,
    /// Whether the user may use the server.
    pub status: UserStatus,
    /// When the user was added or first seen.
    pub created_at: WallTime,
}

/// Selects a user.
#[derive(Debug, Clone)]
pub(crate) enum UserSelector {
    /// By id.
    Id(UserId),
    /// By an id, or by the email of a user with a password.
    IdOrEmail(String),
}

/// A user who logs in with a password.
#[derive(Debug)]
pub(crate) struct NewUser<'n> {
    /// The `oid` of their tokens; a user of this id who has no password gets one.
    pub id: &'n UserId,
    /// The email for the login.
    pub email: &'n str,
    /// The name; `None` leaves a known name unchanged.
    pub name: Option<&'n str>,
}

/// Why an administrative operation failed. Its message is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AdminError {
    /// The database cannot be opened or used.
    Store(OpenError),
    /// No user has this email or id.
    Unknown(String),
    /// One user logs in with it, and another has it as id.
    Ambiguous {
        /// The email or id that was given.
        who: String,
        /// The user who logs in with it.
        by_email: UserId,
    },
    /// The user was deleted for good.
    Deleted(UserId),
    /// The user is disabled.
    Disabled(UserId),
    /// The user has a password already.
    HasPassword(UserId),
    /// The user has no password.
    NoPassword(UserId),
    /// Another user logs in with this email.
    EmailTaken {
        /// The email.
        email: String,
        /// The user who has it.
        by: UserId,
    },
    /// The id is that of development's user, whom production switches off.
    DevelopmentUser(UserId),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminError::Store(error) => error.fmt(f),
            AdminError::Unknown(who) => {
                write!(f, "no user has the id {who:?}, and none with a password has it as email: see user list")
            }
            AdminError::Ambiguous { who, by_email } => write!(
                f,
                "{who:?} is the email of the user {:?} and the id of another: name the one you mean with --id",
                by_email.as_str()
            ),
            AdminError::Deleted(id) => write!(f, "the user {:?} was deleted, which is for good", id.as_str()),
            AdminError::Disabled(id) => {
                write!(f, "the user {:?} is disabled: see user enable", id.as_str())
            }
            AdminError::HasPassword(id) => {
                write!(f, "the user {:?} has a password already: user passwd changes it", id.as_str())
            }
            AdminError::NoPassword(id) => {
                let id = id.as_str();
                write!(f, "the user {id:?} has no password to change: user add EMAIL --id {id} gives one")
            }
            AdminError::EmailTaken { email, by } => {
                write!(f, "the user {:?} logs in as {email} already", by.as_str())
            }
            AdminError::DevelopmentUser(id) => {
                write!(f, "{id} is the id of development's user, whom production switches off: choose another")
            }
        }
    }
}

impl std::error::Error for AdminError {}

impl From<OpenError> for AdminError {
    fn from(error: OpenError) -> AdminError {
        AdminError::Store(error)
    }
}

impl From<AdminError> for Abort<AdminError> {
    fn from(error: AdminError) -> Abort<AdminError> {
        Abort::Rejected(error)
    }
}

impl Admin {
    /// Opens a database, or creates it if `make` is set. An older schema is migrated, unless a server has the database open.
    ///
    /// # Errors
    /// Fails if the database does not exist, cannot be opened, or is in memory.
    pub(crate) fn open(database: &Database, make: bool) -> Result<Admin, OpenError> {
        let Database::File(path) = database else {
            let reason = "a database in memory ends with its process, so no other process can open it".into();
            return Err(OpenError::CannotOpen { path: ":memory:".into(), reason });
        };
        // Looked at first: what takes the place of the file while it is opened is another.
        let file = file_id(path);
        let there = file.is_some();
        if !there && !make {
            let reason = "there is no such file; a server creates it, and user add does".into();
            return Err(OpenError::CannotOpen { path: path.clone(), reason });
        }
        let opened = if there { connection::open_shared(path)? } else { None };
        let (db, meta) = match opened {
            Some(opened) => opened,
            None => migrated(path)?,
        };
        let file = file.or_else(|| file_id(path));
        let admin = Admin { db, meta, path: path.clone(), file };
        // What is overwritten is gone from the file, too.
        admin.db.query_row("PRAGMA secure_delete = ON", [], |_| Ok(())).map_err(|error| admin.failed(error))?;
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

    /// Up to `limit` users after the given one, in the order of creation, without responders.
    pub(crate) fn users(&self, after: Option<&Account>, limit: u32) -> Result<Vec<Account>, OpenError> {
        let after = after.map_or(i64::MIN, |account| account.key);
        let listed = || -> rusqlite::Result<_> {
            self.db.prepare_cached(LIST)?.query_map(params![after, limit], account)?.collect()
        };
        listed().map_err(|error| self.failed(error))
    }

    /// The user whom `who` names.
    pub(crate) fn find(&self, who: &UserSelector) -> Result<Account, AdminError> {
        self.named(who).map_err(|stop| self.told(stop))
    }

    /// The user whom `who` names, if they have a password that can be changed.
    pub(crate) fn with_password(&self, who: &UserSelector) -> Result<Account, AdminError> {
        self.named_with_password(who).map_err(|stop| self.told(stop))
    }

    /// Checks whether `add` would succeed.
    pub(crate) fn check_new(&self, new: &NewUser<'_>) -> Result<(), AdminError> {
        self.place_for(new).map(drop).map_err(|stop| self.told(stop))
    }

    /// Adds a user with a password, or gives one to a user who has none.
    pub(crate) fn add(&mut self, new: &NewUser<'_>, hash: &str, now: WallTime) -> Result<(), AdminError> {
        self.change(|admin| {
            let key = match admin.place_for(new)? {
                Some(known) => {
                    let name = new.name.unwrap_or(&known.name);
                    users::set_profile(&admin.db, known.key, name, new.email)?;
                    known.key
                }
                None => users::insert(&admin.db, new.id, new.name.unwrap_or_default(), new.email, now)?,
            };
            Ok(users::set_password(&admin.db, key, hash, None)?)
        })
    }

    /// Changes the password of a user who has one. Earlier tokens are rejected from now on.
    pub(crate) fn set_password(
        &mut self,
        who: &UserSelector,
        hash: &str,
        now: WallTime,
    ) -> Result<Account, AdminError> {
        self.change(|admin| {
            let found = admin.named_with_password(who)?;
            let newest = journal_head::load(&admin.db)?.at;
            let earlier: Option<i64> =
                admin.db.query_row("SELECT tokens_since FROM users WHERE key = ?1", [found.key], |row| row.get(0))?;
            // Tokens are also older that were made before the clock went back.
            let since = now.max(WallTime(newest.0 + 1)).max(WallTime(earlier.unwrap_or(i64::MIN)));
            users::set_password(&admin.db, found.key, hash, Some(since))?;
            Ok(found)
        })
    }

    /// Rejects every token and the password of a user until they are enabled. The id need not have been seen before.
    pub(crate) fn disable(&mut self, who: &UserSelector, now: WallTime) -> Result<Account, AdminError> {
        self.change(|admin| {
            let found = admin.named_or_new(who, now)?;
            if found.status == UserStatus::Deleted {
                return Err(AdminError::Deleted(found.id).into());
            }
            users::set_status(&admin.db, found.key, UserStatus::Disabled)?;
            Ok(found)
        })
    }

    /// Accepts tokens and the password of a user again, unless the user is deleted.
    pub(crate) fn enable(&mut self, who: &UserSelector) -> Result<Account, AdminError> {
        self.change(|admin| {
            let found = admin.named(who)?;
            if found.status == UserStatus::Deleted {
                return Err(AdminError::Deleted(found.id).into());
            }
            users::set_status(&admin.db, found.key, UserStatus::Enabled)?;
            Ok(found)
        })
    }

    /// Deletes name, email and password of a user, and rejects every token of the id from now on. Messages stay in their
    /// conversations, under the id.
    pub(crate) fn delete(&mut self, who: &UserSelector, now: WallTime) -> Result<Account, AdminError> {
        self.change(|admin| {
            let found = admin.named_or_new(who, now)?;
            admin.db.execute(DELETE, [found.key, users::status_code(UserStatus::Deleted)])?;
            Ok(found)
        })
    }

    /// The user who gets the password; `None` if no user has the id yet.
    fn place_for(&self, new: &NewUser<'_>) -> Result<Option<Account>, Abort<AdminError>> {
        if is_development_user(new.id) {
            return Err(AdminError::DevelopmentUser(new.id.clone()).into());
        }
        let known = self.by_id(new.id.as_str())?;
        if let Some(Account { id, status, has_password, .. }) = &known {
            match status {
                UserStatus::Deleted => return Err(AdminError::Deleted(id.clone()).into()),
                _ if *has_password => return Err(AdminError::HasPassword(id.clone()).into()),
                UserStatus::Disabled | UserStatus::SwitchedOff => return Err(AdminError::Disabled(id.clone()).into()),
                UserStatus::Enabled => {}
            }
        }
        match self.by_email(new.email)? {
            Some(other) => Err(AdminError::EmailTaken { email: new.email.to_owned(), by: other.id }.into()),
            None => Ok(known),
        }
    }

    fn named(&self, who: &UserSelector) -> Result<Account, Abort<AdminError>> {
        let text = match who {
            UserSelector::Id(id) => {
                return Ok(self.by_id(id.as_str())?.ok_or_else(|| AdminError::Unknown(id.to_string()))?);
            }
            UserSelector::IdOrEmail(text) => text,
        };
        match (self.by_email(text)?, self.by_id(text)?) {
            (Some(one), Some(other)) if one.key != other.key => {
                Err(AdminError::Ambiguous { who: text.clone(), by_email: one.id }.into())
            }
            (Some(found), _) | (None, Some(found)) => Ok(found),
            (None, None) => Err(AdminError::Unknown(text.clone()).into()),
        }
    }

    fn named_with_password(&self, who: &UserSelector) -> Result<Account, Abort<AdminError>> {
        let found = self.named(who)?;
        match found.status {
            UserStatus::Deleted => Err(AdminError::Deleted(found.id).into()),
            _ if !found.has_password => Err(AdminError::NoPassword(found.id).into()),
            _ => Ok(found),
        }
    }

    /// As `named`, but inserts a row for an unknown id.
    fn named_or_new(&self, who: &UserSelector, now: WallTime) -> Result<Account, Abort<AdminError>> {
        if let UserSelector::Id(id) = who
            && self.by_id(id.as_str())?.is_none()
        {
            users::insert(&self.db, id, "", "", now)?;
        }
        self.named(who)
    }

    fn by_id(&self, id: &str) -> rusqlite::Result<Option<Account>> {
        self.db.prepare_cached(BY_ID)?.query_row([id], account).optional()
    }

    fn by_email(&self, email: &str) -> rusqlite::Result<Option<Account>> {
        self.db.prepare_cached(BY_EMAIL)?.query_row([email], account).optional()
    }

    /// Runs `change` in one transaction, and commits it if it does not fail.
    fn change<T>(&mut self, change: impl FnOnce(&Admin) -> Result<T, Abort<AdminError>>) -> Result<T, AdminError> {
        let run = || {
            // Dropped without a commit, it is rolled back.
            let transaction = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
            if file_id(&self.path) != self.file {
                // Whoever types a password leaves time for a restore.
                let reason = "another database has taken its place meanwhile: try again".into();
                return Err(AdminError::from(OpenError::CannotOpen { path: self.path.clone(), reason }).into());
            }
            let done = change(self)?;
            transaction.commit()?;
            Ok(done)
        };
        run().map_err(|stop| self.told(stop))
    }

    fn told(&self, stop: Abort<AdminError>) -> AdminError {
        match stop {
            Abort::Rejected(error) => error,
            Abort::Failed(error) => self.failed(error).into(),
        }
    }

    fn failed(&self, error: rusqlite::Error) -> OpenError {
        OpenError::of(&self.path, &error)
    }
}

/// Creates or migrates a database, or waits for another process that does.
fn migrated(path: &Path) -> Result<(Connection, DatabaseMeta), OpenError> {
    for _ in 0..MAKING_TRIES_MAX {
        if let Some(_lock) = Lock::try_acquire(path)? {
            drop(connection::open_writing(path, Durability::Full)?);
            if let Ok(made) = File::open(path) {
                chown_to_parent(&made, path);
            }
        } else {
            std::thread::sleep(MAKING_PATIENCE);
        }
        if path.exists()
            && let Some(opened) = connection::open_shared(path)?
        {
            return Ok(opened);
        }
    }
    Err(OpenError::Locked(path.to_path_buf()))
}

fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        key: row.get(0)?,
        id: UserId::new_unchecked(row.get::<_, String>(1)?),
        name: row.get(2)?,
        email: row.get(3)?,
        has_password: row.get(4)?,
        status: decode(row, 5, users::status_of)?,
        created_at: WallTime(row.get(6)?),
    })
}

macro_rules! accounts {
    ($which:literal) => {
        concat!("SELECT key, oid, name, email, password IS NOT NULL, status, created_at FROM users WHERE ", $which)
    };
}

// Responders have rows too, since they send messages.
pub(crate) const BY_ID: &str = accounts!("oid = ?1 AND oid NOT GLOB 'responder:*'");
pub(crate) const BY_EMAIL: &str = accounts!("email = ?1 COLLATE NOCASE AND password IS NOT NULL");
pub(crate) const LIST: &str = accounts!("key > ?1 AND oid NOT GLOB 'responder:*' ORDER BY key LIMIT ?2");
const DELETE: &str = "UPDATE users SET name = '', email = '', password = NULL, tokens_since = NULL, status = ?2 \
     WHERE key = ?1";
