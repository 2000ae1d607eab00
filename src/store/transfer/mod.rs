//! Export and import of a whole database as lines of text.

pub(crate) mod export;
pub(crate) mod import;
