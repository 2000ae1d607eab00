//! Keeps the README true: its tour is run as it stands, and its tables are compared with what they are about.
//!
//! A block marked `sh` is run by bash against the real program, in the order of the page and in one shell, as somebody would
//! who pastes it; it must end well. A block marked `sh stream` runs in a second shell, and runs on. A block marked `text` has
//! lines that the last `sh` block printed, `text stream` lines that the stream printed since: in this order, each whole, other
//! lines may stand between them, and `…` stands for anything. Blocks marked otherwise are not run.

#[path = "common/mod.rs"]
mod common;

use common::{DEADLINE, Options, Server};
use cortex_core::api::router::ROUTES;
use cortex_core::base::limits;
use cortex_core::config::table::VARIABLES;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Where the README's server listens.
const ADDRESS: &str = "127.0.0.1:8000";

#[test]
fn the_tour_works_as_written() {
    for tool in ["bash", "curl", "sed"] {
        let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(found.is_ok(), "the README's tour needs {tool}, which is not installed here: install it");
    }
    let server = Server::start(defaults());
    let directory = server.database().parent().expect("the database is in a directory").to_owned();
    let mut visitor = Shell::start(&directory, "visitor", server.addr);
    let mut watcher = Shell::start(&directory, "watcher", server.addr);
    let readme = readme();
    let blocks = blocks(&readme);
    let mut streaming = false;
    for block in &blocks {
        match block.mark {
            "sh" => {
                visitor.run(block);
                streaming = false;
            }
            "sh stream" => {
                watcher.begin(block);
                streaming = true;
            }
            // What follows the block that opens the stream is the stream's, too.
            // A block that was run to its end prints no more.
            "text" if !streaming => visitor.expect(block, Duration::ZERO),
            "text" | "text stream" => watcher.expect(block, DEADLINE),
            "bash" | "python" => {}
            other => panic!("README.md:{}: a block marked {other:?} is neither run nor compared", block.line),
        }
    }
    let count = |mark| blocks.iter().filter(|block| block.mark == mark).count();
    assert!(count("sh") >= 8 && count("sh stream") == 1 && count("text") >= 8, "the tour is all there");
}

/// The server as somebody gets it who configures nothing, but for the port.
fn defaults() -> Options {
    ["ENV", "HOST", "JWT_SECRET_KEY", "LOG_LEVEL", "WORKERS", "RESPONDER"]
        .iter()
        .fold(Options::new(), |o, n| o.unset(n))
}

#[test]
fn every_setting_stands_in_the_table_with_its_default() {
    let readme = readme();
    let mut rows: BTreeMap<String, String> =
        table(&readme, "## Settings").into_iter().map(|row| (bare(&row[0]), bare(&row[1]))).collect();
    for variable in VARIABLES {
        let default = rows.remove(variable.name);
        assert_eq!(default.as_deref(), Some(variable.default), "{} in the table of settings", variable.name);
    }
    assert!(rows.is_empty(), "these are no settings: {rows:?}");
}

#[test]
fn what_a_reload_takes_up_is_named() {
    let readme = readme();
    let (_, rest) = readme.split_once("It takes up `").expect("a sentence says what a reload takes up");
    let sentence = rest.split_once(". All others").expect("it ends").0;
    let named: BTreeSet<String> = sentence.split('`').filter(|part| part.len() > 5).map(str::to_owned).collect();
    let live = VARIABLES.iter().filter(|variable| variable.reloadable).map(|variable| variable.name.to_owned());
    assert_same(&named, &live.collect(), "settings that a reload takes up");
}

#[test]
fn every_command_stands_in_the_table_as_its_help_has_it() {
    let listed: Vec<Vec<String>> = table(&readme(), "## The command line");
    let listed: Vec<(String, String)> = listed.into_iter().map(|row| (bare(&row[0]), row[1].clone())).collect();
    let known: Vec<(String, String)> = cortex_core::cli::commands()
        .map(|(name, usage, summary)| (format!("{name} {usage}").trim_end().to_owned(), summary.to_owned()))
        .collect();
    assert_eq!(listed, known);
}

