//! Public suites of tests of HTTP servers, as tables of our own in one form. `docs/testing.md` has the results.
//!
//! `SUITE_SERVER=127.0.0.1:8080 cargo test --test server public_suites -- --nocapture` runs them against another server,
//! which echoes the body of each `POST`, and prints its score.

mod case;
mod exchange;
mod h1spec;
mod http11_probe;
mod rule;

use crate::common::token::token;
use crate::common::{Options, Server};
use case::{Case, Score};
use rule::Verdict;
use std::net::SocketAddr;

/// A server of ours. Its timeouts are longer than a suite waits.
fn server() -> Server {
    let options = Options::new().set("ALLOWED_HOSTS", "*");
    Server::start(options.set("HEADER_TIMEOUT_SECONDS", 60).set("BODY_TIMEOUT_SECONDS", 60))
}

/// The other server to be measured.
fn other_server() -> Option<SocketAddr> {
    let addr = std::env::var("SUITE_SERVER").ok()?;
    Some(addr.parse().expect("SUITE_SERVER is an address and a port"))
}

/// A case's bytes for our server, in which each request line names a route, and a request of `POST` has a token.
fn ours(bytes: &[u8]) -> Vec<u8> {
    const ROUTES: [(&[u8], &[u8]); 5] = [
        (b"POST / ", b"POST /auth/refresh "),
        (b"POST /echo ", b"POST /auth/refresh "),
        (b"POST /input ", b"POST /input "),
        (b"GET /echo ", b"GET / "),
        (b"GET /hello ", b"GET / "),
    ];
    let Some((from, to)) = ROUTES.into_iter().find(|(from, _)| bytes.starts_with(from)) else { return bytes.to_vec() };
    let rest = &bytes[from.len()..];
    let Some(line_end) = case::find(rest, b"\r\n").filter(|_| from.starts_with(b"POST ")) else {
        return [to, rest].concat();
    };
    let authorization = format!("\r\nAuthorization: Bearer {}", token("u"));
    [to, &rest[..line_end], authorization.as_bytes(), &rest[line_end..]].concat()
}

/// A case's bytes for a server that echoes at `/`.
fn at_root(bytes: &[u8]) -> Vec<u8> {
    match bytes.strip_prefix(b"POST /input ") {
        Some(rest) => [b"POST / ", rest].concat(),
        None => bytes.to_vec(),
    }
}

/// Prints the score, and the cases that did not pass.
fn report(cases: &[Case], verdicts: &[Verdict]) {
    for (case, verdict) in cases.iter().zip(verdicts).filter(|(_, verdict)| **verdict != Verdict::Pass) {
        println!("{verdict:?}{}: {}", if case.is_scored { "" } else { " (unscored)" }, case.name);
    }
    println!("{:?}", Score::of(cases, verdicts));
}
