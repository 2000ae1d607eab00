//! The victim: an ordinary client whose requests must all succeed.

use crate::common::sse::Event;
use crate::common::{Client, Server, Stream, User};
use serde_json::json;
use std::net::SocketAddr;

/// What the victim does in a round beside posting, listing and reading its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Nothing more.
    Messages,
    /// It logs in.
    Login,
    /// It waits for the answer to its message.
    Answer,
    /// It changes its conversation, and replays all of its state events on a second stream.
    StateEvents,
}

const PASSWORD: &str = "a long enough password";

/// A client with a stream.
pub struct Victim {
    addr: SocketAddr,
    user: User,
    conversation: String,
    stream: Stream,
    /// The number of the stream when it was opened.
    begin: u64,
    part: Part,
    rounds: u64,
}

impl Victim {
    /// A client of the server.
    pub fn new(server: &Server, id: &str, part: Part) -> Victim {
        let mut user = User::new(server, id);
        if part == Part::Login {
            let email = format!("{id}@example.com");
            let mut add = server.command();
            add.args(["user", "add", &email, "--password-stdin"]);
            super::attacks::with_input(add, PASSWORD);
        }
        let conversation = user.start_conversation("of the victim");
        let stream = user.stream();
        let begin = stream.established.data["last_event_id"].as_u64().expect("a number");
        Victim { addr: server.addr, user, conversation, stream, begin, part, rounds: 0 }
    }

    /// One round of requests. Every error is a panic.
    pub fn round(&mut self) {
        self.rounds += 1;
        let content = format!("round {}", self.rounds);
        self.user.post_message(&self.conversation, &content);
        self.stream.before_message(&content);
        if self.part == Part::Answer {
            while self.stream.next().kind() != "output" {}
        }
        if self.part == Part::StateEvents {
            let topic = format!("topic {}", self.rounds);
            self.user.put(&format!("/config/conversation/{}", self.conversation), json!({"topic": topic})).expect(200);
            let mut replay = self.user.stream_with(&format!("last_event_id={}", self.begin));
            // Under load, the newest of them may come live, after `caught_up`.
            let changes =
                |events: &[Event]| events.iter().filter(|e| e.kind() == "conversation_updated").count() as u64;
            let mut events = vec![replay.next()];
            while changes(&events) < self.rounds || events.iter().all(|event| event.kind() != "caught_up") {
                events.push(replay.next());
            }
            assert!(events.iter().all(|event| event.kind() != "gap"), "{events:?}");
            assert_eq!(changes(&events), self.rounds, "{events:?}");
        }
        // A second client of the same user, which connects anew.
        let path = format!("/conversations/{}", self.conversation);
        let token = self.user.token.clone();
        let page = Client::new(self.addr).request("GET", &path).token(&token).send().expect(200);
        assert!(page.text().contains(&content), "{}", page.shown());
        if self.part == Part::Login {
            let body = json!({"email": format!("{}@example.com", self.user.id), "password": PASSWORD});
            Client::new(self.addr).request("POST", "/auth/login").json(&body).send().expect(200);
        }
    }
}
