//! One question to a model, with all attempts: the permit of the breaker, the HTTP request, retries and pauses. It has no socket
//! and no clock.
//!
//! Order of calls: [`ModelRequest::poll`] until it returns `None`, after each call of another method and when
//! [`ModelRequest::poll_timeout`] says. Each [`ModelEffect`] names the method that takes its result.
//!
//! Invariant: after text or reasoning was received, nothing is retried. At most one connection is open: `Close` comes before the
//! next `Connect`.

use super::breaker::PermitOutcome;
use super::openai::{self, AnswerPieces};
use super::retry::{Attempts, NextAttempt};
use super::upstream::{PermitGuard, ResponseEnd, Upstream, UpstreamRequest};
use super::{Completion, Failure};
use crate::base::random::Random;
use crate::base::time::{MonoTime, Now, WallTime};
use crate::domain::passing::PassingForm;
use std::collections::VecDeque;
use std::sync::Arc;

/// An action for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelEffect {
    /// Make the body of the request. Next: [`ModelRequest::prepared`].
    Prepare {
        /// How often the older half of the messages is left out.
        halvings: u32,
        /// Whether the model is asked for token counts.
        counts_tokens: bool,
    },
    /// Open a connection. Next: [`ModelRequest::connected`] or [`ModelRequest::disconnected`].
    Connect,
    /// Close the connection.
    Close,
    /// Another attempt follows after so many milliseconds.
    Retrying(u64),
    /// The request is over.
    Ended(Result<Completion, Failure>),
}

/// One question to a model.
#[derive(Debug)]
pub struct ModelRequest {
    upstream: Arc<Upstream>,
    /// Set if the answer is passed on.
    passing: Option<PassingForm>,
    state: RequestState,
    /// Attempts that have failed, without those at which the model was loading or the context too long.
    attempts: u32,
    /// How often the older half of the messages was left out.
    halvings: u32,
    /// Whether the breaker counts a failure of this request already.
    is_counted: bool,
    has_received: bool,
    /// This request does not ask for token counts, because the server seems to reject them.
    omits_token_counts: bool,
    last_completion: Completion,
    began: Option<MonoTime>,
    last_failure: Option<Failure>,
    /// Both clocks at one moment, by which dates of the upstream are judged.
    clock: Option<Now>,
    random: Random,
    effects: VecDeque<ModelEffect>,
}

#[derive(Debug)]
enum RequestState {
    /// An attempt begins as soon as the breaker permits. Next: Preparing, Over.
    New,
    /// Call: prepared. Next: Requesting, Over.
    Preparing(PermitGuard),
    /// Next: New, Pausing, Over.
    /// The permit is settled with the first text.
    Requesting(Option<PermitGuard>, Box<UpstreamRequest>),
    /// Next: New.
    Pausing { until: MonoTime },
    /// Nothing more is done.
    Over,
}

impl ModelRequest {
    /// A request whose pauses are spread at random by `random`.
    pub fn new(upstream: Arc<Upstream>, random: Random) -> ModelRequest {
        ModelRequest {
            upstream,
            passing: None,
            state: RequestState::New,
            attempts: 0,
            halvings: 0,
            is_counted: false,
            has_received: false,
            omits_token_counts: false,
            last_completion: Completion::default(),
            began: None,
            last_failure: None,
            clock: None,
            random,
            effects: VecDeque::new(),
        }
    }

    /// This request for an answer that is passed on in this form.
    pub(crate) fn passing(self, form: PassingForm) -> ModelRequest {
        ModelRequest { passing: Some(form), ..self }
    }

    /// Sets the clocks by which dates of the upstream are judged. Without them, a date counts only beside the upstream's own.
    pub fn set_clock(&mut self, now: Now) {
        self.clock = Some(now);
    }

    /// The next action; `None` until another call or until [`ModelRequest::poll_timeout`].
    pub fn poll(&mut self, now: MonoTime) -> Option<ModelEffect> {
        if self.effects.is_empty() {
            self.advance(now);
        }
        self.effects.pop_front()
    }

