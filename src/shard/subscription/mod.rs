//! Streams of events: their cursors, the fan-out of a commit, and the answers that are being written.

pub mod fan_out;
pub mod live_answers;
mod streams;
pub mod subscriber;
