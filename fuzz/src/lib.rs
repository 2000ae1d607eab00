//! The fuzz targets: each is a function `run` that takes any bytes and panics if a check fails.
//!
//! Each compares the program with a second, slow and simple implementation, written here from the standards and
//! `docs/api.md`. `fuzz_targets` passes the functions to libFuzzer, and `tests/formats/fuzz_corpus.rs` feeds them the
//! committed inputs, so this crate depends on no fuzzer.

mod backend;
mod choices;
mod http_reference;
mod json_reference;
mod responses;
mod shard_model;
mod sse_reference;

pub mod answer_reader;
pub mod chat_completion;
pub mod http1_body;
pub mod http1_head;
pub mod jwt;
pub mod query_string;
pub mod request_stream;
pub mod search_query;
pub mod shard_ops;
pub mod sse_decode;
pub mod sse_roundtrip;
pub mod wire_json;

/// A target with its name, which is also that of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 12] = [
    ("answer_reader", answer_reader::run),
    ("chat_completion", chat_completion::run),
    ("http1_body", http1_body::run),
    ("http1_head", http1_head::run),
    ("jwt", jwt::run),
    ("query_string", query_string::run),
    ("request_stream", request_stream::run),
    ("search_query", search_query::run),
    ("shard_ops", shard_ops::run),
    ("sse_decode", sse_decode::run),
    ("sse_roundtrip", sse_roundtrip::run),
    ("wire_json", wire_json::run),
];
