//! The subscribers of a shard by user, and the tail of recent events.
//!
//! Invariant: a user's `events` are all events of the user after `complete_from` and through `position`, in order, except
//! those that the user may no longer see.

use crate::domain::event::{Event, EventKind};
use crate::domain::id::*;
use crate::domain::query::StreamFilter;
use crate::sse::frame::EventFrame;
use crate::wire;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// An event, framed once for all streams of this shard.
#[derive(Debug)]
pub(crate) struct FramedEvent {
    pub number: EventNumber,
    kind: EventKind,
    workspace_id: WorkspaceId,
    conversation_id: Option<ConversationId>,
    message_id: Option<MessageId>,
    recipients: Arc<[UserId]>,
    pub frame: Arc<EventFrame>,
}

impl FramedEvent {
    /// Frames an event.
    pub(crate) fn new(event: &Event) -> FramedEvent {
        let json_bytes = event.frame_bytes();
        let frame = EventFrame::new(Some(event.number), event.kind.as_str(), json_bytes, |out| {
            wire::event::event_json(event, out)
        });
        FramedEvent {
            number: event.number,
            kind: event.kind,
            workspace_id: event.workspace_id,
            conversation_id: event.conversation_id,
            message_id: event.message_id(),
            recipients: Arc::clone(&event.recipients),
            frame: Arc::new(frame),
        }
    }

    /// Whether a filter accepts it. The filter of an open stream has the id of a default conversation.
    pub(crate) fn passes(&self, filter: &StreamFilter) -> bool {
        filter.kinds.has(self.kind) && filter.has(self.conversation_id, self.workspace_id)
    }
}

/// The streams of one user on this shard, and the user's recent events.
#[derive(Debug)]
pub(crate) struct UserSubscriptions {
    /// Slots of the streams; never empty.
    streams: Vec<u32>,
    events: VecDeque<Arc<FramedEvent>>,
    complete_from: EventNumber,
}

/// The subscribers of a shard.
#[derive(Debug)]
pub(crate) struct FanOut {
    /// The number through which this shard has applied every event.
    position: EventNumber,
    users: HashMap<UserId, UserSubscriptions>,
    /// The events of all users' tails, in order.
    recent: VecDeque<Arc<FramedEvent>>,
    recent_bytes: usize,
    /// Most bytes of these events.
    tail_bytes_max: usize,
    /// Deleted workspaces of which the tails may have events. A user may be notified of the deletion much later.
    deleted: HashSet<WorkspaceId>,
}

