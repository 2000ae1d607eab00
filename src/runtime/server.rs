//! Starts a server in order, and announces it. [`Running`] shuts it down.

use super::STACK_BYTES;
use super::allocator;
#[cfg(feature = "cluster")]
use super::bus_port::BusPort;
use super::clock::Clock;
use super::connection_limits::ConnectionLimits;
use super::database::{self, Acquired};
use super::distributor::Distributor;
use super::event_loop::{EventLoop, EventLoopParts, WAKER};
use super::listener;
use super::mailbox::Mailbox;
use super::main_event::{MainEvent, MainEvents};
use super::memory_limit::{MemoryLimit, memory_limit};
use super::process;
#[cfg(feature = "cluster")]
use super::recent_events::RecentEvents;
use super::reload::CurrentContext;
use super::replies::Replies;
use super::responders::{self, Driver, Model, ResponderPort};
use super::running::Running;
use super::sd_notify::{State, notify};
use super::start_error::StartError;
use super::startup::{EarlyConnection, Startup};
use super::workers::{self, Workers};
use crate::base::limits::{CONNECTIONS_PER_ADDRESS_DIVISOR, STARTUP_WAIT_MILLISECONDS};
use crate::base::log as logging;
use crate::base::memory_plan::{Instances, MemoryDemand, MemoryPlan};
use crate::base::metrics;
use crate::base::random::Random;
use crate::base::thread::{self, OnPanic};
#[cfg(feature = "cluster")]
use crate::bus::BusAddress;
use crate::config::Settings;
use crate::domain::responder::ResponderKind;
use crate::responder::{ContextRules, Timeouts, Upstream, UpstreamSettings};
use crate::shard::Shard;
use crate::shard::shared::SharedState;
use crate::store::{self, DatabaseLock, Writer};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
#[cfg(feature = "cluster")]
use std::sync::Mutex;
use std::thread::JoinHandle;

/// Serves until a signal ends the process.
///
/// # Errors
/// Returns the reason why the server does not start.
pub(crate) fn serve(settings: Settings) -> Result<(), StartError> {
    allocator::return_large_blocks();
    let clock = Clock::start();
    metrics::process::STARTED_AT.set(clock.now().wall.0.max(0) as u64);
    // Before any descriptor is opened that could be taken for an inherited one.
    let inherited = listener::inherited()?;
    let events = MainEvents::watch_signals().map_err(StartError::system("a signal handler"))?;
    process::keep_files_private();
    let open_files_max = process::raise_open_file_limit();
    let (limit, memory) = memory_plan(&settings, open_files_max)?;
    log::info!("memory: {limit}: {memory}");
    if settings.connections_max.is_some_and(|max| max as usize > memory.max_connections) {
        log::warn!("MAX_CONNECTIONS is lowered to {}, for which there is memory", memory.max_connections);
    }
    allocator::limit_heap(&memory);
    store::limit_memory(memory.page_cache_bytes_each(), memory.unsynced_pages());
    logging::limit_queue(memory.log_queue_bytes);
    let is_inherited = inherited.is_some();
    let socket = match inherited {
        Some(socket) => socket,
        None => listener::listen(&settings.host, settings.port)?,
    };
    listener::limit_buffers(&socket, &memory);
    let address = socket.local_addr().map_err(StartError::system("the address of the socket"))?;
    let Some(opened) = open_database(&settings, memory, &socket, is_inherited, clock, &events)? else { return Ok(()) };
    let connection_limits = connection_limits(&settings, &memory);
    let running = start(settings, memory, socket, opened, connection_limits, clock, &events)?;
    announce(address);
    notify(State::Ready);
    running.run(&events);
    logging::flush();
    Ok(())
}

/// An open database, and the connections that were accepted meanwhile.
struct OpenedDatabase {
    writer: Writer,
    lock: DatabaseLock,
    early: Vec<EarlyConnection>,
}

