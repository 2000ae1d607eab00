//! A slow reference parser of requests, written from RFC 9112, RFC 9110, RFC 3986 and `docs/api.md`: line by line, one
//! function per rule, sharing no code with the program.

use std::net::Ipv6Addr;

/// Maximum length of a target, in bytes (`docs/api.md`, Limits).
pub const TARGET_MAX: usize = 8192;
/// Maximum number of fields (`docs/api.md`, Limits).
pub const FIELDS_MAX: usize = 100;
/// Maximum length of a chunk line, in bytes without its end.
pub const CHUNK_LINE_MAX: usize = 256;
/// Maximum size of the trailer section, in bytes.
pub const TRAILERS_MAX: usize = 8192;

/// How the end of the body is determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    None,
    Length(u64),
    Chunked,
}

/// A valid head.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    pub method: String,
    pub path: String,
    pub query: Option<String>,
    pub is_11: bool,
    pub host: String,
    pub body: Body,
    pub keep_alive: bool,
    pub expect_continue: bool,
    pub len: usize,
    pub fields: Vec<(String, Vec<u8>)>,
}

/// The result for the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading {
    Good(Head),
    /// Any of these statuses is a correct rejection, depending on which error is detected first.
    Bad(Vec<u16>),
    /// The head is incomplete, and no complete line is invalid.
    Unfinished,
}

/// Parses a head of at most `head_max` bytes.
pub fn read_head(input: &[u8], head_max: usize) -> Reading {
    let window = &input[..input.len().min(head_max)];
    let is_full = window.len() == head_max;
    let mut lines = Vec::new();
    let (mut at, mut empty) = (0, 0);
    let mut faults = Vec::new();
    let complete = loop {
        let Some(end) = window[at..].iter().position(|byte| *byte == b'\n') else { break false };
        let line = &window[at..at + end];
        at += end + 1;
        let Some(line) = line.strip_suffix(b"\r").filter(|line| !line.contains(&b'\r')) else {
            faults.push(400);
            faults.extend((lines.is_empty() && overlong_target(line)).then_some(414));
            faults.extend((lines.len() > FIELDS_MAX).then_some(431));
            break false;
        };
        match (line.is_empty(), lines.is_empty()) {
            (true, true) => {
                empty += 1;
                if empty > 2 {
                    faults.push(400);
                    break false;
                }
            }
            (true, false) => break true,
            (false, _) => lines.push(line),
        }
    };
    if let Some(first) = lines.first() {
        faults.extend(request_line_faults(first));
        faults.extend(lines[1..].iter().filter(|line| field(line).is_none()).map(|_| 400));
        if lines.len() - 1 > FIELDS_MAX {
            faults.push(431);
        }
    } else {
        // An incomplete line is checked once its target exceeds the limit for every method of ours.
        let looked_at = window.get(at..TARGET_MAX + 32).unwrap_or_default();
        faults.extend(overlong_target(looked_at).then_some(414));
    }
    if !complete {
        if !faults.is_empty() {
            if is_full {
                faults.push(431);
            }
            return Reading::Bad(faults);
        }
        // A full window without an end is too large, or has an error in its last line.
        return if is_full { Reading::Bad(vec![400, 414, 431]) } else { Reading::Unfinished };
    }
    if !faults.is_empty() {
        return Reading::Bad(faults);
    }
    match meaning(&lines, at) {
        Some(head) if head.fields.iter().any(|(name, value)| is_unknown_expectation(name, value)) => {
            Reading::Bad(vec![417])
        }
        Some(head) => Reading::Good(head),
        None => Reading::Bad(vec![400]),
    }
}

