//! HTTP on a real socket: persistent connections, pipelines, chunks, HEAD, CORS, and closing.

use crate::common::http::Framing;
use crate::common::token::token;
use crate::common::{Client, Connection, Options, Server, User, assert_error};
use serde_json::json;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

/// A valid `POST /input` of a message with `content`.
fn post(addr: SocketAddr, content: &str) -> String {
    let body = json!({"content": content}).to_string();
    format!(
        "POST /input HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        token("u"),
        body.len()
    )
}

/// The head of a valid `POST /input`, with `fields` for the framing of the body.
fn post_head(addr: SocketAddr, fields: &str) -> String {
    format!(
        "POST /input HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n{fields}\r\n\r\n",
        token("u")
    )
}

fn get(addr: SocketAddr, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n\r\n")
}

#[test]
fn a_connection_stays_open_over_valid_and_rejected_requests() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let mut connection = Connection::open(server.addr);
    for n in 0..50 {
        connection.send(post(server.addr, &n.to_string()));
        assert_eq!(connection.response("POST").expect(200).json()["data"]["content"], n.to_string());
        connection.send(get(server.addr, "/nowhere"));
        assert_error(&connection.response("GET"), 404, "not_found");
        connection.send(get(server.addr, "/auth/verify"));
        assert_error(&connection.response("GET"), 401, "unauthorized");
    }
    for path in ["/", "/nowhere", "/config/workspace?limit=0"] {
        assert!(!user.get(path).closes(), "a rejected request does not close the connection");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(Options::new());
    let mut connection = Connection::open(server.addr);
    let mut bytes = String::new();
    for n in 0..100 {
        bytes += &match n % 4 {
            0 => get(server.addr, "/"),
            1 => post(server.addr, &n.to_string()),
            2 => get(server.addr, "/nowhere"),
            _ => format!("HEAD / HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr),
        };
    }
    connection.send(&bytes);
    for n in 0..100 {
        match n % 4 {
            0 => assert_eq!(connection.response("GET").expect(200).json()["status"], "online"),
            1 => assert_eq!(connection.response("POST").expect(200).json()["data"]["content"], n.to_string()),
            2 => drop(assert_error(&connection.response("GET"), 404, "not_found")),
            _ => drop(connection.response("HEAD").expect(200)),
        }
    }
    connection.half_close();
    connection.expect_end();
}

/// More requests than any buffer holds, with the responses unread until all are sent.
#[test]
fn every_request_of_a_long_pipeline_is_answered() {
    let server = Server::start(Options::new());
    let mut reading = Connection::open(server.addr);
    let mut sending = reading.second_handle();
    const REQUESTS: usize = 20_000;
    let one = get(server.addr, "/");
    let sender = thread::spawn(move || {
        let bytes = one.repeat(100);
        for _ in 0..REQUESTS / 100 {
            sending.send(&bytes);
        }
        sending.half_close();
    });
    for _ in 0..REQUESTS {
        reading.response("GET").expect(200);
    }
    sender.join().expect("everything was sent");
    reading.expect_end();
}

#[test]
fn chunked_bodies_are_read_with_extensions_and_trailers() {
    let server = Server::start(Options::new());
    let mut connection = Connection::open(server.addr);
    let bodies = [
        ("one chunk", "14\r\n{\"content\":\"chunks\"}\r\n0\r\n\r\n"),
        ("a chunk for each part", "b\r\n{\"content\":\r\n8\r\n\"chunks\"\r\n1\r\n}\r\n0\r\n\r\n"),
        ("extensions", "14;a=b;c=\"d e\"\r\n{\"content\":\"chunks\"}\r\n0;last\r\n\r\n"),
        ("leading zeros and capitals", "0000B\r\n{\"content\":\r\n8\r\n\"chunks\"\r\n01\r\n}\r\n000\r\n\r\n"),
        ("trailers", "14\r\n{\"content\":\"chunks\"}\r\n0\r\nX-Checksum: 1\r\nContent-Length: 7\r\n\r\n"),
    ];
    for (name, body) in bodies {
        connection.send(post_head(server.addr, "Transfer-Encoding: chunked"));
        connection.send(body);
        let response = connection.response("POST");
        assert_eq!(response.status, 200, "{name}: {}", response.shown());
        assert_eq!(response.json()["data"]["content"], "chunks", "{name}");
    }
    // A trailer is not a request field: it neither frames the next request nor authenticates.
    connection.send(format!(
        "POST /input HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
         14\r\n{{\"content\":\"chunks\"}}\r\n0\r\nAuthorization: Bearer {}\r\n\r\n",
        server.addr,
        token("u")
    ));
    assert_error(&connection.response("POST"), 401, "unauthorized");
}

#[test]
fn requests_may_come_byte_by_byte() {
    let server = Server::start(Options::new());
    let mut connection = Connection::open(server.addr);
    for byte in post(server.addr, "slowly").bytes() {
        connection.send([byte]);
    }
    assert_eq!(connection.response("POST").expect(200).json()["data"]["content"], "slowly");
    let chunked =
        post_head(server.addr, "Transfer-Encoding: chunked") + "14\r\n{\"content\":\"chunks\"}\r\n0\r\nX: y\r\n\r\n";
    for byte in chunked.bytes() {
        connection.send([byte]);
    }
    assert_eq!(connection.response("POST").expect(200).json()["data"]["content"], "chunks");
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    let server = Server::start(Options::new());
    let mut connection = Connection::open(server.addr);
    connection.send(format!("\r\n{}", get(server.addr, "/")));
    connection.response("GET").expect(200);
}

#[test]
fn expect_100_continue_gets_an_interim_response() {
    let server = Server::start(Options::new());
    let mut connection = Connection::open(server.addr);
    let body = r#"{"content":"after the nod"}"#;
    for _ in 0..2 {
        connection.send(post_head(server.addr, &format!("Expect: 100-continue\r\nContent-Length: {}", body.len())));
        connection.expect_continue();
        connection.send(body);
        assert_eq!(connection.response("POST").expect(200).json()["data"]["content"], "after the nod");
    }
    connection.send(post_head(server.addr, "Expect: 100-continue\r\nTransfer-Encoding: chunked"));
    connection.expect_continue();
    connection.send(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()));
    connection.response("POST").expect(200);
    // If the body has already arrived, the interim response may be omitted (RFC 9110 §10.1.1), but the final one is
    // sent.
    connection.send(post_head(server.addr, &format!("Expect: 100-continue\r\nContent-Length: {}", body.len())) + body);
    let first = connection.try_head().expect("a response");
    match first.status {
        100 => drop(connection.response("POST").expect(200)),
        status => assert_eq!(status, 200),
    }
}

#[test]
fn expect_100_continue_of_a_rejected_request_gets_the_final_response() {
    let server = Server::start(Options::new());
    let expect = "Expect: 100-continue\r\nContent-Type: application/json\r\n";
    let authorized = format!("Authorization: Bearer {}\r\n", token("u"));
    let table = [
        (format!("POST /input HTTP/1.1\r\nHost: localhost\r\n{expect}Content-Length: 20\r\n\r\n"), 401, "unauthorized"),
        (
            format!("POST /input HTTP/1.1\r\nHost: localhost\r\n{authorized}{expect}Content-Length: 99999999\r\n\r\n"),
            413,
            "payload_too_large",
        ),
        (
            format!("POST /nowhere HTTP/1.1\r\nHost: localhost\r\n{authorized}{expect}Content-Length: 20\r\n\r\n"),
            404,
            "not_found",
        ),
        (
            format!("DELETE /input HTTP/1.1\r\nHost: localhost\r\n{authorized}{expect}Content-Length: 20\r\n\r\n"),
            405,
            "method_not_allowed",
        ),
    ];
    for (request, status, code) in table {
        let mut connection = Connection::open(server.addr);
        connection.send(&request);
        // `response` panics on an interim response.
        let response = connection.response("POST");
        assert_error(&response, status, code);
        if response.closes() {
            connection.expect_end();
        }
    }
}

#[test]
fn head_is_served_wherever_get_is() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let workspace = user.create_workspace("w");
    let conversation = user.create_conversation(&workspace, "t", &[]);
    let paths = [
        "/".to_owned(),
        "/auth/verify".into(),
        "/config/workspace".into(),
        format!("/config/workspace/{workspace}"),
        format!("/config/conversation?workspace_id={workspace}"),
        format!("/config/conversation/{conversation}"),
        "/users?ids=u".into(),
        "/nowhere".into(),
        "/config/workspace?limit=0".into(),
    ];
    for path in &paths {
        let shown = user.request("GET", path).header("X-Request-Id", "same").send();
        let head = user.request("HEAD", path).header("X-Request-Id", "same").send();
        assert_eq!(head.status, shown.status, "{path}");
        assert!(head.body.is_empty());
        assert_eq!(head.number("Content-Length"), shown.body.len() as u64, "{path}");
        for name in ["Content-Type", "X-Last-Event-Id", "Connection"] {
            assert_eq!(head.header(name), shown.header(name), "{path}: {name}");
        }
        assert!(user.request("HEAD", "/auth/verify").send().status == 200, "the connection is in step after {path}");
    }
    let mut connection = Connection::open(server.addr);
    connection.send(format!("HEAD /auth/verify HTTP/1.1\r\nHost: localhost\r\n\r\n{}", get(server.addr, "/")));
    assert_eq!(connection.response("HEAD").status, 401);
    connection.response("GET").expect(200);
}

#[test]
fn head_of_a_stream_gets_its_fields_only() {
    let server = Server::start(Options::new());
    let response = User::new(&server, "u").request("HEAD", "/output/stream").send().expect(200);
    assert!(response.header("Content-Type").is_some_and(|media_type| media_type.starts_with("text/event-stream")));
}

#[test]
fn an_http_1_0_request_is_served_and_the_connection_closed() {
    let server = Server::start(Options::new());
    let mut connection = Connection::open(server.addr);
    connection.send("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let response = connection.response("GET").expect(200);
    assert_eq!(response.json()["status"], "online");
    assert!(response.header("Transfer-Encoding").is_none(), "HTTP/1.0 has no chunks");
    connection.expect_end();
}

#[test]
fn a_connection_closes_when_the_client_requests_it() {
    let server = Server::start(Options::new());
    for value in ["close", "Close", "keep-alive, close", "x,close"] {
        let mut connection = Connection::open(server.addr);
        let one = format!("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: {value}\r\n\r\n");
        connection.send(one + &get(server.addr, "/"));
        assert!(connection.response("GET").expect(200).closes(), "{value}");
        connection.expect_end();
    }
}

#[test]
fn origin_and_absolute_targets_are_accepted() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let table = [
        ("/config/workspace", 200),
        ("/config/%77orkspace", 200),
        ("/%63onfig/workspace", 200),
        ("http://localhost/config/workspace", 200),
        ("HTTP://LOCALHOST:1234/config/workspace?limit=1", 200),
        ("http://localhost", 200),
        ("/config/workspace?", 200),
        ("/config/workspac%65%20", 404),
        ("//config/workspace", 404),
        ("/config//workspace", 404),
        ("/config/./workspace", 404),
        ("/CONFIG/workspace", 404),
        ("/%zz", 400),
        ("/%", 400),
        ("config/workspace", 400),
        ("http://evil.example/config/workspace", 400),
    ];
    for (target, status) in table {
        let response = user.request("GET", target).send();
        assert_eq!(response.status, status, "{target}: {}", response.shown());
    }
}

/// RFC 9112 §3.2.2: an absolute target overrides `Host`.
#[test]
fn the_host_of_an_absolute_target_wins() {
    let server = Server::start(Options::new());
    let mut connection = Connection::open(server.addr);
    connection.send("GET http://localhost/ HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    connection.response("GET").expect(200);
}

#[test]
fn preflights_are_answered_for_pages_of_localhost() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    for path in ["/input", "/config/workspace", "/output/stream", "/auth/login", "/auth/verify"] {
        let response = client
            .request("OPTIONS", path)
            .header("Origin", "http://localhost:3000")
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization,content-type,x-request-id")
            .send();
        assert!(matches!(response.status, 200 | 204), "{path}: {}", response.shown());
        assert_eq!(response.header("Access-Control-Allow-Origin"), Some("http://localhost:3000"));
        assert_eq!(response.header("Access-Control-Allow-Credentials"), Some("true"));
        let asked = if ["/output/stream", "/auth/verify"].contains(&path) { "GET" } else { "POST" };
        assert!(response.lists("Access-Control-Allow-Methods", asked), "{path}: {}", response.shown());
        // A wildcard does not cover `Authorization`, and does not work with credentials.
        for name in ["authorization", "content-type", "x-request-id"] {
            assert!(response.lists("Access-Control-Allow-Headers", name), "{path}: {name}: {}", response.shown());
        }
        assert!(response.lists("Vary", "Origin"), "{}", response.shown());
    }
}

/// Pages with a tracing library send fields that this server does not know.
#[test]
fn preflights_echo_the_requested_fields_for_allowed_origins_alone() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let mut preflight = |origin: &str, fields: &str| {
        client
            .request("OPTIONS", "/input")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", fields)
            .send()
    };
    for fields in ["baggage,sentry-trace", "x-datadog-trace-id", "B3, traceparent"] {
        let response = preflight("http://localhost:3000", fields).expect(200);
        assert_eq!(response.header("Access-Control-Allow-Headers"), Some(fields));
        let response = preflight("https://evil.example", fields);
        assert_error(&response, 400, "bad_request");
        assert!(!response.lists("Access-Control-Allow-Headers", "baggage"), "{}", response.shown());
    }
    assert_error(&preflight("http://localhost:3000", "a b"), 400, "bad_request");
}

