//! The latest events of all users, from which streams that resume after a short time are served without the database. Many clients return
//! at once when an instance is lost.
//!
//! Invariant: `events` are all events after `complete_from` and through `position`, in order; `of_users` has them by recipient.

use crate::base::limits::PAGE_EVENTS_MAX;
use crate::domain::command::ConversationRef;
use crate::domain::commit::Committed;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::{EventNumber, UserId};
use crate::domain::query::{JournalPage, Query, QueryKind, QueryResponse, QueryResult};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// The events, bounded by their bytes.
#[derive(Debug)]
pub struct RecentEvents {
    events: VecDeque<Arc<Event>>,
    of_users: HashMap<UserId, VecDeque<Arc<Event>>>,
    bytes: usize,
    bytes_max: usize,
    complete_from: EventNumber,
    position: EventNumber,
}

impl RecentEvents {
    /// Without events, at this position of the journal. There will be at most `bytes_max` of them.
    pub fn new(position: EventNumber, bytes_max: usize) -> RecentEvents {
        let (events, of_users) = (VecDeque::new(), HashMap::new());
        RecentEvents { events, of_users, bytes: 0, bytes_max, complete_from: position, position }
    }

    /// Adds the next commit. If it does not follow the position, or if it deletes a workspace, whose events are hidden from users who are
    /// notified of that later, the events start anew after it.
    pub fn committed(&mut self, commit: &Committed) {
        let hides = |event: &Arc<Event>| event.kind == EventKind::WorkspaceDeleted;
        if commit.before > self.position || commit.events.iter().any(hides) {
            *self = RecentEvents::new(commit.through.max(self.position), self.bytes_max);
            return;
        }
        for event in commit.events.iter().filter(|event| event.number > self.position) {
            self.bytes += weight(event);
            for user in event.recipients.iter() {
                self.of_users.entry(user.clone()).or_default().push_back(Arc::clone(event));
            }
            self.events.push_back(Arc::clone(event));
        }
        self.position = self.position.max(commit.through);
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.events.pop_front()
        {
            self.forget(&oldest);
        }
    }

    /// The response to the query of a journal page, if these events have all that it needs.
    pub fn page(&self, query: &Query) -> Option<QueryResponse> {
        let QueryKind::JournalPage { after, bytes_max, filter } = &query.kind else { return None };
        if *after < self.complete_from
            || *after > self.position
            || filter.conversation == Some(ConversationRef::Default)
        {
            return None;
        }
        let of_user = self.of_users.get(&query.caller);
        let from = of_user.map_or(0, |events| events.partition_point(|event| event.number <= *after));
        let later = || of_user.into_iter().flat_map(|events| events.range(from..));
        if later().any(|event| !is_final(event.kind)) {
            return None;
        }
        let mut page = JournalPage { events: Vec::new(), through: self.position, position: self.position, gap: None };
        let mut bytes = 0;
        let is_selected =
            |event: &&Arc<Event>| filter.kinds.has(event.kind) && filter.has(event.conversation_id, event.workspace_id);
        for event in later().filter(is_selected) {
            bytes += event.frame_bytes();
            if page.events.len() == PAGE_EVENTS_MAX || (bytes > *bytes_max && !page.events.is_empty()) {
                page.through = page.events.last().expect("it has some").number;
                break;
            }
            page.events.push(Arc::clone(event));
        }
        Some(QueryResponse { to: query.reply_to, position: self.position, result: Ok(QueryResult::JournalPage(page)) })
    }

    fn forget(&mut self, oldest: &Event) {
        self.bytes -= weight(oldest);
        self.complete_from = oldest.number;
        for user in oldest.recipients.iter() {
            if let Some(events) = self.of_users.get_mut(user) {
                events.pop_front();
                if events.is_empty() {
                    self.of_users.remove(user);
                }
            }
        }
    }

    /// Asserts the invariant.
    pub fn check_invariants(&self) {
        assert!(self.bytes <= self.bytes_max);
        assert_eq!(self.events.iter().map(|event| weight(event)).sum::<usize>(), self.bytes);
        assert!(self.complete_from <= self.position);
        let mut of_users: HashMap<&UserId, Vec<EventNumber>> = HashMap::new();
        for event in &self.events {
            assert!(self.complete_from < event.number && event.number <= self.position);
            event.recipients.iter().for_each(|user| of_users.entry(user).or_default().push(event.number));
        }
        assert_eq!(of_users.len(), self.of_users.len());
        for (user, events) in &self.of_users {
            assert!(events.iter().map(|event| event.number).eq(of_users[user].iter().copied()));
        }
    }
}

/// About the bytes that an event holds, with its places in the lists of its recipients.
fn weight(event: &Event) -> usize {
    const EACH: usize = 64;
    event.weight() + EACH * event.recipients.len()
}

