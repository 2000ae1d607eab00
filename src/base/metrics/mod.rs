//! What the process counts. Counting is one relaxed atomic addition, or two for a histogram: no lock, no allocation.
//!
//! Invariant: label values come from fixed lists, so that the number of series is bounded whatever clients send.

pub mod process;
pub mod text;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use text::{Text, Unit};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One that stands at 0.
    pub const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One that stands at 0.
    pub const fn new() -> Gauge {
        Gauge(AtomicU64::new(0))
    }

    /// Says what it is now.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Takes `n` away, which was added before.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// How many observations are at most as large as each of some bounds; its memory is all zeroes until it is used.
#[derive(Debug)]
pub struct Histogram<const BUCKETS: usize> {
    /// Observations up to each bound and above the one before.
    buckets: [AtomicU64; BUCKETS],
    above: AtomicU64,
    sum: AtomicU64,
}

/// A histogram of durations.
pub type Durations = Histogram<{ DURATION_BOUNDS.len() }>;

/// Bounds of durations, in microseconds: from a commit in memory to a request that waited for its time limit.
pub static DURATION_BOUNDS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];
/// Bounds of the number of commands in one commit.
pub static COMMIT_BOUNDS: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

impl<const BUCKETS: usize> Histogram<BUCKETS> {
    /// One that has observed nothing.
    pub const fn new() -> Histogram<BUCKETS> {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS], above: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    /// Counts an observation; `bounds` are the same at every call.
    pub fn observe(&self, bounds: &[u64; BUCKETS], value: u64) {
        let place = bounds.iter().position(|bound| value <= *bound);
        place.map_or(&self.above, |place| &self.buckets[place]).fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// The observations up to each bound and above the one before, and above the last.
    pub fn counts(&self) -> ([u64; BUCKETS], u64) {
        (self.buckets.each_ref().map(|bucket| bucket.load(Relaxed)), self.above.load(Relaxed))
    }

    /// All observations added up.
    pub fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }
}

impl<const BUCKETS: usize> Default for Histogram<BUCKETS> {
    fn default() -> Histogram<BUCKETS> {
        Histogram::new()
    }
}

/// Counters that a label tells apart, whose values stand in `NAMES` in the order of an enumeration.
macro_rules! labelled {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$value_doc])* $value),+ }

        impl $name {
            /// The values of the label, in order.
            pub const NAMES: &[&str] = &[$($text),+];
        }
    };
}

labelled! {
    /// Why a connection was not taken.
    ConnectionRefused {
        /// There are `MAX_CONNECTIONS`; it waits until one has gone.
        Maximum = "max_connections",
        /// Its address has `MAX_CONNECTIONS_PER_ADDRESS`; it was closed.
        Address = "address",
        /// The kernel could not give it out, for want of descriptors or memory; it waits.
        Resources = "resources",
        /// It could not be watched, and was closed.
        Unwatched = "not_watched",
    }
}

labelled! {
    /// What was left out of a full mailbox of an event loop.
    MailboxDropped {
        /// The events of a commit; streams get them from the journal.
        Events = "events",
        /// A piece of an answer; its text is asked for.
        Delta = "delta",
        /// What a reader found; the client is asked to come again.
        Answer = "answer",
    }
}

labelled! {
    /// Why a stream was told of a gap.
    Gap {
        /// An event of its user's after the client's number is no longer kept.
        Removed = "removed",
        /// The client's number is not of this journal.
        Unknown = "unknown_number",
    }
}

labelled! {
    /// How a login ended.
    Login {
        /// With a token.
        Success = "success",
        /// Email or password were wrong.
        Wrong = "wrong",
        /// The user is switched off.
        Disabled = "disabled",
        /// There were too many of them.
        RateLimited = "rate_limited",
        /// It could not be checked.
        Failed = "failed",
    }
}

/// Why requests were refused, each a value of the label `reason`; what is none of these counts as the last.
pub const REFUSAL_REASONS: [&str; 23] = [
    "bad_request",
    "host_not_served",
    "unauthorized",
    "forbidden",
    "not_found",
    "method_not_allowed",
    "request_timeout",
    "conflict",
    "payload_too_large",
    "uri_too_long",
    "headers_too_large",
    "unsupported_media_type",
    "validation_error",
    "idempotency_key_reused",
    "rate_limited",
    "too_many_streams",
    "queue_full",
    "replies_full",
    "stream_deferred",
    "database_unavailable",
    "database_error",
    "internal_error",
    "other",
];

const REFUSALS_OTHER: usize = REFUSAL_REASONS.len() - 1;

/// A request was refused for this reason.
pub fn refused(reason: &str) {
    let place = REFUSAL_REASONS.iter().position(|known| *known == reason).unwrap_or(REFUSALS_OTHER);
    REFUSALS[place].add(1);
}

/// Connections that are open.
pub static CONNECTIONS_OPEN: Gauge = Gauge::new();
/// Connections that may be open.
pub static CONNECTIONS_MAX: Gauge = Gauge::new();
/// Connections that were taken.
pub static CONNECTIONS_ACCEPTED: Counter = Counter::new();
/// Connections that were not, by `ConnectionRefused`.
pub static CONNECTIONS_REFUSED: [Counter; ConnectionRefused::NAMES.len()] =
    [const { Counter::new() }; ConnectionRefused::NAMES.len()];
