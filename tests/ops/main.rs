//! What operators see of the whole program: what it counts, and how it says that it is well.

#[path = "../common/mod.rs"]
mod common;

mod health;
mod metrics;
