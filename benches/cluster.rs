//! Several instances over one PostgreSQL server: durable `POST /input` of 64 connections to each of one, two and three instances,
//! with and without Redis, beside one process with SQLite, the events that three instances deliver to 1,000 streams, the memory of idle
//! instances, and the time from the response at one instance to the event at another.
//!
//! It starts servers of its own, PostgreSQL with `fsync`. Instances, servers and load share all cores. `BENCH_SECONDS` is the
//! duration of each row (5).

#[path = "loopback/load.rs"]
mod load;
#[path = "../tests/common/postgres.rs"]
mod postgres;
mod support;

use load::{Load, Scenario};
use mio::{Events, Interest, Poll, Token};
use postgres::TestServer;
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use support::histogram::Histogram;
use support::http;
use support::server::Server;

const CONNECTIONS: usize = 64;
const INSTANCES_MAX: usize = 3;
const CONTENT: &str =
    "a message of about a hundred bytes, so that the figures are those of short messages as people send them";
const WARM_UP: Duration = Duration::from_secs(1);
/// The pause between two messages whose way to another instance is timed.
const MESSAGE_PAUSE: Duration = Duration::from_millis(50);
/// The streams of one user that get all events.
const STREAMS_OF_ALL: usize = 1000;
/// Connections that post while events are delivered.
const POSTING_CONNECTIONS: usize = 8;
/// One user has all streams.
const STREAMS: (&str, &str) = ("MAX_STREAMS_PER_USER", "0");

fn main() -> ExitCode {
    support::main("cluster", run)
}

fn run() -> Result<(), String> {
    let duration = support::duration()?;
    let postgres = TestServer::start();
    // The tests' server does not sync.
    for setting in ["fsync", "full_page_writes"] {
        postgres.run(&format!("ALTER SYSTEM SET {setting} = on"), "postgres");
    }
    postgres.run("SELECT pg_reload_conf()", "postgres");
    println!("{:<46}{:>12}{:>13}{:>10}{:>10}", "", "connections", "requests/s", "p50 ms", "p99 ms");
    measure_posts("one process, SQLite", &[Server::start(None, &[])?], duration)?;
    let redis = Redis::start()?;
    for count in 1..=INSTANCES_MAX {
        for (with, redis) in [("", None), (" and Redis", Some(&redis))] {
            let instances = start_instances(&postgres, redis, &format!("posts{count}_{}", redis.is_some()), count)?;
            measure_posts(&format!("{count} of {INSTANCES_MAX} instances, PostgreSQL{with}"), &instances, duration)?;
        }
    }
    let instances = start_instances(&postgres, Some(&redis), "deliveries", INSTANCES_MAX)?;
    measure_deliveries(&instances, duration)?;
    let file = Server::start(None, &[])?;
    let idle = start_instances(&postgres, Some(&redis), "idle", 1)?;
    let mebibytes = |server: &Server| Ok::<f64, String>(server.resident_bytes()? as f64 / f64::from(1 << 20));
    println!(
        "idle: {:.1} MiB with SQLite, {:.1} MiB with PostgreSQL and Redis",
        mebibytes(&file)?,
        mebibytes(&idle[0])?
    );
    drop((file, idle));
    for (with, redis) in [("without", None), ("with", Some(&redis))] {
        let instances = start_instances(&postgres, redis, &format!("latency_{with}"), 2)?;
        measure_latency(&format!("{with} Redis"), &instances[0], &instances[1], duration)?;
    }
    Ok(())
}

/// A Redis server without persistence, which ends with the value.
struct Redis {
    port: u16,
    process: Child,
}

