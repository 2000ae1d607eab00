//! The resources that an idle server holds, and the check that they return to that level.

use crate::common::metrics::{Scrape, wait_for};
use crate::common::process::{descriptors, resident_bytes};
use crate::common::{DEADLINE, Server};
use std::thread;
use std::time::{Duration, Instant};

/// Memory that a server may keep after a load, beyond its level after warm-up: page caches of SQLite, cached
/// conversations and users, tails of events, and memory that the allocator retains.
pub const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The resources held at rest.
pub struct IdleState {
    process: u32,
    descriptors: usize,
    resident_bytes: usize,
}

impl IdleState {
    /// Waits until nothing is open or pending, and records what the process holds.
    #[track_caller]
    pub fn of(server: &mut Server) -> IdleState {
        let process = server.process().id();
        wait_for(server, is_idle);
        IdleState { process, descriptors: descriptors(process), resident_bytes: resident_bytes(process) }
    }

    /// Growth of resident memory since then, in bytes.
    #[track_caller]
    pub fn growth_bytes(&self) -> usize {
        resident_bytes(self.process).saturating_sub(self.resident_bytes)
    }

    /// Waits until the same process holds no more than then.
    #[track_caller]
    pub fn returns(&self, server: &mut Server) {
        assert_eq!(server.process().id(), self.process, "the process has changed");
        wait_for(server, is_idle);
        let end = Instant::now() + DEADLINE;
        while descriptors(self.process) > self.descriptors {
            let open = descriptors(self.process);
            assert!(Instant::now() < end, "{open} descriptors are open, not {}", self.descriptors);
            thread::sleep(Duration::from_millis(10));
        }
        let growth = self.growth_bytes();
        assert!(growth <= KEPT_BYTES_MAX, "{growth} bytes of growth");
        // A panic of any thread would be in the log.
        let log = server.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// The only connection is the scrape's own; there are no streams and no pending work.
fn is_idle(scrape: &Scrape) -> bool {
    let waiting = scrape.0.iter().filter(|(series, _)| {
        ["cortex_queue_items{", "cortex_outbox_bytes{", "cortex_streams{", "cortex_answers_"]
            .iter()
            .any(|start| series.starts_with(start) && !series.contains("_total"))
    });
    scrape.get("cortex_connections_open") == 1.0 && waiting.map(|(_, value)| value).sum::<f64>() == 0.0
}
