//! One answer that is passed on to the connection that waits for it. Pure: bytes and the time go in, and effects come out.
//!
//! Order of calls: [`PassedAnswer::start`] once it is its turn; then as for [`ModelRequest`]. The answer is over when
//! [`PassedAnswer::is_over`] returns true and `poll` returns `None`.
//!
//! Invariant: the pipe gets one end, after all bytes. The answer is not over before its connection has taken all of it, so that it
//! keeps its slot, and what it holds is counted.

use super::failure::FailureKind;
use super::model_request::{ModelEffect, ModelRequest};
use super::openai::AnswerPieces;
use super::upstream::Upstream;
use super::{Completion, Failure};
use crate::base::random::Random;
use crate::base::time::{MonoTime, Now};
use crate::domain::completion_error::CompletionError;
use crate::domain::passing::{PassingForm, PassingRequest};
use crate::domain::usage::TokenUsage;
use crate::wire::openai::DONE;
use std::sync::Arc;

/// An action for one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassedEffect {
    /// Open a connection to the upstream. Next: [`PassedAnswer::connected`] or [`PassedAnswer::disconnected`].
    Connect,
    /// Close the connection to the upstream.
    Close,
    /// Tell the shard of the connection that its pipe has something.
    Announce,
    /// Count these tokens for the user.
    Count(TokenUsage),
}

/// One answer that is passed on.
#[derive(Debug)]
pub struct PassedAnswer {
    passing: PassingRequest,
    upstream: Arc<Upstream>,
    /// `None` until it is its turn.
    request: Option<ModelRequest>,
    announces: bool,
    /// The connection takes nothing more for now, so the upstream is not read.
    is_paused: bool,
    counts: Option<TokenUsage>,
    /// The pipe has its end.
    has_ended: bool,
    is_over: bool,
}

impl PassedAnswer {
    /// An answer that waits for its turn.
    pub fn new(passing: PassingRequest, upstream: Arc<Upstream>) -> PassedAnswer {
        let announces = passing.pipe.admit();
        PassedAnswer {
            passing,
            upstream,
            request: None,
            announces,
            is_paused: false,
            counts: None,
            has_ended: false,
            is_over: false,
        }
    }

    /// The request that it answers.
    pub(crate) fn passing(&self) -> &PassingRequest {
        &self.passing
    }

    /// The upstream.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Begins. `random` spreads the retries.
    pub fn start(&mut self, random: Random, now: Now) {
        let mut request = ModelRequest::new(Arc::clone(&self.upstream), random).passing(self.passing.form);
        request.set_clock(now);
        self.request = Some(request);
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether the socket is not to be read for now.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// The bytes that the answer holds.
    pub(crate) fn held_bytes(&self) -> usize {
        let request = self.request.as_ref().map_or(0, ModelRequest::held_bytes);
        self.passing.body.held_bytes() + self.passing.pipe.waiting_bytes() + request
    }

    /// The next action; `None` until another call or until [`PassedAnswer::poll_timeout`].
    pub fn poll(&mut self, now: MonoTime) -> Option<PassedEffect> {
        while let Some(effect) = self.request.as_mut().and_then(|request| request.poll(now)) {
            match effect {
                ModelEffect::Prepare { halvings, counts_tokens } => {
                    let PassingRequest { body, form, .. } = &self.passing;
                    // The context is the client's: nothing of it is left out.
                    let body = (halvings == 0).then(|| body.bytes(*form, counts_tokens));
                    if let Some(request) = &mut self.request {
                        request.prepared(body.as_deref(), now);
                    }
                }
                ModelEffect::Connect => return Some(PassedEffect::Connect),
                ModelEffect::Close => return Some(PassedEffect::Close),
                ModelEffect::Retrying(_) => {}
                ModelEffect::Ended(ended) => self.ended(ended),
            }
        }
        if std::mem::take(&mut self.announces) {
            return Some(PassedEffect::Announce);
        }
        self.counts.take().map(PassedEffect::Count)
    }

    /// When [`PassedAnswer::poll`] or [`PassedAnswer::tick`] has something to do, if nothing else happens until then.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        if self.has_ended || self.is_paused { None } else { self.request.as_ref()?.poll_timeout() }
    }

    /// The connection to the upstream is open.
    pub fn connected(&mut self, now: MonoTime) {
        if let Some(request) = &mut self.request {
            request.connected(now);
        }
    }

    /// The connection to the upstream has ended, or broke, or could not be opened, with this error.
    pub fn disconnected(&mut self, error: Option<String>, now: MonoTime) {
        self.with_pieces(|request, pieces| request.disconnected(error, pieces, now));
    }

    /// The bytes to write to the connection.
    pub fn outgoing(&self) -> &[u8] {
        self.request.as_ref().map_or(&[], |request| request.outgoing())
    }

    /// The connection took so many bytes of [`PassedAnswer::outgoing`]; `None` if it takes nothing more.
    pub fn wrote(&mut self, bytes: Option<usize>) {
        if let Some(request) = &mut self.request {
            request.wrote(bytes);
        }
    }

    /// Takes bytes of the connection.
    pub fn received(&mut self, bytes: &[u8], now: MonoTime) {
        self.with_pieces(|request, pieces| request.received(bytes, pieces, now));
        // A whole answer is taken from the pipe when it is over.
        let may_pause = !self.has_ended && self.passing.form != PassingForm::Whole;
        self.is_paused = may_pause && self.passing.pipe.pause_if_full();
    }

