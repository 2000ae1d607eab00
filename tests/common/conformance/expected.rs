//! The responses that the server must send to a case, derived from the parse result in the table.

use cortex_core::internals::limits::DISCARD_BYTES_MAX;

/// The expected responses on a connection, and its state after them.
#[derive(Debug, PartialEq)]
pub struct Expected {
    /// The responses, in order.
    pub responses: Vec<ExpectedResponse>,
    /// The state of the connection after the last response.
    pub end: End,
}

/// One response.
#[derive(Debug, PartialEq)]
pub struct ExpectedResponse {
    /// The method of the request; `GET` if none was parsed.
    pub method: String,
    /// The path of the request; empty if none was parsed.
    pub path: String,
    /// The expected status.
    pub status: u16,
    /// Whether `100 Continue` may precede it.
    pub expects: bool,
}

/// The state of a connection after the last response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Open: the next request gets a response.
    Stays,
    /// Closed, as announced by the last response.
    Closes,
    /// Open: the request is incomplete.
    Waits,
    /// Open: the following bytes are discarded as the rest of a rejected body.
    Swallows,
}

impl Expected {
    /// Parses an outcome of the table.
    pub fn of(outcome: &str) -> Expected {
        let mut responses = Vec::new();
        for part in outcome.split(" | ").filter(|part| !part.is_empty()) {
            if part == "..." {
                return Expected { responses, end: End::Waits };
            }
            if let Some(error) = part.strip_prefix('!') {
                let (method, path) = ("GET".to_owned(), String::new());
                responses.push(ExpectedResponse { method, path, status: status_of_head(error), expects: false });
                return Expected { responses, end: End::Closes };
            }
            let end = read_request(part, &mut responses);
            if end != End::Stays {
                return Expected { responses, end };
            }
        }
        Expected { responses, end: End::Stays }
    }
}

/// Adds the response to a syntactically valid request and returns the state of the connection.
fn read_request(part: &str, responses: &mut Vec<ExpectedResponse>) -> End {
    // The host may be empty, so split at every single space.
    let words: Vec<&str> = part.splitn(7, ' ').collect();
    let [method, target, _version, _host, framing, connection, ..] = words[..] else {
        panic!("not the outcome of a request: {part}")
    };
    let (method, path) = (method.trim_matches(['(', ')']), target.split('?').next().unwrap_or_default());
    let last_word = words.get(6).and_then(|rest| rest.rsplit(' ').next()).unwrap_or_default();
    let expects = words.get(6).is_some_and(|rest| rest.split(' ').next() == Some("expects"));
    let mut response = ExpectedResponse { method: method.to_owned(), path: path.to_owned(), status: 200, expects };
    match routed(method, path) {
        // The response follows the head. A body that cannot be discarded cheaply closes the connection.
        status if status != 200 => {
            response.status = status;
            response.expects = false;
            responses.push(response);
            if framing == "chunked" || expects || connection == "close" { End::Closes } else { End::Stays }
        }
        _ if last_word == "..." => End::Waits,
        _ => {
            let mut end = if connection == "close" { End::Closes } else { End::Stays };
            if let Some(error) = last_word.strip_prefix('!') {
                response.status = status_of_body(error);
                let is_short = framing.parse::<usize>().is_ok_and(|length| length <= DISCARD_BYTES_MAX);
                end = if is_short { End::Swallows } else { End::Closes };
            }
            responses.push(response);
            end
        }
    }
}

/// The status of a complete request; `POST /` stands for a request that is served.
fn routed(method: &str, path: &str) -> u16 {
    match (method, path) {
        ("GET" | "HEAD" | "POST", "/") => 200,
        ("OPTIONS", "/" | "*") => 204,
        (_, "/") => 405,
        _ => 404,
    }
}

fn status_of_head(error: &str) -> u16 {
    match error {
        "TargetTooLong" => 414,
        "Expectation" => 417,
        "TooLarge" | "TooManyFields" => 431,
        _ => 400,
    }
}

fn status_of_body(error: &str) -> u16 {
    match error {
        "TooLarge" => 413,
        "TrailersTooLarge" => 431,
        _ => 400,
    }
}
