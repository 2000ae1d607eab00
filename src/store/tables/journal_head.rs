//! The newest number and time that the journal has assigned, and the age of the database.

use crate::base::time::WallTime;
use crate::store::rules::age::AgeTime;
use crate::store::rules::records::JournalHead;
use crate::store::sql::values::{number, sql};
use crate::store::sql::{SqlConnection, SqlResult, params};

pub(crate) fn load(db: &SqlConnection) -> SqlResult<JournalHead> {
    db.prepare_cached(LOAD)?.query_row([], |row| {
        Ok(JournalHead { number: number(row.get(0)?), at: WallTime(row.get(1)?), age: AgeTime(row.get(2)?) })
    })
}

pub(crate) fn store(db: &SqlConnection, head: JournalHead) -> SqlResult<()> {
    db.prepare_cached(STORE)?.run(params![sql(head.number), head.at.0, head.age.0])
}

pub(crate) const LOAD: &str = "SELECT number, at, age FROM journal_head WHERE id = 1";
pub(crate) const STORE: &str = "UPDATE journal_head SET number = ?1, at = ?2, age = ?3 WHERE id = 1";
