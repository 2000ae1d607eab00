//! JSON Web Tokens (RFC 7519) in the compact form of RFC 7515, signed with HMAC-SHA256 and nothing else.
//!
//! Invariant: no claim of a token is looked at before its signature has matched one of the keys.

use crate::auth::claims::{RawClaims, RawHeader, Value};
use crate::base::limits::{PROFILE_CHARS_MAX, TOKEN_BYTES_MAX, TOKEN_LEEWAY_SECONDS};
use crate::base::time::{SECOND, WallTime};
use crate::domain::id::UserId;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use std::io::Write;

/// `{"alg":"HS256","typ":"JWT"}` in base64url: the header that we write.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
/// `{"typ":"JWT","alg":"HS256"}` in base64url: the same header as other makers spell it.
const HEADER_TYP_FIRST: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9";
/// HMAC-SHA256 gives 32 bytes (RFC 7518 §3.2).
const SIGNATURE_BYTES: usize = 32;
/// Its length in base64url without padding.
const SIGNATURE_CHARS: usize = (SIGNATURE_BYTES * 4).div_ceil(3);
/// Payloads up to this length, in bytes, are decoded on the stack.
const PAYLOAD_BYTES_TYPICAL: usize = 768;
/// Value of the claim `use` in a stream ticket.
const USE_STREAM: &str = "stream";

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Everything.
    Access,
    /// Opening streams, nothing else; our own claim `"use":"stream"` says so.
    StreamTicket,
}

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `oid`: who it is.
    pub user: UserId,
    /// `name`, cut to `PROFILE_CHARS_MAX`.
    pub name: Option<Box<str>>,
    /// `email`, cut to `PROFILE_CHARS_MAX`.
    pub email: Option<Box<str>>,
    /// `sub`, as it is.
    pub sub: Option<Box<str>>,
    /// `exp`, without leeway.
    pub expires_at: WallTime,
    /// `iat`.
    pub issued_at: Option<WallTime>,
    /// `use`.
    pub purpose: Purpose,
}

/// Why a token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// Over `TOKEN_BYTES_MAX`.
    TooLong,
    /// Not three parts with dots between them.
    Parts,
    /// A part is not base64url without padding (RFC 7515 §2).
    Encoding,
    /// The header is not a JSON object with an `alg`, each name once.
    Header,
    /// `alg` is not `HS256`.
    Algorithm,
    /// The header has `crit` (RFC 7515 §4.1.11), and we know no extension.
    Critical,
    /// No key made this signature.
    Signature,
    /// The payload is not a JSON object.
    Payload,
    /// A claim stands there twice (RFC 7519 §4 lets us refuse that).
    Duplicate,
    /// There is no `exp`.
    ExpirationMissing,
    /// `exp`, `nbf` or `iat` is not a number of seconds between the years 1970 and 9999.
    Time,
    /// `exp` is past.
    Expired,
    /// `nbf` is to come.
    NotYetValid,
    /// `iat` is to come.
    IssuedInFuture,
    /// There is no `oid`.
    UserMissing,
    /// `oid` is not a string that `UserId::new` takes.
    User,
    /// `name`, `email`, `sub`, `iss` or `use` is not a string, or `aud` neither a string nor an array of strings.
    Text,
    /// `iss` is not `JWT_ISSUER`.
    Issuer,
    /// `JWT_AUDIENCE` is not in `aud`.
    Audience,
}

