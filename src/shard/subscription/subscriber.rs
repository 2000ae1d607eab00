//! One open stream: a cursor in the journal, and where its next events come from.
//!
//! Invariant: every event of the user that the filter accepts has been queued through the cursor; for a live stream, also
//! every event that the shard has applied since.

mod answer_view;
mod control_events;
mod followed_answer;

pub(crate) use answer_view::AnswerView;
pub(crate) use control_events::TurnAway;
pub(crate) use followed_answer::{FollowedAnswer, end_id};

use crate::api::{Caller, StreamId, StreamStart, Subscription};
use crate::auth::jwt::KeyId;
use crate::base::metrics::{self, GapReason};
use crate::base::time::{MonoTime, WallTime};
use crate::domain::answer_status_change::AnswerStatusChange;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::{EventNumber, MessageId, UserId};
use crate::domain::live_answer::ShownText;
use crate::domain::query::{JournalPage, QueryKind, StreamFilter};
use crate::domain::token_rules::Credential;
use crate::shard::connection::outbox::Outbox;
use crate::shard::shared::stream_registry::StreamStats;
use crate::shard::subscription::fan_out::{FanOut, FramedEvent};
use crate::shard::subscription::long_frames::LongFrames;
use crate::sse::BlockFields;
use crate::sse::frame::{EventFrame, StreamForm, write_block_in};
use crate::wire;
use std::sync::Arc;

/// Delay after a failed journal page, in milliseconds.
const PAGE_RETRY_MILLISECONDS: u64 = 250;
/// Bytes that a byte of text has in JSON, at most.
const ESCAPED_BYTES_FACTOR: usize = 6;
/// Bytes of a frame around the text of a delta.
pub(super) const FRAME_FIELDS_BYTES: usize = 512;

/// Where a stream's next events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeliveryState {
    /// From the shard, as it applies them. Call: `offer`. Next: Behind.
    Live,
    /// From the tail or the journal, once the outbox has room. Call: `fill`. Next: Live, AwaitingPage.
    Behind,
    /// From a requested journal page. Call: `take_page`, `page_failed`. Next: Behind.
    AwaitingPage,
}

/// One open stream.
#[derive(Debug)]
pub(crate) struct Subscriber {
    id: StreamId,
    /// The credential of the token that opened it.
    credential: Credential,
    filter: StreamFilter,
    /// The form of its blocks.
    form: StreamForm,
    /// The number through which every event has been queued.
    cursor: EventNumber,
    state: DeliveryState,
    /// The number in the last `gap`; 0 before the first.
    gap_sent: EventNumber,
    /// The client asked for a replay, and `caught_up` was not sent yet.
    announces_caught_up: bool,
    /// What other shards see of the stream.
    stats: Arc<StreamStats>,
    /// They see that everything has been delivered to it.
    reported_complete: bool,
    heartbeat_at: MonoTime,
    /// When a page is requested again after a failure.
    retry_at: Option<MonoTime>,
    /// The expiry that was announced with `token_expiring`.
    expiry_announced: Option<WallTime>,
    /// Most bytes in the outbox. Of an event that is longer, a part is in memory.
    buffer_bytes: usize,
    /// A page was requested for the next part of a long event.
    awaits_part: bool,
    /// The last event is queued.
    ended: bool,
    /// The answers in progress of which the stream has text, or is to get some.
    answers: Vec<AnswerCursor>,
    /// Whether the stream lacks text of one of `answers`, for which there was no room.
    lacks_text: bool,
    /// The answer that it follows, if it is a stream of one answer.
    following: Option<Box<FollowedAnswer>>,
}

/// How much of a running answer a stream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnswerCursor {
    /// The answer's message.
    pub message_id: MessageId,
    /// The answer's generation when the text was queued. A stream gets the text of another generation from its beginning.
    pub generation: u32,
    /// The texts that were queued, or passed over.
    pub through: ShownText,
}

/// How a stream is delivered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamDelivery {
    /// The form of its blocks.
    pub form: StreamForm,
    /// When the first heartbeat is due.
    pub heartbeat_at: MonoTime,
    /// Most bytes in the outbox.
    pub buffer_bytes: usize,
}

/// What the shard must do after `fill`.
#[derive(Debug)]
#[must_use]
pub(crate) enum FillResult {
    /// Nothing: the stream was live before, or its outbox is full, or it waits.
    Nothing,
    /// The stream became live: queue snapshots of the answers in progress.
    Live,
    /// Submit this query for a page of the journal.
    Page(QueryKind),
}

