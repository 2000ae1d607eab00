//! A running answer: its text and the model's reasoning. Each exists once in the process: a responder appends to it, and the
//! shards read it.
//!
//! Invariant: a text is only appended to, and its concatenated deltas are the text through what was shown.

#[cfg(feature = "cluster")]
use super::id::InstanceName;
use super::id::{EventNumber, MessageId, UserId};
#[cfg(feature = "cluster")]
use crate::base::limits::CONTENT_BYTES_MAX;
use crate::base::limits::{OUTPUT_DELTA_BYTES_MAX, REASONING_BYTES_MAX};
use crate::base::text::{beginning, char_boundary};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A shared handle to a running answer. Two handles are equal if they belong to the same answer.
#[derive(Debug, Clone, Default)]
pub struct LiveAnswer(Arc<Mutex<LiveState>>);

#[derive(Debug, Default)]
struct LiveState {
    text: GrowingText,
    reasoning: GrowingText,
    recipients: Arc<[UserId]>,
    recipients_since: EventNumber,
    is_over: bool,
    /// The other instance that asks the model, of which this one gets what was shown.
    #[cfg(feature = "cluster")]
    owner: Option<InstanceName>,
}

/// A text and the deltas in which it was shown.
#[derive(Debug, Default)]
struct GrowingText {
    content: String,
    /// The end of each delta in the text, in bytes. This is all that a delta leaves behind: with one delta per token, an answer
    /// of 1 MiB has about 1 MiB of them.
    delta_ends: Vec<u32>,
    /// The index of the first of these deltas. It grows when several deltas are received as one.
    first_index: u64,
}

/// The two texts of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerTextKind {
    /// The answer itself.
    Text,
    /// The model's reasoning, which precedes the text. Streams get it live only: there is no snapshot of it.
    Reasoning,
}

/// A part of one of an answer's texts, as another instance gets it.
#[cfg(feature = "cluster")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerPart {
    /// The answer's message.
    pub message_id: MessageId,
    /// The text that it belongs to.
    pub kind: AnswerTextKind,
    /// The index of the last delta in it.
    pub index: u64,
    /// Where it begins in the text, in bytes.
    pub from: usize,
    /// The part.
    pub text: Box<str>,
}

/// A request to another instance for the parts of an answer that were shown.
#[cfg(feature = "cluster")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextRequest {
    /// The answer's message.
    pub message_id: MessageId,
    /// What the requester has of it; `None` if it does not know the answer.
    pub known: Option<ShownText>,
}

/// The state of a running answer at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerSnapshot {
    /// The parts of the texts that were sent in deltas.
    pub shown: ShownText,
    /// The recipients of the deltas, as of the last commit.
    pub recipients: Arc<[UserId]>,
    /// The number of the event that changed the recipients last; 0 if none did.
    pub recipients_since: EventNumber,
    /// Whether a commit has published or deleted the answer.
    pub is_over: bool,
}

/// The parts of an answer's texts that were sent in deltas, or that one stream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShownText {
    /// The length of the text through its last delta, in bytes.
    pub bytes: usize,
    /// The length of the reasoning through its last delta, in bytes.
    pub reasoning_bytes: usize,
}

impl ShownText {
    /// The length of one of the texts, in bytes.
    pub fn of(&self, kind: AnswerTextKind) -> usize {
        match kind {
            AnswerTextKind::Text => self.bytes,
            AnswerTextKind::Reasoning => self.reasoning_bytes,
        }
    }

    /// The same to change.
    pub fn of_mut(&mut self, kind: AnswerTextKind) -> &mut usize {
        match kind {
            AnswerTextKind::Text => &mut self.bytes,
            AnswerTextKind::Reasoning => &mut self.reasoning_bytes,
        }
    }
}

