//! The streams of a shard: opening them, queueing events and pages for them, ending them.

use crate::api::error::ApiError;
use crate::api::{self, AnswerSubscription, Caller, Response, StreamId, StreamStart, Subscription};
use crate::base::limits::*;
use crate::base::metrics;
use crate::base::random::fill_secret;
use crate::base::time::Now;
use crate::domain::answer_page::AnswerPage;
use crate::domain::answer_status_change::AnswerStatusChange;
use crate::domain::command::ConversationRef;
use crate::domain::completion_error::CompletionError;
use crate::domain::event::{Event, EventKind, KindSet};
use crate::domain::id::{EventNumber, MessageId};
use crate::domain::live_answer::AnswerDelta;
use crate::domain::query::{JournalPage, Query, QueryResult, StreamFilter};
use crate::domain::result::Rejection;
use crate::domain::token_rules::TokenRules;
use crate::domain::work::Work;
use crate::http1::head::{Method, Version};
use crate::http1::response_write::Length;
use crate::shard::message::CommitShare;
use crate::shard::request::context::RequestContext;
use crate::shard::request::pending::PostedCompletion;
use crate::shard::shared::stream_registry::StreamStats;
use crate::shard::subscription::fan_out::FramedEvent;
use crate::shard::subscription::subscriber::{
    AnswerView, FillResult, FollowedAnswer, StreamDelivery, Subscriber, TurnAway, end_id,
};
use crate::shard::{Output, Shard};
use crate::sse::frame::{EventFrame, StreamForm};
use crate::wire;
use std::sync::Arc;

/// About the length of the JSON of an answer's status.
const STATUS_JSON_BYTES: usize = 512;

impl Shard {
    /// Opens a stream of one answer that the caller may see. `page` was read at `position`. If the client has all of an answer
    /// that has ended, the response is `204`, after which an `EventSource` does not reconnect.
    pub(in crate::shard) fn open_answer_stream(
        &mut self,
        slot: u32,
        request_context: &RequestContext<'_>,
        caller: &Caller,
        wanted: &AnswerSubscription,
        (page, position): (&AnswerPage, EventNumber),
        now: Now,
    ) {
        // The end has an id of its own: a client that has only the text does not know how the answer ended.
        let end_id = page.ended.as_ref().map(|end| end_id(end.text_bytes));
        if let StreamStart::After(offset) = wanted.start
            && end_id == Some(offset)
        {
            return self.respond(slot, request_context, Response::empty(), now);
        }
        let filter = StreamFilter {
            conversation: Some(ConversationRef::Id(page.conversation_id)),
            workspace: None,
            kinds: KindSet::ALL,
        };
        let subscription = Subscription { filter, named: wanted.named, start: wanted.start };
        let following = FollowedAnswer::new(wanted.message, wanted.start, page);
        self.open(slot, request_context, caller, subscription, Some(following), now);
        self.take_first_page(slot, (page, position), now);
    }

    /// Responds to a client of the OpenAI-compatible API with the answer to the message that it posted: a stream of chunks, or one
    /// response when the answer has ended.
    pub(in crate::shard) fn open_answer_view(
        &mut self,
        slot: u32,
        request_context: RequestContext<'static>,
        caller: &Caller,
        posted: PostedCompletion,
        (page, position): (&AnswerPage, EventNumber),
        now: Now,
    ) {
        let PostedCompletion { view, message, fields } = posted;
        let filter = StreamFilter {
            conversation: Some(ConversationRef::Id(page.conversation_id)),
            workspace: None,
            kinds: KindSet::ALL,
        };
        let subscription = Subscription { filter, named: false, start: StreamStart::Now };
        // As a stream, it has its connection to its end.
        let request_context = RequestContext { keep_alive: false, ..request_context };
        let view = AnswerView::new(view, request_context.clone(), fields);
        let following = FollowedAnswer::new(message, StreamStart::Now, page).with_view(view);
        self.open(slot, &request_context, caller, subscription, Some(following), now);
        self.take_first_page(slot, (page, position), now);
    }

    /// Takes the page with which a stream of an answer was opened, unless it was not opened.
    fn take_first_page(&mut self, slot: u32, (page, position): (&AnswerPage, EventNumber), now: Now) {
        let applied = self.fan_out.position();
        if let Some((stream, outbox)) = self.connections[slot].stream_mut() {
            let is_current =
                position >= applied || stream.following().is_some_and(|following| self.live_answers.has(following));
            if stream.take_answer_page((page, position), is_current, outbox, now.wall) {
                self.live_answers.push_snapshots(stream, outbox, applied, now.wall);
            }
            self.fill_stream(slot, now);
            self.connections.output_queued(slot, now);
            self.connections.arm(slot, now);
        }
    }

