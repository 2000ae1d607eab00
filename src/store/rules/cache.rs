//! A bounded map of recently used values.
//!
//! Invariant: each generation weighs at most half of the bound, unless it has only one entry. No key is in both generations.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// A value with a weight, which counts against the bound of a cache.
pub(crate) trait Weigh {
    /// The weight. It must not change while the value is cached.
    fn weight(&self) -> usize;
}

/// Two generations of shared values. A used entry moves to the young generation. When the young generation is full, it
/// becomes the old one, and the previous old generation is dropped as a whole. Eviction therefore costs nothing per use, and
/// keeps recently used values.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    young: HashMap<K, V>,
    young_weight: usize,
    old: HashMap<K, V>,
    generation_weight_max: usize,
}

impl<K: Hash + Eq, V: Weigh> Cache<K, Arc<V>> {
    /// An empty cache whose entries together weigh at most `weight_max`.
    pub(crate) fn new(weight_max: usize) -> Cache<K, Arc<V>> {
        Cache { young: HashMap::new(), young_weight: 0, old: HashMap::new(), generation_weight_max: weight_max / 2 }
    }

    /// The value of `key`, if it is cached. Counts as a use.
    pub(crate) fn get<Q>(&mut self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    /// The value of `key`, if it is cached, without counting as a use.
    pub(crate) fn peek<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.young.get(key).or_else(|| self.old.get(key)).cloned()
    }

    /// Sets the value of `key`.
    pub(crate) fn insert(&mut self, key: K, value: Arc<V>) {
        self.remove(&key);
        let weight = value.weight();
        if self.young_weight + weight > self.generation_weight_max {
            self.old = std::mem::take(&mut self.young);
            self.young_weight = 0;
        }
        self.young_weight += weight;
        self.young.insert(key, value);
    }

    /// Removes `key`.
    pub(crate) fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some(value) = self.young.remove(key) {
            self.young_weight -= value.weight();
        }
        self.old.remove(key);
    }

    /// Removes every value for which `keep` returns false.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&V) -> bool) {
        self.young.retain(|_, value| keep(value));
        self.old.retain(|_, value| keep(value));
        self.young_weight = self.young.values().map(|value| value.weight()).sum();
    }

    /// Removes all entries.
    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.young_weight = 0;
        self.old.clear();
    }

    /// All values, unordered.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Arc<V>> {
        self.young.values().chain(self.old.values())
    }

    /// Asserts the invariant of this module.
    pub(crate) fn check_invariants(&self) {
        let weigh =
            |generation: &HashMap<K, Arc<V>>| -> usize { generation.values().map(|value| value.weight()).sum() };
        assert_eq!(weigh(&self.young), self.young_weight);
        for generation in [&self.young, &self.old] {
            assert!(generation.len() <= 1 || weigh(generation) <= self.generation_weight_max);
        }
        assert!(self.young.keys().all(|key| !self.old.contains_key(key)), "a key is in both generations");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    #[derive(Debug, PartialEq)]
    struct Weight(u64);

    impl Weigh for Weight {
        fn weight(&self) -> usize {
            self.0 as usize % 7
        }
    }

    #[test]
    fn a_cache_is_bounded_and_equals_its_model() {
        let mut cache: Cache<u64, Arc<Weight>> = Cache::new(48);
        let mut model: HashMap<u64, Arc<Weight>> = HashMap::new();
        let mut random = Random::new(11);
        let mut hits = 0;
        for round in 0..20_000 {
            let key = random.below(24);
            match random.below(16) {
                0..=7 => {
                    if let Some(value) = cache.get(&key) {
                        assert_eq!(Some(&value), model.get(&key));
                        hits += 1;
                    }
                }
                8..=13 => {
                    cache.insert(key, Arc::new(Weight(round)));
                    model.insert(key, Arc::new(Weight(round)));
                }
                14 => {
                    cache.remove(&key);
                    model.remove(&key);
                    assert_eq!(cache.get(&key), None);
                }
                _ => {
                    let odd = random.below(8);
                    cache.retain(|value| value.0 % 8 != odd);
                    model.retain(|_, value| value.0 % 8 != odd);
                }
            }
            cache.check_invariants();
        }
        assert!(hits > 3000, "{hits}");
    }

    #[test]
    fn recently_used_values_are_kept() {
        let mut cache: Cache<String, Arc<Weight>> = Cache::new(4);
        cache.insert("a".into(), Arc::new(Weight(1)));
        for other in ["b", "c", "d", "e"] {
            assert!(cache.get("a").is_some());
            cache.insert(other.into(), Arc::new(Weight(8)));
        }
        assert_eq!(cache.get("a"), Some(Arc::new(Weight(1))));
        assert_eq!(cache.get("b"), None);
        cache.clear();
        assert_eq!(cache.get("a"), None);
    }

    #[test]
    fn one_entry_may_outweigh_the_bound() {
        let mut cache: Cache<u8, Arc<Weight>> = Cache::new(2);
        for key in 0..3 {
            cache.insert(key, Arc::new(Weight(6)));
            assert!(cache.get(&key).is_some());
            cache.check_invariants();
        }
    }
}
