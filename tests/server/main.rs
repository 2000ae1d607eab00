//! The whole program through real sockets. All these tests are one program, since linking dominates the build time.

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod auth;
mod backups;
mod basics;
mod cli;
mod client;
mod concurrency;
mod conformance;
mod console;
mod conversations_api;
mod conversations_events;
mod conversations_pages;
mod credentials;
mod deploy;
mod disk;
mod docs;
mod durability;
mod errors;
mod hosts;
mod http_socket;
mod isolation;
mod isolation_routes;
mod lifecycle;
mod limits;
mod memory;
mod openai;
mod openapi;
mod ops;
mod public_suites;
mod rates;
mod recovery;
mod retention;
mod search;
mod settings;
mod streams;
mod turns;
mod validation;
mod workspaces;
