//! The messages of a journal page: the messages that a user may see, by number. The cost does not depend on the number of the
//! user's conversations.
//!
//! The user's inbox has the numbers through its watermark. After the watermark, the newest messages of all users are scanned
//! for those in the user's conversations. The numbers from both sources are candidates; access is checked when the message
//! is read.
//!
//! Invariant: every message that the user may see is a candidate.

use crate::base::limits::PAGE_CONVERSATIONS_LISTED_MAX;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::{EventNumber, IdKey};
use crate::store::read::journal_step::{JournalPageRequest, PageStep};
use crate::store::read::step_budget::{ENTRY_WORK, ROW_WORK};
use crate::store::sql::values::{number, sql};
use crate::store::sql::{OptionalRow, SqlConnection, SqlResult, params};
use crate::store::tables::inbox;
use crate::store::tables::messages;
use std::collections::{HashMap, HashSet, VecDeque};

/// Rows of a conversation to fetch at a time.
const FETCH: usize = 64;
/// Messages that are read at a time from a server.
const READ_AHEAD_MAX: usize = 64;
/// Rows of the tail to scan at a time, and the work after which the scan pauses.
const TAIL_FETCH: usize = 1024;
/// Rows of the user after which a scan of the tail pauses.
const TAIL_OWN_MAX: usize = 64;

/// The messages that a user may see after a number.
pub(crate) struct Messages<'a> {
    db: &'a SqlConnection,
    ids: &'a IdKey,
    user: i64,
    request: &'a JournalPageRequest,
    /// The newest number in the snapshot.
    position: EventNumber,
    /// The only workspace whose messages are wanted; `None` for all.
    workspace: Option<EventNumber>,
    /// Candidates that `take` has not returned yet.
    waiting: VecDeque<Candidate>,
    /// The events of the next candidates that may be messages for the user, as far as they have been read.
    read_ahead: VecDeque<Option<Event>>,
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
    /// A conversation, after a number. Next: End.
    Conversation(EventNumber, EventNumber),
    /// The inbox, after a number. Next: Tail, End.
    Inbox(EventNumber),
    /// The messages of all users, after a number. Next: End.
    Tail(EventNumber, Conversations),
    /// No candidates are left.
    End,
}

/// The conversations of a user.
enum Conversations {
    /// All conversations of the user.
    All(HashSet<i64>),
    /// Whether each conversation checked so far is one of the user: there are too many to list them, or too few messages.
    Checked(HashMap<i64, bool>),
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
            ids,
            user,
            request,
            position,
            workspace,
            waiting: VecDeque::new(),
            read_ahead: VecDeque::new(),
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

    /// Takes the next candidate. `peek` must have returned its number.
    pub(crate) fn take(&mut self) -> SqlResult<PageStep> {
        let Candidate { number, is_own, scan_work } = self.waiting.pop_front().expect("`peek` returned a number");
        if !is_own {
            return Ok(PageStep { number, event: None, work: scan_work });
        }
        if self.read_ahead.is_empty() {
            // A server is asked for several messages at once.
            let more = if self.db.is_server() { READ_AHEAD_MAX - 1 } else { 0 };
            let next = self.waiting.iter().filter(|candidate| candidate.is_own).take(more);
            let numbers: Vec<EventNumber> =
                [number].into_iter().chain(next.map(|candidate| candidate.number)).collect();
            let filter = (self.request.kinds, self.workspace);
            self.read_ahead = messages::events(self.db, self.ids, &numbers, self.user, filter)?.into();
        }
        let event = self.read_ahead.pop_front().flatten();
        Ok(PageStep { number, event, work: ROW_WORK + scan_work })
    }

    /// The messages of a conversation since the user joined it, as a source.
    fn in_conversation(&self, conversation: EventNumber) -> SqlResult<Source> {
        let since = self.visible_since(sql(conversation))?;
        Ok(since.map_or(Source::End, |since| Source::Conversation(conversation, since.max(self.request.after))))
    }

    fn visible_since(&self, conversation: i64) -> SqlResult<Option<EventNumber>> {
        let since: Option<Option<i64>> =
            self.db.prepare_cached(VISIBLE_SINCE)?.query_row([conversation, self.user], |row| row.get(0)).optional()?;
        Ok(since.flatten().map(number))
    }

    /// Fetches candidates, and returns the source of the next ones.
    fn fetch(&mut self) -> SqlResult<Source> {
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

    /// Scans some of the newest messages of all users.
    fn fetch_tail(&mut self, after: EventNumber, mut conversations: Conversations) -> SqlResult<Source> {
        let mut statement = self.db.prepare_cached(TAIL)?;
        let mut rows = statement.query(params![sql(after), TAIL_FETCH as i64])?;
        let (mut last, mut scan_work, mut scanned) = (after, 0, 0);
        while scan_work < TAIL_FETCH
            && let Some(row) = rows.next()?
        {
            last = number(row.get(0)?);
            scanned += 1;
            let (is_own, work) = conversations.contain(row.get(1)?, self)?;
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

    /// The user's conversations, for a scan of the messages after a number.
    fn conversations(&self, after: EventNumber) -> SqlResult<Conversations> {
        // For a few messages, single checks are cheaper than listing many conversations.
        const CHECKED_SINGLY_MAX: u64 = 64;
        if self.position.0 - after.0 <= CHECKED_SINGLY_MAX {
            return Ok(Conversations::Checked(HashMap::new()));
        }
        let rows_max = PAGE_CONVERSATIONS_LISTED_MAX + 1;
        let mut statement = self.db.prepare_cached(CONVERSATIONS_OF)?;
        let found = statement.query_map([self.user, rows_max as i64], |row| row.get(0))?;
        let found: Vec<Option<i64>> = found.collect::<SqlResult<_>>()?;
        Ok(if found.len() < rows_max {
            Conversations::All(found.into_iter().flatten().collect())
        } else {
            Conversations::Checked(HashMap::new())
        })
    }
}

impl Candidate {
    fn own(number: EventNumber) -> Candidate {
        Candidate { number, is_own: true, scan_work: 0 }
    }
}

impl Conversations {
    /// Whether a conversation is one of the user, and the work of the check.
    fn contain(&mut self, conversation: i64, messages: &Messages<'_>) -> SqlResult<(bool, usize)> {
        match self {
            Conversations::All(all) => Ok((all.contains(&conversation), ENTRY_WORK)),
            Conversations::Checked(checked) => {
                if let Some(is_own) = checked.get(&conversation) {
                    return Ok((*is_own, ENTRY_WORK));
                }
                let is_own = messages.visible_since(conversation)?.is_some();
                checked.insert(conversation, is_own);
                Ok((is_own, ROW_WORK))
            }
        }
    }
}

/// The number after which the user may see the messages of a conversation that is not deleted: 0 for the workspace's owner,
/// `NULL` for a user without access.
pub(crate) const VISIBLE_SINCE: &str = "
    SELECT CASE WHEN w.owner = ?2 THEN 0 ELSE p.since END
    FROM conversations c
    CROSS JOIN workspaces w ON w.number = c.workspace AND w.deleted IS NULL
    LEFT JOIN participants p ON p.conversation = c.number AND p.user = ?2
    WHERE c.number = ?1 AND c.deleted IS NULL";
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
