//! Users: profiles, passwords, and token rules.

use crate::base::time::WallTime;
use crate::domain::id::{EventNumber, UserId};
use crate::domain::model::{UserProfile, UserStatus};
use crate::domain::token_rules::{TokenRule, TokenRules};
use crate::store::rules::records::UserRow;
use crate::store::sql::values::{decode, number, sql};
use crate::store::sql::{OptionalRow, Row, SqlConnection, SqlResult, params};
use crate::store::tables::released_users;
use std::sync::Arc;

/// A user with a password, for the check of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordRecord {
    /// The profile of the user.
    pub profile: UserProfile,
    /// The Argon2id hash in PHC form.
    pub hash: String,
    /// Whether the user may log in.
    pub status: UserStatus,
    /// The generation of the tokens of a login with this password.
    pub token_generation: u64,
}

pub(crate) fn find(db: &SqlConnection, id: &UserId) -> SqlResult<Option<UserRow>> {
    db.prepare_cached(FIND)?
        .query_row([id.as_str()], |row| {
            Ok(UserRow {
                key: row.get(0)?,
                id: id.clone(),
                name: row.get(1)?,
                email: row.get(2)?,
                has_password: row.get(3)?,
                status: decode(row, 4, status_of)?,
                default_workspace: row.get::<Option<i64>>(7)?.map(number),
                default_conversation: row.get::<Option<i64>>(8)?.map(number),
                token_rule: token_rule(row, 4)?,
                only_named: row.get(9)?,
            })
        })
        .optional()
}

/// Inserts a user, and returns the new key.
pub(crate) fn insert(db: &SqlConnection, id: &UserId, name: &str, email: &str, at: WallTime) -> SqlResult<i64> {
    insert_row(db, id, (name, email), at, false)
}

/// Inserts a user who is only named as a participant, and returns the new key.
pub(crate) fn insert_named(db: &SqlConnection, id: &UserId, at: WallTime) -> SqlResult<i64> {
    insert_row(db, id, ("", ""), at, true)
}

fn insert_row(
    db: &SqlConnection,
    id: &UserId,
    (name, email): (&str, &str),
    at: WallTime,
    only_named: bool,
) -> SqlResult<i64> {
    // A user who was removed may be named again.
    let removed_through = sql(released_users::take(db, id)?);
    db.prepare_cached(INSERT)?
        .query_row(params![id.as_str(), name, email, at.0, only_named, removed_through], |row| row.get(0))
}

/// Stores the name and email of a user, who is then no longer only named.
pub(crate) fn set_profile(db: &SqlConnection, key: i64, name: &str, email: &str) -> SqlResult<()> {
    db.prepare_cached("UPDATE users SET name = ?2, email = ?3, only_named = 0 WHERE key = ?1")?
        .run(params![key, name, email])
}

pub(crate) fn set_defaults(
    db: &SqlConnection,
    key: i64,
    workspace: Option<EventNumber>,
    conversation: Option<EventNumber>,
) -> SqlResult<()> {
    db.prepare_cached("UPDATE users SET default_workspace = ?2, default_conversation = ?3 WHERE key = ?1")?
        .run(params![key, workspace.map(sql), conversation.map(sql)])
}

/// Stores a password hash.
pub(crate) fn set_password(db: &SqlConnection, key: i64, hash: &str) -> SqlResult<()> {
    db.prepare_cached("UPDATE users SET password = ?2 WHERE key = ?1")?.run(params![key, hash])
}

/// The password hash of a user.
pub(crate) fn password(db: &SqlConnection, key: i64) -> SqlResult<Option<String>> {
    db.prepare_cached("SELECT password FROM users WHERE key = ?1")?.query_row([key], |row| row.get(0))
}

/// Begins a new generation of a user's tokens at `wall`, the wall clock: all older tokens are rejected. The generation also
/// exceeds those of a journal that a restore has replaced, unless its clock was ahead.
pub(crate) fn end_tokens(db: &SqlConnection, key: i64, wall: WallTime) -> SqlResult<()> {
    db.prepare_cached(END_TOKENS)?.run([key, wall.0.max(0)])
}

/// The code of a status in `users.status`.
pub(crate) fn status_code(status: UserStatus) -> i64 {
    match status {
        UserStatus::Enabled => 0,
        UserStatus::Disabled => 1,
        UserStatus::SwitchedOff => 2,
        UserStatus::Deleted => 3,
    }
}

pub(crate) fn status_of(code: i64) -> Option<UserStatus> {
    UserStatus::ALL.into_iter().find(|status| status_code(*status) == code)
}

/// Changes the status of a user from `old` to `new`. Any other status stays.
pub(crate) fn change_status(db: &SqlConnection, key: i64, old: UserStatus, new: UserStatus) -> SqlResult<()> {
    db.prepare_cached("UPDATE users SET status = ?3 WHERE key = ?1 AND status = ?2")?.run([
        key,
        status_code(old),
        status_code(new),
    ])
}

pub(crate) fn set_status(db: &SqlConnection, key: i64, status: UserStatus) -> SqlResult<()> {
    db.prepare_cached("UPDATE users SET status = ?2 WHERE key = ?1")?.run([key, status_code(status)])
}

/// Whether a user other than `key` has a password and this email, ignoring ASCII case.
pub(crate) fn is_login_taken(db: &SqlConnection, email: &str, key: i64) -> SqlResult<bool> {
    db.prepare_cached(LOGIN_TAKEN)?.exists(params![email, key])
}

