//! When a failed attempt is followed by another: exponential backoff with jitter, and an upstream's `Retry-After` honoured.

use super::Failure;
use crate::base::limits::*;
use crate::base::random::Random;

/// When a failed attempt is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Maximum attempts, including the first.
    pub tries_max: u32,
    /// Pause before the second attempt, in milliseconds; it doubles with each further one.
    pub pause_milliseconds: u64,
    /// Longest pause, in milliseconds.
    pub pause_milliseconds_max: u64,
    /// Longest `Retry-After` that is honoured, in milliseconds.
    pub retry_after_milliseconds_max: u64,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            tries_max: UPSTREAM_ATTEMPTS_MAX,
            pause_milliseconds: UPSTREAM_RETRY_MILLISECONDS,
            pause_milliseconds_max: UPSTREAM_RETRY_MILLISECONDS_MAX,
            retry_after_milliseconds_max: UPSTREAM_RETRY_AFTER_MILLISECONDS_MAX,
        }
    }
}

impl RetryPolicy {
    /// The pause before the next attempt, in milliseconds, after `tries` of them; `None` if there is no other.
    ///
    /// The pause is between half of its backoff and all of it, so that answers that failed together are not retried
    /// together. A `Retry-After` is a lower bound; one that is too long ends the attempts.
    pub fn next_pause(&self, tries: u32, failure: &Failure, shown: bool, random: &mut Random) -> Option<u64> {
        if shown || !failure.retryable || tries >= self.tries_max {
            return None;
        }
        let doublings = tries.saturating_sub(1).min(32);
        let backoff = self.pause_milliseconds.saturating_mul(1 << doublings).min(self.pause_milliseconds_max);
        let half = backoff / 2;
        match failure.retry_after.map(|after| after.as_millis()) {
            None => Some(half + random.below(backoff - half + 1)),
            Some(after) if after > u128::from(self.retry_after_milliseconds_max) => None,
            Some(after) => Some((after as u64).max(half) + random.below(backoff - half + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const POLICY: RetryPolicy = RetryPolicy {
        tries_max: 6,
        pause_milliseconds: 100,
        pause_milliseconds_max: 500,
        retry_after_milliseconds_max: 2000,
    };

    /// The shortest and the longest pause that many throws give.
    fn pauses(policy: &RetryPolicy, tries: u32, failure: &Failure) -> Option<(u64, u64)> {
        let mut random = Random::new(1);
        let throws: Vec<_> = (0..2000).map(|_| policy.next_pause(tries, failure, false, &mut random)).collect();
        let pauses: Vec<u64> = throws.iter().flatten().copied().collect();
        assert!(pauses.is_empty() || pauses.len() == throws.len(), "chance does not decide whether there is a try");
        Some((*pauses.iter().min()?, *pauses.iter().max()?))
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let failure = Failure::connect();
        let table = [(1, 50, 100), (2, 100, 200), (3, 200, 400), (4, 250, 500), (5, 250, 500)];
        for (tries, min, max) in table {
            assert_eq!(pauses(&POLICY, tries, &failure), Some((min, max)), "after {tries}");
        }
        assert_eq!(pauses(&POLICY, 6, &failure), None);
        assert_eq!(pauses(&POLICY, u32::MAX, &failure), None);
        let endless = RetryPolicy { tries_max: u32::MAX, pause_milliseconds_max: u64::MAX / 2, ..POLICY };
        assert!(endless.next_pause(1000, &failure, false, &mut Random::new(1)).is_some(), "nothing overflows");
    }

    #[test]
    fn what_was_shown_or_cannot_help_is_not_tried_again() {
        let mut random = Random::new(1);
        assert_eq!(POLICY.next_pause(1, &Failure::connect(), true, &mut random), None);
        assert_eq!(POLICY.next_pause(1, &Failure::invalid_response("x"), false, &mut random), None);
        assert_eq!(POLICY.next_pause(1, &Failure::status(400, None, None, None), false, &mut random), None);
        assert!(POLICY.next_pause(1, &Failure::status(500, None, None, None), false, &mut random).is_some());
    }

    #[test]
    fn retry_after_is_honoured() {
        let failure =
            |ms| Failure { retry_after: Some(Duration::from_millis(ms)), ..Failure::status(429, None, None, None) };
        assert_eq!(pauses(&POLICY, 1, &failure(0)), Some((50, 100)));
        assert_eq!(pauses(&POLICY, 1, &failure(2000)), Some((2000, 2050)));
        assert_eq!(pauses(&POLICY, 1, &failure(2001)), None);
        let soon = Failure { retry_after: Some(Duration::from_secs(1)), ..Failure::status(400, None, None, None) };
        assert_eq!(pauses(&POLICY, 1, &soon), None, "asking to come back does not make a rejection another");
    }
}
