//! The longest steps with 1,000 to 1,000,000 rows of each kind in the database: what an event loop, the writer and a reader
//! hold for each operation of the API, and what the writer holds for a step of maintenance. None grows with the rows.
//!
//! `cargo bench --bench steps -- 1000 100000` measures two sizes.

#[path = "steps/data.rs"]
mod data;
#[path = "steps/operations.rs"]
mod operations;
#[path = "steps/program.rs"]
mod program;
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::figures::{self, PROGRAM};

fn main() -> ExitCode {
    support::main("steps", run)
}

fn run() -> Result<(), String> {
    let named: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if named.is_empty() { vec![1_000, 10_000, 100_000, 1_000_000] } else { named };
    let mut report = Report::default();
    for rows in &sizes {
        let start = Instant::now();
        let database = data::Database::build(*rows)?;
        eprintln!("{rows} rows are inserted after {:.0} s", start.elapsed().as_secs_f64());
        operations::measure(&database, &mut report)?;
        operations::measure_retention(&database, &mut report)?;
        eprintln!("{rows} rows are measured after {:.0} s", start.elapsed().as_secs_f64());
    }
    report.print(&sizes);
    Ok(())
}

/// The longest step of each operation at each size, by the thread that it holds.
#[derive(Default)]
pub struct Report(Vec<(String, &'static str, Vec<Duration>)>);

impl Report {
    /// Adds the longest of some steps at the next size.
    pub fn add(&mut self, operation: &str, thread: &'static str, longest: Duration) {
        match self.0.iter_mut().find(|row| (&*row.0, row.1) == (operation, thread)) {
            Some((.., times)) => times.push(longest),
            None => self.0.push((operation.to_owned(), thread, vec![longest])),
        }
    }

    fn print(&self, sizes: &[u64]) {
        print!("| longest step, µs of processor time | thread |");
        sizes.iter().for_each(|rows| print!(" {rows} rows |"));
        print!("\n| --- | --- |{}\n", " --- |".repeat(sizes.len()));
        for (operation, thread, times) in &self.0 {
            print!("| {operation} | {thread} |");
            times.iter().for_each(|time| print!(" {} |", time.as_micros()));
            println!();
            for (time, rows) in times.iter().zip(sizes) {
                let row = format!("longest step: {operation}, {thread}");
                figures::record(&row, PROGRAM, &format!("µs with {rows} rows"), time.as_secs_f64() * 1e6);
            }
        }
    }
}

/// Runs `step`, and returns its processor time, which other processes do not affect.
pub fn timed<T>(step: impl FnOnce() -> T) -> (Duration, T) {
    let began = cpu_time();
    let done = step();
    (cpu_time() - began, done)
}

/// Processor time of this thread.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists and the pointer is valid.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
