//! Slow readers: they lose nothing, use bounded memory, and delay no other client.

use crate::common::process::resident_bytes;
use crate::common::publish::{Acknowledged, Publisher};
use crate::common::reader::{Opening, Reader};
use crate::common::server::Server;
use crate::common::token::token;
use crate::common::{Options, Origin, User};
use cortex_core::internals::limits::TAIL_BYTES_MAX;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PUBLISHERS: usize = 4;
const WORKERS: usize = 2;
const CONTENT_BYTES: usize = 8 * 1024;
/// `STREAM_BUFFER_BYTES` of this server.
const OUTBOX_BYTES_MAX: usize = 64 * 1024;
/// Pause of the reader.
const PAUSE: Duration = Duration::from_secs(5);
/// The number of open streams.
const STREAMS: usize = 2;
/// Other memory for this traffic: SQLite's page caches, mailboxes, batches in progress, and memory retained by the
/// allocator.
const SLACK_BYTES: usize = 16 * 1024 * 1024;
/// Maximum growth of the server, whatever its readers do.
const GROWTH_BYTES_MAX: usize = STREAMS * OUTBOX_BYTES_MAX + WORKERS * TAIL_BYTES_MAX + SLACK_BYTES;
/// Bytes published during the pause: enough to exceed the bound if they were kept for the reader.
const PUBLISHED_BYTES_MIN: usize = 2 * GROWTH_BYTES_MAX;

#[test]
fn a_paused_reader_gets_everything_and_uses_bounded_memory() {
    let settings = [("STREAM_BUFFER_BYTES", OUTBOX_BYTES_MAX), ("WORKERS", WORKERS)];
    let options = settings.iter().fold(Options::new(), |options, (name, value)| options.set(name, value));
    let mut server = Server::start(options.set("LOG_LEVEL", "WARNING"));
    let addr = server.addr;
    let pid = server.process().id();
    let mut owner = User::new(&server, "owner");
    let workspace = owner.create_workspace("w");
    let names: Vec<String> = (0..PUBLISHERS).map(|n| format!("publisher{n}")).collect();
    let others: Vec<&str> = names.iter().map(String::as_str).chain(["ann"]).collect();
    let conversation = owner.create_conversation(&workspace, "t", &others);

    let slow = Opening { token: token("owner"), origin: Origin::with_receive_buffer(4096), ..Opening::default() };
    let mut slow = Reader::open(addr, &slow).expect("a stream");
    let quick = Reader::open(addr, &Opening { token: token("ann"), ..Opening::default() }).expect("a stream");
    // The first messages create all lazily created resources and show that both streams are open.
    let mut first = Publisher::new(addr, "owner");
    let mut acknowledged: Vec<Acknowledged> =
        (0..50).map(|n| first.post(&conversation, &content("owner", n))).collect();
    let mut seen = read(&mut slow, acknowledged.len());
    let memory_before = resident_bytes(pid);

    let (stop, posted, delivered) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let (published, quick_seen, growth) = thread::scope(|scope| {
        let publishers: Vec<_> = names
            .iter()
            .map(|name| {
                let (conversation, stop, posted) = (&conversation, &stop, &posted);
                scope.spawn(move || publish(addr, name, conversation, stop, posted))
            })
            .collect();
        let quick = {
            let delivered = &delivered;
            scope.spawn(move || read_to_the_end(quick, delivered))
        };
        // The slow stream reads nothing meanwhile.
        let mut growth = 0;
        let resume_at = Instant::now() + PAUSE;
        while Instant::now() < resume_at || posted.load(Ordering::Relaxed) * CONTENT_BYTES < PUBLISHED_BYTES_MIN {
            growth = growth.max(resident_bytes(pid).saturating_sub(memory_before));
            thread::sleep(Duration::from_millis(20));
        }
        let (served, said) = (delivered.load(Ordering::Relaxed), posted.load(Ordering::Relaxed));
        assert!(served >= said / 2, "the other stream got {served} of {said} messages during the pause");
        stop.store(true, Ordering::Relaxed);
        let mut published: Vec<Acknowledged> =
            publishers.into_iter().flat_map(|publisher| publisher.join().expect("a publisher succeeds")).collect();
        published.push(first.post(&conversation, "the end"));
        // The other stream has everything before the slow one reads again.
        let quick_seen = quick.join().expect("the other stream succeeds");
        growth = growth.max(resident_bytes(pid).saturating_sub(memory_before));
        (published, quick_seen, growth)
    });
    let during = published.len();
    acknowledged.extend(published);
    acknowledged.sort();
    assert_same(&acknowledged, &quick_seen, "the other stream");

    let listed = owner.get("/output/streams").expect(200).json();
    let stream = &listed["streams"][0];
    assert_eq!(stream["state"], "behind", "{listed}");
    assert!(stream["events_behind"].as_u64().is_some_and(|events| events > 1000), "{listed}");
    let waiting = stream["bytes_behind"].as_u64().expect("a number") as usize;
    assert!((1..=OUTBOX_BYTES_MAX).contains(&waiting), "{listed}");

    seen.extend(read(&mut slow, during));
    assert_same(&acknowledged, &seen, "the paused stream");
    let growth = growth.max(resident_bytes(pid).saturating_sub(memory_before));
    assert!(growth <= GROWTH_BYTES_MAX, "grew by {growth} bytes; the limit is {GROWTH_BYTES_MAX}");
}

