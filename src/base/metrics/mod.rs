//! The metrics of the process, and how `/metrics` prints them.
//!
//! Invariant: label values come from fixed lists, so the number of series is bounded whatever clients send.

pub(crate) mod exposition;
mod instruments;
pub(crate) mod process;

pub(crate) use instruments::Histogram;
pub use instruments::{Counter, DURATION_BOUNDS, Durations, Gauge};

use exposition::{Exposition, Unit};

/// Bucket bounds of the number of commands in one transaction.
pub static COMMIT_BOUNDS: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// Defines the values of a label as an enumeration; a variant is the index of its counter.
macro_rules! label_values {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$value_doc])* $value),+ }

        impl $name {
            /// The label's values, in the order of the variants.
            pub(crate) const NAMES: &[&str] = &[$($text),+];
        }
    };
}

label_values! {
    /// Why a connection was not accepted.
    ConnectionRejection {
        /// `MAX_CONNECTIONS` are open; the connection waits in the kernel's queue.
        Maximum = "max_connections",
        /// Its address has `MAX_CONNECTIONS_PER_ADDRESS`; it was closed.
        Address = "address",
        /// Descriptors or memory ran out; the connection waits in the kernel's queue.
        Resources = "resources",
        /// It could not be registered with the event loop; it was closed.
        Unwatched = "not_watched",
    }
}

label_values! {
    /// Why an open connection was closed for the sake of others.
    ConnectionCut {
        /// Its peer drained a response too slowly.
        Slow = "slow",
        /// Unread responses filled their budget, and its holder had most of them.
        ResponseBytes = "response_bytes",
        /// Incomplete requests filled their budget, and its holder had most of them.
        RequestBytes = "request_bytes",
    }
}

label_values! {
    /// What a full mailbox of an event loop dropped.
    MailboxDropped {
        /// The events of a commit; streams read them from the journal.
        Events = "events",
        /// A delta of an answer; the shard requests the answer's text.
        Delta = "delta",
        /// A query result; the client gets a `503`.
        Result = "result",
    }
}

label_values! {
    /// Why a `gap` was sent.
    GapReason {
        /// An event of the user after the client's number is no longer retained.
        Removed = "removed",
        /// The client's number is not of this journal.
        Unknown = "unknown_number",
    }
}

label_values! {
    /// The result of a login.
    LoginResult {
        /// A token was issued.
        Success = "success",
        /// The email or the password is wrong.
        Wrong = "wrong",
        /// The user is disabled.
        Disabled = "disabled",
        /// The rate limit was exceeded.
        RateLimited = "rate_limited",
        /// The password could not be checked.
        Failed = "failed",
    }
}

/// Why requests were rejected: the values of the label `reason`. Any other reason counts as the last one.
pub(crate) const REJECTION_REASONS: [&str; 28] = [
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
    "expectation_failed",
    "validation_error",
    "idempotency_key_reused",
    "rate_limited",
    "quota_exceeded",
    "journal_rate",
    "too_many_streams",
    "queue_full",
    "requests_full",
    "stream_deferred",
    "too_little_memory",
    "database_unavailable",
    "database_error",
    "internal_error",
    "completion_failed",
    "other",
];

const REJECTION_OTHER: usize = REJECTION_REASONS.len() - 1;

/// Counts a rejected request.
pub fn count_rejection(reason: &str) {
    let index = REJECTION_REASONS.iter().position(|known| *known == reason).unwrap_or(REJECTION_OTHER);
    REJECTIONS[index].add(1);
}

/// Open connections.
pub(crate) static CONNECTIONS_OPEN: Gauge = Gauge::new();
/// Most open connections.
pub(crate) static CONNECTIONS_MAX: Gauge = Gauge::new();
/// Accepted connections.
pub(crate) static CONNECTIONS_ACCEPTED: Counter = Counter::new();
/// Connections that were not accepted, by `ConnectionRejection`.
pub(crate) static CONNECTIONS_REJECTED: [Counter; ConnectionRejection::NAMES.len()] =
    [const { Counter::new() }; ConnectionRejection::NAMES.len()];
/// Connections that were closed for the sake of others, by `ConnectionCut`.
pub(crate) static CONNECTIONS_CUT: [Counter; ConnectionCut::NAMES.len()] =
    [const { Counter::new() }; ConnectionCut::NAMES.len()];
/// Bytes read from connections.
pub(crate) static BYTES_RECEIVED: Counter = Counter::new();
/// Bytes written to connections.
pub(crate) static BYTES_SENT: Counter = Counter::new();
/// Bytes of responses that wait for their readers.
pub(crate) static RESPONSES_WAITING_BYTES: Gauge = Gauge::new();
/// Rejected requests, by `REJECTION_REASONS`.
static REJECTIONS: [Counter; REJECTION_REASONS.len()] = [const { Counter::new() }; REJECTION_REASONS.len()];
/// Logins, by `LoginResult`.
pub(crate) static LOGINS: [Counter; LoginResult::NAMES.len()] = [const { Counter::new() }; LoginResult::NAMES.len()];

