//! The whole program on a PostgreSQL server of the tests' own.

#[path = "../common/mod.rs"]
mod common;

mod failures;
mod proxy;
