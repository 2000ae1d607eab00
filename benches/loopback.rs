//! `GET /`, durable `POST /input` and `GET /auth/verify` over loopback, in a closed loop over 1 to 256 connections.
//!
//! The release server runs as a child process on one core, the load on another. For comparison, a bare epoll loop with
//! httparse sends the same bytes for `GET /`, which is the limit of the machine. `BENCH_SECONDS` is the duration of
//! each row (5); `BENCH_ROWS=gpvl` selects rows, `l` those with one and with two event
//! loops, where server and load share both cores; `BENCH_BARE_ONLY=1` measures the limit alone.

#[path = "loopback/bare.rs"]
mod bare;
#[path = "loopback/load.rs"]
mod load;
mod support;

use load::{Load, Measured, Scenario};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use support::bare_loop::BareLoop;
use support::figures::{self, PROGRAM};
use support::http;
use support::server::{CommitCounts, Server};

const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];
const EVENT_LOOP_CONNECTIONS: usize = 64;
const VERIFYING_CONNECTIONS: usize = 64;
const BARE: &str = "bare epoll loop with httparse";
const CONTENT_BYTES: usize = 200;
const WARM_UP: Duration = Duration::from_secs(1);

/// The response of the bare loop without a server to copy it from.
const STAND_IN_RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nDate: Sat, 31 Jan 2026 09:15:30 GMT\r\nContent-Length: 43\r\n\
    Content-Type: application/json\r\nX-Request-Id: 0123456789abcdef\r\n\r\n\
    {\"status\":\"online\",\"service\":\"Cortex Core\"}";

fn main() -> ExitCode {
    support::main("loopback", run)
}

fn run() -> Result<(), String> {
    let duration = support::duration()?;
    let rows = std::env::var("BENCH_ROWS").unwrap_or_else(|_| "gpvl".into());
    println!(
        "{:<32}{:>12}{:>13}{:>10}{:>10}{:>10}{:>13}{:>9}",
        "", "connections", "requests/s", "p50 us", "p99 us", "of limit", "commit size", "cpu us"
    );
    if rows.contains('l') && std::env::var_os("BENCH_BARE_ONLY").is_none() {
        measure_event_loops(duration)?;
    }
    let (server_core, load_core) = support::server_and_load_cores();
    let server = match std::env::var_os("BENCH_BARE_ONLY") {
        Some(_) => None,
        None => Some(Server::start(server_core, &[])?),
    };
    let response = server.as_ref().map_or(Ok(STAND_IN_RESPONSE.to_vec()), |server| http::fetch(server.address, "/"))?;
    let bare = bare::start(response, server_core)?;
    support::pin_load(load_core)?;
    for connections in CONNECTIONS {
        if rows.contains('g') {
            measure_gets(connections, &bare, server.as_ref(), duration)?;
        }
        if let Some(server) = server.as_ref().filter(|_| rows.contains('p')) {
            measure_one(server, &post_input(server), connections, duration)?;
        }
    }
    if let Some(server) = server.as_ref().filter(|_| rows.contains('v')) {
        measure_one(server, &get_verify(server), VERIFYING_CONNECTIONS, duration)?;
    }
    Ok(())
}

/// Nothing is pinned yet.
fn measure_event_loops(duration: Duration) -> Result<(), String> {
    for loops in ["1", "2"] {
        let server = Server::start(None, &[("WORKERS", loops)])?;
        for scenario in [get_root(server.address), post_input(&server)] {
            let connections = EVENT_LOOP_CONNECTIONS;
            let spent = || Spent::of_server(&server);
            let (measured, spent) = measure(server.address, &scenario, connections, duration, spent)?;
            let name = format!("event loops, {loops}: {}", scenario.name);
            print_row(&name, connections, &measured, None, &spent);
            record_row(&name, PROGRAM, connections, &measured, &spent);
        }
    }
    Ok(())
}

/// Measures the limit and `GET /` in succession, so that the machine is in the same state.
fn measure_gets(
    connections: usize,
    bare: &BareLoop,
    server: Option<&Server>,
    duration: Duration,
) -> Result<(), String> {
    let scenario = get_root(bare.address);
    let (limit, spent) = measure(bare.address, &scenario, connections, duration, || Spent::of_bare(bare))?;
    print_row(BARE, connections, &limit, None, &spent);
    record_row(scenario.name, BARE, connections, &limit, &spent);
    let Some(server) = server else { return Ok(()) };
    let scenario = get_root(server.address);
    let (gets, spent) = measure(server.address, &scenario, connections, duration, || Spent::of_server(server))?;
    print_row(scenario.name, connections, &gets, Some(&limit), &spent);
    record_row(scenario.name, PROGRAM, connections, &gets, &spent);
    Ok(())
}

fn measure_one(server: &Server, scenario: &Scenario, connections: usize, duration: Duration) -> Result<(), String> {
    let (measured, spent) = measure(server.address, scenario, connections, duration, || Spent::of_server(server))?;
    print_row(scenario.name, connections, &measured, None, &spent);
    record_row(scenario.name, PROGRAM, connections, &measured, &spent);
    Ok(())
}

/// Resources spent so far by the side that responds, or in the measured time.
struct Spent {
    cpu: Duration,
    commits: Option<CommitCounts>,
}

impl Spent {
    fn of_bare(bare: &BareLoop) -> Spent {
        Spent { cpu: bare.cpu_time(), commits: None }
    }

    fn of_server(server: &Server) -> Spent {
        Spent { cpu: server.cpu_time(), commits: server.commit_counts() }
    }

    fn since(self, before: Spent) -> Spent {
        let commits = before.commits.zip(self.commits).map(|(before, after)| after.since(before));
        Spent { cpu: self.cpu - before.cpu, commits }
    }

    fn cpu_micros_each(&self, measured: &Measured) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / measured.latency.total() as f64
    }

    /// `None` without commits.
    fn commands_per_commit(&self) -> Option<f64> {
        let commits = self.commits.filter(|commits| commits.commits > 0)?;
        Some(commits.commands as f64 / commits.commits as f64)
    }
}

