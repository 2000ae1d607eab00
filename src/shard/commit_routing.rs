//! Divides a committed batch among the shards and the responders.

use crate::domain::answer_job::AnswerJob;
use crate::domain::answer_status_change::AnswerStatusChange;
use crate::domain::commit::Committed;
use crate::domain::event::{Event, EventKind};
use crate::domain::result::CommandResult;
use crate::domain::started_answer::AnswerStarted;
use crate::shard::message::CommitShare;
use std::sync::Arc;

/// The shares of a committed batch. Send those of the shards before those of the responders: a responder may append to an
/// answer at once, and the shards must have received the answer by then.
#[derive(Debug)]
pub struct RoutedCommit {
    /// Index and share of each shard that the batch concerns, in the order to send them.
    pub shards: Vec<(usize, CommitShare)>,
    /// Results of the responders' commands.
    pub responder_results: Vec<CommandResult>,
    /// Answers of this process that the batch started.
    pub started: Arc<[AnswerStarted]>,
    /// Events that end answers: deletions of messages, conversations or workspaces, and ends that other instances have stored.
    pub ends: Vec<Arc<Event>>,
    /// The answer jobs that the batch created.
    pub jobs: Vec<AnswerJob>,
    /// The messages that the batch queued for a model. Every shard gets them after its share.
    pub queued: Vec<Arc<AnswerStatusChange>>,
}

/// Divides a committed batch among `shards` shards and the responders.
///
/// Shards without command results come first: a client that has read a response may use another shard at once, and must
/// find its own write there.
pub fn route_commit(committed: Committed, shards: usize) -> RoutedCommit {
    // A commit without results is one of other instances. It moves the position, if nothing else.
    let is_of_others = committed.results.is_empty();
    let concerns_all = is_of_others
        || committed.through > committed.before
        || !committed.events.is_empty()
        || committed.token_rules.is_some()
        || !committed.started.is_empty();
    let mut results_of_shard: Vec<Vec<CommandResult>> = (0..shards).map(|_| Vec::new()).collect();
    let mut responder_results = Vec::new();
    for result in committed.results {
        match results_of_shard.get_mut(usize::from(result.to.shard)) {
            Some(results) => results.push(result),
            None => responder_results.push(result),
        }
    }
    let mut routed: Vec<(usize, CommitShare)> = results_of_shard
        .into_iter()
        .enumerate()
        .filter(|(_, results)| concerns_all || !results.is_empty())
        .map(|(shard, results)| {
            let share = CommitShare {
                before: committed.before,
                through: committed.through,
                events: Arc::clone(&committed.events),
                results,
                started: Arc::clone(&committed.started),
                token_rules: committed.token_rules.clone(),
            };
            (shard, share)
        })
        .collect();
    routed.sort_unstable_by_key(|(_, share)| !share.results.is_empty());
    let is_end = |kind: EventKind| match kind {
        EventKind::MessageDeleted | EventKind::ConversationDeleted | EventKind::WorkspaceDeleted => true,
        // The responders know of those that they stored.
        EventKind::Output | EventKind::OutputError => is_of_others,
        _ => false,
    };
    let ends = committed.events.iter().filter(|event| is_end(event.kind)).cloned().collect();
    // The answers of other instances are none of the responders'.
    let started = if is_of_others { Arc::new([]) } else { committed.started };
    RoutedCommit { shards: routed, responder_results, started, ends, jobs: committed.jobs, queued: committed.queued }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::WallTime;
    use crate::domain::answer_job::RESPONDERS;
    use crate::domain::command::ReplyTo;
    use crate::domain::event::EventBody;
    use crate::domain::id::{EventNumber, MessageId, UserId, WorkspaceId};
    use crate::domain::result::Rejection;
    use uuid::Uuid;

    fn result(shard: u16) -> CommandResult {
        let to = ReplyTo { shard, slot: 0, generation: 0 };
        CommandResult { to, number: None, result: Err(Rejection::Unavailable) }
    }

    fn event(kind: EventKind) -> Arc<Event> {
        Arc::new(Event {
            number: EventNumber(1),
            kind,
            at: WallTime(0),
            actor: UserId::new("u").unwrap(),
            correlation_id: "c".into(),
            workspace_id: WorkspaceId(Uuid::nil()),
            conversation_id: None,
            recipients: Arc::new([]),
            body: EventBody::Deleted(MessageId(Uuid::nil())),
        })
    }

    fn batch(events: &[EventKind], shards_with_results: &[u16]) -> Committed {
        Committed {
            before: EventNumber(0),
            through: EventNumber(events.len() as u64),
            events: events.iter().map(|kind| event(*kind)).collect(),
            results: shards_with_results.iter().map(|shard| result(*shard)).collect(),
            jobs: Vec::new(),
            queued: Vec::new(),
            started: Arc::new([]),
            token_rules: None,
        }
    }

    #[test]
    fn shards_without_results_come_first_and_unconcerned_ones_get_nothing() {
        use EventKind::{Input, MessageDeleted, Output, OutputError, WorkspaceCreated, WorkspaceDeleted};
        // Events, shards with results; order of the shares, results in each, results of responders, ends of answers.
        type RoutingCase<'a> = (&'a [EventKind], &'a [u16], &'a [usize], &'a [usize], usize, usize);
        let table: [RoutingCase<'_>; 6] = [
            // It only moves the position.
            (&[], &[], &[0, 1, 2], &[0, 0, 0], 0, 0),
            (&[], &[2, 2], &[2], &[2], 0, 0),
            (&[WorkspaceCreated], &[0, RESPONDERS], &[1, 2, 0], &[0, 0, 1], 1, 0),
            (&[MessageDeleted, WorkspaceCreated, WorkspaceDeleted], &[1], &[0, 2, 1], &[0, 0, 1], 0, 2),
            (&[Output, OutputError, Input], &[1], &[0, 2, 1], &[0, 0, 1], 0, 0),
            // Another instance has ended answers.
            (&[Output, OutputError, Input], &[], &[0, 1, 2], &[0, 0, 0], 0, 2),
        ];
        for (events, results, order, counts, responders, ends) in table {
            let routed = route_commit(batch(events, results), 3);
            let shards: Vec<usize> = routed.shards.iter().map(|(shard, _)| *shard).collect();
            let results: Vec<usize> = routed.shards.iter().map(|(_, share)| share.results.len()).collect();
            assert_eq!((&shards[..], &results[..]), (order, counts), "{events:?}");
            assert_eq!((routed.responder_results.len(), routed.ends.len()), (responders, ends), "{events:?}");
        }
    }
}
