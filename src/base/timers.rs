//! One deadline per key, and the keys whose deadline has come.
//!
//! Invariant: `heap` is a binary min-heap by deadline, and `place[key]` is the index of a key in it, if it is armed.

use super::time::MonoTime;

const ABSENT: u32 = u32::MAX;

/// An indexed binary heap: arming, moving and clearing a deadline cost O(log n). Each key has at most one entry.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: Vec<(MonoTime, u32)>,
    place: Vec<u32>,
}

impl Timers {
    /// Arms or moves the deadline of `key`.
    pub(crate) fn set(&mut self, key: u32, at: MonoTime) {
        if self.place.len() <= key as usize {
            self.place.resize(key as usize + 1, ABSENT);
        }
        let place = self.place[key as usize];
        if place == ABSENT {
            self.heap.push((at, key));
            self.place[key as usize] = self.heap.len() as u32 - 1;
            self.rise(self.heap.len() - 1);
        } else {
            self.heap[place as usize].0 = at;
            self.rise(place as usize);
            self.sink(self.place[key as usize] as usize);
        }
    }

    /// Removes the deadline of `key`, if it has one.
    pub(crate) fn clear(&mut self, key: u32) {
        let Some(&place) = self.place.get(key as usize) else { return };
        if place == ABSENT {
            return;
        }
        let last = self.heap.len() - 1;
        self.swap(place as usize, last);
        self.heap.pop();
        self.place[key as usize] = ABSENT;
        if (place as usize) < self.heap.len() {
            self.rise(place as usize);
            self.sink(place as usize);
        }
    }

    /// The deadline of `key`.
    pub(crate) fn get(&self, key: u32) -> Option<MonoTime> {
        let place = *self.place.get(key as usize)?;
        (place != ABSENT).then(|| self.heap[place as usize].0)
    }

    /// The earliest deadline of all.
    pub(crate) fn next(&self) -> Option<MonoTime> {
        self.heap.first().map(|(at, _)| *at)
    }

    /// Takes out one key whose deadline is not after `now`.
    pub(crate) fn pop_due(&mut self, now: MonoTime) -> Option<u32> {
        let (at, key) = *self.heap.first()?;
        if at > now {
            return None;
        }
        self.clear(key);
        Some(key)
    }

    /// Asserts the invariant of this module.
    pub(crate) fn check_invariants(&self) {
        for (place, (at, key)) in self.heap.iter().enumerate() {
            assert_eq!(self.place[*key as usize], place as u32, "a key knows its place");
            assert!(place == 0 || self.heap[(place - 1) / 2].0 <= *at, "no parent is later than its child");
        }
        assert_eq!(self.place.iter().filter(|place| **place != ABSENT).count(), self.heap.len());
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.place[self.heap[a].1 as usize] = a as u32;
        self.place[self.heap[b].1 as usize] = b as u32;
    }

    fn rise(&mut self, mut at: usize) {
        while at > 0 && self.heap[at].0 < self.heap[(at - 1) / 2].0 {
            self.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let mut least = at;
            if left < self.heap.len() && self.heap[left].0 < self.heap[least].0 {
                least = left;
            }
            if right < self.heap.len() && self.heap[right].0 < self.heap[least].0 {
                least = right;
            }
            if least == at {
                return;
            }
            self.swap(at, least);
            at = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::collections::HashMap;

    #[test]
    fn behaves_like_a_map_of_deadlines() {
        let mut random = Random::new(3);
        let mut timers = Timers::default();
        let mut model: HashMap<u32, MonoTime> = HashMap::new();
        for _ in 0..20_000 {
            let key = random.below(50) as u32;
            match random.below(4) {
                0 | 1 => {
                    let at = MonoTime(random.below(1000));
                    timers.set(key, at);
                    model.insert(key, at);
                }
                2 => {
                    timers.clear(key);
                    model.remove(&key);
                }
                _ => {
                    let now = MonoTime(random.below(1000));
                    let earliest = model.values().min().copied();
                    match timers.pop_due(now) {
                        Some(key) => assert_eq!(model.remove(&key), earliest),
                        None => assert!(earliest.is_none_or(|at| at > now)),
                    }
                }
            }
            timers.check_invariants();
            assert_eq!(timers.next(), model.values().min().copied());
            assert_eq!(timers.get(key), model.get(&key).copied());
        }
    }
}
