//! Execution of queries, in steps. Each step is executed in one snapshot, and a result has the newest event number in the
//! snapshot of its first step.

use crate::domain::command::{ApiVariant, ConversationRef};
use crate::domain::history::History;
use crate::domain::id::{EventNumber, IdKey, InstanceId, UserId, WorkspaceId};
use crate::domain::page::{Page, Pagination};
use crate::domain::query::{QueryKind, QueryResponse, QueryResult, StreamFilter};
use crate::domain::result::{Rejection, Resource};
use crate::domain::search::Search;
use crate::domain::usage::{DayRange, UsageBy};
use crate::store::error::{Abort, rejection_of};
use crate::store::read::caller_conversations::{self, ConversationPlace};
use crate::store::read::journal_step::JournalPageRequest;
use crate::store::read::listing::Listing;
use crate::store::read::pending_query::{PendingQuery, QueryProgress, QueryStep};
use crate::store::read::read_transaction::{NOT_A_PARTICIPANT, ReadLimits, ReadTransaction};
use crate::store::read::step_budget::{PARTICIPANT_WORK, ROW_WORK, StepBudget};
use crate::store::read::usage_search::UsageSearch;
use crate::store::read::user_search::UserSearch;
use crate::store::read::view_listing::ViewListing;
use crate::store::read::{answer_history, journal_page};
use crate::store::search::message_search::MessageSearch;
use crate::store::search::tokenizer::Tokenizer;
use crate::store::sql::values::sql;
use crate::store::sql::{SqlConnection, SqlResult, read_in_open_session};
use crate::store::tables::{answer_jobs, conversations, journal_head, workspaces};
use std::ops::ControlFlow;

/// A result, or the place where the query continues.
type StepResult<E> = Result<ControlFlow<QueryResult, QueryProgress>, E>;

/// Executes a step of a query in one read transaction. After an error of SQLite, the position of the response is
/// `known`. `instance` is that of the writer.
pub(crate) fn step(
    db: &SqlConnection,
    ids: &IdKey,
    pending: PendingQuery,
    limits: ReadLimits,
    (known, instance): (EventNumber, Option<InstanceId>),
) -> QueryStep {
    let PendingQuery { query, position: first, progress } = pending;
    let snapshot = ReadTransaction { db, ids, caller: &query.caller, list_bytes_max: limits.list_bytes_max, instance };
    let (position, found) = match snapshot.read(&query.kind, progress, limits.rows_max) {
        Ok((position, found)) => (first.unwrap_or(position), found),
        Err(error) => {
            log::error!("a query failed: {error}");
            // The next query needs a new snapshot.
            db.roll_back().unwrap_or_else(|error| log::error!("cannot close a snapshot: {error}"));
            (known, Err(rejection_of(&error)))
        }
    };
    let result = match found {
        Ok(ControlFlow::Continue(progress)) => {
            return QueryStep::More(PendingQuery { query, position: Some(position), progress });
        }
        Ok(ControlFlow::Break(result)) => Ok(result),
        Err(rejection) => Err(rejection),
    };
    QueryStep::Done(QueryResponse { to: query.reply_to, position, result })
}

