//! The bytes that a connection holds in memory for its peer: what they count for in the shard's budgets, and how fast the peer
//! drains its responses.

use crate::base::limits::{DRAIN_BYTES_PER_SECOND_MIN, DRAIN_WINDOW_SECONDS};
use crate::base::shares::Shares;
use crate::base::time::MonoTime;
use crate::domain::holder::Holder;

/// What a connection holds. Most connections hold nothing, and have none of this.
#[derive(Debug, Default)]
pub(super) struct HeldBytes {
    /// What is counted of incomplete requests.
    pub requests: Option<(Holder, usize)>,
    /// What is counted of responses that the socket did not take at once.
    pub responses: Option<(Holder, usize)>,
    /// The user that the large responses in the outbox are for.
    pub responses_of: Option<Holder>,
    /// Set while responses wait for the peer.
    pub drain: Option<DrainWindow>,
}

impl HeldBytes {
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_none() && self.responses.is_none() && self.responses_of.is_none() && self.drain.is_none()
    }
}

/// How fast a peer drains its responses. The bytes that the kernel has taken and not delivered do not count, since its buffers
/// hold more than a slow peer takes in minutes.
#[derive(Debug)]
pub(super) struct DrainWindow {
    /// When the peer's speed is measured next.
    pub check_at: MonoTime,
    /// Bytes that the socket has taken since responses began to wait.
    written: u64,
    /// Bytes of those that were delivered at the last measurement; negative for bytes from before.
    delivered: Option<i64>,
}

impl DrainWindow {
    /// A window that is measured for the first time at once.
    pub(super) fn new(now: MonoTime) -> DrainWindow {
        DrainWindow { check_at: now, written: 0, delivered: None }
    }

    /// Notes that the socket has taken bytes.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
    }

    /// Begins the next window.
    pub(super) fn begin_next(&mut self, now: MonoTime) {
        self.check_at = now.plus_milliseconds(1000 * DRAIN_WINDOW_SECONDS);
    }

    /// Takes the number of bytes that the kernel has not delivered. Returns whether the peer was too slow since the last
    /// measurement.
    pub(super) fn measured(&mut self, undelivered: usize) -> bool {
        let delivered = self.written as i64 - undelivered as i64;
        let before = self.delivered.replace(delivered);
        let expected = (DRAIN_WINDOW_SECONDS * DRAIN_BYTES_PER_SECOND_MIN) as i64;
        before.is_some_and(|before| delivered - before < expected)
    }
}

/// A budget of bytes that the connections of a shard share.
#[derive(Debug)]
pub(super) struct ByteBudget {
    shares: Shares<Holder>,
    /// The holder that exceeded the budget last, until it is kept again.
    exceeded_by: Option<Holder>,
}

impl ByteBudget {
    /// A budget of `max` bytes.
    pub(super) fn new(max: usize) -> ByteBudget {
        ByteBudget { shares: Shares::new(max), exceeded_by: None }
    }

    /// Replaces what a connection counts for.
    pub(super) fn count(&mut self, counted: &mut Option<(Holder, usize)>, now: Option<(Holder, usize)>) {
        if let Some((holder, bytes)) = counted.take() {
            self.shares.remove(&holder, bytes);
        }
        if let Some((holder, bytes)) = &now {
            self.shares.add(holder, *bytes);
            if self.shares.largest_if_over(holder).is_some() {
                self.exceeded_by = Some(holder.clone());
            }
        }
        *counted = now;
    }

    /// Whether the budget may be exceeded.
    pub(super) fn may_be_exceeded(&self) -> bool {
        self.exceeded_by.is_some()
    }

    /// The holder that must give something up, while the budget is exceeded.
    pub(super) fn largest_if_over(&mut self) -> Option<Holder> {
        let largest = self.shares.largest_if_over(self.exceeded_by.as_ref()?);
        if largest.is_none() {
            self.exceeded_by = None;
        }
        largest
    }

    /// Leaves the budget exceeded: one connection alone holds more.
    pub(super) fn tolerate(&mut self) {
        self.exceeded_by = None;
    }

    /// Bytes that are counted.
    pub(super) fn total(&self) -> usize {
        self.shares.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_peer_is_noticed_whatever_the_kernel_buffers() {
        let enough = (DRAIN_WINDOW_SECONDS * DRAIN_BYTES_PER_SECOND_MIN) as usize;
        // Undelivered bytes at each measurement, and what the socket took after it.
        let cases: [(&[(usize, usize)], bool); 5] = [
            (&[(4_000_000, 0), (4_000_000, 0)], true),
            (&[(4_000_000, 0), (4_000_000 - enough, 0)], false),
            (&[(4_000_000, 0), (4_000_001 - enough, 0)], true),
            (&[(4_000_000, enough), (4_000_000, 0)], false),
            (&[(0, 0), (0, enough), (0, enough), (0, 0), (1, 0)], true),
        ];
        for (measurements, expected) in cases {
            let mut window = DrainWindow::new(MonoTime(0));
            let mut is_slow = false;
            for (undelivered, written) in measurements {
                is_slow = window.measured(*undelivered);
                window.wrote(*written);
            }
            assert_eq!(is_slow, expected, "{measurements:?}");
        }
        assert!(!DrainWindow::new(MonoTime(0)).measured(9), "the first measurement has none before it");
    }
}
