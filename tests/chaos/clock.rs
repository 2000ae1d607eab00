//! A wall clock that jumps under a running server: numbers, ids and times keep growing, streams continue, tokens are
//! verified against the clock, and no thread spins.

use crate::common::process::processor_hundredths;
use crate::common::token::{self, token_with};
use crate::common::user::text;
use crate::common::{DEADLINE, Options, Server, Stream, User, assert_error, database};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// 2100-01-01T00:00:00Z.
const YEAR_2100: i64 = 4_102_444_800;
/// Later than every jump of this test.
const NEVER: i64 = 2 * YEAR_2100;
/// How long the server is watched for spinning threads.
const WATCHED: Duration = Duration::from_secs(1);

/// A clock for a server that the test shifts.
struct Clock {
    control: File,
    path: PathBuf,
}

impl Clock {
    fn with_server(options: Options) -> (Clock, Server) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "clock-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Relaxed)
        ));
        fs::write(&path, 0i64.to_ne_bytes()).expect("a file for the clock");
        let control = File::options().write(true).open(&path).expect("the clock can be opened");
        let options = options.set("LD_PRELOAD", shim().display()).set("CLOCK_CONTROL", path.display());
        (Clock { control, path }, Server::start(options))
    }

    fn shift(&self, seconds: i64) {
        self.control.write_all_at(&seconds.to_ne_bytes(), 0).expect("the clock can be moved");
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The library that shifts the clock, built once.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clock.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chaos/clock.c");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut command = Command::new(compiler);
        command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).args([source, "-ldl"]);
        let status = command.status().expect("a C compiler is installed");
        assert!(status.success(), "clock.c compiles");
        library
    })
}

/// A token that is valid for one hour from `seconds` on.
fn token_of_that_hour(seconds: i64) -> String {
    token_with(json!({"oid": "u", "iat": seconds, "nbf": seconds, "exp": seconds + HOUR}))
}

#[test]
fn clock_jumps_lose_no_event_and_reverse_no_time() {
    let options = Options::new().set("HEARTBEAT_INTERVAL_SECONDS", "0.2").set("RESPONDER", "echo");
    let (clock, mut server) = Clock::with_server(options);
    let process = server.process().id();
    let lasting = token_with(json!({"oid": "u", "exp": NEVER}));
    let mut user = User::with_token(&server, "u", &lasting);
    let mut stream = Stream::open(server.addr, &lasting, "");
    let now = token::now();
    let shifts: [(&str, i64); 11] = [
        ("as it is", 0),
        ("an hour on", HOUR),
        ("a day on", DAY),
        ("as it is again", 0),
        ("an hour back", -HOUR),
        ("a day back", -DAY),
        ("1970", 10 - now),
        ("before 1970", -10 - now),
        ("2100", YEAR_2100 - now),
        ("as it is after that", 0),
        ("1970 after that", 10 - now),
    ];
    let (mut said, mut last): (Vec<String>, (u64, String, String)) = (Vec::new(), (0, String::new(), String::new()));
    for (name, shift) in shifts {
        clock.shift(shift);
        for n in 0..3 {
            let content = format!("{name} {n}");
            let response = user.post("/input", json!({"content": content})).expect(200);
            let data = response.json()["data"].clone();
            let this = (response.number("X-Event-Id"), text(&data["message_id"]), text(&data["timestamp"]));
            assert!(this.0 > last.0 && this.1 > last.1 && this.2 >= last.2, "{name}: {this:?} after {last:?}");
            last = this;
            assert_eq!(stream.next_of("input").content(), content);
            assert_eq!(stream.next_of("output").content(), content, "{name}: it gets an answer");
            said.push(content);
        }
        assert!(stream.next_of("heartbeat").number() >= last.0, "{name}: the stream continues");
        // A list has all messages in the order in which they were posted.
        let listed = user.get("/conversations/default/messages?limit=1000").expect(200).json();
        let of_user: Vec<String> = listed
            .as_array()
            .expect("a list")
            .iter()
            .filter(|m| m["role"] == "user")
            .map(|m| text(&m["content"]))
            .collect();
        assert_eq!(of_user, said, "{name}");
        assert_tokens(&server, name, now + shift);
        server_turns(&server);
        let (before, since) = (processor_hundredths(process), Instant::now());
        thread::sleep(WATCHED);
        let (used, elapsed) = (processor_hundredths(process) - before, since.elapsed().as_millis() as u64 / 10);
        assert!(used < elapsed / 2, "{name}: {used} of {elapsed} hundredths of a second");
    }
    // It also starts at another time than it stopped at, and continues its numbers.
    clock.shift(-DAY);
    server.restart();
    user.follow(&server);
    let response = user.post("/input", json!({"content": "a day before"})).expect(200);
    assert!(response.number("X-Event-Id") > last.0 && text(&response.json()["data"]["timestamp"]) >= last.2);
    let mut stream = Stream::open(server.addr, &lasting, "last_event_id=0");
    let mut replayed = Vec::new();
    while replayed.len() < said.len() {
        replayed.push(stream.next_of("input").content().to_owned());
    }
    assert_eq!(replayed, said, "every message is replayed");
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(database::sound_message_contents(&server.database()).len(), 2 * said.len() + 2);
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
}

/// Tokens are valid in their hour by the server's clock.
#[track_caller]
fn assert_tokens(server: &Server, name: &str, seconds: i64) {
    let verify = |from: i64| User::with_token(server, "u", &token_of_that_hour(from)).get("/auth/verify");
    // A token cannot name a time before 1970.
    if seconds > HOUR {
        verify(seconds - HOUR / 2).expect(200);
        assert_error(&verify(seconds - 3 * HOUR), 401, "unauthorized");
    }
    let later = verify(seconds.max(0) + 3 * HOUR);
    assert_eq!(later.status, 401, "{name}: {}", later.shown());
}

#[track_caller]
fn server_turns(server: &Server) {
    let health: Value = crate::common::Client::new(server.addr).request("GET", "/health").send().expect(200).json();
    assert_eq!(health["status"], "healthy");
}

/// A stream whose token expires by a jump of the clock ends by its next heartbeat, and a jump back does not revive it.
#[test]
fn a_stream_ends_with_its_token_when_the_clock_jumps_past_it() {
    let (clock, server) = Clock::with_server(Options::new().set("HEARTBEAT_INTERVAL_SECONDS", "0.2"));
    let short = token_of_that_hour(token::now());
    let mut stream = Stream::open(server.addr, &short, "");
    clock.shift(DAY);
    let end = Instant::now() + DEADLINE;
    while stream.next().kind() != "token_expired" {
        assert!(Instant::now() < end, "the stream does not end");
    }
    assert!(stream.until_end().is_empty());
    assert_error(&User::with_token(&server, "u", &short).get("/auth/verify"), 401, "unauthorized");
    clock.shift(0);
    let mut stream = Stream::open(server.addr, &short, "");
    User::with_token(&server, "u", &short).say("default", "back in time");
    assert_eq!(stream.next_of("input").content(), "back in time");
}
