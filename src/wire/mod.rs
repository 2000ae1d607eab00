//! Floor 2: JSON shapes of the API, to and from `domain`.
//!
//! `serde_json` decides here whether a text is JSON at all and says where it is not. What is valid is then taken apart
//! and put together by hand, because metadata must come back byte for byte, and because answers and events are written
//! far too often to go through an intermediate tree.

pub(crate) mod answer_metadata;
mod conversation;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod export_line;
pub(crate) mod json;
pub(crate) mod metadata;
pub(crate) mod query_params;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod size;
pub(crate) mod stream;

/// Every field that is not acceptable, each with the rule that it breaks, in the order of the API's tables.
pub(crate) type FieldErrors = Vec<(&'static str, String)>;
