//! Execution of queries. Each result comes from one snapshot, together with the newest event number in it.

use crate::base::limits::LIST_BYTES_MAX;
use crate::domain::command::{ApiVariant, ConversationRef};
use crate::domain::id::{EventNumber, IdKey, UserId, WorkspaceId};
use crate::domain::page::Pagination;
use crate::domain::query::{Query, QueryKind, QueryResponse, QueryResult, StreamFilter};
use crate::domain::result::{Rejection, Resource};
use crate::store::error::{Abort, rejection_of};
use crate::store::rules::records::{ConversationAccess, UserRow, WorkspaceRow};
use crate::store::sqlite::read::journal_step::JournalPageRequest;
use crate::store::sqlite::read::page_builder::PageBuilder;
use crate::store::sqlite::read::{answer_history, journal_page};
use crate::store::sqlite::tables::{answer_jobs, conversations, journal_head, users, workspaces};
use rusqlite::Connection;
use std::collections::HashSet;

/// Executes `query` in one read transaction. After an error of SQLite, the position of the response is `known`.
pub(crate) fn execute(db: &Connection, ids: &IdKey, query: &Query, known: EventNumber) -> QueryResponse {
    let snapshot = ReadTransaction { db, ids, caller: &query.caller };
    let (position, result) = match snapshot.read(&query.kind) {
        Ok((position, result)) => (position, result),
        Err(error) => {
            log::error!("a query failed: {error}");
            if !db.is_autocommit() {
                // The next query needs a new snapshot.
                db.execute_batch("ROLLBACK").unwrap_or_else(|error| log::error!("cannot close a snapshot: {error}"));
            }
            (known, Err(rejection_of(&error)))
        }
    };
    QueryResponse { to: query.reply_to, position, result }
}

/// One read transaction, and the caller of the query.
pub(crate) struct ReadTransaction<'a> {
    pub db: &'a Connection,
    pub ids: &'a IdKey,
    pub caller: &'a UserId,
}