impl PartialEq for LiveAnswer {
    fn eq(&self, other: &LiveAnswer) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for LiveAnswer {}

impl LiveAnswer {
    /// An answer of another instance, of which nothing is known yet.
    #[cfg(feature = "cluster")]
    pub(crate) fn of_other_instance(owner: InstanceName) -> LiveAnswer {
        let state = LiveState { owner: Some(owner), ..LiveState::default() };
        LiveAnswer(Arc::new(Mutex::new(state)))
    }

    /// The part of a text from byte `from` through what was shown; `None` if there is none.
    ///
    /// The parts of other instances begin where a part ended, and so split no character. `None` also if `from` does.
    #[cfg(feature = "cluster")]
    pub(crate) fn part(&self, message_id: MessageId, kind: AnswerTextKind, from: usize) -> Option<AnswerPart> {
        let state = self.state();
        let text = state.text(kind);
        let shown = text.content.get(from..text.shown()).filter(|shown| !shown.is_empty())?;
        let index = text.first_index + text.delta_ends.len() as u64 - 1;
        Some(AnswerPart { message_id, kind, index, from, text: shown.into() })
    }

    /// Takes a part of an answer of another instance.
    ///
    /// # Errors
    /// Fails if the text before the part is missing, with what is known. Nothing is known of what this instance shows if the answer was
    /// begun by another one: its texts are others.
    #[cfg(feature = "cluster")]
    pub(crate) fn receive(
        &self,
        from: InstanceName,
        part: &AnswerPart,
    ) -> Result<Option<AnswerDelta>, Option<ShownText>> {
        let mut state = self.state();
        match state.owner {
            None => return Ok(None),
            Some(owner) if owner != from => return Err(None),
            Some(_) => {}
        }
        let text = match part.kind {
            AnswerTextKind::Text => &mut state.text,
            AnswerTextKind::Reasoning => &mut state.reasoning,
        };
        let from = text.content.len();
        let Some(known) = from.checked_sub(part.from) else { return Err(Some(state.shown())) };
        // A part begins and ends where characters do, and is one of a text that can be stored. If not, it is wrong.
        let Some(new) = part.text.get(known..).filter(|new| !new.is_empty()) else { return Ok(None) };
        if from + new.len() > CONTENT_BYTES_MAX {
            return Ok(None);
        }
        text.content.push_str(new);
        let to = text.content.len();
        text.first_index = part.index.saturating_sub(text.delta_ends.len() as u64);
        text.delta_ends.push(u32::try_from(to).expect("an answer is shorter than 4 GiB"));
        Ok(Some(AnswerDelta { message_id: part.message_id, kind: part.kind, index: part.index, from, to }))
    }

    /// The other instance that asks the model; `None` if this one does.
    #[cfg(feature = "cluster")]
    pub fn owner(&self) -> Option<InstanceName> {
        self.state().owner
    }

    /// Appends a piece of text.
    pub fn append(&self, piece: &str) {
        self.state().text.content.push_str(piece);
    }

    /// Appends a piece of reasoning. What exceeds `REASONING_BYTES_MAX` is dropped, so that one answer holds a bounded part of
    /// the memory.
    pub fn append_reasoning(&self, piece: &str) {
        let reasoning = &mut self.state().reasoning.content;
        let room = REASONING_BYTES_MAX - reasoning.len();
        reasoning.push_str(beginning(piece, room));
    }

    /// The length of the text and the reasoning together, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let state = self.state();
        state.text.content.len() + state.reasoning.content.len()
    }

    /// The length of the text, in bytes.
    pub fn len(&self) -> usize {
        self.state().text.content.len()
    }

    /// Whether there is no text yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of the text after its first `from` bytes.
    pub fn text_from(&self, from: usize) -> String {
        self.state().text.content[from..].to_owned()
    }

    /// A copy of the reasoning.
    pub fn reasoning(&self) -> String {
        self.state().reasoning.content.clone()
    }

    /// The parts of the texts that were sent in deltas.
    pub fn shown(&self) -> ShownText {
        self.state().shown()
    }

