//! Admission: whether a request is accepted, decided by its head before any of its body is kept.

use super::context::{AdmittedRequest, RequestContext};
use crate::api::error::ApiError;
use crate::api::forwarded::ClientAddresses;
use crate::api::operation::{Access, BodyKind, Operation};
use crate::api::request::Media;
use crate::api::request_metrics::Endpoint;
use crate::api::{self, Caller, Response, cors, forwarded, router};
use crate::auth::jwt::Purpose;
use crate::base::limits::*;
use crate::base::metrics::{self, LoginResult};
use crate::base::time::Now;
use crate::config::types::RateLimit;
use crate::domain::holder::network_of;
use crate::http1::head::{Framing, Head, Method, Version};
use crate::shard::Shard;
use crate::shard::shared::rate_limiter::{Quota, Rate, RateKey};
use std::borrow::Cow;

impl Shard {
    /// Checks host, route, method, token, rate and type of the body, in this order. An error is the response.
    pub(super) fn admit<'b>(
        &mut self,
        slot: u32,
        head: &Head<'_, 'b>,
        request_context: &mut RequestContext<'b>,
        now: Now,
    ) -> Result<AdmittedRequest<'b>, Box<Response>> {
        self.admit_or_error(slot, head, request_context, now).map_err(|early| match early {
            EarlyResponse::Error(error) => Box::new(error.into_response()),
            EarlyResponse::Response(response) => response,
        })
    }

    fn admit_or_error<'b>(
        &mut self,
        slot: u32,
        head: &Head<'_, 'b>,
        request_context: &mut RequestContext<'b>,
        now: Now,
    ) -> Result<AdmittedRequest<'b>, EarlyResponse> {
        let settings = &self.context.settings;
        let matched = router::find(head.path).and_then(|matched| matched.if_enabled(settings));
        if let Ok(matched) = &matched {
            request_context.endpoint = Endpoint::of_route(matched.index);
        }
        let peer = self.connections[slot].peer();
        let networks = forwarded::client_addresses(&settings.trusted_proxies, peer, head).map(network_of);
        // Browsers always send `Host`, so an HTTP/1.0 request without it comes from none; health checks often do.
        let is_without_host = head.version == Version::Http10 && head.host.is_empty();
        if !is_without_host && !settings.allowed_hosts.matches(head.host_name()) {
            let error =
                ApiError::bad_request("This server does not serve this host").with_metric_reason("host_not_served");
            return Err(self.count_anonymous(networks, request_context, error, now).into());
        }
        if let Some(name) = DECISIVE_FIELDS.into_iter().find(|name| head.fields(name).count() > 1) {
            let error = ApiError::bad_request(format!("{name} may appear only once"));
            return Err(self.count_anonymous(networks, request_context, error, now).into());
        }
        if cors::is_preflight(head) {
            return Err(EarlyResponse::Response(Box::new(cors::preflight(head, request_context.origin.is_some()))));
        }
        if head.method == Method::Options && head.path == "*" {
            return Err(EarlyResponse::Response(Box::new(Response::empty())));
        }
        let matched = matched.map_err(|error| self.count_anonymous(networks, request_context, error, now))?;
        if head.method == Method::Options {
            return Err(EarlyResponse::Response(Box::new(Response::empty().with("Allow", matched.route.allow()))));
        }
        let operation = matched
            .route
            .operation(head.method)
            .map_err(|error| self.count_anonymous(networks, request_context, error, now))?;
        let caller = match operation.access() {
            Access::Open => None,
            access => {
                // Requests with a valid token are not counted by address, since many users can share one behind a proxy.
                let caller = self.authenticate(slot, access, head, now);
                Some(caller.map_err(|error| self.count_anonymous(networks, request_context, error, now))?)
            }
        };
        request_context.user = caller.as_ref().map(|caller| caller.actor.id.clone());
        if let Some(caller) = &caller
            && let Some(limit) = self.context.settings.rate_limit
        {
            self.count(RateKey::User(caller.actor.id.clone()), user_rate(limit), request_context, now)?;
        }
        if operation == Operation::Login {
            for network in networks.iter() {
                self.count_login(RateKey::LoginAddress(network), LOGINS_PER_ADDRESS_FACTOR, request_context, now)?;
            }
        }
        let media = Media::of(head.field("content-type"));
        if head.framing != Framing::None {
            check_media(operation, media, head)?;
        }
        Ok(AdmittedRequest {
            operation,
            parameters: matched.parameters,
            query: head.query.map(Cow::Borrowed),
            last_event_id: joined_field(head, "last-event-id"),
            conversation_id: head.field("x-conversation-id").map(Cow::Borrowed),
            accept: joined_field(head, "accept"),
            if_none_match: joined_field(head, "if-none-match"),
            media,
            idempotency_key: idempotency_key(operation, head)?,
            caller,
            networks,
        })
    }

    /// The caller, by the token in `Authorization` or in the query.
    fn authenticate(&mut self, slot: u32, access: Access, head: &Head<'_, '_>, now: Now) -> Result<Caller, ApiError> {
        let (context, rules) = (&self.context, &self.token_rules);
        let in_query = match access {
            Access::TokenOrTicket => api::auth::query_credential(head.query, context.settings.environment),
            Access::Open | Access::Token => None,
        };
        // A field of another scheme does not hide a ticket: it may be for a proxy that authenticates the browser.
        if let Some(value) = head.field("authorization")
            && (in_query.is_none() || api::auth::is_bearer(value))
        {
            let last = self.connections[slot].last_token_mut();
            let caller = api::auth::authenticate(context, rules, api::auth::bearer(value)?, last, now.wall)?;
            return match caller.purpose {
                Purpose::Access => Ok(caller),
                Purpose::StreamTicket => Err(ApiError::invalid_token("A stream ticket belongs in the query")),
            };
        }
        if let Some((credential, token)) = in_query {
            // It opens one stream, so it is not kept.
            let caller = api::auth::authenticate(context, rules, &token, &mut None, now.wall)?;
            return if credential == caller.purpose {
                Ok(caller)
            } else {
                Err(ApiError::invalid_token("The token is not valid for this"))
            };
        }
        Err(ApiError::missing_token())
    }

    /// Checks that the token of an admitted request is still accepted.
    pub(in crate::shard) fn check_again(&self, caller: &Caller, now: Now) -> Result<(), ApiError> {
        api::auth::check_again(&self.context, &self.token_rules, caller, now.wall)
    }

    /// The rate that this instance allows. Instances that do not tell each other what they count divide a rate among them.
    pub(super) fn share_of_rate(&self, key: &RateKey, rate: Rate) -> Rate {
        match self.shared.streams.others() {
            0 => rate,
            _ if key.is_shared() && self.shared.streams.can_ask_others() => rate,
            others => rate.divided(others as u64 + 1),
        }
    }

    /// Counts a request for `key`. The response reports the rate with the least remaining, if several are counted.
    fn count(
        &self,
        key: RateKey,
        rate: Rate,
        request_context: &mut RequestContext<'_>,
        now: Now,
    ) -> Result<(), ApiError> {
        let rate = self.share_of_rate(&key, rate);
        let counted = self.shared.rate_limiter.take(key, rate, now.mono);
        let scarcer = |quota: &Quota, other: &Quota| other.remaining < quota.remaining;
        request_context.quota = Some(match (counted, request_context.quota) {
            (Ok(quota), Some(other)) if scarcer(&quota, &other) => other,
            (Ok(quota) | Err(quota), _) => quota,
        });
        counted.map(drop).map_err(rate_exceeded)
    }

    /// Counts an unauthenticated request, and returns `error`, or that the rate is exceeded.
    fn count_anonymous(
        &self,
        networks: ClientAddresses,
        request_context: &mut RequestContext<'_>,
        error: ApiError,
        now: Now,
    ) -> ApiError {
        let Some(limit) = self.context.settings.rate_limit else { return error };
        networks
            .iter()
            .find_map(|network| {
                self.count(RateKey::Anonymous(network), anonymous_rate(limit), request_context, now).err()
            })
            .unwrap_or(error)
    }

    /// Counts a login. `times` the setting's number are allowed.
    pub(super) fn count_login(
        &self,
        key: RateKey,
        times: u64,
        request_context: &mut RequestContext<'_>,
        now: Now,
    ) -> Result<(), ApiError> {
        let Some(logins_max) = self.context.settings.logins_per_minute_max else { return Ok(()) };
        let counted = self.count(key, Rate::per_minute(u64::from(logins_max) * times), request_context, now);
        counted.inspect_err(|_| metrics::LOGINS[LoginResult::RateLimited as usize].add(1))
    }
}

