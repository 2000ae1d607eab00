//! The trace of a run: what happens in each step. Two runs of a seed have the same.

use std::cell::RefCell;
use std::fmt::{Arguments, Debug};

/// What becomes of a trace.
#[derive(Debug, Default)]
pub enum Trace {
    #[default]
    Dropped,
    Shown,
    Kept(RefCell<Vec<String>>),
}

impl Trace {
    pub fn kept() -> Trace {
        Trace::Kept(RefCell::default())
    }

    /// Whether lines are wanted.
    pub fn is_wanted(&self) -> bool {
        !matches!(self, Trace::Dropped)
    }

    pub fn line(&self, line: Arguments<'_>) {
        match self {
            Trace::Dropped => {}
            Trace::Shown => eprintln!("{line}"),
            Trace::Kept(lines) => lines.borrow_mut().push(without_ids(&line.to_string())),
        }
    }

    fn lines(&self) -> Vec<String> {
        match self {
            Trace::Kept(lines) => lines.take(),
            _ => Vec::new(),
        }
    }
}

/// A line without UUIDs. Each database has a random key, by which it makes them of numbers.
fn without_ids(line: &str) -> String {
    const BYTES: usize = 36;
    let is_id = |at: usize| {
        let dashes = [8, 13, 18, 23];
        line.as_bytes().get(at..at + BYTES).is_some_and(|id| {
            (0..BYTES)
                .all(|place| if dashes.contains(&place) { id[place] == b'-' } else { id[place].is_ascii_hexdigit() })
        })
    };
    let (mut kept, mut at) = (String::new(), 0);
    while let Some(char) = line[at..].chars().next() {
        let bytes = if is_id(at) { BYTES } else { char.len_utf8() };
        if bytes != BYTES {
            kept.push(char);
        }
        at += bytes;
    }
    kept
}

/// Runs a seed, and once more if `is_twice`, which must have the same trace and the same result.
pub fn run_seed<T: PartialEq + Debug>(
    is_twice: bool,
    run: impl Fn(Trace) -> Result<(T, Trace), String>,
) -> Result<T, String> {
    if !is_twice {
        return Ok(run(Trace::Dropped)?.0);
    }
    let [(first, trace), (second, other)] = [run(Trace::kept())?, run(Trace::kept())?];
    let (lines, others) = (trace.lines(), other.lines());
    if let Some(place) = (0..lines.len().max(others.len())).find(|place| lines.get(*place) != others.get(*place)) {
        let lines = [lines.get(place), others.get(place)];
        return Err(format!("its second run is another one from line {place} of the trace on: {lines:?}"));
    }
    if first != second {
        return Err(format!("its second run has another result: {first:?} and {second:?}"));
    }
    Ok(first)
}

#[test]
fn different_runs_of_a_seed_are_found() {
    let number = std::cell::Cell::new(0);
    let run = |lines: [&[&str]; 2]| {
        number.set(0);
        run_seed(true, |trace| {
            let place = number.replace(number.get() + 1);
            lines[place].iter().for_each(|line| trace.line(format_args!("{line}")));
            Ok(((), trace))
        })
    };
    let ids = ["m 019b76da-b3ba-7004-90d1-1af97346d6ac é", "m 019b76dc-2324-7001-8787-cd029bd26455 é"];
    assert_eq!(run([&ids[..1], &ids[1..]]), Ok(()));
    assert!(run([&["a", "b"], &["a", "c"]]).is_err());
    assert!(run([&["a", "b"], &["a"]]).is_err());
    number.set(0);
    let result = run_seed(true, |trace| Ok((number.replace(number.get() + 1), trace)));
    assert!(result.is_err_and(|error| error.contains("another result")));
}
