//! Executing a complete request: a response at once, or work for another thread.

use super::context::{AdmittedRequest, RequestContext};
use super::pending::{Continuation, PendingRequest};
use crate::api::error::ApiError;
use crate::api::{self, Action, Response, StreamStart, health, metrics};
use crate::base::time::{Now, WallTime};
use crate::domain::command::{Command, CommandKind, Idempotency};
use crate::domain::event::KindSet;
use crate::domain::health::Readiness;
use crate::domain::holder::Holder;
use crate::domain::id::UserId;
use crate::domain::open_stream::OpenStream;
use crate::domain::password::{PasswordCheck, PasswordJob};
#[cfg(feature = "cluster")]
use crate::domain::peer_query::{PeerQuery, PeerQueryKind};
use crate::domain::query::{Query, QueryKind, StreamFilter};
use crate::domain::work::Work;
use crate::shard::shared::rate_limiter::RateKey;
use crate::shard::{Output, Shard};
use crate::wire;
use std::borrow::Cow;
use std::sync::Arc;
use uuid::Uuid;

impl Shard {
    /// Executes a complete request.
    pub(super) fn execute(
        &mut self,
        slot: u32,
        request_context: RequestContext<'_>,
        admitted: AdmittedRequest<'_>,
        body: &[u8],
        now: Now,
    ) {
        let request = admitted.request(&request_context.request_id, body);
        let action = match api::dispatch(&self.context, &request, admitted.caller.as_ref(), now.wall) {
            Ok(action) => action,
            Err(error) => return self.respond(slot, &request_context, error.into_response(), now),
        };
        if let Some(response) = self.cut_off_response(&action, now.mono) {
            return self.respond(slot, &request_context, response, now);
        }
        match action {
            Action::Respond(response) => self.respond(slot, &request_context, response, now),
            Action::Submit(kind) => {
                let idempotency = idempotency(&request_context, admitted.idempotency_key, body);
                let pending =
                    PendingRequest::new(request_context, admitted.operation, admitted.caller, Continuation::Respond);
                self.submit(slot, pending, idempotency, kind, now);
            }
            Action::Query(kind) => {
                let pending =
                    PendingRequest::new(request_context, admitted.operation, admitted.caller, Continuation::Respond);
                self.query(slot, pending, kind, now);
            }
            Action::CheckPassword(check) => self.check_password(slot, request_context, admitted, check, now),
            Action::Subscribe(wanted) => {
                let Some(caller) = admitted.caller else {
                    return self.respond(slot, &request_context, ApiError::missing_token().into_response(), now);
                };
                let is_for_all = wanted.filter.conversation.is_none() && wanted.filter.workspace.is_none();
                // Another process may have assigned a number beyond the position: the snapshot of the query decides.
                if is_for_all && !self.is_beyond_position(wanted.start) {
                    return self.open_stream(slot, &request_context, &caller, wanted, now);
                }
                let kind = QueryKind::StreamAccess(wanted.filter);
                let continuation = Continuation::OpenStream(wanted);
                let pending = PendingRequest::new(request_context, admitted.operation, Some(caller), continuation);
                self.query(slot, pending, kind, now);
            }
            Action::FollowAnswer(wanted) => {
                let kind = QueryKind::AnswerPage {
                    conversation: wanted.conversation,
                    message: wanted.message,
                    from: match wanted.start {
                        StreamStart::After(offset) => usize::try_from(offset.0).unwrap_or(usize::MAX),
                        StreamStart::Now | StreamStart::Unknown => 0,
                    },
                    bytes_max: self.context.settings.stream_buffer_bytes / 2,
                };
                let continuation = Continuation::FollowAnswer(wanted);
                let pending = PendingRequest::new(request_context, admitted.operation, admitted.caller, continuation);
                self.query(slot, pending, kind, now);
            }
            Action::CancelAnswer(conversation) => {
                let filter = StreamFilter { conversation: Some(conversation), workspace: None, kinds: KindSet::NONE };
                let continuation = Continuation::CancelAnswer;
                let pending = PendingRequest::new(request_context, admitted.operation, admitted.caller, continuation);
                self.query(slot, pending, QueryKind::StreamAccess(filter), now);
            }
            Action::Pass(draft) => {
                let Some(caller) = admitted.caller else {
                    return self.respond(slot, &request_context, ApiError::missing_token().into_response(), now);
                };
                self.pass_within_quota(slot, request_context, admitted.operation, caller, draft, now);
            }
            Action::Complete(kind, view) => {
                let idempotency = idempotency(&request_context, admitted.idempotency_key, body);
                let continuation = Continuation::Complete(Box::new(view));
                let pending = PendingRequest::new(request_context, admitted.operation, admitted.caller, continuation);
                self.submit(slot, pending, idempotency, kind, now);
            }
            Action::ListStreams => {
                let Some(caller) = &admitted.caller else {
                    return self.respond(slot, &request_context, ApiError::missing_token().into_response(), now);
                };
                #[cfg(feature = "cluster")]
                if self.shared.streams.can_ask_others() {
                    let kind = PeerQueryKind::ListStreams(caller.actor.id.clone());
                    return self.ask_peers(slot, request_context, admitted, kind, now);
                }
                let response = self.list_streams(&caller.actor.id, Vec::new(), self.shared.streams.others() == 0);
                self.respond(slot, &request_context, response, now);
            }
            Action::Metrics => {
                let response =
                    metrics::report(self.shared.streams.survey(now.mono), self.shared.streams.position(), now.wall);
                self.respond(slot, &request_context, response, now);
            }
            Action::Health => self.check_health(slot, request_context, admitted, now),
            Action::Ready => {
                let readiness = match self.shared.writer_health.fault(now.mono) {
                    _ if self.draining => Readiness::Draining,
                    Some(fault) => Readiness::Unwritable(fault),
                    None if self.shared.overload.rejects_most_users(now.mono) => Readiness::Overloaded,
                    None => Readiness::Ready,
                };
                self.respond(slot, &request_context, health::ready(readiness, now.wall), now);
            }
            Action::RenewStream(id) => {
                let Some(caller) = &admitted.caller else {
                    return self.respond(slot, &request_context, ApiError::missing_token().into_response(), now);
                };
                let ends_at = self.shared.streams.renew(id, &caller.actor.id, caller.expires_at, caller.key);
                #[cfg(feature = "cluster")]
                if ends_at.is_none() && self.shared.streams.can_ask_others() {
                    let kind = PeerQueryKind::RenewStream {
                        user: caller.actor.id.clone(),
                        stream: id.0,
                        expires_at: caller.expires_at,
                        key: caller.key.0,
                    };
                    return self.ask_peers(slot, request_context, admitted, kind, now);
                }
                let response = renewed(id.0, ends_at, self.shared.streams.others() == 0, now);
                self.respond(slot, &request_context, response, now);
            }
        }
    }

