//! Requests whose framing two readers could understand differently (RFC 9112 §11.2): each is `400`, the connection
//! closes, and what stands behind it is never taken for a request.

use crate::common::token::token;
use crate::common::{Connection, Options, Server, User, assert_error};

/// A head of a `POST /input` that is good but for `fields`, and what comes after it.
fn request(fields: &str, after: &str) -> Vec<u8> {
    format!(
        "POST /input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n{fields}\r\n\r\n{after}",
        token("u")
    )
    .into_bytes()
}

const BODY: &str = r#"{"content":"first"}"#;
const CHUNKED: &str = "Transfer-Encoding: chunked";

fn table() -> Vec<(&'static str, Vec<u8>)> {
    let length = |value: &str| request(&format!("Content-Length: {value}"), BODY);
    let coding =
        |value: &str| request(&format!("Transfer-Encoding: {value}"), "13\r\n{\"content\":\"first\"}\r\n0\r\n\r\n");
    let chunks = |chunks: &str| request(CHUNKED, chunks);
    let head = |head: &str| head.as_bytes().to_vec();
    vec![
        ("a length and a coding", request(&format!("Content-Length: 19\r\n{CHUNKED}"), "0\r\n\r\n")),
        ("a coding and a length", request(&format!("{CHUNKED}\r\nContent-Length: 19"), "0\r\n\r\n")),
        ("two lengths that differ", request("Content-Length: 19\r\nContent-Length: 20", BODY)),
        ("a list of lengths that differ", length("19, 20")),
        ("a signed length", length("+19")),
        ("a negative length", length("-1")),
        ("a hexadecimal length", length("0x13")),
        ("a length in two words", length("1 9")),
        ("an empty length", length("")),
        ("a length with a fraction", length("19.0")),
        ("a length over 64 bits", length("18446744073709551635")),
        ("a length over 128 bits", length("340282366920938463463374607431768211475")),
        ("a length of letters", length("nineteen")),
        ("a length of other digits", length("１９")),
        ("an unknown coding", coding("gzip")),
        ("chunked and another after it", coding("chunked, gzip")),
        ("another before chunked", coding("gzip, chunked")),
        ("chunked twice", coding("chunked, chunked")),
        ("chunked in two fields", request(&format!("{CHUNKED}\r\n{CHUNKED}"), "0\r\n\r\n")),
        ("identity", coding("identity")),
        ("an empty coding", coding("")),
        ("a coding with a vertical tab", coding("\u{b}chunked")),
        ("a coding in quotes", coding("\"chunked\"")),
        ("chunked with a parameter", coding("chunked;q=1")),
        ("something like chunked", coding("xchunked")),
        (
            "a coding in HTTP/1.0",
            head("POST /input HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        ("white space before the colon", request("Content-Length : 19", BODY)),
        ("a tab before the colon", request("Transfer-Encoding\t: chunked", "0\r\n\r\n")),
        ("a folded field", request("X-Folded: a\r\n b", "")),
        ("a folded coding", request("Transfer-Encoding:\r\n chunked", "0\r\n\r\n")),
        ("a field that begins with white space", head("GET / HTTP/1.1\r\n Host: localhost\r\n\r\n")),
        ("a field without a name", request(": value", "")),
        ("a field without a colon", request("Nonsense", "")),
        ("a space in a field's name", request("X Y: z", "")),
        ("a bare carriage return in a field", request("X-Bare: a\rContent-Length: 19", BODY)),
        ("a bare line feed in place of a line's end", head("GET / HTTP/1.1\nHost: localhost\n\n")),
        ("one bare line feed", head("GET / HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n")),
        ("a NUL in a field", request("X-Nul: a\0b", "")),
        ("a control character in a field", request("X-Control: a\u{1}b", "")),
        ("no host", head("GET / HTTP/1.1\r\n\r\n")),
        ("two hosts", head("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")),
        ("an empty host", head("GET / HTTP/1.1\r\nHost: \r\n\r\n")),
        ("a host in two words", head("GET / HTTP/1.1\r\nHost: local host\r\n\r\n")),
        ("a host with a path", head("GET / HTTP/1.1\r\nHost: localhost/x\r\n\r\n")),
        ("a host with a user", head("GET / HTTP/1.1\r\nHost: a@localhost\r\n\r\n")),
        ("a host with a bad port", head("GET / HTTP/1.1\r\nHost: localhost:http\r\n\r\n")),
        ("no version", head("GET /\r\nHost: localhost\r\n\r\n")),
        ("a later version", head("GET / HTTP/2.0\r\nHost: localhost\r\n\r\n")),
        ("a version in small letters", head("GET / http/1.1\r\nHost: localhost\r\n\r\n")),
        ("two spaces in the request line", head("GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n")),
        ("a space in the target", head("GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n")),
        ("a tab in the request line", head("GET\t/ HTTP/1.1\r\nHost: localhost\r\n\r\n")),
        ("a control character in the target", head("GET /\u{7f} HTTP/1.1\r\nHost: localhost\r\n\r\n")),
        ("a method of other characters", head("G(T / HTTP/1.1\r\nHost: localhost\r\n\r\n")),
        ("another protocol", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        ("a chunk size that is signed", chunks("+13\r\n{\"content\":\"first\"}\r\n0\r\n\r\n")),
        ("a chunk size with a prefix", chunks("0x13\r\n{\"content\":\"first\"}\r\n0\r\n\r\n")),
        ("an empty chunk size", chunks("\r\n\r\n")),
        ("a chunk size of other letters", chunks("1g\r\n")),
        ("a chunk size with white space before it", chunks(" 13\r\n{\"content\":\"first\"}\r\n0\r\n\r\n")),
        ("a chunk size over 64 bits", chunks("10000000000000013\r\n{\"content\":\"first\"}\r\n0\r\n\r\n")),
        ("a chunk that is longer than it says", chunks("12\r\n{\"content\":\"first\"}\r\n0\r\n\r\n")),
        ("a chunk line that ends with a line feed alone", chunks("13\n{\"content\":\"first\"}\r\n0\r\n\r\n")),
        ("a chunk that ends with a line feed alone", chunks("13\r\n{\"content\":\"first\"}\n0\r\n\r\n")),
        ("a bare carriage return in a chunk extension", chunks("13;a\rb\r\n{\"content\":\"first\"}\r\n0\r\n\r\n")),
        ("a line feed in a chunk extension", chunks("13;a\nb\r\n{\"content\":\"first\"}\r\n0\r\n\r\n")),
        ("a chunk extension without an end", chunks(&format!("13;{}\r\n", "x".repeat(300)))),
        ("a malformed trailer", chunks("13\r\n{\"content\":\"first\"}\r\n0\r\nnonsense\r\n\r\n")),
        ("a folded trailer", chunks("13\r\n{\"content\":\"first\"}\r\n0\r\nX: a\r\n b\r\n\r\n")),
        ("a trailer with a bare line feed", chunks("13\r\n{\"content\":\"first\"}\r\n0\r\nX: a\nY: b\r\n\r\n")),
    ]
}

fn behind(name: &str) -> String {
    let body = format!(r#"{{"content":"smuggled behind {name}"}}"#);
    format!(
        "POST /input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        token("u"),
        body.len()
    )
}

#[test]
fn nothing_is_smuggled_behind_a_malformed_request() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let mut stream = user.stream();
    for (name, mut bytes) in table() {
        bytes.extend_from_slice(behind(name).as_bytes());
        let mut connection = Connection::open(server.addr);
        // The server may have closed before it took everything.
        let _ = connection.try_send(&bytes);
        let answer = connection.response("POST");
        assert_eq!(answer.status, 400, "{name}: {}", answer.shown());
        assert_error(&answer, 400, "bad_request");
        assert!(answer.closes(), "{name}: {}", answer.shown());
        connection.expect_end();
    }
    user.say("default", "the end");
    let smuggled = stream.before_message("the end");
    assert!(smuggled.iter().all(|event| event.kind() != "input"), "{smuggled:?}");
}

/// The same when the bytes trickle in, and when the malformed request is not the first of its connection.
#[test]
fn nothing_is_smuggled_however_the_bytes_are_cut() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let mut stream = user.stream();
    for (name, mut bytes) in table() {
        bytes.extend_from_slice(behind(name).as_bytes());
        let mut connection = Connection::open(server.addr);
        connection.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.response("GET").expect(200);
        for piece in bytes.chunks(7) {
            if connection.try_send(piece).is_err() {
                break;
            }
        }
        let answer = connection.response("POST");
        assert_eq!(answer.status, 400, "{name}: {}", answer.shown());
        assert!(answer.closes(), "{name}");
        connection.expect_end();
    }
    user.say("default", "the end");
    assert!(stream.before_message("the end").iter().all(|event| event.kind() != "input"));
}

/// What is unusual but has one meaning only is no reason to refuse.
#[test]
fn what_has_one_meaning_is_served() {
    let server = Server::start(Options::new());
    let chunked = "13\r\n{\"content\":\"first\"}\r\n0\r\n\r\n";
    let table = [
        ("a length with zeros", request("Content-Length: 0019", BODY)),
        ("a coding in capitals", request("TRANSFER-ENCODING: CHUNKED", chunked)),
        ("white space around a value", request("Content-Length: \t 19 \t ", BODY)),
        ("no white space before a value", request("Content-Length:19", BODY)),
        ("a long field", request(&format!("Content-Length: 19\r\nX: {}", "x".repeat(8000)), BODY)),
        ("an empty field", request("Content-Length: 19\r\nX:", BODY)),
    ];
    for (name, bytes) in table {
        let mut connection = Connection::open(server.addr);
        connection.send(bytes);
        let answer = connection.response("POST");
        assert_eq!(answer.status, 200, "{name}: {}", answer.shown());
        connection.half_close();
        connection.expect_end();
    }
}
