//! The threads of the responders. They carry jobs from the store to the scheduler, and answers back.
//!
//! The table of jobs is the queue; the scheduler keeps a bounded window of it. A crash at any place leaves jobs open,
//! and the next process lists them.

mod driver;
mod port;
mod worker;

pub(crate) use driver::{Driver, Model};
pub use port::DriverRequest;
pub(crate) use port::ResponderPort;
pub use port::StoreReply;
pub use port::step_command;
