//! Answers that are passed on: from the request of a client to the last byte of the response.
//!
//! A connection in phase `Passing` has one pipe. The responders write into it, and tell the shard when it has something. Whatever
//! does not fit into the connection's outbox stays in the pipe, which then pauses the model's socket.

use super::context::RequestContext;
use super::pending::{Continuation, PendingRequest};
use crate::api::error::ApiError;
use crate::api::operation::Operation;
use crate::api::{self, Caller, PassingDraft, Response};
use crate::base::limits::TOKEN_LEEWAY_SECONDS;
use crate::base::metrics::{self, ConnectionCut};
use crate::base::time::{MonoTime, Now};
use crate::domain::command::ReplyTo;
use crate::domain::completion_error::CompletionError;
use crate::domain::passing::{AnswerPipe, PassingControl, PassingForm, PassingRequest, PipedPart};
use crate::domain::query::{Query, QueryKind};
use crate::domain::usage::{Day, DayRange, TokenCounts, UsageBy, UsageReport};
use crate::domain::work::Work;
use crate::http1::head::Version;
use crate::http1::response_write::Length;
use crate::shard::connection::outbox::Outbox;
use crate::shard::{Output, Shard};
use crate::sse::frame::{LAST_CHUNK, write_part};
use crate::sse::write_data;
use crate::wire;
use std::sync::Arc;

/// A comment, which clients ignore. It shows that the connection lives.
pub(in crate::shard) const COMMENT: &[u8] = b":\n";

/// A response that an answer is passed on to.
#[derive(Debug)]
pub(in crate::shard) struct PassedResponse {
    request_context: RequestContext<'static>,
    caller: Caller,
    /// When the caller's token expires.
    expires_at: MonoTime,
    pipe: AnswerPipe,
    form: PassingForm,
    /// Most bytes in the outbox; what is reserved of the budget of streams.
    buffer_bytes: usize,
    /// Whether the head of a stream is queued.
    has_begun: bool,
    /// Whether each part is a chunk: HTTP/1.1.
    is_chunked: bool,
    /// When the next comment is due, if nothing else is sent before.
    comment_at: MonoTime,
}

impl PassedResponse {
    /// When `tick_passing` has something to do: a comment is due, or the token expires.
    pub(in crate::shard) fn next_tick(&self) -> MonoTime {
        // Without a head, and for a whole answer, there are no comments.
        if self.has_begun { self.comment_at.min(self.expires_at) } else { self.expires_at }
    }

    fn push(&self, outbox: &mut Outbox, bytes: &[u8]) {
        outbox.push_with(|out| write_part(self.is_chunked, bytes, out));
    }
}

impl Shard {
    /// Passes a model's answer on, unless the caller's answers have used the tokens of the day.
    pub(super) fn pass_within_quota(
        &mut self,
        slot: u32,
        request_context: RequestContext<'_>,
        operation: Operation,
        caller: Caller,
        draft: PassingDraft,
        now: Now,
    ) {
        if self.context.settings.responder_tokens_per_user_per_day.is_none() {
            return self.pass(slot, request_context, &caller, draft, now);
        }
        let today = Day::of(now.wall);
        let kind = QueryKind::Usage { days: DayRange { from: today, to: today }, by: UsageBy::Day };
        let query = Query { reply_to: self.reply_to(slot), caller: caller.actor.id.clone(), kind };
        let continuation = Continuation::Pass(Box::new(draft));
        let pending = PendingRequest::new(request_context, operation, Some(caller), continuation);
        self.wait(slot, pending, Work::Query(query), now);
    }

    /// The error of a caller whose answers have used the tokens of the day.
    pub(super) fn check_quota(&self, used: &UsageReport, now: Now) -> Result<(), ApiError> {
        let TokenCounts { prompt, completion, .. } = used.total.tokens;
        match self.context.settings.responder_tokens_per_user_per_day {
            Some(tokens_max) if prompt.saturating_add(completion) >= tokens_max => {
                Err(ApiError::quota_exceeded(Day::seconds_left(now.wall)))
            }
            _ => Ok(()),
        }
    }

