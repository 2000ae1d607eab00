//! Queries: reads of the store, and their results.

use crate::domain::answer_job::{JobClass, JobId, JobPage, JobRange};
use crate::domain::answer_page::AnswerPage;
use crate::domain::command::{ConversationRef, ReplyTo};
use crate::domain::event::{Event, KindSet};
use crate::domain::history::History;
use crate::domain::holder::Holder;
use crate::domain::id::{ConversationId, EventNumber, MessageId, UserId, WorkspaceId};
use crate::domain::model::{Conversation, Message, UserProfile, Workspace};
use crate::domain::page::{ConversationView, MessagePage, Page, Pagination};
use crate::domain::result::Rejection;
use crate::domain::search::{Search, SearchPage};
use crate::domain::usage::{DayRange, UsageBy, UsageReport};
use std::net::IpAddr;
use std::sync::Arc;

/// A read of the store.
#[derive(Debug, Clone)]
pub struct Query {
    /// The recipient of the response.
    pub reply_to: ReplyTo,
    /// The user that sent the request.
    pub caller: UserId,
    /// The subject.
    pub kind: QueryKind,
}

impl Query {
    /// The holder of the share that the query takes in a queue: the caller, or the server for its own queries.
    pub fn holder(&self) -> Holder {
        match self.kind {
            QueryKind::Jobs { .. } => Holder::Server,
            QueryKind::Alive(network) => Holder::Network(network),
            _ => Holder::User(self.caller.clone()),
        }
    }
}

/// The subject of a query.
#[derive(Debug, Clone)]
pub enum QueryKind {
    /// Whether the database can be read, for a client of this network.
    Alive(IpAddr),
    /// The caller's own workspaces, in creation order.
    Workspaces(Pagination),
    /// One workspace of the caller's.
    Workspace(WorkspaceId),
    /// The conversations of one workspace of the caller's, in creation order.
    Conversations(WorkspaceId, Pagination),
    /// One conversation of which the caller is a participant or the owner.
    Conversation(ConversationRef),
    /// The same with its last messages. For any other user it does not exist.
    ConversationView(ConversationRef),
    /// All conversations of which the caller is a participant or the owner, the last changed first.
    ConversationViews {
        /// The part of the list.
        pagination: Pagination,
        /// Whether each conversation includes its last messages.
        with_messages: bool,
    },
    /// Messages of one conversation of which the caller is a participant or the owner.
    Messages {
        /// The conversation.
        conversation: ConversationRef,
        /// The part of the messages.
        cursor: MessageCursor,
        /// The maximum number of messages.
        limit: u32,
        /// Whether answers include the model's reasoning.
        with_reasoning: bool,
    },
    /// One message of a conversation of which the caller is a participant or the owner.
    Message {
        /// The conversation.
        conversation: ConversationRef,
        /// The message.
        message: MessageId,
        /// Whether an answer includes the model's reasoning.
        with_reasoning: bool,
    },
    /// The tokens that the caller's answers used.
    Usage {
        /// The days.
        days: DayRange,
        /// The property by which they are grouped.
        by: UsageBy,
    },
    /// The answer with this id, or the answer to the message with this id, in a conversation of which the caller is a
    /// participant or the owner.
    AnswerPage {
        /// The conversation.
        conversation: ConversationRef,
        /// The answer, or the message that it answers.
        message: MessageId,
        /// Where the part of the text begins, in bytes.
        from: usize,
        /// About the length of that part, in bytes.
        bytes_max: usize,
    },
    /// Answer jobs that are the first of their conversations, for the responders.
    Jobs {
        /// Their class.
        class: JobClass,
        /// Their part of the table.
        range: JobRange,
        /// Maximum number of jobs per user.
        per_user: u32,
        /// Number of jobs after which no further user is added.
        limit: u32,
    },
    /// The last `limit` texts of the job's conversation through the message to answer, oldest first, its `system` messages
    /// and its settings, for the responders. Each answer follows the message that it answers. Empty messages, answers in
    /// progress and messages whose answer ended without text are left out, and the oldest messages if the result is too
    /// large.
    History {
        /// The job.
        job: JobId,
        /// Maximum number of texts of users and assistants.
        limit: u32,
        /// Maximum bytes of all texts, except for the message to answer.
        bytes_max: usize,
    },
    /// The profiles of those of the users that share a conversation with the caller.
    Users(Vec<UserId>),
    /// The messages that match, among those that the caller may see.
    Search(Box<Search>),
    /// Whether the caller may open a stream with this filter.
    StreamAccess(StreamFilter),
    /// Events of the caller's after `after`, at most `bytes_max` of them by `Event::weight`, but at least one.
    JournalPage {
        /// The number after which to start.
        after: EventNumber,
        /// The maximum sum of `Event::weight`.
        bytes_max: usize,
        /// The events to include.
        filter: StreamFilter,
    },
}

