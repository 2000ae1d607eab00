//! The description of the API: `GET /openapi.json`, and the source of `GET /docs`.
//!
//! The document is written by hand. `tests/formats/openapi.rs` compares it with the routes, limits, error codes and kinds
//! of events; `tests/world/contract` compares it with the responses of a running server.

/// An OpenAPI 3.1 document (<https://spec.openapis.org/oas/v3.1.1.html>).
pub const DOCUMENT: &str = include_str!("openapi.json");
