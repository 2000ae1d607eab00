//! An answer that is being written. Its text exists once in the process: the responder appends to it, and the shards
//! read it.
//!
//! Invariant: text is only appended, and the deltas, one after another, are the text through `shown`.

use super::id::{MessageId, UserId};
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

    pub(super) fn set_recipients(&self, recipients: &Arc<[UserId]>) {
        self.state().recipients = Arc::clone(recipients);
    }

    pub(super) fn set_over(&self) {
        self.state().is_over = true;
    }

    fn state(&self) -> MutexGuard<'_, LiveState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece of an answer's text, which is to be shown. It is no event of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerDelta {
    /// The answer's message.
    pub message_id: MessageId,
    /// Its place among the answer's deltas, from 0.
    pub index: u64,
    /// Bytes of the text before the piece.
    pub from: usize,
    /// Bytes of the text through the piece.
    pub to: usize,
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
