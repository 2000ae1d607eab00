//! Answers: the orders that messages leave behind, and the steps that responders take with them.

use super::Done;
use crate::base::limits::{CONTENT_BYTES_MAX, METADATA_BYTES_MAX};
use crate::base::time::WallTime;
use crate::domain::answer_job::{AnswerJob, AnswerStep, JobId};
use crate::domain::event::{Event, EventBody, EventKind};
use crate::domain::id::{ConversationId, EventNumber, MessageId, WorkspaceId};
use crate::domain::live_answer::LiveAnswer;
use crate::domain::model::{Content, Message, Metadata, Role, Status};
use crate::domain::result::{Outcome, Rejection};
use crate::domain::started_answer::AnswerStarted;
use crate::store::data;
use crate::store::rules::transaction::{Author, Batch, Caller, Notice};
use crate::store::sqlite::tables::answer_jobs::Open;
use crate::store::sqlite::tables::conversations::Room;
use crate::store::sqlite::tables::messages::Published;
use crate::store::sqlite::tables::{answer_jobs, messages, state_events};
use crate::wire::metadata;
use std::sync::Arc;

const CLOSED: Rejection = Rejection::Conflict("the order is closed");

/// What an answer is when it is over; a text or metadata that is absent stays as stored.
struct Finish<'f> {
    status: Status,
    text: Option<&'f Content>,
    metadata: Option<&'f Metadata>,
    error: Option<&'f str>,
}

