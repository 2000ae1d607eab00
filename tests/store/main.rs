//! The store with its real SQL, in files and in memory.

mod access;
mod answers;
mod batches;
mod clock_jumps;
mod common;
mod conversations;
mod disk;
mod idempotency;
mod journal;
mod numbers;
mod opening;
mod queries;
mod users;
mod wal;
