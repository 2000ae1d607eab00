//! Operations on a shard with several connections: requests, commits, pages, slow readers, timers, missed commits.
//! After each, the shard's invariants are checked, and its output is compared with a model of the journal: each stream
//! gets every event of its user once and in order, and every request gets its response.
//!
//! Input: operations, each a byte and its parameters; see `World::step`.

use super::backend::{self, BUFFER_BYTES, START, STREAMS_MAX};
use super::choices::Choices;
use super::responses::{Response, read_response, unchunked};
use super::shard_model::{Journal, StreamModel, USERS};
use cortex_core::internals::{
    Command, CommandResult, CommitShare, EventKind, EventNumber, Input, LiveAnswerSet, MonoTime, Now, Output, Purpose,
    Query, QueryKind, QueryResponse, QueryResult, Random, Rejection, Shard, ShardMessage, SharedState, StreamStart,
    TokenRule, TokenRules, UserId, WallTime, Work,
};
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

const CONNECTIONS_MAX: usize = 6;
const STEPS_MAX: usize = 400;
/// Bytes of control events that may wait in addition to the events of a stream.
const CONTROL_BYTES: usize = 1500;
/// Bytes of responses that wait before a connection reads no more requests, and the largest response here.
const RESPONSES_BYTES: usize = 64 * 1024 + 8 * 1024;

/// The peer's side of a connection.
struct Peer {
    user: usize,
    /// Bytes sent and not yet read by the shard.
    arrived: VecDeque<u8>,
    /// It sends no more.
    ended: bool,
    saw_end: bool,
    /// Bytes queued by the shard and not yet taken by the socket.
    unsent: Vec<u8>,
    /// The parts of a long event that were queued, until its last one is.
    parts: Vec<u8>,
    /// Requests without a response.
    asked: VecDeque<Asked>,
    stream: Option<StreamModel>,
    /// Bytes of responses that waited when its stream opened.
    responses_before: usize,
    /// The server has announced the end.
    closing: bool,
}

/// A sent request.
struct Asked {
    id: String,
    is_head: bool,
    /// The content that it posts.
    content: Option<String>,
    /// The stream that it opens.
    stream: Option<StreamModel>,
}

/// The purpose of a request.
enum RequestKind {
    Nothing,
    /// Posts this content in this body.
    Post(String, String),
    Stream(StreamModel),
}

struct World {
    shard: Shard,
    shared: Arc<SharedState>,
    now: Now,
    peers: BTreeMap<u32, Peer>,
    journal: Journal,
    /// The number through which the shard received commits.
    delivered: u64,
    commands: VecDeque<Command>,
    queries: VecDeque<Query>,
    commit_shares: VecDeque<CommitShare>,
    live_answers: LiveAnswerSet,
    token_rules: TokenRules,
    draining: bool,
    requests: usize,
}

pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let mut world = World::new();
    for _ in 0..STEPS_MAX {
        if choices.is_over() {
            break;
        }
        world.step(&mut choices);
    }
    world.finish();
}

fn tokens() -> &'static [String] {
    static TOKENS: OnceLock<Vec<String>> = OnceLock::new();
    TOKENS.get_or_init(|| USERS.iter().map(|user| backend::token(user, Purpose::Access)).collect())
}

