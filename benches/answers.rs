//! Answers of a model over loopback: what the program adds to each delta and to the first token, how many deltas a core
//! forwards, how soon a cancelled answer closes its connection, the memory of a running answer, and what OpenAI's API adds to an
//! answer that is passed on.
//!
//! The release server runs as a child process on one core. The model's server and the readers share one thread on another core.
//! Each delta contains the time when it was sent. For comparison, the same bytes go from the same model's server to a reader
//! without a program in between, and what is passed on also goes through a bare proxy on the server's core. `BENCH_SECONDS` is the
//! duration of each row (5); `BENCH_ROWS=dfcmtp` selects rows.

#[path = "answers/load.rs"]
mod load;
#[path = "answers/proxy.rs"]
mod proxy;
mod support;

use load::{ANSWERS_PER_USER, Load, Target};
use std::process::ExitCode;
use std::time::Duration;
use support::figures::{self, PROGRAM};
use support::histogram::Histogram;
use support::server::Server;

/// The contenders beside the program.
const DIRECT: &str = "nothing in between";
const PROXY: &str = "bare proxy";
/// The unit of processor time per delta, chunk or answer.
const CPU: &str = "processor µs";

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
/// Streams that are passed on at once, and chunks of each per second.
const PASSED_STREAMS: [(usize, usize); 2] = [(1, 200), (MANY, DELTAS_PER_SECOND)];
/// Requests at once for whole answers that are passed on.
const PASSED_AT_ONCE: [usize; 2] = [1, 32];

fn main() -> ExitCode {
    support::main("answers", run)
}

