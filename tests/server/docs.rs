//! Checks README.md and `docs/`: the tours run as written, the tables match the code, and every link resolves.
//!
//! A block marked `sh` is run by bash against the real program, in page order and in one shell, and must succeed. A
//! block marked `sh stream` keeps running in a second shell. A block marked `text` contains lines printed by the last
//! `sh` block, `text stream` lines printed by the stream since: in this order and complete, with other lines allowed in
//! between, and `…` for any text. Blocks with other marks are ignored. A reader takes longer for a block than the server for an answer,
//! so every answer has ended before the next block runs.

use crate::common::{Client, DEADLINE, Options, Server};
use cortex_core::internals::{ROUTES, VARIABLES, limits};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The server's address in the documents.
const ADDRESS: &str = "127.0.0.1:8000";

/// Maximum size of README.md.
const README_BYTES_MAX: usize = 10 * 1024;

#[test]
fn the_tour_works_as_written() {
    let blocks = run_tour("docs/tour.md");
    assert!(blocks["sh"] >= 8 && blocks["sh stream"] == 1 && blocks["text"] >= 8, "the tour is complete: {blocks:?}");
}

#[test]
fn the_readme_tour_works_as_written() {
    let blocks = run_tour("README.md");
    assert!(blocks["sh"] >= 2 && blocks["text"] >= 2, "the tour is complete: {blocks:?}");
}

/// Runs the blocks of a document against their own server. Returns the number of blocks by mark.
fn run_tour(path: &str) -> BTreeMap<String, usize> {
    for tool in ["bash", "curl", "sed"] {
        let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(found.is_ok(), "the tour needs {tool}: install it");
    }
    let server = Server::start(defaults());
    let directory = server.database().parent().expect("the database is in a directory").to_owned();
    let mut shell = Shell::start(&directory, "shell", server.addr);
    let mut stream_shell = Shell::start(&directory, "stream_shell", server.addr);
    let document = read(path);
    let blocks = blocks(path, &document);
    let mut streaming = false;
    let mut counts = BTreeMap::new();
    for block in &blocks {
        *counts.entry(block.mark.to_owned()).or_default() += 1;
        match block.mark {
            "sh" => {
                shell.run(block);
                wait_for_answers(&server);
                streaming = false;
            }
            "sh stream" => {
                stream_shell.begin(block);
                streaming = true;
            }
            // A `text` block after the one that opens the stream belongs to the stream.
            // A completed block prints nothing more.
            "text" if !streaming => shell.expect(block, Duration::ZERO),
            "text" | "text stream" => stream_shell.expect(block, DEADLINE),
            "bash" | "python" => {}
            other => panic!("{path}:{}: a block marked {other:?} is neither run nor compared", block.line),
        }
    }
    counts
}

