//! State that all shards of a process share. Each part has its own lock or atomics.

mod overload;
pub(crate) mod rate_limiter;
pub(crate) mod stream_registry;
pub(crate) mod writer_health;

use overload::Overload;
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
    /// Whether requests of most users are rejected for lack of room.
    pub(in crate::shard) overload: Overload,
}

impl SharedState {
    /// Asserts the invariants of the parts.
    pub fn check_invariants(&self) {
        self.streams.check_invariants();
        self.rate_limiter.check_invariants();
    }
}