    /// Hands a request to the responders. Its connection gets what the model answers.
    pub(super) fn pass(
        &mut self,
        slot: u32,
        request_context: RequestContext<'_>,
        caller: &Caller,
        draft: PassingDraft,
        now: Now,
    ) {
        let wanted = self.context.settings.stream_buffer_bytes;
        let Some(buffer_bytes) = self.shared.stream_buffers.reserve(&self.context.memory, wanted) else {
            return self.respond(slot, &request_context, ApiError::overloaded().into_response(), now);
        };
        let request_context = request_context.into_owned();
        let pipe = AnswerPipe::default();
        let request = PassingRequest {
            to: self.reply_to(slot),
            actor: caller.actor.clone(),
            correlation_id: Arc::clone(&request_context.request_id),
            body: draft.body,
            form: draft.form,
            pipe: pipe.clone(),
        };
        // As for streams, a token within the leeway gets the leeway too.
        let leeway_seconds = if caller.expires_at <= now.wall { TOKEN_LEEWAY_SECONDS } else { 0 };
        let left = caller.expires_at.plus_seconds(leeway_seconds).0.saturating_sub(now.wall.0);
        let response = PassedResponse {
            caller: caller.clone(),
            expires_at: now.mono.plus(left.max(0) as u64),
            is_chunked: request_context.version == Version::Http11,
            request_context,
            pipe,
            form: draft.form,
            buffer_bytes,
            has_begun: false,
            comment_at: now.mono,
        };
        self.connections[slot].begin_passing(Box::new(response), now.mono);
        self.passing_slots.insert(slot);
        self.connections.rearm(slot, now);
        self.outputs.push_back(Output::Work(Work::Pass(Box::new(request))));
    }

    /// The pipe to a connection has something.
    pub(in crate::shard) fn piped(&mut self, to: ReplyTo, now: Now) {
        if self.connections.find(to).is_some() {
            self.advance_passing(to.slot, now);
        }
    }

    /// Queues what the pipe has, as far as there is room, and ends the response with the answer.
    pub(in crate::shard) fn advance_passing(&mut self, slot: u32, now: Now) {
        let Some((passed, outbox)) = self.connections[slot].passing_mut() else { return };
        let bytes_max = match passed.form {
            PassingForm::Stream { .. } => passed.buffer_bytes.saturating_sub(outbox.bytes()),
            // A whole answer is one response, as soon as all of it is there.
            PassingForm::Whole if passed.pipe.has_ended() => usize::MAX,
            PassingForm::Whole => 0,
        };
        let part = passed.pipe.read(bytes_max);
        if part.is_cut {
            metrics::CONNECTIONS_CUT[ConnectionCut::ResponseBytes as usize].add(1);
            return self.close(slot);
        }
        if part.resumes {
            self.control_passing(slot, PassingControl::Resume);
        }
        match self.connections[slot].passing().map(|passed| passed.form) {
            Some(PassingForm::Stream { .. }) => self.pass_part(slot, part, now),
            Some(PassingForm::Whole) => {
                if let Some(end) = part.end {
                    let response = end.map(|()| Response::json(part.bytes));
                    self.respond_passed(slot, response, now);
                }
            }
            None => {}
        }
    }

    /// Queues a part of a stream.
    fn pass_part(&mut self, slot: u32, part: PipedPart, now: Now) {
        let PipedPart { is_admitted, bytes, end, .. } = part;
        let Some((passed, _)) = self.connections[slot].passing_mut() else { return };
        if !passed.has_begun {
            match end {
                Some(Err(error)) if bytes.is_empty() => return self.respond_passed(slot, Err(error), now),
                _ if is_admitted => self.begin_passed_stream(slot, now),
                _ => return,
            }
        }
        let heartbeat_milliseconds = self.context.settings.heartbeat_interval_ms;
        let Some((passed, outbox)) = self.connections[slot].passing_mut() else { return };
        if !bytes.is_empty() {
            passed.comment_at = now.mono.plus_milliseconds(heartbeat_milliseconds);
            passed.push(outbox, &bytes);
        }
        let Some(end) = end else {
            self.connections.output_queued(slot, now);
            return self.connections.arm(slot, now);
        };
        if let Err(error) = end {
            let mut event = Vec::new();
            write_data(|out| wire::openai::error_event(&error, out), &mut event);
            passed.push(outbox, &event);
        }
        if passed.is_chunked {
            outbox.push_with(|out| out.extend_from_slice(LAST_CHUNK));
        }
        self.connections.output_queued(slot, now);
        let keeps = |passed: &PassedResponse| passed.request_context.keep_alive && passed.is_chunked;
        match self.end_passing(slot, now) {
            Some(passed) if keeps(&passed) && !self.draining => self.read_on(slot, now),
            _ => self.begin_closing(slot, now),
        }
    }

