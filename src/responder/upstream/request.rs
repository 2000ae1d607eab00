//! One HTTP request to the server of a model, and its response: a state machine without a socket and without a clock.
//!
//! Order of calls: [`UpstreamRequest::connected`] once, or the request is dropped; then any of [`UpstreamRequest::wrote`],
//! [`UpstreamRequest::write_failed`], [`UpstreamRequest::received`], [`UpstreamRequest::closed`] and [`UpstreamRequest::tick`]. After each, what
//! [`UpstreamRequest::outgoing`] returns is to be written, and [`UpstreamRequest::poll_timeout`] tells when to call `tick`. The first
//! [`ResponseEnd`] is the last: the connection is to be closed then.
//!
//! Invariant: every wait has a deadline. What is kept of the response is bounded: one head, or one error body, or what the
//! reader of the answer keeps.

use super::{Timeouts, Transport, Upstream};
use crate::base::limits::{UPSTREAM_BODY_BYTES_MAX, UPSTREAM_ERROR_BYTES_MAX, UPSTREAM_HEAD_BYTES_MAX};
use crate::base::time::MonoTime;
use crate::domain::passing::PassingForm;
use crate::http1::body::BodyReader;
use crate::http1::response_parse::{BodyEnd, ReceivedHead, parse_response_head};
use crate::responder::openai::{AnswerPieces, AnswerReader, ReadProgress};
use crate::responder::{Completion, Failure};
use std::sync::Arc;

/// How a request ended.
#[derive(Debug)]
pub(crate) enum ResponseEnd {
    /// The answer is complete.
    Finished(Completion),
    /// The response has an error status. It comes with the beginning of its body.
    Rejected { head: ReceivedHead, body: Vec<u8> },
    /// The answer is not complete.
    Failed(Failure),
}

impl From<Result<Completion, Failure>> for ResponseEnd {
    fn from(result: Result<Completion, Failure>) -> ResponseEnd {
        match result {
            Ok(completion) => ResponseEnd::Finished(completion),
            Err(failure) => ResponseEnd::Failed(failure),
        }
    }
}

/// A request and its response.
#[derive(Debug)]
pub(crate) struct UpstreamRequest {
    transport: Transport,
    timeouts: Timeouts,
    state: HttpState,
    /// The end of the present wait.
    until: MonoTime,
    /// The end of all waits, if there is one.
    deadline: Option<MonoTime>,
    /// What the model reported before the end of the response.
    last_completion: Option<Completion>,
}

#[derive(Debug)]
enum HttpState {
    /// The socket is not connected yet. Next: Head.
    Connecting { request: Vec<u8>, reader: AnswerReader },
    /// The request is being sent, and the head received. Next: Body, ErrorBody.
    Head { received: Vec<u8>, reader: AnswerReader },
    /// The body is being received. `has_begun` tells whether any byte of it was.
    Body { body: ResponseBody, reader: AnswerReader, has_begun: bool },
    /// The body of an error is being received.
    ErrorBody { body: ResponseBody, head: ReceivedHead, received: Vec<u8> },
    /// The end was returned.
    Over,
}

impl UpstreamRequest {
    /// A request that sends this body as soon as its socket is connected. All of it ends before `deadline`. `passing` is set if the
    /// answer is passed on in this form.
    ///
    /// # Errors
    /// Fails if no encrypted connection can be prepared.
    pub(crate) fn new(
        upstream: &Upstream,
        body: &[u8],
        passing: Option<PassingForm>,
        now: MonoTime,
        deadline: Option<MonoTime>,
    ) -> Result<UpstreamRequest, Failure> {
        let settings = upstream.settings();
        let transport = upstream.transport().map_err(|error| Failure::connect().with_detail(error))?;
        let reader = AnswerReader::new(Arc::clone(upstream.secrets()));
        let reader = match passing {
            Some(form) => reader.passing(form),
            None => reader,
        };
        let mut request = UpstreamRequest {
            transport,
            timeouts: settings.timeouts,
            state: HttpState::Connecting { request: upstream.request(body), reader },
            until: now,
            deadline,
            last_completion: None,
        };
        request.wait(settings.timeouts.connect_milliseconds, now);
        Ok(request)
    }