/// Continuations that are tried on a head that was rejected before its end.
const ENDS: [&[u8]; 7] = [
    b"\r\n\r\n",
    b"\n\r\n\r\n",
    b"\r\nHost: a\r\n\r\n",
    b"\nHost: a\r\n\r\n",
    b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b": a\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// An early rejection must be correct for every continuation, with a matching status.
pub fn assert_beyond_repair(input: &[u8], status: u16) {
    for end in ENDS {
        let there = read_head(&[input, end].concat(), usize::MAX);
        let Reading::Bad(statuses) = there else { panic!("{status} is too early: {there:?}") };
        assert!(statuses.contains(&status), "{status} is not one of {statuses:?}");
    }
}

/// Whether the target of an incomplete request line exceeds the limit.
fn overlong_target(line: &[u8]) -> bool {
    let Some(space) = line.iter().position(|byte| *byte == b' ') else { return false };
    let is_method = space > 0 && line[..space].iter().all(|byte| is_tchar(*byte));
    let target = &line[space + 1..];
    is_method && target.len() > TARGET_MAX && target[..=TARGET_MAX].iter().all(|byte| *byte > b' ' && *byte != 0x7f)
}

fn split_request_line(line: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
    let is_three = parts.next().is_none() && !target.is_empty();
    let is_method = !method.is_empty() && method.iter().all(|byte| is_tchar(*byte));
    (is_three && is_method).then(|| (std::str::from_utf8(method).expect("tokens are ASCII"), target, version))
}

fn request_line_faults(line: &[u8]) -> Vec<u16> {
    let mut faults = Vec::new();
    match split_request_line(line) {
        None => faults.push(400),
        Some((_, target, version)) => {
            if version != b"HTTP/1.1" && version != b"HTTP/1.0" {
                faults.push(400);
            }
            if target.iter().any(|byte| *byte < b' ' || *byte == 0x7f) {
                faults.push(400);
            }
        }
    }
    if overlong_target(line) {
        faults.push(414);
    }
    faults
}

/// RFC 9112 §5: a name, a colon directly after it, white space, the value, white space.
fn field(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_name = !name.is_empty() && name.iter().all(|byte| is_tchar(*byte));
    if !is_name || !value.iter().all(|byte| is_field_byte(*byte)) {
        return None;
    }
    let is_space = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    Some((String::from_utf8(name.to_vec()).expect("tokens are ASCII"), value[start..end].to_vec()))
}

/// RFC 9110 §5.6.2.
pub fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char::from(byte))
}

/// RFC 9110 §5.5, with obs-text.
pub fn is_field_byte(byte: u8) -> bool {
    byte == b'\t' || (b' '..=b'~').contains(&byte) || byte >= 0x80
}

fn meaning(lines: &[&[u8]], len: usize) -> Option<Head> {
    let (method, target, version) = split_request_line(lines[0])?;
    let is_11 = version == b"HTTP/1.1";
    let fields: Vec<(String, Vec<u8>)> =
        lines[1..].iter().map(|line| field(line).expect("the line is valid")).collect();
    let values = |name: &str| -> Vec<&[u8]> {
        fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..]).collect()
    };
    let (authority, path, query) = target_parts(method, std::str::from_utf8(target).ok()?)?;
    let hosts = values("host");
    let host = match hosts[..] {
        [] if is_11 => return None,
        [] => String::new(),
        [one] => String::from_utf8(one.to_vec()).ok().filter(|host| is_host(host))?,
        _ => return None,
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    let body = match (&lengths[..], &codings[..]) {
        ([], []) => Body::None,
        ([one], []) => {
            let digits = std::str::from_utf8(one).ok()?;
            let is_number = !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit());
            Body::Length(digits.parse().ok().filter(|_| is_number)?)
        }
        ([], [one]) if is_11 && one.eq_ignore_ascii_case(b"chunked") => Body::Chunked,
        _ => return None,
    };
    let options: Vec<String> = values("connection")
        .iter()
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|option| String::from_utf8_lossy(option).trim_matches([' ', '\t']).to_ascii_lowercase())
        .collect();
    let has = |option: &str| options.iter().any(|known| known == option);
    Some(Head {
        method: method.to_owned(),
        path,
        query,
        is_11,
        host: authority.unwrap_or(host),
        body,
        keep_alive: !has("close") && (is_11 || has("keep-alive")),
        expect_continue: !values("expect").is_empty() && is_11 && !matches!(body, Body::None | Body::Length(0)),
        len,
        fields,
    })
}

