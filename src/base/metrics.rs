//! Counters and gauges of the process. Counting is one relaxed atomic addition.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows.
pub struct Counter {
    name: &'static str,
    help: &'static str,
    value: AtomicU64,
}

impl Counter {
    const fn new(name: &'static str, help: &'static str) -> Counter {
        Counter { name, help, value: AtomicU64::new(0) }
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.value.fetch_add(n, Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.value.load(Relaxed)
    }
}

/// A number that goes up and down.
pub struct Gauge {
    name: &'static str,
    help: &'static str,
    value: AtomicU64,
}

impl Gauge {
    const fn new(name: &'static str, help: &'static str) -> Gauge {
        Gauge { name, help, value: AtomicU64::new(0) }
    }

    /// Says what it is now.
    pub fn set(&self, value: u64) {
        self.value.store(value, Relaxed);
    }
}

/// Transactions that the writer committed.
pub static COMMITS: Counter = Counter::new("cortex_commits_total", "Transactions committed by the writer.");
/// Commands in them; divided by the commits, the mean commit size.
pub static COMMANDS_COMMITTED: Counter =
    Counter::new("cortex_commands_committed_total", "Commands in the transactions committed by the writer.");

/// Connections that were closed at once because their address has too many.
pub static CONNECTIONS_REFUSED: Counter =
    Counter::new("cortex_connections_refused_total", "Connections closed at once because their address had too many.");

/// Answers that failed.
pub static ANSWERS_FAILED: Counter = Counter::new("cortex_answers_failed_total", "Answers that failed.");

/// Orders to answer that wait in memory; more may wait in their table.
pub static ANSWERS_WAITING: Gauge = Gauge::new("cortex_answers_waiting", "Messages that wait for their answer.");
/// Answers that are under way.
pub static ANSWERS_RUNNING: Gauge = Gauge::new("cortex_answers_running", "Answers under way.");

static COUNTERS: &[&Counter] = &[&COMMITS, &COMMANDS_COMMITTED, &CONNECTIONS_REFUSED, &ANSWERS_FAILED];
static GAUGES: &[&Gauge] = &[&ANSWERS_WAITING, &ANSWERS_RUNNING];

/// Writes everything in the Prometheus text format.
pub fn render(out: &mut String) {
    for counter in COUNTERS {
        render_one(out, "counter", counter.name, counter.help, counter.get());
    }
    for gauge in GAUGES {
        render_one(out, "gauge", gauge.name, gauge.help, gauge.value.load(Relaxed));
    }
}

fn render_one(out: &mut String, kind: &str, name: &str, help: &str, value: u64) {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}").expect("a String takes all");
}
