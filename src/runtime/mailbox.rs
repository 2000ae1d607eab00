//! The mailbox of an event loop: other threads append messages under a lock and wake the loop once; it takes the whole list.
//! A loop takes the list in every turn, so a loop without streams is not woken for each commit.
//!
//! Invariant: the bytes of waiting events are bounded. Past the bound, a commit leaves only its number, and the shard reads
//! the missed events from the journal. The bytes of query results are bounded too, and each user has a share. Past the bound,
//! results of the largest holder become rejections. Replies themselves are never dropped: a connection waits for at most one.

use crate::base::memory_plan::MemoryPlan;
use crate::base::metrics::{self, MailboxDropped};
use crate::base::shares::Shares;
use crate::domain::holder::Holder;
use crate::domain::query::QueryResponse;
use crate::domain::result::Rejection;
use crate::shard::message::{CommitShare, ShardMessage};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Messages for streams that may wait in the mailbox of a loop without streams until something else wakes it, and the bytes of
/// their events.
const UNHURRIED_MESSAGES_MAX: usize = 64;
const UNHURRIED_EVENT_BYTES_MAX: usize = 64 * 1024;

/// The mailbox of one event loop.
#[derive(Debug)]
pub(crate) struct Mailbox {
    waiting: Mutex<MailboxState>,
    waker: mio::Waker,
    event_bytes_max: usize,
    delta_bytes_max: usize,
    result_bytes_max: usize,
}

#[derive(Debug)]
struct MailboxState {
    messages: VecDeque<ShardMessage>,
    /// Whether the loop was woken for them.
    is_woken: bool,
    /// Whether the loop is woken for what only streams need.
    awaits_events: bool,
    event_bytes: usize,
    delta_bytes: usize,
    /// The query results among the messages.
    results: Vec<WaitingResult>,
    /// Their bytes.
    result_shares: Shares<Holder>,
}

/// A query result that waits.
#[derive(Debug)]
struct WaitingResult {
    holder: Holder,
    weight: usize,
    /// Its index in `messages`.
    index: usize,
}

impl Mailbox {
    /// An empty mailbox with its part of the budgets. `waker` wakes its loop.
    pub(crate) fn new(waker: mio::Waker, memory: &MemoryPlan) -> Mailbox {
        let result_bytes_max = memory.mailbox_result_limit_bytes();
        let waiting = MailboxState {
            messages: VecDeque::new(),
            is_woken: false,
            awaits_events: true,
            event_bytes: 0,
            delta_bytes: 0,
            results: Vec::new(),
            result_shares: Shares::new(result_bytes_max),
        };
        Mailbox {
            waiting: Mutex::new(waiting),
            waker,
            event_bytes_max: memory.mailbox_event_limit_bytes(),
            delta_bytes_max: memory.mailbox_delta_limit_bytes(),
            result_bytes_max,
        }
    }

    /// Appends a message that is not the response to a query.
    pub(crate) fn push(&self, mut message: ShardMessage) {
        let must_wake = {
            let mut waiting = self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            match &mut message {
                ShardMessage::Committed(committed) => {
                    bound_events(committed, &mut waiting.event_bytes, self.event_bytes_max)
                }
                ShardMessage::Delta(_) => {
                    waiting.delta_bytes += size_of::<ShardMessage>();
                    // The shard detects the missing index, and reads the text from the answer.
                    if waiting.delta_bytes > self.delta_bytes_max {
                        metrics::MAILBOX_DROPPED[MailboxDropped::Delta as usize].add(1);
                        return;
                    }
                }
                _ => {}
            }
            waiting.append(message)
        };
        self.wake_if(must_wake);
    }

    /// Appends the response to a query of `holder`. If too many bytes of results wait then, the newest of the largest holder
    /// become rejections.
    pub(crate) fn push_query_response(&self, holder: &Holder, response: QueryResponse) {
        let weight = response.weight();
        let must_wake = {
            let mut waiting = self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let index = waiting.messages.len();
            waiting.results.push(WaitingResult { holder: holder.clone(), weight, index });
            waiting.result_shares.add(holder, weight);
            let must_wake = waiting.append(ShardMessage::QueryResponse(response));
            // A result that waits alone may be larger than the budget: it would be as large at every repetition.
            while waiting.results.len() > 1
                && let Some(largest) = waiting.result_shares.largest_if_over(holder)
            {
                waiting.reject_newest_result(&largest);
            }
            must_wake
        };
        self.wake_if(must_wake);
    }

    fn wake_if(&self, must_wake: bool) {
        if must_wake && let Err(error) = self.waker.wake() {
            log::error!("an event loop cannot be woken: {error}");
        }
    }

