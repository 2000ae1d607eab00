//! What requests cost, counted without a clock: instructions of the release build, by Valgrind, and system calls, by strace.
//! `CORTEX_PROGRAM` is the path of that build; without it, nothing is counted.
//!
//! Each cost is the difference between a server that got some requests and one that got more, so that the start and the
//! end of the server do not count.

#[path = "../common/mod.rs"]
mod common;

mod instructions;
mod program;
mod system_calls;