/// Opens the database while a thread accepts connections; `None` if a signal to shut down came first.
fn open_database(
    settings: &Settings,
    memory: MemoryPlan,
    socket: &TcpListener,
    is_inherited: bool,
    clock: Clock,
    events: &MainEvents,
) -> Result<Option<OpenedDatabase>, StartError> {
    let address = socket.local_addr().map_err(StartError::system("the address of the socket"))?;
    let config = database::store_config(settings, memory);
    let begin = || {
        Startup::begin(socket, clock, STARTUP_WAIT_MILLISECONDS, &settings.origins)
            .map_err(StartError::system("the startup thread"))
    };
    // On an inherited socket, the process that has the database open accepts until it has released it.
    let early = if is_inherited { None } else { Some(begin()?) };
    let lock = match database::acquire_lock(&config, events) {
        Ok(Acquired::Lock(lock)) => lock,
        outcome => {
            if let Some(startup) = early {
                startup.reject_all(clock.now());
            }
            return outcome.map(|_| None);
        }
    };
    let startup = early.map_or_else(begin, Ok)?;
    match database::open_writer(&config, settings.environment, address, clock) {
        Ok(writer) => Ok(Some(OpenedDatabase { writer, lock, early: startup.end() })),
        Err(error) => {
            startup.reject_all(clock.now());
            Err(error)
        }
    }
}

/// Divides the memory that the process may take.
///
/// # Errors
/// Fails if it is too little.
pub(crate) fn memory_plan(settings: &Settings, open_files_max: u64) -> Result<(MemoryLimit, MemoryPlan), StartError> {
    let limit = memory_limit(settings.memory_limit_bytes);
    let connections_max = settings.connections_max.map_or(open_files_max as usize / 10 * 9, |max| max as usize);
    let instances = match (settings.database.is_server(), &settings.redis) {
        (false, _) => Instances::One,
        (true, None) => Instances::Several,
        (true, Some(_)) => Instances::SeveralWithBus,
    };
    let demand = MemoryDemand { limit_bytes: limit.bytes, workers: settings.workers, connections_max, instances };
    let plan = MemoryPlan::new(demand).map_err(|_| StartError::Memory(limit))?;
    Ok((limit, plan))
}

fn connection_limits(settings: &Settings, memory: &MemoryPlan) -> Arc<ConnectionLimits> {
    let max = memory.max_connections;
    metrics::CONNECTIONS_MAX.set(max as u64);
    let per_address_max = match settings.connections_per_address_max {
        None => Some((max / CONNECTIONS_PER_ADDRESS_DIVISOR).clamp(1, u32::MAX as usize) as u32),
        Some(0) => None,
        max => max,
    };
    Arc::new(ConnectionLimits::new(max, per_address_max, settings.trusted_proxies.clone()))
}

/// Starts all threads.
fn start(
    settings: Settings,
    memory: MemoryPlan,
    socket: TcpListener,
    opened: OpenedDatabase,
    connection_limits: Arc<ConnectionLimits>,
    clock: Clock,
    events: &MainEvents,
) -> Result<Running, StartError> {
    let OpenedDatabase { mut writer, lock, early } = opened;
    let position = writer.position();
    let shared = Arc::new(SharedState::new(&memory));
    let token_rules = writer.token_rules()?;
    let model = model(&settings)?;
    let loop_count = memory.event_loops;
    let stall_timeout_milliseconds = settings.stream_stall_timeout_ms;
    #[cfg(feature = "cluster")]
    let bus_address = bus_address(&settings)?;
    let current = CurrentContext::new(settings, memory, writer.signing_key(), writer.epoch().to_string().into());
    let (polls, mailboxes) = create_polls(&memory)?;
    let (responders_poll, responders) = create_responder_port()?;
    let replies = Replies {
        mailboxes: mailboxes.clone(),
        responders,
        #[cfg(feature = "cluster")]
        recent: bus_address
            .is_some()
            .then(|| Arc::new(Mutex::new(RecentEvents::new(position, memory.recent_event_bytes)))),
        #[cfg(feature = "cluster")]
        bus: bus_address.is_some().then(|| bus_port(&writer, &memory)).transpose()?,
    };
    let workers = Workers::new(replies, memory);
    workers.replies.responders.token_rules_changed(Arc::clone(&token_rules));
    let mut threads = Vec::new();
    let has_follower = writer.instance().is_some();
    let (replies, streams) = (workers.replies.clone(), Arc::clone(&shared));
    let distributor = Arc::new(Distributor::new(position, has_follower, replies, streams, &memory));
    #[cfg(feature = "cluster")]
    if has_follower {
        start_bus(bus_address, &writer, &workers, (&distributor, &shared), clock, &mut threads)?;
        let (reader, distributor) = (writer.open_reader()?, Arc::clone(&distributor));
        threads.push(spawn("follower", OnPanic::Process, move || workers::follow(reader, &distributor))?);
    }
    start_readers(&mut writer, &workers, &mut threads)?;
    let writer_thread = {
        let (workers, shared) = (workers.clone(), Arc::clone(&shared));
        spawn("writer", OnPanic::Process, move || workers::write(writer, &workers, &shared, &distributor, clock))?
    };
    threads.push(start_responders(Driver::new(workers.clone(), responders_poll, model, clock), events)?);
    let mut early = deal(early, loop_count).into_iter();
    for (index, poll) in polls.into_iter().enumerate() {
        let context = Arc::clone(current.context());
        let (shared, token_rules) = (Arc::clone(&shared), Arc::clone(&token_rules));
        let sender = events.sender();
        let event_loop = EventLoop::new(EventLoopParts {
            poll,
            listener: socket.try_clone().map_err(StartError::system("a copy of the socket"))?,
            shard: Shard::new(index as u16, context, shared, token_rules, position, Random::from_system()),
            mailbox: Arc::clone(&mailboxes[index]),
            workers: workers.clone(),
            connection_limits: Arc::clone(&connection_limits),
            clock,
            stall_timeout_milliseconds,
            on_quiesced: Box::new(move || {
                // The main thread may have returned.
                let _ = sender.send(MainEvent::LoopQuiesced);
            }),
        })
        .map_err(StartError::system("an event loop"))?;
        threads.push(start_event_loop(event_loop, early.next().unwrap_or_default(), events)?);
    }
    Ok(Running {
        // The event loops and the responders each report when they have quiesced and when they have ended.
        loops: loop_count + 1,
        mailboxes,
        workers,
        writer_thread: Some(writer_thread),
        threads,
        current,
        connection_limits,
        lock: Some(lock),
    })
}

