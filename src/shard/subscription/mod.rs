//! Streams of events: their cursors, the fan-out of a commit, and the answers in progress.

pub(super) mod answer_statuses;
pub(super) mod fan_out;
pub(super) mod live_answers;
pub(super) mod long_frames;
mod streams;
pub(super) mod subscriber;