    /// Whether a stream would start after a number that is beyond the newest known one.
    pub(in crate::shard) fn is_beyond_position(&self, start: StreamStart) -> bool {
        matches!(start, StreamStart::After(number) if number > self.newest_number())
    }

    /// The newest number that the shard knows. It may have read it before it has applied the events.
    fn newest_number(&self) -> EventNumber {
        self.shared.streams.position().max(self.fan_out.position())
    }

    /// Opens a stream whose filter the caller may see. A number that is still beyond the newest one is not of this journal.
    pub(in crate::shard) fn open_stream(
        &mut self,
        slot: u32,
        request_context: &RequestContext<'_>,
        caller: &Caller,
        wanted: Subscription,
        now: Now,
    ) {
        self.open(slot, request_context, caller, wanted, None, now);
    }

    fn open(
        &mut self,
        slot: u32,
        request_context: &RequestContext<'_>,
        caller: &Caller,
        wanted: Subscription,
        following: Option<FollowedAnswer>,
        now: Now,
    ) {
        let repeats_view = following.as_ref().and_then(FollowedAnswer::repeats_view);
        let has_view = repeats_view.is_some();
        if self.draining {
            let deferral = match repeats_view {
                Some(is_repeatable) => {
                    let error = CompletionError { should_retry: is_repeatable, ..CompletionError::shutting_down() };
                    ApiError::of_completion(error).into_response()
                }
                None => self.defer_stream(wanted.start, wanted.named),
            };
            return self.respond(slot, request_context, deferral, now);
        }
        // Open streams are checked only when the rules or keys change, so none may be opened with a token that they reject.
        if let Err(error) = self.check_again(caller, now) {
            return self.respond(slot, request_context, error.into_response(), now);
        }
        let settings = &self.context.settings;
        // A token that has expired but is within the leeway may open a stream, which gets the leeway too.
        let leeway_seconds = if caller.expires_at <= now.wall { TOKEN_LEEWAY_SECONDS } else { 0 };
        let expires_at = caller.expires_at.plus_seconds(leeway_seconds);
        let stats = Arc::new(StreamStats::new(caller.actor.id.clone(), now, expires_at, caller.key));
        let id = new_stream_id();
        let is_head = request_context.method == Method::Head;
        // The message of a view is stored, so its response is not rejected.
        let streams_max = settings.streams_per_user_max.filter(|_| !has_view);
        if !is_head && !self.shared.streams.insert(id, Arc::clone(&stats), streams_max) {
            let error = ApiError::rate_limited("This user has as many open streams as are allowed", 1);
            return self.respond(
                slot,
                request_context,
                error.with_metric_reason("too_many_streams").into_response(),
                now,
            );
        }
        let mut buffer_bytes = settings.stream_buffer_bytes;
        if !is_head {
            let Some(reserved) = self.shared.stream_buffers.reserve(&self.context.memory, buffer_bytes) else {
                self.shared.streams.remove(id);
                let deferral = match repeats_view {
                    Some(is_repeatable) => ApiError::overloaded().after_storing(is_repeatable).into_response(),
                    None => self.defer_stream(wanted.start, wanted.named),
                };
                return self.respond(slot, request_context, deferral, now);
            };
            buffer_bytes = reserved;
        }
        let newest = self.newest_number();
        // The first heartbeat comes at a random moment of the interval, so that streams opened together do not stay in step.
        let heartbeat_at = now.mono.plus(self.random.below(settings.heartbeat_interval_ms * 1000) + 1);
        let is_chunked = request_context.version == Version::Http11;
        let form = StreamForm { named: wanted.named, chunked: is_chunked };
        let delivery = StreamDelivery { form, heartbeat_at, buffer_bytes };
        let mut stream = Subscriber::new(id, caller, &wanted, newest, stats, delivery);
        if let Some(following) = following {
            stream.follow(following, newest);
        }
        if !stream.wants_whole() {
            let length = if is_chunked { Length::Chunked } else { Length::UntilClose };
            let fields = stream.view().map(|view| view.fields.clone()).unwrap_or_default();
            let mut head = api::stream::event_stream(&[][..]);
            head.fields.extend(fields.into_iter().map(|(name, value)| (name, value.into())));
            self.push_head(slot, request_context, &head, length, false, now);
            self.note_finished(request_context, 200, 0);
        }
        if is_head {
            return self.begin_closing(slot, now);
        }
        self.fan_out.subscribe(stream.user(), slot);
        metrics::STREAMS_OPENED.add(1);
        let conn = &mut self.connections[slot];
        conn.open_stream(Box::new(stream), now.mono);
        if let Some((stream, outbox)) = conn.stream_mut() {
            stream.send_established(outbox, wanted.start, &self.context.epoch, now);
            if stream.is_live() {
                self.live_answers.push_snapshots(stream, outbox, self.fan_out.position(), now.wall);
            }
        }
        self.outputs.push_back(Output::TuneStream(slot));
        self.fill_stream(slot, now);
        self.connections.output_queued(slot, now);
        self.connections.arm(slot, now);
    }

