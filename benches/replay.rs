//! The cost of inboxes for writes, and their gain for replays.
//!
//! Writes: messages per second in batches of 64 and 256, with 3 recipients each, among 1,000 users and 10,000
//! conversations, with and without inbox flushes; and the bytes that are written for a message, alone in its commit or not, in one
//! conversation and in many. Replays: events per second, in pages as a stream requests them, for a
//! user of 10 conversations and one of 5,000 with the same number of messages, with the file cached by the system and
//! not.

mod support;

use cortex_core::internals::limits::QUERY_ROWS_EXAMINED_MAX;
use cortex_core::internals::{
    Database, EventNumber, FlushLimits, KindSet, PendingQuery, Query, QueryKind, QueryResult, QueryStep, Reader,
    StoreConfig, StreamFilter, UserId,
};
use std::os::fd::AsRawFd;
use std::path::Path;
use support::bench_store::{BenchStore, NO_REPLY, command, cpu_time, post};
use support::figures::{self, PROGRAM};

const FEW: usize = 10;
const MANY: usize = 5_000;
const ROUNDS: usize = 7;
const MESSAGES_PER_ROUND: usize = 24_576;
const REPLAYED: usize = 40_000;
/// Bytes of a stream's outbox, by default.
const PAGE_BYTES: usize = 64 * 1024;

fn main() {
    let directory = std::env::temp_dir().join(format!("cortex-replay-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory for the databases");
    writing(&directory);
    spreading(&directory);
    replaying(&directory);
    std::fs::remove_dir_all(&directory).expect("the databases go");
}

fn writing(directory: &Path) {
    let never = FlushLimits { inbox_flush_numbers: u64::MAX, ..FlushLimits::default() };
    let mut without = BenchStore::new(directory.join("without.db"), never);
    let mut with = BenchStore::new(directory.join("with.db"), FlushLimits::default());
    // The first messages fill the empty caches of a new database.
    for store in [&mut without, &mut with] {
        write(store, 100_000, 256);
    }
    println!("{:<34} {:>10} {:>10} {:>7}", "", "without", "inboxes", "ratio");
    for batch in [64, 256] {
        let (mut bare, mut flushed) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bare.push(write(&mut without, MESSAGES_PER_ROUND, batch));
            flushed.push(write(&mut with, MESSAGES_PER_ROUND, batch));
        }
        let ((bare, bare_longest), (flushed, flushed_longest)) = (median(bare), median(flushed));
        let ratio = flushed / bare;
        println!("{:<34} {bare:>10.0} {flushed:>10.0} {ratio:>7.2}", format!("messages/s, {batch} per commit"));
        figures::record(&format!("the writer alone, {batch} messages per commit"), PROGRAM, "messages/s", flushed);
        let ratio = flushed_longest / bare_longest;
        println!("{:<34} {bare_longest:>10.2} {flushed_longest:>10.2} {ratio:>7.2}", "  longest commit, ms");
    }
}

fn spreading(directory: &Path) {
    let mut store = BenchStore::new(directory.join("spread.db"), FlushLimits::default());
    write(&mut store, 200_000, 256);
    let all = std::mem::take(&mut store.rooms);
    println!("\n{:<34} {:>10} {:>10}", "", "messages/s", "bytes");
    for (batch, messages) in [(64, 4 * MESSAGES_PER_ROUND), (1, MESSAGES_PER_ROUND)] {
        for conversations in [10_000, 100, 1] {
            store.rooms = all[..conversations].to_vec();
            let before = bytes_written();
            let (rate, _) = write(&mut store, messages, batch);
            let bytes = (bytes_written() - before) as f64 / messages as f64;
            let row = format!("{batch} per commit, {conversations} conversations");
            println!("{row:<34} {rate:>10.0} {bytes:>10.0}");
            figures::record(&format!("the writer alone, {row}"), PROGRAM, "messages/s", rate);
            figures::record(&format!("the writer alone, {row}"), PROGRAM, "bytes written", bytes);
        }
    }
}

/// The bytes that this process has passed to the system to be written.
fn bytes_written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("the counts of this process");
    let written = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    written.expect("a count of bytes").parse().expect("a number")
}