    /// When [`ModelRequest::poll`] or [`ModelRequest::tick`] has something to do, if nothing else happens until then.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        match &self.state {
            RequestState::Requesting(_, http) => Some(http.poll_timeout()),
            RequestState::Pausing { until } => Some(*until),
            RequestState::New | RequestState::Preparing(_) | RequestState::Over => None,
        }
    }

    /// Takes the body of the request; `None` if there is no shorter one than the last.
    pub fn prepared(&mut self, body: Option<&[u8]>, now: MonoTime) {
        let RequestState::Preparing(permit) = std::mem::replace(&mut self.state, RequestState::Over) else {
            panic!("a request is prepared when it was asked for");
        };
        let Some(body) = body else {
            let failure = self.last_failure.take().expect("the first attempt has all messages");
            return self.end(Err(failure));
        };
        match UpstreamRequest::new(&self.upstream, body, self.passing, now, self.deadline()) {
            Ok(http) => {
                self.state = RequestState::Requesting(Some(permit), Box::new(http));
                self.effects.push_back(ModelEffect::Connect);
            }
            Err(failure) => self.attempt_failed(Some(permit), failure, now),
        }
    }

    /// The bytes of the request and the response that are kept.
    pub(crate) fn held_bytes(&self) -> usize {
        match &self.state {
            RequestState::Requesting(_, http) => http.held_bytes(),
            _ => 0,
        }
    }

    /// The connection is open.
    pub fn connected(&mut self, now: MonoTime) {
        self.step(now, |http, _| http.connected(now));
    }

    /// The connection has ended, or broke, or could not be opened, with this error.
    pub fn disconnected(&mut self, error: Option<String>, pieces: &mut AnswerPieces, now: MonoTime) {
        self.step_into(pieces, now, |http, pieces| http.closed(error, pieces));
    }

    /// The bytes to write.
    pub fn outgoing(&self) -> &[u8] {
        match &self.state {
            RequestState::Requesting(_, http) => http.outgoing(),
            _ => &[],
        }
    }

    /// The connection took so many bytes of [`ModelRequest::outgoing`]; `None` if it takes nothing more.
    pub fn wrote(&mut self, bytes: Option<usize>) {
        if let RequestState::Requesting(_, http) = &mut self.state {
            match bytes {
                Some(bytes) => http.wrote(bytes),
                None => http.write_failed(),
            }
        }
    }

    /// Takes bytes of the connection.
    pub fn received(&mut self, bytes: &[u8], pieces: &mut AnswerPieces, now: MonoTime) {
        self.step_into(pieces, now, |http, pieces| http.received(bytes, now, pieces));
    }

    /// The connection is read again, after a time in which it was not.
    pub(crate) fn resumed(&mut self, now: MonoTime) {
        if let RequestState::Requesting(_, http) = &mut self.state {
            http.resumed(now);
        }
    }

    /// Ends waits that are over.
    pub fn tick(&mut self, pieces: &mut AnswerPieces, now: MonoTime) {
        self.step_into(pieces, now, |http, pieces| http.tick(now, pieces));
    }

    /// Ends the request at once, without a result.
    pub fn stop(&mut self) {
        self.last_completion = self.completion();
        let has_connection = matches!(self.state, RequestState::Requesting(..));
        self.state = RequestState::Over;
        self.effects.retain(|effect| *effect == ModelEffect::Close);
        if has_connection {
            self.effects.push_back(ModelEffect::Close);
        }
    }

    fn step(
        &mut self,
        now: MonoTime,
        step: impl FnOnce(&mut UpstreamRequest, &mut AnswerPieces) -> Option<ResponseEnd>,
    ) {
        self.step_into(&mut AnswerPieces::default(), now, step);
    }

    /// What the model reported about the answer so far, in the last attempt.
    pub(crate) fn completion(&self) -> Completion {
        match &self.state {
            RequestState::Requesting(_, http) => http.completion().cloned().unwrap_or_default(),
            _ => self.last_completion.clone(),
        }
    }

    fn step_into(
        &mut self,
        pieces: &mut AnswerPieces,
        now: MonoTime,
        step: impl FnOnce(&mut UpstreamRequest, &mut AnswerPieces) -> Option<ResponseEnd>,
    ) {
        let RequestState::Requesting(permit, http) = &mut self.state else { return };
        let bytes_before = pieces.bytes();
        let end = step(http, pieces);
        self.has_received |= pieces.bytes() > bytes_before;
        if self.omits_token_counts && (http.is_accepted() || matches!(end, Some(ResponseEnd::Finished(_)))) {
            self.upstream.reject_token_counts();
        }
        // The server works, however long the rest of the answer takes.
        if self.has_received
            && let Some(permit) = permit.take()
        {
            permit.settle(PermitOutcome::Success, now);
        }
        let Some(end) = end else { return };
        self.last_completion = http.completion().cloned().unwrap_or_default();
        let RequestState::Requesting(permit, _) = std::mem::replace(&mut self.state, RequestState::Over) else {
            unreachable!("a request has ended");
        };
        self.effects.push_back(ModelEffect::Close);
        match end {
            ResponseEnd::Finished(completion) => {
                permit.into_iter().for_each(|permit| permit.settle(PermitOutcome::Success, now));
                self.end(Ok(completion));
            }
            ResponseEnd::Failed(failure) => self.attempt_failed(permit, failure, now),
            ResponseEnd::Rejected { head, body }
                if self.counts_tokens() && openai::rejects_token_counts(head.status, &body) =>
            {
                // The words may be those of a user. If the next request succeeds, they were the server's.
                self.omits_token_counts = true;
                self.state = RequestState::New;
            }
            ResponseEnd::Rejected { head, body } => {
                let wall = self.clock.map(|clock| WallTime(clock.wall.0.saturating_add(now.since(clock.mono) as i64)));
                let failure = openai::error_response(&head, &body, self.upstream.secrets(), wall);
                self.attempt_failed(permit, failure, now);
            }
        }
    }

    /// Begins an attempt, if one is due.
    fn advance(&mut self, now: MonoTime) {
        if let RequestState::Pausing { until } = self.state
            && until <= now
        {
            self.state = RequestState::New;
        }
        if !matches!(self.state, RequestState::New) {
            return;
        }
        self.began.get_or_insert(now);
        match PermitGuard::new(&self.upstream, now) {
            Ok(permit) => {
                self.state = RequestState::Preparing(permit);
                let counts_tokens = self.counts_tokens();
                self.effects.push_back(ModelEffect::Prepare { halvings: self.halvings, counts_tokens });
            }
            Err(rest) => {
                let failure = self.last_failure.take().unwrap_or_else(|| Failure::circuit_open(rest));
                self.end(Err(failure));
            }
        }
    }

    /// Whether the model is asked for token counts.
    fn counts_tokens(&self) -> bool {
        self.upstream.counts_tokens() && !self.omits_token_counts
    }

    fn attempt_failed(&mut self, permit: Option<PermitGuard>, failure: Failure, now: MonoTime) {
        if let Some(permit) = permit {
            let outcome = failure.outcome();
            permit.settle_attempt(outcome, self.is_counted, now);
            self.is_counted |= outcome == PermitOutcome::Failure;
        }
        self.attempts += 1;
        let next = self.next_attempt(&failure, now);
        log::warn!(
            "attempt {} to get an answer failed, {next}: {}; {}",
            self.attempts,
            failure.message,
            failure.detail
        );
        match next {
            NextAttempt::Never => return self.end(Err(failure)),
            NextAttempt::Shorter => {
                self.attempts -= 1;
                self.halvings += 1;
                self.state = RequestState::New;
            }
            NextAttempt::After(pause) => self.pause(pause, now),
            NextAttempt::AfterLoading(pause) => {
                self.attempts -= 1;
                self.pause(pause, now);
            }
        }
        self.last_failure = Some(failure);
    }

    /// What follows the attempt that failed: nothing, if it would begin after the end of all attempts.
    fn next_attempt(&mut self, failure: &Failure, now: MonoTime) -> NextAttempt {
        let settings = self.upstream.settings();
        let loading_until = self.began.unwrap_or(now).plus_milliseconds(settings.timeouts.first_byte_milliseconds);
        let attempts = Attempts { count: self.attempts, has_received: self.has_received, loading_until };
        let next = settings.retry.next_attempt(attempts, failure, now, &mut self.random);
        let begins = now.plus_milliseconds(next.pause());
        if self.deadline().is_some_and(|deadline| deadline <= begins) { NextAttempt::Never } else { next }
    }

    fn pause(&mut self, milliseconds: u64, now: MonoTime) {
        self.state = RequestState::Pausing { until: now.plus_milliseconds(milliseconds) };
        self.effects.push_back(ModelEffect::Retrying(milliseconds));
    }

    fn end(&mut self, result: Result<Completion, Failure>) {
        self.state = RequestState::Over;
        self.effects.push_back(ModelEffect::Ended(result));
    }

    /// The end of all attempts, if the settings have one.
    fn deadline(&self) -> Option<MonoTime> {
        let milliseconds = self.upstream.settings().timeouts.total_milliseconds?;
        Some(self.began?.plus_milliseconds(milliseconds))
    }
}

#[cfg(test)]
mod tests;
