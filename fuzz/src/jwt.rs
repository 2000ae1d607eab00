//! Tokens: `auth::jwt` accepts exactly the tokens that one of our keys signed and `docs/api.md` (section 2) allows, and
//! decodes their claims. The reference splits a token with its own base64url, checks the signature itself and parses
//! claims with `json_reference`.
//!
//! Input: a byte each for the keys, the construction of the token and its signer, then the parts of the token.

use super::choices::Choices;
use super::json_reference::{self as json, Json};
use cortex_core::internals::limits::{PROFILE_CHARS_MAX, TOKEN_BYTES_MAX, USER_ID_CHARS_MAX};
use cortex_core::internals::time::SECOND;
use cortex_core::internals::{Claims, Keys, Purpose, TokenError, WallTime};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const CURRENT: &[u8] = b"the key that signs now";
const PREVIOUS: [&[u8]; 2] = [b"the key before", b"k"];
const FOREIGN: &[u8] = b"a key that is not ours";
const NOW_SECONDS: i64 = 1_800_000_000;
const LEEWAY: i64 = 30 * SECOND;
/// 9999-12-31T23:59:59Z.
const SECONDS_MAX: u64 = 253_402_300_799;
const GOOD_HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// The claims of a valid token, by the reference.
#[derive(Debug, PartialEq)]
struct ReferenceClaims {
    user: String,
    name: Option<String>,
    email: Option<String>,
    sub: Option<String>,
    expires: Time,
    issued: Option<Time>,
    /// `auth_time`, or `iat` without it.
    authenticated: Option<Time>,
    generation: Option<u64>,
    ticket: bool,
}

/// Microseconds, and whether they were written as an integer; a fraction is parsed as a double, with an error of about
/// a microsecond.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Time {
    micros: i64,
    exact: bool,
}

pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let which = choices.byte();
    let issuer = (which & 1 == 1).then(|| "issuer".to_owned());
    let audience = (which & 2 == 2).then(|| "audience".to_owned());
    let previous: Vec<Vec<u8>> = PREVIOUS.iter().take(usize::from(which >> 2 & 3)).map(|key| key.to_vec()).collect();
    let keys = Keys::new(CURRENT, &previous, issuer.clone(), audience.clone());
    let mut valid: Vec<&[u8]> = vec![CURRENT];
    valid.extend(previous.iter().map(Vec::as_slice));

    let token = make_token(&mut choices);
    let now = WallTime(NOW_SECONDS * SECOND);
    let got = keys.verify(&token, now);
    let Some(want) = reference_claims(&token, &valid, issuer.as_deref(), audience.as_deref()) else { return };
    match (&got, &want) {
        (Ok(claims), Ok(said)) => {
            compare(claims, said);
            check_round_trip(&keys, claims, now);
        }
        (Err(_), Err(())) => {}
        _ => panic!("{token}: {got:?}, but {want:?}"),
    }
}

