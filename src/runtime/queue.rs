//! A bounded queue from the event loops to a worker thread, fair between the holders of its items.
//!
//! A push to a full queue displaces the newest items of the largest holder, which may be the pushed item itself. `take` gives
//! the holders turns, one item each. The items of one holder keep their order.
//!
//! Invariant: the weights of all items together are at most the budget of `shares`, except that a single item may have any
//! weight. Every holder in `turns` has an item in `items`, and the reverse.

use crate::base::metrics::Gauge;
use crate::base::shares::Shares;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// A queue bounded by the weight of its items, of which each holder has a share.
#[derive(Debug)]
pub struct Queue<K, T> {
    state: Mutex<QueueState<K, T>>,
    arrived: Condvar,
    /// The number of items.
    depth: &'static Gauge,
}

#[derive(Debug)]
struct QueueState<K, T> {
    items: HashMap<K, VecDeque<(T, usize)>>,
    /// The holders, in the order of their turns.
    turns: VecDeque<K>,
    shares: Shares<K>,
    /// Empty lists, kept for their capacity.
    spare: Vec<VecDeque<(T, usize)>>,
    len: usize,
    closed: bool,
    /// Takers that sleep until an item arrives. Only they need to be woken, and waking is a system call.
    takers_asleep: usize,
}

/// How a wait for items ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wakeup {
    /// Items were taken.
    Work,
    /// No item arrived before the timeout.
    Idle,
    /// The queue is closed and empty.
    Closed,
}

impl<K: Clone + Ord + Hash, T> Queue<K, T> {
    /// An empty queue, which reports its length to `depth`.
    pub fn new(weight_max: usize, depth: &'static Gauge) -> Queue<K, T> {
        let state = QueueState {
            items: HashMap::new(),
            turns: VecDeque::new(),
            shares: Shares::new(weight_max),
            spare: Vec::new(),
            len: 0,
            closed: false,
            takers_asleep: 0,
        };
        Queue { state: Mutex::new(state), arrived: Condvar::new(), depth }
    }

    /// Appends an item of `weight`, which is at least 1, and wakes a taker. The items that give way are appended to
    /// `displaced`: the newest of the largest holder, among equal holders those of `holder`.
    pub fn push(&self, holder: &K, item: T, weight: usize, displaced: &mut Vec<T>) {
        self.push_without_wake(holder, item, weight, displaced);
        self.wake();
    }

    /// As [`Queue::push`], but a sleeping taker wakes only at the next `wake`, so that it takes several items at once. A
    /// closed queue displaces every item.
    pub(crate) fn push_without_wake(&self, holder: &K, item: T, weight: usize, displaced: &mut Vec<T>) {
        let mut state = self.lock();
        if state.closed {
            return displaced.push(item);
        }
        let weight = weight.max(1);
        state.append(holder, item, weight);
        state.shares.add(holder, weight);
        while state.len > 1
            && let Some(largest) = state.shares.largest_if_over(holder)
        {
            displaced.push(state.remove_newest(&largest));
        }
        self.depth.set(state.len as u64);
    }

    /// Wakes a taker, if one sleeps.
    pub(crate) fn wake(&self) {
        let asleep = self.lock().takers_asleep > 0;
        if asleep {
            self.arrived.notify_one();
        }
    }

    /// Moves items into `into`, one of each holder in turn: at most `items_max` items and `weight_max` of weight, but at
    /// least one item. Waits for the first for at most `timeout`; `None` waits without bound.
    pub fn take(&self, into: &mut Vec<T>, items_max: usize, weight_max: usize, timeout: Option<Duration>) -> Wakeup {
        let mut state = self.lock();
        while state.len == 0 {
            if state.closed {
                return Wakeup::Closed;
            }
            state.takers_asleep += 1;
            let mut timed_out = false;
            state = match timeout {
                None => self.arrived.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner()),
                Some(timeout) => {
                    let (state, result) =
                        self.arrived.wait_timeout(state, timeout).unwrap_or_else(|poisoned| poisoned.into_inner());
                    timed_out = result.timed_out();
                    state
                }
            };
            state.takers_asleep -= 1;
            if timed_out && state.len == 0 && !state.closed {
                return Wakeup::Idle;
            }
        }
        let mut weight_left = weight_max;
        while into.len() < items_max
            && let Some(next) = state.next_weight()
            && (into.is_empty() || next <= weight_left)
        {
            weight_left = weight_left.saturating_sub(next);
            into.push(state.take_turn());
        }
        self.depth.set(state.len as u64);
        Wakeup::Work
    }

    /// Accepts no more items. Those in the queue are still taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<K, T>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Capacity that an empty queue may keep, in holders.
