//! A service for comparison, as a careful developer writes it with axum, tokio and rusqlite.
//!
//! It has the three requests that are measured: `GET /`, a durable `POST /input`, and the stream of a user's events. It
//! listens on the loopback `PORT`, checks tokens with `JWT_SECRET_KEY`, and keeps messages in the file `DATABASE`.

mod auth;
mod streams;
mod writer;

use auth::{Keys, User};
use axum::Router;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::net::Ipv4Addr;
use std::sync::Arc;
use streams::Streams;
use writer::{Message, Writer};

struct Service {
    keys: Keys,
    streams: Arc<Streams>,
    writer: Writer,
}

#[tokio::main]
async fn main() {
    let setting = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let streams = Arc::new(Streams::default());
    let service = Service {
        keys: Keys::new(setting("JWT_SECRET_KEY").as_bytes()),
        writer: Writer::start(&setting("DATABASE"), streams.clone()),
        streams,
    };
    let routes = Router::new()
        .route("/", get(root))
        .route("/input", post(input))
        .route("/output/stream", get(streams::open))
        .with_state(Arc::new(service));
    let port = setting("PORT").parse().expect("PORT is a number");
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("the port is free");
    let listener = listener.tap_io(|connection| {
        // A connection that has just been closed needs no option.
        let _ = connection.set_nodelay(true);
    });
    axum::serve(listener, routes).await.expect("the listener stays open");
}

#[derive(Serialize)]
struct Status {
    status: &'static str,
    service: &'static str,
}

async fn root() -> Json<Status> {
    Json(Status { status: "online", service: "Cortex Core" })
}

#[derive(Deserialize)]
struct Input {
    content: String,
    conversation_id: Option<String>,
    metadata: Option<Box<RawValue>>,
}

/// The response to a message, and its event.
#[derive(Serialize)]
struct Received<'a> {
    status: &'static str,
    data: ReceivedData<'a>,
}

#[derive(Serialize)]
struct ReceivedData<'a> {
    content: &'a str,
    conversation_id: &'a str,
    timestamp: &'a str,
    metadata: &'a RawValue,
    message_id: uuid::Uuid,
}

/// Stores a message; responds once it is on disk.
async fn input(State(service): State<Arc<Service>>, user: User, Json(input): Json<Input>) -> impl IntoResponse {
    if input.content.trim().is_empty() {
        return (StatusCode::UNPROCESSABLE_ENTITY, "content is empty").into_response();
    }
    let message = Message {
        user: user.id,
        conversation: input.conversation_id.unwrap_or_else(|| "default".to_owned()),
        content: input.content,
        metadata: input.metadata.unwrap_or_else(|| RawValue::from_string("{}".to_owned()).expect("an object")),
    };
    let Some(stored) = service.writer.store(message).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the database does not accept messages").into_response();
    };
    let message = &stored.message;
    let data = ReceivedData {
        content: &message.content,
        conversation_id: &message.conversation,
        timestamp: &stored.timestamp,
        metadata: &message.metadata,
        message_id: stored.id,
    };
    ([("x-event-id", stored.number)], Json(Received { status: "received", data })).into_response()
}
