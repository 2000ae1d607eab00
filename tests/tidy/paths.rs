//! The paths that a file names, from the crate root.

use crate::source::{Source, Token, is_name, text_at};

/// A path that is named at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub line: usize,
    /// From the crate root; the last part may be `*`.
    pub path: Vec<String>,
    /// The local name of a path in a `use` item; `*` for a glob.
    pub alias: Option<String>,
}

/// All paths in `tokens` that begin with `crate`, `super` or `self`, and all paths of `use` items that begin with a module
/// of this file.
pub fn paths(source: &Source, tokens: &[Token]) -> Vec<Named> {
    let mut named = Vec::new();
    let mut inline_modules: Vec<(usize, &str)> = Vec::new();
    let mut braces = 0;
    for at in 0..tokens.len() {
        let text = text_at(tokens, at);
        let is_first = at == 0 || text_at(tokens, at - 1) != "::";
        let is_in_use = at > 0 && text_at(tokens, at - 1) == "use";
        match text {
            "{" => braces += 1,
            "}" => {
                braces -= 1;
                inline_modules.pop_if(|(opened_at, _)| *opened_at == braces);
            }
            "mod" if is_name(text_at(tokens, at + 1)) && text_at(tokens, at + 2) == "{" => {
                inline_modules.push((braces, text_at(tokens, at + 1)));
            }
            "crate" | "super" | "self" if is_first => {
                let first = named.len();
                follow(tokens, at, (&inside(source, &inline_modules), false), &mut named);
                if !is_in_use {
                    named[first..].iter_mut().for_each(|named| named.alias = None);
                }
            }
            name if is_in_use && is_name(name) && declares(tokens, name) => {
                follow(tokens, at, (&inside(source, &inline_modules), false), &mut named);
            }
            _ => {}
        }
    }
    named
}

/// The module that encloses a place in a file.
fn inside(source: &Source, inline_modules: &[(usize, &str)]) -> Vec<String> {
    let inline = inline_modules.iter().map(|(_, name)| (*name).to_owned());
    source.module.iter().cloned().chain(inline).collect()
}

/// Follows one path, or each path of a group in braces, from `module`. `is_begun` is set if the path has a part after
/// its start. Returns the end of the path.
fn follow(tokens: &[Token], mut at: usize, (module, is_begun): (&[String], bool), named: &mut Vec<Named>) -> usize {
    let (mut path, mut is_begun) = (module.to_vec(), is_begun);
    let mut line = None;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "crate" => path.clear(),
            "super" => {
                path.pop();
            }
            "self" => {}
            "{" => {
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = follow(tokens, at + 1, (&path, is_begun), named);
                }
                return at + 1;
            }
            name if name == "*" || is_name(name) => {
                path.push(name.to_owned());
                line.get_or_insert(token.line);
                is_begun = true;
            }
            _ => break,
        }
        if text_at(tokens, at + 1) != "::" {
            at += 1;
            break;
        }
        at += 2;
    }
    // `{self}` names the path before the group.
    let line = line.or_else(|| (is_begun && at > 0).then(|| tokens[at - 1].line));
    if let Some(line) = line {
        let renamed = (text_at(tokens, at) == "as").then(|| text_at(tokens, at + 1));
        let alias = renamed.or(path.last().map(String::as_str)).map(str::to_owned);
        named.push(Named { line, path, alias });
    }
    // Skips to the comma or brace that ends this path in a group.
    while tokens.get(at).is_some_and(|token| !matches!(token.text.as_str(), "," | "}" | ";")) {
        at += 1;
    }
    at
}

/// Whether a file declares a module of this name.
fn declares(tokens: &[Token], name: &str) -> bool {
    tokens
        .windows(3)
        .any(|three| three[0].text == "mod" && three[1].text == name && matches!(three[2].text.as_str(), ";" | "{"))
}

#[test]
fn paths_are_found_however_they_are_written() {
    type Found<'a> = &'a [(&'a str, Option<&'a str>)];
    let table: [(&str, &str, Found); 9] = [
        ("a", "use crate::b::C; fn f() { crate::d::e() }", &[("b::C", Some("C")), ("d::e", None)]),
        (
            "a::b",
            "use super::c::{self, d, e as f, g::{*, h}};",
            &[
                ("a::c", Some("c")),
                ("a::c::d", Some("d")),
                ("a::c::e", Some("f")),
                ("a::c::g::*", Some("*")),
                ("a::c::g::h", Some("h")),
            ],
        ),
        ("a", "mod b; pub use b::C; use std::fmt;", &[("a::b::C", Some("C"))]),
        ("a", "mod tests { use super::*; fn f() { super::super::b::c() } }", &[("a::*", Some("*")), ("b::c", None)]),
        ("a", "impl S { pub(crate) fn f(&self) -> Self { self.g::<u8>() } }", &[]),
        ("a", "fn f() { crate::b::g::<crate::c::D>(self) }", &[("b::g", None), ("c::D", None)]),
        ("a::b", "pub(in crate::a) fn f() { self::c() }", &[("a", None), ("a::b::c", None)]),
        ("a", "use crate::{b, c::{d}};", &[("b", Some("b")), ("c::d", Some("d"))]),
        ("a", "// crate::b\nconst C: &str = \"crate::c\";", &[]),
    ];
    for (module, text, expected) in table {
        let source = Source::sample(module, text);
        let found: Vec<(String, Option<String>)> =
            paths(&source, &source.tokens).into_iter().map(|named| (named.path.join("::"), named.alias)).collect();
        let expected: Vec<(String, Option<String>)> =
            expected.iter().map(|(path, alias)| ((*path).to_owned(), alias.map(str::to_owned))).collect();
        assert_eq!(found, expected, "{module}: {text}");
    }
}
