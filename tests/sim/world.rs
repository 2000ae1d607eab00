//! The environment of the program: its instances, each with event loops, a writer and readers, driven by the scheduler, and the
//! disk and the clients. Everything happens in steps chosen by the scheduler.
//!
//! A shard is named by its place among those of all instances.

#[cfg(feature = "cluster")]
use crate::bus::{Bus, BusPort};
use crate::coverage::Coverage;
use crate::database::RunDatabase;
use crate::fair_queue::FairQueue;
#[cfg(feature = "cluster")]
use crate::follower::Follower;
use crate::link::*;
#[cfg(feature = "cluster")]
use crate::live_answers::{ReceivedAnswers, SimAnswer};
use crate::model::Model;
use crate::planted::Planted;
use crate::session::{Doing, Moment};
use crate::shrink::Form;
use crate::trace::Trace;
use cortex_core::internals::limits::QUERY_ROWS_EXAMINED_MAX;
use cortex_core::internals::{
    Claims, Command, CommitShare, Committed, Context, Credential, EventNumber, FlushLimits, Holder, Input, Keys,
    MemoryPlan, Merger, MonoTime, Now, Output, PendingQuery, Purpose, QueryResponse, QueryResult, Random, Reader,
    ReplyTo, Retention, Settings, Shard, ShardMessage, SharedState, StoreConfig, UserId, WallTime, Work, Writer,
};
#[cfg(feature = "cluster")]
use cortex_core::internals::{LiveAnswerSet, RecentEvents};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub const SECRET: &[u8] = b"the simulation signs its tokens with this";
pub const BUFFER_BYTES: usize = 4096;
pub const STALL_MILLISECONDS: u64 = 20_000;
pub const MONO_AT_OPEN: MonoTime = MonoTime(1_000_000);
pub const STREAMS_PER_USER: u32 = 6;
/// Steps of a run of one instance with small messages.
const STEPS: u64 = 1_600;
pub const STEPS_MAX: u64 = STEPS * 6 / 5;
/// So few that the oldest of the latest events make room in every run.
#[cfg(feature = "cluster")]
const RECENT_EVENTS_BYTES: usize = 16 * 1024;

/// A message about a commit that still has to be delivered.
pub enum Delivery {
    Announce(EventNumber),
    Share(usize, CommitShare),
}

/// One event loop: a shard, its mailbox, its sockets.
pub struct Loop {
    pub shard: Shard,
    /// The position that it has applied.
    pub position: u64,
    pub mailbox: Vec<ShardMessage>,
    pub mailbox_bytes: usize,
    /// Messages taken from the mailbox and not handled yet.
    pub messages: VecDeque<ShardMessage>,
    pub slots: BTreeMap<u32, usize>,
    pub ready: VecDeque<usize>,
    pub writable: Vec<usize>,
    pub drained: bool,
}

/// The setup of a run, determined by its seed.
#[derive(Debug, Clone)]
pub struct Setup {
    pub instances: usize,
    /// Shards of each instance.
    pub shards: usize,
    pub users: usize,
    pub agents: usize,
    pub stream_clients: usize,
    /// How often an instance reads what others have committed.
    #[cfg(feature = "cluster")]
    pub follow_percent: u64,
    /// How often an instance publishes messages, or takes those of others.
    #[cfg(feature = "cluster")]
    pub bus_percent: u64,
    pub writer_queue: usize,
    pub reader_queue: usize,
    pub mailbox_bytes: usize,
    /// Small, so that events are removed in every run.
    pub retention: Retention,
    /// Small, so that inboxes are flushed in every run.
    pub flush: FlushLimits,
    pub notified_rows_max: usize,
    /// Small, so that queries need several steps in every run.
    pub query_rows_max: usize,
    /// Whether messages are large enough to push others out of the tails.
    pub heavy: bool,
    pub steps: u64,
}

