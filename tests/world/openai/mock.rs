//! The upstream: `@copilotkit/aimock`, a mock of OpenAI's API, with the answers of `fixtures.json`, which it chooses by the
//! last user message.

use super::client::{Clients, directory};
use crate::common::port::free_port;
use crate::common::{Client, Options, Server, eventually};
use serde_json::{Value, json};
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The running mock; it ends on drop.
pub struct Mock {
    addr: SocketAddr,
    child: Child,
}

impl Mock {
    /// Starts it on a free port.
    #[track_caller]
    pub fn start(clients: &Clients) -> Mock {
        let port = free_port();
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("aimock-{port}.log"));
        let log = File::create(log).expect("a log file");
        let child = Command::new("node")
            .arg(clients.node.join("node_modules/@copilotkit/aimock/dist/cli.js"))
            .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--metrics", "--validate-on-load"])
            .arg("--fixtures")
            .arg(directory().join("fixtures.json"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("Node starts");
        let mock = Mock { addr: SocketAddr::from(([127, 0, 0, 1], port)), child };
        eventually("the mock listens", || TcpStream::connect(mock.addr).is_ok());
        mock
    }

    /// A server that passes requests on to the mock, as the models `small` and `large`.
    #[track_caller]
    pub fn serve(&self) -> Server {
        let options =
            Options::new().set("RESPONDER", "openai").set("RESPONDER_URL", format!("http://{}/v1", self.addr));
        Server::start(options.set("RESPONDER_MODEL", "small").set("RESPONDER_MODELS", "small,large"))
    }

    /// The bodies of the requests that have arrived since the last call.
    #[track_caller]
    pub fn arrived(&self) -> Vec<Value> {
        let mut client = Client::new(self.addr);
        let journal = client.request("GET", "/__aimock/journal").send().expect(200).json();
        client.request("POST", "/__aimock/reset/journal").json(&json!({})).send().expect(200);
        journal.as_array().expect("the journal is a list").iter().map(|entry| entry["body"].clone()).collect()
    }

    /// The number of requests whose connection closed before the answer was complete.
    #[track_caller]
    pub fn aborted(&self) -> u64 {
        let metrics = Client::new(self.addr).request("GET", "/metrics").send().expect(200);
        let line = metrics.text().lines().find(|line| line.contains("status=\"destroyed\"")).unwrap_or("0");
        line.rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a number")
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
