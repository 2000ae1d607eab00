//! Streams that come back: a replay of 100,000 events to 1, 10 and 100 readers at once, and 15,000 streams that return after a
//! restart, each with 10 missed events.
//!
//! The release server runs as a child process on one core, the load on another. Each reader counts its events, and has
//! got all when `caught_up` arrives. A stream that the server defers comes back when it may. `BENCH_ROWS=phr` selects the
//! replay to few readers, that to a hundred, and the return; `BENCH_ROUNDS` is the number of times that each row is measured (1);
//! `cargo bench --bench resume -- 10000` replays another number of events.

mod support;

use cortex_core::internals::{CommandKind, ConversationId, EventNumber, FlushLimits, Outcome, UserId};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use socket2::{Domain, Socket, Type};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::bench_store::{BenchStore, command, create_conversation, post};
use support::figures::{self, PROGRAM};
use support::files;
use support::http::{self, SILENCE_MAX};
use support::server::{MEMORY_OF_MANY_STREAMS, Server};

const CONTENT_BYTES: usize = 200;
const REPLAYED: usize = 100_000;
/// The rows of the replay, by letter.
const READERS: [(char, usize); 3] = [('p', 1), ('p', 10), ('h', 100)];
const CONVERSATIONS: usize = 10;
const STREAMS: usize = 15_000;
const STREAMS_PER_USER: usize = 15;
const MISSED: usize = 10;
/// Participants of a conversation whose messages are missed.
const PARTICIPANTS: usize = 10;
/// Streams that have connected and wait for their first bytes; the queue of the server's socket has room for them.
const WAITING_MAX: usize = 1024;
/// A source address has ports for about 28,000 connections, of which closed ones keep some for a minute.
const SOURCES: usize = 8;
const MESSAGE: &[u8] = b"data: {\"type\":\"input\"";
const CAUGHT_UP: &[u8] = b"data: {\"type\":\"caught_up\"";

fn main() -> ExitCode {
    support::main("resume", run)
}

fn run() -> Result<(), String> {
    let replayed = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(REPLAYED);
    let rows = std::env::var("BENCH_ROWS").unwrap_or_else(|_| "phr".into());
    files::raise_open_files_max(STREAMS as u64 + 100)?;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("resume-{}", std::process::id()));
    std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    println!("{:<56}{:>10}{:>14}{:>12}{:>10}", "", "s", "events/s", "cpu us", "deferred");
    let measured = measure(&directory, &rows, replayed);
    std::fs::remove_dir_all(&directory).map_err(|error| error.to_string())?;
    measured
}

fn measure(directory: &Path, rows: &str, replayed: usize) -> Result<(), String> {
    let (server_core, load_core) = support::server_and_load_cores();
    let rounds = support::rounds()?;
    support::pin_load(load_core)?;
    if rows.contains(['p', 'h']) {
        let (path, start) = fill_for_replay(directory.join("replay.db"), replayed);
        let selected = READERS.iter().filter(|(letter, _)| rows.contains(*letter));
        for (_, readers) in selected.clone().cycle().take(rounds * selected.count()) {
            let server = start_server(server_core, &path)?;
            let row =
                format!("replay of {replayed} events to {readers} reader{}", if *readers == 1 { "" } else { "s" });
            let readers = vec![request(&server, "reader", start); *readers];
            measure_row(&row, &server, &readers, replayed)?;
        }
    }
    if rows.contains('r') {
        let (path, start) = fill_for_return(directory.join("return.db"));
        for _ in 0..rounds {
            let server = start_server(server_core, &path)?;
            let users: Vec<Vec<u8>> = (0..STREAMS / STREAMS_PER_USER)
                .map(|user| request(&server, &format!("returning-{user}"), start))
                .collect();
            // The streams of one user do not come one after another.
            let streams: Vec<Vec<u8>> = (0..STREAMS).map(|stream| users[stream % users.len()].clone()).collect();
            let row = format!("return of {STREAMS} streams with {MISSED} missed events each");
            measure_row(&row, &server, &streams, MISSED)?;
        }
    }
    Ok(())
}