/// The state of one process of the program.
pub struct Process {
    pub writer: Writer,
    pub readers: Vec<(Reader, Option<ShardMessage>)>,
    pub shared: Arc<SharedState>,
    pub loops: Vec<Loop>,
    pub commands: FairQueue<Command>,
    /// The queries, and whether a step of each was executed.
    pub queries: FairQueue<(PendingQuery, bool)>,
    /// A commit that the writer's thread has not reported yet.
    pub unreported: Option<Committed>,
    pub merger: Merger,
    /// Reads the commits of other instances.
    #[cfg(feature = "cluster")]
    pub follower: Option<Follower>,
    /// The latest events.
    #[cfg(feature = "cluster")]
    pub recent: RecentEvents,
    /// What it has for other instances.
    #[cfg(feature = "cluster")]
    pub port: BusPort,
    /// The running answers, with which it tells which are new.
    #[cfg(feature = "cluster")]
    pub answers: LiveAnswerSet,
    #[cfg(feature = "cluster")]
    pub told: ReceivedAnswers,
    pub deliveries: VecDeque<Delivery>,
    pub draining: bool,
    /// Whether it does nothing for a while, as a stopped process.
    pub stopped: bool,
    /// The position that it has announced.
    pub known_committed: u64,
    /// The position after its last commit.
    #[cfg(feature = "cluster")]
    pub own_position: EventNumber,
    pub opened_at: MonoTime,
    /// The age of the database when it was opened.
    pub age_at_open: i64,
}

pub struct World {
    pub seed: u64,
    pub form: Form,
    pub setup: Setup,
    pub random: Random,
    pub now: Now,
    pub step: Arc<AtomicU64>,
    pub trace: Trace,
    /// Whether faults are disabled.
    pub calm: bool,
    /// A hash of all steps, to compare two runs of a seed.
    pub digest: u64,
    pub directory: PathBuf,
    pub database: RunDatabase,
    /// `None` while an instance does not run.
    pub instances: Vec<Option<Process>>,
    #[cfg(feature = "cluster")]
    pub bus: Bus,
    /// The answers that commits have started.
    #[cfg(feature = "cluster")]
    pub answers: Vec<SimAnswer>,
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "without the feature, nothing is planted"))]
    pub planted: Planted,
    pub keys: Keys,
    pub links: BTreeMap<usize, Link>,
    pub next_link: usize,
    pub requests: Vec<Request>,
    pub posts: Vec<PostedMessage>,
    pub agents: Vec<Agent>,
    pub stream_clients: Vec<StreamClient>,
    pub model: Model,
    /// The newest position that an instance has announced.
    pub known_committed: u64,
    /// The newest position shown to each user in a response.
    pub shown: Vec<u64>,
    pub coverage: Coverage,
}

macro_rules! trace {
    ($world:expr, $($text:tt)*) => {
        if $world.trace.is_wanted() {
            let step = $world.step.load(std::sync::atomic::Ordering::Relaxed);
            $world.trace.line(format_args!("{step:>5} {}", format_args!($($text)*)));
        }
    };
}
pub(crate) use trace;