/// A proxy or a server on the way may use another one of two values than this one does.
#[test]
fn fields_that_decide_who_sends_and_what_is_meant_appear_once() {
    let server = Server::start(Options::new());
    let token = token("u");
    for (name, first, second) in [
        ("Authorization", &*format!("Bearer {token}"), "Bearer x"),
        ("Authorization", "Basic eDp5", &*format!("Bearer {token}")),
        ("Content-Type", "application/json", "application/json"),
        ("Origin", "http://localhost", "http://localhost:1"),
        ("Idempotency-Key", "a", "b"),
    ] {
        let mut client = Client::new(server.addr);
        let mut request = client.request("POST", "/input");
        if name != "Authorization" {
            request = request.token(&token);
        }
        let body = br#"{"content":"x"}"#;
        let request = match name {
            "Content-Type" => request.header(name, first).body(second, body),
            _ => request.header(name, first).header(name, second).body("application/json", body),
        };
        let response = request.send();
        assert_error(&response, 400, "bad_request");
        assert!(response.text().contains(name), "{}", response.shown());
    }
}

/// Health checks send HTTP/1.0 requests without `Host`; browsers never do.
#[test]
fn a_request_of_http_1_0_without_a_host_is_served() {
    let server = Server::with(&[("ALLOWED_HOSTS", "app.example")]);
    for (request, status) in [
        ("GET / HTTP/1.0\r\n\r\n", 200),
        ("GET /health HTTP/1.0\r\n\r\n", 200),
        ("GET / HTTP/1.0\r\nHost: other.example\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: other.example\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
    ] {
        let mut connection = Connection::open(server.addr);
        connection.send(request);
        assert_eq!(connection.response("GET").status, status, "{request:?}");
    }
}

#[test]
fn responses_and_errors_carry_cors_fields_for_allowed_origins() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    for origin in ["http://localhost:3000", "http://localhost", "http://localhost:8080"] {
        for path in ["/config/workspace", "/nowhere", "/config/workspace?limit=0", "/output/stream?types=x"] {
            let response = user.request("GET", path).header("Origin", origin).send();
            assert_eq!(response.header("Access-Control-Allow-Origin"), Some(origin), "{path}: {}", response.shown());
            assert_eq!(response.header("Access-Control-Allow-Credentials"), Some("true"));
            assert!(response.lists("Vary", "Origin"), "{path}: {}", response.shown());
            for name in ["X-Request-Id", "X-Last-Event-Id", "X-Event-Id", "Retry-After"] {
                assert!(response.lists("Access-Control-Expose-Headers", name), "{path}: {name}: {}", response.shown());
            }
        }
        let unauthorized = Client::new(server.addr).request("GET", "/auth/verify").header("Origin", origin).send();
        assert_eq!(assert_error(&unauthorized, 401, "unauthorized")["code"], "unauthorized");
        assert_eq!(unauthorized.header("Access-Control-Allow-Origin"), Some(origin), "errors have it too");
    }
    for origin in [
        "http://evil.example",
        "http://localhost.evil.example",
        "http://evillocalhost",
        "null",
        "https://localhost:3000.evil.example",
    ] {
        let response = user.request("GET", "/config/workspace").header("Origin", origin).send().expect(200);
        assert_eq!(response.header("Access-Control-Allow-Origin"), None, "{origin}");
    }
    let stream = crate::common::Stream::open_with(
        server.addr,
        "",
        &[("Authorization", &format!("Bearer {}", token("u"))), ("Origin", "http://localhost:3000")],
    );
    assert_eq!(stream.head.header("Access-Control-Allow-Origin"), Some("http://localhost:3000"));
}

