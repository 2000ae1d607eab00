//! Commands that create, update and delete workspaces.

use super::{CommandOutcome, merged};
use crate::domain::event::EventKind;
use crate::domain::id::WorkspaceId;
use crate::domain::model::{Metadata, Workspace, WorkspaceDescription, WorkspaceName};
use crate::domain::result::{Outcome, Rejection, Resource};
use crate::store::error::Abort;
use crate::store::rules::records::{ParticipantCursor, WorkspaceRef, WorkspaceRow};
use crate::store::rules::rows::{RowResult, Rows};
use crate::store::rules::transaction::{Author, CommandCaller, NewStateEvent, Transaction};
use crate::wire::event;
use std::collections::HashSet;
use std::sync::Arc;

impl<R: Rows> Transaction<'_, R> {
    pub(crate) fn create_workspace(
        &mut self,
        caller: &CommandCaller<'_>,
        name: &WorkspaceName,
        description: &WorkspaceDescription,
        metadata: &Metadata,
    ) -> CommandOutcome {
        let author = self.upsert_author(caller)?;
        let (workspace, reference) = self.insert_new_workspace(&author, name, description, metadata)?;
        Ok((Outcome::WorkspaceCreated(workspace), Some(reference.number)))
    }

    pub(crate) fn update_workspace(
        &mut self,
        caller: &CommandCaller<'_>,
        id: WorkspaceId,
        name: Option<&WorkspaceName>,
        description: Option<&WorkspaceDescription>,
        metadata: Option<&Metadata>,
    ) -> CommandOutcome {
        let WorkspaceRow { mut workspace, reference } = self.own_workspace(caller, id)?;
        workspace.metadata = merged(&workspace.metadata, metadata).map_err(|field| Rejection::Invalid(vec![field]))?;
        workspace.name = name.unwrap_or(&workspace.name).clone();
        workspace.description = description.unwrap_or(&workspace.description).clone();

        let author = self.upsert_author(caller)?;
        let (number, at) = self.next_number();
        workspace.updated_at = at;
        self.rows.update_workspace(reference.number, &workspace)?;
        let event = to_owner(EventKind::WorkspaceUpdated, &reference, event::workspace_data(&workspace));
        self.publish_state_event((number, at), &author, event)?;
        Ok((Outcome::WorkspaceUpdated(workspace), Some(number)))
    }

    /// Deletes a workspace by a mark on its row. The cost does not depend on the amount of data in it: participants beyond a
    /// bound are notified in later steps (`workspace_deletion`).
    pub(crate) fn delete_workspace(&mut self, caller: &CommandCaller<'_>, id: WorkspaceId) -> CommandOutcome {
        let WorkspaceRow { reference, .. } = self.own_workspace(caller, id)?;
        let rows_max = self.cache.notified_rows_max;
        let found = self.rows.workspace_participants(reference.number, ParticipantCursor::default(), rows_max)?;
        let mut seen = HashSet::new();
        let mut recipients = found.users;
        recipients.insert(0, reference.owner.clone());
        recipients.retain(|user| seen.insert(user.key));

        let author = self.upsert_author(caller)?;
        let (number, at) = self.next_number();
        self.rows.mark_workspace_deleted(reference.number, number)?;
        if author.user.default_workspace == Some(reference.number) {
            self.set_defaults(&author.user, None, None)?;
        }
        self.cache.workspace_deleted(reference.number);
        self.drop_answers_in(|workspace, _| workspace == id);
        self.rows_changed += rows_max;
        let notified = recipients.iter().map(|user| user.key).collect::<Vec<_>>();
        self.publish_workspace_deleted((number, at), &author, &reference, recipients)?;
        if let Some(cursor) = found.cursor {
            self.defer_notifications(&author, reference, number, cursor, &notified)?;
        }
        Ok((Outcome::WorkspaceDeleted, Some(number)))
    }

    /// The workspace with this id, if the caller owns it.
    pub(crate) fn own_workspace(
        &mut self,
        caller: &CommandCaller<'_>,
        id: WorkspaceId,
    ) -> Result<WorkspaceRow, Abort<Rejection>> {
        let stored = self.rows.workspace(id)?.ok_or(Rejection::NotFound(Resource::Workspace))?;
        if stored.reference.owner.id != *caller.id() {
            return Err(Rejection::Forbidden("the workspace belongs to another user").into());
        }
        Ok(stored)
    }

    /// The author's default workspace, created if it does not exist.
    pub(crate) fn default_workspace(&mut self, author: &Author<'_>) -> RowResult<Arc<WorkspaceRef>> {
        if let Some(number) = author.user.default_workspace
            && let Some(stored) = self.rows.workspace_at(number)?
        {
            return Ok(Arc::new(stored.reference));
        }
        let (name, description) =
            (WorkspaceName::new_unchecked("Default"), WorkspaceDescription::new_unchecked("Default workspace"));
        let (_, reference) = self.insert_new_workspace(author, &name, &description, &Metadata::empty())?;
        self.set_defaults(&author.user, Some(reference.number), None)?;
        Ok(reference)
    }

    fn insert_new_workspace(
        &mut self,
        author: &Author<'_>,
        name: &WorkspaceName,
        description: &WorkspaceDescription,
        metadata: &Metadata,
    ) -> RowResult<(Workspace, Arc<WorkspaceRef>)> {
        let (number, at) = self.next_number();
        let owner = author.user.reference();
        let workspace = Workspace {
            id: WorkspaceId(self.ids.uuid(number, at)),
            owner: owner.id.clone(),
            name: name.clone(),
            description: description.clone(),
            metadata: metadata.clone(),
            created_at: at,
            updated_at: at,
        };
        let reference = Arc::new(WorkspaceRef { number, created_at: at, id: workspace.id, owner });
        self.rows.insert_workspace(number, reference.owner.key, &workspace)?;
        let event = to_owner(EventKind::WorkspaceCreated, &reference, event::workspace_data(&workspace));
        self.publish_state_event((number, at), author, event)?;
        Ok((workspace, reference))
    }
}

fn to_owner(kind: EventKind, workspace: &WorkspaceRef, payload: Arc<str>) -> NewStateEvent<'_> {
    let owner = &workspace.owner;
    NewStateEvent {
        kind,
        workspace,
        conversation: None,
        recipients: [owner.id.clone()].into(),
        recipient_keys: std::slice::from_ref(&owner.key),
        payload,
    }
}
