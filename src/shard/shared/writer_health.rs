//! Whether the writer can commit. The writer's thread updates it; every shard reads it for `/health` and `/ready`.

use crate::base::limits::WRITER_STUCK_MILLISECONDS;
use crate::base::time::MonoTime;
use crate::domain::health::WriterFault;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// The writer's last known fault, and how long its present work on the database has taken.
#[derive(Debug, Default)]
pub struct WriterHealth {
    /// 0 without a fault, else one more than its index in `WriterFault::ALL`.
    fault: AtomicU8,
    /// When the present work began, in microseconds of `MonoTime` plus one; 0 between two pieces of work.
    working_since: AtomicU64,
    /// When the database server was first found unreachable, in microseconds of `MonoTime` plus one; 0 while it is not.
    unreachable_since: AtomicU64,
}

impl WriterHealth {
    /// The writer begins a transaction, a probe or a step of maintenance.
    pub fn begins(&self, now: MonoTime) {
        self.working_since.store(now.0 + 1, Relaxed);
    }

    /// The writer has finished what it began, and is in this state.
    pub fn rests(&self, fault: Option<WriterFault>) {
        let index = fault.and_then(|fault| WriterFault::ALL.iter().position(|other| *other == fault));
        self.fault.store(index.map_or(0, |index| index as u8 + 1), Relaxed);
        self.working_since.store(0, Relaxed);
        if fault != Some(WriterFault::Unreachable) {
            self.unreachable_since.store(0, Relaxed);
        }
    }

    /// Why the writer cannot commit; `None` if it can.
    pub fn fault(&self, now: MonoTime) -> Option<WriterFault> {
        let index = usize::from(self.fault.load(Relaxed));
        let known = index.checked_sub(1).map(|index| WriterFault::ALL[index]);
        known.or_else(|| {
            let since = self.working_since.load(Relaxed).checked_sub(1)?;
            (now.since(MonoTime(since)) >= 1000 * WRITER_STUCK_MILLISECONDS).then_some(WriterFault::Stuck)
        })
    }

    /// Since when the database server cannot be reached, as far as this call and those before have found; `None` if it can.
    pub(crate) fn unreachable_since(&self, now: MonoTime) -> Option<MonoTime> {
        // Before the writer gives up, it is stuck.
        if !matches!(self.fault(now), Some(WriterFault::Unreachable | WriterFault::Stuck)) {
            return None;
        }
        match self.unreachable_since.compare_exchange(0, now.0 + 1, Relaxed, Relaxed) {
            Ok(_) => Some(now),
            Err(since) => Some(MonoTime(since - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_fails_or_is_stuck_has_a_fault() {
        let health = WriterHealth::default();
        let stuck = 1000 * WRITER_STUCK_MILLISECONDS;
        assert_eq!(health.fault(MonoTime(stuck)), None);
        health.begins(MonoTime(0));
        assert_eq!(health.fault(MonoTime(stuck - 1)), None);
        assert_eq!(health.fault(MonoTime(stuck)), Some(WriterFault::Stuck));
        for fault in WriterFault::ALL {
            health.rests(Some(fault));
            assert_eq!(health.fault(MonoTime(stuck)), Some(fault));
        }
        health.rests(None);
        assert_eq!(health.fault(MonoTime(stuck)), None);
    }

    #[test]
    fn a_server_is_unreachable_since_that_was_found() {
        let health = WriterHealth::default();
        assert_eq!(health.unreachable_since(MonoTime(0)), None);
        for start in [0, 100] {
            health.rests(Some(WriterFault::Unreachable));
            assert_eq!(health.unreachable_since(MonoTime(start)), Some(MonoTime(start)));
            health.begins(MonoTime(start + 1));
            health.rests(Some(WriterFault::Unreachable));
            assert_eq!(health.unreachable_since(MonoTime(start + 7)), Some(MonoTime(start)));
            health.rests(None);
            assert_eq!(health.unreachable_since(MonoTime(start + 8)), None);
        }
        health.rests(Some(WriterFault::Full));
        assert_eq!(health.unreachable_since(MonoTime(200)), None);
    }
}
