//! What all shards share, under one lock: how many streams a user has, which streams there are, and, under a lock of
//! its own, rate buckets.
//!
//! Invariant: `streams_of[user]` is the number of rows of `user` in `streams`, and no user stands there with none.

use super::buckets::Buckets;
use crate::api::StreamId;
use crate::base::time::Wall;
use crate::domain::id::{EventNumber, UserId};
use crate::wire::stream::OpenStream;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

/// One open stream, as every shard may look at it; its own shard keeps it up to date.
#[derive(Debug)]
pub struct StreamFacts {
    /// Whose it is.
    pub user: UserId,
    /// When it was opened.
    pub since: Wall,
    /// Whether it has been given everything.
    pub live: AtomicBool,
    /// The number through which it has been given everything, while it is behind.
    pub cursor: AtomicU64,
    /// Bytes that wait for its reader.
    pub bytes_waiting: AtomicU64,
    expires_at: AtomicI64,
}

impl StreamFacts {
    /// A stream that is opened now, with a token that ends at `expires_at`.
    pub fn new(user: UserId, since: Wall, expires_at: Wall) -> StreamFacts {
        StreamFacts {
            user,
            since,
            live: AtomicBool::new(false),
            cursor: AtomicU64::new(0),
            bytes_waiting: AtomicU64::new(0),
            expires_at: AtomicI64::new(expires_at.0),
        }
    }

    /// When its token ends.
    pub fn expires_at(&self) -> Wall {
        Wall(self.expires_at.load(Relaxed))
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
    pub fn renew(&self, expires_at: Wall) {
        self.expires_at.fetch_max(expires_at.0, Relaxed);
    }
}

/// Shared by all shards of a process.
#[derive(Debug, Default)]
pub struct Registry {
    /// Who may ask how often.
    pub buckets: Buckets,
    tables: Mutex<Tables>,
    /// The journal's position as last committed; a stream that starts now starts here.
    position: AtomicU64,
}

#[derive(Debug, Default)]
struct Tables {
    streams: HashMap<StreamId, Arc<StreamFacts>>,
    streams_of: HashMap<UserId, u32>,
}

impl Registry {
    /// The journal's position as last committed.
    pub fn position(&self) -> EventNumber {
        EventNumber(self.position.load(std::sync::atomic::Ordering::Acquire))
    }

    /// Told by the writer's side before anybody hears of a commit, and by whoever shows somebody a position.
    pub fn committed(&self, through: EventNumber) {
        self.position.fetch_max(through.0, std::sync::atomic::Ordering::AcqRel);
    }

    /// Enters a stream, unless its user has `streams_max` already.
    pub fn open_stream(&self, id: StreamId, facts: Arc<StreamFacts>, streams_max: Option<u32>) -> bool {
        let mut tables = self.tables();
        let count = tables.streams_of.entry(facts.user.clone()).or_default();
        if streams_max.is_some_and(|max| *count >= max) {
            return false;
        }
        *count += 1;
        tables.streams.insert(id, facts);
        true
    }

    /// Takes a stream out.
    pub fn close_stream(&self, id: StreamId) {
        let mut tables = self.tables();
        let Some(facts) = tables.streams.remove(&id) else { return };
        if let Some(count) = tables.streams_of.get_mut(&facts.user) {
            *count -= 1;
            if *count == 0 {
                tables.streams_of.remove(&facts.user);
            }
        }
    }

    /// The stream of that name.
    pub fn stream(&self, id: StreamId) -> Option<Arc<StreamFacts>> {
        self.tables().streams.get(&id).cloned()
    }

    /// A user's streams, oldest first.
    pub fn streams_of(&self, user: &UserId) -> Vec<(StreamId, Arc<StreamFacts>)> {
        let tables = self.tables();
        let mut streams: Vec<_> = tables
            .streams
            .iter()
            .filter(|(_, facts)| facts.user == *user)
            .map(|(id, facts)| (*id, Arc::clone(facts)))
            .collect();
        streams.sort_by_key(|(id, facts)| (facts.since, id.0));
        streams
    }

    /// Asserts the invariant of this module.
    pub fn check_invariants(&self) {
        let tables = self.tables();
        let mut counts: HashMap<UserId, u32> = HashMap::new();
        for facts in tables.streams.values() {
            *counts.entry(facts.user.clone()).or_default() += 1;
        }
        assert_eq!(counts, tables.streams_of);
        drop(tables);
        self.buckets.check_invariants();
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
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
        let registry = Registry::default();
        let id = |n| StreamId(uuid::Uuid::from_u128(n));
        let facts = |name| Arc::new(StreamFacts::new(user(name), Wall(0), Wall(0)));
        assert!(registry.open_stream(id(1), facts("u"), Some(2)));
        assert!(registry.open_stream(id(2), facts("u"), Some(2)));
        assert!(!registry.open_stream(id(3), facts("u"), Some(2)));
        assert!(registry.open_stream(id(4), facts("v"), Some(2)));
        registry.check_invariants();
        registry.close_stream(id(1));
        registry.close_stream(id(1));
        assert!(registry.open_stream(id(3), facts("u"), Some(2)));
        assert!(registry.open_stream(id(5), facts("u"), None));
        assert_eq!(registry.streams_of(&user("u")).len(), 3);
        registry.check_invariants();
    }
}
