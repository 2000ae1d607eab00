//! Streams on a shard: opening them, giving them events and pages, ending them.

use crate::api::error::ApiError;
use crate::api::{Caller, Response, StreamId, StreamStart, Subscription};
use crate::base::limits::*;
use crate::base::metrics::{self, GapReason};
use crate::base::random::fill_secret;
use crate::base::time::Now;
use crate::domain::command::ReplyTo;
use crate::domain::id::EventNumber;
use crate::domain::live_answer::AnswerDelta;
use crate::domain::query::{JournalPage, Query, QueryKind};
use crate::domain::result::Rejection;
use crate::domain::work::Work;
use crate::http1::head::Method;
use crate::http1::response_write::Length;
use crate::shard::connection::{Phase, RequestContext};
use crate::shard::message::CommitShare;
use crate::shard::shared::stream_registry::StreamStats;
use crate::shard::subscription::fan_out::FramedEvent;
use crate::shard::subscription::subscriber::{DeliveryState, FillResult, Subscriber};
use crate::shard::{Output, Shard};
use crate::sse;
use std::sync::Arc;

const EVENT_STREAM: &str = "text/event-stream";

impl Shard {
    /// Opens a stream that its caller may open.
    pub(in crate::shard) fn open_stream(
        &mut self,
        slot: u32,
        request_context: &RequestContext<'_>,
        caller: &Caller,
        wanted: Subscription,
        now: Now,
    ) {
        if self.draining {
            let reply = self.defer_stream(wanted.start);
            self.respond(slot, request_context, reply, now);
            return;
        }
        // The rules may have changed since the head was read, and streams are looked through only when they change.
        if !self.token_rules.accepts(&caller.actor.id, caller.issued_at) {
            let error = ApiError::invalid_token("The token is no longer valid");
            return self.respond(slot, request_context, error.into_response(), now);
        }
        let settings = &self.context.settings;
        // A token that is past its end but within the leeway opened this stream, so the stream has the leeway too.
        let expired_already = caller.expires_at <= now.wall;
        let leeway_seconds = if expired_already { TOKEN_LEEWAY_SECONDS } else { 0 };
        let expires_at = caller.expires_at.plus_seconds(leeway_seconds);
        let stats = Arc::new(StreamStats::new(caller.actor.id.clone(), now, expires_at));
        let id = new_stream_id();
        if request_context.method != Method::Head
            && !self.shared.streams.insert(id, Arc::clone(&stats), settings.streams_per_user_max)
        {
            let error = ApiError::rate_limited("This user has as many open streams as are allowed", 1);
            self.respond(slot, request_context, error.with_metric_reason("too_many_streams").into_response(), now);
            return;
        }
        let heartbeat = settings.heartbeat_interval_ms;
        let newest = self.shared.streams.position().max(self.fan_out.position);
        let (cursor, source, gap) = match wanted.start {
            StreamStart::Now => (newest, DeliveryState::Live, None),
            StreamStart::After(number) if number <= newest => (number, DeliveryState::Behind, None),
            StreamStart::After(_) | StreamStart::Unknown => (newest, DeliveryState::Live, Some(newest.next())),
        };
        let mut stream = Box::new(Subscriber {
            id,
            user: caller.actor.id.clone(),
            issued_at: caller.issued_at,
            filter: wanted.filter,
            named: wanted.named,
            cursor,
            source,
            gap_told: EventNumber::default(),
            announces_caught_up: wanted.start != StreamStart::Now,
            stats,
            // The first one comes at a random moment of the interval: many streams opened at once do not beat as one.
            heartbeat_at: now.mono.plus(self.random.below(heartbeat * 1000) + 1),
            retry_at: None,
            expiry_announced: None,
            buffer_bytes: settings.stream_buffer_bytes,
            ended: false,
            next_deltas: Vec::new(),
        });
        let reply = Response { status: 200, content_type: EVENT_STREAM, fields: stream_fields(), body: (&[]).into() };
        self.write_head(slot, request_context, &reply, Length::UntilClose, false, now);
        self.note_finished(request_context, 200, 0);
        if request_context.method == Method::Head {
            self.begin_closing(slot, now);
            return;
        }
        let conn = &mut self.connections[slot as usize];
        stream.send_greeting(&mut conn.outbox, &self.context.epoch, now);
        if let Some(first) = gap {
            stream.send_gap(&mut conn.outbox, first);
            metrics::GAPS[GapReason::Unknown as usize].add(1);
            stream.source = DeliveryState::Behind;
        }
        metrics::STREAMS_OPENED.add(1);
        self.fan_out.subscribe(&stream.user, slot);
        if stream.source == DeliveryState::Live {
            self.live.give_all(&mut stream, &mut conn.outbox, now.wall);
        }
        conn.phase = Phase::Stream(stream);
        conn.input = Vec::new();
        self.outputs.push_back(Output::TuneStream(slot));
        self.fill_stream(slot, now);
        self.mark_dirty(slot, now);
        self.arm(slot, now);
    }

