//! State that all shards of a process share.

pub mod rate_limiter;
pub mod stream_registry;
