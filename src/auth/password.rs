//! Passwords as Argon2id hashes (RFC 9106) in PHC form: `$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>`.
//!
//! By design, a check takes tens of milliseconds and `MEMORY_KIB` of memory, so the server has a thread for it. Its memory
//! is one block, which the allocator returns to the system at the end of the check: musl does so by default, and glibc by the
//! threshold that `runtime` sets.

use crate::base::limits::{PASSWORD_MEMORY_KIB_MAX, PASSWORD_PASSES_MAX};
use crate::base::random::fill_secret;
use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Params, Version};

/// Memory of one check, in KiB, as OWASP's Password Storage Cheat Sheet recommends for two passes.
pub(crate) const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over that memory.
pub(crate) const PASSES: u32 = 2;
/// Lanes of that memory.
pub(crate) const LANES: u32 = 1;
/// Bytes of a salt (RFC 9106 §3.1 recommends 16).
pub(crate) const SALT_BYTES: usize = 16;
/// Bytes of a hash.
const HASH_BYTES: usize = 32;

const _: () = assert!(MEMORY_KIB <= PASSWORD_MEMORY_KIB_MAX);
const _: () = assert!(PASSES <= PASSWORD_PASSES_MAX);

/// Hashes a password with our parameters and this salt.
pub(crate) fn hash(password: &str, salt: &[u8; SALT_BYTES]) -> String {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES)).expect("the parameters are in range");
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
/// the time that hashing takes.
pub(crate) const DEVELOPMENT_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$ZGV2ZWxvcG1lbnQgc2FsdA$/VAw0BguaeKGFhnCtKap9b9C/rnG6pebv91CobuuOrw";

/// Checks passwords in a time that does not depend on whether the user exists.
#[derive(Debug)]
pub(crate) struct Hasher {
    dummy: Stored,
}

impl Hasher {
    /// A hasher. It holds no memory between checks.
    pub(crate) fn new() -> Hasher {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES)).expect("the parameters are in range");
        let mut salt = [0; SALT_BYTES];
        fill_secret(&mut salt);
        Hasher {
            dummy: Stored {
                algorithm: Algorithm::Argon2id,
                version: Version::V0x13,
                params,
                salt: Salt::new(&salt).expect("the length is in range"),
                hash: Output::new(&[0; HASH_BYTES]).expect("the length is in range"),
            },
        }
    }

    /// Hashes a password with our parameters and a new salt.
    pub(crate) fn hash(&self, password: &str) -> String {
        let mut salt = [0; SALT_BYTES];
        fill_secret(&mut salt);
        hash(password, &salt)
    }

    /// Whether a password matches a hash. Without a valid hash it does the same work and returns `false`.
    pub(crate) fn verify_or_dummy(&self, phc: Option<&str>, password: &str) -> bool {
        match phc.and_then(Stored::parse) {
            Some(stored) => stored.matches(password),
            None => {
                self.dummy.matches(password);
                false
            }
        }
    }
}

impl Default for Hasher {
    fn default() -> Hasher {
        Hasher::new()
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
        assert_eq!(hash("password123", b"development salt"), DEVELOPMENT_HASH);
    }

    fn verify(phc: &str, password: &str) -> bool {
        Stored::parse(phc).is_some_and(|stored| stored.matches(password))
    }

    const SALT: [u8; SALT_BYTES] = *b"0123456789abcdef";

    #[test]
    fn a_hash_is_that_of_its_password() {
        let phc = hash("password123", &SALT);
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$"), "{phc}");
        assert_eq!(phc, hash("password123", &SALT));
        assert_ne!(phc, hash("password123", b"fedcba9876543210"));
        assert!(verify(&phc, "password123"));
        for wrong in ["", "password12", "password1234", "Password123", "password123 ", "password123\0"] {
            assert!(!verify(&phc, wrong), "{wrong:?}");
        }
        let long = "ü".repeat(200);
        assert!(verify(&hash(&long, &SALT), &long));
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
        let hasher = Hasher::new();
        let phc = hasher.hash("a good password");
        assert!(hasher.verify_or_dummy(Some(&phc), "a good password"));
        assert!(!hasher.verify_or_dummy(Some(&phc), "another password"));
        assert!(!hasher.verify_or_dummy(None, "a good password"));
        assert!(!hasher.verify_or_dummy(Some("garbage"), "a good password"));
        assert_ne!(phc, hasher.hash("a good password"), "each has a salt of its own");
    }

    /// The parameters determine the time, which a test on a shared machine cannot measure reliably.
    #[test]
    fn the_dummy_has_the_parameters_of_our_hashes() {
        let ours = Stored::parse(&hash("x", &SALT)).unwrap();
        let dummy = Hasher::new().dummy;
        assert_eq!((dummy.algorithm, dummy.version, dummy.params), (ours.algorithm, ours.version, ours.params));
        assert_eq!((dummy.salt.len(), dummy.hash.len()), (ours.salt.len(), ours.hash.len()));
    }
}
