//! A publisher that retries each message until it is acknowledged, across restarts and kills of the server. An
//! idempotency key makes the retries one message.

use super::http::{Client, Response};
use super::token::token;
use super::user::text;
use serde_json::json;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// Timeout for one message, restarts included.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A message that the server has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acknowledged {
    /// The number of its event.
    pub number: u64,
    /// Its content.
    pub content: String,
    /// Its conversation.
    pub conversation: String,
    /// Its id.
    pub message_id: String,
}

/// A user who posts messages.
pub struct Publisher {
    key: String,
    token: String,
    /// The servers, of which the first one is asked until it does not accept a message.
    addresses: VecDeque<SocketAddr>,
    client: Client,
    posted: u64,
    /// The number of responses replayed because the first response was lost.
    pub replayed: u64,
}

impl Publisher {
    /// A publisher with that user id, for a server that restarts on the same address.
    pub fn new(addr: SocketAddr, name: &str) -> Publisher {
        Publisher::with_keys_of(addr, name, name)
    }

    /// One of several publishers with the same user id, with separate keys.
    pub fn with_keys_of(addr: SocketAddr, user: &str, key: &str) -> Publisher {
        Publisher::at_any_of(&[addr], user, key)
    }

    /// A publisher that asks the next of several servers of one database when one does not accept a message.
    pub fn at_any_of(addresses: &[SocketAddr], user: &str, key: &str) -> Publisher {
        let client = Client::new(addresses[0]);
        let addresses = addresses.iter().copied().collect();
        Publisher { key: key.to_owned(), token: token(user), addresses, client, posted: 0, replayed: 0 }
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
                // The server is down, or went down before it responded: the message may or may not be stored.
                Err(_) => {}
            }
            assert!(Instant::now() < end, "{content} is not acknowledged in time");
            if self.addresses.len() > 1 {
                self.addresses.rotate_left(1);
                self.client = Client::new(self.addresses[0]);
            }
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