    /// Whether `show` has something to show.
    pub fn has_unshown(&self) -> bool {
        let state = self.state();
        [&state.text, &state.reasoning].iter().any(|text| text.shown() < text.content.len())
    }

    /// Makes the rest of the reasoning the next delta of this message, or if there is none the rest of the text, or as much as
    /// one delta may have. `None` if all is shown. Without `with_text`, only reasoning is shown.
    pub fn show(&self, message_id: MessageId, with_text: bool) -> Option<AnswerDelta> {
        let mut state = self.state();
        if let Some(delta) = state.reasoning.show(message_id, AnswerTextKind::Reasoning) {
            return Some(delta);
        }
        with_text.then(|| state.text.show(message_id, AnswerTextKind::Text))?
    }

    /// Whether a delta begins and ends where deltas of this answer do.
    pub(crate) fn has(&self, delta: &AnswerDelta) -> bool {
        let state = self.state();
        let ends = &state.text(delta.kind).delta_ends;
        let is_end = |byte: usize| u32::try_from(byte).is_ok_and(|byte| ends.binary_search(&byte).is_ok());
        (delta.from == 0 || is_end(delta.from)) && is_end(delta.to)
    }

    /// Calls `read` with the text after byte `from`, through `to` or as many deltas as `bytes_max` allows, but at least one. Its
    /// other arguments are the index of the last of the deltas, and where that ends. `bytes` returns what a text counts for.
    /// Returns that end and what `read` returned. The texts are locked meanwhile.
    ///
    /// # Panics
    /// Panics if `from` is not before `to`, if `to` is not the end of a delta, or if `from` splits a character.
    pub fn with_deltas<T>(
        &self,
        kind: AnswerTextKind,
        (from, to): (usize, usize),
        bytes_max: usize,
        bytes: impl Fn(&str) -> usize,
        read: impl FnOnce(u64, usize, &str) -> T,
    ) -> (usize, T) {
        assert!(from < to, "there is text to read");
        let state = self.state();
        let GrowingText { content, delta_ends, first_index } = state.text(kind);
        let first = delta_ends.partition_point(|end| *end as usize <= from);
        let (mut through, mut next, mut sum) = (from, first, 0);
        for end in delta_ends[first..].iter().map(|end| *end as usize).take_while(|end| *end <= to) {
            sum += bytes(&content[through..end]);
            if sum > bytes_max && through != from {
                break;
            }
            (through, next) = (end, next + 1);
        }
        assert!(through > from, "{to} is the end of a delta");
        (through, read(first_index.saturating_add(next as u64 - 1), through, &content[from..through]))
    }

    /// The beginning of the character of the text that has this byte, or the end of the text.
    pub fn char_boundary(&self, byte: usize) -> usize {
        char_boundary(&self.state().text.content, byte)
    }

    /// The present state. Its texts are not newer than its recipients, so a former recipient gets nothing of what followed the
    /// removal.
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
        ShownText { bytes: self.text.shown(), reasoning_bytes: self.reasoning.shown() }
    }

    fn text(&self, kind: AnswerTextKind) -> &GrowingText {
        match kind {
            AnswerTextKind::Text => &self.text,
            AnswerTextKind::Reasoning => &self.reasoning,
        }
    }
}

impl GrowingText {
    /// The length through the last delta, in bytes.
    fn shown(&self) -> usize {
        self.delta_ends.last().map_or(0, |end| *end as usize)
    }

    fn show(&mut self, message_id: MessageId, kind: AnswerTextKind) -> Option<AnswerDelta> {
        let (index, from) = (self.delta_ends.len() as u64, self.shown());
        let to = char_boundary(&self.content, from + OUTPUT_DELTA_BYTES_MAX);
        if from == to {
            return None;
        }
        self.delta_ends.push(u32::try_from(to).expect("an answer is shorter than 4 GiB"));
        Some(AnswerDelta { message_id, kind, index, from, to })
    }
}

