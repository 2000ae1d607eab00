//! The settings, from the environment and a `.env` file, all checked at once at start. Floor 2.
//!
//! Invariant: a `Settings` that exists is one to start with; nothing downstream checks it again. No value of a secret
//! is in an error message or in `Debug` output.

pub mod environment;
pub mod network;
mod parse;
mod reload;
pub mod settings;
pub mod table;
#[cfg(test)]
mod tests;
pub mod types;
pub mod upstream_address;

pub use environment::{described_environment, from_environment};
pub use parse::SettingError;
pub use settings::{LoadedSettings, Settings};