/// Bytes that were read from connections.
pub static BYTES_RECEIVED: Counter = Counter::new();
/// Bytes that were written to connections.
pub static BYTES_SENT: Counter = Counter::new();
/// Bytes of answers that wait for their readers.
pub static REPLY_BYTES: Gauge = Gauge::new();
/// Why requests were refused, by `REFUSAL_REASONS`; `refused` counts.
static REFUSALS: [Counter; REFUSAL_REASONS.len()] = [const { Counter::new() }; REFUSAL_REASONS.len()];
/// How logins ended, by `Login`.
pub static LOGINS: [Counter; Login::NAMES.len()] = [const { Counter::new() }; Login::NAMES.len()];

/// Streams that were opened.
pub static STREAMS_OPENED: Counter = Counter::new();
/// Streams that have ended.
pub static STREAMS_CLOSED: Counter = Counter::new();
/// Pages of the journal that streams were given.
pub static CATCHUP_PAGES: Counter = Counter::new();
/// Events in them.
pub static CATCHUP_EVENTS: Counter = Counter::new();
/// Pages that could not be had, and were asked for again.
pub static CATCHUP_FAILURES: Counter = Counter::new();
/// Gaps that streams were told of, by `Gap`.
pub static GAPS: [Counter; Gap::NAMES.len()] = [const { Counter::new() }; Gap::NAMES.len()];
/// What was left out of full mailboxes, by `MailboxDropped`.
pub static MAILBOX_DROPPED: [Counter; MailboxDropped::NAMES.len()] =
    [const { Counter::new() }; MailboxDropped::NAMES.len()];
/// Log lines that were dropped because too many waited.
pub static LOG_LINES_DROPPED: Counter = Counter::new();

/// Changes that wait for the writer.
pub static WRITER_QUEUE: Gauge = Gauge::new();
/// Questions that wait for the readers.
pub static READER_QUEUE: Gauge = Gauge::new();
/// Passwords that wait to be checked.
pub static PASSWORD_QUEUE: Gauge = Gauge::new();
/// News that wait for the responders.
pub static RESPONDER_QUEUE: Gauge = Gauge::new();
/// What waits in the mailboxes of all event loops.
pub static MAILS: Gauge = Gauge::new();

/// Transactions that the writer committed.
pub static COMMITS: Counter = Counter::new();
/// Transactions that failed.
pub static COMMITS_FAILED: Counter = Counter::new();
/// Commands in the transactions that were committed.
pub static COMMANDS_COMMITTED: Counter = Counter::new();
/// How many commands each had.
pub static COMMIT_COMMANDS: Histogram<{ COMMIT_BOUNDS.len() }> = Histogram::new();
/// How long each took, from taking the commands to the end of its sync, in microseconds.
pub static COMMIT_DURATION: Durations = Histogram::new();
/// 1 while the database cannot be written to.
pub static WRITER_FAILING: Gauge = Gauge::new();
/// Conversations that were made.
pub static CONVERSATIONS: Counter = Counter::new();
/// Events kept that are no messages.
pub static JOURNAL_EVENTS: Gauge = Gauge::new();
/// What they weigh, in bytes.
pub static JOURNAL_BYTES: Gauge = Gauge::new();
/// When the oldest of them was made, in microseconds since 1970; 0 if there is none.
pub static JOURNAL_OLDEST_AT: Gauge = Gauge::new();
/// The write-ahead log as of the newest commit, in bytes.
pub static WAL_BYTES: Gauge = Gauge::new();

/// Answers that failed.
pub static ANSWERS_FAILED: Counter = Counter::new();
/// Orders to answer that wait in memory; more may wait in their table.
pub static ANSWERS_WAITING: Gauge = Gauge::new();
/// Answers that are under way.
pub static ANSWERS_RUNNING: Gauge = Gauge::new();
/// Where the circuit breaker of the upstream stands: 0 closed, 1 half open, 2 open.
pub static BREAKER: Gauge = Gauge::new();

/// Writes all that is counted here.
pub fn render(text: &mut Text) {
    text.counter("conversational_core_conversations_total", "Conversations created.", CONVERSATIONS.get());
    render_connections(text);
    render_streams(text);
    render_store(text);
    text.counter("cortex_answers_failed_total", "Answers that failed.", ANSWERS_FAILED.get());
    text.gauge("cortex_answers_waiting", "Messages that wait for their answer.", ANSWERS_WAITING.get());
    text.gauge("cortex_answers_running", "Answers under way.", ANSWERS_RUNNING.get());
    let help = "Circuit breaker of the responders' upstream: 0 closed, 1 half open, 2 open.";
    text.gauge("cortex_responder_breaker_state", help, BREAKER.get());
}

