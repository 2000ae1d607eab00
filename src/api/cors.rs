//! Cross-origin requests (the Fetch standard, "CORS protocol"): which web pages may read responses. The behaviour is that of
//! Starlette's `CORSMiddleware` with credentials allowed, except that errors have the form of this API.

use super::error::ApiError;
use super::response::Response;
use crate::config::network::Origins;
use crate::http1::head::{Head, Method};
use std::borrow::Cow;

/// The response fields that a page may read beyond the safelisted ones.
const EXPOSED: &str = "X-Request-Id, X-Event-Id, X-Last-Event-Id, X-Total-Count, X-Truncated, Retry-After, Idempotent-Replayed, \
     RateLimit, RateLimit-Policy, WWW-Authenticate, X-Conversation-Id, X-Message-Id";
/// The request fields of a preflight that names none. `*` does not include `Authorization`, and is literal in requests with
/// credentials.
const ALLOWED_FIELDS: &str = "Authorization, Content-Type, Accept, Accept-Language, Content-Language, Idempotency-Key, Last-Event-ID, \
     X-Request-Id, X-Conversation-Id, X-Requested-With, Cache-Control, traceparent, tracestate";
const ALLOWED_METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";
/// How long a browser may cache the response to a preflight, in seconds.
const PREFLIGHT_SECONDS: &str = "600";
/// `Vary` of the response to a preflight.
const PREFLIGHT_VARIES: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, \
     Access-Control-Request-Private-Network";

/// The request's origin, if its pages may read the response. An origin is visible ASCII (RFC 6454 §6.2). Other values are
/// rejected, because the response would echo them where any origin is allowed.
pub(crate) fn allowed_origin<'b>(origins: &Origins, head: &Head<'_, 'b>) -> Option<&'b str> {
    let origin = std::str::from_utf8(head.field("origin")?).ok()?;
    (origin.bytes().all(|byte| byte.is_ascii_graphic()) && origins.allows(origin)).then_some(origin)
}

/// The fields of a response that `origin` may read. They name the origin even where any is allowed, because browsers
/// reject `*` for requests with credentials.
pub(crate) fn fields(origin: &str) -> [(&'static str, &str); 3] {
    [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Expose-Headers", EXPOSED),
    ]
}

/// `Vary` of a response without a `Vary` of its own. Responses that no page may read have it too: a cache must not
/// reuse them for a page that may read them.
pub(crate) fn varies(origins: &Origins) -> Option<&'static str> {
    (*origins != Origins::None).then_some("Origin")
}

/// Whether the request is a preflight.
pub(crate) fn is_preflight(head: &Head<'_, '_>) -> bool {
    head.method == Method::Options
        && head.field("origin").is_some()
        && head.field("access-control-request-method").is_some()
}

/// The response to a preflight. An allowed origin may send any field, since pages send those of tracing libraries as well: the
/// requested names are echoed. An error lists every part that is not allowed, for the developer tools of browsers.
pub(crate) fn preflight(head: &Head<'_, '_>, origin_allowed: bool) -> Response {
    let value = |name: &str| head.field(name).map(|raw| std::str::from_utf8(raw).unwrap_or("invalid UTF-8"));
    let mut disallowed = Vec::new();
    if !origin_allowed {
        disallowed.push(("origin", "is not in ALLOW_ORIGINS".to_owned()));
    }
    if !value("access-control-request-method").is_some_and(|method| lists(ALLOWED_METHODS, |one| one == method)) {
        disallowed.push(("method", format!("must be one of {ALLOWED_METHODS}")));
    }
    let requested = value("access-control-request-headers").filter(|fields| !fields.is_empty());
    if requested.is_some_and(|fields| !fields.split(',').all(is_field_name)) {
        disallowed.push(("headers", "must be names of fields, separated by commas".to_owned()));
    }
    let allowed_fields = match requested.filter(|_| disallowed.is_empty()) {
        Some(fields) => Cow::Owned(fields.to_owned()),
        None => Cow::Borrowed(ALLOWED_FIELDS),
    };
    if value("access-control-request-private-network").is_some() {
        disallowed.push(("private-network", "is not allowed".to_owned()));
    }
    let response =
        if disallowed.is_empty() { Response::text("OK") } else { ApiError::preflight(disallowed).into_response() };
    response
        .with("Access-Control-Allow-Methods", ALLOWED_METHODS)
        .with("Access-Control-Allow-Headers", allowed_fields)
        .with("Access-Control-Max-Age", PREFLIGHT_SECONDS)
        .with("Vary", PREFLIGHT_VARIES)
}

/// Whether a name is a token (RFC 9110 §5.1), so that it can be echoed.
fn is_field_name(name: &str) -> bool {
    let name = name.trim();
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn lists(list: &str, matches: impl Fn(&str) -> bool) -> bool {
    list.split(", ").any(matches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::{HeadLimits, HeaderBuf, parse_head};

    #[test]
    fn a_preflight_error_lists_every_part_that_is_not_allowed() {
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
            ("Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: baggage, sentry-trace", true, ""),
            ("Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: a b", true, "headers"),
            ("Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: accept,", true, "headers"),
            ("Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: \u{e4}", true, "headers"),
            (
                "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Private-Network: true",
                true,
                "private-network",
            ),
            (
                "Access-Control-Request-Method: X\r\nAccess-Control-Request-Headers: y\"",
                false,
                "origin, method, headers",
            ),
        ];
        for (fields, origin_allowed, disallowed) in table {
            let raw = format!("OPTIONS / HTTP/1.1\r\nHost: x\r\nOrigin: http://a\r\n{fields}\r\n\r\n");
            let mut buffer = HeaderBuf::new();
            let head = parse_head(raw.as_bytes(), &mut buffer, &HeadLimits { head_bytes_max: 4096 }).unwrap().unwrap();
            assert!(is_preflight(&head));
            let response = preflight(&head, origin_allowed);
            let body = String::from_utf8_lossy(&response.body);
            if disallowed.is_empty() {
                assert_eq!((response.status, &*body), (200, "OK"), "{fields}");
            } else {
                assert_eq!(response.status, 400, "{fields}");
                assert!(body.contains(&format!("\"Disallowed CORS {disallowed}\"")), "{fields}: {body}");
            }
        }
    }
}
