//! JSON Web Tokens (RFC 7519) in the compact form of RFC 7515. HMAC-SHA256 is the only algorithm.
//!
//! Invariant: no claim of a token is read before its signature has matched one of the keys.

use crate::auth::claims::{RawClaims, RawHeader, Value};
use crate::auth::token_error::TokenError;
use crate::base::limits::{PROFILE_CHARS_MAX, TOKEN_BYTES_MAX, TOKEN_LEEWAY_SECONDS};
use crate::base::time::{SECOND, WallTime};
use crate::domain::id::UserId;
use crate::domain::token_rules::Credential;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use std::io::Write;
use std::sync::Arc;

/// `{"alg":"HS256","typ":"JWT"}` in base64url: the header of our tokens.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
/// `{"typ":"JWT","alg":"HS256"}` in base64url: the same header from other libraries.
const HEADER_TYP_FIRST: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9";
/// Bytes of an HMAC-SHA256 (RFC 7518 §3.2).
const SIGNATURE_BYTES: usize = 32;
/// Characters of a signature in base64url without padding.
const SIGNATURE_CHARS: usize = (SIGNATURE_BYTES * 4).div_ceil(3);
/// Decoded payloads up to this many bytes are on the stack.
const PAYLOAD_BYTES_TYPICAL: usize = 768;
/// The value of the claim `use` in a stream ticket.
const USE_STREAM: &str = "stream";

/// What a token permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// All operations.
    Access,
    /// Opening streams alone. Our own claim `"use":"stream"` marks a ticket.
    StreamTicket,
}

/// Identifies a key, together with the issuer and audience that are required of its tokens, without revealing it. After a
/// reload of the settings, a key has the same id if a token that was accepted before is still accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId(pub u64);

/// The claims of a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `oid`, the user's id.
    pub user: UserId,
    /// `name`, truncated to `PROFILE_CHARS_MAX`.
    pub name: Option<Arc<str>>,
    /// `email`, truncated to `PROFILE_CHARS_MAX`.
    pub email: Option<Arc<str>>,
    /// `sub`.
    pub sub: Option<Arc<str>>,
    /// `exp`, without leeway.
    pub expires_at: WallTime,
    /// `iat`.
    pub issued_at: Option<WallTime>,
    /// `auth_time`, or `iat` without it, and `token_generation`.
    pub credential: Credential,
    /// `use`.
    pub purpose: Purpose,
    /// The key of the signature.
    pub key: KeyId,
}

/// The keys that sign and verify tokens, and the issuer and audience that a token must have.
#[derive(Clone)]
pub struct Keys {
    current: Key,
    previous: Vec<Key>,
    issuer: Option<String>,
    audience: Option<String>,
}

#[derive(Clone)]
struct Key {
    id: KeyId,
    mac: Hmac<Sha256>,
}

impl Keys {
    /// `current` signs and verifies; the `previous` keys verify, and sign what is derived from their own tokens. `issuer` and
    /// `audience`, if given, are required of every token and are in our own tokens.
    ///
    /// # Panics
    ///
    /// A key is empty, so that anyone could sign with it.
    pub fn new(current: &[u8], previous: &[Vec<u8>], issuer: Option<String>, audience: Option<String>) -> Keys {
        let required = format!("issuer {issuer:?} audience {audience:?}");
        Keys {
            current: Key::new(current, &required),
            previous: previous.iter().map(|key| Key::new(key, &required)).collect(),
            issuer,
            audience,
        }
    }

    /// The key that signs the tokens of logins.
    pub fn current(&self) -> KeyId {
        self.current.id
    }

    /// Whether a token that was verified with this id is still accepted.
    pub fn contains(&self, id: KeyId) -> bool {
        self.find(id).is_some()
    }

    /// Whether a token that was verified with key `id` is still accepted at `now`, no earlier than then.
    pub fn still_accept(&self, id: KeyId, expires_at: WallTime, now: WallTime) -> bool {
        now < expires_at.plus_seconds(TOKEN_LEEWAY_SECONDS) && self.contains(id)
    }

