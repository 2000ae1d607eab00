//! What other instances need of this one, and what this one takes from them.

use super::{Distributor, DistributorState};
use crate::api::StreamId;
use crate::auth::jwt::KeyId;
use crate::base::limits::{FOLLOW_MILLISECONDS, FOLLOW_WITH_BUS_MILLISECONDS};
use crate::base::metrics;
use crate::base::time::MonoTime;
use crate::domain::answer_status_change::AnswerStatusChange;
use crate::domain::bus_message::{BusMessage, CommitNotice, PeerCounts};
use crate::domain::commit::Committed;
use crate::domain::id::{EventNumber, InstanceName};
use crate::domain::live_answer::{AnswerPart, AnswerTextKind, ShownText, TextRequest};
use crate::domain::peer_query::{PeerAnswer, PeerQueryKind, PeerResponse};
use crate::domain::slice::JournalSlice;
use crate::domain::started_answer::AnswerStarted;
use crate::shard::message::ShardMessage;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest time between two checks for commits of other instances, and the time for which a notice may be late.
const FOLLOW: Duration = Duration::from_millis(FOLLOW_MILLISECONDS);
/// Longest time between two such checks while notices come over the bus.
const FOLLOW_WITH_BUS: Duration = Duration::from_millis(FOLLOW_WITH_BUS_MILLISECONDS);

impl Distributor {
    /// Tells other instances of a commit of this one.
    pub(super) fn notify_others(&self, committed: &Committed) {
        if let Some(bus) = &self.replies.bus {
            bus.send(|| CommitNotice::of(committed).map(BusMessage::Commit));
        }
    }

    /// Distributes a slice of the journal.
    pub(crate) fn slice_read(&self, slice: JournalSlice) {
        let DistributorState { merger, live_answers, .. } = &mut *self.state();
        if merger.misses_events(&slice) {
            live_answers.forget();
        }
        merger.slice(slice, |commit| self.send(live_answers, commit));
    }

