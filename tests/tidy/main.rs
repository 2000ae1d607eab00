//! The rules of the house that no compiler holds: which floor may use which, who owns an outside crate, where clocks are
//! read, what is left unfinished, how long a file may be, and that each dependency has its reason in `docs/dependencies.md`.
//!
//! Each rule is a function from text to complaints and is tested on samples that break it, so that a silent rule is
//! known to be able to speak.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 900;

/// Each top-level module and its floor. A module uses only floors below its own.
const FLOORS: &[(&str, u32)] = &[
    ("base", 0),
    ("domain", 1),
    ("auth", 2),
    ("config", 2),
    ("http1", 2),
    ("sse", 2),
    ("wire", 2),
    ("api", 3),
    ("responder", 3),
    ("store", 3),
    ("shard", 4),
    ("runtime", 5),
    ("cli", 6),
    // The program's root, which names the modules of its own floor.
    ("main", 7),
];

/// Each outside crate that has owners, and the modules that may name it.
const OWNERS: &[(&str, &[&str])] = &[
    ("httparse", &["http1"]),
    ("mio", &["runtime"]),
    ("rusqlite", &["store::error", "store::sqlite", "store::transfer", "store::tests"]),
    ("serde", &["auth", "config", "wire"]),
    ("rustls", &["responder::tls"]),
    ("serde_json", &["auth", "config", "responder::openai", "wire"]),
];

/// The thread shells, which read the clocks and hand the time down.
const CLOCK_READERS: &[&str] = &["runtime", "base::log", "responder::client", "main", "cli"];

/// Marks of unfinished work. Written in two halves, so that this file does not carry them.
const UNFINISHED: &[&str] = &[
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("#[ig", "nore"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

#[test]
fn no_arrow_runs_up_or_sideways_between_floors() {
    assert_tidy(sources().iter().flat_map(|(path, text)| arrows(&module_path(path), text).on(path)));
}

#[test]
fn outside_crates_are_named_by_their_owners_alone() {
    assert_tidy(sources().iter().flat_map(|(path, text)| strangers(&module_path(path), text).on(path)));
}

#[test]
fn clocks_are_read_in_the_thread_shells_alone() {
    assert_tidy(sources().iter().flat_map(|(path, text)| clock_reads(&module_path(path), text).on(path)));
}

#[test]
fn nothing_is_left_unfinished() {
    let everywhere = ["src", "tests", "benches", "fuzz"].iter().flat_map(|folder| rust_files(folder));
    assert_tidy(everywhere.flat_map(|(path, text)| unfinished(&text).on(&path)));
}

#[test]
fn no_file_is_too_long() {
    assert_tidy(sources().iter().flat_map(|(path, text)| too_long(text).on(path)));
}

#[test]
fn every_dependency_has_its_reason_in_the_documents() {
    // A checkout without documents has no table of dependencies.
    if let Ok(table) = fs::read_to_string(root().join("docs/dependencies.md")) {
        let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a crate has a manifest");
        assert_tidy(unnamed_dependencies(&manifest, &table).on(Path::new("docs/dependencies.md")));
    }
}

/// What breaks a rule: the line, from 1, and what is wrong there.
type Complaints = Vec<(usize, String)>;

trait On {
    fn on(self, path: &Path) -> Vec<String>;
}

impl On for Complaints {
    fn on(self, path: &Path) -> Vec<String> {
        self.into_iter().map(|(line, what)| format!("{}:{line}: {what}", path.display())).collect()
    }
}

fn assert_tidy(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<(PathBuf, String)> {
    let files = rust_files("src");
    assert!(files.len() > FLOORS.len() / 2, "the sources are where they are looked for");
    files
}

/// Every Rust file under a folder of the project, by its path in the project, with its text.
fn rust_files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a folder can be read").path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is text");
                files.push((path.strip_prefix(root()).expect("it lies in the project").to_owned(), text));
            }
        }
    }
    files.sort();
    files
}

/// `src/store/data.rs` and `src/store/data/mod.rs` are `["store", "data"]`; `src/lib.rs` is `[]`.
fn module_path(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        path.with_extension("").iter().skip(1).map(|name| name.to_string_lossy().into_owned()).collect();
    names.pop_if(|last| last == "mod" || last == "lib");
    names
}

