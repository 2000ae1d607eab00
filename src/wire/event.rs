//! The JSON of events, as it follows `data:` in a stream: one compact line each.
//!
//! Invariant: no function here writes a raw line break. Strings are escaped, metadata is compacted, and journalled data was
//! written compactly.

use crate::base::time::WallTime;
use crate::domain::answer_page::{AnswerPage, EndedText};
use crate::domain::answer_status_change::{AnswerPhase, AnswerStatusChange};
use crate::domain::event::{Event, EventBody, EventKind};
use crate::domain::id::{ConversationId, EventNumber, MessageId, UserId, WorkspaceId};
use crate::domain::model::{Conversation, Message, Status, Workspace};
use crate::domain::started_answer::AnswerStarted;
use crate::wire::conversation_view;
use crate::wire::json::{self, JsonWriter};
use crate::wire::resource;
use std::borrow::Cow;
use std::sync::Arc;

/// An event of the journal, or a delta or a snapshot, which have the same form.
pub fn event_json(event: &Event, out: &mut Vec<u8>) {
    out.reserve(event.frame_bytes());
    let at = event.at.rfc3339();
    let mut json = opened(event.kind, out);
    json.raw(",\"data\":");
    let metadata = match &event.body {
        EventBody::Message(message) => {
            // They are the same unless the event is a later one.
            let created_at = if message.created_at == event.at { at } else { message.created_at.rfc3339() };
            message_data(&mut json, event.kind, message, &created_at);
            message.metadata.as_str()
        }
        EventBody::Deleted(message) => {
            json.raw("{\"message_id\":").uuid(message.0).raw(",\"conversation_id\":");
            match event.conversation_id {
                Some(conversation) => json.uuid(conversation.0).raw("}"),
                None => json.raw("null}"),
            };
            "{}"
        }
        EventBody::Unanswered(_, data) | EventBody::Data(data) => {
            debug_assert!(!data.contains(['\n', '\r']), "journalled data is compact");
            json.raw(data);
            "{}"
        }
    };
    json.raw(",\"user_id\":")
        .string(event.actor.as_str())
        .raw(",\"timestamp\":")
        .formatted_time(&at)
        .raw(",\"metadata\":")
        .raw(metadata)
        .raw(",\"correlation_id\":")
        .string(&event.correlation_id)
        .raw("}");
}

/// `data` of `workspace_created` and `workspace_updated`.
pub(crate) fn workspace_data(workspace: &Workspace) -> Arc<str> {
    let (description, metadata) = (workspace.description.as_str(), workspace.metadata.as_str());
    data(256 + description.len() + metadata.len(), |json| {
        json.raw("{\"workspace\":");
        resource::workspace_json(workspace, json.0);
        json.raw("}");
    })
}

/// `data` of `workspace_deleted`.
pub(crate) fn workspace_deleted_data(id: WorkspaceId) -> Arc<str> {
    data(64, |json| {
        json.raw("{\"workspace_id\":").uuid(id.0).raw("}");
    })
}

/// `data` of `conversation_created` and `conversation_updated`.
pub(crate) fn conversation_data(conversation: &Conversation) -> Arc<str> {
    data(512 + conversation.metadata.as_str().len(), |json| {
        json.raw("{\"conversation_id\":").uuid(conversation.id.0);
        json.raw(",\"workspace_id\":").uuid(conversation.workspace_id.0);
        json.raw(",\"conversation\":");
        resource::conversation_json(conversation, json.0);
        json.raw("}");
    })
}

/// `data` of `conversation_deleted` and `conversation_left`.
pub(crate) fn conversation_tombstone_data(id: ConversationId, workspace: WorkspaceId) -> Arc<str> {
    data(128, |json| {
        json.raw("{\"conversation_id\":").uuid(id.0).raw(",\"workspace_id\":").uuid(workspace.0).raw("}");
    })
}

/// `data` of `output_error`: the message whose answer ended without text, its status as `code`, and the reason.
pub(crate) fn output_error_data(
    reply_to: MessageId,
    conversation: ConversationId,
    status: Status,
    reason: &str,
) -> Arc<str> {
    data(256 + reason.len(), |json| {
        json.raw("{\"reply_to\":").uuid(reply_to.0);
        json.raw(",\"conversation_id\":").uuid(conversation.0);
        json.raw(",\"code\":\"").raw(status.as_str()).raw("\",\"error\":").string(reason).raw("}");
    })
}

/// Reads the status and the reason in what [`output_error_data`] wrote.
pub(crate) fn output_error_reason(data: &str) -> (Status, Option<String>) {
    let text = |name: &str| {
        let value = json::member(data, name)?;
        value.starts_with('"').then(|| json::text(value).ok())?
    };
    let status = text("code").and_then(|code| Status::parse(&code)).unwrap_or(Status::Failed);
    (status, text("error").map(Cow::into_owned))
}

