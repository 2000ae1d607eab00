//! Answer jobs, the steps of answers, and their ends.

use super::CommandOutcome;
use crate::base::limits::*;
use crate::base::text::beginning;
use crate::base::time::WallTime;
use crate::domain::answer_job::{AnswerJob, AnswerStep, CancelledAnswer, JobId, UserKey};
use crate::domain::answer_status_change::{AnswerPhase, AnswerStatusChange};
use crate::domain::command::{Actor, ApiVariant, ConversationRef};
use crate::domain::event::{Event, EventBody, EventKind};
use crate::domain::id::{ConversationId, EventNumber, MessageId, WorkspaceId};
use crate::domain::live_answer::LiveAnswer;
use crate::domain::model::{Content, Message, Metadata, Role, Status};
use crate::domain::responder::ResponderKind;
use crate::domain::result::{Outcome, Rejection, Resource};
use crate::domain::started_answer::AnswerStarted;
use crate::domain::token_rules::Credential;
use crate::domain::usage::{Day, TokenUsage};
use crate::store::error::{self, Abort};
use crate::store::rules::records::{
    ConversationAccess, EndedAnswerRow, LastAnswerRow, NewEventRow, NewJobRow, NewMessageRow, NewUsage, OpenJob,
    Publication, message_event_kind,
};
use crate::store::rules::rows::{RowResult, Rows};
use crate::store::rules::transaction::{Author, CommandCaller, Transaction};
use crate::wire::answer_settings;
use crate::wire::event;
use crate::wire::metadata;
use std::sync::Arc;

const CLOSED: Rejection = Rejection::Conflict("the job is closed");

/// The final state of an answer. Absent text and metadata leave the stored values unchanged.
struct AnswerEnd<'f> {
    status: Status,
    text: Option<&'f Content>,
    reasoning: Option<&'f str>,
    metadata: Option<&'f Metadata>,
    error: Option<&'f str>,
    usage: Option<&'f TokenUsage>,
}

impl<'f> AnswerEnd<'f> {
    /// The end with this status, without anything new.
    fn of(status: Status) -> AnswerEnd<'f> {
        AnswerEnd { status, text: None, reasoning: None, metadata: None, error: None, usage: None }
    }

    /// The error message for clients, if the answer failed.
    fn failure(&self) -> Option<&'f str> {
        let error = self.error.unwrap_or("the answer failed");
        (self.status == Status::Failed).then(|| beginning(error, ANSWER_ERROR_BYTES_MAX))
    }

    /// The same end, for an answer without text: it was cancelled, or else it failed.
    fn without_text(self) -> AnswerEnd<'f> {
        let reason = match self.status {
            Status::Cancelled => return self,
            Status::Interrupted => "the answer was interrupted before its first text",
            Status::Complete => "the model's answer is empty",
            _ => "the answer failed",
        };
        AnswerEnd { status: Status::Failed, error: Some(self.error.unwrap_or(reason)), ..self }
    }
}

