//! The server in control groups with little memory, under everything that takes memory at once. The kernel never kills it,
//! every acknowledged message is found afterwards, and every rejection states its reason.

mod control_group;

use crate::common::process::held_bytes;
use crate::common::token::token;
use crate::common::{Client, Options, Origin, Response, Sandbox, Server, assert_error};
use control_group::{ControlGroup, Held};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const MIB: u64 = 1024 * 1024;
/// How long the load lasts.
const LOAD: Duration = Duration::from_secs(8);
/// The time between two measurements.
const PAUSE: Duration = Duration::from_millis(10);
const STREAMS: usize = 1000;

#[test]
fn sixteen_mebibytes_are_enough_under_every_load() {
    run(16);
}

#[test]
fn twenty_four_mebibytes_are_enough_under_every_load() {
    run(24);
}

#[test]
fn thirty_two_mebibytes_are_enough_under_every_load() {
    run(32);
}

#[test]
fn sixty_four_mebibytes_are_enough_under_every_load() {
    run(64);
}

/// The parts of the load count what they got here.
struct Load {
    addr: SocketAddr,
    is_over: AtomicBool,
    counts: Mutex<BTreeMap<String, u64>>,
    /// User, id and content of each acknowledged message.
    acknowledged: Mutex<Vec<(&'static str, String, String)>>,
    posted: AtomicU64,
}

impl Load {
    fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    fn count(&self, part: &str, what: impl std::fmt::Display) {
        *self.counts.lock().unwrap().entry(format!("{part} {what}")).or_default() += 1;
    }

    fn counted(&self, name: &str) -> u64 {
        self.counts.lock().unwrap().get(name).copied().unwrap_or_default()
    }

    /// Counts a response, which is a success or states its reason.
    fn check(&self, part: &str, response: &Response) {
        let code = match response.status {
            200 => return self.count(part, 200),
            413 => "payload_too_large",
            429 => "rate_limited",
            503 => "service_unavailable",
            _ => panic!("{part}: {}", response.shown()),
        };
        let error = assert_error(response, response.status, code);
        self.count(part, format!("{} {}", response.status, error["message"].as_str().unwrap_or_default()));
    }