#[test]
fn every_route_stands_in_the_list_of_endpoints() {
    let readme = readme();
    let listed: BTreeSet<String> = table(&readme, "## Endpoints").iter().map(|row| bare(&row[0])).collect();
    let served: BTreeSet<String> = ROUTES
        .iter()
        .flat_map(|route| route.methods.iter().map(|(method, _)| (method.as_str().unwrap_or_default(), route.pattern)))
        .map(|(method, pattern)| format!("{method} {pattern}"))
        .collect();
    assert_same(&listed, &served, "endpoints");
}

#[test]
fn every_dependency_stands_in_the_table_with_its_cost() {
    let readme = readme();
    let rows = table(&readme, "## Dependencies");
    let listed: BTreeSet<String> = rows.iter().map(|row| bare(&row[0])).collect();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a crate has a manifest");
    let needed: BTreeSet<String> = section(&manifest, "[dependencies]", "[")
        .lines()
        .filter_map(|line| line.split_once('=').map(|(name, _)| name.trim().to_owned()))
        .collect();
    assert!(!needed.is_empty(), "the manifest's dependencies are found");
    assert_same(&listed, &needed, "dependencies");
    for row in rows {
        let name = bare(&row[0]);
        assert_eq!(row[3].parse().ok(), Some(crates_of(&name)), "crates of {name}");
        assert!(!row[1].is_empty() && !row[2].is_empty(), "{name} has its reasons");
    }
}

/// How many crates come with a dependency, itself included.
fn crates_of(name: &str) -> usize {
    // What only a feature brings may not have been fetched yet.
    let how: &[&str] = if name == "rustls" { &["--features", "tls"] } else { &["--offline"] };
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--no-dedupe", "-e", "normal", "--prefix", "depth"])
        .args(how)
        .current_dir(root())
        .output()
        .expect("cargo is there, since it runs the tests");
    assert!(tree.status.success(), "cargo tree: {}", String::from_utf8_lossy(&tree.stderr));
    // Each line is a depth and a crate; `(proc-macro)` behind a crate does not make it another one.
    let text = String::from_utf8_lossy(&tree.stdout).into_owned();
    let lines = text.lines().filter_map(|line| {
        let digits = line.find(|char: char| !char.is_ascii_digit())?;
        Some((line[..digits].parse::<usize>().ok()?, line[digits..].split(" (").next()?))
    });
    lines
        .skip_while(|(depth, crate_name)| *depth != 1 || crate_name.split(' ').next() != Some(name))
        .enumerate()
        .take_while(|(at, (depth, _))| *at == 0 || *depth > 1)
        .map(|(_, (_, crate_name))| crate_name)
        .collect::<BTreeSet<_>>()
        .len()
}

