//! Failures of an upstream, with messages for clients.
//!
//! Invariant: no message or detail contains the API key or a piece of one, whatever the upstream sent. A message contains nothing about
//! this machine, and at most a short excerpt of the upstream's text, without control characters.

use super::breaker::PermitOutcome;
use super::redaction::redact;
use crate::base::limits::UPSTREAM_EXCERPT_CHARS_MAX;
use crate::config::types::Secret;
use std::time::Duration;

/// The kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// No connection could be opened.
    Connect,
    /// A wait, or the whole answer, took too long.
    Timeout,
    /// The connection ended in the middle.
    ConnectionLost,
    /// The response violates the protocol, or is too large.
    InvalidResponse,
    /// The upstream responded with this HTTP status.
    Status(u16),
    /// The upstream reported an error in place of the answer.
    Reported,
    /// The answer ended without text.
    Empty,
    /// The circuit breaker is open: no request was sent.
    CircuitOpen,
    /// The server had no memory left for the answer.
    NoRoom,
}

/// A failed attempt, or a failed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind of failure.
    pub kind: FailureKind,
    /// The message for clients.
    pub message: String,
    /// Details for the log, such as addresses and system errors. Not for clients.
    pub detail: String,
    /// The upstream's `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Whether another attempt could succeed, as long as nothing was shown.
    pub retryable: bool,
    /// The model is still being loaded.
    pub is_loading: bool,
    /// The request has more text than the model takes.
    pub context_too_long: bool,
    /// The upstream's own statement whether another attempt could succeed, which `retryable` follows.
    pub should_retry: Option<bool>,
}

impl Failure {
    fn new(kind: FailureKind, message: impl Into<String>, retryable: bool) -> Failure {
        Failure {
            kind,
            message: message.into(),
            detail: String::new(),
            retry_after: None,
            retryable,
            is_loading: false,
            context_too_long: false,
            should_retry: None,
        }
    }

    /// Adds details for the log, without anything that looks like a credential.
    pub fn with_detail(mut self, detail: impl ToString) -> Failure {
        self.detail = printable(&redact(&detail.to_string(), &[]), UPSTREAM_EXCERPT_CHARS_MAX);
        self
    }

    /// No connection.
    pub fn connect() -> Failure {
        Failure::new(FailureKind::Connect, "The model's server cannot be reached", true)
    }

    /// A timeout, which `message` names.
    pub fn timeout(message: &'static str, retryable: bool) -> Failure {
        Failure::new(FailureKind::Timeout, message, retryable)
    }

    /// The connection ended too early.
    pub fn connection_lost() -> Failure {
        Failure::new(
            FailureKind::ConnectionLost,
            "The model's server ended the connection in the middle of its answer",
            true,
        )
    }

    /// A response that violates the protocol.
    pub fn invalid_response(detail: impl ToString) -> Failure {
        let message = "The model's server sent something that cannot be read as an answer";
        Failure::new(FailureKind::InvalidResponse, message, false).with_detail(detail)
    }

    /// An answer without text.
    pub fn empty(finish_reason: Option<&str>) -> Failure {
        let reason = finish_reason.map(|reason| format!(" ({})", printable(reason, 40))).unwrap_or_default();
        Failure::new(FailureKind::Empty, format!("The model's answer is empty{reason}"), false)
    }

    /// All answers together take more memory than there is for them, and this one is the largest.
    pub(crate) fn no_room() -> Failure {
        let message = "The server has no room for an answer of this size at the moment";
        Failure::new(FailureKind::NoRoom, message, false)
    }

    /// The circuit breaker is open for this long.
    pub fn circuit_open(rest: Duration) -> Failure {
        let message = "The model's server has failed too often and is left alone for a moment";
        Failure { retry_after: Some(rest), ..Failure::new(FailureKind::CircuitOpen, message, true) }
    }

    /// A response with an error status. `said` is the upstream's own message.
    pub fn status(status: u16, said: Option<&str>, secrets: &[Secret]) -> Failure {
        let excerpt = match (status, said) {
            // Servers tend to repeat the key there, or a part of it, which could not be found and hidden.
            (401 | 403, _) | (_, None) => String::new(),
            (_, Some(said)) => format!(": {}", excerpt(said, secrets)),
        };
        let what = match status {
            300..=399 => "answered with a redirect, which is not followed",
            401 | 403 => "rejected the server's credentials",
            408 | 425 => "was not ready",
            429 => "has too many requests",
            500.. => "has failed",
            _ => "rejected the request",
        };
        Failure::new(
            FailureKind::Status(status),
            format!("The model's server {what} ({status}){excerpt}"),
            status_is_retryable(status),
        )
    }

