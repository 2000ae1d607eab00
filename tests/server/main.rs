//! Tests of the whole program through real sockets. One program for all of them, since linking is what takes time.

#[path = "../common/mod.rs"]
mod common;

mod auth;
mod chat;
mod chat_events;
mod chat_pages;
mod concurrency;
mod durability;
mod errors;
mod harness;
mod hosts;
mod http_socket;
mod isolation;
mod isolation_routes;
mod lifecycle;
mod limits;
mod phase1;
mod phase2;
mod rates;
mod regressions;
mod retention;
mod settings;
mod streams;
mod validation;
