//! Floor 0: what every other floor stands on. Names no other module of the crate.

pub mod decimal;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod random;
pub mod thread;
pub mod time;
pub mod timers;
