//! One open stream: a cursor in the journal, and where its next events come from.
//!
//! Invariant: a stream has been given every event of its user that its filter passes, through its cursor; a live one
//! also everything that the shard has applied since.

use crate::api::StreamId;
use crate::base::limits::*;
use crate::base::metrics::{self, GapReason};
use crate::base::time::{MonoTime, Now, WallTime};
use crate::domain::id::{EventNumber, MessageId, UserId};
use crate::domain::query::{JournalPage, StreamFilter};
use crate::shard::connection::outbox::Outbox;
use crate::shard::shared::stream_registry::StreamStats;
use crate::shard::subscription::fan_out::{FanOut, FramedEvent};
use crate::sse::{self, EventFrame};
use crate::wire;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Where a stream's next events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryState {
    /// From the shard, as it applies them. Next: Behind.
    Live,
    /// From the tail or the journal, once the outbox has room. Next: Live, AwaitingPage.
    Behind,
    /// From a journal page that was asked for. Next: Behind.
    AwaitingPage,
}

/// How long a stream waits before it asks for a page again that the store could not give, in milliseconds.
const PAGE_RETRY_MILLISECONDS: u64 = 250;
/// About how many bytes the frame of an event has beside its weight.
const PAGE_FRAME_BYTES: usize = 256;
/// How long before its token ends a stream is told, in seconds.
const EXPIRY_NOTICE_SECONDS: i64 = 60;

/// One open stream.
#[derive(Debug)]
pub(crate) struct Subscriber {
    /// Its name.
    pub id: StreamId,
    /// Whose it is.
    pub user: UserId,
    /// When the token that it was opened with was made.
    pub issued_at: Option<WallTime>,
    /// Which events.
    pub filter: StreamFilter,
    /// Whether frames carry an `event:` line.
    pub named: bool,
    /// The number through which it has been given everything.
    pub cursor: EventNumber,
    /// Where its next events come from.
    pub source: DeliveryState,
    /// The first number that the last gap named; 0 before there was one.
    pub gap_told: EventNumber,
    /// A replay was asked for, and its end is to be announced.
    pub announces_caught_up: bool,
    /// What others may know of it.
    pub stats: Arc<StreamStats>,
    /// When the next heartbeat is due.
    pub heartbeat_at: MonoTime,
    /// When a page is asked for again.
    pub retry_at: Option<MonoTime>,
    /// The end of its token was announced, for that end.
    pub expiry_announced: Option<WallTime>,
    /// Most bytes in its outbox.
    pub buffer_bytes: usize,
    /// Nothing more follows what waits.
    pub ended: bool,
    /// Of the answers that are being written, the delta that the stream needs next; 0 if none stands here.
    pub next_deltas: Vec<(MessageId, u64)>,
}

/// What a stream wants after it was filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FillResult {
    /// Nothing: it is live, or its outbox is full.
    Nothing,
    /// A page of the journal after its cursor.
    Page,
}

impl Subscriber {
    /// Gives a live stream an event as the shard applies it; a stream that has no room stays where it is.
    pub(crate) fn offer(&mut self, entry: &Arc<FramedEvent>, outbox: &mut Outbox) {
        if self.source != DeliveryState::Live || entry.number <= self.cursor || !entry.passes(&self.filter) {
            return;
        }
        if !self.push(entry, outbox) {
            self.source = DeliveryState::Behind;
            self.cursor = EventNumber(entry.number.0 - 1);
        }
    }

    /// Fills the outbox of a stream that is behind from the tail, as far as there is room, and says what is missing.
    pub(crate) fn fill(&mut self, fan_out: &FanOut, outbox: &mut Outbox) -> FillResult {
        if self.source != DeliveryState::Behind || self.ended {
            return FillResult::Nothing;
        }
        if self.cursor < fan_out.position {
            let Some(subscriptions) = fan_out.subscriptions(&self.user) else { return FillResult::Nothing };
            if subscriptions.complete_from > self.cursor {
                return if outbox.is_empty() && self.retry_at.is_none() {
                    FillResult::Page
                } else {
                    FillResult::Nothing
                };
            }
            let start = subscriptions.events.partition_point(|entry| entry.number <= self.cursor);
            for entry in subscriptions.events.iter().skip(start) {
                if entry.passes(&self.filter) && !self.push(entry, outbox) {
                    return FillResult::Nothing;
                }
                self.cursor = entry.number;
            }
            self.cursor = fan_out.position;
        }
        self.source = DeliveryState::Live;
        if std::mem::take(&mut self.announces_caught_up) {
            self.control(outbox, Some(self.cursor), "caught_up", |json| wire::event::caught_up(self.cursor, json));
        }
        FillResult::Nothing
    }

