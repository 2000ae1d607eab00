//! Queries. Each is executed in one snapshot.

pub(crate) mod answer_history;
pub(crate) mod conversation_queries;
pub(crate) mod journal_messages;
pub(crate) mod journal_page;
pub(crate) mod journal_step;
pub(crate) mod page_builder;
pub(crate) mod queries;
pub(crate) mod reader;
