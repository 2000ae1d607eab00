//! Passwords as Argon2id hashes (RFC 9106) in PHC form: `$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>`.
//!
//! By design, a check takes tens of milliseconds and megabytes of memory, so the server has a thread for it. Its memory is one
//! block, which the allocator returns to the system at the end of the check: musl does so by default, and glibc by the
//! threshold that `runtime` sets. A hash records its cost, so hashes of other costs stay valid.

use crate::base::limits::{PASSWORD_MEMORY_KIB_MAX, PASSWORD_PASSES_MAX};
use crate::base::memory_plan::HashCost;
use crate::base::random::fill_secret;
use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Params, Version};

/// Lanes of the memory of a hash.
pub(crate) const LANES: u32 = 1;
/// Bytes of a salt (RFC 9106 §3.1 recommends 16).
pub(crate) const SALT_BYTES: usize = 16;
/// Bytes of a hash.
const HASH_BYTES: usize = 32;

const _: () = assert!(HashCost::ALTERNATIVES[0].memory_kib <= PASSWORD_MEMORY_KIB_MAX);
const _: () = assert!(HashCost::ALTERNATIVES[3].passes <= PASSWORD_PASSES_MAX);

fn params(cost: HashCost) -> Params {
    Params::new(cost.memory_kib, cost.passes, LANES, Some(HASH_BYTES)).expect("the parameters are in range")
}

/// Hashes a password with this cost and this salt.
pub(crate) fn hash(password: &str, cost: HashCost, salt: &[u8; SALT_BYTES]) -> String {
    let params = params(cost);
    let mut out = [0; HASH_BYTES];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_into(password.as_bytes(), salt, &mut out)
        .expect("the lengths are in range");
    let phc = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: (&params).try_into().expect("three numbers fit"),
        salt: Some(Salt::new(salt).expect("the length is in range")),
        hash: Some(Output::new(&out).expect("the length is in range")),
    };
    phc.to_string()
}

/// The hash of the development user's password, which is public. It is a constant so that the first start does not spend
/// the time that hashing takes. Its cost has the least memory, so that every server can check it.
pub(crate) const DEVELOPMENT_HASH: &str =
    "$argon2id$v=19$m=7168,t=5,p=1$ZGV2ZWxvcG1lbnQgc2FsdA$3p0yfCl8kKALQrvJUWYDNM/k4Hd5CcbwBGx0sk2PWiY";

/// A stored hash needs more memory than there is for a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HashTooLarge {
    /// The memory that it needs, in KiB.
    pub memory_kib: u32,
}

/// Checks passwords in a time that does not depend on whether the user exists.
#[derive(Debug)]
pub(crate) struct Hasher {
    cost: HashCost,
    /// Memory of a check, in KiB.
    memory_kib_max: u32,
    dummy: Stored,
}

impl Hasher {
    /// A hasher that makes hashes of this cost, and takes at most `memory_bytes_max` of memory for a check. It holds no memory
    /// between checks.
    pub(crate) fn new(cost: HashCost, memory_bytes_max: usize) -> Hasher {
        let mut salt = [0; SALT_BYTES];
        fill_secret(&mut salt);
        Hasher {
            cost,
            memory_kib_max: u32::try_from(memory_bytes_max / 1024).unwrap_or(u32::MAX),
            dummy: Stored {
                algorithm: Algorithm::Argon2id,
                version: Version::V0x13,
                params: params(cost),
                salt: Salt::new(&salt).expect("the length is in range"),
                hash: Output::new(&[0; HASH_BYTES]).expect("the length is in range"),
            },
        }
    }

    /// Hashes a password with the hasher's cost and a new salt.
    pub(crate) fn hash(&self, password: &str) -> String {
        let mut salt = [0; SALT_BYTES];
        fill_secret(&mut salt);
        hash(password, self.cost, &salt)
    }

    /// Whether a password matches a hash. Without a valid hash it does the work of one of the hasher's cost and returns `false`.
    ///
    /// # Errors
    /// Fails if there is too little memory for the check.
    pub(crate) fn verify_or_dummy(&self, phc: Option<&str>, password: &str) -> Result<bool, HashTooLarge> {
        match phc.and_then(Stored::parse) {
            Some(stored) if stored.params.m_cost() > self.memory_kib_max => {
                Err(HashTooLarge { memory_kib: stored.params.m_cost() })
            }
            Some(stored) => Ok(stored.matches(password)),
            None => {
                self.dummy.matches(password);
                Ok(false)
            }
        }
    }
}

/// A parsed hash that is complete and within our limits.
#[derive(Debug)]
struct Stored {
    algorithm: Algorithm,
    version: Version,
    params: Params,
    salt: Salt,
    hash: Output,
}

impl Stored {
    fn parse(phc: &str) -> Option<Stored> {
        let parsed = PasswordHash::new(phc).ok()?;
        let params = Params::try_from(&parsed).ok()?;
        if params.m_cost() > PASSWORD_MEMORY_KIB_MAX || params.t_cost() > PASSWORD_PASSES_MAX {
            return None;
        }
        Some(Stored {
            algorithm: Algorithm::try_from(parsed.algorithm.as_str()).ok()?,
            // A hash without a version has the first one, as the PHC string format specifies for Argon2.
            version: Version::try_from(parsed.version.unwrap_or(Version::V0x10.into())).ok()?,
            params,
            salt: parsed.salt?,
            hash: parsed.hash?,
        })
    }

