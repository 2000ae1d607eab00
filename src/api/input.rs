//! `POST /input`.

use super::action::Action;
use super::error::ApiError;
use super::request::{Request, conversation};
use crate::domain::command::{ApiVariant, CommandKind, ConversationRef};
use crate::domain::model::Role;
use crate::wire;
use sha2::{Digest, Sha256};

/// Adds a message to a conversation; by default, to the caller's default conversation.
pub(super) fn post(request: &Request<'_>) -> Result<Action, ApiError> {
    let input = wire::request::post_input(request.body).map_err(|error| request.invalid_body(error))?;
    let conversation = match input.conversation_id {
        None => ConversationRef::Default,
        Some(raw) => conversation(&raw)?,
    };
    Ok(Action::Submit(CommandKind::PostMessage {
        conversation,
        role: Role::User,
        content: input.content,
        metadata: input.metadata,
        api_variant: ApiVariant::Config,
    }))
}

/// The request that an idempotency key is bound to: SHA-256 of method, path and body, each preceded by its length.
pub(crate) fn fingerprint(method: &str, path: &str, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [method.as_bytes(), path.as_bytes(), body] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
