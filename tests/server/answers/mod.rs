//! Answers of responders in a whole running server, through real sockets: what a client sees in its stream and in the
//! lists, whatever the model does and whenever the server ends.

mod cancel;
mod crash;
mod echo;
mod load;
mod misbehaviour;
mod order;
mod streaming;

use crate::common::model::{self, Model};
use crate::common::sse::Event;
use crate::common::user::text;
use crate::common::{Options, Server, Stream, User};
use serde_json::{Value, json};

/// A server whose messages a model answers.
fn options(model: &Model) -> Options {
    Options::new().set("RESPONDER", "openai").set("RESPONDER_URL", model.url()).set("RESPONDER_MODEL", "small")
}

/// Messages of a conversation, oldest first.
#[track_caller]
fn messages(user: &mut User, conversation: &str) -> Vec<Value> {
    let answer = user.get(&format!("/conversations/{conversation}/messages?limit=1000")).expect(200);
    answer.json().as_array().expect("a list").clone()
}

/// Who said what, and how that ended.
#[track_caller]
fn said(user: &mut User, conversation: &str) -> Vec<(String, String, String)> {
    let list = messages(user, conversation);
    list.iter().map(|message| (text(&message["role"]), text(&message["content"]), text(&message["status"]))).collect()
}

/// What `said` gives, shorter to write.
fn lines(list: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    list.iter().map(|(role, text, status)| (role.to_string(), text.to_string(), status.to_string())).collect()
}

/// Asks for the end of the running answer; whether there was one.
#[track_caller]
fn cancel(user: &mut User, conversation: &str) -> bool {
    let answer = user.post(&format!("/conversations/{conversation}/cancel"), json!({})).expect(200).json();
    assert_eq!(answer.as_object().map(|fields| fields.len()), Some(1), "{answer}");
    answer["cancelled"].as_bool().expect("true or false")
}

/// The deltas of one answer as a client puts them together.
#[derive(Default)]
struct Reading {
    text: String,
    /// The index of the delta that fits next.
    next: u64,
    /// How many deltas and snapshots came.
    deltas: usize,
    snapshots: usize,
    message_id: Option<String>,
}

impl Reading {
    /// Takes a delta or snapshot in; panics on one that does not fit.
    #[track_caller]
    fn take(&mut self, event: &Event) {
        assert!(event.id.is_none(), "what is not in the journal has no number: {event:?}");
        let data = &event.data["data"];
        let id = text(&data["message_id"]);
        assert_eq!(self.message_id.get_or_insert_with(|| id.clone()), &id, "one answer at a time");
        let index = data["index"].as_u64().expect("an index");
        match event.kind() {
            "output_delta" => {
                assert_eq!(index, self.next, "no hole and nothing twice: {event:?}");
                self.text += data["delta"].as_str().expect("text");
                self.deltas += 1;
            }
            "output_snapshot" => {
                assert!(index + 1 >= self.next, "a snapshot does not go back: {event:?}");
                self.text = text(&data["text"]);
                self.snapshots += 1;
            }
            other => panic!("{other} is no piece of an answer"),
        }
        self.next = index + 1;
    }

    /// Reads until the text so far is `expected`.
    #[track_caller]
    fn until(&mut self, stream: &mut Stream, expected: &str) {
        while self.text != expected {
            assert!(expected.starts_with(&self.text), "{:?} is no beginning of {expected:?}", self.text);
            let event = stream.next_own();
            if event.kind() != "input" {
                self.take(&event);
            }
        }
    }

    /// Reads to the answer's end; its `output`.
    #[track_caller]
    fn until_output(&mut self, stream: &mut Stream) -> Event {
        loop {
            let event = stream.next_own();
            match event.kind() {
                "input" => {}
                "output" => return event,
                _ => self.take(&event),
            }
        }
    }
}

/// Asserts that an event is an answer with that text and status.
#[track_caller]
fn assert_output(event: &Event, content: &str, status: &str) {
    assert_eq!((event.kind(), event.content()), ("output", content), "{event:?}");
    assert_eq!((&event.data["data"]["status"], &event.data["data"]["role"]), (&json!(status), &json!("assistant")));
    event.number();
}
