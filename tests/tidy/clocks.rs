//! Clocks are read in the thread shells only. All other code takes the time as an argument.

use crate::Complaints;
use crate::source::{Source, is_within};

/// The modules that run threads and may read a clock.
const CLOCK_READERS: &[&str] = &["runtime", "base::log", "responder::client", "main", "cli"];

/// Reads of a clock outside the thread shells.
fn clock_reads(source: &Source) -> Complaints {
    const READS: &[&[&str]] = &[
        &["Instant", "::", "now"],
        &["SystemTime", "::", "now"],
        &[".", "elapsed", "(", ")"],
        &["libc", "::", "clock_gettime"],
    ];
    if CLOCK_READERS.iter().any(|reader| is_within(&source.module, reader)) {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        for read in READS {
            let here = source.tokens[at..].iter().map(|token| token.text.as_str()).take(read.len());
            if here.eq(read.iter().copied()) {
                complaints.push((token.line, format!("{} reads a clock", read.concat())));
            }
        }
    }
    complaints
}

#[test]
fn clocks_are_read_in_the_thread_shells_only() {
    crate::assert_sources_tidy(clock_reads);
}

#[test]
fn clock_reads_are_found() {
    let bad = [
        ("store::writer", "let t = std::time::Instant::now();"),
        ("base::time", "SystemTime :: now()"),
        ("base", "let d = start.elapsed();"),
        ("shard", "#[cfg(test)] mod tests { fn f() { Instant::now(); } }"),
        ("auth", "unsafe { libc::clock_gettime(0, p) }"),
    ];
    let good = [
        ("runtime::reactor", "Instant::now()"),
        ("base::log", "SystemTime::now()"),
        ("main", "Instant::now()"),
        ("cli::serve", "Instant::now()"),
        ("shard", "// Instant::now()\nfn now(elapsed: u64) { self.now.since(self.elapsed) }"),
    ];
    crate::assert_finds(clock_reads, &bad, &good);
}
