//! The settings, from the environment and a `.env` file, all checked at once at start. Floor 2.
//!
//! Invariant: a `Settings` that exists is one to start with; nothing downstream checks it again. No value of a secret
//! is in an error message or in `Debug` output.

pub(crate) mod environment;
pub(crate) mod network;
mod parse;
mod reload;
pub(crate) mod settings;
pub(crate) mod table;
#[cfg(test)]
mod tests;
pub(crate) mod types;
pub(crate) mod upstream_address;
pub(crate) mod upstream_fields;

pub(crate) use environment::{described_environment, from_environment};
pub(crate) use parse::SettingError;
pub(crate) use settings::LoadedSettings;
pub use settings::Settings;
