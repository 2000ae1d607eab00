//! Accepted origins and hosts, and the fields of every response. `tests/world/clients` compares the origins with
//! Starlette.

use crate::common::token::token;
use crate::common::{Client, Connection, Response, Server, UNKNOWN_ID, assert_error};

#[test]
fn an_unknown_host_is_rejected_before_any_other_check() {
    let server = Server::with(&[("ALLOWED_HOSTS", "*.example.org,[::1]")]);
    let mut connection = Connection::open(server.addr);
    let mut ask = |method: &str, path: &str, host: &str, fields: &str| {
        connection.send(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
        connection.response(method)
    };
    for (host, served) in [
        ("www.example.org", true),
        ("a.b.EXAMPLE.org:8000", true),
        ("[::1]", true),
        ("[::1]:8000", true),
        ("example.org", false),
        ("localhost", false),
        ("[::2]:8000", false),
        ("www.example.org.evil.example", false),
    ] {
        for (path, status) in [("/", 200), ("/nowhere", 404), ("/config/workspace", 401)] {
            let response = ask("GET", path, host, "");
            assert_eq!(response.status, if served { status } else { 400 }, "{host}: {}", response.shown());
        }
        let preflight = "Origin: http://localhost:3000\r\nAccess-Control-Request-Method: POST\r\n";
        let response = ask("OPTIONS", "/input", host, preflight);
        assert_eq!(response.status, if served { 200 } else { 400 }, "{host}: {}", response.shown());
    }
}

#[test]
fn a_rejected_preflight_reports_why() {
    let server = Server::with(&[("ALLOW_ORIGINS", "https://app.example")]);
    let response = Client::new(server.addr)
        .request("OPTIONS", "/input")
        .header("Origin", "https://evil.example")
        .header("Access-Control-Request-Method", "PATCH")
        .send();
    let error = assert_error(&response, 400, "bad_request");
    assert_eq!(error["message"], "Disallowed CORS origin, method");
    assert_eq!(error["details"].as_object().map(|details| details.len()), Some(2));
    assert!(response.header("Access-Control-Allow-Origin").is_none() && response.lists("Vary", "Origin"));
}

#[test]
fn responses_do_not_vary_by_origin_without_allowed_origins() {
    let server = Server::with(&[("ENV", "production")]);
    let response =
        Client::new(server.addr).request("GET", "/").header("Origin", "https://a.example").send().expect(200);
    assert!(!response.lists("Vary", "Origin"), "{}", response.shown());
}

/// `X-Request-Id` is checked by the test client in every response.
fn assert_common_fields(response: &Response) {
    let shown = response.shown();
    assert!(response.header("X-Request-Id").is_some(), "{shown}");
    assert_eq!(response.header("X-Content-Type-Options"), Some("nosniff"), "{shown}");
    assert_eq!(response.header("Referrer-Policy"), Some("no-referrer"), "{shown}");
    let is_stream =
        response.header("Content-Type").is_some_and(|media_type| media_type.starts_with("text/event-stream"));
    let cache_control = if is_stream { "no-store, no-transform" } else { "no-store" };
    assert_eq!(response.header("Cache-Control"), Some(cache_control), "{shown}");
    assert!(response.lists("Vary", "Origin"), "{shown}");
    assert!(response.header("Date").is_some(), "{shown}");
}

#[test]
fn every_response_has_a_request_id_and_security_headers() {
    let server = Server::with(&[("MAX_BODY_BYTES", "1024"), ("HEADER_TIMEOUT_SECONDS", "1")]);
    let authorized = format!("Host: localhost\r\nAuthorization: Bearer {}", token("u"));
    let json = format!("{authorized}\r\nContent-Type: application/json");
    let form = "Host: localhost\r\nContent-Type: application/x-www-form-urlencoded";
    let table = [
        (200, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()),
        (200, "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()),
        (200, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()),
        (200, format!("GET /config/workspace HTTP/1.1\r\n{authorized}\r\n\r\n")),
        (200, format!("POST /input HTTP/1.1\r\n{json}\r\nContent-Length: 15\r\n\r\n{{\"content\":\"x\"}}")),
        (200, format!("POST /auth/refresh HTTP/1.1\r\n{authorized}\r\nContent-Length: 0\r\n\r\n")),
        (200, format!("POST /auth/stream-ticket HTTP/1.1\r\n{authorized}\r\nContent-Length: 0\r\n\r\n")),
        (204, "OPTIONS /input HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()),
        (204, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()),
        (
            200,
            "OPTIONS /input HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\
             Access-Control-Request-Method: POST\r\n\r\n"
                .to_owned(),
        ),
        (
            400,
            "OPTIONS /input HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\
             Access-Control-Request-Method: POST\r\n\r\n"
                .to_owned(),
        ),
        (400, "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned()),
        (400, "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n".to_owned()),
        (400, "nonsense\r\n\r\n".to_owned()),
        (400, format!("POST /input HTTP/1.1\r\n{json}\r\nContent-Length: 1\r\n\r\n{{")),
        (400, format!("POST /input HTTP/1.1\r\n{json}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{{")),
        (400, format!("POST /input HTTP/1.1\r\n{json}\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n")),
        (401, "GET /auth/verify HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()),
        (401, format!("POST /auth/login HTTP/1.1\r\n{form}\r\nContent-Length: 21\r\n\r\nusername=a&password=b")),
        (404, "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()),
        (404, format!("GET /config/workspace/{UNKNOWN_ID} HTTP/1.1\r\n{authorized}\r\n\r\n")),
        (405, "DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()),
        (408, "GET / HTTP/1.1\r\nHost: localhost\r\n".to_owned()),
        (413, format!("POST /input HTTP/1.1\r\n{json}\r\nContent-Length: 1025\r\n\r\n")),
        (414, format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(8192))),
        (415, format!("POST /input HTTP/1.1\r\n{authorized}\r\nContent-Type: text/csv\r\nContent-Length: 1\r\n\r\nx")),
        (422, format!("POST /input HTTP/1.1\r\n{json}\r\nContent-Length: 2\r\n\r\n{{}}")),
        (431, format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(17 * 1024))),
    ];
    for (status, request) in table {
        let mut connection = Connection::open(server.addr);
        connection.send(&request);
        let response = connection.response(request.split(' ').next().expect("a split has a part"));
        assert_eq!(response.status, status, "{request:?}: {}", response.shown());
        // A preflight depends on more fields.
        let is_preflight = request.contains("Access-Control-Request-Method");
        let by_fields = response.lists("Vary", "Access-Control-Request-Headers");
        assert_eq!(by_fields, is_preflight, "{}", response.shown());
        assert_common_fields(&response);
    }
    let stream = crate::common::User::new(&server, "u").stream();
    assert_common_fields(&stream.head);
}

/// Also where every origin is allowed.
#[test]
fn an_invalid_origin_is_not_echoed() {
    let server = Server::with(&[("ALLOW_ORIGINS", "*")]);
    for (origin, allowed) in
        [("http://a.example", true), ("http:/\ta", false), ("http://a b", false), ("http://é", false)]
    {
        let mut connection = Connection::open(server.addr);
        connection.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n"));
        let response = connection.response("GET");
        assert_eq!(response.status, 200, "{origin:?}");
        assert_eq!(response.header("Access-Control-Allow-Origin"), allowed.then_some(origin), "{origin:?}");
    }
}
