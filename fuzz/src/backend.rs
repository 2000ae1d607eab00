//! The environment of a fuzzed shard: settings with small limits, tokens, and responses of an empty store.

use cortex_core::internals::{
    AnswerPage, Claims, Command, CommandKind, Content, Context, ConversationId, ConversationRef, Credential, EndedText,
    Event, EventBody, EventKind, EventNumber, JournalPage, Keys, MemoryPlan, Message, MessageId, Metadata, MonoTime,
    Now, Page, Purpose, Query, QueryKind, QueryResponse, QueryResult, Rejection, Resource, Role, SearchPage, Settings,
    Status, StreamFilter, UserId, UserProfile, WallTime, Workspace, WorkspaceId,
};
use std::sync::{Arc, OnceLock};
use uuid::Uuid;

const SECRET: &str = "a secret of at least 32 bytes, for fuzzing";
/// `MAX_BODY_BYTES`.
pub const BODY_MAX: usize = 2048;
/// `MAX_HEADER_BYTES`.
pub const HEAD_MAX: usize = 1024;
/// `STREAM_BUFFER_BYTES`.
pub const BUFFER_BYTES: usize = 4096;
/// `MAX_STREAMS_PER_USER`.
pub const STREAMS_MAX: u32 = 4;
/// The number of the event with which a store without rows answers a command.
pub const POSTED: u64 = 8;
/// The start time of every run.
pub const START: Now = Now { wall: WallTime(1_800_000_000_000_000), mono: MonoTime(1_000_000) };
/// Lifetime of tokens from then on, in seconds.
const TOKEN_SECONDS: i64 = 3600;

/// Settings, keys and epoch; created once.
pub fn context() -> Arc<Context> {
    static CONTEXT: OnceLock<Arc<Context>> = OnceLock::new();
    let make = || {
        let lookup = |name: &str| {
            let value = match name {
                "JWT_SECRET_KEY" => SECRET.to_owned(),
                "MAX_BODY_BYTES" => BODY_MAX.to_string(),
                "MAX_HEADER_BYTES" => HEAD_MAX.to_string(),
                "STREAM_BUFFER_BYTES" => BUFFER_BYTES.to_string(),
                "MAX_STREAMS_PER_USER" => STREAMS_MAX.to_string(),
                "HEARTBEAT_INTERVAL_SECONDS" => "5".to_owned(),
                "STREAM_STALL_TIMEOUT_SECONDS" => "20".to_owned(),
                "ALLOW_ORIGINS" => "*".to_owned(),
                "LOG_LEVEL" => "OFF".to_owned(),
                _ => return None,
            };
            Some(value)
        };
        let settings = Settings::load(&lookup, 2).expect("the settings are valid").settings;
        Arc::new(Context { settings, memory: MemoryPlan::unlimited(), keys: keys(), epoch: "epoch".into() })
    };
    Arc::clone(CONTEXT.get_or_init(make))
}

fn keys() -> Keys {
    Keys::new(SECRET.as_bytes(), &[], None, None)
}

/// A token of this user.
pub fn token(user: &str, purpose: Purpose) -> String {
    let claims = Claims {
        user: UserId::new_unchecked(user),
        name: Some("A \"name\"".into()),
        email: None,
        sub: None,
        expires_at: START.wall.plus_seconds(TOKEN_SECONDS),
        issued_at: Some(START.wall),
        credential: Credential { authenticated_at: Some(START.wall), generation: None },
        purpose,
        key: keys().current(),
    };
    keys().sign(&claims).expect("the current key signs")
}

/// The conversation with this number.
pub fn conversation_id(number: u128) -> ConversationId {
    ConversationId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number))
}

/// The only workspace.
pub fn workspace_id() -> WorkspaceId {
    WorkspaceId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_ffff_ffff))
}

/// The message of event `number`.
pub fn message_id(number: u64) -> MessageId {
    MessageId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0001_0000_0000 + u128::from(number)))
}

/// The event of a message.
pub fn message_event(
    number: u64,
    conversation: ConversationId,
    command: &Command,
    recipients: &[UserId],
) -> Arc<Event> {
    let (role, content, metadata) = match &command.kind {
        CommandKind::PostMessage { role, content, metadata, .. } => (*role, content, metadata.clone()),
        CommandKind::CreateConversation { initial_message: Some(content), .. } => {
            (Role::User, content, Metadata::empty())
        }
        _ => unreachable!("a message is posted"),
    };
    let at = WallTime(START.wall.0 + number as i64);
    let message = Message {
        id: message_id(number),
        conversation_id: conversation,
        sender: command.actor.id.clone(),
        sender_name: command.actor.name.clone().unwrap_or_default(),
        role,
        content: content.clone(),
        metadata,
        created_at: at,
        updated_at: at,
        status: Status::Complete,
        reply_to: None,
        error: None,
        answer: None,
        reasoning: None,
    };
    Arc::new(Event {
        number: EventNumber(number),
        kind: EventKind::Input,
        at,
        actor: command.actor.id.clone(),
        correlation_id: Arc::clone(&command.correlation_id),
        workspace_id: workspace_id(),
        conversation_id: Some(conversation),
        recipients: recipients.into(),
        body: EventBody::Message(message),
    })
}

