//! What is fuzzed: each target is a function `run`, which takes any bytes and panics when something is wrong.
//!
//! Each compares the program with a second, slow and obvious way to the same answer that is written here from the
//! standards and `docs/api.md`. `fuzz_targets` gives the functions to libFuzzer, `tests/formats/fuzz_corpus.rs` gives them the
//! committed inputs; so what is here names no fuzzer.

mod answers;
mod backend;
mod choices;
mod http_reference;
mod json_reference;
mod shard_model;
mod sse_reference;

pub mod http1_body;
pub mod http1_head;
pub mod jwt;
pub mod query_string;
pub mod request_stream;
pub mod shard_ops;
pub mod sse_decode;
pub mod sse_roundtrip;
pub mod wire_json;

/// A target by its name, which is also that of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 9] = [
    ("http1_body", http1_body::run),
    ("http1_head", http1_head::run),
    ("jwt", jwt::run),
    ("query_string", query_string::run),
    ("request_stream", request_stream::run),
    ("shard_ops", shard_ops::run),
    ("sse_decode", sse_decode::run),
    ("sse_roundtrip", sse_roundtrip::run),
    ("wire_json", wire_json::run),
];
