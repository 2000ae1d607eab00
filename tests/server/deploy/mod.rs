//! Operation over a long time: inherited sockets, rolling restarts, reloaded settings, and the service manager.

mod reload;
mod rolling;
mod service;
mod sockets;
mod waiting;