    /// An error object in place of an answer, or in the middle of one. `code` is its number, if it has one; `ours` if the
    /// request was invalid.
    pub fn reported(said: Option<&str>, code: Option<u16>, ours: bool, secrets: &[Secret]) -> Failure {
        let excerpt = match (code, said) {
            (Some(401 | 403), _) | (_, None) => String::new(),
            (_, Some(said)) => format!(": {}", excerpt(said, secrets)),
        };
        let retryable = !ours && code.is_none_or(|code| code < 400 || status_is_retryable(code));
        Failure::new(FailureKind::Reported, format!("The model's server reported an error{excerpt}"), retryable)
    }

    /// The effect of the failure on the circuit breaker. Only failures of the server count: no connection, silence, and errors of
    /// its own. What is wrong with one request, or with the response to it, says nothing about others.
    pub fn outcome(&self) -> PermitOutcome {
        match self.kind {
            FailureKind::Connect | FailureKind::Timeout => PermitOutcome::Failure,
            FailureKind::Status(500..600) if !self.is_loading => PermitOutcome::Failure,
            FailureKind::Empty => PermitOutcome::Success,
            _ => PermitOutcome::Unknown,
        }
    }
}

/// Statuses that may differ at the next attempt: RFC 9110 §15.5.9 and §15.5.10, RFC 8470 §5.2, RFC 6585 §4, and every 5xx.
pub(crate) fn status_is_retryable(status: u16) -> bool {
    matches!(status, 408 | 409 | 425 | 429 | 500..600)
}

/// The beginning of an upstream's message, without keys, as one printable line.
fn excerpt(said: &str, secrets: &[Secret]) -> String {
    printable(&redact(said, secrets), UPSTREAM_EXCERPT_CHARS_MAX)
}

/// At most `chars_max` characters; a control character, or one that turns the direction of text, becomes a space.
pub(super) fn printable(text: &str, chars_max: usize) -> String {
    let turns = |char| matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let harmless = |char: char| if char.is_control() || turns(char) { ' ' } else { char };
    let mut chars = text.chars().map(harmless);
    let mut out: String = chars.by_ref().take(chars_max).collect();
    let is_cut = chars.any(|char| char != ' ');
    out.truncate(out.trim_end().len());
    if is_cut {
        out.push('…');
    }
    out.trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_retried_and_counted_by_the_table() {
        let table = [
            (302, false, PermitOutcome::Unknown),
            (400, false, PermitOutcome::Unknown),
            (401, false, PermitOutcome::Unknown),
            (403, false, PermitOutcome::Unknown),
            (404, false, PermitOutcome::Unknown),
            (408, true, PermitOutcome::Unknown),
            (409, true, PermitOutcome::Unknown),
            (413, false, PermitOutcome::Unknown),
            (422, false, PermitOutcome::Unknown),
            (425, true, PermitOutcome::Unknown),
            (429, true, PermitOutcome::Unknown),
            (500, true, PermitOutcome::Failure),
            (503, true, PermitOutcome::Failure),
            (599, true, PermitOutcome::Failure),
            (600, false, PermitOutcome::Unknown),
        ];
        for (status, retryable, outcome) in table {
            let failure = Failure::status(status, None, &[]);
            assert_eq!((failure.retryable, failure.outcome()), (retryable, outcome), "{status}");
            assert!(failure.message.contains(&status.to_string()));
        }
    }

    #[test]
    fn reported_errors_are_retried_by_their_code() {
        let table = [
            (None, false, true),
            (Some(500), false, true),
            (Some(429), false, true),
            (Some(400), false, false),
            (Some(1), false, true),
            (None, true, false),
        ];
        for (code, ours, retryable) in table {
            assert_eq!(Failure::reported(Some("x"), code, ours, &[]).retryable, retryable, "{code:?}");
        }
    }

    #[test]
    fn what_an_upstream_says_is_shown_shortly_and_without_the_key() {
        let secrets = [Secret::new("sk-very-secret")];
        let message = |said: &str| Failure::status(400, Some(said), &secrets).message;
        assert_eq!(message("no such model"), "The model's server rejected the request (400): no such model");
        assert_eq!(
            message("a\r\nb\u{1b}[31m\0c\u{202e}d"),
            "The model's server rejected the request (400): a  b [31m c d"
        );
        let long = message(&format!("{}sk-very-secret", "é".repeat(UPSTREAM_EXCERPT_CHARS_MAX - 3)));
        assert!(long.ends_with("[ke…") && !long.contains("sk-"), "{long}");
        for failure in [
            Failure::status(400, Some("key sk-very-secret is bad"), &secrets),
            Failure::status(401, Some("key sk-very-*** is bad"), &secrets),
            Failure::status(500, Some("sk-very-secretsk-very-secret"), &secrets),
            Failure::reported(Some("sk-very-secret"), None, false, &secrets),
            Failure::reported(Some("sk-very-***"), Some(401), false, &secrets),
        ] {
            assert!(!format!("{failure:?}").contains("sk-"), "{failure:?}");
        }
    }
}
