//! The amount of chaos: the seed of its choices and the duration of each part.

use cortex_core::internals::Random;
use cortex_core::internals::random::mix;
use std::env;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A setting of the run, if it is set.
pub fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// The random choices of one part of the run; `CHAOS_SEED` repeats them.
pub fn random(part: &str) -> Random {
    static SEED: OnceLock<u64> = OnceLock::new();
    let seed = *SEED.get_or_init(|| setting("CHAOS_SEED").unwrap_or_else(|| Random::from_system().next_u64()));
    println!("CHAOS_SEED={seed}");
    Random::new(part.bytes().fold(seed, |seed, byte| mix(seed ^ u64::from(byte))))
}

/// A separate generator for one thread of a part.
pub fn fork(random: &mut Random) -> Random {
    Random::new(random.next_u64())
}

/// The end of a part with a duration: `CHAOS_MINUTES`, or `seconds`.
pub fn ends_after(seconds: u64) -> Instant {
    let minutes: Option<f64> = setting("CHAOS_MINUTES");
    Instant::now() + minutes.map_or(Duration::from_secs(seconds), |minutes| Duration::from_secs_f64(60.0 * minutes))
}

/// Whether the run is longer than a normal one.
pub fn is_long() -> bool {
    ["CHAOS_MINUTES", "CHAOS_CYCLES"].iter().any(|name| env::var_os(name).is_some())
}

/// A random element.
pub fn one_of<'a, T>(random: &mut Random, items: &'a [T]) -> &'a T {
    &items[random.below(items.len() as u64) as usize]
}

/// `true` once in `times` calls on average.
pub fn once_in(random: &mut Random, times: u64) -> bool {
    random.below(times) == 0
}