/// The response to a request that is not executed.
enum EarlyResponse {
    Error(ApiError),
    Response(Box<Response>),
}

impl From<ApiError> for EarlyResponse {
    fn from(error: ApiError) -> EarlyResponse {
        EarlyResponse::Error(error)
    }
}

/// Fields that determine the caller or the meaning of a request. If one is repeated, another server on the way may use another
/// one of its values.
const DECISIVE_FIELDS: [&str; 5] = ["Authorization", "Content-Type", "Origin", "Idempotency-Key", "X-Conversation-Id"];

/// The rate of one user.
pub(super) fn user_rate(limit: RateLimit) -> Rate {
    Rate::per_second(u64::from(limit.per_second), u64::from(limit.burst))
}

/// The rate of one user's replayed requests.
pub(super) fn replay_rate(limit: RateLimit) -> Rate {
    let times = |count: u32| u64::from(count) * REPLAYS_FACTOR;
    Rate::per_second(times(limit.per_second), times(limit.burst))
}

/// The rate of unauthenticated requests from one network.
fn anonymous_rate(limit: RateLimit) -> Rate {
    let times = |count: u32| u64::from(count) * REQUESTS_PER_ADDRESS_FACTOR;
    Rate::per_second(times(limit.per_second), times(limit.burst))
}

fn rate_exceeded(quota: Quota) -> ApiError {
    ApiError::rate_limited("Too many requests", quota.next_seconds)
}

/// The values of a field that may be repeated, joined with commas (RFC 9110 §5.3).
fn joined_field<'b>(head: &Head<'_, 'b>, name: &str) -> Option<Cow<'b, [u8]>> {
    let mut values = head.fields(name);
    let first = values.next()?;
    let rest: Vec<&[u8]> = values.collect();
    if rest.is_empty() {
        Some(Cow::Borrowed(first))
    } else {
        Some(Cow::Owned([&[first], &rest[..]].concat().join(&b',')))
    }
}

fn check_media(operation: Operation, media: Media, head: &Head<'_, '_>) -> Result<(), ApiError> {
    let is_encoded = |coding: &[u8]| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity");
    if operation.body() != BodyKind::None && head.fields("content-encoding").any(is_encoded) {
        return Err(ApiError::encoded_body());
    }
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
    let rule = match std::str::from_utf8(raw) {
        Ok(key) if visible && (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) => {
            return Ok(Some(Cow::Borrowed(key)));
        }
        _ => "must be 1 to 128 visible ASCII characters",
    };
    Err(ApiError::validation(operation.subject(), vec![("Idempotency-Key", rule.to_owned())]))
}
