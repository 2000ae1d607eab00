//! Errors that a model's server reports.

use crate::base::limits::UPSTREAM_ERROR_BYTES_MAX;
use crate::config::types::Secret;
use crate::responder::Failure;
use serde_json::Value;

/// Whether an error response rejects the request for token counts: Mistral, for example, rejects the field with 422.
pub(crate) fn rejects_token_counts(status: u16, body: &[u8]) -> bool {
    matches!(status, 400 | 422) && memchr::memmem::find(body, b"stream_options").is_some()
}

/// The failure in an error response.
pub(crate) fn error_response(
    head: &crate::http1::response_parse::ReceivedHead,
    body: &[u8],
    key: Option<&Secret>,
) -> Failure {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let said =
        value.as_ref().and_then(|value| value.get("error").and_then(error_message).or_else(|| error_message(value)));
    let raw = String::from_utf8_lossy(&body[..body.len().min(UPSTREAM_ERROR_BYTES_MAX)]);
    Failure::status(head.status, said, head.retry_after_seconds, key).with_detail(without_key(&raw, key))
}

/// The message of an error object.
pub(super) fn error_message(error: &Value) -> Option<&str> {
    error.as_str().or_else(|| error["message"].as_str()).or_else(|| error["detail"].as_str())
}

pub(super) fn without_key(text: &str, key: Option<&Secret>) -> String {
    match key.map(Secret::expose).filter(|key| !key.is_empty()) {
        Some(key) => text.replace(key, "[key]"),
        None => text.to_owned(),
    }
}
