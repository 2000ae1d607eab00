//! `GET /output/stream`, and the renewal of open streams.

use super::action::Action;
use super::error::ApiError;
use super::operation::Operation;
use super::request::{Request, conversation, workspace};
use super::response::Response;
use super::router;
use super::subscription::{AnswerSubscription, StreamId, StreamStart, Subscription};
use crate::domain::event::EventKind;
use crate::domain::last_event_id::{LastEventId, parse_last_event_ids};
use crate::domain::query::StreamFilter;
use crate::http1::head::Head;
use crate::http1::urlencoded::parse_pairs;
use crate::sse::{self, BlockFields};
use crate::wire;
use crate::wire::query_params;
use std::borrow::Cow;
use uuid::Uuid;

/// `GET /output/stream`. The `Last-Event-ID` field takes precedence over the query parameter.
pub(super) fn open(request: &Request<'_>) -> Result<Action, ApiError> {
    let parameters = query_params::stream(&request.pairs()?).map_err(ApiError::invalid_query)?;
    let start = start(parse_last_event_ids(request.last_event_id), parameters.last_event_id);
    let filter = StreamFilter {
        conversation: parameters.conversation_id.as_deref().map(conversation).transpose()?,
        workspace: parameters.workspace_id.as_deref().map(workspace).transpose()?,
        kinds: parameters.kinds,
    };
    Ok(Action::Subscribe(Subscription { filter, named: parameters.named, start }))
}

/// `GET /conversations/{id}/messages/{message_id}/stream`. Its ids are offsets in the text.
pub(super) fn open_answer(request: &Request<'_>) -> Result<Action, ApiError> {
    let (conversation, message) = (request.conversation()?, request.message()?);
    let parameters = query_params::answer_stream(&request.pairs()?).map_err(ApiError::invalid_query)?;
    let start = start(parse_last_event_ids(request.last_event_id), parameters.last_event_id);
    Ok(Action::FollowAnswer(AnswerSubscription { conversation, message, named: parameters.named, start }))
}

/// The start of a stream by the header field and the query parameter. Before its first event, `EventSource` sends no field;
/// some other clients send an empty one.
fn start(field: LastEventId, parameter: LastEventId) -> StreamStart {
    match (field, parameter) {
        (LastEventId::Absent, LastEventId::Number(number)) | (LastEventId::Number(number), _) => {
            StreamStart::After(number)
        }
        (LastEventId::Absent, _) => StreamStart::Now,
        (LastEventId::Invalid, _) => StreamStart::Unknown,
    }
}

/// The response to the head of a stream request before the server has started; `None` for any other request.
pub(crate) fn starting(head: &Head<'_, '_>, retry_milliseconds: u64) -> Option<Response> {
    let operation = router::find(head.path).and_then(|matched| matched.route.operation(head.method));
    if !matches!(operation, Ok(Operation::OpenStream | Operation::StreamAnswer)) {
        return None;
    }
    let pairs = parse_pairs(head.query.unwrap_or_default()).unwrap_or_default();
    let (parameter, named) = match query_params::answer_stream(&pairs) {
        Ok(parameters) => (parameters.last_event_id, parameters.named),
        Err(_) => (LastEventId::Absent, false),
    };
    let start = start(parse_last_event_ids(head.fields("last-event-id")), parameter);
    Some(unavailable(start, named, retry_milliseconds))
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

/// The head of a stream's response, with a body for one that ends at once. Caches and proxies must neither store nor compress
/// it: compression would hold events back.
pub(crate) fn event_stream(body: impl Into<Cow<'static, [u8]>>) -> Response {
    let fields = vec![("Cache-Control", "no-store, no-transform".into()), ("X-Accel-Buffering", "no".into())];
    Response { content_type: "text/event-stream; charset=utf-8", fields, ..Response::json(body) }
}

/// The response while no stream can be opened: a stream that ends at once with a time to reconnect. An `EventSource` would
/// not reconnect after any other status. It repeats the client's number, since some clients reset it without an `id:`.
pub(crate) fn unavailable(start: StreamStart, named: bool, retry_milliseconds: u64) -> Response {
    let id = match start {
        StreamStart::After(number) => Some(number),
        StreamStart::Now | StreamStart::Unknown => None,
    };
    let fields = BlockFields { retry_milliseconds: Some(retry_milliseconds), id };
    let name = named.then_some(EventKind::Unavailable.as_str());
    let mut body = Vec::new();
    sse::write_block(fields, name, |json| wire::event::unavailable(retry_milliseconds, json), &mut body);
    event_stream(body)
}
