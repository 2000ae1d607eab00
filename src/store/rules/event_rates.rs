//! The rate of each user's state events, in bytes of the journal.
//!
//! Retention may not remove an event as long as a stream may need it. With the rate, what one user writes meanwhile takes only a
//! part of the journal. A user may exceed the burst by one command, and pays the excess back before the next one.
//!
//! Invariant: at most `EVENT_RATE_USERS_MAX` users have a level.

use crate::base::limits::EVENT_RATE_USERS_MAX;
use crate::base::time::SECOND;
use crate::domain::id::UserId;
use crate::domain::result::Rejection;
use crate::store::config::EventRate;
use crate::store::rules::age::AgeTime;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// The levels of all users who wrote state events lately.
pub(crate) struct EventRates {
    /// `None` is no limit.
    rate: Option<EventRate>,
    /// By the hash of the user's id. The hash is seeded, so a client cannot find two users with the same one.
    levels: HashMap<u64, EventLevel>,
    /// What the present transaction has counted.
    uncommitted: Vec<(u64, u64)>,
    hasher: RandomState,
}

/// A leaky bucket.
#[derive(Debug, Clone, Copy)]
struct EventLevel {
    /// The bytes at `at`, which decrease by the rate.
    bytes: u64,
    at: AgeTime,
}

impl EventRates {
    pub(crate) fn new(rate: Option<EventRate>) -> EventRates {
        EventRates { rate, levels: HashMap::new(), uncommitted: Vec::new(), hasher: RandomState::new() }
    }

    /// Begins a transaction.
    pub(crate) fn begin(&mut self) {
        self.uncommitted.clear();
    }

    /// Takes back what the transaction has counted.
    pub(crate) fn roll_back(&mut self) {
        for (key, bytes) in self.uncommitted.drain(..) {
            if let Some(level) = self.levels.get_mut(&key) {
                level.bytes = level.bytes.saturating_sub(bytes);
            }
        }
    }

    /// Checks that `user` may write another state event at `now`.
    ///
    /// # Errors
    /// Fails if the user's level is above the burst.
    pub(crate) fn check(&self, user: &UserId, now: AgeTime) -> Result<(), Rejection> {
        let Some(rate) = self.rate else { return Ok(()) };
        let Some(level) = self.levels.get(&self.hasher.hash_one(user)) else { return Ok(()) };
        let excess = level.bytes_at(rate, now).saturating_sub(rate.burst_bytes);
        if excess == 0 {
            return Ok(());
        }
        Err(Rejection::StateEventRate {
            burst_bytes: rate.burst_bytes,
            window_seconds: rate.burst_bytes.div_ceil(rate.bytes_per_second),
            retry_seconds: excess.div_ceil(rate.bytes_per_second),
        })
    }

    /// Counts what `user` wrote at `now`.
    pub(crate) fn count(&mut self, user: &UserId, bytes: u64, now: AgeTime) {
        let Some(rate) = self.rate.filter(|_| bytes > 0) else { return };
        let key = self.hasher.hash_one(user);
        if self.levels.len() >= EVENT_RATE_USERS_MAX && !self.levels.contains_key(&key) {
            self.make_room(rate, now);
        }
        let level = self.levels.entry(key).or_insert(EventLevel { bytes: 0, at: now });
        *level = EventLevel { bytes: level.bytes_at(rate, now).saturating_add(bytes), at: now };
        self.uncommitted.push((key, bytes));
    }

    /// Removes the lowest levels until half of the users are left, so that it is called rarely.
    fn make_room(&mut self, rate: EventRate, now: AgeTime) {
        let mut levels: Vec<(u64, u64)> =
            self.levels.iter().map(|(key, level)| (level.bytes_at(rate, now), *key)).collect();
        let (lowest, ..) = levels.select_nth_unstable(EVENT_RATE_USERS_MAX / 2);
        for (_, key) in lowest {
            self.levels.remove(key);
        }
    }
}

impl EventLevel {
    /// The bytes that are left at `now`.
    fn bytes_at(self, rate: EventRate, now: AgeTime) -> u64 {
        let leaked = u128::from(now.since(self.at)) * u128::from(rate.bytes_per_second) / SECOND as u128;
        self.bytes.saturating_sub(leaked.min(u128::from(u64::MAX)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: AgeTime = AgeTime(1_700_000_000_000);
    const RATE: EventRate = EventRate { bytes_per_second: 10, burst_bytes: 100 };

    fn user(n: usize) -> UserId {
        UserId::new_unchecked(format!("user-{n}"))
    }

    /// The seconds until the next event; 0 if it is allowed now.
    fn wait(rates: &EventRates, user: &UserId, now: AgeTime) -> u64 {
        match rates.check(user, now) {
            Ok(()) => 0,
            Err(Rejection::StateEventRate { burst_bytes: 100, window_seconds: 10, retry_seconds }) => retry_seconds,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_user_may_exceed_the_burst_once_and_then_waits() {
        let mut rates = EventRates::new(Some(RATE));
        let ann = user(0);
        for (seconds, expected, bytes) in
            [(0, 0, 100), (0, 0, 1), (0, 1, 0), (1, 0, 50), (1, 5, 0), (5, 1, 0), (6, 0, 0), (60, 0, 205), (60, 11, 0)]
        {
            let now = NOW.plus_milliseconds(1000 * seconds);
            assert_eq!(wait(&rates, &ann, now), expected, "after {seconds} s");
            rates.count(&ann, bytes, now);
        }
        assert_eq!(wait(&rates, &user(1), NOW), 0, "each user has a rate");
        let mut unlimited = EventRates::new(None);
        unlimited.count(&ann, u64::MAX, NOW);
        assert_eq!(wait(&unlimited, &ann, NOW), 0);
    }

    #[test]
    fn what_is_rolled_back_does_not_count() {
        let mut rates = EventRates::new(Some(RATE));
        rates.begin();
        rates.count(&user(0), 150, NOW);
        rates.begin();
        rates.count(&user(0), 70, NOW);
        rates.count(&user(1), 500, NOW);
        rates.count(&user(0), 30, NOW);
        rates.roll_back();
        assert_eq!((wait(&rates, &user(0), NOW), wait(&rates, &user(1), NOW)), (5, 0));
    }

    #[test]
    fn the_number_of_levels_is_bounded_and_the_highest_are_kept() {
        let mut rates = EventRates::new(Some(RATE));
        rates.count(&user(0), 1_000, NOW);
        for n in 1..3 * EVENT_RATE_USERS_MAX {
            rates.count(&user(n), 10, NOW);
            assert!(rates.levels.len() <= EVENT_RATE_USERS_MAX);
        }
        assert_eq!(wait(&rates, &user(0), NOW), 90);
    }
}
