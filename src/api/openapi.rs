//! The API's description: `GET /openapi.json`, and what `GET /docs` makes a page of.
//!
//! The document is written by hand, like the code that it describes. `tests/formats/openapi.rs` compares it with the
//! router's table, the limits, the error codes and the kinds of events; `tests/world/contract` compares it with what a
//! running server answers.

/// The description, an OpenAPI 3.1 document (<https://spec.openapis.org/oas/v3.1.1.html>).
pub const DOCUMENT: &str = include_str!("openapi.json");
