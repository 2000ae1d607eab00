//! Sends requests to an upstream, reads its response, and retries. A thread shell: it owns sockets and reads the clock, on
//! the caller's thread.
//!
//! Invariant: every wait has a deadline, and checks in between whether the answer is still wanted. After text was shown,
//! nothing is retried.

mod connection;
mod settings;

use super::breaker::{Breaker, Permit, PermitOutcome, Position};
use super::openai::{self, AnswerReader, ReadProgress};
use super::{Completion, Failure, FailureKind, TextSink};
use crate::base::limits::*;
use crate::base::metrics;
use crate::base::random::Random;
use crate::base::time::MonoTime;
use crate::config::types::Secret;
use crate::domain::answer_job::Turn;
use crate::http1::response_parse::{ReceivedHead, parse_response_head};
use connection::{UpstreamConnection, Wait};
pub use settings::{Timeouts, UpstreamSettings};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Maximum bytes per read.
const READ_BYTES_MAX: usize = 16 * 1024;

/// A model behind an OpenAI-compatible API, shared by all threads that use it.
#[derive(Debug)]
pub struct Upstream {
    settings: UpstreamSettings,
    breaker: Mutex<Breaker>,
    /// It rejected a request for token counts, so later requests do not ask for them.
    token_counts_rejected: AtomicBool,
    /// The zero of the breaker's time.
    started: Instant,
    #[cfg(feature = "tls")]
    tls: Option<super::tls::Tls>,
}

impl Upstream {
    /// Validates the settings, and reads the trusted certificates of an `https` address.
    ///
    /// # Errors
    ///
    /// A sentence for the operator, which begins with the name of the variable.
    pub fn new(mut settings: UpstreamSettings) -> Result<Upstream, String> {
        let key_is_good = |key: &Secret| key.expose().bytes().all(|byte| byte.is_ascii_graphic());
        if !settings.api_key.as_ref().is_none_or(key_is_good) {
            return Err("RESPONDER_API_KEY is unusable: it must be ASCII without white space".into());
        }
        #[cfg(not(feature = "tls"))]
        if settings.address.tls {
            return Err("RESPONDER_URL begins with https, which needs a build with the cargo feature tls".into());
        }
        let breaker = Mutex::new(std::mem::take(&mut settings.breaker));
        Ok(Upstream {
            #[cfg(feature = "tls")]
            tls: settings
                .address
                .tls
                .then(|| super::tls::Tls::new(&settings.address, settings.ca_file.as_deref()))
                .transpose()?,
            settings,
            breaker,
            token_counts_rejected: AtomicBool::new(false),
            started: Instant::now(),
        })
    }

    /// The state of the breaker.
    pub fn position(&self) -> Position {
        self.breaker().position()
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> MonoTime {
        MonoTime(self.started.elapsed().as_micros() as u64)
    }

    fn key(&self) -> Option<&Secret> {
        self.settings.api_key.as_ref()
    }
}

/// Answers the last of `turns`, the messages of a conversation, oldest first. Blocks until the end of the answer, for at
/// most `total_milliseconds` plus the time that `sink` takes.
///
/// # Errors
///
/// The failure of the last attempt.
///
/// # Panics
///
/// If there is no turn.
pub fn answer(upstream: &Upstream, turns: &[Turn], sink: TextSink<'_>) -> Result<Completion, Failure> {
    assert!(!turns.is_empty(), "a message is answered");
    let mut random = Random::from_system();
    let deadline = Instant::now() + Duration::from_millis(upstream.settings.timeouts.total_milliseconds);
    let mut has_shown = false;
    let mut tries = 0;
    let mut last_failure = None;
    loop {
        let mut watched = |piece: &str| {
            has_shown |= !piece.is_empty();
            sink(piece)
        };
        let admission = match PermitGuard::new(upstream) {
            Ok(admission) => admission,
            Err(rest) => return Err(last_failure.unwrap_or_else(|| Failure::circuit_open(rest))),
        };
        tries += 1;
        let end = one_try(upstream, turns, deadline, &mut watched);
        admission.settle(end.as_ref().map_or_else(Failure::outcome, |_| PermitOutcome::Success));
        let failure = match end {
            Ok(finished) => return Ok(finished),
            Err(failure) => failure,
        };
        let pause = upstream.settings.retry.next_pause(tries, &failure, has_shown, &mut random);
        if failure.kind != FailureKind::Stopped {
            let next = pause.map(|pause| format!(", next in {pause} ms")).unwrap_or_default();
            log::warn!("try {tries} to get an answer failed{next}: {}; {}", failure.message, failure.detail);
        }
        let again_at = pause.and_then(|pause| Instant::now().checked_add(Duration::from_millis(pause)));
        match again_at {
            Some(at) if at < deadline => Wait::new(sink, at).rest()?,
            _ => return Err(failure),
        }
        last_failure = Some(failure);
    }
}

/// A permit that is settled when it is dropped, so that a lost one does not keep a breaker half open.
struct PermitGuard<'u> {
    upstream: &'u Upstream,
    permit: Permit,
    outcome: PermitOutcome,
}