impl Subscriber {
    /// A stream that `caller` opens when the newest event is `newest`.
    pub(crate) fn new(
        id: StreamId,
        caller: &Caller,
        wanted: &Subscription,
        newest: EventNumber,
        stats: Arc<StreamStats>,
        delivery: StreamDelivery,
    ) -> Subscriber {
        let StreamDelivery { form, heartbeat_at, buffer_bytes } = delivery;
        let (cursor, state) = match wanted.start {
            StreamStart::Now => (newest, DeliveryState::Live),
            StreamStart::After(number) => (number.min(newest), DeliveryState::Behind),
            StreamStart::Unknown => (newest, DeliveryState::Behind),
        };
        Subscriber {
            id,
            credential: caller.actor.credential,
            filter: wanted.filter,
            form,
            cursor,
            state,
            gap_sent: EventNumber::default(),
            announces_caught_up: wanted.start != StreamStart::Now,
            stats,
            reported_complete: false,
            heartbeat_at,
            retry_at: None,
            expiry_announced: None,
            buffer_bytes,
            awaits_part: false,
            ended: false,
            answers: Vec::new(),
            lacks_text: false,
            following: None,
        }
    }

    /// The stream's id.
    pub(crate) fn id(&self) -> StreamId {
        self.id
    }

    /// The most bytes in its outbox. Of an event that is longer, a part is in memory.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// The user that opened it.
    pub(crate) fn user(&self) -> &UserId {
        self.stats.user()
    }

    /// The credential of the token that opened it.
    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The key of the token at whose expiry it ends.
    pub(crate) fn key(&self) -> KeyId {
        self.stats.key()
    }

    /// Which events it gets.
    pub(crate) fn filter(&self) -> &StreamFilter {
        &self.filter
    }

    /// When a page is requested again after a failure.
    pub(crate) fn retry_at(&self) -> Option<MonoTime> {
        self.retry_at
    }

    /// Whether its last event is queued.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether it gets events as the shard applies them.
    pub(crate) fn is_live(&self) -> bool {
        self.state == DeliveryState::Live && !self.ended
    }

    /// Whether it has read events from the journal that its shard has not applied yet.
    pub(crate) fn is_ahead_of(&self, position: EventNumber) -> bool {
        self.cursor > position
    }

    /// Whether it waits for a page of the journal.
    pub(crate) fn awaits_page(&self) -> bool {
        self.state == DeliveryState::AwaitingPage && !self.ended
    }

    /// Whether `fill` has enough room in the outbox to be worth its work.
    pub(crate) fn wants_fill(&self, outbox: &Outbox) -> bool {
        self.state == DeliveryState::Behind && outbox.bytes() <= self.buffer_bytes / 2
    }

    /// Queues an event for a live stream as the shard applies it. A stream without room falls behind.
    pub(crate) fn offer(&mut self, event: &Arc<FramedEvent>, outbox: &mut Outbox) {
        if !self.is_live() || event.number <= self.cursor || !event.passes(&self.filter) {
            return;
        }
        if !self.push_event(event.number, &event.frame, outbox) {
            self.state = DeliveryState::Behind;
            self.cursor = EventNumber(event.number.0 - 1);
        }
    }

    /// The shard missed events after `applied` through `position`, so a live stream needs them from the journal.
    pub(crate) fn events_missed(&mut self, applied: EventNumber, position: EventNumber) {
        if self.state == DeliveryState::Live && self.cursor < position {
            self.state = DeliveryState::Behind;
            self.cursor = self.cursor.max(applied);
        }
        if let Some(following) = self.following() {
            following.note_missed_events();
        }
    }

