//! The environment of the shards: connections whose requests arrive in two parts, a writer, a reader and a password thread that
//! work and report with delays, an administrator, reloads of keys, a wall clock that jumps, and restarts.
//!
//! Invariant: whatever is done with a credential is done while the view of the shard accepts it, and a change is committed while
//! the database permits it. A credential that was accepted throughout is not rejected.

use super::model::{Issued, UserState, View};
use crate::database::RunDatabase;
use crate::trace::Trace;
use cortex_core::internals::commit_routing::route_commit;
use cortex_core::internals::{
    Admin, Claims, Command, CommandKind, Committed, Context, Input, Keys, MemoryPlan, MonoTime, NewUser, Now, Output,
    PasswordCheck, PasswordOutcome, PasswordResponse, PendingQuery, Purpose, QueryStep, Random, Reader, Rejection,
    ReplyTo, Settings, Shard, ShardMessage, SharedState, StoreConfig, UserId, UserSelector, WallTime, Work, Writer,
};
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

const SHARDS: usize = 2;
const USERS: usize = 2;
const STEPS: usize = 300;
const START: WallTime = WallTime(1_790_000_000_000_000);
const LIFETIME_SECONDS: i64 = 3600;
/// A stream notices a wall clock that jumped with its next heartbeat.
const HEARTBEAT_MICROSECONDS: u64 = 16_000_000;
/// Most tokens that are kept.
const ISSUED_MAX: usize = 24;

counters! { CredentialCounts {
    logins,
    refreshed,
    tickets,
    reads,
    writes,
    streams,
    streams_ended,
    passwords_changed,
    conflicts,
    rejected,
    rejected_while_held,
    rejected_by_commit,
    expired,
    keys_rotated,
    keys_removed,
    disabled,
    set_by_administrator,
    clock_jumps,
    restarts,
} }

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestKind {
    Login { user: usize },
    Verify,
    Read,
    Write,
    Refresh,
    Ticket,
    ChangePassword,
    Stream,
}

/// A connection with one request.
struct Exchange {
    kind: RequestKind,
    /// The credential; `None` for a login.
    issued: Option<Issued>,
    /// The bytes that the client holds back.
    held: Vec<u8>,
    received: Vec<u8>,
    /// Whether the credential was rejected by a view since the request began.
    was_rejected: bool,
    /// The era of the user, when the password of a login was verified.
    verified_era: Option<u64>,
    /// Whether the wrong password was sent, or the state of the user changed meanwhile.
    may_fail: bool,
    /// Whether its command was committed.
    is_committed: bool,
    is_stream: bool,
    /// Since when a stream's credential has been expired.
    expired_since: Option<MonoTime>,
}

struct Loop {
    shard: Shard,
    view: View,
    /// With each message, the view that it makes known.
    mailbox: VecDeque<(ShardMessage, Option<View>)>,
    exchanges: BTreeMap<u32, Exchange>,
}

pub struct CredentialWorld {
    random: Random,
    pub trace: Trace,
    step: usize,
    now: Now,
    /// By how much the wall clock is wrong, in seconds.
    clock_error: i64,
    database: RunDatabase,
    writer: Option<Writer>,
    reader: Option<Reader>,
    admin: Admin,
    /// What the database and the settings say.
    truth: View,
    keys_made: usize,
    loops: Vec<Loop>,
    commands: VecDeque<Command>,
    others: VecDeque<Work>,
    issued: Vec<Issued>,
    passwords_made: usize,
    pub counts: CredentialCounts,
}

fn key_text(key: usize) -> Vec<u8> {
    format!("the key number {key}, which is long enough").into_bytes()
}

fn keys_of(keys: &[usize]) -> Keys {
    let previous: Vec<Vec<u8>> = keys[1..].iter().map(|key| key_text(*key)).collect();
    Keys::new(&key_text(keys[0]), &previous, None, None)
}

fn user_id(user: usize) -> UserId {
    UserId::new_unchecked(format!("user-{user}"))
}

fn email(user: usize) -> String {
    format!("user-{user}@example.com")
}

/// Stands for the hash of a password, which would take longer than the rest of the simulation.
fn hash_of(password: &str) -> String {
    format!("hash of {password}")
}

