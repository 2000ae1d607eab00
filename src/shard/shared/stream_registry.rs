//! The open streams of the process, and the journal's position.
//!
//! Invariant: `counts[user]` is the number of streams of `user` in `streams`; a user without streams has no entry.

use crate::api::StreamId;
use crate::api::metrics::StreamsSurvey;
use crate::auth::jwt::KeyId;
use crate::base::time::{MonoTime, Now, WallTime};
#[cfg(feature = "cluster")]
use crate::domain::id::InstanceName;
use crate::domain::id::{EventNumber, UserId};
use crate::domain::open_stream::OpenStream;
use std::collections::HashMap;
#[cfg(feature = "cluster")]
use std::collections::HashSet;
#[cfg(feature = "cluster")]
use std::fmt;
#[cfg(feature = "cluster")]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

/// One open stream as other shards see it. The shard of its connection updates the fields.
#[derive(Debug)]
pub struct StreamStats {
    user: UserId,
    /// When it was opened.
    since: WallTime,
    /// Whether everything has been delivered to it.
    live: AtomicBool,
    /// The event number through which everything has been delivered; meaningful while the stream is behind.
    cursor: AtomicU64,
    /// Bytes in its outbox.
    bytes_waiting: AtomicU64,
    /// When it fell behind, in microseconds of `MonoTime`; meaningless while it is live.
    behind_since: AtomicU64,
    /// Written with the lock of `key` held.
    expires_at: AtomicI64,
    /// The key of the token that expires at `expires_at`.
    key: Mutex<KeyId>,
}

impl StreamStats {
    /// A stream that is opened now, with a token of this key that expires at `expires_at`.
    pub fn new(user: UserId, now: Now, expires_at: WallTime, key: KeyId) -> StreamStats {
        StreamStats {
            user,
            since: now.wall,
            live: AtomicBool::new(false),
            cursor: AtomicU64::new(0),
            bytes_waiting: AtomicU64::new(0),
            behind_since: AtomicU64::new(now.mono.0),
            expires_at: AtomicI64::new(expires_at.0),
            key: Mutex::new(key),
        }
    }

    /// Updates the progress of the stream: whether everything has been delivered to it, the number through which it has, and
    /// the bytes in its outbox.
    pub fn update(&self, live: bool, cursor: EventNumber, bytes_waiting: usize, now: MonoTime) {
        if self.live.load(Relaxed) && !live {
            self.behind_since.store(now.0, Relaxed);
        }
        self.live.store(live, Relaxed);
        self.cursor.store(cursor.0, Relaxed);
        self.bytes_waiting.store(bytes_waiting as u64, Relaxed);
    }

    /// The user that opened it.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// When its token expires.
    pub fn expires_at(&self) -> WallTime {
        WallTime(self.expires_at.load(Relaxed))
    }

    /// The key of the token at whose expiry it ends.
    pub fn key(&self) -> KeyId {
        *self.lock_key()
    }

    /// The stream as an entry of `GET /streams`, at this position of the journal.
    pub fn describe(&self, id: StreamId, position: EventNumber) -> OpenStream {
        let live = self.live.load(Relaxed);
        let behind = position.0.saturating_sub(self.cursor.load(Relaxed));
        OpenStream {
            id: id.0,
            since: self.since,
            live,
            events_behind: if live { 0 } else { behind },
            bytes_behind: self.bytes_waiting.load(Relaxed),
        }
    }

    /// Moves the expiry to that of a newer token of this key; never shortens it. A token that ends earlier changes nothing.
    pub fn renew(&self, expires_at: WallTime, key: KeyId) {
        let mut present = self.lock_key();
        if expires_at >= self.expires_at() {
            self.expires_at.store(expires_at.0, Relaxed);
            *present = key;
        }
    }

    fn lock_key(&self) -> MutexGuard<'_, KeyId> {
        // No code that may panic runs between the two writes with the lock held.
        self.key.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Lets other instances know of a change.
#[cfg(feature = "cluster")]
struct TellOthers(Box<dyn Fn() + Send + Sync>);

#[cfg(feature = "cluster")]
impl fmt::Debug for TellOthers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TellOthers")
    }
}

