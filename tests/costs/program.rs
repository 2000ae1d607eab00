//! The program under a tool that counts, and its clients.

use crate::common::token::{KEY, token};
use crate::common::{Client, Stream};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

/// Requests that a server gets in both of its runs.
const WARM_UP: usize = 300;
/// Requests that it gets in one of them.
pub const COUNTED: usize = 1000;
/// Events of the user whose streams replay them.
const REPLAYED: usize = 100;
/// How often this work is done by one stream.
const TIMES_PER_STREAM: usize = 10;

/// What a client does again and again.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    /// `GET` of a path.
    Get(&'static str),
    /// `POST /input`, durable.
    Post,
    /// The same, and a stream of the user gets the event.
    Deliver,
    /// A tenth of a stream that replays 100 events.
    Replay,
}

/// The path of the release build, if it is given.
pub fn release_build() -> Option<PathBuf> {
    let program = env::var_os("CORTEX_PROGRAM").map(PathBuf::from);
    if program.is_none() {
        eprintln!("skipped: CORTEX_PROGRAM is not set");
    }
    program.map(|path| path.canonicalize().expect("CORTEX_PROGRAM is the path of a program"))
}

/// Runs the program under `tool` twice, does `work` less and more often, and returns the two counts that `read` finds in the
/// tool's output file.
pub fn counts<T>(tool: &[&str], program: &Path, work: Work, read: fn(&str) -> T) -> [T; 2] {
    [WARM_UP, WARM_UP + COUNTED].map(|times| read(&run(tool, program, work, times)))
}

fn run(tool: &[&str], program: &Path, work: Work, times: usize) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("cortex-core-costs-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let directory = env::temp_dir().join(name);
    // An earlier test program with the same process id may have left it.
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).expect("a directory for the database");
    let output = directory.join("counts");
    let mut child = Command::new(tool[0])
        .args(tool[1..].iter().map(|argument| argument.replace("OUTPUT", &output.display().to_string())))
        .arg(program)
        .env_clear()
        .envs([
            ("PATH", env::var("PATH").unwrap_or_default()),
            ("DATABASE_URL", format!("sqlite:///{}", directory.join("cortex.db").display())),
            ("PORT", "0".to_owned()),
            ("JWT_SECRET_KEY", KEY.to_owned()),
            ("RESPONDER", "none".to_owned()),
            ("LOG_LEVEL", "ERROR".to_owned()),
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", tool[0]));
    let mut lines = BufReader::new(child.stdout.take().expect("the output is a pipe")).lines();
    let line = lines.next().expect("the server listens").expect("the line is text");
    let address = line.strip_prefix("listening on http://").and_then(|text| text.parse().ok()).expect("an address");
    do_work(address, work, times);
    end(&mut child);
    let counts = fs::read_to_string(&output).expect("the tool has written its counts");
    fs::remove_dir_all(&directory).expect("the directory can be removed");
    counts
}

fn do_work(server: SocketAddr, work: Work, times: usize) {
    let token = token("ada");
    let mut client = Client::new(server);
    let content = "0123456789".repeat(20);
    let mut post =
        || client.request("POST", "/input").token(&token).json(&json!({"content": content})).send().expect(200);
    match work {
        Work::Get(path) => {
            for _ in 0..times {
                client.request("GET", path).token(&token).send().expect(200);
            }
        }
        Work::Post => (0..times).for_each(|_| drop(post())),
        Work::Deliver => {
            let mut stream = Stream::open(server, &token, "");
            for _ in 0..times {
                post();
                stream.next_of("input");
            }
        }
        Work::Replay => {
            // What the writer does behind these few messages depends on the time, and would hide what a few events cost.
            (0..REPLAYED).for_each(|_| drop(post()));
            let fields = [("Authorization", &*format!("Bearer {token}")), ("Last-Event-ID", "0")];
            for _ in 0..times / TIMES_PER_STREAM {
                let mut stream = Stream::open_with(server, "", &fields);
                (0..REPLAYED).for_each(|_| drop(stream.next_of("input")));
            }
        }
    }
}

/// Asks the server to end, and waits until the tool has written what it counted.
fn end(tool: &mut Child) {
    // strace is the parent of the program, and Valgrind is the program.
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", tool.id())).unwrap_or_default();
    let program = children.split_whitespace().next().map_or(tool.id(), |id| id.parse().expect("a process id"));
    // SAFETY: a signal to a process that this test has started, and has not waited for.
    assert_eq!(unsafe { libc::kill(program as libc::pid_t, libc::SIGTERM) }, 0);
    let status = tool.wait().expect("the tool ends");
    assert!(status.success(), "{status}");
}
