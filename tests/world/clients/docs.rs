//! Keeps `docs/clients.md` true: its code is code that the tests run, and it describes every client that they run.

use super::matrix::names;
use std::fs;
use std::path::Path;

#[test]
fn the_code_of_the_document_is_what_the_tests_run() {
    let mut blocks = 0;
    let scripts = scripts();
    let document = document();
    for block in document.split("```").skip(1).step_by(2) {
        let (_, code) = block.split_once('\n').expect("a block has a mark and lines");
        let lines: Vec<&str> = code.trim_end().lines().collect();
        assert!(scripts.iter().any(|script| has_lines(script, &lines)), "no script has these lines:\n{code}");
        blocks += 1;
    }
    assert!(blocks > 12, "the document has code: {blocks}");
}

#[test]
fn every_client_has_a_row() {
    let document = document();
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| [`")).collect();
    for name in names() {
        // Pages name their modules as JavaScript does, and packages have other signs.
        let bare = |text: &str| text.to_lowercase().replace(['_', '-', '`', ' '], "");
        let package = bare(name.split(" (").next().unwrap_or(name));
        let package = package.trim_end_matches(['2', '3', '4']);
        assert!(rows.iter().any(|row| bare(row).contains(package)), "no row has {name}");
    }
}

fn document() -> String {
    fs::read_to_string(root().join("docs/clients.md")).expect("the document is there")
}

/// The texts of all scripts.
fn scripts() -> Vec<String> {
    let directories = ["clients/follow", "clients/page", "proxies"].map(|name| root().join("tests/world").join(name));
    let entries = directories.iter().flat_map(|directory| fs::read_dir(directory).expect("a directory"));
    entries.filter_map(|entry| fs::read_to_string(entry.expect("an entry").path()).ok()).collect()
}

/// Whether a script has these lines one after the other, all indented alike.
fn has_lines(script: &str, lines: &[&str]) -> bool {
    let script: Vec<&str> = script.lines().collect();
    script.windows(lines.len()).any(|window| {
        let Some(indent) = window[0].strip_suffix(lines[0]) else { return false };
        indent.trim().is_empty()
            && window.iter().zip(lines).all(|(have, want)| match want.is_empty() {
                true => have.is_empty(),
                false => have.strip_prefix(indent) == Some(want),
            })
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
