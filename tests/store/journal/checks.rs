//! Comparison of query results with the model.

use super::model::USERS;
use super::run::ModelRun;
use crate::common::*;
use cortex_core::internals::{
    ConversationId, ConversationRef, ConversationView, EventKind, KindSet, Message, MessageCursor, MessageId,
    Pagination, QueryKind, QueryResult, Rejection, StreamFilter, WorkspaceId,
};
use std::collections::BTreeSet;

impl ModelRun {
    pub fn some_filter(&mut self) -> StreamFilter {
        let mut filter = EVERYTHING;
        if self.random.below(4) == 0 {
            filter.conversation = self.conversation().map(ConversationRef::Id);
        }
        if self.random.below(4) == 0 {
            filter.workspace = self.workspace();
        }
        if self.random.below(4) == 0 {
            filter.kinds = KindSet::NONE;
            for kind in EventKind::ALL {
                if self.random.below(3) == 0 {
                    filter.kinds = filter.kinds.with(*kind);
                }
            }
        }
        filter
    }

    /// Compares a user's journal, read in pages of random sizes.
    pub fn check_replay(&mut self) {
        let user = self.user();
        let filter = self.some_filter();
        let position = self.world.writer().position().0;
        let start = if self.random.below(3) == 0 { 0 } else { self.random.below(position + 1) };
        let expected = self.model.expected(user, start, &filter);
        let (mut after, mut seen) = (start, Vec::new());
        loop {
            let bytes_max = self.random.below(6000) as usize;
            let page = self.world.page(user, after, bytes_max, filter);
            assert_eq!((page.gap, page.position.0), (None, position));
            let weight: usize = page.events.iter().map(|event| event.weight()).sum();
            assert!(weight <= bytes_max || page.events.len() == 1, "a page is bounded");
            assert!(page.events.iter().all(|event| event.number.0 > after && event.number <= page.through));
            seen.extend(page.events.iter().map(|event| (**event).clone()));
            assert!(page.through.0 > after || page.through.0 == position, "a page makes progress");
            after = page.through.0;
            if after == position {
                break;
            }
        }
        assert_eq!(seen, expected, "{user} after {start} with {filter:?}");
    }

    pub fn check_lists(&mut self) {
        let user = self.user();
        let pagination = Pagination { limit: 1000, offset: 0 };
        let QueryResult::Workspaces(listed) = self.world.query_result(user, QueryKind::Workspaces(pagination)) else {
            panic!()
        };
        let own = self.model.workspaces.iter().filter(|(_, w)| w.owner == user && !w.deleted);
        let own: BTreeSet<WorkspaceId> = own.map(|(id, _)| *id).collect();
        assert_eq!(listed.total, own.len() as u64);
        assert_eq!(listed.items.iter().map(|w| w.id).collect::<BTreeSet<_>>(), own);
        for workspace in own {
            let kind = QueryKind::Conversations(workspace, pagination);
            let QueryResult::Conversations(listed) = self.world.query_result(user, kind) else { panic!() };
            let inside = self.model.conversations.iter().filter(|(_, c)| c.workspace == workspace && !c.deleted);
            assert_eq!(listed.total, inside.clone().count() as u64);
            for (conversation, (id, model)) in listed.items.iter().zip(inside) {
                assert_eq!(conversation.id, *id, "ids grow in creation order");
                let participants: Vec<&str> = model.participants.iter().map(|(user, _)| *user).collect();
                assert_eq!(names(&conversation.participants), participants);
                assert_eq!(conversation.message_count, self.model.messages_of(*id).len() as u64);
            }
        }
    }

