//! The inputs and the outputs of the scheduler.

use super::PassingId;
use crate::base::limits::{RESPONDER_PAGE_JOBS, RESPONDER_STEPS_PER_USER_MAX, RESPONDER_WAITING_PER_USER_MAX};
use crate::base::memory_plan::MemoryPlan;
use crate::domain::answer_job::{AnswerJob, JobClass, JobId, JobPage, JobRange};
use crate::domain::command::ReplyTo;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::{ConversationId, EventNumber, MessageId, UserId, WorkspaceId};
use crate::domain::result::CommandResult;
use crate::domain::token_rules::{Credential, TokenRules};
use std::sync::Arc;

/// Bounds of a scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerLimits {
    /// Jobs for a model that run at once.
    pub answers_max: usize,
    /// Such jobs of one user.
    pub answers_per_user_max: u32,
    /// Jobs that are closed in one step, at once.
    pub steps_max: usize,
    /// Such jobs of one user.
    pub steps_per_user_max: u32,
    /// Jobs of each class that are kept in memory while they wait; the rest stays in the table.
    pub waiting_max: usize,
    /// Such jobs of one user.
    pub waiting_per_user_max: usize,
    /// Jobs after which a page has no further user.
    pub page_jobs: usize,
    /// Whether a model is configured; without one, its jobs fail.
    pub has_model: bool,
    /// Interval at which jobs are listed again because other instances change the table, in milliseconds; `None` if none do.
    pub relist_milliseconds: Option<u64>,
}

impl SchedulerLimits {
    /// The bounds of a server that is the only one on its database.
    pub fn new(answers_per_user_max: u32, has_model: bool, memory: &MemoryPlan) -> SchedulerLimits {
        SchedulerLimits {
            answers_max: memory.answers_max(),
            answers_per_user_max,
            steps_max: memory.answer_steps_max(),
            steps_per_user_max: RESPONDER_STEPS_PER_USER_MAX,
            waiting_max: memory.answers_waiting_max(),
            waiting_per_user_max: RESPONDER_WAITING_PER_USER_MAX,
            page_jobs: RESPONDER_PAGE_JOBS,
            has_model,
            relist_milliseconds: None,
        }
    }
}

/// An event outside of the scheduler.
#[derive(Debug, Clone)]
pub enum SchedulerInput {
    /// A commit made these jobs the first of their conversations.
    JobsAdded(Vec<AnswerJob>),
    /// Jobs of earlier commits were not passed on because a queue was full: they are in the table only.
    JobsDropped,
    /// The result of [`SchedulerOutput::ListJobs`].
    JobsListed {
        /// The class of the jobs.
        class: JobClass,
        /// The page; `None` if the store could not read it.
        page: Option<JobPage>,
    },
    /// The result of [`SchedulerOutput::AnswerAtOnce`].
    AnsweredAtOnce {
        /// The job.
        job: JobId,
        /// Whether the store took the step or the job was closed before; otherwise the job is still open.
        is_closed: bool,
    },
    /// The first text of an answer is stored in this message.
    AnswerStarted {
        /// The job.
        job: JobId,
        /// The answer's message.
        message_id: MessageId,
    },
    /// An answer that [`SchedulerOutput::StartAnswer`] started has ended.
    AnswerEnded {
        /// The job.
        job: JobId,
        /// The end of the answer.
        end: JobEnd,
    },
    /// A client requests to cancel the running answer and the queued answers of a conversation.
    CancelRequested {
        /// The connection that waits for the result.
        to: ReplyTo,
        /// The conversation.
        conversation_id: ConversationId,
    },
    /// The result of [`SchedulerOutput::CancelAnswers`].
    AnswersCancelled {
        /// The request.
        request: CancelRequest,
        /// The store's result; `None` if a queue was full.
        result: Option<Box<CommandResult>>,
    },
    /// The result of [`SchedulerOutput::CancelAnswer`].
    CancelStored {
        /// The job.
        job: JobId,
        /// The store's result; `None` if a queue was full.
        result: Option<CommandResult>,
    },
    /// A client wants an answer that is passed on.
    PassingRequested {
        /// The request.
        id: PassingId,
        /// The user.
        user: UserId,
        /// The credential of the user's token.
        credential: Credential,
    },
    /// Such a request is over, or its client is gone.
    PassingEnded(PassingId),
    /// The rules about users' tokens, at the start and after each change. Users whose tokens are all rejected get no answers.
    TokenRules(Arc<TokenRules>),
    /// Answers were ended from outside.
    EndedOutside(Vec<OutsideEnd>),
    /// Time has passed.
    Tick,
    /// The process ends: nothing more starts, and running answers stop, except those that are passed on.
    Stop,
    /// The process does not wait any longer for answers that are passed on.
    StopPassing,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// The job is closed, or is left to the next process.
    Closed,
    /// The job is open and nothing of the answer was shown: it is to be started again.
    Retry,
    /// The job is open, but so many answers of its user run on all instances: it is started again after jobs are listed again.
    ShareTaken,
}