/// Uses of a module that is not on a floor below.
fn arrows(module: &[String], text: &str) -> Complaints {
    let Some(from) = module.first() else { return Vec::new() };
    let Some(floor) = floor_of(from) else { return vec![(1, format!("the module {from} stands on no floor"))] };
    let mut complaints = Vec::new();
    for (line, to) in modules_named(module, &tokens(text)) {
        match floor_of(&to) {
            _ if to == *from => {}
            None => complaints.push((line, format!("{from} names {to}, which stands on no floor"))),
            Some(below) if below < floor => {}
            Some(above) => complaints.push((line, format!("{from} (floor {floor}) names {to} (floor {above})"))),
        }
    }
    complaints
}

/// Uses of an outside crate by a module that does not own it.
fn strangers(module: &[String], text: &str) -> Complaints {
    let tokens = tokens(text);
    let mut complaints = Vec::new();
    for (at, (line, token)) in tokens.iter().enumerate() {
        let Some((name, owners)) = OWNERS.iter().find(|(name, _)| name == token) else { continue };
        let before = at.checked_sub(1).map(|before| tokens[before].1.as_str());
        let after = tokens.get(at + 1).map(|(_, after)| after.as_str());
        // `x::mio` and `x.mio` are something else of the same name; `::mio` and `use mio` are the crate.
        let inside = before == Some(".") || (before == Some("::") && at > 1 && is_name(&tokens[at - 2].1));
        let named = after == Some("::") || matches!(before, Some("use" | "crate"));
        if named && !inside && !owners.iter().any(|owner| is_within(module, owner)) {
            complaints.push((*line, format!("{name} belongs to {}", owners.join(", "))));
        }
    }
    complaints
}

/// Reads of a clock outside the thread shells.
fn clock_reads(module: &[String], text: &str) -> Complaints {
    const READS: &[&[&str]] = &[
        &["Instant", "::", "now"],
        &["SystemTime", "::", "now"],
        &[".", "elapsed", "(", ")"],
        &["libc", "::", "clock_gettime"],
    ];
    if CLOCK_READERS.iter().any(|reader| is_within(module, reader)) {
        return Vec::new();
    }
    let tokens = tokens(text);
    let mut complaints = Vec::new();
    for (at, (line, _)) in tokens.iter().enumerate() {
        for read in READS {
            let here = tokens[at..].iter().map(|(_, token)| token.as_str()).take(read.len());
            if here.eq(read.iter().copied()) {
                complaints.push((*line, format!("{} reads a clock", read.concat())));
            }
        }
    }
    complaints
}

/// Marks of unfinished work, in code, texts and comments alike.
fn unfinished(text: &str) -> Complaints {
    let mut complaints = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for mark in UNFINISHED {
            // A mark that begins or ends like a word must begin or end one.
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

fn too_long(text: &str) -> Complaints {
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX { vec![(lines, format!("more than {FILE_LINES_MAX} lines"))] } else { Vec::new() }
}

/// Dependencies of any kind in the manifest that no first cell of a table in the document names.
fn unnamed_dependencies(manifest: &str, document: &str) -> Complaints {
    let mut named = BTreeSet::new();
    for row in document.lines().filter_map(|line| line.trim().strip_prefix('|')) {
        let cell = row.split('|').next().unwrap_or_default();
        named.extend(cell.split(|char: char| !(is_word(char) || char == '-')));
    }
    let mut complaints = Vec::new();
    for name in dependencies(manifest) {
        if !named.contains(name.as_str()) {
            complaints.push((1, format!("the table of dependencies does not name {name}")));
        }
    }
    complaints
}

/// The names in the sections `[dependencies]`, `[dev-dependencies]`, `[build-dependencies]`, the same of a target, and
/// in headings such as `[dependencies.name]`.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(heading) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            let is_list = |name: &str| name == "dependencies" || name.ends_with("-dependencies");
            let (before, last) = heading.rsplit_once('.').unwrap_or(("", heading));
            inside = is_list(last);
            if is_list(before.rsplit('.').next().unwrap_or_default()) {
                names.push(last.trim_matches('"').to_owned());
            }
        } else if inside && let Some((name, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            let name = name.trim().split('.').next().unwrap_or_default();
            names.push(name.trim_matches('"').to_owned());
        }
    }
    names
}

