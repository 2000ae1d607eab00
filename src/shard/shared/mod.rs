//! State that all shards of a process share. Each part has its own lock or atomics.

pub(crate) mod rate_limiter;
pub(crate) mod stream_registry;
pub(crate) mod writer_health;

use rate_limiter::RateLimiter;
use stream_registry::StreamRegistry;
use writer_health::WriterHealth;

/// The shared parts.
#[derive(Debug, Default)]
pub struct SharedState {
    /// The open streams, and the journal's position.
    pub streams: StreamRegistry,
    /// The rates of users and addresses.
    pub rate_limiter: RateLimiter,
    /// Whether the writer can commit.
    pub writer_health: WriterHealth,
}

impl SharedState {
    /// Asserts the invariants of the parts.
    pub fn check_invariants(&self) {
        self.streams.check_invariants();
        self.rate_limiter.check_invariants();
    }
}