/// Waits until no answer is open.
fn wait_for_answers(server: &Server) {
    let db = rusqlite::Connection::open(server.database()).expect("the database opens");
    let end = Instant::now() + DEADLINE;
    while db.query_row("SELECT EXISTS (SELECT 1 FROM answer_jobs)", [], |row| row.get(0)).expect("the jobs are read") {
        assert!(Instant::now() < end, "an answer does not end");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The options of a server without any settings, except for the port.
fn defaults() -> Options {
    ["ENV", "HOST", "JWT_SECRET_KEY", "LOG_LEVEL", "WORKERS", "RESPONDER"]
        .iter()
        .fold(Options::new(), |o, n| o.unset(n))
}

#[test]
fn every_setting_is_listed_with_its_default() {
    let mut rows: BTreeMap<String, String> =
        table("docs/settings.md", "# Settings").into_iter().map(|row| (bare(&row[0]), bare(&row[1]))).collect();
    for variable in VARIABLES {
        let default = rows.remove(variable.name);
        assert_eq!(default.as_deref(), Some(variable.default), "{} in the table of settings", variable.name);
    }
    assert!(rows.is_empty(), "unknown settings: {rows:?}");
}

#[test]
fn reloadable_settings_are_listed() {
    let settings = read("docs/settings.md");
    let (_, rest) = settings.split_once("It takes up `").expect("a sentence lists the reloadable settings");
    let sentence = rest.split_once(". All others").expect("the sentence ends").0;
    let named: BTreeSet<String> = sentence.split('`').filter(|part| part.len() > 5).map(str::to_owned).collect();
    let live = VARIABLES.iter().filter(|variable| variable.reloadable).map(|variable| variable.name.to_owned());
    assert_same(&named, &live.collect(), "settings that a reload takes up");
}

#[test]
fn every_command_is_listed_as_in_its_help() {
    let listed: Vec<Vec<String>> = table("docs/cli.md", "# The command line");
    let listed: Vec<(String, String)> = listed.into_iter().map(|row| (bare(&row[0]), row[1].clone())).collect();
    let known: Vec<(String, String)> = cortex_core::internals::cli::commands()
        .map(|(name, usage, summary)| (format!("{name} {usage}").trim_end().to_owned(), summary.to_owned()))
        .collect();
    assert_eq!(listed, known);
}

#[test]
fn every_route_is_listed() {
    let listed: BTreeSet<String> =
        table("docs/api.md", "## Index of endpoints").iter().map(|row| bare(&row[0])).collect();
    let served: BTreeSet<String> = ROUTES
        .iter()
        .flat_map(|route| route.methods.iter().map(|(method, _)| (method.as_str().unwrap_or_default(), route.pattern)))
        .map(|(method, pattern)| format!("{method} {pattern}"))
        .collect();
    assert_same(&listed, &served, "endpoints");
}

#[test]
fn every_dependency_is_listed_with_its_cost() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a crate has a manifest");
    for (heading, kind) in [("# Dependencies", "[dependencies]"), ("## Only in the tests", "[dev-dependencies]")] {
        let listed = table("docs/dependencies.md", heading).iter().map(|row| bare(&row[0])).collect();
        let needed: BTreeSet<String> = section(&manifest, kind, "[")
            .lines()
            .filter_map(|line| line.split_once('=').map(|(name, _)| name.trim().to_owned()))
            .collect();
        assert!(!needed.is_empty(), "the manifest's dependencies are found");
        assert_same(&listed, &needed, kind);
    }
    for row in table("docs/dependencies.md", "# Dependencies") {
        let name = bare(&row[0]);
        assert_eq!(row[3].parse().ok(), Some(crates_of(&name)), "crates of {name}");
        assert!(!row[1].is_empty() && !row[2].is_empty(), "{name} has its reasons");
    }
}

/// The crates that a build with these features contains, besides those that only run while it is built: the depth and the name
/// with the version of each.
fn crate_tree(features: &str) -> Vec<(usize, String)> {
    // Crates of an optional feature may not have been fetched yet.
    let how: &[&str] = if features.is_empty() { &["--offline"] } else { &["--features", features] };
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--no-dedupe", "-e", "normal", "--prefix", "depth"])
        .args(how)
        .current_dir(root())
        .output()
        .expect("cargo runs the tests");
    assert!(tree.status.success(), "cargo tree: {}", String::from_utf8_lossy(&tree.stderr));
    // Each line is a depth and a crate; `(proc-macro)` after a crate does not make it another one.
    let text = String::from_utf8_lossy(&tree.stdout).into_owned();
    let lines = text.lines().filter_map(|line| {
        let digits = line.find(|char: char| !char.is_ascii_digit())?;
        Some((line[..digits].parse::<usize>().ok()?, line[digits..].split(" (").next()?.to_owned()))
    });
    lines.collect()
}

/// The number of crates in a dependency's tree, itself included.
fn crates_of(name: &str) -> usize {
    let features = match name {
        "rustls" => "tls",
        "bytes" | "futures-util" | "redis" | "tokio" | "tokio-postgres" | "tokio-postgres-rustls" => "cluster",
        _ => "",
    };
    crate_tree(features)
        .into_iter()
        .skip_while(|(depth, crate_name)| *depth != 1 || crate_name.split(' ').next() != Some(name))
        .enumerate()
        .take_while(|(at, (depth, _))| *at == 0 || *depth > 1)
        .map(|(_, (_, crate_name))| crate_name)
        .collect::<BTreeSet<_>>()
        .len()
}

/// What several instances need is in builds with the feature `cluster` only.
#[test]
fn the_default_build_has_no_crate_of_a_feature() {
    const CRATES: usize = 51;
    let crates: BTreeSet<String> = crate_tree("").into_iter().map(|(_, name)| name).collect();
    assert_eq!(crates.len(), CRATES, "crates of the default build, with this one: {crates:?}");
    let manifest = read("Cargo.toml");
    let optional: Vec<&str> = manifest
        .lines()
        .filter(|line| line.contains("optional = true"))
        .filter_map(|line| line.split_once(" =").map(|(name, _)| name))
        .collect();
    assert!(optional.len() >= 5, "the optional crates are found: {optional:?}");
    for name in optional {
        assert!(crates.iter().all(|found| found.split(' ').next() != Some(name)), "{name} is in the default build");
    }
}

#[test]
fn limits_are_those_of_the_program() {
    let table: BTreeMap<String, u64> = table("docs/api.md", "## Limits")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].parse().unwrap_or_else(|_| panic!("{row:?} has a number"))))
        .collect();
    let known: BTreeMap<String, u64> = [
        ("content of a message, bytes", limits::CONTENT_BYTES_MAX as u64),
        ("metadata of one resource, bytes", limits::METADATA_BYTES_MAX as u64),
        ("nesting of metadata, levels", limits::METADATA_LEVELS_MAX as u64),
        ("name of a workspace, characters", limits::WORKSPACE_NAME_CHARS_MAX as u64),
        ("description of a workspace, characters", limits::WORKSPACE_DESCRIPTION_CHARS_MAX as u64),
        ("topic of a conversation, characters", limits::TOPIC_CHARS_MAX as u64),
        ("participants of a conversation", limits::PARTICIPANTS_MAX as u64),
        ("items of a list in one response", u64::from(limits::LIST_LIMIT_MAX)),
        ("bytes of a list in one response", limits::LIST_BYTES_MAX as u64),
        ("query of a search, characters", limits::SEARCH_QUERY_CHARS_MAX as u64),
        ("query of a search, words", limits::SEARCH_WORDS_MAX as u64),
        ("results of a search in one response", u64::from(limits::SEARCH_LIMIT_MAX)),
        ("ids in one `GET /users`", limits::USERS_QUERY_IDS_MAX as u64),
        ("request target, bytes", limits::TARGET_BYTES_MAX as u64),
        ("fields in a request head", limits::HEADERS_MAX as u64),
        ("token, bytes", limits::TOKEN_BYTES_MAX as u64),
        ("`Idempotency-Key`, characters", limits::IDEMPOTENCY_KEY_BYTES_MAX as u64),
        ("retention of an `Idempotency-Key`, seconds", limits::IDEMPOTENCY_RETENTION_SECONDS as u64),
        ("commands in one transaction", limits::TRANSACTION_COMMANDS_MAX as u64),
        ("rate of an address without a valid token, as a multiple of a user's", limits::REQUESTS_PER_ADDRESS_FACTOR),
    ]
    .map(|(name, limit)| (name.to_owned(), limit))
    .into();
    assert_eq!(table, known);
}

