//! Administration: accounts, and the verification of a database.

pub(crate) mod account_rows;
pub(crate) mod accounts;
pub(crate) mod admin_error;
pub(crate) mod development_user;
pub(crate) mod integrity;
pub(crate) mod verify;
