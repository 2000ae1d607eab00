//! A simulation of answers that are passed on: the scheduler, the answers, their pipes and their connections, in any
//! interleaving, with a model that cuts, fails and is silent, clients that read slowly, and clients that disconnect.
//!
//! A connection here does what `shard` does: it looks into its pipe when it gets a message, and when its socket has taken
//! bytes, and at no other time. So a message that is missing shows as a client that waits for ever.

use cortex_core::internals::{
    Actor, AnswerPipe, CompletionError, Credential, MonoTime, Now, PassedAnswer, PassedEffect, PassingBody,
    PassingForm, PassingId, PassingRejection, PassingRequest, Random, ReplyTo, Scheduler, SchedulerInput,
    SchedulerLimits, SchedulerOutput, Upstream, UpstreamAddress, UpstreamSettings, UserId, WallTime,
};
use cortex_core::internals::{JobClass, JobPage};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

const SEEDS: u64 = 400;
const STEPS_MAX: usize = 200_000;
/// Most bytes in the outbox of a connection.
const OUTBOX_BYTES: usize = 40_000;
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
const DONE: &str = "data: [DONE]\n\n";

/// How the model answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    Complete,
    /// The connection ends after some chunks, without a finish reason.
    Cut,
    /// An error status.
    Reject,
    /// The first connection cannot be opened.
    ConnectsLater,
}

struct Client {
    user: UserId,
    plan: Plan,
    /// The events that the model sends.
    events: Vec<String>,
    answer: PassedAnswer,
    pipe: AnswerPipe,
    /// What the model has sent and the socket has not delivered; `None` without a connection.
    socket: Option<VecDeque<u8>>,
    is_connecting: bool,
    attempts: usize,
    /// The model has sent all, and ends the connection.
    ends: bool,
    has_message: bool,
    outbox: usize,
    received: Vec<u8>,
    end: Option<Result<(), CompletionError>>,
    /// It disconnects at some time, unless the answer has ended before.
    leaves: bool,
    is_gone: bool,
    is_running: bool,
    counted: usize,
}

struct World {
    random: Random,
    now: MonoTime,
    scheduler: Scheduler,
    clients: BTreeMap<u64, Client>,
    running_max: usize,
}

fn chunk(text: &str, reason: &str) -> String {
    format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":{reason}}}]}}\n\n"
    )
}

impl World {
    fn new(seed: u64) -> World {
        let limits = SchedulerLimits {
            answers_max: 5,
            answers_per_user_max: 2,
            steps_max: 2,
            steps_per_user_max: 1,
            waiting_max: 8,
            waiting_per_user_max: 2,
            page_jobs: 2,
            has_model: true,
            relist_milliseconds: None,
        };
        let mut world = World {
            random: Random::new(seed),
            now: MonoTime(1),
            scheduler: Scheduler::new(limits),
            clients: BTreeMap::new(),
            running_max: 0,
        };
        world.schedule(SchedulerInput::Tick);
        for class in [JobClass::Model, JobClass::Immediate] {
            let page = Some(JobPage { users: Vec::new(), is_last: true });
            world.schedule(SchedulerInput::JobsListed { class, page });
        }
        let address = UpstreamAddress::parse("http://127.0.0.1:1/v1").expect("an address");
        let upstream = Upstream::new(UpstreamSettings::new(address, "m".into())).expect("the settings are valid");
        let upstream = Arc::new(upstream);
        for id in 0..3 + world.random.below(8) {
            world.add(id, &upstream);
        }
        world
    }

