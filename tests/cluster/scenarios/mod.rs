//! Scenarios with several instances on one database.

mod answers;
mod credentials;
mod cut_off;
mod failover;
mod faults;
mod journal;
mod limits;
mod redis;
mod soak;
mod texts;
mod upgrades;
