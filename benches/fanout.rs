//! Fan-out over loopback: deliveries of one core to many streams, with every message durable and every stream checked.
//!
//! The release server runs as a child process on one core; publishers and readers share one thread on another core.
//! Every stream must get every event once and in order, and is drained at the end. For comparison, a thread only writes
//! such frames to the same number of sockets, which is the limit of the machine. `BENCH_SECONDS` is the duration of
//! each row (5); `BENCH_ROWS=ac` selects rows, `e` to `h` those with 5,000 streams or with 50 messages a second.

#[path = "fanout/bare.rs"]
mod bare;
#[path = "fanout/streams.rs"]
mod streams;
mod support;
#[path = "fanout/traffic.rs"]
mod traffic;

use std::process::ExitCode;
use std::time::Duration;
use support::figures::{self, PROGRAM};
use support::files;
use support::server::Server;
use traffic::{Measured, Pace, Traffic};

const WARM_UP: Duration = Duration::from_millis(500);
/// Frame size for the bare loop if no row of the server has measured it.
const FRAME_BYTES: usize = 520;

struct Row {
    letter: char,
    name: &'static str,
    streams: usize,
    publishers: usize,
    pace: Pace,
    aim: &'static str,
}

const ROWS: [Row; 8] = [
    Row { letter: 'a', name: "(a) flat out", streams: 1000, publishers: 4, pace: Pace::FlatOut, aim: "1,000,000/s" },
    Row {
        letter: 'b',
        name: "(b) one at a time",
        streams: 1000,
        publishers: 1,
        pace: Pace::OneAtATime,
        aim: "200,000/s",
    },
    Row { letter: 'c', name: "(c) flat out", streams: 100, publishers: 16, pace: Pace::FlatOut, aim: "2,500,000/s" },
    Row {
        letter: 'd',
        name: "(d) 20 a second",
        streams: 100,
        publishers: 1,
        pace: Pace::PerSecond(20.0),
        aim: "p50 < 500 us",
    },
    Row { letter: 'e', name: "(e) flat out", streams: 5000, publishers: 4, pace: Pace::FlatOut, aim: "1,000,000/s" },
    Row {
        letter: 'f',
        name: "(f) one at a time",
        streams: 5000,
        publishers: 1,
        pace: Pace::OneAtATime,
        aim: "200,000/s",
    },
    Row {
        letter: 'g',
        name: "(g) 50 a second",
        streams: 1000,
        publishers: 1,
        pace: Pace::PerSecond(50.0),
        aim: "50,000/s",
    },
    Row {
        letter: 'h',
        name: "(h) 50 a second",
        streams: 5000,
        publishers: 1,
        pace: Pace::PerSecond(50.0),
        aim: "250,000/s",
    },
];

/// The rows of the bare loop: the letter that selects it, streams, and frames per write.
const LIMITS: [(char, usize, u64); 6] =
    [('a', 1000, 1), ('a', 1000, 4), ('a', 1000, 16), ('c', 100, 16), ('e', 5000, 16), ('f', 5000, 1)];
const STREAMS_MAX: usize = 5000;

fn main() -> ExitCode {
    support::main("fanout", run)
}

fn run() -> Result<(), String> {
    let duration = support::duration()?;
    let letters = std::env::var("BENCH_ROWS").unwrap_or_else(|_| "abcdefgh".into());
    files::raise_open_files_max(2 * STREAMS_MAX as u64 + 100)?;
    let (server_core, load_core) = support::server_and_load_cores();
    support::pin_load(load_core)?;
    println!(
        "{:<24}{:>8}{:>11}{:>13}{:>9}{:>10}{:>10}{:>9}{:>10}{:>12}{:>11}  aim",
        "",
        "streams",
        "publishers",
        "deliveries/s",
        "msgs/s",
        "p50 us",
        "p99 us",
        "cpu us",
        "load cpu",
        "KiB/stream",
        "grown KiB"
    );
    let mut frame_bytes = FRAME_BYTES;
    for row in ROWS.iter().filter(|row| letters.contains(row.letter)) {
        frame_bytes = measure_row(row, server_core, duration)?.frame_bytes;
    }
    for (_, streams, joined) in LIMITS.into_iter().filter(|(letter, ..)| letters.contains(*letter)) {
        let limit = bare::measure(streams, joined, frame_bytes, duration, server_core)?;
        print_row(&format!("bare write, {joined} joined"), streams, "-", &limit, ["-", "-"], "the limit");
        match joined {
            1 => record_row("one at a time", streams, "bare loop of writes", &limit),
            _ => record_row("flat out", streams, &format!("bare loop of writes, {joined} joined"), &limit),
        }
    }
    Ok(())
}

/// Each row has its own server, so that memory and database start empty.
fn measure_row(row: &Row, core: Option<usize>, duration: Duration) -> Result<Measured, String> {
    let settings = [("MAX_STREAMS_PER_USER", "0"), ("HEARTBEAT_INTERVAL_SECONDS", "3600")];
    let server = Server::start(core, &settings)?;
    let fresh_bytes = server.resident_bytes()?;
    let failed = |error: String| format!("{}: {error}", row.name);
    let mut traffic = Traffic::open(&server, row.streams, row.publishers).map_err(failed)?;
    let open_bytes = server.resident_bytes()?;
    traffic.run(row.pace, WARM_UP).map_err(failed)?;
    let measured = traffic.run(row.pace, duration).map_err(failed)?;
    let grown_bytes = server.resident_bytes()?.saturating_sub(open_bytes);
    let stream_bytes = open_bytes.saturating_sub(fresh_bytes) as f64 / row.streams as f64;
    let memory = [format!("{:.2}", stream_bytes / 1024.0), (grown_bytes / 1024).to_string()];
    let memory = memory.each_ref().map(String::as_str);
    print_row(row.name, row.streams, &row.publishers.to_string(), &measured, memory, row.aim);
    record_row(&row.name["(a) ".len()..], row.streams, PROGRAM, &measured);
    Ok(measured)
}

fn record_row(pace: &str, streams: usize, contender: &str, measured: &Measured) {
    let row = format!("fan-out to {streams} streams, {pace}");
    figures::record(&row, contender, "deliveries/s", measured.deliveries_per_second());
    figures::record_latency(&row, contender, &measured.latency);
    figures::record(&row, contender, "processor µs", measured.micros_each(measured.cpu));
}

/// `memory` is the size of an idle stream and the growth of the server at the end of the row.
fn print_row(name: &str, streams: usize, publishers: &str, measured: &Measured, memory: [&str; 2], aim: &str) {
    let per_second = measured.deliveries_per_second();
    println!(
        "{name:<24}{streams:>8}{publishers:>11}{per_second:>13.0}{:>9.0}{:>10.1}{:>10.1}{:>9.2}{:>10.2}{:>12}{:>11}  {aim}",
        per_second / streams as f64,
        measured.latency.quantile(0.50) as f64 / 1000.0,
        measured.latency.quantile(0.99) as f64 / 1000.0,
        measured.micros_each(measured.cpu),
        measured.micros_each(measured.load_cpu),
        memory[0],
        memory[1],
    );
}
