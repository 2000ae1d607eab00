//! Layer 0: what all other layers use. It names no other module of the crate.

#[cfg(feature = "tls")]
pub(crate) mod certificates;
pub(crate) mod decimal;
pub(crate) mod limits;
pub(crate) mod log;
pub(crate) mod memory_plan;
pub(crate) mod metrics;
pub(crate) mod random;
pub(crate) mod shares;
pub(crate) mod text;
pub(crate) mod thread;
pub(crate) mod time;
pub(crate) mod timers;
