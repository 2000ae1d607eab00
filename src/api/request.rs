//! A request as the handlers see it: routed, with its query and its whole body.

use super::error::ApiError;
use super::router::{Operation, PARAMETERS_MAX};
use crate::domain::command::ConversationRef;
use crate::domain::id::{ConversationId, MessageId, WorkspaceId};
use crate::domain::result::Resource;
use crate::http1::urlencoded::parse_pairs;
use std::borrow::Cow;

/// Name and value of query parameters or of a form, decoded.
pub(crate) type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// A complete request.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// What is asked for.
    pub operation: Operation,
    /// The open segments of the path, in order; empty where there are fewer.
    pub parameters: [&'a str; PARAMETERS_MAX],
    /// The raw query, without `?`.
    pub query: Option<&'a str>,
    /// The raw value of `Last-Event-ID`.
    pub last_event_id: Option<&'a [u8]>,
    /// What `Content-Type` says of the body.
    pub media: Media,
    /// The body.
    pub body: &'a [u8],
}

/// The media types that some operation reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    /// `application/json`, `application/…+json`, or none given.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// Anything else.
    Other,
}

impl Media {
    /// Reads a `Content-Type` (RFC 9110 §8.3.1); its parameters do not matter here: JSON is UTF-8.
    pub(crate) fn of(content_type: Option<&[u8]>) -> Media {
        let Some(raw) = content_type else { return Media::Json };
        let essence = raw.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        match essence.as_slice() {
            b"" | b"application/json" | b"text/json" => Media::Json,
            b"application/x-www-form-urlencoded" => Media::Form,
            other if other.starts_with(b"application/") && other.ends_with(b"+json") => Media::Json,
            _ => Media::Other,
        }
    }
}

impl<'a> Request<'a> {
    /// The query parameters.
    pub(crate) fn pairs(&self) -> Result<Pairs<'a>, ApiError> {
        parse_pairs(self.query.unwrap_or_default()).map_err(|why| ApiError::query(vec![("query", why.to_owned())]))
    }

    /// The workspace that the path names.
    pub(crate) fn workspace(&self) -> Result<WorkspaceId, ApiError> {
        workspace(self.parameters[0])
    }

    /// The conversation that the path names.
    pub(crate) fn conversation(&self) -> Result<ConversationRef, ApiError> {
        conversation(self.parameters[0])
    }

    /// The message that the path names, behind its conversation.
    pub(crate) fn message(&self) -> Result<MessageId, ApiError> {
        MessageId::parse(self.parameters[1]).ok_or_else(|| ApiError::not_found(Resource::Message))
    }
}

/// Reads a workspace id; what is none names no workspace.
pub(crate) fn workspace(raw: &str) -> Result<WorkspaceId, ApiError> {
    WorkspaceId::parse(raw).ok_or_else(|| ApiError::not_found(Resource::Workspace))
}

/// Reads a conversation id or `default`; what is neither names no conversation.
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
