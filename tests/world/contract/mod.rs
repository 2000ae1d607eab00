//! The description of the API against a running server, tested by schemathesis, and against the events of its streams.
//! `tests/formats/openapi.rs` compares it with the program's tables.

mod events;

use crate::common::Server;
use crate::common::token::token;
use crate::tools;
use cortex_core::internals::ROUTES;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The Python interpreter with schemathesis; `None` if these tests are skipped.
fn python() -> Option<PathBuf> {
    const SCHEMATHESIS: tools::Packages = tools::Packages {
        place: "schemathesis",
        requirements: concat!(env!("CARGO_MANIFEST_DIR"), "/tests/world/contract/requirements.txt"),
        modules: "schemathesis, openapi_spec_validator",
    };
    tools::python_with("schemathesis", &SCHEMATHESIS)
}

/// An empty working directory.
fn directory(name: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("contract").join(name);
    // Left by the previous run.
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).expect("a directory to run in");
    place
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    said
}

#[test]
fn the_description_is_an_openapi_document() {
    let Some(python) = python() else { return };
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/openapi.json");
    run(Command::new(python).args(["-m", "openapi_spec_validator", document]));
}

#[test]
fn schemathesis_finds_nothing() {
    let Some(python) = python() else { return };
    let server = Server::with(&[
        ("LOG_LEVEL", "WARNING"),
        ("LOGIN_RATE_LIMIT_PER_MINUTE", "1000000"),
        ("MAX_STREAMS_PER_USER", "0"),
        ("RESPONDER", "echo"),
        // All responders may be named, although this one does not answer.
        ("RESPONDERS_ALLOWED", "none,echo,openai"),
        ("RESPONDER_URL", "http://127.0.0.1:9/v1"),
        ("RESPONDER_MODEL", "none"),
    ]);
    let place = directory("schemathesis");
    let identity = |name: &str| json!({"name": name, "fixedHeaders": [{"name": "Authorization", "value": format!("Bearer {}", token(name))}]});
    let identities = json!({"auth": [identity("first"), identity("second")]});
    for (name, text) in [
        ("auth.json", identities.to_string().as_str()),
        ("hooks.py", include_str!("hooks.py")),
        ("schemathesis.toml", include_str!("schemathesis.toml")),
    ] {
        fs::write(place.join(name), text).expect("the file can be written");
    }
    let mut schemathesis = Command::new(python);
    schemathesis
        .args(["-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run", "--checks", "all"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/openapi.json"))
        .args(["--url", &format!("http://{}", server.addr)])
        .current_dir(&place)
        // The server is local, whatever else needs a proxy.
        .envs([("NO_PROXY", "*"), ("no_proxy", "*"), ("NO_COLOR", "1"), ("PYTHONDONTWRITEBYTECODE", "1")]);
    let said = run(&mut schemathesis);
    let operations: usize = ROUTES.iter().map(|route| route.methods.len()).sum();
    assert!(said.contains("No issues found") && said.contains(&format!("Tested: {operations}")), "{said}");
}
