//! The messages of a journal page: the messages that a user may see, by number. The cost does not depend on the number of the
//! user's conversations.
//!
//! The user's inbox has the numbers through its watermark. After the watermark, the numbers are read from the user's conversations
//! if these are few, or else the newest messages of all users are scanned for those in the user's conversations. The numbers
//! from all sources are candidates; access is checked when the message is read.
//!
//! Invariant: every message that the user may see is a candidate.

use crate::base::limits::{PAGE_CONVERSATIONS_LISTED_MAX, PAGE_EVENTS_MAX};
use crate::domain::event::{Event, EventKind};
use crate::domain::id::{EventNumber, IdKey};
use crate::store::read::journal_step::{JournalPageRequest, PageStep};
use crate::store::read::step_budget::{ENTRY_WORK, ROW_WORK};
use crate::store::read::visible_messages::VisibleMessages;
use crate::store::sql::values::{number, sql};
use crate::store::sql::{SqlConnection, SqlResult, params};
use crate::store::tables::conversation_index::{ConversationIndex, PageStart};
use crate::store::tables::inbox;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Rows of a conversation to fetch at a time.
const FETCH: usize = 64;
/// Conversations that are read one by one instead of a scan of the tail.
const READ_SINGLY_MAX: usize = 64;
/// Rows of the tail that cost as much as finding the place of one conversation in its index.
const SEEK_ROWS: u64 = 32;
/// Messages that are read at a time.
const READ_AHEAD_MAX: usize = 64;
/// Rows of the tail to scan at a time, and the work after which the scan pauses.
const TAIL_FETCH: usize = 1024;
/// Rows of the user after which a scan of the tail pauses.
const TAIL_OWN_MAX: usize = 64;

/// The messages that a user may see after a number.
pub(crate) struct Messages<'a> {
    db: &'a SqlConnection,
    user: i64,
    request: &'a JournalPageRequest,
    /// The newest number in the snapshot.
    position: EventNumber,
    /// Candidates that `take` has not returned yet.
    waiting: VecDeque<Candidate>,
    /// The events of the next candidates that may be messages for the user, as far as they have been read.
    read_ahead: VecDeque<Option<Arc<Event>>>,
    visible: VisibleMessages<'a>,
    source: Source,
}

/// A number that may be a message for the user. All earlier messages for the user are earlier candidates.
struct Candidate {
    number: EventNumber,
    /// Whether the number may be a message for the user. If not, the candidate only reports the progress of a scan.
    is_own: bool,
    /// The work of the scan since the previous candidate.
    scan_work: usize,
}

/// The source of the next candidates.
enum Source {
    /// Some conversations, after a number. Next: End.
    Conversations(EventNumber, Vec<i64>),
    /// The inbox, after a number. Next: Conversations, Tail, End.
    Inbox(EventNumber),
    /// The messages of all users, after a number. Next: End.
    Tail(EventNumber, UserConversations),
    /// No candidates are left.
    End,
}

/// The conversations of a user, of which a scan of the tail wants the messages.
enum UserConversations {
    /// All conversations of the user.
    All(HashSet<i64>),
    /// Each is checked when it occurs: there are too many to list them, or too few messages.
    Unlisted,
}

