//! A response before it is framed.

use std::borrow::Cow;

/// The media type of nearly all responses.
pub(super) const JSON: &str = "application/json";
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
}

impl Response {
    /// A `200` with a JSON body.
    pub fn json(body: impl Into<Cow<'static, [u8]>>) -> Response {
        Response { status: 200, content_type: JSON, fields: Vec::new(), body: body.into() }
    }

    /// A `200` with plain text.
    pub fn text(body: &'static str) -> Response {
        Response { content_type: TEXT, ..Response::json(body.as_bytes()) }
    }

    /// A `204`.
    pub fn empty() -> Response {
        Response { status: 204, content_type: "", fields: Vec::new(), body: Cow::Borrowed(b"") }
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
