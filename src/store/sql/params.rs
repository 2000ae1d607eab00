//! The parameters of a statement.

#[cfg(feature = "cluster")]
use crate::store::sql::{EngineError, SqlResult};
use rusqlite::types::ToSql;
#[cfg(feature = "cluster")]
use rusqlite::types::{ToSqlOutput, Value};

/// The parameters of a statement, in the order of their numbers: an array, or `params!`.
pub(crate) trait Params: rusqlite::Params {
    /// Calls `each` with every parameter.
    #[cfg(feature = "cluster")]
    fn each<'p>(&'p self, each: &mut dyn FnMut(&'p dyn ToSql));
}

impl Params for [&(dyn ToSql + Send + Sync); 0] {
    #[cfg(feature = "cluster")]
    fn each<'p>(&'p self, _each: &mut dyn FnMut(&'p dyn ToSql)) {}
}

impl Params for &[&dyn ToSql] {
    #[cfg(feature = "cluster")]
    fn each<'p>(&'p self, each: &mut dyn FnMut(&'p dyn ToSql)) {
        self.iter().for_each(|param| each(*param));
    }
}

/// An implementation for every length: one for all would make the type of `[]` ambiguous.
macro_rules! arrays {
    ($($length:literal)*) => {
        $(impl<T: ToSql> Params for [T; $length] {
            #[cfg(feature = "cluster")]
            fn each<'p>(&'p self, each: &mut dyn FnMut(&'p dyn ToSql)) {
                self.iter().for_each(|param| each(param));
            }
        })*
    };
}

arrays!(1 2 3 4 5 6 32);

/// The values of parameters.
#[cfg(feature = "cluster")]
pub(crate) fn values_of(params: &impl Params) -> SqlResult<Vec<Value>> {
    let mut values = Vec::new();
    let mut failed = None;
    params.each(&mut |param| match param.to_sql() {
        Ok(ToSqlOutput::Owned(value)) => values.push(value),
        Ok(ToSqlOutput::Borrowed(value)) => match Value::try_from(value) {
            Ok(value) => values.push(value),
            Err(error) => failed = Some(error.to_string()),
        },
        Ok(_) => failed = Some("a parameter has no value of its own".into()),
        Err(error) => failed = Some(error.to_string()),
    });
    match failed {
        None => Ok(values),
        Some(reason) => Err(EngineError::value(values.len(), reason)),
    }
}
