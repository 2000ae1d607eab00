//! The table of dependencies names each dependency of the manifest.

use crate::Complaints;
use crate::source::{is_word, root};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The page with the table.
const PAGE: &str = "docs/dependencies.md";

/// Dependencies of any kind in the manifest that no first cell of a table in the page names.
fn unnamed_dependencies(manifest: &str, page: &str) -> Complaints {
    let mut named = BTreeSet::new();
    for row in page.lines().filter_map(|line| line.trim().strip_prefix('|')) {
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

#[test]
fn every_dependency_has_its_row_in_the_table() {
    // A checkout without documentation has no table.
    if let Ok(page) = fs::read_to_string(root().join(PAGE)) {
        let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a crate has a manifest");
        crate::assert_tidy(crate::on(Path::new(PAGE), unnamed_dependencies(&manifest, &page)));
    }
}

#[test]
fn dependencies_without_a_row_are_found() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\n# off = \"1\"\nmio = { version = \"1\" }\nlog.version = \"1\"\n\
                    [dev-dependencies]\nserde_json = \"1\"\n[dependencies.big-crate]\nversion = \"1\"\n\
                    [target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"\n[profile.dev]\ndebug = 1\n";
    assert_eq!(dependencies(manifest), ["mio", "log", "serde_json", "big-crate", "libc"]);
    let page =
        "Uses libc and log.\n\n| crate | for |\n| --- | --- |\n| `mio` | `log` |\n| `serde_json`, `big-crate` | x |\n";
    let missing: Vec<String> = unnamed_dependencies(manifest, page).into_iter().map(|(_, what)| what).collect();
    assert_eq!(missing.len(), 2, "{missing:?}");
    assert!(missing[0].ends_with(" log") && missing[1].ends_with(" libc"), "{missing:?}");
}