fn is_unknown_expectation(name: &str, value: &[u8]) -> bool {
    name.eq_ignore_ascii_case("expect") && !value.eq_ignore_ascii_case(b"100-continue")
}

/// Authority, path and query of a target (RFC 9112 §3.2); `None` for an invalid target.
fn target_parts(method: &str, target: &str) -> Option<(Option<String>, String, Option<String>)> {
    if method == "CONNECT" || target.contains('#') || !target.is_ascii() {
        return None;
    }
    let cut = |rest: &str| match rest.split_once('?') {
        Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
        None => (rest.to_owned(), None),
    };
    let (authority, path, query) = if target.starts_with('/') {
        let (path, query) = cut(target);
        (None, path, query)
    } else if target == "*" {
        (method == "OPTIONS").then(|| (None, "*".to_owned(), None))?
    } else {
        let colon = target.find("://")?;
        if !["http", "https"].contains(&target[..colon].to_ascii_lowercase().as_str()) {
            return None;
        }
        let rest = &target[colon + 3..];
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let authority = Some(rest[..end].to_owned()).filter(|host| is_host(host))?;
        let (path, query) = cut(&rest[end..]);
        let path = match (path.as_str(), method, &query) {
            ("", "OPTIONS", None) => "*".to_owned(),
            ("", _, _) => "/".to_owned(),
            _ => path,
        };
        (Some(authority), path, query)
    };
    percent_is_good(&path).then_some((authority, path, query))
}

fn percent_is_good(text: &str) -> bool {
    let mut parts = text.split('%');
    parts.next();
    // Two percent signs are separated by two digits and any further characters.
    parts.all(|part| part.len() >= 2 && part.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
}

/// RFC 3986 §3.2.2 without future address forms, and a port of 16 bits.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) => (address, ""),
            Some((address, rest)) => match rest.strip_prefix(':') {
                Some(port) => (address, port),
                None => return false,
            },
            None => return false,
        },
        None => host.split_once(':').unwrap_or((host, "")),
    };
    let is_port = port.chars().all(|digit| digit.is_ascii_digit())
        && (port.is_empty() || port.parse::<u128>().is_ok_and(|port| port < 65_536));
    let is_name = if host.starts_with('[') {
        name.parse::<Ipv6Addr>().is_ok()
    } else {
        !name.is_empty()
            && percent_is_good(name)
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=%".contains(c))
    };
    is_port && is_name
}

/// The result of a chunked body.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunks {
    /// The content, and the consumed bytes.
    Whole(Vec<u8>, usize),
    /// The content so far.
    Unfinished(Vec<u8>),
    /// The content before the error, and the status of the rejection.
    Bad(Vec<u8>, u16),
}

/// Parses a chunked body (RFC 9112 §7.1) of at most `content_max` bytes of content.
pub fn read_chunks(input: &[u8], content_max: u64) -> Chunks {
    let mut content = Vec::new();
    let mut announced: u128 = 0;
    let mut rest = input;
    loop {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits > 16 {
            return Chunks::Bad(content, 400);
        }
        let line = &rest[..rest.iter().position(|byte| *byte == b'\r').unwrap_or(rest.len())];
        let extension_is_good = are_extensions(&line[digits..], line.len() == rest.len());
        // An incomplete line is invalid already if no continuation makes it valid.
        if !extension_is_good || line.len() > CHUNK_LINE_MAX || (digits == 0 && !rest.is_empty()) {
            return Chunks::Bad(content, 400);
        }
        let size_digits = std::str::from_utf8(&rest[..digits]).expect("digits are ASCII");
        rest = match &rest[line.len()..] {
            [b'\r', b'\n', after @ ..] => after,
            [b'\r', _, ..] => return Chunks::Bad(content, 400),
            _ => return Chunks::Unfinished(content),
        };
        let size = u64::from_str_radix(size_digits, 16).expect("16 digits fit");
        if size == 0 {
            break;
        }
        announced += u128::from(size);
        if announced > u128::from(content_max) {
            return Chunks::Bad(content, 413);
        }
        let here = rest.len().min(usize::try_from(size).unwrap_or(usize::MAX));
        content.extend_from_slice(&rest[..here]);
        if (here as u64) < size {
            return Chunks::Unfinished(content);
        }
        rest = match &rest[here..] {
            [b'\r', b'\n', after @ ..] => after,
            [] | [b'\r'] => return Chunks::Unfinished(content),
            _ => return Chunks::Bad(content, 400),
        };
    }
    match read_trailers(rest) {
        Ok(Some(len)) => Chunks::Whole(content, input.len() - rest.len() + len),
        Ok(None) => Chunks::Unfinished(content),
        Err(status) => Chunks::Bad(content, status),
    }
}

