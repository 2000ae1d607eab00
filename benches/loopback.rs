//! `GET /` and durable `POST /input` over loopback, in a closed loop over 1, 16 and 64 connections.
//!
//! The release server runs as a child process on one core, the load on another. For comparison, a bare epoll loop with
//! httparse sends the same bytes for `GET /`, which is the limit of the machine. `BENCH_SECONDS` is the duration of
//! each row (5); `BENCH_BARE_ONLY=1` measures the limit alone.

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
use support::http;
use support::server::{CommitCounts, Server};

const CONNECTIONS: [usize; 3] = [1, 16, 64];
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
    let (server_core, load_core) = support::server_and_load_cores();
    let server = match std::env::var_os("BENCH_BARE_ONLY") {
        Some(_) => None,
        None => Some(Server::start(server_core, &[])?),
    };
    let response = server.as_ref().map_or(Ok(STAND_IN_RESPONSE.to_vec()), |server| http::fetch(server.address, "/"))?;
    let bare = bare::start(response, server_core)?;
    support::pin_load(load_core)?;
    println!(
        "{:<22}{:>12}{:>13}{:>10}{:>10}{:>10}{:>13}{:>9}",
        "", "connections", "requests/s", "p50 us", "p99 us", "of limit", "commit size", "cpu us"
    );
    for connections in CONNECTIONS {
        measure_row(connections, &bare, server.as_ref(), duration)?;
    }
    Ok(())
}

/// Measures the limit, `GET /` and `POST /input` in succession, so that the machine is in the same state.
fn measure_row(connections: usize, bare: &BareLoop, server: Option<&Server>, duration: Duration) -> Result<(), String> {
    let (limit, _) = measure(bare.address, &get_root(bare.address), connections, duration, None)?;
    print_row("bare epoll, httparse", connections, &limit, None, None);
    let Some(server) = server else { return Ok(()) };
    let (gets, spent) = measure(server.address, &get_root(server.address), connections, duration, Some(server))?;
    print_row("GET /", connections, &gets, Some(&limit), spent);
    let (posts, spent) = measure(server.address, &post_input(server), connections, duration, Some(server))?;
    print_row("POST /input, durable", connections, &posts, None, spent);
    Ok(())
}

/// Resources spent by the server in the measured time.
struct Spent {
    cpu: Duration,
    commits: Option<CommitCounts>,
}

/// Runs one scenario and reads the resources that `server` spends.
fn measure(
    address: SocketAddr,
    scenario: &Scenario,
    connections: usize,
    duration: Duration,
    server: Option<&Server>,
) -> Result<(Measured, Option<Spent>), String> {
    let mut load = Load::connect(address, scenario, connections).map_err(|error| format!("cannot connect: {error}"))?;
    load.run(WARM_UP).map_err(|error| format!("{}, warming up: {error}", scenario.name))?;
    let read = || server.map(|server| (server.cpu_time(), server.commit_counts()));
    let before = read();
    let measured = load.run(duration).map_err(|error| format!("{}: {error}", scenario.name))?;
    let spent = before.zip(read()).map(|((cpu_before, before), (cpu, after))| Spent {
        cpu: cpu - cpu_before,
        commits: before.zip(after).map(|(before, after)| after.since(before)),
    });
    Ok((measured, spent))
}

fn print_row(name: &str, connections: usize, measured: &Measured, limit: Option<&Measured>, spent: Option<Spent>) {
    let of_limit = match limit {
        Some(limit) => format!("{:.2}", measured.requests_per_second() / limit.requests_per_second()),
        None => "-".to_owned(),
    };
    let cpu = spent.as_ref().map_or("-".to_owned(), |spent| {
        format!("{:.2}", spent.cpu.as_secs_f64() * 1e6 / measured.latency.total() as f64)
    });
    let commit_size = match spent.and_then(|spent| spent.commits) {
        _ if !name.starts_with("POST") => "-".to_owned(),
        Some(commits) if commits.commits > 0 => format!("{:.1}", commits.commands as f64 / commits.commits as f64),
        _ => "n/a".to_owned(),
    };
    println!(
        "{name:<22}{connections:>12}{:>13.0}{:>10.1}{:>10.1}{of_limit:>10}{commit_size:>13}{cpu:>9}",
        measured.requests_per_second(),
        measured.latency.quantile(0.50) as f64 / 1000.0,
        measured.latency.quantile(0.99) as f64 / 1000.0,
    );
}

fn get_root(address: SocketAddr) -> Scenario {
    Scenario {
        name: "GET /",
        request: format!("GET / HTTP/1.1\r\nHost: {address}\r\nUser-Agent: loopback\r\nAccept: */*\r\n\r\n")
            .into_bytes(),
        body_start: b"{\"status\":\"online\"",
    }
}

fn post_input(server: &Server) -> Scenario {
    let content: String = ('a'..='z').chain([' ']).cycle().take(CONTENT_BYTES).collect();
    let body = format!("{{\"content\":\"{content}\"}}");
    Scenario {
        name: "POST /input",
        request: format!(
            "POST /input HTTP/1.1\r\nHost: {}\r\nUser-Agent: loopback\r\nAccept: */*\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            server.address,
            server.token,
            body.len(),
        )
        .into_bytes(),
        body_start: b"{\"status\":\"received\"",
    }
}
