//! System calls per request and per delivery, as `strace` counts them in all threads of the server.
//!
//! Under `strace`, a call takes many times its time, so the rates mean nothing, and more requests share a wake-up or a commit
//! than otherwise if there are several connections. `BENCH_SECONDS` is the duration of each row (5). It needs `strace`.

// Only the numbers of requests and deliveries are used here.
#[allow(dead_code)]
#[path = "loopback/load.rs"]
mod load;
#[path = "fanout/streams.rs"]
mod streams;
mod support;
#[allow(dead_code)]
#[path = "fanout/traffic.rs"]
mod traffic;

use load::{Load, Scenario};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitCode, Stdio};
use std::time::Duration;
use support::figures::{self, PROGRAM};
use support::http;
use support::server::Server;
use traffic::{Pace, Traffic};

const CONNECTIONS: [usize; 2] = [1, 64];
const STREAMS: usize = 100;
const PUBLISHERS: usize = 16;
/// Calls that are fewer per request are not printed; they are in the sum.
const PRINTED_MIN: f64 = 0.005;

fn main() -> ExitCode {
    support::main("syscalls", run)
}

fn run() -> Result<(), String> {
    let duration = support::duration()?;
    for connections in CONNECTIONS {
        let server = Server::start(None, &[])?;
        for scenario in [get_root(&server), post_input(&server)] {
            let mut load = Load::connect(server.address, &scenario, connections).map_err(|error| error.to_string())?;
            load.run(Duration::from_millis(100))?;
            let trace = Trace::start(&server)?;
            let requests = load.run(duration)?.latency.total();
            let row = format!("system calls: {}, {connections} at once", scenario.name);
            report(&row, "calls per request", requests, &trace.finish()?);
        }
    }
    let paces = [
        ("one at a time", 1, Pace::OneAtATime),
        ("20 a second", 1, Pace::PerSecond(20.0)),
        ("flat out", PUBLISHERS, Pace::FlatOut),
    ];
    for (name, publishers, pace) in paces {
        let server = Server::start(None, &[("MAX_STREAMS_PER_USER", "0"), ("HEARTBEAT_INTERVAL_SECONDS", "3600")])?;
        let mut traffic = Traffic::open(&server, STREAMS, publishers)?;
        let trace = Trace::start(&server)?;
        let deliveries = traffic.run(pace, duration)?.deliveries;
        let row = format!("system calls: a message to {STREAMS} streams, {name}");
        report(&row, "calls per delivery", deliveries, &trace.finish()?);
    }
    Ok(())
}

fn report(row: &str, unit: &str, times: u64, calls: &[(String, u64)]) {
    let each = |count: u64| count as f64 / times as f64;
    let total = calls.iter().map(|(_, count)| count).sum();
    let named: Vec<String> = calls
        .iter()
        .filter(|(_, count)| each(*count) >= PRINTED_MIN)
        .map(|(name, count)| format!("{name} {:.2}", each(*count)))
        .collect();
    println!("{row:<60}{:>8.2} {unit}: {}", each(total), named.join(", "));
    figures::record(row, PROGRAM, unit, each(total));
}

/// A running `strace` of a server; it is killed on drop, and the server continues.
struct Trace {
    process: Child,
    /// Open, since it also writes when it ends.
    stderr: BufReader<ChildStderr>,
    output: PathBuf,
}

impl Trace {
    /// Returns when all threads are traced.
    fn start(server: &Server) -> Result<Trace, String> {
        let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("strace-{}", std::process::id()));
        let mut process = Command::new("strace")
            .args(["-f", "-c", "-U", "calls,name", "-p", &server.process_id().to_string(), "-o"])
            .arg(&output)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("strace: {error}"))?;
        let stderr = BufReader::new(process.stderr.take().expect("standard error is a pipe"));
        let mut trace = Trace { process, stderr, output };
        let mut line = String::new();
        trace.stderr.read_line(&mut line).map_err(|error| format!("strace: {error}"))?;
        if line.contains("attached") { Ok(trace) } else { Err(format!("strace does not trace: {line}")) }
    }

    /// The calls since the start, by name.
    fn finish(mut self) -> Result<Vec<(String, u64)>, String> {
        // SAFETY: the child has not been waited for, so its id is not reused.
        unsafe { libc::kill(self.process.id() as libc::pid_t, libc::SIGINT) };
        self.process.wait().map_err(|error| format!("strace: {error}"))?;
        let table = std::fs::read_to_string(&self.output).map_err(|error| format!("strace: {error}"))?;
        let calls: Vec<(String, u64)> = table.lines().filter_map(parse_line).collect();
        if calls.is_empty() { Err(format!("strace counted nothing: {table}")) } else { Ok(calls) }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // Both fail once it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.output);
    }
}

/// A line of the table: a count and a name.
fn parse_line(line: &str) -> Option<(String, u64)> {
    let mut words = line.split_whitespace();
    let (count, name) = (words.next()?.parse().ok()?, words.next()?);
    (name != "total").then(|| (name.to_owned(), count))
}

fn get_root(server: &Server) -> Scenario {
    Scenario { name: "GET /", request: http::get(server.address, "/", ""), body_start: b"{\"status\":\"online\"" }
}

fn post_input(server: &Server) -> Scenario {
    let body = format!("{{\"content\":\"{}\"}}", "x".repeat(200));
    Scenario {
        name: "POST /input, durable",
        request: http::post(server.address, "/input", &http::bearer(&server.token), &body),
        body_start: b"{\"status\":\"received\"",
    }
}
