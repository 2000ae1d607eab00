//! The request for a journal page, and one step of building it.

use crate::domain::event::{Event, KindSet};
use crate::domain::id::{ConversationId, EventNumber, WorkspaceId};
use std::sync::Arc;

/// The bounds and filter of a page.
pub(crate) struct JournalPageRequest {
    /// The page begins after this number.
    pub after: EventNumber,
    /// About the most bytes of the events' frames, unless the page has only one event.
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
    pub event: Option<Arc<Event>>,
    /// The work of the step, in the unit of a `StepBudget`.
    pub work: usize,
}
