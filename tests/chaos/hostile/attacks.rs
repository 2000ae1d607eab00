//! The attacks, one for each limit that users share.

use super::victim::Part;
use crate::common::metrics::Scrape;
use crate::common::publish::Publisher;
use crate::common::reader::{Opening, Reader};
use crate::common::token::token;
use crate::common::{Connection, Origin, User};
use serde_json::json;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

/// The address of the hostile user, and that of a client without a token.
const USER_ADDRESS: [u8; 4] = [127, 0, 0, 2];
const NAMELESS_ADDRESS: [u8; 4] = [127, 0, 0, 3];

/// Connections that are kept open at once.
const KEPT_MAX: usize = 300;

/// An attack on one limit.
pub struct Attack {
    /// The limit, as the table names it.
    pub limit: &'static str,
    /// Settings of both servers.
    pub settings: &'static [(&'static str, &'static str)],
    /// What the victim does.
    pub victim: Part,
    /// Runs before the attack.
    pub prepare: fn(&Arena),
    /// Threads. In an attack by both clients, the even ones are the user's.
    pub threads: usize,
    /// What each thread does, until the attack is over.
    pub attack: fn(&Arena, usize),
    /// Whether the attack has filled its limit.
    pub is_felt: fn(&Arena, &Scrape) -> bool,
}

/// The attacked server, and what the attackers have seen of it.
pub struct Arena<'a> {
    addr: SocketAddr,
    is_over: &'a AtomicBool,
    /// Responses that rejected a request of an attacker for lack of room (`503`).
    no_room: AtomicUsize,
    /// Responses that rejected a request of an attacker because of a rate (`429`).
    too_fast: AtomicUsize,
    /// Requests that were served.
    served: AtomicUsize,
    /// A conversation of the hostile user.
    conversation: OnceLock<String>,
    /// Connections that stay open and are not used.
    kept: Mutex<Vec<Connection>>,
}

impl<'a> Arena<'a> {
    /// An arena before the attack.
    pub fn new(addr: SocketAddr, is_over: &'a AtomicBool) -> Arena<'a> {
        Arena {
            addr,
            is_over,
            no_room: AtomicUsize::new(0),
            too_fast: AtomicUsize::new(0),
            served: AtomicUsize::new(0),
            conversation: OnceLock::new(),
            kept: Mutex::default(),
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    /// Counts a response. Returns its status.
    fn count(&self, status: u16) -> u16 {
        match status {
            503 => &self.no_room,
            429 => &self.too_fast,
            _ => &self.served,
        }
        .fetch_add(1, Relaxed);
        status
    }

    fn hostile(&self) -> User {
        User::from(Origin::of(USER_ADDRESS), self.addr, "hostile")
    }

    fn open(&self, origin: Origin) -> Option<Connection> {
        Connection::try_open_from(origin, self.addr).ok()
    }

    fn conversation(&self) -> &str {
        self.conversation.get().expect("the attack is prepared")
    }

    /// Sends the same request again and again until the attack is over, on one connection as long as that is open. The rate of
    /// requests may be what the limit allows.
    fn repeat(&self, origin: Origin, method: &str, request: &[u8]) {
        let mut connection = None;
        while !self.is_over() {
            let Some(mut open) = connection.take().or_else(|| self.open(origin)) else { continue };
            if open.try_send(request).is_ok()
                && let Ok(response) = open.try_response(method)
            {
                if self.count(response.status) == 429 {
                    // The attack is on what the rate admits, and not on the bandwidth of rejected bodies.
                    thread::sleep(Duration::from_millis(50));
                }
                if !response.closes() {
                    connection = Some(open);
                }
            }
        }
    }

    /// Opens connections, sends `bytes` on each, and leaves it open without reading.
    fn keep(&self, origin: Origin, count: usize, bytes: &[u8]) {
        for _ in 0..count {
            if self.is_over() {
                return;
            }
            // A thousand connections a second, so that the attack is on the limit and not on the kernel's queue of connections.
            thread::sleep(Duration::from_millis(1));
            let Some(mut open) = self.open(origin) else { continue };
            // The server may reject it in the middle.
            drop(open.try_send(bytes));
            if let Some(answer) = open.arrived_by_now()
                && answer.starts_with(b"HTTP/1.1 503")
            {
                self.count(503);
            }
            let mut kept = self.kept.lock().expect("no attacker panics");
            kept.push(open);
            if kept.len() > KEPT_MAX {
                kept.drain(..KEPT_MAX / 4);
            }
        }
    }
}

impl Drop for Arena<'_> {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
    }
}

/// Runs a command with `input` as its standard input.
pub fn with_input(mut command: Command, input: &str) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success());
}

