//! Shared by the benchmarks: the server as a child process, connections to it, cores, and latency histograms.
//!
//! Each benchmark is a separate program and uses a part of this.
#![allow(dead_code)]

pub mod bare_loop;
pub mod bench_store;
pub mod connection;
pub mod cores;
pub mod figures;
pub mod files;
pub mod histogram;
pub mod http;
pub mod server;

use std::process::ExitCode;
use std::time::Duration;

/// Runs a benchmark under `cargo bench` only: `cargo test --all-targets` runs it without the flag, in a debug build.
pub fn main(name: &str, run: impl FnOnce() -> Result<(), String>) -> ExitCode {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("{name}: measures under `cargo bench` only");
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Duration of one row: `BENCH_SECONDS`, or 5 s.
pub fn duration() -> Result<Duration, String> {
    let seconds = match std::env::var("BENCH_SECONDS") {
        Ok(raw) => raw.parse().map_err(|_| format!("BENCH_SECONDS is {raw:?}, and must be a number"))?,
        Err(_) => 5.0,
    };
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("BENCH_SECONDS: {error}"))
}

/// How often the rows of a benchmark are measured: `BENCH_ROUNDS`, or once.
pub fn rounds() -> Result<usize, String> {
    match std::env::var("BENCH_ROUNDS") {
        Ok(raw) => raw.parse().map_err(|_| format!("BENCH_ROUNDS is {raw:?}, and must be a number")),
        Err(_) => Ok(1),
    }
}

/// The core of the server and the one of the load; prints a note if there is only one.
pub fn server_and_load_cores() -> (Option<usize>, Option<usize>) {
    let cores = cores::two_cores();
    if cores.is_none() {
        println!("only one core: nothing is pinned, and server and load slow each other");
    }
    cores.unzip()
}

/// Pins this thread to the core of the load.
pub fn pin_load(core: Option<usize>) -> Result<(), String> {
    let Some(core) = core else { return Ok(()) };
    cores::pin_this_thread(core).map_err(|error| format!("cannot pin the load to core {core}: {error}"))
}
