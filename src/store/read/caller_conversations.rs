//! The conversations that a user owns or participates in, in an order that a later step can resume.

use crate::domain::id::EventNumber;
use crate::store::read::step_budget::{ROW_WORK, StepBudget};
use crate::store::sql::values::number;
use crate::store::sql::{SqlConnection, SqlResult};
use std::ops::ControlFlow;

/// A place among the conversations of a user. Conversations in the user's own workspaces come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConversationPlace {
    /// In the user's own workspaces, after a conversation. Next: Joined.
    Owned { workspace: i64, conversation: i64 },
    /// In workspaces of other users, after a conversation. Next: End.
    Joined { conversation: i64 },
    /// After the last conversation.
    End,
}

impl ConversationPlace {
    /// Before the first conversation.
    pub(crate) const START: ConversationPlace = ConversationPlace::Owned { workspace: 0, conversation: 0 };
    /// Before the first conversation in a workspace of another user.
    pub(crate) const JOINED: ConversationPlace = ConversationPlace::Joined { conversation: 0 };
}

/// A conversation that the user may see.
pub(crate) struct CallerConversation {
    pub number: EventNumber,
    pub workspace: EventNumber,
    /// The key of the workspace's owner.
    pub owner: i64,
    /// The time of the last change, in microseconds.
    pub updated_at: i64,
}

/// Calls `each` with the conversations of the user with key `user` after `place`, each once, until it breaks or `budget` is
/// spent. `place` moves along. Rows that are not conversations of the user are examined as well, and are paid for.
pub(crate) fn walk(
    db: &SqlConnection,
    user: i64,
    place: &mut ConversationPlace,
    budget: &mut StepBudget,
    mut each: impl FnMut(&CallerConversation, &mut StepBudget) -> SqlResult<ControlFlow<()>>,
) -> SqlResult<()> {
    while budget.is_left() {
        let limit = budget.rows();
        let (sql, after, next) = match *place {
            ConversationPlace::Owned { workspace, conversation } => {
                (OWNED, [workspace, conversation], ConversationPlace::JOINED)
            }
            ConversationPlace::Joined { conversation } => (JOINED, [0, conversation], ConversationPlace::End),
            ConversationPlace::End => return Ok(()),
        };
        let mut statement = db.prepare_cached(sql)?;
        let mut rows = statement.query([user, after[0], after[1], limit])?;
        let mut examined = 0;
        while let Some(row) = rows.next()? {
            examined += 1;
            budget.spend(ROW_WORK);
            let (workspace, conversation): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
            *place = match (*place, workspace, conversation) {
                (ConversationPlace::Owned { .. }, Some(workspace), Some(conversation)) => {
                    ConversationPlace::Owned { workspace, conversation }
                }
                // The workspace has no more conversations.
                (ConversationPlace::Owned { .. }, Some(workspace), None) => {
                    ConversationPlace::Owned { workspace: workspace + 1, conversation: 0 }
                }
                _ => ConversationPlace::Joined { conversation: row.get(4)? },
            };
            if let (Some(workspace), Some(conversation)) = (workspace, conversation) {
                let found = CallerConversation {
                    number: number(conversation),
                    workspace: number(workspace),
                    owner: row.get(2)?,
                    updated_at: row.get(3)?,
                };
                if each(&found, budget)?.is_break() {
                    return Ok(());
                }
            }
            if !budget.is_left() {
                return Ok(());
            }
        }
        if examined < limit {
            *place = next;
        }
    }
    Ok(())
}

/// Selects a row for each conversation of each workspace of the user, and one for each workspace without a conversation after
/// the place, so that the limit bounds the rows that are examined.
pub(crate) const OWNED: &str = "
    SELECT w.number, c.number, w.owner, s.updated_at, 0
    FROM workspaces w
    LEFT JOIN conversations c ON c.workspace = w.number AND c.deleted IS NULL
        AND c.number > CASE w.number WHEN ?2 THEN ?3 ELSE 0 END
    LEFT JOIN conversation_state s ON s.conversation = c.number
    WHERE w.owner = ?1 AND w.deleted IS NULL AND w.number >= ?2 ORDER BY w.number, c.number LIMIT ?4";
/// Selects a row for each participation of the user. Workspace and conversation are `NULL` if they are deleted, and in the
/// user's own workspaces.
pub(crate) const JOINED: &str = "
    SELECT w.number, CASE WHEN w.number IS NOT NULL THEN c.number END, w.owner, s.updated_at, p.conversation
    FROM participants p
    LEFT JOIN conversations c ON c.number = p.conversation AND c.deleted IS NULL
    LEFT JOIN workspaces w ON w.number = c.workspace AND w.deleted IS NULL AND w.owner <> ?1
    LEFT JOIN conversation_state s ON s.conversation = c.number
    WHERE p.user = ?1 AND p.conversation > ?2 AND p.conversation > ?3 ORDER BY p.conversation LIMIT ?4";
