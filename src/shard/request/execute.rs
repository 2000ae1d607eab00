//! Executing a whole request: a response at once, or work for another thread.

use crate::api::error::ApiError;
use crate::api::operation::Operation;
use crate::api::{self, Action, Caller, Response, health, metrics};
use crate::base::limits::*;
use crate::base::time::Now;
use crate::domain::command::{Command, CommandKind, Idempotency};
use crate::domain::event::KindSet;
use crate::domain::health::Readiness;
use crate::domain::id::UserId;
use crate::domain::password::{PasswordCheck, PasswordJob};
use crate::domain::query::{Query, QueryKind, StreamFilter};
use crate::domain::work::Work;
use crate::shard::connection::{AdmittedRequest, Continuation, PendingRequest, Phase, RequestContext};
use crate::shard::shared::rate_limiter::RateKey;
use crate::shard::{Output, Shard};
use crate::wire;
use std::sync::Arc;

impl Shard {
    /// Does what a complete request asks for.
    pub(in crate::shard) fn execute(
        &mut self,
        slot: u32,
        request_context: RequestContext<'_>,
        admitted: AdmittedRequest<'_>,
        body: &[u8],
        now: Now,
    ) {
        let request = admitted.request(body);
        let action = match api::dispatch(&self.context, &request, admitted.caller.as_ref(), now.wall) {
            Ok(action) => action,
            Err(error) => return self.respond(slot, &request_context, error.into_response(), now),
        };
        match action {
            Action::Respond(reply) => self.respond(slot, &request_context, reply, now),
            // What is done is answered, so nothing more is done while nobody reads what was.
            Action::Submit(_) if self.reply_bytes > RESPONSES_WAITING_BYTES_MAX => {
                let reply = ApiError::overloaded().with_metric_reason("replies_full").into_response();
                self.respond(slot, &request_context, reply, now);
            }
            Action::Submit(kind) => {
                let Some(caller) = admitted.caller else {
                    return self.respond(slot, &request_context, ApiError::missing_token().into_response(), now);
                };
                let idempotency = admitted.idempotency_key.map(|key| Idempotency {
                    fingerprint: api::input::fingerprint(&request_context.method_name, &request_context.path, body),
                    key: key.into_owned().into(),
                });
                self.submit(slot, request_context.into_owned(), admitted.operation, caller, idempotency, kind);
            }
            Action::Query(kind) => {
                self.ask(slot, request_context, admitted.operation, admitted.caller, Continuation::Respond, kind, now)
            }
            Action::CheckPassword(check) => self.check(slot, request_context, admitted, check, now),
            Action::Subscribe(wanted) => {
                let Some(caller) = admitted.caller else {
                    return self.respond(slot, &request_context, ApiError::missing_token().into_response(), now);
                };
                if wanted.filter.conversation.is_none() && wanted.filter.workspace.is_none() {
                    self.open_stream(slot, &request_context, &caller, wanted, now);
                } else {
                    let kind = QueryKind::StreamAccess(wanted.filter);
                    self.ask(
                        slot,
                        request_context,
                        admitted.operation,
                        Some(caller),
                        Continuation::OpenStream(wanted),
                        kind,
                        now,
                    );
                }
            }
            Action::CancelAnswer(conversation) => {
                let filter = StreamFilter { conversation: Some(conversation), workspace: None, kinds: KindSet::NONE };
                let kind = QueryKind::StreamAccess(filter);
                self.ask(
                    slot,
                    request_context,
                    admitted.operation,
                    admitted.caller,
                    Continuation::CancelAnswer,
                    kind,
                    now,
                );
            }
            Action::ListStreams => {
                let reply = self.list_streams(admitted.caller.as_ref());
                self.respond(slot, &request_context, reply, now);
            }
            Action::Metrics => {
                let reply =
                    metrics::report(self.shared.streams.survey(now.mono), self.shared.streams.position(), now.wall);
                self.respond(slot, &request_context, reply, now);
            }
            Action::Health => self.ask_health(slot, request_context, admitted.operation, now),
            Action::Ready => {
                let readiness = match self.shared.writer_health.fault(now.mono) {
                    _ if self.draining => Readiness::Draining,
                    Some(trouble) => Readiness::Unwritable(trouble),
                    None => Readiness::Ready,
                };
                self.respond(slot, &request_context, health::ready(readiness, now.wall), now);
            }
            Action::RenewStream(id) => {
                let reply = self.renew_stream(admitted.caller.as_ref(), id, now);
                self.respond(slot, &request_context, reply, now);
            }
        }
    }

