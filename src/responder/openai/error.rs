//! Errors that a model's server reports, in an error response, in place of an answer, or in the middle of one.

use super::text::{mark_lone_halves, without_marks};
use crate::base::limits::{UPSTREAM_ERROR_BYTES_MAX, UPSTREAM_NESTING_MAX};
use crate::base::time::WallTime;
use crate::config::types::Secret;
use crate::http1::response_parse::ReceivedHead;
use crate::responder::Failure;
use crate::responder::redaction::redact;
use serde_json::{Map, Value};
use std::time::Duration;

/// Fields with the words of an error, the best first.
const WORD_FIELDS: [&str; 21] = [
    "message",
    "msg",
    "error_message",
    "error_msg",
    "errorMessage",
    "Message",
    "status_msg",
    "detail",
    "error",
    "errors",
    "details",
    "error_description",
    "description",
    "reason",
    "title",
    "base_resp",
    "exception",
    "err",
    "type",
    "code",
    "error_code",
];
/// Fields in which a server repeats the request.
const REPEATED_FIELDS: [&str; 7] = ["input", "inputs", "body", "request", "payload", "ctx", "messages"];
/// Most entries of a list of errors that are shown.
const LISTED_ERRORS_MAX: usize = 3;

/// What a server reports about an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ErrorReport {
    /// Its own words.
    words: Option<String>,
    /// A status code within the error.
    code: Option<u16>,
    /// The words and codes by which the error is recognized, in lower case.
    signs: String,
    /// The error as it was sent, for the log.
    raw: String,
    /// The time after which the model is expected to be ready.
    ready_after: Option<Duration>,
}

impl ErrorReport {
    /// The report of a JSON value.
    pub(super) fn of(value: &Value) -> ErrorReport {
        let mut signs = String::new();
        add_signs(value, 0, &mut signs);
        let seconds = value["estimated_time"].as_f64();
        ErrorReport {
            words: words(value, 0),
            code: code(value, 0),
            signs: signs.to_ascii_lowercase(),
            raw: value.to_string(),
            ready_after: seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        }
    }

    /// The report of a text that is no JSON.
    pub(super) fn of_text(text: &str) -> ErrorReport {
        let text = text.trim();
        let words = (!text.is_empty() && !text.starts_with('<')).then(|| text.to_owned());
        ErrorReport { words, signs: text.to_ascii_lowercase(), raw: text.to_owned(), ..ErrorReport::default() }
    }

    /// The failure that an answer with this error is.
    pub(super) fn failure(&self, secrets: &[Secret]) -> Failure {
        let is_ours = self.signs.contains("invalid_request_error");
        self.mark(Failure::reported(self.words.as_deref(), self.code, is_ours, secrets), self.code, secrets)
    }

    fn mark(&self, failure: Failure, status: Option<u16>, secrets: &[Secret]) -> Failure {
        let context_too_long = self.is_context_too_long() && !matches!(status, Some(401 | 403 | 429));
        let is_final = context_too_long || self.is_about_billing();
        Failure {
            context_too_long,
            is_loading: matches!(status, Some(503)) && self.is_about_loading(),
            retryable: failure.retryable && !is_final,
            ..failure.with_detail(redact(&self.raw, secrets))
        }
    }

    /// Another attempt fails as well until the account is paid. A limit per minute, which Gemini calls a quota, is another matter.
    fn is_about_billing(&self) -> bool {
        const SIGNS: [&str; 18] = [
            // OpenAI.
            "insufficient_quota",
            "billing_hard_limit_reached",
            "billing_not_active",
            "account_deactivated",
            "credit_balance_exhausted",
            // DeepSeek, MiniMax, and Zhipu in two languages.
            "insufficient_balance",
            "insufficient balance",
            "\u{4f59}\u{989d}\u{4e0d}\u{8db3}",
            // OpenRouter.
            "insufficient_credits",
            "insufficient credits",
            "requires more credits",
            // Anthropic.
            "credit balance is too low",
            // Moonshot.
            "exceeded_current_quota_error",
            // DashScope.
            "arrearage",
            // xAI.
            "used all available credits",
            // Hugging Face.
            "monthly included credits",
            "payment_required",
            "payment required",
        ];
        SIGNS.iter().any(|sign| self.signs.contains(sign))
    }

