//! The model: all events, and the present state of workspaces, conversations and messages.

use cortex_core::internals::{
    AnswerSummary, ConversationId, ConversationRef, Event, EventBody, EventKind, Message, MessageId, StreamFilter,
    WallTime, WorkspaceId,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub const USERS: &[&str] = &["ann", "ben", "cyd", "dan", "eve"];

/// The expected state of the store, without any optimization.
#[derive(Default)]
pub struct Model {
    pub workspaces: BTreeMap<WorkspaceId, ModelWorkspace>,
    pub conversations: BTreeMap<ConversationId, ModelConversation>,
    /// All messages in their present state; `None` for a deleted message.
    pub messages: BTreeMap<MessageId, (ConversationId, Option<Message>)>,
    pub events: Vec<Arc<Event>>,
    /// The newest answer to each message that had one.
    pub answers: BTreeMap<MessageId, AnswerSummary>,
}

pub struct ModelWorkspace {
    pub owner: &'static str,
    pub deleted: bool,
    /// The participants who are not notified of the deletion yet.
    pub unnotified: BTreeSet<&'static str>,
}

pub struct ModelConversation {
    pub workspace: WorkspaceId,
    /// The participants with the number by which each joined, in that order.
    pub participants: Vec<(&'static str, u64)>,
    pub updated_at: WallTime,
    pub deleted: bool,
}

impl Model {
    pub fn is_deleted(&self, id: &ConversationId) -> bool {
        let conversation = &self.conversations[id];
        conversation.deleted || self.workspaces[&conversation.workspace].deleted
    }

    pub fn recipients_of(&self, id: &ConversationId) -> BTreeSet<&'static str> {
        let conversation = &self.conversations[id];
        let owner = self.workspaces[&conversation.workspace].owner;
        conversation.participants.iter().map(|(user, _)| *user).chain([owner]).collect()
    }

    /// Whether `user` was a recipient of `event` and may still see it.
    pub fn sees(&self, user: &str, event: &Event) -> bool {
        if !event.recipients.iter().any(|id| id.as_str() == user) {
            return false;
        }
        if matches!(
            event.kind,
            EventKind::ConversationLeft | EventKind::ConversationDeleted | EventKind::WorkspaceDeleted
        ) {
            return true;
        }
        let message_gone = event.message_id().is_some_and(|id| self.messages[&id].1.is_none());
        if message_gone && event.kind != EventKind::MessageDeleted {
            return false;
        }
        let workspace = &self.workspaces[&event.workspace_id];
        match &event.conversation_id {
            None => !workspace.deleted,
            Some(id) => {
                let since = self.conversations[id].participants.iter().find(|(participant, _)| *participant == user);
                !self.is_deleted(id)
                    && (workspace.owner == user || since.is_some_and(|(_, since)| *since <= event.number.0))
            }
        }
    }

    pub fn expected(&self, user: &str, after: u64, filter: &StreamFilter) -> Vec<Event> {
        let named = |event: &Event| {
            filter.kinds.has(event.kind)
                && filter.workspace.is_none_or(|id| id == event.workspace_id)
                && filter.conversation.is_none_or(|id| event.conversation_id.map(ConversationRef::Id) == Some(id))
        };
        let events = self.events.iter().filter(|event| event.number.0 > after && named(event));
        let mut seen: Vec<Event> =
            events.filter(|event| self.sees(user, event)).map(|event| (**event).clone()).collect();
        for event in &mut seen {
            event.recipients = Arc::default();
            // A replay has the present state of a message.
            if let EventBody::Message(message) = &mut event.body {
                *message = self.messages[&message.id].1.clone().unwrap();
            }
        }
        seen
    }

    /// A message with the state of the answer to it.
    fn shown(&self, mut message: Message) -> Message {
        message.answer = self.answers.get(&message.id).cloned().map(Box::new);
        if let Some(answer) = &mut message.answer {
            answer.message_id = answer.message_id.filter(|id| self.messages[id].1.is_some());
        }
        message
    }

    /// The messages of a conversation, oldest first.
    pub fn messages_of(&self, id: ConversationId) -> Vec<Message> {
        let inside = self.messages.values().filter(|(conversation, _)| *conversation == id);
        inside.filter_map(|(_, message)| Some(self.shown(message.clone()?))).collect()
    }

    /// The conversations that a user participates in or owns, by the time of the last change, newest first.
    pub fn conversations_of(&self, user: &str) -> Vec<ConversationId> {
        let mut conversations: Vec<_> = self.conversations.keys().copied().collect();
        conversations.retain(|id| !self.is_deleted(id) && self.recipients_of(id).contains(user));
        conversations.sort_by_key(|id| Reverse(self.conversations[id].updated_at));
        conversations
    }
}
