//! Starts everything, waits for the end, and ends everything in order: what runs is finished, what was taken in is
//! committed, the database goes to the next process, and last answers are read to their end.

use super::clock::Clock;
use super::connections::Connections;
use super::event_loop::{EventLoop, WAKER};
use super::listener;
use super::mailbox::Mailbox;
use super::memory;
use super::notify::{State, notify};
use super::reload::Current;
use super::replies::Replies;
use super::responders::{Driver, Model};
use super::startup::{Early, Startup};
use super::workers::{self, Workers};
use crate::auth::password::DEVELOPMENT_HASH;
use crate::base::limits::{READER_THREADS, STARTUP_WAIT_MILLISECONDS};
use crate::base::log as logging;
use crate::base::metrics;
use crate::base::random::Random;
use crate::base::thread::{self, OnPanic};
use crate::config::types::{Database, Environment};
use crate::config::{Settings, from_environment};
use crate::domain::responder::ResponderKind;
use crate::responder::retry::RetryPolicy;
use crate::responder::{Timeouts, Upstream, UpstreamSettings};
use crate::shard::Shard;
use crate::shard::message::ShardMessage;
use crate::shard::shared::SharedState;
use crate::store::{self, Lock, Retention, StoreConfig, Writer};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::exit;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long to wait between two looks at a lock that another process holds.
const LOCK_PATIENCE: Duration = Duration::from_millis(50);
/// Stack of every thread, in bytes: nothing here recurses by what a peer sends.
const STACK_BYTES: usize = 512 * 1024;
/// What a shell reports for a process that a signal ended is 128 and the signal's number.
const SIGNAL_EXIT_BASE: i32 = 128;

/// What the main thread waits for.
enum Happened {
    /// The process is to end.
    Signal,
    /// The settings are to be read again.
    Reload,
    /// A loop asks nothing more of anybody.
    LoopQuiet,
    /// A loop, which was quiet, has ended.
    LoopEnded,
}

/// Serves until a signal ends it. An error is one sentence for who started it.
pub(crate) fn serve(settings: Settings) -> Result<(), String> {
    memory::give_large_blocks_back();
    let clock = Clock::start();
    metrics::process::STARTED_AT.set(clock.now().wall.0.max(0) as u64);
    // Before anything opens a descriptor that could be taken for one that was handed over.
    let inherited = listener::inherited()?;
    let (sender, happened) = channel();
    watch_signals(sender.clone()).map_err(|error| format!("signals cannot be watched: {error}"))?;
    listener::keep_files_private();
    let open_files = listener::raise_open_file_limit();
    let is_inherited = inherited.is_some();
    let socket = match inherited {
        Some(socket) => socket,
        None => listener::listen(&settings.host, settings.port)?,
    };
    let address = socket.local_addr().map_err(|error| format!("the listening socket has no address: {error}"))?;
    let config = store_config(&settings);
    let begin = || {
        Startup::begin(&socket, clock, STARTUP_WAIT_MILLISECONDS, STACK_BYTES)
            .map_err(|error| format!("nothing can be accepted: {error}"))
    };
    // On a socket that was handed over, whoever has the database accepts as long as it has it.
    let early = if is_inherited { None } else { Some(begin()?) };
    let Some(lock) = acquire_lock(&config, &happened, &sender)? else {
        if let Some(startup) = early {
            startup.turn_away(clock.now());
        }
        return Ok(());
    };
    let startup = early.map_or_else(begin, Ok)?;
    let opened = Writer::open(&config).map_err(|error| error.to_string());
    let opened = opened.and_then(|mut writer| {
        prepare_development_user(&mut writer, &settings, address, clock)?;
        Ok(writer)
    });
    let writer = match opened {
        Ok(writer) => writer,
        Err(error) => {
            startup.turn_away(clock.now());
            return Err(error);
        }
    };
    let early = startup.end();
    let running = start(settings, open_files, socket, early, writer, lock, clock, sender)?;
    announce(address);
    notify(State::Ready);
    running.wait(&happened);
    logging::flush();
    Ok(())
}