fn replaying(directory: &Path) {
    let path = directory.join("with.db");
    let config = StoreConfig::new(Database::File(path.clone()));
    let mut store = BenchStore::open(path.clone(), config.flush);
    let few = store.user_in("few", FEW);
    let many = store.user_in("many", MANY);
    let start = store.writer.position();
    for pair in 0..REPLAYED {
        let rooms = [few[pair % FEW], many[pair * 7919 % MANY]];
        store.waiting.extend(rooms.map(|room| command("user-0", post(room, "x".repeat(200)))));
        store.commit_if(256);
    }
    store.commit_if(1);
    println!("\n{:<34} {:>10} {:>10} {:>7}", "", FEW, MANY, "ratio");
    let rounds = |cold: bool| {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (rates, user) in rates.iter_mut().zip(["few", "many"]) {
                if cold {
                    drop_cache(&store);
                }
                rates.push((replay(&path, user, start), 0.0));
            }
        }
        rates.map(|rates| median(rates).0)
    };
    for (name, cold) in [("replayed events/s, warm", false), ("replayed events/s, cold", true)] {
        let [few, many] = rounds(cold);
        println!("{name:<34} {few:>10.0} {many:>10.0} {:>7.2}", many / few);
        for (conversations, rate) in [(FEW, few), (MANY, many)] {
            let row = format!("the reader alone, {conversations} conversations");
            figures::record(&row, PROGRAM, name, rate);
        }
    }
}

/// Writes messages to evenly chosen conversations. Returns messages per second, and milliseconds of the longest
/// commit.
fn write(store: &mut BenchStore, messages: usize, batch: usize) -> (f64, f64) {
    let (mut busy, mut longest) = (0.0, 0.0);
    for _ in 0..messages / batch {
        for _ in 0..batch {
            let (room, user) = &store.rooms[store.random.below(store.rooms.len() as u64) as usize];
            store.waiting.push(command(user, post(*room, "x".repeat(200))));
        }
        let start = cpu_time();
        store.commit_if(batch);
        let seconds = (cpu_time() - start).as_secs_f64();
        busy += seconds;
        longest = f64::max(longest, seconds * 1000.0);
    }
    (messages as f64 / busy, longest)
}

/// Drops the file from the system's page cache.
fn drop_cache(store: &BenchStore) {
    for ending in ["", "-wal"] {
        let path = format!("{}{ending}", store.path.display());
        let Ok(file) = std::fs::File::open(path) else { continue };
        file.sync_all().expect("the file can be synced");
        // SAFETY: the descriptor stays open during the call.
        let failed = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        assert_eq!(failed, 0);
    }
}

/// Reads all events of `user` after a number, as a stream does. Returns events per second.
fn replay(path: &Path, user: &str, start: EventNumber) -> f64 {
    let filter = StreamFilter { conversation: None, workspace: None, kinds: KindSet::ALL };
    let mut reader = Reader::open(path, QUERY_ROWS_EXAMINED_MAX).expect("a reader");
    let (mut after, mut events) = (start, 0);
    let began = cpu_time();
    loop {
        let kind = QueryKind::JournalPage { after, bytes_max: PAGE_BYTES, filter };
        let query = Query { reply_to: NO_REPLY, caller: UserId::new_unchecked(user), kind };
        let QueryStep::Done(response) = reader.step(PendingQuery::new(query)) else { panic!("a page takes one step") };
        let Ok(QueryResult::JournalPage(page)) = response.result else { panic!("no page") };
        events += page.events.len();
        after = page.through;
        if after == page.position {
            break;
        }
    }
    assert_eq!(events, REPLAYED, "{user} gets every message once");
    events as f64 / (cpu_time() - began).as_secs_f64()
}

/// The median of each component.
fn median(mut rounds: Vec<(f64, f64)>) -> (f64, f64) {
    let middle = rounds.len() / 2;
    rounds.sort_by(|a, b| a.1.total_cmp(&b.1));
    let second = rounds[middle].1;
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    (rounds[middle].0, second)
}
