//! The recipients of the status of an answer whose text has not begun. A status comes with the recipients of one snapshot of the store,
//! which may be minutes old when a request is retried.
//!
//! Invariant: no status reaches a user whom an event that this shard has applied removed from the conversation. The shard
//! keeps the recipients of running answers up to date, and remembers the latest changes of any conversation. A status whose
//! snapshot is older than what it remembers is dropped, since the next one, or the answer, says more. One whose snapshot is
//! newer than the applied events waits for them.

use crate::domain::answer_status_change::{AnswerPhase, AnswerStatusChange};
use crate::domain::event::{Event, EventKind};
use crate::domain::id::{ConversationId, EventNumber, MessageId, UserId, WorkspaceId};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Most changes of recipients that are remembered.
const CHANGES_MAX: usize = 256;
/// Most running answers whose recipients are kept up to date. The answers of jobs that ended without an event count too.
const ANSWERS_MAX: usize = 4096;

/// Most statuses that wait for events.
const HELD_MAX: usize = 256;

/// An answer that has started, and has no text yet.
#[derive(Debug)]
struct SilentAnswer {
    reply_to: MessageId,
    workspace_id: WorkspaceId,
    /// The present recipients.
    recipients: Arc<[UserId]>,
    /// The number of the event, or of the snapshot, from which they are.
    since: EventNumber,
}

/// The conversations whose recipients an event changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Conversation(ConversationId),
    Workspace(WorkspaceId),
}

/// What a shard knows about the recipients of statuses.
#[derive(Debug, Default)]
pub(crate) struct AnswerStatuses {
    /// By conversation, which has at most one running answer.
    answers: HashMap<ConversationId, SilentAnswer>,
    /// The latest changes of recipients, oldest first.
    changes: VecDeque<(EventNumber, Scope)>,
    /// All later changes are in `changes`.
    known_from: EventNumber,
    /// Statuses whose snapshot is newer than the events that the shard has applied.
    held: Vec<Arc<AnswerStatusChange>>,
}

impl AnswerStatuses {
    /// For a shard that starts at the journal's position.
    pub(crate) fn new(position: EventNumber) -> AnswerStatuses {
        AnswerStatuses { known_from: position, ..AnswerStatuses::default() }
    }

    /// Applies an event, which may change recipients or end an answer.
    pub(crate) fn apply(&mut self, event: &Event) {
        let Some(conversation) = event.conversation_id else {
            if event.kind == EventKind::WorkspaceDeleted {
                self.answers.retain(|_, answer| answer.workspace_id != event.workspace_id);
                self.remember(event.number, Scope::Workspace(event.workspace_id));
            }
            return;
        };
        match event.kind {
            EventKind::ConversationUpdated => {
                if let Some(answer) = self.answers.get_mut(&conversation)
                    && answer.since < event.number
                {
                    (answer.recipients, answer.since) = (Arc::clone(&event.recipients), event.number);
                }
                self.remember(event.number, Scope::Conversation(conversation));
            }
            EventKind::ConversationDeleted => {
                self.answers.remove(&conversation);
                self.remember(event.number, Scope::Conversation(conversation));
            }
            EventKind::Output | EventKind::OutputError => {
                self.answers.remove(&conversation);
            }
            _ => {}
        }
    }

    /// The shard missed events through `position`, which may have changed any recipients.
    pub(crate) fn events_missed(&mut self, position: EventNumber) {
        let held = std::mem::take(&mut self.held);
        *self = AnswerStatuses { held, ..AnswerStatuses::new(position) };
    }

    /// Keeps a status until the events before its snapshot are applied. If too many wait, it is dropped.
    pub(crate) fn hold(&mut self, change: &Arc<AnswerStatusChange>) {
        if self.held.len() < HELD_MAX {
            self.held.push(Arc::clone(change));
        }
    }

    /// The statuses that were kept, and whose snapshot is not newer than `position`.
    pub(crate) fn take_held(&mut self, position: EventNumber) -> Vec<Arc<AnswerStatusChange>> {
        self.held.extract_if(.., |change| change.known_at <= position).collect()
    }

    /// The recipients of a status, as far as they are known to be current.
    pub(crate) fn recipients(&mut self, change: &AnswerStatusChange) -> Option<Arc<[UserId]>> {
        if let Some(answer) = self.answers.get(&change.conversation_id)
            && answer.reply_to == change.reply_to
            && answer.since >= change.known_at
        {
            return Some(Arc::clone(&answer.recipients));
        }
        let concerns = |scope: Scope| match scope {
            Scope::Conversation(id) => id == change.conversation_id,
            Scope::Workspace(id) => id == change.workspace_id,
        };
        let is_outdated = self.changes.iter().any(|(number, scope)| *number > change.known_at && concerns(*scope));
        if is_outdated || change.known_at < self.known_from {
            return None;
        }
        if change.phase != AnswerPhase::Queued {
            if self.answers.len() >= ANSWERS_MAX {
                self.answers.clear();
            }
            let answer = SilentAnswer {
                reply_to: change.reply_to,
                workspace_id: change.workspace_id,
                recipients: Arc::clone(&change.recipients),
                since: change.known_at,
            };
            self.answers.insert(change.conversation_id, answer);
        }
        Some(Arc::clone(&change.recipients))
    }

