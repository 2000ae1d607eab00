//! The streams of each user. An event is written out once, and all streams of its user share the bytes.

use crate::Service;
use crate::auth::User;
use crate::writer::Stored;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::broadcast;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;
use uuid::Uuid;

/// Events that a stream may be behind; one that is further behind ends, and its client comes back.
const BEHIND_MAX: usize = 4096;

/// The channel of each user with a stream.
#[derive(Default)]
pub struct Streams {
    users: Mutex<HashMap<String, broadcast::Sender<Bytes>>>,
}

#[derive(Serialize)]
struct Event<'a> {
    r#type: &'static str,
    data: EventData<'a>,
    user_id: &'a str,
    timestamp: &'a str,
    metadata: &'a RawValue,
}

#[derive(Serialize)]
struct EventData<'a> {
    content: &'a str,
    conversation_id: &'a str,
    timestamp: &'a str,
    message_id: Uuid,
    role: &'static str,
}

impl Streams {
    fn subscribe(&self, user: String) -> broadcast::Receiver<Bytes> {
        let mut users = self.users.lock().expect("no panic under the lock");
        users.entry(user).or_insert_with(|| broadcast::channel(BEHIND_MAX).0).subscribe()
    }

    /// Sends the event of a message to the streams of its user.
    pub fn publish(&self, stored: &Stored) {
        let message = &stored.message;
        let mut users = self.users.lock().expect("no panic under the lock");
        let Some(channel) = users.get(&message.user) else { return };
        let data = EventData {
            content: &message.content,
            conversation_id: &message.conversation,
            timestamp: &stored.timestamp,
            message_id: stored.id,
            role: "user",
        };
        let timestamp = &stored.timestamp;
        let event = Event { r#type: "input", data, user_id: &message.user, timestamp, metadata: &message.metadata };
        let mut frame = b"data: ".to_vec();
        serde_json::to_writer(&mut frame, &event).expect("memory takes all bytes");
        frame.extend_from_slice(format!("\nid: {}\n\n", stored.number).as_bytes());
        if channel.send(frame.into()).is_err() {
            users.remove(&message.user);
        }
    }
}

/// Opens a stream of the caller's events.
pub async fn open(State(service): State<Arc<Service>>, user: User) -> impl IntoResponse {
    let events = BroadcastStream::new(service.streams.subscribe(user.id));
    let first = Bytes::from_static(b"data: {\"type\":\"connection_established\"}\n\n");
    let frames = tokio_stream::once(Ok(first)).chain(events);
    let fields = [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    (fields, Body::from_stream(frames))
}
