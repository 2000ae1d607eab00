//! Nanoseconds per verified token, compared with a bare HMAC-SHA256 of the same bytes with a prepared key.

mod support;

use cortex_core::internals::time::SECOND;
use cortex_core::internals::{Claims, Credential, Keys, Purpose, UserId, WallTime};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::hint::black_box;
use std::time::Instant;
use support::figures::{self, PROGRAM};

const KEY: &[u8] = b"a key of the benchmark, 32 bytes and more";
const NOW: WallTime = WallTime(1_769_850_930 * SECOND + 123_456);
const ROUNDS: usize = 31;
const CALLS_PER_ROUND: u32 = 20_000;

fn main() {
    let keys = Keys::new(KEY, &[], None, None);
    let rotated = Keys::new(KEY, &[b"the key of last year, long enough".to_vec()], None, None);
    let claims = Claims {
        user: UserId::new("550e8400-e29b-41d4-a716-446655440000").expect("a good id"),
        name: Some("Test User".into()),
        email: Some("user@example.com".into()),
        sub: None,
        expires_at: NOW.plus_seconds(24 * 3600),
        issued_at: Some(NOW),
        credential: Credential { authenticated_at: Some(NOW), generation: Some(1_769_850_900_000_001) },
        key: keys.current(),
        purpose: Purpose::Access,
    };
    let token = keys.sign(&claims).expect("its own key");
    let guessed = Keys::new(b"guessed", &[], None, None);
    let forged = guessed.sign(&Claims { key: guessed.current(), ..claims.clone() }).expect("its own key");
    let signed = token.rsplit_once('.').expect("three parts").0.as_bytes();
    let keyed = Hmac::<Sha256>::new_from_slice(KEY).expect("any length");
    assert!(keys.verify(&token, NOW).is_ok() && rotated.verify(&token, NOW).is_ok());
    assert!(keys.verify(&forged, NOW).is_err());

    let mut bare = Vec::new();
    let mut verify = Vec::new();
    let mut verify_rotated = Vec::new();
    let mut reject = Vec::new();
    let mut sign = Vec::new();
    // The measurements alternate, so that a change of the machine's speed affects all of them.
    for _ in 0..ROUNDS {
        bare.push(ns_per_call(|| keyed.clone().chain_update(black_box(signed)).finalize()));
        verify.push(ns_per_call(|| keys.verify(black_box(&token), NOW)));
        verify_rotated.push(ns_per_call(|| rotated.verify(black_box(&token), NOW)));
        reject.push(ns_per_call(|| keys.verify(black_box(&forged), NOW)));
        sign.push(ns_per_call(|| keys.sign(black_box(&claims))));
    }
    let bare = median(bare);
    println!("token of {} bytes, median of {ROUNDS} rounds of {CALLS_PER_ROUND} calls", token.len());
    println!("{:<28} {:>8}  {:>6}", "", "ns", "ratio");
    println!("{:<28} {bare:>8.0}  {:>6.2}", "bare HMAC-SHA256", 1.0);
    figures::record("a token: verify", "bare HMAC-SHA256", "ns", bare);
    let rows = [
        ("verify", verify),
        ("verify with a previous key", verify_rotated),
        ("reject a forged token", reject),
        ("sign", sign),
    ];
    for (name, rounds) in rows {
        let ns = median(rounds);
        println!("{name:<28} {ns:>8.0}  {:>6.2}", ns / bare);
        figures::record(&format!("a token: {name}"), PROGRAM, "ns", ns);
    }
}

fn ns_per_call<T>(mut call: impl FnMut() -> T) -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS_PER_ROUND {
        black_box(call());
    }
    start.elapsed().as_nanos() as f64 / f64::from(CALLS_PER_ROUND)
}

fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}
