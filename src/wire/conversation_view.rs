//! The JSON of conversations and messages in the conversations API.

use crate::domain::model::{Conversation, Message};
use crate::domain::page::ConversationView;
use crate::wire::json::JsonWriter;
use crate::wire::resource::user_id;

/// A conversation with its last messages.
pub(crate) fn conversation(json: &mut JsonWriter, view: &ConversationView) {
    before_messages(json, &view.conversation);
    for (index, one) in view.last.messages.iter().enumerate() {
        json.raw(if index > 0 { "," } else { "" });
        message(json, one);
    }
    after_messages(json, &view.conversation);
}

/// A new conversation, with its first message.
pub(crate) fn new_conversation(json: &mut JsonWriter, conversation: &Conversation, first: Option<&Message>) {
    before_messages(json, conversation);
    if let Some(first) = first {
        message(json, first);
    }
    after_messages(json, conversation);
}

/// A message.
pub(crate) fn message(json: &mut JsonWriter, message: &Message) {
    json.raw("{\"id\":")
        .uuid(message.id.0)
        .raw(",\"conversation_id\":")
        .uuid(message.conversation_id.0)
        .raw(",\"sender_id\":")
        .string(message.sender.as_str())
        .raw(",\"sender_name\":")
        .string(&message.sender_name)
        .raw(",\"role\":\"")
        .raw(message.role.as_str())
        .raw("\",\"content\":")
        .string(message.content.as_str())
        .raw(",\"timestamp\":")
        .time(message.created_at)
        .raw(",\"updated_at\":")
        .time(message.updated_at)
        .raw(",\"status\":\"")
        .raw(message.status.as_str())
        .raw("\"");
    error(json, message.error.as_deref());
    if let Some(answer) = &message.answer {
        json.raw(",\"answer\":{\"status\":\"").raw(answer.phase.as_str()).raw("\"");
        if let Some(id) = answer.message_id {
            json.raw(",\"message_id\":").uuid(id.0);
        }
        error(json, answer.error.as_deref());
        json.raw("}");
    }
    if let Some(reasoning) = &message.reasoning {
        json.raw(",\"reasoning\":").string(reasoning);
    }
    json.raw(",\"metadata\":").raw(message.metadata.as_str()).raw("}");
}

/// The member `error` of what failed.
pub(crate) fn error(json: &mut JsonWriter, error: Option<&str>) {
    if let Some(error) = error {
        json.raw(",\"error\":").string(error);
    }
}

fn before_messages(json: &mut JsonWriter, conversation: &Conversation) {
    json.raw("{\"id\":")
        .uuid(conversation.id.0)
        .raw(",\"title\":")
        .string(conversation.topic.as_str())
        .raw(",\"workspace_id\":")
        .uuid(conversation.workspace_id.0)
        .raw(",\"participant_ids\":")
        .array(conversation.participants.iter(), user_id)
        .raw(",\"messages\":[");
}

fn after_messages(json: &mut JsonWriter, conversation: &Conversation) {
    json.raw("],\"message_count\":")
        .number(conversation.message_count)
        .raw(",\"created_at\":")
        .time(conversation.created_at)
        .raw(",\"updated_at\":")
        .time(conversation.updated_at)
        .raw(",\"metadata\":")
        .raw(conversation.metadata.as_str())
        .raw("}");
}