    pub(in crate::shard) fn submit(
        &mut self,
        slot: u32,
        request_context: RequestContext<'static>,
        operation: Operation,
        caller: Caller,
        idempotency: Option<Idempotency>,
        kind: CommandKind,
    ) {
        let command = Command {
            reply_to: self.reply_to(slot),
            actor: caller.actor.clone(),
            correlation_id: Arc::clone(&request_context.request_id),
            idempotency,
            kind,
        };
        self.wait(
            slot,
            PendingRequest { request_context, operation, caller: Some(caller), continuation: Continuation::Respond },
        );
        self.outputs.push_back(Output::Work(Work::Command(command)));
    }

    #[allow(clippy::too_many_arguments)]
    fn ask(
        &mut self,
        slot: u32,
        request_context: RequestContext<'_>,
        operation: Operation,
        caller: Option<Caller>,
        continuation: Continuation,
        kind: QueryKind,
        now: Now,
    ) {
        let Some(asker) = caller.as_ref().map(|caller| caller.actor.id.clone()) else {
            return self.respond(slot, &request_context, ApiError::missing_token().into_response(), now);
        };
        let query = Query { reply_to: self.reply_to(slot), caller: asker, kind };
        self.wait(
            slot,
            PendingRequest { request_context: request_context.into_owned(), operation, caller, continuation },
        );
        self.outputs.push_back(Output::Work(Work::Query(query)));
    }

    /// Asks a reader for a sign of life, the way that every question goes.
    fn ask_health(&mut self, slot: u32, request_context: RequestContext<'_>, operation: Operation, now: Now) {
        let query =
            Query { reply_to: self.reply_to(slot), caller: UserId::new_unchecked("health"), kind: QueryKind::Alive };
        self.wait(
            slot,
            PendingRequest {
                request_context: request_context.into_owned(),
                operation,
                caller: None,
                continuation: Continuation::Health,
            },
        );
        self.connections[slot as usize].since = now.mono;
        self.arm(slot, now);
        self.outputs.push_back(Output::Work(Work::Query(query)));
    }

    fn check(
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
        if let Err(error) = self.count_login(RateKey::Login(account, admitted.network), 1, &mut request_context, now) {
            return self.respond(slot, &request_context, error.into_response(), now);
        }
        let job = PasswordJob { reply_to: self.reply_to(slot), check };
        let AdmittedRequest { operation, caller, .. } = admitted;
        self.wait(
            slot,
            PendingRequest {
                request_context: request_context.into_owned(),
                operation,
                caller,
                continuation: Continuation::Respond,
            },
        );
        self.outputs.push_back(Output::Work(Work::Password(job)));
    }

    pub(in crate::shard) fn wait(&mut self, slot: u32, pending: PendingRequest) {
        self.connections[slot as usize].phase = Phase::Waiting(Box::new(pending));
        self.timers.clear(slot);
    }

    fn list_streams(&self, caller: Option<&Caller>) -> Response {
        let Some(caller) = caller else { return ApiError::missing_token().into_response() };
        let position = self.shared.streams.position();
        let streams: Vec<_> = self
            .shared
            .streams
            .streams_of(&caller.actor.id)
            .into_iter()
            .map(|(id, stats)| stats.describe(id, position))
            .collect();
        Response::json(wire::stream::open_streams(&streams))
    }

    /// A stream that has ended, never was, or is someone else's: all the same to who asks.
    fn renew_stream(&self, caller: Option<&Caller>, id: api::StreamId, now: Now) -> Response {
        let Some(caller) = caller else { return ApiError::missing_token().into_response() };
        match self.shared.streams.get(id).filter(|stats| stats.user == caller.actor.id) {
            Some(stats) => {
                stats.renew(caller.expires_at);
                let seconds = (stats.expires_at().seconds() - now.wall.seconds()).max(0) as u64;
                Response::json(wire::stream::renewed(&id.to_string(), seconds))
            }
            None => ApiError::new(409, "conflict", "The stream has ended").into_response(),
        }
    }
}
