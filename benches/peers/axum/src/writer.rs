//! The thread that writes messages: all that wait are one transaction, so that they share its sync.

use crate::streams::Streams;
use rusqlite::{Connection, params};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Messages that may wait for a transaction; later ones wait in their handlers.
const WAITING_MAX: usize = 4096;
const TRANSACTION_MESSAGES_MAX: usize = 1024;

const SCHEMA: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA wal_autocheckpoint = 4000;
PRAGMA temp_store = MEMORY;
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    conversation TEXT NOT NULL,
    sender TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    content TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_conversation ON messages (conversation);
";
const INSERT: &str = "INSERT INTO messages (number, id, conversation, sender, created_at, metadata, content) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// A message that is not stored yet.
pub struct Message {
    pub user: String,
    pub conversation: String,
    pub content: String,
    pub metadata: Box<RawValue>,
}

/// A message that is on disk.
pub struct Stored {
    pub number: i64,
    pub id: Uuid,
    pub timestamp: String,
    pub message: Message,
}

type Waiting = (Message, oneshot::Sender<Stored>);

/// The way to the thread.
pub struct Writer {
    waiting: mpsc::Sender<Waiting>,
}

impl Writer {
    /// Opens the database, and starts the thread. Stored messages are published to `streams`.
    pub fn start(path: &str, streams: Arc<Streams>) -> Writer {
        let mut db = Connection::open(path).expect("the database opens");
        db.execute_batch(SCHEMA).expect("the database can be written");
        let last = db.query_row("SELECT max(number) FROM messages", [], |row| row.get::<_, Option<i64>>(0));
        let mut last = last.expect("the table exists").unwrap_or(0);
        let (sender, mut receiver) = mpsc::channel::<Waiting>(WAITING_MAX);
        std::thread::spawn(move || {
            let mut batch = Vec::with_capacity(TRANSACTION_MESSAGES_MAX);
            while receiver.blocking_recv_many(&mut batch, TRANSACTION_MESSAGES_MAX) > 0 {
                match commit(&mut db, &mut last, &mut batch) {
                    Ok(stored) => {
                        for (stored, handler) in stored {
                            streams.publish(&stored);
                            // The handler is gone if its client is.
                            let _ = handler.send(stored);
                        }
                    }
                    // The handlers see that their messages were dropped.
                    Err(error) => eprintln!("a transaction failed: {error}"),
                }
            }
        });
        Writer { waiting: sender }
    }

    /// Stores a message; `None` if its transaction failed.
    pub async fn store(&self, message: Message) -> Option<Stored> {
        let (handler, stored) = oneshot::channel();
        self.waiting.send((message, handler)).await.ok()?;
        stored.await.ok()
    }
}

/// Writes `batch`, which is empty afterwards, in one transaction.
fn commit(
    db: &mut Connection,
    last: &mut i64,
    batch: &mut Vec<Waiting>,
) -> rusqlite::Result<Vec<(Stored, oneshot::Sender<Stored>)>> {
    let now = SystemTime::now();
    let micros = now.duration_since(UNIX_EPOCH).expect("after 1970").as_micros() as i64;
    let timestamp = OffsetDateTime::from(now)
        .format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"))
        .expect("a time has these parts");
    let mut stored = Vec::with_capacity(batch.len());
    let mut number = *last;
    let transaction = db.transaction()?;
    {
        let mut insert = transaction.prepare_cached(INSERT)?;
        for (message, handler) in batch.drain(..) {
            number += 1;
            let id = Uuid::now_v7();
            insert.execute(params![
                number,
                id.as_bytes(),
                message.conversation,
                message.user,
                micros,
                message.metadata.get(),
                message.content
            ])?;
            stored.push((Stored { number, id, timestamp: timestamp.clone(), message }, handler));
        }
    }
    transaction.commit()?;
    *last = number;
    Ok(stored)
}
