//! The caller, from a JWT (RFC 7519) with HS256.

use crate::Service;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use std::sync::Arc;

/// The key that verifies tokens, and what must hold of them.
pub struct Keys {
    key: DecodingKey,
    validation: Validation,
}

impl Keys {
    pub fn new(secret: &[u8]) -> Keys {
        Keys { key: DecodingKey::from_secret(secret), validation: Validation::new(Algorithm::HS256) }
    }
}

/// A caller with a valid token.
pub struct User {
    pub id: String,
}

#[derive(Deserialize)]
struct Claims {
    oid: String,
}

impl FromRequestParts<Arc<Service>> for User {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<User, StatusCode> {
        let field = parts.headers.get(header::AUTHORIZATION).and_then(|field| field.to_str().ok());
        let token = field.and_then(|field| field.strip_prefix("Bearer ")).ok_or(StatusCode::UNAUTHORIZED)?;
        let keys = &service.keys;
        let token = decode::<Claims>(token, &keys.key, &keys.validation).map_err(|_| StatusCode::UNAUTHORIZED)?;
        Ok(User { id: token.claims.oid })
    }
}
