//! Answer jobs, and the steps of answers.

use super::CommandOutcome;
use crate::base::limits::{CONTENT_BYTES_MAX, METADATA_BYTES_MAX};
use crate::base::time::WallTime;
use crate::domain::answer_job::{AnswerJob, AnswerStep, JobId};
use crate::domain::event::{Event, EventBody, EventKind};
use crate::domain::id::{ConversationId, EventNumber, MessageId, WorkspaceId};
use crate::domain::live_answer::LiveAnswer;
use crate::domain::model::{Content, Message, Metadata, Role, Status};
use crate::domain::result::{Outcome, Rejection};
use crate::domain::started_answer::AnswerStarted;
use crate::store::error;
use crate::store::rules::records::{ConversationAccess, NewMessageRow, OpenJob, Publication, message_event_kind};
use crate::store::rules::rows::{RowResult, Rows};
use crate::store::rules::transaction::{Author, CommandCaller, NewStateEvent, Transaction};
use crate::wire::event;
use crate::wire::metadata;
use std::sync::Arc;

const CLOSED: Rejection = Rejection::Conflict("the job is closed");

/// The final state of an answer. Absent text and metadata leave the stored values unchanged.
struct AnswerEnd<'f> {
    status: Status,
    text: Option<&'f Content>,
    metadata: Option<&'f Metadata>,
    error: Option<&'f str>,
}

