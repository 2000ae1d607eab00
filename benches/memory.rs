//! Memory of idle connections and streams, and the distribution of heartbeats over time.
//!
//! The release server runs as a child process, so that its memory is separate; kernel memory of sockets is not
//! included. Every stream must get its heartbeat: one per stream is counted within an interval.

mod support;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, ErrorKind, Read};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::figures::{self, PROGRAM};
use support::files;
use support::http::{get_on, open_stream};
use support::server::{MEMORY_OF_MANY_STREAMS, Server};

const CONNECTIONS: usize = 10_000;
const STREAMS: usize = 15_000;
/// Several times the duration of opening all streams.
const HEARTBEAT: Duration = Duration::from_secs(20);
const BUCKET: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    support::main("memory", run)
}

fn run() -> Result<(), String> {
    files::raise_open_files_max(STREAMS as u64 + 100)?;
    let (server_core, load_core) = support::server_and_load_cores();
    support::pin_load(load_core)?;
    println!("{:<32}{:>12}{:>14}", "", "RSS KiB", "bytes each");
    measure_connections(server_core)?;
    measure_streams(server_core)
}

fn measure_connections(core: Option<usize>) -> Result<(), String> {
    let server = Server::start(core, &[("KEEP_ALIVE_SECONDS", "600")])?;
    let fresh_bytes = server.resident_bytes()?;
    println!("{:<32}{:>12}{:>14}", "fresh server", fresh_bytes / 1024, "-");
    figures::record("memory of the fresh process", PROGRAM, "KiB", fresh_bytes as f64 / 1024.0);
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let ask = || -> io::Result<std::net::TcpStream> {
            let mut connection = std::net::TcpStream::connect(server.address)?;
            get_on(&mut connection, server.address, "/")?;
            Ok(connection)
        };
        connections.push(ask().map_err(|error| format!("GET /: {error}"))?);
    }
    print_growth("idle keep-alive connections", CONNECTIONS, fresh_bytes, server.resident_bytes()?);
    Ok(())
}

fn measure_streams(core: Option<usize>) -> Result<(), String> {
    let heartbeat = HEARTBEAT.as_secs().to_string();
    let settings =
        [("MAX_STREAMS_PER_USER", "0"), ("HEARTBEAT_INTERVAL_SECONDS", heartbeat.as_str()), MEMORY_OF_MANY_STREAMS];
    let server = Server::start(core, &settings)?;
    let fresh_bytes = server.resident_bytes()?;
    let streams = (0..STREAMS).map(|_| open_stream(server.address, &server.token)).collect::<Result<Vec<_>, _>>()?;
    print_growth("idle streams", STREAMS, fresh_bytes, server.resident_bytes()?);
    let buckets = count_heartbeats(streams, Instant::now(), 2 * HEARTBEAT).map_err(|error| error.to_string())?;
    print_growth("after heartbeats to all", STREAMS, fresh_bytes, server.resident_bytes()?);
    // The last complete interval: all streams have their first heartbeat behind them.
    let interval = &buckets[buckets.len() / 2..];
    let busiest = interval.iter().max().copied().unwrap_or_default();
    let total: u64 = interval.iter().sum();
    let share = busiest as f64 * 100.0 / total.max(1) as f64;
    println!(
        "heartbeats in one interval of {} s: {total} for {STREAMS} streams; busiest 100 ms: {busiest}, {share:.2} % of them",
        HEARTBEAT.as_secs()
    );
    figures::record("heartbeats in the busiest 100 ms of 20 s", PROGRAM, "%", share);
    if total < STREAMS as u64 {
        return Err("some stream got no heartbeat".into());
    }
    Ok(())
}

fn print_growth(name: &str, count: usize, before: u64, after: u64) {
    let each = after.saturating_sub(before) as f64 / count as f64;
    println!("{:<32}{:>12}{each:>14.0}", format!("{count} {name}"), after / 1024);
    figures::record(&format!("memory of {count} {name}"), PROGRAM, "bytes each", each);
}

/// Counts the heartbeats that arrive within `duration` after `start`, by arrival time.
fn count_heartbeats(sockets: Vec<std::net::TcpStream>, start: Instant, duration: Duration) -> io::Result<Vec<u64>> {
    let mut poll = Poll::new()?;
    let mut streams = Vec::with_capacity(sockets.len());
    for (index, socket) in sockets.into_iter().enumerate() {
        socket.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(socket);
        poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
        streams.push(stream);
    }
    let mut buckets = vec![0; (duration.as_millis() / BUCKET.as_millis()) as usize];
    let mut events = Events::with_capacity(1024);
    let mut scratch = vec![0; 64 * 1024];
    while let Some(left) = duration.checked_sub(start.elapsed()) {
        poll.poll(&mut events, Some(left))?;
        for event in &events {
            let bytes = match streams[event.token().0].read(&mut scratch) {
                Ok(0) => return Err(io::Error::other("the server ended a stream")),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            let bucket = (start.elapsed().as_millis() / BUCKET.as_millis()) as usize;
            if let Some(count) = buckets.get_mut(bucket) {
                *count += memchr::memmem::find_iter(&scratch[..bytes], b"\"type\":\"heartbeat\"").count() as u64;
            }
        }
    }
    Ok(buckets)
}
