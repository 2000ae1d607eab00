//! The program's queue to a worker, with a check of its fairness: no holder waits while another is served twice.

use cortex_core::internals::metrics::Gauge;
use cortex_core::internals::{Holder, Queue};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

static DEPTH: Gauge = Gauge::new();

/// A queue whose items weigh 1.
pub struct FairQueue<T> {
    queue: Queue<Holder, (Holder, T)>,
    /// The number of items of each holder, and the holders that were served since it was served last or began to wait.
    waiting: BTreeMap<Holder, (usize, BTreeSet<Holder>)>,
}

impl<T> FairQueue<T> {
    /// An empty queue for `items_max` items.
    pub fn new(items_max: usize) -> FairQueue<T> {
        FairQueue { queue: Queue::new(items_max, &DEPTH), waiting: BTreeMap::new() }
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.waiting.values().map(|(count, _)| count).sum()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Appends an item. Returns the items that give way, none of which may belong to a holder with less than another.
    pub fn push(&mut self, holder: &Holder, item: T) -> Vec<T> {
        self.waiting.entry(holder.clone()).or_default().0 += 1;
        let mut displaced = Vec::new();
        self.queue.push(holder, (holder.clone(), item), 1, &mut displaced);
        let give_way = |(holder, item): (Holder, T)| {
            let most = self.waiting.values().map(|(count, _)| *count).max();
            assert_eq!(
                self.waiting.get(&holder).map(|(count, _)| *count),
                most,
                "a small holder gives way: {holder:?}"
            );
            self.removed(&holder);
            item
        };
        displaced.into_iter().map(give_way).collect()
    }

    /// Takes at most `count` items, at least one.
    pub fn take(&mut self, count: usize) -> Vec<T> {
        let mut taken = Vec::new();
        self.queue.take(&mut taken, count, usize::MAX, Some(Duration::ZERO));
        let served = |(holder, item): (Holder, T)| {
            for (other, (_, served)) in self.waiting.iter_mut().filter(|(other, _)| **other != holder) {
                assert!(served.insert(holder.clone()), "{other:?} waits while {holder:?} is served twice");
            }
            self.removed(&holder);
            if let Some((_, served)) = self.waiting.get_mut(&holder) {
                served.clear();
            }
            item
        };
        taken.into_iter().map(served).collect()
    }

    fn removed(&mut self, holder: &Holder) {
        let (count, _) = self.waiting.get_mut(holder).expect("the queue returns what it was given");
        *count -= 1;
        if *count == 0 {
            self.waiting.remove(holder);
        }
    }
}
