//! The figures of a run, one JSON object a line, from which the bench `report` writes the documents.

use super::histogram::Histogram;
use std::fs::OpenOptions;
use std::io::Write;

/// The contender of every row that measures this program.
pub const PROGRAM: &str = "Cortex Core";

/// Appends a figure to the file that `BENCH_FIGURES` names, if it is set. A row is what is measured, and a contender is
/// who does it; a second value of the same three names is the one of the next round.
pub fn record(row: &str, contender: &str, unit: &str, value: f64) {
    let Some(path) = std::env::var_os("BENCH_FIGURES") else { return };
    assert!(value.is_finite(), "{row}, {contender}: {value} {unit}");
    let figure = serde_json::json!({ "row": row, "contender": contender, "unit": unit, "value": value });
    // One write, so that lines of several programs do not mix.
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{figure}\n").as_bytes()))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Appends the median and the 99th percentile of latencies in nanoseconds; nothing without any.
pub fn record_latency(row: &str, contender: &str, latency: &Histogram) {
    if latency.total() > 0 {
        record(row, contender, "p50 µs", latency.quantile(0.50) as f64 / 1000.0);
        record(row, contender, "p99 µs", latency.quantile(0.99) as f64 / 1000.0);
    }
}