    fn is_about_loading(&self) -> bool {
        const SIGNS: [&str; 9] = [
            "loading model",
            "model loading",
            "is loading",
            "currently loading",
            "being loaded",
            "warming up",
            "is starting",
            "starting up",
            "initializing",
        ];
        SIGNS.iter().any(|sign| self.signs.contains(sign))
    }

    fn is_context_too_long(&self) -> bool {
        /// Words that are enough. Each is of the servers named before it.
        const SIGNS: [&str; 36] = [
            // OpenAI, Azure, Groq, OpenRouter, llama-cpp-python; vLLM, Together, DeepSeek, Mistral, SGLang.
            "context_length_exceeded",
            "maximum context length",
            // OpenAI.
            "exceeds the context window",
            // vLLM.
            "longer than the maximum model length",
            // llama.cpp, old and new; its Python binding.
            "exceed_context_size_error",
            "exceeds the available context size",
            "context size has been exceeded",
            "context size exceeded",
            "exceed context window",
            "prompt exceeds n_ctx",
            // LM Studio, four versions.
            "when context the overflows",
            "when context overflows",
            "is greater than the context length",
            "exceeds context length",
            // Ollama, and its cloud.
            "exceeds the context length",
            "exceeds maximum context length",
            "prompt too long; exceeded",
            // LiteLLM.
            "contextwindowexceedederror",
            // Zhipu.
            "context_window_exceeded",
            "prompt exceeds max length",
            // Anthropic.
            "exceed context limit",
            "prompt is too long",
            // Bedrock.
            "input is too long",
            "too many input tokens",
            // SGLang.
            "longer than the model's context length",
            "tokens) exceeds the maximum allowed length",
            // Gemini.
            "exceeds the maximum number of tokens allowed",
            // OpenAI, Groq, Cerebras.
            "reduce the length of the messages",
            // xAI.
            "maximum prompt length is",
            // DashScope.
            "range of input length should be",
            // Cohere.
            "too many tokens: ",
            // Moonshot.
            "exceeded model token limit",
            // MiniMax.
            "context window exceeds limit",
            // Copilot.
            "model_max_prompt_tokens_exceeded",
            // TGI.
            "`inputs` tokens + `max_new_tokens` must be",
            "`inputs` must have less than",
        ];
        SIGNS.iter().any(|sign| self.signs.contains(sign))
    }
}

/// The failure in an error response. `now` is the time by which a date in `Retry-After` is judged, if it is known.
pub(crate) fn error_response(head: &ReceivedHead, body: &[u8], secrets: &[Secret], now: Option<WallTime>) -> Failure {
    let report = report_of(body);
    let failure = Failure::status(head.status, report.words.as_deref(), secrets);
    let failure = report.mark(failure, Some(head.status), secrets);
    let is_refused_for_good = report.is_about_billing() || failure.context_too_long;
    Failure {
        retry_after: head.retry_after.and_then(|wait| wait.from(now)).or(report.ready_after),
        should_retry: head.should_retry,
        retryable: head.should_retry.unwrap_or(failure.retryable) && !is_refused_for_good,
        ..failure
    }
}

/// Whether an error response rejects the request for token counts, as Mistral did: its own words name the field, and say that it
/// is not supported. A body that only repeats the request does not.
pub(crate) fn rejects_token_counts(status: u16, body: &[u8]) -> bool {
    if !matches!(status, 400 | 422) {
        return false;
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(UPSTREAM_ERROR_BYTES_MAX)]);
    match serde_json::from_str::<Value>(&text) {
        Ok(value) => blames_token_counts(&value, 0),
        Err(_) => words_blame_token_counts(&text),
    }
}

