//! Layer 2: tokens and passwords. This module names neither HTTP nor the store, and reads no clock.

mod claims;
pub(crate) mod jwt;
pub(crate) mod password;
pub(crate) mod token_error;
pub(crate) mod verified_token;
