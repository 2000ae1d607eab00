//! The events of the messages that a user may see. Conversations and senders, which many messages of a page share, are read once.
//!
//! Invariant: an event is that of `messages::events`, which a server is asked for instead, since it joins tables without more
//! requests.

use crate::base::time::WallTime;
use crate::domain::event::{Event, KindSet};
use crate::domain::id::{ConversationId, EventNumber, IdKey, UserId, WorkspaceId};
use crate::domain::model::Metadata;
use crate::store::rules::records::message_event_kind;
use crate::store::sql::values::number;
use crate::store::sql::{OptionalRow, Row, SqlConnection, SqlResult, Statement};
use crate::store::tables::messages::{self, ENTRIES_MAX, MessageOrigin};
use crate::store::tables::users;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
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
    /// `ENTRIES`, once it has been needed.
    entries: Option<Statement<'a>>,
    /// `VISIBLE_CONVERSATION`, once it has been needed.
    visible_conversation: Option<Statement<'a>>,
    /// By number; `None` for a conversation that the user may not see.
    conversations: BTreeMap<i64, Option<VisibleConversation>>,
    /// By key: id and name; `None` for a user that does not exist.
    senders: BTreeMap<i64, Option<(UserId, Arc<str>)>>,
    no_metadata: Metadata,
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
            visible_conversation: None,
            conversations: BTreeMap::new(),
            senders: BTreeMap::new(),
            no_metadata: Metadata::empty(),
        }
    }

    /// The events of the first of some messages, in order: `None` for a message that the user may not see or that is not wanted.
    /// There is at least one, and none after those that fill `bytes_max` with their frames.
    pub(crate) fn events(
        &mut self,
        numbers: &[EventNumber],
        bytes_max: usize,
    ) -> SqlResult<VecDeque<Option<Arc<Event>>>> {
        if self.db.is_server() {
            let filter = (self.kinds, self.workspace);
            let events = messages::events(self.db, self.ids, numbers, self.viewer, filter)?;
            return Ok(events.into_iter().map(|event| event.map(Arc::new)).collect());
        }
        let mut statement = match self.entries.take() {
            Some(statement) => statement,
            None => self.db.prepare_cached(messages::ENTRIES)?,
        };
        let mut rows = statement.query(messages::entries_params(numbers))?;
        let (mut events, mut bytes) = (VecDeque::with_capacity(ENTRIES_MAX), 0);
        for number in numbers.iter().take(ENTRIES_MAX) {
            let row = rows.next()?.expect("each number has a row");
            let event = self.entry(row, *number)?;
            bytes += event.as_ref().map_or(0, |event| event.frame_bytes());
            events.push_back(event);
            if bytes > bytes_max {
                break;
            }
        }
        drop(rows);
        self.entries = Some(statement);
        Ok(events)
    }

    /// The event of message `number` in a row of `ENTRIES`, if the user may see it and it is wanted.
    fn entry(&mut self, row: Row<'_>, number: EventNumber) -> SqlResult<Option<Arc<Event>>> {
        let Some((conversation, sender)) = messages::entry_origin(row)? else { return Ok(None) };
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
            no_metadata: self.no_metadata.clone(),
        };
        Ok(Some(Arc::new(messages::entry_event(self.db, row, self.ids, number, origin)?)))
    }

    /// A conversation, if the user may see it.
    pub(crate) fn conversation(&mut self, conversation: i64) -> SqlResult<Option<VisibleConversation>> {
        let unknown = match self.conversations.entry(conversation) {
            Entry::Occupied(known) => return Ok(*known.get()),
            Entry::Vacant(unknown) => unknown,
        };
        let ids = self.ids;
        let statement = match &mut self.visible_conversation {
            Some(statement) => statement,
            none => none.insert(self.db.prepare_cached(VISIBLE_CONVERSATION)?),
        };
        let found = statement.query_row([conversation, self.viewer], |row| {
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
