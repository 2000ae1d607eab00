//! Admission: what a request's head alone decides, before a byte of its body is kept.

use super::Shard;
use super::conn::{Meta, Plan};
use super::registry::{Rate, Who, network_of};
use crate::api::error::ApiError;
use crate::api::request::Media;
use crate::api::router::{Access, BodyKind, Operation};
use crate::api::{self, Caller, Reply, cors, proxy, router};
use crate::auth::jwt::Purpose;
use crate::base::limits::*;
use crate::base::time::Now;
use crate::config::values::RateLimit;
use crate::http1::head::{Framing, Head, Method, Version};
use std::borrow::Cow;
use std::sync::Arc;

impl Shard {
    /// What the answer will need to know.
    pub(super) fn meta<'b>(&mut self, head: &Head<'_, 'b>, now: Now) -> Meta<'b> {
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
    pub(super) fn unread_meta(&mut self, now: Now) -> Meta<'static> {
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
    pub(super) fn admit<'b>(
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

    /// Counts a login, of which `times` the setting's number are allowed.
    pub(super) fn count_login(&self, who: Who, times: u64, now: Now) -> Result<(), ApiError> {
        let Some(logins_max) = self.context.settings.logins_per_minute_max else { return Ok(()) };
        self.registry.take(who, per_minute(u64::from(logins_max) * times), now.mono).map_err(too_fast)
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

/// The bucket of a user.
pub(super) fn per_second(rate: RateLimit) -> Rate {
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
