//! Randomness: bytes from the operating system for keys, and a small generator for other purposes.

/// Fills `out` with random bytes of the operating system.
///
/// # Panics
/// Panics if the kernel fails, which Linux documents as impossible after boot for such small requests.
pub fn fill_secret(out: &mut [u8]) {
    let mut filled = 0;
    while filled < out.len() {
        let rest = &mut out[filled..];
        // SAFETY: the pointer and the length describe `rest`, which is writable for the whole call.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        if n < 0 {
            let error = std::io::Error::last_os_error();
            assert!(
                error.kind() == std::io::ErrorKind::Interrupted,
                "the operating system gives no randomness: {error}"
            );
            continue;
        }
        filled += n as usize;
    }
}

/// A SplitMix64 generator, for request ids and jitter. It is not for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator whose sequence depends on `seed` alone.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A generator seeded by the operating system.
    pub fn from_system() -> Random {
        let mut seed = [0; 8];
        fill_secret(&mut seed);
        Random(u64::from_le_bytes(seed))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, which must not be zero. The bias is at most `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "an empty range has no number");
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

/// The finalizer of SplitMix64: every input bit changes half of the output bits.
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_sequence() {
        let mut a = Random::new(7);
        let mut b = Random::new(7);
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
        assert_ne!(Random::new(8).next_u64(), Random::new(7).next_u64());
    }

    #[test]
    fn below_stays_below() {
        let mut random = Random::new(1);
        let seen: std::collections::HashSet<u64> = (0..200).map(|_| random.below(5)).collect();
        assert_eq!(seen.len(), 5);
        assert!(seen.iter().all(|n| *n < 5));
    }

    #[test]
    fn secrets_differ() {
        let (mut a, mut b) = ([0; 32], [0; 32]);
        fill_secret(&mut a);
        fill_secret(&mut b);
        assert_ne!(a, b);
    }
}
