//! The search for messages by their words, on an index of FTS5 <https://www.sqlite.org/fts5.html>, or of a server.

pub(crate) mod expression;
pub(crate) mod index;
pub(crate) mod index_leaf;
pub(crate) mod integrity;
pub(crate) mod matching;
pub(crate) mod message_search;
pub(crate) mod server_index;
pub(crate) mod step;
pub(crate) mod tokenizer;