    /// Takes a page that was asked for.
    pub(crate) fn take_page(&mut self, page: &JournalPage, outbox: &mut Outbox) {
        assert!(self.source == DeliveryState::AwaitingPage, "a page comes only when it was asked for");
        self.source = DeliveryState::Behind;
        // Every page of a long replay says what is gone after its start; the client is told once.
        if let Some(first) = page.gap.filter(|first| *first > self.gap_told) {
            self.send_gap(outbox, first);
            metrics::GAPS[GapReason::Removed as usize].add(1);
        }
        metrics::CATCHUP_PAGES.add(1);
        metrics::CATCHUP_EVENTS.add(page.events.len() as u64);
        let mut bytes_left: usize = page.events.iter().map(|event| PAGE_FRAME_BYTES + event.weight()).sum();
        for event in &page.events {
            let name = self.named.then_some(event.kind.as_str());
            let is_queued = outbox.push_within(self.buffer_bytes, bytes_left, |out| {
                sse::write_event(Some(event.number), name, |out| wire::event::event_json(event, out), out)
            });
            if !is_queued {
                return;
            }
            bytes_left -= PAGE_FRAME_BYTES + event.weight();
            self.cursor = event.number;
        }
        self.cursor = page.through;
    }

    /// The page could not be had now; it is asked for again a little later.
    pub(crate) fn page_failed(&mut self, now: MonoTime) {
        assert!(self.source == DeliveryState::AwaitingPage, "a page fails only when it was asked for");
        metrics::CATCHUP_FAILURES.add(1);
        self.source = DeliveryState::Behind;
        self.retry_at = Some(now.plus_milliseconds(PAGE_RETRY_MILLISECONDS));
    }

    /// The number through which everything has been given.
    pub(crate) fn complete_through(&self, fan_out: &FanOut) -> EventNumber {
        if self.source == DeliveryState::Live { self.cursor.max(fan_out.position) } else { self.cursor }
    }

    /// Queues what a new stream begins with.
    pub(crate) fn send_greeting(&mut self, outbox: &mut Outbox, epoch: &str, now: Now) {
        outbox.push_with(|out| sse::retry(STREAM_RETRY_MILLISECONDS, out));
        let id = self.id.to_string();
        self.control(outbox, Some(self.cursor), "connection_established", |json| {
            wire::event::connection_established(&self.user, now.wall, self.cursor, epoch, &id, json)
        });
    }

    /// Queues a gap: messages before the number it names may still follow, but not everything.
    pub(crate) fn send_gap(&mut self, outbox: &mut Outbox, first: EventNumber) {
        self.gap_told = first;
        self.control(outbox, None, "gap", |json| wire::event::gap(first, json));
    }

    /// Queues the last event of a stream that the shutdown ends, with its time to come back.
    pub(crate) fn send_shutdown(&mut self, outbox: &mut Outbox, retry_milliseconds: u64) {
        outbox.push_with(|out| sse::retry(retry_milliseconds, out));
        self.control(outbox, None, "server_shutdown", wire::event::server_shutdown);
        self.ended = true;
    }

    /// Queues the last event of a stream whose token is no longer good.
    pub(crate) fn send_expired(&mut self, outbox: &mut Outbox) {
        self.control(outbox, None, "token_expired", wire::event::token_expired);
        self.ended = true;
    }

    /// Does what is due: heartbeat, notice of the token's end, that end, a page to be asked for again.
    pub(crate) fn tick(&mut self, fan_out: &FanOut, outbox: &mut Outbox, now: Now, heartbeat_milliseconds: u64) {
        if self.ended {
            return;
        }
        if self.retry_at.is_some_and(|at| at <= now.mono) {
            self.retry_at = None;
        }
        let expires_at = self.stats.expires_at();
        if now.wall >= expires_at {
            self.send_expired(outbox);
            return;
        }
        // A notice of this very moment is no earlier output.
        let reader_keeps_up = outbox.is_empty();
        let left = expires_at.0 - now.wall.0;
        if left <= EXPIRY_NOTICE_SECONDS * crate::base::time::SECOND && self.expiry_announced != Some(expires_at) {
            self.expiry_announced = Some(expires_at);
            let seconds = left.div_euclid(crate::base::time::SECOND).max(0) as u64;
            self.control(outbox, None, "token_expiring", |json| wire::event::token_expiring(seconds, json));
        }
        if self.heartbeat_at <= now.mono {
            self.heartbeat_at = now.mono.plus_milliseconds(heartbeat_milliseconds);
            if reader_keeps_up {
                let through = self.complete_through(fan_out);
                self.control(outbox, Some(through), "heartbeat", |json| wire::event::heartbeat(now.wall, json));
            }
        }
    }

    /// When `tick` has something to do.
    pub(crate) fn next_tick(&self, now: Now) -> MonoTime {
        let expires_at = self.stats.expires_at();
        let notice = if self.expiry_announced == Some(expires_at) { 0 } else { EXPIRY_NOTICE_SECONDS };
        let micros = expires_at.0.saturating_sub(notice * crate::base::time::SECOND).saturating_sub(now.wall.0);
        let token = now.mono.plus(micros.max(0) as u64);
        self.heartbeat_at.min(token).min(self.retry_at.unwrap_or(self.heartbeat_at))
    }

