//! What only a database on a PostgreSQL server has, behind the cargo feature `cluster`: addresses, sessions, cursors, the dialect, the schema and
//! its migration, and the turns of the writer.

pub(crate) mod address;
pub(crate) mod cursor;
pub(crate) mod dialect;
pub(crate) mod error;
pub(crate) mod migration;
pub(crate) mod row;
pub(crate) mod schema;
pub(crate) mod session;
pub(crate) mod turn;
