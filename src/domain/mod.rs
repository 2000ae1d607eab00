//! Layer 1: the values that all other modules exchange. No serde, no SQL, no sockets, no clock. Every value is valid.

pub(crate) mod answer_job;
pub(crate) mod answer_page;
pub(crate) mod answer_status_change;
pub(crate) mod command;
pub(crate) mod commit;
pub(crate) mod completion_error;
pub(crate) mod event;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod holder;
pub(crate) mod id;
pub(crate) mod last_event_id;
pub(crate) mod live_answer;
pub(crate) mod model;
pub(crate) mod page;
pub(crate) mod passing;
pub(crate) mod password;
pub(crate) mod query;
pub(crate) mod responder;
pub(crate) mod result;
pub(crate) mod search;
pub(crate) mod slice;
pub(crate) mod started_answer;
pub(crate) mod token_rules;
pub(crate) mod usage;
pub(crate) mod work;
