//! When a failed attempt is followed by another: exponential backoff with jitter, and the waits that an upstream asks for.

use super::Failure;
use crate::base::limits::*;
use crate::base::random::Random;
use crate::base::time::MonoTime;
use std::fmt;

/// When a failed attempt is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Maximum attempts, including the first.
    pub tries_max: u32,
    /// Pause before the second attempt, in milliseconds; it doubles with each further one.
    pub pause_milliseconds: u64,
    /// Longest pause, in milliseconds.
    pub pause_milliseconds_max: u64,
    /// Longest wait that an upstream may ask for, in milliseconds.
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

/// The attempts so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempts {
    /// Their number, without those at which the model was still loading.
    pub count: u32,
    /// Whether any text or reasoning was received.
    pub has_received: bool,
    /// Until then, a model that is loading is asked again.
    pub loading_until: MonoTime,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextAttempt {
    /// No other attempt.
    Never,
    /// Another attempt at once, with fewer messages.
    Shorter,
    /// Another attempt after so many milliseconds.
    After(u64),
    /// The same, and the failed attempt does not count.
    AfterLoading(u64),
}

impl NextAttempt {
    /// The pause before it, in milliseconds.
    pub(crate) fn pause(self) -> u64 {
        match self {
            NextAttempt::Never | NextAttempt::Shorter => 0,
            NextAttempt::After(pause) | NextAttempt::AfterLoading(pause) => pause,
        }
    }
}

impl fmt::Display for NextAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NextAttempt::Never => f.write_str("no other follows"),
            NextAttempt::Shorter => f.write_str("another follows with fewer messages"),
            NextAttempt::After(pause) | NextAttempt::AfterLoading(pause) => {
                write!(f, "another follows after {pause} ms")
            }
        }
    }
}

impl RetryPolicy {
    /// What follows after an attempt that failed with `failure`.
    ///
    /// A pause is between half of its backoff and all of it, so that answers that failed together are not retried together.
    /// A wait that the upstream asks for is a lower bound; one that is too long ends the attempts.
    pub(crate) fn next_attempt(
        &self,
        attempts: Attempts,
        failure: &Failure,
        now: MonoTime,
        random: &mut Random,
    ) -> NextAttempt {
        if attempts.has_received {
            return NextAttempt::Never;
        }
        if failure.context_too_long {
            return NextAttempt::Shorter;
        }
        if !failure.retryable {
            return NextAttempt::Never;
        }
        let doublings = attempts.count.saturating_sub(1).min(32);
        let backoff = self.pause_milliseconds.saturating_mul(1 << doublings).min(self.pause_milliseconds_max);
        let half = backoff / 2;
        let asked = failure.retry_after.map_or(0, |after| after.as_millis());
        // A model that is loading is asked again however long it expects to take.
        let left = attempts.loading_until.since(now) / 1000;
        let asked = if failure.is_loading { asked.min(u128::from(left.saturating_sub(backoff))) } else { asked };
        let Some(asked) = u64::try_from(asked).ok().filter(|asked| *asked <= self.retry_after_milliseconds_max) else {
            return NextAttempt::Never;
        };
        let pause = asked.max(half) + random.below(backoff - half + 1);
        match failure.is_loading {
            true if now.plus_milliseconds(pause) < attempts.loading_until => NextAttempt::AfterLoading(pause),
            _ if attempts.count >= self.tries_max => NextAttempt::Never,
            _ => NextAttempt::After(pause),
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
    const NOW: MonoTime = MonoTime(1_000_000);

    fn attempts(count: u32) -> Attempts {
        Attempts { count, has_received: false, loading_until: NOW.plus_milliseconds(10_000) }
    }

    fn status(status: u16) -> Failure {
        Failure::status(status, None, &[])
    }

    /// The shortest and the longest pause that many throws give.
    fn pauses(policy: &RetryPolicy, count: u32, failure: &Failure) -> Option<(u64, u64)> {
        let mut random = Random::new(1);
        let throws: Vec<_> =
            (0..2000).map(|_| policy.next_attempt(attempts(count), failure, NOW, &mut random)).collect();
        let pauses: Vec<u64> = throws
            .iter()
            .filter_map(|next| match next {
                NextAttempt::After(pause) | NextAttempt::AfterLoading(pause) => Some(*pause),
                NextAttempt::Never | NextAttempt::Shorter => None,
            })
            .collect();
        assert!(
            pauses.is_empty() || pauses.len() == throws.len(),
            "chance does not decide whether there is an attempt"
        );
        Some((*pauses.iter().min()?, *pauses.iter().max()?))
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let failure = Failure::connect();
        let table = [(1, 50, 100), (2, 100, 200), (3, 200, 400), (4, 250, 500), (5, 250, 500)];
        for (count, min, max) in table {
            assert_eq!(pauses(&POLICY, count, &failure), Some((min, max)), "after {count}");
        }
        assert_eq!(pauses(&POLICY, 6, &failure), None);
        assert_eq!(pauses(&POLICY, u32::MAX, &failure), None);
        let endless = RetryPolicy { tries_max: u32::MAX, pause_milliseconds_max: u64::MAX / 2, ..POLICY };
        assert!(pauses(&endless, 1000, &failure).is_some(), "nothing overflows");
    }

    #[test]
    fn an_attempt_that_cannot_help_is_not_made() {
        let mut random = Random::new(1);
        let mut next = |attempts, failure: &Failure| POLICY.next_attempt(attempts, failure, NOW, &mut random);
        let received = Attempts { has_received: true, ..attempts(1) };
        assert_eq!(next(received, &Failure::connect()), NextAttempt::Never);
        assert_eq!(next(attempts(1), &Failure::invalid_response("x")), NextAttempt::Never);
        assert_eq!(next(attempts(1), &status(400)), NextAttempt::Never);
        assert_ne!(next(attempts(1), &status(500)), NextAttempt::Never);
        let too_long = Failure { context_too_long: true, ..status(400) };
        assert_eq!(next(attempts(100), &too_long), NextAttempt::Shorter);
        assert_eq!(next(received, &too_long), NextAttempt::Never);
    }

    #[test]
    fn a_model_that_is_loading_is_asked_until_the_first_byte_is_overdue() {
        let loading = Failure { is_loading: true, ..status(503) };
        let mut random = Random::new(1);
        let mut next = |count, now| POLICY.next_attempt(attempts(count), &loading, now, &mut random);
        assert!(matches!(next(3, NOW), NextAttempt::AfterLoading(200..=400)));
        assert!(matches!(next(6, NOW), NextAttempt::AfterLoading(_)), "it does not count");
        assert!(matches!(next(5, NOW.plus_milliseconds(9_900)), NextAttempt::After(_)));
        assert_eq!(next(6, NOW.plus_milliseconds(9_900)), NextAttempt::Never);
    }

    #[test]
    fn waits_of_the_upstream_are_honoured() {
        let failure = |ms| Failure { retry_after: Some(Duration::from_millis(ms)), ..status(429) };
        assert_eq!(pauses(&POLICY, 1, &failure(0)), Some((50, 100)));
        assert_eq!(pauses(&POLICY, 1, &failure(2000)), Some((2000, 2050)));
        assert_eq!(pauses(&POLICY, 1, &failure(2001)), None);
        let soon = Failure { retry_after: Some(Duration::from_secs(1)), ..status(400) };
        assert_eq!(pauses(&POLICY, 1, &soon), None, "asking to come back does not make a rejection another");
    }
}
