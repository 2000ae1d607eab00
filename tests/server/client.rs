//! Tests of the test client, with peers that violate the protocol: a check that cannot fail proves nothing.

use crate::common::sse::Parser;
use crate::common::{Client, Connection};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// A peer that reads one request and responds with these bytes.
fn serve_bytes(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a connection");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).expect("a request");
            request.push(byte[0]);
        }
        socket.write_all(bytes).expect("the response is sent");
        socket.shutdown(Shutdown::Write).expect("the socket is open");
    });
    addr
}

#[test]
fn the_test_client_reads_valid_responses() {
    let table: [(&[u8], &[u8]); 4] = [
        (b"HTTP/1.1 200 OK\r\nX-Request-Id: a\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200 OK\r\nX-Request-Id: a\r\nContent-Length: 0\r\n\r\n", b""),
        (
            b"HTTP/1.1 200 OK\r\nX-Request-Id: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
            b"ok",
        ),
        (b"HTTP/1.1 200 OK\r\nX-Request-Id: a\r\nConnection: close\r\n\r\nok", b"ok"),
    ];
    for (bytes, body) in table {
        let response = Client::new(serve_bytes(bytes)).request("GET", "/").send();
        assert_eq!(response.body, body, "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn the_test_client_panics_on_invalid_responses() {
    let table: [(&str, &[u8]); 12] = [
        ("a stray byte", b"HTTP/1.1 200 OK\r\nX-Request-Id: a\r\nContent-Length: 2\r\n\r\nok!"),
        (
            "a stray byte before the end",
            b"HTTP/1.1 200 OK\r\nX-Request-Id: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nok",
        ),
        ("a body too short", b"HTTP/1.1 200 OK\r\nX-Request-Id: a\r\nContent-Length: 3\r\n\r\nok"),
        ("no framing", b"HTTP/1.1 200 OK\r\nX-Request-Id: a\r\n\r\nok"),
        (
            "a length and a coding",
            b"HTTP/1.1 200 OK\r\nX-Request-Id: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("two lengths", b"HTTP/1.1 200 OK\r\nX-Request-Id: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
        ("a signed length", b"HTTP/1.1 200 OK\r\nX-Request-Id: a\r\nContent-Length: +2\r\n\r\nok"),
        (
            "a chunk that is longer than it says",
            b"HTTP/1.1 200 OK\r\nX-Request-Id: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nok\r\n0\r\n\r\n",
        ),
        ("a bare line feed", b"HTTP/1.1 200 OK\nX-Request-Id: a\r\nContent-Length: 0\r\n\r\n"),
        ("white space before the colon", b"HTTP/1.1 200 OK\r\nX-Request-Id : a\r\nContent-Length: 0\r\n\r\n"),
        ("no request id", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("another version", b"HTTP/1.0 200 OK\r\nX-Request-Id: a\r\nContent-Length: 0\r\n\r\n"),
    ];
    for (name, bytes) in table {
        let addr = serve_bytes(bytes);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut connection = Connection::open(addr);
            connection.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
            connection.response("GET");
            connection.expect_end();
        }));
        assert!(outcome.is_err(), "{name} was not detected");
    }
}

#[test]
fn the_test_client_reads_no_body_after_head() {
    let bytes = b"HTTP/1.1 200 OK\r\nX-Request-Id: a\r\nContent-Length: 2\r\n\r\nok";
    let mut connection = Connection::open(serve_bytes(bytes));
    connection.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(connection.response("HEAD").body, b"");
    assert_eq!(connection.read_to_end(), b"ok", "bytes after it are a visible error");
}

#[test]
fn the_test_client_parses_streams_as_the_html_standard_defines() {
    let text = concat!(
        "\u{feff}retry: 3000\n\n",
        ": a comment\nid: 1\ndata: {\"a\":\ndata: 1}\n\n",
        "id: 2\r\nevent: input\r\ndata:{\"b\":2}\r\n\r\n",
        "data:  {\"c\":3}\r\rid: nothing is sent\n\n",
        "retry: soon\nunknown: x\ndata: {}\nid: bad\0\n\ndata: {\"never\":\"dispatched\"}\n",
    );
    let whole = {
        let mut parser = Parser::default();
        parser.feed(text.as_bytes());
        parser
    };
    let mut bytewise = Parser::default();
    text.as_bytes().iter().for_each(|byte| bytewise.feed(&[*byte]));
    for parser in [whole, bytewise] {
        let seen: Vec<String> = parser
            .events
            .iter()
            .map(|event| format!("{:?} {:?} {} {}", event.id, event.name, event.data, event.data_lines))
            .collect();
        let expected = [
            r#"Some("1") None {"a":1} 2"#,
            r#"Some("2") Some("input") {"b":2} 1"#,
            r#"None None {"c":3} 1"#,
            "None None {} 1",
        ];
        assert_eq!(seen, expected);
        assert_eq!(parser.retries, [3000]);
        assert_eq!(parser.last_event_id, "nothing is sent");
    }
}
