//! The list of all conversations of a user, the last changed first.
//!
//! Every message changes the order, so no index has it. The conversations are examined one after the other, and a bounded number
//! of the last changed ones is kept. For an item further back, they are examined again.

use crate::base::limits::{CONVERSATION_LIST_MESSAGES_MAX, LIST_LIMIT_MAX};
use crate::domain::command::ApiVariant;
use crate::domain::id::EventNumber;
use crate::domain::page::{ConversationView, Page, Pagination};
use crate::store::read::caller_conversations::{self, ConversationPlace};
use crate::store::read::page_builder::PageBuilder;
use crate::store::read::read_transaction::ReadTransaction;
use crate::store::read::step_budget::{PARTICIPANT_WORK, ROW_WORK, StepBudget};
use crate::store::sql::SqlResult;
use crate::store::tables::conversations;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::ControlFlow;

/// Conversations that one pass keeps.
const KEPT_MAX: usize = 2 * LIST_LIMIT_MAX as usize;

/// The key of the order: the time of the last change, and for conversations that changed at the same time the number, so that
/// the order is deterministic.
type ChangeKey = (i64, EventNumber);

/// A list under construction.
pub(crate) struct ViewListing {
    place: ConversationPlace,
    /// Conversations seen by the present pass.
    seen: u64,
    /// The number of all conversations, once a pass has seen them.
    total: Option<u64>,
    /// Conversations that the present pass does not keep, because earlier passes have skipped them: those from this key on.
    skipped_from: Option<ChangeKey>,
    /// Conversations to skip before the first item.
    to_skip: u64,
    /// The last changed conversations so far, at most `KEPT_MAX`.
    kept: BinaryHeap<Reverse<ChangeKey>>,
    /// The items that are not loaded yet, once they are known.
    selected: Option<VecDeque<EventNumber>>,
    page: PageBuilder<ConversationView>,
}

impl ViewListing {
    /// A list with at most `bytes_max` bytes of JSON text.
    pub(crate) fn new(pagination: Pagination, bytes_max: usize) -> Box<ViewListing> {
        Box::new(ViewListing {
            place: ConversationPlace::START,
            seen: 0,
            total: None,
            skipped_from: None,
            to_skip: pagination.offset,
            kept: BinaryHeap::new(),
            selected: None,
            page: PageBuilder::new(bytes_max),
        })
    }

    /// About the bytes that the list holds.
    pub(crate) fn bytes(&self) -> usize {
        self.page.bytes() + self.kept.len() * size_of::<ChangeKey>()
    }

    /// Builds the list of the user with key `user` further, as far as `budget` allows.
    pub(crate) fn step(
        mut self: Box<Self>,
        snapshot: &ReadTransaction<'_>,
        user: i64,
        (pagination, with_messages): (Pagination, bool),
        budget: &mut StepBudget,
    ) -> SqlResult<ControlFlow<Page<ConversationView>, Box<Self>>> {
        while self.selected.is_none() && budget.is_left() {
            self.examine(snapshot, user, budget)?;
            if self.place == ConversationPlace::End {
                self.end_pass(pagination.limit as usize);
            }
        }
        while let Some(selected) = &mut self.selected
            && budget.is_left()
        {
            let Some(number) = selected.pop_front() else {
                return Ok(ControlFlow::Break(self.page.finish(self.total.unwrap_or(0))));
            };
            let messages_max = if with_messages { CONVERSATION_LIST_MESSAGES_MAX } else { 0 };
            if let Some(view) = load(snapshot, number, messages_max, budget)?
                && !self.page.add(view)
            {
                selected.clear();
            }
        }
        Ok(ControlFlow::Continue(self))
    }

    fn examine(&mut self, snapshot: &ReadTransaction<'_>, user: i64, budget: &mut StepBudget) -> SqlResult<()> {
        let ViewListing { place, seen, skipped_from, kept, .. } = self;
        caller_conversations::walk(snapshot.db, user, place, budget, |found, _| {
            *seen += 1;
            let key = (found.updated_at, found.number);
            let is_candidate = skipped_from.is_none_or(|from| key < from);
            if is_candidate && (kept.len() < KEPT_MAX || kept.peek().is_some_and(|Reverse(oldest)| key > *oldest)) {
                if kept.len() == KEPT_MAX {
                    kept.pop();
                }
                kept.push(Reverse(key));
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Selects the items, or prepares another pass if they are not among the kept conversations.
    fn end_pass(&mut self, limit: usize) {
        let total = *self.total.get_or_insert(self.seen);
        let kept: Vec<ChangeKey> =
            std::mem::take(&mut self.kept).into_sorted_vec().into_iter().map(|key| key.0).collect();
        let skip = usize::try_from(self.to_skip).unwrap_or(usize::MAX);
        let has_all = kept.len() < KEPT_MAX || self.to_skip >= total;
        if has_all || skip == 0 || skip.saturating_add(limit) <= KEPT_MAX {
            self.selected = Some(kept.into_iter().skip(skip).take(limit).map(|(_, number)| number).collect());
            return;
        }
        let skipped = skip.min(KEPT_MAX);
        self.to_skip -= skipped as u64;
        self.skipped_from = Some(kept[skipped - 1]);
        (self.place, self.seen) = (ConversationPlace::START, 0);
    }
}

/// The conversation with its last messages, if the caller may still see it.
fn load(
    snapshot: &ReadTransaction<'_>,
    number: EventNumber,
    messages_max: u32,
    budget: &mut StepBudget,
) -> SqlResult<Option<ConversationView>> {
    budget.spend(ROW_WORK);
    let Some(access) = conversations::access(snapshot.db, snapshot.ids, number)? else { return Ok(None) };
    budget.spend(PARTICIPANT_WORK * access.participants.len());
    if access.authorize(snapshot.caller, ApiVariant::Conversations).is_err() {
        return Ok(None);
    }
    let view = snapshot.view_of(&access, messages_max)?;
    budget.spend(ROW_WORK * (1 + view.last.messages.len()));
    Ok(Some(view))
}