impl World {
    fn new() -> World {
        let shared = Arc::new(SharedState::default());
        let journal = Journal::new();
        let position = EventNumber(journal.newest());
        shared.streams.advance_position(position);
        let (of_shard, token_rules) = (Arc::clone(&shared), Arc::new(TokenRules::default()));
        World {
            shard: Shard::new(0, backend::context(), of_shard, token_rules, position, Random::new(1)),
            shared,
            now: START,
            peers: BTreeMap::new(),
            delivered: position.0,
            journal,
            commands: VecDeque::new(),
            queries: VecDeque::new(),
            commit_shares: VecDeque::new(),
            live_answers: LiveAnswerSet::default(),
            token_rules: TokenRules::default(),
            draining: false,
            requests: 0,
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.below(20) {
            0 => self.accept(choices.below(USERS.len())),
            1 => self.post(choices),
            2 => self.open_stream(choices),
            3 => self.ask(choices),
            4 => {
                let count = 1 + choices.below(4);
                self.commit(count);
            }
            5 => {
                let (kind, who, size) = (choices.below(3), choices.byte(), choices.byte());
                if kind == 0 {
                    self.journal.delete(usize::from(size));
                } else {
                    self.journal.add_other(who, usize::from(size) * 16, kind == 2);
                }
                self.announce(Vec::new());
            }
            6 => self.deliver(choices.below(8) == 7),
            7 => self.answer(choices.below(8)),
            8 => {
                let (who, count) = (choices.below(CONNECTIONS_MAX), 1 + usize::from(choices.byte()) * 8);
                if let Some(slot) = self.peers.keys().nth(who).copied() {
                    self.take(slot, count);
                }
            }
            9 => self.take_all(),
            10 => self.tick([1, 20, 300, 1_000, 6_000, 21_000, 80_000][choices.below(7)]),
            11 => self.end(choices.below(CONNECTIONS_MAX)),
            12 => self.fail(choices.below(CONNECTIONS_MAX)),
            13 => match choices.byte() {
                0xff => self.drain(),
                user @ 0xf0..=0xfe => self.revoke_tokens(usize::from(user) % USERS.len()),
                keep => self.journal.retain(u64::from(keep) % 16),
            },
            14 => {
                if let Some(command) = self.commands.pop_front() {
                    self.handle(Input::Message(ShardMessage::Dropped(command.reply_to)));
                }
            }
            15 => {
                choices.byte();
                let started = self.journal.begin_answer();
                let commit_shares = CommitShare { started: Arc::new([started]), ..self.nothing() };
                self.live_answers.committed(&commit_shares.started, &commit_shares.events);
                self.commit_shares.push_back(commit_shares);
            }
            16 | 17 => {
                let lost = choices.below(8) == 7;
                if let Some(delta) = self.journal.grow_answer(choices.byte())
                    && !lost
                {
                    self.handle(Input::Message(ShardMessage::Delta(delta)));
                }
            }
            18 if self.journal.finish_answer(choices.byte()) => self.announce(Vec::new()),
            _ => {}
        }
    }

    /// Completes all work, without slow peers.
    fn finish(&mut self) {
        for round in 0.. {
            assert!(round < 2_000, "the shard does not become idle");
            let before = (self.commit_shares.len(), self.queries.len(), self.commands.len());
            self.commit(4);
            self.deliver(false);
            self.answer(0);
            self.take_all();
            self.tick(20);
            let at_rest = before == (0, 0, 0) && self.peers.values().all(|peer| peer.unsent.is_empty());
            // A failed page is requested again after a delay.
            if at_rest && round > 40 {
                break;
            }
        }
        let newest = self.journal.newest();
        for peer in self.peers.values_mut() {
            if let Some(stream) = peer.stream.as_mut().filter(|stream| !stream.ended) {
                stream.complete_through(newest, &self.journal);
                stream.check_texts(&self.journal);
            } else if !peer.closing {
                assert!(peer.asked.is_empty(), "{} requests have no response", peer.asked.len());
            }
        }
        while let Some(slot) = self.peers.keys().next().copied() {
            self.handle(Input::Failed { slot });
            assert!(!self.peers.contains_key(&slot), "a failed connection is closed");
        }
        assert_eq!(self.shard.connections(), 0);
        // A draining shard keeps a timer for a while.
        assert!(self.draining || self.shard.poll_timeout().is_none(), "an idle shard has no timer");
    }

    fn accept(&mut self, user: usize) {
        if self.peers.len() < CONNECTIONS_MAX && !self.draining {
            let slot = self.shard.accept(IpAddr::V4(Ipv4Addr::LOCALHOST), self.now);
            let peer = Peer {
                user,
                arrived: VecDeque::new(),
                ended: false,
                saw_end: false,
                unsent: Vec::new(),
                parts: Vec::new(),
                asked: VecDeque::new(),
                stream: None,
                responses_before: 0,
                closing: false,
            };
            self.peers.insert(slot, peer);
        }
    }

    /// A connection that can still send, by index.
    fn sender(&mut self, place: usize) -> Option<u32> {
        let (slot, peer) = self.peers.iter().nth(place)?;
        let streams = peer.stream.is_some() || peer.asked.iter().any(|asked| asked.stream.is_some());
        (!peer.ended && !streams).then_some(*slot)
    }

    /// Sends a request, of which `count` bytes arrive at once. `more` are further fields.
    fn send(&mut self, slot: u32, line: &str, more: &str, kind: RequestKind, count: usize) {
        let id = format!("r{}", self.requests);
        self.requests += 1;
        let peer = self.peers.get_mut(&slot).expect("the peer is there");
        let token = &tokens()[peer.user];
        let mut request = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nX-Request-Id: {id}\r\n{more}"
        );
        let (content, stream) = match kind {
            RequestKind::Nothing => (None, None),
            RequestKind::Post(content, body) => {
                request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
                (Some(content), None)
            }
            RequestKind::Stream(stream) => (None, Some(stream)),
        };
        if content.is_none() {
            request.push_str("\r\n");
        }
        peer.asked.push_back(Asked { id, is_head: line.starts_with("HEAD"), content, stream });
        peer.arrived.extend(request.as_bytes());
        self.arrive(slot, count);
    }

