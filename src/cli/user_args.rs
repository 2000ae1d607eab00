//! The arguments that name users, and the database of users.

use super::data::limit_memory;
use super::output::print_error;
use super::{CliError, settings};
use crate::base::limits::PROFILE_CHARS_MAX;
use crate::config::Settings;
use crate::config::types::Database;
use crate::domain::id::UserId;
use crate::runtime::process;
use crate::store::{Admin, AdminError, UserSelector, resolve_symlinks};
use lexopt::ValueExt;

/// The user argument of a command line, once it is parsed.
#[derive(Default)]
pub(super) struct UserArgument(Option<UserSelector>);

impl UserArgument {
    /// Parses `--id ID`.
    pub(super) fn id(&mut self, parser: &mut lexopt::Parser) -> Result<(), CliError> {
        self.set(UserSelector::Id(user_id(parser)?))
    }

    /// Parses `USER`.
    pub(super) fn positional(&mut self, value: std::ffi::OsString) -> Result<(), CliError> {
        self.set(UserSelector::IdOrEmail(value.string()?))
    }

    /// The user argument, which is required.
    pub(super) fn required(self) -> Result<UserSelector, CliError> {
        self.0.ok_or_else(|| CliError::usage("an email or an id is missing"))
    }

    fn set(&mut self, user: UserSelector) -> Result<(), CliError> {
        match self.0.replace(user) {
            None => Ok(()),
            Some(_) => Err(CliError::usage("only one user may be named")),
        }
    }
}

/// The value of `--id`.
pub(super) fn user_id(parser: &mut lexopt::Parser) -> Result<UserId, CliError> {
    UserId::new(&parser.value()?.string()?).map_err(|rule| CliError::usage(format!("an id {rule}")))
}

/// The value of an option for a name or an email.
pub(super) fn profile_text(parser: &mut lexopt::Parser, option: &str) -> Result<String, CliError> {
    let text = parser.value()?.string()?;
    if text.chars().count() > PROFILE_CHARS_MAX || text.chars().any(char::is_control) {
        let rule = format!("{option} must have at most {PROFILE_CHARS_MAX} characters, and no control characters");
        return Err(CliError::usage(rule));
    }
    Ok(text)
}

/// The error for a password among the arguments.
pub(super) fn password_argument() -> CliError {
    CliError::usage(
        "a password may not be an argument, which the list of processes and the shell's history would show: \
         enter it at the prompt, or pass it on standard input",
    )
}

/// The settings, and their database. With `create`, a missing database is created.
pub(super) fn open(create: bool) -> Result<(Settings, Admin), CliError> {
    let settings = settings()?;
    limit_memory(settings.memory_limit_bytes);
    process::keep_files_private();
    let database = resolve_symlinks(&settings.database);
    let is_new = match &database {
        Database::File(path) => create && !path.exists(),
        Database::Memory => false,
        #[cfg(feature = "cluster")]
        Database::Server(_) => false,
    };
    let admin = Admin::open(&database, create).map_err(|error| error.to_string())?;
    if is_new {
        // The operator may have meant another database.
        print_error(format_args!("note: created the database {}", admin.path().display()));
    }
    Ok((settings, admin))
}

impl From<AdminError> for CliError {
    fn from(error: AdminError) -> CliError {
        error.to_string().into()
    }
}