impl<'a> Messages<'a> {
    pub(crate) fn new(
        db: &'a SqlConnection,
        ids: &'a IdKey,
        user: i64,
        request: &'a JournalPageRequest,
        position: EventNumber,
    ) -> SqlResult<Messages<'a>> {
        let workspace = request.workspace.map(|id| ids.open(id.0).map_or(EventNumber(0), |(number, _)| number));
        let mut messages = Messages {
            db,
            user,
            request,
            position,
            waiting: VecDeque::new(),
            read_ahead: VecDeque::new(),
            visible: VisibleMessages::new(db, ids, user, (request.kinds, workspace)),
            source: Source::End,
        };
        if request.kinds.has(EventKind::Input) || request.kinds.has(EventKind::Output) {
            messages.source = match request.conversation.map(|id| ids.open(id.0)) {
                None => Source::Inbox(request.after),
                Some(None) => Source::End,
                Some(Some((conversation, _))) => messages.in_conversation(conversation)?,
            };
        }
        Ok(messages)
    }

    /// The number of the next candidate, if any.
    pub(crate) fn peek(&mut self) -> SqlResult<Option<EventNumber>> {
        while self.waiting.is_empty() && !matches!(self.source, Source::End) {
            self.source = self.fetch()?;
        }
        Ok(self.waiting.front().map(|candidate| candidate.number))
    }

    /// Takes the next candidate. `peek` must have returned its number. About `bytes_left` are left in the page.
    pub(crate) fn take(&mut self, bytes_left: usize) -> SqlResult<PageStep> {
        let Candidate { number, is_own, scan_work } = self.waiting.pop_front().expect("`peek` returned a number");
        if !is_own {
            return Ok(PageStep { number, event: None, work: scan_work });
        }
        // Several messages are read at once: a statement, or a request to a server, costs more than a row.
        if self.read_ahead.is_empty() {
            let next = self.waiting.iter().filter(|candidate| candidate.is_own).take(READ_AHEAD_MAX - 1);
            let mut numbers = Vec::with_capacity(READ_AHEAD_MAX);
            numbers.push(number);
            numbers.extend(next.map(|candidate| candidate.number));
            self.read_ahead = self.visible.events(&numbers, bytes_left)?;
        }
        Ok(PageStep { number, event: self.read_ahead.pop_front().flatten(), work: ROW_WORK + scan_work })
    }

    /// The messages of a conversation since the user joined it, as a source.
    fn in_conversation(&mut self, conversation: EventNumber) -> SqlResult<Source> {
        let visible = self.visible.conversation(sql(conversation))?;
        Ok(visible.map_or(Source::End, |visible| {
            Source::Conversations(visible.since.max(self.request.after), vec![sql(conversation)])
        }))
    }

    /// Fetches candidates, and returns the source of the next ones.
    fn fetch(&mut self) -> SqlResult<Source> {
        match std::mem::replace(&mut self.source, Source::End) {
            Source::End => Ok(Source::End),
            Source::Conversations(after, conversations) => self.fetch_from(after, conversations),
            Source::Inbox(after) => match inbox::chunk_after(self.db, self.user, after)? {
                Some(chunk) => {
                    self.waiting.reserve(PAGE_EVENTS_MAX);
                    let numbers = chunk.numbers().filter(|number| *number > after).take(PAGE_EVENTS_MAX);
                    self.waiting.extend(numbers.map(Candidate::own));
                    Ok(Source::Inbox(self.waiting.back().map_or(chunk.last, |candidate| candidate.number)))
                }
                None => {
                    let complete = inbox::load_watermark(self.db)?.complete_for(self.user);
                    let after = after.max(complete);
                    if after >= self.position {
                        return Ok(Source::End);
                    }
                    self.after_inbox(after)
                }
            },
            Source::Tail(after, conversations) => self.fetch_tail(after, conversations),
        }
    }

    /// Reads the next messages of each of some conversations.
    fn fetch_from(&mut self, after: EventNumber, conversations: Vec<i64>) -> SqlResult<Source> {
        let index = ConversationIndex::read(self.db)?;
        let (mut numbers, mut complete_through) = (Vec::new(), None);
        for conversation in &conversations {
            let before = numbers.len();
            numbers.extend(index.numbers(number(*conversation), PageStart::After(after), FETCH)?);
            if numbers.len() - before == FETCH {
                let last = numbers.last().copied();
                complete_through = complete_through.min(last).or(last);
            }
        }
        let scan_work = ROW_WORK * conversations.len() + ENTRY_WORK * numbers.len();
        numbers.retain(|number| complete_through.is_none_or(|last| *number <= last));
        numbers.sort_unstable();
        self.waiting.extend(numbers.into_iter().map(Candidate::own));
        if let Some(first) = self.waiting.front_mut() {
            first.scan_work = scan_work;
        }
        Ok(complete_through.map_or(Source::End, |last| Source::Conversations(last, conversations)))
    }

    /// Scans some of the newest messages of all users.
    fn fetch_tail(&mut self, after: EventNumber, conversations: UserConversations) -> SqlResult<Source> {
        let mut statement = self.db.prepare_cached(TAIL)?;
        let mut rows = statement.query(params![sql(after), TAIL_FETCH as i64])?;
        let (mut last, mut scan_work, mut scanned) = (after, 0, 0);
        while scan_work < TAIL_FETCH
            && let Some(row) = rows.next()?
        {
            last = number(row.get(0)?);
            scanned += 1;
            let (is_own, work) = conversations.contain(row.get(1)?, &mut self.visible)?;
            scan_work += work;
            if is_own {
                self.waiting.push_back(Candidate { number: last, is_own: true, scan_work });
                scan_work = 0;
                if self.waiting.len() == TAIL_OWN_MAX {
                    return Ok(Source::Tail(last, conversations));
                }
            }
        }
        if scanned < TAIL_FETCH && scan_work < TAIL_FETCH {
            return Ok(Source::End);
        }
        if scan_work > 0 {
            self.waiting.push_back(Candidate { number: last, is_own: false, scan_work });
        }
        Ok(Source::Tail(last, conversations))
    }

    /// The source of the messages after a number that the inbox does not have yet.
    fn after_inbox(&self, after: EventNumber) -> SqlResult<Source> {
        // For a few messages, single checks are cheaper than listing many conversations.
        const CHECKED_SINGLY_MAX: u64 = 64;
        let tail_rows_max = self.position.0 - after.0;
        if tail_rows_max <= CHECKED_SINGLY_MAX {
            return Ok(Source::Tail(after, UserConversations::Unlisted));
        }
        let rows_max = PAGE_CONVERSATIONS_LISTED_MAX + 1;
        let mut statement = self.db.prepare_cached(CONVERSATIONS_OF)?;
        let found = statement.query_map([self.user, rows_max as i64], |row| row.get(0))?;
        let found: Vec<Option<i64>> = found.collect::<SqlResult<_>>()?;
        if found.len() == rows_max {
            return Ok(Source::Tail(after, UserConversations::Unlisted));
        }
        let conversations: HashSet<i64> = found.into_iter().flatten().collect();
        // A server is asked once instead.
        let is_read_singly = !self.db.is_server()
            && conversations.len() <= READ_SINGLY_MAX
            && conversations.len() as u64 * SEEK_ROWS <= tail_rows_max;
        Ok(match is_read_singly {
            true => Source::Conversations(after, conversations.into_iter().collect()),
            false => Source::Tail(after, UserConversations::All(conversations)),
        })
    }
}