fn nothing(_: &Arena) {}

/// The two clients that attack.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attacker {
    /// The hostile user.
    User,
    /// A client without a token.
    Nameless,
}

impl Attacker {
    /// The client of a thread, of an attack by both.
    fn of(thread: usize) -> Attacker {
        if thread.is_multiple_of(2) { Attacker::User } else { Attacker::Nameless }
    }

    fn origin(self) -> Origin {
        Origin::of(if self == Attacker::User { USER_ADDRESS } else { NAMELESS_ADDRESS })
    }

    fn narrow(self) -> Origin {
        Origin { receive_buffer_bytes: Some(2048), ..self.origin() }
    }

    fn request(self, method: &str, path: &str, body: Option<&str>) -> Vec<u8> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        if self == Attacker::User {
            request.push_str(&format!("Authorization: Bearer {}\r\n", token("hostile")));
        }
        match body {
            Some(body) => request
                .push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())),
            None => request.push_str("\r\n"),
        }
        request.into_bytes()
    }

    /// Sends the same request again and again, as [`Arena::repeat`].
    fn repeat(self, arena: &Arena, method: &str, path: &str, body: Option<&str>) {
        arena.repeat(self.origin(), method, &self.request(method, path, body));
    }
}

fn message(bytes: usize) -> String {
    json!({"content": "x".repeat(bytes)}).to_string()
}

/// A conversation of the hostile user whose response is as large as a response may be.
fn prepare_large_messages(arena: &Arena) {
    let mut hostile = arena.hostile();
    let conversation = hostile.start_conversation("large");
    for _ in 0..16 {
        hostile.post_message(&conversation, &"x".repeat(LARGE_BYTES));
    }
    arena.conversation.set(conversation).expect("prepared once");
}

/// A conversation of the hostile user.
fn prepare_large_events(arena: &Arena) {
    let mut hostile = arena.hostile();
    let workspace = hostile.create_workspace("large");
    let conversation = hostile.create_conversation(&workspace, "large", &[]);
    arena.conversation.set(conversation).expect("prepared once");
}

/// Changes that conversation, each time with an event of 60 kB.
fn change_large_conversation(arena: &Arena, _: usize) {
    let body = json!({"metadata": {"x": "x".repeat(60_000)}}).to_string();
    let path = format!("/config/conversation/{}", arena.conversation());
    Attacker::User.repeat(arena, "PUT", &path, Some(&body));
}

/// Logs in with a wrong password, to an account of its own in each thread.
fn log_in(arena: &Arena, thread: usize) {
    let body = json!({"email": format!("u{thread}@example.com"), "password": "wrong but long enough"});
    Attacker::Nameless.repeat(arena, "POST", "/auth/login", Some(&body.to_string()));
}

/// The rate limits of production.
const RATES: (&str, &str) = ("RATE_LIMIT_PER_SECOND", "50");
/// Budgets that few clients fill, so that the test measures how they are shared and not how fast the machine is.
const SMALL: (&str, &str) = ("MEMORY_LIMIT_BYTES", "33554432");
/// Content of a message that takes a tenth of such a budget.
const LARGE_BYTES: usize = 64 * 1024;