/// What ends answers from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutsideEnd {
    /// The message to answer, or the answer's message, is deleted, or the answer is stored by another instance.
    Message(MessageId),
    /// A message has no answer, as an event with this number says. Later answers to it go on.
    Unanswered(MessageId, EventNumber),
    /// A conversation and its messages are deleted.
    Conversation(ConversationId),
    /// A workspace and its conversations are deleted.
    Workspace(WorkspaceId),
}

impl OutsideEnd {
    /// What the event ends, if it ends answers.
    pub fn of(event: &Event) -> Option<OutsideEnd> {
        match event.kind {
            EventKind::MessageDeleted | EventKind::Output => event.message_id().map(OutsideEnd::Message),
            EventKind::OutputError => event.message_id().map(|message| OutsideEnd::Unanswered(message, event.number)),
            EventKind::ConversationDeleted => event.conversation_id.map(OutsideEnd::Conversation),
            EventKind::WorkspaceDeleted => Some(OutsideEnd::Workspace(event.workspace_id)),
            _ => None,
        }
    }
}

/// An action that the driver takes, in order.
#[derive(Debug, Clone)]
pub enum SchedulerOutput {
    /// Read jobs that are the first of their conversations. Next: [`SchedulerInput::JobsListed`].
    ListJobs {
        /// Their class.
        class: JobClass,
        /// Their part of the table.
        range: JobRange,
        /// Maximum number of jobs per user.
        per_user: u32,
        /// Number of jobs after which no further user is added.
        limit: u32,
    },
    /// Close the job in one step. Next: [`SchedulerInput::AnsweredAtOnce`].
    AnswerAtOnce {
        /// The job.
        job: AnswerJob,
        /// The answer to store.
        answer: ImmediateAnswer,
    },
    /// Have a model write the answer. Next: [`SchedulerInput::AnswerEnded`].
    StartAnswer(AnswerJob),
    /// Have a started answer end soon; it still ends with [`SchedulerInput::AnswerEnded`].
    StopAnswer {
        /// The job.
        job: JobId,
        /// The reason.
        reason: StopReason,
    },
    /// Close the job of a running answer as cancelled, with the text so far. Next: [`SchedulerInput::CancelStored`].
    CancelAnswer(AnswerJob),
    /// Close the jobs of a conversation as cancelled. Next: [`SchedulerInput::AnswersCancelled`].
    CancelAnswers {
        /// The request.
        request: CancelRequest,
        /// The job of the running answer, which is closed with the text so far.
        running: Option<AnswerJob>,
    },
    /// Ask a model for an answer that is passed on. Next: [`SchedulerInput::PassingEnded`].
    StartPassing(PassingId),
    /// End such a request for this reason, if it is not over. It is not known here any more.
    RejectPassing(PassingId, PassingRejection),
    /// The result of a cancel request.
    CancelResult(CommandResult),
    /// A cancel request without result: a queue was full.
    CancelDropped(ReplyTo),
}

/// A client's request to cancel the answers of a conversation. The store may need several commands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CancelRequest {
    /// The connection that waits for the result.
    pub to: ReplyTo,
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The last job to cancel, once the first command has determined it.
    pub through: Option<JobId>,
    /// The number of answers that are cancelled.
    pub count: u64,
}

/// Why a request whose answer is passed on is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassingRejection {
    /// Too many requests wait.
    TooMany,
    /// The user's token is rejected.
    Unauthorized,
    /// The process ends.
    Shutdown,
}

/// An answer that needs no model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImmediateAnswer {
    /// The message itself.
    Echo,
    /// The end of an answer that an earlier process or a failed thread began: its text stays as it is stored.
    Interrupted,
    /// An error: the job's responder is not configured any more.
    NotConfigured,
    /// Nothing: the tokens of the job's user are all rejected.
    Cancelled,
}

/// Why a started answer is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Its job is closed: nothing is left to be stored.
    JobClosed,
    /// The process ends.
    Shutdown,
}
