//! What each holder has of a budget that several holders share.
//!
//! A budget is work-conserving: one holder may use all of it while no other needs any. When it is exceeded, the largest
//! holder gives something up, so the holder that fills a budget is the one that is rejected.
//!
//! Invariant: `total` is the sum of all holdings, and every holder in the table has some.

use std::collections::HashMap;
use std::hash::Hash;

/// A budget of `max` units, and what each holder has of it.
#[derive(Debug)]
pub(crate) struct Shares<K> {
    max: usize,
    total: usize,
    held: HashMap<K, usize>,
}

/// Capacity of the table that an unused budget may keep, in holders.
const CAPACITY_KEPT_MAX: usize = 1024;

impl<K: Clone + Ord + Hash> Shares<K> {
    /// An unused budget.
    pub(crate) fn new(max: usize) -> Shares<K> {
        Shares { max, total: 0, held: HashMap::new() }
    }

    /// Units that are held.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// Units that `holder` has.
    pub(crate) fn held_by(&self, holder: &K) -> usize {
        self.held.get(holder).copied().unwrap_or(0)
    }

    /// Adds to what `holder` has, also beyond the budget. Follow with [`Shares::largest_if_over`].
    pub(crate) fn add(&mut self, holder: &K, units: usize) {
        if units == 0 {
            return;
        }
        self.total += units;
        match self.held.get_mut(holder) {
            Some(held) => *held += units,
            None => drop(self.held.insert(holder.clone(), units)),
        }
    }

    /// Takes units back.
    ///
    /// # Panics
    /// Panics if `holder` does not have that many.
    pub(crate) fn remove(&mut self, holder: &K, units: usize) {
        if units == 0 {
            return;
        }
        let held = self.held.get_mut(holder).expect("units are removed from their holder");
        *held = held.checked_sub(units).expect("no more is removed than is held");
        self.total -= units;
        if *held == 0 {
            self.held.remove(holder);
            if self.held.is_empty() && self.held.capacity() > CAPACITY_KEPT_MAX {
                self.held = HashMap::new();
            }
        }
    }

    /// The holder that must give something up, if the budget is exceeded: the one that has most. Among equal ones it is
    /// `latest`, which exceeded the budget.
    pub(crate) fn largest_if_over(&self, latest: &K) -> Option<K> {
        if self.total <= self.max {
            return None;
        }
        let (largest, held) = self.held.iter().max_by(|a, b| (a.1, a.0).cmp(&(b.1, b.0)))?;
        let holder = if self.held_by(latest) >= *held { latest } else { largest };
        Some(holder.clone())
    }

    /// Asserts the invariant of this module.
    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        assert_eq!(self.total, self.held.values().sum::<usize>());
        assert!(self.held.values().all(|held| *held > 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    #[test]
    fn the_largest_holder_gives_way() {
        let mut shares = Shares::new(10);
        shares.add(&'a', 10);
        assert_eq!(shares.largest_if_over(&'a'), None, "one holder may use all of it");
        shares.add(&'b', 3);
        assert_eq!(shares.largest_if_over(&'b'), Some('a'));
        shares.remove(&'a', 6);
        assert_eq!(shares.largest_if_over(&'b'), None);
        shares.add(&'b', 4);
        assert_eq!(shares.largest_if_over(&'b'), Some('b'), "b has more than a now");
        shares.remove(&'b', 3);
        shares.add(&'c', 4);
        assert_eq!(shares.largest_if_over(&'c'), Some('c'), "the latest of equal holders");
        assert_eq!((shares.held_by(&'a'), shares.held_by(&'b'), shares.total()), (4, 4, 12));
        for holder in ['a', 'b', 'c'] {
            shares.remove(&holder, 4);
            shares.check_invariants();
        }
        assert_eq!((shares.largest_if_over(&'a'), shares.total()), (None, 0));
    }

    /// Whatever the others do, a holder that has no more than an equal part never gives anything up.
    #[test]
    fn an_equal_part_is_never_given_up() {
        const MAX: usize = 120;
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut shares = Shares::new(MAX);
            let holders = 2 + random.below(5) as usize;
            for _ in 0..300 {
                let holder = random.below(holders as u64) as usize;
                let held = shares.held_by(&holder);
                if random.below(3) == 0 && held > 0 {
                    shares.remove(&holder, 1 + random.below(held as u64) as usize);
                    continue;
                }
                shares.add(&holder, 1 + random.below(8) as usize);
                while let Some(largest) = shares.largest_if_over(&holder) {
                    assert!(shares.held_by(&largest) * holders > MAX);
                    shares.remove(&largest, 1);
                }
                shares.check_invariants();
            }
        }
    }
}