fn store_config(settings: &Settings) -> StoreConfig {
    let database = store::resolve_symlinks(&settings.database);
    let retention = Retention {
        seconds: i64::from(settings.journal_retention_days) * 24 * 60 * 60,
        events: settings.journal_retention_events,
        bytes: settings.journal_retention_bytes,
        young_milliseconds: 2 * settings.stream_stall_timeout_ms,
    };
    let responders =
        store::ResponderRules { default: settings.responder, allowed: settings.responders_allowed.clone() };
    StoreConfig { retention, responders, ..StoreConfig::new(database) }
}

/// Waits until no other process writes to the database; `None` if a signal to end came first.
fn acquire_lock(
    config: &StoreConfig,
    happened: &Receiver<Happened>,
    sender: &Sender<Happened>,
) -> Result<Option<Option<Lock>>, String> {
    let Database::File(path) = &config.database else { return Ok(Some(None)) };
    let (mut said, mut reload) = (false, false);
    loop {
        if let Some(lock) = Lock::try_acquire(path).map_err(|error| error.to_string())? {
            if reload {
                // The receiver is our caller's, so it is there.
                let _ = sender.send(Happened::Reload);
            }
            return Ok(Some(Some(lock)));
        }
        if !said {
            said = true;
            let holder = Lock::holder(path).map_or_else(String::new, |pid| format!(" (process {pid})"));
            log::info!("waiting for the process that has the database {}{holder} to end", path.display());
        }
        match happened.recv_timeout(LOCK_PATIENCE) {
            Ok(Happened::Signal) => return Ok(None),
            // Done as soon as there is something that serves.
            Ok(Happened::Reload) => reload = true,
            Ok(Happened::LoopQuiet | Happened::LoopEnded) | Err(_) => {}
        }
    }
}

fn prepare_development_user(
    writer: &mut Writer,
    settings: &Settings,
    address: SocketAddr,
    clock: Clock,
) -> Result<(), String> {
    if settings.environment == Environment::Development && !address.ip().is_loopback() {
        log::warn!(
            "development on an address that others reach: there is no development user; ENV=production is meant for this"
        );
    }
    let wanted = settings.environment == Environment::Development && address.ip().is_loopback();
    let hash = wanted.then_some(DEVELOPMENT_HASH);
    writer.set_development_user(hash, clock.now().wall).map_err(|error| error.to_string())
}

