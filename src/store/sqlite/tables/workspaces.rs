//! Workspaces.

use crate::base::time::WallTime;
use crate::domain::id::{EventNumber, IdKey, UserId, WorkspaceId};
use crate::domain::model::{Metadata, Workspace, WorkspaceDescription, WorkspaceName};
use crate::domain::page::Pagination;
use crate::store::rules::records::{UserRef, WorkspaceRef, WorkspaceRow};
use crate::store::sqlite::values::{number, sql};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::Arc;

/// The workspace with this id; `None` if it is deleted, or if the id is of another database.
pub(crate) fn find(db: &Connection, ids: &IdKey, id: WorkspaceId) -> rusqlite::Result<Option<WorkspaceRow>> {
    let Some((number, created_at)) = ids.open(id.0) else { return Ok(None) };
    Ok(at(db, ids, number)?.filter(|stored| stored.workspace.created_at == created_at))
}

/// The workspace that event `number` created, unless it is deleted.
pub(crate) fn at(db: &Connection, ids: &IdKey, number: EventNumber) -> rusqlite::Result<Option<WorkspaceRow>> {
    db.prepare_cached(FIND)?
        .query_row([sql(number)], |row| {
            let owner = UserRef { key: row.get(6)?, id: UserId::new_unchecked(row.get::<_, Arc<str>>(7)?) };
            let workspace = read(row, ids, owner.id.clone())?;
            let reference = WorkspaceRef { number, created_at: workspace.created_at, id: workspace.id, owner };
            Ok(WorkspaceRow { workspace, reference })
        })
        .optional()
}

/// Calls `each` with the workspaces of one owner, in creation order, until it returns false. Returns the number of all
/// workspaces of the owner.
pub(crate) fn list(
    db: &Connection,
    ids: &IdKey,
    (owner_key, owner): (i64, &UserId),
    pagination: Pagination,
    mut each: impl FnMut(Workspace) -> bool,
) -> rusqlite::Result<u64> {
    let total: i64 = db.prepare_cached(COUNT)?.query_row([owner_key], |row| row.get(0))?;
    let mut statement = db.prepare_cached(LIST)?;
    let mut rows =
        statement.query(params![owner_key, pagination.limit, i64::try_from(pagination.offset).unwrap_or(i64::MAX)])?;
    while let Some(row) = rows.next()? {
        if !each(read(row, ids, owner.clone())?) {
            break;
        }
    }
    Ok(total as u64)
}

pub(crate) fn insert(
    db: &Connection,
    number: EventNumber,
    owner_key: i64,
    workspace: &Workspace,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO workspaces (number, owner, name, description, metadata, created_at, updated_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        sql(number),
        owner_key,
        workspace.name.as_str(),
        workspace.description.as_str(),
        workspace.metadata.as_str(),
        workspace.created_at.0,
        workspace.updated_at.0,
    ])
    .map(drop)
}

pub(crate) fn update(db: &Connection, number: EventNumber, workspace: &Workspace) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE workspaces SET name = ?2, description = ?3, metadata = ?4, updated_at = ?5 WHERE number = ?1",
    )?
    .execute(params![
        sql(number),
        workspace.name.as_str(),
        workspace.description.as_str(),
        workspace.metadata.as_str(),
        workspace.updated_at.0,
    ])
    .map(drop)
}

/// Marks a workspace as deleted by event `by`. From this commit on, it and its content are invisible.
pub(crate) fn mark_deleted(db: &Connection, number: EventNumber, by: EventNumber) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE workspaces SET deleted = ?2 WHERE number = ?1")?.execute([sql(number), sql(by)]).map(drop)
}

/// Whether the user is a participant of a conversation of the workspace.
pub(crate) fn has_participant(db: &Connection, number: EventNumber, user: &UserId) -> rusqlite::Result<bool> {
    db.prepare_cached(HAS_PARTICIPANT)?.exists(params![sql(number), user.as_str()])
}

/// Reads the first six columns: `number, name, description, metadata, created_at, updated_at`.
fn read(row: &Row<'_>, ids: &IdKey, owner: UserId) -> rusqlite::Result<Workspace> {
    let created_at = WallTime(row.get(4)?);
    Ok(Workspace {
        id: WorkspaceId(ids.uuid(number(row.get(0)?), created_at)),
        owner,
        name: WorkspaceName::new_unchecked(row.get::<_, Arc<str>>(1)?),
        description: WorkspaceDescription::new_unchecked(row.get::<_, Arc<str>>(2)?),
        metadata: Metadata::new_unchecked(row.get::<_, Arc<str>>(3)?),
        created_at,
        updated_at: WallTime(row.get(5)?),
    })
}

pub(crate) const FIND: &str = "
    SELECT w.number, w.name, w.description, w.metadata, w.created_at, w.updated_at, w.owner, u.oid
    FROM workspaces w JOIN users u ON u.key = w.owner
    WHERE w.number = ?1 AND w.deleted IS NULL";
pub(crate) const COUNT: &str = "SELECT count(*) FROM workspaces WHERE owner = ?1 AND deleted IS NULL";
pub(crate) const LIST: &str = "
    SELECT number, name, description, metadata, created_at, updated_at FROM workspaces
    WHERE owner = ?1 AND deleted IS NULL ORDER BY number LIMIT ?2 OFFSET ?3";
pub(crate) const HAS_PARTICIPANT: &str = "
    SELECT 1 FROM users u
    CROSS JOIN participants p ON p.user = u.key
    CROSS JOIN conversations c ON c.number = p.conversation AND c.workspace = ?1 AND c.deleted IS NULL
    WHERE u.oid = ?2";