    /// Tells the registry how far it is.
    pub(crate) fn report(&self, fan_out: &FanOut, outbox: &Outbox, now: MonoTime) {
        self.stats.set_live(self.source == DeliveryState::Live && outbox.is_empty(), now);
        self.stats.cursor.store(self.complete_through(fan_out).0, Relaxed);
        self.stats.bytes_waiting.store(outbox.bytes() as u64, Relaxed);
    }

    /// Index of the delta that the stream needs next of an answer.
    pub(crate) fn next_delta(&self, message_id: MessageId) -> u64 {
        self.next_deltas.iter().find(|(id, _)| *id == message_id).map_or(0, |(_, next)| *next)
    }

    /// Notes which delta the stream needs next of an answer.
    pub(crate) fn set_next_delta(&mut self, message_id: MessageId, next: u64) {
        match self.next_deltas.iter_mut().find(|(id, _)| *id == message_id) {
            Some((_, known)) => *known = next,
            None => self.next_deltas.push((message_id, next)),
        }
    }

    /// Forgets the answers that are over.
    pub(crate) fn forget_deltas(&mut self, still_written: impl Fn(MessageId) -> bool) {
        self.next_deltas.retain(|(id, _)| still_written(*id));
        if self.next_deltas.is_empty() {
            self.next_deltas = Vec::new();
        }
    }

    /// Queues a frame that is no journalled event, if there is room; such a frame may be missed.
    pub(crate) fn push_ephemeral(&self, frame: &Arc<EventFrame>, outbox: &mut Outbox) -> bool {
        let room = outbox.has_room(frame.bytes(self.named).len(), self.buffer_bytes);
        if room {
            outbox.push_frame(Arc::clone(frame), self.named);
        }
        room
    }

    fn push(&self, entry: &Arc<FramedEvent>, outbox: &mut Outbox) -> bool {
        self.push_ephemeral(&entry.frame, outbox)
    }

    /// Control events are small and few (one of each kind may wait), so they need no room.
    fn control(&self, outbox: &mut Outbox, id: Option<EventNumber>, kind: &str, write: impl FnOnce(&mut Vec<u8>)) {
        outbox.push_with(|out| sse::write_event(id, self.named.then_some(kind), write, out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Event, EventBody, EventKind, KindSet};
    use crate::domain::id::WorkspaceId;

    fn stream(expires_at: WallTime) -> Subscriber {
        let user = UserId::new_unchecked("u");
        Subscriber {
            id: StreamId(uuid::Uuid::nil()),
            stats: Arc::new(StreamStats::new(user.clone(), Now { wall: WallTime(0), mono: MonoTime(0) }, expires_at)),
            user,
            issued_at: None,
            filter: StreamFilter { conversation: None, workspace: None, kinds: KindSet::ALL },
            named: false,
            cursor: EventNumber(1),
            source: DeliveryState::AwaitingPage,
            gap_told: EventNumber::default(),
            announces_caught_up: false,
            heartbeat_at: MonoTime(0),
            retry_at: None,
            expiry_announced: None,
            buffer_bytes: 4096,
            ended: false,
            next_deltas: Vec::new(),
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

    fn waiting(outbox: &mut Outbox) -> String {
        let mut slices = [std::io::IoSlice::new(&[]); 16];
        let filled = outbox.slices(&mut slices);
        let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        outbox.advance(bytes.len());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_gap_is_told_once_and_what_is_kept_before_its_end_still_comes() {
        let (mut stream, mut outbox) = (stream(WallTime(i64::MAX)), Outbox::default());
        let page = JournalPage {
            events: vec![event(3, 5000), event(12, 10)],
            through: EventNumber(20),
            position: EventNumber(20),
            gap: Some(EventNumber(10)),
        };
        stream.take_page(&page, &mut outbox);
        assert_eq!(stream.cursor, EventNumber(1), "a large event finds no room behind the notice");
        let told = waiting(&mut outbox);
        assert!(told.contains("\"first_available_id\":10") && !told.contains("\nid: 3\n"), "{told}");

        stream.source = DeliveryState::AwaitingPage;
        stream.take_page(&page, &mut outbox);
        let told = waiting(&mut outbox);
        assert!(
            told.starts_with("data: {\"type\":\"workspace_updated\"")
                && told.ends_with("\nid: 3\n\n")
                && !told.contains("gap"),
            "{told}"
        );
        assert_eq!(stream.cursor, EventNumber(3));
    }

    #[test]
    fn a_notice_that_the_token_ends_does_not_push_out_a_heartbeat() {
        let (mut stream, mut outbox) = (stream(WallTime(30_000_000)), Outbox::default());
        let now = Now { wall: WallTime(0), mono: MonoTime(1) };
        stream.tick(&FanOut::new(EventNumber(1)), &mut outbox, now, 5_000);
        let told = waiting(&mut outbox);
        assert!(told.contains("token_expiring") && told.contains("heartbeat"), "{told}");
    }
}