impl Batch<'_> {
    /// Orders an answer to a user's message that was just written, if somebody answers in its conversation.
    pub(crate) fn order_answer(
        &mut self,
        room: &Room,
        number: EventNumber,
        message: &Message,
        correlation_id: &Arc<str>,
    ) -> rusqlite::Result<()> {
        let Some(responder) = self.memory.responders.answering(room.responder.as_deref()) else { return Ok(()) };
        answer_jobs::insert(self.db, number, responder)?;
        self.jobs.push(AnswerJob {
            key: JobId(number),
            message_id: message.id,
            conversation_id: room.id,
            workspace_id: room.home.id,
            user: message.sender.clone(),
            responder,
            correlation_id: correlation_id.clone(),
            content: message.content.clone(),
            started: None,
        });
        Ok(())
    }

    /// The rule that a choice of a responder breaks: `patch` makes it, `after` is the metadata with it.
    pub(crate) fn wrong_responder(&self, patch: &Metadata, after: &Metadata) -> Option<(&'static str, String)> {
        // A choice may always be taken back, and one that was made before stays whatever else changes.
        if !metadata::has_member(patch, "responder") || !metadata::has_member(after, "responder") {
            return None;
        }
        let fits = metadata::string_member(after, "responder")
            .is_some_and(|name| self.memory.responders.chosen(&name).is_some());
        (!fits).then(|| ("metadata", self.memory.responders.rule()))
    }

    /// Takes a step of an answer. The first to close an order wins: whatever comes later finds it closed.
    pub(crate) fn answer(&mut self, caller: &Caller<'_>, key: JobId, step: &AnswerStep) -> Done {
        let order = answer_jobs::find(self.db, key)?.ok_or(CLOSED)?;
        let room = self.room_at(order.conversation)?.ok_or(CLOSED)?;
        if *caller.id() != order.responder.user_id() {
            return Err(Rejection::Forbidden("the order is another responder's").into());
        }
        match step {
            AnswerStep::Begin { text, live } => self.begin_answer(caller, &room, &order, text, live),
            AnswerStep::Append { text } => self.append_to_answer(&room, &order, text),
            AnswerStep::Finish { status, text, metadata, error } => {
                let (text, metadata, error) = (text.as_ref(), Some(metadata), error.as_deref());
                self.finish_answer(caller, &room, &order, Finish { status: *status, text, metadata, error })
            }
        }
    }

    fn begin_answer(
        &mut self,
        caller: &Caller<'_>,
        room: &Room,
        order: &Open,
        text: &Arc<str>,
        live: &LiveAnswer,
    ) -> Done {
        if order.answer.is_some() {
            return Err(Rejection::Conflict("the answer was begun before").into());
        }
        check_length(text.len())?;

        let author = Author { user: self.enter(caller)?.user, correlation_id: &order.correlation_id };
        let stamp = self.next();
        let content = Content::new_unchecked(text.clone());
        let message = self.answer_message(stamp, &author, room, order, (content, Metadata::empty(), Status::Streaming));
        self.insert_answer(stamp, &author, room, order, &message, Published::NotYet)?;
        answer_jobs::set_answer(self.db, order.key, stamp.0)?;
        self.started.push(AnswerStarted {
            job: order.key,
            message_id: message.id,
            conversation_id: room.id,
            workspace_id: room.home.id,
            recipients: room.recipients.clone(),
            sender: author.user.member.id.clone(),
            correlation_id: order.correlation_id.clone(),
            live: live.clone(),
        });
        Ok((Outcome::Answered { message_id: Some(message.id), closed: false }, None))
    }

    fn append_to_answer(&mut self, room: &Room, order: &Open, text: &str) -> Done {
        let answer = order.answer.ok_or(Rejection::Conflict("the answer was not begun"))?;
        let (bytes, begun_at) = answer_jobs::answer_so_far(self.db, answer)?;
        check_length(bytes + text.len())?;

        let at = self.next_time();
        answer_jobs::append(self.db, answer, text, at)?;
        self.touch(room.number, at, None);
        let message_id = Some(MessageId(self.ids.uuid(answer, begun_at)));
        Ok((Outcome::Answered { message_id, closed: false }, None))
    }

    fn finish_answer(&mut self, caller: &Caller<'_>, room: &Room, order: &Open, finish: Finish<'_>) -> Done {
        if finish.status == Status::Streaming {
            let rule = "must not be streaming in an answer that is over".to_owned();
            return Err(Rejection::Invalid(vec![("status", rule)]).into());
        }
        check_length(finish.text.map_or(0, |text| text.as_str().len()))?;
        if finish.metadata.is_some_and(|metadata| metadata.as_str().len() > METADATA_BYTES_MAX) {
            let rule = format!("must be at most {METADATA_BYTES_MAX} bytes");
            return Err(Rejection::Invalid(vec![("metadata", rule)]).into());
        }

        let author = Author { user: self.enter(caller)?.user, correlation_id: &order.correlation_id };
        self.close_order(order.key)?;
        let output = match (order.answer, finish.text) {
            (Some(answer), _) => Some(self.publish_begun(&author, room, answer, &finish)?),
            (None, Some(text)) if finish.status != Status::Failed => {
                Some(self.publish_at_once(&author, room, order, text, &finish)?)
            }
            // Nothing was shown, so there is nothing to keep.
            (None, _) => None,
        };
        let failed = match (finish.status, finish.error) {
            (Status::Failed, error) => Some(error.unwrap_or("the answer failed")),
            (_, error) => error,
        };
        let answer = output.as_ref().and_then(|event| event.message_id());
        let number = match failed {
            Some(reason) => Some(self.publish_failure(&author, room, order, answer, reason)?),
            None => None,
        };
        let number = output.map(|event| event.number).or(number);
        Ok((Outcome::Answered { message_id: answer, closed: true }, number))
    }

    /// Closes what depends on a message that is about to be deleted. The order to answer it, if that was begun: its answer
    /// stays, and is to be published with the text that it has.
    pub(crate) fn release(&mut self, number: EventNumber, message: &Message) -> rusqlite::Result<Option<Open>> {
        if messages::kind_of(&message.sender) != EventKind::Output {
            let order = answer_jobs::find(self.db, JobId(number))?;
            if order.is_some() {
                self.close_order(JobId(number))?;
            }
            return Ok(order.filter(|order| order.answer.is_some()));
        }
        if let Some(event) = answer_jobs::publication(self.db, number)? {
            state_events::remove(self.db, event)?;
        }
        if message.status == Status::Streaming
            && let Some((asked, _)) = message.reply_to.and_then(|id| self.ids.open(id.0))
        {
            self.close_order(JobId(asked))?;
            self.started.retain(|started| started.message_id != message.id);
        }
        Ok(None)
    }

    /// Ends the answer of an order that `release` closed.
    pub(crate) fn cancel_answer(&mut self, room: &Room, order: &Open) -> rusqlite::Result<()> {
        let Some(answer) = order.answer else { return Ok(()) };
        let sender = messages::find(self.db, self.ids, answer, room.id)?.map(|message| message.sender);
        let user = match sender {
            Some(sender) => self.user(&sender)?,
            None => None,
        };
        let user = user.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let author = Author { user, correlation_id: &order.correlation_id };
        let finish = Finish { status: Status::Cancelled, text: None, metadata: None, error: None };
        self.publish_begun(&author, room, answer, &finish).map(drop)
    }

    /// Nobody is told any more of orders and answers where all is gone; their rows go with the rest.
    pub(crate) fn withdraw(&mut self, gone: impl Fn(WorkspaceId, ConversationId) -> bool) {
        self.jobs.retain(|order| !gone(order.workspace_id, order.conversation_id));
        self.started.retain(|started| !gone(started.workspace_id, started.conversation_id));
    }

    fn close_order(&mut self, key: JobId) -> rusqlite::Result<()> {
        answer_jobs::close(self.db, key)?;
        self.jobs.retain(|order| order.key != key);
        Ok(())
    }

    /// Publishes an answer that was begun, by an event of its own: the message's number is older than its text.
    fn publish_begun(
        &mut self,
        author: &Author<'_>,
        room: &Room,
        answer: EventNumber,
        finish: &Finish<'_>,
    ) -> rusqlite::Result<Arc<Event>> {
        let mut message =
            messages::find(self.db, self.ids, answer, room.id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let stamp = self.next();
        message.content = finish.text.unwrap_or(&message.content).clone();
        message.metadata = finish.metadata.unwrap_or(&message.metadata).clone();
        message.status = finish.status;
        message.updated_at = stamp.1;
        answer_jobs::finish_answer(self.db, answer, &message, stamp.0)?;
        self.touch(room.number, stamp.1, None);
        self.started.retain(|started| started.message_id != message.id);
        let about = (answer, message.created_at);
        self.announce_message(stamp, author, room, EventKind::Output, about, EventBody::Message(message))
    }

    /// Publishes an answer of which nothing was shown before: its message is its own event.
    fn publish_at_once(
        &mut self,
        author: &Author<'_>,
        room: &Room,
        order: &Open,
        text: &Content,
        finish: &Finish<'_>,
    ) -> rusqlite::Result<Arc<Event>> {
        let stamp = self.next();
        let metadata = finish.metadata.cloned().unwrap_or_else(Metadata::empty);
        let message = self.answer_message(stamp, author, room, order, (text.clone(), metadata, finish.status));
        self.insert_answer(stamp, author, room, order, &message, Published::Itself)?;
        Ok(self.push_event(stamp, author, room, EventKind::Output, EventBody::Message(message)))
    }

    fn publish_failure(
        &mut self,
        author: &Author<'_>,
        room: &Room,
        order: &Open,
        answer: Option<MessageId>,
        reason: &str,
    ) -> rusqlite::Result<EventNumber> {
        let asked = MessageId(self.ids.uuid(order.key.0, order.asked_at));
        let stamp = self.next();
        let notice = Notice {
            kind: EventKind::OutputError,
            home: &room.home,
            room: Some(room),
            recipients: room.recipients.clone(),
            recipient_keys: &room.recipient_keys,
            payload: data::answer_failed(asked, room.id, answer, reason),
        };
        self.publish(stamp, author, notice)?;
        Ok(stamp.0)
    }

    fn answer_message(
        &self,
        (number, at): (EventNumber, WallTime),
        author: &Author<'_>,
        room: &Room,
        order: &Open,
        (content, metadata, status): (Content, Metadata, Status),
    ) -> Message {
        Message {
            id: MessageId(self.ids.uuid(number, at)),
            conversation_id: room.id,
            sender: author.user.member.id.clone(),
            sender_name: author.user.name.clone(),
            role: Role::Assistant,
            content,
            metadata,
            created_at: at,
            updated_at: at,
            status,
            reply_to: Some(MessageId(self.ids.uuid(order.key.0, order.asked_at))),
        }
    }

    fn insert_answer(
        &mut self,
        (number, at): (EventNumber, WallTime),
        author: &Author<'_>,
        room: &Room,
        order: &Open,
        message: &Message,
        published: Published,
    ) -> rusqlite::Result<()> {
        let draft = messages::Draft {
            conversation: room.number,
            sender: author.user.member.key,
            message,
            correlation_id: author.correlation_id,
            reply_to: Some(order.key.0),
            published,
        };
        messages::insert(self.db, number, &draft)?;
        self.touch(room.number, at, Some(number));
        Ok(())
    }
}

fn check_length(bytes: usize) -> Result<(), Rejection> {
    match bytes {
        0..=CONTENT_BYTES_MAX => Ok(()),
        _ => Err(Rejection::Invalid(vec![("text", "must be at most 1 MiB of UTF-8".to_owned())])),
    }
}