    /// The pipe has room again: the socket is read on. Or all of an answer that has ended was taken.
    pub fn resume(&mut self, now: MonoTime) {
        self.is_over |= self.has_ended;
        if std::mem::take(&mut self.is_paused)
            && let Some(request) = &mut self.request
        {
            request.resumed(now);
        }
    }

    /// Ends waits that are over.
    pub fn tick(&mut self, now: MonoTime) {
        if !self.is_paused {
            self.with_pieces(|request, pieces| request.tick(pieces, now));
        }
    }

    /// Ends the answer with an error. The connection to the upstream is closed by the next [`PassedAnswer::poll`].
    pub fn stop(&mut self, error: CompletionError) {
        if self.has_ended {
            return;
        }
        if let Some(request) = &mut self.request {
            request.stop();
        }
        self.count_so_far();
        self.end(Err(error));
    }

    /// Ends the answer, whose client is gone.
    pub fn abort(&mut self) {
        self.stop(CompletionError::shutting_down());
        self.is_over = true;
    }

    /// Ends the answer, which has the most of a memory that is full.
    pub(crate) fn give_way(&mut self) {
        self.stop(client_error(&Failure::no_room()));
        if self.passing.pipe.waiting_bytes() > 0 {
            self.announces |= self.passing.pipe.cut();
        }
        self.is_over = true;
    }

    /// Lets the request do something, and passes on what it receives.
    fn with_pieces(&mut self, step: impl FnOnce(&mut ModelRequest, &mut AnswerPieces)) {
        let Some(request) = self.request.as_mut().filter(|_| !self.has_ended) else { return };
        let mut pieces = AnswerPieces::default();
        step(request, &mut pieces);
        self.announces |= self.passing.pipe.write(pieces.passed.as_bytes());
    }

    fn ended(&mut self, ended: Result<Completion, Failure>) {
        if self.has_ended {
            return;
        }
        match ended {
            Ok(completion) => {
                self.counts = Some(completion.usage());
                if let PassingForm::Stream { .. } = self.passing.form {
                    self.announces |= self.passing.pipe.write(DONE);
                }
                self.end(Ok(()));
            }
            Err(failure) => {
                log::warn!("an answer that is passed on failed: {}", failure.message);
                self.count_so_far();
                self.end(Err(client_error(&failure)));
            }
        }
    }

    /// Counts what the model has told of an answer that is not complete.
    fn count_so_far(&mut self) {
        let completion = self.request.as_ref().map(ModelRequest::completion).unwrap_or_default();
        if completion != Completion::default() {
            self.counts = Some(completion.usage());
        }
    }

    fn end(&mut self, end: Result<(), CompletionError>) {
        (self.has_ended, self.is_paused) = (true, false);
        self.announces |= self.passing.pipe.end(end);
        self.is_over |= self.passing.pipe.waiting_bytes() == 0;
    }
}

/// The error for a client. The server's own credentials are none of its business, so their rejection is no `401`.
fn client_error(failure: &Failure) -> CompletionError {
    let (status, code) = match failure.kind {
        _ if failure.context_too_long => (400, "context_length_exceeded"),
        FailureKind::Status(429) if failure.retryable => (429, "rate_limit_exceeded"),
        FailureKind::Status(status @ (400 | 404 | 409 | 413 | 415 | 422)) => (status, "upstream_rejected_request"),
        FailureKind::Status(401..=403 | 429) => (502, "upstream_unavailable"),
        _ if failure.is_loading => (503, "model_loading"),
        FailureKind::CircuitOpen | FailureKind::NoRoom => (503, "service_unavailable"),
        FailureKind::Timeout => (504, "upstream_timeout"),
        FailureKind::Connect => (502, "upstream_unreachable"),
        _ => (502, "upstream_error"),
    };
    CompletionError {
        retry_after_seconds: failure.retry_after.map(|wait| wait.as_secs_f64().ceil().max(1.0) as u64),
        // Of other failures, this server has tried again itself.
        should_retry: matches!(status, 429 | 503),
        ..CompletionError::new(status, code, failure.message.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn failures_have_the_status_by_which_clients_judge_them() {
        let status = |status| Failure::status(status, Some("words"), &[]);
        let table = [
            (status(400), 400, false),
            (status(401), 502, false),
            (status(402), 502, false),
            (status(403), 502, false),
            (status(404), 404, false),
            (status(422), 422, false),
            (status(429), 429, true),
            (Failure { retryable: false, ..status(429) }, 502, false),
            (status(500), 502, false),
            (status(503), 502, false),
            (Failure { is_loading: true, ..status(503) }, 503, true),
            (Failure { context_too_long: true, retryable: false, ..status(500) }, 400, false),
            (Failure::connect(), 502, false),
            (Failure::timeout("late", false), 504, false),
            (Failure::circuit_open(Duration::from_millis(1500)), 503, true),
            (Failure::reported(None, Some(401), false, &[]), 502, false),
        ];
        for (failure, expected, should_retry) in table {
            let error = client_error(&failure);
            assert_eq!((error.status, error.should_retry), (expected, should_retry), "{failure:?}");
        }
        assert_eq!(client_error(&Failure::circuit_open(Duration::from_millis(1500))).retry_after_seconds, Some(2));
    }
}
