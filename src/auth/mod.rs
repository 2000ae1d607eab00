//! Who somebody is: tokens and passwords. Floor 2; names neither HTTP nor the store, and reads no clock.

mod claims;
pub mod jwt;
pub mod password;