    /// This many sent bytes reach the shard, if it reads.
    fn arrive(&mut self, slot: u32, count: usize) {
        if !self.shard.wants_bytes(slot) {
            return;
        }
        let Some(peer) = self.peers.get_mut(&slot) else { return };
        let count = count.min(peer.arrived.len());
        let bytes: Vec<u8> = peer.arrived.drain(..count).collect();
        if !bytes.is_empty() {
            self.handle(Input::Bytes { slot, bytes: &bytes });
        } else if peer.ended && !std::mem::replace(&mut peer.saw_end, true) {
            self.handle(Input::Ended { slot });
        }
    }

    fn post(&mut self, choices: &mut Choices<'_>) {
        let (place, size, conversation) = (choices.below(CONNECTIONS_MAX), choices.byte(), choices.below(3));
        let count = if choices.below(4) == 3 { choices.pair() % 300 } else { usize::MAX };
        let Some(slot) = self.sender(place) else { return };
        let content = format!("{}{}", self.requests, "x".repeat(usize::from(size) * 6));
        let named = match conversation {
            0 => "default".to_owned(),
            number => backend::conversation_id(number as u128).to_string(),
        };
        let body = format!("{{\"content\":\"{content}\",\"conversation_id\":\"{named}\"}}");
        self.send(slot, "POST /input", "", RequestKind::Post(content, body), count);
    }

    fn open_stream(&mut self, choices: &mut Choices<'_>) {
        let (place, start, how) = (choices.below(CONNECTIONS_MAX), choices.byte(), choices.byte());
        let Some(slot) = self.sender(place) else { return };
        let newest = self.journal.newest();
        let after = |number: u64| (StreamStart::After(EventNumber(number)), format!("Last-Event-ID: {number}\r\n"));
        let (start, more) = match start {
            0..=63 => (StreamStart::Now, String::new()),
            64..=95 => after(0),
            96..=127 => (StreamStart::Unknown, "Last-Event-ID: none\r\n".to_owned()),
            128..=143 => (StreamStart::Unknown, format!("Last-Event-ID: {}\r\n", newest + 1_000_000)),
            _ => after(newest.saturating_sub(u64::from(start) % 32)),
        };
        let stream = StreamModel::new(self.peers[&slot].user, how, start);
        let line = format!("GET /output/stream?{}", stream.query());
        self.send(slot, &line, &more, RequestKind::Stream(stream), usize::MAX);
    }

    fn ask(&mut self, choices: &mut Choices<'_>) {
        let (place, what) = (choices.below(CONNECTIONS_MAX), choices.below(5));
        let Some(slot) = self.sender(place) else { return };
        let line = ["GET /", "GET /config/workspace", "GET /output/streams", "HEAD /auth/verify", "GET /nowhere"][what];
        self.send(slot, line, "", RequestKind::Nothing, usize::MAX);
    }

    fn nothing(&self) -> CommitShare {
        let through = EventNumber(self.journal.announced());
        CommitShare {
            before: through,
            through,
            events: Arc::new([]),
            results: Vec::new(),
            started: Arc::new([]),
            token_rules: None,
        }
    }

    /// The writer commits up to `count` commands.
    fn commit(&mut self, count: usize) {
        let count = count.min(self.commands.len());
        let commands: Vec<Command> = self.commands.drain(..count).collect();
        let results = commands.iter().map(|command| self.journal.post(command)).collect::<Vec<_>>();
        if !results.is_empty() {
            self.announce(results);
        }
    }

    /// Announces all journal entries since the last announcement.
    fn announce(&mut self, results: Vec<CommandResult>) {
        let before = self.journal.announced();
        let events = self.journal.announce();
        let through = EventNumber(self.journal.newest());
        self.shared.streams.advance_position(through);
        let commit_shares =
            CommitShare { before: EventNumber(before), through, events: events.into(), results, ..self.nothing() };
        self.live_answers.committed(&commit_shares.started, &commit_shares.events);
        self.commit_shares.push_back(commit_shares);
    }

