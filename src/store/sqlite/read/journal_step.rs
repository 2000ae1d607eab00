//! What the sources of a journal page share: the request, and one step through it.

use crate::base::limits::{PAGE_ROWS_EXAMINED_MAX, PAGE_TAIL_ROWS_MAX};
use crate::domain::event::{Event, KindSet};
use crate::domain::id::{ConversationId, EventNumber, WorkspaceId};

/// The bounds and filter of a page. A default conversation is given by its id.
pub(crate) struct JournalPageRequest {
    pub after: EventNumber,
    pub bytes_max: usize,
    pub conversation: Option<ConversationId>,
    pub workspace: Option<WorkspaceId>,
    pub kinds: KindSet,
}

impl JournalPageRequest {
    pub(crate) fn accepts(&self, event: &Event) -> bool {
        self.kinds.has(event.kind)
            && self.conversation.is_none_or(|id| event.conversation_id == Some(id))
            && self.workspace.is_none_or(|id| event.workspace_id == id)
    }
}

/// A step of a page: everything through `number` has been examined.
pub(crate) struct PageStep {
    pub number: EventNumber,
    /// The event of that number, if the user may see it.
    pub event: Option<Event>,
    /// The work that the step took.
    pub work: usize,
}

/// The work of examining a row of the user. Skipping a row of another user takes 1.
pub(crate) const ROW_WORK: usize = PAGE_TAIL_ROWS_MAX / PAGE_ROWS_EXAMINED_MAX;
