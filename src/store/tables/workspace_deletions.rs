//! Deleted workspaces whose participants are being notified.
//!
//! Invariant: while a workspace has a row here, the participants of its conversations do not change, and none of its rows is
//! purged. `notified_users` has exactly the participants through the row's cursor, and the workspace's owner.

use crate::base::time::WallTime;
use crate::domain::id::{EventNumber, IdKey, UserId, WorkspaceId};
use crate::store::rules::records::{
    ParticipantCursor, UserRef, WorkspaceDeletion, WorkspaceParticipants, WorkspaceRef,
};
use crate::store::sql::values::{number, sql};
use crate::store::sql::{OptionalRow, SqlConnection, SqlResult, params};
use std::sync::Arc;

/// The first deletion after event `after`.
pub(crate) fn first_after(db: &SqlConnection, ids: &IdKey, after: EventNumber) -> SqlResult<Option<WorkspaceDeletion>> {
    db.prepare_cached(FIRST_AFTER)?
        .query_row([sql(after)], |row| {
            let (workspace, created_at) = (number(row.get(3)?), WallTime(row.get(4)?));
            Ok(WorkspaceDeletion {
                number: number(row.get(0)?),
                actor: UserId::new_unchecked(row.get::<Arc<str>>(1)?),
                correlation_id: row.get(2)?,
                workspace: WorkspaceRef {
                    number: workspace,
                    created_at,
                    id: WorkspaceId(ids.uuid(workspace, created_at)),
                    owner: UserRef { key: row.get(5)?, id: UserId::new_unchecked(row.get::<Arc<str>>(6)?) },
                },
                notified: ParticipantCursor { conversation: number(row.get(7)?), user_key: row.get(8)? },
            })
        })
        .optional()
}

pub(crate) fn insert(db: &SqlConnection, deletion: &WorkspaceDeletion, actor_key: i64) -> SqlResult<()> {
    db.prepare_cached(INSERT)?.run(params![
        sql(deletion.number),
        sql(deletion.workspace.number),
        actor_key,
        deletion.correlation_id,
        sql(deletion.notified.conversation),
        deletion.notified.user_key,
    ])
}

/// Stores the last participant who is notified.
pub(crate) fn set(db: &SqlConnection, number: EventNumber, notified: ParticipantCursor) -> SqlResult<()> {
    db.prepare_cached("UPDATE workspace_deletions SET conversation = ?2, user = ?3 WHERE number = ?1")?.run([
        sql(number),
        sql(notified.conversation),
        notified.user_key,
    ])
}

pub(crate) fn delete(db: &SqlConnection, number: EventNumber) -> SqlResult<()> {
    db.prepare_cached("DELETE FROM workspace_deletions WHERE number = ?1")?.run([sql(number)])
}

/// Whether some participants of a deleted workspace are not notified yet.
pub(crate) fn is_pending(db: &SqlConnection, workspace: i64) -> SqlResult<bool> {
    db.prepare_cached("SELECT 1 FROM workspace_deletions WHERE workspace = ?1")?.exists([workspace])
}

/// Notes that a user is notified. Returns false if that was noted before.
pub(crate) fn insert_notified(db: &SqlConnection, workspace: EventNumber, user: i64) -> SqlResult<bool> {
    db.prepare_cached(INSERT_NOTIFIED)?.execute([sql(workspace), user]).map(|rows| rows > 0)
}

/// Removes at most `rows_max` of the users who were notified of the deletion of a workspace. Returns their number.
pub(crate) fn purge_notified(db: &SqlConnection, workspace: i64, rows_max: usize) -> SqlResult<usize> {
    db.prepare_cached(PURGE_NOTIFIED)?.execute([workspace, rows_max as i64])
}

/// The participants of the conversations of a workspace after `after`. Each conversation and each participant counts as a row,
/// of which at most `rows_max` are examined.
pub(crate) fn participants(
    db: &SqlConnection,
    workspace: EventNumber,
    after: ParticipantCursor,
    rows_max: usize,
) -> SqlResult<WorkspaceParticipants> {
    let mut find_conversation = db.prepare_cached(CONVERSATION_FROM)?;
    let mut find_users = db.prepare_cached(PARTICIPANTS_AFTER)?;
    let (mut users, mut cursor, mut rows_left) = (Vec::new(), after, rows_max.max(2));
    while rows_left > 0 {
        let found = find_conversation
            .query_row([sql(workspace), sql(cursor.conversation)], |row| row.get(0).map(number))
            .optional()?;
        let Some(conversation) = found else { return Ok(WorkspaceParticipants { users, cursor: None }) };
        if conversation != cursor.conversation {
            cursor = ParticipantCursor { conversation, user_key: i64::MIN };
        }
        rows_left -= 1;
        let mut found = find_users.query([sql(conversation), cursor.user_key, rows_left as i64])?;
        let mut is_complete = rows_left > 0;
        while rows_left > 0 {
            let Some(row) = found.next()? else { break };
            cursor.user_key = row.get(0)?;
            users.push(UserRef { key: cursor.user_key, id: UserId::new_unchecked(row.get::<Arc<str>>(1)?) });
            rows_left -= 1;
            is_complete = rows_left > 0;
        }
        if is_complete {
            cursor = ParticipantCursor { conversation: conversation.next(), user_key: i64::MIN };
        }
    }
    Ok(WorkspaceParticipants { users, cursor: Some(cursor) })
}

pub(crate) const FIRST_AFTER: &str = "
    SELECT d.number, actor.oid, d.correlation_id, w.number, w.created_at, w.owner, owner.oid, d.conversation, d.user
    FROM workspace_deletions d
    CROSS JOIN workspaces w ON w.number = d.workspace
    CROSS JOIN users owner ON owner.key = w.owner
    CROSS JOIN users actor ON actor.key = d.actor
    WHERE d.number > ?1 ORDER BY d.number LIMIT 1";
pub(crate) const INSERT: &str = "
    INSERT INTO workspace_deletions (number, workspace, actor, correlation_id, conversation, user)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
pub(crate) const INSERT_NOTIFIED: &str = "
    INSERT INTO notified_users (workspace, user) VALUES (?1, ?2) ON CONFLICT (workspace, user) DO NOTHING";
pub(crate) const PURGE_NOTIFIED: &str = "
    DELETE FROM notified_users WHERE workspace = ?1
        AND user IN (SELECT user FROM notified_users WHERE workspace = ?1 ORDER BY user LIMIT ?2)";
pub(crate) const CONVERSATION_FROM: &str = "
    SELECT number FROM conversations WHERE workspace = ?1 AND deleted IS NULL AND number >= ?2 ORDER BY number LIMIT 1";
pub(crate) const PARTICIPANTS_AFTER: &str = "
    SELECT p.user, u.oid FROM participants p CROSS JOIN users u ON u.key = p.user
    WHERE p.conversation = ?1 AND p.user > ?2 ORDER BY p.user LIMIT ?3";