/// The part of a conversation's messages that a page has. The id of a deleted message still marks its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageCursor {
    /// The first messages.
    First,
    /// The first messages after this one.
    After(MessageId),
    /// The last messages before this one.
    Before(MessageId),
}

/// The events that a stream selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamFilter {
    /// Only events of this conversation.
    pub conversation: Option<ConversationRef>,
    /// Only events of this workspace.
    pub workspace: Option<WorkspaceId>,
    /// Only events of these kinds.
    pub kinds: KindSet,
}

impl StreamFilter {
    /// Whether it selects events of a place: a workspace, or one of its conversations. The filter of an open stream has the id of a default
    /// conversation.
    pub(crate) fn has(&self, conversation: Option<ConversationId>, workspace: WorkspaceId) -> bool {
        self.workspace.is_none_or(|id| id == workspace)
            && match self.conversation {
                None => true,
                Some(ConversationRef::Id(id)) => conversation == Some(id),
                Some(ConversationRef::Default) => false,
            }
    }
}

/// The response to a query.
#[derive(Debug, Clone)]
pub struct QueryResponse {
    /// The recipient.
    pub to: ReplyTo,
    /// The journal's position in the read transaction.
    pub position: EventNumber,
    /// The result, or the reason for the rejection.
    pub result: Result<QueryResult, Rejection>,
}

impl QueryResponse {
    /// About the bytes that the response holds in memory.
    pub fn weight(&self) -> usize {
        const EACH: usize = 256;
        let conversation = |one: &Conversation| EACH + one.metadata.as_str().len();
        let message = |one: &Message| {
            let reasoning = one.reasoning.as_ref().map_or(0, |reasoning| reasoning.len());
            EACH + one.content.as_str().len() + one.metadata.as_str().len() + reasoning
        };
        let messages = |page: &MessagePage| -> usize { page.messages.iter().map(message).sum() };
        let view = |one: &ConversationView| conversation(&one.conversation) + messages(&one.last);
        EACH + match &self.result {
            Ok(QueryResult::Workspaces(page)) => page.items.iter().map(|one| EACH + one.metadata.as_str().len()).sum(),
            Ok(QueryResult::Conversations(page)) => page.items.iter().map(conversation).sum(),
            Ok(QueryResult::ConversationViews(page)) => page.items.iter().map(view).sum(),
            Ok(QueryResult::ConversationView(one)) => view(one),
            Ok(QueryResult::Messages(page)) => messages(page),
            Ok(QueryResult::Message(one)) => message(one),
            Ok(QueryResult::Usage(report)) => EACH * report.groups.len(),
            Ok(QueryResult::AnswerPage(page)) => page.weight(),
            Ok(QueryResult::History(history)) => history.bytes(),
            Ok(QueryResult::Users(users)) => EACH * users.len(),
            Ok(QueryResult::Search(page)) => {
                page.results.iter().map(|one| message(&one.message) + one.snippet.len()).sum()
            }
            Ok(QueryResult::JournalPage(page)) => page.events.iter().map(|event| event.weight()).sum(),
            _ => 0,
        }
    }
}

/// The result of a query.
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
    /// Conversations, with or without their last messages.
    ConversationViews(Page<ConversationView>),
    /// Messages of one conversation.
    Messages(MessagePage),
    /// A message.
    Message(Message),
    /// Usage of tokens.
    Usage(UsageReport),
    /// An answer, or a part of its text.
    AnswerPage(Box<AnswerPage>),
    /// Answer jobs.
    Jobs(JobPage),
    /// What the answer to a message depends on.
    History(Box<History>),
    /// Users.
    Users(Vec<UserProfile>),
    /// Messages that match a search.
    Search(SearchPage),
    /// The stream may be opened, with this filter, in which the id of the default conversation is resolved.
    StreamAccess(StreamFilter),
    /// Events.
    JournalPage(JournalPage),
}

/// Events of one user, in order.
#[derive(Debug, Clone)]
pub struct JournalPage {
    /// All events of the user after the requested number through `through`, except those that `gap` reports missing.
    pub events: Vec<Arc<Event>>,
    /// The number through which the page is complete: the position of the snapshot, or the last event of a full page.
    pub through: EventNumber,
    /// The snapshot's position.
    pub position: EventNumber,
    /// Set if an event of the user after the requested number is no longer retained, or if the number is not of this journal:
    /// the number from which on all events are available.
    pub gap: Option<EventNumber>,
}
