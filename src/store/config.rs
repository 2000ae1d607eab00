//! How a database is opened and kept.

use crate::base::limits::*;
use crate::config::types::Database;
use crate::domain::responder::ResponderKind;

/// The settings of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Where the database is.
    pub database: Database,
    /// How long state events are kept.
    pub retention: Retention,
    /// How inboxes are filled.
    pub inbox: InboxLimits,
    /// Which responder answers messages.
    pub responders: ResponderRules,
}

impl StoreConfig {
    /// The default settings, with no responder.
    pub fn new(database: Database) -> StoreConfig {
        StoreConfig {
            database,
            retention: Retention::default(),
            inbox: InboxLimits::default(),
            responders: ResponderRules::default(),
        }
    }
}

/// How long state events are kept. When any bound is exceeded, the oldest events are removed. Messages have no retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Maximum age, in seconds.
    pub seconds: i64,
    /// Maximum number of events.
    pub events: u64,
    /// Maximum weight, in bytes, including texts and recipients.
    pub bytes: u64,
    /// Younger events are kept whatever the other bounds say, in milliseconds.
    pub young_milliseconds: u64,
}

impl Default for Retention {
    /// The defaults of the settings.
    fn default() -> Retention {
        Retention { seconds: 7 * 24 * 60 * 60, events: 10_000_000, bytes: 1 << 30, young_milliseconds: 240_000 }
    }
}

/// When inboxes are flushed, and in steps of what size. The limits do not affect what is replayed, so tests use small ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxLimits {
    /// A flush begins when so many event numbers have been assigned since the last one.
    pub flush_numbers: u64,
    /// Maximum number of recipients that a flush gathers in memory, unless a single message has more.
    pub flush_entries_max: usize,
    /// Maximum number of messages that one step gathers.
    pub step_messages_max: usize,
    /// Maximum number of inboxes that one step writes.
    pub step_users_max: usize,
    /// A chunk with at least this many bytes is full.
    pub chunk_bytes_max: usize,
}

impl Default for InboxLimits {
    fn default() -> InboxLimits {
        InboxLimits {
            flush_numbers: INBOX_FLUSH_NUMBERS,
            flush_entries_max: INBOX_FLUSH_ENTRIES_MAX,
            step_messages_max: INBOX_STEP_MESSAGES_MAX,
            step_users_max: INBOX_STEP_USERS_MAX,
            chunk_bytes_max: INBOX_CHUNK_BYTES_MAX,
        }
    }
}

/// Which responder answers messages, and which ones a conversation may choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponderRules {
    /// The responder of conversations without a choice.
    pub default: ResponderKind,
    /// What a conversation may choose, besides [`ResponderKind::None`].
    pub allowed: Vec<ResponderKind>,
}

impl ResponderRules {
    /// The responder of a conversation that chose the name `chosen`. A name that is not allowed counts as no choice.
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
    fn a_conversation_chooses_among_those_allowed() {
        use ResponderKind::{Echo, None as Off, OpenAi};
        let rules = |default, allowed: &[ResponderKind]| ResponderRules { default, allowed: allowed.to_vec() };
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
        let may_be = |rules: &ResponderRules, name| rules.chosen(name).is_some();
        assert!(may_be(&both, "none") && may_be(&both, "openai") && !may_be(&both, "") && !may_be(&only, "echo"));
        assert_eq!(both.rule(), "responder must be one of echo, openai, none");
        assert_eq!(off.rule(), "responder must be one of none");
    }
}
