//! A long mixed load: posts, reads, edits, deletions, logins, streams that open and close, and slow readers. The
//! resources of the process are sampled every second and are flat at the end.

use crate::common::metrics::Scrape;
use crate::common::process::{descriptors, resident_bytes};
use crate::common::publish::{Acknowledged, Publisher};
use crate::common::token::token;
use crate::common::user::text;
use crate::common::{Client, Options, Server, Stream, User, database};
use crate::idle::IdleState;
use crate::scale::{self, fork, once_in, one_of, setting};
use cortex_core::internals::Random;
use cortex_core::internals::limits::WAL_FRAMES_MAX;
use serde_json::json;
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Duration of a normal run: it covers the same paths and is too short to judge memory.
const SECONDS: u64 = 8;
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
const WRITERS: usize = 2;
const FOLLOWERS: usize = 6;
/// Pause between two requests of one thread, which limits the growth of the database.
const PAUSE: Duration = Duration::from_millis(4);
/// Maximum difference between the medians of the last and the second quarter of the samples: caches that still fill,
/// and noise of the allocator.
const NOISE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Minimum number of samples for meaningful medians.
const SAMPLES_MIN: usize = 120;
/// A frame of the write-ahead log is a page and its header (<https://www.sqlite.org/fileformat2.html#walformat>); one
/// transaction may exceed the bound before the next check.
const WAL_BYTES_MAX: u64 = 2 * WAL_FRAMES_MAX as u64 * (4096 + 24);

#[derive(Debug, Clone, Copy)]
struct Sample {
    seconds: u64,
    resident_bytes: usize,
    wal_bytes: u64,
    database_bytes: u64,
    descriptors: usize,
    connections: f64,
    streams: f64,
    events: u64,
}

/// State shared by the threads.
struct Load {
    addr: SocketAddr,
    conversations: Vec<String>,
    stop: AtomicBool,
    done: AtomicU64,
}

impl Load {
    /// Pauses, and returns whether the run continues.
    fn goes_on(&self) -> bool {
        thread::sleep(PAUSE);
        self.done.fetch_add(1, Relaxed);
        !self.stop.load(Relaxed)
    }
}

#[test]
fn a_long_mixed_load_leaves_memory_flat_and_loses_nothing() {
    let mut random = scale::random("soak");
    let settings = [
        ("LOG_LEVEL", "WARNING"),
        ("RESPONDER", "echo"),
        ("LOGIN_RATE_LIMIT_PER_MINUTE", "0"),
        ("STREAM_BUFFER_BYTES", "16384"),
        ("STREAM_STALL_TIMEOUT_SECONDS", "20"),
        ("HEARTBEAT_INTERVAL_SECONDS", "2"),
    ];
    let mut server =
        Server::start(settings.iter().fold(Options::new(), |options, (name, value)| options.set(name, value)));
    let mut owner = User::new(&server, "owner");
    let workspace = owner.create_workspace("w");
    let conversations = (0..8).map(|n| owner.create_conversation(&workspace, &format!("{n}"), &["reader"])).collect();
    drop(owner);
    let idle_state = IdleState::of(&mut server);
    let load = Load { addr: server.addr, conversations, stop: AtomicBool::new(false), done: AtomicU64::new(0) };
    let minutes: Option<f64> = setting("CHAOS_SOAK_MINUTES");
    let lasts = minutes.map_or(Duration::from_secs(SECONDS), |minutes| Duration::from_secs_f64(60.0 * minutes));
    let (said, samples) = thread::scope(|scope| {
        let load = &load;
        let writers: Vec<_> = (0..WRITERS)
            .map(|n| {
                let random = fork(&mut random);
                scope.spawn(move || write(load, n, random))
            })
            .collect();
        let mut others = Vec::new();
        for n in 0..FOLLOWERS {
            let random = fork(&mut random);
            others.push(scope.spawn(move || follow_in_turns(load, n, random)));
        }
        let (edits, reads) = (fork(&mut random), fork(&mut random));
        others.push(scope.spawn(move || edit(load, edits)));
        others.push(scope.spawn(move || read(load, reads)));
        let samples = sample(&mut server, load, lasts);
        load.stop.store(true, Relaxed);
        others.into_iter().for_each(|thread| thread.join().expect("a thread of the load succeeds"));
        let said: Vec<Acknowledged> =
            writers.into_iter().flat_map(|thread| thread.join().expect("a writer succeeds")).collect();
        (said, samples)
    });
    keep(&samples);
    let last = samples.last().expect("there are samples");
    println!("{} things done in {lasts:?}, {} messages kept; at last {last:?}", load.done.load(Relaxed), said.len());
    check_flat(&samples);
    check_streams(&load, &said);
    idle_state.returns(&mut server);
    assert_eq!(server.stop().code(), Some(0));
    let stored: std::collections::HashSet<String> =
        database::sound_message_contents(&server.database()).into_iter().collect();
    let lost = said.iter().find(|said| !stored.contains(&said.content));
    assert!(lost.is_none(), "lost: {lost:?}");
}

