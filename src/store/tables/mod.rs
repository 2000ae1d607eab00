//! The statements that read and write the rows of each table.

pub(crate) mod answer_jobs;
pub(crate) mod answers;
pub(crate) mod conversation_index;
pub(crate) mod conversations;
pub(crate) mod idempotency;
pub(crate) mod inbox;
pub(crate) mod journal_head;
pub(crate) mod journal_shares;
pub(crate) mod messages;
pub(crate) mod reasoning;
pub(crate) mod released_users;
pub(crate) mod state_events;
pub(crate) mod timeline;
pub(crate) mod usage;
pub(crate) mod users;
pub(crate) mod workspace_deletions;
pub(crate) mod workspaces;