    /// Moves the waiting messages into `into`, which is empty.
    pub(crate) fn take(&self, into: &mut VecDeque<ShardMessage>) {
        debug_assert!(into.is_empty());
        let mut waiting = self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        std::mem::swap(&mut waiting.messages, into);
        waiting.is_woken = false;
        metrics::MAILBOX_MESSAGES.sub(into.len() as u64);
        waiting.event_bytes = 0;
        waiting.delta_bytes = 0;
        if !waiting.results.is_empty() {
            waiting.results.clear();
            waiting.result_shares = Shares::new(self.result_bytes_max);
        }
    }

    /// Whether there are messages that the loop must take before it waits. From now on, it is woken for what only streams need if a
    /// connection `awaits_events`.
    pub(crate) fn is_due(&self, awaits_events: bool) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        waiting.awaits_events = awaits_events;
        !waiting.messages.is_empty() && (awaits_events || waiting.is_woken)
    }
}

impl MailboxState {
    /// Appends a message; returns whether the loop must be woken for it.
    fn append(&mut self, message: ShardMessage) -> bool {
        let can_wait = !self.awaits_events
            && self.messages.len() < UNHURRIED_MESSAGES_MAX
            && self.event_bytes <= UNHURRIED_EVENT_BYTES_MAX
            && message.is_for_streams();
        self.messages.push_back(message);
        metrics::MAILBOX_MESSAGES.add(1);
        let must_wake = !can_wait && !self.is_woken;
        self.is_woken |= must_wake;
        must_wake
    }

    fn reject_newest_result(&mut self, holder: &Holder) {
        let is_of_holder = |result: &WaitingResult| result.holder == *holder;
        let at = self.results.iter().rposition(is_of_holder).expect("a holder of bytes has a result");
        let WaitingResult { weight, index, .. } = self.results.remove(at);
        self.result_shares.remove(holder, weight);
        if let ShardMessage::QueryResponse(response) = &mut self.messages[index] {
            response.result = Err(Rejection::Overloaded);
            metrics::MAILBOX_DROPPED[MailboxDropped::Result as usize].add(1);
        }
    }
}