fn sample(server: &mut Server, load: &Load, lasts: Duration) -> Vec<Sample> {
    let (process, began) = (server.process().id(), Instant::now());
    let mut samples = Vec::new();
    while began.elapsed() < lasts || samples.len() < 3 {
        thread::sleep(SAMPLE_EVERY);
        let scrape = Scrape::at(load.addr);
        let size = |path: &std::path::Path| fs::metadata(path).map_or(0, |file| file.len());
        samples.push(Sample {
            seconds: began.elapsed().as_secs(),
            resident_bytes: resident_bytes(process),
            wal_bytes: size(&server.database().with_extension("db-wal")),
            database_bytes: size(&server.database()),
            descriptors: descriptors(process),
            connections: scrape.get("cortex_connections_open"),
            streams: scrape.get("cortex_streams{state=\"live\"}") + scrape.get("cortex_streams{state=\"behind\"}"),
            events: scrape.get("cortex_journal_position") as u64,
        });
    }
    samples
}

/// Writes the samples to the file in `CHAOS_SOAK_CSV`, one row each.
fn keep(samples: &[Sample]) {
    let Ok(path) = std::env::var("CHAOS_SOAK_CSV") else { return };
    let mut file = File::create(&path).unwrap_or_else(|error| panic!("CHAOS_SOAK_CSV={path}: {error}"));
    let head = "seconds,resident_bytes,wal_bytes,database_bytes,descriptors,connections,streams,events";
    let rows = samples.iter().map(|s| {
        format!(
            "{},{},{},{},{},{},{},{}",
            s.seconds,
            s.resident_bytes,
            s.wal_bytes,
            s.database_bytes,
            s.descriptors,
            s.connections,
            s.streams,
            s.events
        )
    });
    let lines: Vec<String> = std::iter::once(head.to_owned()).chain(rows).collect();
    file.write_all((lines.join("\n") + "\n").as_bytes()).expect("the samples can be written");
}