#[test]
fn limits_are_those_of_the_program() {
    let table: BTreeMap<String, u64> = table(&readme(), "## Limits")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].parse().unwrap_or_else(|_| panic!("{row:?} has a number"))))
        .collect();
    let known: BTreeMap<String, u64> = [
        ("content of a message, bytes", limits::CONTENT_BYTES_MAX as u64),
        ("metadata of one thing, bytes", limits::METADATA_BYTES_MAX as u64),
        ("nesting of metadata, levels", limits::METADATA_LEVELS_MAX as u64),
        ("name of a workspace, characters", limits::WORKSPACE_NAME_CHARS_MAX as u64),
        ("description of a workspace, characters", limits::WORKSPACE_DESCRIPTION_CHARS_MAX as u64),
        ("topic of a conversation, characters", limits::TOPIC_CHARS_MAX as u64),
        ("participants of a conversation", limits::PARTICIPANTS_MAX as u64),
        ("items of a list in one answer", u64::from(limits::LIST_LIMIT_MAX)),
        ("bytes of a list in one answer", limits::LIST_BYTES_MAX as u64),
        ("ids in one `GET /users`", limits::USERS_QUERY_IDS_MAX as u64),
        ("request target, bytes", limits::TARGET_BYTES_MAX as u64),
        ("fields in a request head", limits::HEADERS_MAX as u64),
        ("token, bytes", limits::TOKEN_BYTES_MAX as u64),
        ("`Idempotency-Key`, characters", limits::IDEMPOTENCY_KEY_BYTES_MAX as u64),
        ("seconds that an `Idempotency-Key` is remembered", limits::IDEMPOTENCY_RETENTION_SECONDS as u64),
        ("commands in one transaction", limits::TRANSACTION_COMMANDS_MAX as u64),
        ("times a user's rate that one address has without a good token", limits::REQUESTS_PER_ADDRESS_FACTOR),
    ]
    .map(|(name, limit)| (name.to_owned(), limit))
    .into();
    assert_eq!(table, known);
}

#[test]
fn every_bench_stands_in_the_table_and_every_test_that_is_named_is_there() {
    let readme = readme();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a crate has a manifest");
    let benches: BTreeSet<String> = manifest
        .split("[[bench]]")
        .skip(1)
        .filter_map(|bench| bench.split('"').nth(1).map(|name| format!("cargo bench --bench {name}")))
        .collect();
    let listed =
        table(&readme, "## Benchmarks").into_iter().map(|row| bare(&row[0])).filter(|cell| cell.contains("--bench"));
    assert_same(&listed.collect(), &benches, "benchmarks");
    let mut tests = 0;
    for name in readme.split("cargo test --test ").skip(1).filter_map(|rest| rest.split([' ', '`']).next()) {
        let places = [format!("tests/{name}.rs"), format!("tests/{name}/main.rs")];
        assert!(places.iter().any(|place| root().join(place).is_file()), "there is no test {name}");
        tests += 1;
    }
    assert!(tests > 0, "the README names tests");
}

#[test]
fn every_file_that_is_named_is_there() {
    let readme = readme();
    let named: BTreeSet<&str> = readme
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| code.starts_with("src/") || code.starts_with("tests/"))
        .collect();
    assert!(named.len() > 20, "the README names its sources: {named:?}");
    for path in named {
        assert!(root().join(path).exists(), "there is no {path}");
    }
}

fn assert_same(listed: &BTreeSet<String>, there: &BTreeSet<String>, what: &str) {
    let missing: Vec<_> = there.difference(listed).collect();
    let too_many: Vec<_> = listed.difference(there).collect();
    assert!(missing.is_empty() && too_many.is_empty(), "{what}: missing {missing:?}, not there {too_many:?}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("there is a README")
}

/// What stands between a line and the next that begins with `end`.
fn section<'a>(text: &'a str, heading: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("there is no {heading}"));
    rest.split(&format!("\n{end}")).next().unwrap_or(rest)
}

/// The rows of a section's tables, less their headings, as trimmed cells.
fn table(readme: &str, heading: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = section(readme, heading, "## ").lines().collect();
    let is_rule = |line: &&str| line.starts_with("| ---");
    let rows = lines
        .iter()
        .enumerate()
        .filter(|(at, line)| line.starts_with('|') && !is_rule(line) && !lines.get(at + 1).is_some_and(is_rule));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows: Vec<_> = rows.map(|(_, line)| cells(line)).collect();
    assert!(!rows.is_empty(), "{heading} has a table");
    rows
}

/// A cell without the marks of code.
fn bare(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}

/// A fenced block of the README.
struct Block<'a> {
    /// What stands behind the fence.
    mark: &'a str,
    /// The line of the fence, from 1.
    line: usize,
    lines: Vec<&'a str>,
}

fn blocks(readme: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for (at, line) in readme.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(mark), None) => open = Some(Block { mark, line: at + 1, lines: Vec::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.lines.push(line),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "every block of the README ends");
    blocks
}