impl ReadTransaction<'_> {
    fn read(
        &self,
        kind: &QueryKind,
        progress: QueryProgress,
        rows_max: usize,
    ) -> SqlResult<(EventNumber, StepResult<Rejection>)> {
        // The first read fixes the snapshot, so the position belongs to all reads that follow.
        let position = read_in_open_session(|| {
            self.db.roll_back()?;
            self.db.begin_snapshot()?;
            Ok(journal_head::load(self.db)?.number)
        })?;
        let found = match self.find(kind, progress, &mut StepBudget::new(rows_max), position) {
            Ok(found) => Ok(found),
            Err(Abort::Rejected(rejection)) => Err(rejection),
            Err(Abort::Failed(error)) => return Err(error),
        };
        self.db.commit()?;
        Ok((position, found))
    }

    fn find(
        &self,
        kind: &QueryKind,
        progress: QueryProgress,
        budget: &mut StepBudget,
        position: EventNumber,
    ) -> StepResult<Abort<Rejection>> {
        let result = match kind {
            // These need any number of steps.
            QueryKind::Workspaces(pagination) => return self.workspaces(*pagination, progress, budget),
            QueryKind::Conversations(workspace, pagination) => {
                return self.conversations(*workspace, *pagination, progress, budget);
            }
            QueryKind::ConversationViews { pagination, with_messages } => {
                return self.conversation_views(*pagination, *with_messages, progress, budget);
            }
            QueryKind::Users(ids) => return self.users(ids, progress, budget),
            QueryKind::Search(search) => return self.search(search, progress, budget, position),
            QueryKind::StreamAccess(filter) => return self.stream_access(filter, progress, budget),
            QueryKind::Usage { days, by } => return self.usage(*days, *by, progress, budget),
            // All others have a bounded result that an index selects, or return the part that one step has found.
            // Reading the position was enough.
            QueryKind::Alive(_) => QueryResult::Alive,
            QueryKind::Workspace(id) => QueryResult::Workspace(self.own_workspace(*id)?.workspace),
            QueryKind::Conversation(conversation) => {
                let access = self.access(*conversation, ApiVariant::Config)?;
                QueryResult::Conversation(conversations::find(self.db, self.ids, &access)?)
            }
            QueryKind::ConversationView(conversation) => self.conversation_view(*conversation)?,
            QueryKind::Messages { conversation, cursor, limit, with_reasoning } => {
                self.messages(*conversation, *cursor, (*limit, *with_reasoning), position)?
            }
            QueryKind::Message { conversation, message, with_reasoning } => {
                self.message(*conversation, *message, *with_reasoning)?
            }
            QueryKind::AnswerPage { conversation, message, from, bytes_max } => {
                self.answer_page(*conversation, *message, *from, *bytes_max)?
            }
            QueryKind::Jobs { class, range, per_user, limit } => {
                let database = (self.db, self.ids);
                QueryResult::Jobs(answer_jobs::page(database, self.instance, *class, *range, *per_user, *limit)?)
            }
            QueryKind::History { job, limit, bytes_max } => {
                let bytes_max = (*bytes_max).min(self.list_bytes_max);
                let history = answer_history::history(self.db, self.ids, *job, *limit, bytes_max)?;
                history
                    .map(|history| QueryResult::History(Box::new(History { position, ..history })))
                    .ok_or(Rejection::Conflict("the job is closed"))?
            }
            QueryKind::JournalPage { after, bytes_max, filter } => {
                self.journal_page(*after, *bytes_max, filter, budget, position)?
            }
        };
        Ok(ControlFlow::Break(result))
    }

    fn workspaces(
        &self,
        pagination: Pagination,
        progress: QueryProgress,
        budget: &mut StepBudget,
    ) -> StepResult<Abort<Rejection>> {
        let Some(user) = self.caller()? else { return Ok(ControlFlow::Break(QueryResult::Workspaces(empty_page()))) };
        let listing = match progress {
            QueryProgress::Workspaces(listing) => listing,
            _ => Listing::new(self.list_bytes_max),
        };
        let step = listing.step(self.db, (workspaces::NUMBERS, user.key), pagination, budget, |number, budget| {
            budget.spend(ROW_WORK);
            Ok(workspaces::at(self.db, self.ids, number)?.map(|stored| stored.workspace))
        })?;
        Ok(step.map_continue(QueryProgress::Workspaces).map_break(QueryResult::Workspaces))
    }

    fn conversations(
        &self,
        workspace: WorkspaceId,
        pagination: Pagination,
        progress: QueryProgress,
        budget: &mut StepBudget,
    ) -> StepResult<Abort<Rejection>> {
        let workspace = self.own_workspace(workspace)?.reference;
        let listing = match progress {
            QueryProgress::Conversations(listing) => listing,
            _ => Listing::new(self.list_bytes_max),
        };
        let of_workspace = (conversations::NUMBERS, sql(workspace.number));
        let step = listing.step(self.db, of_workspace, pagination, budget, |number, budget| {
            let conversation = conversations::item(self.db, self.ids, &workspace, number)?;
            let participants = conversation.as_ref().map_or(0, |conversation| conversation.participants.len());
            budget.spend(ROW_WORK + PARTICIPANT_WORK * participants);
            Ok(conversation)
        })?;
        Ok(step.map_continue(QueryProgress::Conversations).map_break(QueryResult::Conversations))
    }

    fn conversation_views(
        &self,
        pagination: Pagination,
        with_messages: bool,
        progress: QueryProgress,
        budget: &mut StepBudget,
    ) -> StepResult<Abort<Rejection>> {
        let Some(user) = self.caller()? else {
            return Ok(ControlFlow::Break(QueryResult::ConversationViews(empty_page())));
        };
        let listing = match progress {
            QueryProgress::Views(listing) => listing,
            _ => ViewListing::new(pagination, self.list_bytes_max),
        };
        let step = listing.step(self, user.key, (pagination, with_messages), budget)?;
        Ok(step.map_continue(QueryProgress::Views).map_break(QueryResult::ConversationViews))
    }

    fn users(&self, ids: &[UserId], progress: QueryProgress, budget: &mut StepBudget) -> StepResult<Abort<Rejection>> {
        let Some(user) = self.caller()? else { return Ok(ControlFlow::Break(QueryResult::Users(Vec::new()))) };
        let search = match progress {
            QueryProgress::Users(search) => search,
            _ => UserSearch::new(),
        };
        let step = search.step(self.db, user.key, ids, budget)?;
        Ok(step.map_continue(QueryProgress::Users).map_break(QueryResult::Users))
    }

    fn search(
        &self,
        search: &Search,
        progress: QueryProgress,
        budget: &mut StepBudget,
        position: EventNumber,
    ) -> StepResult<Abort<Rejection>> {
        // No user has the key 0. A caller without a row has no messages, but may name what exists.
        let user = self.caller()?.map_or(0, |user| user.key);
        let tokenizer = Tokenizer::new(self.db)?;
        let state = match progress {
            QueryProgress::Search(state) => state,
            _ => MessageSearch::start(self, user, search, &tokenizer, position)?,
        };
        let step = state.step(self, user, &tokenizer, budget)?;
        Ok(step.map_continue(QueryProgress::Search).map_break(QueryResult::Search))
    }

    fn stream_access(
        &self,
        filter: &StreamFilter,
        progress: QueryProgress,
        budget: &mut StepBudget,
    ) -> StepResult<Abort<Rejection>> {
        let mut allowed = *filter;
        if let Some(conversation) = filter.conversation {
            allowed.conversation = Some(ConversationRef::Id(self.access(conversation, ApiVariant::Config)?.id));
        }
        let allowed = ControlFlow::Break(QueryResult::StreamAccess(allowed));
        let Some(id) = filter.workspace else { return Ok(allowed) };
        let stored = workspaces::find(self.db, self.ids, id)?.ok_or(Rejection::NotFound(Resource::Workspace))?;
        if stored.workspace.owner == *self.caller {
            return Ok(allowed);
        }
        if let Some(user) = self.caller()? {
            let mut place = match progress {
                QueryProgress::StreamAccess(place) => place,
                _ => ConversationPlace::JOINED,
            };
            let mut is_participant = false;
            caller_conversations::walk(self.db, user.key, &mut place, budget, |conversation, _| {
                is_participant = conversation.workspace == stored.reference.number;
                Ok(if is_participant { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            if is_participant {
                return Ok(allowed);
            }
            if place != ConversationPlace::End {
                return Ok(ControlFlow::Continue(QueryProgress::StreamAccess(place)));
            }
        }
        Err(Rejection::Forbidden(NOT_A_PARTICIPANT).into())
    }

    fn usage(
        &self,
        days: DayRange,
        by: UsageBy,
        progress: QueryProgress,
        budget: &mut StepBudget,
    ) -> StepResult<Abort<Rejection>> {
        let mut sums = match progress {
            QueryProgress::Usage(sums) => sums,
            _ => Box::new(UsageSearch::new(days, by)),
        };
        let is_complete = match self.caller()? {
            Some(user) => sums.step(self.db, user.key, self.caller, budget)?,
            None => true,
        };
        Ok(match is_complete {
            true => ControlFlow::Break(QueryResult::Usage(sums.report(self.ids))),
            false => ControlFlow::Continue(QueryProgress::Usage(sums)),
        })
    }

    fn journal_page(
        &self,
        after: EventNumber,
        bytes_max: usize,
        filter: &StreamFilter,
        budget: &mut StepBudget,
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
        Ok(QueryResult::JournalPage(journal_page::read(self.db, self.ids, self.caller, &request, budget, position)?))
    }
}

fn empty_page<T>() -> Page<T> {
    Page { items: Vec::new(), total: 0, truncated: false }
}