    /// What is answered while no stream can be opened: a stream that ends at once with a time to come back, because an
    /// `EventSource` gives up for good on any other status.
    pub(in crate::shard) fn defer_stream(&mut self, start: StreamStart) -> Response {
        metrics::count_rejection("stream_deferred");
        let mut body = Vec::new();
        let milliseconds = self.spread_retry_milliseconds();
        match start {
            StreamStart::After(id) => sse::retry_from(milliseconds, id, &mut body),
            StreamStart::Now | StreamStart::Unknown => sse::retry(milliseconds, &mut body),
        }
        Response { status: 200, content_type: EVENT_STREAM, fields: stream_fields(), body: body.into() }
    }

    /// Takes in a commit: its events first, so that a stream has what a receipt tells of.
    pub(in crate::shard) fn committed(&mut self, committed: CommitShare, now: Now) {
        if let Some(token_rules) = committed.token_rules {
            self.token_rules = token_rules;
            self.end_rejected_streams(now);
        }
        for started in committed.started.iter() {
            self.live.begin(started);
        }
        if committed.through > self.fan_out.position {
            if committed.before > self.fan_out.position {
                self.events_missed(committed.before, now);
            }
            for event in committed.events.iter() {
                if event.number > self.fan_out.position {
                    self.publish(event, now);
                }
            }
            self.fan_out.position = committed.through;
        }
        for command_finished in committed.results {
            self.command_finished(command_finished, now);
        }
    }

    fn publish(&mut self, event: &crate::domain::event::Event, now: Now) {
        self.live.apply(event);
        let Shard { fan_out, connections, dirty, .. } = self;
        let mut first_dirty = dirty.len();
        // Who stands in the list from before, although all that waited then is written.
        let mut written_since = Vec::new();
        fan_out.publish(event, |slot, entry: &Arc<FramedEvent>| {
            let conn = &mut connections[slot as usize];
            let Phase::Stream(stream) = &mut conn.phase else { return };
            if stream.ended {
                return;
            }
            stream.offer(entry, &mut conn.outbox);
            if conn.outbox.is_empty() {
                return;
            }
            if !conn.dirty {
                conn.dirty = true;
                dirty.push(slot);
            } else if !conn.waits_for_reader {
                written_since.push(slot);
            }
        });
        while first_dirty < self.dirty.len() {
            let slot = self.dirty[first_dirty];
            first_dirty += 1;
            self.mark_dirty(slot, now);
        }
        for slot in written_since {
            self.mark_dirty(slot, now);
        }
    }

    /// The shard was not told of the events through `position`: its streams get them from the journal.
    fn events_missed(&mut self, position: EventNumber, now: Now) {
        self.live.events_missed();
        let before = self.fan_out.position;
        let mut slots: Vec<u32> =
            self.fan_out.users().flat_map(|(_, subscriptions)| subscriptions.streams.iter().copied()).collect();
        // In an order that is the same in every run, so that a run can be replayed.
        slots.sort_unstable();
        self.fan_out.skip_to(position);
        for slot in slots {
            if let Phase::Stream(stream) = &mut self.connections[slot as usize].phase
                && stream.source == DeliveryState::Live
                && stream.cursor < position
            {
                stream.source = DeliveryState::Behind;
                stream.cursor = stream.cursor.max(before);
            }
            self.fill_stream(slot, now);
        }
    }

    /// Takes in a page that a stream asked for, or hears that there is none now.
    pub(in crate::shard) fn page(&mut self, slot: u32, page: Result<JournalPage, Rejection>, now: Now) {
        let conn = &mut self.connections[slot as usize];
        let Phase::Stream(stream) = &mut conn.phase else { return };
        if stream.ended {
            return;
        }
        match page {
            Ok(page) => stream.take_page(&page, &mut conn.outbox),
            Err(_) => stream.page_failed(now.mono),
        }
        self.fill_stream(slot, now);
        self.mark_dirty(slot, now);
        self.arm(slot, now);
    }