    /// Sends requests until the end. A server without room may close the connection.
    fn repeat(&self, part: &str, mut send: impl FnMut(&mut Client) -> std::io::Result<Response>) {
        let mut client = Client::new(self.addr);
        while !self.is_over() {
            match send(&mut client) {
                Ok(response) => {
                    self.check(part, &response);
                    if response.status == 503 {
                        thread::sleep(Duration::from_millis(10));
                    }
                }
                Err(_) => {
                    self.count(part, "closed");
                    client = Client::new(self.addr);
                    thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }

    fn log_in(&self) {
        let login = json!({"email": "user@example.com", "password": "password123"});
        self.repeat("login", |client| client.request("POST", "/auth/login").json(&login).try_send());
    }

    fn post(&self, user: &'static str, bytes: usize) {
        let token = token(user);
        self.repeat(&format!("post of {bytes}"), |client| {
            let number = self.posted.fetch_add(1, Relaxed);
            let content = format!("{number} {}", "m".repeat(bytes));
            let request = client.request("POST", "/conversations/default/messages").token(&token);
            let response = request.json(&json!({"content": content})).try_send()?;
            if response.status == 200 {
                let id = response.json()["id"].as_str().expect("an id").to_owned();
                self.acknowledged.lock().unwrap().push((user, id, content));
            }
            Ok(response)
        });
    }

    /// Begins requests without ending them.
    fn leave_unfinished(&self, user: &str) {
        let head = format!(
            "POST /conversations/default/messages HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n",
            self.addr,
            token(user)
        );
        while !self.is_over() {
            let mut socket = narrow(self.addr);
            let sent = socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(&[b' '; 50_000]));
            self.count("unfinished", if sent.is_ok() { "sent" } else { "closed" });
            thread::sleep(Duration::from_millis(500));
        }
    }

    fn list(&self, user: &str) {
        let token = token(user);
        self.repeat("list", |client| {
            client.request("GET", "/conversations/default/messages?limit=200").token(&token).try_send()
        });
    }

    /// Requests lists and does not read them.
    fn leave_unread(&self, user: &str) {
        let request = format!(
            "GET /conversations/default/messages?limit=200 HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
            self.addr,
            token(user)
        );
        while !self.is_over() {
            let mut socket = narrow(self.addr);
            let sent = socket.write_all(request.repeat(4).as_bytes());
            self.count("unread list", if sent.is_ok() { "sent" } else { "closed" });
            thread::sleep(Duration::from_millis(1000));
        }
    }

    /// Opens streams, half of them with a replay, and reads each at some hundred bytes per second.
    fn read_slowly(&self, user: &str) {
        let token = token(user);
        let (mut opened, mut streams) = (0, Vec::new());
        while !self.is_over() {
            for _ in 0..STREAMS / 50 {
                if opened < STREAMS {
                    let from = if opened % 2 == 0 { "?last_event_id=0" } else { "" };
                    let mut socket = narrow(self.addr);
                    let head = format!(
                        "GET /output/stream{from} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\r\n",
                        self.addr
                    );
                    socket.write_all(head.as_bytes()).expect("the kernel takes a head");
                    socket.set_nonblocking(true).expect("the socket is open");
                    streams.push((socket, false));
                    opened += 1;
                }
            }
            let mut piece = [0; 64];
            streams.retain_mut(|(socket, has_begun)| match socket.read(&mut piece) {
                Ok(0) => false,
                Ok(read) => {
                    if !std::mem::replace(has_begun, true) {
                        let is_stream = piece[..read].starts_with(b"HTTP/1.1 200 ");
                        assert!(
                            is_stream || piece[..read].starts_with(b"HTTP/1.1 503 "),
                            "{}",
                            String::from_utf8_lossy(&piece)
                        );
                        self.count("stream", if is_stream { "begun" } else { "503" });
                    }
                    true
                }
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            });
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Reads everything from the beginning, repeatedly.
    fn replay(&self, user: &str) {
        let head = format!(
            "GET /output/stream?last_event_id=0 HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
            self.addr,
            token(user)
        );
        while !self.is_over() {
            let mut socket = TcpStream::connect(self.addr).expect("the kernel accepts");
            socket.set_read_timeout(Some(Duration::from_millis(200))).expect("the socket is open");
            socket.write_all(head.as_bytes()).expect("the kernel takes a head");
            let (mut piece, mut end) = ([0; 64 * 1024], Vec::new());
            while !self.is_over() {
                match socket.read(&mut piece) {
                    Ok(0) => break,
                    Ok(read) => {
                        end.extend_from_slice(&piece[..read]);
                        end.drain(..end.len().saturating_sub(1024));
                        if end.windows(9).any(|window| window == b"caught_up") {
                            self.count("replay", "complete");
                            break;
                        }
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    Err(_) => break,
                }
            }
        }
    }

    /// Runs commands of the command line, one after the other.
    fn run(&self, sandbox: &Sandbox, part: &str) {
        let mut runs = 0;
        while !self.is_over() {
            runs += 1;
            let file = sandbox.database().with_file_name(format!("{runs}.backup"));
            let mut command = sandbox.command();
            match part {
                "backup" => command.arg("backup").arg(&file),
                _ => command.arg(part),
            };
            let output = command.output().expect("the program starts");
            assert!(output.status.success(), "{part}: {output:?}");
            let _ = std::fs::remove_file(file);
            self.count(part, "done");
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// A connection with a small receive buffer.
fn narrow(addr: SocketAddr) -> TcpStream {
    Origin::with_receive_buffer(4096).connect(addr).expect("the kernel accepts")
}

fn run(mebibytes: u64) {
    let limit_bytes = mebibytes * MIB;
    let group = ControlGroup::create(limit_bytes);
    let mut options = Options::new()
        .set("LOG_LEVEL", "WARNING")
        .set("WORKERS", "4")
        .set("MAX_STREAMS_PER_USER", "0")
        .set("MAX_CONNECTIONS_PER_ADDRESS", "0")
        .set("LOGIN_RATE_LIMIT_PER_MINUTE", "0");
    match &group {
        Some(group) => options = options.enter(group.processes()),
        None => {
            println!(
                "no control group can be created here: the size of the process is compared with the setting instead"
            );
            options = options.set("MEMORY_LIMIT_BYTES", limit_bytes);
        }
    }
    let mut server = Server::start(options);
    let load = Arc::new(Load {
        addr: server.addr,
        is_over: AtomicBool::new(false),
        counts: Mutex::default(),
        acknowledged: Mutex::default(),
        posted: AtomicU64::new(0),
    });
    // Something to list and to replay.
    let mut client = Client::new(server.addr);
    for _ in 0..30 {
        let message = json!({"content": "s".repeat(20_000)});
        client.request("POST", "/conversations/default/messages").token(&token("a")).json(&message).send().expect(200);
    }
    drop(client);
    let mut most = Held::default();
    let process = server.process().id();
    let sandbox = server.sandbox().clone();
    thread::scope(|scope| {
        let part = |part: fn(&Load)| {
            let load = Arc::clone(&load);
            scope.spawn(move || part(&load));
        };
        part(Load::log_in);
        part(Load::log_in);
        for _ in 0..3 {
            part(|load| load.post("a", 100));
            part(|load| load.post("b", 50_000));
            part(|load| load.list("a"));
        }
        part(|load| load.post("a", 50_000));
        part(|load| load.post("c", 1_000_000));
        part(|load| load.replay("a"));
        for _ in 0..10 {
            part(|load| load.leave_unfinished("d"));
            part(|load| load.leave_unread("a"));
        }
        for name in ["backup", "verify"] {
            let (load, sandbox) = (Arc::clone(&load), sandbox.clone());
            scope.spawn(move || load.run(&sandbox, name));
        }
        thread::sleep(Duration::from_millis(500));
        part(|load| load.read_slowly("a"));
        let end = Instant::now() + LOAD;
        while Instant::now() < end {
            let held = match &group {
                Some(group) => group.held(),
                None => Held { pages: held_bytes(process) as u64, ..Held::default() },
            };
            if held.bytes() > most.bytes() {
                most = held;
            }
            thread::sleep(PAUSE);
        }
        load.is_over.store(true, Relaxed);
    });
    println!(
        "{mebibytes} MiB: at most {} KiB held ({} KiB pages, {} KiB kernel, {} KiB sockets)",
        most.bytes() / 1024,
        most.pages / 1024,
        most.kernel / 1024,
        most.sockets / 1024
    );
    for (what, count) in load.counts.lock().unwrap().iter() {
        println!("    {count:6} {what}");
    }
    assert_eq!(group.as_ref().map_or(0, ControlGroup::kills), 0, "the kernel killed a process");
    assert!(!server.process().ended_by_now(), "the server has ended:\n{}", server.log());
    assert!(most.bytes() <= limit_bytes, "{most:?}");
    for what in ["login 200", "post of 100 200", "list 200", "stream begun", "backup done", "verify done"] {
        assert!(load.counted(what) > 0, "{what} happened");
    }
    // Nothing acknowledged is lost, also on disk.
    server.restart();
    let mut client = Client::new(server.addr);
    let acknowledged = std::mem::take(&mut *load.acknowledged.lock().unwrap());
    for (user, id, content) in acknowledged {
        let path = format!("/conversations/default/messages/{id}");
        let found = client.request("GET", &path).token(&token(user)).send().expect(200);
        assert_eq!(found.json()["content"], content, "{id}");
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
    assert_eq!(server.stop().code(), Some(0));
}
