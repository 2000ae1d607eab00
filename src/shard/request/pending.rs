//! Requests in progress, as a connection holds them: one whose body is being collected, and one that is with a worker.

use super::context::{AdmittedRequest, RequestContext};
use crate::api::operation::Operation;
use crate::api::{AnswerSubscription, Caller, CompletionView, PassingDraft, Subscription};
use crate::domain::holder::Holder;
use crate::domain::id::MessageId;
#[cfg(feature = "cluster")]
use crate::domain::peer_query::PeerQueryKind;
use crate::http1::body::{BodyError, BodyProgress, BodyReader};
use std::net::IpAddr;

/// An admitted request whose body is being collected.
#[derive(Debug)]
pub(in crate::shard) struct ReceivingRequest {
    pub request_context: RequestContext<'static>,
    pub admitted: AdmittedRequest<'static>,
    reader: BodyReader,
    body: Vec<u8>,
}

impl ReceivingRequest {
    pub(super) fn new(
        request_context: RequestContext<'static>,
        admitted: AdmittedRequest<'static>,
        reader: BodyReader,
    ) -> ReceivingRequest {
        ReceivingRequest { request_context, admitted, reader, body: Vec::new() }
    }

    /// Reads a part of the framed body.
    pub(in crate::shard) fn read(&mut self, input: &[u8]) -> Result<BodyProgress, BodyError> {
        self.reader.read(input, &mut self.body)
    }

    /// The context, what was admitted, and the body.
    pub(super) fn into_parts(self) -> (RequestContext<'static>, AdmittedRequest<'static>, Vec<u8>) {
        (self.request_context, self.admitted, self.body)
    }

    /// The memory of the body.
    pub(in crate::shard) fn capacity(&self) -> usize {
        self.body.capacity()
    }

    /// The holder of the body: the user or, without a token, the client's network. `peer` is the socket's other end.
    pub(in crate::shard) fn holder(&self, peer: IpAddr) -> Holder {
        match &self.admitted.caller {
            Some(caller) => Holder::User(caller.actor.id.clone()),
            None => self.admitted.networks.holder(peer),
        }
    }

    /// The body as far as it has arrived, without its framing.
    pub(in crate::shard) fn body(&self) -> &[u8] {
        &self.body
    }
}

/// A request that is with a worker.
#[derive(Debug)]
pub(in crate::shard) struct PendingRequest {
    pub request_context: RequestContext<'static>,
    pub operation: Operation,
    pub caller: Option<Caller>,
    /// What follows the worker's result.
    pub continuation: Continuation,
}

impl PendingRequest {
    pub(super) fn new(
        request_context: RequestContext<'_>,
        operation: Operation,
        caller: Option<Caller>,
        continuation: Continuation,
    ) -> PendingRequest {
        PendingRequest { request_context: request_context.into_owned(), operation, caller, continuation }
    }
}

/// A message that was posted, whose answer is the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::shard) struct PostedCompletion {
    /// How the client wants to see the answer.
    pub view: CompletionView,
    /// The message.
    pub message: MessageId,
    /// The fields of the response.
    pub fields: Vec<(&'static str, String)>,
}

/// What follows a worker's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::shard) enum Continuation {
    /// The result is the response.
    Respond,
    /// The result permits a stream: open it.
    OpenStream(Subscription),
    /// The result is the answer to follow: open a stream of it.
    FollowAnswer(AnswerSubscription),
    /// The result tells whether the caller may use more tokens today: pass a model's answer on.
    Pass(Box<PassingDraft>),
    /// The result is the message that was posted: respond with its answer.
    Complete(Box<CompletionView>),
    /// The result is the answer to view: do so.
    ViewAnswer(Box<PostedCompletion>),
    /// The result permits to cancel the conversation's answer in progress: do so.
    CancelAnswer,
    /// The answers of other instances complete the response.
    #[cfg(feature = "cluster")]
    AskedPeers(PeerQueryKind),
    /// The response reports the service's health, after `HEALTH_TIMEOUT_MILLISECONDS` without a result.
    Health,
}