/// A piece of one of an answer's texts, sent to streams before the answer is complete. It is not journalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerDelta {
    /// The answer's message.
    pub message_id: MessageId,
    /// The text that it belongs to.
    pub kind: AnswerTextKind,
    /// Its index among the deltas of that text, from 0.
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

    const ID: MessageId = MessageId(Uuid::from_u128(1));

    fn delta(kind: AnswerTextKind, index: u64, from: usize, to: usize) -> Option<AnswerDelta> {
        Some(AnswerDelta { message_id: ID, kind, index, from, to })
    }

    fn read(live: &LiveAnswer, delta: &AnswerDelta) -> String {
        live.with_deltas(delta.kind, (delta.from, delta.to), 0, str::len, |_, _, text| text.to_owned()).1
    }

    #[test]
    fn deltas_are_the_text_in_order() {
        let live = LiveAnswer::default();
        assert_eq!((live.show(ID, true), live.is_empty(), live.has_unshown()), (None, true, false));
        live.append("ab");
        live.append("\u{1f600}");
        assert!(live.has_unshown());
        assert_eq!(live.show(ID, true), delta(AnswerTextKind::Text, 0, 0, 6));
        assert_eq!((live.show(ID, true), live.has_unshown()), (None, false));
        live.append("c");
        let last = live.show(ID, true).unwrap();
        assert_eq!(read(&live, &last), "c");
        let shown = ShownText { bytes: 7, reasoning_bytes: 0 };
        assert_eq!((live.shown(), live.text_from(2)), (shown, "\u{1f600}c".to_owned()));
        assert!(live == live.clone() && live != LiveAnswer::default());
    }

    #[test]
    fn reasoning_is_shown_before_text_and_is_not_part_of_it() {
        use AnswerTextKind::{Reasoning, Text};
        let live = LiveAnswer::default();
        live.append_reasoning("hm");
        assert!(live.is_empty() && live.has_unshown());
        assert_eq!(live.show(ID, true), delta(Reasoning, 0, 0, 2));
        live.append("a");
        live.append_reasoning("m");
        let deltas = [live.show(ID, true), live.show(ID, true), live.show(ID, true)];
        assert_eq!(deltas, [delta(Reasoning, 1, 2, 3), delta(Text, 0, 0, 1), None]);
        assert_eq!((live.reasoning(), live.text_from(0)), ("hmm".to_owned(), "a".to_owned()));
        assert_eq!(live.shown(), ShownText { bytes: 1, reasoning_bytes: 3 });
    }

    #[test]
    fn reasoning_is_bounded_and_splits_no_character() {
        let live = LiveAnswer::default();
        live.append_reasoning("a");
        for _ in 0..2 {
            live.append_reasoning(&"\u{1f600}".repeat(REASONING_BYTES_MAX / 4));
        }
        assert_eq!(live.reasoning().len(), REASONING_BYTES_MAX - 3);
    }

    /// What an answer of another instance has, after parts of this one in the given order.
    #[cfg(feature = "cluster")]
    #[test]
    fn parts_that_were_lost_repeated_or_joined_are_the_same_text() {
        use AnswerTextKind::{Reasoning, Text};
        let owner = InstanceName(Uuid::nil());
        let (own, other) = (LiveAnswer::default(), LiveAnswer::of_other_instance(owner));
        let part = |kind, from| own.part(ID, kind, from).expect("it is shown");
        let receive =
            |part: &AnswerPart| other.receive(owner, part).map(|delta| delta.map(|delta| (delta.index, delta.to)));
        let mut parts = Vec::new();
        for piece in ["ab", "\u{1f600}", "c", "d", "ef"] {
            own.append(piece);
            let delta = own.show(ID, true).unwrap();
            parts.push(part(Text, delta.from));
        }
        assert_eq!(receive(&parts[0]), Ok(Some((0, 2))));
        assert_eq!(receive(&parts[0]), Ok(None), "a part that is known");
        let missing = ShownText { bytes: 2, reasoning_bytes: 0 };
        assert_eq!(receive(&parts[2]), Err(Some(missing)), "the part before it was lost");
        own.append("not shown yet");
        assert_eq!(receive(&part(Text, missing.bytes)), Ok(Some((4, 10))));
        assert_eq!(receive(&parts[4]), Ok(None), "a part of what was requested");
        assert_eq!((other.text_from(0), other.shown().bytes), ("ab\u{1f600}cdef".to_owned(), 10));
        let index = |from| other.with_deltas(Text, (from, 10), 100, str::len, |index, _, _| index).1;
        assert_eq!((index(0), index(2)), (4, 4));
        // Parts overlap if requests cross.
        own.show(ID, true).unwrap();
        let overlapping = part(Text, 8);
        assert_eq!(receive(&overlapping), Ok(Some((5, 23))));
        assert_eq!(other.text_from(10), "not shown yet");
        assert_eq!(own.receive(owner, &overlapping), Ok(None), "it runs here");
        let stopped = InstanceName(Uuid::max());
        assert_eq!(other.receive(stopped, &overlapping), Err(None), "another instance has begun it again");
        own.append_reasoning("hm");
        own.show(ID, true).unwrap();
        assert_eq!(receive(&part(Reasoning, 0)), Ok(Some((0, 2))));
        assert_eq!((other.reasoning(), own.part(ID, Text, 3)), ("hm".to_owned(), None));
        let wrong = AnswerPart { from: usize::MAX, ..overlapping };
        assert!(receive(&wrong).is_err());
        // What no program sends.
        let wrong = |from: usize, text: &str| AnswerPart { index: u64::MAX, from, text: text.into(), ..part(Text, 0) };
        assert_eq!(receive(&wrong(22, "\u{1f600}")), Ok(None), "within a character");
        assert_eq!(receive(&wrong(23, &"x".repeat(CONTENT_BYTES_MAX))), Ok(None), "longer than a message");
        assert_eq!(receive(&wrong(23, "x")), Ok(Some((u64::MAX, 24))));
        assert_eq!(other.with_deltas(Text, (0, 24), 100, str::len, |index, _, _| index).1, u64::MAX);
    }

    #[test]
    fn a_long_text_is_shown_in_bounded_deltas_that_split_no_character() {
        let live = LiveAnswer::default();
        live.append("a");
        live.append(&"\u{1f600}".repeat(OUTPUT_DELTA_BYTES_MAX));
        let deltas: Vec<AnswerDelta> = std::iter::from_fn(|| live.show(ID, true)).collect();
        assert!(deltas.iter().all(|delta| delta.to - delta.from <= OUTPUT_DELTA_BYTES_MAX));
        let text: String = deltas.iter().map(|delta| read(&live, delta)).collect();
        assert_eq!(text, live.text_from(0));
        assert_eq!(live.shown().bytes, live.len());
    }

    #[test]
    fn deltas_are_joined_up_to_a_bound() {
        let live = LiveAnswer::default();
        for piece in ["aa", "bb", "cccc", "d"] {
            live.append(piece);
            live.show(ID, true).unwrap();
        }
        // From, to, bytes; the index of the last delta, its end, the text.
        let table = [
            ((0, 9), 100, (3, 9, "aabbccccd")),
            ((0, 4), 100, (1, 4, "aabb")),
            ((2, 9), 6, (2, 8, "bbcccc")),
            ((2, 9), 5, (1, 4, "bb")),
            ((4, 9), 1, (2, 8, "cccc")),
            // From the middle of a delta, as a client may resume.
            ((5, 9), 1, (2, 8, "ccc")),
            ((1, 9), 3, (1, 4, "abb")),
        ];
        for (range, bytes_max, (index, through, text)) in table {
            let kind = AnswerTextKind::Text;
            let got =
                live.with_deltas(kind, range, bytes_max, str::len, |index, end, text| (index, end, text.to_owned()));
            assert_eq!(got, (through, (index, through, text.to_owned())), "{range:?}");
        }
    }
}
