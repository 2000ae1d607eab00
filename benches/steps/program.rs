//! The program on one thread: an event loop, the writer and a reader, without sockets. Each call of them is timed.

use super::data::{Database, NOW, SECRET, open};
use super::timed;
use cortex_core::internals::commit_routing::route_commit;
use cortex_core::internals::{
    Claims, Committed, Context, Credential, Input, Keys, MaintenanceDue, MemoryPlan, Now, Output, PasswordCheck,
    PasswordOutcome, PasswordResponse, PendingQuery, Purpose, QueryStep, Random, Reader, Settings, Shard, ShardMessage,
    SharedState, UserId, Work, Writer,
};
use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// The longest call of each thread since `take`.
#[derive(Debug, Default, Clone, Copy)]
pub struct Longest {
    pub event_loop: Duration,
    pub writer: Duration,
    pub reader: Duration,
}

/// Calls of the writer after which the log is copied to the database, apart from them.
const CHECKPOINT_CALLS: usize = 8;

impl Longest {
    /// The median of each.
    pub fn median(all: &[Longest]) -> Longest {
        let median = |of: fn(&Longest) -> Duration| {
            let mut times: Vec<Duration> = all.iter().map(of).collect();
            times.sort_unstable();
            times[times.len() / 2]
        };
        Longest {
            event_loop: median(|longest| longest.event_loop),
            writer: median(|longest| longest.writer),
            reader: median(|longest| longest.reader),
        }
    }
}

pub struct Program {
    shard: Shard,
    writer: Writer,
    reader: Reader,
    shared: Arc<SharedState>,
    keys: Keys,
    now: Now,
    longest: Longest,
    /// The longest checkpoint, and the calls of the writer since the last one.
    pub checkpoint: Duration,
    written: usize,
    /// What each connection has received since its last request.
    received: HashMap<u32, Vec<u8>>,
    /// The steps of queries that wait.
    queries: VecDeque<PendingQuery>,
}

pub struct Response {
    pub status: u16,
    pub body: serde_json::Value,
}

impl Program {
    /// Starts on a database, and returns how long it took to open it and to load the rules of tokens.
    pub fn start(database: &Database) -> Result<(Program, Duration, Duration), String> {
        let (open_time, mut writer) = timed(|| open(&database.path));
        let (rules_time, rules) = timed(|| writer.token_rules());
        let token_rules = rules.map_err(|error| error.to_string())?;
        let lookup = |name: &str| match name {
            "JWT_SECRET_KEY" => Some(SECRET.to_owned()),
            "MAX_CONNECTIONS" => Some("100000".to_owned()),
            "MAX_CONNECTIONS_PER_ADDRESS" | "LOGIN_RATE_LIMIT_PER_MINUTE" => Some("0".to_owned()),
            _ => None,
        };
        let settings = Settings::load(&lookup, 1).map_err(|_| "the settings are invalid")?.settings;
        let keys = || Keys::new(SECRET.as_bytes(), &[], None, None);
        let epoch = writer.epoch().to_string().into();
        let context = Arc::new(Context { settings, memory: MemoryPlan::unlimited(), keys: keys(), epoch });
        let shared = Arc::new(SharedState::default());
        let position = writer.position();
        shared.streams.advance_position(position);
        let shard = Shard::new(0, context, Arc::clone(&shared), token_rules, position, Random::new(1));
        let reader = writer.open_reader().map_err(|error| error.to_string())?;
        let now = NOW;
        let (received, queries) = (HashMap::new(), VecDeque::new());
        let longest = Longest::default();
        let checkpoint = Duration::ZERO;
        let program = Program {
            shard,
            writer,
            reader,
            shared,
            keys: keys(),
            now,
            longest,
            checkpoint,
            written: 0,
            received,
            queries,
        };
        Ok((program, open_time, rules_time))
    }

    /// The longest calls since the last call of `take`.
    pub fn take(&mut self) -> Longest {
        std::mem::take(&mut self.longest)
    }

    /// Sends a request on a connection of its own, which is closed afterwards, and returns the response.
    pub fn request(&mut self, user: &str, request: &str, body: &str) -> Response {
        let slot = self.send(user, request, body);
        let received = self.received.remove(&slot).expect("the connection is open");
        self.handle(Input::Failed { slot });
        parse(request, &received)
    }

    /// Opens a stream, which stays open.
    pub fn open_stream(&mut self, user: &str, query: &str) {
        let slot = self.send(user, &format!("GET /output/stream{query}"), "");
        let received = self.received.get_mut(&slot).expect("the stream is open");
        assert!(received.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(received));
        received.clear();
    }

