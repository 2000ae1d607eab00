//! Power cuts under load: acknowledged messages have been synced, also with failing syncs and writes.

use super::ABOUT_A_FILE;
use super::shim::Disk;
use crate::common::user::text;
use crate::common::{Client, Options, Server, User, database, of_sqlite_only, token::token};
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

const POSTERS: usize = 6;

/// The messages sent, and the numbers of the acknowledged ones.
#[derive(Default)]
struct Ledger {
    sent: HashSet<String>,
    rejected: u64,
    acknowledged: HashMap<String, u64>,
}

fn seed() -> u32 {
    let seed = std::env::var("DISK_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").subsec_nanos());
    eprintln!("DISK_SEED={seed}");
    seed
}

/// Reads repeatedly until the server is killed, so that checkpoints cannot reset the log.
fn read_until_killed(addr: SocketAddr, reader: usize) {
    let token = token(&format!("poster {}", reader % 3));
    let mut client = Client::new(addr);
    while let Ok(response) =
        client.request("GET", "/conversations/default/messages?limit=1000").token(&token).try_send()
    {
        assert!([200, 503].contains(&response.status), "{}", response.shown());
    }
}

/// The work of a round besides small messages.
#[derive(Clone, Copy)]
struct Work {
    /// One in this number of messages is large.
    large_every: u32,
    large_bytes: usize,
    readers: usize,
    /// Whether the server may exit by itself.
    may_end: bool,
}

const SMALL: Work = Work { large_every: 9, large_bytes: 9_000, readers: 0, may_end: false };
/// Like `SMALL`, while syncs of the database may fail.
const FAILING: Work = Work { may_end: true, ..SMALL };
/// Fills the write-ahead log, so that it is checkpointed and reset continuously.
const LARGE: Work = Work { large_every: 2, large_bytes: 900_000, readers: 3, may_end: true };

/// Posts until the server is killed.
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
            503 => ledger.rejected += 1,
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
        assert!(
            ledger.sent.contains(content),
            "round {round}: unknown message {:?}",
            &content[..content.len().min(40)]
        );
        *times.entry(content).or_default() += 1;
    }
    for (content, times) in &times {
        assert_eq!(*times, 1, "round {round}: {:?}", &content[..content.len().min(40)]);
    }
    for content in ledger.acknowledged.keys() {
        assert!(times.contains_key(content.as_str()), "round {round}: lost {:?}", &content[..content.len().min(40)]);
    }
    let numbers: HashSet<u64> = ledger.acknowledged.values().copied().collect();
    assert_eq!(numbers.len(), ledger.acknowledged.len(), "round {round}: a number was used twice");
}

/// Runs rounds of work, each ended by a power cut at a random moment.
fn cut_power_repeatedly(rounds: u32, work: Work, inject: impl Fn(&Disk, u32)) -> (Ledger, u32, String) {
    let seed = seed();
    let (disk, mut server) = Disk::with_server(seed, Options::new());
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    for round in 0..rounds {
        // Create each poster's conversation before any fault.
        for user in 0..3 {
            let content = format!("{round}/{user} before");
            ledger.lock().expect("no poster panicked").sent.insert(content.clone());
            User::new(&server, &format!("poster {user}")).say("default", &content);
        }
        inject(&disk, round);
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
            poster.join().expect("a poster ends only with the server");
        }
        for reader in readers {
            reader.join().expect("a reader ends only with the server");
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
    of_sqlite_only!(ABOUT_A_FILE);
    let (ledger, ..) = cut_power_repeatedly(12, SMALL, |_, _| {});
    assert_eq!(ledger.rejected, 0);
    assert!(ledger.acknowledged.len() > 100);
}

#[test]
fn a_failed_sync_or_write_is_never_acknowledged() {
    of_sqlite_only!(ABOUT_A_FILE);
    let (ledger, failures, _) = cut_power_repeatedly(16, FAILING, |disk, round| {
        let errno = if round % 2 == 0 { libc::EIO } else { libc::ENOSPC };
        if round % 4 < 2 { disk.fail_syncs(errno, 250) } else { disk.fail_writes(errno, 60) }
    });
    assert!(failures > 16 && ledger.rejected > 0, "{failures} failures, {} rejections", ledger.rejected);
    assert!(!ledger.acknowledged.is_empty());
}

/// With a concurrent reader, SQLite alone would count pages as checkpointed that a failed sync lost.
#[test]
fn checkpoints_on_a_failing_disk_lose_nothing() {
    of_sqlite_only!(ABOUT_A_FILE);
    let (ledger, failures, log) = cut_power_repeatedly(8, LARGE, |disk, round| {
        if round % 2 == 1 {
            disk.fail_carrying_over(libc::EIO, 500);
        }
    });
    assert!(failures > 0 && log.contains("the database could not be synced: ending"), "{failures} failures");
    assert!(ledger.acknowledged.keys().any(|content| content.len() > 900_000), "large messages are stored too");
}