/// Whether events of this kind are shown as they were committed, and hide no other event from their recipients.
fn is_final(kind: EventKind) -> bool {
    use EventKind::*;
    matches!(
        kind,
        Input | Output | OutputError | ConversationCreated | ConversationUpdated | WorkspaceCreated | WorkspaceUpdated
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::WallTime;
    use crate::domain::command::ReplyTo;
    use crate::domain::event::{EventBody, KindSet};
    use crate::domain::id::{ConversationId, WorkspaceId};
    use crate::domain::query::StreamFilter;
    use uuid::Uuid;

    const BYTES_MAX: usize = 8192;

    fn event(number: u64, kind: EventKind, recipients: &[&str], bytes: usize) -> Arc<Event> {
        Arc::new(Event {
            number: EventNumber(number),
            kind,
            at: WallTime(0),
            actor: UserId::new_unchecked("u"),
            correlation_id: "c".into(),
            workspace_id: WorkspaceId(Uuid::nil()),
            conversation_id: Some(ConversationId(Uuid::from_u128(u128::from(number % 2)))),
            recipients: recipients.iter().map(|user| UserId::new_unchecked(*user)).collect(),
            body: EventBody::Data("x".repeat(bytes).into()),
        })
    }

    fn commit(before: u64, events: Vec<Arc<Event>>) -> Committed {
        let through = events.last().map_or(EventNumber(before), |event| event.number);
        Committed { events: events.into(), ..Committed::empty(EventNumber(before), through) }
    }

    fn filter() -> StreamFilter {
        StreamFilter { conversation: None, workspace: None, kinds: KindSet::ALL }
    }

    /// The numbers of a page and the number through which it is complete.
    fn page(
        recent: &RecentEvents,
        user: &str,
        after: u64,
        bytes_max: usize,
        filter: StreamFilter,
    ) -> Option<(Vec<u64>, u64)> {
        recent.check_invariants();
        let kind = QueryKind::JournalPage { after: EventNumber(after), bytes_max, filter };
        let to = ReplyTo { shard: 0, slot: 0, generation: 0 };
        let response = recent.page(&Query { reply_to: to, caller: UserId::new_unchecked(user), kind })?;
        let Ok(QueryResult::JournalPage(page)) = response.result else { panic!("it is a page") };
        assert_eq!((page.position, page.gap), (response.position, None));
        Some((page.events.iter().map(|event| event.number.0).collect(), page.through.0))
    }

    #[test]
    fn a_page_has_the_events_of_its_user_after_a_number() {
        let mut recent = RecentEvents::new(EventNumber(5), BYTES_MAX);
        recent.committed(&commit(
            5,
            vec![event(6, EventKind::Input, &["a", "b"], 1), event(7, EventKind::Output, &["b"], 1)],
        ));
        recent.committed(&commit(7, vec![event(9, EventKind::ConversationUpdated, &["a"], 1)]));
        let all = |user, after| page(&recent, user, after, usize::MAX, filter());
        assert_eq!(all("a", 5), Some((vec![6, 9], 9)));
        assert_eq!(all("b", 5), Some((vec![6, 7], 9)));
        assert_eq!(all("a", 6), Some((vec![9], 9)));
        assert_eq!((all("a", 9), all("c", 5)), (Some((vec![], 9)), Some((vec![], 9))));
        assert_eq!((all("a", 4), all("a", 10)), (None, None), "the database decides");
        assert_eq!(page(&recent, "a", 5, 1, filter()), Some((vec![6], 6)), "at least one event");
        let even = StreamFilter { conversation: Some(ConversationRef::Id(ConversationId(Uuid::nil()))), ..filter() };
        assert_eq!(page(&recent, "a", 5, usize::MAX, even), Some((vec![6], 9)));
        let inputs = StreamFilter { kinds: KindSet::NONE.with(EventKind::Input), ..filter() };
        assert_eq!(page(&recent, "b", 5, usize::MAX, inputs), Some((vec![6], 9)));
    }

    #[test]
    fn what_hides_or_changes_events_is_read_from_the_database() {
        let mut recent = RecentEvents::new(EventNumber(0), BYTES_MAX);
        recent.committed(&commit(0, vec![event(1, EventKind::Input, &["a", "b"], 1)]));
        recent.committed(&commit(1, vec![event(2, EventKind::ConversationLeft, &["a"], 1)]));
        assert_eq!(page(&recent, "a", 0, usize::MAX, filter()), None);
        assert_eq!(page(&recent, "b", 0, usize::MAX, filter()), Some((vec![1], 2)));
        assert_eq!(page(&recent, "a", 2, usize::MAX, filter()), Some((vec![], 2)));
        recent.committed(&commit(2, vec![event(3, EventKind::WorkspaceDeleted, &["c"], 1)]));
        assert_eq!(page(&recent, "b", 0, usize::MAX, filter()), None);
        assert_eq!(page(&recent, "b", 3, usize::MAX, filter()), Some((vec![], 3)));
        // Events were missed.
        recent.committed(&commit(3, vec![event(4, EventKind::Input, &["b"], 1)]));
        recent.committed(&commit(8, vec![event(9, EventKind::Input, &["b"], 1)]));
        assert_eq!(page(&recent, "b", 4, usize::MAX, filter()), None);
        assert_eq!(page(&recent, "b", 9, usize::MAX, filter()), Some((vec![], 9)));
    }

    #[test]
    fn the_oldest_events_make_room() {
        let mut recent = RecentEvents::new(EventNumber(0), BYTES_MAX);
        for number in 1..=10 {
            let user = ["a", "b"][number as usize % 2];
            recent.committed(&commit(number - 1, vec![event(number, EventKind::Input, &[user], BYTES_MAX / 4)]));
            recent.check_invariants();
        }
        assert_eq!(page(&recent, "a", 6, usize::MAX, filter()), None);
        assert_eq!(page(&recent, "a", 7, usize::MAX, filter()), Some((vec![8, 10], 10)));
        recent.committed(&commit(10, vec![event(11, EventKind::Input, &["a"], BYTES_MAX)]));
        assert_eq!(page(&recent, "b", 10, usize::MAX, filter()), None);
        assert_eq!(page(&recent, "b", 11, usize::MAX, filter()), Some((vec![], 11)));
    }
}