    /// The response while no stream can be opened.
    pub(in crate::shard) fn defer_stream(&mut self, start: StreamStart, named: bool) -> Response {
        metrics::count_rejection("stream_deferred");
        api::stream::unavailable(start, named, self.random_retry_milliseconds())
    }

    /// Applies a commit: its events before its results, so that a stream has an event before the response that reports it.
    pub(in crate::shard) fn committed(&mut self, share: CommitShare, now: Now) {
        if let Some(token_rules) = share.token_rules {
            let old = std::mem::replace(&mut self.token_rules, token_rules);
            self.end_rejected_streams(&old, now);
            self.end_rejected_passing(now);
        }
        for started in share.started.iter() {
            if self.live_answers.start(started) {
                self.forget_answer(started.message_id);
            }
        }
        let position = self.fan_out.position();
        if share.through > position {
            if share.before > position {
                self.events_missed(share.before, now);
            }
            for event in share.events.iter() {
                if event.number > self.fan_out.position() {
                    self.publish(event, now);
                }
            }
            self.fan_out.advance(share.through);
            for change in self.answer_statuses.take_held(share.through) {
                self.status_received(&change, now);
            }
            self.push_awaited_text(now);
        }
        for result in share.results {
            self.command_finished(result, now);
        }
    }

    /// Lets the streams meet an answer again: it is begun again, with other texts.
    fn forget_answer(&mut self, message_id: MessageId) {
        let Shard { fan_out, connections, .. } = self;
        for slot in fan_out.users().flat_map(|(_, subscriptions)| subscriptions.streams()) {
            if let Some((stream, _)) = connections[*slot].stream_mut() {
                stream.forget_answer(message_id);
            }
        }
    }

    /// Queues text for the streams that were ahead of the shard and are not any more. The next delta may come much later.
    fn push_awaited_text(&mut self, now: Now) {
        for slot in std::mem::take(&mut self.awaiting_text) {
            self.push_lacking_text(slot, now);
        }
    }

    /// Queues the text that a stream lacks, if it has room.
    fn push_lacking_text(&mut self, slot: u32, now: Now) {
        let Some((stream, outbox)) = self.connections.get_mut(slot).and_then(|conn| conn.stream_mut()) else { return };
        if !stream.wants_text(outbox) {
            return;
        }
        self.live_answers.push_lacking(stream, outbox, self.fan_out.position(), now.wall);
        if stream.wants_text(outbox) {
            self.awaiting_text.insert(slot);
        }
        stream.report(&self.fan_out, outbox, now.mono);
        self.connections.output_queued(slot, now);
    }

    fn publish(&mut self, event: &Event, now: Now) {
        self.live_answers.apply(event);
        self.answer_statuses.apply(event);
        let Shard { fan_out, connections, long_frames, .. } = self;
        let (mut long, mut end_frame, mut followers) = (None, None, Vec::new());
        fan_out.publish(event, |slot, framed| {
            let Some((stream, outbox)) = connections[slot].stream_mut() else { return };
            if stream.follows_answer() {
                stream.offer_end(event, &mut end_frame, outbox, now.wall);
                followers.push(slot);
            } else if stream.is_live() {
                stream.offer(framed, outbox);
                if framed.frame.held_bytes() > stream.buffer_bytes() {
                    long.get_or_insert_with(|| Arc::clone(&framed.frame));
                }
                connections.output_queued(slot, now);
            }
        });
        if let Some(frame) = long {
            long_frames.insert(event.number, frame);
        }
        for slot in followers {
            self.fill_stream(slot, now);
            self.connections.output_queued(slot, now);
        }
    }