fn run() -> Result<(), String> {
    let duration = support::duration()?;
    let rows = std::env::var("BENCH_ROWS").unwrap_or_else(|_| "dfcmtp".into());
    let (server_core, load_core) = support::server_and_load_cores();
    support::pin_load(load_core)?;
    println!("{:<44}{:<20}{:>11}{:>11}{:>20}  aim", "", "", "p50 us", "p99 us", "");
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
    if rows.contains('p') {
        measure_first_chunks(server_core)?;
        for (streams, per_second) in PASSED_STREAMS {
            measure_passed_chunks(server_core, streams, per_second, duration)?;
        }
        for at_once in PASSED_AT_ONCE {
            measure_passed_answers(server_core, at_once, duration)?;
        }
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
    print_row("delta", DIRECT, answers, &direct, None, "");
    let mut load = Load::new()?;
    let server = start(core, &load)?;
    load.start_answers(&server, answers)?;
    load.send_evenly(DELTAS_PER_SECOND * answers, Duration::from_millis(500))?;
    let cpu = server.cpu_time();
    let through = load.send_evenly(DELTAS_PER_SECOND * answers, duration)?;
    let cpu = (server.cpu_time() - cpu).as_secs_f64() * 1e6 / through.total() as f64;
    print_row("delta", PROGRAM, answers, &through, Some((cpu, CPU)), "added: p50 100, p99 1000");
    Ok(())
}

fn measure_first_tokens(core: Option<usize>) -> Result<(), String> {
    let mut load = Load::new()?;
    let direct = load.first_tokens_directly(MESSAGES)?;
    print_row("first token", DIRECT, 1, &direct, None, "");
    let server = start(core, &load)?;
    let first = load.first_tokens(&server, MESSAGES)?;
    print_row("first token", PROGRAM, 1, &first, None, "added: p50 600");
    Ok(())
}

fn measure_cancels(core: Option<usize>) -> Result<(), String> {
    let mut load = Load::new()?;
    let server = start(core, &load)?;
    let cancels = load.cancels(&server, MESSAGES)?;
    print_row("cancel to the closed connection", PROGRAM, 1, &cancels, None, "p99 10000");
    Ok(())
}

fn measure_throughput(core: Option<usize>, duration: Duration) -> Result<(), String> {
    let mut load = Load::new()?;
    let server = start(core, &load)?;
    load.start_answers(&server, THROUGHPUT_ANSWERS)?;
    let cpu = server.cpu_time();
    let deltas = load.send_flat_out(duration)?;
    let cpu = (server.cpu_time() - cpu).as_secs_f64();
    let rate = deltas as f64 / cpu;
    print_row("deltas of a core", PROGRAM, THROUGHPUT_ANSWERS, &Histogram::new(), Some((rate, "deltas/s")), "40000/s");
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
    let each = Some((each, "KiB each"));
    print_row("memory of running answers", PROGRAM, MEMORY_ANSWERS, &Histogram::new(), each, "32 KiB");
    Ok(())
}

fn measure_first_chunks(core: Option<usize>) -> Result<(), String> {
    let mut load = Load::new()?;
    let server = start(core, &load)?;
    let proxy = proxy::start(load.model_address(), core)?;
    let targets = [load.model_address(), proxy.address, server.address];
    let targets = targets.map(|address| Target { address, token: server.token.clone() });
    load.first_chunks(&targets, MESSAGES / 10)?;
    let times = load.first_chunks(&targets, MESSAGES)?;
    let [direct, bare, program] = &times[..] else { unreachable!("each target has its times") };
    print_row("first chunk", DIRECT, 1, direct, None, "");
    print_row("first chunk", PROXY, 1, bare, None, &added(bare, direct));
    print_row("first chunk", PROGRAM, 1, program, None, &beside(program, direct, bare));
    Ok(())
}

fn measure_passed_chunks(
    core: Option<usize>,
    streams: usize,
    per_second: usize,
    duration: Duration,
) -> Result<(), String> {
    let chunks = |load: &mut Load, address, server: Option<&Server>| -> Result<Histogram, String> {
        let token_of = |user| server.map_or("none".to_owned(), |server| server.token_of(&format!("user-{user}")));
        let targets = (0..streams).map(|stream| Target { address, token: token_of(stream / ANSWERS_PER_USER) });
        load.open_streams(&targets.collect::<Vec<_>>())?;
        load.send_evenly(per_second * streams, Duration::from_millis(500))?;
        load.send_evenly(per_second * streams, duration)
    };
    let each = |cpu: Duration, times: &Histogram| {
        let total = times.total() as f64 + per_second as f64 * streams as f64 / 2.0;
        Some((cpu.as_secs_f64() * 1e6 / total, CPU))
    };
    let mut load = Load::new()?;
    let model = load.model_address();
    let direct = chunks(&mut load, model, None)?;
    print_row("chunk", DIRECT, streams, &direct, None, "");
    let mut load = Load::new()?;
    let proxy = proxy::start(load.model_address(), core)?;
    let bare = chunks(&mut load, proxy.address, None)?;
    let number = each(proxy.cpu_time(), &bare);
    print_row("chunk", PROXY, streams, &bare, number, &added(&bare, &direct));
    drop(load);
    let mut load = Load::new()?;
    let server = start(core, &load)?;
    let before = server.cpu_time();
    let program = chunks(&mut load, server.address, Some(&server))?;
    let number = each(server.cpu_time() - before, &program);
    print_row("chunk", PROGRAM, streams, &program, number, &beside(&program, &direct, &bare));
    Ok(())
}

fn measure_passed_answers(core: Option<usize>, at_once: usize, duration: Duration) -> Result<(), String> {
    let mut load = Load::new()?;
    let server = start(core, &load)?;
    let proxy = proxy::start(load.model_address(), core)?;
    let target = |address| Target { address, token: server.token.clone() };
    let per_second = |times: &Histogram| times.total() as f64 / duration.as_secs_f64();
    let each = |cpu: Duration, times: &Histogram| cpu.as_secs_f64() * 1e6 / times.total() as f64;
    let model = target(load.model_address());
    let direct = load.ask_whole(&model, at_once, duration)?;
    let before = proxy.cpu_time();
    let bare = load.ask_whole(&target(proxy.address), at_once, duration)?;
    let bare_cpu = each(proxy.cpu_time() - before, &bare);
    let before = server.cpu_time();
    let program = load.ask_whole(&target(server.address), at_once, duration)?;
    let cpu = each(server.cpu_time() - before, &program);
    let rate = |times: &Histogram| Some((per_second(times), "answers/s"));
    print_row("whole answer", DIRECT, at_once, &direct, rate(&direct), "");
    print_row("whole answer", PROXY, at_once, &bare, rate(&bare), &format!("{bare_cpu:.1} cpu us"));
    figures::record(&row_of("whole answer", at_once), PROXY, CPU, bare_cpu);
    let ratio = per_second(&program) / per_second(&bare);
    let note = format!("{cpu:.1} cpu us; {ratio:.2} of the bare proxy's");
    print_row("whole answer", PROGRAM, at_once, &program, rate(&program), &note);
    figures::record(&row_of("whole answer", at_once), PROGRAM, CPU, cpu);
    Ok(())
}

/// What these times have more than those without a program in between.
fn added(times: &Histogram, direct: &Histogram) -> String {
    let micros = |fraction| (times.quantile(fraction) as f64 - direct.quantile(fraction) as f64) / 1000.0;
    format!("added: p50 {:.0}, p99 {:.0}", micros(0.5), micros(0.99))
}

/// The same, with the ratio to the times of the bare proxy.
fn beside(times: &Histogram, direct: &Histogram, bare: &Histogram) -> String {
    let ratio = times.quantile(0.5) as f64 / bare.quantile(0.5) as f64;
    format!("{}; p50 {ratio:.2} of the bare proxy's", added(times, direct))
}

fn row_of(name: &str, answers: usize) -> String {
    format!("{name}, {answers} at once")
}

/// Prints and records the delays and a number with its unit.
fn print_row(name: &str, contender: &str, answers: usize, delays: &Histogram, number: Option<(f64, &str)>, aim: &str) {
    let row = row_of(name, answers);
    figures::record_latency(&row, contender, delays);
    if let Some((value, unit)) = number {
        figures::record(&row, contender, unit, value);
    }
    let micros = |fraction| match delays.total() {
        0 => "-".to_owned(),
        _ => format!("{:.1}", delays.quantile(fraction) as f64 / 1000.0),
    };
    let number = number.map(|(value, unit)| format!("{value:.1} {unit}")).unwrap_or_default();
    println!("{row:<44}{contender:<20}{:>11}{:>11}{number:>20}  {aim}", micros(0.5), micros(0.99));
}
