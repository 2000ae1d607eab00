//! The circuit breaker of one upstream: after several failures in a row it rejects requests for a while, then lets one
//! probe through.
//!
//! Invariant: while it is open, no request passes; while it is half open, at most one does in each cool-down. The outcome of a
//! request that passed in an earlier state, or of an earlier probe, is ignored.

use crate::base::limits::{BREAKER_COOL_DOWN_MILLISECONDS, BREAKER_FAILURES_MAX};
use crate::base::time::MonoTime;

/// How the use of a permit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PermitOutcome {
    /// The upstream works.
    Success,
    /// The upstream does not work.
    Failure,
    /// Unknown: the request itself was rejected, or was cancelled.
    Unknown,
}

/// The permission for one request. It must be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// The breaker's epoch at that time.
    epoch: u64,
}

/// The state of a breaker in logs and metrics; the metric is the variant's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// Every request passes.
    Closed,
    /// One request probes the upstream.
    HalfOpen,
    /// No request passes.
    Open,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BreakerState {
    /// Every request passes. Next: Open, after too many failures in a row.
    Closed { failures: u32 },
    /// No request passes. Next: HalfOpen, with the first request after the cool-down.
    Open { until: MonoTime },
    /// One request may probe, or is probing. Next: Closed or Open, by its outcome.
    HalfOpen { probing_since: Option<MonoTime> },
}

/// A circuit breaker.
#[derive(Debug)]
pub struct Breaker {
    state: BreakerState,
    /// Changes with every change of state, and with every probe.
    epoch: u64,
    failures_max: u32,
    cool_down_milliseconds: u64,
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker::new(BREAKER_FAILURES_MAX, BREAKER_COOL_DOWN_MILLISECONDS)
    }
}

impl Breaker {
    /// A closed breaker that opens after `failures_max` failures in a row, at least one.
    pub fn new(failures_max: u32, cool_down_milliseconds: u64) -> Breaker {
        assert!(failures_max > 0, "a breaker that opens without a failure never closes");
        Breaker { state: BreakerState::Closed { failures: 0 }, epoch: 0, failures_max, cool_down_milliseconds }
    }

    /// Requests a permit.
    ///
    /// # Errors
    ///
    /// The time at which to ask again.
    pub fn admit(&mut self, now: MonoTime) -> Result<Permit, MonoTime> {
        match self.state {
            BreakerState::Closed { .. } => {}
            BreakerState::Open { until } if now < until => return Err(until),
            // A probe that is silent for long does not keep all others out.
            BreakerState::HalfOpen { probing_since: Some(since) } if now < self.cooled_down(since) => {
                return Err(self.cooled_down(since));
            }
            BreakerState::Open { .. } | BreakerState::HalfOpen { .. } => {
                self.change(BreakerState::HalfOpen { probing_since: Some(now) })
            }
        }
        Ok(Permit { epoch: self.epoch })
    }

    /// Reports the outcome of a request.
    pub fn settle(&mut self, permit: Permit, outcome: PermitOutcome, now: MonoTime) {
        if permit.epoch != self.epoch {
            return;
        }
        let open = BreakerState::Open { until: now.plus_milliseconds(self.cool_down_milliseconds) };
        match (self.state, outcome) {
            (BreakerState::Open { .. }, _) => unreachable!("no permit of this epoch exists"),
            (BreakerState::Closed { .. }, PermitOutcome::Unknown) => {}
            // The epoch stays: outcomes of concurrent requests still count.
            (BreakerState::Closed { .. }, PermitOutcome::Success) => self.state = BreakerState::Closed { failures: 0 },
            (BreakerState::Closed { failures }, PermitOutcome::Failure) if failures + 1 < self.failures_max => {
                self.state = BreakerState::Closed { failures: failures + 1 };
            }
            (BreakerState::Closed { .. } | BreakerState::HalfOpen { .. }, PermitOutcome::Failure) => self.change(open),
            (BreakerState::HalfOpen { .. }, PermitOutcome::Success) => {
                self.change(BreakerState::Closed { failures: 0 })
            }
            (BreakerState::HalfOpen { .. }, PermitOutcome::Unknown) => {
                self.change(BreakerState::HalfOpen { probing_since: None })
            }
        }
    }

    /// Its state. An open breaker stays open until the next request.
    pub fn position(&self) -> Position {
        match self.state {
            BreakerState::Closed { .. } => Position::Closed,
            BreakerState::Open { .. } => Position::Open,
            BreakerState::HalfOpen { .. } => Position::HalfOpen,
        }
    }

    /// Panics when an invariant does not hold.
    pub fn check_invariants(&self) {
        if let BreakerState::Closed { failures } = self.state {
            assert!(failures < self.failures_max, "so many failures in a row open it");
        }
    }

