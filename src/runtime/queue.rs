//! A bounded queue from the event loops to a worker thread. `push` fails at once when the queue is full; `take` drains it.

use crate::base::metrics::Gauge;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// A queue bounded in items and in bytes.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    waiting: Mutex<QueueState<T>>,
    arrived: Condvar,
    items_max: usize,
    bytes_max: usize,
    /// The number of items.
    depth: &'static Gauge,
}

#[derive(Debug)]
struct QueueState<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
    /// Takers that sleep until an item arrives. Only they need to be woken, and waking is a system call.
    takers_asleep: usize,
}

/// How a wait for items ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wakeup {
    /// Items were taken.
    Work,
    /// No item arrived before the timeout.
    Idle,
    /// The queue is closed and empty.
    Closed,
}

impl<T> Queue<T> {
    /// An empty queue, which reports its length to `depth`.
    pub(crate) fn new(items_max: usize, bytes_max: usize, depth: &'static Gauge) -> Queue<T> {
        let waiting = QueueState { items: VecDeque::new(), bytes: 0, closed: false, takers_asleep: 0 };
        Queue { waiting: Mutex::new(waiting), arrived: Condvar::new(), items_max, bytes_max, depth }
    }

    /// Appends an item of `bytes` bytes, and wakes a taker.
    ///
    /// # Errors
    /// Returns the item if the queue is full or closed.
    pub(crate) fn push(&self, item: T, bytes: usize) -> Result<(), T> {
        self.push_without_wake(item, bytes)?;
        self.wake();
        Ok(())
    }

    /// As `push`, but a sleeping taker wakes only at the next `wake`, so that it takes several items at once.
    pub(crate) fn push_without_wake(&self, item: T, bytes: usize) -> Result<(), T> {
        let mut waiting = self.lock();
        let full = waiting.items.len() >= self.items_max || waiting.bytes + bytes > self.bytes_max;
        if waiting.closed || (full && !waiting.items.is_empty()) {
            return Err(item);
        }
        waiting.items.push_back((item, bytes));
        waiting.bytes += bytes;
        self.depth.set(waiting.items.len() as u64);
        Ok(())
    }

    /// Appends an item whatever the length of the queue: its sender keeps a bound of its own. A closed queue drops it.
    pub(crate) fn push_reserved(&self, item: T) {
        {
            let mut waiting = self.lock();
            if waiting.closed {
                return;
            }
            waiting.items.push_back((item, 0));
            self.depth.set(waiting.items.len() as u64);
        }
        self.wake();
    }

    /// Wakes a taker, if one sleeps.
    pub(crate) fn wake(&self) {
        let asleep = self.lock().takers_asleep > 0;
        if asleep {
            self.arrived.notify_one();
        }
    }

    /// Moves items into `into`: at most `items_max` items and `bytes_max` bytes, but at least one item. Waits for the first for at
    /// most `timeout`; `None` waits without bound.
    pub(crate) fn take(
        &self,
        into: &mut Vec<T>,
        items_max: usize,
        bytes_max: usize,
        timeout: Option<Duration>,
    ) -> Wakeup {
        let mut waiting = self.lock();
        while waiting.items.is_empty() {
            if waiting.closed {
                return Wakeup::Closed;
            }
            waiting.takers_asleep += 1;
            let mut timed_out = false;
            waiting = match timeout {
                None => self.arrived.wait(waiting).unwrap_or_else(|poisoned| poisoned.into_inner()),
                Some(timeout) => {
                    let (waiting, result) =
                        self.arrived.wait_timeout(waiting, timeout).unwrap_or_else(|poisoned| poisoned.into_inner());
                    timed_out = result.timed_out();
                    waiting
                }
            };
            waiting.takers_asleep -= 1;
            if timed_out && waiting.items.is_empty() && !waiting.closed {
                return Wakeup::Idle;
            }
        }
        let mut bytes_taken = 0;
        while into.len() < items_max
            && let Some((_, bytes)) = waiting.items.front()
            && (into.is_empty() || bytes_taken + bytes <= bytes_max)
            && let Some((item, bytes)) = waiting.items.pop_front()
        {
            bytes_taken += bytes;
            waiting.bytes -= bytes;
            into.push(item);
        }
        self.depth.set(waiting.items.len() as u64);
        if waiting.items.is_empty() && waiting.items.capacity() > 1024 {
            waiting.items = VecDeque::new();
        }
        Wakeup::Work
    }

    /// Accepts no more items. Those in the queue are still taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static DEPTH: Gauge = Gauge::new();

    #[test]
    fn bounds_in_items_and_bytes() {
        let queue = Queue::new(3, 100, &DEPTH);
        assert!(queue.push('a', 500).is_ok(), "an empty queue takes an item of any size");
        assert_eq!(queue.push('b', 1), Err('b'));
        let mut taken = Vec::new();
        assert_eq!(queue.take(&mut taken, 8, 10, None), Wakeup::Work);
        assert_eq!(taken, ['a']);
        for (item, ok) in [('c', true), ('d', true), ('e', true), ('f', false)] {
            assert_eq!(queue.push(item, 30).is_ok(), ok);
        }
        taken.clear();
        assert_eq!(queue.take(&mut taken, 8, 60, None), Wakeup::Work);
        assert_eq!(taken, ['c', 'd']);
        taken.clear();
        queue.close();
        assert_eq!(queue.push('g', 1), Err('g'));
        assert_eq!(queue.take(&mut taken, 8, 60, None), Wakeup::Work, "what waits is still given out");
        taken.clear();
        assert_eq!(queue.take(&mut taken, 8, 60, None), Wakeup::Closed);
    }

    #[test]
    fn an_idle_taker_is_told() {
        let queue: Queue<u8> = Queue::new(1, 1, &DEPTH);
        assert_eq!(queue.take(&mut Vec::new(), 1, 1, Some(Duration::from_millis(1))), Wakeup::Idle);
    }

    #[test]
    fn what_was_pushed_unheard_comes_with_the_next_wake() {
        let queue = Queue::new(8, 8, &DEPTH);
        std::thread::scope(|scope| {
            let taking = scope.spawn(|| {
                let mut taken = Vec::new();
                while taken.len() < 2 {
                    let mut some = Vec::new();
                    assert_eq!(queue.take(&mut some, 8, 8, None), Wakeup::Work);
                    taken.append(&mut some);
                }
                taken
            });
            queue.push_without_wake('a', 1).unwrap();
            queue.push_without_wake('b', 1).unwrap();
            queue.wake();
            assert_eq!(taking.join().unwrap(), ['a', 'b']);
        });
        queue.wake();
        assert_eq!(queue.take(&mut Vec::new(), 1, 1, Some(Duration::from_millis(1))), Wakeup::Idle);
    }
}
