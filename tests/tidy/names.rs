//! A type name is defined once in the crate, private types and those of unit tests included.

use crate::source::{Source, Token, sources, text_at};
use std::collections::BTreeMap;
use std::path::Path;

/// The type names that a file defines, each with its line. An associated type is not a definition.
fn type_names(tokens: &[Token]) -> Vec<(usize, &str)> {
    let mut names = Vec::new();
    // The brace depths of open `impl` and `trait` bodies.
    let mut bodies = Vec::new();
    let (mut depth, mut is_body_next) = (0, false);
    for (at, token) in tokens.iter().enumerate() {
        let before = if at == 0 { "" } else { text_at(tokens, at - 1) };
        let name = text_at(tokens, at + 1);
        let is_named = name.starts_with(|char: char| char.is_alphabetic() || char == '_');
        match token.text.as_str() {
            "{" => {
                depth += 1;
                if std::mem::take(&mut is_body_next) {
                    bodies.push(depth);
                }
            }
            "}" => {
                bodies.pop_if(|body| *body == depth);
                depth -= 1;
            }
            ";" => is_body_next = false,
            // `impl` within a type follows other tokens.
            "impl" if matches!(before, "" | "{" | "}" | ";" | "]" | "unsafe") => is_body_next = true,
            "struct" | "enum" if is_named => names.push((token.line, name)),
            "trait" if is_named => {
                is_body_next = true;
                names.push((token.line, name));
            }
            "union" if is_named && matches!(text_at(tokens, at + 2), "{" | "<") => names.push((token.line, name)),
            "type" if is_named && before != "#" && bodies.last() != Some(&depth) => names.push((token.line, name)),
            _ => {}
        }
    }
    names
}

/// The names that are defined more than once, with their places.
fn defined_twice(sources: &[Source]) -> BTreeMap<&str, Vec<(&Path, usize)>> {
    let mut places: BTreeMap<&str, Vec<(&Path, usize)>> = BTreeMap::new();
    for source in sources {
        for (line, name) in type_names(&source.tokens) {
            places.entry(name).or_default().push((&source.path, line));
        }
    }
    places.retain(|_, places| places.len() > 1);
    places
}

#[test]
fn each_type_name_is_defined_once() {
    let twice = defined_twice(sources());
    crate::report("type names defined twice", twice.len());
    crate::assert_tidy(twice.iter().flat_map(|(name, places)| {
        places.iter().map(move |(path, line)| format!("{}:{line}: {name} is defined more than once", path.display()))
    }));
}

#[test]
fn type_names_are_found() {
    let table: [(&str, &[&str]); 10] = [
        ("pub struct A; pub(crate) enum B { C } struct D<T>(T);", &["A", "B", "D"]),
        ("type A = u8; union B { c: u8 } let union = 1; union(2);", &["A", "B"]),
        ("trait A { type B; fn c() { struct D; } }", &["A", "D"]),
        ("impl Iterator for A { type Item = u8; fn f() { type B = u8; } } type C = u8;", &["B", "C"]),
        ("#[x] unsafe impl<T: Fn() -> u8> B for A<T> where T: C { type D = u8; }", &[]),
        ("fn f(a: impl Fn() -> u8) -> impl Fn() { type B = u8; }", &["B"]),
        ("mod tests { struct A; mod b { enum C {} } }", &["A", "C"]),
        ("// struct A;\nconst B: &str = \"struct C;\"; let r#type = x.r#type; fn f() {}", &[]),
        ("macro_rules! m { ($name:ident) => { struct $name; struct A; } }", &["A"]),
        ("static A: B = B { c: 1 }; impl A for B {} type C = D;", &["C"]),
    ];
    for (text, expected) in table {
        let source = Source::sample("a", text);
        let found: Vec<&str> = type_names(&source.tokens).into_iter().map(|(_, name)| name).collect();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn names_that_are_defined_twice_are_found() {
    let sources = [
        Source::sample("a", "struct A; mod b { struct A; }\nstruct B;"),
        Source::sample("c", "\nenum B {} struct C; impl D for C { type A = u8; type E = u8; }"),
    ];
    let found = defined_twice(&sources);
    let lines: Vec<(&str, Vec<usize>)> =
        found.iter().map(|(name, places)| (*name, places.iter().map(|(_, line)| *line).collect())).collect();
    assert_eq!(lines, [("A", vec![1, 1]), ("B", vec![2, 2])]);
}
