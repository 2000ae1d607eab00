//! Answers of a model over loopback: what the program adds to each delta and to the first token, how many deltas a core
//! forwards, how soon a cancelled answer closes its connection, and the memory of a running answer.
//!
//! The release server runs as a child process on one core. The model's server and the readers share one thread on another core.
//! Each delta contains the time when it was sent. For comparison, the same bytes go from the same model's server to a reader
//! without a program in between. `BENCH_SECONDS` is the duration of each row (5); `BENCH_ROWS=dfcmt` selects rows.

#[path = "answers/load.rs"]
mod load;
mod support;

use load::{ANSWERS_PER_USER, Load};
use std::process::ExitCode;
use std::time::Duration;
use support::histogram::Histogram;
use support::server::Server;

/// Answers that run at once in the row of many.
const MANY: usize = 1_000;
/// Answers that run at once in the row of memory.
const MEMORY_ANSWERS: usize = 2_000;
/// Deltas of one answer per second.
const DELTAS_PER_SECOND: usize = 20;
/// Messages of the row of first tokens, and cancelled answers.
const MESSAGES: usize = 300;
/// Answers of the row of throughput.
const THROUGHPUT_ANSWERS: usize = 16;

fn main() -> ExitCode {
    support::main("answers", run)
}

fn run() -> Result<(), String> {
    let duration = support::duration()?;
    let rows = std::env::var("BENCH_ROWS").unwrap_or_else(|_| "dfcmt".into());
    let (server_core, load_core) = support::server_and_load_cores();
    support::pin_load(load_core)?;
    println!("{:<44}{:>9}{:>11}{:>11}{:>14}  aim", "", "answers", "p50 us", "p99 us", "number");
    if rows.contains('d') {
        measure_delays(server_core, 1, duration)?;
        measure_delays(server_core, MANY, duration)?;
    }
    if rows.contains('f') {
        measure_first_tokens(server_core)?;
    }
    if rows.contains('c') {
        measure_cancels(server_core)?;
    }
    if rows.contains('t') {
        measure_throughput(server_core, duration)?;
    }
    if rows.contains('m') {
        measure_memory(server_core)?;
    }
    Ok(())
}

fn start(core: Option<usize>, load: &Load) -> Result<Server, String> {
    let url = format!("http://{}/v1", load.model_address());
    Server::start(
        core,
        &[
            ("RESPONDER", "openai"),
            ("RESPONDER_URL", &url),
            ("RESPONDER_MODEL", "bench"),
            ("RESPONDER_CONCURRENCY_PER_USER", &ANSWERS_PER_USER.to_string()),
            ("HEARTBEAT_INTERVAL_SECONDS", "3600"),
        ],
    )
}

fn measure_delays(core: Option<usize>, answers: usize, duration: Duration) -> Result<(), String> {
    let mut load = Load::new()?;
    load.connect_directly(answers)?;
    let direct = load.send_evenly(DELTAS_PER_SECOND * answers, duration)?;
    print_row("delta without a program in between", answers, &direct, "", "");
    let mut load = Load::new()?;
    let server = start(core, &load)?;
    load.start_answers(&server, answers)?;
    load.send_evenly(DELTAS_PER_SECOND * answers, Duration::from_millis(500))?;
    let cpu = server.cpu_time();
    let through = load.send_evenly(DELTAS_PER_SECOND * answers, duration)?;
    let cpu = (server.cpu_time() - cpu).as_secs_f64() * 1e6 / through.total() as f64;
    print_row("delta through the program", answers, &through, &format!("{cpu:.1} cpu us"), "added: p50 100, p99 1000");
    Ok(())
}

fn measure_first_tokens(core: Option<usize>) -> Result<(), String> {
    let mut load = Load::new()?;
    let direct = load.first_tokens_directly(MESSAGES)?;
    print_row("first token without a program in between", 1, &direct, "", "");
    let server = start(core, &load)?;
    let first = load.first_tokens(&server, MESSAGES)?;
    print_row("POST of a message to the first token", 1, &first, "", "added: p50 600");
    Ok(())
}

fn measure_cancels(core: Option<usize>) -> Result<(), String> {
    let mut load = Load::new()?;
    let server = start(core, &load)?;
    let cancels = load.cancels(&server, MESSAGES)?;
    print_row("cancel to the closed connection", 1, &cancels, "", "p99 10000");
    Ok(())
}

fn measure_throughput(core: Option<usize>, duration: Duration) -> Result<(), String> {
    let mut load = Load::new()?;
    let server = start(core, &load)?;
    load.start_answers(&server, THROUGHPUT_ANSWERS)?;
    let cpu = server.cpu_time();
    let deltas = load.send_flat_out(duration)?;
    let cpu = (server.cpu_time() - cpu).as_secs_f64();
    let number = format!("{:.0}/s", deltas as f64 / cpu);
    print_row("deltas per second of a core", THROUGHPUT_ANSWERS, &Histogram::new(), &number, "40000/s");
    Ok(())
}

fn measure_memory(core: Option<usize>) -> Result<(), String> {
    let mut load = Load::new()?;
    let server = start(core, &load)?;
    load.prepare(&server, MEMORY_ANSWERS)?;
    let before = server.resident_bytes()?;
    load.post_all(&server)?;
    load.send_evenly(MEMORY_ANSWERS * 5, Duration::from_secs(1))?;
    let each = server.resident_bytes()?.saturating_sub(before) as f64 / MEMORY_ANSWERS as f64 / 1024.0;
    print_row("memory of a running answer", MEMORY_ANSWERS, &Histogram::new(), &format!("{each:.1} KiB"), "32 KiB");
    Ok(())
}

fn print_row(name: &str, answers: usize, delays: &Histogram, number: &str, aim: &str) {
    let micros = |fraction| match delays.total() {
        0 => "-".to_owned(),
        _ => format!("{:.1}", delays.quantile(fraction) as f64 / 1000.0),
    };
    println!("{name:<44}{answers:>9}{:>11}{:>11}{number:>14}  {aim}", micros(0.5), micros(0.99));
}