#[allow(clippy::too_many_arguments)]
fn start(
    settings: Settings,
    open_files: u64,
    socket: TcpListener,
    early: Vec<Early>,
    mut writer: Writer,
    lock: Option<Lock>,
    clock: Clock,
    sender: Sender<Happened>,
) -> Result<Running, String> {
    let cannot = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let shared = Arc::new(SharedState::default());
    let position = writer.position();
    shared.streams.advance_position(position);
    let token_rules = Arc::new(writer.token_rules().map_err(|error| error.to_string())?);
    let max_connections = settings.connections_max.map_or(open_files as usize / 10 * 9, |max| max as usize).max(1);
    metrics::CONNECTIONS_MAX.set(max_connections as u64);
    let connections = Arc::new(Connections::new(
        max_connections,
        settings.connections_per_address_max,
        settings.trusted_proxies.clone(),
    ));
    let workers = Workers::new();
    let model = model(&settings)?;
    let loop_count = settings.workers;
    let stall_timeout = settings.stream_stall_timeout_ms;
    let current = Current::new(settings, writer.signing_key(), writer.epoch().to_string().into());

    let mut polls = Vec::new();
    let mut mailboxes = Vec::new();
    for _ in 0..loop_count {
        let poll = mio::Poll::new().map_err(cannot("an event loop cannot be made"))?;
        let waker = mio::Waker::new(poll.registry(), WAKER).map_err(cannot("an event loop cannot be woken"))?;
        polls.push(poll);
        mailboxes.push(Arc::new(Mailbox::new(waker)));
    }
    let mut helpers = Vec::new();
    let replies = Replies { mailboxes: mailboxes.clone(), responders: Arc::clone(&workers.responders) };
    start_readers(&mut writer, &workers, &replies, &mut helpers)?;
    let writing = {
        let (workers, replies, shared) = (workers.clone(), replies.clone(), Arc::clone(&shared));
        spawn("writer", OnPanic::Process, move || workers::write(writer, &workers, &replies, &shared, clock))?
    };
    let mut loops = 0;
    // Also without a responder: clients may cancel, and another configuration may have left jobs open.
    let mut driver = Driver::new(workers.clone(), replies, model, clock);
    let of_responders = sender.clone();
    helpers.push(spawn("responders", OnPanic::Process, move || {
        driver.run();
        // Who receives them may have ended by itself.
        let _ = of_responders.send(Happened::LoopQuiet);
        let _ = of_responders.send(Happened::LoopEnded);
    })?);
    loops += 1;
    let mut adopted: Vec<Vec<Early>> = (0..loop_count).map(|_| Vec::new()).collect();
    for (place, connection) in early.into_iter().enumerate() {
        adopted[place % loop_count].push(connection);
    }
    for ((index, poll), adopted) in polls.into_iter().enumerate().zip(adopted) {
        let random = Random::from_system();
        let context = Arc::clone(current.context());
        let shard = Shard::new(index as u16, context, Arc::clone(&shared), Arc::clone(&token_rules), position, random);
        let socket = socket.try_clone().map_err(cannot("the listening socket cannot be shared"))?;
        let mailbox = Arc::clone(&mailboxes[index]);
        let connections = Arc::clone(&connections);
        let of_loop = sender.clone();
        let on_quiet = Box::new(move || drop(of_loop.send(Happened::LoopQuiet)));
        let (workers, sender) = (workers.clone(), sender.clone());
        let mut event_loop =
            EventLoop::new(poll, socket, shard, mailbox, workers, connections, clock, stall_timeout, on_quiet)
                .map_err(cannot("the listening socket cannot be watched"))?;
        helpers.push(spawn("loop", OnPanic::Process, move || {
            if let Err(error) = event_loop.run(adopted) {
                log::error!("an event loop failed: {error}");
                logging::flush();
                exit(1);
            }
            let _ = sender.send(Happened::LoopEnded);
        })?);
        loops += 1;
    }
    Ok(Running { loops, mailboxes, workers, writing: Some(writing), helpers, current, connections, lock })
}

/// The model that answers, if a conversation may choose one.
fn model(settings: &Settings) -> Result<Model, String> {
    let answers = |responder| settings.responder == responder || settings.responders_allowed.contains(&responder);
    let upstream = match (&settings.responder_url, &settings.responder_model) {
        (Some(address), Some(model)) if answers(ResponderKind::OpenAi) => {
            Some(Arc::new(Upstream::new(UpstreamSettings {
                address: address.clone(),
                model: model.clone(),
                api_key: settings.responder_api_key.clone(),
                system_prompt: settings.responder_system_prompt.clone(),
                ca_file: settings.responder_ca_file.clone(),
                timeouts: Timeouts::default(),
                retry: RetryPolicy::default(),
                breaker: Default::default(),
            })?))
        }
        _ => None,
    };
    Ok(Model {
        upstream,
        history: settings.responder_history,
        answers_per_user_max: settings.responder_concurrency_per_user,
    })
}

