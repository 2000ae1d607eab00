//! Programs that others wrote use the server. Popular clients of event streams go through cuts, a restart and a kill of the
//! server, and show every message once. Prometheus' own parser reads the metrics, python-jose and the server read each
//! other's tokens, and origins and hosts are matched as Starlette's middleware does it.

pub mod browser;
pub mod cutter;
mod docs;
mod faults;
pub mod follower;
pub mod matrix;
mod scrape;

use crate::common::token::KEY;
use crate::common::user::text;
use crate::common::{Options, Server, User};
use crate::tools;
use serde_json::{Value, json};
use std::process::{Command, Stdio};

/// The same requests to our server and to Starlette's middleware, which FastAPI has its own from: pages see the same.
#[test]
fn origins_and_hosts_are_matched_as_in_starlette() {
    let Some(python) = tools::python("Starlette") else { return };
    let compare = |settings: &[(&str, &str)], what: &str, setting: &str| {
        let server = Server::with(settings);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/world/clients/cors.py");
        let mut command = Command::new(&python);
        command.args([script, &format!("http://{}", server.addr), what, setting]).stdin(Stdio::null());
        let output = command.output().expect("Python starts");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{what} {setting}: {}", String::from_utf8_lossy(&said));
    };
    compare(&[], "cors", "unset");
    for origins in ["*", "https://app.example,http://localhost:3000"] {
        compare(&[("ALLOW_ORIGINS", origins)], "cors", origins);
    }
    for hosts in ["localhost,127.0.0.1,[::1]", "*.example.org,other.example"] {
        compare(&[("ALLOWED_HOSTS", &format!("{hosts},127.0.0.1"))], "hosts", &format!("{hosts},127.0.0.1"));
    }
}

/// What the server signs, python-jose verifies; what that signs, the server does.
#[test]
fn tokens_are_interchangeable_with_python_jose() {
    let Some(python) = tools::python("python-jose") else { return };
    let server = Server::start(Options::new());
    let ours = User::new(&server, "ü of jose").post("/auth/refresh", json!({})).expect(200);
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/world/clients/read_token.py"))
        .arg(text(&ours.json()["access_token"]))
        .env("KEY", KEY)
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("what it prints is text");
    let (claims, theirs) = said.trim().split_once('\n').expect("two lines");
    let claims: Value = serde_json::from_str(claims).expect("claims are JSON");
    assert_eq!((&claims["oid"], &claims["name"]), (&json!("ü of jose"), &json!("Name of ü of jose")));
    let verified = User::with_token(&server, "ü of jose", theirs).get("/auth/verify").expect(200).json();
    assert_eq!((&verified["user_id"], &verified["name"]), (&json!("ü of jose"), &json!("Näme of jose")));
}