fn blames_token_counts(value: &Value, depth: usize) -> bool {
    let names =
        |value: &Value| value.as_str().is_some_and(|text| TOKEN_COUNT_FIELDS.iter().any(|name| text.contains(name)));
    match value {
        _ if depth > UPSTREAM_NESTING_MAX => false,
        Value::String(text) => words_blame_token_counts(text),
        Value::Array(values) => values.iter().any(|value| blames_token_counts(value, depth + 1)),
        Value::Object(fields) => {
            let is_named = names(&value["param"])
                || value["loc"].as_array().is_some_and(|place| place.iter().any(names))
                || TOKEN_COUNT_FIELDS.iter().any(|name| fields.get(*name).is_some_and(is_complaint));
            let own = fields.iter().filter(|(name, _)| !REPEATED_FIELDS.contains(&&name[..]));
            is_named || own.into_iter().any(|(_, value)| blames_token_counts(value, depth + 1))
        }
        _ => false,
    }
}

const TOKEN_COUNT_FIELDS: [&str; 2] = ["stream_options", "include_usage"];
/// Parts of words that reject a field.
const REJECTING_WORDS: [&str; 15] = [
    "unknown",
    "unsupported",
    "not support",
    "n't support",
    "unrecognized",
    "unrecognised",
    "unexpected",
    "extra",
    "not permitted",
    "not allowed",
    "only allowed",
    "forbidden",
    "invalid",
    "not valid",
    "no such",
];
/// The longest way between a field's name and a word that rejects it, in bytes.
const REJECTION_DISTANCE: usize = 80;

/// A text, or a list of texts, about a field.
fn is_complaint(value: &Value) -> bool {
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    is_text(value) || value.as_array().is_some_and(|texts| !texts.is_empty() && texts.iter().all(is_text))
}

fn words_blame_token_counts(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    TOKEN_COUNT_FIELDS.iter().any(|name| {
        lower.match_indices(name).any(|(at, name)| {
            let after = lower[at + name.len()..].trim_start_matches(['"', '\'', '\\']);
            // `"stream_options": {…}` is the request.
            let is_repeated = after.trim_start().starts_with(':') && lower[..at].ends_with(['"', '\'']);
            let bytes = lower.as_bytes();
            let near =
                &bytes[at.saturating_sub(REJECTION_DISTANCE)..bytes.len().min(at + name.len() + REJECTION_DISTANCE)];
            !is_repeated && REJECTING_WORDS.iter().any(|word| memchr::memmem::find(near, word.as_bytes()).is_some())
        })
    })
}

/// The report of an error response's body.
fn report_of(body: &[u8]) -> ErrorReport {
    let text = String::from_utf8_lossy(&body[..body.len().min(UPSTREAM_ERROR_BYTES_MAX)]);
    let mut text = text.trim();
    // Some gateways send the error as an event.
    if let Some(data) = text.lines().find_map(|line| line.strip_prefix("data:")).filter(|_| !text.starts_with('{')) {
        text = data.trim();
    }
    match serde_json::from_str(&mark_lone_halves(text)) {
        Ok(value) => ErrorReport::of(&value),
        Err(_) if text.starts_with(['{', '[']) => ErrorReport { words: None, ..ErrorReport::of_text(text) },
        Err(_) => ErrorReport::of_text(text),
    }
}

/// The error that an object of an answer reports, in any of its forms. `is_error` states that its event was named so.
pub(super) fn find_error(value: &Value, is_error: bool) -> Option<ErrorReport> {
    let fields = value.as_object()?;
    let report = |value| Some(ErrorReport::of(value));
    let is_answer = super::chunk::has_choices(super::chunk::unwrapped(value)) || fields.contains_key("delta");
    if is_error || ["object", "type"].iter().any(|name| fields.get(*name).is_some_and(|kind| kind == "error")) {
        return report(value);
    }
    match fields.get("error") {
        Some(error) if is_true(error) => return report(value),
        Some(Value::Object(_)) if !is_answer => return report(value),
        _ => {}
    }
    let base_status = &value["base_resp"]["status_code"];
    if is_true(&value["x_groq"]["error"]) || base_status.as_i64().is_some_and(|status| status != 0) {
        return report(if is_true(&value["x_groq"]["error"]) { &value["x_groq"] } else { &value["base_resp"] });
    }
    if is_answer || value["message"].is_object() {
        return None;
    }
    // Without choices, words about an error are one.
    let names = ["error_message", "error_msg", "errorMessage", "error_code", "errors", "detail", "err", "exception"];
    let is_named = names.iter().any(|name| fields.get(*name).is_some_and(is_true));
    let has_failed = ["success", "ok"].iter().any(|name| fields.get(*name) == Some(&Value::Bool(false)));
    (is_named || has_failed || has_bare_message(fields)).then(|| ErrorReport::of(value))
}

