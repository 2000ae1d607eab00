//! Tools for database files: accounts, backup, restore, verification.

pub(crate) mod account_rows;
pub(crate) mod accounts;
pub(crate) mod admin_error;
pub(crate) mod backup;
pub(crate) mod development_user;
pub(crate) mod integrity;
pub(crate) mod restore;
pub(crate) mod verify;