impl Candidate {
    fn own(number: EventNumber) -> Candidate {
        Candidate { number, is_own: true, scan_work: 0 }
    }
}

impl UserConversations {
    /// Whether a conversation is one of the user, and the work of the check.
    fn contain(&self, conversation: i64, visible: &mut VisibleMessages<'_>) -> SqlResult<(bool, usize)> {
        match self {
            UserConversations::All(all) => Ok((all.contains(&conversation), ENTRY_WORK)),
            UserConversations::Unlisted => {
                let work = if visible.has_checked(conversation) { ENTRY_WORK } else { ROW_WORK };
                Ok((visible.conversation(conversation)?.is_some(), work))
            }
        }
    }
}

/// Selects a row for each participation, and for each conversation of each workspace. A workspace without conversations has a row
/// with `NULL`, so that the limit bounds the rows that are examined.
pub(crate) const CONVERSATIONS_OF: &str = "
    SELECT conversation FROM participants WHERE user = ?1
    UNION ALL
    SELECT c.number
    FROM workspaces w
    LEFT JOIN conversations c ON c.workspace = w.number AND c.deleted IS NULL
    WHERE w.owner = ?1 AND w.deleted IS NULL
    LIMIT ?2";
pub(crate) const TAIL: &str = "SELECT number, conversation FROM messages WHERE number > ?1 ORDER BY number LIMIT ?2";
