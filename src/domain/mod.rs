//! Floor 1: the values that the program is about. No serde, no SQL, no sockets, no clock; what exists here is valid.

pub mod answer_job;
pub mod command;
pub mod commit;
pub mod event;
pub mod health;
pub mod id;
pub mod live_answer;
pub mod model;
pub mod password;
pub mod query;
pub mod responder;
pub mod result;
pub mod started_answer;
pub mod token_rules;
pub mod work;