    fn send(&mut self, user: &str, request: &str, body: &str) -> u32 {
        let token = self.token(user);
        let text = format!(
            "{request} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        // Some time passes, so that timers differ.
        self.now.mono.0 += 1000;
        let slot = self.shard.accept(IpAddr::V4(Ipv4Addr::LOCALHOST), self.now);
        self.received.insert(slot, Vec::new());
        for bytes in text.as_bytes().chunks(16 * 1024) {
            self.handle(Input::Bytes { slot, bytes });
        }
        slot
    }

    fn token(&self, user: &str) -> String {
        let claims = Claims {
            user: UserId::new_unchecked(user),
            name: Some("a name".into()),
            email: None,
            sub: None,
            expires_at: NOW.wall.plus_seconds(3600),
            issued_at: Some(NOW.wall),
            credential: Credential { authenticated_at: Some(NOW.wall), generation: Some(1 << 60) },
            purpose: Purpose::Access,
            key: self.keys.current(),
        };
        self.keys.sign(&claims).expect("the current key signs")
    }

    /// Runs maintenance until no work is left.
    pub fn maintain(&mut self) {
        loop {
            let (time, committed) = timed(|| self.writer.maintain(NOW));
            self.written(time);
            if let Some(committed) = committed {
                self.committed(committed);
                self.finish();
            }
            if !matches!(self.writer.maintenance_due(NOW), MaintenanceDue::Now | MaintenanceDue::WhenIdle) {
                return;
            }
        }
    }

    /// Passes an input to the event loop, and does all the work that follows from it.
    fn handle(&mut self, input: Input<'_>) {
        self.event_loop(|shard, now| shard.handle(input, now));
        self.finish();
    }

    fn finish(&mut self) {
        loop {
            while let Some(output) = self.event_loop(|shard, _| shard.poll_output()) {
                match output {
                    Output::Work(work) => self.work(work),
                    Output::Close(slot) => drop(self.received.remove(&slot)),
                    _ => {}
                }
            }
            self.event_loop(|shard, now| shard.count_finished(now));
            if self.write() {
                continue;
            }
            let Some(pending) = self.queries.pop_front() else { return };
            let (time, step) = timed(|| self.reader.step(pending));
            self.longest.reader = self.longest.reader.max(time);
            match step {
                QueryStep::Done(response) => self.message(ShardMessage::QueryResponse(response)),
                QueryStep::More(pending) => self.queries.push_back(pending),
            }
        }
    }

    /// Writes what waits to all connections. Returns whether there was any.
    fn write(&mut self) -> bool {
        let mut dirty = Vec::new();
        self.event_loop(|shard, _| shard.take_dirty(&mut dirty));
        for slot in &dirty {
            let mut slices = [IoSlice::new(&[]); 64];
            let filled = self.shard.outgoing(*slot, &mut slices);
            let mut bytes = 0;
            for slice in &slices[..filled] {
                bytes += slice.len();
                if let Some(received) = self.received.get_mut(slot).filter(|received| received.len() < 1 << 22) {
                    received.extend_from_slice(slice);
                }
            }
            self.event_loop(|shard, now| shard.handle(Input::Wrote { slot: *slot, bytes }, now));
        }
        !dirty.is_empty()
    }

    fn work(&mut self, work: Work) {
        match work {
            Work::Command(command) => {
                let commands = [command];
                let (time, committed) = timed(|| self.writer.commit_batch(&commands, NOW));
                self.written(time);
                self.committed(committed);
            }
            Work::Query(query) => self.queries.push_back(PendingQuery::new(query)),
            Work::Password(job) => {
                let outcome = match job.check {
                    PasswordCheck::Login { .. } => PasswordOutcome::Wrong,
                    PasswordCheck::Change { .. } => {
                        PasswordOutcome::Hash { verified: super::data::HASH.into(), hash: super::data::HASH.into() }
                    }
                };
                let response = PasswordResponse { to: job.reply_to, result: Ok(outcome) };
                self.message(ShardMessage::PasswordResponse(response));
            }
            #[cfg(feature = "cluster")]
            Work::AskPeers(_) => unreachable!("there are no other instances"),
            Work::CancelAnswer { reply_to, .. } => self.message(ShardMessage::Dropped(reply_to)),
            Work::Pass(_) | Work::ControlPassing { .. } => unreachable!("no model is configured"),
        }
    }

    fn written(&mut self, time: Duration) {
        self.longest.writer = self.longest.writer.max(time);
        self.written += 1;
        if self.written == CHECKPOINT_CALLS {
            self.written = 0;
            let db = self.writer.connection();
            let (time, done) = timed(|| db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())));
            done.expect("a checkpoint");
            self.checkpoint = self.checkpoint.max(time);
        }
    }

    fn committed(&mut self, committed: Committed) {
        self.shared.streams.advance_position(committed.through);
        for (_, share) in route_commit(committed, 1).shards {
            self.message(ShardMessage::Committed(share));
        }
    }

    fn message(&mut self, message: ShardMessage) {
        self.event_loop(|shard, now| shard.handle(Input::Message(message), now));
    }

    fn event_loop<T>(&mut self, step: impl FnOnce(&mut Shard, Now) -> T) -> T {
        let (time, done) = timed(|| step(&mut self.shard, self.now));
        self.longest.event_loop = self.longest.event_loop.max(time);
        done
    }
}

fn parse(request: &str, received: &[u8]) -> Response {
    let text = String::from_utf8_lossy(received);
    let status = text.get(9..12).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("{request}: no response: {text:?}"));
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Response { status, body: serde_json::from_str(body).unwrap_or_default() }
}