impl TokenError {
    /// Plain words for the client: ASCII without quotes or backslashes, so that they also fit into a header field.
    pub fn message(self) -> &'static str {
        match self {
            TokenError::TooLong => "the token is too long",
            TokenError::Parts => "the token does not have three parts",
            TokenError::Encoding => "the token is not base64url",
            TokenError::Header => "the header of the token is malformed",
            TokenError::Algorithm => "the algorithm of the token is not HS256",
            TokenError::Critical => "the token asks for an extension that is not known",
            TokenError::Signature => "the signature does not match",
            TokenError::Payload => "the payload of the token is not a JSON object",
            TokenError::Duplicate => "the token has a claim twice",
            TokenError::ExpirationMissing => "the token has no exp claim",
            TokenError::Time => "exp, nbf and iat must be numbers of seconds since 1970",
            TokenError::Expired => "the token has expired",
            TokenError::NotYetValid => "the token is not yet valid",
            TokenError::IssuedInFuture => "the token was issued in the future",
            TokenError::UserMissing => "the token has no oid claim",
            TokenError::User => "oid must be a string of 1 to 255 characters that is no responder",
            TokenError::Text => "name, email, sub, iss, aud and use must be strings",
            TokenError::Issuer => "the issuer of the token is not accepted here",
            TokenError::Audience => "the token is for another audience",
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for TokenError {}

/// The keys that tokens are signed and verified with, and what else a token must say to be good here.
#[derive(Clone)]
pub struct Keys {
    current: Hmac<Sha256>,
    previous: Vec<Hmac<Sha256>>,
    issuer: Option<String>,
    audience: Option<String>,
}

impl Keys {
    /// `current` signs and verifies, the `previous` keys verify only. `issuer` and `audience` are enforced when given,
    /// and written into our own tokens. Panics on an empty key, with which anybody could sign.
    pub fn new(current: &[u8], previous: &[Vec<u8>], issuer: Option<String>, audience: Option<String>) -> Keys {
        Keys { current: keyed(current), previous: previous.iter().map(|key| keyed(key)).collect(), issuer, audience }
    }

    /// Makes a token. `exp` is written in whole seconds, rounded down; `iat` with its microseconds, so that what was
    /// issued before a change of password can be told exactly. Should the profile make the token longer than
    /// `verify` takes, it is left out.
    pub fn sign(&self, claims: &Claims) -> String {
        let payload = self.payload(claims);
        let mut token = String::with_capacity(HEADER.len() + payload.len() * 4 / 3 + SIGNATURE_CHARS + 4);
        token.push_str(HEADER);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(&payload, &mut token);
        let signature = self.current.clone().chain_update(token.as_bytes()).finalize().into_bytes();
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        let has_profile = claims.name.is_some() || claims.email.is_some() || claims.sub.is_some();
        if token.len() > TOKEN_BYTES_MAX && has_profile {
            return self.sign(&Claims { name: None, email: None, sub: None, ..claims.clone() });
        }
        token
    }

    /// Checks a token and reads its claims. `now` is forgiven `TOKEN_LEEWAY_SECONDS` either way.
    pub fn verify(&self, token: &str, now: WallTime) -> Result<Claims, TokenError> {
        let payload = self.signed_payload(token)?;
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
        self.accept(RawClaims::parse(text)?, now)
    }

    /// The payload part of a token whose header is acceptable and whose signature matches.
    fn signed_payload<'t>(&self, token: &'t str) -> Result<&'t str, TokenError> {
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
        if self.signature_matches(signed.as_bytes(), signature) { Ok(payload) } else { Err(TokenError::Signature) }
    }

    /// Tries every key whatever the others say: the time tells nothing about which of them matched.
    fn signature_matches(&self, signed: &[u8], signature: &[u8]) -> bool {
        let mut matches = false;
        for key in std::iter::once(&self.current).chain(&self.previous) {
            matches |= key.clone().chain_update(signed).verify_slice(signature).is_ok();
        }
        matches
    }