fn floor_of(module: &str) -> Option<u32> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// Whether `module` is `ancestor`, given as `a::b`, or lies in it.
fn is_within(module: &[String], ancestor: &str) -> bool {
    let ancestor: Vec<&str> = ancestor.split("::").collect();
    module.len() >= ancestor.len() && ancestor.iter().zip(module).all(|(a, b)| a == b)
}

/// The top-level modules that paths of this file name, each with its line: by `crate::`, or by as many `super::` as
/// lead to the same place. A `mod x { … }` inside the file counts as a level.
fn modules_named(module: &[String], tokens: &[(usize, String)]) -> Vec<(usize, String)> {
    let token = |at: usize| tokens.get(at).map_or("", |(_, token)| token.as_str());
    let mut named = Vec::new();
    let mut braces = 0;
    let mut opened_at = Vec::new();
    for at in 0..tokens.len() {
        match token(at) {
            "{" => braces += 1,
            "}" => {
                braces -= 1;
                opened_at.pop_if(|opened| *opened == braces);
            }
            "mod" if is_name(token(at + 1)) && token(at + 2) == "{" => opened_at.push(braces),
            "crate" | "super" | "self" if at == 0 || token(at - 1) != "::" => {
                follow(tokens, at, module.len() + opened_at.len(), &mut named);
            }
            _ => {}
        }
    }
    named
}

/// Follows one path, or each path of a group in braces, from `levels` below the crate's root; what it names in the root
/// goes to `named`. Returns where it ends.
fn follow(tokens: &[(usize, String)], mut at: usize, mut levels: usize, named: &mut Vec<(usize, String)>) -> usize {
    while let Some((line, token)) = tokens.get(at) {
        match token.as_str() {
            "crate" => levels = 0,
            "super" => levels = levels.saturating_sub(1),
            "self" => {}
            "{" => {
                while tokens.get(at).is_some_and(|(_, token)| token != "}") {
                    at = follow(tokens, at + 1, levels, named);
                }
                return at + 1;
            }
            name => {
                if levels == 0 && (name == "*" || is_name(name)) {
                    named.push((*line, name.to_owned()));
                }
                levels = usize::MAX;
            }
        }
        if tokens.get(at + 1).is_none_or(|(_, token)| token != "::") {
            break;
        }
        at += 2;
    }
    // Past a renaming, to the comma or brace that ends this path in a group.
    while tokens.get(at).is_some_and(|(_, token)| !matches!(token.as_str(), "," | "}" | ";")) {
        at += 1;
    }
    at
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

fn is_name(token: &str) -> bool {
    token.starts_with(|char: char| char.is_alphabetic() || char == '_')
        && !matches!(token, "use" | "pub" | "as" | "in" | "mod" | "crate" | "super" | "self" | "return")
}

/// The names and signs of Rust code with their lines, without comments, strings and characters.
fn tokens(text: &str) -> Vec<(usize, String)> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let end = token_end(&chars, at);
        let first = chars[at];
        let is_text = chars[at..end].contains(&'"') || (first == '\'' && end - at > 1);
        if !first.is_whitespace() && !is_text && !is_comment(&chars, at) {
            tokens.push((line, chars[at..end].iter().collect()));
        }
        line += chars[at..end].iter().filter(|char| **char == '\n').count();
        at = end;
    }
    tokens
}

/// Where the token that begins at `at` ends: a comment, a text, a name or number, `::`, or one character.
fn token_end(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let find = |from: usize, is_end: &dyn Fn(usize) -> bool| (from..rest.len()).find(|place| is_end(*place));
    let word_end = |from: usize| find(from, &|place| !is_word(rest[place]));
    let end = match rest {
        ['/', '/', ..] => find(2, &|place| rest[place] == '\n'),
        ['/', '*', ..] => Some(block_comment_end(rest)),
        ['"', ..] => Some(string_end(rest, 1)),
        ['\'', '\\', ..] => find(3, &|place| rest[place] == '\'').map(|quote| quote + 1),
        ['\'', _, '\'', ..] => Some(3),
        [':', ':', ..] => Some(2),
        [first, ..] if is_word(*first) => {
            let end = word_end(0).unwrap_or(rest.len());
            let prefix: String = rest[..end].iter().collect();
            match prefix.as_str() {
                "b" | "c" if rest.get(end) == Some(&'"') => Some(string_end(rest, end + 1)),
                "r" | "br" | "cr" => Some(raw_string_end(rest, end).unwrap_or(end)),
                _ => Some(end),
            }
        }
        _ => Some(1),
    };
    at + end.unwrap_or(rest.len())
}

