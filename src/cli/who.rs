//! Arguments that name users, and the database that has them.

use super::output::complain;
use super::{CliError, settings};
use crate::base::limits::PROFILE_CHARS_MAX;
use crate::config::Settings;
use crate::config::types::Database;
use crate::domain::id::UserId;
use crate::runtime::process;
use crate::store::{Admin, AdminError, UserSelector, resolve_symlinks};
use lexopt::ValueExt;

/// What a command line has said so far of whom it means.
#[derive(Default)]
pub(super) struct WhoArgument(Option<UserSelector>);

impl WhoArgument {
    /// Takes `--id ID`.
    pub(super) fn id(&mut self, parser: &mut lexopt::Parser) -> Result<(), CliError> {
        self.set(UserSelector::Id(user_id(parser)?))
    }

    /// Takes WHO.
    pub(super) fn either(&mut self, value: std::ffi::OsString) -> Result<(), CliError> {
        self.set(UserSelector::IdOrEmail(value.string()?))
    }

    /// What was said.
    pub(super) fn given(self) -> Result<UserSelector, CliError> {
        self.0.ok_or_else(|| CliError::usage("whom? an email or an id is missing"))
    }

    fn set(&mut self, who: UserSelector) -> Result<(), CliError> {
        match self.0.replace(who) {
            None => Ok(()),
            Some(_) => Err(CliError::usage("one user at a time")),
        }
    }
}

/// The value of `--id`.
pub(super) fn user_id(parser: &mut lexopt::Parser) -> Result<UserId, CliError> {
    UserId::new(&parser.value()?.string()?).map_err(|rule| CliError::usage(format!("an id {rule}")))
}

/// The value of an option that goes into a profile.
pub(super) fn profile_text(parser: &mut lexopt::Parser, option: &str) -> Result<String, CliError> {
    let text = parser.value()?.string()?;
    if text.chars().count() > PROFILE_CHARS_MAX || text.chars().any(char::is_control) {
        let rule = format!("{option} has at most {PROFILE_CHARS_MAX} characters, and no control characters");
        return Err(CliError::usage(rule));
    }
    Ok(text)
}

/// What an attempt to give a password as an argument comes to.
pub(super) fn password_argument() -> CliError {
    CliError::usage(
        "a password is never an argument, which others see in the list of processes and the shell keeps: \
         leave it out and be asked, or give it on standard input",
    )
}

/// The settings, and the database that they name; with `make` it is made if there is none.
pub(super) fn open(make: bool) -> Result<(Settings, Admin), CliError> {
    let settings = settings()?;
    process::keep_files_private();
    let database = resolve_symlinks(&settings.database);
    let made = match &database {
        Database::File(path) => make && !path.exists(),
        Database::Memory => false,
    };
    let admin = Admin::open(&database, make).map_err(|error| error.to_string())?;
    if made {
        // Whoever meant another one reads here that there was none.
        complain(format_args!("note: made the database {}", admin.path().display()));
    }
    Ok((settings, admin))
}

impl From<AdminError> for CliError {
    fn from(error: AdminError) -> CliError {
        error.to_string().into()
    }
}
