//! Streams that lose nothing: each rule of a stream's life, and all together under load, through real sockets.

mod deletion;
mod idempotency;
mod life;
mod long_events;
mod memory;
mod missed_access;
mod other_instance;
mod overload;
mod replay;
mod resume;
mod storm;
mod tickets;
mod visibility;
