//! Events covered by the runs, so that none can silently drop out.

/// A struct of counters.
macro_rules! counters {
    ($type:ident { $($name:ident,)* }) => {
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $type {
            $(pub $name: u64,)*
        }

        impl $type {
            pub fn add(&mut self, other: &$type) {
                $(self.$name += other.$name;)*
            }

            /// All counters with their names.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counters! { Coverage {
    seeds,
    steps,
    commits,
    commands,
    acknowledged,
    replayed,
    rejected,
    keys_reused,
    given_live,
    given_by_tail,
    given_by_page,
    pages,
    pages_short,
    pages_failed,
    queries_paused,
    gaps,
    heartbeats,
    caught_up,
    tokens_expired,
    renewals,
    mails_bounded,
    writer_overloads,
    reader_overloads,
    resets,
    half_closes,
    stalls_closed,
    timeouts,
    reconnects,
    streams_rejected,
    departures,
    deletions,
    notifications,
    messages_changed,
    messages_deleted,
    retentions,
    purges,
    batches_failed,
    full,
    busy,
    commits_failed,
    sessions_lost,
    replies_lost,
    crashes,
    crashes_with_messages,
    crashes_unreported,
    crashes_in_turn,
    stops,
    moves,
    ahead,
    slices,
    slices_late,
    slices_failed,
    slices_lacking,
    notices,
    notices_batched,
    notices_early,
    pages_recent,
    notices_late,
    notices_lacked,
    notices_reordered,
    notices_repeated,
    notices_dropped,
    notices_unsent,
    notices_died,
    notices_of_dead,
    bus_failures,
    answers_started,
    answers_noticed,
    answers_early,
    answers_late,
    answers_wanted,
    answers_ended,
    restarts,
    rests,
    days,
    clock_jumps,
} }
