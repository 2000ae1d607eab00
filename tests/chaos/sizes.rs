//! Everything that has a limit, at and far beyond it: oversized input is rejected with the matching error, and the
//! largest allowed input is accepted, also after all rejections.

use crate::common::token::{KEY, signed, token};
use crate::common::{Client, Options, Response, Server, User, assert_error};
use crate::idle::IdleState;
use cortex_core::internals::limits::{
    CHUNK_LINE_BYTES_MAX, CONTENT_BYTES_MAX, FORM_PAIRS_MAX, HEADERS_MAX, IDEMPOTENCY_KEY_BYTES_MAX, LIST_LIMIT_MAX,
    METADATA_BYTES_MAX, METADATA_LEVELS_MAX, PARTICIPANTS_MAX, PASSWORD_BODY_BYTES_MAX, TARGET_BYTES_MAX,
    TOKEN_BYTES_MAX, TOPIC_CHARS_MAX, USER_ID_CHARS_MAX, USERS_QUERY_IDS_MAX, WORKSPACE_DESCRIPTION_CHARS_MAX,
    WORKSPACE_NAME_CHARS_MAX,
};
use serde_json::{Value, json};

/// `MAX_BODY_BYTES` and `MAX_HEADER_BYTES` of this server.
const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Something with a limit, and a request of a given size.
struct Row {
    what: &'static str,
    limit: usize,
    /// The response beyond the limit.
    rejection: (u16, &'static str),
    /// The response up to the limit.
    accepted: u16,
    send: fn(&mut Ground, usize) -> Response,
}

/// The resources that the requests use.
struct Ground {
    user: User,
    workspace: String,
    conversation: String,
}

impl Ground {
    fn workspace(&mut self, field: &str, value: Value) -> Response {
        let mut body = json!({"name": "n", "description": "d"});
        body[field] = value;
        self.user.post("/config/workspace", body)
    }