/// A token of one of several constructions, with some bytes changed afterwards.
fn make_token(choices: &mut Choices<'_>) -> String {
    let make = choices.byte();
    let signer = [CURRENT, PREVIOUS[0], PREVIOUS[1], FOREIGN][choices.below(4)];
    let changes = usize::from(make >> 4 & 3);
    let changed: Vec<(usize, u8)> = (0..changes).map(|_| (choices.pair(), choices.byte())).collect();
    let mut token = match make & 3 {
        0 => return String::from_utf8_lossy(choices.0).into_owned(),
        1 => sign(GOOD_HEADER.as_bytes(), choices.0, signer),
        2 => {
            let len = choices.below(64);
            let header = choices.take(len);
            sign(header, choices.0, signer)
        }
        _ => {
            let mut payload = br#"{"oid":"u","exp":1900000000,"iss":"issuer","aud":["audience"]"#.to_vec();
            payload.extend_from_slice(choices.0);
            payload.push(b'}');
            sign(GOOD_HEADER.as_bytes(), &payload, signer)
        }
    }
    .into_bytes();
    for (at, byte) in changed {
        let at = at % token.len();
        match byte % 8 {
            0 => token[at] ^= 1 << (byte >> 5),
            1 => token.truncate(at.max(1)),
            2 => token.insert(at, b'.'),
            3 => token.push(b'='),
            4 => token.insert(at, byte >> 1),
            // The last character of a part may have unused bits.
            5 => *token.last_mut().expect("a token is not empty") = ALPHABET[usize::from(byte >> 2) % 64],
            6 => {
                let end = token.iter().rposition(|byte| *byte == b'.').unwrap_or(0);
                token.truncate(end.max(1));
            }
            _ => token.rotate_left(at),
        }
    }
    String::from_utf8_lossy(&token).into_owned()
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn base64url(bytes: &[u8]) -> String {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let value = |six: &[u8]| (0..6).fold(0, |value, at| value << 1 | usize::from(six.get(at).copied().unwrap_or(0)));
    bits.chunks(6).map(|six| char::from(ALPHABET[value(six)])).collect()
}

/// RFC 4648 §5 without padding: the unused bits are zero, and fewer than six.
fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for character in text.bytes() {
        let value = ALPHABET.iter().position(|known| *known == character)?;
        bits.extend((0..6).rev().map(|bit| (value >> bit & 1) as u8));
    }
    let left_over = bits.split_off(bits.len() / 8 * 8);
    if left_over.len() >= 6 || left_over.contains(&1) {
        return None;
    }
    Some(bits.chunks(8).map(|eight| eight.iter().fold(0, |byte, bit| byte << 1 | bit)).collect())
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC accepts a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn sign(header: &[u8], payload: &[u8], key: &[u8]) -> String {
    let signed = format!("{}.{}", base64url(header), base64url(payload));
    let signature = base64url(&hmac(key, &signed));
    format!("{signed}.{signature}")
}

/// The claims if the token is valid; `None` where the reference cannot decide.
fn reference_claims(
    token: &str,
    keys: &[&[u8]],
    issuer: Option<&str>,
    audience: Option<&str>,
) -> Option<Result<ReferenceClaims, ()>> {
    let refused = Some(Err(()));
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { return refused };
    if token.len() > TOKEN_BYTES_MAX {
        return refused;
    }
    let (Some(header_bytes), Some(payload_bytes), Some(signature)) =
        (from_base64url(header), from_base64url(payload), from_base64url(signature))
    else {
        return refused;
    };
    let signed = &token[..header.len() + 1 + payload.len()];
    if !keys.iter().any(|key| hmac(key, signed) == signature) {
        return refused;
    }
    let (Ok(header), Ok(payload)) = (String::from_utf8(header_bytes), String::from_utf8(payload_bytes)) else {
        return refused;
    };
    let read = (json::parse(&header), json::parse(&payload));
    if matches!(read, (Err(json::Fault::TooDeep), _) | (_, Err(json::Fault::TooDeep))) {
        return None;
    }
    let (Ok(Json::Object(header)), Ok(Json::Object(payload))) = read else { return refused };
    if !names_are_unique(&header) || !names_are_unique(&payload) || !header_is_good(&header) {
        return refused;
    }
    claims(&payload, issuer, audience).transpose()
}

type Members<'a> = [(Option<String>, Json<'a>, &'a str)];

fn names_are_unique(members: &Members<'_>) -> bool {
    let is_first = |place: usize| members[..place].iter().all(|(name, ..)| *name != members[place].0);
    (0..members.len()).all(|place| members[place].0.is_some() && is_first(place))
}

fn member<'m, 'a>(members: &'m Members<'a>, name: &str) -> Option<&'m Json<'a>> {
    members.iter().find(|(known, ..)| known.as_deref() == Some(name)).map(|(_, value, _)| value)
}

fn header_is_good(header: &Members<'_>) -> bool {
    let alg = matches!(member(header, "alg"), Some(Json::Text(Some(alg))) if alg == "HS256");
    let typ = matches!(member(header, "typ"), None | Some(Json::Text(Some(_))));
    alg && typ && member(header, "crit").is_none()
}

/// `Err` for invalid claims, `Ok(None)` where the reference cannot decide.
fn claims(payload: &Members<'_>, issuer: Option<&str>, audience: Option<&str>) -> Result<Option<ReferenceClaims>, ()> {
    let text = |name: &str| match member(payload, name) {
        None => Ok(None),
        Some(Json::Text(Some(text))) => Ok(Some(text.clone())),
        Some(_) => Err(()),
    };
    let profile = |name: &str| match member(payload, name) {
        Some(Json::Null) => Ok(None),
        _ => text(name),
    };
    let cut = |text: Option<String>| text.map(|text| text.chars().take(PROFILE_CHARS_MAX).collect::<String>());
    let time = |name: &str| match member(payload, name) {
        None => Ok(None),
        Some(Json::Number(digits)) => read_time(digits).map(Some),
        Some(_) => Err(()),
    };
    let user = text("oid")?.ok_or(())?;
    if user.is_empty() || user.chars().count() > USER_ID_CHARS_MAX || user.starts_with("responder:") {
        return Err(());
    }
    let iss = text("iss")?;
    if issuer.is_some_and(|wanted| iss.as_deref() != Some(wanted)) {
        return Err(());
    }
    let audiences = match member(payload, "aud") {
        None => Vec::new(),
        Some(Json::Text(Some(one))) => vec![one.as_str()],
        Some(Json::Array(items)) => {
            let texts: Option<Vec<&str>> = items
                .iter()
                .map(|item| match item {
                    Json::Text(Some(text)) => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            texts.ok_or(())?
        }
        Some(_) => return Err(()),
    };
    if audience.is_some_and(|wanted| !audiences.contains(&wanted)) {
        return Err(());
    }
    let ticket = text("use")?.is_some_and(|said| said == "stream");
    let (name, email, sub) = (cut(profile("name")?), cut(profile("email")?), profile("sub")?);
    let expires = time("exp")?.ok_or(())?;
    let (not_before, issued, login) = (time("nbf")?, time("iat")?, time("auth_time")?);
    let starts = [not_before, issued, login];
    let now = NOW_SECONDS * SECOND;
    let near = |time: Time, edge: i64| !time.exact && (time.micros - edge).abs() <= 2;
    let soon = now + LEEWAY;
    if near(expires, now - LEEWAY) || starts.into_iter().flatten().any(|time| near(time, soon)) {
        return Ok(None);
    }
    if expires.micros <= now - LEEWAY || starts.into_iter().flatten().any(|time| time.micros > soon) {
        return Err(());
    }
    let generation = match member(payload, "token_generation") {
        Some(Json::Text(Some(text))) => text.parse().ok(),
        _ => None,
    };
    let authenticated = login.or(issued);
    Ok(Some(ReferenceClaims { user, name, email, sub, expires, issued, authenticated, generation, ticket }))
}

/// A number of seconds from 1970 through 9999.
fn read_time(digits: &str) -> Result<Time, ()> {
    if let Ok(seconds) = digits.parse::<u64>() {
        return if seconds <= SECONDS_MAX {
            Ok(Time { micros: seconds as i64 * SECOND, exact: true })
        } else {
            Err(())
        };
    }
    let seconds: f64 = digits.parse().map_err(|_| ())?;
    if !(0.0..=SECONDS_MAX as f64).contains(&seconds) {
        return Err(());
    }
    Ok(Time { micros: (seconds * SECOND as f64).round() as i64, exact: false })
}

fn compare(claims: &Claims, said: &ReferenceClaims) {
    let same = |at: WallTime, time: Time| (at.0 - time.micros).abs() <= if time.exact { 0 } else { 64 };
    assert_eq!(claims.user.as_str(), said.user);
    assert_eq!(claims.name.as_deref(), said.name.as_deref());
    assert_eq!(claims.email.as_deref(), said.email.as_deref());
    assert_eq!(claims.sub.as_deref(), said.sub.as_deref());
    assert!(same(claims.expires_at, said.expires), "{:?} is not {:?}", claims.expires_at, said.expires);
    assert_eq!(claims.issued_at.is_some(), said.issued.is_some());
    assert!(claims.issued_at.zip(said.issued).is_none_or(|(at, time)| same(at, time)));
    let credential = &claims.credential;
    assert_eq!(credential.authenticated_at.is_some(), said.authenticated.is_some());
    assert!(credential.authenticated_at.zip(said.authenticated).is_none_or(|(at, time)| same(at, time)));
    assert_eq!(credential.generation, said.generation);
    assert_eq!(claims.purpose == Purpose::StreamTicket, said.ticket);
}

/// A token issued with these claims verifies to the same claims.
fn check_round_trip(keys: &Keys, claims: &Claims, now: WallTime) {
    let token = keys.sign(claims).expect("the key that verified a token signs");
    let whole = WallTime(claims.expires_at.0.div_euclid(SECOND) * SECOND);
    match keys.verify(&token, now) {
        Ok(again) => {
            let dropped = claims.sub.as_ref().is_some_and(|sub| sub.len() > 1000) && again.sub.is_none();
            if !dropped {
                assert_eq!(again, Claims { expires_at: whole, ..claims.clone() });
            }
            assert_eq!((&again.user, again.purpose), (&claims.user, claims.purpose));
        }
        Err(TokenError::Expired) => {
            assert!(whole.0 + LEEWAY <= now.0, "only the fraction of a second was left")
        }
        Err(error) => panic!("our own token is rejected: {error}"),
    }
}
