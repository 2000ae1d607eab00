//! `user …`: manages users. A running server on the same database applies the changes within a moment.

use super::output::{StdoutLines, print_text};
use super::user_args::{self, UserArgument, password_argument, profile_text, user_id};
use super::{CliError, prompt};
use crate::auth::password::Hasher;
use crate::base::limits::PROFILE_CHARS_MAX;
use crate::base::memory_plan::HashCost;
use crate::base::random::fill_secret;
use crate::config::Settings;
use crate::domain::id::UserId;
use crate::domain::model::UserStatus;
use crate::runtime::clock::Clock;
use crate::runtime::memory_limit::memory_limit;
use crate::store::{Account, Admin, NewUser, UserSelector};
use crate::wire::json::JsonWriter;
use lexopt::prelude::*;

/// Users per read, so that no read transaction stays open while the output is read slowly.
const LIST_ROWS: u32 = 256;

pub(super) fn add(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    let (mut email, mut name, mut id, mut only_read) = (None, None, None, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("name") => name = Some(profile_text(parser, "--name")?),
            Long("id") => id = Some(user_id(parser)?),
            Long("password-stdin") => only_read = true,
            Long("password") => return Err(password_argument()),
            Value(value) if email.is_none() => email = Some(email_of(value.string()?)?),
            other => return Err(other.unexpected().into()),
        }
    }
    let email = email.ok_or_else(|| CliError::usage("an email is missing"))?;
    let id = id.unwrap_or_else(new_id);
    let new = NewUser { id: &id, email: &email, name: name.as_deref() };
    let (settings, mut admin) = user_args::open(true)?;
    // Check before the password is typed twice.
    admin.check_new(&new)?;
    let hash = hasher(&settings).hash(&prompt::password(only_read)?);
    admin.add(&new, &hash, Clock::start().now().wall)?;
    print_text(&format!("{}\n", shown(id.as_str())))
}

/// Makes hashes that a server with the same limit of memory can check.
fn hasher(settings: &Settings) -> Hasher {
    let cost = HashCost::within(memory_limit(settings.memory_limit_bytes).bytes);
    Hasher::new(cost, cost.bytes())
}

pub(super) fn passwd(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    let (mut user, mut only_read) = (UserArgument::default(), false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("id") => user.id(parser)?,
            Long("password-stdin") => only_read = true,
            Long("password") => return Err(password_argument()),
            Value(value) => user.positional(value)?,
            other => return Err(other.unexpected().into()),
        }
    }
    let user = user.required()?;
    let (settings, mut admin) = user_args::open(false)?;
    admin.with_password(&user)?;
    let hash = hasher(&settings).hash(&prompt::password(only_read)?);
    let changed = admin.set_password(&user, &hash, Clock::start().now().wall)?;
    print_text(&format!("{} has a new password\n", named(&changed)))
}

pub(super) fn disable(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    let user = user_alone(parser)?;
    let (_, mut admin) = user_args::open(false)?;
    let changed = admin.disable(&user, Clock::start().now().wall)?;
    print_text(&format!("{} is disabled\n", named(&changed)))
}

pub(super) fn enable(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    let user = user_alone(parser)?;
    let (_, mut admin) = user_args::open(false)?;
    let changed = admin.enable(&user)?;
    print_text(&format!("{} is enabled\n", named(&changed)))
}

pub(super) fn delete(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    let (mut user, mut sure) = (UserArgument::default(), false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("id") => user.id(parser)?,
            Long("yes") => sure = true,
            Value(value) => user.positional(value)?,
            other => return Err(other.unexpected().into()),
        }
    }
    let user = user.required()?;
    let (_, mut admin) = user_args::open(false)?;
    if !sure {
        confirm(&admin, &user)?;
    }
    let changed = admin.delete(&user, Clock::start().now().wall)?;
    print_text(&format!("{} is deleted\n", named(&changed)))
}

fn confirm(admin: &Admin, user: &UserSelector) -> Result<(), CliError> {
    let described = match user {
        UserSelector::Id(id) => format!("{:?}", id.as_str()),
        UserSelector::IdOrEmail(_) => named(&admin.find(user)?),
    };
    match prompt::confirm(&format!("Delete {described} permanently?"))? {
        Some(true) => Ok(()),
        Some(false) => Err("nothing was deleted".to_owned().into()),
        None => Err("no terminal to ask for confirmation: use --yes".to_owned().into()),
    }
}