/// The open streams of all shards, under one lock.
#[derive(Debug, Default)]
pub struct StreamRegistry {
    tables: Mutex<StreamTables>,
    position: AtomicU64,
    /// The number of other instances, which may have streams, too.
    others: AtomicUsize,
    /// Whether the other instances can be asked, and tell what they count.
    can_ask: AtomicBool,
    #[cfg(feature = "cluster")]
    tell: OnceLock<TellOthers>,
}

#[derive(Debug, Default)]
struct StreamTables {
    streams: HashMap<StreamId, Arc<StreamStats>>,
    counts: HashMap<UserId, u32>,
    /// The numbers of streams at other instances, as these have told them.
    #[cfg(feature = "cluster")]
    elsewhere: HashMap<InstanceName, HashMap<UserId, u32>>,
    /// Users whose number of streams has changed since other instances were told.
    #[cfg(feature = "cluster")]
    changed: HashSet<UserId>,
}

impl StreamTables {
    /// The number of a user's streams, as far as it is known.
    fn count(&self, user: &UserId) -> u32 {
        let own = self.counts.get(user).copied().unwrap_or(0);
        #[cfg(feature = "cluster")]
        let own =
            self.elsewhere.values().filter_map(|counts| counts.get(user)).fold(own, |sum, at| sum.saturating_add(*at));
        own
    }
}

impl StreamRegistry {
    /// The journal's position after the last known commit. A new stream without `Last-Event-ID` starts here.
    pub fn position(&self) -> EventNumber {
        EventNumber(self.position.load(std::sync::atomic::Ordering::Acquire))
    }

    /// Raises the position; never lowers it. The writer's thread calls it before it sends a commit to the shards, and a
    /// shard before it sends a position to a client.
    pub fn advance_position(&self, through: EventNumber) {
        self.position.fetch_max(through.0, std::sync::atomic::Ordering::AcqRel);
    }

    /// Sets the number of other instances, and whether they can be asked.
    pub fn set_others(&self, others: usize, can_ask: bool) {
        self.others.store(others, Relaxed);
        self.can_ask.store(can_ask, Relaxed);
    }

    /// The number of other instances, which may have streams, too.
    pub fn others(&self) -> usize {
        self.others.load(Relaxed)
    }

    /// Whether there are other instances that can be asked.
    pub fn can_ask_others(&self) -> bool {
        self.others() > 0 && self.can_ask.load(Relaxed)
    }

    /// Sums and maxima over all open streams.
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

    /// Adds a stream, unless its user has `streams_max` already; returns whether it was added.
    pub fn insert(&self, id: StreamId, stats: Arc<StreamStats>, streams_max: Option<u32>) -> bool {
        let mut tables = self.tables();
        if streams_max.is_some_and(|max| tables.count(&stats.user) >= max) {
            return false;
        }
        *tables.counts.entry(stats.user.clone()).or_default() += 1;
        self.changed(&mut tables, &stats.user);
        tables.streams.insert(id, stats);
        true
    }

    /// The number of a user's streams has changed.
    #[cfg_attr(not(feature = "cluster"), expect(clippy::unused_self, unused_variables))]
    fn changed(&self, tables: &mut StreamTables, user: &UserId) {
        #[cfg(feature = "cluster")]
        if let Some(tell) = self.tell.get() {
            tables.changed.insert(user.clone());
            tell.0();
        }
    }

    /// From now on, calls `tell` after each change that other instances must know.
    #[cfg(feature = "cluster")]
    pub(crate) fn tell_by(&self, tell: impl Fn() + Send + Sync + 'static) {
        // It is called once.
        let _ = self.tell.set(TellOthers(Box::new(tell)));
    }

    /// The numbers of streams of all users that have any.
    #[cfg(feature = "cluster")]
    pub(crate) fn counts(&self) -> Vec<(UserId, u32)> {
        self.tables().counts.iter().map(|(user, count)| (user.clone(), *count)).collect()
    }

