//! A read transaction, and what the caller of a query may see in it.

use crate::domain::command::{ApiVariant, ConversationRef};
use crate::domain::id::{IdKey, InstanceId, UserId, WorkspaceId};
use crate::domain::result::{Rejection, Resource};
use crate::store::error::Abort;
use crate::store::rules::records::{ConversationAccess, UserRow, WorkspaceRow};
use crate::store::sql::{SqlConnection, SqlResult};
use crate::store::tables::{conversations, users, workspaces};

/// Why a workspace of another user cannot be named.
pub(crate) const NOT_A_PARTICIPANT: &str = "the caller is not a participant of any conversation of the workspace";

/// The limits of a query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadLimits {
    /// Rows that one step examines, approximately.
    pub rows_max: usize,
    /// Maximum length of a list as JSON text, in bytes, unless it has a single item.
    pub list_bytes_max: usize,
}

/// One read transaction, and the caller of the query.
pub(crate) struct ReadTransaction<'a> {
    pub db: &'a SqlConnection,
    pub ids: &'a IdKey,
    pub caller: &'a UserId,
    /// As in [`ReadLimits`].
    pub list_bytes_max: usize,
    /// The instance of the writer, if several may use the database.
    pub instance: Option<InstanceId>,
}

impl ReadTransaction<'_> {
    pub(crate) fn caller(&self) -> SqlResult<Option<UserRow>> {
        users::find(self.db, self.caller)
    }

    /// The workspace, if the caller owns it.
    pub(crate) fn own_workspace(&self, id: WorkspaceId) -> Result<WorkspaceRow, Abort<Rejection>> {
        let stored = workspaces::find(self.db, self.ids, id)?.ok_or(Rejection::NotFound(Resource::Workspace))?;
        if stored.workspace.owner != *self.caller {
            return Err(Rejection::Forbidden("the workspace belongs to another user").into());
        }
        Ok(stored)
    }

    /// The conversation, if the caller may see it.
    pub(crate) fn access(
        &self,
        conversation: ConversationRef,
        api_variant: ApiVariant,
    ) -> Result<ConversationAccess, Abort<Rejection>> {
        let number = match conversation {
            ConversationRef::Id(id) => self.ids.open(id.0).map(|(number, _)| number),
            ConversationRef::Default => self.caller()?.and_then(|user| user.default_conversation),
        };
        let access = match number {
            Some(number) => conversations::access(self.db, self.ids, number)?,
            None => None,
        };
        // An id of another database may decode to a number of this database.
        let access = access
            .filter(|access| conversation == ConversationRef::Default || conversation == ConversationRef::Id(access.id))
            .ok_or(Rejection::NotFound(Resource::Conversation))?;
        access.authorize(self.caller, api_variant)?;
        Ok(access)
    }
}
