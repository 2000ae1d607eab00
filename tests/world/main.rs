//! The program together with third-party programs: clients, proxies and checkers.
//!
//! Python and Node packages come from their registries, with pinned versions, into `target/`. `CORTEX_SKIP_CLIENTS=1`
//! skips these tests.

#[path = "../common/mod.rs"]
mod common;

mod clients;
mod console;
mod contract;
mod event_source;
mod examples;
mod memory;
mod models;
mod openai;
mod proxies;
mod tools;