impl CredentialWorld {
    pub fn new(seed: u64, directory: PathBuf, trace: Trace) -> CredentialWorld {
        let database = RunDatabase::new(&directory);
        let mut admin = Admin::open(&database.setting(), true).expect("the database can be created");
        let users: Vec<UserState> = (0..USERS)
            .map(|user| {
                let (id, email, password) = (user_id(user), email(user), format!("first password of {user}"));
                let new = NewUser { id: &id, email: &email, name: None };
                admin.add(&new, &hash_of(&password), START).expect("a new user");
                UserState { is_enabled: true, era: 0, password }
            })
            .collect();
        let mut world = CredentialWorld {
            random: Random::new(seed),
            trace,
            step: 0,
            now: Now { wall: START, mono: MonoTime(1_000_000) },
            clock_error: 0,
            database,
            writer: None,
            reader: None,
            admin,
            truth: View { users, keys: vec![0] },
            keys_made: 1,
            loops: Vec::new(),
            commands: VecDeque::new(),
            others: VecDeque::new(),
            issued: Vec::new(),
            passwords_made: 0,
            counts: CredentialCounts::default(),
        };
        world.open();
        world
    }

    /// Starts the program. Connections and streams of an earlier one are gone.
    fn open(&mut self) {
        let config = StoreConfig::new(self.database.setting());
        let mut writer = Writer::open(&config).expect("the database opens");
        self.database.opened(&mut writer);
        self.now.mono = MonoTime(1_000_000);
        let token_rules = writer.token_rules().expect("the rules can be read");
        let context = self.context();
        let shared = Arc::new(SharedState::default());
        shared.streams.advance_position(writer.position());
        self.loops = (0..SHARDS)
            .map(|index| {
                let random = Random::new(self.random.next_u64());
                let (context, shared, rules) = (Arc::clone(&context), Arc::clone(&shared), Arc::clone(&token_rules));
                Loop {
                    shard: Shard::new(index as u16, context, shared, rules, writer.position(), random),
                    view: self.truth.clone(),
                    mailbox: VecDeque::new(),
                    exchanges: BTreeMap::new(),
                }
            })
            .collect();
        self.reader = Some(writer.open_reader().expect("a reader opens"));
        self.writer = Some(writer);
        self.commands.clear();
        self.others.clear();
    }

    fn context(&self) -> Arc<Context> {
        let lookup = |name: &str| -> Option<String> {
            let value = match name {
                "JWT_SECRET_KEY" => "of the settings, which are not used here",
                "JWT_EXPIRATION_HOURS" => "1",
                "LOGIN_RATE_LIMIT_PER_MINUTE" => "0",
                "MAX_STREAMS_PER_USER" => "1000",
                _ => return None,
            };
            Some(value.into())
        };
        let settings = Settings::load(&lookup, SHARDS).expect("the settings are valid").settings;
        let keys = keys_of(&self.truth.keys);
        Arc::new(Context { settings, memory: MemoryPlan::unlimited(), keys, epoch: "epoch".into() })
    }

