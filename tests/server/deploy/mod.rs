//! What keeps a server in service for years: sockets that are handed over, restarts that nobody notices, settings that are
//! read again, and what the service manager is told.

mod reload;
mod rolling;
mod service;
mod sockets;
mod waiting;
