//! Requests and their answers: from an admitted head to the bytes of the reply.

use crate::api::error::ApiError;
use crate::api::ops::{self, ReaderCheck};
use crate::api::router::Operation;
use crate::api::{self, Action, Caller, Response, Subscription, cors};
use crate::base::limits::*;
use crate::base::log;
use crate::base::metrics::{self, LoginResult};
use crate::base::time::Now;
use crate::domain::command::{Command, CommandKind, ConversationRef, Idempotency, ReplyTo};
use crate::domain::event::KindSet;
use crate::domain::health::Readiness;
use crate::domain::id::UserId;
use crate::domain::password::{PasswordCheck, PasswordJob, PasswordOutcome, PasswordResponse};
use crate::domain::query::{Query, QueryKind, QueryResponse, QueryResult, StreamFilter};
use crate::domain::result::{CommandResult, Outcome, Rejection, Resource};
use crate::domain::work::Work;
use crate::http1::body::{BodyError, BodyReader};
use crate::http1::head::{Framing, Head, HeadError, Method};
use crate::http1::response_write::{self, Length, ResponseHead, write_head};
use crate::shard::connection::{
    AdmittedRequest, Continuation, DiscardedBody, PendingRequest, Phase, ReceivingRequest, RequestContext,
};
use crate::shard::request::admission::user_rate;
use crate::shard::shared::rate_limiter::RateKey;
use crate::shard::subscription::subscriber::DeliveryState;
use crate::shard::{FinishedRequest, FinishedRequestLine, Output, Shard};
use crate::wire;
use std::borrow::Cow;
use std::sync::Arc;

/// Fields that one answer can have at most: our own, those of the rate, those of CORS, and those of the reply.
const FIELDS_MAX: usize = 24;
/// Fields of every answer: a body is what its type says, a link from it says nothing of where it stood, and nobody on the
/// way keeps it. Nearly every answer shows a token (RFC 6749 §5.1), somebody's data, or a state that passes.
const ALWAYS: [(&str, &str); 2] = [("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")];
/// Of every answer that says nothing else of it.
const UNKEPT: (&str, &str) = ("Cache-Control", "no-store");

impl Shard {
    /// Decides from the head alone who may go on; `head_ends_input` says that nothing of a body has arrived yet.
    pub(in crate::shard) fn head_complete(&mut self, slot: u32, head: &Head<'_, '_>, head_ends_input: bool, now: Now) {
        let mut request_context = self.request_context(head, now);
        let admitted = match self.admit(slot, head, &mut request_context, now) {
            Ok(admitted) => admitted,
            Err(reply) => return self.answer_early(slot, request_context, *reply, head, now),
        };
        if head.framing == Framing::None {
            return self.execute(slot, request_context, admitted, &[], now);
        }
        let bytes_max = admitted.operation.body_bytes_max(self.context.settings.body_bytes_max) as u64;
        let reader = match BodyReader::new(head.framing, bytes_max) {
            Ok(reader) => reader,
            Err(_) => {
                let reply = ApiError::payload_too_large(bytes_max).into_response();
                return self.answer_early(slot, request_context, reply, head, now);
            }
        };
        let receiving = ReceivingRequest {
            request_context: request_context.into_owned(),
            admitted: admitted.into_owned(),
            reader,
            body: Vec::new(),
        };
        let conn = &mut self.connections[slot as usize];
        conn.phase = Phase::Body(Box::new(receiving));
        conn.since = now.mono;
        // RFC 9110 §10.1.1: no need to say so when the body is coming already.
        if head.expect_continue && head_ends_input {
            conn.outbox.push_with(|out| out.extend_from_slice(response_write::CONTINUE));
            self.mark_dirty(slot, now);
        }
    }

    pub(in crate::shard) fn body_complete(&mut self, slot: u32, now: Now) {
        let conn = &mut self.connections[slot as usize];
        let Phase::Body(receiving) = std::mem::replace(&mut conn.phase, Phase::Head) else {
            unreachable!("a body ends where one began")
        };
        let ReceivingRequest { request_context, admitted, body, .. } = *receiving;
        self.execute(slot, request_context, admitted, &body, now);
    }

