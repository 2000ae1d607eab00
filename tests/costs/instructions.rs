//! Instructions per request, in all threads, as Valgrind counts them. They depend on the compiler, the C library and the
//! processor's instruction sets, so the limits have room for these.

use crate::program::{COUNTED, Work, counts, release_build};

/// Instructions of each kind of work, the most of several counts when it was last changed. Where several threads work, the count depends
/// on which of them is faster: of a durable message by a tenth.
const INSTRUCTIONS: [(Work, u64); 5] = [
    (Work::Get("/"), 8_800),
    (Work::Get("/auth/verify"), 11_000),
    (Work::Post, 117_200),
    (Work::Deliver, 120_700),
    (Work::Replay, 135_300),
];
/// What a count may exceed its entry by, in percent.
const TOLERANCE: u64 = 10;

#[test]
fn requests_take_as_many_instructions_as_before() {
    let Some(program) = release_build() else { return };
    let tool = ["valgrind", "-q", "--tool=callgrind", "--callgrind-out-file=OUTPUT"];
    let mut excess = Vec::new();
    for (work, expected) in INSTRUCTIONS {
        let [less, more] = counts(&tool, &program, work, total);
        let each = more.saturating_sub(less) / COUNTED as u64;
        println!("{work:?}: {each} instructions, expected {expected}");
        if each > expected * (100 + TOLERANCE) / 100 {
            excess.push(format!("{work:?} takes {each} instructions, and took {expected}"));
        }
    }
    assert!(excess.is_empty(), "{excess:#?}");
}

/// The sum in a file of Callgrind's format.
fn total(counts: &str) -> u64 {
    let line = counts.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    line.and_then(|sum| sum.trim().parse().ok()).expect("a sum")
}
