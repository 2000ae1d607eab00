//! Authentication of requests, and the endpoints `/auth/*`: login, refresh, stream tickets and passwords.

use super::action::Action;
use super::caller::Caller;
use super::context::Context;
use super::error::ApiError;
use super::request::{Media, Request};
use super::response::Response;
use crate::auth::jwt::{Claims, Purpose};
use crate::auth::verified_token::VerifiedToken;
use crate::base::time::WallTime;
use crate::config::types::Environment;
use crate::domain::command::Actor;
use crate::domain::model::UserProfile;
use crate::domain::password::PasswordCheck;
use crate::domain::token_rules::{Credential, TokenRules};
use crate::http1::urlencoded::parse_pairs;
use crate::wire;
use crate::wire::request::InvalidBody;

/// The token in an `Authorization` field (RFC 6750 §2.1). The scheme is case-insensitive.
pub(crate) fn bearer(value: &[u8]) -> Result<&str, ApiError> {
    let text = std::str::from_utf8(value).map_err(|_| ApiError::invalid_token("The token is not valid UTF-8"))?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim_matches(' ')),
        _ => Err(ApiError::invalid_token("The Authorization field must have the form: Bearer TOKEN")),
    }
}

/// Whether an `Authorization` field has the scheme `Bearer`.
pub(crate) fn is_bearer(value: &[u8]) -> bool {
    value.split(|byte| *byte == b' ').next().is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
}

/// Verifies a token, and that the rules for its user accept it: a disabled user's tokens are rejected, for example. `last` is the
/// token of the connection's earlier requests.
pub(crate) fn authenticate(
    context: &Context,
    token_rules: &TokenRules,
    token: &str,
    last: &mut Option<Box<VerifiedToken>>,
    now: WallTime,
) -> Result<Caller, ApiError> {
    let claims = VerifiedToken::verify(last, token, &context.keys, now)
        .map_err(|error| ApiError::invalid_token(error.message()))?;
    if !token_rules.accepts(&claims.user, &claims.credential) {
        return Err(ApiError::token_ended());
    }
    Ok(Caller {
        actor: Actor { id: claims.user, name: claims.name, email: claims.email, credential: claims.credential },
        subject: claims.sub,
        expires_at: claims.expires_at,
        purpose: claims.purpose,
        key: claims.key,
    })
}

/// Checks that the token of an authenticated caller is still accepted. Time may have passed since [`authenticate`]: while a
/// body arrived, or while a worker had the request.
pub(crate) fn check_again(
    context: &Context,
    token_rules: &TokenRules,
    caller: &Caller,
    now: WallTime,
) -> Result<(), ApiError> {
    let is_accepted = context.keys.still_accept(caller.key, caller.expires_at, now)
        && token_rules.accepts(&caller.actor.id, &caller.actor.credential);
    if is_accepted { Ok(()) } else { Err(ApiError::token_ended()) }
}

/// The credential in the query of a stream's URL, and the purpose that it must have: `ticket`, or in development
/// `access_token` or (for older clients) `token`. The first of these takes precedence.
pub(crate) fn query_credential(query: Option<&str>, environment: Environment) -> Option<(Purpose, String)> {
    let pairs = parse_pairs(query?).ok()?;
    let value = |name: &str| pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone().into_owned());
    if let Some(ticket) = value("ticket") {
        return Some((Purpose::StreamTicket, ticket));
    }
    if environment != Environment::Development {
        return None;
    }
    value("access_token").or_else(|| value("token")).map(|token| (Purpose::Access, token))
}

/// `POST /auth/login`, with a form or JSON.
pub(super) fn login(request: &Request<'_>) -> Result<Action, ApiError> {
    let login = match request.media {
        Media::Form => {
            let text =
                std::str::from_utf8(request.body).map_err(|_| ApiError::bad_request("The form is not valid UTF-8"))?;
            let pairs = parse_pairs(text).map_err(ApiError::bad_request)?;
            wire::query_params::login_form(&pairs).map_err(InvalidBody::Fields)
        }
        _ => wire::request::login(request.body),
    }
    .map_err(|error| request.invalid_body(error))?;
    Ok(Action::CheckPassword(PasswordCheck::Login { email: login.email.into(), password: login.password.into() }))
}

/// The credential of a login whose password was verified together with `generation`.
pub(crate) fn login_credential(generation: u64, now: WallTime) -> Credential {
    Credential { authenticated_at: Some(now), generation: Some(generation) }
}

