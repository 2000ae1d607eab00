//! What the server must say to a case, as it follows from what the table says is read.

use cortex_core::internals::limits::DISCARD_BYTES_MAX;

/// The answers to a connection's bytes, and what becomes of it.
#[derive(Debug, PartialEq)]
pub struct Expected {
    /// The answers, in order.
    pub responses: Vec<ExpectedResponse>,
    /// What comes after the last.
    pub end: End,
}

/// One answer.
#[derive(Debug, PartialEq)]
pub struct ExpectedResponse {
    /// The method that it answers; `GET` where none could be read.
    pub method: String,
    /// The path that was asked for; empty where none could be read.
    pub path: String,
    /// Its status.
    pub status: u16,
    /// Whether `100 Continue` may come before it.
    pub expects: bool,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It goes on: what comes next is answered.
    Stays,
    /// It ends, and the last answer says so.
    Closes,
    /// More bytes are needed.
    Waits,
    /// What comes next is taken for the rest of a body that nobody wants.
    Swallows,
}

impl Expected {
    /// Reads an outcome of the table.
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

/// Adds the answer to a request of good syntax, and says what becomes of the connection.
fn read_request(part: &str, responses: &mut Vec<ExpectedResponse>) -> End {
    // The host may be empty, so words are what stands between single spaces.
    let words: Vec<&str> = part.splitn(7, ' ').collect();
    let [method, target, _version, _host, framing, connection, ..] = words[..] else {
        panic!("no outcome of a request: {part}")
    };
    let (method, path) = (method.trim_matches(['(', ')']), target.split('?').next().unwrap_or_default());
    let last_word = words.get(6).and_then(|rest| rest.rsplit(' ').next()).unwrap_or_default();
    let expects = words.get(6).is_some_and(|rest| rest.split(' ').next() == Some("expects"));
    let mut response = ExpectedResponse { method: method.to_owned(), path: path.to_owned(), status: 200, expects };
    match routed(method, path) {
        // The answer comes with the head. What cannot be passed over quickly ends the connection.
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

/// The status of a whole request, where `POST /` stands for one that is served.
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
