//! One connection: what has arrived, what phase it is in, what waits to be written.
//!
//! Invariant: a connection that waits for the store has at most one question under way, and reads nothing meanwhile.

pub(super) mod outbox;

use crate::api::operation::Operation;
use crate::api::request::{Media, Request};
use crate::api::request_metrics::Endpoint;
use crate::api::router::Parameters;
use crate::api::{Caller, Subscription};
use crate::base::time::MonoTime;
use crate::domain::id::UserId;
use crate::http1::body::BodyReader;
use crate::http1::head::{Method, Version};
use crate::shard::shared::rate_limiter::Quota;
use crate::shard::subscription::subscriber::Subscriber;
use outbox::Outbox;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Tells this use of the slot from others.
    pub generation: u32,
    /// Where it comes from.
    pub peer: IpAddr,
    /// Bytes that arrived and are not taken in yet; empty on an idle connection.
    pub input: Vec<u8>,
    /// What waits to be written.
    pub outbox: Outbox,
    /// What it is doing.
    pub phase: Phase,
    /// When the present wait began: for a request, for the rest of one, for the end.
    pub since: MonoTime,
    /// When the socket last took something, or output began to wait.
    pub progress_at: MonoTime,
    /// The peer has ended its side.
    pub half_closed: bool,
    /// It stands in the list of connections that are to be written.
    pub dirty: bool,
    /// Bytes of answers among what waits.
    pub reply_bytes: usize,
    /// Output has been waiting since `progress_at`.
    pub waits_for_reader: bool,
}

/// What a connection is doing.
#[derive(Debug)]
pub(super) enum Phase {
    /// Between requests, or in the middle of a head. Call: bytes. Next: all others.
    Head,
    /// In the middle of a body. Call: bytes. Next: Waiting, Stream, Head, Closing.
    Body(Box<ReceivingRequest>),
    /// Passes over the body of a request that is answered already. Call: bytes. Next: Head, Closing.
    Discard(Box<DiscardedBody>),
    /// Waits for the store. Call: receipt or answer. Next: Head, Stream, Closing, Waiting.
    Waiting(Box<PendingRequest>),
    /// An open stream. Call: events, pages, timers. Next: Closing.
    Stream(Box<Subscriber>),
    /// Writes what is left, then ends its side and reads on for a while, so that the peer sees all of the answer.
    /// Next: none.
    Closing {
        /// Our side is ended; only the peer's end is awaited.
        ended: bool,
        /// Bytes read and thrown away.
        discarded: usize,
    },
}

/// What the answer to a request needs to know of it.
#[derive(Debug, Clone)]
pub(super) struct RequestContext<'a> {
    /// When its head was complete.
    pub started: MonoTime,
    /// How it was asked.
    pub method: Method,
    /// Its method as sent, for the log.
    pub method_name: Cow<'a, str>,
    /// Its path as sent, for the log.
    pub path: Cow<'a, str>,
    /// Its version.
    pub version: Version,
    /// Whether the connection goes on after it.
    pub keep_alive: bool,
    /// Its id, the client's own or a new one.
    pub request_id: Arc<str>,
    /// Its origin, if pages of it may read the answer.
    pub origin: Option<Cow<'a, str>>,
    /// What it counts as.
    pub endpoint: Endpoint,
    /// Who asked, once that is known.
    pub user: Option<UserId>,
    /// What is left in the bucket that the request was taken from.
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

/// A request whose body is on its way.
#[derive(Debug)]
pub(super) struct ReceivingRequest {
    /// What its answer needs.
    pub request_context: RequestContext<'static>,
    /// What was decided from its head.
    pub admitted: AdmittedRequest<'static>,
    /// Takes the framing apart.
    pub reader: BodyReader,
    /// What has arrived of the body.
    pub body: Vec<u8>,
}

/// What was decided from a request's head.
#[derive(Debug)]
pub(super) struct AdmittedRequest<'a> {
    /// What is asked for.
    pub operation: Operation,
    /// The open segments of the path.
    pub parameters: Parameters<'a>,
    /// The raw query.
    pub query: Option<Cow<'a, str>>,
    /// The raw `Last-Event-ID`.
    pub last_event_id: Option<Cow<'a, [u8]>>,
    /// What `Content-Type` says.
    pub media: Media,
    /// The `Idempotency-Key`.
    pub idempotency_key: Option<Cow<'a, str>>,
    /// Who asks.
    pub caller: Option<Caller>,
    /// The network that a login is counted for.
    pub network: IpAddr,
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
            media: self.media,
            idempotency_key: own(self.idempotency_key),
            caller: self.caller,
            network: self.network,
        }
    }

    /// The request as the handlers see it.
    pub(super) fn request<'b>(&'b self, body: &'b [u8]) -> Request<'b> {
        Request {
            operation: self.operation,
            parameters: self.parameters.each_ref().map(|raw| &**raw),
            query: self.query.as_deref(),
            last_event_id: self.last_event_id.as_deref(),
            media: self.media,
            body,
        }
    }
}

/// A body that is passed over.
#[derive(Debug)]
pub(super) struct DiscardedBody {
    /// Takes the framing apart.
    pub reader: BodyReader,
}

/// A request that waits for the store.
#[derive(Debug)]
pub(super) struct PendingRequest {
    /// What its answer needs.
    pub request_context: RequestContext<'static>,
    /// What is asked for.
    pub operation: Operation,
    /// Who asks.
    pub caller: Option<Caller>,
    /// What follows when the caller may.
    pub continuation: Continuation,
}

/// What follows on the store's word that the caller may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Continuation {
    /// Nothing: the store's word is the answer.
    Respond,
    /// A stream is opened.
    OpenStream(Subscription),
    /// The running answer of the conversation is stopped.
    CancelAnswer,
    /// The answer says how the service is; it is not waited for longer than `HEALTH_TIMEOUT_MILLISECONDS`.
    Health,
}
