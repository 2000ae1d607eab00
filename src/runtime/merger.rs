//! Merges the commits of this process with those of other instances, which come as notices over the bus and as slices of the journal,
//! so that the shards get one chain of commits.
//!
//! Results never wait: those of a commit whose events must wait for earlier ones are passed on at once.
//!
//! Invariant: the commits that come out follow each other: each begins where the one before it ended, or follows itself, which tells
//! the shards that they missed events. No event comes out twice. The bytes of waiting events are bounded.

use crate::base::memory_plan::MemoryPlan;
use crate::domain::commit::Committed;
use crate::domain::event::Event;
use crate::domain::id::EventNumber;
#[cfg(feature = "cluster")]
use crate::domain::slice::JournalSlice;
use crate::domain::started_answer::AnswerStarted;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Events of a commit that wait for earlier ones.
#[derive(Debug)]
struct WaitingCommit {
    through: EventNumber,
    events: Arc<[Arc<Event>]>,
    weight: usize,
}

/// The state between commits and shards.
#[derive(Debug)]
pub struct Merger {
    /// Whether slices fill the gaps. If not, a gap becomes a commit that follows itself.
    has_slices: bool,
    /// The number through which the events came out.
    position: EventNumber,
    /// The newest number that is known to be committed.
    newest: EventNumber,
    /// By the number before each.
    waiting: BTreeMap<EventNumber, WaitingCommit>,
    waiting_bytes: usize,
    waiting_bytes_max: usize,
    recent: RecentChanges,
}

/// The latest events that may have ended an answer or changed its recipients, for answers whose start is known late.
#[derive(Debug)]
struct RecentChanges {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    bytes_max: usize,
    /// All later ones are in `events`.
    known_from: EventNumber,
}

impl RecentChanges {
    /// Adds events. The oldest ones above `bytes_max` are forgotten.
    fn add(&mut self, events: &[Arc<Event>]) {
        for event in events.iter().filter(|event| event.kind.may_change_answers()) {
            self.bytes += event.weight();
            self.events.push_back(Arc::clone(event));
        }
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.events.pop_front()
        {
            self.bytes -= oldest.weight();
            self.known_from = oldest.number;
        }
    }
}

impl Merger {
    /// At the position of the shards, within these budgets of memory.
    pub fn new(position: EventNumber, has_slices: bool, memory: &MemoryPlan) -> Merger {
        let bytes_max = memory.merge_recent_bytes_max();
        Merger {
            has_slices,
            position,
            newest: position,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            waiting_bytes_max: memory.merge_bytes_max(),
            recent: RecentChanges { events: VecDeque::new(), bytes: 0, bytes_max, known_from: position },
        }
    }

    /// The number through which the events came out.
    #[cfg(feature = "cluster")]
    pub fn position(&self) -> EventNumber {
        self.position
    }

    /// The newest number that is known to be committed.
    #[cfg(feature = "cluster")]
    pub fn newest(&self) -> EventNumber {
        self.newest
    }

    /// Whether events are known to be committed that have not come out, so that a notice is late or a slice is due.
    pub fn is_behind(&self) -> bool {
        self.newest > self.position
    }

    /// Takes a commit of this process, or of another instance that has told of it, and passes on what may come out.
    pub fn committed(&mut self, mut commit: Committed, mut out: impl FnMut(Committed)) {
        self.newest = self.newest.max(commit.through);
        if !self.has_slices || commit.before == self.position {
            self.position = self.position.max(commit.through);
            if self.has_slices {
                self.recent.add(&commit.events);
            }
            out(commit);
            return self.release(out);
        }
        let (before, through) = (commit.before, commit.through);
        let events = std::mem::take(&mut commit.events);
        if !commit.started.is_empty() {
            commit.started = self.started_after(before, &commit.started);
        }
        (commit.before, commit.through) = (self.position, self.position);
        if !commit.is_empty() {
            out(commit);
        }
        if through <= self.position {
            return;
        }
        let weight: usize = events.iter().map(|event| event.weight()).sum();
        // A commit that follows itself has no events to wait with.
        if before < through
            && self.waiting_bytes + weight <= self.waiting_bytes_max
            && !self.waiting.contains_key(&before)
        {
            self.waiting_bytes += weight;
            self.waiting.insert(before, WaitingCommit { through, events, weight });
        }
        self.release(out);
    }

