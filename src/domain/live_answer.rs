//! A running answer. Its text exists once in the process: a responder appends to it, and the shards read it.
//!
//! Invariant: text is only appended, and the concatenated deltas are the text through `shown`.

use super::id::{MessageId, UserId};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A shared handle to a running answer. Two handles are equal if they belong to the same answer.
#[derive(Debug, Clone, Default)]
pub struct LiveAnswer(Arc<Mutex<LiveState>>);

#[derive(Debug, Default)]
struct LiveState {
    text: String,
    shown: ShownText,
    recipients: Arc<[UserId]>,
    is_over: bool,
}

/// The part of an answer's text that was sent in deltas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShownText {
    /// The number of deltas, which is the index of the next one.
    pub deltas: u64,
    /// The length of the text through the last delta, in bytes.
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

    /// The length of the text, in bytes.
    pub fn len(&self) -> usize {
        self.state().text.len()
    }

    /// Whether there is no text yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `read` with a part of the text, which is locked meanwhile.
    ///
    /// # Panics
    /// Panics if the range exceeds the text or splits a character.
    pub fn with_text<T>(&self, range: Range<usize>, read: impl FnOnce(&str) -> T) -> T {
        read(&self.state().text[range])
    }

    /// A copy of the text after its first `from` bytes.
    pub fn text_from(&self, from: usize) -> String {
        self.state().text[from..].to_owned()
    }

    /// The part of the text that was sent in deltas.
    pub fn shown(&self) -> ShownText {
        self.state().shown
    }

    /// Makes the rest of the text the next delta of this message. `None` if there is no rest.
    pub fn show(&self, message_id: MessageId) -> Option<AnswerDelta> {
        let mut state = self.state();
        let (from, to, index) = (state.shown.bytes, state.text.len(), state.shown.deltas);
        if from == to {
            return None;
        }
        state.shown = ShownText { deltas: index + 1, bytes: to };
        Some(AnswerDelta { message_id, index, from, to })
    }

    /// The recipients of the answer's deltas, as of the last commit.
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

/// A piece of an answer's text, sent to streams before the answer is complete. It is not journalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerDelta {
    /// The answer's message.
    pub message_id: MessageId,
    /// Its index among the answer's deltas, from 0.
    pub index: u64,
    /// The offset of the piece in the text, in bytes.
    pub from: usize,
    /// The end of the piece in the text, in bytes.
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