    /// The numbers of streams of the users for whom it has changed since this was called last.
    #[cfg(feature = "cluster")]
    pub(crate) fn changed_counts(&self) -> Vec<(UserId, u32)> {
        let mut tables = self.tables();
        let count = |tables: &StreamTables, user: UserId| {
            let count = tables.counts.get(&user).copied().unwrap_or(0);
            (user, count)
        };
        std::mem::take(&mut tables.changed).into_iter().map(|user| count(&tables, user)).collect()
    }

    /// Takes the numbers of streams at another instance: of all users, or of some.
    #[cfg(feature = "cluster")]
    pub(crate) fn set_counts_elsewhere(&self, instance: InstanceName, counts: Vec<(UserId, u32)>, are_all: bool) {
        let mut tables = self.tables();
        let known = tables.elsewhere.entry(instance).or_default();
        if are_all {
            known.clear();
        }
        for (user, count) in counts {
            match count {
                0 => known.remove(&user),
                count => known.insert(user, count),
            };
        }
    }

    /// Forgets the numbers of streams at another instance.
    #[cfg(feature = "cluster")]
    pub(crate) fn forget_instance(&self, instance: InstanceName) {
        self.tables().elsewhere.remove(&instance);
    }

    /// Removes a stream.
    pub fn remove(&self, id: StreamId) {
        let mut tables = self.tables();
        let Some(stats) = tables.streams.remove(&id) else { return };
        if let Some(count) = tables.counts.get_mut(&stats.user) {
            *count -= 1;
            if *count == 0 {
                tables.counts.remove(&stats.user);
            }
        }
        self.changed(&mut tables, &stats.user);
    }

    /// The streams of a user as entries of the list, oldest first.
    pub fn list(&self, user: &UserId) -> Vec<OpenStream> {
        let position = self.position();
        self.streams_of(user).into_iter().map(|(id, stats)| stats.describe(id, position)).collect()
    }

    /// Moves the end of a stream to that of a newer token of this key, if the user has the stream. Returns when it ends now.
    pub fn renew(&self, id: StreamId, user: &UserId, expires_at: WallTime, key: KeyId) -> Option<WallTime> {
        let stats = self.tables().streams.get(&id).filter(|stats| stats.user == *user).cloned()?;
        stats.renew(expires_at, key);
        Some(stats.expires_at())
    }

    /// The streams of a user, oldest first.
    pub fn streams_of(&self, user: &UserId) -> Vec<(StreamId, Arc<StreamStats>)> {
        let tables = self.tables();
        let mut streams: Vec<_> = tables
            .streams
            .iter()
            .filter(|(_, stats)| stats.user == *user)
            .map(|(id, stats)| (*id, Arc::clone(stats)))
            .collect();
        streams.sort_unstable_by_key(|(id, stats)| (stats.since, id.0));
        streams
    }

    /// Asserts the invariant of this module.
    pub fn check_invariants(&self) {
        let tables = self.tables();
        let mut counts: HashMap<UserId, u32> = HashMap::new();
        for stats in tables.streams.values() {
            *counts.entry(stats.user.clone()).or_default() += 1;
        }
        assert_eq!(counts, tables.counts);
    }

