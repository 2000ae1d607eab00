//! Export and import of a whole database as lines of JSON.

pub(crate) mod export;
pub(crate) mod import;
