//! What all shards share: how the writer is, under one lock how many streams a user has and which streams there are, and,
//! under a lock of its own, rate buckets.
//!
//! Invariant: `streams_of[user]` is the number of rows of `user` in `streams`, and no user stands there with none.

use crate::api::StreamId;
use crate::api::ops::StreamsSurvey;
use crate::base::limits::WRITER_STUCK_MILLISECONDS;
use crate::base::time::{MonoTime, Now, WallTime};
use crate::domain::health::WriterFault;
use crate::domain::id::{EventNumber, UserId};
use crate::shard::shared::rate_limiter::RateLimiter;
use crate::wire::stream::OpenStream;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

/// One open stream, as every shard may look at it; its own shard keeps it up to date.
#[derive(Debug)]
pub struct StreamStats {
    /// Whose it is.
    pub user: UserId,
    /// When it was opened.
    pub since: WallTime,
    /// Whether it has been given everything.
    pub live: AtomicBool,
    /// The number through which it has been given everything, while it is behind.
    pub cursor: AtomicU64,
    /// Bytes that wait for its reader.
    pub bytes_waiting: AtomicU64,
    /// Since when it has not been live, in microseconds of `MonoTime`; meaningless while it is.
    behind_since: AtomicU64,
    expires_at: AtomicI64,
}

impl StreamStats {
    /// A stream that is opened now, with a token that ends at `expires_at`.
    pub fn new(user: UserId, now: Now, expires_at: WallTime) -> StreamStats {
        StreamStats {
            user,
            since: now.wall,
            live: AtomicBool::new(false),
            cursor: AtomicU64::new(0),
            bytes_waiting: AtomicU64::new(0),
            behind_since: AtomicU64::new(now.mono.0),
            expires_at: AtomicI64::new(expires_at.0),
        }
    }

    /// Notes whether it has been given everything.
    pub fn set_live(&self, live: bool, now: MonoTime) {
        if self.live.load(Relaxed) && !live {
            self.behind_since.store(now.0, Relaxed);
        }
        self.live.store(live, Relaxed);
    }

    /// When its token ends.
    pub fn expires_at(&self) -> WallTime {
        WallTime(self.expires_at.load(Relaxed))
    }

    /// The stream as its owner sees it in a list, at this position of the journal.
    pub fn describe(&self, id: StreamId, position: EventNumber) -> OpenStream {
        let live = self.live.load(Relaxed);
        let behind = position.0.saturating_sub(self.cursor.load(Relaxed));
        OpenStream {
            stream_id: id.to_string(),
            since: self.since,
            live,
            events_behind: if live { 0 } else { behind },
            bytes_behind: self.bytes_waiting.load(Relaxed),
        }
    }

    /// Extends it through the end of a newer token; never shortens it.
    pub fn renew(&self, expires_at: WallTime) {
        self.expires_at.fetch_max(expires_at.0, Relaxed);
    }
}

/// Shared by all shards of a process.
#[derive(Debug, Default)]
pub struct StreamRegistry {
    /// Who may ask how often.
    pub rate_limiter: RateLimiter,
    tables: Mutex<StreamTables>,
    /// The journal's position as last committed; a stream that starts now starts here.
    position: AtomicU64,
    /// What is wrong with the writer: 0 for nothing, else one more than the place in `WriterFault::ALL`.
    trouble: AtomicU8,
    /// Since when the writer has been in a transaction, in microseconds of `MonoTime` and one more; 0 while it is in none.
    writing_since: AtomicU64,
}

#[derive(Debug, Default)]
struct StreamTables {
    streams: HashMap<StreamId, Arc<StreamStats>>,
    streams_of: HashMap<UserId, u32>,
}

impl StreamRegistry {
    /// The journal's position as last committed.
    pub fn position(&self) -> EventNumber {
        EventNumber(self.position.load(std::sync::atomic::Ordering::Acquire))
    }

    /// Told by the writer's side before anybody hears of a commit, and by whoever shows somebody a position.
    pub fn committed(&self, through: EventNumber) {
        self.position.fetch_max(through.0, std::sync::atomic::Ordering::AcqRel);
    }

    /// The writer begins a transaction.
    pub fn writer_begins(&self, now: MonoTime) {
        self.writing_since.store(now.0 + 1, Relaxed);
    }

    /// The writer is between two transactions, and this is wrong, if anything.
    pub fn writer_rests(&self, trouble: Option<WriterFault>) {
        let place = trouble.and_then(|trouble| WriterFault::ALL.iter().position(|other| *other == trouble));
        self.trouble.store(place.map_or(0, |place| place as u8 + 1), Relaxed);
        self.writing_since.store(0, Relaxed);
    }

    /// Why the writer cannot commit, if it cannot.
    pub fn writer_fault(&self, now: MonoTime) -> Option<WriterFault> {
        let place = usize::from(self.trouble.load(Relaxed));
        let known = place.checked_sub(1).map(|place| WriterFault::ALL[place]);
        known.or_else(|| {
            let since = self.writing_since.load(Relaxed).checked_sub(1)?;
            (now.since(MonoTime(since)) >= 1000 * WRITER_STUCK_MILLISECONDS).then_some(WriterFault::Stuck)
        })
    }

    /// All open streams together.
    pub fn survey(&self, now: MonoTime) -> StreamsSurvey {
        let position = self.position();
        let tables = self.tables();
        let mut survey = StreamsSurvey::default();
        for stats in tables.streams.values() {
            survey.bytes_waiting += stats.bytes_waiting.load(Relaxed);
            if stats.live.load(Relaxed) {
                survey.live += 1;
                continue;
            }
            survey.behind += 1;
            let lag_events = position.0.saturating_sub(stats.cursor.load(Relaxed));
            survey.lag_events = survey.lag_events.max(lag_events);
            let lag_micros = now.since(MonoTime(stats.behind_since.load(Relaxed)));
            survey.lag_micros = survey.lag_micros.max(lag_micros);
        }
        survey
    }