#[test]
fn allowed_origins_can_be_configured() {
    let server = Server::with(&[("ALLOW_ORIGINS", "https://app.example,https://other.example:8443")]);
    let mut client = Client::new(server.addr);
    for (origin, allowed) in [
        ("https://app.example", true),
        ("https://other.example:8443", true),
        ("https://other.example", false),
        ("http://app.example", false),
        ("http://localhost:3000", false),
    ] {
        let response = client.request("GET", "/").header("Origin", origin).send().expect(200);
        assert_eq!(response.header("Access-Control-Allow-Origin"), allowed.then_some(origin));
    }
    let server = Server::with(&[("ENV", "production")]);
    let response =
        Client::new(server.addr).request("GET", "/").header("Origin", "http://localhost:3000").send().expect(200);
    assert_eq!(response.header("Access-Control-Allow-Origin"), None, "production allows no origin by default");
}

#[test]
fn a_half_closed_client_gets_its_responses() {
    let server = Server::start(Options::new());
    let mut connection = Connection::open(server.addr);
    connection.send(post(server.addr, "one") + &get(server.addr, "/nowhere") + &post(server.addr, "two"));
    connection.half_close();
    assert_eq!(connection.response("POST").expect(200).json()["data"]["content"], "one");
    assert_error(&connection.response("GET"), 404, "not_found");
    assert_eq!(connection.response("POST").expect(200).json()["data"]["content"], "two");
    connection.expect_end();
}