impl World {
    pub fn new(
        (seed, form): (u64, Form),
        planted: Planted,
        step: Arc<AtomicU64>,
        trace: Trace,
        directory: PathBuf,
    ) -> World {
        let mut random = Random::new(seed);
        // Only with the feature can an instance follow others.
        let instances = if cfg!(feature = "cluster") { 1 + random.below(3) as usize } else { 1 };
        let heavy = random.below(10) == 0;
        let setup = Setup {
            instances,
            shards: 2 + random.below(2) as usize,
            users: 3 + random.below(3) as usize,
            agents: form.agents_max.min(3 + random.below(3) as usize),
            stream_clients: form.stream_clients_max.min(4 + random.below(5) as usize),
            #[cfg(feature = "cluster")]
            follow_percent: [100, 30, 5][random.below(3) as usize],
            #[cfg(feature = "cluster")]
            bus_percent: [100, 40, 15][random.below(3) as usize],
            writer_queue: if heavy { 64 } else { [2, 6, 64][random.below(3) as usize] },
            reader_queue: [1, 4, 64][random.below(3) as usize],
            mailbox_bytes: if heavy { 1 << 23 } else { [600, 4000, 1 << 23][random.below(3) as usize] },
            retention: Retention {
                seconds: [4 + random.below(30) as i64, 1 << 40][random.below(2) as usize],
                events: [1 + random.below(30), 1 << 40][random.below(2) as usize],
                bytes: [500 + random.below(6000), 1 << 40][random.below(2) as usize],
                young_milliseconds: random.below(3) * 1000,
            },
            flush: FlushLimits {
                inbox_flush_numbers: 1 + random.below(40),
                inbox_entries_max: 1 + random.below(40) as usize,
                step_messages_max: 1 + random.below(10) as usize,
                step_users_max: 1 + random.below(3) as usize,
                chunk_bytes_max: 1 + random.below(12) as usize,
                index_flush_numbers: 1 + random.below(40),
                index_flush_bytes: 1 + random.below(2000) as usize,
                step_indexed_max: 1 + random.below(6) as usize,
            },
            notified_rows_max: [2, 4, 256][random.below(3) as usize],
            query_rows_max: [1, 1 + random.below(30) as usize, QUERY_ROWS_EXAMINED_MAX][random.below(3) as usize],
            heavy,
            // The bus has steps of its own.
            steps: if heavy { STEPS / 2 } else { STEPS } * if instances > 1 { 6 } else { 5 } / 5,
        };
        let users: Vec<UserId> = (0..setup.users).map(|n| UserId::new_unchecked(format!("user-{n}"))).collect();
        let shown = vec![0; users.len()];
        let agents = (0..setup.agents).map(|n| Agent { user: n % setup.users, link: None }).collect();
        let stream_clients = (0..setup.stream_clients).map(|n| StreamClient {
            user: n % setup.users,
            filter: Default::default(),
            named: n % 3 == 2,
            link: None,
            seen: Vec::new(),
            opened: 0,
            last_instance: 0,
        });
        let stream_clients = stream_clients.collect();
        let mut world = World {
            seed,
            form,
            setup: setup.clone(),
            random,
            now: Now { wall: WallTime(1_790_000_000_000_000), mono: MONO_AT_OPEN },
            step,
            trace,
            calm: false,
            digest: 0,
            database: RunDatabase::new(&directory),
            directory,
            instances: (0..instances).map(|_| None).collect(),
            #[cfg(feature = "cluster")]
            bus: Bus::new(instances),
            #[cfg(feature = "cluster")]
            answers: Vec::new(),
            planted,
            keys: Keys::new(SECRET, &[], None, None),
            links: BTreeMap::new(),
            next_link: 0,
            requests: Vec::new(),
            posts: Vec::new(),
            agents,
            stream_clients,
            model: Model::new(users),
            known_committed: 0,
            shown,
            coverage: Coverage::default(),
        };
        trace!(world, "{:?}", world.setup);
        (0..instances).for_each(|instance| world.open(instance));
        world
    }

