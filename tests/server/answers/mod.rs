//! Answers of responders in a running server, through real sockets: the stream and the lists of a client, with any
//! behaviour of the model and any exit of the server.

mod cancel;
mod context;
mod crash;
mod echo;
mod followed;
mod load;
mod misbehaviour;
mod order;
mod state;
mod streaming;
mod turns;
mod unread;

use crate::common::model::{self, Model};
use crate::common::sse::Event;
use crate::common::user::text;
use crate::common::{Options, Server, Stream, User, database};
use serde_json::{Value, json};

/// A server whose messages are answered by a model.
fn options(model: &Model) -> Options {
    Options::new().set("RESPONDER", "openai").set("RESPONDER_URL", model.url()).set("RESPONDER_MODEL", "small")
}

/// A conversation with a message to answer, and a stream that received it.
fn start_question(server: &Server) -> (User, String, Stream) {
    let mut ann = User::new(server, "ann");
    let conversation = ann.start_conversation("c");
    let mut stream = ann.stream();
    ann.post_message(&conversation, "Hello?");
    assert_eq!(stream.next_own().content(), "Hello?");
    (ann, conversation, stream)
}

/// Messages of a conversation, oldest first.
#[track_caller]
fn messages(user: &mut User, conversation: &str) -> Vec<Value> {
    let response = user.get(&format!("/conversations/{conversation}/messages?limit=1000")).expect(200);
    response.json().as_array().expect("a list").clone()
}

/// Sender, content and status of each message.
#[track_caller]
pub fn said(user: &mut User, conversation: &str) -> Vec<(String, String, String)> {
    let list = messages(user, conversation);
    list.iter().map(|message| (text(&message["role"]), text(&message["content"]), text(&message["status"]))).collect()
}

/// Expected result of `said`.
pub fn lines(list: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    list.iter().map(|(role, text, status)| (role.to_string(), text.to_string(), status.to_string())).collect()
}

/// Cancels the running answer; returns whether there was one, and that no other was queued.
#[track_caller]
fn cancel(user: &mut User, conversation: &str) -> bool {
    let count = cancel_all(user, conversation);
    assert!(count <= 1, "{count} answers were cancelled");
    count == 1
}

/// Cancels the running answer and the queued answers; returns their number.
#[track_caller]
fn cancel_all(user: &mut User, conversation: &str) -> u64 {
    let response = user.post(&format!("/conversations/{conversation}/cancel"), json!({})).expect(200).json();
    let count = response["count"].as_u64().expect("a number");
    assert_eq!(response, json!({"cancelled": count > 0, "count": count}));
    count
}

/// What became of the answer to each message of a user.
#[track_caller]
fn states(user: &mut User, conversation: &str) -> Vec<Value> {
    let list = messages(user, conversation);
    list.into_iter().filter(|message| message["role"] == "user").map(|mut message| message["answer"].take()).collect()
}

/// The deltas of one answer, assembled as a client does.
#[derive(Default)]
struct Reading {
    text: String,
    /// The index of the expected delta.
    next: u64,
    /// The number of deltas and snapshots.
    deltas: usize,
    snapshots: usize,
    message_id: Option<String>,
}

impl Reading {
    /// Applies a delta or snapshot; panics on one that does not fit.
    #[track_caller]
    fn take(&mut self, event: &Event) {
        assert!(event.id.is_none(), "an event outside the journal has a number: {event:?}");
        if event.kind() == "answer_status" {
            return;
        }
        let data = &event.data["data"];
        let id = text(&data["message_id"]);
        assert_eq!(self.message_id.get_or_insert_with(|| id.clone()), &id, "one answer at a time");
        let index = data["index"].as_u64().expect("an index");
        let offset = data["offset"].as_u64().expect("an offset") as usize;
        assert_eq!(text(&data["reply_to"]).len(), 36, "the message to answer: {event:?}");
        match event.kind() {
            "output_delta" => {
                assert!(index >= self.next, "a delta repeats: {event:?}");
                assert_eq!(offset, self.text.len(), "a delta begins where the text ends: {event:?}");
                self.text += data["delta"].as_str().expect("text");
                self.deltas += 1;
            }
            "output_snapshot" => {
                assert!(index + 1 >= self.next, "a snapshot goes back: {event:?}");
                self.text = text(&data["text"]);
                assert_eq!(offset, self.text.len(), "the next delta begins where the snapshot ends: {event:?}");
                self.snapshots += 1;
            }
            other => panic!("{other} is not a part of an answer"),
        }
        self.next = index + 1;
    }

    /// Reads until the text equals `expected`.
    #[track_caller]
    fn until(&mut self, stream: &mut Stream, expected: &str) {
        while self.text != expected {
            assert!(expected.starts_with(&self.text), "{:?} is not a prefix of {expected:?}", self.text);
            let event = stream.next_own();
            if event.kind() != "input" {
                self.take(&event);
            }
        }
    }

    /// Reads to the end of the answer and returns its `output` event.
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
