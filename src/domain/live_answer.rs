//! An answer that is being written. Its text exists once in the process: the responder appends to it, and the shards
//! read it.
//!
//! Invariant: text is only appended, and the deltas, one after another, are the text through `shown`.

use super::answer_job::{AnswerDelta, AnswerStarted};
use super::commit::Committed;
use super::event::{Event, EventKind};
use super::id::{MessageId, UserId};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A shared handle to one answer that is being written. Two handles are equal if they are of the same answer.
#[derive(Debug, Clone, Default)]
pub struct LiveAnswer(Arc<Mutex<LiveState>>);

#[derive(Debug, Default)]
struct LiveState {
    text: String,
    shown: ShownText,
    recipients: Arc<[UserId]>,
    is_over: bool,
}

/// How much of an answer's text the deltas have carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShownText {
    /// Deltas so far: the index of the next one.
    pub deltas: u64,
    /// Bytes of the text through the last delta.
    pub bytes: usize,
}

impl PartialEq for LiveAnswer {
    fn eq(&self, other: &LiveAnswer) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for LiveAnswer {}

impl LiveAnswer {
    /// Appends a piece of text.
    pub fn append(&self, piece: &str) {
        self.state().text.push_str(piece);
    }

    /// Bytes of the text.
    pub fn len(&self) -> usize {
        self.state().text.len()
    }

    /// Whether there is no text yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `read` with a part of the text, while nothing can be appended.
    ///
    /// # Panics
    ///
    /// If the range is not within the text, or not between characters.
    pub fn with_text<T>(&self, range: Range<usize>, read: impl FnOnce(&str) -> T) -> T {
        read(&self.state().text[range])
    }

    /// A copy of the text behind the first `from` bytes.
    pub fn text_from(&self, from: usize) -> String {
        self.state().text[from..].to_owned()
    }

    /// What the deltas have carried.
    pub fn shown(&self) -> ShownText {
        self.state().shown
    }

    /// Makes the text that no delta has carried the next delta of this message; `None` if there is none.
    pub fn show(&self, message_id: MessageId) -> Option<AnswerDelta> {
        let mut state = self.state();
        let (from, to, index) = (state.shown.bytes, state.text.len(), state.shown.deltas);
        if from == to {
            return None;
        }
        state.shown = ShownText { deltas: index + 1, bytes: to };
        Some(AnswerDelta { message_id, index, from, to })
    }

    /// The users who see the answer, as of the last commit.
    pub fn recipients(&self) -> Arc<[UserId]> {
        Arc::clone(&self.state().recipients)
    }

    /// Whether a commit has published or deleted the answer.
    pub fn is_over(&self) -> bool {
        self.state().is_over
    }

    fn state(&self) -> MutexGuard<'_, LiveState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an event means for an answer that is being written.
#[derive(Debug, PartialEq, Eq)]
pub enum AnswerChange<'e> {
    /// The answer is published or deleted.
    Over,
    /// Other users see it.
    Recipients(&'e Arc<[UserId]>),
}

impl AnswerStarted {
    /// What `event` means for this answer; `None` if it has nothing to do with it.
    pub fn change<'e>(&self, event: &'e Event) -> Option<AnswerChange<'e>> {
        let in_conversation = Some(self.conversation_id) == event.conversation_id;
        let is_over = match event.kind {
            EventKind::Output => event.message().is_some_and(|message| message.id == self.message_id),
            EventKind::MessageDeleted => event.message_id() == Some(self.message_id),
            EventKind::ConversationDeleted => in_conversation,
            EventKind::WorkspaceDeleted => self.workspace_id == event.workspace_id,
            EventKind::ConversationUpdated if in_conversation => {
                return Some(AnswerChange::Recipients(&event.recipients));
            }
            _ => false,
        };
        is_over.then_some(AnswerChange::Over)
    }
}

/// All answers that are being written. Whoever distributes commits updates it first, so that a shard that missed a
/// commit finds the present recipients in the answers themselves.
#[derive(Debug, Default)]
pub struct LiveAnswerSet(HashMap<MessageId, AnswerStarted>);

impl LiveAnswerSet {
    /// Takes in a commit, before any shard is sent it.
    pub fn committed(&mut self, committed: &Committed) {
        for started in committed.started.iter() {
            started.live.state().recipients = Arc::clone(&started.recipients);
            self.0.insert(started.message_id, started.clone());
        }
        if self.0.is_empty() {
            return;
        }
        for event in committed.events.iter() {
            self.0.retain(|_, started| match started.change(event) {
                None => true,
                Some(AnswerChange::Recipients(recipients)) => {
                    started.live.state().recipients = Arc::clone(recipients);
                    true
                }
                Some(AnswerChange::Over) => {
                    started.live.state().is_over = true;
                    false
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn deltas_are_the_text_in_order() {
        let live = LiveAnswer::default();
        let id = MessageId(Uuid::from_u128(1));
        assert_eq!((live.show(id), live.is_empty()), (None, true));
        live.append("ab");
        live.append("\u{1f600}");
        assert_eq!(live.show(id), Some(AnswerDelta { message_id: id, index: 0, from: 0, to: 6 }));
        assert_eq!(live.show(id), None);
        live.append("c");
        let delta = live.show(id).unwrap();
        assert_eq!(live.with_text(delta.from..delta.to, str::to_owned), "c");
        assert_eq!((live.shown(), live.text_from(2)), (ShownText { deltas: 2, bytes: 7 }, "\u{1f600}c".to_owned()));
        assert!(live == live.clone() && live != LiveAnswer::default());
    }
}