/// The answer to the message of event `POSTED`, which has ended: completely in conversations with an even id.
fn answer_page(conversation: ConversationId, from: usize) -> AnswerPage {
    const TEXT: &str = "An \"answer\", é.";
    let (number, id) = (POSTED + 1, message_id(POSTED + 1));
    let is_complete = conversation.0.as_u128() & 1 == 0;
    let at = WallTime(START.wall.0 + number as i64);
    let message = Message {
        id,
        conversation_id: conversation,
        sender: UserId::new_unchecked("responder:echo"),
        sender_name: "echo".into(),
        role: Role::Assistant,
        content: Content::new_unchecked(TEXT),
        metadata: Metadata::new_unchecked(r#"{"model":"echo","finish_reason":"length","prompt_tokens":3}"#),
        created_at: at,
        updated_at: at,
        status: if is_complete { Status::Complete } else { Status::Interrupted },
        reply_to: Some(message_id(POSTED)),
        error: None,
        answer: None,
        reasoning: None,
    };
    let correlation_id: Arc<str> = "c".into();
    let event = Event {
        number: EventNumber(number),
        kind: EventKind::Output,
        at,
        actor: message.sender.clone(),
        correlation_id: Arc::clone(&correlation_id),
        workspace_id: workspace_id(),
        conversation_id: Some(conversation),
        recipients: Arc::new([]),
        body: EventBody::Message(message.clone()),
    };
    let mut from = from.min(TEXT.len());
    while !TEXT.is_char_boundary(from) {
        from -= 1;
    }
    AnswerPage {
        reply_to: Some(message_id(POSTED)),
        message_id: Some(id),
        conversation_id: conversation,
        workspace_id: workspace_id(),
        ended: Some(EndedText {
            sender: message.sender,
            correlation_id,
            from,
            part: TEXT[from..].to_owned(),
            text_bytes: TEXT.len(),
            event: Some(Arc::new(event)),
        }),
    }
}

/// The response of a store without rows to a query at this position.
pub fn answer(query: &Query, position: EventNumber) -> QueryResponse {
    let empty = |kind: fn(Page<Workspace>) -> QueryResult| kind(Page { items: Vec::new(), total: 0, truncated: false });
    let result = match &query.kind {
        QueryKind::Workspaces(_) => Ok(empty(QueryResult::Workspaces)),
        QueryKind::Conversations(..) => Err(Rejection::Forbidden("not yours")),
        QueryKind::ConversationViews { .. } => {
            Ok(QueryResult::ConversationViews(Page { items: Vec::new(), total: 3, truncated: true }))
        }
        QueryKind::Users(ids) => {
            let profile = |id: &UserId| UserProfile { id: id.clone(), name: id.as_str().into(), email: "".into() };
            Ok(QueryResult::Users(ids.iter().map(profile).collect()))
        }
        QueryKind::Search(_) => {
            let (results, total_is_at_least, truncated) = (Vec::new(), 3, true);
            Ok(QueryResult::Search(SearchPage { results, total_is_at_least, truncated }))
        }
        QueryKind::StreamAccess(filter) => {
            let conversation = filter.conversation.map(|named| match named {
                ConversationRef::Default => ConversationRef::Id(conversation_id(0)),
                named => named,
            });
            Ok(QueryResult::StreamAccess(StreamFilter { conversation, ..*filter }))
        }
        QueryKind::JournalPage { .. } => {
            Ok(QueryResult::JournalPage(JournalPage { events: Vec::new(), through: position, position, gap: None }))
        }
        QueryKind::AnswerPage { conversation, message, from, .. }
            if [message_id(POSTED), message_id(POSTED + 1)].contains(message) =>
        {
            let id = match conversation {
                ConversationRef::Default => conversation_id(0),
                ConversationRef::Id(id) => *id,
            };
            Ok(QueryResult::AnswerPage(Box::new(answer_page(id, *from))))
        }
        _ => Err(Rejection::NotFound(Resource::Conversation)),
    };
    QueryResponse { to: query.reply_to, position, result }
}