    /// The shard receives the next commit, or only its number.
    fn deliver(&mut self, only_number: bool) {
        let Some(mut committed) = self.commit_shares.pop_front() else { return };
        if only_number {
            committed.before = committed.through;
            committed.events = Arc::new([]);
        }
        let through = committed.through.0;
        self.handle(Input::Message(ShardMessage::Committed(committed)));
        self.delivered = self.delivered.max(through);
    }

    /// A reader answers the next query, if it can.
    fn answer(&mut self, how: usize) {
        let Some(query) = self.queries.pop_front() else { return };
        let input = match (how, &query.kind) {
            (7, _) => Input::Message(ShardMessage::Dropped(query.reply_to)),
            (6, _) => {
                let position = EventNumber(self.journal.newest());
                Input::Message(ShardMessage::QueryResponse(QueryResponse {
                    to: query.reply_to,
                    position,
                    result: Err(Rejection::Unavailable),
                }))
            }
            (how, QueryKind::JournalPage { after, bytes_max, filter }) => {
                let user = USERS.iter().position(|name| *name == query.caller.as_str()).expect("a user of ours");
                let events_max = if how == 5 { 1 } else { 256 };
                let page = self.journal.page(user, after.0, *bytes_max, events_max, filter);
                let position = page.position;
                Input::Message(ShardMessage::QueryResponse(QueryResponse {
                    to: query.reply_to,
                    position,
                    result: Ok(QueryResult::JournalPage(page)),
                }))
            }
            _ => {
                Input::Message(ShardMessage::QueryResponse(backend::answer(&query, EventNumber(self.journal.newest()))))
            }
        };
        self.handle(input);
    }

    /// A peer reads up to `count` bytes.
    fn take(&mut self, slot: u32, count: usize) {
        let peer = self.peers.get_mut(&slot).expect("the peer is there");
        let count = count.min(peer.unsent.len());
        if count > 0 {
            peer.unsent.drain(..count);
            self.handle(Input::Wrote { slot, bytes: count });
        }
        self.arrive(slot, usize::MAX);
    }

    fn take_all(&mut self) {
        let slots: Vec<u32> = self.peers.keys().copied().collect();
        for slot in slots {
            for _ in 0..2 {
                if self.peers.contains_key(&slot) {
                    self.take(slot, usize::MAX);
                }
            }
        }
    }

    fn tick(&mut self, milliseconds: u64) {
        let mono = self.now.mono.plus_milliseconds(milliseconds);
        self.now = Now { wall: WallTime(self.now.wall.0 + 1000 * milliseconds as i64), mono };
        self.shard.tick(self.now);
        let due: Option<MonoTime> = self.shard.poll_timeout();
        assert!(due.is_none_or(|at| at > self.now.mono), "an expired timer remains");
        self.after();
    }

    fn end(&mut self, place: usize) {
        let Some(slot) = self.peers.keys().nth(place).copied() else { return };
        self.peers.get_mut(&slot).expect("the peer is there").ended = true;
        self.arrive(slot, usize::MAX);
    }

    fn fail(&mut self, place: usize) {
        let Some(slot) = self.peers.keys().nth(place).copied() else { return };
        self.handle(Input::Failed { slot });
    }

    /// Revokes all tokens of a user.
    fn revoke_tokens(&mut self, user: usize) {
        self.token_rules.set(UserId::new_unchecked(USERS[user]), Some(TokenRule::RejectAll));
        let token_rules = Some(Arc::new(self.token_rules.clone()));
        let commit_shares = CommitShare { token_rules, ..self.nothing() };
        self.commit_shares.push_back(commit_shares);
    }

    fn drain(&mut self) {
        self.draining = true;
        self.handle(Input::Message(ShardMessage::Drain));
    }

    fn handle(&mut self, input: Input<'_>) {
        self.shard.handle(input, self.now);
        self.after();
    }