#[test]
fn every_bench_is_listed_and_every_named_test_exists() {
    let manifest = read("Cargo.toml");
    let benches: BTreeSet<String> = manifest
        .split("[[bench]]")
        .skip(1)
        .filter_map(|bench| bench.split('"').nth(1).map(|name| format!("cargo bench --bench {name}")))
        .collect();
    let listed = table("docs/benchmarks.md", "# Benchmarks").into_iter().map(|row| bare(&row[0]));
    assert_same(&listed.collect(), &benches, "benchmarks");
    // `benches/run` writes the document from the template.
    let commands = |path| table(path, "# Benchmarks");
    assert_eq!(commands("docs/benchmarks.md"), commands("benches/report/benchmarks.md"));
    let (mut tests, mut parts) = (0, 0);
    for path in documents() {
        let document = read(&path);
        let commands = document.split("cargo test ").skip(1).filter_map(|rest| rest.split(['`', '\n']).next());
        for command in commands {
            let Some((_, named)) = command.split_once("--test ") else { continue };
            let mut words = named.split(' ');
            let name = words.next().unwrap_or_default();
            assert!(root().join(format!("tests/{name}/main.rs")).is_file(), "{path}: there is no test {name}");
            tests += 1;
            if let Some(part) = words.next().filter(|word| word.starts_with(|char: char| char.is_ascii_lowercase())) {
                let places = [format!("tests/{name}/{part}.rs"), format!("tests/{name}/{part}/mod.rs")];
                assert!(places.iter().any(|place| root().join(place).is_file()), "{path}: {name} has no {part}");
                parts += 1;
            }
        }
    }
    assert!(tests > 20 && parts > 15, "the documents name tests: {tests}, {parts}");
}