/// `{"code":500,"message":"…"}`, and neither a sign of life nor a message of success.
fn has_bare_message(fields: &Map<String, Value>) -> bool {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let is_alive = ["ping", "keepalive", "keep-alive", "heartbeat", "status", "progress"].contains(&text("type"));
    let has_message = ["message", "msg", "Message"].iter().any(|name| !text(name).trim().is_empty());
    let code = ["code", "status", "status_code", "statusCode"].iter().find_map(|name| fields.get(*name));
    let is_success = code.is_some_and(|code| match code {
        Value::Number(number) => number.as_u64().is_some_and(|code| code == 0 || (200..300).contains(&code)),
        Value::String(code) => {
            ["0", "200", "ok", "success", "processing", "queued", "pending"].contains(&&code.to_ascii_lowercase()[..])
        }
        _ => false,
    });
    has_message && !is_alive && !is_success
}

/// Whether a value says anything: not empty, zero, `false` or `null`, and not an object or a list of such values.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(values) => values.iter().any(is_true),
        Value::Object(fields) => fields.values().any(is_true),
    }
}

/// The words of an error.
fn words(value: &Value, depth: usize) -> Option<String> {
    match value {
        _ if depth > UPSTREAM_NESTING_MAX => None,
        Value::String(text) => {
            let text = text.trim();
            // A proxy may pass another server's JSON on as a text.
            let inner = text.starts_with(['{', '[']).then(|| serde_json::from_str(text).ok()).flatten();
            inner.and_then(|inner| words(&inner, depth + 1)).or_else(|| (!text.is_empty()).then(|| without_marks(text)))
        }
        Value::Array(values) => {
            let all: Vec<_> =
                values.iter().filter_map(|value| words(value, depth + 1)).take(LISTED_ERRORS_MAX).collect();
            (!all.is_empty()).then(|| all.join("; "))
        }
        Value::Object(fields) => {
            let own = WORD_FIELDS.iter().find_map(|name| words(fields.get(*name)?, depth + 1));
            // OpenRouter's own words only say that there are others.
            match (own, words(&value["metadata"]["raw"], depth + 1)) {
                (Some(own), Some(raw)) if own != raw => Some(format!("{own}: {raw}")),
                (own, raw) => own.or(raw),
            }
        }
        _ => None,
    }
}

/// The status code of an error, a number or the digits of one.
fn code(value: &Value, depth: usize) -> Option<u16> {
    let value = value.as_array().and_then(|values| values.first()).unwrap_or(value);
    let number = |value: &Value| {
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
        u16::try_from(number).ok()
    };
    let own = ["code", "status", "status_code", "statusCode", "http_code", "error_code"]
        .iter()
        .find_map(|name| number(value.get(*name)?));
    own.or_else(|| {
        ["error", "detail", "base_resp"]
            .iter()
            .filter(|_| depth < 2)
            .find_map(|name| code(value.get(*name)?, depth + 1))
    })
}

/// Collects the strings by which an error is recognized, without a repeated request.
fn add_signs(value: &Value, depth: usize, out: &mut String) {
    match value {
        _ if depth > UPSTREAM_NESTING_MAX => {}
        Value::String(text) => {
            out.push_str(text);
            out.push('\n');
        }
        Value::Array(values) => values.iter().for_each(|value| add_signs(value, depth + 1, out)),
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !REPEATED_FIELDS.contains(&&name[..]))
            .for_each(|(_, value)| add_signs(value, depth + 1, out)),
        _ => {}
    }
}
