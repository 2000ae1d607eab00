//! The JSON that the store itself makes: `data` of the events that are no messages.

use crate::domain::id::{ConversationId, MessageId, WorkspaceId};
use crate::domain::model::{Conversation, Workspace};
use std::sync::Arc;

/// `data` of `workspace_created` and `workspace_updated`.
pub(crate) fn workspace(workspace: &Workspace) -> Arc<str> {
    let mut json = Json::default();
    json.raw("{\"workspace\":{\"id\":\"").raw(&workspace.id.to_string());
    json.raw("\",\"name\":").string(workspace.name.as_str());
    json.raw(",\"description\":").string(workspace.description.as_str());
    json.raw(",\"owner_id\":").string(workspace.owner.as_str());
    json.raw(",\"metadata\":").raw(workspace.metadata.as_str()).raw("}}");
    json.0.into()
}

/// `data` of `workspace_deleted`.
pub(crate) fn workspace_gone(id: WorkspaceId) -> Arc<str> {
    format!("{{\"workspace_id\":\"{id}\"}}").into()
}

/// `data` of `conversation_created` and `conversation_updated`.
pub(crate) fn conversation(conversation: &Conversation) -> Arc<str> {
    let (id, workspace) = (conversation.id.to_string(), conversation.workspace_id.to_string());
    let mut json = Json::default();
    json.raw("{\"conversation_id\":\"").raw(&id).raw("\",\"workspace_id\":\"").raw(&workspace);
    json.raw("\",\"conversation\":{\"id\":\"").raw(&id).raw("\",\"workspace_id\":\"").raw(&workspace);
    json.raw("\",\"topic\":").string(conversation.topic.as_str()).raw(",\"participant_ids\":[");
    for (place, participant) in conversation.participants.iter().enumerate() {
        json.raw(if place == 0 { "" } else { "," }).string(participant.as_str());
    }
    json.raw("],\"metadata\":").raw(conversation.metadata.as_str()).raw("}}");
    json.0.into()
}

/// `data` of `conversation_deleted` and `conversation_left`.
pub(crate) fn conversation_gone(id: ConversationId, workspace: WorkspaceId) -> Arc<str> {
    format!("{{\"conversation_id\":\"{id}\",\"workspace_id\":\"{workspace}\"}}").into()
}

/// `data` of `output_error`: the message that was to be answered, and the answer if any of it was shown.
pub(crate) fn answer_failed(
    asked: MessageId,
    conversation: ConversationId,
    answer: Option<MessageId>,
    reason: &str,
) -> Arc<str> {
    let mut json = Json::default();
    json.raw("{\"message_id\":\"").raw(&asked.to_string());
    json.raw("\",\"conversation_id\":\"").raw(&conversation.to_string());
    json.raw("\",\"error\":").string(reason);
    if let Some(answer) = answer {
        json.raw(",\"answer_id\":\"").raw(&answer.to_string()).raw("\"");
    }
    json.raw("}");
    json.0.into()
}

#[derive(Default)]
struct Json(String);

impl Json {
    fn raw(&mut self, text: &str) -> &mut Json {
        self.0.push_str(text);
        self
    }

    fn string(&mut self, text: &str) -> &mut Json {
        let quoted = serde_json::to_string(text).expect("a string is always JSON");
        self.0.push_str(&quoted);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::WallTime;
    use crate::domain::id::{EventNumber, IdKey, UserId};
    use crate::domain::model::{Metadata, Topic, WorkspaceDescription, WorkspaceName};

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
            &*workspace(&made),
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
            &*conversation(&talk),
            format!(
                r#"{{"conversation_id":"{uuid}","workspace_id":"{uuid}","conversation":{{"id":"{uuid}","workspace_id":"{uuid}","topic":"t","participant_ids":["a","b"],"metadata":{{}}}}}}"#
            )
        );
        assert_eq!(&*workspace_gone(workspace_id), format!(r#"{{"workspace_id":"{uuid}"}}"#));
        assert_eq!(
            &*conversation_gone(id, workspace_id),
            format!(r#"{{"conversation_id":"{uuid}","workspace_id":"{uuid}"}}"#)
        );
        let failed = |answer| answer_failed(MessageId(uuid), id, answer, "no\n\"model\"");
        let said = format!(r#"{{"message_id":"{uuid}","conversation_id":"{uuid}","error":"no\n\"model\"""#);
        assert_eq!(&*failed(None), format!("{said}}}"));
        assert_eq!(&*failed(Some(MessageId(uuid))), format!(r#"{said},"answer_id":"{uuid}"}}"#));
    }
}
