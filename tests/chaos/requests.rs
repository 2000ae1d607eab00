//! Random requests over the table of routes: valid, mutated and garbage. Every response is well-formed, and none is an
//! internal error.

use crate::common::token::{now, token, token_with};
use crate::common::{Client, Connection, Options, Response, Server, UNKNOWN_ID, assert_error};
use crate::idle::IdleState;
use crate::scale::{self, fork, once_in, one_of};
use cortex_core::internals::{Operation, ROUTES, Random};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Requests of a normal run and its maximum duration; a slow machine sends fewer.
const REQUESTS: u64 = 100_000;
const SECONDS: u64 = 20;
const THREADS: usize = 4;
/// Ids of created resources for later requests; older ones are dropped.
const IDS_MAX: usize = 200;

/// State shared by the threads.
struct Shared {
    addr: SocketAddr,
    tokens: Vec<String>,
    ids: Mutex<Vec<String>>,
    requests: AtomicU64,
    statuses: Mutex<BTreeMap<u16, u64>>,
}

#[test]
fn random_requests_get_valid_responses_and_do_not_affect_the_server() {
    let mut random = scale::random("requests");
    let settings = [("LOG_LEVEL", "ERROR"), ("RESPONDER", "echo"), ("LOGIN_RATE_LIMIT_PER_MINUTE", "60")];
    let settings = settings.iter().fold(Options::new(), |options, (name, value)| options.set(name, value));
    let mut server = Server::start(settings.set("BODY_TIMEOUT_SECONDS", 2).set("HEADER_TIMEOUT_SECONDS", 2));
    let tokens = ["ann", "ben", "cleo", "dan"].map(token).into_iter();
    let bad = [String::new(), "x.y.z".into(), token_with(json!({"oid": "late", "exp": now() - 3600}))];
    let shared = Shared {
        addr: server.addr,
        tokens: tokens.chain(bad).collect(),
        ids: Mutex::new(vec![UNKNOWN_ID.into(), "default".into()]),
        requests: AtomicU64::new(0),
        statuses: Mutex::default(),
    };
    // Every operation once, so that resources with a lazy creation exist.
    let mut warm = fork(&mut random);
    (0..300).for_each(|_| ask(&shared, &mut Client::new(shared.addr), &mut warm));
    let idle_state = IdleState::of(&mut server);
    let end = scale::ends_after(SECONDS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let (mut random, shared) = (fork(&mut random), &shared);
            scope.spawn(move || {
                let mut client = Client::new(shared.addr);
                while Instant::now() < end && (scale::is_long() || shared.requests.load(Relaxed) < REQUESTS) {
                    match random.below(8) {
                        0 => pipeline(shared, &mut random),
                        1 | 2 => damage(shared, &mut random),
                        _ => ask(shared, &mut client, &mut random),
                    }
                }
            });
        }
    });
    println!("{} random requests: {:?}", shared.requests.load(Relaxed), shared.statuses.lock().expect("no panic"));
    Client::new(server.addr).request("GET", "/health").send().expect(200);
    idle_state.returns(&mut server);
}

