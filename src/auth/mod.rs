//! Who somebody is: tokens and passwords. Floor 2; names neither HTTP nor the store, and reads no clock.

mod claims;
pub(crate) mod jwt;
pub(crate) mod password;