    /// The bytes to write.
    pub(crate) fn outgoing(&self) -> &[u8] {
        self.transport.outgoing()
    }

    /// Whether the server accepted the request: the response has a status of success.
    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self.state, HttpState::Body { .. })
    }

    /// What the model reported about the answer so far.
    pub(crate) fn completion(&self) -> Option<&Completion> {
        match &self.state {
            HttpState::Body { reader, .. } => Some(reader.completion()),
            _ => self.last_completion.as_ref(),
        }
    }

    /// The bytes of the request and the response that are kept.
    pub(crate) fn held_bytes(&self) -> usize {
        let state = match &self.state {
            HttpState::Connecting { request, .. } => request.len(),
            HttpState::Head { received, .. } | HttpState::ErrorBody { received, .. } => received.len(),
            HttpState::Body { reader, .. } => reader.buffered_bytes(),
            HttpState::Over => 0,
        };
        self.transport.outgoing().len() + state
    }

    /// When to call [`UpstreamRequest::tick`] at the latest.
    pub(crate) fn poll_timeout(&self) -> MonoTime {
        self.until
    }

    /// The socket is connected.
    pub(crate) fn connected(&mut self, now: MonoTime) -> Option<ResponseEnd> {
        let HttpState::Connecting { request, reader } = std::mem::replace(&mut self.state, HttpState::Over) else {
            panic!("a socket connects once");
        };
        self.state = HttpState::Head { received: Vec::new(), reader };
        if let Err(error) = self.transport.send(request) {
            return self.end(Failure::connect().with_detail(error));
        }
        self.await_first_byte(now);
        None
    }

    /// The socket took so many bytes of [`UpstreamRequest::outgoing`].
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.transport.wrote(bytes);
    }

    /// The socket takes nothing more. A server may reject a request before it has read all of it, so the response still counts.
    pub(crate) fn write_failed(&mut self) {
        self.transport.discard();
    }

    /// Takes bytes of the socket.
    pub(crate) fn received(&mut self, raw: &[u8], now: MonoTime, pieces: &mut AnswerPieces) -> Option<ResponseEnd> {
        let was_handshaking = self.transport.is_handshaking();
        let bytes = match self.transport.receive(raw) {
            Ok(bytes) => bytes,
            Err(error) if was_handshaking => return self.end(Failure::connect().with_detail(error)),
            Err(error) => return self.closed(Some(error), pieces),
        };
        if was_handshaking && !self.transport.is_handshaking() {
            self.await_first_byte(now);
        }
        if bytes.is_empty() {
            return None;
        }
        match &mut self.state {
            HttpState::Head { received, .. } => {
                received.extend_from_slice(&bytes);
                self.read_head(now, pieces)
            }
            HttpState::Body { .. } => self.read_body(&bytes, now, pieces),
            HttpState::ErrorBody { .. } => self.read_error(&bytes),
            HttpState::Connecting { .. } | HttpState::Over => None,
        }
    }

    /// The peer has ended the connection, or it broke with this error.
    pub(crate) fn closed(&mut self, error: Option<String>, pieces: &mut AnswerPieces) -> Option<ResponseEnd> {
        let detail = |failure: Failure| match &error {
            Some(error) => failure.with_detail(error),
            None => failure,
        };
        match std::mem::replace(&mut self.state, HttpState::Over) {
            HttpState::Over => None,
            HttpState::Connecting { .. } => self.end(detail(Failure::connect())),
            HttpState::Head { .. } if self.transport.is_handshaking() => self.end(detail(Failure::connect())),
            HttpState::Head { .. } => {
                self.end(detail(Failure::connection_lost().with_detail("there is no whole head")))
            }
            // A whole body has already ended the request.
            HttpState::Body { reader, .. } => Some(self.end_reader(reader, false, pieces).map_err(detail).into()),
            HttpState::ErrorBody { head, received, .. } => Some(ResponseEnd::Rejected { head, body: received }),
        }
    }

    /// The socket is read again, after a time in which it was not.
    pub(crate) fn resumed(&mut self, now: MonoTime) {
        if matches!(self.state, HttpState::Body { .. }) {
            self.wait(self.timeouts.between_bytes_milliseconds, now);
        }
    }

    /// Ends the request if its wait is over.
    pub(crate) fn tick(&mut self, now: MonoTime, pieces: &mut AnswerPieces) -> Option<ResponseEnd> {
        if now < self.until {
            return None;
        }
        let is_past_deadline = self.deadline.is_some_and(|deadline| deadline <= now);
        let late = |message, retryable| match is_past_deadline {
            true => Failure::timeout("The answer took too long", false),
            false => Failure::timeout(message, retryable),
        };
        let is_connecting = self.transport.is_handshaking();
        match std::mem::replace(&mut self.state, HttpState::Over) {
            HttpState::Over => None,
            HttpState::ErrorBody { head, received, .. } => Some(ResponseEnd::Rejected { head, body: received }),
            HttpState::Connecting { .. } => {
                self.end(late("The model's server did not accept a connection in time", true))
            }
            HttpState::Head { .. } if is_connecting => {
                self.end(late("The model's server did not accept a connection in time", true))
            }
            // The model has the request, so another would only make it work twice.
            HttpState::Head { .. } | HttpState::Body { has_begun: false, .. } => {
                self.end(late("The model did not begin to answer in time", false))
            }
            // If the text has its finish reason, the server keeps the connection open, and the answer is complete.
            HttpState::Body { reader, .. } => {
                let ended = self.end_reader(reader, false, pieces);
                Some(ended.map_err(|_| late("The model stopped in the middle of its answer", false)).into())
            }
        }
    }

    fn read_head(&mut self, now: MonoTime, pieces: &mut AnswerPieces) -> Option<ResponseEnd> {
        let HttpState::Head { received, .. } = &mut self.state else { return None };
        let head = match parse_response_head(received, UPSTREAM_HEAD_BYTES_MAX) {
            Ok(Some(head)) => head,
            Ok(None) => return None,
            Err(error) => return self.end(Failure::invalid_response(format!("the response's head: {}", error.0))),
        };
        let HttpState::Head { received, reader } = std::mem::replace(&mut self.state, HttpState::Over) else {
            unreachable!("the state was Head");
        };
        let body = match ResponseBody::new(&head) {
            Ok(body) => body,
            Err(failure) => return self.end(failure),
        };
        let rest = &received[head.bytes..];
        if !(200..300).contains(&head.status) {
            self.wait(self.timeouts.between_bytes_milliseconds, now);
            self.state = HttpState::ErrorBody { body, head, received: Vec::new() };
            return self.read_error(rest);
        }
        if head.is_encoded {
            return self.end(Failure::invalid_response("the response is compressed, which was not requested"));
        }
        self.state = HttpState::Body { body, reader, has_begun: false };
        self.read_body(rest, now, pieces)
    }

    fn read_body(&mut self, raw: &[u8], now: MonoTime, pieces: &mut AnswerPieces) -> Option<ResponseEnd> {
        let HttpState::Body { body, reader, has_begun } = &mut self.state else { return None };
        let mut bytes = Vec::new();
        if let Err(failure) = body.read(raw, &mut bytes) {
            return self.end(failure);
        }
        if bytes.is_empty() {
            return if body.is_done() { self.finish(pieces) } else { None };
        }
        *has_begun = true;
        let (had_finish_reason, bytes_before) = (reader.has_finish_reason(), pieces.bytes());
        match reader.read(&bytes, pieces) {
            Ok(ReadProgress::More) if !body.is_done() => {}
            Ok(_) => return self.finish(pieces),
            Err(failure) => return self.end(failure),
        }
        // Text may follow a finish reason, but what is not text does not keep the answer open.
        if !(had_finish_reason && reader.has_finish_reason()) || pieces.bytes() > bytes_before {
            self.wait(self.timeouts.between_bytes_milliseconds, now);
        }
        None
    }

    fn finish(&mut self, pieces: &mut AnswerPieces) -> Option<ResponseEnd> {
        let HttpState::Body { reader, .. } = std::mem::replace(&mut self.state, HttpState::Over) else {
            unreachable!("an answer finishes in its body");
        };
        Some(self.end_reader(reader, true, pieces).into())
    }

    fn end_reader(
        &mut self,
        reader: AnswerReader,
        is_whole: bool,
        pieces: &mut AnswerPieces,
    ) -> Result<Completion, Failure> {
        self.last_completion = Some(reader.completion().clone());
        reader.end(is_whole, pieces)
    }

    /// The whole body of an error has the time of one wait.
    fn read_error(&mut self, raw: &[u8]) -> Option<ResponseEnd> {
        let HttpState::ErrorBody { body, received, .. } = &mut self.state else { return None };
        // A body that cannot be read any further is still an error.
        let is_over = body.read(raw, received).is_err() || body.is_done() || received.len() >= UPSTREAM_ERROR_BYTES_MAX;
        if !is_over {
            return None;
        }
        match std::mem::replace(&mut self.state, HttpState::Over) {
            HttpState::ErrorBody { head, received, .. } => Some(ResponseEnd::Rejected { head, body: received }),
            _ => unreachable!("the state was ErrorBody"),
        }
    }

    fn end(&mut self, failure: Failure) -> Option<ResponseEnd> {
        self.last_completion = self.completion().cloned();
        self.state = HttpState::Over;
        Some(ResponseEnd::Failed(failure))
    }

    fn await_first_byte(&mut self, now: MonoTime) {
        // The handshake is part of connecting.
        if !self.transport.is_handshaking() {
            self.wait(self.timeouts.first_byte_milliseconds, now);
        }
    }

    fn wait(&mut self, milliseconds: u64, now: MonoTime) {
        let until = now.plus_milliseconds(milliseconds);
        self.until = self.deadline.map_or(until, |deadline| deadline.min(until));
    }
}