fn is_comment(chars: &[char], at: usize) -> bool {
    chars[at] == '/' && matches!(chars.get(at + 1), Some('/' | '*'))
}

fn block_comment_end(rest: &[char]) -> usize {
    let (mut at, mut levels) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => levels += 1,
            ['*', '/', ..] => levels -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if levels == 0 {
            break;
        }
    }
    at
}

/// The place after the quote that ends the string whose first character stands at `at`.
fn string_end(rest: &[char], mut at: usize) -> usize {
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The place after a raw string whose prefix ends at `at`; `None` if there is none.
fn raw_string_end(rest: &[char], at: usize) -> Option<usize> {
    let hashes = rest[at..].iter().take_while(|char| **char == '#').count();
    if rest.get(at + hashes) != Some(&'"') {
        return None;
    }
    let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let from = at + hashes + 1;
    let end = rest[from..].windows(closing.len()).position(|window| window == closing);
    Some(end.map_or(rest.len(), |end| from + end + closing.len()))
}

/// A module path and a piece of its code.
type Sample<'a> = (&'a str, &'a str);

fn lines(rule: fn(&[String], &str) -> Complaints, (module, text): Sample) -> Vec<usize> {
    let module: Vec<String> = module.split("::").map(str::to_owned).collect();
    rule(&module, text).into_iter().map(|(line, _)| line).collect()
}

#[test]
fn arrows_are_seen_however_they_are_written() {
    let bad: [(Sample, &[usize]); 18] = [
        (("base::time", "use crate::domain::id::UserId;"), &[1]),
        (("wire", "\n\nuse crate::auth::jwt;\n"), &[3]),
        (("store", "fn f() { crate::api::g() }"), &[1]),
        (("domain", "type T = Vec<crate::wire::Invalid>;"), &[1]),
        (("api", "use crate::{base::limits::{A, B}, domain, shard::hub::{wire, auth}};"), &[1]),
        (("api", "use crate::{\n    domain,\n    store as s,\n    runtime::{self, x},\n};"), &[3, 4]),
        (("api", "use crate::{{store}, {domain::{a}, responder}};"), &[1, 1]),
        (("api", "pub use super::store;"), &[1]),
        (("api::input", "use super::super::store::Db;"), &[1]),
        (("api::input", "use super::{super::store, error};"), &[1]),
        (("api::input", "use self::super::super::store;"), &[1]),
        (("api::input", "mod tests {\n use super::super::super::store;\n}"), &[2]),
        (("api", "use crate::*;"), &[1]),
        (("api", "use super::*;"), &[1]),
        (("api", "use crate::unheard::of;"), &[1]),
        (("unheard", "fn f() {}"), &[1]),
        (("base", "macro_rules! m { () => { $crate::wire::x } }"), &[1]),
        (("http1", "const A: char = '\"'; use crate::sse::frame; const B: char = '\"';"), &[1]),
    ];
    for (sample, expected) in bad {
        assert_eq!(lines(arrows, sample), expected, "{sample:?}");
    }
    let good = [
        ("wire::reply", "use crate::wire::json::Json; use crate::domain::{command::*, id::{self, UserId}};"),
        ("runtime::server", "use crate::{api, auth, base, config, domain, http1, shard, sse, store, wire};"),
        ("api::input", "use super::error; use super::super::domain; use super::*;"),
        ("api", "mod tests { use super::*; mod deep { use super::super::*; } } fn f() { self.store() }"),
        ("api", "// use crate::store;\n/* crate::store /* nested */ */ /// [`crate::store`]\nfn f() {}"),
        ("api", "const A: &str = \"crate::store\\\"\"; const B: &str = r#\"crate::store \" crate::store\"#;"),
        ("api", "pub(crate) fn f<'a>(x: &'a str) -> char { let c = '\\''; b'\"'; c }"),
        ("api", "use crate::base::{limits::{shard, store}, time as store};"),
        ("api", "fn f() { crate::domain::store::g(store::h) }"),
        ("cli", "use crate::runtime; use crate::store;"),
        ("main", "use crate::cli; use cortex_core::runtime;"),
    ];
    for sample in good {
        assert_eq!(lines(arrows, sample), [], "{sample:?}");
    }
}

#[test]
fn strangers_are_seen() {
    let bad: [Sample; 9] = [
        ("shard", "use mio::Token;"),
        ("api", "use httparse;"),
        ("api", "fn f() -> rusqlite::Result<()> { g() }"),
        ("domain", "#[derive(serde::Serialize)] struct S;"),
        ("api", "let v = ::serde_json::from_str(s);"),
        ("store::journal", "use serde_json::Value;"),
        ("store", "use serde::de;"),
        ("http1", "extern crate mio;"),
        ("database", "use rusqlite::Connection;"),
    ];
    for sample in bad {
        assert_eq!(lines(strangers, sample), [1], "{sample:?}");
    }
    let good = [
        ("runtime::event_loop", "use mio::Token;"),
        ("http1::head", "httparse::Request::new(&mut []);"),
        ("store::sqlite::tables::users", "use rusqlite::Connection;"),
        ("wire::json", "use serde_json::Value;"),
        ("wire::request", "use serde::de::IgnoredAny;"),
        ("auth::jwt", "serde_json::from_slice(b)"),
        ("config", "use serde::Deserialize;"),
        ("api", "// mio::Token\nlet mio = self.mio(); crate::base::mio::x; f(\"serde::x\")"),
    ];
    for sample in good {
        assert_eq!(lines(strangers, sample), [], "{sample:?}");
    }
}

#[test]
fn clock_reads_are_seen() {
    let bad = [
        ("store::writer", "let t = std::time::Instant::now();"),
        ("base::time", "SystemTime :: now()"),
        ("base", "let d = start.elapsed();"),
        ("shard", "#[cfg(test)] mod tests { fn f() { Instant::now(); } }"),
        ("auth", "unsafe { libc::clock_gettime(0, p) }"),
    ];
    for sample in bad {
        assert_eq!(lines(clock_reads, sample), [1], "{sample:?}");
    }
    let good = [
        ("runtime::event_loop", "Instant::now()"),
        ("base::log", "SystemTime::now()"),
        ("main", "Instant::now()"),
        ("cli::serve", "Instant::now()"),
        ("shard", "// Instant::now()\nfn now(elapsed: u64) { self.now.since(self.elapsed) }"),
    ];
    for sample in good {
        assert_eq!(lines(clock_reads, sample), [], "{sample:?}");
    }
}

#[test]
fn unfinished_work_is_seen() {
    for mark in UNFINISHED {
        let text = format!("fn f() {{\n    // {mark}\n    {mark}(\"x\")]\n}}");
        let lines: Vec<usize> = unfinished(&text).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [2, 3], "{mark}");
    }
    let good = concat!("my", "todo", "s! XX", "XX #[ig", "nored] fixme FIX", "MED let todo = 1; AXX", "X");
    assert_eq!(unfinished(good), []);
}

