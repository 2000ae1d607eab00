//! The OpenAI-compatible API in a running server, through real sockets, with any behaviour of the model and of the client.

mod durable;
mod passing;
mod rejections;

use crate::common::http::{Connection, Framing, Response};
use crate::common::model::Model;
use crate::common::{Options, Server, User};
use serde_json::{Value, json};

const PATH: &str = "/v1/chat/completions";

/// A server whose messages are answered by a model, or by `echo` where a conversation chooses it.
fn options(model: &Model) -> Options {
    Options::new()
        .set("RESPONDER", "openai")
        .set("RESPONDERS_ALLOWED", "openai,echo,none")
        .set("RESPONDER_URL", model.url())
        .set("RESPONDER_MODEL", "small")
        .set("RESPONDER_MODELS", "small,org/large")
}

/// A request with one message, and these other fields.
fn request(text: &str, fields: Value) -> Value {
    let mut body = json!({"model": "small", "messages": [{"role": "user", "content": text}]});
    body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    body
}

/// A client that reads a completion as it comes.
struct Reader {
    conn: Connection,
    head: Response,
    framing: Framing,
    unread: String,
}

impl Reader {
    /// Sends a request and reads the head of its response.
    #[track_caller]
    fn open(user: &User, body: &Value, fields: &str) -> Reader {
        let mut conn = Connection::open(user.addr());
        send(&mut conn, user, body, fields);
        Reader::on(conn)
    }

    /// Reads the head of the response on a connection.
    #[track_caller]
    fn on(mut conn: Connection) -> Reader {
        let head = conn.try_head().expect("a head");
        let framing = Framing::of(&head, "POST");
        Reader { conn, head, framing, unread: String::new() }
    }

    /// The next line that is not empty; `None` after the last.
    #[track_caller]
    fn line(&mut self) -> Option<String> {
        loop {
            if let Some((line, rest)) = self.unread.split_once('\n') {
                let line = line.to_owned();
                self.unread = rest.to_owned();
                if line.is_empty() {
                    continue;
                }
                return Some(line);
            }
            let piece = self.conn.try_body_piece(&mut self.framing).expect("the response has its end")?;
            self.unread += std::str::from_utf8(&piece).expect("whole characters");
        }
    }

    /// The data of the next event; `None` after the last.
    #[track_caller]
    fn event(&mut self) -> Option<String> {
        loop {
            let line = self.line()?;
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(data.to_owned());
            }
            assert_eq!(line, ":", "comments and data are all that comes");
        }
    }

    /// The next event, which is JSON.
    #[track_caller]
    fn json(&mut self) -> Value {
        let data = self.event().expect("an event");
        serde_json::from_str(&data).unwrap_or_else(|_| panic!("JSON, not {data}"))
    }

    /// Reads text until it equals `expected`.
    #[track_caller]
    fn until(&mut self, expected: &str) {
        let mut text = String::new();
        while text != expected {
            assert!(expected.starts_with(&text), "{text:?} is no beginning of {expected:?}");
            text += self.json()["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
        }
    }

    /// Reads to the end: the text, the last finish reason and the error.
    #[track_caller]
    fn rest(mut self) -> Rest {
        let mut rest = Rest::default();
        while let Some(data) = self.event() {
            assert!(!rest.is_done, "nothing follows [DONE]");
            if data == "[DONE]" {
                rest.is_done = true;
                continue;
            }
            let event: Value = serde_json::from_str(&data).expect("JSON");
            if event["error"].is_object() {
                rest.error = event["error"].clone();
                continue;
            }
            if event["usage"].is_object() {
                rest.usage = event["usage"].clone();
            }
            let choice = &event["choices"][0];
            rest.text += choice["delta"]["content"].as_str().unwrap_or_default();
            rest.reasoning += choice["delta"]["reasoning_content"].as_str().unwrap_or_default();
            if let Some(reason) = choice["finish_reason"].as_str() {
                rest.finish_reason = reason.to_owned();
            }
            rest.ids.extend(event["id"].as_str().map(str::to_owned));
        }
        rest
    }
}

/// What a stream brought.
#[derive(Debug, Default)]
struct Rest {
    text: String,
    reasoning: String,
    finish_reason: String,
    usage: Value,
    error: Value,
    ids: Vec<String>,
    is_done: bool,
}

/// Sends a request on a connection.
fn send(conn: &mut Connection, user: &User, body: &Value, fields: &str) {
    let (body, token) = (body.to_string(), &user.token);
    conn.send(format!(
        "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{fields}\r\n{body}",
        body.len()
    ));
}

/// The error of a response, in OpenAI's form: status, type and code.
#[track_caller]
fn error_of(response: &Response) -> (u16, String, String) {
    let body = response.json();
    let error = &body["error"];
    let keys: Vec<&String> = error.as_object().expect("an error").keys().collect();
    assert_eq!(keys, ["code", "message", "param", "type"], "{body}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
    let text = |name: &str| error[name].as_str().expect("text").to_owned();
    (response.status, text("type"), text("code"))
}

/// The same to compare.
fn error(status: u16, kind: &str, code: &str) -> (u16, String, String) {
    (status, kind.to_owned(), code.to_owned())
}