/// The user with a password and this email, ignoring ASCII case.
pub(crate) fn password_record(db: &SqlConnection, email: &str) -> SqlResult<Option<PasswordRecord>> {
    db.prepare_cached(PASSWORD_RECORD)?
        .query_row([email], |row| {
            Ok(PasswordRecord {
                profile: read_profile(row)?,
                hash: row.get(3)?,
                status: decode(row, 4, status_of)?,
                token_generation: generation(row, 5)?,
            })
        })
        .optional()
}

/// The password hash of an enabled user with a password.
pub(crate) fn password_of(db: &SqlConnection, id: &UserId) -> SqlResult<Option<String>> {
    db.prepare_cached("SELECT password FROM users WHERE oid = ?1 AND status = 0")?
        .query_row([id.as_str()], |row| row.get(0))
        .optional()
        .map(Option::flatten)
}

/// The users whose tokens are restricted.
pub(crate) fn token_rules(db: &SqlConnection) -> SqlResult<TokenRules> {
    let mut rules = TokenRules::default();
    let mut statement = db.prepare_cached(TOKEN_RULES)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        rules.set(UserId::new_unchecked(row.get::<Arc<str>>(0)?), token_rule(row, 1)?);
    }
    Ok(rules)
}

/// The number of the newest change of a rule.
pub(crate) fn last_rule_change(db: &SqlConnection) -> SqlResult<i64> {
    Ok(db.prepare_cached(LAST_RULE_CHANGE)?.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Applies the changes of rules after the change `after` to `rules`. Returns the number of the newest one.
pub(crate) fn apply_rule_changes(db: &SqlConnection, rules: &mut TokenRules, after: i64) -> SqlResult<i64> {
    let mut statement = db.prepare_cached(RULE_CHANGES)?;
    let mut found = statement.query([after])?;
    let mut last = after;
    while let Some(row) = found.next()? {
        rules.set(UserId::new_unchecked(row.get::<Arc<str>>(0)?), token_rule(row, 1)?);
        last = row.get(4)?;
    }
    Ok(last)
}

/// The rule in the columns `status, tokens_since, token_generation`, which begin at `column`.
fn token_rule(row: Row<'_>, column: usize) -> SqlResult<Option<TokenRule>> {
    if !decode(row, column, status_of)?.is_enabled() {
        return Ok(Some(TokenRule::RejectAll));
    }
    let since: Option<i64> = row.get(column + 1)?;
    let generation = generation(row, column + 2)?;
    Ok(since.map(|at| TokenRule::Since { generation, at: WallTime(at) }))
}

/// Generations start at 0 and only grow.
pub(crate) fn generation(row: Row<'_>, column: usize) -> SqlResult<u64> {
    decode(row, column, |stored| u64::try_from(stored).ok())
}

/// The key of a user.
pub(crate) fn key(db: &SqlConnection, id: &UserId) -> SqlResult<Option<i64>> {
    db.prepare_cached(KEY)?.query_row([id.as_str()], |row| row.get(0)).optional()
}

/// The profile of the user with this key.
pub(crate) fn profile(db: &SqlConnection, key: i64) -> SqlResult<UserProfile> {
    db.prepare_cached(PROFILE)?.query_row([key], read_profile)
}

/// The id and the name of the user with a key.
pub(crate) fn id_and_name(db: &SqlConnection, key: i64) -> SqlResult<Option<(UserId, Arc<str>)>> {
    let read = |row: Row<'_>| Ok((UserId::new_unchecked(row.get::<Arc<str>>(0)?), row.get(1)?));
    db.prepare_cached(PROFILE)?.query_row([key], read).optional()
}

/// Reads the columns `oid, name, email`, which are the first three.
fn read_profile(row: Row<'_>) -> SqlResult<UserProfile> {
    Ok(UserProfile { id: UserId::new_unchecked(row.get::<Arc<str>>(0)?), name: row.get(1)?, email: row.get(2)? })
}

pub(crate) const FIND: &str = "SELECT key, name, email, password IS NOT NULL, status, tokens_since, token_generation, \
     default_workspace, default_conversation, only_named FROM users WHERE oid = ?1";
pub(crate) const INSERT: &str = "
    INSERT INTO users (oid, name, email, created_at, only_named, removed_through) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    RETURNING key";
// A rule never goes back, even if the clock does.
pub(crate) const END_TOKENS: &str = "UPDATE users SET tokens_since = max(coalesce(tokens_since, 0), ?2), \
     token_generation = max(token_generation + 1, ?2) WHERE key = ?1";
pub(crate) const LOGIN_TAKEN: &str =
    "SELECT 1 FROM users WHERE email = ?1 COLLATE NOCASE AND password IS NOT NULL AND key <> ?2";
pub(crate) const PASSWORD_RECORD: &str = "SELECT oid, name, email, password, status, token_generation FROM users \
     WHERE email = ?1 COLLATE NOCASE AND password IS NOT NULL";
pub(crate) const TOKEN_RULES: &str =
    "SELECT oid, status, tokens_since, token_generation FROM users WHERE status <> 0 OR tokens_since IS NOT NULL";
pub(crate) const LAST_RULE_CHANGE: &str =
    "SELECT rule_change FROM users WHERE rule_change IS NOT NULL ORDER BY rule_change DESC LIMIT 1";
pub(crate) const RULE_CHANGES: &str = "SELECT oid, status, tokens_since, token_generation, rule_change FROM users \
     WHERE rule_change > ?1 ORDER BY rule_change";
pub(crate) const KEY: &str = "SELECT key FROM users WHERE oid = ?1";
pub(crate) const PROFILE: &str = "SELECT oid, name, email FROM users WHERE key = ?1";