    fn find(&self, id: KeyId) -> Option<&Key> {
        self.all().find(|key| key.id == id)
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// Makes a token, signed with the key of the claims; `None` if that key is not accepted any more. `exp` is in whole seconds,
    /// rounded down. `iat` and `auth_time` have microseconds, so that tokens from before a change of password can be rejected
    /// exactly. The profile is omitted if the token would otherwise exceed `TOKEN_BYTES_MAX`.
    pub fn sign(&self, claims: &Claims) -> Option<String> {
        let key = self.find(claims.key)?;
        let payload = self.payload(claims);
        let mut token = String::with_capacity(HEADER.len() + payload.len() * 4 / 3 + SIGNATURE_CHARS + 4);
        token.push_str(HEADER);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(&payload, &mut token);
        let signature = key.mac.clone().chain_update(token.as_bytes()).finalize().into_bytes();
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        let has_profile = claims.name.is_some() || claims.email.is_some() || claims.sub.is_some();
        if token.len() > TOKEN_BYTES_MAX && has_profile {
            return self.sign(&Claims { name: None, email: None, sub: None, ..claims.clone() });
        }
        Some(token)
    }

    /// Verifies a token and returns its claims. All times have a leeway of `TOKEN_LEEWAY_SECONDS`.
    pub fn verify(&self, token: &str, now: WallTime) -> Result<Claims, TokenError> {
        let (payload, key) = self.signed_payload(token)?;
        let mut small = [0; PAYLOAD_BYTES_TYPICAL];
        let mut large = Vec::new();
        let decoded_bytes_max = payload.len() / 4 * 3 + 3;
        let buffer = if decoded_bytes_max <= small.len() {
            &mut small[..]
        } else {
            large.resize(decoded_bytes_max, 0);
            &mut large[..]
        };
        let text = std::str::from_utf8(decode(payload, buffer)?).map_err(|_| TokenError::Payload)?;
        self.accept(RawClaims::parse(text)?, key, now)
    }

    /// The payload of a token whose header is valid and whose signature matches, in base64url, and the key that matches.
    fn signed_payload<'t>(&self, token: &'t str) -> Result<(&'t str, KeyId), TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Parts)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Parts)?;
        if payload.contains('.') {
            return Err(TokenError::Parts);
        }
        if header != HEADER && header != HEADER_TYP_FIRST {
            check_header(header)?;
        }
        let mut buffer = [0; SIGNATURE_CHARS];
        let signature = decode(signature, &mut buffer)?;
        let key = self.key_of(signed.as_bytes(), signature).ok_or(TokenError::Signature)?;
        Ok((payload, key))
    }

    /// The key that made the signature. Tries every key even after a match, so that the time does not depend on which key
    /// matched.
    fn key_of(&self, signed: &[u8], signature: &[u8]) -> Option<KeyId> {
        self.all().fold(None, |found, key| {
            let matches = key.mac.clone().chain_update(signed).verify_slice(signature).is_ok();
            found.or(matches.then_some(key.id))
        })
    }

    fn accept(&self, raw: RawClaims<'_>, key: KeyId, now: WallTime) -> Result<Claims, TokenError> {
        let expires_at = time(&raw.exp)?.ok_or(TokenError::ExpirationMissing)?;
        let not_before = time(&raw.nbf)?;
        let (issued_at, auth_time) = (time(&raw.iat)?, time(&raw.auth_time)?);
        if now >= expires_at.plus_seconds(TOKEN_LEEWAY_SECONDS) {
            return Err(TokenError::Expired);
        }
        let soon = now.plus_seconds(TOKEN_LEEWAY_SECONDS);
        if not_before.is_some_and(|at| at > soon) {
            return Err(TokenError::NotYetValid);
        }
        if [issued_at, auth_time].into_iter().flatten().any(|at| at > soon) {
            return Err(TokenError::IssuedInFuture);
        }
        self.check_issuer(&raw.iss)?;
        self.check_audience(&raw.aud)?;
        let user = match &raw.oid {
            Value::Absent => return Err(TokenError::UserMissing),
            Value::Text(text) => UserId::new(text).map_err(|_| TokenError::User)?,
            _ => return Err(TokenError::User),
        };
        // Another issuer may use this claim for other purposes, so only our own value restricts a token.
        let purpose = match &raw.purpose {
            Value::Text(text) if text == USE_STREAM => Purpose::StreamTicket,
            Value::Text(_) | Value::Absent => Purpose::Access,
            _ => return Err(TokenError::Text),
        };
        Ok(Claims {
            user,
            name: text(&raw.name)?.map(truncate),
            email: text(&raw.email)?.map(truncate),
            sub: text(&raw.sub)?.map(Arc::from),
            expires_at,
            issued_at,
            credential: Credential {
                authenticated_at: auth_time.or(issued_at),
                generation: generation(&raw.generation),
            },
            purpose,
            key,
        })
    }

