//! This program beside other servers and the limits of the machine, all in one run.
//!
//! Pairs of this program and another contender are measured in turn: each is started on one core, with the load on another
//! one, and is stopped before the next one. `BENCH_SECONDS` is the duration of a measurement (5), `BENCH_ROUNDS` the number
//! of pairs with each contender (5); `BENCH_ROWS=gp` selects rows by their letters, and `BENCH_CONTENDERS=nginx,axum` contenders
//! by the starts of their names. `benches/peers/install` installs the others; one that is missing is left out. A
//! measurement of another contender that fails is printed and repeated.
//! `BENCH_FIGURES` names a file to which all values are added.

#[path = "loopback/bare.rs"]
mod bare_http;
#[path = "peers/bare_sqlite.rs"]
mod bare_sqlite;
#[path = "fanout/bare.rs"]
mod bare_writes;
#[path = "peers/fan_out.rs"]
mod fan_out;
#[allow(dead_code)]
#[path = "loopback/load.rs"]
mod load;
#[path = "peers/process.rs"]
mod process;
#[path = "peers/routes.rs"]
mod routes;
#[path = "peers/rows.rs"]
mod rows;
#[path = "peers/servers.rs"]
mod servers;
#[allow(dead_code)]
#[path = "fanout/streams.rs"]
mod streams;
mod support;
#[allow(dead_code)]
#[path = "fanout/traffic.rs"]
mod traffic;

use rows::{Bench, Contender, Outcome, Row};
use std::collections::BTreeSet;
use std::process::ExitCode;
use support::figures::{self, PROGRAM};
use support::http;
use support::server::Server;

/// Measurements of another contender that may fail in a row.
const ATTEMPTS_MAX: u32 = 5;

fn main() -> ExitCode {
    support::main("peers", run)
}

fn run() -> Result<(), String> {
    let duration = support::duration()?;
    let rounds = rounds()?;
    let (server_core, load_core) = support::server_and_load_cores();
    let root_response = http::fetch(Server::start(server_core, &[])?.address, "/")?;
    support::pin_load(load_core)?;
    let bench = Bench { duration, server_core, root_response };
    let letters = std::env::var("BENCH_ROWS");
    let is_selected = |row: &Row| letters.as_ref().map_or(true, |letters| letters.contains(row.letter));
    let mut rows = rows::all();
    rows.retain(is_selected);
    report_missing(&rows);
    println!("medians of {rounds} rounds; `ours` is this program in the same pairs\n");
    println!(
        "{:<40}{:<32}{:>11}{:>11}{:>7}{:>9}{:>9}{:>9}{:>9}{:>8}",
        "", "contender", "rate/s", "ours", "ratio", "cpu us", "ours", "by cpu", "p50 us", "p99 us"
    );
    let mut failed = 0;
    for row in &rows {
        for contender in row.others.iter().copied().filter(|contender| is_wanted(*contender)) {
            if let Err(error) = measure_pairs(&bench, row, contender, rounds) {
                println!("{:<40}{:<32} {error}", row.name, contender.name());
                failed += 1;
            }
        }
    }
    match failed {
        0 => Ok(()),
        _ => Err(format!("{failed} comparisons failed")),
    }
}

/// Measures this program and another contender in turn, and prints medians.
fn measure_pairs(bench: &Bench, row: &Row, contender: Contender, rounds: usize) -> Result<(), String> {
    let mut pairs = Vec::new();
    for _ in 0..rounds {
        let ours = bench.measure(row.work, Contender::Program).map_err(|error| format!("{PROGRAM}: {error}"))?;
        pairs.push((ours, measure_other(bench, row, contender)?));
    }
    for (ours, other) in &pairs {
        record(row, Contender::Program, ours);
        record(row, contender, other);
    }
    let of_pairs = |value: &dyn Fn(&Outcome, &Outcome) -> f64| {
        median(pairs.iter().map(|(ours, other)| value(ours, other)).collect())
    };
    let micros = |outcome: &Outcome| outcome.cpu_each.as_secs_f64() * 1e6;
    let quantile = |outcome: &Outcome, fraction| outcome.latency.quantile(fraction) as f64 / 1000.0;
    println!(
        "{:<40}{:<32}{:>11.0}{:>11.0}{:>7.2}{:>9.2}{:>9.2}{:>9.2}{:>9.0}{:>8.0}",
        row.name,
        contender.name(),
        of_pairs(&|_, other| other.per_second),
        of_pairs(&|ours, _| ours.per_second),
        of_pairs(&|ours, other| ours.per_second / other.per_second),
        of_pairs(&|_, other| micros(other)),
        of_pairs(&|ours, _| micros(ours)),
        of_pairs(&|ours, other| micros(other) / micros(ours)),
        of_pairs(&|_, other| quantile(other, 0.50)),
        of_pairs(&|_, other| quantile(other, 0.99)),
    );
    Ok(())
}

/// Measures another contender, and again if it fails: some drop messages between their processes on a busy core. This program is
/// not measured again.
fn measure_other(bench: &Bench, row: &Row, contender: Contender) -> Result<Outcome, String> {
    let mut attempt = 1;
    loop {
        match bench.measure(row.work, contender) {
            Err(error) if attempt < ATTEMPTS_MAX => {
                println!("{:<40}{:<32}attempt {attempt} failed: {error}", row.name, contender.name());
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

fn record(row: &Row, contender: Contender, outcome: &Outcome) {
    let name = contender.name();
    figures::record(&row.name, &name, row.unit(), outcome.per_second);
    figures::record(&row.name, &name, "processor µs", outcome.cpu_each.as_secs_f64() * 1e6);
    figures::record_latency(&row.name, &name, &outcome.latency);
}

/// Names the packages of the contenders that are left out.
fn report_missing(rows: &[Row]) {
    let contenders = rows.iter().flat_map(|row| row.others);
    let missing: BTreeSet<(String, &str)> =
        contenders.filter_map(|contender| Some((contender.name(), contender.lacks()?))).collect();
    for (name, package) in missing {
        println!("{name} is left out: it needs {package}; benches/peers/install installs it");
    }
}

/// Whether a contender is installed and selected.
fn is_wanted(contender: Contender) -> bool {
    let is_selected = match std::env::var("BENCH_CONTENDERS") {
        Ok(names) => names.split(',').any(|name| contender.name().starts_with(name)),
        Err(_) => true,
    };
    is_selected && contender.lacks().is_none()
}

/// The number of pairs with each contender: `BENCH_ROUNDS`, or 5.
fn rounds() -> Result<usize, String> {
    match std::env::var("BENCH_ROUNDS") {
        Ok(raw) => match raw.parse() {
            Ok(rounds) if rounds > 0 => Ok(rounds),
            _ => Err(format!("BENCH_ROUNDS is {raw:?}, and must be a positive number")),
        },
        Err(_) => Ok(5),
    }
}

/// The median; of an even number of values, the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}
