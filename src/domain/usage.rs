//! Tokens that answers use, and their sums by day.

use crate::base::time::WallTime;
use crate::domain::id::{ConversationId, UserId};
use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;

/// Seconds in a day of the calendar (UTC).
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// A day of the calendar (UTC), as the number of days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub i64);

impl Day {
    /// The day of a time.
    pub fn of(at: WallTime) -> Day {
        Day(at.seconds().div_euclid(DAY_SECONDS))
    }

    /// The time until the next day begins, in seconds, rounded up; at least 1.
    pub fn seconds_left(at: WallTime) -> u64 {
        (DAY_SECONDS - at.seconds().rem_euclid(DAY_SECONDS)) as u64
    }

    /// Parses a date of the form `2026-01-31`.
    pub fn parse(raw: &str) -> Option<Day> {
        WallTime::parse_rfc3339(&format!("{raw}T00:00:00.000000Z")).map(Day::of)
    }
}

impl fmt::Display for Day {
    /// The form that [`Day::parse`] reads, for the years 0000 to 9999.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let midnight = WallTime(0).plus_seconds(self.0.saturating_mul(DAY_SECONDS)).rfc3339();
        f.write_str(std::str::from_utf8(&midnight[..10]).expect("digits are ASCII"))
    }
}

/// The tokens that a model used for one answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// The model, as the upstream server names it; empty if it does not.
    pub model: Arc<str>,
    /// The counts.
    pub tokens: TokenCounts,
}

/// Counts of tokens. `completion` includes `reasoning`, and `prompt` includes `cached`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// Tokens of the prompts.
    pub prompt: u64,
    /// Tokens of the completions.
    pub completion: u64,
    /// Tokens of the reasoning.
    pub reasoning: u64,
    /// Tokens of the prompts that were read from a cache.
    pub cached: u64,
}

/// The usage of several answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageSums {
    /// The number of answers.
    pub answers: u64,
    /// Their tokens.
    pub tokens: TokenCounts,
}

impl AddAssign for UsageSums {
    fn add_assign(&mut self, added: UsageSums) {
        let (sums, more) = (&mut self.tokens, added.tokens);
        self.answers = self.answers.saturating_add(added.answers);
        sums.prompt = sums.prompt.saturating_add(more.prompt);
        sums.completion = sums.completion.saturating_add(more.completion);
        sums.reasoning = sums.reasoning.saturating_add(more.reasoning);
        sums.cached = sums.cached.saturating_add(more.cached);
    }
}

/// The property by which usage is grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageBy {
    /// The day.
    Day,
    /// The conversation.
    Conversation,
    /// The model.
    Model,
    /// The user. Only operators see more than one.
    User,
}

/// The value of that property in one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsageKey {
    /// A day.
    Day(Day),
    /// A conversation, which may be deleted; `None` for answers outside of conversations.
    Conversation(Option<ConversationId>),
    /// A model; empty if the upstream server did not name it.
    Model(Arc<str>),
    /// A user.
    User(UserId),
}

/// A part of the calendar. Both days are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayRange {
    /// The first day.
    pub from: Day,
    /// The last day.
    pub to: Day,
}

/// Usage by group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// The property by which it is grouped.
    pub by: UsageBy,
    /// The groups: days in order, others by their first use.
    pub groups: Vec<(UsageKey, UsageSums)>,
    /// The sums of all groups, also of those that are left out.
    pub total: UsageSums,
    /// Whether groups were left out, since there are too many.
    pub truncated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let table = [
            ("1970-01-01T00:00:00.000000Z", "1970-01-01", 86_400),
            ("2024-02-29T23:59:59.999999Z", "2024-02-29", 1),
            ("2026-01-31T09:15:30.123456Z", "2026-01-31", 53_070),
            ("1969-12-31T23:59:59.000000Z", "1969-12-31", 1),
        ];
        for (time, day, left) in table {
            let at = WallTime::parse_rfc3339(time).unwrap();
            assert_eq!((Day::of(at).to_string().as_str(), Day::seconds_left(at)), (day, left), "{time}");
            assert_eq!(Day::parse(day), Some(Day::of(at)));
        }
        for bad in ["", "2026-02-29", "2026-1-31", "2026-01-31T", "20260131", "2026-01-32"] {
            assert_eq!(Day::parse(bad), None, "{bad}");
        }
    }
}
