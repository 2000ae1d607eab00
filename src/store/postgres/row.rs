//! Parameters and columns, in PostgreSQL's binary formats.
//!
//! Texts of clients are stored as bytes (`bytea`), because a text may have the character U+0000, which PostgreSQL's own types
//! reject. The order of bytes is also that of SQLite.

use crate::store::sql::{EngineError, SqlResult};
use bytes::{BufMut, BytesMut};
use rusqlite::types::{FromSql, FromSqlError, Value, ValueRef};
use std::error::Error;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// A parameter of a statement.
#[derive(Debug)]
pub(crate) struct Parameter(pub Value);

impl ToSql for Parameter {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (&self.0, of) {
            (Value::Null, _) => return Ok(IsNull::Yes),
            (Value::Integer(value), &Type::INT8) => out.put_i64(*value),
            (Value::Integer(value), &Type::INT4) => out.put_i32((*value).try_into()?),
            (Value::Integer(value), &Type::BOOL) => out.put_u8(u8::from(*value != 0)),
            (Value::Text(text), &Type::BYTEA | &Type::TEXT | &Type::NAME) => out.put_slice(text.as_bytes()),
            (Value::Blob(bytes), &Type::BYTEA) => out.put_slice(bytes),
            (value, of) => return Err(format!("a parameter of type {of} has the value {value:?}").into()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A row of a query.
pub(crate) struct ServerRow(tokio_postgres::Row);

impl ServerRow {
    pub(crate) fn new(row: tokio_postgres::Row) -> ServerRow {
        ServerRow(row)
    }

    /// The value in a column.
    pub(crate) fn get<T: FromSql>(&self, column: usize) -> SqlResult<T> {
        let (of, bytes) = self.raw(column)?;
        let value =
            decoded(of, bytes).ok_or_else(|| EngineError::value(column, format!("the type {of} is unknown")))?;
        let read = match value {
            // Of bytes, the caller knows whether they are a text.
            ValueRef::Blob(bytes) => match T::column_result(ValueRef::Text(bytes)) {
                Err(FromSqlError::InvalidType) => T::column_result(ValueRef::Blob(bytes)),
                read => read,
            },
            value => T::column_result(value),
        };
        read.map_err(|error| EngineError::value(column, error.to_string()))
    }

    /// The bytes in a column of a text, unless it is null.
    pub(crate) fn bytes(&self, column: usize) -> SqlResult<Option<&[u8]>> {
        Ok(self.raw(column)?.1)
    }

    fn raw(&self, column: usize) -> SqlResult<(&Type, Option<&[u8]>)> {
        let of = self.0.columns().get(column).ok_or_else(|| EngineError::value(column, "it does not exist"))?.type_();
        let bytes = self.0.try_get::<_, Option<RawBytes<'_>>>(column);
        let bytes = bytes.map_err(|error| EngineError::value(column, error.to_string()))?;
        Ok((of, bytes.map(|raw| raw.0)))
    }
}

/// The value in PostgreSQL's binary format; `None` for a type that no statement of this program selects.
fn decoded<'b>(of: &Type, bytes: Option<&'b [u8]>) -> Option<ValueRef<'b>> {
    let Some(bytes) = bytes else { return Some(ValueRef::Null) };
    Some(match *of {
        Type::INT8 => ValueRef::Integer(i64::from_be_bytes(bytes.try_into().ok()?)),
        Type::INT4 => ValueRef::Integer(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        Type::BOOL => ValueRef::Integer((*bytes.first()?).into()),
        Type::TEXT | Type::VARCHAR | Type::NAME => ValueRef::Text(bytes),
        Type::BYTEA => ValueRef::Blob(bytes),
        _ => return None,
    })
}

/// The bytes of a value of any type.
struct RawBytes<'b>(&'b [u8]);

impl<'b> tokio_postgres::types::FromSql<'b> for RawBytes<'b> {
    fn from_sql(_: &Type, bytes: &'b [u8]) -> Result<RawBytes<'b>, Box<dyn Error + Sync + Send>> {
        Ok(RawBytes(bytes))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
