//! Cross-origin requests (the Fetch standard, "CORS protocol"): which pages may read our answers.

use super::Reply;
use super::error::ApiError;
use crate::config::network::Origins;
use crate::http1::head::{Head, Method};

/// The answer's fields that a page may read beyond the safelisted ones.
const EXPOSED: &str = "X-Request-Id, X-Event-Id, X-Last-Event-Id, X-Total-Count, X-Truncated, Retry-After, Idempotent-Replayed, \
     RateLimit, WWW-Authenticate";
/// The request's fields that a page may send.
const ALLOWED_FIELDS: &str = "Authorization, Content-Type, Accept, Accept-Language, Content-Language, Idempotency-Key, Last-Event-ID, \
     X-Request-Id, Cache-Control";
const ALLOWED_METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";
/// How long a browser may keep the answer to a preflight, in seconds.
const PREFLIGHT_SECONDS: &str = "600";

/// The request's origin, if pages of it may read the answer. An origin is visible ASCII (RFC 6454 §6.2): anything else
/// would stand in our answer as it came, where any origin is allowed.
pub fn allowed_origin<'b>(origins: &Origins, head: &Head<'_, 'b>) -> Option<&'b str> {
    let origin = std::str::from_utf8(head.field("origin")?).ok()?;
    (origin.bytes().all(|byte| byte.is_ascii_graphic()) && origins.allows(origin)).then_some(origin)
}

/// The fields for an answer that `origin` may read. The origin is named even where any is allowed, because browsers
/// refuse `*` together with credentials.
pub fn fields(origin: &str) -> [(&'static str, &str); 4] {
    [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Expose-Headers", EXPOSED),
        ("Vary", "Origin"),
    ]
}

/// Whether the request is a preflight.
pub fn is_preflight(head: &Head<'_, '_>) -> bool {
    head.method == Method::Options
        && head.field("origin").is_some()
        && head.field("access-control-request-method").is_some()
}

/// The answer to a preflight; `allowed` says whether its origin is.
pub fn preflight(allowed: bool) -> Reply {
    if !allowed {
        return ApiError::bad_request("The origin is not allowed").with("Vary", "Origin").into_reply();
    }
    Reply::empty()
        .with("Access-Control-Allow-Methods", ALLOWED_METHODS)
        .with("Access-Control-Allow-Headers", ALLOWED_FIELDS)
        .with("Access-Control-Max-Age", PREFLIGHT_SECONDS)
}
