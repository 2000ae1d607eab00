//! Notifies the participants of a deleted workspace: some in the transaction that deletes it, the others in later steps, each of
//! which is short and publishes a `workspace_deleted` event of its own.
//!
//! Access does not wait for the steps. It ends with the mark on the workspace's row.
//!
//! Invariant: every participant of a deleted workspace is a recipient of one `workspace_deleted` event of that workspace, or
//! follows the cursor of its deletion.

use crate::base::time::WallTime;
use crate::domain::event::EventKind;
use crate::domain::id::EventNumber;
use crate::store::error;
use crate::store::rules::records::{ParticipantCursor, UserRef, WorkspaceDeletion, WorkspaceRef};
use crate::store::rules::rows::{RowResult, Rows};
use crate::store::rules::transaction::{Author, NewStateEvent, Transaction};
use crate::wire::event;

impl<R: Rows> Transaction<'_, R> {
    /// Stores that the participants of a deleted workspace after `cursor` are not notified yet. Those with the keys `notified`
    /// are.
    pub(crate) fn defer_notifications(
        &mut self,
        author: &Author<'_>,
        workspace: WorkspaceRef,
        number: EventNumber,
        cursor: ParticipantCursor,
        notified: &[i64],
    ) -> RowResult<()> {
        for key in notified {
            self.rows.insert_notified_user(workspace.number, *key)?;
        }
        self.rows_changed += notified.len();
        let actor = author.user.id.clone();
        let correlation_id = author.correlation_id.clone();
        let deletion = WorkspaceDeletion { number, workspace, actor, correlation_id, notified: cursor };
        self.rows.insert_workspace_deletion(&deletion, author.user.key)
    }

    /// Notifies some participants of a deleted workspace. Deleted workspaces take turns. Returns whether there was one, so that
    /// more steps may follow.
    pub(crate) fn step_workspace_deletions(&mut self) -> RowResult<bool> {
        let next = match self.rows.workspace_deletion_after(self.cache.notified_deletion)? {
            Some(next) => Some(next),
            None => self.rows.workspace_deletion_after(EventNumber(0))?,
        };
        let Some(deletion) = next else { return Ok(false) };
        self.cache.notified_deletion = deletion.number;
        let workspace = &deletion.workspace;
        let found =
            self.rows.workspace_participants(workspace.number, deletion.notified, self.cache.notified_rows_max)?;
        let mut recipients = Vec::new();
        for user in found.users {
            if self.rows.insert_notified_user(workspace.number, user.key)? {
                recipients.push(user);
            }
        }
        match found.cursor {
            Some(cursor) => self.rows.set_workspace_deletion(deletion.number, cursor)?,
            None => self.rows.delete_workspace_deletion(deletion.number)?,
        }
        if !recipients.is_empty() {
            let user = self.user(&deletion.actor)?.ok_or_else(error::missing_row)?;
            let author = Author { user, correlation_id: &deletion.correlation_id };
            let (stamp, bytes_before) = (self.next_number(), self.event_bytes);
            self.publish_workspace_deleted(stamp, &author, workspace, recipients)?;
            self.cache.event_rates.count(&deletion.actor, self.event_bytes - bytes_before, self.age);
        }
        Ok(true)
    }

    /// Publishes a `workspace_deleted` event to some users.
    pub(crate) fn publish_workspace_deleted(
        &mut self,
        stamp: (EventNumber, WallTime),
        author: &Author<'_>,
        workspace: &WorkspaceRef,
        recipients: Vec<UserRef>,
    ) -> RowResult<()> {
        let recipient_keys: Vec<i64> = recipients.iter().map(|user| user.key).collect();
        let event = NewStateEvent {
            kind: EventKind::WorkspaceDeleted,
            workspace,
            conversation: None,
            recipients: recipients.into_iter().map(|user| user.id).collect(),
            recipient_keys: &recipient_keys,
            payload: event::workspace_deleted_data(workspace.id),
        };
        self.publish_state_event(stamp, author, event)
    }
}
