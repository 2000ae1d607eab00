//! Creates the tables in a PostgreSQL database, and brings those of an older version up to date while instances of that version serve.

use crate::base::random::fill_secret;
use crate::store::error::OpenError;
use crate::store::postgres::schema::{self, STEPS, SchemaStep};
use crate::store::postgres::turn;
use crate::store::sql::{SqlConnection, SqlResult, params};
use crate::store::sqlite::schema::{DatabaseMeta, SchemaState, new_epoch};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// The advisory lock that one process holds while it creates or migrates the schema, in the name space of this program.
const SCHEMA_LOCK: i64 = 0x4372_7478_0000_0001;

/// How often a migration is tried again that could not get its locks in time, and the pause before each time.
const RETRIES_MAX: u32 = 40;
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// How long a migration waits for a table. Readers that come meanwhile wait as well.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = 500";

/// Creates the tables, if the database has none of this program, or migrates older ones, and calls `register` in the same transaction.
/// Returns the values of which a database has exactly one.
///
/// # Errors
/// Fails if the tables are of a newer version that this program cannot use, if instances serve that could not use the migrated tables, or
/// if the role may not create tables.
pub(crate) fn create(
    db: &SqlConnection,
    name: &Path,
    register: impl FnMut(&SqlConnection) -> SqlResult<()>,
) -> Result<DatabaseMeta, OpenError> {
    create_by(db, name, STEPS, register)
}

/// As [`create`], in the open transaction.
///
/// # Errors
/// As [`create`].
pub(crate) fn create_within(db: &SqlConnection, name: &Path) -> Result<(), OpenError> {
    while run_step(db, name, STEPS)? {}
    Ok(())
}

/// As [`create`], with the tables of these steps.
///
/// # Errors
/// As [`create`].
pub(crate) fn create_by(
    db: &SqlConnection,
    name: &Path,
    steps: &[SchemaStep],
    mut register: impl FnMut(&SqlConnection) -> SqlResult<()>,
) -> Result<DatabaseMeta, OpenError> {
    let failed = |error| OpenError::of_engine(name, &error);
    let mut retries_left = RETRIES_MAX;
    loop {
        // Each step has its own transaction, so that it holds the lock of one table.
        db.begin().map_err(failed)?;
        let done = run_step(db, name, steps).and_then(|has_run| {
            if !has_run {
                register(db).map_err(failed)?;
            }
            db.commit().map_err(failed)?;
            Ok(has_run)
        });
        match done {
            Ok(true) => continue,
            Ok(false) => return schema::load_meta(db).map_err(failed),
            Err(error) => {
                db.roll_back().map_err(failed)?;
                if !matches!(error, OpenError::Locked(_)) || retries_left == 0 {
                    return Err(error);
                }
            }
        }
        retries_left -= 1;
        thread::sleep(RETRY_PAUSE);
    }
}

/// Runs the next step in the open transaction, or all of them in an empty database. Returns whether there was one.
fn run_step(db: &SqlConnection, name: &Path, steps: &[SchemaStep]) -> Result<bool, OpenError> {
    let failed = |error| OpenError::of_engine(name, &error);
    db.query_row("SELECT pg_advisory_xact_lock(?1)::text", [SCHEMA_LOCK], |_| Ok(())).map_err(failed)?;
    let newest = steps.len() as i64;
    let found = match schema::compare(db, name, newest)? {
        SchemaState::Current => return Ok(false),
        SchemaState::Empty => 0,
        SchemaState::Older(found) => found,
    };
    let mut left = &steps[found as usize..];
    if found == 0 {
        check_encoding(db, name)?;
    } else {
        turn::lock(db).map_err(failed)?;
        check_serving(db, name, left, newest)?;
        db.execute_batch(LOCK_TIMEOUT).map_err(failed)?;
        left = &left[..1];
    }
    let mut usable_from = 0;
    for step in left {
        db.execute_batch(step.statements).map_err(failed)?;
        usable_from = step.usable_from;
    }
    if found == 0 {
        insert_meta(db).map_err(failed)?;
    } else {
        log::info!("the tables are migrated from schema version {found}");
    }
    let update = "UPDATE meta SET version = ?1, usable_from = ?2 WHERE id = 1";
    db.run(update, params![found + left.len() as i64, usable_from]).map_err(failed)?;
    Ok(true)
}

/// The instances that serve can use the tables after the steps that are left.
fn check_serving(db: &SqlConnection, name: &Path, left: &[SchemaStep], newest: i64) -> Result<(), OpenError> {
    let usable_from = left.iter().map(|step| step.usable_from).max();
    let oldest = turn::oldest_version(db).map_err(|error| OpenError::of_engine(name, &error))?;
    match (oldest, usable_from) {
        (Some(oldest), Some(usable_from)) if oldest < usable_from => {
            let reason = format!(
                "instances with schema version {oldest} serve it, which could not use version {newest}: replace them by instances \
                 with version {usable_from} first, or stop them"
            );
            Err(OpenError::CannotOpen { path: name.into(), reason })
        }
        _ => Ok(()),
    }
}

/// The index of searches has words of any language.
fn check_encoding(db: &SqlConnection, name: &Path) -> Result<(), OpenError> {
    let encoding = db.query_row("SHOW server_encoding", [], |row| row.get::<String>(0));
    match encoding.map_err(|error| OpenError::of_engine(name, &error))? {
        encoding if encoding == "UTF8" => Ok(()),
        encoding => {
            let reason = format!("its encoding is {encoding}, and not UTF8");
            Err(OpenError::CannotOpen { path: name.into(), reason })
        }
    }
}

fn insert_meta(db: &SqlConnection) -> SqlResult<()> {
    let (mut id_key, mut signing_key) = ([0; 16], [0; 32]);
    fill_secret(&mut id_key);
    fill_secret(&mut signing_key);
    db.run(
        "INSERT INTO meta (id, version, usable_from, id_key, epoch, signing_key) VALUES (1, 0, 0, ?1, ?2, ?3)",
        params![id_key, new_epoch().as_bytes(), signing_key],
    )
}
