//! The bodies of responses to commands: compact JSON, with the members in the order of the API's description.

use crate::domain::command::{ApiVariant, ConversationRef};
use crate::domain::model::Message;
use crate::domain::result::Outcome;
use crate::wire::conversation_view;
use crate::wire::json::JsonWriter;
use crate::wire::openai;
use crate::wire::resource::{conversation_json, workspace_json};

/// The body of the response to a command.
pub fn command_body(outcome: &Outcome) -> Vec<u8> {
    let mut out = Vec::new();
    let mut json = JsonWriter(&mut out);
    match outcome {
        Outcome::Posted { event, conversation, api_variant } => {
            let posted = event.message().expect("what is posted is a message");
            json.0.reserve(512 + posted.content.as_str().len() + posted.metadata.as_str().len());
            match api_variant {
                ApiVariant::Config => input(&mut json, posted, *conversation),
                ApiVariant::Conversations => conversation_view::message(&mut json, posted),
                ApiVariant::OpenAi => openai::posted(&mut json, posted),
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
            ApiVariant::OpenAi => {
                let first = first.as_ref().and_then(|event| event.message());
                openai::posted(&mut json, first.expect("it begins with a message"));
            }
            ApiVariant::Conversations => {
                let first = first.as_ref().and_then(|event| event.message());
                conversation_view::new_conversation(&mut json, conversation, first);
            }
        },
        Outcome::ConversationUpdated(conversation) => {
            json.raw("{\"status\":\"conversation updated\",\"conversation\":");
            conversation_json(conversation, json.0);
            json.raw("}");
        }
        Outcome::ConversationViewUpdated(changed) => {
            conversation_view::conversation(&mut json, changed);
        }
        Outcome::ConversationLeft => done(&mut json, "conversation left"),
        Outcome::ConversationDeleted => done(&mut json, "conversation deleted"),
        Outcome::MessageUpdated(changed) => conversation_view::message(&mut json, changed),
        Outcome::MessageDeleted => done(&mut json, "message deleted"),
        Outcome::AnswerQueued { reply_to } => {
            json.raw("{\"status\":\"queued\",\"reply_to\":").uuid(reply_to.0).raw("}");
        }
        Outcome::AnswersCancelled { count, .. } => {
            json.raw(if *count > 0 { "{\"cancelled\":true,\"count\":" } else { "{\"cancelled\":false,\"count\":" });
            json.number(*count).raw("}");
        }
        // Responders get this result, and no client.
        Outcome::Answered { closed, .. } => {
            json.raw(if *closed { "{\"closed\":true}" } else { "{\"closed\":false}" });
        }
        Outcome::UsageCounted => {
            json.raw("{}");
        }
        Outcome::PasswordChanged => {
            json.raw("{\"status\":\"password changed\"}");
        }
        Outcome::Replayed { body, .. } => out.extend_from_slice(body),
    }
    out
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

fn done(json: &mut JsonWriter, status: &str) {
    json.raw("{\"status\":\"").raw(status).raw("\",\"success\":true}");
}
