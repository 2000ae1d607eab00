//! Workspaces.

use crate::base::time::WallTime;
use crate::domain::id::{EventNumber, IdKey, UserId, WorkspaceId};
use crate::domain::model::{Metadata, Workspace, WorkspaceDescription, WorkspaceName};
use crate::store::rules::records::{UserRef, WorkspaceRef, WorkspaceRow};
use crate::store::sql::values::{number, sql};
use crate::store::sql::{OptionalRow, Row, SqlConnection, SqlResult, params};
use std::sync::Arc;

/// The workspace with this id; `None` if it is deleted, or if the id is of another database.
pub(crate) fn find(db: &SqlConnection, ids: &IdKey, id: WorkspaceId) -> SqlResult<Option<WorkspaceRow>> {
    let Some((number, created_at)) = ids.open(id.0) else { return Ok(None) };
    Ok(at(db, ids, number)?.filter(|stored| stored.workspace.created_at == created_at))
}

/// The workspace that event `number` created, unless it is deleted.
pub(crate) fn at(db: &SqlConnection, ids: &IdKey, number: EventNumber) -> SqlResult<Option<WorkspaceRow>> {
    db.prepare_cached(FIND)?
        .query_row([sql(number)], |row| {
            let owner = UserRef { key: row.get(6)?, id: UserId::new_unchecked(row.get::<Arc<str>>(7)?) };
            let workspace = read(row, ids, owner.id.clone())?;
            let reference = WorkspaceRef { number, created_at: workspace.created_at, id: workspace.id, owner };
            Ok(WorkspaceRow { workspace, reference })
        })
        .optional()
}

pub(crate) fn insert(db: &SqlConnection, number: EventNumber, owner_key: i64, workspace: &Workspace) -> SqlResult<()> {
    db.prepare_cached(
        "INSERT INTO workspaces (number, owner, name, description, metadata, created_at, updated_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .run(params![
        sql(number),
        owner_key,
        workspace.name.as_str(),
        workspace.description.as_str(),
        workspace.metadata.as_str(),
        workspace.created_at.0,
        workspace.updated_at.0,
    ])
}

pub(crate) fn update(db: &SqlConnection, number: EventNumber, workspace: &Workspace) -> SqlResult<()> {
    db.prepare_cached(
        "UPDATE workspaces SET name = ?2, description = ?3, metadata = ?4, updated_at = ?5 WHERE number = ?1",
    )?
    .run(params![
        sql(number),
        workspace.name.as_str(),
        workspace.description.as_str(),
        workspace.metadata.as_str(),
        workspace.updated_at.0,
    ])
}

/// Marks a workspace as deleted by event `by`. From this commit on, it and its content are invisible.
pub(crate) fn mark_deleted(db: &SqlConnection, number: EventNumber, by: EventNumber) -> SqlResult<()> {
    db.prepare_cached("UPDATE workspaces SET deleted = ?2 WHERE number = ?1")?.run([sql(number), sql(by)])
}

/// Reads the first six columns: `number, name, description, metadata, created_at, updated_at`.
fn read(row: Row<'_>, ids: &IdKey, owner: UserId) -> SqlResult<Workspace> {
    let created_at = WallTime(row.get(4)?);
    Ok(Workspace {
        id: WorkspaceId(ids.uuid(number(row.get(0)?), created_at)),
        owner,
        name: WorkspaceName::new_unchecked(row.get::<Arc<str>>(1)?),
        description: WorkspaceDescription::new_unchecked(row.get::<Arc<str>>(2)?),
        metadata: Metadata::new_unchecked(row.get::<Arc<str>>(3)?),
        created_at,
        updated_at: WallTime(row.get(5)?),
    })
}

pub(crate) const FIND: &str = "
    SELECT w.number, w.name, w.description, w.metadata, w.created_at, w.updated_at, w.owner, u.oid
    FROM workspaces w JOIN users u ON u.key = w.owner
    WHERE w.number = ?1 AND w.deleted IS NULL";
/// Selects the numbers of an owner's workspaces after a number.
pub(crate) const NUMBERS: &str = "
    SELECT number FROM workspaces WHERE owner = ?1 AND deleted IS NULL AND number > ?2 ORDER BY number LIMIT ?3";