impl FanOut {
    /// Without subscribers, at the journal's position. The tails have at most `tail_bytes_max`.
    pub(crate) fn new(position: EventNumber, tail_bytes_max: usize) -> FanOut {
        FanOut {
            position,
            users: HashMap::new(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            tail_bytes_max,
            deleted: HashSet::new(),
        }
    }

    /// The number through which this shard has applied every event.
    pub(crate) fn position(&self) -> EventNumber {
        self.position
    }

    /// Notes that every event through `position` was published.
    pub(crate) fn advance(&mut self, position: EventNumber) {
        self.position = position;
    }

    /// Whether there is any stream.
    pub(crate) fn has_streams(&self) -> bool {
        !self.users.is_empty()
    }

    /// Adds a stream of `user`.
    pub(crate) fn subscribe(&mut self, user: &UserId, slot: u32) {
        let position = self.position;
        self.users
            .entry(user.clone())
            .or_insert_with(|| UserSubscriptions {
                streams: Vec::new(),
                events: VecDeque::new(),
                complete_from: position,
            })
            .streams
            .push(slot);
    }

    /// Removes a stream of `user`, and with the last one the user's tail.
    pub(crate) fn unsubscribe(&mut self, user: &UserId, slot: u32) {
        let Some(subscriptions) = self.users.get_mut(user) else { return };
        subscriptions.streams.retain(|other| *other != slot);
        if subscriptions.streams.is_empty() {
            self.users.remove(user);
        }
    }

    /// The streams and the tail of `user`.
    pub(crate) fn subscriptions(&self, user: &UserId) -> Option<&UserSubscriptions> {
        self.users.get(user)
    }

    /// Every user with a stream on this shard.
    pub(crate) fn users(&self) -> impl Iterator<Item = (&UserId, &UserSubscriptions)> {
        self.users.iter()
    }

    /// The streams of a user.
    pub(crate) fn streams_of(&self, user: &UserId) -> &[u32] {
        self.users.get(user).map_or(&[], |subscriptions| subscriptions.streams())
    }

    /// Adds an event to the tails of its recipients, and calls `offer` for each of their streams.
    pub(crate) fn publish(&mut self, event: &Event, mut offer: impl FnMut(u32, &Arc<FramedEvent>)) {
        if event.kind == EventKind::WorkspaceDeleted {
            self.hide_workspace(event);
        }
        let mut framed: Option<Arc<FramedEvent>> = None;
        for user in event.recipients.iter() {
            let Some(subscriptions) = self.users.get_mut(user) else { continue };
            let framed_event = framed.get_or_insert_with(|| Arc::new(FramedEvent::new(event)));
            subscriptions.forget_before(event);
            subscriptions.events.push_back(Arc::clone(framed_event));
            for slot in &subscriptions.streams {
                offer(*slot, framed_event);
            }
        }
        if let Some(event) = framed {
            self.recent_bytes += event.frame.held_bytes();
            self.recent.push_back(event);
            self.evict();
        }
    }

    /// Skips events that this shard has missed: every tail starts again after `position`.
    pub(crate) fn skip_to(&mut self, position: EventNumber) {
        self.position = position;
        self.clear_tails(position);
    }

    /// Whether the event of a tail is hidden, because its workspace was deleted afterwards.
    pub(crate) fn hides(&self, event: &FramedEvent) -> bool {
        self.deleted.contains(&event.workspace_id) && !event.kind.is_tombstone()
    }

    /// Hides the events of a deleted workspace in every tail. After many deletions, the tails start again instead.
    fn hide_workspace(&mut self, deletion: &Event) {
        const DELETIONS_MAX: usize = 256;
        self.deleted.insert(deletion.workspace_id);
        if self.deleted.len() > DELETIONS_MAX {
            self.clear_tails(EventNumber(deletion.number.0 - 1));
        }
    }

    fn clear_tails(&mut self, position: EventNumber) {
        self.recent.clear();
        self.recent_bytes = 0;
        self.deleted.clear();
        for subscriptions in self.users.values_mut() {
            subscriptions.events.clear();
            subscriptions.complete_from = position;
        }
    }

    fn evict(&mut self) {
        while self.recent_bytes > self.tail_bytes_max {
            let Some(oldest) = self.recent.pop_front() else { return };
            self.recent_bytes -= oldest.frame.held_bytes();
            for user in oldest.recipients.iter() {
                let Some(subscriptions) = self.users.get_mut(user) else { continue };
                while subscriptions.events.front().is_some_and(|event| event.number <= oldest.number) {
                    subscriptions.events.pop_front();
                }
                subscriptions.complete_from = subscriptions.complete_from.max(oldest.number);
            }
        }
    }

    /// Asserts the invariant of this module, as far as the tails show it.
    pub(crate) fn check_invariants(&self) {
        assert_eq!(self.recent_bytes, self.recent.iter().map(|event| event.frame.held_bytes()).sum::<usize>());
        assert!(self.recent_bytes <= self.tail_bytes_max || self.recent.len() == 1);
        for subscriptions in self.users.values() {
            assert!(!subscriptions.streams.is_empty(), "a user without streams has no tail");
            assert!(subscriptions.complete_from <= self.position);
            let numbers: Vec<_> = subscriptions.events.iter().map(|event| event.number).collect();
            assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(numbers.first().is_none_or(|first| *first > subscriptions.complete_from));
        }
    }
}

impl UserSubscriptions {
    /// Slots of the user's streams.
    pub(crate) fn streams(&self) -> &[u32] {
        &self.streams
    }

    /// The user's events after `cursor`; `None` if the tail starts later.
    pub(crate) fn events_after(&self, cursor: EventNumber) -> Option<impl Iterator<Item = &Arc<FramedEvent>>> {
        if self.complete_from > cursor {
            return None;
        }
        let start = self.events.partition_point(|event| event.number <= cursor);
        Some(self.events.range(start..))
    }

    /// The frame of an event of the tail.
    pub(crate) fn frame(&self, number: EventNumber) -> Option<&Arc<EventFrame>> {
        let place = self.events.binary_search_by_key(&number, |event| event.number).ok()?;
        Some(&self.events[place].frame)
    }