impl ReadTransaction<'_> {
    fn read(&self, kind: &QueryKind) -> rusqlite::Result<(EventNumber, Result<QueryResult, Rejection>)> {
        self.db.prepare_cached("BEGIN")?.execute([])?;
        // The first read fixes the snapshot, so the position belongs to all reads that follow.
        let position = journal_head::load(self.db)?.number;
        let result = match self.find(kind, position) {
            Ok(result) => Ok(result),
            Err(Abort::Rejected(rejection)) => Err(rejection),
            Err(Abort::Failed(error)) => return Err(error),
        };
        self.db.prepare_cached("COMMIT")?.execute([])?;
        Ok((position, result))
    }

    fn find(&self, kind: &QueryKind, position: EventNumber) -> Result<QueryResult, Abort<Rejection>> {
        match kind {
            // Reading the position was enough.
            QueryKind::Alive => Ok(QueryResult::Alive),
            QueryKind::Workspaces(pagination) => self.workspaces(*pagination),
            QueryKind::Workspace(id) => Ok(QueryResult::Workspace(self.own_workspace(*id)?.workspace)),
            QueryKind::Conversations(workspace, pagination) => self.conversations(*workspace, *pagination),
            QueryKind::Conversation(conversation) => {
                let access = self.access(*conversation, ApiVariant::Config)?;
                Ok(QueryResult::Conversation(conversations::find(self.db, self.ids, &access)?))
            }
            QueryKind::ConversationView(conversation) => self.conversation_view(*conversation),
            QueryKind::ConversationViews { pagination, with_messages } => {
                self.conversation_views(*pagination, *with_messages)
            }
            QueryKind::Messages { conversation, cursor, limit } => {
                self.messages(*conversation, *cursor, *limit, position)
            }
            QueryKind::Message(conversation, id) => self.message(*conversation, *id),
            QueryKind::OpenJobs { after, limit } => {
                Ok(QueryResult::OpenJobs(answer_jobs::open_after(self.db, self.ids, *after, *limit)?))
            }
            QueryKind::History { job, limit } => {
                let history = answer_history::history(self.db, *job, *limit)?;
                Ok(history.map(QueryResult::History).ok_or(Rejection::Conflict("the job is closed"))?)
            }
            QueryKind::Users(ids) => self.users(ids),
            QueryKind::StreamAccess(filter) => self.stream_access(filter).map(QueryResult::StreamAccess),
            QueryKind::JournalPage { after, bytes_max, filter } => {
                self.journal_page(*after, *bytes_max, filter, position)
            }
        }
    }

    pub(crate) fn caller(&self) -> rusqlite::Result<Option<UserRow>> {
        users::find(self.db, self.caller)
    }

    fn workspaces(&self, pagination: Pagination) -> Result<QueryResult, Abort<Rejection>> {
        let mut items = PageBuilder::new(LIST_BYTES_MAX);
        let total = match self.caller()? {
            None => 0,
            Some(user) => {
                let owner = (user.key, &user.id);
                workspaces::list(self.db, self.ids, owner, pagination, |workspace| items.add(workspace))?
            }
        };
        Ok(QueryResult::Workspaces(items.finish(total)))
    }

    fn own_workspace(&self, id: WorkspaceId) -> Result<WorkspaceRow, Abort<Rejection>> {
        let stored = workspaces::find(self.db, self.ids, id)?.ok_or(Rejection::NotFound(Resource::Workspace))?;
        if stored.workspace.owner != *self.caller {
            return Err(Rejection::Forbidden("the workspace belongs to another user").into());
        }
        Ok(stored)
    }

    fn conversations(&self, workspace: WorkspaceId, pagination: Pagination) -> Result<QueryResult, Abort<Rejection>> {
        let reference = self.own_workspace(workspace)?.reference;
        let mut items = PageBuilder::new(LIST_BYTES_MAX);
        let total =
            conversations::list(self.db, self.ids, &reference, pagination, |conversation| items.add(conversation))?;
        Ok(QueryResult::Conversations(items.finish(total)))
    }

    /// The conversation, if the caller may see it.
    pub(crate) fn access(
        &self,
        conversation: ConversationRef,
        api_variant: ApiVariant,
    ) -> Result<ConversationAccess, Abort<Rejection>> {
        let number = match conversation {
            ConversationRef::Id(id) => self.ids.open(id.0).map(|(number, _)| number),
            ConversationRef::Default => self.caller()?.and_then(|user| user.default_conversation),
        };
        let access = match number {
            Some(number) => conversations::access(self.db, self.ids, number)?,
            None => None,
        };
        // An id of another database may decode to a number of this database.
        let access = access
            .filter(|access| conversation == ConversationRef::Default || conversation == ConversationRef::Id(access.id))
            .ok_or(Rejection::NotFound(Resource::Conversation))?;
        access.authorize(self.caller, api_variant)?;
        Ok(access)
    }

    fn users(&self, ids: &[UserId]) -> Result<QueryResult, Abort<Rejection>> {
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for id in ids.iter().filter(|id| seen.insert(*id)) {
            found.extend(users::profile_for(self.db, self.caller, id)?);
        }
        Ok(QueryResult::Users(found))
    }

    fn stream_access(&self, filter: &StreamFilter) -> Result<StreamFilter, Abort<Rejection>> {
        let mut allowed = *filter;
        if let Some(conversation) = filter.conversation {
            allowed.conversation = Some(ConversationRef::Id(self.access(conversation, ApiVariant::Config)?.id));
        }
        if let Some(id) = filter.workspace {
            let stored = workspaces::find(self.db, self.ids, id)?.ok_or(Rejection::NotFound(Resource::Workspace))?;
            if stored.workspace.owner != *self.caller
                && !workspaces::has_participant(self.db, stored.reference.number, self.caller)?
            {
                return Err(Rejection::Forbidden(
                    "the caller is not a participant of any conversation of the workspace",
                )
                .into());
            }
        }
        Ok(allowed)
    }

    fn journal_page(
        &self,
        after: EventNumber,
        bytes_max: usize,
        filter: &StreamFilter,
        position: EventNumber,
    ) -> Result<QueryResult, Abort<Rejection>> {
        let conversation = match filter.conversation {
            None => None,
            // Access was checked when the stream was opened, and the tombstone of a conversation must still be delivered.
            Some(ConversationRef::Id(id)) => Some(id),
            Some(ConversationRef::Default) => Some(self.access(ConversationRef::Default, ApiVariant::Config)?.id),
        };
        let request =
            JournalPageRequest { after, bytes_max, conversation, workspace: filter.workspace, kinds: filter.kinds };
        Ok(QueryResult::JournalPage(journal_page::read(self.db, self.ids, self.caller, &request, position)?))
    }
}
