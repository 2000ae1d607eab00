//! The program and programs that others wrote: clients, proxies and checkers.
//!
//! Python and Node get what they need from their own registries, into `target/`, with pinned versions.
//! `CORTEX_SKIP_CLIENTS=1` leaves these tests out.

#[path = "../common/mod.rs"]
mod common;

mod clients;
mod contract;
mod examples;
mod proxies;
mod tools;