    /// Drops from the tail what an event may invalidate: access to earlier events, or the content of a message. Only the
    /// journal has the present state; an owner, for example, still sees conversations that they left.
    fn forget_before(&mut self, event: &Event) {
        use EventKind::*;
        match event.kind {
            kind if kind.is_tombstone() => {
                self.events.clear();
                self.complete_from = EventNumber(event.number.0 - 1);
            }
            MessageUpdated | MessageDeleted => {
                let about = |framed: &Arc<FramedEvent>| framed.message_id == event.message_id();
                if let Some(last) = self.events.iter().rposition(about) {
                    self.complete_from = self.events[last].number;
                    self.events.drain(..=last);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::WallTime;
    use crate::domain::event::EventBody;
    use crate::domain::model::{Content, Message, Metadata, Role, Status};
    use crate::sse::frame::StreamForm;
    use uuid::Uuid;

    fn event(number: u64, kind: EventKind, workspace: u128, recipients: &[&str]) -> Event {
        Event {
            number: EventNumber(number),
            kind,
            at: WallTime(number as i64),
            actor: UserId::new_unchecked("ann"),
            correlation_id: "c".into(),
            workspace_id: WorkspaceId(Uuid::from_u128(workspace)),
            conversation_id: Some(ConversationId(Uuid::from_u128(workspace + 1))),
            recipients: recipients.iter().map(|id| UserId::new_unchecked(*id)).collect(),
            body: EventBody::Data("{}".into()),
        }
    }

    /// The reader of a journal page estimates the frames. If they were longer, the last events of each page would not fit into
    /// the outbox, and would be read again.
    #[test]
    fn a_frame_is_about_as_long_as_estimated() {
        let message = |text: &str| {
            EventBody::Message(Message {
                id: MessageId(Uuid::from_u128(1)),
                conversation_id: ConversationId(Uuid::from_u128(2)),
                sender: UserId::new_unchecked("ann"),
                sender_name: "Ann".into(),
                role: Role::User,
                status: Status::Complete,
                created_at: WallTime(0),
                updated_at: WallTime(0),
                reply_to: Some(MessageId(Uuid::from_u128(3))),
                metadata: Metadata::empty(),
                content: Content::new_unchecked(text),
                error: None,
                answer: None,
                reasoning: None,
            })
        };
        let (kinds, text) = ([EventKind::Input, EventKind::Output, EventKind::MessageUpdated], "x".repeat(200));
        for (kind, named) in kinds.iter().flat_map(|kind| [(*kind, false), (*kind, true)]) {
            let event = Event { kind, body: message(&text), ..event(1 << 40, kind, 7, &[]) };
            let (estimated, frame) = (event.frame_bytes(), FramedEvent::new(&event).frame);
            let framed = frame.len(StreamForm { named, chunked: true });
            assert!((estimated * 9 / 10..=estimated).contains(&framed), "{kind:?} {named}: {framed}, not {estimated}");
            assert!(event.weight() <= estimated);
        }
    }

    #[test]
    fn a_deleted_workspace_is_hidden_from_users_who_are_not_notified_yet() {
        use EventKind::{ConversationLeft, ConversationUpdated, WorkspaceDeleted};
        let mut fan_out = FanOut::new(EventNumber(0), 4096);
        let ben = UserId::new_unchecked("ben");
        fan_out.subscribe(&ben, 1);
        for (number, kind, workspace) in
            [(1, ConversationLeft, 7), (2, ConversationUpdated, 7), (3, ConversationUpdated, 9)]
        {
            fan_out.publish(&event(number, kind, workspace, &["ann", "ben"]), |_, _| {});
        }
        fan_out.publish(&event(4, WorkspaceDeleted, 7, &["ann"]), |_, _| {});
        fan_out.advance(EventNumber(4));
        let shown = |fan_out: &FanOut| -> Vec<u64> {
            let events = fan_out.subscriptions(&ben).unwrap().events_after(EventNumber(0)).expect("the tail is whole");
            events.filter(|event| !fan_out.hides(event)).map(|event| event.number.0).collect()
        };
        assert_eq!(shown(&fan_out), [1, 3], "tombstones are kept");
        fan_out.check_invariants();
        // Many deletions do not accumulate.
        for number in 5..1000 {
            fan_out.publish(&event(number, WorkspaceDeleted, number.into(), &["ann"]), |_, _| {});
            fan_out.advance(EventNumber(number));
            assert!(fan_out.deleted.len() <= 256);
        }
        assert!(fan_out.subscriptions(&ben).unwrap().events_after(EventNumber(3)).is_none(), "the journal has them");
        fan_out.check_invariants();
    }
}
