//! Conversion between values and columns.

use crate::domain::id::EventNumber;
use crate::store::sql::{EngineError, Row, SqlResult};

/// The stored form of a number. `IdKey` keeps numbers far below the sign bit.
pub(crate) fn sql(number: EventNumber) -> i64 {
    number.0 as i64
}

/// The number with this stored form.
pub(crate) fn number(raw: i64) -> EventNumber {
    EventNumber(raw as u64)
}

/// Decodes the integer code in a column.
///
/// # Errors
/// Fails for a code that this program does not write.
pub(crate) fn decode<T>(row: Row<'_>, column: usize, of: fn(i64) -> Option<T>) -> SqlResult<T> {
    let code = row.get(column)?;
    of(code).ok_or_else(|| EngineError::value(column, format!("unknown code {code}")))
}