fn data(bytes: usize, write: impl FnOnce(&mut JsonWriter<'_>)) -> Arc<str> {
    let mut out = Vec::with_capacity(bytes);
    write(&mut JsonWriter(&mut out));
    String::from_utf8(out).expect("JSON that is made of texts is text").into()
}

/// A piece of an answer: `delta` begins at byte `offset` of the text, and ends with the delta of this index.
pub fn output_delta(
    started: &AnswerStarted,
    (index, offset): (u64, usize),
    delta: &str,
    at: WallTime,
    out: &mut Vec<u8>,
) {
    ephemeral(EventKind::OutputDelta, started, (index, offset), ("delta", delta), at, out);
}

/// A piece of the model's reasoning: `delta` begins at byte `offset` of it, and ends with its delta of this index.
pub fn output_reasoning_delta(
    started: &AnswerStarted,
    (index, offset): (u64, usize),
    delta: &str,
    at: WallTime,
    out: &mut Vec<u8>,
) {
    ephemeral(EventKind::OutputReasoningDelta, started, (index, offset), ("delta", delta), at, out);
}

/// The text of an answer through the delta with this index; the next one begins at byte `offset`.
pub fn output_snapshot(
    started: &AnswerStarted,
    (index, offset): (u64, usize),
    text: &str,
    at: WallTime,
    out: &mut Vec<u8>,
) {
    ephemeral(EventKind::OutputSnapshot, started, (index, offset), ("text", text), at, out);
}

/// A part of the text of an answer that has ended, as a delta that begins at its offset, or as a snapshot. Its index is that
/// of its last byte, which is not smaller than the index of any delta in which that byte was sent.
pub(crate) fn stored_text(
    page: &AnswerPage,
    (end, offset, text): (&EndedText, usize, &str),
    kind: EventKind,
    at: WallTime,
    out: &mut Vec<u8>,
) {
    let is_snapshot = kind == EventKind::OutputSnapshot;
    let through = offset + text.len();
    let place = (through.saturating_sub(1) as u64, if is_snapshot { through } else { offset });
    let answer = AnswerText {
        message_id: page.message_id,
        conversation_id: page.conversation_id,
        reply_to: page.reply_to,
        sender: &end.sender,
        correlation_id: &end.correlation_id,
    };
    answer_text(kind, &answer, place, (if is_snapshot { "text" } else { "delta" }, text), at, out);
}

/// The answer that an event about its text names.
struct AnswerText<'a> {
    message_id: Option<MessageId>,
    conversation_id: ConversationId,
    reply_to: Option<MessageId>,
    sender: &'a UserId,
    correlation_id: &'a str,
}

fn ephemeral(
    kind: EventKind,
    started: &AnswerStarted,
    place: (u64, usize),
    text: (&str, &str),
    at: WallTime,
    out: &mut Vec<u8>,
) {
    let answer = AnswerText {
        message_id: Some(started.message_id),
        conversation_id: started.conversation_id,
        reply_to: Some(started.reply_to),
        sender: &started.sender,
        correlation_id: &started.correlation_id,
    };
    answer_text(kind, &answer, place, text, at, out);
}

fn answer_text(
    kind: EventKind,
    answer: &AnswerText<'_>,
    (index, offset): (u64, usize),
    (name, text): (&str, &str),
    at: WallTime,
    out: &mut Vec<u8>,
) {
    let mut json = opened(kind, out);
    json.raw(",\"data\":{\"message_id\":");
    optional_id(&mut json, answer.message_id);
    json.raw(",\"conversation_id\":").uuid(answer.conversation_id.0).raw(",\"reply_to\":");
    optional_id(&mut json, answer.reply_to);
    json.raw(",\"index\":").number(index).raw(",\"offset\":").number(offset as u64);
    json.raw(",").string(name).raw(":").string(text);
    end_ephemeral(&mut json, answer.sender, at, answer.correlation_id);
}

fn optional_id(json: &mut JsonWriter<'_>, id: Option<MessageId>) {
    match id {
        Some(id) => json.uuid(id.0),
        None => json.raw("null"),
    };
}

/// The answer to a message is queued, has started, or is to be retried.
pub fn answer_status(change: &AnswerStatusChange, at: WallTime, out: &mut Vec<u8>) {
    let mut json = opened(EventKind::AnswerStatus, out);
    json.raw(",\"data\":{\"reply_to\":")
        .uuid(change.reply_to.0)
        .raw(",\"conversation_id\":")
        .uuid(change.conversation_id.0)
        .raw(",\"status\":\"")
        .raw(change.phase.as_str())
        .raw("\"");
    if let AnswerPhase::Retrying { in_milliseconds } = change.phase {
        json.raw(",\"retry_in_ms\":").number(in_milliseconds);
    }
    end_ephemeral(&mut json, &change.sender, at, &change.correlation_id);
}

