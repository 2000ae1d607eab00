//! A running answer. Its text exists once in the process: a responder appends to it, and the shards read it.
//!
//! Invariant: text is only appended, and the concatenated deltas are the text through `shown`.

use super::id::{EventNumber, MessageId, UserId};
use crate::base::limits::OUTPUT_DELTA_BYTES_MAX;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A shared handle to a running answer. Two handles are equal if they belong to the same answer.
#[derive(Debug, Clone, Default)]
pub struct LiveAnswer(Arc<Mutex<LiveState>>);

#[derive(Debug, Default)]
struct LiveState {
    text: String,
    /// The end of each delta in the text, in bytes.
    delta_ends: Vec<u32>,
    recipients: Arc<[UserId]>,
    recipients_since: EventNumber,
    is_over: bool,
}

/// The state of a running answer at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerSnapshot {
    /// The part of the text that was sent in deltas.
    pub shown: ShownText,
    /// The recipients of the deltas, as of the last commit.
    pub recipients: Arc<[UserId]>,
    /// The number of the event that changed the recipients last; 0 if none did.
    pub recipients_since: EventNumber,
    /// Whether a commit has published or deleted the answer.
    pub is_over: bool,
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
        self.state().shown()
    }

    /// Makes the rest of the text the next delta of this message, or as much of it as one delta may have. `None` if there is
    /// no rest.
    pub fn show(&self, message_id: MessageId) -> Option<AnswerDelta> {
        let mut state = self.state();
        let ShownText { deltas: index, bytes: from } = state.shown();
        let mut to = state.text.len().min(from + OUTPUT_DELTA_BYTES_MAX);
        while !state.text.is_char_boundary(to) {
            to -= 1;
        }
        if from == to {
            return None;
        }
        state.delta_ends.push(u32::try_from(to).expect("an answer is shorter than 4 GiB"));
        Some(AnswerDelta { message_id, index, from, to })
    }

    /// Calls `read` with as many of the deltas after `from` and through `to` as `bytes_max` allows, but at least one, joined
    /// into one text, and with the end of that text. `bytes` returns what a text counts for. Returns that end and what `read`
    /// returned.
    ///
    /// # Panics
    /// Panics if `from` is not before `to`, or if one of them is not the end of a delta.
    pub fn with_deltas<T>(
        &self,
        from: ShownText,
        to: ShownText,
        bytes_max: usize,
        bytes: impl Fn(&str) -> usize,
        read: impl FnOnce(ShownText, &str) -> T,
    ) -> (ShownText, T) {
        assert!(from.deltas < to.deltas, "there is a delta to read");
        let state = self.state();
        let (mut through, mut sum) = (from, 0);
        for end in &state.delta_ends[from.deltas as usize..to.deltas as usize] {
            let end = *end as usize;
            sum += bytes(&state.text[through.bytes..end]);
            if sum > bytes_max && through != from {
                break;
            }
            through = ShownText { deltas: through.deltas + 1, bytes: end };
        }
        let result = read(through, &state.text[from.bytes..through.bytes]);
        (through, result)
    }

    /// The present state. Its text is not newer than its recipients, so a former recipient gets none of the text that followed
    /// the removal.
    pub fn snapshot(&self) -> AnswerSnapshot {
        let state = self.state();
        AnswerSnapshot {
            shown: state.shown(),
            recipients: Arc::clone(&state.recipients),
            recipients_since: state.recipients_since,
            is_over: state.is_over,
        }
    }

    pub(super) fn set_recipients(&self, recipients: &Arc<[UserId]>, since: EventNumber) {
        let mut state = self.state();
        state.recipients = Arc::clone(recipients);
        state.recipients_since = since;
    }

    pub(super) fn set_over(&self) {
        self.state().is_over = true;
    }

    fn state(&self) -> MutexGuard<'_, LiveState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveState {
    fn shown(&self) -> ShownText {
        let bytes = self.delta_ends.last().map_or(0, |end| *end as usize);
        ShownText { deltas: self.delta_ends.len() as u64, bytes }
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

    #[test]
    fn a_long_text_is_shown_in_bounded_deltas_that_split_no_character() {
        let (live, id) = (LiveAnswer::default(), MessageId(Uuid::from_u128(1)));
        live.append("a");
        live.append(&"\u{1f600}".repeat(OUTPUT_DELTA_BYTES_MAX));
        let deltas: Vec<AnswerDelta> = std::iter::from_fn(|| live.show(id)).collect();
        assert!(deltas.iter().all(|delta| delta.to - delta.from <= OUTPUT_DELTA_BYTES_MAX));
        let text: String = deltas.iter().map(|delta| live.with_text(delta.from..delta.to, str::to_owned)).collect();
        assert_eq!(text, live.text_from(0));
        assert_eq!(live.shown(), ShownText { deltas: deltas.len() as u64, bytes: live.len() });
    }

    #[test]
    fn deltas_are_joined_up_to_a_bound() {
        let (live, id) = (LiveAnswer::default(), MessageId(Uuid::from_u128(1)));
        for piece in ["aa", "bb", "cccc", "d"] {
            live.append(piece);
            live.show(id).unwrap();
        }
        let shown = |deltas, bytes| ShownText { deltas, bytes };
        let table = [
            (shown(0, 0), 100, shown(4, 9), "aabbccccd"),
            (shown(1, 2), 6, shown(3, 8), "bbcccc"),
            (shown(1, 2), 5, shown(2, 4), "bb"),
            (shown(2, 4), 1, shown(3, 8), "cccc"),
        ];
        for (from, bytes_max, through, text) in table {
            let read = live.with_deltas(from, live.shown(), bytes_max, str::len, |_, text| text.to_owned());
            assert_eq!(read, (through, text.to_owned()));
        }
    }
}
