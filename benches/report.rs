//! Writes the figures that the other benchmarks recorded into the documents: `docs/benchmarks.md` from its template
//! `benches/report/benchmarks.md`, the charts that it shows, and the table of README.md. `benches/run` calls it.
//!
//! `BENCH_FIGURES` names the file of the figures, `BENCH_ABOUT` one with lines about the run. `BENCH_REPORT` names a directory for
//! the report, and leaves the documents alone.

#[path = "report/chart.rs"]
mod chart;
#[path = "report/document.rs"]
mod document;
#[path = "report/figures.rs"]
mod figures;
mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The table of README.md is between these lines.
const SUMMARY: [&str; 2] = ["<!-- figures, written by benches/run -->\n", "<!-- end of the figures -->\n"];

fn main() -> ExitCode {
    support::main("report", run)
}

fn run() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (Some(recorded), Some(about)) = (named("BENCH_FIGURES"), named("BENCH_ABOUT")) else {
        println!("report: benches/run records figures");
        return Ok(());
    };
    let rows = figures::parse(&read(&recorded)?)?;
    let about = read(&about)?;
    let document = document::render(&read(&root.join("benches/report/benchmarks.md"))?, &rows, &about)?;
    let tried = std::env::var_os("BENCH_REPORT").map(PathBuf::from);
    let docs = tried.clone().unwrap_or_else(|| root.join("docs"));
    std::fs::create_dir_all(docs.join("images")).map_err(|error| format!("{}: {error}", docs.display()))?;
    write(&docs.join("benchmarks.md"), &document.text)?;
    for (name, image) in &document.images {
        write(&docs.join("images").join(name), image)?;
    }
    if tried.is_some() {
        return write(&docs.join("summary.md"), &document::summary(&rows));
    }
    let path = root.join("README.md");
    let readme = read(&path)?;
    let [begin, end] = SUMMARY.map(|line| readme.find(line));
    let (Some(begin), Some(end)) = (begin.map(|at| at + SUMMARY[0].len()), end) else {
        return Err("README.md has no place for the figures".into());
    };
    write(&path, &format!("{}\n{}\n{}", &readme[..begin], document::summary(&rows), &readme[end..]))
}

fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