    /// Queues the head of a stream and a comment: a client sees at once that its request is accepted.
    fn begin_passed_stream(&mut self, slot: u32, now: Now) {
        let Some(passed) = self.connections[slot].passing() else { return };
        let (request_context, is_chunked) = (passed.request_context.clone(), passed.is_chunked);
        let length = if is_chunked { Length::Chunked } else { Length::UntilClose };
        let keep_alive = is_chunked && request_context.keep_alive && !self.draining;
        self.push_head(slot, &request_context, &api::stream::event_stream(&[][..]), length, keep_alive, now);
        self.note_finished(&request_context, 200, 0);
        let heartbeat_milliseconds = self.context.settings.heartbeat_interval_ms;
        if let Some((passed, outbox)) = self.connections[slot].passing_mut() {
            passed.has_begun = true;
            passed.comment_at = now.mono.plus_milliseconds(heartbeat_milliseconds);
            passed.push(outbox, COMMENT);
        }
    }

    /// Responds with a whole answer, or with an error in place of one.
    fn respond_passed(&mut self, slot: u32, answer: Result<Response, CompletionError>, now: Now) {
        let response = answer.unwrap_or_else(|error| ApiError::of_completion(error).into_response());
        if let Some(passed) = self.end_passing(slot, now) {
            self.respond(slot, &passed.request_context, response, now);
            self.read_on(slot, now);
        }
    }

    /// Ends the answers of callers whose tokens are accepted no longer.
    pub(in crate::shard) fn end_rejected_passing(&mut self, now: Now) {
        let is_rejected = |slot: &u32| {
            let passed = self.connections.get(*slot).and_then(|conn| conn.passing());
            passed.is_some_and(|passed| self.check_again(&passed.caller, now).is_err())
        };
        let rejected: Vec<u32> = self.passing_slots.iter().copied().filter(is_rejected).collect();
        for slot in rejected {
            self.fail_passing(slot, CompletionError::token_ended(), now);
        }
    }

    /// Ends an answer on this side.
    fn fail_passing(&mut self, slot: u32, error: CompletionError, now: Now) {
        self.control_passing(slot, PassingControl::Abort);
        let has_begun = self.connections[slot].passing().is_some_and(|passed| passed.has_begun);
        if has_begun {
            let part = PipedPart { is_admitted: true, end: Some(Err(error)), ..PipedPart::default() };
            self.pass_part(slot, part, now);
        } else {
            self.respond_passed(slot, Err(error), now);
        }
    }

    /// The token expires, or the answer is silent and a comment is due.
    pub(in crate::shard) fn tick_passing(&mut self, slot: u32, now: Now) {
        let heartbeat_milliseconds = self.context.settings.heartbeat_interval_ms;
        let Some((passed, outbox)) = self.connections[slot].passing_mut() else { return };
        if passed.expires_at <= now.mono {
            return self.fail_passing(slot, CompletionError::token_ended(), now);
        }
        if passed.has_begun && passed.comment_at <= now.mono {
            passed.comment_at = now.mono.plus_milliseconds(heartbeat_milliseconds);
            if outbox.is_empty() {
                passed.push(outbox, COMMENT);
            }
        }
        self.connections.output_queued(slot, now);
    }

    /// Ends the request of a connection that closes, if its answer is not over.
    pub(in crate::shard) fn abort_passing(&mut self, slot: u32) {
        let is_passing = self.connections.get(slot).is_some_and(|conn| conn.passing().is_some());
        if is_passing {
            self.control_passing(slot, PassingControl::Abort);
            self.release_passing(slot);
        }
    }

    fn control_passing(&mut self, slot: u32, control: PassingControl) {
        let to = self.reply_to(slot);
        self.outputs.push_back(Output::Work(Work::ControlPassing { to, control }));
    }

    fn end_passing(&mut self, slot: u32, now: Now) -> Option<Box<PassedResponse>> {
        self.release_passing(slot);
        self.connections[slot].end_passing(now.mono)
    }

    fn release_passing(&mut self, slot: u32) {
        if let Some(passed) = self.connections[slot].passing() {
            self.shared.stream_buffers.release(passed.buffer_bytes);
            self.passing_slots.remove(&slot);
        }
    }
}