    /// Enters a stream, unless its user has `streams_max` already.
    pub fn open_stream(&self, id: StreamId, stats: Arc<StreamStats>, streams_max: Option<u32>) -> bool {
        let mut tables = self.tables();
        let count = tables.streams_of.entry(stats.user.clone()).or_default();
        if streams_max.is_some_and(|max| *count >= max) {
            return false;
        }
        *count += 1;
        tables.streams.insert(id, stats);
        true
    }

    /// Takes a stream out.
    pub fn close_stream(&self, id: StreamId) {
        let mut tables = self.tables();
        let Some(stats) = tables.streams.remove(&id) else { return };
        if let Some(count) = tables.streams_of.get_mut(&stats.user) {
            *count -= 1;
            if *count == 0 {
                tables.streams_of.remove(&stats.user);
            }
        }
    }

    /// The stream of that name.
    pub fn stream(&self, id: StreamId) -> Option<Arc<StreamStats>> {
        self.tables().streams.get(&id).cloned()
    }

    /// A user's streams, oldest first.
    pub fn streams_of(&self, user: &UserId) -> Vec<(StreamId, Arc<StreamStats>)> {
        let tables = self.tables();
        let mut streams: Vec<_> = tables
            .streams
            .iter()
            .filter(|(_, stats)| stats.user == *user)
            .map(|(id, stats)| (*id, Arc::clone(stats)))
            .collect();
        streams.sort_by_key(|(id, stats)| (stats.since, id.0));
        streams
    }

    /// Asserts the invariant of this module.
    pub fn check_invariants(&self) {
        let tables = self.tables();
        let mut counts: HashMap<UserId, u32> = HashMap::new();
        for stats in tables.streams.values() {
            *counts.entry(stats.user.clone()).or_default() += 1;
        }
        assert_eq!(counts, tables.streams_of);
        drop(tables);
        self.rate_limiter.check_invariants();
    }

    fn tables(&self) -> MutexGuard<'_, StreamTables> {
        // A panic while the lock was held leaves counts that are at worst too high; serving goes on.
        self.tables.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::new(name).unwrap()
    }

    #[test]
    fn streams_are_counted_per_user() {
        let registry = StreamRegistry::default();
        let id = |n| StreamId(uuid::Uuid::from_u128(n));
        let now = Now { wall: WallTime(0), mono: MonoTime(0) };
        let stats = |name| Arc::new(StreamStats::new(user(name), now, WallTime(0)));
        assert!(registry.open_stream(id(1), stats("u"), Some(2)));
        assert!(registry.open_stream(id(2), stats("u"), Some(2)));
        assert!(!registry.open_stream(id(3), stats("u"), Some(2)));
        assert!(registry.open_stream(id(4), stats("v"), Some(2)));
        registry.check_invariants();
        registry.close_stream(id(1));
        registry.close_stream(id(1));
        assert!(registry.open_stream(id(3), stats("u"), Some(2)));
        assert!(registry.open_stream(id(5), stats("u"), None));
        assert_eq!(registry.streams_of(&user("u")).len(), 3);
        registry.check_invariants();
    }

    #[test]
    fn a_survey_has_the_worst_of_the_streams_that_are_behind() {
        let registry = StreamRegistry::default();
        registry.committed(EventNumber(100));
        // When it fell behind or was opened, where it is, and whether it is live.
        let table = [(5, 90, false), (3, 97, false), (1, 0, true)];
        for (n, (since, cursor, live)) in table.into_iter().enumerate() {
            let opened = Now { wall: WallTime(0), mono: MonoTime(if live { 0 } else { since }) };
            let stats = Arc::new(StreamStats::new(user("u"), opened, WallTime(0)));
            stats.set_live(live, MonoTime(7));
            stats.cursor.store(cursor, Relaxed);
            stats.bytes_waiting.store(10, Relaxed);
            registry.open_stream(StreamId(uuid::Uuid::from_u128(n as u128)), stats, None);
        }
        let want = StreamsSurvey { live: 1, behind: 2, bytes_waiting: 30, lag_events: 10, lag_micros: 17 };
        assert_eq!(registry.survey(MonoTime(20)), want);
        let fell_back = registry.stream(StreamId(uuid::Uuid::from_u128(2))).unwrap();
        fell_back.set_live(false, MonoTime(15));
        fell_back.set_live(false, MonoTime(19));
        assert_eq!(registry.survey(MonoTime(20)), StreamsSurvey { live: 0, behind: 3, lag_events: 100, ..want });
        assert_eq!(fell_back.behind_since.load(Relaxed), 15, "it has been behind from then on");
    }

    #[test]
    fn a_writer_that_fails_or_is_stuck_is_in_trouble() {
        let registry = StreamRegistry::default();
        let stuck = 1000 * WRITER_STUCK_MILLISECONDS;
        assert_eq!(registry.writer_fault(MonoTime(stuck)), None);
        registry.writer_begins(MonoTime(0));
        assert_eq!(registry.writer_fault(MonoTime(stuck - 1)), None);
        assert_eq!(registry.writer_fault(MonoTime(stuck)), Some(WriterFault::Stuck));
        for trouble in WriterFault::ALL {
            registry.writer_rests(Some(trouble));
            assert_eq!(registry.writer_fault(MonoTime(stuck)), Some(trouble));
        }
        registry.writer_rests(None);
        assert_eq!(registry.writer_fault(MonoTime(stuck)), None);
    }
}
