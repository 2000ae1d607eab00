//! `GET /output/stream`, and the renewal of open streams.

use super::action::Action;
use super::error::ApiError;
use super::request::{Request, conversation, workspace};
use super::subscription::{StreamId, StreamStart, Subscription};
use crate::domain::query::StreamFilter;
use crate::sse::parse_last_event_id;
use crate::wire::query_params;
use uuid::Uuid;

/// `GET /output/stream`. The `Last-Event-ID` field takes precedence over the query parameter.
pub(super) fn open(request: &Request<'_>) -> Result<Action, ApiError> {
    let parameters = query_params::stream(&request.pairs()?).map_err(ApiError::invalid_query)?;
    let start = match (request.last_event_id, parameters.last_event_id) {
        // Before its first event, `EventSource` sends no `Last-Event-ID`; some other clients send an empty one.
        (Some(b""), None) | (None, None) => StreamStart::Now,
        (Some(b""), Some(number)) | (None, Some(number)) => StreamStart::After(number),
        (Some(raw), _) => parse_last_event_id(raw).map_or(StreamStart::Unknown, StreamStart::After),
    };
    let filter = StreamFilter {
        conversation: parameters.conversation_id.as_deref().map(conversation).transpose()?,
        workspace: parameters.workspace_id.as_deref().map(workspace).transpose()?,
        kinds: parameters.kinds,
    };
    Ok(Action::Subscribe(Subscription { filter, named: parameters.named, start }))
}

/// `POST /output/streams/{stream_id}/renew`
pub(super) fn renew(request: &Request<'_>) -> Result<Action, ApiError> {
    let raw = request.parameters[0];
    match Uuid::try_parse(raw) {
        // `try_parse` also accepts other forms of a UUID than the hyphenated one.
        Ok(id) if raw.len() == 36 => Ok(Action::RenewStream(StreamId(id))),
        _ => Err(ApiError::new(404, "not_found", "Stream not found")),
    }
}