/// A request to send.
struct Request {
    method: String,
    target: String,
    token: Option<String>,
    fields: Vec<(&'static str, String)>,
    body: Option<(&'static str, Vec<u8>)>,
}

impl Request {
    /// Whether its response may be endless.
    fn is_stream(&self) -> bool {
        let path = self.target.split('?').next().unwrap_or_default();
        self.method == "GET" && (path == "/output/stream")
    }

    fn bytes(&self, more: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: localhost\r\n{more}", self.method, self.target);
        if let Some(token) = &self.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let (kind, body) = self.body.as_ref().map_or(("", &[][..]), |(kind, body)| (kind, body));
        if self.body.is_some() {
            head.push_str(&format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }
}

/// A request of the table; most of its parts are valid.
fn request(shared: &Shared, random: &mut Random) -> Request {
    let route = one_of(random, ROUTES);
    let (method, operation) = *one_of(random, route.methods);
    let mut method = method.as_str().expect("the table has known methods").to_owned();
    if once_in(random, 12) {
        method = (*one_of(random, &["HEAD", "OPTIONS", "PATCH", "DELETE", "POST", "BREW", "get"])).to_owned();
    }
    let segments = route
        .pattern
        .split('/')
        .map(|segment| if segment.starts_with('{') { id(shared, random) } else { segment.to_owned() });
    let mut target = segments.collect::<Vec<_>>().join("/");
    if once_in(random, 20) {
        target.push_str(one_of::<&str>(random, &["/", "/x", "%2F", "%zz", "//", "%00", "/..", ";a=b", "%F0%9F%98%80"]));
    }
    target.push_str(&query(shared, operation, random));
    let token = (!once_in(random, 10)).then(|| {
        let good = shared.tokens.len() - 3;
        if once_in(random, 10) {
            one_of(random, &shared.tokens).clone()
        } else {
            one_of(random, &shared.tokens[..good]).clone()
        }
    });
    let mut fields = Vec::new();
    for (name, values) in FIELDS {
        if once_in(random, 15) {
            fields.push((*name, (*one_of(random, values)).to_owned()));
        }
    }
    let wants_body = matches!(method.as_str(), "POST" | "PUT" | "PATCH");
    let body = (wants_body != once_in(random, 15)).then(|| body(shared, operation, random));
    Request { method, target, token, fields, body }
}

const FIELDS: &[(&str, &[&str])] = &[
    ("Accept", &["text/html", "application/json", "*/*", ""]),
    ("Idempotency-Key", &["k1", "k2", "k3", "a b", "ü", ""]),
    ("Last-Event-ID", &["0", "1", "99999999", "-1", "x", "18446744073709551616", ""]),
    ("Origin", &["http://localhost:3000", "https://elsewhere.example", "null", "x"]),
    ("Access-Control-Request-Method", &["POST", "x"]),
    ("X-Request-Id", &["mine", "a b", "x.y-z_1:2", ""]),
    ("Expect", &["100-continue", "something"]),
    ("X-Forwarded-For", &["1.2.3.4", "garbage, more"]),
    ("Connection", &["close", "keep-alive", "x"]),
    ("If-None-Match", &["*"]),
];

/// An id that exists, existed or never exists.
fn id(shared: &Shared, random: &mut Random) -> String {
    match random.below(12) {
        0 => UNKNOWN_ID.into(),
        1 => "default".into(),
        2 => (*one_of(random, &["x", "0", "%20", "00000000-0000-0000-0000-000000000000", "'; DROP TABLE", "%C3%BC"]))
            .replace(' ', "+"),
        _ => one_of(random, &shared.ids.lock().expect("no panic")).clone(),
    }
}

fn query(shared: &Shared, operation: Operation, random: &mut Random) -> String {
    if operation != Operation::OpenStream && !once_in(random, 3) {
        return String::new();
    }
    let mut pairs = Vec::new();
    for name in QUERY {
        if once_in(random, 5) {
            let value = match random.below(4) {
                0 => id(shared, random),
                1 => random.below(2000).to_string(),
                _ => (*one_of(
                    random,
                    &["messages", "true", "input,output", "-1", "", "x", "%", "ann,ben", "1e3", "%ff"],
                ))
                .into(),
            };
            pairs.push(format!("{name}={value}"));
        }
    }
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

const QUERY: &[&str] = &[
    "limit",
    "offset",
    "workspace_id",
    "conversation_id",
    "before",
    "after",
    "include",
    "ids",
    "types",
    "named",
    "last_event_id",
    "ticket",
    "access_token",
    "token",
    "nothing",
];

const NAMES: &[&str] = &[
    "content",
    "conversation_id",
    "metadata",
    "name",
    "description",
    "workspace_id",
    "topic",
    "participant_ids",
    "title",
    "initial_message",
    "role",
    "email",
    "username",
    "password",
    "current_password",
    "new_password",
    "nothing",
];

/// A body with most of the known fields, most of them valid.
fn body(shared: &Shared, operation: Operation, random: &mut Random) -> (&'static str, Vec<u8>) {
    if operation == Operation::Login && once_in(random, 2) {
        let form = format!("username={}&password=password123", one_of(random, &["user@example.com", "a", "%", ""]));
        return ("application/x-www-form-urlencoded", form.into_bytes());
    }
    let mut object = json!({});
    for name in NAMES {
        if !once_in(random, 4) {
            object[*name] = if once_in(random, 12) { value(random, 3) } else { good_value(shared, name, random) };
        }
    }
    let mut bytes = object.to_string().into_bytes();
    match random.below(24) {
        0 => bytes.truncate(random.below(bytes.len() as u64) as usize),
        1 => drop(std::mem::replace(&mut bytes[random.below(2) as usize], random.next_u64() as u8)),
        2 => bytes = value(random, 4).to_string().into_bytes(),
        3 => bytes = "[".repeat(random.below(5000) as usize).into_bytes(),
        _ => {}
    }
    let kinds =
        ["application/json", "application/json; charset=utf-8", "text/plain", "application/x-www-form-urlencoded"];
    (if once_in(random, 12) { *one_of::<&str>(random, &kinds) } else { kinds[0] }, bytes)
}

fn good_value(shared: &Shared, name: &str, random: &mut Random) -> Value {
    match name {
        "conversation_id" | "workspace_id" => json!(id(shared, random)),
        "metadata" => json!({"k": value(random, 2), "n": null}),
        "participant_ids" => json!(["ann", "ben", "cleo", "dan"][..1 + random.below(4) as usize]),
        "role" => json!(one_of(random, &["user", "user", "assistant", "system"])),
        "email" | "username" => json!("user@example.com"),
        "password" => json!("password123"),
        _ => json!(text(random, 40)),
    }
}

/// An arbitrary JSON value.
fn value(random: &mut Random, levels: u64) -> Value {
    match random.below(if levels == 0 { 5 } else { 7 }) {
        0 => Value::Null,
        1 => json!(once_in(random, 2)),
        2 => json!(random.next_u64() as i64),
        3 => json!(random.next_u64() as f64 / 7.0),
        4 => json!(text(random, 200)),
        5 => (0..random.below(5)).map(|_| value(random, levels - 1)).collect(),
        _ => {
            let fields = (0..random.below(5)).map(|_| (text(random, 10), value(random, levels - 1)));
            Value::Object(fields.collect())
        }
    }
}

/// A text with all kinds of characters.
fn text(random: &mut Random, chars_max: u64) -> String {
    let characters = ['a', 'b', ' ', '"', '\\', '\n', '\0', 'ü', '\u{2028}', '😀', '<', '\u{feff}', '\r', '7', ':'];
    (0..1 + random.below(chars_max)).map(|_| *one_of(random, &characters)).collect()
}

/// Asserts that the response is allowed for the request, and remembers the ids in it.
#[track_caller]
fn check_response(shared: &Shared, response: &Response, method: &str, asked: &dyn Fn() -> String) {
    shared.requests.fetch_add(1, Relaxed);
    *shared.statuses.lock().expect("no panic").entry(response.status).or_default() += 1;
    let allowed = [200, 202, 204, 304, 400, 401, 403, 404, 405, 408, 409, 413, 414, 415, 417, 422, 429, 431, 503];
    assert!(allowed.contains(&response.status), "{} to {}", response.shown(), asked());
    if response.status >= 400 && method != "HEAD" {
        let body = response.json();
        assert_error(response, response.status, body["error"]["code"].as_str().unwrap_or_default());
    } else if response.header("Content-Type") == Some("application/json") && !response.body.is_empty() {
        remember(shared, &response.json());
    }
}

/// Keeps the ids in a response for later requests.
fn remember(shared: &Shared, value: &Value) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match value {
            Value::String(id) if name == "id" || name == "message_id" || name == "stream_id" => {
                let mut ids = shared.ids.lock().expect("no panic");
                if ids.len() >= IDS_MAX {
                    let place = id.bytes().fold(0, |sum: usize, byte| sum * 31 % IDS_MAX + byte as usize);
                    ids.swap_remove(place % IDS_MAX);
                }
                ids.push(id.clone());
            }
            _ => remember(shared, value),
        }),
        Value::Array(items) => items.iter().take(10).for_each(|item| remember(shared, item)),
        _ => {}
    }
}

/// One request on a persistent connection.
fn ask(shared: &Shared, client: &mut Client, random: &mut Random) {
    let request = request(shared, random);
    let shown = || String::from_utf8_lossy(&request.bytes("")).into_owned();
    if request.is_stream() || request.fields.iter().any(|(name, _)| *name == "Expect") {
        return open(shared, &request);
    }
    let mut sent = client.request(&request.method, &request.target);
    if let Some(token) = &request.token {
        sent = sent.token(token);
    }
    for (name, value) in &request.fields {
        sent = sent.header(name, value);
    }
    if let Some((kind, body)) = &request.body {
        sent = sent.body(kind, body.clone());
    }
    let response = sent.try_send().unwrap_or_else(|error| panic!("{error}: {}", shown()));
    check_response(shared, &response, &request.method, &shown);
}

/// A request whose response may be a stream or have an interim head: only the final head is checked.
fn open(shared: &Shared, request: &Request) {
    let shown = || String::from_utf8_lossy(&request.bytes("")).into_owned();
    let mut connection = Connection::open(shared.addr);
    connection.send(request.bytes(""));
    let mut head = connection.try_head().unwrap_or_else(|error| panic!("{error}: {}", shown()));
    if head.status == 100 {
        head = connection.try_head().unwrap_or_else(|error| panic!("{error}: {}", shown()));
    }
    shared.requests.fetch_add(1, Relaxed);
    *shared.statuses.lock().expect("no panic").entry(head.status).or_default() += 1;
    assert!((200..500).contains(&head.status) || head.status == 503, "{} to {}", head.shown(), shown());
}

/// Several requests, split anywhere: one response to each, in order.
fn pipeline(shared: &Shared, random: &mut Random) {
    let mut all = Vec::new();
    let mut asked = Vec::new();
    for n in 0..2 + random.below(6) {
        let mut request = request(shared, random);
        let closes = ["Expect", "Connection", "X-Request-Id"];
        request.fields.retain(|(name, _)| !closes.contains(name));
        if !request.is_stream() {
            all.extend(request.bytes(&format!("X-Request-Id: pipelined-{n}\r\n")));
            asked.push((n, request.method));
        }
    }
    let mut connection = Connection::open(shared.addr);
    let cut = random.below(all.len() as u64 + 1) as usize;
    for piece in [&all[..cut], &all[cut..]] {
        // The server may have closed the connection after one of them.
        let _ = connection.try_send(piece);
    }
    for (n, method) in asked {
        let response = match connection.try_response(&method) {
            Ok(response) => response,
            Err(error) => panic!("{error}: no response {n} to {}", String::from_utf8_lossy(&all)),
        };
        check_response(shared, &response, &method, &|| String::from_utf8_lossy(&all).into_owned());
        if response.closes() {
            return;
        }
        assert_eq!(response.header("X-Request-Id"), Some(&*format!("pipelined-{n}")), "{}", response.shown());
    }
}

/// A request with some bytes changed, or random bytes, followed by the end: every response is complete.
fn damage(shared: &Shared, random: &mut Random) {
    let mut bytes = request(shared, random).bytes("");
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len() as u64) as usize;
        match random.below(6) {
            _ if bytes.len() < 2 => bytes.push(b'G'),
            0 => bytes[at] = random.next_u64() as u8,
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, *one_of(random, b"\r\n\0 :\t/,;\"%\x7f\xff0")),
            3 => bytes.truncate(at.max(1)),
            4 => {
                let piece = bytes[at..(at + 40).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let rest = one_of(random, DAMAGES);
                let line = bytes.windows(2).position(|pair| pair == b"\r\n").map_or(0, |at| at + 2);
                bytes.splice(line..line, rest.bytes());
            }
        }
    }
    if once_in(random, 10) {
        bytes = (0..1 + random.below(300)).map(|_| random.next_u64() as u8).collect();
    }
    let shown = || String::from_utf8_lossy(&bytes).into_owned();
    let is_head = bytes.windows(5).any(|window| window == b"HEAD ");
    // The mutated request may be a valid request for a stream, which ends when its reader disconnects.
    let is_stream = bytes.windows(6).any(|window| window == b"output");
    if is_head {
        return;
    }
    let mut connection = Connection::open(shared.addr);
    let _ = connection.try_send(&bytes);
    connection.half_close();
    loop {
        match connection.try_head() {
            Ok(head) if head.status == 100 => continue,
            Ok(mut response) => {
                if is_stream && response.status == 200 {
                    return;
                }
                let mut framing = crate::common::http::Framing::of(&response, "GET");
                while let Some(piece) = connection
                    .try_body_piece(&mut framing)
                    .unwrap_or_else(|error| panic!("{error} in a response to {}", shown()))
                {
                    response.body.extend_from_slice(&piece);
                }
                check_response(shared, &response, "GET", &shown);
            }
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => return,
            Err(error) => panic!("{error}: {}", shown()),
        }
    }
}

const DAMAGES: &[&str] = &[
    "Content-Length: 5\r\n",
    "Content-Length: -1\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Host: elsewhere.example\r\n",
    "Authorization: Basic eDp5\r\n",
    " folded: line\r\n",
    "\r\n",
    "Name : value\r\n",
    "X: \u{1}\r\n",
];