/// A slow reader is served at its own speed and not treated as stalled.
#[test]
fn a_slow_reader_is_not_disconnected() {
    const STALL: Duration = Duration::from_secs(1);
    let server = Server::with(&[("STREAM_STALL_TIMEOUT_SECONDS", "1")]);
    let mut user = User::new(&server, "u");
    let opening = Opening { token: token("u"), origin: Origin::with_receive_buffer(16 * 1024), ..Opening::default() };
    let mut reader = Reader::open(server.addr, &opening).expect("a stream");
    let (mut seen, mut last, mut longest) = (0, Instant::now(), Duration::ZERO);
    for n in 0..40 {
        user.say("default", &content("u", n).repeat(8));
    }
    let begin = Instant::now();
    while seen < 40 {
        match reader.next() {
            Ok(Some(frame)) if frame.kind == "input" => {
                assert!(frame.content.starts_with(&format!("u {seen} ")), "in order");
                seen += 1;
            }
            Ok(Some(_)) => {}
            // Only a machine that stalled the test for this long may have closed the stream.
            end => {
                longest = longest.max(last.elapsed());
                return assert!(longest > STALL / 2, "{end:?} after {seen} messages, {longest:?} between two reads");
            }
        }
        thread::sleep(Duration::from_millis(60));
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    assert!(begin.elapsed() > STALL, "it takes longer than the stall timeout");
}

/// A reader that takes nothing is disconnected, an idle one is not, and the disconnected one resumes without loss.
#[test]
fn a_reader_that_takes_nothing_is_disconnected_and_can_resume() {
    let server = Server::with(&[("STREAM_STALL_TIMEOUT_SECONDS", "1")]);
    let (mut user, mut quiet) = (User::new(&server, "u"), User::new(&server, "quiet"));
    let mut idle_stream = quiet.stream();
    let opening = Opening { token: token("u"), origin: Origin::with_receive_buffer(4096), ..Opening::default() };
    let mut stuck = Reader::open(server.addr, &opening).expect("a stream");
    let contents: Vec<String> = (0..100).map(|n| content("u", n).repeat(4)).collect();
    for content in &contents {
        user.say("default", content);
    }
    user.wait_until_no_streams();
    // Bytes in this side's kernel can still be read; then comes an end or a reset.
    let (mut seen, mut last_event_id) = (Vec::new(), None);
    while let Ok(Some(frame)) = stuck.next() {
        last_event_id = frame.id.or(last_event_id);
        if frame.kind == "input" {
            seen.push(frame.content);
        }
    }
    assert!(seen.len() < contents.len(), "it was disconnected before the end");
    let mut back = Reader::open(server.addr, &Opening { last_event_id, ..opening }).expect("a stream");
    while seen.len() < contents.len() {
        let frame = back.next().expect("the stream continues").expect("no end");
        if frame.kind == "input" {
            seen.push(frame.content);
        }
    }
    assert!(seen == contents, "every message arrives once");
    quiet.say("default", "an idle stream stays open");
    assert_eq!(idle_stream.next_of("input").content(), "an idle stream stays open");
}

/// A text that is unique and as long as the others.
fn content(name: &str, n: usize) -> String {
    let mut text = format!("{name} {n} ");
    while text.len() < CONTENT_BYTES {
        text.push_str("of what is said ");
    }
    text
}

fn publish(
    addr: SocketAddr,
    name: &str,
    conversation: &str,
    stop: &AtomicBool,
    posted: &AtomicUsize,
) -> Vec<Acknowledged> {
    let mut publisher = Publisher::new(addr, name);
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        acknowledged.push(publisher.post(conversation, &content(name, acknowledged.len())));
        posted.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}

/// The next messages.
fn read(reader: &mut Reader, count: usize) -> Vec<(u64, String)> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let frame = reader.next().expect("the stream continues").expect("no end");
        if frame.kind == "input" {
            messages.push((frame.id.expect("a message has a number"), frame.content));
        }
    }
    messages
}

fn read_to_the_end(mut reader: Reader, delivered: &AtomicUsize) -> Vec<(u64, String)> {
    let mut messages = Vec::new();
    loop {
        messages.extend(read(&mut reader, 1));
        delivered.fetch_add(1, Ordering::Relaxed);
        if messages.last().is_some_and(|(_, content)| content == "the end") {
            return messages;
        }
    }
}

#[track_caller]
fn assert_same(expected: &[Acknowledged], seen: &[(u64, String)], name: &str) {
    let same = expected.iter().zip(seen).take_while(|(want, got)| (want.number, &want.content) == (got.0, &got.1));
    let same = same.count();
    assert!(same == expected.len() && same == seen.len(), "{name}: {same} of {} match", expected.len());
}

/// With little memory and several event loops, a message that was accepted can be larger than what a loop's mailbox has for
/// results. It is read and replayed in any case.
#[test]
fn an_accepted_message_can_be_read_with_little_memory() {
    let server = Server::with(&[("MEMORY_LIMIT_BYTES", "67108864"), ("WORKERS", "4")]);
    let (mut ann, mut ben) = (User::new(&server, "ann"), User::new(&server, "ben"));
    let workspace = ann.create_workspace("w");
    let conversation = ann.create_conversation(&workspace, "t", &["ben"]);
    let mut stream = ben.stream();
    let large = "y".repeat(500_000);
    ann.post_message(&conversation, &large);
    ben.say("default", "after");
    assert!(stream.before_message("after").iter().any(|event| event.content() == large));
    let mut replay = ben.stream_with("last_event_id=0");
    assert!(replay.before_message("after").iter().any(|event| event.content() == large));
    let page = ben.get(&format!("/conversations/{conversation}/messages?limit=1")).expect(200);
    assert!(page.text().contains(&large));
}
