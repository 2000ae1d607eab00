//! The table of requests and what the server must answer to each, for tests that send it to the server directly and for
//! tests that send it through proxies.

pub mod expected;
pub mod requests;

use super::token::token;
use super::{Options, Server};

/// A server that takes any host, with the limits that the table reckons with.
pub fn server() -> Server {
    Server::start(Options::new().set("ALLOWED_HOSTS", "*").set("MAX_BODY_BYTES", requests::BODY_BYTES_MAX))
}

/// A request behind a case: it is answered with `404` and this id where the connection goes on, and nowhere else.
pub fn marker(id: &str, fields: &str) -> Vec<u8> {
    format!("GET /marker HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\n{fields}\r\n").into_bytes()
}

/// A case's bytes, with every `POST /` made to an endpoint that reads a body of any type and says `200`.
pub fn served(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 512);
    let mut rest = bytes;
    while let Some(at) = rest.windows(7).position(|window| window == b"POST / ") {
        let version_end = at + 7 + b"HTTP/1.1\r\n".len();
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(b"POST /auth/refresh ");
        out.extend_from_slice(&rest[at + 7..version_end]);
        out.extend_from_slice(format!("Authorization: Bearer {}\r\n", token("u")).as_bytes());
        rest = &rest[version_end..];
    }
    out.extend_from_slice(rest);
    out
}
