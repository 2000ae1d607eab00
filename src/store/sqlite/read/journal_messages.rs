//! The messages of a page: those that were sent to a user, in order, however many conversations they are in.
//!
//! As far as the user's inbox is complete, their numbers stand there. The newest messages of all users follow it: they are
//! passed over one by one, and those in the user's conversations are taken. Either way the message itself says whether
//! the user may see it.
//!
//! Invariant: nothing that the user may see is passed over.

use crate::base::limits::PAGE_CONVERSATIONS_LISTED_MAX;
use crate::domain::event::EventKind;
use crate::domain::id::{EventNumber, IdKey};
use crate::store::sqlite::read::journal_step::{JournalPageRequest, PageStep, ROW_WORK};
use crate::store::sqlite::tables::inbox;
use crate::store::sqlite::tables::messages;
use crate::store::sqlite::values::{number, sql};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{HashMap, HashSet, VecDeque};

/// Rows that are fetched from a conversation at a time.
const FETCH: usize = 64;
/// Rows at the journal's end that are passed over at a time, and how many of the user's own end it sooner.
const TAIL_FETCH: usize = 1024;
const TAIL_OWN_MAX: usize = 64;

/// The messages that a user may see after a number.
pub(crate) struct Messages<'a> {
    db: &'a Connection,
    ids: &'a IdKey,
    user: i64,
    request: &'a JournalPageRequest,
    /// The journal's end.
    position: EventNumber,
    /// The only workspace to look in, if there is one.
    workspace: Option<EventNumber>,
    /// Found, and not given out yet.
    waiting: VecDeque<Candidate>,
    source: Source,
}

/// Everything of the user's through `number` is a candidate.
struct Candidate {
    number: EventNumber,
    /// Whether there may be a message of the user's at the number itself.
    own: bool,
    /// Rows that were passed over to find it.
    rows: usize,
}

/// Where the next candidates come from.
enum Source {
    /// One conversation, after a number. Next: End.
    Conversation(EventNumber, EventNumber),
    /// The inbox, after a number. Next: Tail.
    Inbox(EventNumber),
    /// Everybody's messages, after a number. Next: End.
    Tail(EventNumber, Conversations),
    /// There are no more.
    End,
}

/// The conversations of a user.
enum Conversations {
    /// All of them.
    Listed(HashSet<i64>),
    /// Those asked about so far, because there are too many.
    Asked(HashMap<i64, bool>),
}

