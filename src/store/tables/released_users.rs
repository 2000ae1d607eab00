//! Users who lost a row that names them, and whose own row may therefore be unneeded.
//!
//! A user who was only named as a participant, and never wrote anything, is removed when no conversation and no event names the
//! user any more. What is kept is the newest number of the user's events that retention has removed, so that a client of the
//! user gets a gap: `removed_users` has a small row for each of the users whose numbers are the newest. For all others, the
//! largest of the dropped numbers counts.
//!
//! Invariant: a user whose row was only named and is not referred to has a row here, or is removed. A removed user, whose events
//! retention has removed, has a row in `removed_users`, or `others_through` is at least the user's number.

use crate::base::limits::REMOVED_USERS_MAX;
use crate::domain::id::{EventNumber, UserId};
use crate::store::rules::records::UserRef;
use crate::store::sql::values::{number, sql};
use crate::store::sql::{OptionalRow, SqlConnection, SqlResult};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The key of a user in `removed_users`.
fn hash(id: &UserId) -> i64 {
    let digest = Sha256::digest(id.as_str());
    let (first, _) = digest.split_first_chunk().expect("a SHA-256 has 32 bytes");
    i64::from_be_bytes(*first)
}

/// The number through which retention may have removed events of a user without a row.
pub(crate) fn removed_through(db: &SqlConnection, id: &UserId) -> SqlResult<EventNumber> {
    db.prepare_cached(REMOVED_THROUGH)?.query_row([hash(id)], |row| row.get(0).map(number))
}

/// Returns what `removed_through` does, for a user whose row is about to be inserted and keeps the number from now on.
pub(crate) fn take(db: &SqlConnection, id: &UserId) -> SqlResult<EventNumber> {
    let through = removed_through(db, id)?;
    if through > EventNumber(0) && db.prepare_cached(FORGET)?.execute([hash(id)])? > 0 {
        db.prepare_cached(COUNT)?.run([-1])?;
    }
    Ok(through)
}

/// Remembers the number of a user whose row is removed, and drops the lowest number if more than `users_max` are kept.
fn remember(db: &SqlConnection, id: &UserId, through: EventNumber, users_max: u64) -> SqlResult<()> {
    if db.prepare_cached(REMEMBER)?.execute([hash(id), sql(through)])? == 0 {
        db.prepare_cached(RAISE)?.run([hash(id), sql(through)])?;
        return Ok(());
    }
    db.prepare_cached(COUNT)?.run([1])?;
    let users: i64 =
        db.prepare_cached("SELECT users FROM removed_users_state WHERE id = 1")?.query_row([], |row| row.get(0))?;
    if users as u64 > users_max {
        let lowest =
            db.prepare_cached(LOWEST)?.query_row([], |row| Ok((row.get::<i64>(0)?, number(row.get(1)?)))).optional()?;
        if let Some((lowest, through)) = lowest {
            db.prepare_cached(FORGET)?.run([lowest])?;
            db.prepare_cached(COUNT)?.run([-1])?;
            raise_others(db, through)?;
        }
    }
    Ok(())
}

/// Raises the number that counts for every user whose own is not kept.
pub(crate) fn raise_others(db: &SqlConnection, through: EventNumber) -> SqlResult<()> {
    db.prepare_cached(RAISE_OTHERS)?.run([sql(through)])
}

/// Releases the participants of a conversation, whose rows are about to be deleted.
pub(crate) fn release_participants(db: &SqlConnection, conversation: i64) -> SqlResult<()> {
    db.prepare_cached(RELEASE_PARTICIPANTS)?.run([conversation])
}

/// Releases the recipients of an event with keys through `last`, whose rows are about to be deleted.
pub(crate) fn release_recipients(db: &SqlConnection, event: EventNumber, last: i64) -> SqlResult<()> {
    db.prepare_cached(RELEASE_RECIPIENTS)?.run([sql(event), last])
}

/// Removes the rows of released users whom nothing names any more, and those of their inboxes. Examines at most `users_max`
/// users, and deletes at most `rows_max` chunks of inboxes. Returns the removed users, and whether more may be left.
pub(crate) fn remove(db: &SqlConnection, users_max: usize, rows_max: usize) -> SqlResult<(Vec<UserRef>, bool)> {
    let mut find = db.prepare_cached(RELEASED)?;
    let mut found = find.query([users_max as i64])?;
    let mut candidates = Vec::new();
    while let Some(row) = found.next()? {
        let user = UserRef { key: row.get(0)?, id: UserId::new_unchecked(row.get::<Arc<str>>(1)?) };
        candidates.push((user, number(row.get(2)?), row.get::<bool>(3)?));
    }
    drop(found);
    let (mut removed, mut rows_left, examined) = (Vec::new(), rows_max, candidates.len());
    for (user, removed_through, is_named) in candidates {
        let key = user.key;
        if !is_named {
            rows_left -= db.prepare_cached(DELETE_INBOX)?.execute([key, rows_left as i64])?;
            if rows_left == 0 {
                return Ok((removed, true));
            }
            db.prepare_cached("DELETE FROM inbox_open WHERE user = ?1")?.run([key])?;
            db.prepare_cached(DELETE_USER)?.run([key])?;
            if removed_through > EventNumber(0) {
                remember(db, &user.id, removed_through, REMOVED_USERS_MAX)?;
            }
            removed.push(user);
        }
        db.prepare_cached("DELETE FROM released_users WHERE user = ?1")?.run([key])?;
    }
    Ok((removed, examined == users_max))
}

