//! Every response body, byte for byte.

use super::command_result::command_body;
use super::conversation_view;
use super::json::JsonWriter;
use super::query_result::{query_body, search_result};
use super::resource::{conversation_json, workspace_json};
use super::service::root;
use super::token::{token, verified};
use crate::base::time::WallTime;
use crate::domain::command::{ApiVariant, ConversationRef};
use crate::domain::event::{Event, EventBody, EventKind, KindSet};
use crate::domain::id::*;
use crate::domain::model::*;
use crate::domain::page::{ConversationView, MessagePage, Page, TruncatedEnd};
use crate::domain::query::{JournalPage, QueryResult, StreamFilter};
use crate::domain::result::Outcome;
use crate::domain::search::{MATCH_END, MATCH_START, SearchPage, SearchResult};
use crate::wire::size::JsonBytes;
use std::sync::Arc;
use uuid::Uuid;

fn text(body: Vec<u8>) -> String {
    let text = String::from_utf8(body).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    text
}

fn id(last: u128) -> Uuid {
    Uuid::from_u128(0x0190c42e_8d3f_7123_9abc_000000000000 + last)
}

fn workspace(n: u128) -> Workspace {
    Workspace {
        id: WorkspaceId(id(n)),
        owner: UserId::new("o\"1").unwrap(),
        name: WorkspaceName::new("N\n").unwrap(),
        description: WorkspaceDescription::new("D é").unwrap(),
        metadata: Metadata::new_unchecked(r#"{"b":1.10,"a":"\u00e9"}"#),
        created_at: WallTime(0),
        updated_at: WallTime(0),
    }
}

fn conversation() -> Conversation {
    Conversation {
        id: ConversationId(id(0xc)),
        workspace_id: WorkspaceId(id(0xa)),
        topic: Topic::new("T\\").unwrap(),
        participants: [UserId::new("a").unwrap(), UserId::new("b\"").unwrap()].into(),
        metadata: Metadata::empty(),
        created_at: WallTime(1_769_850_930_123_456),
        updated_at: WallTime(1_769_850_930_123_457),
        message_count: 3,
    }
}

fn posted(role: Role) -> Arc<Event> {
    let message = Message {
        id: MessageId(id(0xe)),
        conversation_id: ConversationId(id(0xc)),
        sender: UserId::new("u1").unwrap(),
        sender_name: "Ü".into(),
        role,
        content: Content::new("Say \"hi\"\n").unwrap(),
        metadata: Metadata::new_unchecked(r#"{"n":123456789012345678901234567890}"#),
        created_at: WallTime(1_769_850_930_123_456),
        updated_at: WallTime(1_769_850_930_123_456),
        status: Status::Complete,
        reply_to: None,
        error: None,
        answer: None,
        reasoning: None,
    };
    Arc::new(Event {
        number: EventNumber(7),
        kind: EventKind::Input,
        at: message.created_at,
        actor: message.sender.clone(),
        correlation_id: "r".into(),
        workspace_id: WorkspaceId(id(0xa)),
        conversation_id: Some(message.conversation_id),
        recipients: [].into(),
        body: EventBody::Message(message),
    })
}

fn said() -> Message {
    posted(Role::System).message().unwrap().clone()
}

fn search_page(count: usize, total_is_at_least: u64, truncated: bool) -> SearchPage {
    let snippet = format!("Say \"{MATCH_START}hi{MATCH_END}\"\t");
    SearchPage { results: vec![SearchResult { message: said(), snippet }; count], total_is_at_least, truncated }
}

fn with_messages(count: usize) -> ConversationView {
    let last = MessagePage { messages: vec![said(); count], truncated: false, kept: TruncatedEnd::Newest };
    ConversationView { conversation: conversation(), last }
}

const WORKSPACE: &str = r#"{"id":"0190c42e-8d3f-7123-9abc-00000000000a","name":"N\n","description":"D é","owner_id":"o\"1","metadata":{"b":1.10,"a":"\u00e9"}}"#;
const CONVERSATION: &str = r#"{"id":"0190c42e-8d3f-7123-9abc-00000000000c","workspace_id":"0190c42e-8d3f-7123-9abc-00000000000a","topic":"T\\","participant_ids":["a","b\""],"metadata":{}}"#;
const MESSAGE: &str = r#"{"id":"0190c42e-8d3f-7123-9abc-00000000000e","conversation_id":"0190c42e-8d3f-7123-9abc-00000000000c","sender_id":"u1","sender_name":"Ü","role":"system","content":"Say \"hi\"\n","timestamp":"2026-01-31T09:15:30.123456Z","updated_at":"2026-01-31T09:15:30.123456Z","status":"complete","metadata":{"n":123456789012345678901234567890}}"#;
const RESULT: &str = "{\"message\":MESSAGE,\"snippet\":\"Say \\\"\u{e000}hi\u{e001}\\\"\\t\"}";

fn view(messages: &str) -> String {
    format!(
        "{{\"id\":\"0190c42e-8d3f-7123-9abc-00000000000c\",\"title\":\"T\\\\\",\
         \"workspace_id\":\"0190c42e-8d3f-7123-9abc-00000000000a\",\"participant_ids\":[\"a\",\"b\\\"\"],\
         \"messages\":[{messages}],\"message_count\":3,\"created_at\":\"2026-01-31T09:15:30.123456Z\",\
         \"updated_at\":\"2026-01-31T09:15:30.123457Z\",\"metadata\":{{}}}}"
    )
}

#[test]
fn every_outcome_has_its_body() {
    let (config, view_api) = (ApiVariant::Config, ApiVariant::Conversations);
    let post = |conversation, role, api_variant| Outcome::Posted { event: posted(role), conversation, api_variant };
    let named = ConversationRef::Id(ConversationId(id(0xc)));
    let input = |conversation: &str| {
        format!(
            "{{\"status\":\"received\",\"data\":{{\"content\":\"Say \\\"hi\\\"\\n\",\"conversation_id\":\"{conversation}\",\
             \"timestamp\":\"2026-01-31T09:15:30.123456Z\",\"metadata\":{{\"n\":123456789012345678901234567890}},\
             \"message_id\":\"0190c42e-8d3f-7123-9abc-00000000000e\"}}}}"
        )
    };
    let first = Some(posted(Role::System));
    let table = [
        (post(ConversationRef::Default, Role::User, config), input("default")),
        (post(named, Role::User, config), input("0190c42e-8d3f-7123-9abc-00000000000c")),
        (post(named, Role::System, view_api), MESSAGE.to_owned()),
        (
            Outcome::WorkspaceCreated(workspace(0xa)),
            format!("{{\"status\":\"workspace created\",\"workspace\":{WORKSPACE}}}"),
        ),
        (
            Outcome::WorkspaceUpdated(workspace(0xa)),
            format!("{{\"status\":\"workspace updated\",\"workspace\":{WORKSPACE}}}"),
        ),
        (Outcome::WorkspaceDeleted, r#"{"status":"workspace deleted","success":true}"#.to_owned()),
        (
            Outcome::ConversationCreated { conversation: conversation(), first: None, api_variant: config },
            format!("{{\"status\":\"conversation created\",\"conversation\":{CONVERSATION}}}"),
        ),
        (Outcome::ConversationCreated { conversation: conversation(), first: None, api_variant: view_api }, view("")),
        (Outcome::ConversationCreated { conversation: conversation(), first, api_variant: view_api }, view(MESSAGE)),
        (
            Outcome::ConversationUpdated(conversation()),
            format!("{{\"status\":\"conversation updated\",\"conversation\":{CONVERSATION}}}"),
        ),
        (Outcome::ConversationViewUpdated(with_messages(2)), view(&format!("{MESSAGE},{MESSAGE}"))),
        (Outcome::MessageUpdated(said()), MESSAGE.to_owned()),
        (Outcome::MessageDeleted, r#"{"status":"message deleted","success":true}"#.to_owned()),
        (Outcome::ConversationLeft, r#"{"status":"conversation left","success":true}"#.to_owned()),
        (Outcome::ConversationDeleted, r#"{"status":"conversation deleted","success":true}"#.to_owned()),
        (Outcome::PasswordChanged, r#"{"status":"password changed"}"#.to_owned()),
        (Outcome::Replayed { body: b"{\"a\":1}"[..].into(), number: None }, r#"{"a":1}"#.to_owned()),
    ];
    for (done, expected) in table {
        assert_eq!(text(command_body(&done)), expected, "{done:?}");
    }
}

#[test]
fn everything_found_has_its_body_or_none() {
    let workspaces = |truncated| Page { items: vec![workspace(0xa), workspace(0xa)], total: 9, truncated };
    let none = Page { items: vec![], total: 0, truncated: false };
    let conversations = Page { items: vec![conversation()], total: 1, truncated: false };
    let some_views = Page { items: vec![with_messages(1), with_messages(0)], total: 9, truncated: true };
    let users = ["a", "b\""].map(|user| UserProfile {
        id: UserId::new(user).unwrap(),
        name: user.to_uppercase().into(),
        email: "".into(),
    });
    let table = [
        (QueryResult::Workspaces(none), r#"{"workspaces":[],"total":0}"#.to_owned(), false),
        (
            QueryResult::Workspaces(workspaces(false)),
            format!("{{\"workspaces\":[{WORKSPACE},{WORKSPACE}],\"total\":9}}"),
            false,
        ),
        (
            QueryResult::Workspaces(workspaces(true)),
            format!("{{\"workspaces\":[{WORKSPACE},{WORKSPACE}],\"total\":9}}"),
            true,
        ),
        (QueryResult::Workspace(workspace(0xa)), format!("{{\"workspace\":{WORKSPACE}}}"), false),
        (
            QueryResult::Conversations(conversations),
            format!("{{\"conversations\":[{CONVERSATION}],\"total\":1}}"),
            false,
        ),
        (QueryResult::Conversation(conversation()), format!("{{\"conversation\":{CONVERSATION}}}"), false),
        (QueryResult::ConversationView(with_messages(0)), view(""), false),
        (QueryResult::ConversationView(with_messages(1)), view(MESSAGE), false),
        (QueryResult::Messages(with_messages(2).last), format!("[{MESSAGE},{MESSAGE}]"), false),
        (QueryResult::Message(said()), MESSAGE.to_owned(), false),
        (QueryResult::ConversationViews(some_views), format!("[{},{}]", view(MESSAGE), view("")), true),
        (QueryResult::Users(vec![]), r#"{"users":[]}"#.to_owned(), false),
        (
            QueryResult::Users(users.into()),
            r#"{"users":[{"user_id":"a","name":"A"},{"user_id":"b\"","name":"B\""}]}"#.to_owned(),
            false,
        ),
        (QueryResult::Search(search_page(0, 0, false)), r#"{"results":[],"total_is_at_least":0}"#.to_owned(), false),
        (
            QueryResult::Search(search_page(2, u64::MAX, true)),
            format!("{{\"results\":[{RESULT},{RESULT}],\"total_is_at_least\":18446744073709551615}}")
                .replace("MESSAGE", MESSAGE),
            true,
        ),
    ];
    for (what, expected, truncated) in table {
        let rendered = query_body(&what).unwrap();
        assert_eq!((text(rendered.body), rendered.truncated), (expected, truncated), "{what:?}");
    }
    let filter = StreamFilter { conversation: None, workspace: None, kinds: KindSet::ALL };
    let (through, position) = (EventNumber(1), EventNumber(1));
    let page = JournalPage { events: vec![], through, position, gap: None };
    assert!(query_body(&QueryResult::StreamAccess(filter)).is_none());
    assert!(query_body(&QueryResult::JournalPage(page)).is_none());
}

#[test]
fn sizes_are_those_of_the_texts() {
    let odd = Workspace { name: WorkspaceName::new_unchecked("\u{1}\u{8}\"\\é\u{7f}"), ..workspace(0xa) };
    for one in [workspace(0xa), odd] {
        let mut out = Vec::new();
        workspace_json(&one, &mut out);
        assert_eq!(one.json_bytes(), out.len());
    }
    let mut out = Vec::new();
    conversation_json(&conversation(), &mut out);
    assert_eq!(conversation().json_bytes(), out.len());
    out.clear();
    conversation_view::message(&mut JsonWriter(&mut out), &said());
    assert_eq!(said().json_bytes(), out.len());
    out.clear();
    let result = &search_page(1, 1, false).results[0];
    search_result(&mut JsonWriter(&mut out), result);
    assert_eq!(result.json_bytes(), out.len());
    for count in 0..3 {
        for message_count in [0, 9, 10, 12345] {
            let mut view = with_messages(count);
            view.conversation.message_count = message_count;
            out.clear();
            conversation_view::conversation(&mut JsonWriter(&mut out), &view);
            assert_eq!(view.json_bytes(), out.len());
        }
    }
}

#[test]
fn users_and_tokens() {
    let profile =
        UserProfile { id: UserId::new("u\"1").unwrap(), name: "Ada \\".into(), email: "a@example.com".into() };
    assert_eq!(
        text(token("a.b.c", 86400, &profile)),
        r#"{"access_token":"a.b.c","token_type":"bearer","expires_in":86400,"claims":{"oid":"u\"1","name":"Ada \\","email":"a@example.com"}}"#
    );
    assert_eq!(text(verified(&profile.id, "", "e")), r#"{"user_id":"u\"1","name":"","email":"e"}"#);
    assert_eq!(text(root().to_vec()), r#"{"status":"online","service":"Cortex Core"}"#);
}
