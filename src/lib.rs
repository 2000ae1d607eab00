//! Cortex Core: a conversation backend in one small program.
//!
//! Seven layers; a module uses only layers below its own (`tests/tidy` holds this):
//! `base` (0) · `domain` (1) · `http1`, `sse`, `wire`, `auth`, `config` (2) · `api`, `responder`, `store` (3) · `shard` (4) ·
//! `runtime` (5) · `cli` (6).

#![warn(unreachable_pub)]

mod base;
mod domain;

mod auth;
mod config;
mod http1;
mod sse;
mod wire;

mod api;
#[cfg(feature = "cluster")]
mod bus;
mod responder;
mod store;

mod shard;

mod runtime;

pub mod cli;

pub mod internals;
