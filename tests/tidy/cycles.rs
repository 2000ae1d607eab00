//! No two files use each other. A file and the modules inside it may.

use crate::paths::{Named, paths};
use crate::source::{Source, sources, text_at};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of re-exports that are followed to the definition of a name.
const REEXPORTS_MAX: usize = 8;

/// Pairs of modules in files of their own that name each other outside `#[cfg(test)]`, directly or by a re-export.
fn cycles(sources: &[Source]) -> BTreeSet<(String, String)> {
    let files = Files::of(sources);
    let mut uses = BTreeSet::new();
    for source in sources {
        for named in &files.named[source.module.as_slice()] {
            let other = files.defining(&named.path, REEXPORTS_MAX);
            if !source.module.starts_with(other) && !other.starts_with(&source.module) {
                uses.insert((source.name(), other.join("::")));
            }
        }
    }
    uses.iter().filter(|(a, b)| a < b && uses.contains(&(b.clone(), a.clone()))).cloned().collect()
}

/// The paths that each file names and the names that it defines, by module.
struct Files<'a> {
    named: BTreeMap<&'a [String], Vec<Named>>,
    defined: BTreeMap<&'a [String], BTreeSet<&'a str>>,
}

impl<'a> Files<'a> {
    fn of(sources: &'a [Source]) -> Files<'a> {
        let mut files = Files { named: BTreeMap::new(), defined: BTreeMap::new() };
        for source in sources {
            files.named.insert(&source.module, paths(source, &source.code));
            files.defined.insert(&source.module, defined(source));
        }
        files
    }

    /// The module of the file that defines what a path names.
    fn defining(&self, path: &[String], reexports: usize) -> &'a [String] {
        let length = (0..=path.len()).rev().find(|length| self.named.contains_key(&path[..*length])).unwrap_or(0);
        let Some((module, named)) = self.named.get_key_value(&path[..length]) else { return &[] };
        let Some(name) = path.get(length) else { return module };
        if reexports == 0 || self.defined[module].contains(name.as_str()) {
            return module;
        }
        if let Some(named) = named.iter().find(|named| named.alias.as_ref() == Some(name)) {
            return self.defining(&[&named.path, &path[length + 1..]].concat(), reexports - 1);
        }
        for glob in named.iter().filter(|named| named.alias.as_deref() == Some("*")) {
            let inside = &glob.path[..glob.path.len() - 1];
            let other = self.defining(inside, reexports - 1);
            if self.defined.get(other).is_some_and(|defined| defined.contains(name.as_str())) {
                return other;
            }
        }
        module
    }
}

/// The names that a file defines, imports excluded.
fn defined(source: &Source) -> BTreeSet<&str> {
    const KEYWORDS: &[&str] =
        &["struct", "enum", "union", "trait", "type", "fn", "const", "static", "macro_rules", "mut"];
    let code = &source.code;
    let is_definition = |at: usize| at > 0 && KEYWORDS.contains(&text_at(code, at - 1));
    (0..code.len()).filter(|at| is_definition(*at)).map(|at| text_at(code, at)).collect()
}

#[test]
fn no_two_files_use_each_other() {
    let cycles = cycles(sources());
    crate::report("two-file cycles", cycles.len());
    crate::assert_tidy(cycles.iter().map(|(a, b)| format!("{a} and {b} use each other")));
}

#[test]
fn files_that_use_each_other_are_found() {
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let table: [(Pairs, Pairs); 8] = [
        (&[("a", "use crate::b::C; struct D;"), ("b", "use crate::a::D; struct C;")], &[("a", "b")]),
        (&[("m::a", "fn f() { super::b::g() }"), ("m::b", "fn g() { super::a::f() }")], &[("m::a", "m::b")]),
        // By a re-export of the parent, of one name and of all.
        (
            &[
                ("m", "mod a; mod b; pub use a::A;"),
                ("m::a", "use super::b::B; pub struct A;"),
                ("m::b", "use crate::m::A; pub struct B;"),
            ],
            &[("m::a", "m::b")],
        ),
        (
            &[
                ("m", "mod a; mod b; pub use a::*;"),
                ("m::a", "use super::b::B; pub struct A;"),
                ("m::b", "use super::A; pub struct B;"),
            ],
            &[("m::a", "m::b")],
        ),
        // A file and the modules in it.
        (&[("m", "mod a; use a::A; pub struct M;"), ("m::a", "use super::M; pub struct A;")], &[]),
        (&[("", "mod m; use m::a::A;"), ("m::a", "use crate::X; pub struct A;"), ("m", "pub mod a;")], &[]),
        // In one direction only.
        (&[("a", "use crate::b::C;"), ("b", "pub struct C; // crate::a"), ("c", "use crate::{a, b};")], &[]),
        // Used by tests only.
        (&[("a", "use crate::b::C; pub fn d() {}"), ("b", "#[cfg(test)] mod tests { use crate::a::d; }")], &[]),
    ];
    for (files, expected) in table {
        let sources: Vec<Source> = files.iter().map(|(module, text)| Source::sample(module, text)).collect();
        let expected: BTreeSet<(String, String)> =
            expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(cycles(&sources), expected, "{files:?}");
    }
}