#[test]
fn long_files_are_seen() {
    assert_eq!(too_long(&"x\n".repeat(FILE_LINES_MAX)), []);
    assert_eq!(too_long(&"x\n".repeat(FILE_LINES_MAX + 1)).len(), 1);
}

#[test]
fn dependencies_without_a_reason_are_seen() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\n# off = \"1\"\nmio = { version = \"1\" }\nlog.version = \"1\"\n\
                    [dev-dependencies]\nserde_json = \"1\"\n[dependencies.big-crate]\nversion = \"1\"\n\
                    [target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"\n[profile.dev]\ndebug = 1\n";
    assert_eq!(dependencies(manifest), ["mio", "log", "serde_json", "big-crate", "libc"]);
    let readme =
        "Uses libc and log.\n\n| crate | for |\n| --- | --- |\n| `mio` | `log` |\n| `serde_json`, `big-crate` | x |\n";
    let missing: Vec<String> = unnamed_dependencies(manifest, readme).into_iter().map(|(_, what)| what).collect();
    assert_eq!(missing.len(), 2, "{missing:?}");
    assert!(missing[0].ends_with(" log") && missing[1].ends_with(" libc"), "{missing:?}");
}

#[test]
fn paths_of_files_are_paths_of_modules() {
    let table = [
        ("src/store/data.rs", "store::data"),
        ("src/store/data/mod.rs", "store::data"),
        ("src/wire/request/tests.rs", "wire::request::tests"),
        ("src/main.rs", "main"),
        ("src/lib.rs", ""),
    ];
    for (path, module) in table {
        assert_eq!(module_path(Path::new(path)).join("::"), module);
    }
}
