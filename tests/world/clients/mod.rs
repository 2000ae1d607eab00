//! Clients that others wrote: curl, Python's httpx-sse and the EventSource of Node each follow a stream through a restart
//! and a kill of the server while messages keep coming, come back by themselves, and have every message once. And
//! Prometheus' own parser reads what is counted, python-jose understands our tokens, as we do its, Starlette's middleware
//! says what pages are to see of origins and hosts.

mod scrape;

use crate::common::port::free_port;
use crate::common::publish::{Acknowledged, Publisher};
use crate::common::token::{KEY, token};
use crate::common::user::text;
use crate::common::{Options, Server, User};
use crate::tools;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

const PUBLISHERS: usize = 2;
/// Messages that are posted before anything happens to the server.
const MESSAGES_BEFORE: usize = 100;
/// How long a publisher waits between two messages, so that they are spread over the whole test.
const PUBLISHING_PAUSE: Duration = Duration::from_millis(5);
/// How long a client may take to do what is waited for. Clients come back within a few seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn curl_resumes_a_stream_through_restarts() {
    if !tools::curl() {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/world/clients/follow.sh");
    follow_through_restarts(|server| {
        let mut command = Command::new("bash");
        command.arg(script).arg(url(server.addr, "")).env("TOKEN", token("reader"));
        command
    });
}

#[test]
fn httpx_sse_follows_a_stream_through_restarts() {
    let Some(python) = tools::python("httpx-sse") else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/world/clients/follow.py");
    follow_through_restarts(|server| {
        let mut command = Command::new(python);
        command.arg(script).arg(url(server.addr, "")).env("TOKEN", token("reader"));
        command
    });
}

/// As a browser does it: with a ticket in a URL that stays the same.
#[test]
fn an_event_source_follows_a_stream_through_restarts() {
    let Some(script) = tools::node() else { return };
    follow_through_restarts(|server| {
        let ticket = User::new(server, "reader").post("/auth/stream-ticket", json!({})).expect(200);
        let query = format!("?ticket={}", text(&ticket.json()["ticket"]));
        let mut command = Command::new("node");
        command.arg(script).arg(url(server.addr, &query));
        command
    });
}

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

fn url(addr: SocketAddr, query: &str) -> String {
    format!("http://{addr}/output/stream{query}")
}

fn follow_through_restarts(command: impl FnOnce(&Server) -> Command) {
    let settings = [("HEARTBEAT_INTERVAL_SECONDS", "1"), ("LOG_LEVEL", "WARNING")];
    let options = settings.iter().fold(Options::new(), |options, (name, value)| options.set(name, value));
    let mut server = Server::start(options.set("PORT", free_port()));
    let names: Vec<String> = (0..PUBLISHERS).map(|n| format!("publisher{n}")).collect();
    let mut owner = User::new(&server, "reader");
    let workspace = owner.create_workspace("w");
    let participants: Vec<&str> = names.iter().map(String::as_str).collect();
    let conversation = owner.create_conversation(&workspace, "t", &participants);
    drop(owner);

    let mut client = Client::start(command(&server));
    client.wait_for("connection_established");
    let (addr, stop, count) = (server.addr, AtomicBool::new(false), AtomicUsize::new(0));
    let mut acknowledged: Vec<Acknowledged> = thread::scope(|scope| {
        let publishers: Vec<_> = names
            .iter()
            .map(|name| {
                let (conversation, stop, count) = (&conversation, &stop, &count);
                scope.spawn(move || publish(addr, name, conversation, stop, count))
            })
            .collect();
        // Publishers that are not told to stop would be waited for, also when this thread gives up.
        let stopping = Stopping(&stop);
        for way in ["restart", "kill"] {
            let enough = count.load(Ordering::Relaxed) + MESSAGES_BEFORE;
            wait_until(|| count.load(Ordering::Relaxed) >= enough);
            if way == "kill" {
                server.kill();
            }
            server.restart();
            client.wait_for("connection_established");
            client.wait_for("input");
        }
        drop(stopping);
        publishers.into_iter().flat_map(|publisher| publisher.join().expect("a publisher got through")).collect()
    });
    acknowledged.push(Publisher::new(addr, "reader").post(&conversation, "the end"));
    acknowledged.sort();
    let expected: Vec<(u64, String)> =
        acknowledged.into_iter().map(|message| (message.number, message.content)).collect();
    let seen = client.messages_to_the_end();
    let same = expected.iter().zip(&seen).take_while(|(want, got)| want == got).count();
    assert!(
        same == expected.len() && same == seen.len(),
        "{same} of {} are right; then {:?}, not {:?}",
        expected.len(),
        seen.get(same),
        expected.get(same)
    );
}

struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn wait_until(is_so: impl Fn() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < end, "the publishers are stuck");
        thread::sleep(Duration::from_millis(5));
    }
}

fn publish(
    addr: SocketAddr,
    name: &str,
    conversation: &str,
    stop: &AtomicBool,
    count: &AtomicUsize,
) -> Vec<Acknowledged> {
    let mut publisher = Publisher::new(addr, name);
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        // With what some clients take for the end of a line.
        let content = format!("{name} {} é😀\u{85}\u{2028}\u{2029}\r\n\u{b}\u{c}\u{1e} end", acknowledged.len());
        acknowledged.push(publisher.post(conversation, &content));
        count.fetch_add(1, Ordering::Relaxed);
        thread::sleep(PUBLISHING_PAUSE);
    }
    acknowledged
}

/// A client that runs, and what it prints: one line of JSON for each event. Is killed when dropped.
struct Client {
    child: Child,
    lines: Receiver<String>,
    messages: Vec<(u64, String)>,
    /// When what is waited for now should be there.
    end: Instant,
}

impl Client {
    fn start(mut command: Command) -> Client {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("it starts");
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                // The test may have given up.
                let _ = sender.send(line.expect("what a client prints is text"));
            }
        });
        Client { child, lines, messages: Vec::new(), end: Instant::now() + TIMEOUT }
    }

    /// The next event; `None` when the client has ended.
    fn next(&mut self) -> Option<Value> {
        // Heartbeats would keep alive a wait for what never comes.
        let left = self.end.saturating_duration_since(Instant::now());
        let line = match self.lines.recv_timeout(left) {
            Ok(line) if !left.is_zero() => line,
            Err(RecvTimeoutError::Disconnected) => return None,
            _ => panic!("what is waited for does not come, after {} messages", self.messages.len()),
        };
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let data = &event["data"];
        assert_ne!(data["type"], "gap", "{line}");
        if data["type"] == "input" {
            let number = text(&event["id"]).parse().unwrap_or_else(|_| panic!("an id: {line}"));
            self.messages.push((number, text(&data["data"]["content"])));
        }
        Some(event)
    }

    /// Reads on to an event of that type.
    fn wait_for(&mut self, kind: &str) {
        self.end = Instant::now() + TIMEOUT;
        while self.next().unwrap_or_else(|| panic!("it ended before {kind}"))["data"]["type"] != kind {}
    }

    /// Waits for its end, which must be a good one: all messages that it has printed, numbers and contents.
    fn messages_to_the_end(mut self) -> Vec<(u64, String)> {
        self.end = Instant::now() + TIMEOUT;
        while self.next().is_some() {}
        let status = self.child.wait().expect("it can be waited for");
        assert!(status.success(), "{status}");
        std::mem::take(&mut self.messages)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