/// Runs one scenario and reads the resources that it costs.
fn measure(
    address: SocketAddr,
    scenario: &Scenario,
    connections: usize,
    duration: Duration,
    spent: impl Fn() -> Spent,
) -> Result<(Measured, Spent), String> {
    let mut load = Load::connect(address, scenario, connections).map_err(|error| format!("cannot connect: {error}"))?;
    load.run(WARM_UP).map_err(|error| format!("{}, warming up: {error}", scenario.name))?;
    let before = spent();
    let measured = load.run(duration).map_err(|error| format!("{}: {error}", scenario.name))?;
    Ok((measured, spent().since(before)))
}

fn record_row(name: &str, contender: &str, connections: usize, measured: &Measured, spent: &Spent) {
    let row = format!("{name}, {connections} connection{}", if connections == 1 { "" } else { "s" });
    figures::record(&row, contender, "requests/s", measured.requests_per_second());
    figures::record_latency(&row, contender, &measured.latency);
    figures::record(&row, contender, "processor µs", spent.cpu_micros_each(measured));
    if let Some(size) = spent.commands_per_commit() {
        figures::record(&row, contender, "messages per commit", size);
    }
}

fn print_row(name: &str, connections: usize, measured: &Measured, limit: Option<&Measured>, spent: &Spent) {
    let of_limit = match limit {
        Some(limit) => format!("{:.2}", measured.requests_per_second() / limit.requests_per_second()),
        None => "-".to_owned(),
    };
    let commit_size = spent.commands_per_commit().map_or("-".to_owned(), |size| format!("{size:.1}"));
    println!(
        "{name:<32}{connections:>12}{:>13.0}{:>10.1}{:>10.1}{of_limit:>10}{commit_size:>13}{:>9.2}",
        measured.requests_per_second(),
        measured.latency.quantile(0.50) as f64 / 1000.0,
        measured.latency.quantile(0.99) as f64 / 1000.0,
        spent.cpu_micros_each(measured),
    );
}

fn get_root(address: SocketAddr) -> Scenario {
    Scenario { name: "GET /", request: http::get(address, "/", ""), body_start: b"{\"status\":\"online\"" }
}

fn get_verify(server: &Server) -> Scenario {
    Scenario {
        name: "GET /auth/verify",
        request: http::get(server.address, "/auth/verify", &http::bearer(&server.token)),
        body_start: b"{\"user_id\":\"",
    }
}

fn post_input(server: &Server) -> Scenario {
    let content: String = ('a'..='z').chain([' ']).cycle().take(CONTENT_BYTES).collect();
    let body = format!("{{\"content\":\"{content}\"}}");
    Scenario {
        name: "POST /input, durable",
        request: http::post(server.address, "/input", &http::bearer(&server.token), &body),
        body_start: b"{\"status\":\"received\"",
    }
}
