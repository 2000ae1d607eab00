//! Making, changing and deleting workspaces.

use super::{Done, merged};
use crate::domain::event::EventKind;
use crate::domain::id::WorkspaceId;
use crate::domain::model::{Metadata, Workspace, WorkspaceDescription, WorkspaceName};
use crate::domain::result::{Outcome, Rejection, Resource};
use crate::store::data;
use crate::store::error::Stop;
use crate::store::rules::transaction::{Author, Batch, Caller, Notice};
use crate::store::sqlite::tables::conversations::Home;
use crate::store::sqlite::tables::workspaces::{self, Stored};
use std::sync::Arc;

impl Batch<'_> {
    pub(crate) fn create_workspace(
        &mut self,
        caller: &Caller<'_>,
        name: &WorkspaceName,
        description: &WorkspaceDescription,
        metadata: &Metadata,
    ) -> Done {
        let author = self.enter(caller)?;
        let (workspace, home) = self.make_workspace(&author, name, description, metadata)?;
        Ok((Outcome::WorkspaceCreated(workspace), Some(home.number)))
    }

    pub(crate) fn update_workspace(
        &mut self,
        caller: &Caller<'_>,
        id: WorkspaceId,
        name: Option<&WorkspaceName>,
        description: Option<&WorkspaceDescription>,
        metadata: Option<&Metadata>,
    ) -> Done {
        let Stored { mut workspace, home } = self.own_workspace(caller, id)?;
        workspace.metadata = merged(&workspace.metadata, metadata).map_err(|field| Rejection::Invalid(vec![field]))?;
        workspace.name = name.unwrap_or(&workspace.name).clone();
        workspace.description = description.unwrap_or(&workspace.description).clone();

        let author = self.enter(caller)?;
        let (number, at) = self.next();
        workspace.updated_at = at;
        workspaces::update(self.db, home.number, &workspace)?;
        let notice = to_owner(EventKind::WorkspaceUpdated, &home, data::workspace(&workspace));
        self.publish((number, at), &author, notice)?;
        Ok((Outcome::WorkspaceUpdated(workspace), Some(number)))
    }

    /// Deletes by a mark on the workspace alone, however much there is in it.
    pub(crate) fn delete_workspace(&mut self, caller: &Caller<'_>, id: WorkspaceId) -> Done {
        let Stored { home, .. } = self.own_workspace(caller, id)?;
        let mut everybody = workspaces::everybody_in(self.db, home.number)?;
        if everybody.iter().all(|member| member.key != home.owner.key) {
            everybody.push(home.owner.clone());
        }

        let author = self.enter(caller)?;
        let (number, at) = self.next();
        workspaces::mark_deleted(self.db, home.number, number)?;
        if author.user.default_workspace == Some(home.number) {
            self.set_defaults(&author.user, None, None)?;
        }
        self.memory.rooms.retain(|room| room.home.number != home.number);
        self.withdraw(|workspace, _| workspace == id);
        let recipient_keys: Vec<i64> = everybody.iter().map(|member| member.key).collect();
        let notice = Notice {
            kind: EventKind::WorkspaceDeleted,
            home: &home,
            room: None,
            recipients: everybody.into_iter().map(|member| member.id).collect(),
            recipient_keys: &recipient_keys,
            payload: data::workspace_gone(id),
        };
        self.publish((number, at), &author, notice)?;
        Ok((Outcome::WorkspaceDeleted, Some(number)))
    }

    pub(crate) fn own_workspace(&mut self, caller: &Caller<'_>, id: WorkspaceId) -> Result<Stored, Stop> {
        let stored = workspaces::find(self.db, self.ids, id)?.ok_or(Rejection::NotFound(Resource::Workspace))?;
        if stored.home.owner.id != *caller.id() {
            return Err(Rejection::Forbidden("the workspace is someone else's").into());
        }
        Ok(stored)
    }

    /// The author's default workspace, made if there is none.
    pub(crate) fn default_workspace(&mut self, author: &Author<'_>) -> rusqlite::Result<Arc<Home>> {
        if let Some(number) = author.user.default_workspace
            && let Some(stored) = workspaces::at(self.db, self.ids, number)?
        {
            return Ok(Arc::new(stored.home));
        }
        let (name, description) =
            (WorkspaceName::new_unchecked("Default"), WorkspaceDescription::new_unchecked("Default workspace"));
        let (_, home) = self.make_workspace(author, &name, &description, &Metadata::empty())?;
        self.set_defaults(&author.user, Some(home.number), None)?;
        Ok(home)
    }

    fn make_workspace(
        &mut self,
        author: &Author<'_>,
        name: &WorkspaceName,
        description: &WorkspaceDescription,
        metadata: &Metadata,
    ) -> rusqlite::Result<(Workspace, Arc<Home>)> {
        let (number, at) = self.next();
        let owner = author.user.member.clone();
        let workspace = Workspace {
            id: WorkspaceId(self.ids.uuid(number, at)),
            owner: owner.id.clone(),
            name: name.clone(),
            description: description.clone(),
            metadata: metadata.clone(),
            created_at: at,
            updated_at: at,
        };
        let home = Arc::new(Home { number, created_at: at, id: workspace.id, owner });
        workspaces::insert(self.db, number, home.owner.key, &workspace)?;
        let notice = to_owner(EventKind::WorkspaceCreated, &home, data::workspace(&workspace));
        self.publish((number, at), author, notice)?;
        Ok((workspace, home))
    }
}

fn to_owner(kind: EventKind, home: &Home, payload: Arc<str>) -> Notice<'_> {
    let recipients = [home.owner.id.clone()].into();
    Notice { kind, home, room: None, recipients, recipient_keys: std::slice::from_ref(&home.owner.key), payload }
}