    /// Drains the shard's outputs and checks everything that changed.
    fn after(&mut self) {
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Work(Work::Command(command)) => self.commands.push_back(command),
                Output::Work(Work::Query(query)) => self.queries.push_back(query),
                Output::Close(slot) => {
                    self.peers.remove(&slot).expect("a connection closes once");
                }
                Output::MeasureUndelivered(slot) => {
                    self.shard.handle(Input::Undelivered { slot, bytes: 0 }, self.now);
                }
                Output::EndWriting(slot) => {
                    let peer = self.peers.get_mut(&slot).expect("the connection is there");
                    assert!(peer.unsent.is_empty(), "everything is written before the close");
                    peer.closing = true;
                }
                Output::Work(_) => unreachable!("this work is not requested here"),
                Output::Drained => assert!(self.draining && self.shard.connections() == 0),
                Output::StopAccepting | Output::Quiesced | Output::Resume(_) | Output::TuneStream(_) => {}
            }
        }
        self.shard.check_invariants();
        self.shared.check_invariants();
        self.observe();
    }

    /// Checks the bytes queued since the last check.
    fn observe(&mut self) {
        for (slot, peer) in &mut self.peers {
            let mut slices = [IoSlice::new(&[]); 512];
            let filled = self.shard.outgoing(*slot, &mut slices);
            let queued: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
            // The rest of a long event is not in memory, and what follows it is not offered before.
            let has_rest = queued.len() < self.shard.outgoing_bytes(*slot);
            assert!(!has_rest || self.shard.is_stream(*slot), "an outbox has too many runs");
            assert!(queued.starts_with(&peer.unsent), "waiting bytes have changed");
            let added = queued[peer.unsent.len()..].to_vec();
            let waited = queued.len() - added.len();
            if peer.stream.is_none() {
                peer.responses_before = waited;
            }
            peer.parts.extend_from_slice(&added);
            if !has_rest {
                let added = std::mem::take(&mut peer.parts);
                received(peer, &added, &self.journal, self.delivered, self.now);
            }
            let bound = match &peer.stream {
                Some(stream) => peer.responses_before + BUFFER_BYTES.max(stream.largest_frame) + CONTROL_BYTES,
                None => RESPONSES_BYTES,
            };
            peer.unsent = queued;
            assert!(peer.unsent.len() <= bound, "{} bytes wait, more than {bound}", peer.unsent.len());
        }
        let is_open = |slot: &u32, peer: &Peer, user| peer.user == user && self.shard.is_stream(*slot);
        for (user, name) in USERS.iter().enumerate() {
            let open = self.peers.iter().filter(|(slot, peer)| is_open(slot, peer, user)).count();
            assert!(open <= STREAMS_MAX as usize, "{name} has {open} streams");
        }
    }
}

/// Parses the bytes queued for a peer.
fn received(peer: &mut Peer, added: &[u8], journal: &Journal, delivered: u64, now: Now) {
    let mut rest = added;
    while !rest.is_empty() {
        if let Some(stream) = &mut peer.stream {
            let blocks = if stream.is_chunked { unchunked(rest) } else { rest.to_vec() };
            stream.received(&blocks, journal, delivered, now);
            return;
        }
        assert!(!peer.closing, "bytes follow the last response");
        let timed_out = rest.starts_with(b"HTTP/1.1 408 ");
        let asked = peer.asked.pop_front().expect("every response has a request");
        let method = if asked.is_head && !timed_out { "HEAD" } else { "GET" };
        let (response, after) = read_response(rest, method);
        rest = after;
        peer.closing = response.closes && !response.is_stream;
        // A head that timed out has no known id.
        let is_named = response.field("X-Request-Id") == Some(&asked.id);
        assert!(is_named || (timed_out && peer.closing), "responses come in order");
        check_acknowledgement(peer.user, &response, asked.content, journal);
        if let Some(mut stream) = asked.stream.filter(|_| response.is_stream) {
            stream.is_chunked = response.is_chunked;
            stream.received(&response.body, journal, delivered, now);
            peer.responses_before += added.len() - response.body_len;
            peer.stream = Some(stream);
        } else {
            assert!(!response.is_stream, "a stream was not requested");
        }
    }
}

fn check_acknowledgement(user: usize, response: &Response, content: Option<String>, journal: &Journal) {
    if let Some(content) = content.filter(|_| response.status == 200) {
        let number: u64 = response.field("X-Event-Id").and_then(|id| id.parse().ok()).expect("a write has its number");
        let entry = journal.entry(number).expect("what is acknowledged is in the journal");
        let message = entry.event.message().expect("it is a message");
        assert_eq!((entry.event.kind, message.content.as_str()), (EventKind::Input, content.as_str()));
        assert_eq!(message.sender, UserId::new_unchecked(USERS[user]));
    }
}
