//! Requests and their answers: from a complete head to the bytes of the reply.

use super::conn::{Discarding, Meta, Pending, Phase, Plan, Receiving, Then};
use super::registry::{Rate, Who, network_of};
use super::stream::Source;
use super::{Finished, Output, Shard};
use crate::api::error::ApiError;
use crate::api::request::Media;
use crate::api::router::{Access, BodyKind, Operation};
use crate::api::{self, Action, Caller, Reply, Subscription, cors, proxy, router};
use crate::auth::jwt::Purpose;
use crate::base::limits::*;
use crate::base::log;
use crate::base::time::Now;
use crate::config::values::RateLimit;
use crate::domain::command::*;
use crate::domain::event::KindSet;
use crate::http1::body::{BodyError, BodyReader};
use crate::http1::head::{Framing, Head, HeadError, Method, Version};
use crate::http1::response::{self, Length, ResponseHead, write_head};
use crate::wire;
use std::borrow::Cow;
use std::sync::Arc;

/// Fields that one answer can have at most: our own, those of CORS, and those of the reply.
const FIELDS_MAX: usize = 20;

impl Shard {
    /// Decides from the head alone who may go on; `head_ends_input` says that nothing of a body has arrived yet.
    pub(super) fn head_complete(&mut self, slot: u32, head: &Head<'_, '_>, head_ends_input: bool, now: Now) {
        let mut meta = self.meta(head, now);
        let plan = match self.admit(slot, head, &mut meta, now) {
            Ok(plan) => plan,
            Err(reply) => return self.answer_early(slot, meta, *reply, head, now),
        };
        if head.framing == Framing::None {
            return self.execute(slot, meta, plan, &[], now);
        }
        let bytes_max = plan.operation.body_bytes_max(self.context.settings.body_bytes_max) as u64;
        let reader = match BodyReader::new(head.framing, bytes_max) {
            Ok(reader) => reader,
            Err(_) => {
                let reply = ApiError::payload_too_large(bytes_max).into_reply();
                return self.answer_early(slot, meta, reply, head, now);
            }
        };
        let receiving = Receiving { meta: meta.into_owned(), plan: plan.into_owned(), reader, body: Vec::new() };
        let conn = &mut self.conns[slot as usize];
        conn.phase = Phase::Body(Box::new(receiving));
        conn.since = now.mono;
        // RFC 9110 §10.1.1: no need to say so when the body is coming already.
        if head.expect_continue && head_ends_input {
            conn.outbox.push_with(|out| out.extend_from_slice(response::CONTINUE));
            self.touch(slot, now);
        }
    }

    pub(super) fn body_complete(&mut self, slot: u32, now: Now) {
        let conn = &mut self.conns[slot as usize];
        let Phase::Body(receiving) = std::mem::replace(&mut conn.phase, Phase::Head) else {
            unreachable!("a body ends where one began")
        };
        let Receiving { meta, plan, body, .. } = *receiving;
        self.execute(slot, meta, plan, &body, now);
    }

    pub(super) fn bad_head(&mut self, slot: u32, error: HeadError, now: Now) {
        let meta = self.unread_meta(now);
        let reply = ApiError::new(error.status(), error.code(), error.message()).into_reply();
        self.respond(slot, &meta, reply, now);
    }

    pub(super) fn bad_body(&mut self, slot: u32, error: BodyError, now: Now) {
        let settings_max = self.context.settings.body_bytes_max;
        let bytes_max = match &self.conns[slot as usize].phase {
            Phase::Body(receiving) => receiving.plan.operation.body_bytes_max(settings_max),
            _ => settings_max,
        };
        let meta = self.receiving_meta(slot, now);
        let reply = match error {
            BodyError::TooLarge => ApiError::payload_too_large(bytes_max as u64),
            _ => ApiError::new(error.status(), error.code(), error.message()),
        }
        .into_reply();
        self.respond(slot, &meta, reply, now);
    }

    pub(super) fn request_timed_out(&mut self, slot: u32, now: Now) {
        let meta = self.receiving_meta(slot, now);
        self.respond(slot, &meta, ApiError::request_timeout().into_reply(), now);
    }

