//! State that all shards of a process share. Each part has its own lock or atomics.

mod overload;
pub(crate) mod rate_limiter;
pub(crate) mod stream_buffers;
pub(crate) mod stream_registry;
pub(crate) mod writer_health;

use crate::base::memory_plan::MemoryPlan;
use overload::Overload;
use rate_limiter::RateLimiter;
use stream_buffers::StreamBuffers;
use stream_registry::StreamRegistry;
use writer_health::WriterHealth;

/// The shared parts.
#[derive(Debug)]
pub struct SharedState {
    /// The open streams, and the journal's position.
    pub streams: StreamRegistry,
    /// The memory of the streams' outboxes.
    pub stream_buffers: StreamBuffers,
    /// The rates of users and addresses.
    pub rate_limiter: RateLimiter,
    /// Whether the writer can commit.
    pub writer_health: WriterHealth,
    /// Whether requests of most users are rejected for lack of room.
    pub(in crate::shard) overload: Overload,
}

impl Default for SharedState {
    fn default() -> SharedState {
        SharedState::new(&MemoryPlan::unlimited())
    }
}

impl SharedState {
    /// The state at the start, with its part of the memory.
    pub fn new(memory: &MemoryPlan) -> SharedState {
        SharedState {
            streams: StreamRegistry::default(),
            stream_buffers: StreamBuffers::default(),
            rate_limiter: RateLimiter::new(memory.rate_buckets_max()),
            writer_health: WriterHealth::default(),
            overload: Overload::default(),
        }
    }

    /// Asserts the invariants of the parts.
    pub fn check_invariants(&self) {
        self.streams.check_invariants();
        self.rate_limiter.check_invariants();
    }
}
