//! `token issue`: signs a token.

use super::CliError;
use super::output::print_text;
use super::user_args::{self, UserArgument, profile_text};
use crate::auth::jwt::{Claims, Purpose};
use crate::config::settings::EXPIRATION_HOURS_MAX;
use crate::domain::model::UserStatus;
use crate::domain::token_rules::Credential;
use crate::runtime::clock::Clock;
use crate::runtime::reload;
use crate::store::{AdminError, UserSelector};
use lexopt::prelude::*;
use std::sync::Arc;

pub(super) fn issue(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    let mut user = UserArgument::default();
    let (mut name, mut email, mut hours) = (None, None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("id") => user.id(parser)?,
            Long("name") => name = Some(profile_text(parser, "--name")?),
            Long("email") => email = Some(profile_text(parser, "--email")?),
            Long("hours") => hours = Some(hours_of(&parser.value()?.string()?)?),
            Value(value) => user.positional(value)?,
            other => return Err(other.unexpected().into()),
        }
    }
    let user = user.required()?;
    let (settings, admin) = user_args::open(false)?;
    let known = match (admin.find(&user), &user) {
        (Ok(account), _) => Some(account),
        // A user user only has tokens may have no row yet.
        (Err(AdminError::Unknown(_)), UserSelector::Id(_)) => None,
        (Err(error), _) => return Err(error.into()),
    };
    let generation = known.as_ref().map_or(0, |account| account.token_generation);
    let (user, known_name, known_email) = match (known, user) {
        (Some(account), _) => match account.status {
            UserStatus::Enabled => (account.id, account.name, account.email),
            UserStatus::Disabled | UserStatus::SwitchedOff => return Err(AdminError::Disabled(account.id).into()),
            UserStatus::Deleted => return Err(AdminError::Deleted(account.id).into()),
        },
        (None, UserSelector::Id(id)) => (id, String::new(), String::new()),
        (None, UserSelector::IdOrEmail(text)) => return Err(AdminError::Unknown(text).into()),
    };
    let text = |given: Option<String>, known: String| {
        Some(given.unwrap_or(known)).filter(|text| !text.is_empty()).map(Arc::from)
    };
    let now = Clock::start().now().wall;
    let email = text(email, known_email);
    let keys = reload::keys(&settings, admin.signing_key());
    let claims = Claims {
        sub: email.clone().or_else(|| Some(user.as_str().into())),
        name: text(name, known_name),
        email,
        expires_at: now.plus_seconds(hours.unwrap_or(settings.jwt_expiration_seconds)),
        issued_at: Some(now),
        credential: Credential { authenticated_at: Some(now), generation: Some(generation) },
        purpose: Purpose::Access,
        key: keys.current(),
        user,
    };
    let token = keys.sign(&claims).expect("the current key is one of the keys");
    print_text(&format!("{token}\n"))
}

/// Parses hours; returns seconds.
fn hours_of(text: &str) -> Result<i64, CliError> {
    match text.parse::<u64>() {
        Ok(hours) if (1..=EXPIRATION_HOURS_MAX).contains(&hours) => Ok(hours as i64 * 3600),
        _ => Err(CliError::usage(format!(
            "--hours is {text:?}: allowed is a whole number from 1 to {EXPIRATION_HOURS_MAX}"
        ))),
    }
}