    /// Answers with their recipients after event `known_at`, as the later events left them that came out. If some of these are
    /// forgotten, there are none: streams then get these answers at their end.
    fn started_after(&self, known_at: EventNumber, started: &[AnswerStarted]) -> Arc<[AnswerStarted]> {
        let started = if known_at >= self.recent.known_from { started } else { &[] };
        let later = || self.recent.events.iter().filter(|event| event.number > known_at);
        let started = started.iter().filter_map(|started| started.after(later()));
        // What comes out until then is older than the recipients.
        let known_at = if known_at > self.position { known_at } else { EventNumber::default() };
        started.map(|started| AnswerStarted { known_at, ..started }).collect()
    }

    /// Takes an answer of another instance that had started before event `known_at`, and passes it on if it is not over.
    #[cfg(feature = "cluster")]
    pub fn answer_received(&mut self, started: AnswerStarted, mut out: impl FnMut(Committed)) {
        let started = self.started_after(started.known_at, &[started]);
        if !started.is_empty() {
            out(Committed { started, ..Committed::empty(self.position, self.position) });
        }
    }

    /// Events through this number are committed, and must come out of a slice.
    #[cfg(feature = "cluster")]
    pub fn lacks(&mut self, through: EventNumber) {
        self.newest = self.newest.max(through);
    }

    /// Whether a slice leads the position over events that do not come, and that may have changed any answer.
    #[cfg(feature = "cluster")]
    pub fn misses_events(&self, slice: &JournalSlice) -> bool {
        slice.has_gap && self.may_follow(slice)
    }

    /// Whether a slice was read after the position, as it is now. If commits have come out since, another slice must be read: the
    /// database may lack them, if it continues from an older state, and a slice after an older position does not tell.
    #[cfg(feature = "cluster")]
    fn may_follow(&self, slice: &JournalSlice) -> bool {
        slice.after == self.position
    }

    /// Takes a slice that was read after the position at that time, and passes on what may come out.
    #[cfg(feature = "cluster")]
    pub fn slice(&mut self, slice: JournalSlice, mut out: impl FnMut(Committed)) {
        self.newest = self.newest.max(slice.through);
        let misses_events = self.misses_events(&slice);
        if self.may_follow(&slice) {
            // Each stream then reads a page, which tells whether the user has lost an event. The responders get the others here.
            if misses_events {
                self.position = slice.through;
                self.recent.known_from = slice.through;
            }
            self.pass(slice.through, slice.events.into(), &mut out);
        }
        self.release(out);
    }

    /// Passes on the waiting events that follow the position.
    fn release(&mut self, mut out: impl FnMut(Committed)) {
        while let Some(entry) = self.waiting.first_entry()
            && *entry.key() <= self.position
        {
            let WaitingCommit { through, events, weight } = entry.remove();
            self.waiting_bytes -= weight;
            if through > self.position {
                let events = events.iter().filter(|event| event.number > self.position).map(Arc::clone).collect();
                self.pass(through, events, &mut out);
            }
        }
    }

    fn pass(&mut self, through: EventNumber, events: Arc<[Arc<Event>]>, out: &mut impl FnMut(Committed)) {
        self.recent.add(&events);
        let before = std::mem::replace(&mut self.position, through);
        out(Committed { events, ..Committed::empty(before, through) });
    }

    /// Asserts the invariant as far as it concerns the present state.
    #[cfg(feature = "cluster")]
    pub fn check_invariants(&self) {
        assert!(self.waiting_bytes <= self.waiting_bytes_max && self.recent.bytes <= self.recent.bytes_max);
        assert_eq!(self.waiting.values().map(|waiting| waiting.weight).sum::<usize>(), self.waiting_bytes);
        assert!(self.waiting.keys().all(|before| *before > self.position), "a waiting commit may come out");
        assert!(self.position <= self.newest);
    }
}

