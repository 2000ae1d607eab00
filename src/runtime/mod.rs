//! Layer 5: threads, sockets and clocks, and their wiring. The only layer that waits.

mod allocator;
#[cfg(feature = "cluster")]
mod bus_port;
pub(crate) mod clock;
mod connection_limits;
mod database;
mod distributor;
pub(crate) mod event_loop;
pub(crate) mod listener;
pub(crate) mod mailbox;
mod main_event;
pub(crate) mod memory_limit;
pub(crate) mod merger;
pub(crate) mod process;
pub(crate) mod queue;
#[cfg(feature = "cluster")]
pub(crate) mod recent_events;
pub(crate) mod reload;
pub(crate) mod replies;
pub(crate) mod responders;
mod running;
pub(crate) mod sd_notify;
pub(crate) mod server;
pub(crate) mod start_error;
mod startup;
mod workers;
mod write_queue;

/// Size of each thread's stack, in bytes. Nothing recurses over the input of a peer.
const STACK_BYTES: usize = 512 * 1024;
