//! Queries, forms and paths: percent-decoding against a naive decoder, round trips, and typed parameters against the
//! rules of `docs/api.md`.
//!
//! Input: the text of a query or form, which may have characters beyond ASCII.

use super::http_reference::{Reading, read_head};
use cortex_core::internals::head::parse_head;
use cortex_core::internals::limits::{FORM_PAIRS_MAX, SEARCH_LIMIT_DEFAULT, SEARCH_LIMIT_MAX, USERS_QUERY_IDS_MAX};
use cortex_core::internals::urlencoded::{decode_path_segment, parse_pairs};
use cortex_core::internals::wire::query_params;
use cortex_core::internals::wire::query_params::QueryPair;
use cortex_core::internals::wire::search_query::search_terms;
use cortex_core::internals::{
    EventKind, EventNumber, HeadLimits, HeaderBuf, KindSet, LastEventId, MessageCursor, router,
};

type Plain = Vec<(String, String)>;

pub fn run(data: &[u8]) {
    let Ok(raw) = std::str::from_utf8(data) else { return };
    assert_eq!(decode_path_segment(raw).map(|text| text.into_owned()), decode(raw, false));
    let pairs = parse_pairs(raw);
    let want = decode_pairs(raw);
    let plain = |pairs: &[QueryPair<'_>]| -> Plain {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    assert_eq!(pairs.as_deref().ok().map(plain), want);
    if let Ok(pairs) = &pairs {
        let encoded = encode_pairs(&plain(pairs));
        let again = parse_pairs(&encoded).expect("a valid encoding is decoded");
        assert_eq!(plain(&again), plain(pairs), "a round trip");
        typed(pairs);
    }
    as_target(raw);
}

/// `None` for a broken escape or invalid UTF-8.
fn decode(raw: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = raw.as_bytes();
    while !rest.is_empty() {
        if rest[0] == b'%' {
            let digits = std::str::from_utf8(rest.get(1..3)?).ok()?;
            if digits.contains('+') {
                return None;
            }
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[3..];
        } else {
            bytes.push(if rest[0] == b'+' && plus_is_space { b' ' } else { rest[0] });
            rest = &rest[1..];
        }
    }
    String::from_utf8(bytes).ok()
}

fn decode_pairs(raw: &str) -> Option<Plain> {
    let parts: Vec<&str> = raw.split('&').filter(|part| !part.is_empty()).collect();
    if parts.len() > FORM_PAIRS_MAX {
        return None;
    }
    let pair = |part: &str| {
        let (name, value) = match part.find('=') {
            Some(at) => (&part[..at], &part[at + 1..]),
            None => (part, ""),
        };
        Some((decode(name, true)?, decode(value, true)?))
    };
    parts.into_iter().map(pair).collect()
}

fn encode_pairs(pairs: &Plain) -> String {
    let encode = |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02x}")).collect() };
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

/// The value of a parameter; `Err` if it occurs twice.
fn once<'p>(pairs: &'p [QueryPair<'_>], name: &str) -> Result<Option<&'p str>, ()> {
    let values: Vec<&str> = pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value).collect();
    match values[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => Err(()),
    }
}

fn number(pairs: &[QueryPair<'_>], name: &str, min: u128, max: u128) -> Result<Option<u128>, ()> {
    let Some(digits) = once(pairs, name)? else { return Ok(None) };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(());
    }
    let significant = digits.trim_start_matches('0');
    let number: u128 = if significant.is_empty() { 0 } else { significant.parse().map_err(|_| ())? };
    if (min..=max).contains(&number) { Ok(Some(number)) } else { Err(()) }
}

fn is_uuid(text: &str) -> bool {
    let hyphens = [8, 13, 18, 23];
    text.len() == 36
        && text.bytes().enumerate().all(
            |(at, byte)| {
                if hyphens.contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() }
            },
        )
}