impl<'a> Messages<'a> {
    pub(crate) fn new(
        db: &'a Connection,
        ids: &'a IdKey,
        user: i64,
        request: &'a JournalPageRequest,
        position: EventNumber,
    ) -> rusqlite::Result<Messages<'a>> {
        let workspace = request.workspace.map(|id| ids.open(id.0).map_or(EventNumber(0), |(number, _)| number));
        let mut messages =
            Messages { db, ids, user, request, position, workspace, waiting: VecDeque::new(), source: Source::End };
        if request.kinds.has(EventKind::Input) || request.kinds.has(EventKind::Output) {
            messages.source = match request.conversation.map(|id| ids.open(id.0)) {
                None => Source::Inbox(request.after),
                Some(None) => Source::End,
                Some(Some((conversation, _))) => messages.in_conversation(conversation)?,
            };
        }
        Ok(messages)
    }

    /// The number of the next candidate.
    pub(crate) fn peek(&mut self) -> rusqlite::Result<Option<EventNumber>> {
        while self.waiting.is_empty() && !matches!(self.source, Source::End) {
            self.source = self.fetch()?;
        }
        Ok(self.waiting.front().map(|candidate| candidate.number))
    }

    /// Takes the next candidate, which there must be.
    pub(crate) fn take(&mut self) -> rusqlite::Result<PageStep> {
        let Candidate { number, own, rows } = self.waiting.pop_front().expect("the caller has peeked");
        if !own {
            return Ok(PageStep { number, event: None, work: rows });
        }
        let filter = (self.request.kinds, self.workspace);
        let event = messages::event(self.db, self.ids, number, self.user, filter)?;
        Ok(PageStep { number, event, work: ROW_WORK + rows })
    }

    /// The conversation as a source, from where the user takes part in it.
    fn in_conversation(&self, conversation: EventNumber) -> rusqlite::Result<Source> {
        let since = self.takes_part_since(sql(conversation))?;
        Ok(since.map_or(Source::End, |since| Source::Conversation(conversation, since.max(self.request.after))))
    }

    fn takes_part_since(&self, conversation: i64) -> rusqlite::Result<Option<EventNumber>> {
        let since: Option<Option<i64>> = self
            .db
            .prepare_cached(TAKES_PART_SINCE)?
            .query_row([conversation, self.user], |row| row.get(0))
            .optional()?;
        Ok(since.flatten().map(number))
    }

    /// Fetches candidates; returns where the next ones come from.
    fn fetch(&mut self) -> rusqlite::Result<Source> {
        match std::mem::replace(&mut self.source, Source::End) {
            Source::End => Ok(Source::End),
            Source::Conversation(conversation, after) => {
                let mut numbers = Vec::with_capacity(FETCH);
                messages::numbers_after(self.db, conversation, after, FETCH, &mut numbers)?;
                self.waiting.extend(numbers.iter().map(|number| Candidate::own(*number)));
                let last = numbers.last().filter(|_| numbers.len() == FETCH);
                Ok(last.map_or(Source::End, |last| Source::Conversation(conversation, *last)))
            }
            Source::Inbox(after) => match inbox::chunk_after(self.db, self.user, after)? {
                Some(chunk) => {
                    self.waiting.extend(chunk.numbers().filter(|number| *number > after).map(Candidate::own));
                    Ok(Source::Inbox(chunk.last))
                }
                None => {
                    let complete = inbox::load_watermark(self.db)?.complete_for(self.user);
                    let after = after.max(complete);
                    if after >= self.position {
                        return Ok(Source::End);
                    }
                    Ok(Source::Tail(after, self.conversations(after)?))
                }
            },
            Source::Tail(after, conversations) => self.fetch_tail(after, conversations),
        }
    }

    /// Passes over some of the newest messages.
    fn fetch_tail(&mut self, after: EventNumber, mut conversations: Conversations) -> rusqlite::Result<Source> {
        let mut statement = self.db.prepare_cached(TAIL)?;
        let mut rows = statement.query(params![sql(after), TAIL_FETCH as i64])?;
        let (mut last, mut passed, mut seen) = (after, 0, 0);
        while let Some(row) = rows.next()? {
            last = number(row.get(0)?);
            (passed, seen) = (passed + 1, seen + 1);
            if conversations.have(row.get(1)?, self)? {
                self.waiting.push_back(Candidate { number: last, own: true, rows: passed });
                passed = 0;
                if self.waiting.len() == TAIL_OWN_MAX {
                    return Ok(Source::Tail(last, conversations));
                }
            }
        }
        if seen < TAIL_FETCH {
            return Ok(Source::End);
        }
        if passed > 0 {
            self.waiting.push_back(Candidate { number: last, own: false, rows: passed });
        }
        Ok(Source::Tail(last, conversations))
    }

    /// The user's conversations, to look through the messages after a number.
    fn conversations(&self, after: EventNumber) -> rusqlite::Result<Conversations> {
        // Asking about a few messages takes less than listing many conversations.
        const ASKED_ANYWAY: u64 = 64;
        if self.position.0 - after.0 <= ASKED_ANYWAY {
            return Ok(Conversations::Asked(HashMap::new()));
        }
        let rows_max = PAGE_CONVERSATIONS_LISTED_MAX + 1;
        let mut statement = self.db.prepare_cached(CONVERSATIONS_OF)?;
        let found = statement.query_map([self.user, rows_max as i64], |row| row.get(0))?;
        let found: Vec<i64> = found.collect::<rusqlite::Result<_>>()?;
        Ok(if found.len() < rows_max {
            Conversations::Listed(found.into_iter().collect())
        } else {
            Conversations::Asked(HashMap::new())
        })
    }
}

impl Candidate {
    fn own(number: EventNumber) -> Candidate {
        Candidate { number, own: true, rows: 0 }
    }
}

impl Conversations {
    fn have(&mut self, conversation: i64, messages: &Messages<'_>) -> rusqlite::Result<bool> {
        match self {
            Conversations::Listed(listed) => Ok(listed.contains(&conversation)),
            Conversations::Asked(asked) => {
                if let Some(known) = asked.get(&conversation) {
                    return Ok(*known);
                }
                let takes_part = messages.takes_part_since(conversation)?.is_some();
                asked.insert(conversation, takes_part);
                Ok(takes_part)
            }
        }
    }
}

/// Since when the user sees the messages of a conversation that is not deleted: all of them as the workspace's owner.
pub(crate) const TAKES_PART_SINCE: &str = "
    SELECT CASE WHEN w.owner = ?2 THEN 0 ELSE p.since END
    FROM conversations c
    CROSS JOIN workspaces w ON w.number = c.workspace AND w.deleted IS NULL
    LEFT JOIN participants p ON p.conversation = c.number AND p.user = ?2
    WHERE c.number = ?1 AND c.deleted IS NULL";
pub(crate) const CONVERSATIONS_OF: &str = "
    SELECT conversation FROM participants WHERE user = ?1
    UNION ALL
    SELECT c.number
    FROM workspaces w
    CROSS JOIN conversations c ON c.workspace = w.number AND c.deleted IS NULL
    WHERE w.owner = ?1 AND w.deleted IS NULL
    LIMIT ?2";
pub(crate) const TAIL: &str = "SELECT number, conversation FROM messages WHERE number > ?1 ORDER BY number LIMIT ?2";
