//! Steps that bring the index up to date: each adds or removes a bounded part of the texts, and merges a few pages.

use crate::base::limits::{SEARCH_STEP_BYTES_MAX, SEARCH_STEP_MESSAGES_MAX, SEARCH_UNINDEXED_MAX};
use crate::base::time::MonoTime;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::EventNumber;
use crate::store::search::index::{self, PartialText};
use crate::store::search::server_index;
use crate::store::search::tokenizer::Tokenizer;
use crate::store::sql::values::{number, sql};
use crate::store::sql::{SqlConnection, SqlResult};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// A few messages are added to the index when no transaction has run for this time.
const QUIET_MILLISECONDS: u64 = 1000;
/// A few messages are added to the index after this time, though transactions run.
const WAIT_MILLISECONDS: u64 = 10_000;
/// Bytes of a new text that is added at once. Longer ones wait with those that were edited, for which half of a step is reserved.
const NEW_TEXT_BYTES_MAX: usize = SEARCH_STEP_BYTES_MAX / 2;
/// Pages of the index that a step merges.
const MERGED_PAGES: usize = 16;

/// Whether the index has fallen behind.
pub(crate) struct SearchIndexing {
    /// The number through which messages are in the index; `None` until it is read.
    through: Option<EventNumber>,
    /// Whether there may be pending messages, texts to remove, or segments to merge.
    has_more: bool,
    /// Whether the last step had no room for a text.
    has_backlog: bool,
    /// Whether the last step failed. No step is due until a transaction has succeeded.
    has_failed: bool,
    last_transaction: MonoTime,
    /// The first transaction since the last step.
    first_transaction: Option<MonoTime>,
}

impl SearchIndexing {
    pub(crate) fn new() -> SearchIndexing {
        // An earlier process may have left work.
        SearchIndexing {
            through: None,
            has_more: true,
            has_backlog: false,
            has_failed: false,
            last_transaction: MonoTime(0),
            first_transaction: None,
        }
    }

    /// Records that a transaction with commands succeeded.
    pub(crate) fn transaction_succeeded(&mut self, events: &[Arc<Event>], now: MonoTime) {
        let changes = [EventKind::Output, EventKind::MessageUpdated, EventKind::MessageDeleted];
        self.has_more |= events.iter().any(|event| changes.contains(&event.kind));
        self.last_transaction = now;
        self.first_transaction.get_or_insert(now);
        self.has_failed = false;
    }

    /// Records that messages were purged.
    pub(crate) fn has_purged(&mut self) {
        self.has_more = true;
    }

    /// Records that a step failed, so that it is not retried at once.
    pub(crate) fn step_failed(&mut self) {
        *self = SearchIndexing { has_failed: true, ..SearchIndexing::new() };
    }

    /// When a step is due, as far as known; `None` if the index has everything.
    pub(crate) fn due(&self, head: EventNumber) -> Option<MonoTime> {
        let quiet = self.last_transaction.plus_milliseconds(QUIET_MILLISECONDS);
        let latest = self.first_transaction.map_or(quiet, |first| first.plus_milliseconds(WAIT_MILLISECONDS));
        match self.through {
            _ if self.has_failed => None,
            None => Some(MonoTime(0)),
            Some(through) if self.has_backlog || head.0.saturating_sub(through.0) >= SEARCH_UNINDEXED_MAX => {
                Some(MonoTime(0))
            }
            Some(through) if self.has_more || head > through => Some(quiet.min(latest)),
            Some(_) => None,
        }
    }

    /// Runs one step inside an open transaction. `head` is the newest number.
    pub(crate) fn step(&mut self, db: &SqlConnection, head: EventNumber) -> SqlResult<()> {
        let through = index::through(db)?;
        let tokenizer = Tokenizer::new(db)?;
        // New messages leave room for other texts, if there may be any.
        let reserved = if self.has_more { SEARCH_STEP_BYTES_MAX - NEW_TEXT_BYTES_MAX } else { 0 };
        let mut budget = StepBytes { left: SEARCH_STEP_BYTES_MAX - reserved };
        self.through = Some(add_new(db, &tokenizer, (through, head), &mut budget)?);
        budget.left += reserved;
        self.has_backlog = add_pending(db, &tokenizer, &mut budget)? || remove_texts(db, &tokenizer, &mut budget)?;
        let has_merged = index::merge(db, MERGED_PAGES)?;
        self.has_more = self.has_backlog || has_merged;
        self.first_transaction = None;
        Ok(())
    }
}

/// The bytes of text that a step may still add or remove.
struct StepBytes {
    left: usize,
}

