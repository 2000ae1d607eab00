//! Scenarios with three instances on one database.

mod answers;
mod credentials;
mod failover;
mod faults;
mod journal;