    fn tables(&self) -> MutexGuard<'_, StreamTables> {
        // If a thread panicked with the lock held, a count is too high at worst, so the tables are still usable.
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
        let stats = |name| Arc::new(StreamStats::new(user(name), now, WallTime(0), KeyId(0)));
        assert!(registry.insert(id(1), stats("u"), Some(2)));
        assert!(registry.insert(id(2), stats("u"), Some(2)));
        assert!(!registry.insert(id(3), stats("u"), Some(2)));
        assert!(registry.insert(id(4), stats("v"), Some(2)));
        registry.check_invariants();
        registry.remove(id(1));
        registry.remove(id(1));
        assert!(registry.insert(id(3), stats("u"), Some(2)));
        assert!(registry.insert(id(5), stats("u"), None));
        assert_eq!(registry.streams_of(&user("u")).len(), 3);
        registry.check_invariants();
    }

    #[cfg(feature = "cluster")]
    #[test]
    fn streams_at_other_instances_count() {
        let registry = StreamRegistry::default();
        let told = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&told);
        registry.tell_by(move || counter.store(counter.load(Relaxed) + 1, Relaxed));
        let id = |n| StreamId(uuid::Uuid::from_u128(n));
        let now = Now { wall: WallTime(0), mono: MonoTime(0) };
        let open = |n, name| {
            let stats = Arc::new(StreamStats::new(user(name), now, WallTime(0), KeyId(0)));
            registry.insert(id(n), stats, Some(3))
        };
        let other = |n| InstanceName(uuid::Uuid::from_u128(n));
        assert!(open(1, "u") && open(2, "v"));
        let mut counts = registry.changed_counts();
        counts.sort();
        assert_eq!(counts, [(user("u"), 1), (user("v"), 1)]);
        assert_eq!((registry.changed_counts().len(), told.load(Relaxed)), (0, 2));
        registry.set_counts_elsewhere(other(1), vec![(user("u"), 1), (user("w"), 9)], true);
        registry.set_counts_elsewhere(other(2), vec![(user("u"), 1)], false);
        assert!(!open(3, "u"), "one here and two elsewhere");
        assert!(open(3, "v"));
        registry.set_counts_elsewhere(other(1), vec![(user("u"), 0)], false);
        assert!(open(4, "u") && !open(5, "u") && !open(5, "w"));
        registry.forget_instance(other(2));
        assert!(open(5, "u"));
        // What no program sends.
        registry.set_counts_elsewhere(other(1), vec![(user("w"), u32::MAX)], true);
        registry.set_counts_elsewhere(other(2), vec![(user("w"), u32::MAX)], true);
        assert!(!open(6, "w"));
        registry.forget_instance(other(2));
        registry.set_counts_elsewhere(other(1), Vec::new(), true);
        assert!(open(6, "w"));
        registry.remove(id(6));
        assert!(registry.changed_counts().contains(&(user("w"), 0)));
        assert_eq!(registry.counts().len(), 2);
        registry.check_invariants();
    }

    #[test]
    fn a_stream_has_the_key_of_the_token_that_gives_its_end() {
        let now = Now { wall: WallTime(0), mono: MonoTime(0) };
        let stats = StreamStats::new(user("u"), now, WallTime(10), KeyId(1));
        // The renewing token's expiry and key; the stream's afterwards.
        let table = [(9, 2, 10, 1), (10, 3, 10, 3), (20, 4, 20, 4), (15, 5, 20, 4)];
        for (expires_at, key, want_expiry, want_key) in table {
            stats.renew(WallTime(expires_at), KeyId(key));
            assert_eq!((stats.expires_at(), stats.key()), (WallTime(want_expiry), KeyId(want_key)));
        }
    }

    #[test]
    fn a_survey_has_the_worst_of_the_streams_that_are_behind() {
        let registry = StreamRegistry::default();
        registry.advance_position(EventNumber(100));
        // When it fell behind or was opened; its cursor; whether it is live.
        let table = [(5, 90, false), (3, 97, false), (1, 0, true)];
        for (n, (since, cursor, live)) in table.into_iter().enumerate() {
            let opened = Now { wall: WallTime(0), mono: MonoTime(if live { 0 } else { since }) };
            let stats = Arc::new(StreamStats::new(user("u"), opened, WallTime(0), KeyId(0)));
            stats.update(live, EventNumber(cursor), 10, MonoTime(7));
            registry.insert(StreamId(uuid::Uuid::from_u128(n as u128)), stats, None);
        }
        let want = StreamsSurvey { live: 1, behind: 2, bytes_waiting: 30, lag_events: 10, lag_micros: 17 };
        assert_eq!(registry.survey(MonoTime(20)), want);
        let fell_back = Arc::clone(&registry.tables().streams[&StreamId(uuid::Uuid::from_u128(2))]);
        fell_back.update(false, EventNumber(0), 10, MonoTime(15));
        fell_back.update(false, EventNumber(0), 10, MonoTime(19));
        assert_eq!(registry.survey(MonoTime(20)), StreamsSurvey { live: 0, behind: 3, lag_events: 100, ..want });
        assert_eq!(fell_back.behind_since.load(Relaxed), 15, "it has been behind since then");
    }
}