/// The response to a successful login.
pub(crate) fn login_response(
    context: &Context,
    user: &UserProfile,
    credential: Credential,
    now: WallTime,
) -> Result<Response, ApiError> {
    let text = |value: &str| (!value.is_empty()).then(|| value.into());
    token_response(
        context,
        Claims {
            user: user.id.clone(),
            name: text(&user.name),
            email: text(&user.email),
            sub: text(&user.email).or_else(|| text(user.id.as_str())),
            expires_at: new_expiry(context, now),
            issued_at: Some(now),
            credential,
            purpose: Purpose::Access,
            key: context.keys.current(),
        },
        now,
    )
}

/// `GET /auth/verify`
pub(super) fn verify(caller: &Caller) -> Result<Action, ApiError> {
    let actor = &caller.actor;
    let (name, email) = (actor.name.as_deref(), actor.email.as_deref());
    let body = wire::token::verified(&actor.id, name.unwrap_or_default(), email.unwrap_or_default());
    Ok(Action::Respond(Response::json(body)))
}

/// `POST /auth/refresh`: the same claims and credential with a new expiry, signed with the same key.
pub(super) fn refresh(context: &Context, caller: &Caller, now: WallTime) -> Result<Action, ApiError> {
    let claims = Claims { expires_at: new_expiry(context, now), ..claims_of(caller, Purpose::Access, now) };
    Ok(Action::Respond(token_response(context, claims, now)?))
}

/// `POST /auth/stream-ticket`: a ticket with the expiry of the token.
pub(super) fn stream_ticket(context: &Context, caller: &Caller, now: WallTime) -> Result<Action, ApiError> {
    let claims = claims_of(caller, Purpose::StreamTicket, now);
    let expires_in = (claims.expires_at.seconds() - now.seconds()).max(0);
    let ticket = context.keys.sign(&claims).ok_or_else(ApiError::token_ended)?;
    let body = wire::stream::ticket(&ticket, expires_in as u64);
    Ok(Action::Respond(Response::json(body)))
}

/// `POST /auth/password`
pub(super) fn change_password(request: &Request<'_>, caller: &Caller) -> Result<Action, ApiError> {
    let change = wire::request::password_change(request.body).map_err(|error| request.invalid_body(error))?;
    Ok(Action::CheckPassword(PasswordCheck::Change {
        user: caller.actor.id.clone(),
        current: change.current.into(),
        new: change.new.into(),
    }))
}

fn new_expiry(context: &Context, now: WallTime) -> WallTime {
    now.plus_seconds(context.settings.jwt_expiration_seconds)
}

fn claims_of(caller: &Caller, purpose: Purpose, now: WallTime) -> Claims {
    let actor = &caller.actor;
    Claims {
        user: actor.id.clone(),
        name: actor.name.clone(),
        email: actor.email.clone(),
        sub: caller.subject.clone(),
        expires_at: caller.expires_at,
        // A derived token must not be younger than its parent: without a time it would count as issued now. It is not older
        // either, even if the clock went back.
        issued_at: actor.credential.authenticated_at.map(|at| at.max(now)),
        credential: actor.credential,
        purpose,
        key: caller.key,
    }
}

fn token_response(context: &Context, claims: Claims, now: WallTime) -> Result<Response, ApiError> {
    let token = context.keys.sign(&claims).ok_or_else(ApiError::token_ended)?;
    let expires_in = (claims.expires_at.seconds() - now.seconds()).max(0) as u64;
    let profile =
        UserProfile { id: claims.user, name: claims.name.unwrap_or_default(), email: claims.email.unwrap_or_default() };
    Ok(Response::json(wire::token::token(&token, expires_in, &profile)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_precedence_of_credentials_is_ticket_access_token_token() {
        let (ticket, token) =
            (|t: &str| Some((Purpose::StreamTicket, t.into())), |t: &str| Some((Purpose::Access, t.into())));
        let table = [
            ("ticket=a", ticket("a"), ticket("a")),
            ("access_token=b", token("b"), None),
            ("token=c&access_token=b", token("b"), None),
            ("token=c&access_token=b&ticket=a", ticket("a"), ticket("a")),
            ("token=", token(""), None),
            ("tokens=a", None, None),
        ];
        for (query, in_development, in_production) in table {
            assert_eq!(query_credential(Some(query), Environment::Development), in_development, "{query}");
            assert_eq!(query_credential(Some(query), Environment::Production), in_production, "{query}");
        }
    }
}
