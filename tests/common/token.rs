//! Tokens signed by the test itself, as every holder of the shared secret can.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::{SystemTime, UNIX_EPOCH};

/// The default key of test servers.
pub const KEY: &str = "the-key-of-the-whole-server-tests-0123456789";

/// Seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs() as i64
}

/// A valid token of `user_id` for one hour.
pub fn token(user_id: &str) -> String {
    token_with(json!({
        "oid": user_id,
        "name": format!("Name of {user_id}"),
        "email": format!("{user_id}@example.com"),
        "iat": now(),
        "exp": now() + 3600,
    }))
}

/// A token with exactly these claims, signed with the test key.
pub fn token_with(claims: Value) -> String {
    signed(&json!({"alg": "HS256", "typ": "JWT"}), &claims, KEY)
}

/// A token with this header and these claims, signed with `key` by HMAC-SHA-256 (RFC 7515 §3.1).
pub fn signed(header: &Value, claims: &Value, key: &str) -> String {
    let input = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC accepts a key of any length");
    mac.update(input.as_bytes());
    let signature = encode(mac.finalize().into_bytes());
    format!("{input}.{signature}")
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