/// The members after `data` of an event that is not journalled.
fn end_ephemeral(json: &mut JsonWriter<'_>, sender: &UserId, at: WallTime, correlation_id: &str) {
    json.raw("},\"user_id\":")
        .string(sender.as_str())
        .raw(",\"timestamp\":")
        .time(at)
        .raw(",\"metadata\":{},\"correlation_id\":")
        .string(correlation_id)
        .raw("}");
}

/// Control: the stream of `user` is open and starts after `last_event_id`.
pub(crate) fn connection_established(
    user: &UserId,
    at: WallTime,
    last_event_id: EventNumber,
    epoch: &str,
    stream_id: &str,
    out: &mut Vec<u8>,
) {
    opened(EventKind::ConnectionEstablished, out)
        .raw(",\"user_id\":")
        .string(user.as_str())
        .raw(",\"timestamp\":")
        .time(at)
        .raw(",\"last_event_id\":")
        .number(last_event_id.0)
        .raw(",\"epoch\":")
        .string(epoch)
        .raw(",\"stream_id\":")
        .string(stream_id)
        .raw("}");
}

/// Control: the replay through `last_event_id` is complete; live events follow.
pub(crate) fn caught_up(last_event_id: EventNumber, out: &mut Vec<u8>) {
    opened(EventKind::CaughtUp, out).raw(",\"last_event_id\":").number(last_event_id.0).raw("}");
}

/// Control: the stream is alive.
pub(crate) fn heartbeat(at: WallTime, out: &mut Vec<u8>) {
    opened(EventKind::Heartbeat, out).raw(",\"timestamp\":").time(at).raw("}");
}

/// Control: events before `first_available_id` are missing.
pub(crate) fn gap(first_available_id: EventNumber, out: &mut Vec<u8>) {
    opened(EventKind::Gap, out).raw(",\"data\":{\"first_available_id\":").number(first_available_id.0).raw("}}");
}

/// Control: the token expires in `seconds`.
pub(crate) fn token_expiring(seconds: u64, out: &mut Vec<u8>) {
    opened(EventKind::TokenExpiring, out).raw(",\"seconds\":").number(seconds).raw("}");
}

/// Control: the token has expired; the stream ends.
pub(crate) fn token_expired(out: &mut Vec<u8>) {
    opened(EventKind::TokenExpired, out).raw("}");
}

/// Control: the server is shutting down; the stream ends.
pub(crate) fn server_shutdown(out: &mut Vec<u8>) {
    opened(EventKind::ServerShutdown, out).raw("}");
}

/// Control: no stream can be opened at the moment; the client should reconnect after `retry_milliseconds`.
pub(crate) fn unavailable(retry_milliseconds: u64, out: &mut Vec<u8>) {
    opened(EventKind::Unavailable, out).raw(",\"retry_ms\":").number(retry_milliseconds).raw("}");
}

/// `{"type":"<kind>"`
fn opened(kind: EventKind, out: &mut Vec<u8>) -> JsonWriter<'_> {
    let mut json = JsonWriter(out);
    json.raw("{\"type\":\"").raw(kind.as_str()).raw("\"");
    json
}

/// `data` of a message. It always has the UUID of the conversation, also of the default one.
fn message_data(json: &mut JsonWriter, kind: EventKind, message: &Message, created_at: &[u8; 27]) {
    json.raw("{\"content\":")
        .string(message.content.as_str())
        .raw(",\"conversation_id\":")
        .uuid(message.conversation_id.0)
        .raw(",\"timestamp\":")
        .formatted_time(created_at)
        .raw(",\"message_id\":")
        .uuid(message.id.0)
        .raw(",\"role\":\"")
        .raw(message.role.as_str())
        .raw("\",\"sender_name\":")
        .string(&message.sender_name);
    if kind == EventKind::Output {
        json.raw(",\"reply_to\":");
        optional_id(json, message.reply_to);
        json.raw(",\"status\":\"").raw(message.status.as_str()).raw("\"");
        conversation_view::error(json, message.error.as_deref());
    }
    if kind == EventKind::MessageUpdated {
        // `user_id` and `timestamp` of the event belong to this change, which may not be the last one.
        json.raw(",\"sender_id\":")
            .string(message.sender.as_str())
            .raw(",\"status\":\"")
            .raw(message.status.as_str())
            .raw("\",\"updated_at\":")
            .time(message.updated_at);
        conversation_view::error(json, message.error.as_deref());
    }
    json.raw("}");
}

#[cfg(test)]
mod tests;
