//! Code that only `tests/`, `benches/` or `fuzz/` name is not part of the program. The compiler cannot report it, since
//! it is visible to them.

use crate::source::{Source, Token, is_name, item_end, outside, sources, text_at};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Items that only tests name, each with its reason.
const FOR_TESTS: &[(&str, &str)] = &[
    ("check_invariants", "the simulation calls it after every step"),
    ("checkpoint_after", "the tests of power cuts have short logs, and need checkpoints"),
    ("overlook_external_writes", "the simulation plants the mistake that a writer does not notice other instances"),
    ("checkpoint_after", "the tests of power cuts let a short log be copied"),
    ("check_search_index", "the simulation calls it at the end of a run, because it reads all texts"),
];

/// An item that other modules may name.
#[derive(Debug)]
struct Item<'a> {
    line: usize,
    name: &'a str,
    /// Its tokens.
    range: Range<usize>,
}

/// Items of `sources` that nothing in `sources` names outside their own definition, but something in `outside` does:
/// the path, the line and the name.
fn test_only<'a>(sources: &'a [Source], outside: &[Source]) -> Vec<(&'a Source, usize, &'a str)> {
    let named_outside: BTreeSet<&str> =
        outside.iter().flat_map(|source| &source.tokens).map(|token| token.text.as_str()).collect();
    // How often the program names each name.
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    // How often it does so within the items of that name.
    let mut own: BTreeMap<&str, usize> = BTreeMap::new();
    let mut items = Vec::new();
    for source in sources {
        let code = source.code.as_slice();
        let reexports = reexports(source);
        for (at, token) in code.iter().enumerate() {
            if !reexports.iter().any(|range| range.contains(&at)) {
                *counts.entry(token.text.as_str()).or_default() += 1;
            }
        }
        let visible = visible_items(code);
        let names: BTreeSet<&str> = visible.iter().map(|item| item.name).collect();
        let mut ranges: Vec<(&str, Range<usize>)> =
            visible.iter().map(|item| (item.name, item.range.clone())).collect();
        ranges.extend(impls(code).into_iter().filter(|(name, _)| names.contains(name)));
        for (name, range) in ranges {
            let count = code[range].iter().filter(|token| token.text == name).count();
            *own.entry(name).or_default() += count;
        }
        items.extend(visible.into_iter().map(|item| (source, item.line, item.name)));
    }
    items.retain(|(_, _, name)| counts.get(name) == own.get(name) && named_outside.contains(name));
    items
}

/// The module `internals` and its `use` items, which export items to tests.
fn reexports(source: &Source) -> Vec<Range<usize>> {
    let code = &source.code;
    let is_internals = |at: &usize| {
        let is_inline = source.module.is_empty() && text_at(code, *at) == "mod" && text_at(code, at + 1) == "internals";
        is_inline || (*at == 0 && source.module == ["internals"])
    };
    let end = |at| if source.module.is_empty() { item_end(code, at) } else { code.len() };
    (0..code.len()).filter(is_internals).map(|at| at..end(at)).collect()
}

/// The items and methods with `pub` of any kind.
fn visible_items(code: &[Token]) -> Vec<Item<'_>> {
    const QUALIFIERS: &[&str] = &["async", "const", "extern", "unsafe"];
    let mut items = Vec::new();
    for start in (0..code.len()).filter(|at| text_at(code, *at) == "pub") {
        let mut at = start + 1;
        if text_at(code, at) == "(" {
            at += code[at..].iter().position(|token| token.text == ")").map_or(0, |end| end + 1);
        }
        while QUALIFIERS.contains(&text_at(code, at)) && !is_item_name(text_at(code, at + 1)) {
            at += 1;
        }
        let keyword = text_at(code, at);
        if !matches!(keyword, "const" | "enum" | "fn" | "static" | "struct" | "trait" | "type" | "union") {
            continue;
        }
        at += if text_at(code, at + 1) == "mut" { 2 } else { 1 };
        let name = text_at(code, at);
        if is_item_name(name) {
            items.push(Item { line: code[at].line, name, range: start..item_end(code, at) });
        }
    }
    items
}

fn is_item_name(text: &str) -> bool {
    is_name(text) && !matches!(text, "async" | "const" | "extern" | "fn" | "unsafe")
}

/// Each `impl` block with the name of the type that it is for.
fn impls(code: &[Token]) -> Vec<(&str, Range<usize>)> {
    let mut blocks = Vec::new();
    for start in (0..code.len()).filter(|at| text_at(code, *at) == "impl") {
        let before = if start == 0 { "" } else { text_at(code, start - 1) };
        if !matches!(before, "" | "{" | "}" | ";" | "]" | "unsafe") {
            continue;
        }
        let mut depth = 0;
        let mut name = "";
        for at in start + 1..code.len() {
            match text_at(code, at) {
                "{" => break,
                "where" if depth == 0 => break,
                "<" => depth += 1,
                ">" if text_at(code, at - 1) != "-" => depth -= 1,
                // The name before `for` was the trait.
                "for" if depth == 0 => name = "",
                text if depth == 0 && is_name(text) => name = text,
                _ => {}
            }
        }
        blocks.push((name, start..item_end(code, start)));
    }
    blocks
}

#[test]
fn nothing_in_the_program_is_for_tests_only() {
    let mut found = test_only(sources(), outside());
    found.retain(|(_, _, name)| !FOR_TESTS.iter().any(|(allowed, _)| allowed == name));
    crate::report("items that only tests name", found.len());
    crate::assert_tidy(
        found.iter().map(|(source, line, name)| format!("{}:{line}: only tests name {name}", source.path.display())),
    );
}

#[test]
fn items_for_tests_only_are_found() {
    let outside = [Source::sample("t", "use x::{A, B, C, D, E, F, G, H, i, J, k, l, m, N, o}; A.p();")];
    let sources = [
        // Named by itself, by its own block, by unit tests and by a re-export only.
        Source::sample(
            "a",
            "pub struct A; impl A { pub fn new() -> A { A } }\n#[cfg(test)] mod tests { fn t() { A::new() } }",
        ),
        Source::sample("b", "pub(crate) const B: u8 = 1;\npub const unsafe fn i() { i() }\npub static mut J: u8 = 1;"),
        Source::sample("c", "pub enum C { X }\nimpl fmt::Display for C { }\npub trait D {} pub type E = u8;"),
        Source::sample("internals", "pub use crate::{a::A, b::B};"),
        Source::sample("", "mod internals { pub use crate::c::C; }"),
        // Named elsewhere, not visible, or not named.
        Source::sample("d", "pub struct F; fn f() -> F { F } pub struct G(H); pub struct H; struct N; fn o() {}"),
        Source::sample("e", "pub fn k() {} fn g(x: impl Fn()) { k(); x.p() } pub fn unused() {}\nuse crate::d::G;"),
        Source::sample(
            "f",
            "impl Q { pub fn l(&self) {} pub async fn m() {} pub fn p(&self) {} } fn h() { Q.l(); Q::m() }",
        ),
    ];
    let found: Vec<(String, usize, &str)> =
        test_only(&sources, &outside).into_iter().map(|(source, line, name)| (source.name(), line, name)).collect();
    let expected =
        [("a", 1, "A"), ("b", 1, "B"), ("b", 2, "i"), ("b", 3, "J"), ("c", 1, "C"), ("c", 3, "D"), ("c", 3, "E")];
    assert_eq!(found, expected.map(|(module, line, name)| (module.to_owned(), line, name)));
}