    /// Starts an instance on the existing database.
    pub fn open(&mut self, instance: usize) {
        let Setup { flush, retention, notified_rows_max, query_rows_max, .. } = self.setup;
        let config = StoreConfig {
            flush,
            retention,
            notified_rows_max,
            query_rows_max,
            ..StoreConfig::new(self.database.setting())
        };
        let mut writer = Writer::open(&config).expect("the database opens");
        self.database.opened(&mut writer);
        let position = writer.position();
        assert_eq!(position.0, self.model.position(), "the journal has changed over a start");
        let token_rules = writer.token_rules().expect("the users can be read");
        let settings = settings(&writer.signing_key());
        let keys = Keys::new(SECRET, &[], None, None);
        let context = Arc::new(Context {
            settings,
            memory: MemoryPlan::unlimited(),
            keys,
            epoch: writer.epoch().to_string().into(),
        });
        let shared = Arc::new(SharedState::default());
        shared.streams.advance_position(position);
        self.known_committed = self.known_committed.max(position.0);
        if self.setup.instances == 1 {
            self.now.mono = MONO_AT_OPEN;
        }
        // The first reading of the clock.
        writer.maintenance_due(self.now);
        let age_at_open = self.database.number("SELECT age FROM journal_head", &[]);
        assert!(age_at_open >= self.model.last_age(), "the database is younger than its last commit");
        let loops = (0..self.setup.shards).map(|index| {
            let (context, shared, token_rules) = (Arc::clone(&context), Arc::clone(&shared), Arc::clone(&token_rules));
            let random = Random::new(self.random.next_u64());
            Loop {
                shard: Shard::new(index as u16, context, shared, token_rules, position, random),
                position: position.0,
                mailbox: Vec::new(),
                mailbox_bytes: 0,
                messages: VecDeque::new(),
                slots: BTreeMap::new(),
                ready: VecDeque::new(),
                writable: Vec::new(),
                drained: false,
            }
        });
        let loops = loops.collect();
        let reader = || (writer.open_reader().expect("a reader opens"), None);
        let readers = vec![reader(), reader()];
        #[cfg(feature = "cluster")]
        let follower = (self.setup.instances > 1).then(|| Follower::new(reader().0));
        #[cfg(feature = "cluster")]
        self.bus.subscribed(instance, position.0);
        self.instances[instance] = Some(Process {
            writer,
            readers,
            shared,
            loops,
            commands: FairQueue::new(self.setup.writer_queue),
            queries: FairQueue::new(self.setup.reader_queue),
            unreported: None,
            merger: Merger::new(position, self.setup.instances > 1, &MemoryPlan::unlimited()),
            #[cfg(feature = "cluster")]
            follower,
            #[cfg(feature = "cluster")]
            recent: RecentEvents::new(position, RECENT_EVENTS_BYTES),
            #[cfg(feature = "cluster")]
            port: BusPort::new(&mut self.random),
            #[cfg(feature = "cluster")]
            answers: LiveAnswerSet::default(),
            #[cfg(feature = "cluster")]
            told: ReceivedAnswers::new(position),
            deliveries: VecDeque::new(),
            draining: false,
            stopped: false,
            known_committed: position.0,
            #[cfg(feature = "cluster")]
            own_position: position,
            opened_at: self.now.mono,
            age_at_open,
        });
    }

    /// A running instance.
    pub fn process(&mut self, instance: usize) -> &mut Process {
        self.instances[instance].as_mut().expect("the instance runs")
    }

    /// The instances that run, stopped or not.
    pub fn running(&self) -> Vec<usize> {
        (0..self.setup.instances).filter(|instance| self.instances[*instance].is_some()).collect()
    }

    /// Whether an instance does its work.
    pub fn is_active(&self, instance: usize) -> bool {
        self.instances[instance].as_ref().is_some_and(|process| !process.stopped)
    }

    pub fn instance_of(&self, shard: usize) -> usize {
        shard / self.setup.shards
    }

    /// The shards of an instance.
    pub fn shards_of(&self, instance: usize) -> Range<usize> {
        instance * self.setup.shards..(instance + 1) * self.setup.shards
    }

    /// The place of a shard among those of all instances.
    pub fn shard_of(&self, instance: usize, to: ReplyTo) -> usize {
        instance * self.setup.shards + usize::from(to.shard)
    }

    pub fn state(&self, shard: usize) -> &Loop {
        let process = self.instances[self.instance_of(shard)].as_ref().expect("the instance runs");
        &process.loops[shard % self.setup.shards]
    }