#[cfg(all(test, feature = "cluster"))]
mod tests {
    use super::*;
    use crate::base::limits::MERGE_BYTES_MAX;
    use crate::base::random::Random;
    use crate::base::time::WallTime;
    use crate::domain::answer_job::JobId;
    use crate::domain::command::ReplyTo;
    use crate::domain::event::{EventBody, EventKind};
    use crate::domain::id::{ConversationId, MessageId, UserId, WorkspaceId};
    use crate::domain::live_answer::LiveAnswer;
    use crate::domain::result::{CommandResult, Rejection};
    use std::collections::VecDeque;
    use uuid::Uuid;

    fn event(number: u64, bytes: usize) -> Arc<Event> {
        Arc::new(Event {
            number: EventNumber(number),
            kind: EventKind::ConversationDeleted,
            at: WallTime(0),
            actor: UserId::new_unchecked("u"),
            correlation_id: "c".into(),
            workspace_id: WorkspaceId(Uuid::nil()),
            conversation_id: Some(ConversationId(Uuid::from_u128(number.into()))),
            recipients: Arc::new([]),
            body: EventBody::Data("x".repeat(bytes).into()),
        })
    }

    fn commit(before: u64, through: u64, bytes: usize) -> Committed {
        let to = ReplyTo { shard: 0, slot: through as u32, generation: 0 };
        Committed {
            before: EventNumber(before),
            through: EventNumber(through),
            events: (before + 1..=through).map(|number| event(number, bytes)).collect(),
            results: vec![CommandResult { to, number: None, result: Err(Rejection::Unavailable) }],
            jobs: Vec::new(),
            queued: Vec::new(),
            started: Arc::new([]),
            token_rules: None,
        }
    }

    fn slice(after: u64, through: u64) -> JournalSlice {
        let events = (after + 1..=through).map(|number| event(number, 1)).collect();
        JournalSlice { after: EventNumber(after), through: EventNumber(through), has_gap: false, events }
    }

    /// What came out of a merger, checked as a shard sees it.
    struct Passed {
        position: u64,
        results: Vec<u32>,
    }

    impl Passed {
        fn take(&mut self, commit: Committed) {
            assert_eq!(commit.before.0, self.position, "a commit follows the one before it");
            let numbers: Vec<u64> = commit.events.iter().map(|event| event.number.0).collect();
            assert_eq!(numbers, (self.position + 1..=commit.through.0).collect::<Vec<_>>());
            self.position = commit.through.0;
            self.results.extend(commit.results.iter().map(|result| result.to.slot));
        }
    }

    /// This instance and others commit; its own commits are reported late, and slices are read at any time.
    #[test]
    fn each_event_comes_out_once_in_order_and_results_at_once() {
        let mut random = Random::new(3);
        for _ in 0..300 {
            let mut merger = Merger::new(EventNumber(5), true, &MemoryPlan::unlimited());
            let mut output = Passed { position: 5, results: Vec::new() };
            let (mut head, mut own) = (5, VecDeque::new());
            let bytes = [1, MERGE_BYTES_MAX / 8][random.below(2) as usize];
            for _ in 0..100 {
                let count = 1 + random.below(4);
                match random.below(6) {
                    0 => head += count,
                    1 | 2 => {
                        own.push_back(commit(head, head + count, bytes));
                        head += count;
                    }
                    3 | 4 => {
                        let Some(commit) = own.pop_front() else { continue };
                        let slot = commit.through.0 as u32;
                        merger.committed(commit, |commit| output.take(commit));
                        assert_eq!(output.results.last(), Some(&slot), "results do not wait");
                    }
                    // A slice may end before the head, and may be read before commits come out.
                    _ => {
                        let after = merger.position().0;
                        if head > after {
                            let through = after + 1 + random.below(head - after);
                            if random.below(2) == 0
                                && let Some(commit) = own.pop_front()
                            {
                                merger.committed(commit, |commit| output.take(commit));
                            }
                            merger.slice(slice(after, through), |commit| output.take(commit));
                        }
                    }
                }
                merger.check_invariants();
            }
            for commit in own {
                merger.committed(commit, |commit| output.take(commit));
            }
            while merger.is_behind() {
                merger.slice(slice(merger.position().0, head), |commit| output.take(commit));
            }
            assert!(output.position <= head && output.results.is_sorted());
        }
    }

