//! Queries. Each step of a query is executed in one snapshot.

pub(crate) mod answer_history;
pub(crate) mod answer_page;
pub(crate) mod caller_conversations;
pub(crate) mod conversation_queries;
pub(crate) mod journal_messages;
pub(crate) mod journal_page;
pub(crate) mod journal_step;
pub(crate) mod listing;
pub(crate) mod page_builder;
pub(crate) mod pending_query;
pub(crate) mod queries;
pub(crate) mod read_transaction;
pub(crate) mod reader;
#[cfg(feature = "cluster")]
pub(crate) mod slice;
pub(crate) mod step_budget;
pub(crate) mod usage_search;
pub(crate) mod user_search;
pub(crate) mod view_listing;
pub(crate) mod visible_messages;