/// A response body, without its framing.
#[derive(Debug)]
struct ResponseBody {
    /// `None` if the body ends with the connection.
    reader: Option<BodyReader>,
    bytes: u64,
}

impl ResponseBody {
    fn new(head: &ReceivedHead) -> Result<ResponseBody, Failure> {
        let reader = match head.body {
            BodyEnd::UntilClose => None,
            BodyEnd::Framed(framing) => {
                Some(BodyReader::for_response(framing, UPSTREAM_BODY_BYTES_MAX).map_err(unreadable)?)
            }
        };
        Ok(ResponseBody { reader, bytes: 0 })
    }

    fn is_done(&self) -> bool {
        self.reader.as_ref().is_some_and(BodyReader::is_done)
    }

    /// Appends the content of `raw` to `out`, perhaps nothing.
    fn read(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        if self.is_done() {
            return Ok(());
        }
        self.bytes += raw.len() as u64;
        if self.bytes > UPSTREAM_BODY_BYTES_MAX {
            return Err(Failure::invalid_response("the answer is too large"));
        }
        match &mut self.reader {
            Some(reader) => reader.read(raw, out).map(drop).map_err(unreadable),
            None => {
                out.extend_from_slice(raw);
                Ok(())
            }
        }
    }
}

fn unreadable(error: crate::http1::body::BodyError) -> Failure {
    Failure::invalid_response(format!("the response's body: {error:?}"))
}
