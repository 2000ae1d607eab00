//! Nothing is left unfinished, in code, strings and comments alike.

use crate::Complaints;
use crate::source::{Source, is_word, rust_files};

/// Markers of unfinished work. Each is split in two, so that this file does not contain it.
const UNFINISHED: &[&str] = &[
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("#[ig", "nore"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

fn unfinished(source: &Source) -> Complaints {
    let mut complaints = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        for mark in UNFINISHED {
            // A marker that begins or ends with a word character must not be part of a longer word.
            let glued = |a: Option<char>, b: Option<char>| [a, b].into_iter().all(|char| char.is_some_and(is_word));
            let whole = line.match_indices(mark).any(|(at, _)| {
                let (before, after) = (&line[..at], &line[at + mark.len()..]);
                !glued(before.chars().last(), mark.chars().next()) && !glued(mark.chars().last(), after.chars().next())
            });
            if whole {
                complaints.push((index + 1, format!("{mark} marks unfinished work")));
            }
        }
    }
    complaints
}

#[test]
fn nothing_is_left_unfinished() {
    let everywhere = ["src", "tests", "benches", "fuzz"].iter().flat_map(|directory| rust_files(directory));
    crate::assert_tidy(everywhere.flat_map(|source| crate::on(&source.path, unfinished(&source)).collect::<Vec<_>>()));
}

#[test]
fn unfinished_work_is_found() {
    for mark in UNFINISHED {
        let text = format!("fn f() {{\n    // {mark}\n    {mark}(\"x\")]\n}}");
        assert_eq!(crate::lines(unfinished, ("base", &text)), [2, 3], "{mark}");
    }
    let good = concat!("my", "todo", "s! XX", "XX #[ig", "nored] fixme FIX", "MED let todo = 1; AXX", "X");
    assert_eq!(crate::lines(unfinished, ("base", good)), []);
}