    fn cooled_down(&self, since: MonoTime) -> MonoTime {
        since.plus_milliseconds(self.cool_down_milliseconds)
    }

    fn change(&mut self, state: BreakerState) {
        self.state = state;
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    const COOL_DOWN: u64 = 10;

    fn at(milliseconds: u64) -> MonoTime {
        MonoTime(milliseconds * 1000)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(3, COOL_DOWN);
        for _ in 0..3 {
            let permit = breaker.admit(at(0)).unwrap();
            breaker.settle(permit, PermitOutcome::Failure, at(0));
        }
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_alone() {
        use PermitOutcome::*;
        let table: [(&[PermitOutcome], Position); 6] = [
            (&[Failure, Failure], Position::Closed),
            (&[Failure, Failure, Failure], Position::Open),
            (&[Failure, Failure, Success, Failure, Failure], Position::Closed),
            (&[Failure, Failure, Unknown, Failure], Position::Open),
            (&[Unknown; 10], Position::Closed),
            (&[Failure, Success, Failure, Failure, Failure], Position::Open),
        ];
        for (outcomes, position) in table {
            let mut breaker = Breaker::new(3, COOL_DOWN);
            for outcome in outcomes {
                let permit = breaker.admit(at(0)).unwrap();
                breaker.settle(permit, *outcome, at(0));
                breaker.check_invariants();
            }
            assert_eq!(breaker.position(), position, "{outcomes:?}");
        }
    }

    #[test]
    fn one_probe_decides_after_the_cool_down() {
        for (outcome, position) in [
            (PermitOutcome::Success, Position::Closed),
            (PermitOutcome::Failure, Position::Open),
            (PermitOutcome::Unknown, Position::HalfOpen),
        ] {
            let mut breaker = opened();
            assert_eq!(breaker.admit(at(COOL_DOWN - 1)), Err(at(COOL_DOWN)));
            let probe = breaker.admit(at(COOL_DOWN)).unwrap();
            assert_eq!(breaker.position(), Position::HalfOpen);
            assert_eq!(breaker.admit(at(COOL_DOWN)), Err(at(2 * COOL_DOWN)), "one probe at a time");
            breaker.settle(probe, outcome, at(15));
            assert_eq!(breaker.position(), position);
            assert_eq!(breaker.admit(at(16)).is_ok(), outcome != PermitOutcome::Failure);
            if outcome == PermitOutcome::Failure {
                assert_eq!(breaker.admit(at(16)), Err(at(25)), "it cools down anew");
            }
        }
    }

    #[test]
    fn who_was_let_through_before_has_no_say_later() {
        let mut breaker = Breaker::new(1, COOL_DOWN);
        let (slow, fast) = (breaker.admit(at(0)).unwrap(), breaker.admit(at(0)).unwrap());
        breaker.settle(fast, PermitOutcome::Failure, at(0));
        breaker.settle(slow, PermitOutcome::Success, at(5));
        assert_eq!(breaker.position(), Position::Open);
        let probe = breaker.admit(at(10)).unwrap();
        breaker.settle(slow, PermitOutcome::Success, at(10));
        assert_eq!(breaker.position(), Position::HalfOpen);
        breaker.settle(probe, PermitOutcome::Unknown, at(11));
        let second = breaker.admit(at(11)).unwrap();
        breaker.settle(probe, PermitOutcome::Failure, at(11));
        assert_eq!(breaker.position(), Position::HalfOpen, "a probe is settled once");
        breaker.settle(second, PermitOutcome::Success, at(12));
        assert_eq!(breaker.position(), Position::Closed);
    }

    #[test]
    fn whatever_happens_it_comes_back() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut breaker = Breaker::new(1 + random.below(4) as u32, 1 + random.below(20));
            let (mut now, mut out) = (0, Vec::new());
            for _ in 0..200 {
                now += random.below(5);
                if random.below(2) == 0 {
                    out.extend(breaker.admit(at(now)));
                } else if !out.is_empty() {
                    let permit = out.swap_remove(random.below(out.len() as u64) as usize);
                    let outcome = [PermitOutcome::Success, PermitOutcome::Failure, PermitOutcome::Unknown]
                        [random.below(3) as usize];
                    breaker.settle(permit, outcome, at(now));
                }
                breaker.check_invariants();
            }
            for permit in out {
                breaker.settle(permit, PermitOutcome::Unknown, at(now));
            }
            let permit = breaker.admit(at(now + 1000)).expect("nobody holds it open any more");
            breaker.settle(permit, PermitOutcome::Success, at(now + 1000));
            assert_eq!(breaker.position(), Position::Closed);
        }
    }
}