    /// What is known of a request that is cut off: all, if its body was on its way. Its connection ends with it.
    fn receiving_meta(&mut self, slot: u32, now: Now) -> Meta<'static> {
        let conn = &mut self.conns[slot as usize];
        match std::mem::replace(&mut conn.phase, Phase::Head) {
            Phase::Body(receiving) => Meta { keep_alive: false, ..receiving.meta },
            _ => self.unread_meta(now),
        }
    }

    fn meta<'b>(&mut self, head: &Head<'_, 'b>, now: Now) -> Meta<'b> {
        let request_id = head
            .field("x-request-id")
            .and_then(|raw| std::str::from_utf8(raw).ok())
            .filter(|id| is_request_id(id))
            .map_or_else(|| self.new_request_id(), Arc::from);
        Meta {
            started: now.mono,
            method: head.method,
            method_name: Cow::Borrowed(head.method_name),
            path: Cow::Borrowed(head.path),
            version: head.version,
            keep_alive: head.keep_alive,
            request_id,
            origin: cors::allowed_origin(&self.context.settings.origins, head).map(Cow::Borrowed),
            user: None,
        }
    }

    /// For a request whose head could not be read.
    fn unread_meta(&mut self, now: Now) -> Meta<'static> {
        Meta {
            started: now.mono,
            method: Method::Other,
            method_name: Cow::Borrowed("-"),
            path: Cow::Borrowed("-"),
            version: Version::Http11,
            keep_alive: false,
            request_id: self.new_request_id(),
            origin: None,
            user: None,
        }
    }

    fn new_request_id(&mut self) -> Arc<str> {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut id = [0; 24];
        let (mut low, mut high) = (self.random.next_u64(), self.random.next_u64());
        for (at, place) in id.iter_mut().enumerate() {
            let bits = if at < 16 { &mut low } else { &mut high };
            *place = HEX[(*bits & 15) as usize];
            *bits >>= 4;
        }
        std::str::from_utf8(&id).expect("hexadecimal digits are ASCII").into()
    }

    /// Host, route, method, token, rate and kind of body, in this order.
    fn admit<'b>(
        &mut self,
        slot: u32,
        head: &Head<'_, 'b>,
        meta: &mut Meta<'b>,
        now: Now,
    ) -> Result<Plan<'b>, Box<Reply>> {
        self.admit_or_error(slot, head, meta, now).map_err(|refusal| match refusal {
            Early::Error(error) => Box::new(error.into_reply()),
            Early::Reply(reply) => reply,
        })
    }

    fn admit_or_error<'b>(
        &mut self,
        slot: u32,
        head: &Head<'_, 'b>,
        meta: &mut Meta<'b>,
        now: Now,
    ) -> Result<Plan<'b>, Early> {
        let settings = &self.context.settings;
        if !settings.allowed_hosts.matches(head.host_name()) {
            return Err(ApiError::bad_request("This host is not served here").into());
        }
        if cors::is_preflight(head) {
            return Err(Early::Reply(Box::new(cors::preflight(meta.origin.is_some()))));
        }
        if head.method == Method::Options && head.path == "*" {
            return Err(Early::Reply(Box::new(Reply::empty())));
        }
        let matched = router::find(head.path)?;
        if head.method == Method::Options {
            return Err(Early::Reply(Box::new(Reply::empty().with("Allow", matched.route.allow()))));
        }
        let operation = matched.route.operation(head.method)?;
        let peer = self.conns[slot as usize].peer;
        let network = network_of(proxy::client_address(&settings.trusted_proxies, peer, head));
        let caller = self.identify(operation, head, now)?;
        meta.user = caller.as_ref().map(|caller| caller.actor.id.clone());
        if let Some(caller) = &caller
            && let Some(rate) = settings.rate_limit
        {
            let who = Who::User(caller.actor.id.clone());
            self.registry.take(who, per_second(rate), now.mono).map_err(too_fast)?;
        }
        if operation == Operation::Login {
            self.count_login(Who::LoginAddress(network), 10, now)?;
        }
        let media = Media::of(head.field("content-type"));
        if head.framing != Framing::None {
            check_media(operation, media)?;
        }
        Ok(Plan {
            operation,
            parameters: matched.parameters,
            query: head.query.map(Cow::Borrowed),
            last_event_id: head.field("last-event-id").map(Cow::Borrowed),
            media,
            idempotency_key: idempotency_key(operation, head)?,
            caller,
            network,
        })
    }

    fn identify(&self, operation: Operation, head: &Head<'_, '_>, now: Now) -> Result<Option<Caller>, ApiError> {
        let access = operation.access();
        if access == Access::Open {
            return Ok(None);
        }
        let verify = |token: &str| api::auth::authenticate(&self.context, &self.gates, token, now.wall);
        if let Some(value) = head.field("authorization") {
            let caller = verify(api::auth::bearer(value)?)?;
            return match caller.purpose {
                Purpose::Access => Ok(Some(caller)),
                Purpose::StreamTicket => Err(ApiError::invalid_token("A stream ticket goes into the query")),
            };
        }
        if access == Access::TokenOrTicket
            && let Some((credential, token)) = api::auth::query_credential(&self.context, head.query)
        {
            let caller = verify(&token)?;
            return if credential == caller.purpose {
                Ok(Some(caller))
            } else {
                Err(ApiError::invalid_token("The token is not good for this"))
            };
        }
        Err(ApiError::missing_token())
    }

    /// Answers before the body is read; a short body is passed over, else the connection ends.
    fn answer_early(&mut self, slot: u32, mut meta: Meta<'_>, reply: Reply, head: &Head<'_, '_>, now: Now) {
        let short = match head.framing {
            Framing::None => None,
            Framing::Length(bytes) if bytes <= DISCARD_BYTES_MAX as u64 && !head.expect_continue => {
                BodyReader::new(head.framing, bytes).ok()
            }
            Framing::Length(_) | Framing::Chunked => {
                meta.keep_alive = false;
                None
            }
        };
        self.respond(slot, &meta, reply, now);
        if let (Some(reader), Some(conn)) = (short, self.conns.get_mut(slot as usize))
            && matches!(conn.phase, Phase::Head)
        {
            conn.phase = Phase::Discard(Box::new(Discarding { reader }));
            conn.since = now.mono;
        }
    }

    /// Does what a complete request asks for.
    fn execute(&mut self, slot: u32, meta: Meta<'_>, plan: Plan<'_>, body: &[u8], now: Now) {
        let request = plan.request(body);
        let action = match api::act(&self.context, &request, plan.caller.as_ref(), now.wall) {
            Ok(action) => action,
            Err(error) => return self.respond(slot, &meta, error.into_reply(), now),
        };
        match action {
            Action::Reply(reply) => self.respond(slot, &meta, reply, now),
            Action::Submit(act) => {
                let Some(caller) = plan.caller else {
                    return self.respond(slot, &meta, ApiError::missing_token().into_reply(), now);
                };
                let idempotency = plan.idempotency_key.map(|key| Idempotency {
                    fingerprint: api::input::fingerprint(&meta.method_name, &meta.path, body),
                    key: key.into_owned().into(),
                });
                self.submit(slot, meta.into_owned(), plan.operation, caller, idempotency, act);
            }
            Action::Ask(question) => self.ask(slot, meta, plan.operation, plan.caller, Then::Answer, question, now),
            Action::Check(check) => self.check(slot, meta, plan, check, now),
            Action::Subscribe(wanted) => {
                let Some(caller) = plan.caller else {
                    return self.respond(slot, &meta, ApiError::missing_token().into_reply(), now);
                };
                if wanted.filter.conversation.is_none() && wanted.filter.workspace.is_none() {
                    self.open_stream(slot, &meta, &caller, wanted, now);
                } else {
                    let question = Question::StreamAccess(wanted.filter);
                    self.ask(slot, meta, plan.operation, Some(caller), Then::Open(wanted), question, now);
                }
            }
            Action::Cancel(conversation) => {
                let filter = StreamFilter { conversation: Some(conversation), workspace: None, kinds: KindSet::NONE };
                let question = Question::StreamAccess(filter);
                self.ask(slot, meta, plan.operation, plan.caller, Then::Cancel, question, now);
            }
            Action::ListStreams => {
                let reply = self.list_streams(plan.caller.as_ref());
                self.respond(slot, &meta, reply, now);
            }
            Action::Renew(id) => {
                let reply = self.renew_stream(plan.caller.as_ref(), id, now);
                self.respond(slot, &meta, reply, now);
            }
        }
    }

    fn submit(
        &mut self,
        slot: u32,
        meta: Meta<'static>,
        operation: Operation,
        caller: Caller,
        idempotency: Option<Idempotency>,
        act: Act,
    ) {
        let command = Command {
            reply_to: self.reply_to(slot),
            actor: caller.actor.clone(),
            correlation_id: Arc::clone(&meta.request_id),
            idempotency,
            act,
        };
        self.wait(slot, Pending { meta, operation, caller: Some(caller), then: Then::Answer });
        self.outputs.push_back(Output::Submit(command));
    }

    #[allow(clippy::too_many_arguments)]
    fn ask(
        &mut self,
        slot: u32,
        meta: Meta<'_>,
        operation: Operation,
        caller: Option<Caller>,
        then: Then,
        question: Question,
        now: Now,
    ) {
        let Some(asker) = caller.as_ref().map(|caller| caller.actor.id.clone()) else {
            return self.respond(slot, &meta, ApiError::missing_token().into_reply(), now);
        };
        let query = Query { reply_to: self.reply_to(slot), caller: asker, question };
        self.wait(slot, Pending { meta: meta.into_owned(), operation, caller, then });
        self.outputs.push_back(Output::Ask(query));
    }

    fn check(&mut self, slot: u32, meta: Meta<'_>, plan: Plan<'_>, check: PasswordCheck, now: Now) {
        let account: Box<str> = match &check {
            PasswordCheck::Login { email, .. } => email.to_lowercase().into(),
            PasswordCheck::Change { user, .. } => user.as_str().into(),
        };
        if let Err(error) = self.count_login(Who::Login(account, plan.network), 1, now) {
            return self.respond(slot, &meta, error.into_reply(), now);
        }
        let job = PasswordJob { reply_to: self.reply_to(slot), check };
        let Plan { operation, caller, .. } = plan;
        self.wait(slot, Pending { meta: meta.into_owned(), operation, caller, then: Then::Answer });
        self.outputs.push_back(Output::Check(job));
    }

    /// Counts a login, of which `times` the setting's number are allowed.
    fn count_login(&self, who: Who, times: u64, now: Now) -> Result<(), ApiError> {
        let Some(logins_max) = self.context.settings.logins_per_minute_max else { return Ok(()) };
        self.registry.take(who, per_minute(u64::from(logins_max) * times), now.mono).map_err(too_fast)
    }

    fn wait(&mut self, slot: u32, pending: Pending) {
        self.conns[slot as usize].phase = Phase::Waiting(Box::new(pending));
        self.timers.clear(slot);
    }

    /// Takes the request that waits for an answer; `None` if its connection is gone.
    fn take_pending(&mut self, to: ReplyTo) -> Option<Box<Pending>> {
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
    fn respond_and_go_on(&mut self, slot: u32, meta: &Meta<'_>, reply: Reply, now: Now) {
        self.respond(slot, meta, reply, now);
        self.after_waiting(slot, now);
    }

    fn after_waiting(&mut self, slot: u32, now: Now) {
        self.go_on(slot, 0, now);
        self.outputs.push_back(Output::Resume(slot));
        self.settle(slot, now);
    }

    pub(super) fn receipt(&mut self, receipt: Receipt, now: Now) {
        let Some(pending) = self.take_pending(receipt.to) else { return };
        let slot = receipt.to.slot;
        if let (Ok(Outcome::Replayed { .. }), Some(caller), Some(rate)) =
            (&receipt.result, &pending.caller, self.context.settings.rate_limit)
        {
            self.registry.put_back(&Who::User(caller.actor.id.clone()), per_second(rate));
        }
        let reply = api::reply_to_receipt(receipt, pending.operation.subject());
        self.respond_and_go_on(slot, &pending.meta, reply, now);
    }

    pub(super) fn answered(&mut self, answer: Answer, now: Now) {
        let slot = answer.to.slot;
        // A reader may see a commit before the writer has told of it, and a client may start a stream at what it was shown.
        self.registry.committed(answer.position);
        if let Some(conn) = self.waiting(answer.to)
            && let Phase::Stream(stream) = &conn.phase
        {
            // A stream asks for nothing but pages.
            if stream.source == Source::Asked {
                let page = answer.result.and_then(|found| match found {
                    Found::JournalPage(page) => Ok(page),
                    _ => Err(Refusal::Unavailable),
                });
                self.page(slot, page, now);
            }
            return;
        }
        let Some(mut pending) = self.take_pending(answer.to) else { return };
        let then = std::mem::replace(&mut pending.then, Then::Answer);
        match (then, pending.caller.take(), &answer.result) {
            (Then::Open(wanted), Some(caller), Ok(Found::StreamAccess(filter))) => {
                let wanted = Subscription { filter: *filter, ..wanted };
                self.open_stream(slot, &pending.meta, &caller, wanted, now);
                self.after_waiting(slot, now);
            }
            (Then::Cancel, caller, Ok(Found::StreamAccess(StreamFilter { conversation: Some(named), .. }))) => {
                let ConversationRef::Id(conversation_id) = *named else { unreachable!("access names it by its id") };
                self.wait(slot, Pending { caller, ..*pending });
                self.outputs.push_back(Output::Cancel(answer.to, conversation_id));
            }
            // Somebody else's conversation is not there, on this side of the API.
            (Then::Cancel, _, Err(Refusal::Forbidden(_))) => {
                let reply = ApiError::not_found(Thing::Conversation).into_reply();
                self.respond_and_go_on(slot, &pending.meta, reply, now);
            }
            (Then::Open(_), _, Err(Refusal::Unavailable)) => {
                let reply = self.come_back_later();
                self.respond_and_go_on(slot, &pending.meta, reply, now);
            }
            // Whoever asks and does not read may fill the memory up to here, and no further.
            _ if self.reply_bytes > REPLY_BYTES_MAX => {
                self.respond_and_go_on(slot, &pending.meta, ApiError::overloaded().into_reply(), now);
            }
            _ => {
                let reply = api::reply_to_answer(answer, pending.operation.subject());
                self.respond_and_go_on(slot, &pending.meta, reply, now);
            }
        }
    }

    pub(super) fn password_checked(&mut self, answer: PasswordAnswer, now: Now) {
        let Some(mut pending) = self.take_pending(answer.to) else { return };
        let slot = answer.to.slot;
        let reply = match answer.result {
            Ok(PasswordFound::User(user)) if self.gates.admits(&user.id, Some(now.wall)) => {
                api::auth::logged_in(&self.context, &user, now.wall)
            }
            // The token is good, so a client must not take this for the end of it.
            Ok(PasswordFound::Wrong) if pending.caller.is_some() => ApiError::wrong_password().into_reply(),
            Ok(PasswordFound::User(_) | PasswordFound::Wrong) => ApiError::invalid_credentials().into_reply(),
            Ok(PasswordFound::Hash(hash)) => match pending.caller.take() {
                Some(caller) => {
                    let act = Act::SetPassword { hash };
                    return self.submit(slot, pending.meta, pending.operation, caller, None, act);
                }
                None => ApiError::internal().into_reply(),
            },
            Err(refusal) => ApiError::refused(refusal, pending.operation.subject()).into_reply(),
        };
        self.respond_and_go_on(slot, &pending.meta, reply, now);
    }

    pub(super) fn overloaded(&mut self, to: ReplyTo, now: Now) {
        if let Some(conn) = self.waiting(to)
            && let Phase::Stream(_) = &conn.phase
        {
            return self.page(to.slot, Err(Refusal::Unavailable), now);
        }
        let Some(pending) = self.take_pending(to) else { return };
        let reply = match pending.then {
            Then::Open(_) => self.come_back_later(),
            Then::Answer | Then::Cancel => ApiError::overloaded().into_reply(),
        };
        self.respond_and_go_on(to.slot, &pending.meta, reply, now);
    }

    /// Queues an answer. The connection is ready for the next request, or ends.
    pub(super) fn respond(&mut self, slot: u32, meta: &Meta<'_>, reply: Reply, now: Now) {
        let keep_alive = meta.keep_alive && !self.draining;
        let length = match reply.status {
            204 | 304 => Length::NoBody,
            _ => Length::Known(reply.body.len() as u64),
        };
        self.write_head(slot, meta, &reply, length, keep_alive, now);
        let conn = &mut self.conns[slot as usize];
        let body: &[u8] = if meta.method == Method::Head { &[] } else { &reply.body };
        conn.outbox.push_with(|out| out.extend_from_slice(body));
        conn.reply_bytes += body.len();
        self.reply_bytes += body.len();
        conn.phase = Phase::Head;
        conn.since = now.mono;
        self.note_finished(meta, reply.status, body.len());
        self.touch(slot, now);
        if keep_alive {
            self.arm(slot, now);
        } else {
            self.begin_closing(slot, now);
        }
    }

    /// Queues the head of an answer.
    pub(super) fn write_head(
        &mut self,
        slot: u32,
        meta: &Meta<'_>,
        reply: &Reply,
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
        add("X-Request-Id", &meta.request_id);
        add("X-Content-Type-Options", "nosniff");
        for (name, value) in &reply.fields {
            add(name, value);
        }
        if let Some(origin) = &meta.origin {
            for (name, value) in cors::fields(origin) {
                add(name, value);
            }
        }
        let head = ResponseHead {
            status: reply.status,
            keep_alive,
            version: meta.version,
            date: &self.date.1,
            length,
            fields: &fields[..count],
        };
        self.conns[slot as usize].outbox.push_with(|out| write_head(out, &head));
    }

    pub(super) fn note_finished(&mut self, meta: &Meta<'_>, status: u16, bytes: usize) {
        if log::access_enabled() {
            self.finished.push(Finished {
                started: meta.started,
                method: meta.method_name.as_ref().into(),
                path: meta.path.as_ref().into(),
                status,
                bytes,
                request_id: Arc::clone(&meta.request_id),
                user: meta.user.clone(),
            });
        }
    }

    fn list_streams(&self, caller: Option<&Caller>) -> Reply {
        let Some(caller) = caller else { return ApiError::missing_token().into_reply() };
        let position = self.registry.position();
        let streams: Vec<_> = self
            .registry
            .streams_of(&caller.actor.id)
            .into_iter()
            .map(|(id, facts)| facts.describe(id, position))
            .collect();
        Reply::json(wire::stream::open_streams(&streams))
    }

    /// A stream that has ended, never was, or is someone else's: all the same to who asks.
    fn renew_stream(&self, caller: Option<&Caller>, id: api::StreamId, now: Now) -> Reply {
        let Some(caller) = caller else { return ApiError::missing_token().into_reply() };
        match self.registry.stream(id).filter(|facts| facts.user == caller.actor.id) {
            Some(facts) => {
                facts.renew(caller.expires_at);
                let seconds = (facts.expires_at().seconds() - now.wall.seconds()).max(0) as u64;
                Reply::json(wire::stream::renewed(&id.to_string(), seconds))
            }
            None => ApiError::new(409, "conflict", "The stream has ended").into_reply(),
        }
    }
}