    fn accept(&self, raw: RawClaims<'_>, now: WallTime) -> Result<Claims, TokenError> {
        let expires_at = time(&raw.exp)?.ok_or(TokenError::ExpirationMissing)?;
        let not_before = time(&raw.nbf)?;
        let issued_at = time(&raw.iat)?;
        if now >= expires_at.plus_seconds(TOKEN_LEEWAY_SECONDS) {
            return Err(TokenError::Expired);
        }
        let soon = now.plus_seconds(TOKEN_LEEWAY_SECONDS);
        if not_before.is_some_and(|at| at > soon) {
            return Err(TokenError::NotYetValid);
        }
        if issued_at.is_some_and(|at| at > soon) {
            return Err(TokenError::IssuedInFuture);
        }
        self.check_issuer(&raw.iss)?;
        self.check_audience(&raw.aud)?;
        let user = match &raw.oid {
            Value::Absent => return Err(TokenError::UserMissing),
            Value::Text(text) => UserId::new(text).map_err(|_| TokenError::User)?,
            _ => return Err(TokenError::User),
        };
        // A token of another maker may use the claim for its own ends; only our own word restricts it.
        let purpose = match &raw.purpose {
            Value::Text(text) if text == USE_STREAM => Purpose::StreamTicket,
            Value::Text(_) | Value::Absent => Purpose::Access,
            _ => return Err(TokenError::Text),
        };
        Ok(Claims {
            user,
            name: text(&raw.name)?.map(cut),
            email: text(&raw.email)?.map(cut),
            sub: text(&raw.sub)?.map(Box::from),
            expires_at,
            issued_at,
            purpose,
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

    /// RFC 7519 §4.1.3: a string or an array of strings, of which one must be ours.
    fn check_audience(&self, aud: &Value<'_>) -> Result<(), TokenError> {
        let ours = match (aud, &self.audience) {
            (Value::Absent | Value::Text(_) | Value::Texts(_), None) => true,
            (Value::Absent, Some(_)) => false,
            (Value::Text(text), Some(wanted)) => text == wanted,
            (Value::Texts(texts), Some(wanted)) => texts.iter().any(|text| text == wanted),
            _ => return Err(TokenError::Text),
        };
        if ours { Ok(()) } else { Err(TokenError::Audience) }
    }

    fn payload(&self, claims: &Claims) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let mut member = |name: &str, text: Option<&str>| {
            let Some(text) = text else { return };
            out.push(if out.is_empty() { b'{' } else { b',' });
            write!(out, "\"{name}\":").expect("a Vec takes all that is written");
            serde_json::to_writer(&mut out, text).expect("a Vec takes all that is written");
        };
        member("oid", Some(claims.user.as_str()));
        member("name", claims.name.as_deref());
        member("email", claims.email.as_deref());
        member("sub", claims.sub.as_deref());
        member("iss", self.issuer.as_deref());
        member("aud", self.audience.as_deref());
        member("use", (claims.purpose == Purpose::StreamTicket).then_some(USE_STREAM));
        if let Some(at) = claims.issued_at {
            write!(out, ",\"iat\":{}.{:06}", at.seconds(), at.0.rem_euclid(SECOND))
                .expect("a Vec takes all that is written");
        }
        write!(out, ",\"exp\":{}}}", claims.expires_at.seconds()).expect("a Vec takes all that is written");
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

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    assert!(!key.is_empty(), "an empty key signs for everybody");
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// RFC 4648 §5 without padding; stray bits behind the last character are refused too.
fn decode<'b>(text: &str, buffer: &'b mut [u8]) -> Result<&'b [u8], TokenError> {
    match URL_SAFE_NO_PAD.decode_slice(text, buffer) {
        Ok(bytes) => Ok(&buffer[..bytes]),
        // Only a signature has a buffer that can be too small, and then it is none of HMAC-SHA256.
        Err(base64::DecodeSliceError::OutputSliceTooSmall) => Err(TokenError::Signature),
        Err(base64::DecodeSliceError::DecodeError(_)) => Err(TokenError::Encoding),
    }
}

/// RFC 7515 §4: a JSON object with unique names, our algorithm, and no extension that must be understood.
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

/// Some makers of tokens write `null` for a profile that they do not have.
fn text<'v>(value: &'v Value<'_>) -> Result<Option<&'v str>, TokenError> {
    match value {
        Value::Absent | Value::Null => Ok(None),
        Value::Text(text) => Ok(Some(text)),
        _ => Err(TokenError::Text),
    }
}

fn cut(text: &str) -> Box<str> {
    // Bytes bound characters from above, so most texts need no counting.
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
        let payload = keys.signed_payload(A1_TOKEN).unwrap();
        let text = URL_SAFE_NO_PAD.decode(payload).unwrap();
        assert_eq!(text, b"{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}");

        let other = Keys::new(b"another key", &[], None, None);
        assert_eq!(other.signed_payload(A1_TOKEN), Err(TokenError::Signature));
        let rotated = Keys::new(b"another key", &[b"a third".to_vec(), key], None, None);
        assert_eq!(rotated.signed_payload(A1_TOKEN), Ok(payload));
    }

    #[test]
    fn the_known_headers_are_what_they_say() {
        assert_eq!(URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#), HEADER);
        assert_eq!(URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"HS256"}"#), HEADER_TYP_FIRST);
        assert_eq!(check_header(HEADER), Ok(()));
        assert_eq!(check_header(HEADER_TYP_FIRST), Ok(()));
    }

    #[test]
    fn keys_do_not_show_in_debug_output() {
        let shown = format!("{:?}", Keys::new(b"very secret", &[b"old secret".to_vec()], None, None));
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    #[should_panic(expected = "an empty key")]
    fn an_empty_key_is_our_mistake() {
        Keys::new(b"key", &[Vec::new()], None, None);
    }
}
