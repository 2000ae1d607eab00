//! The bodies of `/auth/…`.

use crate::domain::id::UserId;
use crate::domain::model::UserProfile;
use crate::wire::json::JsonWriter;

/// The body of `POST /auth/login` and `POST /auth/refresh`.
pub(crate) fn token(access_token: &str, expires_in_seconds: u64, claims: &UserProfile) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + access_token.len());
    JsonWriter(&mut out)
        .raw("{\"access_token\":")
        .string(access_token)
        .raw(",\"token_type\":\"bearer\",\"expires_in\":")
        .number(expires_in_seconds)
        .raw(",\"claims\":{\"oid\":")
        .string(claims.id.as_str())
        .raw(",\"name\":")
        .string(&claims.name)
        .raw(",\"email\":")
        .string(&claims.email)
        .raw("}}");
    out
}

/// The body of `GET /auth/verify`. A name or an email that the token lacks is an empty string.
pub(crate) fn verified(user_id: &UserId, name: &str, email: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    JsonWriter(&mut out)
        .raw("{\"user_id\":")
        .string(user_id.as_str())
        .raw(",\"name\":")
        .string(name)
        .raw(",\"email\":")
        .string(email)
        .raw("}");
    out
}
