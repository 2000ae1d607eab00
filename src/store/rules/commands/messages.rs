//! Commands that post, update and delete messages.

use super::{CommandOutcome, merged};
use crate::base::time::WallTime;
use crate::domain::command::{ApiVariant, ConversationRef};
use crate::domain::event::{Event, EventBody, EventKind};
use crate::domain::id::{EventNumber, MessageId};
use crate::domain::model::{Content, Message, Metadata, Role, Status};
use crate::domain::result::{Outcome, Rejection, Resource};
use crate::store::error::Abort;
use crate::store::rules::records::{ConversationAccess, NewEventRow, NewMessageRow, Publication, message_event_kind};
use crate::store::rules::rows::{RowResult, Rows};
use crate::store::rules::transaction::{Author, CommandCaller, Transaction};
use std::sync::Arc;

impl<R: Rows> Transaction<'_, R> {
    pub(crate) fn post_message(
        &mut self,
        caller: &CommandCaller<'_>,
        conversation: ConversationRef,
        role: Role,
        content: &Content,
        metadata: &Metadata,
        api_variant: ApiVariant,
    ) -> CommandOutcome {
        let access = match conversation {
            ConversationRef::Default => self.default_conversation(caller)?,
            ConversationRef::Id(id) => Some(self.conversation(id)?.ok_or(Rejection::NotFound(Resource::Conversation))?),
        };
        if let Some(access) = &access {
            access.authorize(caller.id(), api_variant)?;
            if role != Role::User && !access.is_owner(caller.id()) {
                let reason = "only the workspace's owner may post as assistant or system";
                return Err(Rejection::Forbidden(reason).into());
            }
        }
        if api_variant == ApiVariant::OpenAi {
            self.responder_of(access.as_ref().and_then(|access| access.responder.as_deref()))?;
        }
        if role == Role::User {
            self.check_quota(caller, access.as_ref().and_then(|access| access.responder.as_deref()))?;
        }
        let author = self.upsert_author(caller)?;
        let access = match access {
            Some(access) => access,
            None => self.create_default_conversation(&author)?,
        };
        let event = self.add_message(&author, &access, role, content, metadata)?;
        let number = event.number;
        Ok((Outcome::Posted { event, conversation, api_variant }, Some(number)))
    }

    pub(crate) fn update_message(
        &mut self,
        caller: &CommandCaller<'_>,
        conversation: ConversationRef,
        id: MessageId,
        content: Option<&Content>,
        metadata: Option<&Metadata>,
    ) -> CommandOutcome {
        let (access, number, mut message) = self.own_message(caller, conversation, id)?;
        if message.status == Status::Streaming {
            return Err(Rejection::Conflict("the answer is still being written").into());
        }
        message.metadata = merged(&message.metadata, metadata).map_err(|field| Rejection::Invalid(vec![field]))?;
        message.content = content.unwrap_or(&message.content).clone();

        let author = self.upsert_author(caller)?;
        if message.sender == *caller.id() {
            message.sender_name = author.user.name.clone();
        }
        let stamp = self.next_number();
        message.updated_at = stamp.1;
        self.rows.update_message(number, &message)?;
        self.record_update(access.number, stamp.1, None);
        let about = (number, message.created_at);
        let body = EventBody::Message(message.clone());
        self.publish_message_event(stamp, &author, &access, EventKind::MessageUpdated, about, body)?;
        Ok((Outcome::MessageUpdated(message), Some(stamp.0)))
    }

    pub(crate) fn delete_message(
        &mut self,
        caller: &CommandCaller<'_>,
        conversation: ConversationRef,
        id: MessageId,
    ) -> CommandOutcome {
        let (access, number, message) = self.own_message(caller, conversation, id)?;

        let author = self.upsert_author(caller)?;
        let stamp = self.next_number();
        self.write_updates()?;
        let cancelled = self.close_answer_of(number, &message)?;
        self.rows.delete_message(number)?;
        self.cache.index.message_deleted(access.number, number);
        self.rows.count_message_out(access.number, stamp.1)?;
        let about = (number, message.created_at);
        self.publish_message_event(stamp, &author, &access, EventKind::MessageDeleted, about, EventBody::Deleted(id))?;
        if let Some(job) = cancelled {
            self.cancel_started_answer(&access, &job)?;
        }
        Ok((Outcome::MessageDeleted, Some(stamp.0)))
    }

    /// The message with this id, if the caller may change it: the caller sent it, or owns the workspace.
    fn own_message(
        &mut self,
        caller: &CommandCaller<'_>,
        conversation: ConversationRef,
        id: MessageId,
    ) -> Result<(Arc<ConversationAccess>, EventNumber, Message), Abort<Rejection>> {
        let access = self.authorize(caller, conversation, ApiVariant::Conversations)?;
        let found = self.rows.message_in(&access, id)?;
        let (number, message) = found.ok_or(Rejection::NotFound(Resource::Message))?;
        if message.sender != *caller.id() && !access.is_owner(caller.id()) {
            return Err(Rejection::Forbidden("only the sender and the workspace's owner may change a message").into());
        }
        Ok((access, number, message))
    }

    /// Publishes an event about an earlier message; `about` is its number and creation time.
    pub(crate) fn publish_message_event(
        &mut self,
        (number, at): (EventNumber, WallTime),
        author: &Author<'_>,
        access: &ConversationAccess,
        kind: EventKind,
        about: (EventNumber, WallTime),
        body: EventBody,
    ) -> RowResult<Arc<Event>> {
        let row = NewEventRow {
            kind,
            actor_key: author.user.key,
            correlation_id: author.correlation_id,
            workspace: &access.workspace,
            conversation: Some((access.number, access.created_at)),
            message: Some(about),
            payload: "",
            recipient_keys: &access.recipient_keys,
        };
        self.insert_event(number, at, &row)?;
        Ok(self.emit((number, at), author, access, kind, body))
    }

    /// Inserts a message, which is its own journal entry, and emits its event.
    pub(crate) fn add_message(
        &mut self,
        author: &Author<'_>,
        access: &ConversationAccess,
        role: Role,
        content: &Content,
        metadata: &Metadata,
    ) -> RowResult<Arc<Event>> {
        let (stamp, message) = self.insert_plain_message(author, access, role, content, metadata)?;
        if role == Role::User {
            self.insert_job_for(author, access, stamp.0, &message)?;
        }
        Ok(self.emit_message(stamp, author, access, message))
    }

    /// Inserts a message that nothing answers. Follow with `emit_message`.
    pub(crate) fn insert_plain_message(
        &mut self,
        author: &Author<'_>,
        access: &ConversationAccess,
        role: Role,
        content: &Content,
        metadata: &Metadata,
    ) -> RowResult<((EventNumber, WallTime), Message)> {
        let (number, at) = self.next_number();
        let sender = &author.user;
        let message = Message {
            id: MessageId(self.ids.uuid(number, at)),
            conversation_id: access.id,
            sender: sender.id.clone(),
            sender_name: author.user.name.clone(),
            role,
            content: content.clone(),
            metadata: metadata.clone(),
            created_at: at,
            updated_at: at,
            status: Status::Complete,
            reply_to: None,
            error: None,
            answer: None,
            reasoning: None,
        };
        let row = NewMessageRow {
            conversation: access.number,
            sender_key: sender.key,
            message: &message,
            correlation_id: author.correlation_id,
            reply_to: None,
            publication: Publication::OwnEntry,
        };
        self.insert_message(number, &row)?;
        self.record_update(access.number, at, Some(number));
        Ok(((number, at), message))
    }

    /// Emits the event of a message that was inserted.
    pub(crate) fn emit_message(
        &mut self,
        stamp: (EventNumber, WallTime),
        author: &Author<'_>,
        access: &ConversationAccess,
        message: Message,
    ) -> Arc<Event> {
        self.emit(stamp, author, access, message_event_kind(&author.user.id), EventBody::Message(message))
    }

    /// Emits an event whose row has been inserted.
    pub(crate) fn emit(
        &mut self,
        (number, at): (EventNumber, WallTime),
        author: &Author<'_>,
        access: &ConversationAccess,
        kind: EventKind,
        body: EventBody,
    ) -> Arc<Event> {
        let event = Arc::new(Event {
            number,
            kind,
            at,
            actor: author.user.id.clone(),
            correlation_id: author.correlation_id.clone(),
            workspace_id: access.workspace.id,
            conversation_id: Some(access.id),
            recipients: access.recipients.clone(),
            body,
        });
        self.events.push(event.clone());
        event
    }
}
