//! Queries that are executed in steps.
//!
//! A step examines a bounded number of rows in a snapshot of its own. A query that needs more continues in another step, after
//! queries of other users. Access is checked in each step.

use crate::domain::id::EventNumber;
use crate::domain::model::{Conversation, Workspace};
use crate::domain::query::{Query, QueryResponse};
use crate::store::read::caller_conversations::ConversationPlace;
use crate::store::read::listing::Listing;
use crate::store::read::usage_search::UsageSearch;
use crate::store::read::user_search::UserSearch;
use crate::store::read::view_listing::ViewListing;
use crate::store::search::message_search::MessageSearch;

/// A query that has not been completed, and the place where it continues.
pub struct PendingQuery {
    /// The query.
    pub query: Query,
    /// The position of the first step. A stream that starts from it misses nothing, because later steps only see newer states.
    pub(crate) position: Option<EventNumber>,
    pub(crate) progress: QueryProgress,
}

impl PendingQuery {
    /// A query that has not started.
    pub fn new(query: Query) -> PendingQuery {
        PendingQuery { query, position: None, progress: QueryProgress::Start }
    }

    /// About the bytes of results that wait for the next step.
    pub(crate) fn bytes(&self) -> usize {
        match &self.progress {
            QueryProgress::Start | QueryProgress::StreamAccess(_) => 0,
            QueryProgress::Workspaces(listing) => listing.bytes(),
            QueryProgress::Conversations(listing) => listing.bytes(),
            QueryProgress::Views(listing) => listing.bytes(),
            QueryProgress::Users(search) => search.bytes(),
            QueryProgress::Usage(search) => search.bytes(),
            QueryProgress::Search(search) => search.bytes(),
        }
    }
}

/// The result of a step.
pub enum QueryStep {
    /// The query is completed.
    Done(QueryResponse),
    /// The query needs another step.
    More(PendingQuery),
}

/// The place where a query continues.
pub(crate) enum QueryProgress {
    /// The query has not started, or is always executed in one step.
    Start,
    Workspaces(Box<Listing<Workspace>>),
    Conversations(Box<Listing<Conversation>>),
    Views(Box<ViewListing>),
    Users(Box<UserSearch>),
    Usage(Box<UsageSearch>),
    Search(Box<MessageSearch>),
    /// A search of the caller's conversations for one of a workspace.
    StreamAccess(ConversationPlace),
}
