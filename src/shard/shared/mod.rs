//! State that all shards of a process share.

pub(crate) mod rate_limiter;
pub(crate) mod stream_registry;
