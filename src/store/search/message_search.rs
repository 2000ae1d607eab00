//! A search for messages, in steps.
//!
//! The messages that match are found newest first within each part of the search, and the newest of all parts are kept. First come the
//! messages that the index lacks, whose texts are read. Then the index is searched for a few workspaces and conversations of
//! the caller at a time. For a caller with many, the newest messages of all users are searched before, because they often suffice;
//! so are those of a word that is rare among all users.
//! Access is checked in each step, for each message.
//!
//! Invariant: `found` has the newest messages that match, among those examined, and at most one more than the result may have.

use crate::base::limits::SEARCH_SCOPES_MAX;
use crate::domain::command::ApiVariant;
use crate::domain::id::{EventNumber, MessageId};
use crate::domain::result::{Rejection, Resource};
use crate::domain::search::{Search, SearchPage, SearchResult};
use crate::store::error::Abort;
use crate::store::read::caller_conversations::{self, ConversationPlace};
use crate::store::read::page_builder::PageBuilder;
use crate::store::read::read_transaction::{NOT_A_PARTICIPANT, ReadTransaction};
use crate::store::read::step_budget::{ENTRY_WORK, ROW_WORK, StepBudget};
use crate::store::search::expression::{Candidates, Operand, SearchExpression, SearchScope};
use crate::store::search::index;
use crate::store::search::matching::SearchWords;
use crate::store::search::tokenizer::Tokenizer;
use crate::store::sql::values::{number, sql};
use crate::store::sql::{OptionalRow, SqlConnection, SqlResult, params};
use crate::store::tables::{conversations, messages, workspaces};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes of a text whose reading counts as one entry of an index.
const TEXT_BYTES_PER_ENTRY: usize = 64;

/// Groups of scopes from which on the newest messages of all users are searched first.
const MANY_GROUPS: usize = 2;
/// Numbers of messages that are examined at a time if the index cannot select among them.
const MESSAGES_WITHOUT_OPERANDS: i64 = 1024;
/// Pages of results that the messages of the first window fill, if all of them match.
const FIRST_WINDOW_PAGES: usize = 3;
/// The work of looking up what one operand selects.
const OPERAND_WORK: usize = 32 * ROW_WORK;
/// Messages of all users that are examined before the groups of scopes.
const CANDIDATES_EVERYWHERE: usize = 4096;

/// Messages about which a server is asked at once.
const READ_AHEAD_MAX: usize = 64;

type SearchStep<T> = Result<T, Abort<Rejection>>;

/// A search under way.
pub(crate) struct MessageSearch {
    words: SearchWords,
    expression: Option<SearchExpression>,
    filter: SearchFilter,
    /// The index has the messages through this number, apart from pending ones. Later ones are read.
    indexed_through: i64,
    place: SearchPlace,
    /// The window of the index whose messages are examined, if the place is within one.
    window: Option<Candidates>,
    /// Messages of the next window, at most.
    window_size: usize,
    /// Messages that match, by number.
    found: BTreeSet<i64>,
    found_max: usize,
    /// Whether the caller may see a conversation of those that the filter selects.
    has_scopes: bool,
    results: PageBuilder<SearchResult>,
    /// Whether the page has no room for more.
    is_full: bool,
}

/// The messages among which a search looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SearchFilter {
    All,
    Conversation(i64),
    /// A workspace, and whether the caller owns it.
    Workspace(i64, bool),
}

/// Where a search continues.
#[derive(Debug, Clone)]
enum SearchPlace {
    /// Among the messages that are not indexed, below a number. Next: Pending.
    Unindexed { below: i64 },
    /// Among the pending messages, below a number. Next: Everywhere, Scopes.
    Pending { below: i64, ceiling: i64 },
    /// Among the indexed messages of all users, below a number. Next: Scopes, Results.
    Everywhere { below: i64, candidates_left: usize },
    /// Before the next scopes. Next: Indexed, Results.
    Scopes { place: ScopePlace, ceiling: i64 },
    /// Among the indexed messages of some scopes, below a number. Next: Scopes.
    Indexed { scopes: Arc<Operand>, next: ScopePlace, below: i64, ceiling: i64 },
    /// Before the message with the greatest number of `found` that is not loaded.
    Results { below: i64 },
}

/// A place among the scopes of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScopePlace {
    /// Before the only scope.
    Only(SearchScope),
    /// In the caller's own workspaces, after a number. Next: Joined.
    Owned(i64),
    /// In conversations of the workspaces of others. Next: End.
    Joined(ConversationPlace),
    End,
}

