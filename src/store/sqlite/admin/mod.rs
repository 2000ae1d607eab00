//! What an administrator does with a database file: accounts, backup, restore, verification.

pub(crate) mod accounts;
pub(crate) mod backup;
pub(crate) mod development_user;
pub(crate) mod integrity;
pub(crate) mod restore;
pub(crate) mod verify;
