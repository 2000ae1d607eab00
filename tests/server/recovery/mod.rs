//! Streams that lose nothing: every rule of a stream's life, and all of them at once under load, through real sockets.

mod idempotency;
mod life;
mod memory;
mod overload;
mod replay;
mod resume;
mod storm;
mod tickets;
mod visibility;