impl<R: Rows> Transaction<'_, R> {
    /// Creates the job to answer a new message, if its conversation has a responder.
    pub(crate) fn insert_job_for(
        &mut self,
        author: &Author<'_>,
        access: &ConversationAccess,
        number: EventNumber,
        message: &Message,
    ) -> RowResult<()> {
        let Some(responder) = self.cache.responders.answering(access.responder.as_deref()) else { return Ok(()) };
        self.insert_job(author, access, JobId(number), (number, message), responder)
    }

    fn insert_job(
        &mut self,
        author: &Author<'_>,
        access: &ConversationAccess,
        key: JobId,
        (number, message): (EventNumber, &Message),
        responder: ResponderKind,
    ) -> RowResult<()> {
        let user_key = UserKey(author.user.key);
        if responder == ResponderKind::OpenAi {
            let change = AnswerStatusChange {
                reply_to: message.id,
                conversation_id: access.id,
                workspace_id: access.workspace.id,
                recipients: access.recipients.clone(),
                known_at: self.head.number,
                sender: responder.user_id(),
                correlation_id: author.correlation_id.clone(),
                phase: AnswerPhase::Queued,
            };
            self.queued.push((key, Arc::new(change)));
        }
        let is_first = self.rows.insert_answer_job(&NewJobRow { key, message: number, responder, user: user_key })?;
        // Any other job is passed on when those before it are closed.
        if !is_first {
            return Ok(());
        }
        self.jobs.push(AnswerJob {
            key,
            message_id: message.id,
            conversation_id: access.id,
            workspace_id: access.workspace.id,
            user: author.user.id.clone(),
            user_key,
            responder,
            correlation_id: author.correlation_id.clone(),
            content_bytes: message.content.as_str().len(),
            started: None,
        });
        Ok(())
    }

    /// What answers the messages of a conversation that chose this responder.
    ///
    /// # Errors
    /// Fails if nothing does.
    pub(crate) fn responder_of(&self, chosen: Option<&str>) -> Result<ResponderKind, Rejection> {
        self.cache.responders.answering(chosen).ok_or(Rejection::Conflict("the conversation has no responder"))
    }

    /// Checks that the caller may have another message answered today, in a conversation that chose this responder.
    ///
    /// # Errors
    /// Fails if a model is to answer and the caller's answers have used the tokens of the day.
    pub(crate) fn check_quota(&self, caller: &CommandCaller<'_>, chosen: Option<&str>) -> Result<(), Abort<Rejection>> {
        let (Some(tokens_max), Some(user)) = (self.cache.tokens_per_day_max, &caller.known) else { return Ok(()) };
        if self.cache.responders.answering(chosen) == Some(ResponderKind::OpenAi)
            && self.rows.tokens_used(user.key, Day::of(self.wall))? >= tokens_max
        {
            return Err(Rejection::QuotaExceeded { retry_seconds: Day::seconds_left(self.wall) }.into());
        }
        Ok(())
    }

    /// The rules that the responder and the settings of answers in `patch` violate, if any. `after` is the metadata with `patch`
    /// applied.
    pub(crate) fn check_answer_settings(&self, patch: &Metadata, after: &Metadata) -> Option<(&'static str, String)> {
        let responders = &self.cache.responders;
        let mut violations = answer_settings::violations(patch, after, &responders.models);
        // A choice can always be removed, and a patch without a choice leaves an earlier choice unchanged.
        if metadata::has_member(patch, "responder") && metadata::has_member(after, "responder") {
            let chosen = metadata::string_member(after, "responder");
            if chosen.is_none_or(|name| responders.chosen(&name).is_none()) {
                violations.insert(0, responders.rule());
            }
        }
        (!violations.is_empty()).then(|| ("metadata", violations.join("; ")))
    }

    /// Answers a message again. The job comes after all open ones of the conversation.
    pub(crate) fn answer_again(
        &mut self,
        caller: &CommandCaller<'_>,
        conversation: ConversationRef,
        id: MessageId,
    ) -> CommandOutcome {
        let access = self.authorize(caller, conversation, ApiVariant::Conversations)?;
        let found = self.rows.message_in(&access, id)?;
        let (number, message) = found.ok_or(Rejection::NotFound(Resource::Message))?;
        if message.role != Role::User || message_event_kind(&message.sender) == EventKind::Output {
            let rule = "must be `user`: no other message is answered".to_owned();
            return Err(Rejection::Invalid(vec![("role", rule)]).into());
        }
        if self.rows.job_of_message(number)?.is_some() {
            return Err(Rejection::Conflict("the message is already being answered").into());
        }
        let responder = self.responder_of(access.responder.as_deref())?;
        self.check_quota(caller, access.responder.as_deref())?;
        let last = self.rows.last_answer(number)?;
        if last.as_ref().is_some_and(|last| last.attempt >= ANSWER_ATTEMPTS_MAX) {
            return Err(Rejection::Conflict("the message was answered too often").into());
        }

        let author = self.upsert_author(caller)?;
        let superseded = match last {
            Some(last) => self.supersede_answer(&author, &access, number, &last)?,
            None => None,
        };
        let key = JobId(self.next_number().0);
        self.insert_job(&author, &access, key, (number, &message), responder)?;
        Ok((Outcome::AnswerQueued { reply_to: id }, superseded))
    }

    /// Marks the last answer to a message as superseded. Returns the number of the event about the answer's message, if that
    /// exists.
    fn supersede_answer(
        &mut self,
        author: &Author<'_>,
        access: &ConversationAccess,
        asked: EventNumber,
        last: &LastAnswerRow,
    ) -> RowResult<Option<EventNumber>> {
        let found = match last.answer {
            Some(answer) => self.rows.message(answer, access.id)?.map(|message| (answer, message)),
            None => None,
        };
        let Some((answer, mut message)) = found else {
            let at = self.next_time();
            self.rows.supersede_answer(asked, last, at)?;
            return Ok(None);
        };
        let stamp = self.next_number();
        self.rows.supersede_answer(asked, last, stamp.1)?;
        (message.status, message.updated_at) = (Status::Superseded, stamp.1);
        self.record_update(access.number, stamp.1, None);
        let about = (answer, message.created_at);
        self.publish_message_event(
            stamp,
            author,
            access,
            EventKind::MessageUpdated,
            about,
            EventBody::Message(message),
        )?;
        Ok(Some(stamp.0))
    }

    /// Executes one step of an answer. Once a step has closed the job, later steps are rejected.
    pub(crate) fn answer(&mut self, caller: &CommandCaller<'_>, key: JobId, step: &AnswerStep) -> CommandOutcome {
        let job = self.rows.answer_job(key)?.ok_or(CLOSED)?;
        let access = self.conversation_at(job.conversation)?.ok_or(CLOSED)?;
        if *caller.id() != job.responder.user_id() {
            return Err(Rejection::Forbidden("the job belongs to another responder").into());
        }
        if !self.may_take(&job, step) {
            return Err(CLOSED.into());
        }
        match step {
            AnswerStep::Claim => self.claim_job(&job),
            AnswerStep::Begin { text, live } => self.start_answer(caller, &access, &job, text, live),
            AnswerStep::Append { text } => self.append_to_answer(caller, &access, &job, text),
            AnswerStep::Echo { metadata, .. } => {
                let asked = self.rows.message(job.asked, access.id)?.ok_or_else(error::missing_row)?;
                let (text, metadata) = (Some(&asked.content), Some(metadata));
                let end = AnswerEnd { text, metadata, ..AnswerEnd::of(Status::Complete) };
                self.finish_answer(caller, &access, &job, end)
            }
            AnswerStep::Finish { status, text, reasoning, metadata, error, usage } => {
                let end = AnswerEnd {
                    status: *status,
                    text: text.as_ref(),
                    reasoning: reasoning.as_deref(),
                    metadata: Some(metadata),
                    error: error.as_deref(),
                    usage: usage.as_ref(),
                };
                self.finish_answer(caller, &access, &job, end)
            }
        }
    }

    /// Whether the claim of a job allows a step. Without instances, no job is claimed, and every step is allowed.
    fn may_take(&self, job: &OpenJob, step: &AnswerStep) -> bool {
        let is_own = job.claimed_by == self.instance;
        match step {
            AnswerStep::Begin { .. } | AnswerStep::Append { .. } => is_own,
            AnswerStep::Claim | AnswerStep::Echo { .. } | AnswerStep::Finish { .. } => {
                is_own || job.claimed_by.is_none()
            }
        }
    }

    /// Reserves a job for this instance, within its user's share over all instances. An answer that has begun is not continued.
    fn claim_job(&mut self, job: &OpenJob) -> CommandOutcome {
        let instance = self.instance.ok_or(Rejection::Conflict("no other instance uses the database"))?;
        if !job.is_first || job.is_begun {
            return Err(CLOSED.into());
        }
        if job.claimed_by.is_none() {
            if self.rows.claimed_jobs(job.user)? >= self.cache.responders.answers_per_user_max {
                return Err(Rejection::SHARE_TAKEN.into());
            }
            self.rows.claim_answer_job(job.key, instance)?;
        }
        Ok((Outcome::Answered { message_id: None, closed: false }, None))
    }

    fn start_answer(
        &mut self,
        caller: &CommandCaller<'_>,
        access: &ConversationAccess,
        job: &OpenJob,
        text: &Arc<str>,
        live: &LiveAnswer,
    ) -> CommandOutcome {
        if job.is_begun {
            return Err(Rejection::Conflict("the answer has already started").into());
        }
        check_length(text.len())?;

        let author = Author { user: self.upsert_author(caller)?.user, correlation_id: &job.correlation_id };
        // An earlier process may have reserved the id.
        let id = job.answer.unwrap_or_else(|| self.next_number());
        if text.is_empty() {
            self.rows.set_job_answer(job.key, id, false)?;
        } else {
            self.begin_message(&author, access, job, id, text)?;
        }
        let message_id = MessageId(self.ids.uuid(id.0, id.1));
        self.started.push(AnswerStarted {
            job: job.key,
            message_id,
            reply_to: self.asked_message(job),
            conversation_id: access.id,
            workspace_id: access.workspace.id,
            recipients: access.recipients.clone(),
            known_at: EventNumber::default(),
            sender: author.user.id.clone(),
            correlation_id: job.correlation_id.clone(),
            live: live.clone(),
        });
        Ok((Outcome::Answered { message_id: Some(message_id), closed: false }, None))
    }

    /// Creates the message of an answer, under the number and time that were assigned to it.
    fn begin_message(
        &mut self,
        author: &Author<'_>,
        access: &ConversationAccess,
        job: &OpenJob,
        id: (EventNumber, WallTime),
        text: &Arc<str>,
    ) -> RowResult<()> {
        let updated_at = if id.0 == self.head.number { id.1 } else { self.next_time() };
        let content = Content::new_unchecked(text.clone());
        let mut message = self.new_answer(id, author, access, job, (content, Metadata::empty(), Status::Streaming));
        message.updated_at = updated_at;
        self.insert_answer(id.0, author, access, job, &message, Publication::Pending)?;
        self.rows.set_job_answer(job.key, id, true)
    }

    fn append_to_answer(
        &mut self,
        caller: &CommandCaller<'_>,
        access: &ConversationAccess,
        job: &OpenJob,
        text: &Arc<str>,
    ) -> CommandOutcome {
        let id = job.answer.ok_or(Rejection::Conflict("the answer has not started"))?;
        let bytes = if job.is_begun { self.rows.answer_bytes(id.0)? } else { 0 };
        check_length(bytes + text.len())?;

        if job.is_begun {
            let at = self.next_time();
            self.rows.append_to_answer(id.0, text, at)?;
            self.record_update(access.number, at, None);
        } else if !text.is_empty() {
            let author = Author { user: self.upsert_author(caller)?.user, correlation_id: &job.correlation_id };
            self.begin_message(&author, access, job, id, text)?;
        }
        let message_id = Some(MessageId(self.ids.uuid(id.0, id.1)));
        Ok((Outcome::Answered { message_id, closed: false }, None))
    }

    fn finish_answer(
        &mut self,
        caller: &CommandCaller<'_>,
        access: &ConversationAccess,
        job: &OpenJob,
        end: AnswerEnd<'_>,
    ) -> CommandOutcome {
        if matches!(end.status, Status::Streaming | Status::Superseded) {
            let rule = "must be the status of an answer that has ended".to_owned();
            return Err(Rejection::Invalid(vec![("status", rule)]).into());
        }
        check_end(&end)?;

        let author = Author { user: self.upsert_author(caller)?.user, correlation_id: &job.correlation_id };
        let (message_id, number) = self.end_answer(&author, access, job, end)?;
        Ok((Outcome::Answered { message_id, closed: true }, Some(number)))
    }

    /// Closes a job with the end of its answer. Returns the id of the answer's message, if it has text, and the number of the
    /// event.
    fn end_answer(
        &mut self,
        author: &Author<'_>,
        access: &ConversationAccess,
        job: &OpenJob,
        end: AnswerEnd<'_>,
    ) -> RowResult<(Option<MessageId>, EventNumber)> {
        self.close_job(job.key)?;
        let text = end.text.filter(|text| !text.as_str().is_empty());
        let end = if job.is_begun || text.is_some() { end } else { end.without_text() };
        let output = match (job.answer, text) {
            (Some((answer, _)), _) if job.is_begun => Some(self.publish_started(author, access, answer, &end)?),
            (Some(id), Some(text)) => {
                self.begin_message(author, access, job, id, &text.as_str().into())?;
                Some(self.publish_started(author, access, id.0, &end)?)
            }
            (None, Some(text)) => Some(self.publish_at_once(author, access, job, text, &end)?),
            (_, None) => None,
        };
        let message_id = output.as_ref().and_then(|event| event.message_id());
        let answer = message_id.and_then(|id| self.ids.open(id.0)).map(|(number, _)| number);
        if let (Some(answer), Some(reasoning)) = (answer, end.reasoning.filter(|text| !text.is_empty())) {
            self.rows.insert_reasoning(answer, beginning(reasoning, REASONING_BYTES_MAX))?;
        }
        if let Some(used) = end.usage {
            self.add_usage(job.user, Some((access.number, access.created_at)), used)?;
        }
        self.rows.insert_ended_answer(&EndedAnswerRow {
            asked: job.asked,
            status: end.status,
            answer,
            error: end.failure(),
            usage: end.usage,
        })?;
        let number = match output {
            Some(event) => event.number,
            None => self.publish_failure(author, access, job, &end)?,
        };
        Ok((message_id, number))
    }

    /// Counts the tokens of an answer outside of conversations.
    pub(crate) fn count_usage(&mut self, caller: &CommandCaller<'_>, used: &TokenUsage) -> CommandOutcome {
        let user = UserKey(self.upsert_author(caller)?.user.key);
        self.add_usage(user, None, used)?;
        Ok((Outcome::UsageCounted, None))
    }

    fn add_usage(
        &mut self,
        user: UserKey,
        conversation: Option<(EventNumber, WallTime)>,
        used: &TokenUsage,
    ) -> RowResult<()> {
        let model = beginning(&used.model, MODEL_NAME_BYTES_MAX).into();
        let used = TokenUsage { model, tokens: used.tokens };
        self.rows.add_usage(&NewUsage { user, day: Day::of(self.wall), conversation, usage: &used })
    }

    /// Cancels the running answer and the queued answers of a conversation through the job `through`, as many as fit into one
    /// command.
    pub(crate) fn cancel_answers(
        &mut self,
        conversation: ConversationId,
        running: Option<&CancelledAnswer>,
        through: Option<JobId>,
    ) -> CommandOutcome {
        let nothing = Outcome::AnswersCancelled { count: 0, closed: Vec::new(), rest: None };
        let Some(access) = self.conversation(conversation)? else { return Ok((nothing, None)) };
        let through = through.unwrap_or(JobId(self.head.number));
        let (mut closed, mut last) = (Vec::new(), None);
        if let Some(running) = running
            && let Some(job) = self.rows.answer_job(running.job)?
            && job.conversation == access.number
            // The text of an answer that lost its claim is not that of the job's answer.
            && job.claimed_by == self.instance
        {
            let end = AnswerEnd {
                text: running.text.as_ref(),
                reasoning: running.reasoning.as_deref(),
                metadata: Some(&running.metadata),
                usage: running.usage.as_ref(),
                ..AnswerEnd::of(Status::Cancelled)
            };
            check_end(&end)?;
            last = Some(self.cancel_answer(&access, &job, end)?);
            closed.push(job.key);
        }
        // The last jobs come first, because closing the first one makes the next one start.
        let jobs = self.rows.last_jobs(access.number, through, CANCELLED_ANSWERS_MAX)?;
        let mut is_complete = jobs.len() < CANCELLED_ANSWERS_MAX;
        let rows_changed = self.rows_changed;
        for key in jobs {
            if self.rows_changed - rows_changed >= TRANSACTION_ROWS_MAX {
                is_complete = false;
                break;
            }
            let Some(job) = self.rows.answer_job(key)? else { continue };
            last = Some(self.cancel_answer(&access, &job, AnswerEnd::of(Status::Cancelled))?);
            closed.push(key);
        }
        let rest = (!is_complete).then_some(through);
        Ok((Outcome::AnswersCancelled { count: closed.len() as u64, closed, rest }, last))
    }

    /// Cancels the answer of a job, on behalf of the job's responder. Returns the number of the event.
    fn cancel_answer(
        &mut self,
        access: &ConversationAccess,
        job: &OpenJob,
        end: AnswerEnd<'_>,
    ) -> RowResult<EventNumber> {
        let actor = Actor {
            id: job.responder.user_id(),
            name: Some(job.responder.as_str().into()),
            email: None,
            credential: Credential::default(),
        };
        let known = self.user(&actor.id)?;
        let caller = CommandCaller { actor: &actor, correlation_id: &job.correlation_id, known };
        let author = Author { user: self.upsert_author(&caller)?.user, correlation_id: &job.correlation_id };
        let (_, number) = self.end_answer(&author, access, job, end)?;
        Ok(number)
    }

    /// Closes the job of a message that is about to be deleted, whether it is the message to answer or the answer. Returns the
    /// job if its answer has begun and is kept: `cancel_started_answer` then publishes the stored text.
    pub(crate) fn close_answer_of(&mut self, number: EventNumber, message: &Message) -> RowResult<Option<OpenJob>> {
        let asked = if message_event_kind(&message.sender) != EventKind::Output {
            Some(number)
        } else {
            if let Some(event) = self.rows.publication(number)? {
                self.rows.delete_event(event)?;
            }
            let asked = message.reply_to.and_then(|id| self.ids.open(id.0)).map(|(number, _)| number);
            asked.filter(|_| message.status == Status::Streaming)
        };
        let Some(key) = asked.map(|asked| self.rows.job_of_message(asked)).transpose()?.flatten() else {
            return Ok(None);
        };
        let job = self.rows.answer_job(key)?;
        self.close_job(key)?;
        let Some(job) = job else { return Ok(None) };
        if job.asked == number {
            return Ok(Some(job).filter(|job| job.is_begun));
        }
        self.rows.insert_ended_answer(&EndedAnswerRow {
            asked: job.asked,
            status: Status::Cancelled,
            answer: Some(number),
            error: None,
            usage: None,
        })?;
        Ok(None)
    }

    /// Publishes the answer of a job that `close_answer_of` closed, as cancelled.
    pub(crate) fn cancel_started_answer(&mut self, access: &ConversationAccess, job: &OpenJob) -> RowResult<()> {
        let Some((answer, _)) = job.answer else { return Ok(()) };
        let sender = self.rows.message(answer, access.id)?.map(|message| message.sender);
        let user = match sender {
            Some(sender) => self.user(&sender)?,
            None => None,
        };
        let user = user.ok_or_else(error::missing_row)?;
        let author = Author { user, correlation_id: &job.correlation_id };
        self.publish_started(&author, access, answer, &AnswerEnd::of(Status::Cancelled)).map(drop)
    }

    /// Drops the jobs and started answers of this transaction in deleted workspaces and conversations. Their rows are purged
    /// later.
    pub(crate) fn drop_answers_in(&mut self, is_deleted: impl Fn(WorkspaceId, ConversationId) -> bool) {
        self.jobs.retain(|job| !is_deleted(job.workspace_id, job.conversation_id));
        self.started.retain(|started| !is_deleted(started.workspace_id, started.conversation_id));
        self.queued.retain(|(_, change)| !is_deleted(change.workspace_id, change.conversation_id));
    }

    fn close_job(&mut self, key: JobId) -> RowResult<()> {
        let next = self.rows.delete_answer_job(key)?;
        self.started.retain(|started| started.job != key);
        self.queued.retain(|(queued, _)| *queued != key);
        self.jobs.retain(|job| job.key != key);
        self.jobs.extend(next);
        Ok(())
    }

    /// Publishes an answer that has begun. It needs a separate event, because its message's number is older than its text.
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
        message.error = end.failure().map(Arc::from);
        message.updated_at = stamp.1;
        self.rows.finish_answer(answer, &message, stamp.0)?;
        self.record_update(access.number, stamp.1, None);
        let about = (answer, message.created_at);
        self.publish_message_event(stamp, author, access, EventKind::Output, about, EventBody::Message(message))
    }

    /// Publishes an answer that has no id yet. Its message is its own journal entry.
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
        let mut message = self.new_answer(stamp, author, access, job, (text.clone(), metadata, end.status));
        message.error = end.failure().map(Arc::from);
        self.insert_answer(stamp.0, author, access, job, &message, Publication::OwnEntry)?;
        Ok(self.emit(stamp, author, access, EventKind::Output, EventBody::Message(message)))
    }

    /// Publishes the end of an answer without text.
    fn publish_failure(
        &mut self,
        author: &Author<'_>,
        access: &ConversationAccess,
        job: &OpenJob,
        end: &AnswerEnd<'_>,
    ) -> RowResult<EventNumber> {
        let asked = self.asked_message(job);
        let reason = end.failure().unwrap_or("the answer was cancelled");
        let payload = event::output_error_data(asked, access.id, end.status, reason);
        let stamp = self.next_number();
        let row = NewEventRow {
            kind: EventKind::OutputError,
            actor_key: author.user.key,
            correlation_id: author.correlation_id,
            workspace: &access.workspace,
            conversation: Some((access.number, access.created_at)),
            message: Some((job.asked, job.asked_at)),
            payload: &payload,
            recipient_keys: &access.recipient_keys,
        };
        self.insert_event(stamp.0, stamp.1, &row)?;
        let body = EventBody::Unanswered(asked, payload.clone());
        Ok(self.emit(stamp, author, access, EventKind::OutputError, body).number)
    }

    fn new_answer(
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
            error: None,
            answer: None,
            reasoning: None,
        }
    }

    /// The message that a job answers.
    fn asked_message(&self, job: &OpenJob) -> MessageId {
        MessageId(self.ids.uuid(job.asked, job.asked_at))
    }

    fn insert_answer(
        &mut self,
        number: EventNumber,
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
            reply_to: Some(job.asked),
            publication,
        };
        self.insert_message(number, &row)?;
        self.record_update(access.number, message.updated_at, Some(number));
        Ok(())
    }
}

fn check_end(end: &AnswerEnd<'_>) -> Result<(), Rejection> {
    check_length(end.text.map_or(0, |text| text.as_str().len()))?;
    if end.metadata.is_some_and(|metadata| metadata.as_str().len() > METADATA_BYTES_MAX) {
        let rule = format!("must be at most {METADATA_BYTES_MAX} bytes");
        return Err(Rejection::Invalid(vec![("metadata", rule)]));
    }
    Ok(())
}

fn check_length(bytes: usize) -> Result<(), Rejection> {
    match bytes {
        0..=CONTENT_BYTES_MAX => Ok(()),
        _ => Err(Rejection::Invalid(vec![("text", "must be at most 1 MiB of UTF-8".to_owned())])),
    }
}
