//! One connection, with the kernel buffers at both ends.

use crate::model::Filter;
use crate::session::Moment;
use crate::session::{Asked, Session};
use crate::transcript::{Item, Transcript};
use cortex_core::internals::{MonoTime, WallTime};
use std::collections::VecDeque;

/// The owner of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Agent(usize),
    StreamClient(usize),
}

pub struct Link {
    pub shard: usize,
    pub slot: u32,
    pub owner: Owner,

    /// Bytes in transit to the server.
    pub sending: VecDeque<u8>,
    /// Whether the client shuts down its side after them.
    pub sending_ends: bool,
    /// All bytes sent by the client.
    pub sent: u64,
    pub arrived: Vec<u8>,
    /// Bytes read by the shard.
    pub fed: u64,
    pub arrived_end: bool,
    /// Whether the client has reset the connection.
    pub reset: bool,
    pub reset_arrived: bool,
    pub readable: bool,
    pub in_ready: bool,

    /// Bytes queued by the server and not taken by the socket.
    pub unsent: Vec<u8>,
    pub writable: bool,
    /// Free bytes of the socket's buffer.
    pub room: u64,
    pub queued: u64,
    pub taken: u64,
    pub read: u64,
    /// Whether the server has shut down its side.
    pub ended: bool,
    /// Whether the server has closed the connection.
    pub gone: bool,
    /// Whether bytes unread by the client are lost.
    pub cut: bool,
    /// Whether the client has closed.
    pub client_done: bool,
    pub stalled: bool,

    pub transcript: Transcript,
    /// When the first part of an incomplete block was queued.
    pub part_queued: Option<Moment>,
    /// The latest wall time since then: the server may queue control events behind the rest of the block, which is not in
    /// memory, and the clock may go back before they are observed.
    pub latest_wall: WallTime,
    /// Queued items not read by the client: the end of each, the item, the request that it responds to, and the id to
    /// be remembered.
    pub items: VecDeque<(u64, Item, Option<usize>, Option<u64>)>,
    /// Requests without a response.
    pub expects: VecDeque<usize>,
    pub session: Option<Session>,
    /// Start and end of the waiting events.
    pub frames: VecDeque<(u64, u64)>,
    /// The start of the stream.
    pub stream_from: u64,
    /// The time of the last write, or when bytes began to wait.
    pub progress_at: MonoTime,
    /// The time of the last activity.
    pub active_at: MonoTime,
}

impl Link {
    pub fn new(shard: usize, slot: u32, owner: Owner, room: u64, now: MonoTime) -> Link {
        Link {
            shard,
            slot,
            owner,
            sending: VecDeque::new(),
            sending_ends: false,
            sent: 0,
            arrived: Vec::new(),
            fed: 0,
            arrived_end: false,
            reset: false,
            reset_arrived: false,
            readable: false,
            in_ready: false,
            unsent: Vec::new(),
            writable: true,
            room,
            queued: 0,
            taken: 0,
            read: 0,
            ended: false,
            gone: false,
            cut: false,
            client_done: false,
            stalled: false,
            transcript: Transcript::new(),
            part_queued: None,
            latest_wall: WallTime(i64::MIN),
            items: VecDeque::new(),
            expects: VecDeque::new(),
            session: None,
            frames: VecDeque::new(),
            stream_from: 0,
            progress_at: now,
            active_at: now,
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.sending.extend(bytes);
        self.sent += bytes.len() as u64;
    }

    /// Whether the client can send another request.
    pub fn is_open(&self) -> bool {
        !self.client_done && !self.sending_ends && !self.ended && !self.gone && self.session.is_none()
    }

    /// Whether bytes are in transit to the server.
    pub fn can_arrive(&self) -> bool {
        let bytes_or_end = !self.arrived_end && (!self.sending.is_empty() || self.sending_ends);
        !self.gone && !self.reset_arrived && (bytes_or_end || self.reset)
    }

    /// Whether the client can read something.
    pub fn can_read(&self) -> bool {
        !self.client_done && !self.stalled && (self.read < self.taken || self.ended || self.gone)
    }

    /// Waiting bytes of the stream, and the number of events among them.
    pub fn waiting_events(&mut self) -> (u64, usize) {
        while self.frames.front().is_some_and(|(_, end)| *end <= self.taken) {
            self.frames.pop_front();
        }
        (self.queued - self.taken.max(self.stream_from), self.frames.len())
    }
}

/// A message that must be stored at most once.
pub struct PostedMessage {
    pub user: usize,
    pub key: Option<String>,
    pub path: String,
    pub body: Vec<u8>,
    pub content: String,
    /// Pending requests for it.
    pub pending: u32,
    pub sends: u32,
    /// The response received by the client.
    pub response: Option<Vec<u8>>,
    /// The number of requests sent before that response was received.
    pub acknowledged_before: Option<usize>,
    /// Whether it was rejected for good.
    pub rejected: bool,
    /// Whether its key has expired after a day; it is not sent again.
    pub aged: bool,
}

impl PostedMessage {
    /// Whether it should be sent again, which is safe.
    pub fn is_open(&self) -> bool {
        self.key.is_some() && self.response.is_none() && !self.rejected && !self.aged
    }
}

/// The kind of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Post(usize),
    Write,
    Read,
    Stream { stream_client: usize, filter: Filter, named: bool, asked: Asked },
    Renew { stream_client: usize, stream_id: String, expires_at: WallTime },
}

pub struct Request {
    pub kind: Kind,
    /// The newest position known to be committed when it was sent.
    pub known_committed: u64,
    pub expires_at: WallTime,
    pub expected: Option<crate::model::Expected>,
    /// Bytes of its connection after which it is complete.
    pub end: u64,
}

/// A client that keeps a stream open.
pub struct StreamClient {
    pub user: usize,
    pub filter: Filter,
    pub named: bool,
    pub link: Option<usize>,
    pub seen: Vec<u64>,
    pub opened: u32,
    /// The instance of its last stream.
    pub last_instance: usize,
}

pub struct Agent {
    pub user: usize,
    pub link: Option<usize>,
}