    pub(in crate::shard) fn bad_head(&mut self, slot: u32, error: HeadError, now: Now) {
        let request_context = self.unread_meta(now);
        let reply = ApiError::new(error.status(), error.code(), error.message()).into_response();
        self.respond(slot, &request_context, reply, now);
    }

    pub(in crate::shard) fn bad_body(&mut self, slot: u32, error: BodyError, now: Now) {
        let settings_max = self.context.settings.body_bytes_max;
        let bytes_max = match &self.connections[slot as usize].phase {
            Phase::Body(receiving) => receiving.admitted.operation.body_bytes_max(settings_max),
            _ => settings_max,
        };
        let request_context = self.receiving_meta(slot, now);
        let reply = match error {
            BodyError::TooLarge => ApiError::payload_too_large(bytes_max as u64),
            other => ApiError::new(other.status(), other.code(), other.message()),
        }
        .into_response();
        self.respond(slot, &request_context, reply, now);
    }

    pub(in crate::shard) fn request_timed_out(&mut self, slot: u32, now: Now) {
        let request_context = self.receiving_meta(slot, now);
        self.respond(slot, &request_context, ApiError::request_timeout().into_response(), now);
    }

    /// What is known of a request that is cut off: all, if its body was on its way. Its connection ends with it.
    fn receiving_meta(&mut self, slot: u32, now: Now) -> RequestContext<'static> {
        let conn = &mut self.connections[slot as usize];
        match std::mem::replace(&mut conn.phase, Phase::Head) {
            Phase::Body(receiving) => RequestContext { keep_alive: false, ..receiving.request_context },
            _ => self.unread_meta(now),
        }
    }

    /// Answers before the body is read; a short body is passed over, else the connection ends.
    fn answer_early(
        &mut self,
        slot: u32,
        mut request_context: RequestContext<'_>,
        reply: Response,
        head: &Head<'_, '_>,
        now: Now,
    ) {
        let short = match head.framing {
            Framing::None => None,
            Framing::Length(bytes) if bytes <= DISCARD_BYTES_MAX as u64 && !head.expect_continue => {
                BodyReader::new(head.framing, bytes).ok()
            }
            Framing::Length(_) | Framing::Chunked => {
                request_context.keep_alive = false;
                None
            }
        };
        self.respond(slot, &request_context, reply, now);
        if let (Some(reader), Some(conn)) = (short, self.connections.get_mut(slot as usize))
            && matches!(conn.phase, Phase::Head)
        {
            conn.phase = Phase::Discard(Box::new(DiscardedBody { reader }));
            conn.since = now.mono;
        }
    }

    /// Does what a complete request asks for.
    fn execute(
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
                let reply = ApiError::overloaded().because("replies_full").into_response();
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
            Action::Ask(kind) => {
                self.ask(slot, request_context, admitted.operation, admitted.caller, Continuation::Respond, kind, now)
            }
            Action::Check(check) => self.check(slot, request_context, admitted, check, now),
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
            Action::Cancel(conversation) => {
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
                let reply = ops::metrics(self.registry.survey(now.mono), self.registry.position(), now.wall);
                self.respond(slot, &request_context, reply, now);
            }
            Action::Health => self.ask_health(slot, request_context, admitted.operation, now),
            Action::Ready => {
                let readiness = match self.registry.writer_fault(now.mono) {
                    _ if self.draining => Readiness::Draining,
                    Some(trouble) => Readiness::Unwritable(trouble),
                    None => Readiness::Ready,
                };
                self.respond(slot, &request_context, ops::ready(readiness, now.wall), now);
            }
            Action::Renew(id) => {
                let reply = self.renew_stream(admitted.caller.as_ref(), id, now);
                self.respond(slot, &request_context, reply, now);
            }
        }
    }

    fn submit(
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

    fn health(&self, reader: ReaderCheck, now: Now) -> Response {
        ops::health(reader, self.registry.writer_fault(now.mono), now.wall)
    }

    /// No reader has answered in time. Its answer may still come, so that the connection can have no other.
    pub(in crate::shard) fn health_timed_out(&mut self, slot: u32, now: Now) {
        let to = self.reply_to(slot);
        let Some(mut pending) = self.take_pending(to) else { return };
        pending.request_context.keep_alive = false;
        let reply = self.health(ReaderCheck::Late, now);
        self.respond(slot, &pending.request_context, reply, now);
    }

    fn check(
        &mut self,
        slot: u32,
        mut request_context: RequestContext<'_>,
        admitted: AdmittedRequest<'_>,
        check: PasswordCheck,
        now: Now,
    ) {
        let account = self.registry.rate_limiter.account(match &check {
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

    fn wait(&mut self, slot: u32, pending: PendingRequest) {
        self.connections[slot as usize].phase = Phase::Waiting(Box::new(pending));
        self.timers.clear(slot);
    }

    /// Takes the request that waits for an answer; `None` if its connection is gone.
    fn take_pending(&mut self, to: ReplyTo) -> Option<Box<PendingRequest>> {
        let conn = self.waiting(to)?;
        match std::mem::replace(&mut conn.phase, Phase::Head) {
            Phase::Waiting(pending) => Some(pending),
            other => {
                conn.phase = other;
                None
            }
        }
    }

    /// Answers a request that waited, and goes on with what its connection sent meanwhile.
    fn respond_and_go_on(&mut self, slot: u32, request_context: &RequestContext<'_>, reply: Response, now: Now) {
        self.respond(slot, request_context, reply, now);
        self.after_waiting(slot, now);
    }

    fn after_waiting(&mut self, slot: u32, now: Now) {
        self.go_on(slot, 0, now);
        self.outputs.push_back(Output::Resume(slot));
        self.settle(slot, now);
    }

    pub(in crate::shard) fn command_finished(&mut self, command_finished: CommandResult, now: Now) {
        let Some(mut pending) = self.take_pending(command_finished.to) else { return };
        let slot = command_finished.to.slot;
        // What was answered before costs nothing.
        if let (Ok(Outcome::Replayed { .. }), Some(caller), Some(limit)) =
            (&command_finished.result, &pending.caller, self.context.settings.rate_limit)
        {
            let key = RateKey::User(caller.actor.id.clone());
            pending.request_context.quota = Some(self.registry.rate_limiter.put_back(&key, user_rate(limit), now.mono));
        }
        let reply = api::reply_to_receipt(command_finished, pending.operation.subject());
        self.respond_and_go_on(slot, &pending.request_context, reply, now);
    }

    pub(in crate::shard) fn query_answered(&mut self, answer: QueryResponse, now: Now) {
        let slot = answer.to.slot;
        // A reader may see a commit before the writer has told of it, and a client may start a stream at what it was shown.
        self.registry.committed(answer.position);
        if let Some(conn) = self.waiting(answer.to)
            && let Phase::Stream(stream) = &conn.phase
        {
            // A stream asks for nothing but pages.
            if stream.source == DeliveryState::AwaitingPage {
                let page = answer.result.and_then(|found| match found {
                    QueryResult::JournalPage(page) => Ok(page),
                    _ => Err(Rejection::Unavailable),
                });
                self.page(slot, page, now);
            }
            return;
        }
        let Some(mut pending) = self.take_pending(answer.to) else { return };
        let continuation = std::mem::replace(&mut pending.continuation, Continuation::Respond);
        match (continuation, pending.caller.take(), &answer.result) {
            (Continuation::Health, _, found) => {
                let check = if found.is_ok() { ReaderCheck::Answered } else { ReaderCheck::Failed };
                let reply = self.health(check, now);
                self.respond_and_go_on(slot, &pending.request_context, reply, now);
            }
            (Continuation::OpenStream(wanted), Some(caller), Ok(QueryResult::StreamAccess(filter))) => {
                let wanted = Subscription { filter: *filter, ..wanted };
                self.open_stream(slot, &pending.request_context, &caller, wanted, now);
                self.after_waiting(slot, now);
            }
            (
                Continuation::CancelAnswer,
                caller,
                Ok(QueryResult::StreamAccess(StreamFilter { conversation: Some(named), .. })),
            ) => {
                let ConversationRef::Id(conversation_id) = *named else { unreachable!("access names it by its id") };
                self.wait(slot, PendingRequest { caller, ..*pending });
                self.outputs.push_back(Output::Work(Work::CancelAnswer { reply_to: answer.to, conversation_id }));
            }
            // Somebody else's conversation is not there, on this side of the API.
            (Continuation::CancelAnswer, _, Err(Rejection::Forbidden(_))) => {
                let reply = ApiError::not_found(Resource::Conversation).into_response();
                self.respond_and_go_on(slot, &pending.request_context, reply, now);
            }
            (Continuation::OpenStream(wanted), _, Err(Rejection::Unavailable)) => {
                let reply = self.defer_stream(wanted.start);
                self.respond_and_go_on(slot, &pending.request_context, reply, now);
            }
            // Whoever asks and does not read may fill the memory up to here, and no further.
            _ if self.reply_bytes > RESPONSES_WAITING_BYTES_MAX => {
                let reply = ApiError::overloaded().because("replies_full").into_response();
                self.respond_and_go_on(slot, &pending.request_context, reply, now);
            }
            _ => {
                let reply = api::reply_to_answer(answer, pending.operation.subject());
                self.respond_and_go_on(slot, &pending.request_context, reply, now);
            }
        }
    }

    pub(in crate::shard) fn password_checked(&mut self, answer: PasswordResponse, now: Now) {
        let Some(mut pending) = self.take_pending(answer.to) else { return };
        let slot = answer.to.slot;
        if pending.operation == Operation::Login {
            let admitted = |user: &UserId| self.token_rules.accepts(user, Some(now.wall));
            let ended = match &answer.result {
                Ok(PasswordOutcome::User(user)) if admitted(&user.id) => LoginResult::Success,
                Ok(PasswordOutcome::User(_)) => LoginResult::Disabled,
                Ok(PasswordOutcome::Wrong) => LoginResult::Wrong,
                Ok(PasswordOutcome::Hash(_)) | Err(_) => LoginResult::Failed,
            };
            metrics::LOGINS[ended as usize].add(1);
        }
        let reply = match answer.result {
            Ok(PasswordOutcome::User(user)) => {
                match self.token_rules.issue_time(&user.id, now.wall, TOKEN_LEEWAY_SECONDS) {
                    Some(issued_at) => api::auth::logged_in(&self.context, &user, issued_at, now.wall),
                    None => ApiError::invalid_credentials().into_response(),
                }
            }
            // The token is good, so a client must not take this for the end of it.
            Ok(PasswordOutcome::Wrong) if pending.caller.is_some() => ApiError::wrong_password().into_response(),
            Ok(PasswordOutcome::Wrong) => ApiError::invalid_credentials().into_response(),
            Ok(PasswordOutcome::Hash(hash)) => match pending.caller.take() {
                Some(caller) => {
                    let kind = CommandKind::SetPassword { hash };
                    return self.submit(slot, pending.request_context, pending.operation, caller, None, kind);
                }
                None => ApiError::internal().into_response(),
            },
            Err(refusal) => ApiError::refused(refusal, pending.operation.subject()).into_response(),
        };
        self.respond_and_go_on(slot, &pending.request_context, reply, now);
    }

    pub(in crate::shard) fn dropped(&mut self, to: ReplyTo, now: Now) {
        if let Some(conn) = self.waiting(to)
            && let Phase::Stream(_) = &conn.phase
        {
            return self.page(to.slot, Err(Rejection::Unavailable), now);
        }
        let Some(pending) = self.take_pending(to) else { return };
        let reply = match pending.continuation {
            Continuation::OpenStream(wanted) => self.defer_stream(wanted.start),
            Continuation::Health => self.health(ReaderCheck::Busy, now),
            Continuation::Respond | Continuation::CancelAnswer => ApiError::overloaded().into_response(),
        };
        self.respond_and_go_on(to.slot, &pending.request_context, reply, now);
    }

    /// Queues an answer. The connection is ready for the next request, or ends.
    pub(in crate::shard) fn respond(
        &mut self,
        slot: u32,
        request_context: &RequestContext<'_>,
        reply: Response,
        now: Now,
    ) {
        let keep_alive = request_context.keep_alive && !self.draining;
        let length = match reply.status {
            204 | 304 => Length::NoBody,
            _ => Length::Known(reply.body.len() as u64),
        };
        self.write_head(slot, request_context, &reply, length, keep_alive, now);
        let conn = &mut self.connections[slot as usize];
        let (status, body) =
            (reply.status, if request_context.method == Method::Head { Cow::Borrowed(&[][..]) } else { reply.body });
        let body_bytes = body.len();
        conn.outbox.push_body(body);
        conn.reply_bytes += body_bytes;
        self.reply_bytes += body_bytes;
        conn.phase = Phase::Head;
        conn.since = now.mono;
        self.note_finished(request_context, status, body_bytes);
        self.mark_dirty(slot, now);
        if keep_alive {
            self.arm(slot, now);
        } else {
            self.begin_closing(slot, now);
        }
    }

    /// Queues the head of an answer.
    pub(in crate::shard) fn write_head(
        &mut self,
        slot: u32,
        request_context: &RequestContext<'_>,
        reply: &Response,
        length: Length,
        keep_alive: bool,
        now: Now,
    ) {
        let second = now.wall.seconds();
        if self.date.0 != second {
            self.date = (second, now.wall.imf_fixdate());
        }
        let mut fields = [("", ""); FIELDS_MAX];
        let mut count = 0;
        let mut add = |name, value| {
            fields[count] = (name, value);
            count += 1;
        };
        if !reply.content_type.is_empty() {
            add("Content-Type", reply.content_type);
        }
        add("X-Request-Id", &request_context.request_id);
        for (name, value) in ALWAYS {
            add(name, value);
        }
        if !reply.has("Cache-Control") {
            add(UNKEPT.0, UNKEPT.1);
        }
        let quota = request_context.quota.map(|quota| quota.field_values(&mut self.quota_text));
        if let Some((policy, left)) = quota {
            add("RateLimit-Policy", policy);
            add("RateLimit", left);
        }
        for (name, value) in &reply.fields {
            add(name, value);
        }
        if let Some(origin) = &request_context.origin {
            for (name, value) in cors::fields(origin) {
                add(name, value);
            }
        }
        if let Some(varies) = cors::varies(&self.context.settings.origins).filter(|_| !reply.has("Vary")) {
            add("Vary", varies);
        }
        let head = ResponseHead {
            status: reply.status,
            keep_alive,
            version: request_context.version,
            date: &self.date.1,
            length,
            fields: &fields[..count],
        };
        self.connections[slot as usize].outbox.push_with(|out| write_head(out, &head));
    }

    pub(in crate::shard) fn note_finished(&mut self, request_context: &RequestContext<'_>, status: u16, bytes: usize) {
        let line = log::access_enabled().then(|| FinishedRequestLine {
            method: request_context.method_name.as_ref().into(),
            path: request_context.path.as_ref().into(),
            bytes,
            request_id: Arc::clone(&request_context.request_id),
            user: request_context.user.clone(),
        });
        let RequestContext { started, method, endpoint, .. } = *request_context;
        self.finished.push(FinishedRequest { started, method, endpoint, status, line });
    }

    fn list_streams(&self, caller: Option<&Caller>) -> Response {
        let Some(caller) = caller else { return ApiError::missing_token().into_response() };
        let position = self.registry.position();
        let streams: Vec<_> = self
            .registry
            .streams_of(&caller.actor.id)
            .into_iter()
            .map(|(id, stats)| stats.describe(id, position))
            .collect();
        Response::json(wire::stream::open_streams(&streams))
    }

    /// A stream that has ended, never was, or is someone else's: all the same to who asks.
    fn renew_stream(&self, caller: Option<&Caller>, id: api::StreamId, now: Now) -> Response {
        let Some(caller) = caller else { return ApiError::missing_token().into_response() };
        match self.registry.stream(id).filter(|stats| stats.user == caller.actor.id) {
            Some(stats) => {
                stats.renew(caller.expires_at);
                let seconds = (stats.expires_at().seconds() - now.wall.seconds()).max(0) as u64;
                Response::json(wire::stream::renewed(&id.to_string(), seconds))
            }
            None => ApiError::new(409, "conflict", "The stream has ended").into_response(),
        }
    }
}