/// Opened streams.
pub(crate) static STREAMS_OPENED: Counter = Counter::new();
/// Closed streams.
pub(crate) static STREAMS_CLOSED: Counter = Counter::new();
/// Journal pages delivered to streams.
pub(crate) static CATCHUP_PAGES: Counter = Counter::new();
/// Events in those pages.
pub(crate) static CATCHUP_EVENTS: Counter = Counter::new();
/// Journal pages that could not be read and were requested again.
pub(crate) static CATCHUP_FAILURES: Counter = Counter::new();
/// Bytes of running answers that were framed for streams.
pub(crate) static ANSWER_BYTES_FRAMED: Counter = Counter::new();
/// `gap` events sent, by `GapReason`.
pub(crate) static GAPS: [Counter; GapReason::NAMES.len()] = [const { Counter::new() }; GapReason::NAMES.len()];
/// Messages that full mailboxes dropped, by `MailboxDropped`.
pub(crate) static MAILBOX_DROPPED: [Counter; MailboxDropped::NAMES.len()] =
    [const { Counter::new() }; MailboxDropped::NAMES.len()];
/// Log lines dropped because the queue was full.
pub(crate) static LOG_LINES_DROPPED: Counter = Counter::new();

/// Commands in the writer's queue.
pub(crate) static WRITER_QUEUE: Gauge = Gauge::new();
/// Queries in the readers' queue.
pub(crate) static READER_QUEUE: Gauge = Gauge::new();
/// Checks in the password thread's queue.
pub(crate) static PASSWORD_QUEUE: Gauge = Gauge::new();
/// Messages in the answer scheduler's queue.
pub(crate) static RESPONDER_QUEUE: Gauge = Gauge::new();
/// Messages in the mailboxes of all event loops.
pub(crate) static MAILBOX_MESSAGES: Gauge = Gauge::new();

/// Transactions committed by the writer.
pub(crate) static COMMITS: Counter = Counter::new();
/// Transactions of the writer that failed.
pub(crate) static COMMITS_FAILED: Counter = Counter::new();
/// Sessions of stopped instances that this one ended, because they kept the others from their turns.
#[cfg(feature = "cluster")]
pub(crate) static TURNS_EVICTED: Counter = Counter::new();
/// How long the writer waited for its turns.
#[cfg(feature = "cluster")]
pub(crate) static TURN_WAIT: Durations = Histogram::new();
/// Live instances of the database.
#[cfg(feature = "cluster")]
pub(crate) static INSTANCES: Gauge = Gauge::new();
/// Whether this instance does the maintenance for all.
#[cfg(feature = "cluster")]
pub(crate) static INSTANCE_LEADS: Gauge = Gauge::new();
/// Leases of this instance that expired, so that its answers were taken over.
#[cfg(feature = "cluster")]
pub(crate) static LEASES_LOST: Counter = Counter::new();
/// Pages of streams that were served from the latest events, without the database server.
#[cfg(feature = "cluster")]
pub(crate) static RECENT_PAGES: Counter = Counter::new();
/// 1 while messages between instances go through.
#[cfg(feature = "cluster")]
pub(crate) static BUS_UP: Gauge = Gauge::new();
/// Notices of commits that were received from other instances.
#[cfg(feature = "cluster")]
pub(crate) static NOTICES: Counter = Counter::new();
/// Slices that were read although the bus works, because a notice did not come in time.
#[cfg(feature = "cluster")]
pub(crate) static NOTICES_MISSED: Counter = Counter::new();
/// Messages to other instances that were dropped, because too many waited.
#[cfg(feature = "cluster")]
pub(crate) static BUS_MESSAGES_DROPPED: Counter = Counter::new();
/// Messages on the bus that could not be read.
#[cfg(feature = "cluster")]
pub(crate) static BUS_MESSAGES_INVALID: Counter = Counter::new();
/// Slices of the journal that were read, because other instances had committed.
#[cfg(feature = "cluster")]
pub(crate) static SLICES: Counter = Counter::new();
/// The events in them.
#[cfg(feature = "cluster")]
pub(crate) static SLICE_EVENTS: Counter = Counter::new();
/// Checks for commits of other instances that failed.
#[cfg(feature = "cluster")]
pub(crate) static SLICES_FAILED: Counter = Counter::new();
/// Commands in the committed transactions.
pub(crate) static COMMANDS_COMMITTED: Counter = Counter::new();
/// Commands per transaction.
pub static COMMIT_COMMANDS: Histogram<{ COMMIT_BOUNDS.len() }> = Histogram::new();
/// Duration of a transaction from taking its commands to the end of its sync, in microseconds.
pub(crate) static COMMIT_DURATION: Durations = Histogram::new();
/// 1 while the database is not writable.
pub(crate) static WRITER_FAILING: Gauge = Gauge::new();
/// Created conversations.
pub(crate) static CONVERSATIONS: Counter = Counter::new();
/// Retained state events.
pub(crate) static JOURNAL_EVENTS: Gauge = Gauge::new();
/// Size of the retained state events, in bytes.
pub(crate) static JOURNAL_BYTES: Gauge = Gauge::new();
/// Time of the oldest retained state event, in microseconds since 1970; 0 without one.
pub(crate) static JOURNAL_OLDEST_AT: Gauge = Gauge::new();
/// Size of the write-ahead log after the last commit, in bytes.
pub(crate) static WAL_BYTES: Gauge = Gauge::new();