impl Redis {
    fn start() -> Result<Redis, String> {
        let failed = |error: std::io::Error| format!("redis-server: {error}");
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        drop(listener);
        let port_text = port.to_string();
        let arguments = ["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let process = Command::new("redis-server")
            .args(arguments)
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let redis = Redis { port, process };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            thread::sleep(Duration::from_millis(10));
        }
        Ok(redis)
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start_instances(
    postgres: &TestServer,
    redis: Option<&Redis>,
    name: &str,
    count: usize,
) -> Result<Vec<Server>, String> {
    postgres.create_database(name);
    let address = postgres.address(name);
    let redis = redis.map(Redis::url).unwrap_or_default();
    let instances: Result<Vec<Server>, String> = (0..count)
        .map(|_| Server::start(None, &[("DATABASE_URL", &address), ("REDIS_URL", &redis), STREAMS]))
        .collect();
    // The instances find each other.
    thread::sleep(WARM_UP);
    instances
}

/// Measures posts to all instances at the same time.
fn measure_posts(name: &str, instances: &[Server], duration: Duration) -> Result<(), String> {
    let scenarios: Vec<Scenario> = instances.iter().map(|server| post_input(server, CONTENT)).collect();
    let loads = instances.iter().zip(&scenarios);
    let measured = thread::scope(|scope| {
        let threads: Vec<_> = loads
            .map(|(server, scenario)| {
                scope.spawn(move || {
                    let mut load =
                        Load::connect(server.address, scenario, CONNECTIONS).map_err(|error| error.to_string())?;
                    let failed = |error| format!("{}: {error}", scenario.name);
                    load.run(WARM_UP).map_err(failed)?;
                    load.run(duration).map_err(failed)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Result<Vec<_>, String>>()
    })?;
    let rate: f64 = measured.iter().map(|one| one.requests_per_second()).sum();
    let slowest = |quantile| measured.iter().map(|one| one.latency.quantile(quantile)).max().unwrap_or(0) as f64 / 1e6;
    let connections = CONNECTIONS * instances.len();
    println!("{name:<46}{connections:>12}{rate:>13.0}{:>10.1}{:>10.1}", slowest(0.5), slowest(0.99));
    Ok(())
}

fn post_input(server: &Server, content: &str) -> Scenario {
    let body = format!("{{\"content\":\"{content}\"}}");
    let request = http::post(server.address, "/input", &http::bearer(&server.token), &body);
    Scenario { name: "POST /input", request, body_start: b"{\"status\":\"received\"" }
}

/// Measures the events that arrive in streams at all instances, while one of them gets messages as fast as it takes them.
fn measure_deliveries(instances: &[Server], duration: Duration) -> Result<(), String> {
    let failed = |error: io::Error| format!("deliveries: {error}");
    let mut poll = Poll::new().map_err(failed)?;
    let mut streams = Vec::new();
    for index in 0..STREAMS_OF_ALL {
        let server = &instances[index % instances.len()];
        let stream = http::open_stream(server.address, &server.token)?;
        stream.set_nonblocking(true).map_err(failed)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(index), Interest::READABLE).map_err(failed)?;
        streams.push(stream);
    }
    let scenario = post_input(&instances[0], CONTENT);
    let address = instances[0].address;
    thread::scope(|scope| {
        let poster = scope.spawn(|| {
            let mut load = Load::connect(address, &scenario, POSTING_CONNECTIONS).map_err(failed)?;
            load.run(WARM_UP + duration)
        });
        let (mut events, mut scratch) = (Events::with_capacity(1024), vec![0; 64 * 1024]);
        let (began, mut delivered) = (Instant::now(), 0);
        while began.elapsed() < WARM_UP + duration {
            poll.poll(&mut events, Some(MESSAGE_PAUSE)).map_err(failed)?;
            for event in &events {
                let stream = &mut streams[event.token().0];
                loop {
                    match stream.read(&mut scratch) {
                        Ok(0) => return Err("deliveries: a stream ended".into()),
                        Ok(_) if began.elapsed() < WARM_UP => {}
                        // An event that is in two reads may be missed, never counted twice.
                        Ok(bytes) => delivered += memchr::memmem::find_iter(&scratch[..bytes], b"\nid: ").count(),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(failed(error)),
                    }
                }
            }
        }
        let posted = poster.join().expect("no panic")?;
        println!(
            "{STREAMS_OF_ALL} streams at {} instances: {:.0} events delivered a second, {:.0} posted",
            instances.len(),
            delivered as f64 / duration.as_secs_f64(),
            posted.requests_per_second()
        );
        Ok(())
    })
}

/// Measures the time from the response of `from` to the event in a stream of `to`.
fn measure_latency(name: &str, from: &Server, to: &Server, duration: Duration) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("latency: {error}");
    let mut stream = http::open_stream(to.address, &to.token)?;
    let count = (duration.as_secs_f64() / MESSAGE_PAUSE.as_secs_f64()) as usize;
    let arrivals = thread::spawn(move || -> std::io::Result<HashMap<usize, Instant>> {
        let (mut arrived, mut text, mut scratch) = (HashMap::new(), String::new(), [0; 16 * 1024]);
        while arrived.len() < count {
            let bytes = stream.read(&mut scratch)?;
            let now = Instant::now();
            text.push_str(&String::from_utf8_lossy(&scratch[..bytes]));
            while let Some(end) = text.find("\n\n") {
                let block: String = text.drain(..end + 2).collect();
                let number =
                    block.split("message number ").nth(1).and_then(|rest| rest.split('"').next()?.parse().ok());
                if let Some(number) = number {
                    arrived.entry(number).or_insert(now);
                }
            }
        }
        Ok(arrived)
    });
    let mut connection = TcpStream::connect(from.address).map_err(failed)?;
    let mut responses = Vec::new();
    for number in 0..count {
        let scenario = post_input(from, &format!("message number {number}"));
        connection.write_all(&scenario.request).map_err(failed)?;
        let mut response = [0; 4096];
        let bytes = connection.read(&mut response).map_err(failed)?;
        if !response[..bytes].starts_with(b"HTTP/1.1 200") {
            return Err(format!("latency: {}", response[..bytes].escape_ascii()));
        }
        responses.push(Instant::now());
        thread::sleep(MESSAGE_PAUSE);
    }
    let arrivals = arrivals.join().expect("no panic").map_err(failed)?;
    let mut times = Histogram::new();
    for (number, responded) in responses.iter().enumerate() {
        times.add(arrivals[&number].saturating_duration_since(*responded).as_nanos() as u64);
    }
    let quantile = |fraction| times.quantile(fraction) as f64 / 1e6;
    println!(
        "from the response at one instance to the event at another, 20 messages/s, {name}: p50 {:.1} ms, p99 {:.1} ms",
        quantile(0.5),
        quantile(0.99)
    );
    Ok(())
}
