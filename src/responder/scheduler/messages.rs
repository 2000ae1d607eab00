//! The inputs and the outputs of the scheduler.

use crate::base::memory_plan::MemoryPlan;
use crate::domain::answer_job::{AnswerJob, JobId};
use crate::domain::command::ReplyTo;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::{ConversationId, MessageId, WorkspaceId};
use crate::domain::result::CommandResult;

/// Bounds of a scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerLimits {
    /// Answers of all users that a model writes at once.
    pub answers_max: usize,
    /// Answers of one user that a model writes at once.
    pub answers_per_user_max: u32,
    /// Jobs that are kept in memory while they wait; the rest stays in the table.
    pub waiting_max: usize,
    /// Whether a model is configured; without one, its jobs fail.
    pub has_model: bool,
}

impl SchedulerLimits {
    /// The bounds of a server.
    pub fn new(answers_per_user_max: u32, has_model: bool, memory: &MemoryPlan) -> SchedulerLimits {
        SchedulerLimits {
            answers_max: memory.answers_max(),
            answers_per_user_max,
            waiting_max: memory.answers_waiting_max(),
            has_model,
        }
    }
}

/// An event outside of the scheduler.
#[derive(Debug, Clone)]
pub enum SchedulerInput {
    /// A commit added jobs.
    JobsAdded(Vec<AnswerJob>),
    /// Jobs of earlier commits were not passed on because a queue was full: they are in the table only.
    JobsDropped,
    /// The page that [`SchedulerOutput::ListJobs`] asked for, oldest first; an empty page is the last one. `None`: the
    /// store could not read it.
    JobsListed(Option<Vec<AnswerJob>>),
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
    /// A client requests to cancel the running answer of a conversation.
    CancelRequested {
        /// The connection that waits for the result.
        to: ReplyTo,
        /// The conversation.
        conversation_id: ConversationId,
    },
    /// The result of [`SchedulerOutput::CancelAnswer`].
    CancelStored {
        /// The job.
        job: JobId,
        /// The connection that waits for the result.
        to: ReplyTo,
        /// The store's result; `None` if a queue was full.
        result: Option<CommandResult>,
    },
    /// Messages, conversations or workspaces were deleted.
    Deleted(Vec<Deletion>),
    /// Time has passed.
    Tick,
    /// The process ends: nothing more starts, and running answers stop.
    Stop,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// The job is closed, or is left to the next process.
    Closed,
    /// The job is open and nothing of the answer was shown: it is to be started again.
    Retry,
}

/// The subject of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// A message.
    Message(MessageId),
    /// A conversation and its messages.
    Conversation(ConversationId),
    /// A workspace and its conversations.
    Workspace(WorkspaceId),
}

impl Deletion {
    /// The subject of the event, if it is a deletion.
    pub fn of(event: &Event) -> Option<Deletion> {
        match event.kind {
            EventKind::MessageDeleted => event.message_id().map(Deletion::Message),
            EventKind::ConversationDeleted => event.conversation_id.map(Deletion::Conversation),
            EventKind::WorkspaceDeleted => Some(Deletion::Workspace(event.workspace_id)),
            _ => None,
        }
    }
}

/// An action that the driver takes, in order.
#[derive(Debug, Clone)]
pub enum SchedulerOutput {
    /// Read open jobs after `after`, at most `limit`. Next: [`SchedulerInput::JobsListed`].
    ListJobs {
        /// The newest job that is known.
        after: JobId,
        /// Most jobs.
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
    /// Close the job as cancelled, with the text so far. Next: [`SchedulerInput::CancelStored`].
    CancelAnswer {
        /// The job.
        job: AnswerJob,
        /// The connection that waits for the result.
        to: ReplyTo,
    },
    /// The result of a cancel request.
    CancelResult(CommandResult),
    /// A cancel request without result: a queue was full.
    CancelDropped(ReplyTo),
}

/// An answer that needs no model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImmediateAnswer {
    /// The message itself.
    Echo,
    /// The end of an answer that an earlier process began: its text stays as it is stored.
    Interrupted,
    /// An error: the job's responder is not configured any more.
    NotConfigured,
}

/// Why a started answer is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Its job is closed: nothing is left to be stored.
    JobClosed,
    /// The process ends.
    Shutdown,
}
