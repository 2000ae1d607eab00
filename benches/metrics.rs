//! Nanoseconds per recorded metric, without and with contention by other threads.

use cortex_core::internals::metrics::exposition::Exposition;
use cortex_core::internals::metrics::{COMMIT_BOUNDS, Counter, DURATION_BOUNDS, Durations};
use cortex_core::internals::{Endpoint, Method, metrics, request_metrics};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

const ROUNDS: usize = 31;
const CALLS_PER_ROUND: u32 = 200_000;

static COUNTER: Counter = Counter::new();
static DURATIONS: Durations = Durations::new();

fn main() {
    let count = || COUNTER.add(black_box(1));
    let observe = || DURATIONS.observe(&DURATION_BOUNDS, black_box(700));
    let observe_long = || DURATIONS.observe(&DURATION_BOUNDS, black_box(20_000_000));
    let commit = || metrics::COMMIT_COMMANDS.observe(&COMMIT_BOUNDS, black_box(17));
    let request = || request_metrics::record(Endpoint::of_route(1), Method::Post, black_box(200), black_box(700));
    let rejection = || metrics::count_rejection(black_box("rate_limited"));
    println!("median of {ROUNDS} rounds of {CALLS_PER_ROUND} calls");
    println!("{:<36} {:>8}", "", "ns");
    row("a counter", count);
    row("a duration of 700 µs", observe);
    row("a duration of 20 s", observe_long);
    row("the size of a commit", commit);
    row("a request: counter and duration", request);
    row("a rejection by its reason", rejection);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                request();
            }
        });
        row("a request, with one more thread", request);
        stop.store(true, Relaxed);
    });
    let start = Instant::now();
    let mut text = Exposition::default();
    request_metrics::render(&mut text);
    metrics::render(&mut text);
    let bytes = text.into_bytes().len();
    println!("{:<36} {:>8}  ({bytes} bytes)", "writing all of it once", start.elapsed().as_nanos());
}

fn row(name: &str, call: impl Fn()) {
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| ns_per_call(&call)).collect();
    rounds.sort_by(f64::total_cmp);
    println!("{name:<36} {:>8.1}", rounds[ROUNDS / 2]);
}

fn ns_per_call(call: impl Fn()) -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS_PER_ROUND {
        call();
    }
    start.elapsed().as_nanos() as f64 / f64::from(CALLS_PER_ROUND)
}
