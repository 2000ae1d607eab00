//! Responses that are stored under the idempotency keys of requests.

use crate::base::limits::IDEMPOTENCY_RETENTION_SECONDS;
use crate::domain::command::Idempotency;
use crate::domain::id::EventNumber;
use crate::store::rules::age::AgeTime;
use crate::store::rules::records::StoredResponse;
use crate::store::sql::values::{number, sql};
use crate::store::sql::{OptionalRow, SqlConnection, SqlResult, params};

/// The response that is stored under the user's key, unless it has expired at `now`.
pub(crate) fn find(db: &SqlConnection, user: i64, key: &str, now: AgeTime) -> SqlResult<Option<StoredResponse>> {
    db.prepare_cached(FIND)?
        .query_row(params![user, key, expired_through(now).0], |row| {
            Ok(StoredResponse {
                fingerprint: row.get(0)?,
                number: row.get::<Option<i64>>(1)?.map(number),
                body: row.get::<Vec<u8>>(2)?.into(),
            })
        })
        .optional()
}

/// Stores a response, in place of an expired response under the same key.
pub(crate) fn store(
    db: &SqlConnection,
    user: i64,
    request: &Idempotency,
    number: Option<EventNumber>,
    body: &[u8],
    now: AgeTime,
) -> SqlResult<()> {
    db.prepare_cached(
        "INSERT INTO idempotency (user, key, fingerprint, number, age_at, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (user, key) DO UPDATE SET \
         fingerprint = excluded.fingerprint, number = excluded.number, age_at = excluded.age_at, body = excluded.body",
    )?
    .run(params![user, &*request.key, request.fingerprint, number.map(sql), now.0, body])
}

/// Deletes at most `rows_max` responses that have expired at `now`. Returns the number of deleted rows.
pub(crate) fn purge(db: &SqlConnection, now: AgeTime, rows_max: usize) -> SqlResult<usize> {
    db.prepare_cached(PURGE)?.execute(params![expired_through(now).0, rows_max as i64])
}

/// Responses that were stored at this time or before have expired at `now`.
fn expired_through(now: AgeTime) -> AgeTime {
    now.minus_seconds(IDEMPOTENCY_RETENTION_SECONDS)
}

pub(crate) const FIND: &str =
    "SELECT fingerprint, number, body FROM idempotency WHERE user = ?1 AND key = ?2 AND age_at > ?3";
pub(crate) const PURGE: &str =
    "DELETE FROM idempotency WHERE id IN (SELECT id FROM idempotency WHERE age_at <= ?1 ORDER BY age_at LIMIT ?2)";
