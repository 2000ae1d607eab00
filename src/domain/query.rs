//! Queries: what is read from the store, and what was found.

use crate::domain::answer_job::{AnswerJob, JobId, Turn};
use crate::domain::command::{ConversationRef, ReplyTo};
use crate::domain::event::{Event, KindSet};
use crate::domain::id::{EventNumber, MessageId, UserId, WorkspaceId};
use crate::domain::model::{Conversation, Message, UserProfile, Workspace};
use crate::domain::result::Rejection;
use std::sync::Arc;

/// A page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pagination {
    /// Most items.
    pub limit: u32,
    /// Items to pass over.
    pub offset: u64,
}

/// A question to the store.
#[derive(Debug, Clone)]
pub struct Query {
    /// Who waits for the answer.
    pub reply_to: ReplyTo,
    /// Who asks.
    pub caller: UserId,
    /// What is asked.
    pub kind: QueryKind,
}

/// The questions that can be asked.
#[derive(Debug, Clone)]
pub enum QueryKind {
    /// Whether the database can be read.
    Alive,
    /// The caller's own workspaces, in creation order.
    Workspaces(Pagination),
    /// One workspace of the caller's.
    Workspace(WorkspaceId),
    /// The conversations of one workspace of the caller's, in creation order.
    Conversations(WorkspaceId, Pagination),
    /// One conversation that the caller takes part in or owns.
    Conversation(ConversationRef),
    /// The same with its last messages; a stranger does not learn that there is one.
    ConversationView(ConversationRef),
    /// Every conversation that the caller takes part in or owns, the one that changed last first.
    ConversationViews {
        /// Which part of the list.
        span: Pagination,
        /// Whether each comes with its last messages.
        with_messages: bool,
    },
    /// Messages of one conversation that the caller takes part in or owns.
    Messages {
        /// Which conversation.
        conversation: ConversationRef,
        /// Which messages.
        cursor: MessageCursor,
        /// Most messages.
        limit: u32,
    },
    /// One message of such a conversation.
    Message(ConversationRef, MessageId),
    /// Open answer jobs after `after`, oldest first, for the responders. A page may be truncated by its size, so only an
    /// empty page is the last one.
    OpenJobs {
        /// The newest job that is known.
        after: JobId,
        /// Maximum number of jobs.
        limit: u32,
    },
    /// The last `limit` messages of the job's conversation through the one to answer, oldest first, for the responders.
    /// Each answer follows the message that it answers. Empty messages and answers in progress are left out, and the
    /// oldest messages if the result is too large.
    History {
        /// The job.
        job: JobId,
        /// Maximum number of messages.
        limit: u32,
    },
    /// Names of those of the ids who share a conversation with the caller.
    Users(Vec<UserId>),
    /// Whether the caller may open a stream with this filter.
    StreamAccess(StreamFilter),
    /// Events of the caller's after `after`, at most `bytes_max` of them by `Event::weight`, but at least one.
    JournalPage {
        /// The number through which the caller has everything.
        after: EventNumber,
        /// Where to end.
        bytes_max: usize,
        /// Only these.
        filter: StreamFilter,
    },
}

/// Which messages of a conversation a page has. A message that was deleted since still marks its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageCursor {
    /// The first ones.
    First,
    /// The first ones after this one.
    After(MessageId),
    /// The last ones before this one.
    Before(MessageId),
}

/// Which events a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamFilter {
    /// Only of this conversation.
    pub conversation: Option<ConversationRef>,
    /// Only of this workspace.
    pub workspace: Option<WorkspaceId>,
    /// Only of these kinds.
    pub kinds: KindSet,
}

/// An answer of the store.
#[derive(Debug, Clone)]
pub struct QueryResponse {
    /// Who waits for it.
    pub to: ReplyTo,
    /// The journal's position in the transaction that answered.
    pub position: EventNumber,
    /// What was found, or why not.
    pub result: Result<QueryResult, Rejection>,
}

impl QueryResponse {
    /// What the answer holds in memory, about, in bytes.
    pub fn weight(&self) -> usize {
        const EACH: usize = 256;
        let conversation = |found: &Conversation| EACH + found.metadata.as_str().len();
        let messages = |page: &MessagePage| -> usize {
            page.messages.iter().map(|found| EACH + found.content.as_str().len() + found.metadata.as_str().len()).sum()
        };
        let chat = |found: &ConversationView| conversation(&found.conversation) + messages(&found.last);
        EACH + match &self.result {
            Ok(QueryResult::Workspaces(found)) => {
                found.items.iter().map(|item| EACH + item.metadata.as_str().len()).sum()
            }
            Ok(QueryResult::Conversations(found)) => found.items.iter().map(conversation).sum(),
            Ok(QueryResult::ConversationViews(found)) => found.items.iter().map(chat).sum(),
            Ok(QueryResult::ConversationView(found)) => chat(found),
            Ok(QueryResult::Messages(found)) => messages(found),
            Ok(QueryResult::Message(found)) => found.content.as_str().len(),
            Ok(QueryResult::Users(found)) => EACH * found.len(),
            Ok(QueryResult::JournalPage(found)) => found.events.iter().map(|event| event.weight()).sum(),
            _ => 0,
        }
    }
}

/// A page of a list, as found.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// How many there are in all.
    pub total: u64,
    /// Whether the page ended early because it grew too large.
    pub truncated: bool,
}

/// A conversation with its last messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationView {
    /// The conversation.
    pub conversation: Conversation,
    /// Its last messages, if they were asked for.
    pub last: MessagePage,
}

/// Neighbouring messages of one conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePage {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Whether there are fewer than asked for because they grew too large.
    pub truncated: bool,
    /// Which of the messages asked for are here if there are fewer: what a client goes on from is the other end.
    pub kept: TruncatedEnd,
}

/// Which end of a page stays when the page has to become smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TruncatedEnd {
    /// The oldest messages: the page is one of many towards the newest.
    Oldest,
    /// The newest messages: the page is one of many towards the oldest.
    Newest,
}

/// What was found.
#[derive(Debug, Clone)]
pub enum QueryResult {
    /// The database can be read.
    Alive,
    /// Workspaces.
    Workspaces(Page<Workspace>),
    /// A workspace.
    Workspace(Workspace),
    /// Conversations.
    Conversations(Page<Conversation>),
    /// A conversation.
    Conversation(Conversation),
    /// A conversation with its last messages.
    ConversationView(ConversationView),
    /// Conversations, each perhaps with its last messages.
    ConversationViews(Page<ConversationView>),
    /// Messages of one conversation.
    Messages(MessagePage),
    /// A message.
    Message(Message),
    /// Open orders to answer.
    OpenJobs(Vec<AnswerJob>),
    /// What was said before an answer.
    History(Vec<Turn>),
    /// Users.
    Users(Vec<UserProfile>),
    /// The stream may be opened, with this filter: a default conversation is named by its id.
    StreamAccess(StreamFilter),
    /// Events.
    JournalPage(JournalPage),
}

/// Events of one user, in order.
#[derive(Debug, Clone)]
pub struct JournalPage {
    /// The events; every one of the user's after the asked-for number and through `through` is among them, unless
    /// `gap` says otherwise.
    pub events: Vec<Arc<Event>>,
    /// The number through which the page is complete: the snapshot's position, or the last event of a full page.
    pub through: EventNumber,
    /// The snapshot's position.
    pub position: EventNumber,
    /// Set when an event of the user's after the asked-for number is no longer kept, or the number is not of this
    /// journal: the first number from which on everything is there.
    pub gap: Option<EventNumber>,
}