/// Why a request is answered from its head alone.
enum Early {
    Error(ApiError),
    Reply(Box<Reply>),
}

impl From<ApiError> for Early {
    fn from(error: ApiError) -> Early {
        Early::Error(error)
    }
}

fn is_request_id(id: &str) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}

fn per_second(rate: RateLimit) -> Rate {
    Rate { micros_each: 1_000_000 / u64::from(rate.per_second), burst: u64::from(rate.burst) }
}

fn per_minute(requests: u64) -> Rate {
    Rate { micros_each: 60_000_000 / requests.max(1), burst: requests.max(1) }
}

fn too_fast(micros: u64) -> ApiError {
    ApiError::rate_limited("Too many requests", micros.div_ceil(1_000_000).max(1))
}

fn check_media(operation: Operation, media: Media) -> Result<(), ApiError> {
    match (operation.body(), media) {
        (BodyKind::None, _) | (_, Media::Json) | (BodyKind::JsonOrForm, Media::Form) => Ok(()),
        (BodyKind::Json, _) => Err(ApiError::unsupported_media_type("application/json")),
        (BodyKind::JsonOrForm, _) => {
            Err(ApiError::unsupported_media_type("application/json or application/x-www-form-urlencoded"))
        }
    }
}

fn idempotency_key<'b>(operation: Operation, head: &Head<'_, 'b>) -> Result<Option<Cow<'b, str>>, ApiError> {
    let Some(raw) = head.field("idempotency-key").filter(|_| operation.is_idempotent_by_key()) else { return Ok(None) };
    let visible = raw.iter().all(u8::is_ascii_graphic);
    match std::str::from_utf8(raw) {
        Ok(key) if visible && (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) => Ok(Some(Cow::Borrowed(key))),
        _ => Err(ApiError::validation(
            operation.subject(),
            vec![("Idempotency-Key", "must be 1 to 128 visible ASCII characters".to_owned())],
        )),
    }
}
