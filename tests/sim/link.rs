//! One connection with the kernels at both of its ends.

use crate::model::Filter;
use crate::session::{Asked, Session};
use crate::transcript::{Item, Transcript};
use cortex_core::internals::{MonoTime, WallTime};
use std::collections::VecDeque;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Agent(usize),
    StreamClient(usize),
}

pub struct Link {
    pub shard: usize,
    pub slot: u32,
    pub owner: Owner,

    /// Bytes on their way to the server.
    pub sending: VecDeque<u8>,
    /// The client ends its side after them.
    pub sending_ends: bool,
    /// Every byte that the client ever sent.
    pub sent: u64,
    pub arrived: Vec<u8>,
    /// Bytes that the shard was given.
    pub fed: u64,
    pub arrived_end: bool,
    /// The client is gone without a word.
    pub reset: bool,
    pub reset_arrived: bool,
    pub readable: bool,
    pub in_ready: bool,

    /// What the server has queued and the socket has not taken.
    pub unsent: Vec<u8>,
    pub writable: bool,
    /// Bytes that the socket's buffer takes.
    pub room: u64,
    pub queued: u64,
    pub taken: u64,
    pub read: u64,
    /// The server ended its side.
    pub ended: bool,
    /// The server closed the connection.
    pub gone: bool,
    /// Bytes that the client had not read are lost.
    pub cut: bool,
    /// The client has closed.
    pub client_done: bool,
    pub stalled: bool,

    pub transcript: Transcript,
    /// What was queued and is not read by the client: where it ends, what it is, which request it answers, and the id
    /// that is to be remembered.
    pub items: VecDeque<(u64, Item, Option<usize>, Option<u64>)>,
    /// Requests that are not answered.
    pub expects: VecDeque<usize>,
    pub session: Option<Session>,
    /// Where the events that wait begin and end.
    pub frames: VecDeque<(u64, u64)>,
    /// Where the stream begins.
    pub stream_from: u64,
    /// When the socket last took something, or something began to wait.
    pub progress_at: MonoTime,
    /// When anything last happened.
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

    /// Whether a client could send another request.
    pub fn is_open(&self) -> bool {
        !self.client_done && !self.sending_ends && !self.ended && !self.gone && self.session.is_none()
    }

    /// Whether something is on its way to the server.
    pub fn can_arrive(&self) -> bool {
        let bytes_or_end = !self.arrived_end && (!self.sending.is_empty() || self.sending_ends);
        !self.gone && !self.reset_arrived && (bytes_or_end || self.reset)
    }

    /// Whether there is something for the client to see.
    pub fn can_read(&self) -> bool {
        !self.client_done && !self.stalled && (self.read < self.taken || self.ended || self.gone)
    }

    /// Bytes of the stream that wait, and how many events are among them.
    pub fn waiting_events(&mut self) -> (u64, usize) {
        while self.frames.front().is_some_and(|(_, end)| *end <= self.taken) {
            self.frames.pop_front();
        }
        (self.queued - self.taken.max(self.stream_from), self.frames.len())
    }
}

/// A message that a user wants to be stored once.
pub struct PostedMessage {
    pub user: usize,
    pub key: Option<String>,
    pub path: String,
    pub body: Vec<u8>,
    pub content: String,
    /// Requests for it that are under way.
    pub pending: u32,
    pub sends: u32,
    /// The answer, as the client saw it.
    pub response: Option<Vec<u8>>,
    /// It was refused for good.
    pub rejected: bool,
    /// A day has passed since: its key no longer counts, and it is not sent again.
    pub aged: bool,
}

impl PostedMessage {
    /// Whether it can be sent again without being stored twice, and is worth it.
    pub fn is_open(&self) -> bool {
        self.key.is_some() && self.response.is_none() && !self.rejected && !self.aged
    }
}

/// What a request asks for.
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
    /// What was known to be committed when it was sent.
    pub known_committed: u64,
    pub expires_at: WallTime,
    pub expected: Option<crate::model::Expected>,
    /// Bytes of its connection after which it is whole.
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
}

pub struct Agent {
    pub user: usize,
    pub link: Option<usize>,
}