/// All attacks.
pub const ATTACKS: &[Attack] = &[
    Attack {
        limit: "Connections",
        settings: &[("MAX_CONNECTIONS", "80")],
        victim: Part::Messages,
        prepare: nothing,
        threads: 2,
        attack: |arena, thread| {
            while !arena.is_over() {
                arena.keep(Attacker::of(thread).origin(), 100, b"GET / HTTP/1.1\r\n");
            }
        },
        is_felt: |_, scrape| scrape.get("cortex_connections_refused_total{reason=\"address\"}") >= 100.0,
    },
    Attack {
        limit: "Turns of an event loop",
        settings: &[RATES],
        victim: Part::Messages,
        prepare: nothing,
        threads: 6,
        attack: |arena, thread| {
            let attacker = Attacker::of(thread);
            let requests = attacker.request("GET", "/", None).repeat(50);
            while !arena.is_over() {
                let Some(mut open) = arena.open(attacker.origin()) else { continue };
                while !arena.is_over() && open.try_send(&requests).is_ok() {
                    let is_served = (0..50).all(|_| {
                        let response = open.try_response("GET");
                        response.is_ok_and(|response| {
                            arena.count(response.status);
                            !response.closes()
                        })
                    });
                    if !is_served {
                        break;
                    }
                }
            }
        },
        is_felt: |arena, _| arena.served.load(Relaxed) + arena.too_fast.load(Relaxed) > 2000,
    },
    Attack {
        limit: "Incomplete requests",
        settings: &[RATES, SMALL],
        victim: Part::Messages,
        prepare: nothing,
        threads: 2,
        attack: |arena, thread| {
            let attacker = Attacker::of(thread);
            let mut part = match attacker {
                Attacker::User => attacker.request("POST", "/input", Some(&message(LARGE_BYTES))),
                Attacker::Nameless => {
                    let field = format!("X: {}\r\n\r\n", "x".repeat(15_000));
                    [&b"GET / HTTP/1.1\r\nHost: localhost\r\n"[..], field.as_bytes()].concat()
                }
            };
            part.truncate(part.len() - 1);
            while !arena.is_over() {
                arena.keep(attacker.origin(), 100, &part);
            }
        },
        is_felt: |_, scrape| scrape.get("cortex_refusals_total{reason=\"requests_full\"}") > 0.0,
    },
    Attack {
        limit: "Unread responses",
        settings: &[RATES, SMALL],
        victim: Part::Messages,
        prepare: prepare_large_messages,
        threads: 2,
        attack: |arena, thread| {
            let attacker = Attacker::of(thread);
            let path = match attacker {
                Attacker::User => format!("/conversations/{}", arena.conversation()),
                Attacker::Nameless => "/docs".into(),
            };
            let request = attacker.request("GET", &path, None);
            while !arena.is_over() {
                arena.keep(attacker.narrow(), 10, &request);
                thread::sleep(Duration::from_millis(200));
            }
        },
        is_felt: |_, scrape| scrape.get("cortex_connections_cut_total{reason=\"response_bytes\"}") > 0.0,
    },
    Attack {
        limit: "The writer's queue",
        settings: &[RATES, SMALL],
        victim: Part::Messages,
        prepare: nothing,
        threads: 20,
        attack: |arena, _| Attacker::User.repeat(arena, "POST", "/input", Some(&message(LARGE_BYTES))),
        is_felt: |arena, _| arena.no_room.load(Relaxed) > 0,
    },
    Attack {
        limit: "The readers' queue",
        settings: &[RATES, SMALL],
        victim: Part::Messages,
        prepare: prepare_large_messages,
        threads: 24,
        attack: |arena, _| {
            Attacker::User.repeat(arena, "GET", &format!("/conversations/{}", arena.conversation()), None);
        },
        is_felt: |arena, _| arena.no_room.load(Relaxed) > 0,
    },
    Attack {
        limit: "The password queue",
        settings: &[("LOGIN_RATE_LIMIT_PER_MINUTE", "600")],
        victim: Part::Login,
        prepare: nothing,
        threads: 100,
        attack: log_in,
        is_felt: |arena, _| arena.no_room.load(Relaxed) > 0,
    },
    Attack {
        limit: "Streams and their outboxes",
        settings: &[RATES, SMALL, ("MAX_STREAMS_PER_USER", "20")],
        victim: Part::Messages,
        prepare: nothing,
        threads: 3,
        attack: |arena, thread| match thread {
            0 => {
                let opening =
                    Opening { token: token("hostile"), origin: Attacker::User.narrow(), ..Opening::default() };
                let mut unread = Vec::new();
                while !arena.is_over() {
                    match Reader::open(arena.addr, &opening) {
                        Ok(reader) => unread.push(reader),
                        Err(error) if error.to_string().starts_with("HTTP/1.1 429") => {
                            arena.count(429);
                            thread::sleep(Duration::from_millis(20));
                        }
                        // The server closes what is not read.
                        Err(_) => unread.clear(),
                    }
                }
            }
            _ => Attacker::User.repeat(arena, "POST", "/input", Some(&message(LARGE_BYTES))),
        },
        is_felt: |arena, _| arena.too_fast.load(Relaxed) > 0 && arena.served.load(Relaxed) > 20,
    },
    Attack {
        limit: "Journal pages",
        settings: &[],
        victim: Part::Messages,
        prepare: |arena| {
            let mut publisher = Publisher::new(arena.addr, "hostile");
            (0..2000).for_each(|n| drop(publisher.post("default", &n.to_string())));
        },
        threads: 50,
        attack: |arena, _| {
            let query = "last_event_id=0&types=output".into();
            let opening =
                Opening { token: token("hostile"), query, origin: Attacker::User.origin(), ..Opening::default() };
            while !arena.is_over() {
                let Ok(mut reader) = Reader::open(arena.addr, &opening) else { continue };
                while !arena.is_over() && reader.next().is_ok_and(|frame| frame.is_some_and(|f| f.kind != "caught_up"))
                {
                }
            }
        },
        is_felt: |_, scrape| scrape.get("cortex_catchup_pages_total") > 200.0,
    },
    Attack {
        limit: "The journal",
        settings: &[
            ("JOURNAL_RETENTION_BYTES", "2097152"),
            ("STREAM_STALL_TIMEOUT_SECONDS", "1"),
            ("HEARTBEAT_INTERVAL_SECONDS", "0.3"),
        ],
        victim: Part::StateEvents,
        prepare: prepare_large_events,
        threads: 2,
        attack: change_large_conversation,
        is_felt: |arena, scrape| arena.served.load(Relaxed) as f64 > 10.0 + scrape.get("cortex_journal_events"),
    },
    Attack {
        limit: "Answers",
        settings: &[],
        victim: Part::Answer,
        prepare: nothing,
        threads: 16,
        attack: |arena, _| {
            let conversation = arena.hostile().start_conversation("one of many");
            let body = json!({"content": "x", "conversation_id": conversation}).to_string();
            Attacker::User.repeat(arena, "POST", "/input", Some(&body));
        },
        is_felt: |arena, _| arena.served.load(Relaxed) > 1200,
    },
    Attack {
        limit: "Answers that are passed on",
        // No rate of requests, so that it is the queue that rejects.
        settings: &[("RESPONDER_CONCURRENCY_PER_USER", "32"), ("RATE_LIMIT_PER_SECOND", "0")],
        victim: Part::Answer,
        prepare: nothing,
        // More than a user may have waiting and running.
        threads: 320,
        attack: |arena, _| {
            let body = json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "x"}]});
            Attacker::User.repeat(arena, "POST", "/v1/chat/completions", Some(&body.to_string()));
        },
        is_felt: |arena, _| arena.too_fast.load(Relaxed) > 0 && arena.served.load(Relaxed) > 20,
    },
    Attack {
        limit: "Rate of requests",
        settings: &[RATES],
        victim: Part::Messages,
        prepare: nothing,
        threads: 4,
        attack: |arena, thread| Attacker::of(thread).repeat(arena, "GET", "/config/workspace", None),
        is_felt: |arena, _| arena.too_fast.load(Relaxed) > 0,
    },
    Attack {
        limit: "Rate of state events",
        settings: &[("JOURNAL_RETENTION_BYTES", "1048576")],
        victim: Part::StateEvents,
        prepare: prepare_large_events,
        threads: 2,
        attack: change_large_conversation,
        is_felt: |arena, _| arena.too_fast.load(Relaxed) > 0,
    },
    Attack {
        limit: "Rate of replays",
        settings: &[("RATE_LIMIT_PER_SECOND", "20"), ("RATE_LIMIT_BURST", "100")],
        victim: Part::Messages,
        prepare: nothing,
        threads: 6,
        attack: |arena, _| {
            let mut post = Attacker::User.request("POST", "/input", Some(&message(1)));
            let line = b"POST /input HTTP/1.1\r\n".len();
            post.splice(line..line, *b"Idempotency-Key: again\r\n");
            arena.repeat(Attacker::User.origin(), "POST", &post);
        },
        is_felt: |arena, _| arena.too_fast.load(Relaxed) > 0,
    },
    Attack {
        limit: "Rate of logins",
        settings: &[],
        victim: Part::Messages,
        prepare: nothing,
        threads: 2,
        attack: log_in,
        is_felt: |arena, _| arena.too_fast.load(Relaxed) > 0,
    },
];