/// Starts the threads that read: the readers and the password thread.
fn start_readers(
    writer: &mut Writer,
    workers: &Workers,
    replies: &Replies,
    helpers: &mut Vec<JoinHandle<()>>,
) -> Result<(), String> {
    for _ in 0..READER_THREADS {
        let reader = writer.open_reader().map_err(|error| error.to_string())?;
        let (queue, replies) = (Arc::clone(&workers.readers), replies.clone());
        helpers.push(spawn("reader", OnPanic::Work, move || workers::read(reader, &queue, &replies))?);
    }
    let reader = writer.open_reader().map_err(|error| error.to_string())?;
    let (queue, replies) = (Arc::clone(&workers.passwords), replies.clone());
    helpers.push(spawn("passwords", OnPanic::Work, move || workers::check_passwords(reader, &queue, &replies))?);
    // All connections are open.
    writer.unlink_temporary();
    Ok(())
}

/// Everything that runs.
struct Running {
    loops: usize,
    mailboxes: Vec<Arc<Mailbox>>,
    workers: Workers,
    /// `None` once it has ended.
    writing: Option<JoinHandle<()>>,
    helpers: Vec<JoinHandle<()>>,
    current: Current,
    connections: Arc<Connections>,
    lock: Option<Lock>,
}

impl Running {
    /// Waits for a signal to end, then drains.
    fn wait(mut self, happened: &Receiver<Happened>) {
        loop {
            match happened.recv() {
                Ok(Happened::Signal) | Err(_) => break,
                Ok(Happened::Reload) => {
                    notify(State::Reloading);
                    self.current.reload(from_environment(), &self.mailboxes, &self.connections);
                    notify(State::Ready);
                }
                Ok(Happened::LoopQuiet | Happened::LoopEnded) => {}
            }
        }
        log::info!("draining: running requests are finished, then nothing more is accepted");
        notify(State::Stopping);
        for mailbox in &self.mailboxes {
            mailbox.push(ShardMessage::Drain);
        }
        let deadline = Instant::now() + Duration::from_millis(self.current.context().settings.shutdown_grace_ms);
        let (mut loops_busy, mut loops_left) = (self.loops, self.loops);
        while loops_left > 0 {
            match happened.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Happened::LoopQuiet) => {
                    loops_busy -= 1;
                    if loops_busy == 0 {
                        self.release();
                    }
                }
                Ok(Happened::LoopEnded) => loops_left -= 1,
                Ok(Happened::Signal | Happened::Reload) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    log::warn!("the grace period is over: the connections that are left are cut");
                    break;
                }
            }
        }
        self.release();
        if loops_left == 0 {
            for helper in self.helpers {
                let _ = helper.join();
            }
        }
        log::info!("ended");
    }

    /// Lets the next process have the database: commits what was taken in, and tidies up.
    fn release(&mut self) {
        if let Some(writing) = self.writing.take() {
            self.workers.close();
            // What was acknowledged is on disk already, whatever ended the writer.
            let _ = writing.join();
            self.lock = None;
        }
    }
}

fn spawn(name: &str, on_panic: OnPanic, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, String> {
    thread::spawn(name, STACK_BYTES, on_panic, run).map_err(|error| format!("a thread cannot be started: {error}"))
}

/// Passes signals on. The second one to end ends the process from here, whatever the main thread waits for by then.
fn watch_signals(sender: Sender<Happened>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    thread::spawn("signals", STACK_BYTES, OnPanic::Process, move || {
        let mut ending = false;
        for signal in signals.forever() {
            let what = match signal {
                SIGHUP => Happened::Reload,
                _ if ending => {
                    log::warn!("a second signal: ending at once");
                    logging::flush();
                    exit(SIGNAL_EXIT_BASE + signal);
                }
                _ => {
                    ending = true;
                    Happened::Signal
                }
            };
            // Nobody receives it when the program is about to end anyway.
            let _ = sender.send(what);
        }
    })?;
    Ok(())
}

/// Tells who started the program where it listens; nobody need be reading.
fn announce(address: SocketAddr) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "listening on http://{address}").and_then(|()| stdout.flush());
    log::info!("listening on {address}");
}
