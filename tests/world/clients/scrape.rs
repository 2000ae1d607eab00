//! `/metrics`, parsed by Prometheus' own client library for Python.

use crate::common::{Client, Server, User};
use crate::tools;
use serde_json::json;
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn the_prometheus_parser_reads_the_metrics() {
    let Some(python) = tools::python("prometheus-client") else { return };
    let server = Server::with(&[("RESPONDER", "echo")]);
    let mut user = User::new(&server, "u");
    user.post("/input", json!({"content": "hello"})).expect(200);
    user.get("/config/workspace/x").expect(404);
    user.get("/no\"such\\path").expect(404);
    let mut stream = user.stream_with("last_event_id=0");
    stream.next_of("caught_up");
    let response = Client::new(server.addr).request("GET", "/metrics").send().expect(200);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/world/clients/scrape.py");
    let mut command = Command::new(python);
    let mut child = command.arg(script).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("Python starts");
    child.stdin.take().expect("a pipe").write_all(&response.body).expect("the parser reads it");
    let output = child.wait_with_output().expect("the parser exits");
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), response.text());
}