    /// Waits until a slice may be due. Without a bus, that is at once if events are known to be missing. With one, their notices may be
    /// a little late. If the last slice had none of them, the database server does not have them yet. Returns the number after which the
    /// slice begins; `None` once the writer has ended.
    pub(crate) fn wait_for_slice(&self) -> Option<EventNumber> {
        let began = Instant::now();
        let mut state = self.state();
        let mut behind_since: Option<(EventNumber, Instant)> = None;
        loop {
            if state.has_ended {
                return None;
            }
            let position = state.merger.position();
            let place = (position, state.merger.newest());
            let is_up = self.replies.bus.as_ref().is_some_and(|bus| bus.is_up());
            let due_at = if state.merger.is_behind() {
                let (_, since) = behind_since.filter(|(at, _)| *at == position).unwrap_or((position, Instant::now()));
                behind_since = Some((position, since));
                if is_up || place == state.sliced_at { since + FOLLOW } else { since }
            } else {
                behind_since = None;
                began + if is_up { FOLLOW_WITH_BUS } else { FOLLOW }
            };
            let Some(left) = due_at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                metrics::NOTICES_MISSED.add(u64::from(is_up && behind_since.is_some()));
                state.sliced_at = place;
                return Some(position);
            };
            state = self.slice_is_due.wait_timeout(state, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    /// Sets whether the bus to other instances works. Returns whether that is new.
    pub(crate) fn set_bus_up(&self, is_up: bool) -> bool {
        let is_new = self.replies.bus.as_ref().is_some_and(|bus| bus.set_up(is_up));
        if is_new {
            let _state = self.state();
            self.slice_is_due.notify_all();
        }
        self.end_late_queries();
        is_new
    }

    /// Passes on the answers to queries for which no more are awaited.
    pub(crate) fn end_late_queries(&self) {
        let responses = self.replies.bus.iter().flat_map(|bus| bus.late_responses());
        responses.for_each(|response| self.peers_answered(response));
    }

    /// Distributes a commit of another instance.
    pub(crate) fn noticed(&self, mut notice: CommitNotice) {
        notice.started = self.state().live_answers.without_known(&notice.started);
        self.merge(notice.into());
    }

    /// Another instance has committed events through this number. They must be read.
    pub(crate) fn lacks(&self, through: EventNumber) {
        self.state().merger.lacks(through);
        self.slice_is_due.notify_all();
    }

    /// Passes on the new status of an answer of another instance.
    pub(crate) fn status_received(&self, change: &Arc<AnswerStatusChange>) {
        self.replies.status_received(change);
    }

    /// Adds a part to an answer of another instance, and passes it on. Returns what is missing before it, if anything is.
    pub(crate) fn text_received(&self, from: InstanceName, part: &AnswerPart) -> Option<TextRequest> {
        let mut state = self.state();
        match state.live_answers.receive(from, part, self.received_text_bytes_max) {
            Ok(delta) => {
                if let Some(delta) = delta {
                    self.replies.broadcast(|| ShardMessage::Delta(delta));
                }
                None
            }
            Err(request) => Some(request),
        }
    }

    /// What another instance lacks of an answer that runs here.
    pub(crate) fn text_wanted(&self, request: TextRequest) -> Vec<BusMessage> {
        let TextRequest { message_id, known } = request;
        let state = self.state();
        let Some(started) = state.live_answers.get(message_id).filter(|answer| answer.live.owner().is_none()) else {
            return Vec::new();
        };
        let mut messages = Vec::new();
        if known.is_none() {
            messages.push(BusMessage::Answer(started.for_other_instance(state.merger.position())));
        }
        let ShownText { bytes, reasoning_bytes } = known.unwrap_or_default();
        for (kind, from) in [(AnswerTextKind::Reasoning, reasoning_bytes), (AnswerTextKind::Text, bytes)] {
            messages.extend(started.live.part(message_id, kind, from).map(BusMessage::Text));
        }
        messages
    }

    /// Adds an answer of another instance that had started before, also if a lost instance had begun it first.
    pub(crate) fn answer_received(&self, started: AnswerStarted) {
        let DistributorState { merger, live_answers, .. } = &mut *self.state();
        if live_answers.is_new(&started) {
            merger.answer_received(started, |commit| self.send(live_answers, commit));
        }
    }

    /// The answer of this instance to a query of another one.
    pub(crate) fn answer_query(&self, query: &PeerQueryKind) -> PeerAnswer {
        let streams = &self.shared.streams;
        match query {
            PeerQueryKind::ListStreams(user) => PeerAnswer::Streams(streams.list(user)),
            PeerQueryKind::RenewStream { user, stream, expires_at, key } => {
                PeerAnswer::Renewed(streams.renew(StreamId(*stream), user, *expires_at, KeyId(*key)))
            }
        }
    }

    /// What has changed of what this instance counts, for others; `None` if nothing has.
    pub(crate) fn changed_counts(&self) -> Option<BusMessage> {
        let streams = &self.shared.streams;
        let counts = PeerCounts {
            streams: streams.changed_counts(),
            are_all: false,
            taken: self.shared.rate_limiter.taken(streams.can_ask_others()),
        };
        // Others may hear this instance while it does not hear itself.
        let is_needed = streams.others() > 0 && !(counts.streams.is_empty() && counts.taken.is_empty());
        is_needed.then_some(BusMessage::Counts(counts))
    }

    /// The numbers of streams of all users.
    pub(crate) fn counts(&self) -> BusMessage {
        BusMessage::Counts(PeerCounts { streams: self.shared.streams.counts(), are_all: true, taken: Vec::new() })
    }

    /// Takes what another instance counts.
    pub(crate) fn counts_received(&self, from: InstanceName, counts: PeerCounts, now: MonoTime) {
        self.shared.streams.set_counts_elsewhere(from, counts.streams, counts.are_all);
        for (key, micros) in counts.taken {
            self.shared.rate_limiter.taken_elsewhere(key, micros, now);
        }
    }

    /// Another instance is gone.
    pub(crate) fn forget_instance(&self, instance: InstanceName) {
        self.shared.streams.forget_instance(instance);
    }

    /// Passes on what other instances have answered.
    pub(crate) fn peers_answered(&self, response: PeerResponse) {
        self.replies.peer_response(response);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::memory_plan::MemoryPlan;
    use crate::domain::answer_job::JobId;
    use crate::domain::id::{ConversationId, MessageId, UserId, WorkspaceId};
    use crate::domain::live_answer::LiveAnswer;
    use crate::runtime::replies::Replies;
    use crate::runtime::responders::ResponderPort;
    use crate::shard::shared::SharedState;
    use uuid::Uuid;

    const ID: MessageId = MessageId(Uuid::from_u128(1));

    /// A distributor without shards, at position 5.
    fn distributor() -> Distributor {
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        let replies =
            Replies { mailboxes: Vec::new(), responders: Arc::new(ResponderPort::new(waker)), recent: None, bus: None };
        let memory = MemoryPlan::unlimited();
        let shared = Arc::new(SharedState::new(&memory));
        Distributor::new(EventNumber(5), true, replies, shared, &memory)
    }

    fn started(live: LiveAnswer) -> AnswerStarted {
        AnswerStarted {
            job: JobId::default(),
            message_id: ID,
            reply_to: MessageId(Uuid::nil()),
            conversation_id: ConversationId(Uuid::nil()),
            workspace_id: WorkspaceId(Uuid::nil()),
            recipients: Arc::new([UserId::new_unchecked("u")]),
            known_at: EventNumber(5),
            sender: UserId::new_unchecked("responder:openai"),
            correlation_id: "c".into(),
            live,
        }
    }

    fn begin(distributor: &Distributor, at: u64, live: &LiveAnswer) {
        let started = Arc::new([started(live.clone())]);
        distributor.committed(Committed { started, ..Committed::empty(EventNumber(at), EventNumber(at)) });
    }

    fn text(text: &str, from: usize) -> AnswerPart {
        AnswerPart { message_id: ID, kind: AnswerTextKind::Text, index: 0, from, text: text.into() }
    }

    #[test]
    fn events_that_the_server_does_not_have_yet_are_not_read_without_a_pause() {
        let distributor = distributor();
        distributor.lacks(EventNumber(9));
        assert_eq!(distributor.wait_for_slice(), Some(EventNumber(5)));
        let began = Instant::now();
        assert_eq!(distributor.wait_for_slice(), Some(EventNumber(5)));
        assert!(began.elapsed() >= FOLLOW);
    }

    #[test]
    fn an_answer_that_started_after_lacking_events_has_no_older_recipients() {
        let distributor = distributor();
        begin(&distributor, 9, &LiveAnswer::default());
        let messages = distributor.text_wanted(TextRequest { message_id: ID, known: None });
        let [BusMessage::Answer(started)] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!(started.known_at, EventNumber(9));
    }

    #[test]
    fn an_answer_has_the_texts_of_the_instance_that_has_begun_it_last() {
        let distributor = distributor();
        let [lost, other] = [1, 2].map(|name| InstanceName(Uuid::from_u128(name)));
        let (first, second) = (LiveAnswer::of_other_instance(lost), LiveAnswer::of_other_instance(other));
        begin(&distributor, 5, &first);
        assert_eq!(distributor.text_received(lost, &text("ab", 0)), None);
        // The notice of the second beginning was lost.
        let unknown = Some(TextRequest { message_id: ID, known: None });
        assert_eq!(distributor.text_received(other, &text("x", 0)), unknown);
        distributor.answer_received(started(second.clone()));
        assert_eq!(distributor.text_received(other, &text("x", 0)), None);
        distributor.answer_received(started(LiveAnswer::of_other_instance(other)));
        assert_eq!((first.text_from(0), second.text_from(0)), ("ab".into(), "x".into()));
        // It is begun here, and the lost instance goes on.
        begin(&distributor, 5, &LiveAnswer::default());
        distributor.answer_received(started(first.clone()));
        assert_eq!(distributor.text_received(lost, &text("c", 2)), None);
        assert_eq!(first.text_from(0), "ab");
        assert!(first.snapshot().is_over && second.snapshot().is_over);
    }

    #[test]
    fn an_answer_of_which_events_are_gone_does_not_stay() {
        let distributor = distributor();
        let live = LiveAnswer::default();
        begin(&distributor, 5, &live);
        let (after, through) = (EventNumber(5), EventNumber(8));
        distributor.slice_read(JournalSlice { after, through, has_gap: true, events: Vec::new() });
        assert!(live.snapshot().is_over);
        assert_eq!(distributor.text_wanted(TextRequest { message_id: ID, known: None }), []);
    }
}
