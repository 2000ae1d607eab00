//! Floor 2: JSON shapes of the API, to and from `domain`.
//!
//! `serde_json` decides here whether a text is JSON at all and says where it is not. What is valid is then taken apart
//! and put together by hand, because metadata must come back byte for byte, and because answers and events are written
//! far too often to go through an intermediate tree.

pub mod answer_metadata;
mod conversation;
pub mod error;
pub mod event;
pub mod export_line;
pub(crate) mod json;
pub mod metadata;
pub mod query_params;
pub mod reply;
pub mod request;
pub(crate) mod size;
pub mod stream;

/// Every field that is not acceptable, each with the rule that it breaks, in the order of the API's tables.
pub type FieldErrors = Vec<(&'static str, String)>;