fn render_connections(text: &mut Text) {
    text.gauge("cortex_connections_open", "Open connections.", CONNECTIONS_OPEN.get());
    text.gauge("cortex_connections_max", "Connections that may be open.", CONNECTIONS_MAX.get());
    text.counter("cortex_connections_accepted_total", "Connections accepted.", CONNECTIONS_ACCEPTED.get());
    let help = "Times that accepting paused (max_connections, resources) or a connection was closed at once (address, not_watched).";
    let refused = ("reason", ConnectionRefused::NAMES);
    text.counters("cortex_connections_refused_total", help, refused, &CONNECTIONS_REFUSED);
    text.counter("cortex_received_bytes_total", "Bytes read from connections.", BYTES_RECEIVED.get());
    text.counter("cortex_sent_bytes_total", "Bytes written to connections.", BYTES_SENT.get());
    let help = "Requests refused, by reason.";
    text.counters("cortex_refusals_total", help, ("reason", &REFUSAL_REASONS), &REFUSALS);
    text.counters("cortex_logins_total", "Logins, by how they ended.", ("result", Login::NAMES), &LOGINS);
}

fn render_streams(text: &mut Text) {
    text.counter("cortex_streams_opened_total", "Streams opened.", STREAMS_OPENED.get());
    text.counter("cortex_streams_closed_total", "Streams that have ended.", STREAMS_CLOSED.get());
    text.counter("cortex_catchup_pages_total", "Journal pages given to streams.", CATCHUP_PAGES.get());
    text.counter("cortex_catchup_events_total", "Events in those pages.", CATCHUP_EVENTS.get());
    let help = "Journal pages that could not be read, and were asked for again.";
    text.counter("cortex_catchup_failures_total", help, CATCHUP_FAILURES.get());
    text.counters("cortex_gaps_total", "Gaps that streams were told of.", ("reason", Gap::NAMES), &GAPS);
    let help = "What a full mailbox of an event loop left out, to be fetched again.";
    text.counters("cortex_mailbox_dropped_total", help, ("what", MailboxDropped::NAMES), &MAILBOX_DROPPED);
    let help = "Log lines dropped because too many waited.";
    text.counter("cortex_log_lines_dropped_total", help, LOG_LINES_DROPPED.get());
    text.family("cortex_queue_items", "gauge", "What waits in each queue.");
    let queues = [
        ("writer", &WRITER_QUEUE),
        ("readers", &READER_QUEUE),
        ("passwords", &PASSWORD_QUEUE),
        ("responders", &RESPONDER_QUEUE),
        ("mailboxes", &MAILS),
    ];
    for (queue, gauge) in queues {
        text.sample("cortex_queue_items", &[("queue", queue)], gauge.get());
    }
}

fn render_store(text: &mut Text) {
    text.counter("cortex_commits_total", "Transactions committed by the writer.", COMMITS.get());
    text.counter("cortex_commits_failed_total", "Transactions of the writer that failed.", COMMITS_FAILED.get());
    let help = "Commands in the transactions committed by the writer.";
    text.counter("cortex_commands_committed_total", help, COMMANDS_COMMITTED.get());
    text.family("cortex_commit_commands", "histogram", "Commands per transaction.");
    text.histogram("cortex_commit_commands", &[], (&COMMIT_BOUNDS, Unit::One), &COMMIT_COMMANDS);
    text.family("cortex_commit_duration_seconds", "histogram", "Time to commit and sync a transaction.");
    text.durations("cortex_commit_duration_seconds", &[], &COMMIT_DURATION);
    text.gauge("cortex_writer_failing", "1 while the database cannot be written to.", WRITER_FAILING.get());
    text.gauge("cortex_journal_events", "Events kept that are no messages.", JOURNAL_EVENTS.get());
    text.gauge("cortex_journal_bytes", "Size of the events kept that are no messages.", JOURNAL_BYTES.get());
    text.gauge("cortex_wal_bytes", "Write-ahead log as of the newest commit.", WAL_BYTES.get());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_is_in_the_first_bucket_whose_bound_is_not_below_it() {
        let histogram: Histogram<3> = Histogram::new();
        let bounds = [1, 10, 100];
        for value in [0, 1, 2, 10, 11, 100, 101, 5000] {
            histogram.observe(&bounds, value);
        }
        assert_eq!(histogram.counts(), ([2, 2, 2], 2));
        assert_eq!(histogram.sum(), 5225);
    }

    #[test]
    fn bounds_grow_and_names_differ() {
        assert!(DURATION_BOUNDS.is_sorted() && COMMIT_BOUNDS.is_sorted());
        assert_eq!(*COMMIT_BOUNDS.last().unwrap(), crate::base::limits::TRANSACTION_COMMANDS_MAX as u64);
        for names in [ConnectionRefused::NAMES, MailboxDropped::NAMES, Gap::NAMES, Login::NAMES, &REFUSAL_REASONS] {
            let distinct: std::collections::HashSet<_> = names.iter().collect();
            assert_eq!(distinct.len(), names.len());
        }
    }

    #[test]
    fn an_unheard_of_reason_makes_no_new_series() {
        let before = REFUSALS[REFUSALS_OTHER].get();
        refused("x\"\n");
        assert_eq!(REFUSALS[REFUSALS_OTHER].get(), before + 1);
    }
}
