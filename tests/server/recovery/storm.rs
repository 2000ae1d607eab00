//! Many publishers, streams that reconnect, restarts and a kill: nothing is lost or duplicated.

use crate::common::port::free_port;
use crate::common::publish::{Acknowledged, Publisher};
use crate::common::reader::{Opening, Reader};
use crate::common::token::token;
use crate::common::{Options, Origin, Server, User, database};
use cortex_core::internals::Random;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PUBLISHERS: usize = 8;
const MESSAGES: usize = 10_000;
const STREAMS: usize = 50;
/// Timeout of the whole test.
const TIMEOUT: Duration = Duration::from_secs(120);

/// One of the reconnecting streams: its user, its query, and the messages it must receive.
struct Plan {
    user: String,
    query: String,
    named: bool,
    conversations: Vec<String>,
}

/// The result of one stream.
struct StreamLog {
    /// All messages, in order of arrival.
    messages: Vec<(u64, String)>,
    connections: usize,
}

#[test]
fn every_stream_gets_every_event_once_through_restarts_and_a_kill() {
    let seed = std::env::var("RECOVERY_SEED")
        .ok()
        .map_or_else(|| Random::from_system().next_u64(), |text| text.parse().expect("RECOVERY_SEED is a number"));
    println!("RECOVERY_SEED={seed}");
    let settings = [
        ("HEARTBEAT_INTERVAL_SECONDS", "0.01"),
        ("STREAM_BUFFER_BYTES", "16384"),
        ("MAX_STREAMS_PER_USER", "0"),
        ("LOG_LEVEL", "WARNING"),
    ];
    let options =
        settings.iter().fold(Options::new().set("PORT", free_port()), |all, (name, value)| all.set(name, value));
    let mut server = Server::start(options);
    let names: Vec<String> = (0..PUBLISHERS).map(|n| format!("publisher{n}")).collect();
    let loners: Vec<String> = (0..STREAMS).map(|n| format!("loner{n}")).collect();
    let mut owner = User::new(&server, "owner");
    let workspace = owner.create_workspace("w");
    let narrow: Vec<&str> = names.iter().chain(&loners).map(String::as_str).chain(["ben"]).collect();
    let wide: Vec<&str> = narrow.iter().copied().chain(["ann"]).collect();
    let wide = owner.create_conversation(&workspace, "wide", &wide);
    let narrow = owner.create_conversation(&workspace, "narrow", &narrow);
    let start = owner.get("/config/workspace").expect(200).number("X-Last-Event-Id");

    let plans: Vec<Plan> = (0..STREAMS).map(|n| plan(n, &workspace, &wide, &narrow)).collect();
    let count = AtomicUsize::new(0);
    let addr = server.addr;
    let (acknowledged, logs) = thread::scope(|scope| {
        let streams: Vec<_> = (0..STREAMS)
            .map(|n| {
                let plan = &plans[n];
                let random = Random::new(seed.wrapping_add(1 + n as u64));
                scope.spawn(move || follow(addr, plan, start, random))
            })
            .collect();
        let publishers: Vec<_> = names
            .iter()
            .map(|name| {
                let (wide, narrow, count) = (&wide, &narrow, &count);
                scope.spawn(move || publish(addr, name, [wide, narrow], count))
            })
            .collect();
        for (part, way) in ["restart", "kill", "restart"].into_iter().enumerate() {
            wait_for(&count, MESSAGES * (part + 1) / 4);
            if way == "kill" {
                server.kill();
            }
            server.restart();
        }
        let mut acknowledged: Vec<Acknowledged> =
            publishers.into_iter().flat_map(|publisher| publisher.join().expect("a publisher succeeds")).collect();
        // The last message of each conversation ends its streams.
        let mut last = Publisher::new(addr, "owner");
        acknowledged.extend([&wide, &narrow].map(|conversation| last.post(conversation, "the end")));
        let logs: Vec<StreamLog> =
            streams.into_iter().map(|stream| stream.join().expect("a stream succeeds")).collect();
        (acknowledged, logs)
    });

    check(&plans, acknowledged, &logs, &mut server);
}

