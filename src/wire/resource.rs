//! The JSON of workspaces and conversations in the configuration API and in events.

use crate::domain::id::UserId;
use crate::domain::model::{Conversation, Workspace};
use crate::wire::json::JsonWriter;

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

pub(crate) fn user_id(json: &mut JsonWriter, id: &UserId) {
    json.string(id.as_str());
}