/// Failed answers.
pub(crate) static ANSWERS_FAILED: Counter = Counter::new();
/// Answer jobs that wait in memory; more may wait in their table.
pub(crate) static ANSWERS_WAITING: Gauge = Gauge::new();
/// Running answers.
pub(crate) static ANSWERS_RUNNING: Gauge = Gauge::new();
/// State of the upstream's circuit breaker: 0 closed, 1 half open, 2 open.
pub(crate) static BREAKER: Gauge = Gauge::new();

/// Prints the metrics of this module.
pub fn render(text: &mut Exposition) {
    text.counter("conversational_core_conversations_total", "Conversations created.", CONVERSATIONS.get());
    render_connections(text);
    render_streams(text);
    render_store(text);
    #[cfg(feature = "cluster")]
    render_cluster(text);
    text.counter("cortex_answers_failed_total", "Answers that failed.", ANSWERS_FAILED.get());
    text.gauge("cortex_answers_waiting", "Messages waiting for their answer.", ANSWERS_WAITING.get());
    text.gauge("cortex_answers_running", "Answers in progress.", ANSWERS_RUNNING.get());
    let help = "State of the upstream's circuit breaker: 0 closed, 1 half open, 2 open.";
    text.gauge("cortex_responder_breaker_state", help, BREAKER.get());
}

fn render_connections(text: &mut Exposition) {
    text.gauge("cortex_connections_open", "Open connections.", CONNECTIONS_OPEN.get());
    text.gauge("cortex_connections_max", "Maximum number of open connections.", CONNECTIONS_MAX.get());
    text.counter("cortex_connections_accepted_total", "Connections accepted.", CONNECTIONS_ACCEPTED.get());
    let help =
        "Pauses of accepting (max_connections, resources) and connections closed at once (address, not_watched).";
    let rejected = ("reason", ConnectionRejection::NAMES);
    text.counters("cortex_connections_refused_total", help, rejected, &CONNECTIONS_REJECTED);
    let help = "Connections closed because their peers were too slow or filled a shared budget.";
    text.counters("cortex_connections_cut_total", help, ("reason", ConnectionCut::NAMES), &CONNECTIONS_CUT);
    text.counter("cortex_received_bytes_total", "Bytes read from connections.", BYTES_RECEIVED.get());
    text.counter("cortex_sent_bytes_total", "Bytes written to connections.", BYTES_SENT.get());
    let help = "Requests rejected, by reason.";
    text.counters("cortex_refusals_total", help, ("reason", &REJECTION_REASONS), &REJECTIONS);
    text.counters("cortex_logins_total", "Logins, by result.", ("result", LoginResult::NAMES), &LOGINS);
}

fn render_streams(text: &mut Exposition) {
    text.counter("cortex_streams_opened_total", "Streams opened.", STREAMS_OPENED.get());
    text.counter("cortex_streams_closed_total", "Streams closed.", STREAMS_CLOSED.get());
    text.counter("cortex_catchup_pages_total", "Journal pages delivered to streams.", CATCHUP_PAGES.get());
    text.counter("cortex_catchup_events_total", "Events in those pages.", CATCHUP_EVENTS.get());
    let help = "Journal pages that could not be read and were requested again.";
    text.counter("cortex_catchup_failures_total", help, CATCHUP_FAILURES.get());
    let help = "Bytes of running answers that were framed for streams; streams share frames.";
    text.counter("cortex_answer_framed_bytes_total", help, ANSWER_BYTES_FRAMED.get());
    text.counters("cortex_gaps_total", "Gap events sent, by reason.", ("reason", GapReason::NAMES), &GAPS);
    let help = "Messages dropped by a full mailbox of an event loop, to be read again.";
    text.counters("cortex_mailbox_dropped_total", help, ("what", MailboxDropped::NAMES), &MAILBOX_DROPPED);
    let help = "Log lines dropped because the queue was full.";
    text.counter("cortex_log_lines_dropped_total", help, LOG_LINES_DROPPED.get());
    text.family("cortex_queue_items", "gauge", "Items in each queue.");
    let queues = [
        ("writer", &WRITER_QUEUE),
        ("readers", &READER_QUEUE),
        ("passwords", &PASSWORD_QUEUE),
        ("responders", &RESPONDER_QUEUE),
        ("mailboxes", &MAILBOX_MESSAGES),
    ];
    for (queue, gauge) in queues {
        text.sample("cortex_queue_items", &[("queue", queue)], gauge.get());
    }
}