/// A terminal with bash in it, in which a failing command ends the visit.
struct Shell {
    child: Child,
    input: ChildStdin,
    ends: Receiver<String>,
    address: SocketAddr,
    /// What the last block prints, both of its outputs.
    output: PathBuf,
    /// How many lines of it were expected already, or skipped.
    lines_seen: usize,
}

impl Shell {
    fn start(directory: &Path, name: &str, address: SocketAddr) -> Shell {
        let mut child = Command::new("bash")
            .args(["--noprofile", "--norc", "-s"])
            .current_dir(directory)
            // The server is on this machine, whatever else is reached through a proxy.
            .envs([("NO_PROXY", "*"), ("no_proxy", "*")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash starts");
        let mut input = child.stdin.take().expect("standard input is a pipe");
        writeln!(input, "set -euo pipefail").expect("bash reads");
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let (sender, ends) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // The test may have ended before the shell.
                let _ = sender.send(line);
            }
        });
        Shell { child, input, ends, address, output: directory.join(name), lines_seen: 0 }
    }

    /// Begins with a block, whose output stands alone in the file.
    fn begin(&mut self, block: &Block<'_>) {
        File::create(&self.output).expect("a file for the output");
        self.lines_seen = 0;
        let script = block.lines.join("\n").replace(ADDRESS, &self.address.to_string());
        let output = self.output.display();
        writeln!(self.input, "{{\n{script}\n}} >'{output}' 2>&1 </dev/null\necho done").expect("bash reads");
    }

    /// Runs a block to its end.
    fn run(&mut self, block: &Block<'_>) {
        self.begin(block);
        if let Err(error) = self.ends.recv_timeout(DEADLINE) {
            panic!("README.md:{}: the block does not end well ({error}):\n{}", block.line, self.printed());
        }
    }

    /// Waits at most so long until the lines of a block have been printed.
    fn expect(&mut self, block: &Block<'_>, patience: Duration) {
        let end = Instant::now() + patience;
        for want in block.lines.iter().filter(|line| !line.is_empty()) {
            while !self.find(want) {
                assert!(Instant::now() < end, "README.md:{}: this\n{want}\nis not in\n{}", block.line, self.printed());
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Looks for a line behind those seen before, and counts it and what stands before it as seen.
    fn find(&mut self, want: &str) -> bool {
        let printed = self.printed();
        let found = printed.lines().skip(self.lines_seen).position(|line| matches(want, line.trim_end()));
        self.lines_seen += found.map_or(0, |at| at + 1);
        found.is_some()
    }

    fn printed(&self) -> String {
        fs::read(&self.output).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // What runs in it ends with the server.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a shown line, in which `…` stands for anything, is this one.
fn matches(want: &str, line: &str) -> bool {
    let (first, rest) = want.split_once('…').map_or((want, None), |(first, rest)| (first, Some(rest)));
    match (line.strip_prefix(first), rest) {
        (None, _) => false,
        (Some(left), None) => left.is_empty(),
        (Some(left), Some(rest)) => {
            left.char_indices().map(|(at, _)| at).chain([left.len()]).any(|at| matches(rest, &left[at..]))
        }
    }
}

#[test]
fn a_shown_line_matches_as_a_whole() {
    let table = [
        ("", "", true),
        ("a", "a", true),
        ("a", "ab", false),
        ("a", "ba", false),
        ("…", "", true),
        ("…", "anything", true),
        ("a…", "abc", true),
        ("a…c", "abcbc", true),
        ("a…c", "abcb", false),
        ("{\"id\":\"…\",…}", "{\"id\":\"1\",\"b\":2}", true),
        ("{\"id\":\"…\"}", "{\"id\":1}", false),
    ];
    for (want, line, expected) in table {
        assert_eq!(matches(want, line), expected, "{want} and {line}");
    }
}