    fn check_issuer(&self, iss: &Value<'_>) -> Result<(), TokenError> {
        match (iss, &self.issuer) {
            (Value::Absent | Value::Text(_), None) => Ok(()),
            (Value::Absent, Some(_)) => Err(TokenError::Issuer),
            (Value::Text(text), Some(wanted)) if text == wanted => Ok(()),
            (Value::Text(_), Some(_)) => Err(TokenError::Issuer),
            _ => Err(TokenError::Text),
        }
    }

    /// RFC 7519 §4.1.3: a string or an array of strings, one of which must be the audience.
    fn check_audience(&self, aud: &Value<'_>) -> Result<(), TokenError> {
        let is_accepted = match (aud, &self.audience) {
            (Value::Absent | Value::Text(_) | Value::Texts(_), None) => true,
            (Value::Absent, Some(_)) => false,
            (Value::Text(text), Some(wanted)) => text == wanted,
            (Value::Texts(texts), Some(wanted)) => texts.iter().any(|text| text == wanted),
            _ => return Err(TokenError::Text),
        };
        if is_accepted { Ok(()) } else { Err(TokenError::Audience) }
    }

    fn payload(&self, claims: &Claims) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let mut member = |name: &str, text: Option<&str>| {
            let Some(text) = text else { return };
            out.push(if out.is_empty() { b'{' } else { b',' });
            write!(out, "\"{name}\":").expect("writing to memory does not fail");
            serde_json::to_writer(&mut out, text).expect("writing to memory does not fail");
        };
        member("oid", Some(claims.user.as_str()));
        member("name", claims.name.as_deref());
        member("email", claims.email.as_deref());
        member("sub", claims.sub.as_deref());
        member("iss", self.issuer.as_deref());
        member("aud", self.audience.as_deref());
        member("use", (claims.purpose == Purpose::StreamTicket).then_some(USE_STREAM));
        member("token_generation", claims.credential.generation.map(|it| it.to_string()).as_deref());
        if let Some(at) = claims.issued_at {
            write_time(&mut out, "iat", at);
        }
        // Without `auth_time`, the two are the same.
        if let Some(at) = claims.credential.authenticated_at
            && claims.issued_at != Some(at)
        {
            write_time(&mut out, "auth_time", at);
        }
        write!(out, ",\"exp\":{}}}", claims.expires_at.seconds()).expect("writing to memory does not fail");
        out
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("previous", &self.previous.len())
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// `required` describes what else is required of tokens of this key.
    fn new(key: &[u8], required: &str) -> Key {
        assert!(!key.is_empty(), "the key is empty");
        let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        // No token has this text, because it has spaces.
        let derived = mac.clone().chain_update(b"id of the key, ").chain_update(required).finalize().into_bytes();
        let (id, _) = derived.split_first_chunk().expect("an HMAC-SHA256 has 32 bytes");
        Key { id: KeyId(u64::from_be_bytes(*id)), mac }
    }
}

fn write_time(out: &mut Vec<u8>, name: &str, at: WallTime) {
    write!(out, ",\"{name}\":{}.{:06}", at.seconds(), at.0.rem_euclid(SECOND))
        .expect("writing to memory does not fail");
}

/// RFC 4648 §5 without padding. Nonzero trailing bits are rejected.
fn decode<'b>(text: &str, buffer: &'b mut [u8]) -> Result<&'b [u8], TokenError> {
    match URL_SAFE_NO_PAD.decode_slice(text, buffer) {
        Ok(bytes) => Ok(&buffer[..bytes]),
        // Only the buffer of the signature can be too small, and then the signature is not an HMAC-SHA256.
        Err(base64::DecodeSliceError::OutputSliceTooSmall) => Err(TokenError::Signature),
        Err(base64::DecodeSliceError::DecodeError(_)) => Err(TokenError::Encoding),
    }
}