impl MessageSearch {
    /// Starts a search of the caller's. `user` is 0 for a caller without a row.
    pub(crate) fn start(
        snapshot: &ReadTransaction<'_>,
        user: i64,
        search: &Search,
        tokenizer: &Tokenizer,
        position: EventNumber,
    ) -> SearchStep<Box<MessageSearch>> {
        let filter = filter_of(snapshot, user, search)?;
        let ceiling = match search.before {
            None => i64::MAX,
            Some(id) => sql(cursor(snapshot, id, position)?),
        };
        Ok(Box::new(MessageSearch {
            words: SearchWords::of(tokenizer, &search.terms)?,
            expression: None,
            filter,
            indexed_through: sql(index::through(snapshot.db)?),
            place: SearchPlace::Unindexed { below: ceiling },
            window: None,
            window_size: FIRST_WINDOW_PAGES * (search.limit as usize + 1),
            found: BTreeSet::new(),
            found_max: search.limit as usize + 1,
            has_scopes: false,
            results: PageBuilder::new(snapshot.list_bytes_max),
            is_full: false,
        }))
    }

    /// About the bytes that the search holds.
    pub(crate) fn bytes(&self) -> usize {
        let expression = self.expression.as_ref().map_or(0, SearchExpression::bytes);
        let window = self.window.as_ref().map_or(0, |window| window.numbers.len());
        self.results.bytes() + (self.found.len() + window) * size_of::<i64>() + expression
    }

    /// Searches further, as far as `budget` allows.
    pub(crate) fn step(
        mut self: Box<Self>,
        snapshot: &ReadTransaction<'_>,
        user: i64,
        tokenizer: &Tokenizer,
        budget: &mut StepBudget,
    ) -> SearchStep<ControlFlow<SearchPage, Box<Self>>> {
        let mut access = CallerAccess { db: snapshot.db, user, filter: self.filter, known: HashMap::new() };
        if self.words.required().next().is_none() {
            self.place = SearchPlace::Results { below: i64::MAX };
        }
        while budget.is_left() {
            self.place = match self.place.clone() {
                SearchPlace::Unindexed { below } => self.read_unindexed(&mut access, tokenizer, below, budget)?,
                SearchPlace::Pending { below, ceiling } => {
                    self.read_pending(&mut access, tokenizer, (below, ceiling), budget)?
                }
                SearchPlace::Scopes { place, ceiling } => {
                    let place = next_scopes(&access, place, ceiling, budget)?;
                    self.has_scopes |= matches!(place, SearchPlace::Indexed { .. });
                    let is_foreign = matches!(self.filter, SearchFilter::Workspace(_, false));
                    if is_foreign && !self.has_scopes && matches!(place, SearchPlace::Results { .. }) {
                        return Err(Rejection::Forbidden(NOT_A_PARTICIPANT).into());
                    }
                    place
                }
                SearchPlace::Everywhere { below, mut candidates_left } => {
                    let left = &mut candidates_left;
                    match self.search_index(&mut access, tokenizer, (None, below), left, budget)? {
                        Some(below) if candidates_left > 0 => SearchPlace::Everywhere { below, candidates_left },
                        Some(below) => SearchPlace::Scopes { place: self.first_scopes(), ceiling: below },
                        None => SearchPlace::Results { below: i64::MAX },
                    }
                }
                SearchPlace::Indexed { scopes, next, below, ceiling } => {
                    let scoped = (Some(&*scopes), below);
                    match self.search_index(&mut access, tokenizer, scoped, &mut { usize::MAX }, budget)? {
                        Some(below) => SearchPlace::Indexed { scopes, next, below, ceiling },
                        None => SearchPlace::Scopes { place: next, ceiling },
                    }
                }
                SearchPlace::Results { below } => match self.load(snapshot, tokenizer, below, budget)? {
                    Some(below) => SearchPlace::Results { below },
                    None => return Ok(ControlFlow::Break(self.page())),
                },
            };
        }
        Ok(ControlFlow::Continue(self))
    }