    /// The shard missed the events through `position`: its streams read them from the journal.
    fn events_missed(&mut self, position: EventNumber, now: Now) {
        self.live_answers.events_missed();
        self.answer_statuses.events_missed(position);
        let applied = self.fan_out.position();
        let mut slots: Vec<u32> =
            self.fan_out.users().flat_map(|(_, subscriptions)| subscriptions.streams()).copied().collect();
        // In an order that is the same in every run, so that a run can be repeated from its seed.
        slots.sort_unstable();
        self.fan_out.skip_to(position);
        for slot in slots {
            if let Some((stream, _)) = self.connections[slot].stream_mut() {
                stream.events_missed(applied, position);
            }
            self.fill_stream(slot, now);
        }
    }

    /// A stream's query has a result, and the position of its snapshot: a page of the journal, or one of the answer that it follows.
    pub(in crate::shard) fn stream_query_finished(
        &mut self,
        slot: u32,
        result: Result<(QueryResult, EventNumber), Rejection>,
        now: Now,
    ) {
        match result {
            Ok((QueryResult::AnswerPage(page), position)) => {
                self.answer_page_received(slot, Ok((&page, position)), now);
            }
            Ok((QueryResult::JournalPage(page), _)) => self.page_received(slot, Ok(page), now),
            Ok(_) => self.page_received(slot, Err(Rejection::Unavailable), now),
            Err(rejection)
                if self.connections[slot].stream_mut().is_some_and(|(stream, _)| stream.follows_answer()) =>
            {
                self.answer_page_received(slot, Err(&rejection), now);
            }
            Err(rejection) => self.page_received(slot, Err(rejection), now),
        }
    }

    /// The answer that a stream follows was read again.
    fn answer_page_received(&mut self, slot: u32, page: Result<(&AnswerPage, EventNumber), &Rejection>, now: Now) {
        let applied = self.fan_out.position();
        let Some((stream, outbox)) = self.connections[slot].stream_mut() else { return };
        let is_gone = matches!(page, Err(Rejection::NotFound(_) | Rejection::Forbidden(_)));
        match page {
            _ if stream.take_part() => match page {
                Ok((page, _)) if stream.supply_end_part(page, outbox) => {}
                Err(_) if !is_gone => stream.part_failed(now.mono),
                // The answer has changed since its event was begun, so the client resumes before it.
                _ => return self.close(slot),
            },
            _ if !stream.awaits_page() => return,
            Ok(page) => {
                if stream.take_answer_page(page, true, outbox, now.wall) {
                    self.live_answers.push_snapshots(stream, outbox, applied, now.wall);
                }
            }
            Err(_) => stream.answer_page_failed(is_gone, outbox, now.mono),
        }
        self.fill_stream(slot, now);
        self.connections.output_queued(slot, now);
        self.connections.arm(slot, now);
    }

    /// A stream's requested page has arrived, or failed.
    fn page_received(&mut self, slot: u32, page: Result<JournalPage, Rejection>, now: Now) {
        let Some((stream, outbox)) = self.connections[slot].stream_mut() else { return };
        if stream.take_part() {
            return self.part_received(slot, page, now);
        }
        if !stream.awaits_page() {
            return;
        }
        match page {
            Ok(page) => stream.take_page(&page, &mut self.long_frames, outbox),
            Err(_) => stream.page_failed(now.mono),
        }
        self.fill_stream(slot, now);
        self.connections.output_queued(slot, now);
        self.connections.arm(slot, now);
    }

    /// The event of which a stream lacks a part was read again. If it has changed, or is no longer there, the stream is cut: its
    /// client has not got the event yet, and resumes before it.
    fn part_received(&mut self, slot: u32, page: Result<JournalPage, Rejection>, now: Now) {
        let Some((stream, outbox)) = self.connections[slot].stream_mut() else { return };
        let Some(number) = outbox.lacks_part() else { return };
        match page {
            // Another stream may have needed the same event.
            Ok(_) if self.long_frames.get(number).is_some_and(|frame| stream.supply_part(frame, outbox)) => {}
            Ok(page) => {
                let event = page.events.first().filter(|event| event.number == number);
                let frame = event.map(|event| FramedEvent::new(event).frame);
                match frame.filter(|frame| stream.supply_part(frame, outbox)) {
                    Some(frame) => self.long_frames.insert(number, frame),
                    None => return self.close(slot),
                }
            }
            Err(_) => stream.part_failed(now.mono),
        }
        self.connections.output_queued(slot, now);
        self.connections.arm(slot, now);
    }

