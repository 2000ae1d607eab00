//! A request as handlers receive it: routed and complete.

use super::error::ApiError;
use super::operation::Operation;
use super::router::PARAMETERS_MAX;
use crate::domain::command::ConversationRef;
use crate::domain::id::{ConversationId, MessageId, WorkspaceId};
use crate::domain::result::Resource;
use crate::http1::urlencoded::parse_pairs;
use crate::wire::request::InvalidBody;
use std::borrow::Cow;

/// The decoded names and values of query parameters or a form.
pub(crate) type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// A complete request.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// The operation.
    pub operation: Operation,
    /// The decoded parameters of the path, in order. Unused entries are empty.
    pub parameters: [&'a str; PARAMETERS_MAX],
    /// The raw query, without `?`.
    pub query: Option<&'a str>,
    /// The raw value of `Last-Event-ID`.
    pub last_event_id: Option<&'a [u8]>,
    /// The raw value of `X-Conversation-Id`.
    pub conversation_id: Option<&'a [u8]>,
    /// The raw value of `Accept`.
    pub accept: Option<&'a [u8]>,
    /// The raw value of `If-None-Match`.
    pub if_none_match: Option<&'a [u8]>,
    /// Whether the request has an `Idempotency-Key`.
    pub has_idempotency_key: bool,
    /// The id of the request.
    pub request_id: &'a str,
    /// The media type of the body.
    pub media: Media,
    /// The body.
    pub body: &'a [u8],
}

/// The media types that operations distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    /// `application/json`, `text/json`, `application/…+json`, or no `Content-Type`.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// Any other media type.
    Other,
}

impl Media {
    /// Parses a `Content-Type` (RFC 9110 §8.3.1). The parameters are ignored: JSON is always UTF-8.
    pub(crate) fn of(content_type: Option<&[u8]>) -> Media {
        let Some(raw) = content_type else { return Media::Json };
        let essence = raw.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let is = |name: &[u8]| essence.eq_ignore_ascii_case(name);
        let starts_with = |start: &[u8]| essence.get(..start.len()).is_some_and(|own| own.eq_ignore_ascii_case(start));
        let has_suffix = essence.last_chunk().is_some_and(|own: &[u8; 5]| own.eq_ignore_ascii_case(b"+json"));
        if is(b"") || is(b"application/json") || is(b"text/json") || (starts_with(b"application/") && has_suffix) {
            Media::Json
        } else if is(b"application/x-www-form-urlencoded") {
            Media::Form
        } else {
            Media::Other
        }
    }
}

impl<'a> Request<'a> {
    /// The query parameters.
    pub(crate) fn pairs(&self) -> Result<Pairs<'a>, ApiError> {
        parse_pairs(self.query.unwrap_or_default())
            .map_err(|message| ApiError::invalid_query(vec![("query", message.to_owned())]))
    }

    /// The error for an invalid body.
    pub(super) fn invalid_body(&self, error: InvalidBody) -> ApiError {
        ApiError::invalid_body(self.operation.subject(), error)
    }

    /// The workspace in the path.
    pub(crate) fn workspace(&self) -> Result<WorkspaceId, ApiError> {
        workspace(self.parameters[0])
    }

    /// The conversation in the path.
    pub(crate) fn conversation(&self) -> Result<ConversationRef, ApiError> {
        conversation(self.parameters[0])
    }

    /// The message in the path, after its conversation.
    pub(crate) fn message(&self) -> Result<MessageId, ApiError> {
        MessageId::parse(self.parameters[1]).ok_or_else(|| ApiError::not_found(Resource::Message))
    }
}

/// Parses a workspace id. A malformed id is `404`, as an unknown one is.
pub(crate) fn workspace(raw: &str) -> Result<WorkspaceId, ApiError> {
    WorkspaceId::parse(raw).ok_or_else(|| ApiError::not_found(Resource::Workspace))
}

/// Parses a conversation id or `default`. A malformed id is `404`, as an unknown one is.
pub(crate) fn conversation(raw: &str) -> Result<ConversationRef, ApiError> {
    match raw {
        "default" => Ok(ConversationRef::Default),
        _ => ConversationId::parse(raw)
            .map(ConversationRef::Id)
            .ok_or_else(|| ApiError::not_found(Resource::Conversation)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types() {
        let table: [(Option<&[u8]>, Media); 8] = [
            (None, Media::Json),
            (Some(b"application/json"), Media::Json),
            (Some(b"Application/JSON; charset=utf-8"), Media::Json),
            (Some(b"application/problem+json"), Media::Json),
            (Some(b"application/x-www-form-urlencoded;charset=UTF-8"), Media::Form),
            (Some(b"text/plain"), Media::Other),
            (Some(b"multipart/form-data; boundary=x"), Media::Other),
            (Some(b"application/jsonx"), Media::Other),
        ];
        for (raw, media) in table {
            assert_eq!(Media::of(raw), media, "{raw:?}");
        }
    }
}