    /// Reads the texts of messages that are not indexed, newest first.
    fn read_unindexed(
        &mut self,
        access: &mut CallerAccess<'_>,
        tokenizer: &Tokenizer,
        below: i64,
        budget: &mut StepBudget,
    ) -> SqlResult<SearchPlace> {
        let ceiling = below.min(self.indexed_through.saturating_add(1));
        let after = self.indexed_through.max(self.cutoff());
        Ok(match self.read_texts(access, tokenizer, (UNINDEXED, below, after), budget)? {
            Some(below) => SearchPlace::Unindexed { below },
            None => SearchPlace::Pending { below: ceiling, ceiling },
        })
    }

    /// Reads the texts of pending messages, newest first.
    fn read_pending(
        &mut self,
        access: &mut CallerAccess<'_>,
        tokenizer: &Tokenizer,
        (below, ceiling): (i64, i64),
        budget: &mut StepBudget,
    ) -> SqlResult<SearchPlace> {
        let after = self.cutoff();
        if let Some(below) = self.read_texts(access, tokenizer, (PENDING, below, after), budget)? {
            return Ok(SearchPlace::Pending { below, ceiling });
        }
        // A workspace of another user may have no conversation of the caller's, which is an error.
        let needs_scopes = matches!(self.filter, SearchFilter::Workspace(_, false));
        let is_selective = self.expression(access.db, budget)?.is_selective();
        if !needs_scopes && (is_selective || (self.filter == SearchFilter::All && access.has_many_scopes()?)) {
            return Ok(SearchPlace::Everywhere { below: ceiling, candidates_left: CANDIDATES_EVERYWHERE });
        }
        Ok(SearchPlace::Scopes { place: self.first_scopes(), ceiling })
    }

    fn first_scopes(&self) -> ScopePlace {
        match self.filter {
            SearchFilter::Conversation(number) => ScopePlace::Only(SearchScope::Conversation(number)),
            SearchFilter::Workspace(number, true) => ScopePlace::Only(SearchScope::Workspace(number)),
            SearchFilter::Workspace(_, false) => ScopePlace::Joined(ConversationPlace::JOINED),
            SearchFilter::All => ScopePlace::Owned(0),
        }
    }

    /// The expression for the words of the search.
    fn expression(&mut self, db: &SqlConnection, budget: &mut StepBudget) -> SqlResult<&SearchExpression> {
        let expression = match self.expression.take() {
            Some(expression) => expression,
            None => {
                budget.spend(OPERAND_WORK * self.words.terms.len());
                SearchExpression::of(db, &self.words)?
            }
        };
        Ok(self.expression.insert(expression))
    }