    fn head(&mut self, name: &str, value: &str) -> Response {
        self.user.request("GET", "/auth/verify").header(name, value).send()
    }
}

const INVALID: (u16, &str) = (422, "validation_error");
const TOO_LARGE: (u16, &str) = (413, "payload_too_large");
const TOO_LONG: (u16, &str) = (414, "uri_too_long");
const HEADERS: (u16, &str) = (431, "headers_too_large");
const UNAUTHORIZED: (u16, &str) = (401, "unauthorized");

/// A body of this total size.
fn padded(bytes: usize) -> String {
    let frame = json!({"content": "c"}).to_string();
    format!("{frame}{}", " ".repeat(bytes - frame.len()))
}

/// An object with this number of levels.
fn nested(levels: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
}

/// A token of this size, or the nearest below that base64 allows.
fn token_of(bytes: usize) -> String {
    let exp = crate::common::token::now() + 3600;
    let with = |padding: usize| {
        signed(&json!({"alg": "HS256"}), &json!({"oid": "u", "exp": exp, "x": "x".repeat(padding)}), KEY)
    };
    let at = (0..bytes).rev().map(|less| less * 3 / 4).find(|padding| with(*padding).len() <= bytes);
    with(at.expect("a token of that length"))
}

fn rows() -> Vec<Row> {
    let row = |what, limit, rejection, accepted, send| Row { what, limit, rejection, accepted, send };
    vec![
        row("target", TARGET_BYTES_MAX, TOO_LONG, 200, |g, n| g.user.get(&format!("/?{}", "x".repeat(n - 2)))),
        // `Host` and `Authorization` count as well.
        row("fields", HEADERS_MAX, HEADERS, 200, |g, n| {
            let request = g.user.request("GET", "/auth/verify");
            (2..n).fold(request, |request, n| request.header(&format!("X-{n}"), "x")).send()
        }),
        row("head", HEAD_BYTES_MAX, HEADERS, 200, |g, n| {
            let rest = format!("GET /auth/verify HTTP/1.1\r\nHost: {}\r\n", "127.0.0.1:00000").len()
                + format!("Authorization: Bearer {}\r\nX: \r\n\r\n", g.user.token).len();
            // Ports have four or five digits.
            g.head("X", &"x".repeat(n.saturating_sub(rest)))
        }),
        row("body", BODY_BYTES_MAX, TOO_LARGE, 200, |g, n| {
            g.user.request("POST", "/input").body("application/json", padded(n)).send()
        }),
        row("password body", PASSWORD_BODY_BYTES_MAX, TOO_LARGE, 401, |g, n| {
            let form = "username=nobody@example.com&password=wrong&x=";
            let form = format!("{form}{}", "x".repeat(n - form.len()));
            g.user.request("POST", "/auth/login").body("application/x-www-form-urlencoded", form).send()
        }),
        row("chunk", BODY_BYTES_MAX, TOO_LARGE, 200, |g, n| {
            let body = format!("{n:x}\r\n{}\r\n0\r\n\r\n", padded(n));
            chunked(g, &body)
        }),
        row("chunk line", CHUNK_LINE_BYTES_MAX, (400, "bad_request"), 200, |g, n| {
            let (body, size) = (padded(20), "14;x=");
            chunked(g, &format!("{size}{}\r\n{body}\r\n0\r\n\r\n", "x".repeat(n - size.len())))
        }),
        row("token", TOKEN_BYTES_MAX, UNAUTHORIZED, 200, |g, n| {
            let long = if n <= TOKEN_BYTES_MAX { token_of(n) } else { "x".repeat(n) };
            Client::new(g.user.addr()).request("GET", "/auth/verify").token(&long).send()
        }),
        row("user id", USER_ID_CHARS_MAX, UNAUTHORIZED, 200, |g, n| {
            let long = token(&"ü".repeat(n));
            Client::new(g.user.addr()).request("GET", "/auth/verify").token(&long).send()
        }),
        row("metadata levels", METADATA_LEVELS_MAX, INVALID, 200, |g, n| {
            let body = format!(r#"{{"name":"n","description":"d","metadata":{}}}"#, nested(n));
            g.user.request("POST", "/config/workspace").body("application/json", body).send()
        }),
        row("metadata", METADATA_BYTES_MAX, INVALID, 200, |g, n| {
            g.workspace("metadata", json!({"k": "x".repeat(n - r#"{"k":""}"#.len())}))
        }),
        row("name", WORKSPACE_NAME_CHARS_MAX, INVALID, 200, |g, n| g.workspace("name", json!("ü".repeat(n)))),
        row("description", WORKSPACE_DESCRIPTION_CHARS_MAX, INVALID, 200, |g, n| {
            g.workspace("description", json!("ü".repeat(n)))
        }),
        row("topic", TOPIC_CHARS_MAX, INVALID, 200, |g, n| {
            let body = json!({"workspace_id": g.workspace, "topic": "ü".repeat(n)});
            g.user.post("/config/conversation", body)
        }),
        row("participants", PARTICIPANTS_MAX, INVALID, 200, |g, n| {
            let others: Vec<String> = (1..n).map(|n| format!("p{n}")).collect();
            let body = json!({"workspace_id": g.workspace, "topic": "t", "participant_ids": others});
            g.user.post("/config/conversation", body)
        }),
        row("content", CONTENT_BYTES_MAX, INVALID, 200, |g, n| {
            g.user.post("/input", json!({"content": "x".repeat(n)}))
        }),
        row("content of a message", CONTENT_BYTES_MAX, INVALID, 200, |g, n| {
            let path = format!("/conversations/{}/messages", g.conversation);
            g.user.post(&path, json!({"content": "x".repeat(n)}))
        }),
        row("idempotency key", IDEMPOTENCY_KEY_BYTES_MAX, INVALID, 200, |g, n| {
            let key = "k".repeat(n);
            g.user.request("POST", "/input").header("Idempotency-Key", &key).json(&json!({"content": "c"})).send()
        }),
        row("ids", USERS_QUERY_IDS_MAX, INVALID, 200, |g, n| {
            let ids: Vec<String> = (0..n).map(|n| format!("{n:x}")).collect();
            g.user.get(&format!("/users?ids={}", ids.join(",")))
        }),
        row("query", FORM_PAIRS_MAX, INVALID, 200, |g, n| {
            let pairs: Vec<String> = (1..n).map(|n| format!("x{n}=")).collect();
            g.user.get(&format!("/config/workspace?limit=1&{}", pairs.join("&")))
        }),
        row("limit", LIST_LIMIT_MAX as usize, INVALID, 200, |g, n| g.user.get(&format!("/conversations?limit={n}"))),
    ]
}

fn chunked(ground: &mut Ground, body: &str) -> Response {
    let mut connection = crate::common::Connection::open(ground.user.addr());
    let head = format!(
        "POST /input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        ground.user.token
    );
    connection.send(head);
    // It may be rejected before all of it is sent.
    let _ = connection.try_send(body.as_bytes());
    connection.response("POST")
}

#[test]
fn oversized_input_is_rejected_with_its_name_and_uses_no_memory() {
    let options = [("LOG_LEVEL", "WARNING"), ("LOGIN_RATE_LIMIT_PER_MINUTE", "0")];
    let mut server =
        Server::start(options.iter().fold(Options::new(), |options, (name, value)| options.set(name, value)));
    assert_eq!((BODY_BYTES_MAX, HEAD_BYTES_MAX), (2 * 1024 * 1024, 16 * 1024));
    let ground = |server: &Server| {
        let mut user = User::new(server, "u");
        let workspace = user.create_workspace("w");
        let conversation = user.create_conversation(&workspace, "t", &[]);
        Ground { user, workspace, conversation }
    };
    drop(ground(&server));
    let idle_state = IdleState::of(&mut server);
    let mut ground = ground(&server);
    let mut requests = 0;
    for row in rows() {
        // Far oversized input first: valid input must be accepted after it.
        for factor in [50, 10, 2] {
            let much = row.limit * factor;
            let response = (row.send)(&mut ground, much);
            // Far oversized input may be rejected for its container, which is checked first.
            let rejections = [row.rejection, TOO_LARGE, TOO_LONG, HEADERS];
            let rejection = rejections.iter().find(|(status, _)| *status == response.status);
            let (status, code) = rejection.unwrap_or_else(|| panic!("{} of {much}: {}", row.what, response.shown()));
            assert_error(&response, *status, code);
            requests += 1;
        }
        // The head is built from parts, one of which may be a byte shorter.
        let past = row.limit + if row.what == "head" { 8 } else { 1 };
        let response = (row.send)(&mut ground, past);
        assert_eq!(response.status, row.rejection.0, "{} of {past}: {}", row.what, response.shown());
        assert_error(&response, row.rejection.0, row.rejection.1);
        let response = (row.send)(&mut ground, row.limit);
        assert_eq!(response.status, row.accepted, "{} of {}: {}", row.what, row.limit, response.shown());
        let response = (row.send)(&mut ground, row.limit - 1);
        assert_eq!(response.status, row.accepted, "{} of {}: {}", row.what, row.limit - 1, response.shown());
        requests += 3;
    }
    println!("{requests} requests around {} limits", rows().len());
    drop(ground);
    idle_state.returns(&mut server);
}