/// The plan of one stream. Many share a few users, so that another stream keeps the user's tail in memory; the others
/// have their own user, so that each reconnect reads the journal.
fn plan(n: usize, workspace: &str, wide: &str, narrow: &str) -> Plan {
    let both: &[&str] = &[wide, narrow];
    let (user, query, conversations) = match n % 14 {
        0 => ("owner", String::new(), both),
        2 => ("ann", String::new(), &both[..1]),
        4 => ("ben", "types=input".into(), both),
        6 => ("owner", format!("conversation_id={narrow}"), &both[1..]),
        8 => ("ben", "named=true".into(), both),
        10 => ("ann", format!("workspace_id={workspace}"), &both[..1]),
        12 => ("publisher0", String::new(), both),
        3 => ("loner", format!("conversation_id={wide}&types=input"), &both[..1]),
        _ => ("loner", String::new(), both),
    };
    Plan {
        user: if user == "loner" { format!("loner{n}") } else { user.to_owned() },
        named: query.contains("named"),
        query,
        conversations: conversations.iter().map(|id| (*id).to_owned()).collect(),
    }
}

fn publish(addr: SocketAddr, name: &str, conversations: [&str; 2], count: &AtomicUsize) -> Vec<Acknowledged> {
    let mut publisher = Publisher::new(addr, name);
    (0..MESSAGES / PUBLISHERS)
        .map(|n| {
            let acknowledged = publisher.post(conversations[n % 3 % 2], &format!("{name} says {n}"));
            count.fetch_add(1, Ordering::Relaxed);
            acknowledged
        })
        .collect()
}