/// Whether the rest of a chunk line has extensions alone (RFC 9112 §7.1.1), or can be continued so if it is cut.
fn are_extensions(text: &[u8], is_cut: bool) -> bool {
    let mut rest = text;
    while let Some(first) = rest.first() {
        let name = without_blanks(&rest[1..]);
        let name_len = name.iter().take_while(|byte| is_tchar(**byte)).count();
        if *first != b';' || name_len == 0 {
            return *first == b';' && is_cut && name.is_empty();
        }
        rest = &name[name_len..];
        if let [b'=', value @ ..] = without_blanks(rest) {
            let value = without_blanks(value);
            let value_len = match value {
                [b'"', quoted @ ..] => match quoted_len(quoted) {
                    Some(len) => 1 + len,
                    None => return is_cut && quoted.iter().all(|byte| is_field_byte(*byte)),
                },
                _ => value.iter().take_while(|byte| is_tchar(**byte)).count(),
            };
            if value_len == 0 {
                return is_cut && value.is_empty();
            }
            if !value[..value_len].iter().all(|byte| is_field_byte(*byte)) {
                return false;
            }
            rest = &value[value_len..];
        }
        // Blanks are only allowed before a delimiter.
        let next = without_blanks(rest);
        if next.is_empty() && !rest.is_empty() {
            return is_cut;
        }
        rest = next;
    }
    true
}

/// Length of a quoted string without its first quote and with its last; `None` if it has no end.
fn quoted_len(quoted: &[u8]) -> Option<usize> {
    let mut at = 0;
    while *quoted.get(at)? != b'"' {
        at += if quoted[at] == b'\\' { 2 } else { 1 };
    }
    Some(at + 1)
}

fn without_blanks(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|byte| matches!(**byte, b' ' | b'\t')).count()..]
}

/// Length of the trailer section with its last line; `None` if it is incomplete.
fn read_trailers(input: &[u8]) -> Result<Option<usize>, u16> {
    let mut at = 0;
    loop {
        let rest = &input[at..];
        let name = rest.iter().take_while(|byte| is_tchar(**byte)).count();
        let value = rest[name..].iter().take_while(|byte| name > 0 && is_field_byte(**byte)).count();
        // The first byte that is invalid in this line.
        let (bad, next) = match &rest[name + value..] {
            _ if name > 0 && value > 0 && rest[name] != b':' => (Some(at + name), None),
            [] => (None, None),
            [b'\r', ..] if name > 0 && value == 0 => (Some(at + name), None),
            [b'\r'] => (None, None),
            [b'\r', b'\n', ..] => (None, Some(at + name + value + 2)),
            [b'\r', _, ..] => (Some(at + name + value + 1), None),
            _ => (Some(at + name + value), None),
        };
        let looked_at = bad.map_or(next.unwrap_or(input.len()), |bad| bad + 1);
        if looked_at > TRAILERS_MAX {
            return Err(431);
        }
        match (bad, next) {
            (Some(_), _) => return Err(400),
            (None, Some(next)) if name == 0 => return Ok(Some(next)),
            (None, Some(next)) => at = next,
            (None, None) => return Ok(None),
        }
    }
}
