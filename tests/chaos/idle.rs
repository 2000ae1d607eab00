//! What a server holds when nobody wants anything of it, and that it returns there.

use crate::common::metrics::{Scrape, wait_for};
use crate::common::process::{descriptors, resident_bytes};
use crate::common::{DEADLINE, Server};
use std::thread;
use std::time::{Duration, Instant};

/// Memory that a server may keep after a storm beside what it had after its warm-up: caches of SQLite's pages, of
/// conversations and users, tails of events, and what the allocator does not give back.
pub const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a server held at rest.
pub struct IdleState {
    process: u32,
    descriptors: usize,
    resident_bytes: usize,
}

impl IdleState {
    /// Waits until nothing is open or under way, and notes what the process holds.
    #[track_caller]
    pub fn of(server: &mut Server) -> IdleState {
        let process = server.process().id();
        wait_for(server, is_calm);
        IdleState { process, descriptors: descriptors(process), resident_bytes: resident_bytes(process) }
    }

    /// How much memory the process has beyond what it had then, in bytes.
    #[track_caller]
    pub fn growth_bytes(&self) -> usize {
        resident_bytes(self.process).saturating_sub(self.resident_bytes)
    }

    /// Waits until the same process holds no more than it did.
    #[track_caller]
    pub fn returns(&self, server: &mut Server) {
        assert_eq!(server.process().id(), self.process, "it is the same process");
        wait_for(server, is_calm);
        let end = Instant::now() + DEADLINE;
        while descriptors(self.process) > self.descriptors {
            let open = descriptors(self.process);
            assert!(Instant::now() < end, "{open} descriptors are open, not {}", self.descriptors);
            thread::sleep(Duration::from_millis(10));
        }
        let growth = self.growth_bytes();
        assert!(growth <= KEPT_BYTES_MAX, "{growth} bytes more than at rest before");
        // The log of a run that goes well has no panic in it, of whatever thread.
        let log = server.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// The scrape's own connection is the only one, nothing streams, nothing waits.
fn is_calm(scrape: &Scrape) -> bool {
    let waiting = scrape.0.iter().filter(|(series, _)| {
        ["cortex_queue_items{", "cortex_outbox_bytes{", "cortex_streams{", "cortex_answers_"]
            .iter()
            .any(|start| series.starts_with(start) && !series.contains("_total"))
    });
    scrape.get("cortex_connections_open") == 1.0 && waiting.map(|(_, value)| value).sum::<f64>() == 0.0
}
