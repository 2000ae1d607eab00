//! Threads are started by `base::thread::spawn` only, which requires the consequence of a panic.

use crate::Complaints;
use crate::source::{Source, is_within};

/// Starts of threads that bypass `base::thread`.
fn thread_starts(source: &Source) -> Complaints {
    const STARTS: &[&[&str]] = &[&["thread", "::", "Builder"], &["std", "::", "thread", "::", "spawn"]];
    if is_within(&source.module, "base::thread") {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        for start in STARTS {
            let here = source.tokens[at..].iter().map(|token| token.text.as_str()).take(start.len());
            if here.eq(start.iter().copied()) {
                complaints.push((token.line, format!("{} bypasses base::thread::spawn", start.concat())));
            }
        }
    }
    complaints
}

#[test]
fn threads_state_what_their_panic_means() {
    crate::assert_sources_tidy(thread_starts);
}

#[test]
fn thread_starts_are_found() {
    let bad = [
        ("runtime", "std::thread::spawn(run);"),
        ("responder::client", "use std::thread; fn f() { thread::Builder::new(); }"),
    ];
    let good =
        [("base::thread", "std::thread::Builder::new()"), ("runtime", "thread::spawn(name, stack, on_panic, run)")];
    crate::assert_finds(thread_starts, &bad, &good);
}