    fn remember(&mut self, number: EventNumber, scope: Scope) {
        self.changes.push_back((number, scope));
        if self.changes.len() > CHANGES_MAX
            && let Some((forgotten, _)) = self.changes.pop_front()
        {
            self.known_from = forgotten;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::WallTime;
    use crate::domain::event::EventBody;
    use uuid::Uuid;

    fn users(names: &[&str]) -> Arc<[UserId]> {
        names.iter().map(|name| UserId::new_unchecked(*name)).collect()
    }

    fn event(number: u64, kind: EventKind, conversation: Option<u128>, recipients: &[&str]) -> Event {
        Event {
            number: EventNumber(number),
            kind,
            at: WallTime(0),
            actor: UserId::new_unchecked("ann"),
            correlation_id: "c".into(),
            workspace_id: WorkspaceId(Uuid::from_u128(9)),
            conversation_id: conversation.map(|id| ConversationId(Uuid::from_u128(id))),
            recipients: users(recipients),
            body: EventBody::Data("{}".into()),
        }
    }

    fn change(phase: AnswerPhase, known_at: u64) -> AnswerStatusChange {
        AnswerStatusChange {
            reply_to: MessageId(Uuid::from_u128(4)),
            conversation_id: ConversationId(Uuid::from_u128(2)),
            workspace_id: WorkspaceId(Uuid::from_u128(9)),
            recipients: users(&["ann", "bob"]),
            known_at: EventNumber(known_at),
            sender: UserId::new_unchecked("responder:openai"),
            correlation_id: "c".into(),
            phase,
        }
    }

    #[test]
    fn a_status_reaches_no_user_who_was_removed_after_its_snapshot() {
        use EventKind::*;
        let (queued, retrying) = (AnswerPhase::Queued, AnswerPhase::Retrying { in_milliseconds: 1 });
        // Whether the answer had started before the event; the event; the next status with the snapshot of number 10; its
        // recipients.
        let both = Some(users(&["ann", "bob"]));
        let table = [
            (false, event(11, ConversationUpdated, Some(2), &["ann"]), queued, None),
            (false, event(11, ConversationUpdated, Some(2), &["ann"]), retrying, None),
            (true, event(11, ConversationUpdated, Some(2), &["ann"]), retrying, Some(users(&["ann"]))),
            (
                true,
                event(11, ConversationUpdated, Some(2), &["ann", "bob", "eve"]),
                retrying,
                Some(users(&["ann", "bob", "eve"])),
            ),
            (false, event(10, ConversationUpdated, Some(2), &["ann"]), queued, both.clone()),
            (true, event(10, ConversationUpdated, Some(2), &["ann"]), retrying, both.clone()),
            (false, event(11, ConversationUpdated, Some(3), &["ann"]), queued, both.clone()),
            (false, event(11, ConversationDeleted, Some(2), &["ann"]), queued, None),
            (true, event(11, ConversationDeleted, Some(2), &["ann"]), retrying, None),
            (true, event(11, WorkspaceDeleted, None, &["ann"]), retrying, None),
            (true, event(11, Output, Some(2), &["ann", "bob"]), retrying, both),
        ];
        for (is_started, event, phase, expected) in table {
            let mut statuses = AnswerStatuses::new(EventNumber(1));
            if is_started {
                assert!(statuses.recipients(&change(AnswerPhase::Started, 10)).is_some());
            }
            statuses.apply(&event);
            assert_eq!(statuses.recipients(&change(phase, 10)), expected, "{is_started} {event:?}");
        }
    }

    #[test]
    fn a_status_older_than_what_is_remembered_is_dropped() {
        let mut statuses = AnswerStatuses::new(EventNumber(5));
        assert!(statuses.recipients(&change(AnswerPhase::Queued, 4)).is_none(), "before the shard's start");
        assert!(statuses.recipients(&change(AnswerPhase::Queued, 5)).is_some());
        for number in 6..1_000 {
            statuses.apply(&event(number, EventKind::ConversationUpdated, Some(7), &["ann"]));
        }
        assert!(statuses.recipients(&change(AnswerPhase::Queued, 600)).is_none(), "256 changes are remembered");
        assert!(statuses.recipients(&change(AnswerPhase::Started, 900)).is_some());
        statuses.events_missed(EventNumber(1_100));
        assert!(statuses.recipients(&change(AnswerPhase::Started, 1_000)).is_none(), "events were missed since");
    }
}
