//! Scenarios with three instances on one database.

mod credentials;
mod faults;
mod journal;
