//! The thread of the responders. It carries jobs from the store to the scheduler, bytes between the upstream and the answers,
//! and answers back.
//!
//! The table of jobs is the queue; the scheduler keeps a bounded window of it. A crash at any place leaves jobs open,
//! and the next process lists them.

mod driver;
mod port;
mod sockets;
mod task;

pub(crate) use driver::{Driver, Model};
pub(crate) use port::ResponderPort;
pub use port::{AnswerId, DriverRequest, ResponderInput, StoreReply, cancel_command, step_command};
pub(crate) use sockets::WAKER;
