//! The clock by which rows expire.
//!
//! Invariant: an age is less than the time that processes have had the database open. A wall clock that jumps, in a process or
//! between two, makes nothing older. The time in which no process has the database open does not count.

use crate::base::time::{MonoTime, SECOND};

/// Microseconds for which processes have had a database open for writing. Rows that expire are stamped with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct AgeTime(pub i64);

impl AgeTime {
    pub(crate) fn minus_seconds(self, seconds: i64) -> AgeTime {
        AgeTime(self.0.saturating_sub(seconds.saturating_mul(SECOND)))
    }

    pub(crate) fn plus_milliseconds(self, milliseconds: u64) -> AgeTime {
        let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::MAX);
        AgeTime(self.0.saturating_add(milliseconds.saturating_mul(1000)))
    }

    /// Microseconds from `earlier` to this time; zero if it is later.
    pub(crate) fn since(self, earlier: AgeTime) -> u64 {
        self.0.saturating_sub(earlier.0).max(0) as u64
    }
}

/// Continues the age of a database with the monotonic clock of this process.
pub(crate) struct AgeClock {
    stored: AgeTime,
    /// When the clock was first read.
    started: Option<MonoTime>,
}

impl AgeClock {
    /// Continues from the age that the last process stored.
    pub(crate) fn new(stored: AgeTime) -> AgeClock {
        AgeClock { stored, started: None }
    }

    pub(crate) fn at(&mut self, now: MonoTime) -> AgeTime {
        let started = *self.started.get_or_insert(now);
        AgeTime(self.stored.0.saturating_add_unsigned(now.since(started)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_counts_from_its_first_reading() {
        let mut clock = AgeClock::new(AgeTime(5));
        assert_eq!(clock.at(MonoTime(1_000)), AgeTime(5));
        assert_eq!(clock.at(MonoTime(1_007)), AgeTime(12));
        assert_eq!(clock.at(MonoTime(900)), AgeTime(5), "a reading before the first one");
        assert_eq!(AgeClock::new(AgeTime(i64::MAX - 1)).at(MonoTime(u64::MAX)), AgeTime(i64::MAX - 1));
    }

    #[test]
    fn differences_stay_in_range() {
        assert_eq!(AgeTime(3).minus_seconds(i64::MAX), AgeTime(i64::MIN + 4));
        assert_eq!(AgeTime(3).plus_milliseconds(u64::MAX), AgeTime(i64::MAX));
        assert_eq!((AgeTime(3).since(AgeTime(1)), AgeTime(1).since(AgeTime(3))), (2, 0));
    }
}
