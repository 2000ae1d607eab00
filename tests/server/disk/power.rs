//! Power cuts in the middle of work: what was acknowledged had been synced, also beside syncs and writes that fail.

use super::shim::Disk;
use crate::common::user::text;
use crate::common::{Client, Options, Server, User, database, token::token};
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

const POSTERS: usize = 6;

/// What was sent, and what of it was acknowledged, with its number.
#[derive(Default)]
struct Ledger {
    sent: HashSet<String>,
    refused: u64,
    acknowledged: HashMap<String, u64>,
}

fn seed() -> u32 {
    let seed = std::env::var("DISK_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").subsec_nanos());
    eprintln!("DISK_SEED={seed}");
    seed
}

/// Reads what there is, over and over, until the server is gone, so that the log is never carried over as a whole.
fn read_until_killed(addr: SocketAddr, reader: usize) {
    let token = token(&format!("poster {}", reader % 3));
    let mut client = Client::new(addr);
    while let Ok(response) =
        client.request("GET", "/conversations/default/messages?limit=1000").token(&token).try_send()
    {
        assert!([200, 503].contains(&response.status), "{}", response.shown());
    }
}

/// What a round does beside posting small messages.
#[derive(Clone, Copy)]
struct Work {
    /// One of so many messages of a poster is large.
    large_every: u32,
    large_bytes: usize,
    readers: usize,
    /// The server may end by itself.
    may_end: bool,
}

const SMALL: Work = Work { large_every: 9, large_bytes: 9_000, readers: 0, may_end: false };
/// The same where the database may fail to be synced.
const FAILING: Work = Work { may_end: true, ..SMALL };
/// Fills the write-ahead log, so that it is carried over into the database and begun anew all the time.
const LARGE: Work = Work { large_every: 2, large_bytes: 900_000, readers: 3, may_end: true };

/// Posts until the server is gone.
fn post_until_killed(addr: SocketAddr, name: &str, work: Work, count: &AtomicU64, ledger: &Mutex<Ledger>) {
    let token = token(&format!("poster {}", name.len() % 3));
    let mut client = Client::new(addr);
    for n in 0u32.. {
        let padding = if n.is_multiple_of(work.large_every) { work.large_bytes } else { 50 };
        let content = format!("{name}/{n} {}", "x".repeat(padding));
        ledger.lock().expect("no poster panicked").sent.insert(content.clone());
        let body = json!({"content": content});
        let Ok(response) = client.request("POST", "/input").token(&token).json(&body).try_send() else { return };
        let mut ledger = ledger.lock().expect("no poster panicked");
        match response.status {
            200 => {
                text(&response.json()["data"]["message_id"]);
                ledger.acknowledged.insert(content, response.number("X-Event-Id"));
            }
            503 => ledger.refused += 1,
            _ => panic!("{}", response.shown()),
        }
        drop(ledger);
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn check(server: &Server, ledger: &Ledger, round: u32) {
    let stored = database::sound_message_contents(&server.database());
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    for content in &stored {
        assert!(ledger.sent.contains(content), "round {round}: nobody sent {:?}", &content[..content.len().min(40)]);
        *times.entry(content).or_default() += 1;
    }
    for (content, times) in &times {
        assert_eq!(*times, 1, "round {round}: {:?}", &content[..content.len().min(40)]);
    }
    for content in ledger.acknowledged.keys() {
        assert!(times.contains_key(content.as_str()), "round {round}: lost {:?}", &content[..content.len().min(40)]);
    }
    let numbers: HashSet<u64> = ledger.acknowledged.values().copied().collect();
    assert_eq!(numbers.len(), ledger.acknowledged.len(), "round {round}: a number was given twice");
}

/// Runs rounds of work, each ended by a power cut at a moment of its own.
fn cut_power_repeatedly(rounds: u32, work: Work, break_it: impl Fn(&Disk, u32)) -> (Ledger, u32, String) {
    let seed = seed();
    let (disk, mut server) = Disk::with_server(seed, Options::new());
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    for round in 0..rounds {
        // Each poster's conversation is there before anything fails.
        for user in 0..3 {
            let content = format!("{round}/{user} before");
            ledger.lock().expect("no poster panicked").sent.insert(content.clone());
            User::new(&server, &format!("poster {user}")).say("default", &content);
        }
        break_it(&disk, round);
        let count = Arc::new(AtomicU64::new(0));
        let addr = server.addr;
        let posters: Vec<_> = (0..POSTERS)
            .map(|poster| {
                let (count, ledger) = (Arc::clone(&count), Arc::clone(&ledger));
                let name = format!("{round}/{}", "p".repeat(poster + 1));
                thread::spawn(move || post_until_killed(addr, &name, work, &count, &ledger))
            })
            .collect();
        let readers: Vec<_> =
            (0..work.readers).map(|reader| thread::spawn(move || read_until_killed(addr, reader))).collect();
        let enough = u64::from(1 + (round * 37 + seed % 50) % 250);
        while count.load(Ordering::Relaxed) < enough {
            if posters.iter().any(|poster| poster.is_finished()) {
                assert!(work.may_end, "a poster ended before the power cut");
                break;
            }
            thread::yield_now();
        }
        disk.cut_power(&mut server);
        disk.heal();
        for poster in posters {
            poster.join().expect("a poster ends when the server is gone, and for no other reason");
        }
        for reader in readers {
            reader.join().expect("a reader ends when the server is gone, and for no other reason");
        }
        check(&server, &ledger.lock().expect("no poster panicked"), round);
        server.restart();
    }
    let failures = disk.failures();
    assert!(disk.syncs_done() > rounds, "commits are synced");
    let ledger = Arc::into_inner(ledger).expect("all posters ended").into_inner().expect("none panicked");
    (ledger, failures, server.log())
}

#[test]
fn acknowledged_messages_survive_power_cuts() {
    let (ledger, ..) = cut_power_repeatedly(12, SMALL, |_, _| {});
    assert_eq!(ledger.refused, 0);
    assert!(ledger.acknowledged.len() > 100);
}

#[test]
fn a_failed_sync_or_write_is_never_acknowledged() {
    let (ledger, failures, _) = cut_power_repeatedly(16, FAILING, |disk, round| {
        let errno = if round % 2 == 0 { libc::EIO } else { libc::ENOSPC };
        if round % 4 < 2 { disk.fail_syncs(errno, 250) } else { disk.fail_writes(errno, 60) }
    });
    assert!(failures > 16 && ledger.refused > 0, "{failures} failures, {} refusals", ledger.refused);
    assert!(!ledger.acknowledged.is_empty());
}

/// SQLite alone would count pages as carried over that a failed sync has lost, when somebody reads meanwhile.
#[test]
fn checkpoints_on_a_failing_disk_lose_nothing() {
    let (ledger, failures, log) = cut_power_repeatedly(8, LARGE, |disk, round| {
        if round % 2 == 1 {
            disk.fail_carrying_over(libc::EIO, 500);
        }
    });
    assert!(failures > 0 && log.contains("the database could not be synced: ending"), "{failures} failures");
    assert!(ledger.acknowledged.keys().any(|content| content.len() > 900_000), "large messages are stored too");
}
