//! Bodies of answers: compact JSON, members in the order of the API's description.

use crate::base::time::WallTime;
use crate::domain::command::{ApiVariant, ConversationRef};
use crate::domain::id::UserId;
use crate::domain::model::{Conversation, Message, UserProfile, Workspace};
use crate::domain::query::{Page, QueryResult};
use crate::domain::result::Outcome;
use crate::wire::conversation;
use crate::wire::json::JsonWriter;

/// The body of the response to a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueryBody {
    /// The JSON text.
    pub body: Vec<u8>,
    /// Whether the store truncated the list: `X-Truncated`.
    pub truncated: bool,
    /// The number of items in the whole list, where the body does not have it: `X-Total-Count`.
    pub total: Option<u64>,
}

/// The body that says what became of a command.
pub fn outcome(outcome: &Outcome) -> Vec<u8> {
    let mut out = Vec::new();
    let mut json = JsonWriter(&mut out);
    match outcome {
        Outcome::Posted { event, conversation, api_variant } => {
            let posted = event.message().expect("what is posted is a message");
            json.0.reserve(512 + posted.content.as_str().len() + posted.metadata.as_str().len());
            match api_variant {
                ApiVariant::Config => input(&mut json, posted, *conversation),
                ApiVariant::Conversations => conversation::message(&mut json, posted),
            }
        }
        Outcome::WorkspaceCreated(made) => {
            json.raw("{\"status\":\"workspace created\",\"workspace\":");
            workspace_json(made, json.0);
            json.raw("}");
        }
        Outcome::WorkspaceUpdated(changed) => {
            json.raw("{\"status\":\"workspace updated\",\"workspace\":");
            workspace_json(changed, json.0);
            json.raw("}");
        }
        Outcome::WorkspaceDeleted => done(&mut json, "workspace deleted"),
        Outcome::ConversationCreated { conversation, first, api_variant } => match api_variant {
            ApiVariant::Config => {
                json.raw("{\"status\":\"conversation created\",\"conversation\":");
                conversation_json(conversation, json.0);
                json.raw("}");
            }
            ApiVariant::Conversations => {
                let first = first.as_ref().and_then(|event| event.message());
                conversation::conversation(&mut json, conversation, first);
            }
        },
        Outcome::ConversationUpdated(conversation) => {
            json.raw("{\"status\":\"conversation updated\",\"conversation\":");
            conversation_json(conversation, json.0);
            json.raw("}");
        }
        Outcome::ConversationViewUpdated(changed) => {
            conversation::chat(changed, json.0);
        }
        Outcome::ConversationLeft => done(&mut json, "conversation left"),
        Outcome::ConversationDeleted => done(&mut json, "conversation deleted"),
        Outcome::MessageUpdated(changed) => conversation::message(&mut json, changed),
        Outcome::MessageDeleted => done(&mut json, "message deleted"),
        // The response of `POST /conversations/{id}/cancel`.
        Outcome::Answered { closed, .. } => {
            json.raw(if *closed { "{\"cancelled\":true}" } else { "{\"cancelled\":false}" });
        }
        Outcome::PasswordChanged => {
            json.raw("{\"status\":\"password changed\"}");
        }
        Outcome::Replayed { body, .. } => out.extend_from_slice(body),
    }
    out
}

/// The body that says what was found; `None` for what is no body of its own: a stream's access and pages of the journal.
pub(crate) fn found(found: &QueryResult) -> Option<QueryBody> {
    let mut body = Vec::new();
    match found {
        QueryResult::Workspaces(listed) => {
            return Some(list("workspaces", listed, workspace_json));
        }
        QueryResult::Conversations(listed) => {
            return Some(list("conversations", listed, conversation_json));
        }
        QueryResult::Workspace(one) => {
            JsonWriter(&mut body).raw("{\"workspace\":");
            workspace_json(one, &mut body);
            body.push(b'}');
        }
        QueryResult::Conversation(one) => {
            JsonWriter(&mut body).raw("{\"conversation\":");
            conversation_json(one, &mut body);
            body.push(b'}');
        }
        QueryResult::ConversationView(one) => {
            conversation::chat(one, &mut body);
            return Some(QueryBody { body, truncated: one.last.truncated, total: None });
        }
        QueryResult::ConversationViews(listed) => return Some(conversation::chats(listed)),
        QueryResult::Messages(page) => return Some(conversation::messages(page)),
        QueryResult::Message(one) => conversation::message(&mut JsonWriter(&mut body), one),
        QueryResult::Users(users) => {
            JsonWriter(&mut body).raw("{\"users\":").array(users, user).raw("}");
        }
        QueryResult::Alive
        | QueryResult::StreamAccess(_)
        | QueryResult::JournalPage(_)
        | QueryResult::OpenJobs(_)
        | QueryResult::History(_) => {
            return None;
        }
    }
    Some(QueryBody { body, truncated: false, total: None })
}