/// The server may respond and close while the client still sends: the response must be readable and not lost in a
/// reset.
#[test]
fn an_early_response_can_be_read_while_the_client_sends() {
    let server = Server::start(Options::new());
    for _ in 0..20 {
        let mut connection = Connection::open(server.addr);
        connection.send(post_head(server.addr, "Content-Length: 100000000"));
        connection.send("x".repeat(128 * 1024));
        assert_error(&connection.response("POST"), 413, "payload_too_large");
        connection.half_close();
        connection.expect_end();
    }
}

#[test]
fn a_truncated_request_is_not_executed() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let mut stream = user.stream();
    let whole = post(server.addr, "cut off");
    for cut in [10, whole.len() / 2, whole.len() - 1] {
        let mut connection = Connection::open(server.addr);
        connection.send(&whole[..cut]);
        connection.half_close();
        let rest = connection.read_to_end();
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&rest));
        drop(connection);
        let mut gone = Connection::open(server.addr);
        gone.send(&whole[..cut]);
    }
    user.say("default", "whole");
    assert!(stream.before_message("whole").iter().all(|event| event.kind() != "input"));
}

/// The idle timeout starts when the reader has taken everything, not when the write timeout would have expired.
#[test]
fn an_idle_connection_is_closed_after_a_slow_read() {
    let server = Server::with(&[("KEEP_ALIVE_SECONDS", "1")]);
    let mut user = User::new(&server, "u");
    let metadata = json!({"x": "x".repeat(60 * 1024)});
    for _ in 0..16 {
        user.post("/config/workspace", json!({"name": "w", "description": "d", "metadata": metadata})).expect(200);
    }
    let count = 32;
    let get =
        format!("GET /config/workspace HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", user.token);
    let mut connection = Connection::open(server.addr);
    connection.send(get.repeat(count));
    // Longer than the idle timeout: the connection waits for its reader.
    thread::sleep(Duration::from_millis(1500));
    for _ in 0..count {
        assert_eq!(connection.response("GET").status, 200);
    }
    connection.expect_end();
}

/// A request that arrives while the connection waits for its reader is read once the response is written.
#[test]
fn a_request_sent_while_a_long_response_is_read_is_served() {
    let server = Server::with(&[("WORKERS", "1")]);
    let mut user = User::new(&server, "u");
    let metadata = json!({"x": "x".repeat(60 * 1024)});
    for _ in 0..130 {
        user.post("/config/workspace", json!({"name": "w", "description": "d", "metadata": metadata})).expect(200);
    }
    let mut connection = Connection::open(server.addr);
    connection.send(format!(
        "GET /config/workspace?limit=1000 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        user.token
    ));
    let response = connection.try_head().expect("the response begins");
    connection.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // The server has received the second request while the response is still being written.
    Client::new(server.addr).request("GET", "/").send().expect(200);
    let mut framing = Framing::of(&response, "GET");
    while connection.try_body_piece(&mut framing).expect("the response continues").is_some() {}
    assert_eq!(connection.response("GET").status, 200);
}