    /// Supplies the part of a long event that a stream lacks, or requests it.
    fn supply_part(&mut self, slot: u32, now: Now) {
        let reply_to = self.reply_to(slot);
        let Some((stream, outbox)) = self.connections[slot].stream_mut() else { return };
        let Some(number) = outbox.lacks_part() else { return };
        let is_shared = !stream.follows_answer();
        let in_tail = self.fan_out.subscriptions(stream.user()).and_then(|subscriptions| subscriptions.frame(number));
        let kept = [in_tail, self.long_frames.get(number)].into_iter().flatten().filter(|_| is_shared);
        if !kept.into_iter().any(|frame| stream.supply_part(frame, outbox))
            && let Some(kind) = stream.request_part(number)
        {
            let query = Query { reply_to, caller: stream.user().clone(), kind };
            self.outputs.push_back(Output::Work(Work::Query(query)));
        }
        stream.report(&self.fan_out, outbox, now.mono);
        self.connections.output_queued(slot, now);
    }

    /// The socket took bytes of a stream, or was full.
    pub(in crate::shard) fn stream_written(&mut self, slot: u32, now: Now) {
        let Some((stream, outbox)) = self.connections[slot].stream_mut() else { return };
        if outbox.lacks_part().is_some() {
            self.supply_part(slot, now);
        } else if stream.has_ended() && outbox.is_empty() {
            self.begin_closing(slot, now);
        } else if stream.wants_fill(outbox) {
            self.fill_stream(slot, now);
            self.connections.output_queued(slot, now);
        } else if stream.wants_text(outbox) {
            self.push_lacking_text(slot, now);
        } else {
            stream.report(&self.fan_out, outbox, now.mono);
        }
    }

    /// A stream has something to do at this time.
    pub(in crate::shard) fn tick_stream(&mut self, slot: u32, now: Now) {
        let Some((stream, outbox)) = self.connections[slot].stream_mut() else { return };
        // The event loop that served a renewal may have had the keys of before a reload, when this one did not any more.
        if !self.context.keys.contains(stream.key()) {
            stream.send_expired(&self.fan_out, outbox);
        }
        stream.tick(&self.fan_out, outbox, now, self.context.settings.heartbeat_interval_ms);
        self.supply_part(slot, now);
        self.fill_stream(slot, now);
        self.connections.output_queued(slot, now);
    }

    /// Ends a stream that another process may continue. Its client reconnects after a random time.
    pub(in crate::shard) fn turn_away(&mut self, slot: u32, reason: TurnAway, now: Now) {
        let retry_milliseconds = self.random_retry_milliseconds();
        let Some((stream, outbox)) = self.connections[slot].stream_mut() else { return };
        if reason == TurnAway::CutOff && outbox.lacks_part().is_some() {
            // The rest of the event cannot be read. The client resumes before it.
            return self.close(slot);
        }
        stream.send_away(reason, &self.fan_out, outbox, retry_milliseconds);
        self.connections.output_queued(slot, now);
        self.finish_whole_view(slot, now);
    }

    /// Removes a stream from the subscribers, before its connection closes. Any other connection is left alone.
    pub(in crate::shard) fn unsubscribe(&mut self, slot: u32) {
        if let Some((stream, _)) = self.connections.get(slot).and_then(|conn| conn.stream()) {
            metrics::STREAMS_CLOSED.add(1);
            self.shared.stream_buffers.release(stream.buffer_bytes());
            self.fan_out.unsubscribe(stream.user(), slot);
            self.shared.streams.remove(stream.id());
        }
    }

    fn fill_stream(&mut self, slot: u32, now: Now) {
        let reply_to = self.reply_to(slot);
        let Some((stream, outbox)) = self.connections[slot].stream_mut() else { return };
        match stream.fill(&self.fan_out, outbox) {
            FillResult::Nothing => {}
            FillResult::Live => {
                self.live_answers.push_snapshots(stream, outbox, self.fan_out.position(), now.wall);
            }
            FillResult::Page(kind) => {
                let query = Query { reply_to, caller: stream.user().clone(), kind };
                self.outputs.push_back(Output::Work(Work::Query(query)));
            }
        }
        if stream.wants_text(outbox) {
            self.awaiting_text.insert(slot);
        }
        stream.report(&self.fan_out, outbox, now.mono);
        self.finish_whole_view(slot, now);
    }