    pub fn state_mut(&mut self, shard: usize) -> &mut Loop {
        let (instance, place) = (self.instance_of(shard), shard % self.setup.shards);
        &mut self.process(instance).loops[place]
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    pub fn chance(&mut self, times: u64, of: u64) -> bool {
        self.random.below(of) < times
    }

    /// Records a step, so that two runs of a seed can be compared.
    pub fn note(&mut self, what: u64, value: u64) {
        self.digest = (self.digest.rotate_left(5) ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ value;
    }

    pub fn token(&self, user: usize, seconds: i64) -> (String, WallTime) {
        let expires_at = WallTime(self.now.wall.plus_seconds(seconds).seconds() * 1_000_000);
        let name: Arc<str> = format!("Name of {user}").into();
        let claims = Claims {
            user: self.model.users[user].clone(),
            name: Some(name),
            email: None,
            sub: None,
            expires_at,
            issued_at: Some(self.now.wall),
            credential: Credential { authenticated_at: Some(self.now.wall), generation: None },
            purpose: Purpose::Access,
            key: self.keys.current(),
        };
        (self.keys.sign(&claims).expect("the current key signs"), expires_at)
    }

    /// Passes an input to a shard, drains its outputs and checks everything that changed.
    pub fn feed(&mut self, shard: usize, input: Input<'_>) {
        let now = self.now;
        let (mut doing, mut page) = (Doing::Other, BTreeSet::new());
        let mut position = self.state(shard).position;
        let position_before = position;
        match &input {
            Input::Message(ShardMessage::Committed(committed)) => {
                doing = Doing::Commit;
                position = position.max(committed.through.0);
            }
            Input::Message(ShardMessage::QueryResponse(QueryResponse {
                result: Ok(QueryResult::JournalPage(found)),
                ..
            })) => {
                doing = Doing::Page;
                page = found.events.iter().map(|event| event.number.0).collect();
            }
            _ => {}
        }
        let state = self.state_mut(shard);
        state.position = position;
        state.shard.handle(input, now);
        self.after(shard, Moment { doing, position_before, page, now });
    }

    /// Advances a shard's timers.
    pub fn tick(&mut self, shard: usize) {
        let now = self.now;
        let waited: Vec<usize> = self.links_of(shard).filter(|(_, l)| !l.unsent.is_empty()).map(|(id, _)| id).collect();
        let state = self.state_mut(shard);
        state.shard.tick(now);
        assert!(state.shard.poll_timeout().is_none_or(|at| at > now.mono), "an expired timer remains");
        let position = state.position;
        let moment = Moment { doing: Doing::Tick, position_before: position, page: BTreeSet::new(), now };
        self.after(shard, moment);
        self.check_deadlines(shard, &waited);
    }

    fn after(&mut self, shard: usize, moment: Moment) {
        self.drain_outputs(shard);
        self.observe(shard, &moment);
        self.state(shard).shard.check_invariants();
        let instance = self.instance_of(shard);
        self.process(instance).shared.check_invariants();
    }

    fn drain_outputs(&mut self, shard: usize) {
        let now = self.now;
        while let Some(output) = self.state_mut(shard).shard.poll_output() {
            match output {
                Output::Work(work) => {
                    self.dispatch_work(self.instance_of(shard), work);
                }
                Output::TuneStream(_) => {}
                Output::Resume(slot) => {
                    self.resume(shard, slot);
                }
                Output::MeasureUndelivered(slot) => {
                    if let Some(link) = self.link_at(shard, slot) {
                        let bytes = (link.taken - link.read) as usize;
                        self.state_mut(shard).shard.handle(Input::Undelivered { slot, bytes }, now);
                    }
                }
                Output::EndWriting(slot) => {
                    if let Some(link) = self.link_at(shard, slot) {
                        link.ended = true;
                        link.active_at = now.mono;
                    }
                }
                Output::Close(slot) => {
                    self.closed(shard, slot);
                }
                Output::StopAccepting | Output::Quiesced => {}
                Output::Drained => {
                    self.state_mut(shard).drained = true;
                }
            }
        }
    }

    fn dispatch_work(&mut self, instance: usize, work: Work) {
        match work {
            Work::Command(command) => self.submit(instance, command),
            Work::Query(query) => self.ask(instance, (PendingQuery::new(query), false)),
            #[cfg(feature = "cluster")]
            Work::AskPeers(_) => unreachable!("runs do not list or renew streams"),
            Work::CancelAnswer { .. } | Work::Pass(_) | Work::ControlPassing { .. } => {
                unreachable!("runs have no responders")
            }
            Work::Password(_) => unreachable!("runs have no passwords"),
        }
    }

    fn submit(&mut self, instance: usize, command: Command) {
        let commands = &mut self.process(instance).commands;
        for command in commands.push(&Holder::User(command.actor.id.clone()), command) {
            self.coverage.writer_overloads += 1;
            let rejected = crate::model::Expected { status: 503, body: None, number: None, replayed: false };
            self.requests[request_of(&command.correlation_id)].expected = Some(rejected);
            let shard = self.shard_of(instance, command.reply_to);
            self.enqueue_message(shard, ShardMessage::CommandDropped(command.reply_to));
        }
    }

    /// Enqueues a query, or its next step.
    pub fn ask(&mut self, instance: usize, query: (PendingQuery, bool)) {
        #[cfg(feature = "cluster")]
        if !query.1 && self.setup.instances > 1 && self.answer_from_recent_events(instance, &query.0.query) {
            return;
        }
        for (pending, _) in self.process(instance).queries.push(&query.0.query.holder(), query) {
            self.coverage.reader_overloads += 1;
            let to = pending.query.reply_to;
            self.enqueue_message(self.shard_of(instance, to), ShardMessage::Dropped(to));
        }
    }

    pub fn link_at(&mut self, shard: usize, slot: u32) -> Option<&mut Link> {
        let id = *self.state(shard).slots.get(&slot)?;
        self.links.get_mut(&id)
    }

    pub fn links_of(&self, shard: usize) -> impl Iterator<Item = (usize, &Link)> {
        self.links.iter().filter(move |(_, link)| link.shard == shard && !link.gone).map(|(id, link)| (*id, link))
    }

    fn resume(&mut self, shard: usize, slot: u32) {
        let Some(&id) = self.state(shard).slots.get(&slot) else { return };
        trace!(self, "link {id}: to be read again");
        let link = self.links.get_mut(&id).expect("a used slot has a link");
        if link.readable && !link.in_ready {
            link.in_ready = true;
            self.state_mut(shard).ready.push_back(id);
        }
    }

    fn closed(&mut self, shard: usize, slot: u32) {
        let Some(id) = self.state_mut(shard).slots.remove(&slot) else { return };
        let link = self.links.get_mut(&id).expect("a used slot has a link");
        trace!(self, "link {id}: closed by the server");
        link.gone = true;
        link.in_ready = false;
        if !link.stalled && !link.client_done && !link.unsent.is_empty() {
            self.coverage.timeouts += 1;
        }
        if link.stalled && !link.client_done {
            self.coverage.stalls_closed += 1;
        }
        if let Some(session) = &link.session {
            let stall_ends = link.progress_at.plus_milliseconds(STALL_MILLISECONDS);
            let stalled = !link.unsent.is_empty() && stall_ends <= self.now.mono;
            let left = link.reset_arrived || link.arrived_end;
            // A long event may have changed in the middle, and is sent again on resumption.
            let is_cut = !link.transcript.is_whole();
            assert!(session.ended || left || stalled || is_cut, "the stream of link {id} is closed for no reason");
        }
        // Closing a socket with unread bytes resets the connection, and bytes in transit are lost.
        if !link.arrived.is_empty() {
            link.cut = true;
        }
        link.unsent.clear();
    }
}

pub fn request_of(correlation_id: &str) -> usize {
    correlation_id.strip_prefix('r').and_then(|number| number.parse().ok()).expect("every request has a known id")
}

fn settings(signing_key: &[u8; 32]) -> Settings {
    assert!(signing_key.iter().any(|byte| *byte != 0));
    let lookup = |name: &str| -> Option<String> {
        let value = match name {
            "STREAM_BUFFER_BYTES" => BUFFER_BYTES.to_string(),
            "HEARTBEAT_INTERVAL_SECONDS" => (crate::session::HEARTBEAT_MILLISECONDS / 1000).to_string(),
            "STREAM_STALL_TIMEOUT_SECONDS" => (STALL_MILLISECONDS / 1000).to_string(),
            "MAX_STREAMS_PER_USER" => STREAMS_PER_USER.to_string(),
            "JWT_SECRET_KEY" => String::from_utf8(SECRET.to_vec()).expect("it is text"),
            _ => return None,
        };
        Some(value)
    };
    Settings::load(&lookup, 2).expect("the settings are valid").settings
}

impl Drop for World {
    fn drop(&mut self) {
        self.instances.clear();
        self.database.closing();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