pub(super) fn list(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    let mut json = false;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("json") => json = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let (_, admin) = user_args::open(false)?;
    let mut output = StdoutLines::new();
    if json {
        for_each_user(&admin, |user| output.line(object(user)))?;
        return output.end();
    }
    const HEADINGS: [&str; 6] = ["ID", "EMAIL", "NAME", "STATUS", "PASSWORD", "CREATED"];
    let mut widths = HEADINGS.map(str::len);
    for_each_user(&admin, |user| {
        for (width, cell) in widths.iter_mut().zip(cells(user)) {
            *width = (*width).max(cell.chars().count());
        }
        Ok(())
    })?;
    output.line(aligned(HEADINGS.map(str::to_owned), widths))?;
    for_each_user(&admin, |user| output.line(aligned(cells(user), widths)))?;
    output.end()
}

/// All users in the order of creation, read in pages.
fn for_each_user(admin: &Admin, mut each: impl FnMut(&Account) -> Result<(), CliError>) -> Result<(), CliError> {
    let mut last = None;
    loop {
        let users = admin.users(last.as_ref(), LIST_ROWS).map_err(|error| error.to_string())?;
        users.iter().try_for_each(&mut each)?;
        match users.into_iter().next_back() {
            Some(user) => last = Some(user),
            None => return Ok(()),
        }
    }
}

fn cells(user: &Account) -> [String; 6] {
    let status = match user.status {
        UserStatus::Enabled => "enabled",
        UserStatus::Disabled | UserStatus::SwitchedOff => "disabled",
        UserStatus::Deleted => "deleted",
    };
    let password = if user.has_password { "yes" } else { "no" };
    let created = user.created_at.to_string();
    // Whole seconds are precise enough here.
    let created = created.get(..19).map_or(created.clone(), |seconds| format!("{seconds}Z"));
    [shown(user.id.as_str()), shown(&user.email), shown(&user.name), status.into(), password.into(), created]
}

fn aligned(cells: [String; 6], widths: [usize; 6]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.into_iter().zip(widths) {
        line.push_str(&format!("{cell:width$}  "));
    }
    line.truncate(line.trim_end().len());
    line
}

fn object(user: &Account) -> String {
    let mut bytes = Vec::new();
    let word = |truth: bool| if truth { "true" } else { "false" };
    JsonWriter(&mut bytes)
        .raw("{\"id\":")
        .string(user.id.as_str())
        .raw(",\"email\":")
        .string(&user.email)
        .raw(",\"name\":")
        .string(&user.name)
        .raw(",\"disabled\":")
        .raw(word(user.status != UserStatus::Enabled))
        .raw(",\"deleted\":")
        .raw(word(user.status == UserStatus::Deleted))
        .raw(",\"has_password\":")
        .raw(word(user.has_password))
        .raw(",\"created_at\":")
        .time(user.created_at)
        .raw("}");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// A user in a sentence.
fn named(user: &Account) -> String {
    match user.email.as_str() {
        "" => format!("the user {}", shown(user.id.as_str())),
        email => format!("the user {} ({})", shown(user.id.as_str()), shown(email)),
    }
}

/// A user's text, without characters that control a terminal or change the direction of text (UAX #9).
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        let turns = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if letter.is_control() || turns { shown.extend(letter.escape_default()) } else { shown.push(letter) }
    }
    shown
}

fn email_of(text: String) -> Result<String, CliError> {
    let good = text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
        && text.chars().count() <= PROFILE_CHARS_MAX
        && !text.chars().any(|letter| letter.is_control() || letter.is_whitespace());
    if good { Ok(text) } else { Err(CliError::usage(format!("{text:?} is not an email address"))) }
}

/// A random UUID (RFC 9562 §5.4).
fn new_id() -> UserId {
    let mut bytes = [0; 16];
    fill_secret(&mut bytes);
    UserId::new_unchecked(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

fn user_alone(parser: &mut lexopt::Parser) -> Result<UserSelector, CliError> {
    let mut user = UserArgument::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("id") => user.id(parser)?,
            Value(value) => user.positional(value)?,
            other => return Err(other.unexpected().into()),
        }
    }
    user.required()
}
