//! A module uses only layers below its own. Some directories have inner directions as well.

use crate::Complaints;
use crate::paths::paths;
use crate::source::{Source, is_within, sources, text_at};
use std::collections::BTreeSet;

/// Each top-level module and its layer.
const LAYERS: &[(&str, u32)] = &[
    ("base", 0),
    ("domain", 1),
    ("auth", 2),
    ("config", 2),
    ("http1", 2),
    ("sse", 2),
    ("wire", 2),
    ("api", 3),
    ("bus", 3),
    ("responder", 3),
    ("store", 3),
    ("shard", 4),
    ("runtime", 5),
    ("cli", 6),
    // The crate root, which names all modules.
    ("internals", 7),
    ("main", 7),
];

/// Modules, and the modules or crates that they do not name, though they are in the same top-level module.
const INNER: &[(&str, &[&str])] = &[
    // The rules are independent of the engine.
    (
        "store::rules",
        &[
            "store::admin",
            "store::postgres",
            "store::read",
            "store::search",
            "store::sql",
            "store::sqlite",
            "store::tables",
            "store::write",
            "rusqlite",
        ],
    ),
    ("store::tables", &["store::read", "store::write"]),
];

/// Uses of a module that is not in a layer below.
fn upward_uses(source: &Source) -> Complaints {
    let Some(from) = source.module.first() else { return Vec::new() };
    let Some(layer) = layer_of(from) else { return vec![(1, format!("the module {from} is in no layer"))] };
    let mut complaints = BTreeSet::new();
    for named in paths(source, &source.tokens) {
        let Some(to) = named.path.first() else { continue };
        match layer_of(to) {
            _ if to == from => {}
            None => _ = complaints.insert((named.line, format!("{from} names {to}, which is in no layer"))),
            Some(below) if below < layer => {}
            Some(above) => {
                complaints.insert((named.line, format!("{from} (layer {layer}) names {to} (layer {above})")));
            }
        }
    }
    complaints.into_iter().collect()
}

/// Uses against an inner direction.
fn inner_uses(source: &Source) -> Complaints {
    let mut complaints = BTreeSet::new();
    for (from, others) in INNER.iter().filter(|(from, _)| is_within(&source.module, from)) {
        for named in paths(source, &source.tokens) {
            if let Some(other) = others.iter().find(|other| is_within(&named.path, other)) {
                complaints.insert((named.line, format!("{from} names {other}")));
            }
        }
        for (at, token) in source.tokens.iter().enumerate() {
            let is_path = text_at(&source.tokens, at + 1) == "::" || (at > 0 && source.tokens[at - 1].text == "use");
            if is_path && others.contains(&token.text.as_str()) {
                complaints.insert((token.line, format!("{from} names {}", token.text)));
            }
        }
    }
    complaints.into_iter().collect()
}

fn layer_of(module: &str) -> Option<u32> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

#[test]
fn modules_use_only_layers_below_their_own() {
    crate::report("upward dependencies", sources().iter().map(|source| upward_uses(source).len()).sum());
    crate::assert_sources_tidy(upward_uses);
}

#[test]
fn inner_directions_hold() {
    let count: usize = sources().iter().map(|source| inner_uses(source).len()).sum();
    crate::report("uses against an inner direction", count);
    crate::assert_sources_tidy(inner_uses);
}

#[test]
fn upward_uses_are_found_however_they_are_written() {
    let bad: [((&str, &str), &[usize]); 18] = [
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
        assert_eq!(crate::lines(upward_uses, sample), expected, "{sample:?}");
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
        assert_eq!(crate::lines(upward_uses, sample), [], "{sample:?}");
    }
}

#[test]
fn uses_against_an_inner_direction_are_found() {
    let bad = [
        ("store::rules", "use super::sqlite::Tables;"),
        ("store::rules::commands::post", "use crate::store::{sqlite};"),
        ("store::rules::rows", "use crate::store::tables::users;"),
        ("store::rules", "fn f() -> rusqlite::Result<()> { g() }"),
        ("store::rules", "use rusqlite;"),
        ("store::tables::users", "fn f() { super::super::write::g() }"),
        ("store::tables", "use super::read;"),
    ];
    for sample in bad {
        assert_eq!(crate::lines(inner_uses, sample), [1], "{sample:?}");
    }
    let good = [
        ("store::rules", "use super::rows::Rows; // sqlite::Tables\nfn f(sqlite: u8) {}"),
        ("store::write", "use super::tables::users; use super::read::page; use crate::store::rules;"),
        ("store::tables::users", "use crate::store::sql::Connection; fn f() { self.read() }"),
    ];
    for sample in good {
        assert_eq!(crate::lines(inner_uses, sample), [], "{sample:?}");
    }
}
