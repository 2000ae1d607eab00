//! Who listens to what on this shard, and the tail of recent events.
//!
//! Invariant: a listener's `entries` hold every event of its user after `complete_from` and through `position`, in
//! order, less what the user may no longer see.

use crate::base::limits::TAIL_BYTES_MAX;
use crate::domain::command::ConversationRef;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::*;
use crate::domain::query::StreamFilter;
use crate::sse::EventFrame;
use crate::wire;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// An event, framed once for everybody on this shard.
#[derive(Debug)]
pub(crate) struct FramedEvent {
    /// Its number.
    pub number: EventNumber,
    kind: EventKind,
    workspace_id: WorkspaceId,
    conversation_id: Option<ConversationId>,
    message_id: Option<MessageId>,
    recipients: Arc<[UserId]>,
    /// What its streams are sent.
    pub frame: Arc<EventFrame>,
}

impl FramedEvent {
    /// Frames an event.
    pub(crate) fn of(event: &Event) -> FramedEvent {
        let json_bytes = 256 + event.weight();
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

    /// Whether a stream with this filter is for it. A default conversation was named by its id when the stream opened.
    pub(crate) fn passes(&self, filter: &StreamFilter) -> bool {
        let conversation = match filter.conversation {
            None => true,
            Some(ConversationRef::Id(id)) => self.conversation_id == Some(id),
            Some(ConversationRef::Default) => false,
        };
        conversation && filter.workspace.is_none_or(|id| self.workspace_id == id) && filter.kinds.has(self.kind)
    }
}

/// The streams of one user on this shard, and what they can be served from without the disk.
#[derive(Debug)]
pub(crate) struct UserSubscriptions {
    /// HeaderBuf of the user's streams.
    pub streams: Vec<u32>,
    /// Recent events of the user.
    pub events: VecDeque<Arc<FramedEvent>>,
    /// Everything of the user's after this number is in `entries`.
    pub complete_from: EventNumber,
}

/// The listeners of a shard.
#[derive(Debug, Default)]
pub(crate) struct FanOut {
    /// The number through which this shard has applied everything.
    pub position: EventNumber,
    users: HashMap<UserId, UserSubscriptions>,
    recent: VecDeque<Arc<FramedEvent>>,
    recent_bytes: usize,
}

impl FanOut {
    /// A hub that starts at the journal's position.
    pub(crate) fn new(position: EventNumber) -> FanOut {
        FanOut { position, ..FanOut::default() }
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

    /// Removes a stream of `user`; the last one takes the user's tail with it.
    pub(crate) fn unsubscribe(&mut self, user: &UserId, slot: u32) {
        let Some(subscriptions) = self.users.get_mut(user) else { return };
        subscriptions.streams.retain(|other| *other != slot);
        if subscriptions.streams.is_empty() {
            self.users.remove(user);
        }
    }

    /// The listener of `user`.
    pub(crate) fn subscriptions(&self, user: &UserId) -> Option<&UserSubscriptions> {
        self.users.get(user)
    }

    /// Every user who listens here.
    pub(crate) fn users(&self) -> impl Iterator<Item = (&UserId, &UserSubscriptions)> {
        self.users.iter()
    }

    /// Takes an event into the tails of its recipients, and calls `offer` for each stream of theirs.
    pub(crate) fn publish(&mut self, event: &Event, mut offer: impl FnMut(u32, &Arc<FramedEvent>)) {
        let mut framed: Option<Arc<FramedEvent>> = None;
        for user in event.recipients.iter() {
            let Some(subscriptions) = self.users.get_mut(user) else { continue };
            let entry = framed.get_or_insert_with(|| Arc::new(FramedEvent::of(event)));
            subscriptions.forget_before(event);
            subscriptions.events.push_back(Arc::clone(entry));
            for slot in &subscriptions.streams {
                offer(*slot, entry);
            }
        }
        if let Some(entry) = framed {
            self.recent_bytes += entry.frame.held_bytes();
            self.recent.push_back(entry);
            self.evict();
        }
    }

    /// Jumps over events that this shard was not told of: every tail begins anew after `position`.
    pub(crate) fn skip_to(&mut self, position: EventNumber) {
        self.position = position;
        self.recent.clear();
        self.recent_bytes = 0;
        for subscriptions in self.users.values_mut() {
            subscriptions.events.clear();
            subscriptions.complete_from = position;
        }
    }

    fn evict(&mut self) {
        while self.recent_bytes > TAIL_BYTES_MAX {
            let Some(oldest) = self.recent.pop_front() else { return };
            self.recent_bytes -= oldest.frame.held_bytes();
            for user in oldest.recipients.iter() {
                let Some(subscriptions) = self.users.get_mut(user) else { continue };
                while subscriptions.events.front().is_some_and(|entry| entry.number <= oldest.number) {
                    subscriptions.events.pop_front();
                }
                subscriptions.complete_from = subscriptions.complete_from.max(oldest.number);
            }
        }
    }

    /// Asserts the invariant of this module, as far as it can be seen from here.
    pub(crate) fn check_invariants(&self) {
        assert_eq!(self.recent_bytes, self.recent.iter().map(|entry| entry.frame.held_bytes()).sum::<usize>());
        assert!(self.recent_bytes <= TAIL_BYTES_MAX || self.recent.len() == 1);
        for subscriptions in self.users.values() {
            assert!(!subscriptions.streams.is_empty(), "a tail without a reader is dropped");
            assert!(subscriptions.complete_from <= self.position);
            let numbers: Vec<_> = subscriptions.events.iter().map(|entry| entry.number).collect();
            assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(numbers.first().is_none_or(|first| *first > subscriptions.complete_from));
        }
    }
}

impl UserSubscriptions {
    /// Drops from the tail what an event makes untrue: who still may see what, and what a message says now, only the
    /// journal knows. Owners, for one, still see the conversations of theirs that they left.
    fn forget_before(&mut self, event: &Event) {
        use EventKind::*;
        match event.kind {
            ConversationLeft | ConversationDeleted | WorkspaceDeleted => {
                self.events.clear();
                self.complete_from = EventNumber(event.number.0 - 1);
            }
            MessageUpdated | MessageDeleted => {
                let about = |entry: &Arc<FramedEvent>| entry.message_id == event.message_id();
                if let Some(last) = self.events.iter().rposition(about) {
                    self.complete_from = self.events[last].number;
                    self.events.drain(..=last);
                }
            }
            _ => {}
        }
    }
}