    pub(in crate::shard) fn stream_wrote(&mut self, slot: u32, now: Now) {
        let conn = &self.connections[slot as usize];
        let Phase::Stream(stream) = &conn.phase else { return };
        if stream.ended && conn.outbox.is_empty() {
            self.begin_closing(slot, now);
        } else if stream.source == DeliveryState::Behind && conn.outbox.bytes() <= stream.buffer_bytes / 2 {
            self.fill_stream(slot, now);
            self.mark_dirty(slot, now);
        } else {
            stream.report(&self.fan_out, &conn.outbox, now.mono);
        }
    }

    pub(in crate::shard) fn tick_stream(&mut self, slot: u32, now: Now) {
        let conn = &mut self.connections[slot as usize];
        let Phase::Stream(stream) = &mut conn.phase else { return };
        stream.tick(&self.fan_out, &mut conn.outbox, now, self.context.settings.heartbeat_interval_ms);
        self.fill_stream(slot, now);
        self.mark_dirty(slot, now);
    }

    /// Ends a stream with a time to come back.
    pub(in crate::shard) fn shut_stream_down(&mut self, slot: u32, now: Now) {
        let retry = self.spread_retry_milliseconds();
        let conn = &mut self.connections[slot as usize];
        let Phase::Stream(stream) = &mut conn.phase else { return };
        if !stream.ended {
            stream.send_shutdown(&mut conn.outbox, retry);
        }
        self.mark_dirty(slot, now);
    }

    /// Takes a stream off the lists, before its connection does something else or goes.
    pub(in crate::shard) fn forget_stream(&mut self, slot: u32) {
        if let Some(conn) = self.connections.get(slot as usize)
            && let Phase::Stream(stream) = &conn.phase
        {
            metrics::STREAMS_CLOSED.add(1);
            self.fan_out.unsubscribe(&stream.user, slot);
            self.shared.streams.remove(stream.id);
        }
    }

    fn fill_stream(&mut self, slot: u32, now: Now) {
        let conn = &mut self.connections[slot as usize];
        let Phase::Stream(stream) = &mut conn.phase else { return };
        let was_live = stream.source == DeliveryState::Live;
        if stream.fill(&self.fan_out, &mut conn.outbox) == FillResult::Page {
            stream.source = DeliveryState::AwaitingPage;
            let kind =
                QueryKind::JournalPage { after: stream.cursor, bytes_max: stream.buffer_bytes, filter: stream.filter };
            let caller = stream.user.clone();
            let reply_to = ReplyTo { shard: self.index, slot, generation: conn.generation };
            self.outputs.push_back(Output::Work(Work::Query(Query { reply_to, caller, kind })));
        }
        if !was_live && stream.source == DeliveryState::Live {
            self.live.give_all(stream, &mut conn.outbox, now.wall);
        }
        stream.report(&self.fan_out, &conn.outbox, now.mono);
    }

    /// Takes a piece of an answer in, and gives it to the streams that see it.
    pub(in crate::shard) fn answer_grows(&mut self, delta: &AnswerDelta, now: Now) {
        if !self.live.grow(delta) {
            return;
        }
        let Some(frame) = self.live.delta_frame(delta, now.wall) else { return };
        let Shard { fan_out, connections, live, .. } = self;
        let mut given = Vec::new();
        live.for_each_stream(delta.message_id, fan_out, |slot| {
            let conn = &mut connections[slot as usize];
            if let Phase::Stream(stream) = &mut conn.phase {
                live.give(stream, &mut conn.outbox, delta, &frame, now.wall);
                given.push(slot);
            }
        });
        for slot in given {
            self.mark_dirty(slot, now);
        }
    }

    fn end_rejected_streams(&mut self, now: Now) {
        let mut refused = Vec::new();
        for (user, subscriptions) in self.fan_out.users() {
            for slot in &subscriptions.streams {
                if let Phase::Stream(stream) = &self.connections[*slot as usize].phase
                    && !self.token_rules.accepts(user, stream.issued_at)
                {
                    refused.push(*slot);
                }
            }
        }
        refused.sort_unstable();
        for slot in refused {
            let conn = &mut self.connections[slot as usize];
            let Phase::Stream(stream) = &mut conn.phase else { continue };
            if !stream.ended {
                stream.send_expired(&mut conn.outbox);
            }
            self.mark_dirty(slot, now);
        }
    }

    fn spread_retry_milliseconds(&mut self) -> u64 {
        500 + self.random.below(SHUTDOWN_RETRY_SPREAD_MILLISECONDS)
    }
}

fn stream_fields() -> Vec<(&'static str, std::borrow::Cow<'static, str>)> {
    vec![("X-Accel-Buffering", "no".into())]
}

fn new_stream_id() -> StreamId {
    let mut bytes = [0; 16];
    fill_secret(&mut bytes);
    StreamId(uuid::Builder::from_random_bytes(bytes).into_uuid())
}
