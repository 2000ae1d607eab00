//! Replays the committed inputs of every fuzz target in `fuzz/corpus`. The targets are shared with the fuzzer, see
//! `fuzz/src/lib.rs`.

#[path = "../../fuzz/src/lib.rs"]
#[allow(dead_code)]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// Maximum number of committed inputs of one target.
const INPUTS_MAX: usize = 60;
/// Their maximum total size.
const CORPUS_BYTES_MAX: usize = 100 * 1024;

fn fuzz_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

/// The committed inputs of a target with their file names; other files of the fuzzer are ignored.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz_folder("corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<_> = entries
        .map(|entry| entry.expect("a folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seed"))
        .map(|path| {
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            (name, fs::read(&path).expect("an input can be read"))
        })
        .collect();
    inputs.sort();
    inputs
}

#[test]
fn every_committed_input_passes() {
    let mut failed = Vec::new();
    for (target, run) in targets::TARGETS {
        for (name, input) in inputs(target) {
            if catch_unwind(|| run(&input)).is_err() {
                failed.push(format!("fuzz/corpus/{target}/{name}"));
            }
        }
    }
    assert!(failed.is_empty(), "these inputs fail: {}", failed.join(", "));
}

/// All extensions of at most five of these signs, whole and cut, against the reference parser.
#[test]
fn short_chunk_extensions_are_parsed_as_by_the_reference() {
    const SIGNS: &[u8] = b";a=\"\\ [";
    // Chunked, without a limit.
    const CHOICES: &[u8] = &[2, 0, 0, 0, 0];
    for length in 0..=5 {
        for number in 0..SIGNS.len().pow(length) {
            let sign = |at| SIGNS[number / SIGNS.len().pow(at) % SIGNS.len()];
            let line = [CHOICES, b"1;", &(0..length).map(sign).collect::<Vec<u8>>()].concat();
            targets::http1_body::run(&line);
            targets::http1_body::run(&[&line, &b"\r\nx\r\n0\r\n\r\n"[..]].concat());
        }
    }
}

#[test]
fn the_corpus_of_each_target_is_small_and_not_empty() {
    for (target, _) in targets::TARGETS {
        let inputs = inputs(target);
        let bytes: usize = inputs.iter().map(|(_, input)| input.len()).sum();
        assert!((1..=INPUTS_MAX).contains(&inputs.len()), "{target} has {} inputs", inputs.len());
        assert!(bytes <= CORPUS_BYTES_MAX, "the inputs of {target} have {bytes} bytes");
    }
}

#[test]
fn every_target_has_a_program_a_dictionary_and_a_corpus() {
    let targets: BTreeSet<String> = targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let names = |folder: &str, ending: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz_folder(folder)).expect("the folder is there");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        entries.map(|entry| name(entry.expect("a folder can be read")).trim_end_matches(ending).to_owned()).collect()
    };
    assert_eq!(names("fuzz_targets", ".rs"), targets);
    assert_eq!(names("dictionaries", ".dict"), targets);
    assert_eq!(names("corpus", ""), targets);
}
