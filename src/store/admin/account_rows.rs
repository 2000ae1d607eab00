//! Queries of administrative commands about users. Responders have rows in the table of users, because they send messages;
//! the queries by id and of lists omit them.

use crate::base::time::WallTime;
use crate::domain::id::UserId;
use crate::domain::model::UserStatus;
use crate::store::sql::values::decode;
use crate::store::sql::{OptionalRow, Row, SqlConnection, SqlResult, params};
use crate::store::tables::users;

/// A user in administrative commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The key by which other rows refer to the user.
    pub key: i64,
    /// The `oid` of the user's tokens.
    pub id: UserId,
    /// The display name; empty if it is unknown.
    pub name: String,
    /// The email; empty if it is unknown. Users with a password log in with it.
    pub email: String,
    /// Whether the user has a password.
    pub has_password: bool,
    /// Whether the user's tokens and password are accepted.
    pub status: UserStatus,
    /// The generation of the user's tokens.
    pub token_generation: u64,
    /// When the row was created: when the user was added or first referred to.
    pub created_at: WallTime,
}

/// Selects a user.
#[derive(Debug, Clone)]
pub enum UserSelector {
    /// By id.
    Id(UserId),
    /// By id, or by the email of a user with a password.
    IdOrEmail(String),
}

/// The account with this id.
pub(crate) fn by_id(db: &SqlConnection, id: &str) -> SqlResult<Option<Account>> {
    db.prepare_cached(BY_ID)?.query_row([id], account).optional()
}

/// The account with a password and this email, ignoring ASCII case.
pub(crate) fn by_email(db: &SqlConnection, email: &str) -> SqlResult<Option<Account>> {
    db.prepare_cached(BY_EMAIL)?.query_row([email], account).optional()
}

/// Up to `limit` accounts after `after`, in creation order.
pub(crate) fn list(db: &SqlConnection, after: Option<&Account>, limit: u32) -> SqlResult<Vec<Account>> {
    let after = after.map_or(i64::MIN, |account| account.key);
    db.prepare_cached(LIST)?.query_map(params![after, limit], account)?.collect()
}

fn account(row: Row<'_>) -> SqlResult<Account> {
    Ok(Account {
        key: row.get(0)?,
        id: UserId::new_unchecked(row.get::<String>(1)?),
        name: row.get(2)?,
        email: row.get(3)?,
        has_password: row.get(4)?,
        status: decode(row, 5, users::status_of)?,
        created_at: WallTime(row.get(6)?),
        token_generation: users::generation(row, 7)?,
    })
}

macro_rules! accounts {
    ($condition:literal) => {
        concat!("SELECT key, oid, name, email, password IS NOT NULL, status, created_at, token_generation FROM users WHERE ", $condition)
    };
}

pub(crate) const BY_ID: &str = accounts!("oid = ?1 AND substr(oid, 1, 10) <> 'responder:'");
pub(crate) const BY_EMAIL: &str = accounts!("email = ?1 COLLATE NOCASE AND password IS NOT NULL");
pub(crate) const LIST: &str = accounts!("key > ?1 AND substr(oid, 1, 10) <> 'responder:' ORDER BY key LIMIT ?2");