    /// Asks the other instances.
    #[cfg(feature = "cluster")]
    fn ask_peers(
        &mut self,
        slot: u32,
        request_context: RequestContext<'_>,
        admitted: AdmittedRequest<'_>,
        kind: PeerQueryKind,
        now: Now,
    ) {
        let continuation = Continuation::AskedPeers(kind.clone());
        let pending = PendingRequest::new(request_context, admitted.operation, admitted.caller, continuation);
        self.wait(slot, pending, Work::AskPeers(PeerQuery { reply_to: self.reply_to(slot), kind }), now);
    }

    /// Hands a command to the writer.
    pub(super) fn submit(
        &mut self,
        slot: u32,
        pending: PendingRequest,
        idempotency: Option<Idempotency>,
        kind: CommandKind,
        now: Now,
    ) {
        let Some(caller) = &pending.caller else {
            return self.respond(slot, &pending.request_context, ApiError::missing_token().into_response(), now);
        };
        let command = Command {
            reply_to: self.reply_to(slot),
            actor: caller.actor.clone(),
            correlation_id: Arc::clone(&pending.request_context.request_id),
            idempotency,
            kind,
        };
        self.wait(slot, pending, Work::Command(command), now);
    }

    /// Hands a query to a reader.
    fn query(&mut self, slot: u32, pending: PendingRequest, kind: QueryKind, now: Now) {
        let Some(caller) = &pending.caller else {
            return self.respond(slot, &pending.request_context, ApiError::missing_token().into_response(), now);
        };
        let query = Query { reply_to: self.reply_to(slot), caller: caller.actor.id.clone(), kind };
        self.wait(slot, pending, Work::Query(query), now);
    }

