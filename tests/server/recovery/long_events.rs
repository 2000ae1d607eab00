//! Events of megabytes and readers that do not read: a stream holds a bounded part of an event, and the rest is read again.

use crate::common::process::resident_bytes;
use crate::common::reader::{Opening, Reader};
use crate::common::server::Server;
use crate::common::token::token;
use crate::common::{Options, Origin, User};
use cortex_core::internals::limits::TAIL_BYTES_MAX;
use serde_json::json;
use std::thread;
use std::time::{Duration, Instant};

const WORKERS: usize = 2;
const STREAM_BUFFER_BYTES: usize = 64 * 1024;
/// Each character has six bytes in JSON.
const CONTENT_CHARS: usize = 512 * 1024;
/// Other memory for this traffic: requests, page caches, mailboxes, and what the allocator retains.
const SLACK_BYTES: usize = 24 * 1024 * 1024;
/// How long the streams read nothing.
const PAUSE: Duration = Duration::from_secs(4);

fn options() -> Options {
    Options::new()
        .set("WORKERS", WORKERS)
        .set("STREAM_BUFFER_BYTES", STREAM_BUFFER_BYTES)
        .set("MAX_BODY_BYTES", 8 * 1024 * 1024)
        .set("LOG_LEVEL", "WARNING")
}

/// The most by which the server may grow for streams that do not read.
fn growth_bytes_max(streams: usize) -> usize {
    streams * STREAM_BUFFER_BYTES + WORKERS * 2 * TAIL_BYTES_MAX + SLACK_BYTES
}

fn content(mark: char) -> String {
    format!("{mark}{}", "\u{1}".repeat(CONTENT_CHARS))
}

fn opening(user: &str) -> Opening {
    Opening { token: token(user), origin: Origin::with_receive_buffer(4096), ..Opening::default() }
}

fn open(server: &Server, user: &str, query: &str) -> Reader {
    Reader::open(server.addr, &Opening { query: query.to_owned(), ..opening(user) }).expect("a stream")
}

/// The most that the server grows during the pause.
fn growth_during_pause(server: &mut Server, before: usize) -> usize {
    let pid = server.process().id();
    let (began, mut growth) = (Instant::now(), 0);
    while began.elapsed() < PAUSE {
        growth = growth.max(resident_bytes(pid).saturating_sub(before));
        thread::sleep(Duration::from_millis(20));
    }
    growth
}

/// Reads the contents of the next messages of a kind.
#[track_caller]
fn read(reader: &mut Reader, kind: &str, expected: &[String]) {
    for content in expected {
        let frame = loop {
            let frame = reader.next().expect("the stream continues").expect("no end");
            assert!(frame.kind != "gap", "nothing is lost");
            if frame.kind == kind {
                break frame;
            }
        };
        // The reader returns it as it is in JSON.
        let escaped = json!(content).to_string();
        assert!(frame.content == escaped[1..escaped.len() - 1], "every message arrives whole, in order and once");
    }
}

#[track_caller]
fn assert_bounded(growth: usize, streams: usize) {
    let most = growth_bytes_max(streams);
    println!("{streams} streams: grew by {growth} bytes; the limit is {most}");
    assert!(growth <= most, "grew by {growth} bytes; the limit is {most}");
}

#[test]
fn a_hundred_streams_of_one_user_hold_a_bounded_part_of_a_long_event() {
    let mut server = Server::start(options());
    let mut ann = User::new(&server, "ann");
    ann.say("default", "first");
    let mut streams: Vec<Reader> = (0..100).map(|_| open(&server, "ann", "types=input")).collect();
    let before = resident_bytes(server.process().id());
    let contents: Vec<String> = "abc".chars().map(content).collect();
    for content in &contents {
        ann.say("default", content);
    }
    assert_bounded(growth_during_pause(&mut server, before), streams.len());
    // Two streams read on, beside the others.
    for stream in &mut streams[..2] {
        read(stream, "input", &contents);
    }
    ann.say("default", "last");
    read(&mut streams[0], "input", &["last".to_owned()]);
}

#[test]
fn streams_of_many_users_hold_a_bounded_part_of_their_own_long_events() {
    const USERS: usize = 32;
    let content = format!("m{}", "\u{1}".repeat(CONTENT_CHARS / 2));
    let mut server = Server::start(options());
    let names: Vec<String> = (0..USERS).map(|n| format!("user{n}")).collect();
    let mut streams: Vec<Reader> = names.iter().map(|name| open(&server, name, "types=input")).collect();
    let before = resident_bytes(server.process().id());
    for name in &names {
        User::new(&server, name).say("default", &content);
    }
    assert_bounded(growth_during_pause(&mut server, before), streams.len());
    read(&mut streams[0], "input", &[content]);
}

#[test]
fn a_replay_of_long_answers_is_bounded_and_complete() {
    let mut server = Server::start(options().set("RESPONDER", "echo"));
    let mut ann = User::new(&server, "ann");
    let mut live = open(&server, "ann", "types=output");
    let contents: Vec<String> = "ab".chars().map(content).collect();
    for content in &contents {
        ann.say("default", content);
        read(&mut live, "output", std::slice::from_ref(content));
    }
    let before = resident_bytes(server.process().id());
    let mut streams: Vec<Reader> = (0..60).map(|_| open(&server, "ann", "types=output&last_event_id=0")).collect();
    assert_bounded(growth_during_pause(&mut server, before), streams.len());
    thread::scope(|scope| {
        for stream in &mut streams[..3] {
            scope.spawn(|| read(stream, "output", &contents));
        }
    });
}

#[test]
fn a_stream_is_cut_within_an_event_that_changes_and_resumes_with_the_change() {
    let server = Server::start(options());
    let mut ann = User::new(&server, "ann");
    let mut stream = open(&server, "ann", "types=input");
    let conversation = ann.start_conversation("c");
    let message = ann.post_message(&conversation, &content('a'));
    thread::sleep(Duration::from_millis(300));
    let path = format!("/conversations/{conversation}/messages/{message}");
    ann.put(&path, json!({"content": "changed"})).expect(200);
    // Another long event takes the place of this one in memory.
    ann.post_message(&conversation, &content('b'));
    let mut last_event_id = Some(0);
    while let Ok(Some(frame)) = stream.next() {
        assert!(frame.kind != "input", "the event is not complete");
        last_event_id = frame.id.or(last_event_id);
    }
    let mut back = Reader::open(server.addr, &Opening { last_event_id, ..opening("ann") }).expect("a stream");
    read(&mut back, "input", &["changed".to_owned(), content('b')]);
}
