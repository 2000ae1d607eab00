//! The tokens that answers used: sums by user, day, conversation and model, and by user and day.
//!
//! Invariant: for each user and day, the sums of both tables are equal. Neither shrinks when a message or a conversation is
//! deleted.

use crate::base::time::WallTime;
use crate::domain::id::EventNumber;
use crate::domain::usage::{Day, DayRange, TokenCounts, UsageSums};
use crate::store::rules::records::NewUsage;
use crate::store::sql::values::sql;
use crate::store::sql::{OptionalRow, Row, SqlConnection, SqlResult, params};

/// The number that stands for the conversation of answers outside of conversations: no event has it.
pub(crate) const NO_CONVERSATION: EventNumber = EventNumber(0);

/// Adds the usage of one answer.
pub(crate) fn add(db: &SqlConnection, added: &NewUsage<'_>) -> SqlResult<()> {
    let (conversation, at) = added.conversation.unwrap_or((NO_CONVERSATION, WallTime(0)));
    let sums = UsageSums { answers: 1, tokens: added.usage.tokens };
    insert(db, (added.user.0, added.day), (sql(conversation), at.0, &added.usage.model), &sums)
}

/// Adds sums of a user and a day; `within` is the number and creation time of the conversation, and the model.
pub(crate) fn insert(
    db: &SqlConnection,
    (user, day): (i64, Day),
    (conversation, conversation_at, model): (i64, i64, &str),
    sums: &UsageSums,
) -> SqlResult<()> {
    let [answers, prompt, completion, reasoning, cached] = columns(sums);
    db.prepare_cached(ADD)?.run(params![
        user,
        day.0,
        answers,
        prompt,
        completion,
        reasoning,
        cached,
        conversation,
        conversation_at,
        model,
    ])?;
    db.prepare_cached(ADD_TO_DAY)?.run(params![user, day.0, answers, prompt, completion, reasoning, cached])
}

/// The tokens of prompts and completions that a user has used on a day.
pub(crate) fn tokens_used(db: &SqlConnection, user: i64, day: Day) -> SqlResult<u64> {
    let tokens = db.prepare_cached(TOKENS_USED)?.query_row([user, day.0], |row| row.get::<i64>(0)).optional()?;
    Ok(tokens.unwrap_or(0) as u64)
}

/// The sums of a user by day.
pub(crate) fn days(db: &SqlConnection, user: i64, days: DayRange) -> SqlResult<Vec<(Day, UsageSums)>> {
    let mut statement = db.prepare_cached(DAYS)?;
    let rows = statement.query_map([user, days.from.0, days.to.0], |row| Ok((Day(row.get(5)?), sums_of(row)?)))?;
    rows.collect()
}

/// The sums in the first five columns of a row.
pub(crate) fn sums_of(row: Row<'_>) -> SqlResult<UsageSums> {
    let count = |column| row.get::<i64>(column).map(|count| count as u64);
    let tokens = TokenCounts { prompt: count(1)?, completion: count(2)?, reasoning: count(3)?, cached: count(4)? };
    Ok(UsageSums { answers: count(0)?, tokens })
}

/// The stored form of sums. A count that no model can reach is cut off, so that sums of many stay within the column.
fn columns(sums: &UsageSums) -> [i64; 5] {
    const COUNT_MAX: u64 = 1 << 40;
    let TokenCounts { prompt, completion, reasoning, cached } = sums.tokens;
    [sums.answers, prompt, completion, reasoning, cached].map(|count| count.min(COUNT_MAX) as i64)
}

pub(crate) const ADD: &str = "
    INSERT INTO usage (user, day, answers, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, conversation,
        conversation_at, model)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
    ON CONFLICT (user, day, conversation, model) DO UPDATE SET answers = usage.answers + ?3, prompt_tokens = usage.prompt_tokens + ?4,
        completion_tokens = usage.completion_tokens + ?5, reasoning_tokens = usage.reasoning_tokens + ?6,
        cached_tokens = usage.cached_tokens + ?7";
pub(crate) const ADD_TO_DAY: &str = "
    INSERT INTO usage_days (user, day, answers, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (user, day) DO UPDATE SET answers = usage_days.answers + ?3, prompt_tokens = usage_days.prompt_tokens + ?4,
        completion_tokens = usage_days.completion_tokens + ?5, reasoning_tokens = usage_days.reasoning_tokens + ?6,
        cached_tokens = usage_days.cached_tokens + ?7";
pub(crate) const TOKENS_USED: &str =
    "SELECT prompt_tokens + completion_tokens FROM usage_days WHERE user = ?1 AND day = ?2";
pub(crate) const DAYS: &str = "
    SELECT answers, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, day FROM usage_days
    WHERE user = ?1 AND day >= ?2 AND day <= ?3 ORDER BY day";
/// Selects the sums of a user after a place, which is a day, a conversation and a model.
pub(crate) const AFTER: &str = "
    SELECT answers, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, day, conversation, conversation_at,
        model
    FROM usage
    WHERE user = ?1 AND (day, conversation, model) > (?2, ?3, ?4) AND day <= ?5 ORDER BY day, conversation, model";
/// Selects the users with usage in a range of days.
pub(crate) const USERS: &str = "
    SELECT u.key, u.oid FROM users u
    WHERE EXISTS (SELECT 1 FROM usage_days d WHERE d.user = u.key AND d.day >= ?1 AND d.day <= ?2) ORDER BY u.key";
