//! Floor 3: what each endpoint does. A request becomes an `Action`; an answer of the store becomes a `Response`.
//!
//! `api` never names the store, a socket or a clock: it is given what a request says and the time, and gives back plain
//! values that the shard carries out.

pub(crate) mod auth;
pub(crate) mod config;
pub(crate) mod conversations;
pub(crate) mod cors;
pub(crate) mod docs;
pub(crate) mod error;
pub(crate) mod input;
pub(crate) mod openapi;
pub(crate) mod ops;
pub(crate) mod page;
pub(crate) mod proxy;
pub(crate) mod request;
pub(crate) mod router;
pub(crate) mod stream;
pub(crate) mod traffic;

use crate::auth::jwt::{Keys, Purpose};
use crate::base::time::WallTime;
use crate::config::Settings;
use crate::domain::command::{Actor, CommandKind, ConversationRef};
use crate::domain::id::*;
use crate::domain::password::PasswordCheck;
use crate::domain::query::{QueryKind, QueryResponse, StreamFilter};
use crate::domain::result::{CommandResult, Outcome};
use crate::wire;
use error::ApiError;
use request::Request;
use router::Operation;
use std::borrow::Cow;
use std::sync::Arc;

/// What every request of a process is answered with.
pub struct Context {
    /// The settings.
    pub settings: Settings,
    /// The keys that tokens are signed and verified with.
    pub keys: Keys,
    /// The name of this journal; changes with a restore.
    pub epoch: Arc<str>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// Who asks, as their verified token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Who, as commands name them.
    pub actor: Actor,
    /// The token's `sub`.
    pub subject: Option<Box<str>>,
    /// When the token was made, if it says.
    pub issued_at: Option<WallTime>,
    /// When the token ends.
    pub expires_at: WallTime,
    /// What the token is good for.
    pub purpose: Purpose,
}

/// What a request asks the shard to do.
pub(crate) enum Action {
    /// Answer at once.
    Respond(Response),
    /// Hand a change to the writer, and answer with its receipt.
    Submit(CommandKind),
    /// Ask the readers, and answer with what they find.
    Ask(QueryKind),
    /// Have a password checked, and go on with what is found.
    Check(PasswordCheck),
    /// Stop the running answer of a conversation that the caller takes part in or owns.
    Cancel(ConversationRef),
    /// Open a stream.
    Subscribe(Subscription),
    /// List the caller's open streams.
    ListStreams,
    /// Tell what was counted.
    Metrics,
    /// Ask the readers for a sign of life, and tell how the service is.
    Health,
    /// Tell whether requests should be sent here.
    Ready,
    /// Extend a stream of the caller's through this token's end.
    Renew(StreamId),
}

/// The name of one open stream: random, known to its user alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(pub uuid::Uuid);

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// What a stream that is to be opened was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// Which events.
    pub filter: StreamFilter,
    /// Whether frames carry an `event:` line.
    pub named: bool,
    /// Where it starts.
    pub start: Start,
}

/// Where a stream starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what comes next.
    Now,
    /// With the first event after this number.
    After(EventNumber),
    /// The client named a number that is none: it is told of a gap, and starts with what comes next.
    Unknown,
}

/// An answer, before it is framed.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The media type; empty when there is no body.
    pub content_type: &'static str,
    /// Further fields.
    pub fields: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: Cow<'static, [u8]>,
}

/// The media type of nearly all answers.
pub(crate) const JSON: &str = "application/json";
/// The media type of plain text.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

impl Response {
    /// A `200` with a JSON body.
    pub fn json(body: impl Into<Cow<'static, [u8]>>) -> Response {
        Response { status: 200, content_type: JSON, fields: Vec::new(), body: body.into() }
    }

    /// A `200` with a few words for people.
    pub fn text(body: &'static str) -> Response {
        Response { content_type: TEXT, ..Response::json(body.as_bytes()) }
    }

    /// A `204`.
    pub fn empty() -> Response {
        Response { status: 204, content_type: "", fields: Vec::new(), body: Cow::Borrowed(b"") }
    }

