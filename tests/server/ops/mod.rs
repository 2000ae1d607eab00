//! What operators see of the whole program: what it counts, and how it says that it is well.

mod health;
mod metrics;