    pub fn run(&mut self) {
        for step in 0..STEPS {
            self.step = step;
            match self.below(32) {
                0..3 => self.begin(None),
                3..11 => self.begin_with_credential(),
                11..16 => self.release(),
                16..22 => self.deliver(),
                22..26 => self.write(),
                26..28 => self.work(),
                28..30 => self.administer(),
                30 => self.pass_time(),
                _ => self.probe(),
            }
            self.check_waiting();
        }
        self.settle();
        for place in 0..self.issued.len() {
            for shard in 0..SHARDS {
                self.probe_at(place, shard);
            }
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    fn say(&self, text: std::fmt::Arguments<'_>) {
        self.trace.line(format_args!("{:>4} {text}", self.step));
    }

    /// Everything arrives, the clock is right again, and no work is left.
    fn settle(&mut self) {
        self.set_clock_error(0);
        for _ in 0..4 {
            for shard in 0..SHARDS {
                while !self.loops[shard].mailbox.is_empty() {
                    self.deliver_to(shard);
                }
            }
            self.write();
            while !self.commands.is_empty() {
                self.write();
            }
            while !self.others.is_empty() {
                self.work();
            }
            self.check_waiting();
        }
        for state in &self.loops {
            for user in 0..USERS {
                let (known, truth) = (&state.view.users[user], &self.truth.users[user]);
                assert_eq!((known.era, known.is_enabled), (truth.era, truth.is_enabled), "a shard has missed a rule");
            }
            assert!(
                state.exchanges.values().all(|exchange| !exchange.is_stream || self.truth.permits(issued_of(exchange)))
            );
        }
    }

    fn begin_with_credential(&mut self) {
        if !self.issued.is_empty() {
            // Most credentials end soon.
            let mut place = self.below(self.issued.len());
            for _ in 0..3 {
                if self.truth.accepts(&self.issued[place], self.now.wall) {
                    break;
                }
                place = self.below(self.issued.len());
            }
            self.begin(Some(place));
        }
    }

    /// Sends a request, or its first part.
    fn begin(&mut self, place: Option<usize>) {
        let issued = place.map(|place| self.issued[place].clone());
        let kind = match &issued {
            None => RequestKind::Login { user: self.below(USERS) },
            Some(issued) if issued.is_ticket() => RequestKind::Stream,
            Some(_) => {
                use RequestKind::*;
                [Verify, Read, Write, Refresh, Ticket, ChangePassword, Stream, Refresh, Write][self.below(9)]
            }
        };
        let user = match (&issued, kind) {
            (Some(issued), _) => issued.user,
            (None, RequestKind::Login { user }) => user,
            _ => unreachable!("only a login has no credential"),
        };
        let is_wrong = matches!(kind, RequestKind::Login { .. } | RequestKind::ChangePassword) && self.below(6) == 0;
        let password = if is_wrong { "a wrong one".to_owned() } else { self.truth.users[user].password.clone() };
        let (method, path, body) = match kind {
            RequestKind::Login { .. } => {
                let body = format!(r#"{{"email":"{}","password":"{password}"}}"#, email(user));
                ("POST", "/auth/login".to_owned(), body)
            }
            RequestKind::Verify => ("GET", "/auth/verify".into(), "{}".into()),
            RequestKind::Read => ("GET", "/config/workspace".into(), "{}".into()),
            RequestKind::Write => ("POST", "/input".into(), r#"{"content":"said"}"#.into()),
            RequestKind::Refresh => ("POST", "/auth/refresh".into(), "{}".into()),
            RequestKind::Ticket => ("POST", "/auth/stream-ticket".into(), "{}".into()),
            RequestKind::ChangePassword => {
                self.passwords_made += 1;
                let new = format!("new password {}", self.passwords_made);
                let body = format!(r#"{{"current_password":"{password}","new_password":"{new}"}}"#);
                ("POST", "/auth/password".into(), body)
            }
            RequestKind::Stream => {
                let ticket = issued.as_ref().filter(|issued| issued.is_ticket());
                let query = ticket.map(|ticket| format!("?ticket={}", ticket.text)).unwrap_or_default();
                ("GET", format!("/output/stream{query}"), String::new())
            }
        };
        let token = issued.as_ref().filter(|issued| !issued.is_ticket());
        let authorization = token.map(|token| format!("Authorization: Bearer {}\r\n", token.text)).unwrap_or_default();
        let media = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
        };
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}{media}\r\n");
        let sent = if self.below(2) == 0 { body.len() } else { body.len().saturating_sub(1) };
        let shard = self.below(SHARDS);
        let now = self.now;
        let state = &mut self.loops[shard];
        let slot = state.shard.accept(IpAddr::V4(Ipv4Addr::LOCALHOST), now);
        let exchange = Exchange {
            kind,
            issued,
            held: body.as_bytes()[sent..].to_vec(),
            received: Vec::new(),
            was_rejected: false,
            verified_era: None,
            may_fail: is_wrong,
            is_committed: false,
            is_stream: false,
            expired_since: None,
        };
        state.exchanges.insert(slot, exchange);
        self.say(format_args!("{kind:?} of user {user} at shard {shard}, {sent} of {} bytes", body.len()));
        self.check_waiting();
        self.feed(shard, Input::Bytes { slot, bytes: [head.as_bytes(), &body.as_bytes()[..sent]].concat().as_slice() });
    }

    /// Sends what a client held back.
    fn release(&mut self) {
        let held = |state: &Loop| -> Vec<u32> {
            state.exchanges.iter().filter(|(_, exchange)| !exchange.held.is_empty()).map(|(slot, _)| *slot).collect()
        };
        let shard = self.below(SHARDS);
        let slots = held(&self.loops[shard]);
        if slots.is_empty() {
            return;
        }
        let slot = slots[self.below(slots.len())];
        let bytes = std::mem::take(&mut self.loops[shard].exchanges.get_mut(&slot).expect("it exists").held);
        if self.loops[shard].shard.wants_bytes(slot) {
            self.say(format_args!("the rest of slot {slot} at shard {shard}"));
            self.feed(shard, Input::Bytes { slot, bytes: &bytes });
        }
    }

    fn deliver(&mut self) {
        let shard = self.below(SHARDS);
        self.deliver_to(shard);
    }

    /// A shard handles its next message.
    fn deliver_to(&mut self, shard: usize) {
        let Some((message, view)) = self.loops[shard].mailbox.pop_front() else { return };
        if let Some(view) = view {
            self.loops[shard].view = view;
        }
        self.check_waiting();
        self.feed(shard, Input::Message(message));
    }

    /// The writer commits, or looks for changes of the administrator.
    fn write(&mut self) {
        let now = self.now;
        let writer = self.writer.as_mut().expect("the program runs");
        if self.commands.is_empty() {
            if let Some(committed) = writer.poll_external_writes() {
                self.distribute(committed);
            }
            return;
        }
        let count = 1 + self.below(self.commands.len());
        let commands: Vec<Command> = self.commands.drain(..count).collect();
        let committed = self.writer.as_mut().expect("the program runs").commit_batch(&commands, now);
        assert_eq!(committed.results.len(), commands.len());
        for (command, result) in commands.iter().zip(&committed.results) {
            self.command_ran(command, result.result.as_ref().err());
        }
        self.distribute(committed);
    }

    fn command_ran(&mut self, command: &Command, rejection: Option<&Rejection>) {
        let exchange = self.exchange_of(command.reply_to).map(|exchange| {
            exchange.is_committed = rejection.is_none();
            issued_of(exchange).clone()
        });
        let user = (0..USERS).find(|user| user_id(*user) == command.actor.id).expect("a known user");
        if let (Some(issued), None) = (&exchange, rejection) {
            assert!(self.truth.permits(issued), "a change is committed with a credential that has ended: {issued:?}");
        }
        if let (Some(issued), Some(Rejection::Unauthorized)) = (&exchange, rejection) {
            assert!(
                !self.truth.permits(issued),
                "a credential that has not ended is rejected by the commit: {issued:?}"
            );
            self.counts.rejected_by_commit += 1;
        }
        if let CommandKind::SetPassword { verified, hash } = &command.kind {
            let state = &mut self.truth.users[user];
            let is_current = **verified == *hash_of(&state.password);
            match rejection {
                None => {
                    assert!(is_current, "the second of two changes of a password is accepted");
                    state.era += 1;
                    state.password = hash.strip_prefix("hash of ").expect("a hash of this simulation").to_owned();
                    self.counts.passwords_changed += 1;
                    self.say(format_args!("user {user} changed the password"));
                }
                Some(Rejection::Conflict(_)) => {
                    assert!(!is_current, "a change of a password conflicts with nothing");
                    self.counts.conflicts += 1;
                }
                Some(_) => {}
            }
        }
    }

    fn distribute(&mut self, committed: Committed) {
        let routed = route_commit(committed, SHARDS);
        for (shard, share) in routed.shards {
            let rules = share.token_rules.is_some().then(|| self.truth.users.clone());
            let keys = self.latest_keys(shard);
            let view = rules.map(|users| View { users, keys });
            self.loops[shard].mailbox.push_back((ShardMessage::Committed(share), view));
        }
    }

    /// The keys that a shard has when it has handled all messages.
    fn latest_keys(&self, shard: usize) -> Vec<usize> {
        let state = &self.loops[shard];
        let waiting = state.mailbox.iter().rev().find_map(|(_, view)| view.as_ref());
        waiting.unwrap_or(&state.view).keys.clone()
    }

    /// The password thread or a reader takes its next job.
    fn work(&mut self) {
        let Some(work) = self.others.pop_front() else { return };
        let to = work.reply_to();
        let message = match work {
            Work::Password(job) => {
                let result = self.check_password(to, job.check);
                ShardMessage::PasswordResponse(PasswordResponse { to, result: Ok(result) })
            }
            Work::Query(query) => {
                let reader = self.reader.as_mut().expect("the program runs");
                let mut pending = PendingQuery::new(query);
                ShardMessage::QueryResponse(loop {
                    match reader.step(pending) {
                        QueryStep::Done(response) => break response,
                        QueryStep::More(more) => pending = more,
                    }
                })
            }
            Work::Command(_) => unreachable!("commands have a queue of their own"),
            #[cfg(feature = "cluster")]
            Work::AskPeers(_) => unreachable!("there are no other instances"),
            Work::CancelAnswer { .. } | Work::Pass(_) | Work::ControlPassing { .. } => {
                unreachable!("runs have no responders")
            }
        };
        self.loops[to.shard as usize].mailbox.push_back((message, None));
    }

    /// As the password thread, with another hash.
    fn check_password(&mut self, to: ReplyTo, check: PasswordCheck) -> PasswordOutcome {
        let reader = self.reader.as_mut().expect("the program runs");
        match check {
            PasswordCheck::Login { email, password } => {
                let record =
                    reader.password_record(&email).expect("it can be read").filter(|it| it.status.is_enabled());
                let matching = record.filter(|record| record.hash == hash_of(&password));
                let eras: Vec<u64> = self.truth.users.iter().map(|user| user.era).collect();
                if let Some(exchange) = self.exchange_of(to)
                    && let RequestKind::Login { user } = exchange.kind
                {
                    exchange.may_fail |= matching.is_none();
                    exchange.verified_era = Some(eras[user]);
                }
                match matching {
                    Some(record) => {
                        PasswordOutcome::User { profile: record.profile, generation: record.token_generation }
                    }
                    None => PasswordOutcome::Wrong,
                }
            }
            PasswordCheck::Change { user, current, new } => match reader.password_of(&user).expect("it can be read") {
                Some(hash) if hash == hash_of(&current) => {
                    PasswordOutcome::Hash { verified: hash.into(), hash: hash_of(&new).into() }
                }
                _ => {
                    if let Some(exchange) = self.exchange_of(to) {
                        exchange.may_fail = true;
                    }
                    PasswordOutcome::Wrong
                }
            },
        }
    }

    /// The administrator changes a user, or the keys, or the clock jumps, or the process ends.
    fn administer(&mut self) {
        let user = self.below(USERS);
        let (selector, wall) = (UserSelector::Id(user_id(user)), self.now.wall);
        match self.below(10) {
            0 | 1 => {
                self.say(format_args!("disable user {user}"));
                self.admin.disable(&selector, wall).expect("the user exists");
                let state = &mut self.truth.users[user];
                (state.is_enabled, state.era) = (false, state.era + 1);
                self.counts.disabled += 1;
                if self.below(2) == 0 {
                    self.admin.enable(&selector).expect("the user exists");
                    self.truth.users[user].is_enabled = true;
                }
            }
            2 | 3 => {
                self.admin.enable(&selector).expect("the user exists");
                self.truth.users[user].is_enabled = true;
            }
            4 => {
                self.say(format_args!("another password of user {user}"));
                self.passwords_made += 1;
                let password = format!("new password {}", self.passwords_made);
                self.admin.set_password(&selector, &hash_of(&password), wall).expect("the user exists");
                let state = &mut self.truth.users[user];
                (state.password, state.era) = (password, state.era + 1);
                self.counts.set_by_administrator += 1;
            }
            5 | 6 => self.change_keys(),
            7 | 8 => {
                let seconds = [7200, 864_000, -7200, 0, 0][self.below(5)];
                self.set_clock_error(seconds);
                self.counts.clock_jumps += 1;
            }
            _ if self.below(4) == 0 => {
                self.say(format_args!("restart"));
                self.writer = None;
                self.open();
                self.counts.restarts += 1;
            }
            _ => {}
        }
    }

    fn change_keys(&mut self) {
        if self.below(2) == 0 || self.truth.keys.len() == 1 {
            self.truth.keys.insert(0, self.keys_made);
            self.keys_made += 1;
            self.counts.keys_rotated += 1;
        } else {
            self.truth.keys.pop();
            self.counts.keys_removed += 1;
        }
        self.say(format_args!("keys {:?}", self.truth.keys));
        let context = self.context();
        for shard in 0..SHARDS {
            // The rules arrive with commits.
            let waiting = self.loops[shard].mailbox.iter().rev().find_map(|(_, view)| view.as_ref());
            let users = waiting.unwrap_or(&self.loops[shard].view).users.clone();
            let view = View { users, keys: self.truth.keys.clone() };
            self.loops[shard].mailbox.push_back((ShardMessage::Reload(Arc::clone(&context)), Some(view)));
        }
    }

    fn set_clock_error(&mut self, seconds: i64) {
        self.say(format_args!("the clock is wrong by {seconds} s"));
        self.now.wall = self.now.wall.plus_seconds(seconds - self.clock_error);
        self.clock_error = seconds;
    }

    fn pass_time(&mut self) {
        let seconds = [1, 1, 5, 20, 40 * 60][self.below(5)];
        self.now.mono = self.now.mono.plus_milliseconds(1000 * seconds as u64);
        self.now.wall = self.now.wall.plus_seconds(seconds);
        let now = self.now;
        self.check_waiting();
        for shard in 0..SHARDS {
            self.loops[shard].shard.tick(now);
            self.drain(shard);
        }
    }

    /// Compares a shard's response for a token with its view.
    fn probe(&mut self) {
        if !self.issued.is_empty() {
            let (place, shard) = (self.below(self.issued.len()), self.below(SHARDS));
            self.probe_at(place, shard);
        }
    }

    fn probe_at(&mut self, place: usize, shard: usize) {
        let (issued, now) = (self.issued[place].clone(), self.now);
        if issued.is_ticket() {
            return;
        }
        let state = &mut self.loops[shard];
        let slot = state.shard.accept(IpAddr::V4(Ipv4Addr::LOCALHOST), now);
        let request = format!(
            "GET /auth/verify HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
            issued.text
        );
        state.shard.handle(Input::Bytes { slot, bytes: request.as_bytes() }, now);
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = state.shard.outgoing(slot, &mut slices);
        let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        let expected = if state.view.accepts(&issued, now.wall) { 200 } else { 401 };
        assert_eq!(status_of(&bytes), Some(expected), "{issued:?} at {now:?} in {:?}", state.view);
        self.counts.expired += u64::from(now.wall >= issued.ends_at());
        state.shard.handle(Input::Failed { slot }, now);
        self.drain(shard);
    }

    /// Records which requests wait with a credential that has ended, and checks streams.
    fn check_waiting(&mut self) {
        let now = self.now;
        for state in &mut self.loops {
            for exchange in state.exchanges.values_mut() {
                match &exchange.issued {
                    Some(issued) => {
                        let is_accepted = state.view.accepts(issued, now.wall) && self.truth.permits(issued);
                        exchange.was_rejected |= !is_accepted;
                    }
                    None => {
                        let RequestKind::Login { user } = exchange.kind else { unreachable!("a login") };
                        let (known, truth) = (&state.view.users[user], &self.truth.users[user]);
                        exchange.may_fail |= !known.is_enabled || !truth.is_enabled;
                        exchange.may_fail |= exchange.verified_era.is_some_and(|era| era < truth.era);
                    }
                }
            }
        }
    }

    fn exchange_of(&mut self, to: ReplyTo) -> Option<&mut Exchange> {
        self.loops[to.shard as usize].exchanges.get_mut(&to.slot)
    }

    fn feed(&mut self, shard: usize, input: Input<'_>) {
        let now = self.now;
        self.loops[shard].shard.handle(input, now);
        self.drain(shard);
        self.check_streams(shard);
    }

    /// The sockets take everything, and the workers get their work.
    fn drain(&mut self, shard: usize) {
        let now = self.now;
        loop {
            while let Some(output) = self.loops[shard].shard.poll_output() {
                match output {
                    Output::Work(Work::Command(command)) => self.commands.push_back(command),
                    Output::Work(work) => self.others.push_back(work),
                    Output::EndWriting(slot) => {
                        self.loops[shard].shard.handle(Input::Ended { slot }, now);
                    }
                    Output::Close(slot) => self.closed(shard, slot),
                    Output::MeasureUndelivered(slot) => {
                        self.loops[shard].shard.handle(Input::Undelivered { slot, bytes: 0 }, now);
                    }
                    _ => {}
                }
            }
            let state = &mut self.loops[shard];
            state.shard.count_finished(now);
            let mut slots = Vec::new();
            state.shard.take_dirty(&mut slots);
            if slots.is_empty() {
                break;
            }
            for slot in slots {
                self.take_bytes(shard, slot);
            }
        }
        self.loops[shard].shard.check_invariants();
    }

    fn take_bytes(&mut self, shard: usize, slot: u32) {
        let now = self.now;
        loop {
            let state = &mut self.loops[shard];
            let mut slices = [IoSlice::new(&[]); 64];
            let filled = state.shard.outgoing(slot, &mut slices);
            let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
            if bytes.is_empty() {
                return;
            }
            state.shard.handle(Input::Wrote { slot, bytes: bytes.len() }, now);
            let Some(exchange) = state.exchanges.get_mut(&slot) else { continue };
            exchange.received.extend_from_slice(&bytes);
            if !exchange.is_stream && is_complete(&exchange.received) {
                self.responded(shard, slot);
            }
        }
    }

    fn closed(&mut self, shard: usize, slot: u32) {
        if let Some(exchange) = self.loops[shard].exchanges.remove(&slot) {
            self.counts.streams_ended += u64::from(exchange.is_stream);
        }
    }

    /// Checks a response against the views at this moment, and keeps the credential in it.
    fn responded(&mut self, shard: usize, slot: u32) {
        let now = self.now;
        let view = self.loops[shard].view.clone();
        let exchange = self.loops[shard].exchanges.get_mut(&slot).expect("the connection is known");
        let status = status_of(&exchange.received).expect("a status line");
        let body = body_of(&exchange.received);
        let (kind, parent) = (exchange.kind, exchange.issued.clone());
        exchange.received.clear();
        let (was_rejected, may_fail, is_committed) = (exchange.was_rejected, exchange.may_fail, exchange.is_committed);
        let verified_era = exchange.verified_era;
        let was_held = exchange.held.is_empty();
        exchange.is_stream = kind == RequestKind::Stream && status == 200;
        self.say(format_args!("{kind:?} at shard {shard}: {status}"));
        match (&parent, status) {
            (Some(parent), 200) => match kind {
                RequestKind::Write | RequestKind::ChangePassword => assert!(is_committed, "{kind:?} without a commit"),
                _ => assert!(!view.has_ended(parent, now.wall), "{kind:?} with {parent:?} at {now:?} in {view:?}"),
            },
            (Some(_), 401) => {
                assert!(was_rejected, "{kind:?} is rejected, although its credential was accepted throughout");
                self.counts.rejected += 1;
                self.counts.rejected_while_held += u64::from(was_held);
            }
            (Some(_), 403 | 409) => assert!(kind == RequestKind::ChangePassword && (may_fail || status == 409)),
            (None, 200) => {}
            (None, 401) => assert!(may_fail, "the right password is rejected"),
            // The rest did not arrive in time.
            (_, 408) => {}
            _ => panic!("{kind:?}: {status} {}", String::from_utf8_lossy(&body)),
        }
        // While the clock is behind, what is issued with a credential of the future cannot be verified.
        let is_early = parent.as_ref().is_some_and(|parent| !view.accepts(parent, now.wall));
        if status != 200 || is_early {
            return;
        }
        match (kind, parent) {
            (RequestKind::Login { user }, None) => {
                let era = verified_era.expect("a password was verified");
                self.counts.logins += 1;
                let issued = self.parse(&body, "access_token", user, era);
                assert_eq!(issued.key, view.keys[0], "a login is signed with the current key");
                assert_eq!(issued.claims.credential.authenticated_at, Some(now.wall));
                assert!(view.accepts(&issued, now.wall));
                self.keep(issued);
            }
            (RequestKind::Refresh, Some(parent)) => {
                self.counts.refreshed += 1;
                let issued = self.derived(&body, "access_token", &parent);
                assert_eq!(issued.claims.expires_at.seconds(), now.wall.plus_seconds(LIFETIME_SECONDS).seconds());
                assert_eq!(issued.claims.purpose, Purpose::Access);
                self.keep(issued);
            }
            (RequestKind::Ticket, Some(parent)) => {
                self.counts.tickets += 1;
                let issued = self.derived(&body, "ticket", &parent);
                assert_eq!(issued.claims.expires_at, parent.claims.expires_at, "a ticket ends with its token");
                assert_eq!(issued.claims.purpose, Purpose::StreamTicket);
                self.keep(issued);
            }
            (RequestKind::Read, _) => self.counts.reads += 1,
            (RequestKind::Write, _) => self.counts.writes += 1,
            (RequestKind::Stream, _) => self.counts.streams += 1,
            _ => {}
        }
    }

    /// No stream continues after its shard has received that its credential has ended.
    fn check_streams(&mut self, shard: usize) {
        let now = self.now;
        let state = &mut self.loops[shard];
        for exchange in state.exchanges.values_mut().filter(|exchange| exchange.is_stream) {
            let issued = exchange.issued.as_ref().expect("a stream has a credential");
            assert!(state.view.permits(issued), "a stream continues with {issued:?} in {:?}", state.view);
            if now.wall < issued.ends_at() {
                exchange.expired_since = None;
                continue;
            }
            let since = *exchange.expired_since.get_or_insert(now.mono);
            assert!(now.mono.since(since) <= HEARTBEAT_MICROSECONDS, "a stream continues after the end of {issued:?}");
        }
    }

    fn derived(&self, body: &[u8], name: &str, parent: &Issued) -> Issued {
        let issued = self.parse(body, name, parent.user, parent.era);
        assert_eq!(issued.claims.credential, parent.claims.credential, "a derived credential has its own beginning");
        assert_eq!(issued.key, parent.key, "a derived credential has another key");
        issued
    }

    /// The credential in a response, with its claims and the key that signed it.
    fn parse(&self, body: &[u8], name: &str, user: usize, era: u64) -> Issued {
        let json: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        let text = json[name].as_str().expect("a credential").to_owned();
        let found: Vec<(usize, Claims)> = (0..self.keys_made)
            .filter_map(|key| Some((key, keys_of(&[key]).verify(&text, self.now.wall).ok()?)))
            .collect();
        let [(key, claims)] = &found[..] else { panic!("no key has signed {text}") };
        assert_eq!(claims.user, user_id(user));
        Issued { text, user, era, key: *key, claims: claims.clone() }
    }

    fn keep(&mut self, issued: Issued) {
        if self.issued.len() == ISSUED_MAX {
            let place = self.below(ISSUED_MAX);
            self.issued.swap_remove(place);
        }
        self.issued.push(issued);
    }
}

fn issued_of(exchange: &Exchange) -> &Issued {
    exchange.issued.as_ref().expect("only a login has no credential")
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn status_of(bytes: &[u8]) -> Option<u16> {
    std::str::from_utf8(bytes.get(9..12)?).ok()?.parse().ok()
}

/// Whether a response, or the head of a stream, is complete.
fn is_complete(bytes: &[u8]) -> bool {
    let Some(end) = head_end(bytes) else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map(|text| text.trim().parse());
    length.is_none_or(|length| bytes.len() - end >= length.unwrap_or(0))
}

fn body_of(bytes: &[u8]) -> Vec<u8> {
    bytes[head_end(bytes).expect("a head")..].to_vec()
}