fn check_flat(samples: &[Sample]) {
    let wal = samples.iter().map(|sample| sample.wal_bytes).max().expect("there are samples");
    assert!(wal <= WAL_BYTES_MAX, "the write-ahead log grew to {wal} bytes; the limit is {WAL_BYTES_MAX}");
    if samples.len() < SAMPLES_MIN {
        return;
    }
    let quarter = samples.len() / 4;
    let (second, fourth) = (&samples[quarter..2 * quarter], &samples[3 * quarter..]);
    let (before, after) = (median(second, |s| s.resident_bytes), median(fourth, |s| s.resident_bytes));
    println!("resident bytes: {before} in the second quarter, {after} in the last");
    assert!(after <= before + NOISE_BYTES_MAX, "memory grows: {before} bytes, then {after}");
    let (before, after) = (median(second, |s| s.descriptors), median(fourth, |s| s.descriptors));
    assert!(after <= before + 2 * FOLLOWERS, "descriptors grow: {before}, then {after}");
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> usize) -> usize {
    let mut values: Vec<usize> = samples.iter().map(of).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// A replay of everything has every kept message, once and in order.
fn check_streams(load: &Load, said: &[Acknowledged]) {
    let mut last = Publisher::new(load.addr, "owner");
    last.post(&load.conversations[0], "the end of the soak");
    let mut stream = Stream::open(load.addr, &token("reader"), "last_event_id=0&types=input");
    let mut shown: Vec<(u64, String)> = Vec::new();
    loop {
        let event = stream.next();
        if event.content() == "the end of the soak" {
            break;
        }
        if !event.is_control() {
            shown.push((event.number(), event.content().to_owned()));
        }
    }
    assert!(shown.windows(2).all(|pair| pair[0].0 < pair[1].0), "once and in order");
    let shown: std::collections::BTreeMap<u64, String> = shown.into_iter().collect();
    let lost = said.iter().find(|said| shown.get(&said.number) != Some(&said.content));
    assert!(lost.is_none(), "not shown: {lost:?}");
}

/// Posts messages that stay.
fn write(load: &Load, n: usize, mut random: Random) -> Vec<Acknowledged> {
    let mut publisher = Publisher::with_keys_of(load.addr, "owner", &format!("writer{n}"));
    let mut said = Vec::new();
    while load.goes_on() {
        let bytes = if once_in(&mut random, 20) { random.below(30_000) } else { random.below(300) };
        let content = format!("kept {n}/{} {}", said.len(), "x".repeat(bytes as usize));
        said.push(publisher.post(one_of::<String>(&mut random, &load.conversations), &content));
    }
    said
}

/// Creates, changes and deletes resources that no other thread counts.
fn edit(load: &Load, mut random: Random) {
    let mut user = User::at(load.addr, "editor");
    while load.goes_on() {
        let conversation = user.start_conversation("for a while");
        for n in 0..2 + random.below(10) {
            let id = user.post_message(&conversation, &format!("{n}"));
            let path = format!("/conversations/{conversation}/messages/{id}");
            match random.below(3) {
                0 => drop(user.put(&path, json!({"content": "changed", "metadata": {"n": n}})).expect(200)),
                1 => drop(user.delete(&path).expect(200)),
                _ => {}
            }
            load.goes_on();
        }
        user.delete(&format!("/conversations/{conversation}")).expect(200);
    }
}

/// Lists, reads and logs in.
fn read(load: &Load, mut random: Random) {
    let mut user = User::at(load.addr, "reader");
    while load.goes_on() {
        let conversation = one_of(&mut random, &load.conversations);
        match random.below(6) {
            0 => drop(user.get("/conversations?include=messages&limit=5").expect(200)),
            1 => drop(user.get(&format!("/conversations/{conversation}/messages?limit=50")).expect(200)),
            2 => drop(user.get(&format!("/config/conversation/{conversation}")).expect(200)),
            3 => drop(user.get("/users?ids=owner,editor").expect(200)),
            4 if once_in(&mut random, 20) => {
                let body = json!({"email": "user@example.com", "password": "password123"});
                let response = Client::new(load.addr).request("POST", "/auth/login").json(&body).send().expect(200);
                let token = text(&response.json()["access_token"]);
                Client::new(load.addr).request("GET", "/auth/verify").token(&token).send().expect(200);
            }
            _ => drop(user.get("/output/streams").expect(200)),
        }
    }
}

/// Repeatedly opens a stream, reads part of it at some speed, and disconnects.
fn follow_in_turns(load: &Load, n: usize, mut random: Random) {
    let (authorization, mut last) = (format!("Bearer {}", token("reader")), None::<u64>);
    while load.goes_on() {
        let mut fields = vec![("Authorization", authorization.clone())];
        fields.extend(last.map(|last| ("Last-Event-ID", last.to_string())));
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let query = ["", "types=input", "named=true"][n % 3];
        let mut stream = Stream::open_with(load.addr, query, &fields);
        let (left_at, slow) = (Instant::now() + Duration::from_millis(random.below(4000)), once_in(&mut random, 3));
        while Instant::now() < left_at && !load.stop.load(Relaxed) {
            let Ok(Some(event)) = stream.try_next() else { break };
            assert_ne!(event.kind(), "gap", "no event is lost");
            if event.id.is_some() && !event.is_control() {
                assert!(last.is_none_or(|last| event.number() > last), "once and in order: {event:?} after {last:?}");
            }
            if event.id.is_some() {
                last = Some(event.number());
            }
            if slow {
                thread::sleep(Duration::from_millis(random.below(100)));
            }
        }
    }
}