    /// Reads the texts of the messages that `sql` selects between two numbers, newest first. Returns the number below which to
    /// continue; `None` at the end.
    fn read_texts(
        &mut self,
        access: &mut CallerAccess<'_>,
        tokenizer: &Tokenizer,
        (sql, below, after): (&str, i64, i64),
        budget: &mut StepBudget,
    ) -> SqlResult<Option<i64>> {
        let mut statement = access.db.prepare_cached(sql)?;
        let mut rows = statement.query(params![below, after, budget.entries()])?;
        while let Some(row) = rows.next()? {
            let message: i64 = row.get(0)?;
            budget.spend(ENTRY_WORK);
            if access.may_see(row.get(1)?, budget)? && self.matches(access.db, tokenizer, message, budget)? {
                self.add(message);
            }
            if !budget.is_left() {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Searches a window of the index below a number, within scopes if there are any. Subtracts the messages that it examines from
    /// `candidates_left`. Returns the number below which to continue; `None` at the end.
    fn search_index(
        &mut self,
        access: &mut CallerAccess<'_>,
        tokenizer: &Tokenizer,
        (scopes, below): (Option<&Operand>, i64),
        candidates_left: &mut usize,
        budget: &mut StepBudget,
    ) -> SqlResult<Option<i64>> {
        let mut window = match self.window.take() {
            Some(window) => window,
            None => self.select(access.db, scopes, below, budget)?,
        };
        let mut rows = VecDeque::new();
        while let Some(candidate) = window.numbers.front().copied() {
            if candidate <= self.cutoff() {
                return Ok(None);
            }
            if *candidates_left == 0 {
                return Ok(Some(candidate + 1));
            }
            if !budget.is_left() {
                // The index may have another text of a message before the next step.
                window.needs_text = true;
                self.window = Some(window);
                return Ok(Some(below));
            }
            if rows.is_empty() {
                rows = candidate_rows(access.db, &window.numbers)?;
            }
            let row = rows.pop_front().flatten();
            window.numbers.pop_front();
            *candidates_left -= 1;
            if self.may_match(access, tokenizer, (candidate, row), window.needs_text, budget)? {
                self.add(candidate);
            }
        }
        Ok(Some(window.from).filter(|below| *below > self.cutoff() + 1))
    }

    /// Selects a window of the index below a number, within scopes if there are any.
    fn select(
        &mut self,
        db: &SqlConnection,
        scopes: Option<&Operand>,
        below: i64,
        budget: &mut StepBudget,
    ) -> SqlResult<Candidates> {
        let least = self.cutoff() + 1;
        // The newest messages often suffice.
        let wanted = std::mem::replace(&mut self.window_size, usize::MAX);
        let expression = self.expression(db, budget)?;
        let candidates = match expression.candidates(db, scopes, (below, least), wanted)? {
            Some(candidates) => candidates,
            None => all_candidates(db, below, least)?,
        };
        budget.spend(OPERAND_WORK + ENTRY_WORK * candidates.entries);
        Ok(candidates)
    }

    /// Whether a message that the index selects, of which this is the [`CANDIDATE`], matches, and the caller may see it.
    fn may_match(
        &mut self,
        access: &mut CallerAccess<'_>,
        tokenizer: &Tokenizer,
        (candidate, row): (i64, Option<(i64, bool)>),
        needs_text: bool,
        budget: &mut StepBudget,
    ) -> SqlResult<bool> {
        budget.spend(ROW_WORK);
        // The message may have been deleted, or have another text by now.
        let Some((conversation, is_pending)) = row else { return Ok(false) };
        Ok(access.may_see(conversation, budget)?
            && (!(needs_text || is_pending) || self.matches(access.db, tokenizer, candidate, budget)?))
    }

    /// Loads the next message of the result. Returns its number; `None` if there is no further one.
    fn load(
        &mut self,
        snapshot: &ReadTransaction<'_>,
        tokenizer: &Tokenizer,
        below: i64,
        budget: &mut StepBudget,
    ) -> SqlResult<Option<i64>> {
        let is_one_more = self.results.len() + 1 == self.found_max;
        let Some(found) = self.found.range(..below).next_back().copied() else { return Ok(None) };
        if is_one_more || self.is_full {
            return Ok(None);
        }
        let mut find = snapshot.db.prepare_cached(CANDIDATE)?;
        let conversation = find.query_row([found], |row| row.get(0)).optional()?;
        budget.spend(2 * ROW_WORK);
        let access = match conversation {
            Some(conversation) => conversations::access(snapshot.db, snapshot.ids, number(conversation))?,
            None => None,
        };
        let access = access.filter(|access| access.authorize(snapshot.caller, ApiVariant::Conversations).is_ok());
        let message = match &access {
            Some(access) => messages::shown_at(snapshot.db, snapshot.ids, access, number(found))?,
            None => None,
        };
        // Its text may have changed since the step that found it.
        let text = message.as_ref().map_or("", |message| message.content.as_str());
        budget.spend(ENTRY_WORK * (text.len() / TEXT_BYTES_PER_ENTRY));
        let is_match = self.words.match_text(tokenizer, text)?;
        match message {
            Some(message) if is_match => {
                let snippet = self.words.snippet(tokenizer, message.content.as_str())?;
                self.is_full = !self.results.add(SearchResult { message, snippet });
            }
            _ => drop(self.found.remove(&found)),
        }
        Ok(Some(found))
    }

    fn page(self) -> SearchPage {
        let total = self.found.len() as u64;
        let page = self.results.finish(total);
        SearchPage { results: page.items, total_is_at_least: total, truncated: page.truncated }
    }

    /// Whether the text of a message matches.
    fn matches(
        &self,
        db: &SqlConnection,
        tokenizer: &Tokenizer,
        message: i64,
        budget: &mut StepBudget,
    ) -> SqlResult<bool> {
        let mut find = db.prepare_cached(TEXT)?;
        let mut rows = find.query([message])?;
        let Some(row) = rows.next()? else { return Ok(false) };
        let text = row.text(0)?;
        budget.spend(ROW_WORK + ENTRY_WORK * (text.len() / TEXT_BYTES_PER_ENTRY));
        self.words.match_text(tokenizer, text)
    }

    fn add(&mut self, message: i64) {
        self.found.insert(message);
        if self.found.len() > self.found_max {
            self.found.pop_first();
        }
    }

    /// Messages through this number are older than those that the result may have.
    fn cutoff(&self) -> i64 {
        if self.found.len() < self.found_max { 0 } else { self.found.first().copied().unwrap_or(0) }
    }
}

/// The number of a message that the caller may see, or of a deleted message, because its conversation is unknown.
fn cursor(snapshot: &ReadTransaction<'_>, id: MessageId, position: EventNumber) -> SearchStep<EventNumber> {
    let place = messages::place(snapshot.db, snapshot.ids, id, position)?;
    let access = match place {
        Some((_, Some(conversation))) => conversations::access(snapshot.db, snapshot.ids, conversation)?,
        _ => None,
    };
    match place {
        Some((number, None)) => Ok(number),
        Some((number, _))
            if access.is_some_and(|it| it.authorize(snapshot.caller, ApiVariant::Conversations).is_ok()) =>
        {
            Ok(number)
        }
        _ => Err(Rejection::Invalid(vec![("before", "must be the id of a message".to_owned())]).into()),
    }
}

/// The filter of a search, if the caller may name it.
fn filter_of(snapshot: &ReadTransaction<'_>, user: i64, search: &Search) -> SearchStep<SearchFilter> {
    let conversation = match search.conversation {
        Some(conversation) => Some(snapshot.access(conversation, ApiVariant::Conversations)?),
        None => None,
    };
    let workspace = match search.workspace {
        Some(id) => {
            let found = workspaces::find(snapshot.db, snapshot.ids, id)?;
            Some(found.ok_or(Rejection::NotFound(Resource::Workspace))?)
        }
        None => None,
    };
    Ok(match (conversation, workspace) {
        (None, None) => SearchFilter::All,
        (None, Some(workspace)) => {
            let is_own = workspace.reference.owner.key == user;
            SearchFilter::Workspace(sql(workspace.reference.number), is_own)
        }
        (Some(conversation), None) => SearchFilter::Conversation(sql(conversation.number)),
        // No conversation has the number 0.
        (Some(conversation), Some(workspace)) => match conversation.workspace.number == workspace.reference.number {
            true => SearchFilter::Conversation(sql(conversation.number)),
            false => SearchFilter::Conversation(0),
        },
    })
}

/// The messages of the window that ends before `below`, and does not begin before `least`.
fn all_candidates(db: &SqlConnection, below: i64, least: i64) -> SqlResult<Candidates> {
    let from = below.saturating_sub(MESSAGES_WITHOUT_OPERANDS).max(least);
    let mut statement = db.prepare_cached(ALL_CANDIDATES)?;
    let numbers = statement.query_map([below, from], |row| row.get(0))?.collect::<SqlResult<Vec<i64>>>()?;
    Ok(Candidates { entries: numbers.len(), numbers: numbers.into(), from, needs_text: true })
}

/// The [`CANDIDATE`] for the first of these messages: for several, if the database is on a server.
fn candidate_rows(db: &SqlConnection, numbers: &VecDeque<i64>) -> SqlResult<VecDeque<Option<(i64, bool)>>> {
    let count = if db.is_server() { READ_AHEAD_MAX } else { 1 };
    let numbers = numbers.iter().take(count).map(|number| [*number]);
    let rows = db.prepare_cached(CANDIDATE)?.query_each(numbers, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.into())
}

/// The next scopes of a search, and the place after them.
fn next_scopes(
    access: &CallerAccess<'_>,
    place: ScopePlace,
    ceiling: i64,
    budget: &mut StepBudget,
) -> SqlResult<SearchPlace> {
    let mut scopes = Vec::new();
    let mut next = place;
    if let ScopePlace::Only(scope) = next {
        scopes.push(scope);
        next = ScopePlace::End;
    }
    if let ScopePlace::Owned(mut after) = next {
        let mut statement = access.db.prepare_cached(OWNED_WORKSPACES)?;
        let mut rows = statement.query([access.user, after, SEARCH_SCOPES_MAX as i64])?;
        while let Some(row) = rows.next()? {
            after = row.get(0)?;
            budget.spend(ROW_WORK);
            scopes.push(SearchScope::Workspace(after));
        }
        let is_end = scopes.len() < SEARCH_SCOPES_MAX;
        next = if is_end { ScopePlace::Joined(ConversationPlace::JOINED) } else { ScopePlace::Owned(after) };
    }
    if let ScopePlace::Joined(mut place) = next {
        caller_conversations::walk(access.db, access.user, &mut place, budget, |conversation, _| {
            let workspace = sql(conversation.workspace);
            let is_wanted = match access.filter {
                SearchFilter::Workspace(wanted, _) => workspace == wanted,
                _ => true,
            };
            if is_wanted {
                scopes.push(SearchScope::Conversation(sql(conversation.number)));
            }
            Ok(if scopes.len() < SEARCH_SCOPES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        next = if place == ConversationPlace::End { ScopePlace::End } else { ScopePlace::Joined(place) };
    }
    Ok(match (scopes.is_empty(), next) {
        (true, ScopePlace::End) => SearchPlace::Results { below: i64::MAX },
        (true, place) => SearchPlace::Scopes { place, ceiling },
        (false, next) => {
            budget.spend(OPERAND_WORK);
            let scopes = Arc::new(Operand::of_scopes(access.db, &scopes)?);
            SearchPlace::Indexed { scopes, next, below: ceiling, ceiling }
        }
    })
}

/// What the caller may see, within the filter of a search.
struct CallerAccess<'a> {
    db: &'a SqlConnection,
    user: i64,
    filter: SearchFilter,
    /// Conversations of which this is known in this step.
    known: HashMap<i64, bool>,
}

impl CallerAccess<'_> {
    /// Whether the caller's workspaces and conversations are so many that a search for each group of them takes long.
    fn has_many_scopes(&self) -> SqlResult<bool> {
        let many = (MANY_GROUPS * SEARCH_SCOPES_MAX) as i64;
        Ok(self.db.prepare_cached(NTH_JOINED)?.exists([self.user, many])?
            || self.db.prepare_cached(NTH_OWNED)?.exists([self.user, many])?)
    }

    fn may_see(&mut self, conversation: i64, budget: &mut StepBudget) -> SqlResult<bool> {
        if let SearchFilter::Conversation(wanted) = self.filter
            && wanted != conversation
        {
            return Ok(false);
        }
        if let Some(known) = self.known.get(&conversation) {
            return Ok(*known);
        }
        budget.spend(ROW_WORK);
        let workspace: Option<i64> = self
            .db
            .prepare_cached(VISIBLE_CONVERSATION)?
            .query_row([conversation, self.user], |row| row.get(0))
            .optional()?;
        let may_see = match (self.filter, workspace) {
            (SearchFilter::Workspace(wanted, _), Some(workspace)) => wanted == workspace,
            (_, workspace) => workspace.is_some(),
        };
        self.known.insert(conversation, may_see);
        Ok(may_see)
    }
}

pub(crate) const UNINDEXED: &str = "
    SELECT number, conversation FROM messages WHERE number < ?1 AND number > ?2 AND published_by IS NOT NULL
    ORDER BY number DESC LIMIT ?3";
pub(crate) const PENDING: &str = "
    SELECT p.number, m.conversation FROM search_pending p CROSS JOIN messages m ON m.number = p.number
    WHERE p.number < ?1 AND p.number > ?2 ORDER BY p.number DESC LIMIT ?3";
/// Selects the conversation of a published message, and whether the index lacks a part of its text.
pub(crate) const CANDIDATE: &str = "
    SELECT conversation, EXISTS (SELECT 1 FROM search_pending p WHERE p.number = m.number)
    FROM messages m WHERE number = ?1 AND published_by IS NOT NULL";
pub(crate) const TEXT: &str = "SELECT content FROM messages WHERE number = ?1";
pub(crate) const OWNED_WORKSPACES: &str = "
    SELECT number FROM workspaces WHERE owner = ?1 AND deleted IS NULL AND number > ?2 ORDER BY number LIMIT ?3";
/// Selects the workspace of a conversation that the user may see.
pub(crate) const VISIBLE_CONVERSATION: &str = "
    SELECT c.workspace FROM conversations c CROSS JOIN workspaces w ON w.number = c.workspace
    WHERE c.number = ?1 AND c.deleted IS NULL AND w.deleted IS NULL
        AND (w.owner = ?2 OR EXISTS (SELECT 1 FROM participants p WHERE p.conversation = c.number AND p.user = ?2))";
pub(crate) const NTH_JOINED: &str = "SELECT 1 FROM participants WHERE user = ?1 LIMIT 1 OFFSET ?2";
pub(crate) const NTH_OWNED: &str = "SELECT 1 FROM workspaces WHERE owner = ?1 AND deleted IS NULL LIMIT 1 OFFSET ?2";
pub(crate) const ALL_CANDIDATES: &str =
    "SELECT number FROM messages WHERE number < ?1 AND number >= ?2 ORDER BY number DESC";
