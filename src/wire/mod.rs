//! Layer 2: the JSON of the API, to and from `domain`.
//!
//! `serde_json` decides whether a text is JSON, and where it is not. Valid JSON is split and written by hand, because
//! metadata must be returned byte for byte, and because responses and events are too frequent for an intermediate tree.

pub(crate) mod answer_metadata;
pub(crate) mod answer_settings;
#[cfg(feature = "cluster")]
pub(crate) mod bus_message;
pub(crate) mod command_result;
mod conversation_view;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod export_line;
pub(crate) mod json;
pub(crate) mod metadata;
pub(crate) mod openai;
pub(crate) mod query_params;
pub(crate) mod query_result;
pub(crate) mod request;
mod resource;
#[cfg(test)]
mod response_tests;
pub(crate) mod search_query;
pub(crate) mod service;
pub(crate) mod size;
pub(crate) mod stream;
pub(crate) mod token;

/// The invalid fields, each with the violated rule, in the order of the API's tables.
pub(crate) type FieldErrors = Vec<(&'static str, String)>;
