use super::*;
use crate::domain::answer_job::JobId;
use crate::domain::id::*;
use crate::domain::live_answer::LiveAnswer;
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
        error: None,
        answer: None,
        reasoning: None,
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
                &data("user", r#","sender_id":"u\"1","status":"complete","updated_at":"2026-01-31T09:15:30.123456Z""#),
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
fn events_of_a_running_answer_have_the_form_of_the_api() {
    let started = AnswerStarted {
        job: JobId::default(),
        message_id: MessageId(id(0xe)),
        reply_to: MessageId(id(0xf)),
        conversation_id: ConversationId(id(0xc)),
        workspace_id: WorkspaceId(id(0xa)),
        recipients: [].into(),
        known_at: EventNumber::default(),
        sender: UserId::new_unchecked("responder:openai"),
        correlation_id: "req-1".into(),
        live: LiveAnswer::default(),
    };
    let status = |phase| AnswerStatusChange {
        reply_to: started.reply_to,
        conversation_id: started.conversation_id,
        workspace_id: started.workspace_id,
        recipients: [].into(),
        known_at: EventNumber(1),
        sender: started.sender.clone(),
        correlation_id: "req-1".into(),
        phase,
    };
    let whole = |kind: &str, data: &str| {
        format!(
            "{{\"type\":\"{kind}\",\"data\":{{{data}}},\"user_id\":\"responder:openai\",\
             \"timestamp\":\"2026-01-31T09:15:30.123456Z\",\"metadata\":{{}},\"correlation_id\":\"req-1\"}}"
        )
    };
    let text = |name: &str| {
        format!(
            "\"message_id\":\"0190c42e-8d3f-7123-9abc-00000000000e\",\
             \"conversation_id\":\"0190c42e-8d3f-7123-9abc-00000000000c\",\
             \"reply_to\":\"0190c42e-8d3f-7123-9abc-00000000000f\",\"index\":3,\"offset\":12,\"{name}\":\"a\\\"b\""
        )
    };
    let phase = |more: &str| {
        format!(
            "\"reply_to\":\"0190c42e-8d3f-7123-9abc-00000000000f\",\
             \"conversation_id\":\"0190c42e-8d3f-7123-9abc-00000000000c\",\"status\":{more}"
        )
    };
    let retrying = status(AnswerPhase::Retrying { in_milliseconds: 1500 });
    let table = [
        (line(|out| output_delta(&started, (3, 12), "a\"b", AT, out)), whole("output_delta", &text("delta"))),
        (
            line(|out| output_reasoning_delta(&started, (3, 12), "a\"b", AT, out)),
            whole("output_reasoning_delta", &text("delta")),
        ),
        (line(|out| output_snapshot(&started, (3, 12), "a\"b", AT, out)), whole("output_snapshot", &text("text"))),
        (
            line(|out| answer_status(&status(AnswerPhase::Queued), AT, out)),
            whole("answer_status", &phase("\"queued\"")),
        ),
        (
            line(|out| answer_status(&status(AnswerPhase::Started), AT, out)),
            whole("answer_status", &phase("\"started\"")),
        ),
        (
            line(|out| answer_status(&retrying, AT, out)),
            whole("answer_status", &phase("\"retrying\",\"retry_in_ms\":1500")),
        ),
    ];
    for (written, expected) in table {
        assert_eq!(written, expected);
    }
}

#[test]
fn stored_text_has_the_form_of_deltas_and_snapshots() {
    let page = AnswerPage {
        reply_to: None,
        message_id: Some(MessageId(id(0xe))),
        conversation_id: ConversationId(id(0xc)),
        workspace_id: WorkspaceId(id(0xa)),
        ended: None,
    };
    let end = EndedText {
        sender: UserId::new_unchecked("responder:openai"),
        correlation_id: "req-1".into(),
        from: 10,
        part: String::new(),
        text_bytes: 20,
        event: None,
    };
    let whole = |kind: &str, data: &str| {
        format!(
            "{{\"type\":\"{kind}\",\"data\":{{\"message_id\":\"0190c42e-8d3f-7123-9abc-00000000000e\",\
             \"conversation_id\":\"0190c42e-8d3f-7123-9abc-00000000000c\",\"reply_to\":null,{data}}},\
             \"user_id\":\"responder:openai\",\"timestamp\":\"2026-01-31T09:15:30.123456Z\",\"metadata\":{{}},\
             \"correlation_id\":\"req-1\"}}"
        )
    };
    let table = [
        (EventKind::OutputDelta, 10, r#""index":12,"offset":10,"delta":"abc""#),
        (EventKind::OutputSnapshot, 0, r#""index":2,"offset":3,"text":"abc""#),
    ];
    for (kind, offset, data) in table {
        let written = line(|out| stored_text(&page, (&end, offset, "abc"), kind, AT, out));
        assert_eq!(written, whole(kind.as_str(), data));
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
    for (status, code) in [(Status::Failed, "failed"), (Status::Cancelled, "cancelled")] {
        assert_eq!(
            &*output_error_data(MessageId(uuid), id, status, "no\n\"model\""),
            format!(r#"{{"reply_to":"{uuid}","conversation_id":"{uuid}","code":"{code}","error":"no\n\"model\""}}"#)
        );
    }
}