fn typed(pairs: &[QueryPair<'_>]) {
    let limit = number(pairs, "limit", 1, 1000);
    let offset = number(pairs, "offset", 0, i64::MAX as u128);
    let pagination = query_params::pagination(pairs);
    assert_eq!(pagination.is_ok(), limit.is_ok() && offset.is_ok(), "{pagination:?}");
    if let (Ok(pagination), Ok(limit), Ok(offset)) = (&pagination, limit, offset) {
        assert_eq!(u128::from(pagination.limit), limit.unwrap_or(100));
        assert_eq!(u128::from(pagination.offset), offset.unwrap_or(0));
    }
    let workspace = once(pairs, "workspace_id");
    let listed = query_params::conversation_list(pairs);
    assert_eq!(listed.is_ok(), pagination.is_ok() && matches!(workspace, Ok(Some(_))));
    assert!(
        listed.is_ok_and(|list| Ok(Some(list.workspace_id.as_str())) == workspace)
            || pagination.is_err()
            || !matches!(workspace, Ok(Some(_)))
    );
    let include = once(pairs, "include");
    let list = query_params::conversation_view_list(pairs);
    assert_eq!(list.is_ok(), pagination.is_ok() && matches!(include, Ok(None | Some("messages"))));
    assert!(list.is_err() || list.is_ok_and(|query| query.with_messages == (include == Ok(Some("messages")))));
    messages(pairs, limit, include);
    stream(pairs);
    users(pairs);
    search(pairs);
    let login = query_params::login_form(pairs).ok();
    let field = |name, bytes_max: usize, chars_max: usize| {
        let value = once(pairs, name).ok().flatten()?;
        let fits = !value.is_empty() && value.len() <= bytes_max && value.chars().count() <= chars_max;
        fits.then(|| value.to_owned())
    };
    let want = field("username", usize::MAX, 320).zip(field("password", 800, usize::MAX));
    assert_eq!(login.map(|login| (login.email, login.password)), want);
}

fn messages(pairs: &[QueryPair<'_>], limit: Result<Option<u128>, ()>, include: Result<Option<&str>, ()>) {
    let got = query_params::message_list(pairs);
    let id = |name| match once(pairs, name) {
        Ok(Some(id)) if !is_uuid(id) => Err(()),
        other => other.map(|id| id.map(str::to_ascii_lowercase)),
    };
    let want = match (id("before"), id("after"), limit) {
        (Ok(before), Ok(after), Ok(limit)) if before.is_none() || after.is_none() => Some((before, after, limit)),
        _ => None,
    };
    let want = want.filter(|_| matches!(include, Ok(None | Some("reasoning"))));
    assert_eq!(got.is_ok(), want.is_some(), "{got:?}");
    let (Ok(got), Some((before, after, limit))) = (got, want) else { return };
    assert_eq!(u128::from(got.limit), limit.unwrap_or(100));
    let cursor = match got.cursor {
        MessageCursor::First => (None, None),
        MessageCursor::Before(id) => (Some(id.to_string()), None),
        MessageCursor::After(id) => (None, Some(id.to_string())),
    };
    assert_eq!(cursor, (before, after));
}

fn stream(pairs: &[QueryPair<'_>]) {
    let got = query_params::stream(pairs);
    let control = [
        "connection_established",
        "caught_up",
        "heartbeat",
        "gap",
        "token_expiring",
        "token_expired",
        "server_shutdown",
        "unavailable",
    ];
    let kinds: Result<Vec<&str>, ()> = match once(pairs, "types") {
        Ok(None) => Ok(EventKind::ALL.iter().map(|kind| kind.as_str()).collect()),
        Ok(Some(names)) => {
            let mut kinds: Vec<&str> = names.split(',').collect();
            if kinds.contains(&"output") {
                kinds.extend([
                    "output_delta",
                    "output_reasoning_delta",
                    "output_snapshot",
                    "output_error",
                    "answer_status",
                ]);
            }
            let known = |name: &&str| EventKind::ALL.iter().any(|kind| kind.as_str() == *name);
            if kinds.iter().all(known) { Ok([kinds, control.to_vec()].concat()) } else { Err(()) }
        }
        Err(()) => Err(()),
    };
    let named = match once(pairs, "named") {
        Ok(Some("true" | "1")) => Ok(true),
        Ok(None | Some("false" | "0")) => Ok(false),
        _ => Err(()),
    };
    let spelling =
        |name: &str| ["last_event_id", "lasteventid", "last-event-id"].contains(&name.to_ascii_lowercase().as_str());
    let positions = pairs.iter().filter(|(name, _)| spelling(name)).flat_map(|(_, value)| value.split(','));
    let positions = positions.map(|part| part.trim_matches(|char: char| char.is_ascii_whitespace()));
    let last: Result<Vec<u64>, ()> = positions
        .filter(|part| !part.is_empty())
        .map(|part| if part.starts_with('+') { Err(()) } else { part.parse().map_err(|_| ()) })
        .collect();
    let last = last.map(|numbers| numbers.into_iter().max());
    let texts = ["conversation_id", "workspace_id", "ticket", "access_token", "token"].map(|name| once(pairs, name));
    let want = kinds.is_ok() && named.is_ok() && last.is_ok() && texts.iter().all(Result::is_ok);
    assert_eq!(got.is_ok(), want, "{got:?}");
    let (Ok(got), Ok(kinds), Ok(named), Ok(last)) = (got, kinds, named, last) else { return };
    for kind in EventKind::ALL {
        assert_eq!(got.kinds.has(*kind), kinds.contains(&kind.as_str()), "{kind:?}");
    }
    assert!(!KindSet::NONE.has(EventKind::Gap) && got.kinds.has(EventKind::Gap));
    assert_eq!(got.named, named);
    let last = last.map_or(LastEventId::Absent, |number| LastEventId::Number(EventNumber(number)));
    assert_eq!(got.last_event_id, last);
    assert_eq!(Ok(got.conversation_id.as_deref()), texts[0]);
    assert_eq!(Ok(got.workspace_id.as_deref()), texts[1]);
}

fn users(pairs: &[QueryPair<'_>]) {
    let got = query_params::user_ids(pairs);
    let ids = once(pairs, "ids").ok().flatten().map(|ids| {
        let mut wanted: Vec<&str> = Vec::new();
        for id in ids.split(',').filter(|id| !id.starts_with("responder:")) {
            if !wanted.contains(&id) {
                wanted.push(id);
            }
        }
        wanted
    });
    let is_id = |id: &&str| (1..=255).contains(&id.chars().count());
    let sent = once(pairs, "ids").ok().flatten().map_or(0, |ids| ids.split(',').count());
    let want = ids.filter(|ids| ids.iter().all(is_id) && sent <= USERS_QUERY_IDS_MAX);
    let got = got.ok().map(|ids| ids.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>());
    assert_eq!(got.as_ref().map(|ids| ids.iter().map(String::as_str).collect()), want);
}

fn search(pairs: &[QueryPair<'_>]) {
    let got = query_params::search(pairs);
    let terms = once(pairs, "q").ok().flatten().and_then(|query| search_terms(query).ok());
    let limit = number(pairs, "limit", 1, SEARCH_LIMIT_MAX.into());
    let before = once(pairs, "before").ok().filter(|id| id.is_none_or(is_uuid));
    let texts = ["conversation_id", "workspace_id"].map(|name| once(pairs, name));
    let want = terms.is_some() && limit.is_ok() && before.is_some() && texts.iter().all(Result::is_ok);
    assert_eq!(got.is_ok(), want, "{got:?}");
    let (Ok(got), Some(terms), Ok(limit), Some(before)) = (got, terms, limit, before) else { return };
    assert_eq!((got.terms, u128::from(got.limit)), (terms, limit.unwrap_or(SEARCH_LIMIT_DEFAULT.into())));
    assert_eq!(got.before.map(|id| id.to_string()), before.map(str::to_ascii_lowercase));
    assert_eq!([Ok(got.conversation_id.as_deref()), Ok(got.workspace_id.as_deref())], texts);
}

/// The same text as a request target, which has a route or not.
fn as_target(raw: &str) {
    let request = format!("GET /{raw} HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut slots = HeaderBuf::new();
    let limits = HeadLimits { head_bytes_max: 1 << 20 };
    let got = parse_head(request.as_bytes(), &mut slots, &limits);
    let want = read_head(request.as_bytes(), 1 << 20);
    match (&got, &want) {
        (Ok(Some(head)), Reading::Good(want)) => {
            assert_eq!((head.path, head.query), (want.path.as_str(), want.query.as_deref()));
            route(head.path);
        }
        (Err(_), Reading::Bad(_)) => {}
        _ => panic!("{got:?} is not {want:?}"),
    }
}

fn route(path: &str) {
    let segments = |path: &str| -> Option<Vec<String>> { path.split('/').map(|raw| decode(raw, false)).collect() };
    let fits = |pattern: &str| {
        let (pattern, path) = (segments(pattern)?, segments(path)?);
        let mut open = Vec::new();
        for (want, got) in pattern.iter().zip(&path) {
            if want.starts_with('{') && !got.is_empty() {
                open.push(got.clone());
            } else if want != got {
                return None;
            }
        }
        (pattern.len() == path.len()).then_some(open)
    };
    let want = router::ROUTES.iter().find_map(|route| fits(route.pattern).map(|open| (route.pattern, open)));
    let got = router::find(path).ok().map(|matched| {
        let open = matched.parameters.iter().filter(|open| !open.is_empty()).map(|open| open.to_string()).collect();
        (matched.route.pattern, open)
    });
    assert_eq!(got, want);
}