const CAPACITY_KEPT_MAX: usize = 1024;
/// Lists of former holders that are kept.
const SPARE_MAX: usize = 64;
/// Capacity of a list that is kept, in items.
const SPARE_ITEMS_MAX: usize = 64;

impl<K: Clone + Ord + Hash, T> QueueState<K, T> {
    fn append(&mut self, holder: &K, item: T, weight: usize) {
        self.len += 1;
        match self.items.get_mut(holder) {
            Some(items) => items.push_back((item, weight)),
            None => {
                self.turns.push_back(holder.clone());
                let mut items = self.spare.pop().unwrap_or_default();
                items.push_back((item, weight));
                self.items.insert(holder.clone(), items);
            }
        }
    }

    /// Removes a holder without items from the table, and keeps its list for another.
    fn remove_holder(&mut self, holder: &K) {
        if let Some(items) = self.items.remove(holder)
            && self.spare.len() < SPARE_MAX
            && items.capacity() <= SPARE_ITEMS_MAX
        {
            self.spare.push(items);
        }
        if self.len == 0 && self.items.capacity() > CAPACITY_KEPT_MAX {
            (self.items, self.turns) = (HashMap::new(), VecDeque::new());
        }
    }

    /// The weight of the item whose turn it is.
    fn next_weight(&self) -> Option<usize> {
        let items = &self.items[self.turns.front()?];
        items.front().map(|(_, weight)| *weight)
    }

    /// Removes the item whose turn it is. Its holder is next after all others.
    fn take_turn(&mut self) -> T {
        let holder = self.turns.pop_front().expect("the queue is not empty");
        let items = self.items.get_mut(&holder).expect("every holder with a turn has items");
        let (item, weight) = items.pop_front().expect("every holder with a turn has an item");
        self.shares.remove(&holder, weight);
        self.len -= 1;
        if items.is_empty() {
            self.remove_holder(&holder);
        } else {
            self.turns.push_back(holder);
        }
        item
    }

    /// Removes the newest item of `holder`.
    fn remove_newest(&mut self, holder: &K) -> T {
        let items = self.items.get_mut(holder).expect("a holder of weight has items");
        let at = items.iter().rposition(|(_, weight)| *weight > 0).expect("a holder of weight has an item with weight");
        let (item, weight) = items.remove(at).expect("the position is of an item");
        self.shares.remove(holder, weight);
        self.len -= 1;
        if items.is_empty() {
            self.turns.retain(|other| other != holder);
            self.remove_holder(holder);
        }
        item
    }

