//! The parts of a request's head that its execution and its response need.

use crate::api::Caller;
use crate::api::cors;
use crate::api::forwarded::ClientAddresses;
use crate::api::operation::Operation;
use crate::api::request::{Media, Request};
use crate::api::request_metrics::Endpoint;
use crate::api::router::Parameters;
use crate::base::limits::REQUEST_ID_BYTES_MAX;
use crate::base::random::Random;
use crate::base::time::{MonoTime, Now};
use crate::domain::id::UserId;
use crate::http1::head::{Head, Method, Version};
use crate::shard::Shard;
use crate::shard::shared::rate_limiter::Quota;
use std::borrow::Cow;
use std::sync::Arc;

/// What the response to a request, and its log line, need.
#[derive(Debug, Clone)]
pub(in crate::shard) struct RequestContext<'a> {
    /// When its head was complete.
    pub started: MonoTime,
    pub method: Method,
    /// The method as sent, for the log.
    pub method_name: Cow<'a, str>,
    /// The path as sent, for the log.
    pub path: Cow<'a, str>,
    pub version: Version,
    /// Whether the connection continues after the response.
    pub keep_alive: bool,
    /// The client's `X-Request-Id`, or a random one.
    pub request_id: Arc<str>,
    /// The `Origin`, if its pages may read the response.
    pub origin: Option<Cow<'a, str>>,
    /// The label of its metrics.
    pub endpoint: Endpoint,
    /// The caller, once authenticated.
    pub user: Option<UserId>,
    /// The rate that is nearest to its limit, of those that the request was counted for.
    pub quota: Option<Quota>,
}

impl RequestContext<'_> {
    /// The same without a borrow.
    pub(super) fn into_owned(self) -> RequestContext<'static> {
        RequestContext {
            method_name: Cow::Owned(self.method_name.into_owned()),
            path: Cow::Owned(self.path.into_owned()),
            origin: self.origin.map(|origin| Cow::Owned(origin.into_owned())),
            endpoint: self.endpoint,
            started: self.started,
            method: self.method,
            version: self.version,
            keep_alive: self.keep_alive,
            request_id: self.request_id,
            user: self.user,
            quota: self.quota,
        }
    }
}

/// An admitted request, without its body.
#[derive(Debug)]
pub(in crate::shard) struct AdmittedRequest<'a> {
    /// The operation of its path and method.
    pub operation: Operation,
    /// The variable segments of the path.
    pub parameters: Parameters<'a>,
    /// The raw query.
    pub query: Option<Cow<'a, str>>,
    /// The raw `Last-Event-ID`.
    pub last_event_id: Option<Cow<'a, [u8]>>,
    /// The raw `X-Conversation-Id`.
    pub conversation_id: Option<Cow<'a, [u8]>>,
    /// The raw `Accept`.
    pub accept: Option<Cow<'a, [u8]>>,
    /// The raw `If-None-Match`.
    pub if_none_match: Option<Cow<'a, [u8]>>,
    /// What `Content-Type` says.
    pub media: Media,
    /// The `Idempotency-Key`.
    pub idempotency_key: Option<Cow<'a, str>>,
    /// The authenticated caller, if the operation needs one.
    pub caller: Option<Caller>,
    /// The networks that a login is counted for.
    pub networks: ClientAddresses,
}

impl<'a> AdmittedRequest<'a> {
    /// The same without a borrow.
    pub(super) fn into_owned(self) -> AdmittedRequest<'static> {
        fn own<T: ?Sized + ToOwned>(value: Option<Cow<'_, T>>) -> Option<Cow<'static, T>> {
            value.map(|value| Cow::Owned(value.into_owned()))
        }
        AdmittedRequest {
            operation: self.operation,
            parameters: self.parameters.map(|raw| Cow::Owned(raw.into_owned())),
            query: own(self.query),
            last_event_id: own(self.last_event_id),
            conversation_id: own(self.conversation_id),
            accept: own(self.accept),
            if_none_match: own(self.if_none_match),
            media: self.media,
            idempotency_key: own(self.idempotency_key),
            caller: self.caller,
            networks: self.networks,
        }
    }

    /// The request as the handlers in `api` take it.
    pub(super) fn request<'b>(&'b self, request_id: &'b str, body: &'b [u8]) -> Request<'b> {
        Request {
            operation: self.operation,
            parameters: self.parameters.each_ref().map(|raw| &**raw),
            query: self.query.as_deref(),
            last_event_id: self.last_event_id.as_deref(),
            conversation_id: self.conversation_id.as_deref(),
            accept: self.accept.as_deref(),
            if_none_match: self.if_none_match.as_deref(),
            has_idempotency_key: self.idempotency_key.is_some(),
            request_id,
            media: self.media,
            body,
        }
    }
}

impl Shard {
    /// The context of a request whose head is complete.
    pub(super) fn request_context<'b>(&mut self, head: &Head<'_, 'b>, now: Now) -> RequestContext<'b> {
        let own_id = head.field("x-request-id").and_then(|raw| std::str::from_utf8(raw).ok());
        let request_id =
            own_id.filter(|id| is_request_id(id)).map_or_else(|| new_request_id(&mut self.random), Arc::from);
        RequestContext {
            started: now.mono,
            method: head.method,
            method_name: Cow::Borrowed(head.method_name),
            path: Cow::Borrowed(head.path),
            version: head.version,
            keep_alive: head.keep_alive,
            request_id,
            origin: cors::allowed_origin(&self.context.settings.origins, head).map(Cow::Borrowed),
            endpoint: Endpoint::UNMATCHED,
            user: None,
            quota: None,
        }
    }

    /// The context of a request whose head is invalid or incomplete.
    pub(super) fn unreadable_context(&mut self, now: Now) -> RequestContext<'static> {
        RequestContext {
            started: now.mono,
            method: Method::Other,
            method_name: Cow::Borrowed("-"),
            path: Cow::Borrowed("-"),
            version: Version::Http11,
            keep_alive: false,
            request_id: new_request_id(&mut self.random),
            origin: None,
            endpoint: Endpoint::UNREADABLE,
            user: None,
            quota: None,
        }
    }
}

/// A request id of 24 hexadecimal digits.
fn new_request_id(random: &mut Random) -> Arc<str> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut id = [0; 24];
    for digits in id.chunks_mut(16) {
        let mut bits = random.next_u64();
        for digit in digits {
            *digit = HEX[(bits & 15) as usize];
            bits >>= 4;
        }
    }
    std::str::from_utf8(&id).expect("hexadecimal digits are ASCII").into()
}

fn is_request_id(id: &str) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}
