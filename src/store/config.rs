//! The settings of a store.

use crate::base::limits::*;
use crate::base::memory_plan::MemoryPlan;
use crate::config::types::Database;
use crate::domain::responder::ResponderKind;
use std::sync::Arc;

/// The settings of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The location of the database.
    pub database: Database,
    /// How long state events are kept.
    pub retention: Retention,
    /// The rate of each user's state events; `None` is no limit.
    pub event_rate: Option<EventRate>,
    /// When messages are flushed to inboxes and to the index by conversation, and in which steps.
    pub flush: FlushLimits,
    /// Maximum number of rows of participants that one step of notifying them of a deleted workspace examines.
    pub notified_rows_max: usize,
    /// Rows that one step of a query examines. The bound does not affect results, so tests use small ones.
    pub query_rows_max: usize,
    /// The responders that conversations may use.
    pub responders: ResponderRules,
    /// Tokens of prompts and completions after which a user's messages are no longer answered by a model on that day (UTC);
    /// `None` is no limit.
    pub tokens_per_day_max: Option<u64>,
    /// The budgets of memory.
    pub memory: MemoryPlan,
}

impl StoreConfig {
    /// The default settings, with no responder and no limit of memory.
    pub fn new(database: Database) -> StoreConfig {
        StoreConfig {
            database,
            retention: Retention::default(),
            event_rate: None,
            flush: FlushLimits::default(),
            notified_rows_max: NOTIFIED_ROWS_MAX,
            query_rows_max: QUERY_ROWS_EXAMINED_MAX,
            responders: ResponderRules::default(),
            tokens_per_day_max: None,
            memory: MemoryPlan::unlimited(),
        }
    }
}

/// How long state events are kept. While any bound is exceeded, the oldest events are removed. Messages have no retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Maximum age, in seconds.
    pub seconds: i64,
    /// Maximum number of events.
    pub events: u64,
    /// Maximum total weight, in bytes, including texts and recipients.
    pub bytes: u64,
    /// Minimum age, in milliseconds: younger events are kept even if another bound is exceeded.
    pub young_milliseconds: u64,
}

impl Default for Retention {
    /// The default of each setting.
    fn default() -> Retention {
        Retention { seconds: 7 * 24 * 60 * 60, events: 10_000_000, bytes: 1 << 30, young_milliseconds: 240_000 }
    }
}

impl Retention {
    /// The rate of each user's state events with which those that are still too young to be removed take no more than a part of
    /// the journal.
    pub fn event_rate(&self) -> EventRate {
        let burst_bytes = self.bytes / YOUNG_EVENTS_PARTS / 2;
        let bytes_per_second = u128::from(burst_bytes) * 1000 / u128::from(self.young_milliseconds.max(1));
        EventRate { bytes_per_second: bytes_per_second.clamp(1, u128::from(u64::MAX)) as u64, burst_bytes }
    }
}

/// A rate of state events, in bytes of their weight in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRate {
    /// The bytes of each second; at least 1.
    pub bytes_per_second: u64,
    /// The bytes that may be written at once.
    pub burst_bytes: u64,
}

/// When messages are flushed to inboxes and to the index by conversation, and the size of the steps. The limits do not affect the
/// results of queries, so tests use small ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushLimits {
    /// A flush of inboxes begins when this many event numbers have been assigned since the last one.
    pub inbox_flush_numbers: u64,
    /// Maximum number of recipients that a flush of inboxes gathers in memory, unless a single message has more.
    pub inbox_entries_max: usize,
    /// Maximum number of messages that one step of a flush of inboxes gathers.
    pub step_messages_max: usize,
    /// Maximum number of inboxes that one step writes.
    pub step_users_max: usize,
    /// Size at which a chunk is full, in bytes.
    pub chunk_bytes_max: usize,
    /// A flush of the index by conversation begins when this many event numbers have been assigned since the last one.
    pub index_flush_numbers: u64,
    /// Or when messages with this many bytes have been inserted.
    pub index_flush_bytes: usize,
    /// Maximum number of messages that one step adds to the index by conversation.
    pub step_indexed_max: usize,
}