impl<R: Rows> Transaction<'_, R> {
    /// Creates the job to answer a new message, if its conversation has a responder.
    pub(crate) fn insert_job_for(
        &mut self,
        access: &ConversationAccess,
        number: EventNumber,
        message: &Message,
        correlation_id: &Arc<str>,
    ) -> RowResult<()> {
        let Some(responder) = self.cache.responders.answering(access.responder.as_deref()) else { return Ok(()) };
        // Any other job is passed on when those before it are closed.
        let Some(user_key) = self.rows.insert_answer_job(number, responder)? else { return Ok(()) };
        self.jobs.push(AnswerJob {
            key: JobId(number),
            message_id: message.id,
            conversation_id: access.id,
            workspace_id: access.workspace.id,
            user: message.sender.clone(),
            user_key,
            responder,
            correlation_id: correlation_id.clone(),
            content_bytes: message.content.as_str().len(),
            started: None,
        });
        Ok(())
    }

    /// The rule that the choice of a responder in `patch` violates, if any. `after` is the metadata with `patch` applied.
    pub(crate) fn check_responder(&self, patch: &Metadata, after: &Metadata) -> Option<(&'static str, String)> {
        // A choice can always be removed, and a patch without a choice leaves an earlier choice unchanged.
        if !metadata::has_member(patch, "responder") || !metadata::has_member(after, "responder") {
            return None;
        }
        let is_allowed = metadata::string_member(after, "responder")
            .is_some_and(|name| self.cache.responders.chosen(&name).is_some());
        (!is_allowed).then(|| ("metadata", self.cache.responders.rule()))
    }

    /// Executes one step of an answer. Once a step has closed the job, later steps are rejected.
    pub(crate) fn answer(&mut self, caller: &CommandCaller<'_>, key: JobId, step: &AnswerStep) -> CommandOutcome {
        let job = self.rows.answer_job(key)?.ok_or(CLOSED)?;
        let access = self.conversation_at(job.conversation)?.ok_or(CLOSED)?;
        if *caller.id() != job.responder.user_id() {
            return Err(Rejection::Forbidden("the job belongs to another responder").into());
        }
        match step {
            AnswerStep::Begin { text, live } => self.start_answer(caller, &access, &job, text, live),
            AnswerStep::Append { text } => self.append_to_answer(&access, &job, text),
            AnswerStep::Echo { metadata, .. } => {
                let asked = self.rows.message(job.key.0, access.id)?.ok_or_else(error::missing_row)?;
                let (text, metadata) = (Some(&asked.content), Some(metadata));
                let end = AnswerEnd { status: Status::Complete, text, metadata, error: None };
                self.finish_answer(caller, &access, &job, end)
            }
            AnswerStep::Finish { status, text, metadata, error } => {
                let (text, metadata, error) = (text.as_ref(), Some(metadata), error.as_deref());
                self.finish_answer(caller, &access, &job, AnswerEnd { status: *status, text, metadata, error })
            }
        }
    }

    fn start_answer(
        &mut self,
        caller: &CommandCaller<'_>,
        access: &ConversationAccess,
        job: &OpenJob,
        text: &Arc<str>,
        live: &LiveAnswer,
    ) -> CommandOutcome {
        if job.answer.is_some() {
            return Err(Rejection::Conflict("the answer has already started").into());
        }
        check_length(text.len())?;

        let author = Author { user: self.upsert_author(caller)?.user, correlation_id: &job.correlation_id };
        let stamp = self.next_number();
        let content = Content::new_unchecked(text.clone());
        let message = self.answer_message(stamp, &author, access, job, (content, Metadata::empty(), Status::Streaming));
        self.insert_answer(stamp, &author, access, job, &message, Publication::Pending)?;
        self.rows.set_job_answer(job.key, stamp.0)?;
        self.started.push(AnswerStarted {
            job: job.key,
            message_id: message.id,
            reply_to: self.asked_message(job),
            conversation_id: access.id,
            workspace_id: access.workspace.id,
            recipients: access.recipients.clone(),
            sender: author.user.id.clone(),
            correlation_id: job.correlation_id.clone(),
            live: live.clone(),
        });
        Ok((Outcome::Answered { message_id: Some(message.id), closed: false }, None))
    }

    fn append_to_answer(&mut self, access: &ConversationAccess, job: &OpenJob, text: &str) -> CommandOutcome {
        let answer = job.answer.ok_or(Rejection::Conflict("the answer has not started"))?;
        let (bytes, started_at) = self.rows.answer_progress(answer)?;
        check_length(bytes + text.len())?;

        let at = self.next_time();
        self.rows.append_to_answer(answer, text, at)?;
        self.record_update(access.number, at, None);
        let message_id = Some(MessageId(self.ids.uuid(answer, started_at)));
        Ok((Outcome::Answered { message_id, closed: false }, None))
    }

    fn finish_answer(
        &mut self,
        caller: &CommandCaller<'_>,
        access: &ConversationAccess,
        job: &OpenJob,
        end: AnswerEnd<'_>,
    ) -> CommandOutcome {
        if end.status == Status::Streaming {
            let rule = "must not be streaming at the end of an answer".to_owned();
            return Err(Rejection::Invalid(vec![("status", rule)]).into());
        }
        check_length(end.text.map_or(0, |text| text.as_str().len()))?;
        if end.metadata.is_some_and(|metadata| metadata.as_str().len() > METADATA_BYTES_MAX) {
            let rule = format!("must be at most {METADATA_BYTES_MAX} bytes");
            return Err(Rejection::Invalid(vec![("metadata", rule)]).into());
        }

        let author = Author { user: self.upsert_author(caller)?.user, correlation_id: &job.correlation_id };
        self.close_job(job.key)?;
        let output = match (job.answer, end.text) {
            (Some(answer), _) => Some(self.publish_started(&author, access, answer, &end)?),
            (None, Some(text)) if end.status != Status::Failed => {
                Some(self.publish_at_once(&author, access, job, text, &end)?)
            }
            // No text was shown, so no message is stored.
            (None, _) => None,
        };
        let failed = match (end.status, end.error) {
            (Status::Failed, error) => Some(error.unwrap_or("the answer failed")),
            (_, error) => error,
        };
        let answer = output.as_ref().and_then(|event| event.message_id());
        let number = match failed {
            Some(reason) => Some(self.publish_failure(&author, access, job, answer, reason)?),
            None => None,
        };
        let number = output.map(|event| event.number).or(number);
        Ok((Outcome::Answered { message_id: answer, closed: true }, number))
    }

    /// Closes the job of a message that is about to be deleted, whether it is the message to answer or the answer. Returns the
    /// job if its answer has started and is kept: `cancel_started_answer` then publishes the stored text.
    pub(crate) fn close_answer_of(&mut self, number: EventNumber, message: &Message) -> RowResult<Option<OpenJob>> {
        if message_event_kind(&message.sender) != EventKind::Output {
            let job = self.rows.answer_job(JobId(number))?;
            if job.is_some() {
                self.close_job(JobId(number))?;
            }
            return Ok(job.filter(|job| job.answer.is_some()));
        }
        if let Some(event) = self.rows.publication(number)? {
            self.rows.delete_event(event)?;
        }
        if message.status == Status::Streaming
            && let Some((asked, _)) = message.reply_to.and_then(|id| self.ids.open(id.0))
        {
            self.close_job(JobId(asked))?;
            self.started.retain(|started| started.message_id != message.id);
        }
        Ok(None)
    }

    /// Publishes the answer of a job that `close_answer_of` closed, as cancelled.
    pub(crate) fn cancel_started_answer(&mut self, access: &ConversationAccess, job: &OpenJob) -> RowResult<()> {
        let Some(answer) = job.answer else { return Ok(()) };
        let sender = self.rows.message(answer, access.id)?.map(|message| message.sender);
        let user = match sender {
            Some(sender) => self.user(&sender)?,
            None => None,
        };
        let user = user.ok_or_else(error::missing_row)?;
        let author = Author { user, correlation_id: &job.correlation_id };
        let end = AnswerEnd { status: Status::Cancelled, text: None, metadata: None, error: None };
        self.publish_started(&author, access, answer, &end).map(drop)
    }

    /// Drops the jobs and started answers of this transaction in deleted workspaces and conversations. Their rows are purged
    /// later.
    pub(crate) fn drop_answers_in(&mut self, is_deleted: impl Fn(WorkspaceId, ConversationId) -> bool) {
        self.jobs.retain(|job| !is_deleted(job.workspace_id, job.conversation_id));
        self.started.retain(|started| !is_deleted(started.workspace_id, started.conversation_id));
    }

    fn close_job(&mut self, key: JobId) -> RowResult<()> {
        let next = self.rows.delete_answer_job(key)?;
        self.jobs.retain(|job| job.key != key);
        self.jobs.extend(next);
        Ok(())
    }

    /// Publishes an answer that has started. It needs a separate event, because its message's number is older than its text.
    fn publish_started(
        &mut self,
        author: &Author<'_>,
        access: &ConversationAccess,
        answer: EventNumber,
        end: &AnswerEnd<'_>,
    ) -> RowResult<Arc<Event>> {
        let mut message = self.rows.message(answer, access.id)?.ok_or_else(error::missing_row)?;
        let stamp = self.next_number();
        message.content = end.text.unwrap_or(&message.content).clone();
        message.metadata = end.metadata.unwrap_or(&message.metadata).clone();
        message.status = end.status;
        message.updated_at = stamp.1;
        self.rows.finish_answer(answer, &message, stamp.0)?;
        self.record_update(access.number, stamp.1, None);
        self.started.retain(|started| started.message_id != message.id);
        let about = (answer, message.created_at);
        self.publish_message_event(stamp, author, access, EventKind::Output, about, EventBody::Message(message))
    }

    /// Publishes an answer that has not started. Its message is its own journal entry.
    fn publish_at_once(
        &mut self,
        author: &Author<'_>,
        access: &ConversationAccess,
        job: &OpenJob,
        text: &Content,
        end: &AnswerEnd<'_>,
    ) -> RowResult<Arc<Event>> {
        let stamp = self.next_number();
        let metadata = end.metadata.cloned().unwrap_or_else(Metadata::empty);
        let message = self.answer_message(stamp, author, access, job, (text.clone(), metadata, end.status));
        self.insert_answer(stamp, author, access, job, &message, Publication::OwnEntry)?;
        Ok(self.emit(stamp, author, access, EventKind::Output, EventBody::Message(message)))
    }

    fn publish_failure(
        &mut self,
        author: &Author<'_>,
        access: &ConversationAccess,
        job: &OpenJob,
        answer: Option<MessageId>,
        reason: &str,
    ) -> RowResult<EventNumber> {
        let asked = MessageId(self.ids.uuid(job.key.0, job.asked_at));
        let stamp = self.next_number();
        let event = NewStateEvent {
            kind: EventKind::OutputError,
            workspace: &access.workspace,
            conversation: Some(access),
            recipients: access.recipients.clone(),
            recipient_keys: &access.recipient_keys,
            payload: event::output_error_data(asked, access.id, answer, reason),
        };
        self.publish_state_event(stamp, author, event)?;
        Ok(stamp.0)
    }

    fn answer_message(
        &self,
        (number, at): (EventNumber, WallTime),
        author: &Author<'_>,
        access: &ConversationAccess,
        job: &OpenJob,
        (content, metadata, status): (Content, Metadata, Status),
    ) -> Message {
        Message {
            id: MessageId(self.ids.uuid(number, at)),
            conversation_id: access.id,
            sender: author.user.id.clone(),
            sender_name: author.user.name.clone(),
            role: Role::Assistant,
            content,
            metadata,
            created_at: at,
            updated_at: at,
            status,
            reply_to: Some(self.asked_message(job)),
        }
    }

    /// The message that a job answers.
    fn asked_message(&self, job: &OpenJob) -> MessageId {
        MessageId(self.ids.uuid(job.key.0, job.asked_at))
    }

    fn insert_answer(
        &mut self,
        (number, at): (EventNumber, WallTime),
        author: &Author<'_>,
        access: &ConversationAccess,
        job: &OpenJob,
        message: &Message,
        publication: Publication,
    ) -> RowResult<()> {
        let row = NewMessageRow {
            conversation: access.number,
            sender_key: author.user.key,
            message,
            correlation_id: author.correlation_id,
            reply_to: Some(job.key.0),
            publication,
        };
        self.rows.insert_message(number, &row)?;
        self.record_update(access.number, at, Some(number));
        Ok(())
    }
}

fn check_length(bytes: usize) -> Result<(), Rejection> {
    match bytes {
        0..=CONTENT_BYTES_MAX => Ok(()),
        _ => Err(Rejection::Invalid(vec![("text", "must be at most 1 MiB of UTF-8".to_owned())])),
    }
}
