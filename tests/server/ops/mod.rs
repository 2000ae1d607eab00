//! Monitoring of the whole program: metrics and health.

mod health;
mod metrics;
