//! The events of the messages that a user may see. Conversations and senders, which many messages of a page share, are read once.
//!
//! Invariant: an event is that of `messages::events`, which a server is asked for instead, since it joins tables without more
//! requests.

use crate::base::time::WallTime;
use crate::domain::event::{Event, KindSet};
use crate::domain::id::{ConversationId, EventNumber, IdKey, UserId, WorkspaceId};
use crate::store::rules::records::message_event_kind;
use crate::store::sql::values::number;
use crate::store::sql::{OptionalRow, SqlConnection, SqlResult};
use crate::store::tables::messages::{self, EntryReader, MessageOrigin};
use crate::store::tables::users;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// The messages that a user may see, in one snapshot.
pub(crate) struct VisibleMessages<'a> {
    db: &'a SqlConnection,
    ids: &'a IdKey,
    /// The user's key.
    viewer: i64,
    kinds: KindSet,
    /// The only workspace whose messages are wanted; `None` for all.
    workspace: Option<EventNumber>,
    /// `None` until the first message is read.
    entries: Option<EntryReader<'a>>,
    /// By number; `None` for a conversation that the user may not see.
    conversations: HashMap<i64, Option<VisibleConversation>>,
    /// By key: id and name; `None` for a user that does not exist.
    senders: HashMap<i64, Option<(UserId, Arc<str>)>>,
}

/// A conversation that a user may see.
#[derive(Clone, Copy)]
pub(crate) struct VisibleConversation {
    /// The user sees the messages after this number: 0 for the workspace's owner.
    pub since: EventNumber,
    id: ConversationId,
    workspace: EventNumber,
    workspace_id: WorkspaceId,
}

impl<'a> VisibleMessages<'a> {
    pub(crate) fn new(
        db: &'a SqlConnection,
        ids: &'a IdKey,
        viewer: i64,
        (kinds, workspace): (KindSet, Option<EventNumber>),
    ) -> VisibleMessages<'a> {
        VisibleMessages {
            db,
            ids,
            viewer,
            kinds,
            workspace,
            entries: None,
            conversations: HashMap::new(),
            senders: HashMap::new(),
        }
    }

    /// The event of message `number`, if the user may see it and it is wanted.
    pub(crate) fn event(&mut self, number: EventNumber) -> SqlResult<Option<Event>> {
        let Some((conversation, sender)) = self.entries()?.origin(number)? else { return Ok(None) };
        let Some((sender, sender_name)) = self.sender(sender)? else { return Ok(None) };
        if !self.kinds.has(message_event_kind(&sender)) {
            return Ok(None);
        }
        let Some(conversation) = self.conversation(conversation)? else { return Ok(None) };
        if number <= conversation.since || self.workspace.is_some_and(|wanted| wanted != conversation.workspace) {
            return Ok(None);
        }
        let origin = MessageOrigin {
            sender,
            sender_name,
            conversation_id: conversation.id,
            workspace_id: conversation.workspace_id,
        };
        let ids = self.ids;
        self.entries()?.event(ids, number, origin)
    }

    fn entries(&mut self) -> SqlResult<&mut EntryReader<'a>> {
        Ok(match &mut self.entries {
            Some(entries) => entries,
            none => none.insert(EntryReader::new(self.db)?),
        })
    }

    /// The events of several messages, as [`VisibleMessages::event`] returns them.
    pub(crate) fn events(&self, numbers: &[EventNumber]) -> SqlResult<Vec<Option<Event>>> {
        messages::events(self.db, self.ids, numbers, self.viewer, (self.kinds, self.workspace))
    }

    /// A conversation, if the user may see it.
    pub(crate) fn conversation(&mut self, conversation: i64) -> SqlResult<Option<VisibleConversation>> {
        let unknown = match self.conversations.entry(conversation) {
            Entry::Occupied(known) => return Ok(*known.get()),
            Entry::Vacant(unknown) => unknown,
        };
        let ids = self.ids;
        let found = self.db.prepare_cached(VISIBLE_CONVERSATION)?.query_row([conversation, self.viewer], |row| {
            let Some(since) = row.get::<Option<i64>>(0)? else { return Ok(None) };
            let workspace = number(row.get(2)?);
            Ok(Some(VisibleConversation {
                since: number(since),
                id: ConversationId(ids.uuid(number(conversation), WallTime(row.get(1)?))),
                workspace,
                workspace_id: WorkspaceId(ids.uuid(workspace, WallTime(row.get(3)?))),
            }))
        });
        Ok(*unknown.insert(found.optional()?.flatten()))
    }

    /// Whether [`VisibleMessages::conversation`] has read this conversation.
    pub(crate) fn has_checked(&self, conversation: i64) -> bool {
        self.conversations.contains_key(&conversation)
    }

    fn sender(&mut self, key: i64) -> SqlResult<Option<(UserId, Arc<str>)>> {
        match self.senders.entry(key) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(unknown) => Ok(unknown.insert(users::id_and_name(self.db, key)?).clone()),
        }
    }
}

/// Selects a conversation that is not deleted. The first column is 0 for the workspace's owner, `NULL` for a user without access.
pub(crate) const VISIBLE_CONVERSATION: &str = "
    SELECT CASE WHEN w.owner = ?2 THEN 0 ELSE p.since END, c.created_at, w.number, w.created_at
    FROM conversations c
    CROSS JOIN workspaces w ON w.number = c.workspace AND w.deleted IS NULL
    LEFT JOIN participants p ON p.conversation = c.number AND p.user = ?2
    WHERE c.number = ?1 AND c.deleted IS NULL";