    fn add(&mut self, id: u64, upstream: &Arc<Upstream>) {
        let user = UserId::new(&format!("u{}", self.random.below(3))).expect("an id");
        let plans = [Plan::Complete, Plan::Complete, Plan::Cut, Plan::Reject, Plan::ConnectsLater];
        let plan = plans[self.random.below(plans.len() as u64) as usize];
        let mut events: Vec<String> = (0..1 + self.random.below(12))
            .map(|_| chunk(&"x".repeat(self.random.below(9000) as usize), "null"))
            .collect();
        if plan != Plan::Cut {
            events.push(chunk("", "\"stop\""));
        }
        let pipe = AnswerPipe::default();
        let request = PassingRequest {
            to: ReplyTo { shard: 0, slot: id as u32, generation: 1 },
            actor: Actor { id: user.clone(), name: None, email: None, credential: Credential::default() },
            correlation_id: "c".into(),
            body: PassingBody {
                members: b"{\"messages\":[]".to_vec(),
                stream_options: None,
                counting_stream_options: "{\"include_usage\":true}".into(),
            },
            form: PassingForm::Stream { hides_usage: true },
            pipe: pipe.clone(),
        };
        let client = Client {
            user: user.clone(),
            plan,
            events,
            answer: PassedAnswer::new(request, Arc::clone(upstream)),
            pipe,
            socket: None,
            is_connecting: false,
            attempts: 0,
            ends: false,
            has_message: false,
            outbox: 0,
            received: Vec::new(),
            end: None,
            leaves: self.random.below(5) == 0,
            is_gone: false,
            is_running: false,
            counted: 0,
        };
        self.clients.insert(id, client);
        self.poll(id);
        self.schedule(SchedulerInput::PassingRequested { id: PassingId(id), user, credential: Credential::default() });
    }

    fn schedule(&mut self, input: SchedulerInput) {
        self.scheduler.handle(input, self.now);
        while let Some(output) = self.scheduler.poll_output() {
            match output {
                SchedulerOutput::StartPassing(PassingId(id)) => {
                    let random = Random::new(self.random.next_u64());
                    let now = Now { wall: WallTime(0), mono: self.now };
                    let client = self.clients.get_mut(&id).expect("a client");
                    client.is_running = true;
                    client.answer.start(random, now);
                    self.poll(id);
                }
                SchedulerOutput::RejectPassing(PassingId(id), why) => {
                    assert_ne!(why, PassingRejection::TooMany, "few wait");
                    self.clients.get_mut(&id).expect("a client").answer.stop(CompletionError::shutting_down());
                    self.poll(id);
                }
                SchedulerOutput::ListJobs { .. } => {}
                other => panic!("there are no jobs: {other:?}"),
            }
        }
        self.scheduler.check_invariants();
        let mut of_user: BTreeMap<&UserId, usize> = BTreeMap::new();
        for client in self.clients.values().filter(|client| client.is_running) {
            *of_user.entry(&client.user).or_default() += 1;
        }
        assert!(of_user.values().all(|count| *count <= 2), "a user has two slots");
        self.running_max = self.running_max.max(of_user.values().sum());
        assert!(self.running_max <= 5, "there are five slots");
    }

    /// Carries out what an answer wants, as the driver does.
    fn poll(&mut self, id: u64) {
        let client = self.clients.get_mut(&id).expect("a client");
        while let Some(effect) = client.answer.poll(self.now) {
            match effect {
                PassedEffect::Connect => {
                    assert!(client.socket.is_none() && !client.is_connecting, "one connection at a time");
                    (client.is_connecting, client.ends) = (true, false);
                    client.attempts += 1;
                }
                PassedEffect::Close => (client.socket, client.is_connecting) = (None, false),
                PassedEffect::Announce => client.has_message = true,
                PassedEffect::Count(_) => client.counted += 1,
            }
        }
        let outgoing = client.answer.outgoing().len();
        if client.socket.is_some() && outgoing > 0 {
            client.answer.wrote(Some(outgoing));
        }
        if client.answer.is_over() && client.is_running {
            client.is_running = false;
            self.schedule(SchedulerInput::PassingEnded(PassingId(id)));
        } else if client.answer.is_over() {
            // It ended while it waited.
            self.scheduler.handle(SchedulerInput::PassingEnded(PassingId(id)), self.now);
        }
    }

    /// One step of one client or of its model. Returns whether something happened.
    fn step(&mut self, id: u64) -> bool {
        let choice = self.random.below(6);
        let size = 1 + self.random.below(20_000) as usize;
        let client = self.clients.get_mut(&id).expect("a client");
        match choice {
            0 if client.is_connecting => {
                client.is_connecting = false;
                if client.plan == Plan::ConnectsLater && client.attempts == 1 {
                    client.answer.disconnected(Some("no".into()), self.now);
                } else {
                    client.socket = Some(client.response());
                    client.ends = true;
                    client.answer.connected(self.now);
                }
            }
            1 | 2 if client.socket.is_some() && !client.answer.is_paused() => {
                let socket = client.socket.as_mut().expect("a connection");
                let bytes: Vec<u8> = socket.drain(..size.min(socket.len())).collect();
                if bytes.is_empty() && client.ends {
                    client.socket = None;
                    client.answer.disconnected(None, self.now);
                } else {
                    client.answer.received(&bytes, self.now);
                }
            }
            3 if client.has_message && !client.is_gone => {
                client.has_message = false;
                self.read(id);
            }
            4 if client.outbox > 0 && !client.is_gone => {
                client.outbox -= size.min(client.outbox);
                self.read(id);
            }
            5 if client.leaves && !client.is_gone && client.end.is_none() && self.random.below(30) == 0 => {
                client.is_gone = true;
                client.answer.abort();
            }
            _ => return false,
        }
        self.poll(id);
        true
    }