    /// Responds with a whole answer, if this stream is for one and the answer has ended.
    fn finish_whole_view(&mut self, slot: u32, now: Now) {
        let Some((stream, _)) = self.connections[slot].stream_mut() else { return };
        let Some(view) = stream.view() else { return };
        let Some(outcome) = view.take_outcome() else { return };
        let (request_context, fields) = (view.request_context.clone(), std::mem::take(&mut view.fields));
        self.unsubscribe(slot);
        self.connections[slot].end_stream(now.mono);
        let mut response = match outcome {
            Ok(body) => Response::json(body),
            Err(error) => ApiError::of_completion(error).into_response(),
        };
        response.fields.extend(fields.into_iter().map(|(name, value)| (name, value.into())));
        self.respond(slot, &request_context, response, now);
    }

    /// Applies a delta of an answer, and queues it for the streams that see the answer.
    pub(in crate::shard) fn delta_received(&mut self, delta: &AnswerDelta, now: Now) {
        if !self.live_answers.grow(delta) {
            return;
        }
        let Shard { fan_out, connections, live_answers, awaiting_text, .. } = self;
        let position = fan_out.position();
        live_answers.for_each_stream(delta.message_id, fan_out, |slot, answer| {
            let Some((stream, outbox)) = connections[slot].stream_mut() else { return };
            if answer.push_text(stream, outbox, position, Some(delta), now.wall) {
                connections.output_queued(slot, now);
            } else if stream.wants_text(outbox) {
                awaiting_text.insert(slot);
            }
        });
    }

    /// Queues the status of an answer for the streams that see it and have room. It is not sent again.
    pub(in crate::shard) fn status_received(&mut self, change: &Arc<AnswerStatusChange>, now: Now) {
        let position = self.fan_out.position();
        if change.known_at > position {
            return self.answer_statuses.hold(change);
        }
        let Some(recipients) = self.answer_statuses.recipients(change) else { return };
        let Shard { fan_out, connections, .. } = self;
        let mut framed: Option<Arc<EventFrame>> = None;
        for slot in recipients.iter().flat_map(|user| fan_out.streams_of(user)) {
            if let Some((stream, outbox)) = connections[*slot].stream_mut()
                && stream.wants_status(change, position, outbox)
            {
                let frame = framed.get_or_insert_with(|| {
                    Arc::new(EventFrame::new(None, EventKind::AnswerStatus.as_str(), STATUS_JSON_BYTES, |out| {
                        wire::event::answer_status(change, now.wall, out);
                    }))
                });
                stream.push_ephemeral(frame, outbox);
                connections.output_queued(*slot, now);
            }
        }
    }

    /// Ends the streams whose tokens the present rules reject, and the rules `old` did not.
    fn end_rejected_streams(&mut self, old: &TokenRules, now: Now) {
        let mut rejected = Vec::new();
        for user in self.token_rules.changed_since(old) {
            for slot in self.fan_out.streams_of(user) {
                if let Some((stream, _)) = self.connections[*slot].stream()
                    && !self.token_rules.accepts(user, stream.credential())
                {
                    rejected.push(*slot);
                }
            }
        }
        self.expire_streams(rejected, now);
    }

    /// Ends the streams that last until the expiry of a token whose key is not accepted any more.
    pub(in crate::shard) fn end_streams_of_removed_keys(&mut self, now: Now) {
        let keys = &self.context.keys;
        let has_removed_key =
            |slot: &u32| self.connections[*slot].stream().is_some_and(|(stream, _)| !keys.contains(stream.key()));
        let streams = self.fan_out.users().flat_map(|(_, subscriptions)| subscriptions.streams());
        let rejected = streams.copied().filter(has_removed_key).collect();
        self.expire_streams(rejected, now);
    }

    fn expire_streams(&mut self, mut slots: Vec<u32>, now: Now) {
        // In an order that is the same in every run.
        slots.sort_unstable();
        for slot in slots {
            if let Some((stream, outbox)) = self.connections[slot].stream_mut() {
                stream.send_expired(&self.fan_out, outbox);
            }
            self.connections.output_queued(slot, now);
            self.finish_whole_view(slot, now);
        }
    }

    /// A random time to reconnect, so that the clients of one process do not all return at once.
    fn random_retry_milliseconds(&mut self) -> u64 {
        STREAM_RETRY_MILLISECONDS_MIN + self.random.below(STREAM_RETRY_SPREAD_MILLISECONDS)
    }
}

fn new_stream_id() -> StreamId {
    let mut bytes = [0; 16];
    fill_secret(&mut bytes);
    StreamId(uuid::Builder::from_random_bytes(bytes).into_uuid())
}
