//! Adding, changing and deleting messages.

use super::{Done, merged};
use crate::base::time::WallTime;
use crate::domain::command::{ApiVariant, ConversationRef};
use crate::domain::event::{Event, EventBody, EventKind};
use crate::domain::id::{EventNumber, MessageId};
use crate::domain::model::{Content, Message, Metadata, Role, Status};
use crate::domain::result::{Outcome, Rejection, Resource};
use crate::store::error::Stop;
use crate::store::rules::transaction::{Author, Batch, Caller};
use crate::store::sqlite::tables::conversations::{self, Room};
use crate::store::sqlite::tables::messages::{self, Published};
use crate::store::sqlite::tables::state_events::Draft;
use std::sync::Arc;

impl Batch<'_> {
    pub(crate) fn post_message(
        &mut self,
        caller: &Caller<'_>,
        conversation: ConversationRef,
        role: Role,
        content: &Content,
        metadata: &Metadata,
        api_variant: ApiVariant,
    ) -> Done {
        let room = match conversation {
            ConversationRef::Default => self.default_room(caller)?,
            ConversationRef::Id(id) => Some(self.room(id)?.ok_or(Rejection::NotFound(Resource::Conversation))?),
        };
        if let Some(room) = &room {
            room.admit(caller.id(), api_variant)?;
            if role != Role::User && !room.is_owner(caller.id()) {
                let reason = "only the workspace's owner may speak as assistant or system";
                return Err(Rejection::Forbidden(reason).into());
            }
        }
        let author = self.enter(caller)?;
        let room = match room {
            Some(room) => room,
            None => self.make_default_room(&author)?,
        };
        let event = self.post(&author, &room, role, content, metadata)?;
        let number = event.number;
        Ok((Outcome::Posted { event, conversation, api_variant }, Some(number)))
    }

    pub(crate) fn update_message(
        &mut self,
        caller: &Caller<'_>,
        conversation: ConversationRef,
        id: MessageId,
        content: Option<&Content>,
        metadata: Option<&Metadata>,
    ) -> Done {
        let (room, number, mut message) = self.own_message(caller, conversation, id)?;
        if message.status == Status::Streaming {
            return Err(Rejection::Conflict("the answer is still being written").into());
        }
        message.metadata = merged(&message.metadata, metadata).map_err(|field| Rejection::Invalid(vec![field]))?;
        message.content = content.unwrap_or(&message.content).clone();

        let author = self.enter(caller)?;
        if message.sender == *caller.id() {
            message.sender_name = author.user.name.clone();
        }
        let stamp = self.next();
        message.updated_at = stamp.1;
        messages::update(self.db, number, &message)?;
        self.touch(room.number, stamp.1, None);
        let about = (number, message.created_at);
        let body = EventBody::Message(message.clone());
        self.announce_message(stamp, &author, &room, EventKind::MessageUpdated, about, body)?;
        Ok((Outcome::MessageUpdated(message), Some(stamp.0)))
    }

    pub(crate) fn delete_message(&mut self, caller: &Caller<'_>, conversation: ConversationRef, id: MessageId) -> Done {
        let (room, number, message) = self.own_message(caller, conversation, id)?;

        let author = self.enter(caller)?;
        let stamp = self.next();
        self.flush_touches()?;
        let cut_off = self.release(number, &message)?;
        messages::delete(self.db, number)?;
        conversations::forget_message(self.db, room.number, stamp.1)?;
        let about = (number, message.created_at);
        self.announce_message(stamp, &author, &room, EventKind::MessageDeleted, about, EventBody::Deleted(id))?;
        if let Some(order) = cut_off {
            self.cancel_answer(&room, &order)?;
        }
        Ok((Outcome::MessageDeleted, Some(stamp.0)))
    }

    /// A message that the caller may change: their own, or one in a workspace of theirs.
    fn own_message(
        &mut self,
        caller: &Caller<'_>,
        conversation: ConversationRef,
        id: MessageId,
    ) -> Result<(Arc<Room>, EventNumber, Message), Stop> {
        let room = self.admitted(caller, conversation, ApiVariant::Conversations)?;
        let found = messages::find_in(self.db, self.ids, &room, id)?;
        let (number, message) = found.ok_or(Rejection::NotFound(Resource::Message))?;
        if message.sender != *caller.id() && !room.is_owner(caller.id()) {
            return Err(Rejection::Forbidden("only the sender and the workspace's owner may change a message").into());
        }
        Ok((room, number, message))
    }

    /// Journals what happened to a message that was there before, `about` with the time when it was made.
    pub(crate) fn announce_message(
        &mut self,
        (number, at): (EventNumber, WallTime),
        author: &Author<'_>,
        room: &Room,
        kind: EventKind,
        about: (EventNumber, WallTime),
        body: EventBody,
    ) -> rusqlite::Result<Arc<Event>> {
        let draft = Draft {
            kind,
            actor: author.user.member.key,
            correlation_id: author.correlation_id,
            home: &room.home,
            conversation: Some((room.number, room.created_at)),
            message: Some(about),
            payload: "",
            recipients: &room.recipient_keys,
        };
        self.journal(number, at, &draft)?;
        Ok(self.push_event((number, at), author, room, kind, body))
    }

    /// Adds a message, which is an event by itself.
    pub(crate) fn post(
        &mut self,
        author: &Author<'_>,
        room: &Room,
        role: Role,
        content: &Content,
        metadata: &Metadata,
    ) -> rusqlite::Result<Arc<Event>> {
        let (number, at) = self.next();
        let sender = &author.user.member;
        let message = Message {
            id: MessageId(self.ids.uuid(number, at)),
            conversation_id: room.id,
            sender: sender.id.clone(),
            sender_name: author.user.name.clone(),
            role,
            content: content.clone(),
            metadata: metadata.clone(),
            created_at: at,
            updated_at: at,
            status: Status::Complete,
            reply_to: None,
        };
        let draft = messages::Draft {
            conversation: room.number,
            sender: sender.key,
            message: &message,
            correlation_id: author.correlation_id,
            reply_to: None,
            published: Published::Itself,
        };
        messages::insert(self.db, number, &draft)?;
        self.touch(room.number, at, Some(number));
        if role == Role::User {
            self.order_answer(room, number, &message, author.correlation_id)?;
        }
        Ok(self.push_event((number, at), author, room, messages::kind_of(&sender.id), EventBody::Message(message)))
    }

    /// Gives out an event that is in the journal.
    pub(crate) fn push_event(
        &mut self,
        (number, at): (EventNumber, WallTime),
        author: &Author<'_>,
        room: &Room,
        kind: EventKind,
        body: EventBody,
    ) -> Arc<Event> {
        let event = Arc::new(Event {
            number,
            kind,
            at,
            actor: author.user.member.id.clone(),
            correlation_id: author.correlation_id.clone(),
            workspace_id: room.home.id,
            conversation_id: Some(room.id),
            recipients: room.recipients.clone(),
            body,
        });
        self.events.push(event.clone());
        event
    }
}