fn start_server(core: Option<usize>, path: &Path) -> Result<Server, String> {
    let url = format!("sqlite:///{}", path.display());
    let settings = [
        ("DATABASE_URL", url.as_str()),
        ("MAX_STREAMS_PER_USER", "0"),
        ("HEARTBEAT_INTERVAL_SECONDS", "3600"),
        MEMORY_OF_MANY_STREAMS,
    ];
    Server::start(core, &settings)
}

/// Opens a stream for each request, and reads until each has caught up.
fn measure_row(row: &str, server: &Server, requests: &[Vec<u8>], events_each: usize) -> Result<(), String> {
    let failed = |error: io::Error| format!("{row}: {error}");
    let before = server.cpu_time();
    let (elapsed, deferred) = read_all(server.address, requests, events_each).map_err(failed)?;
    let events = (requests.len() * events_each) as f64;
    let cpu = (server.cpu_time() - before).as_secs_f64() * 1e6 / events;
    let rate = events / elapsed.as_secs_f64();
    println!("{row:<56}{:>10.3}{rate:>14.0}{cpu:>12.2}{deferred:>10}", elapsed.as_secs_f64());
    figures::record(row, PROGRAM, "s", elapsed.as_secs_f64());
    figures::record(row, PROGRAM, "events/s", rate);
    figures::record(row, PROGRAM, "processor µs", cpu);
    figures::record(row, PROGRAM, "deferred", deferred as f64);
    Ok(())
}

/// A database with messages in several conversations of a user, and the number of the last event before them.
fn fill_for_replay(path: PathBuf, messages: usize) -> (PathBuf, EventNumber) {
    let mut store = BenchStore::open(path, FlushLimits::default());
    let conversations = store.user_in("reader", CONVERSATIONS);
    let start = store.writer.position();
    post_evenly(&mut store, &conversations, messages);
    (close(store), start)
}

/// A database in which each user has missed the same number of messages, and the number of the last event before them.
fn fill_for_return(path: PathBuf) -> (PathBuf, EventNumber) {
    let mut store = BenchStore::open(path, FlushLimits::default());
    let workspace = store.workspace("user-0");
    let users: Vec<UserId> =
        (0..STREAMS / STREAMS_PER_USER).map(|user| UserId::new_unchecked(format!("returning-{user}"))).collect();
    let creations: Vec<CommandKind> =
        users.chunks(PARTICIPANTS).map(|participants| create_conversation(workspace, participants)).collect();
    let mut conversations = Vec::new();
    for creation in creations {
        store.waiting.push(command("user-0", creation));
        conversations.extend(store.commit_if(1).into_iter().map(|outcome| match outcome {
            Outcome::ConversationCreated { conversation, .. } => conversation.id,
            other => panic!("{other:?}"),
        }));
    }
    let start = store.writer.position();
    let messages = conversations.len() * MISSED;
    post_evenly(&mut store, &conversations, messages);
    (close(store), start)
}

fn post_evenly(store: &mut BenchStore, conversations: &[ConversationId], messages: usize) {
    for message in 0..messages {
        let conversation = conversations[message % conversations.len()];
        store.waiting.push(command("user-0", post(conversation, "x".repeat(CONTENT_BYTES))));
        store.commit_if(256);
    }
    store.commit_if(1);
}

fn close(store: BenchStore) -> PathBuf {
    store.writer.close();
    store.path
}

fn request(server: &Server, user: &str, after: EventNumber) -> Vec<u8> {
    let fields = format!("Last-Event-ID: {}\r\n{}", after.0, http::bearer(&server.token_of(user)));
    http::get_events(server.address, "/output/stream", &fields)
}

struct Stream {
    socket: TcpStream,
    has_asked: bool,
    /// The start of an incomplete line.
    rest: Vec<u8>,
    events: usize,
    has_caught_up: bool,
    /// The server asks to come back after this time.
    deferred: Option<Duration>,
}

