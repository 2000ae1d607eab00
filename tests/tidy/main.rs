//! Rules that the compiler does not check: which layer may use which, which module owns an external crate, where clocks
//! are read, that each type name is defined once, which words are retired, how long a file may be, and more. One rule
//! per file.
//!
//! Each rule is a function from code to complaints, and is tested on samples that break it, which shows that it can
//! fail.

mod clocks;
mod comments;
mod cycles;
mod dependencies;
mod layers;
mod length;
mod names;
mod owners;
mod paths;
mod source;
mod test_only;
mod threads;
mod unfinished;
mod words;

use source::Source;
use std::io::Write;
use std::path::Path;

/// The violations of a rule in one file: the line, from 1, and the message.
type Complaints = Vec<(usize, String)>;

/// The complaints about a file, prefixed with its path.
fn on(path: &Path, complaints: Complaints) -> impl Iterator<Item = String> {
    complaints.into_iter().map(move |(line, what)| format!("{}:{line}: {what}", path.display()))
}

#[track_caller]
fn assert_tidy(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Applies a rule to every file of `src`.
#[track_caller]
fn assert_sources_tidy(rule: fn(&Source) -> Complaints) {
    assert_tidy(source::sources().iter().flat_map(|source| on(&source.path, rule(source))));
}

/// Prints a count past the test harness, which captures what `println!` writes.
fn report(what: &str, count: usize) {
    let _ = writeln!(std::io::stderr(), "tidy: {what}: {count}");
}

/// Tests a rule on samples: it complains about the first line of each bad one, and about no good one.
#[track_caller]
fn assert_finds(rule: fn(&Source) -> Complaints, bad: &[(&str, &str)], good: &[(&str, &str)]) {
    for sample in bad {
        assert_eq!(lines(rule, *sample), [1], "{sample:?}");
    }
    for sample in good {
        assert_eq!(lines(rule, *sample), [], "{sample:?}");
    }
}

/// The lines that a rule complains about in a sample: a module path and its code.
#[track_caller]
fn lines(rule: fn(&Source) -> Complaints, (module, text): (&str, &str)) -> Vec<usize> {
    rule(&Source::sample(module, text)).into_iter().map(|(line, _)| line).collect()
}
