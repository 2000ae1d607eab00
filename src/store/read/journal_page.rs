//! One page of a user's journal: message events and state events, merged by number.
//!
//! Invariant: the page has every event of the user that the filter accepts, after the requested number and through `through`,
//! each once and in order, except events that the user may no longer see or whose subject is deleted.
//!
//! The page reports a gap if retention has removed an event of the user after the requested number, or if the requested number
//! is not in this journal: it is beyond the journal's end, or in a skipped range (`timeline`). A number before a skipped
//! range is in this journal: the backup includes its event, and no later event of this journal is missing.

use crate::base::limits::PAGE_EVENTS_MAX;
use crate::domain::id::{EventNumber, IdKey, UserId};
use crate::domain::query::JournalPage;
use crate::store::read::journal_messages::Messages;
use crate::store::read::journal_step::{JournalPageRequest, PageStep};
use crate::store::read::step_budget::{ROW_WORK, StepBudget};
use crate::store::sql::values::number;
use crate::store::sql::{OptionalRow, SqlConnection, SqlResult};
use crate::store::tables::released_users;
use crate::store::tables::state_events::{self, StateEventEntry};
use crate::store::tables::timeline;
use std::collections::VecDeque;
use std::sync::Arc;

/// Reads a page of `user` in the open transaction of `db`. `position` is the newest number in its snapshot. A page that has spent
/// `budget` is complete through the last row that it examined.
pub(crate) fn read(
    db: &SqlConnection,
    ids: &IdKey,
    user: &UserId,
    request: &JournalPageRequest,
    budget: &mut StepBudget,
    position: EventNumber,
) -> SqlResult<JournalPage> {
    let mut page = JournalPage { events: Vec::new(), through: position, position, gap: None };
    if request.after > position {
        page.gap = Some(position.next());
        return Ok(page);
    }
    let skipped_through = timeline::skipped_through(db, request.after)?;
    page.gap = skipped_through.map(EventNumber::next);
    let stored = stream_state(db, user)?;
    let removed_through = match stored {
        Some((_, removed_through)) => removed_through,
        None => released_users::removed_through(db, user)?,
    };
    if request.after < removed_through {
        page.gap = page.gap.max(Some(removed_through.next()));
    }
    let Some((key, _)) = stored else { return Ok(page) };
    let mut merge = MergedEvents {
        messages: Messages::new(db, ids, key, request, position)?,
        state_events: StateEvents {
            db,
            ids,
            user: key,
            request,
            waiting: VecDeque::new(),
            after: request.after,
            exhausted: false,
        },
    };
    let (mut bytes, mut through) = (0, request.after);
    while budget.is_left() {
        let bytes_left = request.bytes_max.saturating_sub(bytes);
        let Some(PageStep { number, event, work }) = merge.next(bytes_left)? else { return Ok(page) };
        budget.spend(work);
        if let Some(event) = event {
            bytes += event.frame_bytes();
            if page.events.len() == PAGE_EVENTS_MAX || (bytes > request.bytes_max && !page.events.is_empty()) {
                break;
            }
            page.events.push(event);
        }
        through = number;
    }
    page.through = through;
    Ok(page)
}

/// The key of a user, and the number through which retention has removed events that the user could see.
fn stream_state(db: &SqlConnection, user: &UserId) -> SqlResult<Option<(i64, EventNumber)>> {
    db.prepare_cached("SELECT key, removed_through FROM users WHERE oid = ?1")?
        .query_row([user.as_str()], |row| Ok((row.get(0)?, number(row.get(1)?))))
        .optional()
}

/// Message events and state events, by number.
struct MergedEvents<'a> {
    messages: Messages<'a>,
    state_events: StateEvents<'a>,
}

impl MergedEvents<'_> {
    fn next(&mut self, bytes_left: usize) -> SqlResult<Option<PageStep>> {
        match (self.messages.peek()?, self.state_events.peek()?) {
            (None, None) => Ok(None),
            (Some(message), state_event) if state_event.is_none_or(|number| message < number) => {
                self.messages.take(bytes_left).map(Some)
            }
            _ => self.state_events.take(),
        }
    }
}

/// The state events of a user, fetched a few at a time.
struct StateEvents<'a> {
    db: &'a SqlConnection,
    ids: &'a IdKey,
    user: i64,
    request: &'a JournalPageRequest,
    waiting: VecDeque<StateEventEntry>,
    /// The number of the last fetched event.
    after: EventNumber,
    exhausted: bool,
}

impl StateEvents<'_> {
    fn peek(&mut self) -> SqlResult<Option<EventNumber>> {
        const FETCH: usize = 32;
        if self.waiting.is_empty() && !self.exhausted {
            self.waiting = state_events::entries_after(self.db, self.ids, self.user, self.after, FETCH)?.into();
            self.exhausted = self.waiting.len() < FETCH;
            self.after = self.waiting.back().map_or(self.after, |entry| entry.number);
        }
        Ok(self.waiting.front().map(|entry| entry.number))
    }

    fn take(&mut self) -> SqlResult<Option<PageStep>> {
        let Some(StateEventEntry { number, event }) = self.waiting.pop_front() else { return Ok(None) };
        let event = match event.filter(|event| self.request.accepts(event)) {
            Some(event) => state_events::complete(self.db, self.ids, event)?.map(Arc::new),
            None => None,
        };
        Ok(Some(PageStep { number, event, work: ROW_WORK }))
    }
}
