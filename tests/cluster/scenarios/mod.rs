//! Scenarios with three instances on one database.

mod answers;
mod credentials;
mod faults;
mod journal;