#[test]
fn every_row_of_where_to_find_names_existing_files() {
    let rows = table("docs/architecture.md", "## Where to find");
    assert!(rows.len() >= 10, "{rows:?}");
    for row in rows {
        let paths: Vec<&str> = row[1].split('`').skip(1).step_by(2).collect();
        assert!(paths.first().is_some_and(|path| path.starts_with("src/")), "{:?} names a file of src", row[0]);
        for path in paths {
            assert!(root().join(path).exists(), "{:?}: there is no {path}", row[0]);
        }
    }
}

#[test]
fn every_named_metric_is_served() {
    let server = Server::start(Options::new());
    let served = Client::new(server.addr).request("GET", "/metrics").send().expect(200).text().to_owned();
    let mut named = 0;
    for row in table("docs/operations.md", "## Metrics") {
        // Names that begin with an underscore continue the previous one.
        let names = row[0].split('`').filter(|name| name.starts_with("cortex_") || name.starts_with("conversational_"));
        for name in names {
            assert!(served.contains(&format!("# TYPE {name} ")), "there is no metric {name}");
            named += 1;
        }
    }
    assert!(named > 20, "the document names metrics: {named}");
}

#[test]
fn every_named_file_exists() {
    let mut named = 0;
    for path in documents() {
        let document = read(&path);
        // Fenced blocks are not prose.
        let prose = document.split("\n```").step_by(2);
        let code = prose.flat_map(|prose| prose.split('`').skip(1).step_by(2));
        for name in
            code.filter(|code| ["src/", "tests/", "deploy/", "examples/"].iter().any(|top| code.starts_with(top)))
        {
            let file = name.split(' ').next().unwrap_or_default();
            assert!(root().join(file).exists(), "{path}: there is no {name}");
            named += 1;
        }
    }
    assert!(named > 20, "the documents name their sources: {named}");
}

#[test]
fn the_readme_is_short() {
    let bytes = read("README.md").len();
    assert!(bytes <= README_BYTES_MAX, "README.md has {bytes} bytes, more than {README_BYTES_MAX}");
}

#[test]
fn every_relative_link_resolves() {
    let mut links = 0;
    for path in documents() {
        for link in links_of(&read(&path)) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { path.clone() } else { resolved(&path, file) };
            assert!(root().join(&target).exists(), "{path}: the link {link} does not resolve");
            if !anchor.is_empty() {
                let anchors: Vec<String> = headings(&read(&target)).map(anchor_of).collect();
                assert!(anchors.iter().any(|known| known == anchor), "{path}: {target} has no heading #{anchor}");
            }
            links += 1;
        }
    }
    assert!(links > 20, "the documents have links: {links}");
}

#[test]
fn every_file_of_docs_is_linked() {
    let linked: BTreeSet<String> = documents()
        .iter()
        .flat_map(|path| links_of(&read(path)).into_iter().map(|link| (path.clone(), link)))
        .map(|(path, link)| resolved(&path, link.split('#').next().unwrap_or_default()))
        .collect();
    for file in files("docs") {
        assert!(linked.contains(&file), "no document links to {file}");
    }
}

/// The dark drawings are the light ones in other colours.
#[test]
fn both_versions_of_a_drawing_show_the_same() {
    let drawings: Vec<_> = files("docs/images").into_iter().filter(|path| path.ends_with(".svg")).collect();
    let light: Vec<&String> = drawings.iter().filter(|path| path.ends_with("-light.svg")).collect();
    assert!(!light.is_empty() && 2 * light.len() == drawings.len(), "every drawing has two versions: {drawings:?}");
    for path in light {
        let less_style = |path: &str| {
            let drawing = read(path);
            let (before, rest) = drawing.split_once("<style>").expect("a drawing has a style");
            let (_, after) = rest.split_once("</style>").expect("the style ends");
            format!("{before}{after}")
        };
        assert_eq!(less_style(path), less_style(&path.replace("-light", "-dark")), "{path}");
    }
}