/// Removes the events of a commit if with them more than `event_bytes_max` bytes would wait. `event_bytes` is the number of
/// waiting bytes. The first waiting commit keeps its events, whatever their size.
pub fn bound_events(committed: &mut CommitShare, event_bytes: &mut usize, event_bytes_max: usize) {
    let weight: usize = committed.events.iter().map(|event| event.weight()).sum();
    if *event_bytes + weight > event_bytes_max && *event_bytes > 0 {
        // A commit that follows itself tells the shard that it missed events.
        committed.before = committed.through;
        committed.events = Arc::new([]);
        metrics::MAILBOX_DROPPED[MailboxDropped::Events as usize].add(1);
    } else {
        *event_bytes += weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::{MAILBOX_EVENT_BYTES_MAX, MAILBOX_RESULT_BYTES_MAX};
    use crate::base::time::WallTime;
    use crate::domain::command::ReplyTo;
    use crate::domain::event::{Event, EventBody, EventKind};
    use crate::domain::id::{EventNumber, UserId, WorkspaceId};
    use crate::domain::query::{JournalPage, QueryResult};
    use crate::domain::result::CommandResult;

    fn commit(number: u64, bytes: usize) -> CommitShare {
        let event = Event {
            number: EventNumber(number),
            kind: EventKind::WorkspaceUpdated,
            at: WallTime(0),
            actor: UserId::new("u").unwrap(),
            correlation_id: "c".into(),
            workspace_id: WorkspaceId(uuid::Uuid::nil()),
            conversation_id: None,
            recipients: Arc::new([]),
            body: EventBody::Data("x".repeat(bytes).into()),
        };
        CommitShare {
            before: EventNumber(number - 1),
            through: EventNumber(number),
            events: Arc::new([Arc::new(event)]),
            results: Vec::new(),
            started: Arc::new([]),
            token_rules: None,
        }
    }

    fn mailbox() -> Mailbox {
        let poll = mio::Poll::new().unwrap();
        Mailbox::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap(), &MemoryPlan::unlimited())
    }

    /// An answer of so many bytes of events.
    fn answer(bytes: usize) -> QueryResponse {
        let through = EventNumber(1);
        let events = commit(1, bytes).events.to_vec();
        let page = JournalPage { events, through, position: through, gap: None };
        let to = ReplyTo { shard: 0, slot: 0, generation: 0 };
        QueryResponse { to, position: through, result: Ok(QueryResult::JournalPage(page)) }
    }

    fn holder(name: &str) -> Holder {
        Holder::User(UserId::new(name).unwrap())
    }

    #[test]
    fn a_result_that_waits_alone_may_exceed_the_bound() {
        let mailbox = mailbox();
        let mut messages = VecDeque::new();
        for _ in 0..2 {
            mailbox.push_query_response(&holder("a"), answer(2 * MAILBOX_RESULT_BYTES_MAX));
            mailbox.take(&mut messages);
            let Some(ShardMessage::QueryResponse(response)) = messages.pop_front() else { panic!("{messages:?}") };
            assert!(response.result.is_ok());
        }
    }

    #[test]
    fn past_the_bound_results_of_the_largest_holder_become_rejections() {
        let mailbox = mailbox();
        let mut messages = VecDeque::new();
        // Large results of one user until the mailbox is full, then small ones of others; then they are taken.
        for _ in 0..2 {
            let large = [("a", MAILBOX_RESULT_BYTES_MAX / 3); 4];
            let small = [("b", 1000), ("c", MAILBOX_RESULT_BYTES_MAX / 3), ("b", 1000)];
            for (name, bytes) in large.into_iter().chain(small) {
                mailbox.push_query_response(&holder(name), answer(bytes));
            }
            mailbox.take(&mut messages);
            let found: Vec<bool> = messages
                .drain(..)
                .map(|mail| matches!(mail, ShardMessage::QueryResponse(QueryResponse { result: Ok(_), .. })))
                .collect();
            assert_eq!(found, [true, false, false, false, true, true, true], "the others notice nothing");
        }
    }

    #[test]
    fn past_its_bound_a_commit_leaves_only_its_number() {
        let mailbox = mailbox();
        let sizes = [MAILBOX_EVENT_BYTES_MAX * 2, 10, 10];
        for (at, bytes) in sizes.into_iter().enumerate() {
            mailbox.push(ShardMessage::Committed(commit(at as u64 + 1, bytes)));
        }
        let mut messages = VecDeque::new();
        mailbox.take(&mut messages);
        let kept: Vec<(u64, usize)> = messages
            .iter()
            .map(|mail| match mail {
                ShardMessage::Committed(committed) => (committed.before.0, committed.events.len()),
                other => panic!("nothing else was pushed: {other:?}"),
            })
            .collect();
        assert_eq!(kept, [(0, 1), (2, 0), (3, 0)], "one batch always fits; the others say that something is missing");
        messages.clear();
        mailbox.push(ShardMessage::Committed(commit(4, 10)));
        mailbox.take(&mut messages);
        assert!(matches!(&messages[0], ShardMessage::Committed(committed) if committed.events.len() == 1));
    }

    #[test]
    fn a_loop_without_streams_is_not_woken_for_each_commit() {
        let mut poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        let mailbox = Mailbox::new(waker, &MemoryPlan::unlimited());
        let mut events = mio::Events::with_capacity(8);
        let mut is_woken = || {
            poll.poll(&mut events, Some(std::time::Duration::ZERO)).unwrap();
            !events.is_empty()
        };
        let mut messages = VecDeque::new();
        let mut take = || {
            messages.clear();
            mailbox.take(&mut messages);
            messages.len()
        };
        let push = |number| mailbox.push(ShardMessage::Committed(commit(number, 10)));

        assert!(!mailbox.is_due(true));
        push(1);
        push(2);
        assert!(is_woken() && !is_woken() && mailbox.is_due(false));
        assert_eq!(take(), 2);

        assert!(!mailbox.is_due(false));
        push(3);
        assert!(!is_woken() && !mailbox.is_due(false));
        // A stream was opened in the turn in which the commit arrived.
        assert!(mailbox.is_due(true));
        assert_eq!(take(), 1, "every turn takes it");

        // Results and replies wake the loop, behind commits as well.
        assert!(!mailbox.is_due(false));
        push(4);
        let to = ReplyTo { shard: 0, slot: 0, generation: 0 };
        mailbox.push(ShardMessage::Dropped(to));
        assert!(is_woken() && mailbox.is_due(false));
        assert_eq!(take(), 2);
        let mut share = commit(5, 10);
        share.results.push(CommandResult { to, number: None, result: Err(Rejection::Overloaded) });
        mailbox.push(ShardMessage::Committed(share));
        assert!(is_woken());
        assert_eq!(take(), 1);

        // Their number and their bytes are bounded.
        for number in 0..UNHURRIED_MESSAGES_MAX as u64 {
            push(10 + number);
            assert!(!is_woken());
        }
        push(1000);
        assert!(is_woken());
        assert_eq!(take(), UNHURRIED_MESSAGES_MAX + 1);
        mailbox.push(ShardMessage::Committed(commit(1001, UNHURRIED_EVENT_BYTES_MAX + 1)));
        assert!(is_woken());
    }
}
