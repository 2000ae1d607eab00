//! `GET /output/stream` and what goes with it.

use super::error::ApiError;
use super::request::{Request, conversation, workspace};
use super::{Action, Start, StreamId, Subscription};
use crate::domain::query::StreamFilter;
use crate::sse::parse_last_event_id;
use crate::wire::query_params;
use uuid::Uuid;

/// Opens a stream: the header names the start, else the query does, else it is now.
pub(crate) fn open(request: &Request<'_>) -> Result<Action, ApiError> {
    let asked = query_params::stream(&request.pairs()?).map_err(ApiError::query)?;
    let start = match (request.last_event_id, asked.last_event_id) {
        // An EventSource that has seen no id sends none; some clients send an empty field instead.
        (Some(b""), None) | (None, None) => Start::Now,
        (Some(b""), Some(number)) | (None, Some(number)) => Start::After(number),
        (Some(raw), _) => parse_last_event_id(raw).map_or(Start::Unknown, Start::After),
    };
    let filter = StreamFilter {
        conversation: asked.conversation_id.as_deref().map(conversation).transpose()?,
        workspace: asked.workspace_id.as_deref().map(workspace).transpose()?,
        kinds: asked.kinds,
    };
    Ok(Action::Subscribe(Subscription { filter, named: asked.named, start }))
}

/// `POST /output/streams/{stream_id}/renew`
pub(crate) fn renew(request: &Request<'_>) -> Result<Action, ApiError> {
    let raw = request.parameters[0];
    match Uuid::try_parse(raw) {
        Ok(id) if raw.len() == 36 => Ok(Action::Renew(StreamId(id))),
        _ => Err(ApiError::new(404, "not_found", "Stream not found")),
    }
}
