//! The user that a request's token identifies.

use crate::auth::jwt::{KeyId, Purpose};
use crate::base::time::WallTime;
use crate::domain::command::Actor;
use std::sync::Arc;

/// The user that a request's token identifies, and the token's other claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The user's id and profile, and the token's credential.
    pub actor: Actor,
    /// `sub`.
    pub subject: Option<Arc<str>>,
    /// `exp`, without leeway.
    pub expires_at: WallTime,
    /// What the token permits.
    pub purpose: Purpose,
    /// The key of the token's signature.
    pub key: KeyId,
}
