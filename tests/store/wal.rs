//! The length of the write-ahead log under constant reads and writes.

use crate::common::*;
use cortex_core::internals::limits::WAL_FRAMES_MAX;
use cortex_core::internals::{Command, ConversationRef, Database, EventNumber, Query, QueryKind, UserId};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[test]
fn the_log_stays_short_with_overlapping_readers() {
    const BATCHES: usize = 600;
    // Three times the length at which the writer waits for readers, because on a busy machine a wait may time out.
    const WAL_BYTES_MAX: u64 = 3 * 4096 * WAL_FRAMES_MAX as u64;
    let mut world = World::in_file();
    let workspace = world.workspace("ann");
    let conversation = world.conversation("ann", workspace, &["ben"]);
    // A server has a log of its own.
    let Database::File(path) = world.config.database.clone() else { return };
    let log = || std::fs::metadata(format!("{}-wal", path.display())).map_or(0, |file| file.len());
    let text = "x".repeat(50_000);
    let (ended, pages) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut largest, mut written) = (0, 0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let mut reader = world.writer().open_reader().unwrap();
            let (ended, pages) = (&ended, &pages);
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    let kind = QueryKind::JournalPage { after: EventNumber(0), bytes_max: 1 << 20, filter: EVERYTHING };
                    let query = Query { reply_to: UNUSED_REPLY_TO, caller: UserId::new_unchecked("ben"), kind };
                    assert!(execute(&mut reader, query).result.is_ok());
                    pages.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..BATCHES {
            let posts: Vec<Command> =
                (0..8).map(|_| command("ann", post(ConversationRef::Id(conversation), &text))).collect();
            world.commit(&posts);
            written += 8 * text.len() as u64;
            largest = largest.max(log());
        }
        ended.store(true, Ordering::Relaxed);
    });
    assert!(written > 2 * WAL_BYTES_MAX && pages.load(Ordering::Relaxed) > 100);
    assert!(largest <= WAL_BYTES_MAX, "{largest} bytes");
}