    #[cfg(test)]
    fn check_invariants(&self) {
        self.shares.check_invariants();
        assert_eq!(self.items.len(), self.turns.len());
        assert!(self.turns.iter().all(|holder| !self.items[holder].is_empty()));
        let all = || self.items.values().flatten();
        assert_eq!(self.len, all().count());
        assert_eq!(self.shares.total(), all().map(|(_, weight)| weight).sum::<usize>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    static DEPTH: Gauge = Gauge::new();

    /// Pushes an item of `weight`, and returns what gave way.
    fn push(queue: &Queue<char, u8>, holder: char, item: u8, weight: usize) -> Vec<u8> {
        let mut displaced = Vec::new();
        queue.push(&holder, item, weight, &mut displaced);
        queue.lock().check_invariants();
        displaced
    }

    fn take<T>(queue: &Queue<char, T>, items_max: usize, weight_max: usize) -> Vec<T> {
        let mut taken = Vec::new();
        assert_eq!(queue.take(&mut taken, items_max, weight_max, None), Wakeup::Work);
        queue.lock().check_invariants();
        taken
    }

    #[test]
    fn the_weight_is_bounded() {
        let queue = Queue::new(100, &DEPTH);
        assert!(push(&queue, 'u', 1, 500).is_empty(), "an empty queue accepts an item of any weight");
        assert_eq!(push(&queue, 'u', 2, 1), [2]);
        assert_eq!(take(&queue, 8, 10), [1]);
        for (item, displaced) in [(3, &[][..]), (4, &[]), (5, &[]), (6, &[6])] {
            assert_eq!(push(&queue, 'u', item, 30), displaced);
        }
        assert_eq!(take(&queue, 8, 60), [3, 4]);
        queue.close();
        assert_eq!(push(&queue, 'u', 7, 1), [7]);
        assert_eq!(take(&queue, 8, 60), [5], "items in a closed queue are still taken");
        assert_eq!(queue.take(&mut Vec::new(), 8, 60, None), Wakeup::Closed);
    }

    #[test]
    fn holders_take_turns_and_keep_their_order() {
        let queue = Queue::new(100, &DEPTH);
        for (holder, item) in [('a', 10), ('a', 11), ('a', 12), ('a', 13), ('b', 20), ('b', 21), ('c', 30)] {
            assert!(push(&queue, holder, item, 1).is_empty());
        }
        assert_eq!(take(&queue, 2, 100), [10, 20]);
        assert_eq!(take(&queue, 9, 100), [30, 11, 21, 12, 13]);
    }

    #[test]
    fn the_largest_holder_gives_way() {
        let queue = Queue::new(4, &DEPTH);
        for item in [10, 11, 12, 13] {
            assert!(push(&queue, 'a', item, 1).is_empty());
        }
        assert_eq!(push(&queue, 'a', 14, 1), [14]);
        assert_eq!(push(&queue, 'b', 20, 1), [13], "its newest item is displaced");
        assert_eq!(push(&queue, 'b', 21, 1), [12]);
        assert_eq!(push(&queue, 'b', 22, 1), [22], "two each is fair");
        assert_eq!(push(&queue, 'c', 30, 1).len(), 1);
        assert_eq!(push(&queue, 'c', 31, 1), [31]);
        assert_eq!(push(&queue, 'd', 40, 9), [40], "an item that is too large for its share displaces no other");
    }

    /// No holder waits while another is served twice.
    #[test]
    fn nobody_waits_while_others_are_served_twice() {
        for seed in 0..100 {
            let mut random = Random::new(seed);
            let queue = Queue::new(64, &DEPTH);
            let holders = ['a', 'b', 'c', 'd', 'e'];
            let mut served_since: HashMap<char, HashMap<char, usize>> = HashMap::new();
            let mut waiting: HashMap<char, usize> = HashMap::new();
            for n in 0..400 {
                if random.below(2) == 0 {
                    let holder = holders[random.below(5).min(random.below(5)) as usize];
                    let mut displaced = Vec::new();
                    queue.push(&holder, (holder, n), 1 + random.below(4) as usize, &mut displaced);
                    *waiting.entry(holder).or_default() += 1;
                    if waiting[&holder] == 1 {
                        served_since.insert(holder, HashMap::new());
                    }
                    for (holder, _) in displaced {
                        *waiting.get_mut(&holder).unwrap() -= 1;
                    }
                } else if waiting.values().any(|count| *count > 0) {
                    for (holder, _) in take(&queue, 1, 64) {
                        *waiting.get_mut(&holder).unwrap() -= 1;
                        served_since.insert(holder, HashMap::new());
                        for (other, served) in &mut served_since {
                            if waiting.get(other).is_some_and(|count| *count > 0) && *other != holder {
                                let times = served.entry(holder).or_default();
                                *times += 1;
                                assert!(*times <= 1, "{holder} was served twice while {other} waited");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn an_idle_taker_is_told() {
        let queue: Queue<char, u8> = Queue::new(1, &DEPTH);
        assert_eq!(queue.take(&mut Vec::new(), 1, 1, Some(Duration::from_millis(1))), Wakeup::Idle);
    }

    #[test]
    fn items_pushed_without_a_wake_come_with_the_next_one() {
        let queue = Queue::new(8, &DEPTH);
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
            let mut displaced = Vec::new();
            queue.push_without_wake(&'u', 'a', 1, &mut displaced);
            queue.push_without_wake(&'u', 'b', 1, &mut displaced);
            queue.wake();
            assert_eq!(taking.join().unwrap(), ['a', 'b']);
        });
        queue.wake();
        assert_eq!(queue.take(&mut Vec::new(), 1, 1, Some(Duration::from_millis(1))), Wakeup::Idle);
    }
}
