//! Allocations per request: the server and its client run in one program, whose allocator counts.
//!
//! `GET /` allocates its id, the response, and the list of the fields that other responses do not have. A token adds the
//! user's texts. A message adds its own texts, the key of each statement in rusqlite's cache, and what the commit tells
//! the other threads. One more allocation on one of these paths makes the test fail.

#[path = "../common/port.rs"]
mod port;
#[path = "../common/token.rs"]
mod token;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{env, fs, process, thread};

/// Requests before the count begins: caches are filled, and buffers have grown.
const WARM_UP: usize = 300;
const REQUESTS: usize = 1000;
/// What checkpoints and the maintenance of the store may allocate meanwhile.
const OTHERS_MAX: u64 = REQUESTS as u64 / 2;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_CLIENT: Cell<bool> = const { Cell::new(false) };
}

/// The system's allocator, which counts the allocations of all threads but the client's.
struct CountingAllocator;

fn count() {
    if !IS_CLIENT.get() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the rules of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the rules of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the rules of `realloc`.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> ExitCode {
    if env::args_os().len() > 1 {
        // The server would take the arguments of a test for its own.
        let program = env::current_exe().expect("the path of this program");
        let status = Command::new(program).status().expect("this program starts");
        return if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let directory = env::temp_dir().join(format!("cortex-core-allocations-{}", process::id()));
    fs::create_dir_all(&directory).expect("a directory for the database");
    let port = port::free_port();
    let settings = [
        ("DATABASE_URL", format!("sqlite:///{}", directory.join("cortex.db").display())),
        ("PORT", port.to_string()),
        ("JWT_SECRET_KEY", token::KEY.to_owned()),
        ("RESPONDER", "none".to_owned()),
        ("LOG_LEVEL", "ERROR".to_owned()),
    ];
    for (name, value) in settings {
        // SAFETY: no other thread runs yet.
        unsafe { env::set_var(name, value) };
    }
    IS_CLIENT.set(true);
    thread::spawn(cortex_core::cli::run);
    let excess = measure(SocketAddr::from(([127, 0, 0, 1], port)));
    fs::remove_dir_all(&directory).expect("the directory can be removed");
    for complaint in &excess {
        eprintln!("{complaint}");
    }
    // The server would wait for its own shutdown.
    process::exit(i32::from(!excess.is_empty()));
}

/// Counts the allocations of each request; returns what is too much.
fn measure(server: SocketAddr) -> Vec<String> {
    let token = token::token("ada");
    let request = |line: &str, body: &str| {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        format!(
            "{line} HTTP/1.1\r\nHost: {server}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             {length}\r\n{body}"
        )
    };
    let message = format!("{{\"content\":\"{}\"}}", "0123456789".repeat(20));
    let mut client = Client::connect(server);
    let mut excess = Vec::new();
    for (name, request, allowed) in [
        ("GET /", request("GET /", ""), 3),
        ("GET /auth/verify", request("GET /auth/verify", ""), 6),
        ("POST /input", request("POST /input", &message), 32),
    ] {
        for _ in 0..WARM_UP {
            client.exchange(request.as_bytes());
        }
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..REQUESTS {
            client.exchange(request.as_bytes());
        }
        let counted = ALLOCATIONS.load(Ordering::Relaxed) - before;
        println!("{name}: {:.2} allocations, at most {allowed}", counted as f64 / REQUESTS as f64);
        if counted > allowed * REQUESTS as u64 + OTHERS_MAX {
            excess.push(format!("{name} allocates more than {allowed} times: {counted} times in {REQUESTS} requests"));
        }
    }
    excess
}

/// A client that allocates nothing while it measures.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects as soon as the server accepts.
    fn connect(server: SocketAddr) -> Client {
        for _ in 0..1000 {
            if let Ok(stream) = TcpStream::connect(server) {
                stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
                return Client { stream, buffer: vec![0; 64 * 1024] };
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the server does not accept");
    }

    /// Sends a request and reads the whole response, which must be successful.
    fn exchange(&mut self, request: &[u8]) {
        self.stream.write_all(request).expect("the request can be sent");
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).expect("a response arrives");
            assert!(read > 0, "the server closed the connection");
            filled += read;
            let text = str::from_utf8(&self.buffer[..filled]).expect("the response is text");
            assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
            if body.len() == length.parse::<usize>().expect("a number") {
                return;
            }
        }
    }
}
