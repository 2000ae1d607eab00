//! Floor 5: threads, sockets and clocks, and how everything is wired together. The only floor that waits.

pub mod clock;
mod connections;
pub mod event_loop;
pub mod listener;
pub mod mailbox;
mod memory;
pub mod notify;
pub mod process;
pub mod queue;
pub mod reload;
pub mod replies;
pub mod responders;
pub mod server;
mod startup;
mod workers;
mod write_queue;
