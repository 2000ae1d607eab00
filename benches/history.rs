//! A page of messages of a conversation with a million messages, beside one of a conversation with a thousand: those before the
//! newest message, and those before the one in the middle.
//!
//! The release server runs as a child process on one core, the load on another. `BENCH_SECONDS` is the duration of each row
//! (5), `BENCH_ROUNDS` how often each is measured (1); `cargo bench --bench history -- 100000` measures another number of messages.

#[path = "loopback/load.rs"]
mod load;
mod support;

use cortex_core::internals::{ConversationId, FlushLimits, MessageId, Outcome};
use load::{Load, Scenario};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use support::bench_store::{BenchStore, command, post};
use support::figures::{self, PROGRAM};
use support::http;
use support::server::Server;

const FEW: usize = 1_000;
const MANY: usize = 1_000_000;
const CONTENT_BYTES: usize = 200;
const USER: &str = "reader";
const CONNECTIONS: usize = 16;
const PAGE: usize = 50;
const WARM_UP: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    support::main("history", run)
}

fn run() -> Result<(), String> {
    let duration = support::duration()?;
    let many = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(MANY);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("history-{}", std::process::id()));
    std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let measured = measure(&directory.join("bench.db"), many, duration);
    std::fs::remove_dir_all(&directory).map_err(|error| error.to_string())?;
    measured
}

fn measure(path: &Path, many: usize, duration: Duration) -> Result<(), String> {
    let conversations = fill(path.to_owned(), [FEW, many]);
    let (server_core, load_core) = support::server_and_load_cores();
    let server = Server::start(server_core, &[("DATABASE_URL", &format!("sqlite:///{}", path.display()))])?;
    support::pin_load(load_core)?;
    println!("{:<52}{:>12}{:>10}{:>10}{:>10}", "", "requests/s", "p50 us", "p99 us", "cpu us");
    let rounds = support::rounds()?;
    for filled in conversations.iter().cycle().take(rounds * conversations.len()) {
        for (place, before) in [("the end", filled.last), ("the middle", filled.middle)] {
            let row = format!("a page of {PAGE} messages: {place} of {}", filled.messages);
            let target = format!("/conversations/{}/messages?limit={PAGE}&before={before}", filled.conversation);
            measure_row(&row, &server, &target, duration)?;
        }
    }
    Ok(())
}

struct Filled {
    conversation: ConversationId,
    messages: usize,
    middle: MessageId,
    last: MessageId,
}

/// A database with a conversation of each number of messages.
fn fill(path: PathBuf, sizes: [usize; 2]) -> Vec<Filled> {
    let mut store = BenchStore::open(path, FlushLimits::default());
    let conversations = store.user_in(USER, sizes.len());
    let filled = conversations.into_iter().zip(sizes).map(|(conversation, messages)| {
        let mut ids = Vec::with_capacity(messages);
        for posted in 1..=messages {
            store.waiting.push(command("user-0", post(conversation, "x".repeat(CONTENT_BYTES))));
            let outcomes = store.commit_if(if posted == messages { 1 } else { 256 });
            ids.extend(outcomes.into_iter().map(|outcome| match outcome {
                Outcome::Posted { event, .. } => event.message().expect("a message event").id,
                other => panic!("{other:?}"),
            }));
        }
        Filled { conversation, messages, middle: ids[messages / 2], last: ids[messages - 1] }
    });
    let filled = filled.collect();
    store.writer.close();
    filled
}

fn measure_row(row: &str, server: &Server, target: &str, duration: Duration) -> Result<(), String> {
    let scenario = Scenario {
        name: "GET /conversations/{id}/messages",
        request: http::get(server.address, target, &http::bearer(&server.token_of(USER))),
        body_start: b"[{\"id\":\"",
    };
    let mut load =
        Load::connect(server.address, &scenario, CONNECTIONS).map_err(|error| format!("cannot connect: {error}"))?;
    load.run(WARM_UP).map_err(|error| format!("{}: {error}", scenario.name))?;
    let before = server.cpu_time();
    let measured = load.run(duration)?;
    let cpu = (server.cpu_time() - before).as_secs_f64() * 1e6 / measured.latency.total() as f64;
    let micros = |fraction| measured.latency.quantile(fraction) as f64 / 1000.0;
    let rate = measured.requests_per_second();
    println!("{row:<52}{rate:>12.0}{:>10.1}{:>10.1}{cpu:>10.1}", micros(0.50), micros(0.99));
    figures::record(row, PROGRAM, "requests/s", rate);
    figures::record_latency(row, PROGRAM, &measured.latency);
    figures::record(row, PROGRAM, "processor µs", cpu);
    Ok(())
}