/// Opens a stream for each request. Returns the time from the first connection to the last `caught_up`, and how often the server
/// deferred a stream.
fn read_all(address: SocketAddr, requests: &[Vec<u8>], events_each: usize) -> io::Result<(Duration, usize)> {
    let mut poll = Poll::new()?;
    let mut poll_events = Events::with_capacity(1024);
    let mut scratch = vec![0; 512 * 1024];
    let mut streams: Vec<Stream> = Vec::with_capacity(requests.len());
    // The streams to open again, the earliest first.
    let mut deferred: BinaryHeap<Reverse<(Instant, usize)>> = BinaryHeap::new();
    let (mut waiting, mut caught_up, mut deferrals) = (0, 0, 0);
    let began = Instant::now();
    while caught_up < requests.len() {
        while deferred.peek().is_some_and(|Reverse((due, _))| *due <= Instant::now()) {
            let Some(Reverse((_, index))) = deferred.pop() else { break };
            streams[index] = Stream::open(address, index, poll.registry())?;
            waiting += 1;
        }
        while streams.len() < requests.len() && waiting < WAITING_MAX {
            streams.push(Stream::open(address, streams.len(), poll.registry())?);
            waiting += 1;
        }
        let due = deferred.peek().map(|Reverse((due, _))| due.saturating_duration_since(Instant::now()));
        match poll.poll(&mut poll_events, Some(due.unwrap_or(SILENCE_MAX))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        if poll_events.is_empty() && due.is_none() {
            return Err(io::Error::other(format!("{caught_up} have caught up, and nothing more comes")));
        }
        for event in &poll_events {
            let Token(index) = event.token();
            let stream = &mut streams[index];
            if !stream.has_asked && event.is_writable() {
                // It fits an empty socket.
                stream.socket.write_all(&requests[index])?;
                stream.has_asked = true;
            }
            if event.is_readable() && !stream.has_caught_up && stream.deferred.is_none() {
                let had_none = stream.events == 0;
                stream.read(&mut scratch, events_each)?;
                waiting -= usize::from(had_none && (stream.events > 0 || stream.deferred.is_some()));
                caught_up += usize::from(stream.has_caught_up);
                if let Some(time) = stream.deferred {
                    deferrals += 1;
                    deferred.push(Reverse((Instant::now() + time, index)));
                }
            }
        }
    }
    Ok((began.elapsed(), deferrals))
}

/// Begins to connect from one of several addresses.
fn connect(address: SocketAddr, source: usize) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    choose_port_when_connecting(&socket)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 2 + source as u8], 0)).into())?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Lets the kernel choose the port by the address of the server, too (ip(7), `IP_BIND_ADDRESS_NO_PORT`). It would otherwise
/// search among all connections that ended in the last minute, for most of the load's processor time.
fn choose_port_when_connecting(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the descriptor is open, and the pointer is to an integer that outlives the call.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            length,
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Stream {
    fn open(address: SocketAddr, index: usize, registry: &Registry) -> io::Result<Stream> {
        let mut socket = connect(address, index % SOURCES)?;
        registry.register(&mut socket, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Stream { socket, has_asked: false, rest: Vec::new(), events: 0, has_caught_up: false, deferred: None })
    }

    /// Reads what has arrived; an error unless `caught_up` follows this number of events, or the server defers the stream.
    fn read(&mut self, scratch: &mut [u8], events_each: usize) -> io::Result<()> {
        loop {
            let before = self.rest.len();
            scratch[..before].copy_from_slice(&self.rest);
            let bytes = match self.socket.read(&mut scratch[before..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let received = &scratch[..before + bytes];
            let (lines, rest) = received.split_at(memchr::memrchr(b'\n', received).map_or(0, |at| at + 1));
            self.events += memchr::memmem::find_iter(lines, MESSAGE).count();
            self.deferred = deferral(lines);
            if self.deferred.is_some() {
                return Ok(());
            }
            self.rest.clear();
            self.rest.extend_from_slice(rest);
            if self.events >= events_each && memchr::memmem::find(lines, CAUGHT_UP).is_some() {
                self.has_caught_up = true;
                return match self.events == events_each {
                    true => Ok(()),
                    false => Err(io::Error::other(format!("{} events of {events_each}", self.events))),
                };
            }
        }
    }
}

/// The time in an `unavailable` event.
fn deferral(lines: &[u8]) -> Option<Duration> {
    let start = b"data: {\"type\":\"unavailable\",\"retry_ms\":";
    let digits = &lines[memchr::memmem::find(lines, start)? + start.len()..];
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&digits[..count]).ok()?.parse().ok().map(Duration::from_millis)
}