    /// Whether the answer has a field of this name, written like that.
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(own, _)| *own == name)
    }

    /// This answer with one more field.
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Response {
        self.fields.push((name, value.into()));
        self
    }
}

/// Turns a complete request into what is to be done. `caller` is there for every operation that needs one.
pub(crate) fn dispatch(
    context: &Context,
    request: &Request<'_>,
    caller: Option<&Caller>,
    now: WallTime,
) -> Result<Action, ApiError> {
    use Operation::*;
    let with_caller = || caller.ok_or_else(ApiError::missing_token);
    match request.operation {
        Root => Ok(Action::Respond(ops::root())),
        Health => Ok(Action::Health),
        HealthLive => Ok(Action::Respond(ops::live(now))),
        HealthReady => Ok(Action::Ready),
        Metrics => Ok(Action::Metrics),
        OpenApi => Ok(Action::Respond(Response::json(openapi::DOCUMENT.as_bytes()))),
        Docs => Ok(Action::Respond(docs::page())),
        Login => auth::login(request),
        Verify => auth::verify(with_caller()?),
        Refresh => auth::refresh(context, with_caller()?, now),
        ChangePassword => auth::change_password(request, with_caller()?),
        StreamTicket => auth::stream_ticket(context, with_caller()?, now),
        PostInput => input::post(request),
        OpenStream => stream::open(request),
        ListStreams => Ok(Action::ListStreams),
        RenewStream => stream::renew(request),
        CreateWorkspace => config::create_workspace(request),
        ListWorkspaces => config::list_workspaces(request),
        GetWorkspace => config::get_workspace(request),
        UpdateWorkspace => config::update_workspace(request),
        DeleteWorkspace => config::delete_workspace(request),
        CreateConversation => config::create_conversation(request),
        ListConversations => config::list_conversations(request),
        GetConversation => config::get_conversation(request),
        UpdateConversation => config::update_conversation(request),
        LeaveConversation => config::leave_conversation(request),
        DeleteConversation => config::delete_conversation(request),
        CancelAnswer => conversations::cancel(request),
        ListUsers => config::list_users(request),
        CreateChat => conversations::create(request),
        ListChats => conversations::list(request),
        GetChat => conversations::get(request),
        UpdateChat => conversations::update(request),
        DeleteChat => conversations::delete(request),
        PostMessage => conversations::post_message(request),
        ListMessages => conversations::list_messages(request),
        GetMessage => conversations::get_message(request),
        UpdateMessage => conversations::update_message(request),
        DeleteMessage => conversations::delete_message(request),
    }
}

/// The answer to a command. `subject` names what the request was about, for the message of a validation error.
pub(crate) fn reply_to_receipt(receipt: CommandResult, subject: &'static str) -> Response {
    let outcome = match receipt.result {
        Ok(outcome) => outcome,
        Err(refusal) => return ApiError::refused(refusal, subject).into_response(),
    };
    let replayed = matches!(outcome, Outcome::Replayed { .. });
    let truncated = matches!(&outcome, Outcome::ConversationViewUpdated(chat) if chat.last.truncated);
    let mut reply = Response::json(wire::reply::outcome(&outcome));
    if let Some(number) = receipt.number {
        reply = reply.with("X-Event-Id", number.to_string());
    }
    if replayed {
        reply = reply.with("Idempotent-Replayed", "true");
    }
    if truncated { reply.with("X-Truncated", "true") } else { reply }
}

/// The answer to a question. Answers that have no reply of their own (stream access, journal pages) are the shard's.
pub(crate) fn reply_to_answer(answer: QueryResponse, subject: &'static str) -> Response {
    let found = match answer.result {
        Ok(found) => found,
        Err(refusal) => return ApiError::refused(refusal, subject).into_response(),
    };
    let Some(rendered) = wire::reply::found(&found) else {
        return ApiError::internal().into_response();
    };
    let mut reply = Response::json(rendered.body).with("X-Last-Event-Id", answer.position.to_string());
    if let Some(total) = rendered.total {
        reply = reply.with("X-Total-Count", total.to_string());
    }
    if rendered.truncated { reply.with("X-Truncated", "true") } else { reply }
}
