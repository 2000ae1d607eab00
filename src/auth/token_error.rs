//! The errors of a token.

use std::fmt;

/// Why a token is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// The token exceeds `TOKEN_BYTES_MAX`.
    TooLong,
    /// Not three parts separated by dots.
    Parts,
    /// A part is not base64url without padding (RFC 7515 §2).
    Encoding,
    /// The header is not a JSON object with an `alg`, or has a duplicate name or more than `TOKEN_NAMES_MAX` names.
    Header,
    /// `alg` is not `HS256`.
    Algorithm,
    /// The header has `crit` (RFC 7515 §4.1.11), and this server supports no extension.
    Critical,
    /// The signature matches none of the keys.
    Signature,
    /// The payload is not a JSON object.
    Payload,
    /// A claim occurs twice (RFC 7519 §4 allows a server to reject that).
    Duplicate,
    /// The payload has more than `TOKEN_NAMES_MAX` names.
    Names,
    /// `exp` is missing.
    ExpirationMissing,
    /// `exp`, `nbf`, `iat` or `auth_time` is not a number of seconds between the years 1970 and 9999.
    Time,
    /// `exp` is in the past.
    Expired,
    /// `nbf` is in the future.
    NotYetValid,
    /// `iat` or `auth_time` is in the future.
    IssuedInFuture,
    /// `oid` is missing.
    UserMissing,
    /// `oid` is not a string that `UserId::new` accepts.
    User,
    /// `name`, `email`, `sub`, `iss` or `use` is not a string, or `aud` is neither a string nor an array of strings.
    Text,
    /// `iss` is not `JWT_ISSUER`.
    Issuer,
    /// `aud` does not contain `JWT_AUDIENCE`.
    Audience,
}

impl TokenError {
    /// The message for the client: ASCII without quotes and backslashes, so that it is valid in a header field.
    pub fn message(self) -> &'static str {
        match self {
            TokenError::TooLong => "the token is too long",
            TokenError::Parts => "the token does not have three parts",
            TokenError::Encoding => "the token is not base64url",
            TokenError::Header => "the header of the token is malformed",
            TokenError::Algorithm => "the algorithm of the token is not HS256",
            TokenError::Critical => "the token requires an extension that is not supported",
            TokenError::Signature => "the signature does not match",
            TokenError::Payload => "the payload of the token is not a JSON object",
            TokenError::Duplicate => "the token has a claim twice",
            TokenError::Names => "the token has too many claims",
            TokenError::ExpirationMissing => "the token has no exp claim",
            TokenError::Time => "exp, nbf, iat and auth_time must be numbers of seconds since 1970",
            TokenError::Expired => "the token has expired",
            TokenError::NotYetValid => "the token is not yet valid",
            TokenError::IssuedInFuture => "the token was issued in the future",
            TokenError::UserMissing => "the token has no oid claim",
            TokenError::User => "oid must be a string of 1 to 255 characters, and not the id of a responder",
            TokenError::Text => "name, email, sub, iss, aud and use must be strings",
            TokenError::Issuer => "the issuer of the token is not accepted",
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
