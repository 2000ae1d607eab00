//! The table of requests and the expected responses, for tests that connect to the server directly and through proxies.

pub mod expected;
pub mod requests;

use super::token::token;
use super::{Options, Server};

/// A server that accepts any host, with the limits that the table assumes.
pub fn server() -> Server {
    Server::start(Options::new().set("ALLOWED_HOSTS", "*").set("MAX_BODY_BYTES", requests::BODY_BYTES_MAX))
}

/// A request that follows a case: it gets `404` with this id if the connection is still open, and otherwise no
/// response.
pub fn marker(id: &str, fields: &str) -> Vec<u8> {
    format!("GET /marker HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\n{fields}\r\n").into_bytes()
}

/// A case's bytes with each `POST /` replaced by an endpoint that accepts a body of any type and responds with `200`.
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
