//! The limit of durable writes: transactions of SQLite with the rows of messages, each as soon as the last one is on disk.

use crate::support::bench_store::{BenchStore, command, cpu_time, post};
use crate::support::cores;
use crate::support::histogram::Histogram;
use crate::support::server::TemporaryDirectory;
use cortex_core::internals::FlushLimits;
use rusqlite::{Connection, params};
use std::path::Path;
use std::time::{Duration, Instant};

const INSERT: &str = "INSERT INTO messages (number, conversation, sender, role, status, created_at, updated_at, \
    correlation_id, metadata, content) SELECT ?1, conversation, sender, role, status, ?2, ?2, correlation_id, metadata, ?3 \
    FROM messages WHERE number = ?4";
const COUNT: &str = "UPDATE conversation_state SET message_count = message_count + ?1, updated_at = ?2, last_number = ?3 \
    WHERE conversation = (SELECT conversation FROM messages WHERE number = ?4)";
const HEAD: &str = "UPDATE journal_head SET number = ?1, at = ?2 WHERE id = 1";

/// Rows that are on disk, and the time of their transactions in nanoseconds, counted once per row.
pub struct Committed {
    pub elapsed: Duration,
    pub latency: Histogram,
    pub cpu: Duration,
}

/// Writes `rows` messages per transaction for `duration` on a thread of `core`.
pub fn measure(rows: usize, content: &str, duration: Duration, core: Option<usize>) -> Result<Committed, String> {
    let directory = TemporaryDirectory::new()?;
    let path = directory.0.join("bare.db");
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            core.map_or(Ok(()), cores::pin_this_thread).map_err(|error| format!("cannot pin a thread: {error}"))?;
            create(&path, content);
            write(&path, rows, content, duration).map_err(|error| format!("bare SQLite: {error}"))
        });
        writing.join().map_err(|_| "the writing thread failed".to_owned())?
    })
}

/// A database of this program with one message.
fn create(path: &Path, content: &str) {
    let mut store = BenchStore::open(path.into(), FlushLimits::default());
    let room = store.user_in("bench", 1)[0];
    store.waiting.push(command("bench", post(room, content.to_owned())));
    store.commit_if(1);
    store.writer.close();
}

fn write(path: &Path, rows: usize, content: &str, duration: Duration) -> rusqlite::Result<Committed> {
    let mut db = Connection::open(path)?;
    // The settings of the writer.
    db.execute_batch("PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -2048;")?;
    db.query_row("PRAGMA wal_autocheckpoint = 4000", [], |_| Ok(()))?;
    let first: i64 = db.query_row("SELECT max(number) FROM messages", [], |row| row.get(0))?;
    let mut number = first;
    let mut latency = Histogram::new();
    let (start, cpu_before) = (Instant::now(), cpu_time());
    while start.elapsed() < duration {
        let began = Instant::now();
        let transaction = db.transaction()?;
        {
            let at = 1_767_225_600_000_000 + number;
            let mut insert = transaction.prepare_cached(INSERT)?;
            for _ in 0..rows {
                number += 1;
                insert.execute(params![number, at, content, first])?;
            }
            transaction.prepare_cached(COUNT)?.execute(params![rows as i64, at, number, first])?;
            transaction.prepare_cached(HEAD)?.execute(params![number, at])?;
        }
        transaction.commit()?;
        let nanoseconds = began.elapsed().as_nanos() as u64;
        (0..rows).for_each(|_| latency.add(nanoseconds));
    }
    Ok(Committed { elapsed: start.elapsed(), latency, cpu: cpu_time() - cpu_before })
}