fn wait_for(count: &AtomicUsize, enough: usize) {
    let end = Instant::now() + TIMEOUT;
    while count.load(Ordering::Relaxed) < enough {
        assert!(Instant::now() < end, "the publishers stall at {count:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Reads a stream with disconnects at random moments, resumes with the last id, until the last message arrives. The
/// query keeps the first number, like the URL of an `EventSource`; the header has the current one.
fn follow(addr: SocketAddr, plan: &Plan, start: u64, mut random: Random) -> StreamLog {
    let mut log = StreamLog { messages: Vec::new(), connections: 0 };
    let mark = if plan.query.is_empty() { "" } else { "&" };
    let mut opening = Opening {
        token: token(&plan.user),
        query: format!("{}{mark}last_event_id={start}", plan.query),
        last_event_id: None,
        origin: Origin { receive_buffer_bytes: (random.below(3) == 0).then_some(4096), ..Origin::default() },
        bytes_max: None,
    };
    let mut ends_left = plan.conversations.len();
    let end = Instant::now() + TIMEOUT;
    while ends_left > 0 {
        assert!(Instant::now() < end, "{} messages, without the last", log.messages.len());
        // Many connections are short, some end within their first frames, a few last long.
        opening.bytes_max = Some(match random.below(8) {
            0 => random.below(1500),
            1..=5 => random.below(150_000),
            _ => random.below(1_500_000),
        });
        if random.below(4) == 0 {
            thread::sleep(Duration::from_millis(random.below(60)));
        }
        match Reader::open(addr, &opening) {
            Ok(reader) => {
                log.connections += 1;
                read_on(reader, plan, start, &mut opening.last_event_id, &mut log.messages, &mut ends_left);
            }
            Err(_) => thread::sleep(Duration::from_millis(1 + random.below(20))),
        }
    }
    log
}

/// Reads one connection to its end, or until all last messages have arrived.
fn read_on(
    mut reader: Reader,
    plan: &Plan,
    start: u64,
    last_event_id: &mut Option<u64>,
    messages: &mut Vec<(u64, String)>,
    ends_left: &mut usize,
) {
    let (mut caught_up, mut is_first) = (false, true);
    // A reset is an end as well, since a killed server may cause one.
    while let Ok(Some(frame)) = reader.next() {
        let before = last_event_id.unwrap_or(start);
        assert_eq!(frame.name.as_ref(), plan.named.then_some(&frame.kind), "{frame:?}");
        assert!(frame.id.is_none_or(|id| id >= before), "ids go back: {frame:?} after {before}");
        assert_eq!(is_first, frame.kind == "connection_established", "{frame:?}");
        match frame.kind.as_str() {
            "connection_established" => assert_eq!(frame.id, Some(before), "it starts at the requested number"),
            "caught_up" => assert!(!std::mem::replace(&mut caught_up, true), "caught_up comes once"),
            "heartbeat" | "server_shutdown" => {}
            "input" => {
                messages.push((frame.id.expect("a message has a number"), frame.content.clone()));
                *ends_left -= usize::from(frame.content == "the end");
            }
            _ => panic!("an unexpected event: {frame:?}"),
        }
        is_first = false;
        *last_event_id = frame.id.or(*last_event_id);
        if *ends_left == 0 {
            return;
        }
    }
}

fn check(plans: &[Plan], mut acknowledged: Vec<Acknowledged>, logs: &[StreamLog], server: &mut Server) {
    acknowledged.sort();
    assert_eq!(acknowledged.len(), MESSAGES + 2);
    assert!(acknowledged.windows(2).all(|pair| pair[0].number < pair[1].number), "numbers are unique");
    for (n, (plan, log)) in plans.iter().zip(logs).enumerate() {
        let expected: Vec<(u64, String)> = acknowledged
            .iter()
            .filter(|message| plan.conversations.contains(&message.conversation))
            .map(|message| (message.number, message.content.clone()))
            .collect();
        let difference = expected.iter().zip(&log.messages).position(|(want, got)| want != got);
        let name = format!("stream {n} of {} with {:?}", plan.user, plan.query);
        if let Some(at) = difference {
            panic!("{name}: message {at} is {:?}, not {:?}", log.messages[at], expected[at]);
        }
        assert_eq!(log.messages.len(), expected.len(), "{name}");
        assert!(log.connections > 3, "{name} reconnected: {}", log.connections);
    }
    server.stop();
    let stored = database::sound_message_contents(&server.database());
    let contents: Vec<&String> = acknowledged.iter().map(|message| &message.content).collect();
    assert!(stored.iter().eq(contents), "acknowledged messages are stored once");
}

/// A stream opened now, on any loop, at any lag of that loop behind the commits, gets every event after its start, and
/// none twice.
#[test]
fn a_stream_opened_under_load_gets_every_event_after_its_start() {
    const OPENINGS: usize = 600;
    const MESSAGES_EACH: usize = 10;
    let server = Server::with(&[("WORKERS", "4"), ("LOG_LEVEL", "WARNING")]);
    let (addr, stop) = (server.addr, AtomicBool::new(false));
    let (mut acknowledged, streams) = thread::scope(|scope| {
        let publishers: Vec<_> = (0..4)
            .map(|n| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut publisher = Publisher::with_keys_of(addr, "u", &format!("publisher{n}"));
                    let mut acknowledged = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        acknowledged.push(publisher.post("default", &format!("{n} says {}", acknowledged.len())));
                    }
                    acknowledged
                })
            })
            .collect();
        let streams: Vec<(u64, Vec<(u64, String)>)> = (0..OPENINGS).map(|_| open_now(addr, MESSAGES_EACH)).collect();
        stop.store(true, Ordering::Relaxed);
        let acknowledged: Vec<Acknowledged> =
            publishers.into_iter().flat_map(|publisher| publisher.join().expect("a publisher succeeds")).collect();
        (acknowledged, streams)
    });
    acknowledged.sort();
    for (start, seen) in streams {
        let after = acknowledged.iter().filter(|message| message.number > start);
        let expected: Vec<(u64, String)> =
            after.take(MESSAGES_EACH).map(|message| (message.number, message.content.clone())).collect();
        assert_eq!(seen, expected, "after {start}");
    }
}

/// The start that a new stream reports, and the first messages that it receives.
fn open_now(addr: SocketAddr, count: usize) -> (u64, Vec<(u64, String)>) {
    let mut reader = Reader::open(addr, &Opening { token: token("u"), ..Opening::default() }).expect("a stream");
    let mut next = || reader.next().expect("the stream continues").expect("no end");
    let established = next();
    assert_eq!(established.kind, "connection_established");
    let (mut seen, start) = (Vec::new(), established.id.expect("it has its start"));
    while seen.len() < count {
        let frame = next();
        if frame.kind == "input" {
            seen.push((frame.id.expect("a message has a number"), frame.content));
        }
    }
    (start, seen)
}