    /// Compares the users that share a conversation with a user, and the workspaces in which the user takes part.
    pub fn check_users(&mut self) {
        let user = self.user();
        let shared: BTreeSet<&str> = self
            .model
            .conversations
            .keys()
            .filter(|id| !self.model.is_deleted(id))
            .map(|id| self.model.recipients_of(id))
            .filter(|recipients| recipients.contains(user))
            .flatten()
            .chain([user])
            .collect();
        let asked: Vec<&str> = USERS.iter().copied().chain(["nobody", user]).collect();
        let QueryResult::Users(found) = self.world.query_result(user, QueryKind::Users(users(&asked))) else {
            panic!()
        };
        let found: Vec<&str> = found.iter().map(|profile| profile.id.as_str()).collect();
        let known = self.model.events.iter().any(|event| event.recipients.iter().any(|id| id.as_str() == user));
        let expected: Vec<&str> = USERS.iter().copied().filter(|id| known && shared.contains(id)).collect();
        assert_eq!(found, expected, "the users that {user} knows");

        let Some(workspace) = self.workspace() else { return };
        let inside = |id: &&ConversationId| self.model.conversations[*id].workspace == workspace;
        let is_inside = self.model.workspaces[&workspace].owner == user
            || self.model.conversations_of(user).iter().any(|id| inside(&id));
        let filter = StreamFilter { workspace: Some(workspace), ..EVERYTHING };
        let allowed = self.world.query(user, QueryKind::StreamAccess(filter)).result;
        match allowed {
            Ok(_) => assert!(is_inside && !self.model.workspaces[&workspace].deleted),
            Err(Rejection::NotFound(_)) => assert!(self.model.workspaces[&workspace].deleted),
            Err(_) => assert!(!is_inside),
        }
    }

    /// Compares a user's conversations with their last messages, and the messages of each in pages of random sizes.
    pub fn check_conversation_views(&mut self) {
        let user = self.user();
        let conversations = self.model.conversations_of(user);
        let pagination = Pagination { limit: 1 + self.random.below(8) as u32, offset: self.random.below(8) };
        let with_messages = self.random.below(2) == 0;
        let QueryResult::ConversationViews(listed) =
            self.world.query_result(user, QueryKind::ConversationViews { pagination, with_messages })
        else {
            panic!()
        };
        assert_eq!((listed.total, listed.truncated), (conversations.len() as u64, false));
        let expected = conversations.iter().skip(pagination.offset as usize).take(pagination.limit as usize);
        assert_eq!(
            listed.items.iter().map(|view| &view.conversation.id).collect::<Vec<_>>(),
            expected.collect::<Vec<_>>()
        );
        for ConversationView { conversation, last } in &listed.items {
            assert_eq!(conversation.updated_at, self.model.conversations[&conversation.id].updated_at);
            let messages = self.model.messages_of(conversation.id);
            assert_eq!(conversation.message_count, messages.len() as u64);
            let shown = if with_messages { messages.len().saturating_sub(50) } else { messages.len() };
            assert_eq!(last.messages, messages[shown..]);
        }
        for id in conversations {
            let conversation = ConversationRef::Id(id);
            let QueryResult::ConversationView(view) =
                self.world.query_result(user, QueryKind::ConversationView(conversation))
            else {
                panic!()
            };
            let messages = self.model.messages_of(id);
            assert_eq!(view.last.messages, messages[messages.len().saturating_sub(100)..]);
            let limit = 1 + self.random.below(9) as u32;
            let mut cursor = MessageCursor::First;
            let mut forwards = Vec::new();
            while let [.., last] = self.messages(user, conversation, cursor, limit, &mut forwards)[..] {
                cursor = MessageCursor::After(last);
            }
            assert_eq!(forwards, messages);
            // A cursor may be any message of the conversation, also a deleted one.
            let marks: Vec<_> = self
                .model
                .messages
                .iter()
                .filter(|(_, (conversation, _))| *conversation == id)
                .map(|(id, _)| *id)
                .collect();
            let Some(mark) = marks.get(self.random.below(marks.len().max(1) as u64) as usize) else { continue };
            let (mut cursor, mut backwards) = (MessageCursor::Before(*mark), Vec::new());
            let mut pages = Vec::new();
            while let [first, ..] = self.messages(user, conversation, cursor, limit, &mut backwards)[..] {
                cursor = MessageCursor::Before(first);
                pages.push(std::mem::take(&mut backwards));
            }
            let before: Vec<Message> = messages.iter().filter(|message| message.id < *mark).cloned().collect();
            assert_eq!(pages.into_iter().rev().flatten().collect::<Vec<_>>(), before);
        }
    }

    /// Adds a page to `all`. Returns the ids of its messages.
    pub fn messages(
        &mut self,
        user: &str,
        conversation: ConversationRef,
        cursor: MessageCursor,
        limit: u32,
        all: &mut Vec<Message>,
    ) -> Vec<MessageId> {
        let kind = QueryKind::Messages { conversation, cursor, limit, with_reasoning: false };
        let QueryResult::Messages(page) = self.world.query_result(user, kind) else { panic!() };
        assert!(page.messages.len() <= limit as usize && !page.truncated);
        let ids = page.messages.iter().map(|message| message.id).collect();
        all.extend(page.messages);
        ids
    }
}
