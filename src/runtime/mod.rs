//! Floor 5: threads, sockets and clocks, and how everything is wired together. The only floor that waits.

pub(crate) mod clock;
mod connections;
pub(crate) mod event_loop;
pub(crate) mod listener;
pub(crate) mod mailbox;
mod memory;
pub(crate) mod notify;
pub(crate) mod process;
pub(crate) mod queue;
pub(crate) mod reload;
pub(crate) mod replies;
pub(crate) mod responders;
pub(crate) mod server;
mod startup;
mod workers;
mod write_queue;