/// The body of `POST /auth/login` and `POST /auth/refresh`.
pub(crate) fn token(access_token: &str, expires_in_seconds: u64, claims: &UserProfile) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + access_token.len());
    JsonWriter(&mut out)
        .raw("{\"access_token\":")
        .string(access_token)
        .raw(",\"token_type\":\"bearer\",\"expires_in\":")
        .number(expires_in_seconds)
        .raw(",\"claims\":{\"oid\":")
        .string(claims.id.as_str())
        .raw(",\"name\":")
        .string(&claims.name)
        .raw(",\"email\":")
        .string(&claims.email)
        .raw("}}");
    out
}

/// The body of `GET /auth/verify`. A name or an email that the token lacks is an empty string.
pub(crate) fn verified(user_id: &UserId, name: &str, email: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    JsonWriter(&mut out)
        .raw("{\"user_id\":")
        .string(user_id.as_str())
        .raw(",\"name\":")
        .string(name)
        .raw(",\"email\":")
        .string(email)
        .raw("}");
    out
}

/// The body of `GET /`.
pub(crate) fn root() -> &'static [u8] {
    b"{\"status\":\"online\",\"service\":\"Cortex Core\"}"
}

/// The version of the program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The body of a health response. Each check has a name, and `"ok"` or the fault.
pub(crate) fn health(status: &str, checks: &[(&str, &str)], now: WallTime) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut json = JsonWriter(&mut out);
    json.raw("{\"status\":").string(status).raw(",\"service\":\"conversational-core\",\"timestamp\":").time(now);
    json.raw(",\"version\":").string(VERSION).raw(",\"checks\":{");
    for (place, (name, said)) in checks.iter().enumerate() {
        json.raw(if place > 0 { "," } else { "" }).string(name).raw(":").string(said);
    }
    json.raw("}}");
    out
}

/// A workspace in responses and events.
pub(crate) fn workspace_json(workspace: &Workspace, out: &mut Vec<u8>) {
    JsonWriter(out)
        .raw("{\"id\":")
        .uuid(workspace.id.0)
        .raw(",\"name\":")
        .string(workspace.name.as_str())
        .raw(",\"description\":")
        .string(workspace.description.as_str())
        .raw(",\"owner_id\":")
        .string(workspace.owner.as_str())
        .raw(",\"metadata\":")
        .raw(workspace.metadata.as_str())
        .raw("}");
}

/// A conversation in the configuration API and in events.
pub(crate) fn conversation_json(conversation: &Conversation, out: &mut Vec<u8>) {
    JsonWriter(out)
        .raw("{\"id\":")
        .uuid(conversation.id.0)
        .raw(",\"workspace_id\":")
        .uuid(conversation.workspace_id.0)
        .raw(",\"topic\":")
        .string(conversation.topic.as_str())
        .raw(",\"participant_ids\":")
        .array(conversation.participants.iter(), user_id)
        .raw(",\"metadata\":")
        .raw(conversation.metadata.as_str())
        .raw("}");
}

/// The body of `POST /input`. The default conversation is named `default`, as in the request.
fn input(json: &mut JsonWriter, posted: &Message, conversation: ConversationRef) {
    json.raw("{\"status\":\"received\",\"data\":{\"content\":")
        .string(posted.content.as_str())
        .raw(",\"conversation_id\":");
    match conversation {
        ConversationRef::Default => json.raw("\"default\""),
        ConversationRef::Id(_) => json.uuid(posted.conversation_id.0),
    };
    json.raw(",\"timestamp\":")
        .time(posted.created_at)
        .raw(",\"metadata\":")
        .raw(posted.metadata.as_str())
        .raw(",\"message_id\":")
        .uuid(posted.id.0)
        .raw("}}");
}

fn user(json: &mut JsonWriter, user: &UserProfile) {
    json.raw("{\"user_id\":").string(user.id.as_str()).raw(",\"name\":").string(&user.name).raw("}");
}

pub(crate) fn user_id(json: &mut JsonWriter, id: &UserId) {
    json.string(id.as_str());
}

fn done(json: &mut JsonWriter, status: &str) {
    json.raw("{\"status\":\"").raw(status).raw("\",\"success\":true}");
}

/// `{"<name>":[…],"total":n}`
fn list<T>(name: &str, listed: &Page<T>, item: fn(&T, &mut Vec<u8>)) -> QueryBody {
    let mut body = Vec::new();
    JsonWriter(&mut body)
        .raw("{\"")
        .raw(name)
        .raw("\":")
        .array(&listed.items, |json, one| item(one, json.0))
        .raw(",\"total\":")
        .number(listed.total)
        .raw("}");
    QueryBody { body, truncated: listed.truncated, total: None }
}

#[cfg(test)]
mod tests;