impl Default for FlushLimits {
    fn default() -> FlushLimits {
        FlushLimits {
            inbox_flush_numbers: INBOX_FLUSH_NUMBERS,
            inbox_entries_max: INBOX_FLUSH_ENTRIES_MAX,
            step_messages_max: INBOX_STEP_MESSAGES_MAX,
            step_users_max: INBOX_STEP_USERS_MAX,
            chunk_bytes_max: INBOX_CHUNK_BYTES_MAX,
            index_flush_numbers: INDEX_FLUSH_NUMBERS,
            index_flush_bytes: INDEX_FLUSH_BYTES,
            step_indexed_max: INDEX_STEP_MESSAGES_MAX,
        }
    }
}

/// The default responder, and the responders that a conversation may choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponderRules {
    /// The responder of conversations that chose none.
    pub default: ResponderKind,
    /// The responders that a conversation may choose, besides [`ResponderKind::None`].
    pub allowed: Vec<ResponderKind>,
    /// The models that a conversation may choose.
    pub models: Vec<Arc<str>>,
    /// Maximum number of answers per user that models write at once, over all instances.
    pub answers_per_user_max: u32,
}

impl ResponderRules {
    /// The responder of a conversation that chose the name `chosen`. A name that is not allowed is ignored.
    pub(crate) fn answering(&self, chosen: Option<&str>) -> Option<ResponderKind> {
        let kind = chosen.and_then(|name| self.chosen(name)).unwrap_or(self.default);
        Some(kind).filter(|kind| *kind != ResponderKind::None)
    }

    /// The responder with this name, if a conversation may choose it.
    pub(crate) fn chosen(&self, name: &str) -> Option<ResponderKind> {
        ResponderKind::parse(name).filter(|kind| *kind == ResponderKind::None || self.allowed.contains(kind))
    }

    /// The error message for a choice that is not allowed.
    pub(crate) fn rule(&self) -> String {
        let kinds = self.allowed.iter().copied().filter(|kind| *kind != ResponderKind::None);
        let names: Vec<&str> = kinds.chain([ResponderKind::None]).map(ResponderKind::as_str).collect();
        format!("responder must be one of {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn young_events_of_one_user_take_half_of_the_journal() {
        for (bytes, young_milliseconds) in [(1 << 30, 240_000), (1 << 16, 86_400_000), (1 << 50, 200)] {
            let retention = Retention { bytes, young_milliseconds, ..Retention::default() };
            let EventRate { bytes_per_second, burst_bytes } = retention.event_rate();
            let young = u128::from(burst_bytes) + u128::from(bytes_per_second) * u128::from(young_milliseconds) / 1000;
            assert!(young <= u128::from(bytes / 2) || bytes_per_second == 1, "{young} of {bytes}");
        }
        assert_eq!(Retention::default().event_rate(), EventRate { bytes_per_second: 1_118_481, burst_bytes: 1 << 28 });
    }

    #[test]
    fn a_conversation_chooses_among_the_allowed_responders() {
        use ResponderKind::{Echo, None as Off, OpenAi};
        let rules = |default, allowed: &[ResponderKind]| ResponderRules {
            default,
            allowed: allowed.to_vec(),
            models: Vec::new(),
            answers_per_user_max: 1,
        };
        let both = rules(Echo, &[Echo, OpenAi]);
        let only = rules(Off, &[OpenAi]);
        let off = rules(Off, &[]);
        let table = [
            (&both, None, Some("echo")),
            (&both, Some("openai"), Some("openai")),
            (&both, Some("none"), None),
            (&both, Some("parrot"), Some("echo")),
            (&only, None, None),
            (&only, Some("openai"), Some("openai")),
            (&only, Some("echo"), None),
            (&off, None, None),
            (&off, Some("echo"), None),
        ];
        for (rules, chosen, expected) in table {
            assert_eq!(rules.answering(chosen).map(ResponderKind::as_str), expected, "{rules:?} {chosen:?}");
        }
        let is_allowed = |rules: &ResponderRules, name| rules.chosen(name).is_some();
        assert!(is_allowed(&both, "none") && is_allowed(&both, "openai"));
        assert!(!is_allowed(&both, "") && !is_allowed(&only, "echo"));
        assert_eq!(both.rule(), "responder must be one of echo, openai, none");
        assert_eq!(off.rule(), "responder must be one of none");
    }
}