/// The path of every document.
fn documents() -> Vec<String> {
    let top = fs::read_dir(root()).expect("the repository can be listed");
    let top = top.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    let all = top.chain(files("docs")).chain(files("examples"));
    all.filter(|path| path.ends_with(".md")).collect()
}

/// The path of every file in a folder.
fn files(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut files = Vec::new();
    for entry in entries.map(|entry| entry.expect("an entry")) {
        let path = format!("{folder}/{}", entry.file_name().into_string().expect("a name"));
        if entry.path().is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files
}

/// The targets of a document's links and images within this repository.
fn links_of(document: &str) -> Vec<String> {
    let inline = document.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let html = ["src=\"", "srcset=\""].into_iter().flat_map(|attribute| document.split(attribute).skip(1));
    let html = html.filter_map(|rest| rest.split('"').next());
    inline.chain(html).filter(|link| !link.contains("://")).map(str::to_owned).collect()
}

/// A link's target, relative to the repository.
fn resolved(document: &str, file: &str) -> String {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn headings(document: &str) -> impl Iterator<Item = &str> {
    document.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim())
}

/// The anchor that GitHub assigns to a heading.
fn anchor_of(heading: &str) -> String {
    let kept = heading.chars().filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn assert_same(listed: &BTreeSet<String>, there: &BTreeSet<String>, what: &str) {
    let missing: Vec<_> = there.difference(listed).collect();
    let too_many: Vec<_> = listed.difference(there).collect();
    assert!(missing.is_empty() && too_many.is_empty(), "{what}: missing {missing:?}, unknown {too_many:?}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text between a line and the next one that begins with `end`.
fn section<'a>(text: &'a str, heading: &str, end: &str) -> &'a str {
    let begin = format!("{heading}\n");
    let rest = text.strip_prefix(&begin).or_else(|| text.split_once(&format!("\n{begin}")).map(|(_, rest)| rest));
    let rest = rest.unwrap_or_else(|| panic!("there is no {heading}"));
    rest.split(&format!("\n{end}")).next().unwrap_or(rest)
}

/// The rows of a section's tables without their headings, as trimmed cells.
fn table(path: &str, heading: &str) -> Vec<Vec<String>> {
    let document = read(path);
    let lines: Vec<&str> = section(&document, heading, "## ").lines().collect();
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

/// A cell without code marks.
fn bare(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}

/// A fenced block of a document.
struct Block<'a> {
    /// The path of the document.
    document: &'a str,
    /// The text after the fence.
    mark: &'a str,
    /// The line of the fence, from 1.
    line: usize,
    lines: Vec<&'a str>,
}

fn blocks<'a>(document: &'a str, text: &'a str) -> Vec<Block<'a>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for (at, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(mark), None) => open = Some(Block { document, mark, line: at + 1, lines: Vec::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.lines.push(line),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "every block of {document} ends");
    blocks
}

/// A bash process in which a failing command ends the script.
struct Shell {
    child: Child,
    input: ChildStdin,
    ends: Receiver<String>,
    address: SocketAddr,
    /// Standard output and error of the last block.
    output: PathBuf,
    /// The number of its lines already matched or skipped.
    lines_seen: usize,
}

impl Shell {
    fn start(directory: &Path, name: &str, address: SocketAddr) -> Shell {
        let mut child = Command::new("bash")
            .args(["--noprofile", "--norc", "-s"])
            .current_dir(directory)
            // The server is local, whatever else needs a proxy.
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

    /// Starts a block, whose output replaces the file.
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
            panic!("{}:{}: the block fails ({error}):\n{}", block.document, block.line, self.printed());
        }
    }

    /// Waits up to `timeout` until the lines of a block have been printed.
    fn expect(&mut self, block: &Block<'_>, timeout: Duration) {
        let end = Instant::now() + timeout;
        for want in block.lines.iter().filter(|line| !line.is_empty()) {
            while !self.find(want) {
                assert!(
                    Instant::now() < end,
                    "{}:{}: this\n{want}\nis not in\n{}",
                    block.document,
                    block.line,
                    self.printed()
                );
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Searches the lines not matched yet; a match also skips the lines before it.
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
        // The commands in it end with the server.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a line matches a pattern in which `…` stands for any text.
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
fn a_line_of_a_document_matches_as_a_whole() {
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
