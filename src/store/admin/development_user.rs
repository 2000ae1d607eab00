//! The built-in user of a server in development.

use crate::base::time::WallTime;
use crate::domain::id::UserId;
use crate::domain::model::UserStatus;
use crate::store::sql::{SqlConnection, SqlResult};
use crate::store::tables::users;

/// The development user: id, email and name.
const DEVELOPMENT_USER: (&str, &str, &str) = ("550e8400-e29b-41d4-a716-446655440000", "user@example.com", "Test User");

/// Whether this is the id of the development user.
pub(crate) fn is_development_user(id: &UserId) -> bool {
    id.as_str() == DEVELOPMENT_USER.0
}

/// Enables the development user with the password `hash`, or switches it off if `hash` is `None`. A password that the user has
/// already is kept, and a user that an administrator disabled or deleted stays so. A user without a password is not switched
/// off.
pub(crate) fn switch(db: &SqlConnection, hash: Option<&str>, now: WallTime) -> SqlResult<()> {
    let (id, email, name) = DEVELOPMENT_USER;
    let id = UserId::new_unchecked(id);
    let found = users::find(db, &id)?;
    let Some(hash) = hash else {
        return match found.filter(|user| user.has_password) {
            Some(user) => users::change_status(db, user.key, UserStatus::Enabled, UserStatus::SwitchedOff),
            None => Ok(()),
        };
    };
    let (key, has_password, status) = match found {
        Some(user) => (user.key, user.has_password, user.status),
        None => (users::insert(db, &id, name, email, now)?, false, UserStatus::Enabled),
    };
    users::change_status(db, key, UserStatus::SwitchedOff, UserStatus::Enabled)?;
    if has_password || status == UserStatus::Deleted {
        return Ok(());
    }
    if users::is_login_taken(db, email, key)? {
        log::warn!("another user logs in with the email {email}, so the development user has no password");
        return Ok(());
    }
    users::set_profile(db, key, name, email)?;
    users::set_password(db, key, hash)
}
