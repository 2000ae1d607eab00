//! Cross-origin requests (the Fetch standard, "CORS protocol"): which pages may read our answers. What is answered to
//! whom is what Starlette's `CORSMiddleware` would, with credentials allowed; only errors look as they do everywhere here.

use super::Response;
use super::error::ApiError;
use crate::config::network::Origins;
use crate::http1::head::{Head, Method};

/// The answer's fields that a page may read beyond the safelisted ones.
const EXPOSED: &str = "X-Request-Id, X-Event-Id, X-Last-Event-Id, X-Total-Count, X-Truncated, Retry-After, Idempotent-Replayed, \
     RateLimit, RateLimit-Policy, WWW-Authenticate";
/// The request's fields that a page may send. A `*` would not cover `Authorization`, and means nothing with credentials.
const ALLOWED_FIELDS: &str = "Authorization, Content-Type, Accept, Accept-Language, Content-Language, Idempotency-Key, Last-Event-ID, \
     X-Request-Id, X-Requested-With, Cache-Control, traceparent, tracestate";
const ALLOWED_METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";
/// How long a browser may keep the answer to a preflight, in seconds.
const PREFLIGHT_SECONDS: &str = "600";
/// What the answer to a preflight depends on.
const PREFLIGHT_VARIES: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, \
     Access-Control-Request-Private-Network";

/// The request's origin, if pages of it may read the answer. An origin is visible ASCII (RFC 6454 §6.2): anything else
/// would stand in our answer as it came, where any origin is allowed.
pub(crate) fn allowed_origin<'b>(origins: &Origins, head: &Head<'_, 'b>) -> Option<&'b str> {
    let origin = std::str::from_utf8(head.field("origin")?).ok()?;
    (origin.bytes().all(|byte| byte.is_ascii_graphic()) && origins.allows(origin)).then_some(origin)
}

/// The fields for an answer that `origin` may read. The origin is named even where any is allowed, because browsers
/// refuse `*` together with credentials.
pub(crate) fn fields(origin: &str) -> [(&'static str, &str); 3] {
    [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Expose-Headers", EXPOSED),
    ]
}

/// What an answer that says nothing else depends on. Answers to pages that may not read it, and to programs, say so too:
/// a cache must not hand them to a page that may.
pub(crate) fn varies(origins: &Origins) -> Option<&'static str> {
    (*origins != Origins::None).then_some("Origin")
}

/// Whether the request is a preflight.
pub(crate) fn is_preflight(head: &Head<'_, '_>) -> bool {
    head.method == Method::Options
        && head.field("origin").is_some()
        && head.field("access-control-request-method").is_some()
}

/// The answer to a preflight; `origin_allowed` says whether its origin is. What is refused is named, for who looks at it
/// with the browser's tools.
pub(crate) fn preflight(head: &Head<'_, '_>, origin_allowed: bool) -> Response {
    let asked = |name: &str| head.field(name).map(|raw| std::str::from_utf8(raw).unwrap_or("not text"));
    let mut refused = Vec::new();
    if !origin_allowed {
        refused.push(("origin", "is not in ALLOW_ORIGINS".to_owned()));
    }
    if !asked("access-control-request-method").is_some_and(|method| lists(ALLOWED_METHODS, |one| one == method)) {
        refused.push(("method", format!("must be one of {ALLOWED_METHODS}")));
    }
    if asked("access-control-request-headers").is_some_and(|fields| !fields.split(',').all(is_allowed_field)) {
        refused.push(("headers", format!("must be among {ALLOWED_FIELDS}")));
    }
    if asked("access-control-request-private-network").is_some() {
        refused.push(("private-network", "is not allowed".to_owned()));
    }
    let reply = if refused.is_empty() { Response::text("OK") } else { ApiError::preflight(refused).into_response() };
    reply
        .with("Access-Control-Allow-Methods", ALLOWED_METHODS)
        .with("Access-Control-Allow-Headers", ALLOWED_FIELDS)
        .with("Access-Control-Max-Age", PREFLIGHT_SECONDS)
        .with("Vary", PREFLIGHT_VARIES)
}

fn is_allowed_field(name: &str) -> bool {
    lists(ALLOWED_FIELDS, |one| one.eq_ignore_ascii_case(name.trim()))
}

fn lists(list: &str, is_it: impl Fn(&str) -> bool) -> bool {
    list.split(", ").any(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::{HeadLimits, HeaderBuf, parse_head};

    /// Which parts of a preflight are refused, whatever they are asked together with.
    #[test]
    fn preflights_say_what_is_refused() {
        let table = [
            ("Access-Control-Request-Method: PUT", true, ""),
            ("Access-Control-Request-Method: PUT", false, "origin"),
            ("Access-Control-Request-Method: PATCH", true, "method"),
            ("Access-Control-Request-Method: put", true, "method"),
            (
                "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization,CONTENT-type",
                true,
                "",
            ),
            ("Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: accept , x-request-id", true, ""),
            ("Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: cookie", true, "headers"),
            ("Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: accept,", true, "headers"),
            ("Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: \u{e4}", true, "headers"),
            (
                "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Private-Network: true",
                true,
                "private-network",
            ),
            ("Access-Control-Request-Method: X\r\nAccess-Control-Request-Headers: y", false, "origin, method, headers"),
        ];
        for (fields, origin_allowed, refused) in table {
            let raw = format!("OPTIONS / HTTP/1.1\r\nHost: x\r\nOrigin: http://a\r\n{fields}\r\n\r\n");
            let mut slots = HeaderBuf::new();
            let head = parse_head(raw.as_bytes(), &mut slots, &HeadLimits { head_bytes_max: 4096 }).unwrap().unwrap();
            assert!(is_preflight(&head));
            let reply = preflight(&head, origin_allowed);
            let body = String::from_utf8_lossy(&reply.body);
            if refused.is_empty() {
                assert_eq!((reply.status, &*body), (200, "OK"), "{fields}");
            } else {
                assert_eq!(reply.status, 400, "{fields}");
                assert!(body.contains(&format!("\"Disallowed CORS {refused}\"")), "{fields}: {body}");
            }
        }
    }
}