pub(crate) const REMOVED_THROUGH: &str = "
    SELECT max(others_through, coalesce((SELECT removed_through FROM removed_users WHERE hash = ?1), 0))
    FROM removed_users_state WHERE id = 1";
pub(crate) const REMEMBER: &str = "
    INSERT INTO removed_users (hash, removed_through) VALUES (?1, ?2) ON CONFLICT (hash) DO NOTHING";
pub(crate) const RAISE: &str = "UPDATE removed_users SET removed_through = max(removed_through, ?2) WHERE hash = ?1";
pub(crate) const FORGET: &str = "DELETE FROM removed_users WHERE hash = ?1";
pub(crate) const LOWEST: &str =
    "SELECT hash, removed_through FROM removed_users WHERE removed_through > 0 ORDER BY removed_through LIMIT 1";
const COUNT: &str = "UPDATE removed_users_state SET users = users + ?1 WHERE id = 1";
const RAISE_OTHERS: &str = "UPDATE removed_users_state SET others_through = max(others_through, ?1) WHERE id = 1";
pub(crate) const RELEASE_PARTICIPANTS: &str = "
    INSERT INTO released_users (user)
    SELECT p.user FROM participants p CROSS JOIN users u ON u.key = p.user AND u.only_named <> 0
    WHERE p.conversation = ?1 ON CONFLICT (user) DO NOTHING";
pub(crate) const RELEASE_RECIPIENTS: &str = "
    INSERT INTO released_users (user)
    SELECT r.user FROM event_recipients r CROSS JOIN users u ON u.key = r.user AND u.only_named <> 0
    WHERE r.number = ?1 AND r.user <= ?2 AND NOT EXISTS (SELECT 1 FROM participants p WHERE p.user = r.user)
    ON CONFLICT (user) DO NOTHING";
/// Selects users with `removed_through`, and whether the row is still needed.
pub(crate) const RELEASED: &str = "
    SELECT u.key, u.oid, u.removed_through,
        u.only_named = 0 OR u.status <> 0 OR u.password IS NOT NULL OR u.tokens_since IS NOT NULL
            OR u.token_generation <> 0 OR u.rule_change IS NOT NULL
            OR EXISTS (SELECT 1 FROM participants WHERE user = u.key)
            OR EXISTS (SELECT 1 FROM event_recipients WHERE user = u.key)
            OR EXISTS (SELECT 1 FROM workspaces WHERE owner = u.key)
            OR EXISTS (SELECT 1 FROM idempotency WHERE user = u.key)
    FROM released_users r CROSS JOIN users u ON u.key = r.user
    ORDER BY r.user LIMIT ?1";
pub(crate) const DELETE_INBOX: &str = "
    DELETE FROM inbox WHERE user = ?1
        AND first IN (SELECT first FROM inbox WHERE user = ?1 ORDER BY first LIMIT ?2)";
pub(crate) const DELETE_USER: &str = "DELETE FROM users WHERE key = ?1";

#[cfg(test)]
mod tests {
    use super::*;

    use crate::store::sqlite::connection::{Durability, open_writing};
    use crate::store::tests::support::TempDir;

    #[test]
    fn hashes_are_those_of_every_version() {
        // The first bytes of the published test values of SHA-256.
        let expected = [0xe3b0_c442_98fc_1c14_u64, 0xba78_16bf_8f01_cfea];
        assert_eq!(["", "abc"].map(|id| hash(&UserId::new_unchecked(id)) as u64), expected);
    }

    #[test]
    fn the_newest_numbers_are_kept() {
        let directory = TempDir::new();
        let (db, _) = open_writing(&directory.file("a.db"), Durability::None).unwrap();
        let user = |number: u64| UserId::new_unchecked(format!("user-{number}"));
        for number in [5, 9, 7, 8, 6, 9] {
            remember(&db, &user(number), EventNumber(number), 3).unwrap();
        }
        let through = |number| removed_through(&db, &user(number)).unwrap().0;
        assert_eq!([5, 6, 7, 8, 9].map(through), [6, 6, 7, 8, 9]);
        assert_eq!(through(1), 6, "a user of whom nothing is known");
        remember(&db, &user(7), EventNumber(10), 3).unwrap();
        assert_eq!(through(7), 10);
        // A row of the user keeps the number from now on, so there is room for another.
        assert_eq!(take(&db, &user(7)).unwrap(), EventNumber(10));
        remember(&db, &user(6), EventNumber(7), 3).unwrap();
        assert_eq!([6, 7, 8, 9].map(through), [7, 6, 8, 9]);
    }
}