    /// Fills the outbox of a stream that is behind from the tail, as far as there is room.
    pub(crate) fn fill(&mut self, fan_out: &FanOut, outbox: &mut Outbox) -> FillResult {
        if self.state != DeliveryState::Behind || self.ended {
            return FillResult::Nothing;
        }
        if self.follows_answer() {
            return self.fill_followed(outbox);
        }
        if self.cursor < fan_out.position() {
            let Some(subscriptions) = fan_out.subscriptions(self.user()) else { return FillResult::Nothing };
            let Some(events) = subscriptions.events_after(self.cursor) else {
                let is_due = outbox.is_empty() && self.retry_at.is_none();
                return if is_due { FillResult::Page(self.request_page()) } else { FillResult::Nothing };
            };
            for event in events {
                let is_wanted = event.passes(&self.filter) && !fan_out.hides(event);
                if is_wanted && !self.push_event(event.number, &event.frame, outbox) {
                    return FillResult::Nothing;
                }
                self.cursor = event.number;
            }
            self.cursor = fan_out.position();
        }
        self.state = DeliveryState::Live;
        if std::mem::take(&mut self.announces_caught_up) {
            self.control(outbox, self.cursor, "caught_up", |json| wire::event::caught_up(self.cursor, json));
        }
        FillResult::Live
    }

    fn request_page(&mut self) -> QueryKind {
        self.state = DeliveryState::AwaitingPage;
        QueryKind::JournalPage { after: self.cursor, bytes_max: self.buffer_bytes, filter: self.filter }
    }

    /// Queues the events of a requested page, as far as there is room. A long event is kept in `long_frames`.
    pub(crate) fn take_page(&mut self, page: &JournalPage, long_frames: &mut LongFrames, outbox: &mut Outbox) {
        assert!(self.state == DeliveryState::AwaitingPage, "a page arrives only on request");
        self.state = DeliveryState::Behind;
        // Every page of a long replay reports the same gap. It is sent once.
        if let Some(first) = page.gap.filter(|first| *first > self.gap_sent) {
            self.send_gap(outbox, first);
            metrics::GAPS[GapReason::Removed as usize].add(1);
        }
        metrics::CATCHUP_PAGES.add(1);
        metrics::CATCHUP_EVENTS.add(page.events.len() as u64);
        let mut bytes_left: usize = page.events.iter().map(|event| event.frame_bytes()).sum();
        for event in &page.events {
            let fields = BlockFields { id: Some(event.number), retry_milliseconds: None };
            let write_json = |out: &mut Vec<u8>| wire::event::event_json(event, out);
            let is_queued = if event.weight() > self.buffer_bytes / ESCAPED_BYTES_FACTOR {
                self.push_long_event(event, long_frames, outbox)
            } else {
                outbox.push_within(self.buffer_bytes, bytes_left, |out| {
                    write_block_in(self.form, fields, event.kind.as_str(), write_json, out);
                })
            };
            if !is_queued {
                return;
            }
            bytes_left -= event.frame_bytes();
            self.cursor = event.number;
        }
        self.cursor = page.through;
    }

    /// Queues an event whose frame may be longer than the outbox may hold, if there is room.
    fn push_long_event(&self, event: &Event, long_frames: &mut LongFrames, outbox: &mut Outbox) -> bool {
        // An event of this weight would be framed in vain.
        if !outbox.has_room(event.weight(), self.buffer_bytes) {
            return false;
        }
        let frame = FramedEvent::new(event).frame;
        let is_queued = self.push_event(event.number, &frame, outbox);
        if is_queued && frame.len(self.form) > self.buffer_bytes {
            long_frames.insert(event.number, frame);
        }
        is_queued
    }

    /// Supplies the next part of a long event from its frame. Returns false if the event has changed since its beginning was
    /// queued.
    pub(crate) fn supply_part(&self, frame: &EventFrame, outbox: &mut Outbox) -> bool {
        outbox.supply_part(frame, self.buffer_bytes)
    }

    /// Requests the event of which the outbox lacks a part from the journal. Next: `take_part`.
    pub(crate) fn request_part(&mut self, number: EventNumber) -> Option<QueryKind> {
        let is_due = !self.awaits_part && self.retry_at.is_none();
        is_due.then(|| {
            self.awaits_part = true;
            if let Some(kind) = self.request_answer_page(usize::MAX) {
                return kind;
            }
            QueryKind::JournalPage { after: EventNumber(number.0 - 1), bytes_max: 1, filter: self.filter }
        })
    }

    /// Whether a page was requested for a part. It arrives now.
    pub(crate) fn take_part(&mut self) -> bool {
        std::mem::take(&mut self.awaits_part)
    }

    /// The page for a part failed: it is requested again after a delay.
    pub(crate) fn part_failed(&mut self, now: MonoTime) {
        metrics::CATCHUP_FAILURES.add(1);
        self.retry_at = Some(now.plus_milliseconds(PAGE_RETRY_MILLISECONDS));
    }

