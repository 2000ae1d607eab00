//! A response before it is framed.

use crate::wire;
use std::borrow::Cow;

/// The media type of nearly all responses.
pub(super) const JSON: &str = "application/json";
/// Tells the official clients whether to repeat a request.
pub(super) const SHOULD_RETRY: &str = "x-should-retry";
const TEXT: &str = "text/plain; charset=utf-8";

/// A response before it is framed.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The media type; empty without a body.
    pub content_type: &'static str,
    /// Further header fields.
    pub fields: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: Cow<'static, [u8]>,
    /// What the body says, if it is an error.
    pub(super) error: Option<Box<ErrorParts>>,
}

/// The parts of an error that its form in the OpenAI-compatible API needs.
#[derive(Debug, Clone)]
pub(super) struct ErrorParts {
    /// The code.
    pub code: &'static str,
    /// The message.
    pub message: Cow<'static, str>,
    /// Each invalid field with the violated rule.
    pub details: Vec<(&'static str, String)>,
}

impl Response {
    /// A `200` with a JSON body.
    pub fn json(body: impl Into<Cow<'static, [u8]>>) -> Response {
        Response { status: 200, content_type: JSON, fields: Vec::new(), body: body.into(), error: None }
    }

    /// A `200` with plain text.
    pub fn text(body: &'static str) -> Response {
        Response { content_type: TEXT, ..Response::json(body.as_bytes()) }
    }

    /// A `204`.
    pub fn empty() -> Response {
        Response { status: 204, content_type: "", fields: Vec::new(), body: Cow::Borrowed(b""), error: None }
    }

    /// This response, with an error in the form that clients of `path` know.
    pub(crate) fn in_form_of(self, path: &str) -> Response {
        // The OpenAI-compatible API.
        let is_openai = path == "/v1" || path.starts_with("/v1/");
        if is_openai { self.in_openai_form() } else { self }
    }

    /// This response, with an error in OpenAI's form. Its clients read the status first: OpenAI's own API has `400` for invalid
    /// fields.
    fn in_openai_form(mut self) -> Response {
        let Some(error) = self.error.take() else { return self };
        let code = match (self.status, error.code) {
            (401, _) => "invalid_api_key",
            (_, code) => code,
        };
        if error.code == "validation_error" {
            self.status = 400;
        }
        // The official clients would repeat the request, and only meet the same again.
        let is_final = self.status == 409 || error.code == "quota_exceeded";
        if is_final && !self.has(SHOULD_RETRY) {
            self = self.with(SHOULD_RETRY, "false");
        }
        let rules: Vec<String> = error.details.iter().map(|(field, rule)| format!("{field} {rule}")).collect();
        let message = match rules.is_empty() {
            true => error.message,
            false => format!("{}: {}", error.message, rules.join("; ")).into(),
        };
        let param = error.details.first().map(|(field, _)| *field);
        self.body = wire::openai::error_body(self.status, code, &message, param).into();
        self
    }

    /// Whether the response has a field of this name; case-sensitive.
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(own, _)| *own == name)
    }

    /// This response with one more field.
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Response {
        self.fields.push((name, value.into()));
        self
    }
}