impl StepBytes {
    /// The next part of a text of which `done` bytes are done; `None` if the step has room for less than a word of it. A part ends
    /// after a word. The first part of a step has at least one, so it is longer than a step if the word is.
    fn part(&mut self, tokenizer: &Tokenizer, text: &str, done: usize) -> SqlResult<Option<Range<usize>>> {
        // The place is from a row, which may be damaged.
        let rest = text.get(done..).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, done as i64))?;
        let left = self.left;
        let is_first = left >= SEARCH_STEP_BYTES_MAX - NEW_TEXT_BYTES_MAX;
        let mut end = (rest.len() <= left).then_some(rest.len());
        if end.is_none() {
            let mut has_words = false;
            tokenizer.words(rest, |_, word| {
                has_words = true;
                let fits = word.end <= left;
                if fits || (is_first && end.is_none()) {
                    end = Some(word.end);
                }
                if fits { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if !has_words {
                end = Some(rest.len());
            }
        }
        self.left = left.saturating_sub(end.unwrap_or(left));
        Ok(end.map(|end| done..done + end))
    }
}

/// Adds the messages after `through` in order. A text that is too long for the step becomes pending. Returns the number through which
/// messages are added.
fn add_new(
    db: &SqlConnection,
    tokenizer: &Tokenizer,
    (mut through, head): (EventNumber, EventNumber),
    budget: &mut StepBytes,
) -> SqlResult<EventNumber> {
    let from = through;
    let (is_server, messages_max) = (db.is_server(), SEARCH_STEP_MESSAGES_MAX as i64);
    let mut statement = db.prepare_cached(if is_server { server_index::NEW_TEXTS } else { NEW_TEXTS })?;
    let mut rows = match is_server {
        true => statement.query([sql(from), messages_max, NEW_TEXT_BYTES_MAX as i64, budget.left as i64])?,
        false => statement.query([sql(from), messages_max])?,
    };
    let mut messages = 0;
    while budget.left > 0 {
        let Some(row) = rows.next()? else { break };
        messages += 1;
        let message: i64 = row.get(0)?;
        let (is_long, is_beyond): (bool, bool) = (row.get(2)?, row.get(3)?);
        match row.optional_text(1)? {
            None if is_long => index::set_pending(db, message, 0)?,
            Some(text) if text.len() > NEW_TEXT_BYTES_MAX => index::set_pending(db, message, 0)?,
            Some(text) if text.len() <= budget.left => {
                budget.left -= text.len();
                index::add(db, tokenizer, message, text, 0..text.len())?;
            }
            // A message without a text is not published.
            None if !is_beyond => {}
            _ => {
                budget.left = 0;
                break;
            }
        }
        through = number(message);
    }
    if messages < SEARCH_STEP_MESSAGES_MAX && budget.left > 0 {
        through = head;
    }
    if through != from {
        index::set_through(db, through)?;
    }
    Ok(through)
}

/// Adds parts of the pending messages. Returns whether more are left.
fn add_pending(db: &SqlConnection, tokenizer: &Tokenizer, budget: &mut StepBytes) -> SqlResult<bool> {
    while let Some(PartialText { number, done, text }) = index::first_pending(db)? {
        if budget.left == 0 {
            return Ok(true);
        }
        // What the index has of the message's earlier text is removed first.
        if let Some(removal) = index::first_removal(db, number)?.filter(|removal| removal.number == number) {
            remove_part(db, tokenizer, &removal, budget)?;
            continue;
        }
        let Some(part) = budget.part(tokenizer, &text, done)? else { return Ok(true) };
        let end = part.end;
        index::add(db, tokenizer, number, &text, part)?;
        if end == text.len() { index::end_pending(db, number)? } else { index::set_pending(db, number, end)? }
    }
    Ok(false)
}

/// Removes parts of texts. Returns whether more are left.
fn remove_texts(db: &SqlConnection, tokenizer: &Tokenizer, budget: &mut StepBytes) -> SqlResult<bool> {
    while let Some(removal) = index::first_removal(db, 0)? {
        if budget.left == 0 {
            return Ok(true);
        }
        remove_part(db, tokenizer, &removal, budget)?;
    }
    Ok(false)
}

fn remove_part(
    db: &SqlConnection,
    tokenizer: &Tokenizer,
    removal: &PartialText,
    budget: &mut StepBytes,
) -> SqlResult<()> {
    let Some(part) = budget.part(tokenizer, &removal.text, removal.done)? else { return Ok(()) };
    let end = part.end;
    index::remove(db, removal.number, &removal.text[part])?;
    match end == removal.text.len() {
        true => index::end_removal(db, removal.number),
        false => index::set_removal(db, removal.number, end),
    }
}

/// Selects the messages after a number, with their texts if they are published. On a server, two more columns are set: whether
/// a text is left out because it is long, or because the texts before it fill the step.
pub(crate) const NEW_TEXTS: &str = "
    SELECT m.number, (SELECT t.text FROM search_texts t WHERE t.number = m.number), 0, 0
    FROM messages m WHERE m.number > ?1 ORDER BY m.number LIMIT ?2";