    /// The requested page failed: requests it again after a delay.
    pub(crate) fn page_failed(&mut self, now: MonoTime) {
        assert!(self.state == DeliveryState::AwaitingPage, "a page fails only on request");
        metrics::CATCHUP_FAILURES.add(1);
        self.state = DeliveryState::Behind;
        self.retry_at = Some(now.plus_milliseconds(PAGE_RETRY_MILLISECONDS));
    }

    /// The number through which every event has been queued.
    pub(crate) fn complete_through(&self, fan_out: &FanOut) -> EventNumber {
        if self.state == DeliveryState::Live { self.cursor.max(fan_out.position()) } else { self.cursor }
    }

    /// Updates what other shards see of the stream.
    pub(crate) fn report(&mut self, fan_out: &FanOut, outbox: &Outbox, now: MonoTime) {
        let is_complete = self.state == DeliveryState::Live && outbox.is_empty();
        if std::mem::replace(&mut self.reported_complete, is_complete) && is_complete {
            return;
        }
        self.stats.update(is_complete, self.complete_through(fan_out), outbox.bytes(), now);
    }

    /// How much of an answer the stream has: of the one that it follows, or of one among all.
    pub(crate) fn text_cursor(&mut self, met: AnswerCursor) -> &mut ShownText {
        if self.following.is_none() {
            return &mut self.answer_cursor(met).through;
        }
        &mut self.following.as_mut().expect("it follows an answer").through
    }

    /// How much of an answer the stream has. An answer that it has not met yet gets the cursor `met`.
    pub(crate) fn answer_cursor(&mut self, met: AnswerCursor) -> &mut AnswerCursor {
        let place = self.answers.iter().position(|cursor| cursor.message_id == met.message_id).unwrap_or_else(|| {
            self.answers.push(met);
            self.answers.len() - 1
        });
        &mut self.answers[place]
    }

    /// The answers that the stream has met. Those for which `keep` returns false are forgotten.
    pub(crate) fn retain_answers(&mut self, keep: impl FnMut(&mut AnswerCursor) -> bool) {
        self.answers.retain_mut(keep);
        if self.answers.is_empty() {
            self.answers = Vec::new();
        }
    }

    /// Forgets what the stream has of an answer.
    pub(crate) fn forget_answer(&mut self, message_id: MessageId) {
        self.retain_answers(|cursor| cursor.message_id != message_id);
        if let Some(following) = &mut self.following {
            following.forget(message_id);
        }
    }

    /// Notes whether the stream lacks text of an answer, for which there was no room.
    pub(crate) fn set_lacks_text(&mut self, lacks_text: bool) {
        self.lacks_text = lacks_text;
    }

    /// Whether the stream lacks text of an answer, and has room for it now.
    pub(crate) fn wants_text(&self, outbox: &Outbox) -> bool {
        self.lacks_text && self.is_live() && self.has_room_for_text(outbox)
    }

    /// Whether the outbox is empty enough for the longest piece of text that is queued at once.
    pub(crate) fn has_room_for_text(&self, outbox: &Outbox) -> bool {
        outbox.bytes() <= self.buffer_bytes / 2
    }

    /// Whether it gets the status of an answer: it is live, has room, and has no event after `position`, which might have removed
    /// its user from the recipients.
    pub(crate) fn wants_status(&self, change: &AnswerStatusChange, position: EventNumber, outbox: &Outbox) -> bool {
        self.is_live()
            && !self.follows_answer()
            && !self.is_ahead_of(position)
            && self.filter.kinds.has(EventKind::AnswerStatus)
            && self.filter.has(Some(change.conversation_id), change.workspace_id)
            && self.has_room_for_text(outbox)
    }

    /// The size of the longest piece of text that is queued at once for a stream that lacks more. It is the same for all
    /// streams, so that they can share the frame.
    pub(crate) fn text_bytes_max(&self) -> usize {
        self.buffer_bytes / 2 - self.buffer_bytes / 8
    }

    /// Queues an event if there is room; returns whether there was.
    fn push_event(&self, number: EventNumber, frame: &Arc<EventFrame>, outbox: &mut Outbox) -> bool {
        if frame.len(self.form) <= self.buffer_bytes || !outbox.is_empty() {
            return self.push_ephemeral(frame, outbox);
        }
        outbox.push_long(number, frame, self.form, self.buffer_bytes);
        true
    }

