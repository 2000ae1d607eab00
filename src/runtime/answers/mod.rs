//! The responders at work: orders come from the store, answers go back to it, and what is shown on the way goes to the
//! event loops.
//!
//! The table of orders is the queue; what is kept here of it is a bounded window. A crash at any place leaves orders open,
//! and `dispatcher` finds them again.

pub mod desk;
mod dispatcher;
mod worker;

pub use dispatcher::{Dispatcher, Responders};