#[cfg(feature = "cluster")]
fn render_cluster(text: &mut Exposition) {
    text.gauge("cortex_instances", "Live instances of the database.", INSTANCES.get());
    text.gauge("cortex_instance_leads", "1 while this instance does the maintenance for all.", INSTANCE_LEADS.get());
    let help = "Leases of this instance that expired, so that its answers were taken over.";
    text.counter("cortex_leases_lost_total", help, LEASES_LOST.get());
    text.family("cortex_turn_wait_seconds", "histogram", "Time that the writer waited for its turns.");
    text.durations("cortex_turn_wait_seconds", &[], &TURN_WAIT);
    let help = "Sessions of stopped instances that were ended, because they kept the others from their turns.";
    text.counter("cortex_turns_evicted_total", help, TURNS_EVICTED.get());
    let help = "Pages of streams that were served from the latest events, without the database server.";
    text.counter("cortex_recent_pages_total", help, RECENT_PAGES.get());
    text.gauge("cortex_bus_up", "1 while messages between instances go through.", BUS_UP.get());
    let help = "Notices of commits that were received from other instances.";
    text.counter("cortex_notices_total", help, NOTICES.get());
    let help = "Slices that were read although the bus works, because a notice did not come in time.";
    text.counter("cortex_notices_missed_total", help, NOTICES_MISSED.get());
    let help = "Messages to other instances that were dropped, because too many waited.";
    text.counter("cortex_bus_messages_dropped_total", help, BUS_MESSAGES_DROPPED.get());
    let help = "Messages on the bus that could not be read.";
    text.counter("cortex_bus_messages_invalid_total", help, BUS_MESSAGES_INVALID.get());
    let help = "Slices of the journal that were read, because other instances had committed.";
    text.counter("cortex_slices_total", help, SLICES.get());
    text.counter("cortex_slice_events_total", "Events in these slices.", SLICE_EVENTS.get());
    let help = "Checks for commits of other instances that failed.";
    text.counter("cortex_slices_failed_total", help, SLICES_FAILED.get());
}

fn render_store(text: &mut Exposition) {
    text.counter("cortex_commits_total", "Transactions committed by the writer.", COMMITS.get());
    text.counter("cortex_commits_failed_total", "Transactions of the writer that failed.", COMMITS_FAILED.get());
    let help = "Commands in the transactions committed by the writer.";
    text.counter("cortex_commands_committed_total", help, COMMANDS_COMMITTED.get());
    text.family("cortex_commit_commands", "histogram", "Commands per transaction.");
    text.histogram("cortex_commit_commands", &[], (&COMMIT_BOUNDS, Unit::One), &COMMIT_COMMANDS);
    text.family("cortex_commit_duration_seconds", "histogram", "Time to commit and sync a transaction.");
    text.durations("cortex_commit_duration_seconds", &[], &COMMIT_DURATION);
    text.gauge("cortex_writer_failing", "1 while the database is not writable.", WRITER_FAILING.get());
    text.gauge("cortex_journal_events", "State events retained in the journal.", JOURNAL_EVENTS.get());
    text.gauge("cortex_journal_bytes", "Size of the retained state events.", JOURNAL_BYTES.get());
    text.gauge("cortex_wal_bytes", "Size of the write-ahead log after the last commit.", WAL_BYTES.get());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_increase_and_names_are_distinct() {
        assert!(DURATION_BOUNDS.is_sorted() && COMMIT_BOUNDS.is_sorted());
        assert_eq!(*COMMIT_BOUNDS.last().unwrap(), crate::base::limits::TRANSACTION_COMMANDS_MAX as u64);
        let lists = [
            ConnectionRejection::NAMES,
            MailboxDropped::NAMES,
            GapReason::NAMES,
            LoginResult::NAMES,
            &REJECTION_REASONS,
        ];
        for names in lists {
            let distinct: std::collections::HashSet<_> = names.iter().collect();
            assert_eq!(distinct.len(), names.len());
        }
    }

    #[test]
    fn an_unknown_reason_adds_no_series() {
        let before = REJECTIONS[REJECTION_OTHER].get();
        count_rejection("x\"\n");
        assert_eq!(REJECTIONS[REJECTION_OTHER].get(), before + 1);
    }
}