    /// Queues a frame if there is room; returns whether there was. An ephemeral frame, such as a delta, is not sent again.
    pub(crate) fn push_ephemeral(&self, frame: &Arc<EventFrame>, outbox: &mut Outbox) -> bool {
        let has_room = outbox.has_room(frame.len(self.form), self.buffer_bytes);
        if has_room {
            outbox.push_frame(Arc::clone(frame), self.form);
        }
        has_room
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::time::Now;
    use crate::domain::event::{EventBody, KindSet};
    use crate::domain::id::WorkspaceId;

    /// A stream of user `u` that waits for a page after event 1.
    pub(in crate::shard) fn stream(expires_at: WallTime) -> Subscriber {
        Subscriber {
            id: StreamId(uuid::Uuid::nil()),
            stats: Arc::new(StreamStats::new(
                UserId::new_unchecked("u"),
                Now { wall: WallTime(0), mono: MonoTime(0) },
                expires_at,
                KeyId(0),
            )),
            reported_complete: false,
            credential: Credential::default(),
            filter: StreamFilter { conversation: None, workspace: None, kinds: KindSet::ALL },
            form: StreamForm { named: false, chunked: false },
            cursor: EventNumber(1),
            state: DeliveryState::AwaitingPage,
            gap_sent: EventNumber::default(),
            announces_caught_up: false,
            heartbeat_at: MonoTime(0),
            retry_at: None,
            expiry_announced: None,
            buffer_bytes: 4096,
            awaits_part: false,
            ended: false,
            answers: Vec::new(),
            lacks_text: false,
            following: None,
        }
    }

    fn event(number: u64, bytes: usize) -> Arc<Event> {
        Arc::new(Event {
            number: EventNumber(number),
            kind: EventKind::WorkspaceUpdated,
            at: WallTime(0),
            actor: UserId::new_unchecked("u"),
            correlation_id: "c".into(),
            workspace_id: WorkspaceId(uuid::Uuid::nil()),
            conversation_id: None,
            recipients: [].into(),
            body: EventBody::Data(format!("{{\"x\":\"{}\"}}", "x".repeat(bytes)).into()),
        })
    }

    /// A stream of user `u` that is live at event 1.
    pub(in crate::shard) fn live_stream() -> Subscriber {
        Subscriber { state: DeliveryState::Live, ..stream(WallTime(i64::MAX)) }
    }

    /// Takes what waits.
    pub(in crate::shard) fn waiting(outbox: &mut Outbox) -> String {
        let mut slices = [std::io::IoSlice::new(&[]); 16];
        let filled = outbox.slices(&mut slices);
        let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        outbox.advance(bytes.len());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_gap_is_sent_once_and_events_before_its_end_follow() {
        let (mut stream, mut outbox) = (stream(WallTime(i64::MAX)), Outbox::default());
        let page = JournalPage {
            events: vec![event(3, 5000), event(12, 10)],
            through: EventNumber(20),
            position: EventNumber(20),
            gap: Some(EventNumber(10)),
        };
        stream.take_page(&page, &mut LongFrames::new(0), &mut outbox);
        assert_eq!(stream.cursor, EventNumber(1), "a large event has no room behind the gap");
        let sent = waiting(&mut outbox);
        assert!(sent.contains("\"first_available_id\":10") && !sent.contains("\nid: 3\n"), "{sent}");

        stream.state = DeliveryState::AwaitingPage;
        stream.take_page(&page, &mut LongFrames::new(0), &mut outbox);
        let part = waiting(&mut outbox);
        assert!(part.starts_with("data: {\"type\":\"workspace_updated\"") && part.len() == stream.buffer_bytes);
        assert_eq!(stream.cursor, EventNumber(3));
        let mut rest = String::new();
        while let Some(number) = outbox.lacks_part() {
            assert_eq!(number, EventNumber(3));
            assert!(
                !stream.supply_part(&FramedEvent::new(&event(3, 5001)).frame, &mut outbox),
                "the event has changed"
            );
            assert!(stream.supply_part(&FramedEvent::new(&event(3, 5000)).frame, &mut outbox));
            rest += &waiting(&mut outbox);
        }
        assert!(rest.ends_with("\nid: 3\n\n") && outbox.is_empty());
    }
}
