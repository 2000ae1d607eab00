//! Which part of the users has requests rejected for lack of room. Every shard notes its requests; `/health/ready` reads it.

use crate::base::limits::{OVERLOAD_USERS_MIN, OVERLOAD_WINDOW_SECONDS};
use crate::base::time::MonoTime;
use crate::domain::id::UserId;
use std::array::from_fn;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const WORDS: usize = 16;
const BITS: usize = 64 * WORDS;
/// The present window, the one before it, and one that no reader looks at while it is cleared.
const WINDOWS: usize = 3;

/// The users of the last two windows of time, and those of them whose requests were rejected. The users are counted with
/// bitmaps of their hashes (linear counting), so that memory and time are constant.
#[derive(Debug)]
pub(crate) struct Overload {
    windows: [Window; WINDOWS],
}

#[derive(Debug)]
struct Window {
    /// The number of the window since the start of the clock, plus one; 0 for a window without users.
    number: AtomicU64,
    active: [AtomicU64; WORDS],
    rejected: [AtomicU64; WORDS],
}

impl Overload {
    /// Notes a request of `user`, and whether it was rejected for lack of room.
    pub(in crate::shard) fn note(&self, user: &UserId, is_rejected: bool, now: MonoTime) {
        let place = user.bucket(BITS);
        let (word, bit) = (place / 64, 1 << (place % 64));
        let window = self.window_at(number_of(now));
        set(&window.active[word], bit);
        if is_rejected {
            set(&window.rejected[word], bit);
        }
    }

    /// Whether requests of more than half of the users, and of at least `OVERLOAD_USERS_MIN`, were rejected in the present
    /// window or in the one before it. One user, or two, who ask for too much do not make a server unready.
    pub(in crate::shard) fn rejects_most_users(&self, now: MonoTime) -> bool {
        let number = number_of(now);
        let recent =
            || self.windows.iter().filter(|window| [number, number - 1].contains(&window.number.load(Relaxed)));
        let union = |words: fn(&Window) -> &[AtomicU64; WORDS]| {
            let set = |word: usize| recent().fold(0, |bits, window| bits | words(window)[word].load(Relaxed));
            (0..WORDS).map(|word| set(word).count_ones()).sum::<u32>()
        };
        let rejected = estimate(union(|window| &window.rejected));
        rejected.round() >= OVERLOAD_USERS_MIN && 2.0 * rejected > estimate(union(|window| &window.active))
    }

    /// The window of this number. The first request of a window clears it; a bit that another shard sets meanwhile may get lost.
    fn window_at(&self, number: u64) -> &Window {
        let window = &self.windows[number as usize % WINDOWS];
        let present = window.number.load(Relaxed);
        if present != number && window.number.compare_exchange(present, number, Relaxed, Relaxed).is_ok() {
            window.active.iter().chain(&window.rejected).for_each(|word| word.store(0, Relaxed));
        }
        window
    }
}

impl Default for Overload {
    fn default() -> Overload {
        let words = || from_fn(|_| AtomicU64::new(0));
        Overload { windows: from_fn(|_| Window { number: AtomicU64::new(0), active: words(), rejected: words() }) }
    }
}

/// Without a write if it is set already, so that shards do not contend for the cache line.
fn set(word: &AtomicU64, bit: u64) {
    if word.load(Relaxed) & bit == 0 {
        word.fetch_or(bit, Relaxed);
    }
}

fn number_of(now: MonoTime) -> u64 {
    now.0 / (OVERLOAD_WINDOW_SECONDS * 1_000_000) + 1
}

/// The number of users whose hashes set this number of bits (Whang et al., "A linear-time probabilistic counting algorithm").
fn estimate(bits_set: u32) -> f64 {
    let bits = BITS as f64;
    bits * (bits / (bits - f64::from(bits_set)).max(1.0)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = OVERLOAD_WINDOW_SECONDS * 1_000_000;

    fn note(overload: &Overload, users: std::ops::Range<u32>, is_rejected: bool, now: MonoTime) {
        for n in users {
            overload.note(&UserId::new(&format!("user {n}")).unwrap(), is_rejected, now);
        }
    }

    #[test]
    fn a_majority_of_rejected_users_is_an_overload() {
        // Users, and the rejected ones of them.
        let table = [
            (0, 0, false),
            (1, 1, false),
            (2, 2, false),
            (3, 3, true),
            (5, 3, true),
            (100, 40, false),
            (100, 60, true),
            (20_000, 500, false),
        ];
        for (active, rejected, is_overload) in table {
            let overload = Overload::default();
            note(&overload, 0..active, false, MonoTime(0));
            note(&overload, 0..rejected, true, MonoTime(0));
            assert_eq!(overload.rejects_most_users(MonoTime(0)), is_overload, "{rejected} of {active}");
        }
    }

    #[test]
    fn an_overload_is_forgotten_after_two_windows() {
        let overload = Overload::default();
        for start in [0, 7 * WINDOW, 8 * WINDOW + 1] {
            note(&overload, 0..10, true, MonoTime(start));
            for later in [start, start + WINDOW] {
                assert!(overload.rejects_most_users(MonoTime(later)), "{start} {later}");
            }
        }
        assert!(!overload.rejects_most_users(MonoTime(10 * WINDOW + 1)));
        note(&overload, 0..10, false, MonoTime(11 * WINDOW));
        assert!(!overload.rejects_most_users(MonoTime(11 * WINDOW)));
    }
}
