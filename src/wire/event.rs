//! The JSON of events, as it follows `data:` in a stream: one compact line each.
//!
//! Invariant: no function here writes a raw line break. Strings are escaped, metadata is compacted, and journalled data was
//! written compactly.

use crate::base::time::WallTime;
use crate::domain::event::{Event, EventBody, EventKind};
use crate::domain::id::{ConversationId, EventNumber, MessageId, UserId, WorkspaceId};
use crate::domain::model::{Conversation, Message, Workspace};
use crate::domain::started_answer::AnswerStarted;
use crate::wire::json::JsonWriter;
use crate::wire::resource;
use std::sync::Arc;

/// An event of the journal, or a delta or a snapshot, which have the same form.
pub fn event_json(event: &Event, out: &mut Vec<u8>) {
    out.reserve(256 + event.weight());
    let mut json = opened(event.kind, out);
    json.raw(",\"data\":");
    let metadata = match &event.body {
        EventBody::Message(message) => {
            message_data(&mut json, event.kind, message);
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
        EventBody::Data(data) => {
            debug_assert!(!data.contains(['\n', '\r']), "journalled data is compact");
            json.raw(data);
            "{}"
        }
    };
    json.raw(",\"user_id\":")
        .string(event.actor.as_str())
        .raw(",\"timestamp\":")
        .time(event.at)
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

/// `data` of `output_error`: the message to answer, and the answer if any text was shown.
pub(crate) fn output_error_data(
    asked: MessageId,
    conversation: ConversationId,
    answer: Option<MessageId>,
    reason: &str,
) -> Arc<str> {
    data(256 + reason.len(), |json| {
        json.raw("{\"message_id\":").uuid(asked.0);
        json.raw(",\"conversation_id\":").uuid(conversation.0).raw(",\"error\":").string(reason);
        if let Some(answer) = answer {
            json.raw(",\"answer_id\":").uuid(answer.0);
        }
        json.raw("}");
    })
}

fn data(bytes: usize, write: impl FnOnce(&mut JsonWriter<'_>)) -> Arc<str> {
    let mut out = Vec::with_capacity(bytes);
    write(&mut JsonWriter(&mut out));
    String::from_utf8(out).expect("JSON that is made of texts is text").into()
}

/// A piece of an answer.
pub fn output_delta(started: &AnswerStarted, index: u64, delta: &str, at: WallTime, out: &mut Vec<u8>) {
    passing(EventKind::OutputDelta, started, index, ("delta", delta), at, out);
}

/// The text of an answer through the delta with this index.
pub fn output_snapshot(started: &AnswerStarted, index: u64, text: &str, at: WallTime, out: &mut Vec<u8>) {
    passing(EventKind::OutputSnapshot, started, index, ("text", text), at, out);
}

fn passing(
    kind: EventKind,
    started: &AnswerStarted,
    index: u64,
    (name, text): (&str, &str),
    at: WallTime,
    out: &mut Vec<u8>,
) {
    opened(kind, out)
        .raw(",\"data\":{\"message_id\":")
        .uuid(started.message_id.0)
        .raw(",\"conversation_id\":")
        .uuid(started.conversation_id.0)
        .raw(",\"index\":")
        .number(index)
        .raw(",")
        .string(name)
        .raw(":")
        .string(text)
        .raw("},\"user_id\":")
        .string(started.sender.as_str())
        .raw(",\"timestamp\":")
        .time(at)
        .raw(",\"metadata\":{},\"correlation_id\":")
        .string(&started.correlation_id)
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

/// `{"type":"<kind>"`
fn opened(kind: EventKind, out: &mut Vec<u8>) -> JsonWriter<'_> {
    let mut json = JsonWriter(out);
    json.raw("{\"type\":\"").raw(kind.as_str()).raw("\"");
    json
}

/// `data` of a message. It always has the UUID of the conversation, also of the default one.
fn message_data(json: &mut JsonWriter, kind: EventKind, message: &Message) {
    json.raw("{\"content\":")
        .string(message.content.as_str())
        .raw(",\"conversation_id\":")
        .uuid(message.conversation_id.0)
        .raw(",\"timestamp\":")
        .time(message.created_at)
        .raw(",\"message_id\":")
        .uuid(message.id.0)
        .raw(",\"role\":\"")
        .raw(message.role.as_str())
        .raw("\",\"sender_name\":")
        .string(&message.sender_name);
    if kind == EventKind::Output {
        json.raw(",\"reply_to\":");
        match message.reply_to {
            Some(answered) => json.uuid(answered.0),
            None => json.raw("null"),
        };
        json.raw(",\"status\":\"").raw(message.status.as_str()).raw("\"");
    }
    if kind == EventKind::MessageUpdated {
        // `user_id` and `timestamp` of the event belong to this change, which may not be the last one.
        json.raw(",\"sender_id\":")
            .string(message.sender.as_str())
            .raw(",\"status\":\"")
            .raw(message.status.as_str())
            .raw("\",\"updated_at\":")
            .time(message.updated_at);
    }
    json.raw("}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::*;
    use crate::domain::model::*;
    use uuid::Uuid;

    const AT: WallTime = WallTime(1_769_850_930_123_456);

    fn id(last: u128) -> Uuid {
        Uuid::from_u128(0x0190c42e_8d3f_7123_9abc_000000000000 + last)
    }

    fn event(kind: EventKind, body: EventBody) -> Event {
        Event {
            number: EventNumber(42),
            kind,
            at: AT,
            actor: UserId::new_unchecked("u\"1"),
            correlation_id: "req-1".into(),
            workspace_id: WorkspaceId(id(0xa)),
            conversation_id: Some(ConversationId(id(0xc))),
            recipients: [].into(),
            body,
        }
    }

    fn message(role: Role, reply_to: Option<MessageId>, status: Status) -> EventBody {
        EventBody::Message(Message {
            id: MessageId(id(0xe)),
            conversation_id: ConversationId(id(0xc)),
            sender: UserId::new_unchecked("u\"1"),
            sender_name: "Ada".into(),
            role,
            content: Content::new_unchecked("Hello\r\n\"you\" \u{2028}\u{0}"),
            metadata: Metadata::new_unchecked(r#"{"b":1.0e+5,"b":"\u00e9"}"#),
            created_at: AT,
            updated_at: AT,
            status,
            reply_to,
        })
    }

    fn line(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b"before".to_vec();
        write(&mut out);
        let text = String::from_utf8(out).unwrap().split_off(6);
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(!text.contains(['\n', '\r']), "{text}");
        text
    }

    #[test]
    fn events_have_the_form_of_the_api() {
        let data = |role: &str, more: &str| {
            format!(
                "{{\"content\":\"Hello\\r\\n\\\"you\\\" \u{2028}\\u0000\",\
                 \"conversation_id\":\"0190c42e-8d3f-7123-9abc-00000000000c\",\
                 \"timestamp\":\"2026-01-31T09:15:30.123456Z\",\"message_id\":\"0190c42e-8d3f-7123-9abc-00000000000e\",\
                 \"role\":\"{role}\",\"sender_name\":\"Ada\"{more}}}"
            )
        };
        let whole = |kind: &str, data: &str, metadata: &str| {
            format!(
                "{{\"type\":\"{kind}\",\"data\":{data},\"user_id\":\"u\\\"1\",\
                 \"timestamp\":\"2026-01-31T09:15:30.123456Z\",\"metadata\":{metadata},\"correlation_id\":\"req-1\"}}"
            )
        };
        let metadata = r#"{"b":1.0e+5,"b":"\u00e9"}"#;
        let answered = r#","reply_to":"0190c42e-8d3f-7123-9abc-000000000001","status":"cancelled""#;
        let table = [
            (
                event(EventKind::Input, message(Role::User, None, Status::Complete)),
                whole("input", &data("user", ""), metadata),
            ),
            (
                event(EventKind::Output, message(Role::Assistant, Some(MessageId(id(1))), Status::Cancelled)),
                whole("output", &data("assistant", answered), metadata),
            ),
            (
                event(EventKind::Output, message(Role::Assistant, None, Status::Complete)),
                whole("output", &data("assistant", ",\"reply_to\":null,\"status\":\"complete\""), metadata),
            ),
            (
                event(EventKind::WorkspaceCreated, EventBody::Data(r#"{"id":"x","metadata":{"n":1.10}}"#.into())),
                whole("workspace_created", r#"{"id":"x","metadata":{"n":1.10}}"#, "{}"),
            ),
            (
                event(EventKind::MessageUpdated, message(Role::User, None, Status::Complete)),
                whole(
                    "message_updated",
                    &data(
                        "user",
                        r#","sender_id":"u\"1","status":"complete","updated_at":"2026-01-31T09:15:30.123456Z""#,
                    ),
                    metadata,
                ),
            ),
            (
                event(EventKind::MessageDeleted, EventBody::Deleted(MessageId(id(0xe)))),
                whole(
                    "message_deleted",
                    "{\"message_id\":\"0190c42e-8d3f-7123-9abc-00000000000e\",\
                     \"conversation_id\":\"0190c42e-8d3f-7123-9abc-00000000000c\"}",
                    "{}",
                ),
            ),
        ];
        for (event, expected) in table {
            assert_eq!(line(|out| event_json(&event, out)), expected);
        }
    }

    #[test]
    fn control_events_have_the_form_of_the_api() {
        let user = UserId::new_unchecked("u\n1");
        let n = EventNumber(u64::MAX);
        let table = [
            (
                line(|out| connection_established(&user, AT, n, "ep", "st", out)),
                r#"{"type":"connection_established","user_id":"u\n1","timestamp":"2026-01-31T09:15:30.123456Z","last_event_id":18446744073709551615,"epoch":"ep","stream_id":"st"}"#,
            ),
            (line(|out| caught_up(EventNumber(0), out)), r#"{"type":"caught_up","last_event_id":0}"#),
            (line(|out| heartbeat(AT, out)), r#"{"type":"heartbeat","timestamp":"2026-01-31T09:15:30.123456Z"}"#),
            (line(|out| gap(EventNumber(57), out)), r#"{"type":"gap","data":{"first_available_id":57}}"#),
            (line(|out| token_expiring(60, out)), r#"{"type":"token_expiring","seconds":60}"#),
            (line(token_expired), r#"{"type":"token_expired"}"#),
            (line(server_shutdown), r#"{"type":"server_shutdown"}"#),
        ];
        for (written, expected) in table {
            assert_eq!(written, expected);
        }
    }

    #[test]
    fn all_of_ascii_stays_one_line() {
        let ascii: String = (0..128_u8).map(char::from).collect();
        let EventBody::Message(mut said) = message(Role::User, None, Status::Complete) else { unreachable!() };
        said.content = Content::new_unchecked(ascii.as_str());
        said.sender_name = ascii.as_str().into();
        let mut whole = event(EventKind::Input, EventBody::Message(said));
        whole.actor = UserId::new_unchecked(ascii.as_str());
        let text = line(|out| event_json(&whole, out));
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!([&read["data"]["content"], &read["data"]["sender_name"], &read["user_id"]], [&ascii; 3]);
    }

    #[test]
    fn payloads_are_json() {
        let uuid = IdKey::new([3; 16]).uuid(EventNumber(1), WallTime(1));
        let (id, workspace_id) = (ConversationId(uuid), WorkspaceId(uuid));
        let made = Workspace {
            id: workspace_id,
            owner: UserId::new_unchecked("o\"w"),
            name: WorkspaceName::new_unchecked("n\u{1}"),
            description: WorkspaceDescription::new_unchecked("d\\"),
            metadata: Metadata::new_unchecked(r#"{"k":1.0}"#),
            created_at: WallTime(1),
            updated_at: WallTime(1),
        };
        assert_eq!(
            &*workspace_data(&made),
            format!(
                r#"{{"workspace":{{"id":"{uuid}","name":"n\u0001","description":"d\\","owner_id":"o\"w","metadata":{{"k":1.0}}}}}}"#
            )
        );
        let talk = Conversation {
            id,
            workspace_id,
            topic: Topic::new_unchecked("t"),
            participants: [UserId::new_unchecked("a"), UserId::new_unchecked("b")].into(),
            metadata: Metadata::empty(),
            created_at: WallTime(1),
            updated_at: WallTime(1),
            message_count: 0,
        };
        assert_eq!(
            &*conversation_data(&talk),
            format!(
                r#"{{"conversation_id":"{uuid}","workspace_id":"{uuid}","conversation":{{"id":"{uuid}","workspace_id":"{uuid}","topic":"t","participant_ids":["a","b"],"metadata":{{}}}}}}"#
            )
        );
        assert_eq!(&*workspace_deleted_data(workspace_id), format!(r#"{{"workspace_id":"{uuid}"}}"#));
        assert_eq!(
            &*conversation_tombstone_data(id, workspace_id),
            format!(r#"{{"conversation_id":"{uuid}","workspace_id":"{uuid}"}}"#)
        );
        let failed = |answer| output_error_data(MessageId(uuid), id, answer, "no\n\"model\"");
        let said = format!(r#"{{"message_id":"{uuid}","conversation_id":"{uuid}","error":"no\n\"model\"""#);
        assert_eq!(&*failed(None), format!("{said}}}"));
        assert_eq!(&*failed(Some(MessageId(uuid))), format!(r#"{said},"answer_id":"{uuid}"}}"#));
    }
}
