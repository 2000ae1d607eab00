//! An external crate with owners is named only in its owners' modules.

use crate::Complaints;
use crate::source::{Source, is_name, is_within, text_at};

/// Each external crate that has owners, and the modules that may name it.
const OWNERS: &[(&str, &[&str])] = &[
    ("httparse", &["http1"]),
    ("mio", &["runtime"]),
    ("redis", &["bus"]),
    (
        "rusqlite",
        &[
            "store::error",
            "store::postgres",
            "store::search",
            "store::sql",
            "store::sqlite",
            "store::tests",
            "store::write::writer",
        ],
    ),
    ("serde", &["auth", "config", "wire"]),
    ("rustls", &["base::certificates", "responder::tls"]),
    ("serde_json", &["auth", "config", "responder::openai", "wire"]),
];

/// Uses of an external crate by a module that does not own it.
fn foreign_uses(source: &Source) -> Complaints {
    let tokens = &source.tokens;
    let mut complaints = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Some((name, owners)) = OWNERS.iter().find(|(name, _)| *name == token.text) else { continue };
        let before = at.checked_sub(1).map(|before| tokens[before].text.as_str());
        // `x::mio` and `x.mio` are other items of the same name; `::mio` and `use mio` are the crate.
        let is_inside = before == Some(".") || (before == Some("::") && at > 1 && is_name(&tokens[at - 2].text));
        let is_crate = text_at(tokens, at + 1) == "::" || matches!(before, Some("use" | "crate"));
        if is_crate && !is_inside && !owners.iter().any(|owner| is_within(&source.module, owner)) {
            complaints.push((token.line, format!("{name} is owned by {}", owners.join(", "))));
        }
    }
    complaints
}

#[test]
fn external_crates_are_named_by_their_owners_only() {
    crate::assert_sources_tidy(foreign_uses);
}

#[test]
fn uses_of_a_crate_outside_its_owners_are_found() {
    let bad = [
        ("shard", "use mio::Token;"),
        ("api", "use httparse;"),
        ("api", "fn f() -> rusqlite::Result<()> { g() }"),
        ("domain", "#[derive(serde::Serialize)] struct S;"),
        ("api", "let v = ::serde_json::from_str(s);"),
        ("store::journal", "use serde_json::Value;"),
        ("store", "use serde::de;"),
        ("http1", "extern crate mio;"),
        ("database", "use rusqlite::Connection;"),
        ("store::tables::users", "use rusqlite::params;"),
    ];
    let good = [
        ("runtime::reactor", "use mio::Token;"),
        ("http1::head", "httparse::Request::new(&mut []);"),
        ("store::sqlite::schema", "use rusqlite::Connection;"),
        ("wire::json", "use serde_json::Value;"),
        ("wire::request", "use serde::de::IgnoredAny;"),
        ("auth::jwt", "serde_json::from_slice(b)"),
        ("config", "use serde::Deserialize;"),
        ("api", "// mio::Token\nlet mio = self.mio(); crate::base::mio::x; f(\"serde::x\")"),
    ];
    crate::assert_finds(foreign_uses, &bad, &good);
}