/// RFC 7515 §4: the header must be a JSON object with unique names, our algorithm, and no `crit`.
fn check_header(header: &str) -> Result<(), TokenError> {
    let mut buffer = vec![0; header.len() / 4 * 3 + 3];
    let text = std::str::from_utf8(decode(header, &mut buffer)?).map_err(|_| TokenError::Header)?;
    let raw = RawHeader::parse(text).ok_or(TokenError::Header)?;
    match raw.alg {
        Value::Text(alg) if alg == "HS256" => {}
        Value::Text(_) => return Err(TokenError::Algorithm),
        _ => return Err(TokenError::Header),
    }
    if !matches!(raw.crit, Value::Absent) {
        return Err(TokenError::Critical);
    }
    if matches!(raw.typ, Value::Absent | Value::Text(_)) { Ok(()) } else { Err(TokenError::Header) }
}

fn time(value: &Value<'_>) -> Result<Option<WallTime>, TokenError> {
    match value {
        Value::Absent => Ok(None),
        Value::Time(at) => Ok(Some(*at)),
        _ => Err(TokenError::Time),
    }
}

/// Another issuer may use this claim for other purposes, so any other value counts as absent.
fn generation(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

/// Some issuers write `null` for an unknown profile.
fn text<'v>(value: &'v Value<'_>) -> Result<Option<&'v str>, TokenError> {
    match value {
        Value::Absent | Value::Null => Ok(None),
        Value::Text(text) => Ok(Some(text)),
        _ => Err(TokenError::Text),
    }
}

fn truncate(text: &str) -> Arc<str> {
    // A text has at least as many bytes as characters, so most texts need no counting.
    if text.len() <= PROFILE_CHARS_MAX {
        return text.into();
    }
    let end = text.char_indices().nth(PROFILE_CHARS_MAX).map_or(text.len(), |(at, _)| at);
    text[..end].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A1_KEY: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    const A1_TOKEN: &str = concat!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
        ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
        ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );

    #[test]
    fn rfc_7515_appendix_a_1() {
        let key = URL_SAFE_NO_PAD.decode(A1_KEY).unwrap();
        let keys = Keys::new(&key, &[], None, None);
        let (payload, signer) = keys.signed_payload(A1_TOKEN).unwrap();
        assert_eq!(signer, keys.current());
        let text = URL_SAFE_NO_PAD.decode(payload).unwrap();
        assert_eq!(text, b"{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}");

        let other = Keys::new(b"another key", &[], None, None);
        assert_eq!(other.signed_payload(A1_TOKEN), Err(TokenError::Signature));
        let rotated = Keys::new(b"another key", &[b"a third".to_vec(), key], None, None);
        assert_eq!(rotated.signed_payload(A1_TOKEN), Ok((payload, keys.current())));
        assert!(rotated.contains(signer) && rotated.current() != signer && !other.contains(signer));
        for (issuer, audience) in [(Some("joe"), None), (None, Some("joe")), (Some("joe None"), None)] {
            let key = URL_SAFE_NO_PAD.decode(A1_KEY).unwrap();
            let stricter = Keys::new(&key, &[], issuer.map(str::to_owned), audience.map(str::to_owned));
            assert!(!stricter.contains(signer), "the token may be of another issuer or for another audience");
        }
    }

    #[test]
    fn the_header_constants_are_valid() {
        assert_eq!(URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#), HEADER);
        assert_eq!(URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"HS256"}"#), HEADER_TYP_FIRST);
        assert_eq!(check_header(HEADER), Ok(()));
        assert_eq!(check_header(HEADER_TYP_FIRST), Ok(()));
    }

    #[test]
    fn debug_output_has_no_keys() {
        let shown = format!("{:?}", Keys::new(b"very secret", &[b"old secret".to_vec()], None, None));
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    #[should_panic(expected = "the key is empty")]
    fn an_empty_key_panics() {
        Keys::new(b"key", &[Vec::new()], None, None);
    }
}