impl<'u> PermitGuard<'u> {
    /// # Errors
    /// Returns the time until the breaker admits a request.
    fn new(upstream: &'u Upstream) -> Result<PermitGuard<'u>, Duration> {
        let now = upstream.now();
        let permit = upstream.breaker().admit(now).map_err(|until| Duration::from_micros(until.since(now)))?;
        metrics::BREAKER.set(upstream.position() as u64);
        Ok(PermitGuard { upstream, permit, outcome: PermitOutcome::Unknown })
    }

    fn settle(mut self, outcome: PermitOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for PermitGuard<'_> {
    fn drop(&mut self) {
        let before = self.upstream.position();
        let now = self.upstream.now();
        self.upstream.breaker().settle(self.permit, self.outcome, now);
        let after = self.upstream.position();
        if before != after {
            log::warn!("the circuit breaker of the upstream is {after:?} now, and was {before:?}");
        }
        metrics::BREAKER.set(after as u64);
    }
}

/// One attempt, or two if the upstream rejected only the request for token counts.
fn one_try(upstream: &Upstream, turns: &[Turn], deadline: Instant, sink: TextSink<'_>) -> Result<Completion, Failure> {
    let count_tokens = !upstream.token_counts_rejected.load(Ordering::Relaxed);
    match send_request(upstream, turns, count_tokens, deadline, sink)? {
        Attempt::Finished(finished) => Ok(finished),
        Attempt::Rejected { head, body } if count_tokens && openai::rejects_token_counts(head.status, &body) => {
            upstream.token_counts_rejected.store(true, Ordering::Relaxed);
            match send_request(upstream, turns, false, deadline, sink)? {
                Attempt::Finished(finished) => Ok(finished),
                Attempt::Rejected { head, body } => Err(rejection(upstream, &head, &body)),
            }
        }
        Attempt::Rejected { head, body } => Err(rejection(upstream, &head, &body)),
    }
}

fn rejection(upstream: &Upstream, head: &ReceivedHead, body: &[u8]) -> Failure {
    openai::error_response(head.status, body, head.retry_after_seconds, upstream.key())
}

enum Attempt {
    /// The answer is complete.
    Finished(Completion),
    /// An error status, with the beginning of its body.
    Rejected { head: ReceivedHead, body: Vec<u8> },
}

/// One request and its response, on a connection of its own.
fn send_request(
    upstream: &Upstream,
    turns: &[Turn],
    count_tokens: bool,
    deadline: Instant,
    sink: TextSink<'_>,
) -> Result<Attempt, Failure> {
    let timeouts = &upstream.settings.timeouts;
    let mut connection = connect(upstream, deadline, sink)?;
    let until = within(timeouts.first_byte_milliseconds, deadline);
    let is_late = || too_late(deadline, "The model did not begin to answer in time");

    // A server may reject a request before it has read all of it. Its response counts, not the failed write.
    let written = connection.write(&request(upstream, turns, count_tokens), &mut Wait::new(sink, until));
    if matches!(written, Err(connection::Broken::Late | connection::Broken::Stopped)) {
        return Err(written.unwrap_err().into_failure(is_late));
    }
    let (head, rest) =
        read_head(&mut connection, &mut Wait::new(sink, until)).map_err(|broken| broken.into_failure(is_late))?;
    let mut body = connection.body(&head, rest)?;
    if !(200..300).contains(&head.status) {
        let until = within(timeouts.between_bytes_milliseconds, deadline);
        let body = read_error(&mut body, &mut Wait::new(sink, until))?;
        return Ok(Attempt::Rejected { head, body });
    }
    if head.is_encoded {
        return Err(Failure::invalid_response("the response is compressed, which was not requested"));
    }
    read_answer(upstream, &mut body, until, deadline, sink).map(Attempt::Finished)
}

fn connect(upstream: &Upstream, deadline: Instant, sink: TextSink<'_>) -> Result<UpstreamConnection, Failure> {
    let until = within(upstream.settings.timeouts.connect_milliseconds, deadline);
    let mut wait = Wait::new(sink, until);
    let is_late = || too_late(deadline, "The model's server did not accept a connection in time");
    let connected = UpstreamConnection::open(&upstream.settings.address, &mut wait);
    #[cfg(feature = "tls")]
    let connected = connected.and_then(|connection| match &upstream.tls {
        Some(tls) => connection.encrypt(tls, &mut wait),
        None => Ok(connection),
    });
    connected.map_err(|broken| match broken {
        connection::Broken::Io(error) => Failure::connect().with_detail(error),
        other => other.into_failure(is_late),
    })
}

fn request(upstream: &Upstream, turns: &[Turn], count_tokens: bool) -> Vec<u8> {
    let settings = &upstream.settings;
    let body = openai::request_body(&settings.model, settings.system_prompt.as_deref(), turns, count_tokens);
    let authorization =
        settings.api_key.as_ref().map(|key| format!("Authorization: Bearer {}\r\n", key.expose())).unwrap_or_default();
    let mut request = format!(
        "POST {target} HTTP/1.1\r\n\
         Host: {host}\r\n\
         User-Agent: {agent}\r\n\
         Accept: text/event-stream, application/json\r\n\
         Accept-Encoding: identity\r\n\
         Content-Type: application/json\r\n\
         Content-Length: {length}\r\n\
         {authorization}Connection: close\r\n\r\n",
        target = upstream.settings.address.target,
        host = upstream.settings.address.authority,
        agent = concat!("cortex-core/", env!("CARGO_PKG_VERSION")),
        length = body.len(),
    )
    .into_bytes();
    request.extend_from_slice(&body);
    request
}

/// The head of the response, and the part of the body that was read with it.
fn read_head(
    connection: &mut UpstreamConnection,
    wait: &mut Wait<'_>,
) -> Result<(ReceivedHead, Vec<u8>), connection::Broken> {
    let mut bytes = Vec::new();
    loop {
        let head = parse_response_head(&bytes, UPSTREAM_HEAD_BYTES_MAX).map_err(|error| {
            connection::Broken::Failed(Failure::invalid_response(format!("the answer's head: {}", error.0)))
        })?;
        if let Some(head) = head {
            bytes.drain(..head.bytes);
            return Ok((head, bytes));
        }
        if connection.read(&mut bytes, wait)? == 0 {
            return Err(connection::Broken::Failed(Failure::connection_lost().with_detail("there is no whole head")));
        }
    }
}

/// The body of an error response, as far as it arrives.
fn read_error(body: &mut connection::Body<'_>, wait: &mut Wait<'_>) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while bytes.len() < UPSTREAM_ERROR_BYTES_MAX {
        match body.read(&mut bytes, wait) {
            Ok(true) => {}
            Err(connection::Broken::Stopped) => return Err(Failure::stopped()),
            Ok(false) | Err(_) => break,
        }
    }
    Ok(bytes)
}

fn read_answer(
    upstream: &Upstream,
    body: &mut connection::Body<'_>,
    first_byte_until: Instant,
    deadline: Instant,
    sink: TextSink<'_>,
) -> Result<Completion, Failure> {
    let timeouts = &upstream.settings.timeouts;
    let mut reader = AnswerReader::new(upstream.key().cloned());
    let mut progress = ReadProgress::More;
    let mut until = first_byte_until;
    let mut message = "The model did not begin to answer in time";
    let mut bytes = Vec::with_capacity(READ_BYTES_MAX);
    let mut polled_at = Instant::now();
    loop {
        bytes.clear();
        // While bytes keep arriving without text, no wait times out, so the sink is polled here.
        if polled_at.elapsed() >= Duration::from_millis(UPSTREAM_TICK_MILLISECONDS_MAX) {
            polled_at = Instant::now();
            if sink("") == ControlFlow::Break(()) {
                return Err(Failure::stopped());
            }
        }
        let whole = match body.read(&mut bytes, &mut Wait::new(sink, until)) {
            Ok(more) => !more,
            Err(connection::Broken::Stopped) => return Err(Failure::stopped()),
            // The text is complete, so whatever went wrong after it is no matter.
            Err(_) if progress == ReadProgress::TextEnded => return reader.end(false, sink),
            Err(broken) => return end_of_broken(broken, reader, sink, || too_late(deadline, message)),
        };
        if whole {
            return reader.end(body.is_framed(), sink);
        }
        if bytes.is_empty() {
            continue;
        }
        progress = reader.read(&bytes, sink)?;
        if progress == ReadProgress::Done {
            return reader.end(true, sink);
        }
        until = match progress {
            ReadProgress::TextEnded => until.min(within(timeouts.tail_milliseconds, deadline)),
            _ => within(timeouts.between_bytes_milliseconds, deadline),
        };
        message = "The model stopped in the middle of its answer";
    }
}

/// The text before a lost connection may be a complete answer.
fn end_of_broken(
    broken: connection::Broken,
    reader: AnswerReader,
    sink: TextSink<'_>,
    is_late: impl FnOnce() -> Failure,
) -> Result<Completion, Failure> {
    match broken {
        connection::Broken::Io(error) => reader.end(false, sink).map_err(|failure| failure.with_detail(error)),
        other => Err(other.into_failure(is_late)),
    }
}

/// The earlier of a timeout from now and the deadline.
fn within(milliseconds: u64, deadline: Instant) -> Instant {
    Instant::now().checked_add(Duration::from_millis(milliseconds)).map_or(deadline, |until| until.min(deadline))
}

fn too_late(deadline: Instant, message: &'static str) -> Failure {
    if Instant::now() >= deadline {
        return Failure::timeout("The answer took too long", false);
    }
    Failure::timeout(message, true)
}
