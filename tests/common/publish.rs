//! A publisher that takes no for no answer: it posts each message until it is acknowledged, over restarts and kills of the
//! server, under a key that makes it one message however often it is sent.

use super::http::{Client, Response};
use super::token::token;
use super::user::text;
use serde_json::json;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// How long one message may take, restarts included.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A message that the server has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acknowledged {
    /// The number of its event.
    pub number: u64,
    /// Its text.
    pub content: String,
    /// The conversation it was posted to.
    pub conversation: String,
    /// Its id.
    pub message_id: String,
}

/// Somebody who posts.
pub struct Publisher {
    key: String,
    token: String,
    client: Client,
    posted: u64,
    /// Answers that were repeated from an earlier attempt whose answer was lost.
    pub replayed: u64,
}

impl Publisher {
    /// A publisher of that user id for a server that always listens there.
    pub fn new(addr: SocketAddr, name: &str) -> Publisher {
        Publisher::with_keys_of(addr, name, name)
    }

    /// One of several publishers of one user id, each with keys of its own.
    pub fn with_keys_of(addr: SocketAddr, user: &str, key: &str) -> Publisher {
        Publisher { key: key.to_owned(), token: token(user), client: Client::new(addr), posted: 0, replayed: 0 }
    }

    /// Posts a message until it is acknowledged.
    #[track_caller]
    pub fn post(&mut self, conversation: &str, content: &str) -> Acknowledged {
        self.posted += 1;
        let key = format!("{}-{}", self.key, self.posted);
        let body = json!({"content": content, "conversation_id": conversation});
        let end = Instant::now() + TIMEOUT;
        let response = loop {
            let request = self.client.request("POST", "/input").token(&self.token).header("Idempotency-Key", &key);
            match request.json(&body).try_send() {
                Ok(response) if response.status == 200 => break response,
                Ok(response) => assert_eq!(response.status, 503, "{}", response.shown()),
                // The server is gone, or went before it answered; nobody knows whether the message is stored.
                Err(_) => {}
            }
            assert!(Instant::now() < end, "{content} is never acknowledged");
            thread::sleep(Duration::from_millis(5));
        };
        self.replayed += u64::from(response.header("Idempotent-Replayed") == Some("true"));
        acknowledged(&response, conversation, content)
    }
}

#[track_caller]
fn acknowledged(response: &Response, conversation: &str, content: &str) -> Acknowledged {
    let data = response.json()["data"].clone();
    assert_eq!(data["content"], content, "{}", response.shown());
    Acknowledged {
        number: response.number("X-Event-Id"),
        content: content.to_owned(),
        conversation: conversation.to_owned(),
        message_id: text(&data["message_id"]),
    }
}
