//! Queries of the conversations API: conversations with their messages, and pages of messages.

use crate::base::limits::CONVERSATION_MESSAGES_MAX;
use crate::domain::command::{ApiVariant, ConversationRef};
use crate::domain::id::{EventNumber, IdKey, MessageId};
use crate::domain::page::{ConversationView, MessagePage, Page, TruncatedEnd};
use crate::domain::query::{MessageCursor, QueryResult};
use crate::domain::result::{Rejection, Resource};
use crate::store::error::Abort;
use crate::store::read::page_builder::{LIST_FRAME_BYTES, PageBuilder};
use crate::store::read::read_transaction::ReadTransaction;
use crate::store::rules::records::ConversationAccess;
use crate::store::sql::{SqlConnection, SqlResult};
use crate::store::tables::conversation_index::PageStart;
use crate::store::tables::conversations;
use crate::store::tables::messages;
use crate::wire::size::JsonBytes;

impl ReadTransaction<'_> {
    pub(crate) fn conversation_view(&self, conversation: ConversationRef) -> Result<QueryResult, Abort<Rejection>> {
        let access = self.access(conversation, ApiVariant::Conversations)?;
        Ok(QueryResult::ConversationView(self.view_of(&access, CONVERSATION_MESSAGES_MAX)?))
    }

    pub(crate) fn messages(
        &self,
        conversation: ConversationRef,
        cursor: MessageCursor,
        (limit, with_reasoning): (u32, bool),
        position: EventNumber,
    ) -> Result<QueryResult, Abort<Rejection>> {
        let access = self.access(conversation, ApiVariant::Conversations)?;
        let number_of = |name, id| -> Result<EventNumber, Abort<Rejection>> {
            let number = messages::cursor(self.db, self.ids, &access, id, position)?;
            let invalid =
                || Rejection::Invalid(vec![(name, "must be the id of a message of this conversation".to_owned())]);
            Ok(number.ok_or_else(invalid)?)
        };
        let from = match cursor {
            MessageCursor::First => PageStart::After(EventNumber(0)),
            MessageCursor::After(id) => PageStart::After(number_of("after", id)?),
            MessageCursor::Before(id) => PageStart::Before(number_of("before", id)?),
        };
        Ok(QueryResult::Messages(page(self.db, self.ids, &access, (from, limit), with_reasoning, self.list_bytes_max)?))
    }

    pub(crate) fn message(
        &self,
        conversation: ConversationRef,
        id: MessageId,
        with_reasoning: bool,
    ) -> Result<QueryResult, Abort<Rejection>> {
        let access = self.access(conversation, ApiVariant::Conversations)?;
        let found = messages::find_shown(self.db, self.ids, &access, id, with_reasoning)?;
        Ok(found.map(QueryResult::Message).ok_or(Rejection::NotFound(Resource::Message))?)
    }

    /// The conversation with its newest messages, at most `messages_max`.
    pub(crate) fn view_of(&self, access: &ConversationAccess, messages_max: u32) -> SqlResult<ConversationView> {
        let conversation = conversations::find(self.db, self.ids, access)?;
        let no_messages = MessagePage { messages: Vec::new(), truncated: false, kept: TruncatedEnd::Newest };
        let mut view = ConversationView { conversation, last: no_messages };
        let bytes_max = self.list_bytes_max.saturating_sub(LIST_FRAME_BYTES + view.json_bytes());
        view.last = last_messages(self.db, self.ids, access, messages_max, bytes_max)?;
        Ok(view)
    }
}

/// The newest messages of a conversation, at most `messages_max` messages and `bytes_max` bytes of JSON text.
pub(crate) fn last_messages(
    db: &SqlConnection,
    ids: &IdKey,
    access: &ConversationAccess,
    messages_max: u32,
    bytes_max: usize,
) -> SqlResult<MessagePage> {
    page(db, ids, access, (PageStart::End, messages_max), false, bytes_max)
}

fn page(
    db: &SqlConnection,
    ids: &IdKey,
    access: &ConversationAccess,
    (from, limit): (PageStart, u32),
    with_reasoning: bool,
    bytes_max: usize,
) -> SqlResult<MessagePage> {
    let kept = match from {
        PageStart::After(_) => TruncatedEnd::Oldest,
        PageStart::Before(_) | PageStart::End => TruncatedEnd::Newest,
    };
    let mut items = PageBuilder::new(bytes_max);
    if limit > 0 {
        messages::page(db, ids, access, (from, limit), with_reasoning, |message| items.add(message))?;
    }
    let Page { items: mut messages, truncated, .. } = items.finish(0);
    if kept == TruncatedEnd::Newest {
        messages.reverse();
    }
    Ok(MessagePage { messages, truncated, kept })
}