/// The address of the bus to other instances, if one is configured.
#[cfg(feature = "cluster")]
fn bus_address(settings: &Settings) -> Result<Option<BusAddress>, StartError> {
    let Some(url) = &settings.redis else { return Ok(None) };
    BusAddress::parse(url.expose()).map(Some).map_err(StartError::Bus)
}

/// The port of this process on the bus of its database.
#[cfg(feature = "cluster")]
fn bus_port(writer: &Writer, memory: &MemoryPlan) -> Result<Arc<BusPort>, StartError> {
    let identity = writer.database_identity()?.unwrap_or_default();
    let prefix = format!("cortex:{identity}:{}", writer.epoch());
    Ok(Arc::new(BusPort::new(prefix, memory.bus_queue_bytes_max())))
}

/// Starts the threads of the bus.
#[cfg(feature = "cluster")]
fn start_bus(
    address: Option<BusAddress>,
    writer: &Writer,
    workers: &Workers,
    (distributor, shared): (&Arc<Distributor>, &SharedState),
    clock: Clock,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<(), StartError> {
    let (Some(address), Some(port)) = (address, &workers.replies.bus) else {
        if writer.others() > 0 {
            log::warn!(
                "REDIS_URL is not set: the events of other instances come some milliseconds later, and texts of answers at their end"
            );
        }
        return Ok(());
    };
    port.set_known(writer.others(), writer.timeline());
    let waking = Arc::clone(port);
    shared.streams.tell_by(move || waking.wake());
    let (publisher_port, publisher_address) = (Arc::clone(port), address.clone());
    let publisher_distributor = Arc::clone(distributor);
    let publish = move || workers::publish(&publisher_port, &publisher_address, &publisher_distributor);
    threads.push(spawn("publisher", OnPanic::Process, publish)?);
    let (port, distributor) = (Arc::clone(port), Arc::clone(distributor));
    let receive = move || workers::receive(&port, &address, &distributor, clock);
    threads.push(spawn("subscriber", OnPanic::Process, receive)?);
    Ok(())
}

/// A poll and a mailbox for each event loop. The mailbox wakes its poll.
fn create_polls(memory: &MemoryPlan) -> Result<(Vec<mio::Poll>, Vec<Arc<Mailbox>>), StartError> {
    let (mut polls, mut mailboxes) = (Vec::new(), Vec::new());
    for _ in 0..memory.event_loops {
        let poll = mio::Poll::new().map_err(StartError::system("an event loop"))?;
        let waker =
            mio::Waker::new(poll.registry(), WAKER).map_err(StartError::system("the waker of an event loop"))?;
        polls.push(poll);
        mailboxes.push(Arc::new(Mailbox::new(waker, memory)));
    }
    Ok((polls, mailboxes))
}

/// The poll of the responders' thread, and the port that wakes it.
fn create_responder_port() -> Result<(mio::Poll, Arc<ResponderPort>), StartError> {
    let failed = || StartError::system("the event loop of the responders");
    let poll = mio::Poll::new().map_err(failed())?;
    let waker = mio::Waker::new(poll.registry(), responders::WAKER).map_err(failed())?;
    Ok((poll, Arc::new(ResponderPort::new(waker))))
}

/// Starts the readers and the password thread.
fn start_readers(writer: &mut Writer, workers: &Workers, threads: &mut Vec<JoinHandle<()>>) -> Result<(), StartError> {
    for _ in 0..workers.memory.reader_threads {
        let reader = writer.open_reader()?;
        let workers = workers.clone();
        threads.push(spawn("reader", OnPanic::Work, move || workers::read(reader, &workers))?);
    }
    let reader = writer.open_reader()?;
    let workers = workers.clone();
    threads.push(spawn("passwords", OnPanic::Work, move || workers::check_passwords(reader, &workers))?);
    // No more readers are opened.
    writer.unlink_temporary();
    Ok(())
}

/// Starts the responders' thread. It runs without a model too: clients may cancel answers, and jobs may be open from a time
/// with other settings.
fn start_responders(mut driver: Driver, events: &MainEvents) -> Result<JoinHandle<()>, StartError> {
    let sender = events.sender();
    spawn("responders", OnPanic::Process, move || {
        if let Err(error) = driver.run() {
            log::error!("the responders failed: {error}");
            process::end_failed();
        }
        // The main thread may have returned.
        let _ = sender.send(MainEvent::LoopQuiesced);
        let _ = sender.send(MainEvent::LoopEnded);
    })
}

fn start_event_loop(
    mut event_loop: EventLoop,
    early: Vec<EarlyConnection>,
    events: &MainEvents,
) -> Result<JoinHandle<()>, StartError> {
    let sender = events.sender();
    spawn("loop", OnPanic::Process, move || {
        if let Err(error) = event_loop.run(early) {
            log::error!("event loop failed: {error}");
            process::end_failed();
        }
        let _ = sender.send(MainEvent::LoopEnded);
    })
}

/// Deals the connections out to so many loops.
fn deal(early: Vec<EarlyConnection>, loop_count: usize) -> Vec<Vec<EarlyConnection>> {
    let mut dealt: Vec<Vec<EarlyConnection>> = (0..loop_count).map(|_| Vec::new()).collect();
    for (index, connection) in early.into_iter().enumerate() {
        dealt[index % loop_count].push(connection);
    }
    dealt
}

/// The model that answers, if a conversation may choose one.
fn model(settings: &Settings) -> Result<Model, StartError> {
    let may_answer = |responder| settings.responder == responder || settings.responders_allowed.contains(&responder);
    let upstream = match (&settings.responder_url, &settings.responder_model) {
        (Some(address), Some(model)) if may_answer(ResponderKind::OpenAi) => {
            let upstream = Upstream::new(UpstreamSettings {
                models: settings.responder_models.clone(),
                headers: settings.responder_headers.clone(),
                api_key: settings.responder_api_key.clone(),
                context: ContextRules {
                    system_prompt: settings.responder_system_prompt.clone(),
                    bytes_max: settings.context_bytes_max(),
                    names: settings.responder_names,
                },
                ca_file: settings.responder_ca_file.clone(),
                timeouts: Timeouts {
                    first_byte_milliseconds: settings.responder_first_byte_ms,
                    between_bytes_milliseconds: settings.responder_between_bytes_ms,
                    total_milliseconds: settings.responder_total_ms,
                    ..Timeouts::default()
                },
                ..UpstreamSettings::new(address.clone(), model.clone())
            });
            Some(Arc::new(upstream.map_err(StartError::Responder)?))
        }
        _ => None,
    };
    Ok(Model {
        upstream,
        history: settings.responder_history,
        answers_per_user_max: settings.responder_concurrency_per_user,
        shares_database: settings.database.is_server(),
        // The rest of the grace is for the last bytes.
        passing_grace_milliseconds: settings.shutdown_grace_ms / 4 * 3,
    })
}

fn spawn(name: &str, on_panic: OnPanic, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    thread::spawn(name, STACK_BYTES, on_panic, run).map_err(StartError::system("a thread"))
}

/// Prints the address on standard output, which may be closed.
fn announce(address: SocketAddr) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "listening on http://{address}").and_then(|()| stdout.flush());
    log::info!("listening on {address}");
}
