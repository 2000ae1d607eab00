//! Cortex Core: a conversation backend in one small program.
//!
//! Seven floors; a module uses only floors below its own (`tests/tidy` holds this):
//! `base` (0) · `domain` (1) · `http1`, `sse`, `wire`, `auth`, `config` (2) · `api`, `responder`, `store` (3) · `shard` (4) ·
//! `runtime` (5) · `cli` (6).

pub mod base;
pub mod domain;

pub mod auth;
pub mod config;
pub mod http1;
pub mod sse;
pub mod wire;

pub mod api;
pub mod responder;
pub mod store;

pub mod shard;

pub mod runtime;

pub mod cli;