    /// Hands a reader an empty query, to see whether it responds.
    fn check_health(
        &mut self,
        slot: u32,
        request_context: RequestContext<'_>,
        admitted: AdmittedRequest<'_>,
        now: Now,
    ) {
        let kind = QueryKind::Alive(admitted.networks.network(self.connections[slot].peer()));
        let query = Query { reply_to: self.reply_to(slot), caller: UserId::new_unchecked("health"), kind };
        let pending = PendingRequest::new(request_context, admitted.operation, None, Continuation::Health);
        self.wait(slot, pending, Work::Query(query), now);
    }

    /// Hands a password check to its thread.
    fn check_password(
        &mut self,
        slot: u32,
        mut request_context: RequestContext<'_>,
        admitted: AdmittedRequest<'_>,
        check: PasswordCheck,
        now: Now,
    ) {
        let account = self.shared.rate_limiter.account(match &check {
            PasswordCheck::Login { email, .. } => email,
            PasswordCheck::Change { user, .. } => user.as_str(),
        });
        let counted = admitted
            .networks
            .iter()
            .try_for_each(|network| self.count_login(RateKey::Login(account, network), 1, &mut request_context, now));
        if let Err(error) = counted {
            return self.respond(slot, &request_context, error.into_response(), now);
        }
        let holder = match &check {
            PasswordCheck::Login { .. } => admitted.networks.holder(self.connections[slot].peer()),
            PasswordCheck::Change { user, .. } => Holder::User(user.clone()),
        };
        let job = PasswordJob { reply_to: self.reply_to(slot), holder, check };
        let pending = PendingRequest::new(request_context, admitted.operation, admitted.caller, Continuation::Respond);
        self.wait(slot, pending, Work::Password(job), now);
    }

    /// Hands work to its worker, and leaves the request pending until the result comes.
    pub(super) fn wait(&mut self, slot: u32, pending: PendingRequest, work: Work, now: Now) {
        self.connections[slot].wait(pending, now.mono);
        self.connections.rearm(slot, now);
        self.outputs.push_back(Output::Work(work));
    }

    /// The streams of a user: those of this instance, and `others`.
    pub(super) fn list_streams(&self, user: &UserId, others: Vec<OpenStream>, is_complete: bool) -> Response {
        let mut streams = self.shared.streams.list(user);
        streams.extend(others);
        streams.sort_unstable_by_key(|stream| (stream.since, stream.id));
        let response = Response::json(wire::stream::open_streams(&streams));
        if is_complete { response } else { response.with("X-Incomplete", "true") }
    }
}

/// The response to the renewal of a stream that ends at this time now, if it was found.
///
/// It does not reveal whether a stream has ended, never existed, or belongs to another user. If not all instances were asked, it may be at
/// another one: the client reconnects when its token ends.
pub(super) fn renewed(id: Uuid, ends_at: Option<WallTime>, is_complete: bool, now: Now) -> Response {
    match ends_at {
        Some(ends_at) => {
            let seconds = (ends_at.seconds() - now.wall.seconds()).max(0) as u64;
            Response::json(wire::stream::renewed(&id.to_string(), seconds))
        }
        None if is_complete => ApiError::new(409, "conflict", "The stream has ended").into_response(),
        None => ApiError::stream_elsewhere().into_response(),
    }
}

/// The idempotency key of a request, bound to the request.
fn idempotency(request_context: &RequestContext<'_>, key: Option<Cow<'_, str>>, body: &[u8]) -> Option<Idempotency> {
    key.map(|key| Idempotency {
        fingerprint: api::input::fingerprint(&request_context.method_name, &request_context.path, body),
        key: key.into_owned().into(),
    })
}
