//! The server of a model: its settings, its circuit breaker, and requests to it.
//!
//! [`UpstreamRequest`] is one request and its response, without a socket: bytes and time in, bytes and deadlines out.

mod request;
mod settings;
mod transport;

use super::breaker::{Breaker, Permit, PermitOutcome, Position};
use super::context::ModelContext;
use super::openai;
use crate::base::metrics;
use crate::base::time::MonoTime;
use crate::config::types::Secret;
use crate::config::upstream_address::secret_parameters;
use crate::domain::history::{AnswerSettings, History};
pub(crate) use request::{ResponseEnd, UpstreamRequest};
pub use settings::{Timeouts, UpstreamSettings};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use transport::Transport;

/// A model behind an OpenAI-compatible API, shared by all answers.
#[derive(Debug)]
pub struct Upstream {
    settings: UpstreamSettings,
    breaker: Mutex<Breaker>,
    /// The key, the values of the additional fields, and credentials in the query of the address: no text of the server is shown or logged with them.
    secrets: Arc<[Secret]>,
    /// It rejected a request for token counts, so later requests do not ask for them.
    token_counts_rejected: AtomicBool,
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
        let values = settings.headers.iter().map(|field| &field.value);
        let in_query = secret_parameters(&settings.address.target).map(Secret::new);
        let secrets = settings.api_key.iter().chain(values).cloned().chain(in_query).collect();
        Ok(Upstream {
            #[cfg(feature = "tls")]
            tls: settings
                .address
                .tls
                .then(|| super::tls::Tls::new(&settings.address, settings.ca_file.as_deref()))
                .transpose()?,
            settings,
            breaker,
            secrets,
            token_counts_rejected: AtomicBool::new(false),
        })
    }

    /// The settings.
    pub fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// What no text of the server is shown or logged with.
    pub(crate) fn secrets(&self) -> &Arc<[Secret]> {
        &self.secrets
    }

    /// The state of the breaker.
    pub fn position(&self) -> Position {
        self.breaker().position()
    }

    /// Whether requests ask for token counts.
    pub(crate) fn counts_tokens(&self) -> bool {
        !self.token_counts_rejected.load(Ordering::Relaxed)
    }

    /// Records that the server rejects requests for token counts.
    pub(crate) fn reject_token_counts(&self) {
        self.token_counts_rejected.store(true, Ordering::Relaxed);
    }

    /// The way that bytes take between an HTTP request and its socket.
    fn transport(&self) -> Result<Transport, String> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.session().map(Transport::encrypted);
        }
        Ok(Transport::plain())
    }

    /// Maximum bytes of text that are sent of a conversation.
    pub(crate) fn context_bytes_max(&self) -> usize {
        self.settings.context.bytes_max
    }

    /// The body of a request for the answer to the last turn of `history`. The older half of the context is left out as many
    /// times as `halvings` says; `None` if nothing was left to leave out.
    pub fn answer_body(&self, history: &History, halvings: u32, count_tokens: bool) -> Option<Vec<u8>> {
        let mut context = ModelContext::new(&self.settings.context, history);
        for _ in 0..halvings {
            context = context.shorter()?;
        }
        Some(openai::request_body(self.model(&history.settings), &history.settings, &context, count_tokens))
    }

    /// The model for a conversation with these settings: its own choice, if that is still allowed.
    fn model(&self, settings: &AnswerSettings) -> &str {
        let is_chosen = |model: &&Arc<str>| settings.model.as_ref() == Some(*model);
        self.settings.models.iter().find(is_chosen).map_or(&self.settings.model, |model| model)
    }

    /// The bytes of a request with this body.
    fn request(&self, body: &[u8]) -> Vec<u8> {
        let settings = &self.settings;
        let is_set = |name: &str| settings.headers.iter().any(|field| field.name.eq_ignore_ascii_case(name));
        let mut fields = String::new();
        if !is_set("User-Agent") {
            fields.push_str(concat!("User-Agent: cortex-core/", env!("CARGO_PKG_VERSION"), "\r\n"));
        }
        if let Some(key) = settings.api_key.as_ref().filter(|_| !is_set("Authorization")) {
            fields.extend(["Authorization: Bearer ", key.expose(), "\r\n"]);
        }
        for field in &settings.headers {
            fields.extend([&*field.name, ": ", field.value.expose(), "\r\n"]);
        }
        let mut request = format!(
            "POST {target} HTTP/1.1\r\n\
             Host: {host}\r\n\
             Accept: text/event-stream, application/json\r\n\
             Accept-Encoding: identity\r\n\
             Content-Type: application/json\r\n\
             Content-Length: {length}\r\n\
             {fields}Connection: close\r\n\r\n",
            target = settings.address.target,
            host = settings.address.authority,
            length = body.len(),
        )
        .into_bytes();
        request.extend_from_slice(body);
        request
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A permit of the breaker. It is settled when it is dropped, so that a lost one does not keep a breaker half open.
#[derive(Debug)]
pub(crate) struct PermitGuard {
    upstream: Arc<Upstream>,
    permit: Permit,
    outcome: PermitOutcome,
    settled_at: MonoTime,
}

impl PermitGuard {
    /// Requests a permit.
    ///
    /// # Errors
    /// Returns the time until the breaker admits a request.
    pub(crate) fn new(upstream: &Arc<Upstream>, now: MonoTime) -> Result<PermitGuard, Duration> {
        let permit = upstream.breaker().admit(now).map_err(|until| Duration::from_micros(until.since(now)))?;
        metrics::BREAKER.set(upstream.position() as u64);
        Ok(PermitGuard { upstream: Arc::clone(upstream), permit, outcome: PermitOutcome::Unknown, settled_at: now })
    }

    /// Reports the outcome of an attempt. A message whose failure `is_counted` already counts only as a probe.
    pub(crate) fn settle_attempt(self, outcome: PermitOutcome, is_counted: bool, now: MonoTime) {
        let is_probe = self.upstream.position() != Position::Closed;
        let counts = outcome != PermitOutcome::Failure || is_probe || !is_counted;
        self.settle(if counts { outcome } else { PermitOutcome::Unknown }, now);
    }

    /// Reports the outcome of the request.
    pub(crate) fn settle(mut self, outcome: PermitOutcome, now: MonoTime) {
        (self.outcome, self.settled_at) = (outcome, now);
    }
}

impl Drop for PermitGuard {
    fn drop(&mut self) {
        let before = self.upstream.position();
        self.upstream.breaker().settle(self.permit, self.outcome, self.settled_at);
        let after = self.upstream.position();
        if before != after {
            log::warn!("the circuit breaker of the upstream is {after:?} now, and was {before:?}");
        }
        metrics::BREAKER.set(after as u64);
    }
}