    #[test]
    fn without_slices_every_commit_passes() {
        let mut merger = Merger::new(EventNumber(0), false, &MemoryPlan::unlimited());
        let mut passed = Vec::new();
        for (before, through) in [(0, 2), (2, 3), (7, 9), (12, 12)] {
            merger.committed(commit(before, through, 1), |commit| passed.push((commit.before.0, commit.through.0)));
        }
        assert_eq!(passed, [(0, 2), (2, 3), (7, 9), (12, 12)]);
        assert!(!merger.is_behind());
    }

    #[test]
    fn a_slice_with_a_gap_lets_the_streams_read_pages() {
        let mut merger = Merger::new(EventNumber(5), true, &MemoryPlan::unlimited());
        let mut passed = Vec::new();
        let mut out = |commit: Committed| passed.push((commit.before.0, commit.through.0));
        merger.committed(commit(7, 8, 1), &mut out);
        let lacking = JournalSlice { has_gap: true, ..slice(5, 7) };
        assert!(merger.misses_events(&lacking) && !merger.misses_events(&slice(5, 7)));
        merger.slice(lacking.clone(), &mut out);
        assert!(!merger.misses_events(&lacking), "its events have come");
        assert_eq!(passed, [(5, 5), (7, 7), (7, 8)]);
    }

    /// The slice is from a database that lacks the commit, and whose numbers have leapt.
    #[test]
    fn a_slice_from_before_the_newest_commit_does_not_come_out() {
        let mut merger = Merger::new(EventNumber(5), true, &MemoryPlan::unlimited());
        let mut passed = Vec::new();
        let mut out = |commit: Committed| passed.push((commit.before.0, commit.through.0));
        merger.committed(commit(5, 8, 1), &mut out);
        for has_gap in [false, true] {
            let late =
                JournalSlice { through: EventNumber(1000), has_gap, events: vec![event(1000, 1)], ..slice(5, 5) };
            assert!(!merger.misses_events(&late));
            merger.slice(late, &mut out);
        }
        assert_eq!(passed, [(5, 8)]);
        assert!(merger.is_behind(), "a slice after the commit is due");
    }

    #[test]
    fn an_answer_that_a_slice_has_ended_does_not_start() {
        let started = |conversation: u64| AnswerStarted {
            job: JobId::default(),
            message_id: MessageId(Uuid::nil()),
            reply_to: MessageId(Uuid::nil()),
            conversation_id: ConversationId(Uuid::from_u128(conversation.into())),
            workspace_id: WorkspaceId(Uuid::nil()),
            recipients: Arc::new([]),
            known_at: EventNumber::default(),
            sender: UserId::new_unchecked("responder:openai"),
            correlation_id: "c".into(),
            live: LiveAnswer::default(),
        };
        let mut merger = Merger::new(EventNumber(0), true, &MemoryPlan::unlimited());
        merger.slice(slice(0, 3), |_| {});
        let own = Committed { started: Arc::new([started(2), started(4)]), ..commit(0, 1, 1) };
        let mut left = Vec::new();
        merger.committed(own, |commit| left.extend(commit.started.iter().map(|started| started.conversation_id)));
        assert_eq!(left, [ConversationId(Uuid::from_u128(4))]);

        // More events than are kept: streams get the answer at its end.
        let long = event(4, MERGE_BYTES_MAX);
        merger.slice(JournalSlice { events: vec![long], ..slice(3, 4) }, |_| {});
        let own = Committed { started: Arc::new([started(9)]), ..commit(3, 4, 1) };
        merger.committed(own, |commit| assert!(commit.started.is_empty()));
    }
}