    fn matches(&self, password: &str) -> bool {
        let mut out = [0; Output::MAX_LENGTH];
        let out = &mut out[..self.hash.len()];
        let argon2 = Argon2::new(self.algorithm, self.version, self.params.clone());
        // `Output` compares in constant time.
        argon2.hash_password_into(password.as_bytes(), &self.salt, out).is_ok()
            && Output::new(out).is_ok_and(|output| output == self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_development_hash_is_that_of_its_password() {
        assert_eq!(hash("password123", HashCost::ALTERNATIVES[3], b"development salt"), DEVELOPMENT_HASH);
    }

    fn verify(phc: &str, password: &str) -> bool {
        Stored::parse(phc).is_some_and(|stored| stored.matches(password))
    }

    const SALT: [u8; SALT_BYTES] = *b"0123456789abcdef";
    const COST: HashCost = HashCost::ALTERNATIVES[0];

    #[test]
    fn a_hash_is_that_of_its_password() {
        let phc = hash("password123", COST, &SALT);
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$"), "{phc}");
        assert_eq!(phc, hash("password123", COST, &SALT));
        assert_ne!(phc, hash("password123", COST, b"fedcba9876543210"));
        assert!(verify(&phc, "password123"));
        for wrong in ["", "password12", "password1234", "Password123", "password123 ", "password123\0"] {
            assert!(!verify(&phc, wrong), "{wrong:?}");
        }
        let long = "ü".repeat(200);
        assert!(verify(&hash(&long, COST, &SALT), &long));
    }

    /// From the tests of the reference implementation (phc-winner-argon2, src/test.c); the password is `password`.
    #[test]
    fn hashes_with_other_parameters() {
        let table = [
            ("argon2i 1.3", "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA"),
            ("argon2i 1.0", "$argon2i$m=65536,t=2,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ"),
            ("argon2id", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"),
            ("small", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"),
            ("two lanes", "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"),
        ];
        for (name, phc) in table {
            assert!(verify(phc, "password"), "{name}");
            assert!(!verify(phc, "passwort"), "{name}");
        }
    }

    #[test]
    fn an_invalid_hash_matches_no_password() {
        let table = [
            ("", "empty"),
            ("password", "the password itself"),
            ("$2b$12$abcdefghijklmnopqrstuuKNVnMDCGOQ7bJ6xJgkpXK4pZ3lQwY3e", "bcrypt"),
            ("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ", "no hash"),
            ("$argon2id$v=19$m=256,t=2,p=1", "no salt"),
            ("$argon2id$v=20$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "a new version"),
            ("$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "4 GiB"),
            ("$argon2id$v=19$m=256,t=4000000,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "for ever"),
            ("$argon2id$v=19$m=1,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "too little"),
            ("$argon2id$v=19$m=256,t=0,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "no pass"),
            ("$argon2id$v=19$m=256,t=2,p=0$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "no lane"),
            ("$argon2id$v=19$m=256,t=2,p=16777215$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "lanes"),
            (
                "$argon2id$v=19$m=256,t=2,p=1$c28$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
                "a salt that is too short",
            ),
        ];
        for (phc, name) in table {
            assert!(!verify(phc, "password"), "{name}");
        }
    }

    #[test]
    fn a_password_without_a_hash_never_matches() {
        let hasher = Hasher::new(COST, COST.bytes());
        let phc = hasher.hash("a good password");
        assert_eq!(hasher.verify_or_dummy(Some(&phc), "a good password"), Ok(true));
        assert_eq!(hasher.verify_or_dummy(Some(&phc), "another password"), Ok(false));
        assert_eq!(hasher.verify_or_dummy(None, "a good password"), Ok(false));
        assert_eq!(hasher.verify_or_dummy(Some("garbage"), "a good password"), Ok(false));
        assert_ne!(phc, hasher.hash("a good password"), "each has a salt of its own");
    }

    #[test]
    fn a_hash_of_another_cost_is_checked_if_there_is_memory() {
        let table = [(0, 3, true), (1, 0, false), (2, 3, true), (2, 1, false), (3, 2, false), (3, 3, true)];
        for (ours, theirs, is_checked) in table {
            let [ours, theirs] = [ours, theirs].map(|at| HashCost::ALTERNATIVES[at]);
            let phc = hash("a good password", theirs, &SALT);
            let checked = Hasher::new(ours, ours.bytes()).verify_or_dummy(Some(&phc), "a good password");
            let too_large = HashTooLarge { memory_kib: theirs.memory_kib };
            assert_eq!(checked, if is_checked { Ok(true) } else { Err(too_large) }, "{ours:?} {theirs:?}");
        }
        let phc = hash("a good password", COST, &SALT);
        let roomy = Hasher::new(HashCost::ALTERNATIVES[3], COST.bytes());
        assert_eq!(roomy.verify_or_dummy(Some(&phc), "a good password"), Ok(true));
    }

    /// The parameters determine the time, which a test on a shared machine cannot measure reliably.
    #[test]
    fn the_dummy_has_the_parameters_of_our_hashes() {
        for cost in HashCost::ALTERNATIVES {
            let ours = Stored::parse(&hash("x", cost, &SALT)).unwrap();
            let dummy = Hasher::new(cost, cost.bytes()).dummy;
            assert_eq!((dummy.algorithm, dummy.version, dummy.params), (ours.algorithm, ours.version, ours.params));
            assert_eq!((dummy.salt.len(), dummy.hash.len()), (ours.salt.len(), ours.hash.len()));
        }
    }
}