    fn read(&mut self, id: u64) {
        let client = self.clients.get_mut(&id).expect("a client");
        // The connection is in another phase then.
        if client.end.is_some() {
            return;
        }
        let part = client.pipe.read(OUTBOX_BYTES.saturating_sub(client.outbox));
        client.outbox += part.bytes.len();
        client.received.extend_from_slice(&part.bytes);
        client.end = part.end;
        if part.resumes {
            client.answer.resume(self.now);
        }
        assert!(client.pipe.waiting_bytes() < 64 * 1024, "a slow reader costs little memory");
    }

    fn run(&mut self) {
        for _ in 0..STEPS_MAX {
            let ids: Vec<u64> = self.clients.keys().copied().collect();
            let is_over = |client: &Client| client.is_gone || (client.end.is_some() && client.outbox == 0);
            if self.clients.values().all(|client| is_over(client) && client.answer.is_over()) {
                return;
            }
            let from = self.random.below(ids.len() as u64) as usize;
            let has_moved = (0..ids.len()).any(|place| self.step(ids[(from + place) % ids.len()]));
            if !has_moved && self.random.below(20) == 0 {
                self.wait(&ids);
            }
        }
        let stuck: Vec<_> = self.clients.iter().filter(|(_, one)| !one.is_gone && one.end.is_none()).collect();
        panic!("{} clients wait for ever, the first with {:?}", stuck.len(), stuck.first().map(|(_, one)| one.plan));
    }

    /// Time passes until the next deadline, but not while the model or a client has something to do.
    fn wait(&mut self, ids: &[u64]) {
        let is_busy = |client: &Client| {
            let reads = client.has_message || client.outbox > 0;
            client.is_connecting
                || (client.socket.is_some() && !client.answer.is_paused())
                || (reads && !client.is_gone)
        };
        if self.clients.values().any(is_busy) {
            return;
        }
        let next = self.clients.values().filter_map(|client| client.answer.poll_timeout()).min();
        if let Some(next) = next {
            self.now = self.now.max(next);
            for id in ids {
                self.clients.get_mut(id).expect("a client").answer.tick(self.now);
                self.poll(*id);
            }
        }
    }

    /// Every client that stayed has what its model sent, and the right end.
    fn check(&self) {
        for client in self.clients.values().filter(|client| !client.is_gone) {
            let received = String::from_utf8(client.received.clone()).expect("text");
            let sent = client.events.concat();
            match (client.plan, client.end.as_ref().expect("an end")) {
                (Plan::Complete | Plan::ConnectsLater, end) => {
                    assert_eq!((received == sent + DONE, end), (true, &Ok(())));
                    assert_eq!(client.counted, 1, "its tokens are counted once");
                }
                (Plan::Cut, Err(error)) => assert_eq!((received == sent, error.status), (true, 502)),
                (Plan::Reject, Err(error)) => assert_eq!((received.as_str(), error.status), ("", 400)),
                (plan, end) => panic!("{plan:?} ended with {end:?}"),
            }
        }
        assert_eq!((self.scheduler.running_jobs(), self.scheduler.waiting_jobs()), (0, 0));
    }
}

impl Client {
    fn response(&self) -> VecDeque<u8> {
        let text = match self.plan {
            Plan::Reject => "HTTP/1.1 400 no\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
            Plan::Cut => HEAD.to_owned() + &self.events.concat(),
            Plan::Complete | Plan::ConnectsLater => HEAD.to_owned() + &self.events.concat() + DONE,
        };
        text.into_bytes().into()
    }
}

#[test]
fn every_client_gets_what_its_model_sent_and_one_end() {
    for seed in 0..SEEDS {
        let result = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            world.run();
            world.check();
        });
        assert!(result.is_ok(), "seed {seed} fails");
    }
}
