//! Answers in progress: which streams see them, and how much of their texts each stream has. The texts themselves are in the
//! answer, which the responders share with every shard.
//!
//! Work follows what is queued: text is framed only for a stream that has room for it, in pieces that fit, and each piece
//! once for all streams that need it. A stream that keeps up gets each delta at once. A stream without room gets what it
//! lacks, several deltas as one, when it has drained.
//!
//! Invariant: a stream that received a delta or a snapshot has all of the text through it. No text is sent to a user whose
//! stream has an event after which the user is no recipient. Therefore text and recipients that may have been missed are read
//! again together, from the answer itself, and nothing is sent until the shard has applied the same events as the stream and
//! the recipients.

use crate::base::metrics;
use crate::base::time::WallTime;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::{EventNumber, MessageId};
use crate::domain::live_answer::{AnswerDelta, AnswerSnapshot, AnswerTextKind, ShownText};
use crate::domain::query::StreamFilter;
use crate::domain::started_answer::{AnswerChange, AnswerStarted};
use crate::shard::connection::outbox::Outbox;
use crate::shard::subscription::fan_out::FanOut;
use crate::shard::subscription::subscriber::{AnswerCursor, FRAME_FIELDS_BYTES, FollowedAnswer, Subscriber};
use crate::sse::frame::EventFrame;
use crate::wire;
use crate::wire::json::string_bytes;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// One answer in progress.
#[derive(Debug)]
struct SharedAnswer {
    started: AnswerStarted,
    /// The number of the event that changed the recipients last.
    recipients_since: EventNumber,
    /// How much of its texts this shard shows.
    shown: ShownText,
    /// Changes when a recipient may have lost the answer for a while: all streams get the text from its beginning.
    generation: u32,
    /// The pieces that were framed last, as long as a stream holds them: without an id, and with one for streams of one answer.
    pieces: [Option<Piece>; 2],
}

/// A framed piece of a text.
#[derive(Debug)]
struct Piece {
    key: PieceKey,
    /// Where the piece ends, in bytes of the text.
    through: usize,
    frame: Weak<EventFrame>,
}

/// What a piece is made of: streams with the same key get the same frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PieceKey {
    kind: EventKind,
    /// Where the piece begins, in bytes of the text.
    from: usize,
    /// How much of the text is shown.
    shown: usize,
    bytes_max: usize,
    id: PieceId,
}

/// The id of a piece's block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PieceId {
    /// None: the piece is one of all events of a user.
    None,
    /// Where the piece ends in the text.
    End,
    /// The place in the text that the stream has reached, since the piece is one of the reasoning.
    Text(usize),
}

/// The answers in progress, as a shard has them.
#[derive(Debug, Default)]
pub(crate) struct LiveAnswers {
    answers: HashMap<MessageId, SharedAnswer>,
}

impl LiveAnswers {
    /// Adds an answer that was started. Returns whether it was begun before: its texts are others now, so streams must forget it.
    pub(crate) fn start(&mut self, started: &AnswerStarted) -> bool {
        let answer = SharedAnswer {
            started: started.clone(),
            recipients_since: started.known_at,
            shown: ShownText::default(),
            generation: 0,
            pieces: [None, None],
        };
        self.answers.insert(started.message_id, answer).is_some()
    }

    /// Applies an event, which may end an answer or change its recipients.
    pub(crate) fn apply(&mut self, event: &Event) {
        self.answers.retain(|_, answer| match answer.started.change(event) {
            None => true,
            // A later change has been read from the answer already.
            Some(AnswerChange::Recipients(_)) if event.number <= answer.recipients_since => true,
            Some(AnswerChange::Recipients(recipients)) => {
                answer.recipients_since = event.number;
                if answer.started.recipients.iter().any(|user| !recipients.contains(user)) {
                    answer.generation += 1;
                }
                answer.started.recipients = Arc::clone(recipients);
                true
            }
            Some(AnswerChange::Over) => false,
        });
    }

    /// Applies a delta; returns whether there is new text. If deltas before it were missed, the text is shown through the
    /// latest one. A delta of texts that the answer had before it was begun again is ignored.
    pub(crate) fn grow(&mut self, delta: &AnswerDelta) -> bool {
        let Some(answer) = self.answers.get_mut(&delta.message_id) else { return false };
        let shown = answer.shown.of_mut(delta.kind);
        if delta.to <= *shown || !answer.started.live.has(delta) {
            return false;
        }
        if delta.from == *shown {
            *shown = delta.to;
            return true;
        }
        // The text through the latest delta may be newer than the recipients that this shard knows.
        answer.read_again()
    }

    /// Reads the state of every answer again, since missed events may have ended it or changed its recipients.
    pub(crate) fn events_missed(&mut self) {
        self.answers.retain(|_, answer| {
            answer.generation += 1;
            answer.read_again()
        });
    }

    /// Calls `offer` for each stream that may see the answer, with the answer.
    pub(crate) fn for_each_stream(
        &mut self,
        message_id: MessageId,
        fan_out: &FanOut,
        mut offer: impl FnMut(u32, &mut StreamedAnswer<'_>),
    ) {
        let Some(answer) = self.answers.get_mut(&message_id) else { return };
        let recipients = Arc::clone(&answer.started.recipients);
        let mut answer = StreamedAnswer(answer);
        for user in recipients.iter() {
            fan_out.streams_of(user).iter().for_each(|slot| offer(*slot, &mut answer));
        }
    }

    /// Queues the text of every answer in progress for a stream that has become live, as far as there is room.
    pub(crate) fn push_snapshots(
        &mut self,
        stream: &mut Subscriber,
        outbox: &mut Outbox,
        position: EventNumber,
        now: WallTime,
    ) {
        stream.set_lacks_text(false);
        for answer in self.answers.values_mut() {
            if answer.shown != ShownText::default() && answer.started.recipients.contains(stream.user()) {
                StreamedAnswer(answer).push_text(stream, outbox, position, None, now);
            }
        }
        stream.retain_answers(|cursor| self.answers.contains_key(&cursor.message_id));
    }

    /// Whether the answer that a stream follows is in progress.
    pub(crate) fn has(&self, following: &FollowedAnswer) -> bool {
        self.answers.values().any(|answer| following.is(&answer.started))
    }

    /// Queues text that a stream lacks, as far as there is room.
    pub(crate) fn push_lacking(
        &mut self,
        stream: &mut Subscriber,
        outbox: &mut Outbox,
        position: EventNumber,
        now: WallTime,
    ) {
        if stream.follows_answer() {
            return self.push_snapshots(stream, outbox, position, now);
        }
        stream.set_lacks_text(false);
        let mut lacking = Vec::new();
        stream.retain_answers(|cursor| {
            let Some(answer) = self.answers.get(&cursor.message_id) else { return false };
            if cursor.through != answer.shown || cursor.generation != answer.generation {
                lacking.push(cursor.message_id);
            }
            true
        });
        for message_id in lacking {
            if let Some(answer) = self.answers.get_mut(&message_id)
                && answer.started.recipients.contains(stream.user())
            {
                StreamedAnswer(answer).push_text(stream, outbox, position, None, now);
            }
        }
    }

    /// Whether no answer is in progress.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}

impl SharedAnswer {
    /// Reads texts and recipients again, in one snapshot. Returns whether the answer is still in progress; otherwise nothing
    /// more of it is shown.
    fn read_again(&mut self) -> bool {
        let AnswerSnapshot { shown, recipients, recipients_since, is_over } = self.started.live.snapshot();
        if is_over {
            return false;
        }
        if recipients_since != self.recipients_since {
            self.generation += 1;
        }
        (self.shown, self.started.recipients, self.recipients_since) = (shown, recipients, recipients_since);
        true
    }
}

/// One answer in progress, for the streams that see it.
#[derive(Debug)]
pub(crate) struct StreamedAnswer<'a>(&'a mut SharedAnswer);

impl StreamedAnswer<'_> {
    /// Queues what a stream lacks of the reasoning and of the text, as far as there is room; returns whether any was queued.
    /// `delta` is the delta that has just arrived, if one has.
    ///
    /// A stream that meets the answer midway gets a snapshot of the text, and of the reasoning only what follows. `position`
    /// is the number through which the shard has applied every event. Until it has reached the stream and the last change of the
    /// recipients, nothing is queued.
    pub(crate) fn push_text(
        &mut self,
        stream: &mut Subscriber,
        outbox: &mut Outbox,
        position: EventNumber,
        delta: Option<&AnswerDelta>,
        now: WallTime,
    ) -> bool {
        let SharedAnswer { started, shown, generation, .. } = &*self.0;
        if !stream.is_live() || !stream.filter().has(Some(started.conversation_id), started.workspace_id) {
            return false;
        }
        let reasoning_from = match delta {
            Some(delta) if delta.kind == AnswerTextKind::Reasoning => delta.from,
            _ => shown.reasoning_bytes,
        };
        let met = AnswerCursor {
            message_id: started.message_id,
            generation: *generation,
            through: ShownText { bytes: 0, reasoning_bytes: reasoning_from },
        };
        match stream.following() {
            Some(following) if following.is(started) => following.meet(started, reasoning_from),
            Some(_) => return false,
            None => {
                let cursor = stream.answer_cursor(met);
                if cursor.generation != met.generation {
                    (cursor.generation, cursor.through.bytes) = (met.generation, 0);
                }
            }
        }
        if stream.is_ahead_of(position) || self.0.recipients_since > position {
            // The recipients are not those after the stream's last event.
            stream.set_lacks_text(true);
            return false;
        }
        let beginning = match delta {
            Some(delta) if delta.kind == AnswerTextKind::Text && delta.from == 0 => EventKind::OutputDelta,
            _ => EventKind::OutputSnapshot,
        };
        let reasoning = self.push_kind(AnswerTextKind::Reasoning, met, beginning, stream, outbox, now);
        let text = self.push_kind(AnswerTextKind::Text, met, beginning, stream, outbox, now);
        reasoning || text
    }

    /// Queues what a stream that has met the answer lacks of one of its texts, as far as there is room.
    fn push_kind(
        &mut self,
        text: AnswerTextKind,
        met: AnswerCursor,
        beginning: EventKind,
        stream: &mut Subscriber,
        outbox: &mut Outbox,
        now: WallTime,
    ) -> bool {
        let (shown, bytes_max) = (self.0.shown.of(text), stream.text_bytes_max());
        let mut is_queued = false;
        if !accepts(stream.filter(), text) {
            return is_queued;
        }
        loop {
            let through = *stream.text_cursor(met);
            let from = through.of(text);
            if from >= shown {
                return is_queued;
            }
            let (kind, id) = match (text, stream.following()) {
                (AnswerTextKind::Reasoning, None) => (EventKind::OutputReasoningDelta, PieceId::None),
                (AnswerTextKind::Reasoning, Some(_)) => (EventKind::OutputReasoningDelta, PieceId::Text(through.bytes)),
                (AnswerTextKind::Text, Some(following)) => (following.part_kind(), PieceId::End),
                (AnswerTextKind::Text, None) if from == 0 => (beginning, PieceId::None),
                (AnswerTextKind::Text, None) => (EventKind::OutputDelta, PieceId::None),
            };
            if !stream.has_room_for_text(outbox) {
                stream.set_lacks_text(true);
                return is_queued;
            }
            if stream.view().is_some() {
                // A whole answer comes at its end.
                if stream.wants_whole() {
                    return is_queued;
                }
                let through = self.push_to_view(text, (from, shown), bytes_max, stream, outbox);
                match (text, stream.following()) {
                    (AnswerTextKind::Text, Some(following)) => following.advance(through),
                    _ => *stream.text_cursor(met).of_mut(text) = through,
                }
                is_queued = true;
                continue;
            }
            let (through, frame) = self.piece(PieceKey { kind, from, shown, bytes_max, id }, now);
            if !stream.push_ephemeral(&frame, outbox) {
                stream.set_lacks_text(true);
                return is_queued;
            }
            is_queued = true;
            match (text, stream.following()) {
                (AnswerTextKind::Text, Some(following)) => following.advance(through),
                _ => *stream.text_cursor(met).of_mut(text) = through,
            }
        }
    }

    /// Queues a piece for a client of the OpenAI-compatible API. Returns where it ends.
    fn push_to_view(
        &self,
        kind: AnswerTextKind,
        range: (usize, usize),
        bytes_max: usize,
        stream: &mut Subscriber,
        outbox: &mut Outbox,
    ) -> usize {
        let id = Some(self.0.started.message_id);
        let text_bytes_max = bytes_max.saturating_sub(FRAME_FIELDS_BYTES);
        let push = |_: u64, _: usize, piece: &str| {
            stream.push_to_view(outbox, |view, out| view.take_part(id, kind, piece, out));
        };
        self.0.started.live.with_deltas(kind, range, text_bytes_max, string_bytes, push).0
    }

    /// The frame of a piece, and where it ends.
    fn piece(&mut self, key: PieceKey, now: WallTime) -> (usize, Arc<EventFrame>) {
        let SharedAnswer { started, pieces, .. } = &mut *self.0;
        let piece = &mut pieces[usize::from(key.id != PieceId::None)];
        if let Some(piece) = piece
            && piece.key == key
            && let Some(frame) = piece.frame.upgrade()
        {
            return (piece.through, frame);
        }
        let PieceKey { kind, from, shown, bytes_max, id } = key;
        let (text, write, is_snapshot): (_, WriteText, _) = match kind {
            EventKind::OutputReasoningDelta => (AnswerTextKind::Reasoning, wire::event::output_reasoning_delta, false),
            EventKind::OutputSnapshot => (AnswerTextKind::Text, wire::event::output_snapshot, true),
            _ => (AnswerTextKind::Text, wire::event::output_delta, false),
        };
        let frame = |index: u64, through: usize, piece: &str| {
            let offset = if is_snapshot { through } else { from };
            let id = match id {
                PieceId::None => None,
                PieceId::End => Some(EventNumber(through as u64)),
                PieceId::Text(bytes) => Some(EventNumber(bytes as u64)),
            };
            EventFrame::new(id, kind.as_str(), FRAME_FIELDS_BYTES + piece.len(), |out| {
                write(started, (index, offset), piece, now, out);
            })
        };
        let text_bytes_max = bytes_max.saturating_sub(FRAME_FIELDS_BYTES);
        let (through, frame) = started.live.with_deltas(text, (from, shown), text_bytes_max, string_bytes, frame);
        metrics::ANSWER_BYTES_FRAMED.add(frame.held_bytes() as u64);
        let frame = Arc::new(frame);
        *piece = Some(Piece { key, through, frame: Arc::downgrade(&frame) });
        (through, frame)
    }
}

/// Writes the JSON of a piece of text: the answer, the index and the offset, the text, the time, and where to write.
type WriteText = fn(&AnswerStarted, (u64, usize), &str, WallTime, &mut Vec<u8>);

/// Whether a filter accepts one of the texts. A stream that gets deltas of the text also gets the snapshot that they follow.
fn accepts(filter: &StreamFilter, text: AnswerTextKind) -> bool {
    filter.kinds.has(match text {
        AnswerTextKind::Text => EventKind::OutputDelta,
        AnswerTextKind::Reasoning => EventKind::OutputReasoningDelta,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::answer_job::JobId;
    use crate::domain::event::EventBody;
    use crate::domain::id::{ConversationId, EventNumber, UserId, WorkspaceId};
    use crate::domain::live_answer::LiveAnswer;
    use crate::domain::started_answer::LiveAnswerSet;
    use crate::shard::subscription::subscriber::tests::{live_stream, waiting};
    use uuid::Uuid;

    fn started() -> AnswerStarted {
        AnswerStarted {
            job: JobId::default(),
            message_id: MessageId(Uuid::from_u128(1)),
            reply_to: MessageId(Uuid::from_u128(4)),
            conversation_id: ConversationId(Uuid::from_u128(2)),
            workspace_id: WorkspaceId(Uuid::from_u128(3)),
            recipients: Arc::new([UserId::new("u").unwrap()]),
            known_at: EventNumber::default(),
            sender: UserId::new_unchecked("responder:openai"),
            correlation_id: "c".into(),
            live: LiveAnswer::default(),
        }
    }

    #[test]
    fn deltas_follow_each_other_or_the_text_is_read_from_the_answer() {
        let (mut live, started) = (LiveAnswers::default(), started());
        let deltas = ["a", "b", "c", "d", "e"].map(|text| {
            started.live.append(text);
            started.live.show(started.message_id, true).unwrap()
        });
        assert!(!live.grow(&deltas[0]), "it was not started on this shard");
        live.start(&started);
        let shown = |live: &LiveAnswers| live.answers[&started.message_id].shown;
        assert!(live.grow(&deltas[0]));
        assert_eq!(shown(&live), ShownText { bytes: 1, reasoning_bytes: 0 });
        assert!(!live.grow(&deltas[0]), "once");
        assert!(live.grow(&deltas[2]));
        assert_eq!(shown(&live), ShownText { bytes: 5, reasoning_bytes: 0 }, "one was missed");
        assert!(!live.grow(&deltas[3]) && !live.grow(&deltas[4]), "the text contains them");
    }

    #[test]
    fn after_missed_events_an_answer_is_over_or_has_the_recipients_of_the_last_commit() {
        let (mut live, mut all, started) = (LiveAnswers::default(), LiveAnswerSet::default(), started());
        let event = |kind, recipients: &[&str]| {
            Arc::new(Event {
                number: EventNumber(1),
                kind,
                at: WallTime(0),
                actor: UserId::new("u").unwrap(),
                correlation_id: "c".into(),
                workspace_id: started.workspace_id,
                conversation_id: Some(started.conversation_id),
                recipients: recipients.iter().map(|name| UserId::new(name).unwrap()).collect(),
                body: EventBody::Data("{}".into()),
            })
        };
        all.committed(std::slice::from_ref(&started), &[]);
        live.start(&started);
        let recipients = |live: &LiveAnswers| live.answers[&started.message_id].started.recipients.len();
        assert_eq!(recipients(&live), 1);
        all.committed(&[], &[event(EventKind::ConversationUpdated, &["v", "w"])]);
        assert_eq!(recipients(&live), 1, "the shard has missed it");
        live.events_missed();
        assert_eq!(recipients(&live), 2);
        all.committed(&[], &[event(EventKind::ConversationDeleted, &[])]);
        live.events_missed();
        assert!(live.is_empty());
    }

    /// A stream and what it received: the type, the offset and the text of each event.
    struct TestReader(Subscriber, Outbox);

    impl TestReader {
        fn new() -> TestReader {
            TestReader(live_stream(), Outbox::default())
        }

        fn join(mut self, live: &mut LiveAnswers) -> TestReader {
            live.push_snapshots(&mut self.0, &mut self.1, EventNumber(1), WallTime(0));
            self
        }

        fn received(&mut self) -> Vec<(String, u64, String)> {
            let frames = waiting(&mut self.1);
            let between = |line: &str, start: &str, end: &str| {
                let rest = line.split_once(start).map(|(_, rest)| rest.split_once(end).unwrap().0.to_owned());
                rest.unwrap_or_default()
            };
            let lines = frames.lines().filter_map(|line| line.strip_prefix("data: "));
            lines
                .map(|line| {
                    let text = between(line, "\"delta\":\"", "\"}") + &between(line, "\"text\":\"", "\"}");
                    let offset = between(line, "\"offset\":", ",").parse().unwrap();
                    (between(line, "{\"type\":\"", "\""), offset, text)
                })
                .collect()
        }
    }

    /// Shows all that was appended, to live streams.
    fn show(live: &mut LiveAnswers, started: &AnswerStarted, readers: &mut [&mut TestReader]) {
        while let Some(delta) = started.live.show(started.message_id, true) {
            assert!(live.grow(&delta));
            let mut answer = StreamedAnswer(live.answers.get_mut(&started.message_id).unwrap());
            for TestReader(stream, outbox) in readers.iter_mut() {
                answer.push_text(stream, outbox, EventNumber(1), Some(&delta), WallTime(0));
            }
        }
    }

    fn event(kind: &str, offset: u64, text: &str) -> (String, u64, String) {
        (kind.to_owned(), offset, text.to_owned())
    }

    /// Another instance begins the answer of a lost one again, with the same id.
    #[test]
    fn an_answer_that_is_begun_again_has_other_texts() {
        let (mut live, first) = (LiveAnswers::default(), started());
        assert!(!live.start(&first));
        let mut reader = TestReader::new().join(&mut live);
        first.live.append_reasoning("old");
        show(&mut live, &first, &mut [&mut reader]);
        assert_eq!(reader.received().len(), 1);
        let second = AnswerStarted { live: LiveAnswer::default(), ..first.clone() };
        assert!(live.start(&second));
        reader.0.forget_answer(first.message_id);
        let mut offset = 0;
        for piece in ["n\u{1f600}w", "!"] {
            // The first goes on for a while.
            first.live.append_reasoning("er");
            assert!(!live.grow(&first.live.show(first.message_id, true).unwrap()));
            second.live.append_reasoning(piece);
            show(&mut live, &second, &mut [&mut reader]);
            assert_eq!(reader.received(), [event("output_reasoning_delta", offset, piece)]);
            offset += piece.len() as u64;
        }
    }

    #[test]
    fn reasoning_is_live_only_and_text_comes_with_a_snapshot() {
        const REASONING: &str = "output_reasoning_delta";
        let (mut live, started) = (LiveAnswers::default(), started());
        live.start(&started);
        let mut first = TestReader::new().join(&mut live);
        started.live.append_reasoning("why");
        show(&mut live, &started, &mut [&mut first]);
        assert_eq!(first.received(), [event(REASONING, 0, "why")]);

        // The answer has an id, and no text yet.
        let mut second = TestReader::new().join(&mut live);
        assert_eq!(second.received(), [], "there is no snapshot of the reasoning");
        started.live.append_reasoning(" not");
        started.live.append("So");
        show(&mut live, &started, &mut [&mut first, &mut second]);
        let both = [event(REASONING, 3, " not"), event("output_delta", 0, "So")];
        assert_eq!((first.received(), second.received()), (both.to_vec(), both.to_vec()));

        let mut third = TestReader::new().join(&mut live);
        assert_eq!(third.received(), [event("output_snapshot", 2, "So")]);
        started.live.append_reasoning("?");
        started.live.append(" be it");
        show(&mut live, &started, &mut [&mut first, &mut second, &mut third]);
        let last = [event(REASONING, 7, "?"), event("output_delta", 2, " be it")];
        for mut reader in [first, second, third] {
            assert_eq!(reader.received(), last);
        }
    }

    #[test]
    fn a_reader_that_lags_gets_the_reasoning_and_the_text_joined() {
        let (mut live, started) = (LiveAnswers::default(), started());
        live.start(&started);
        let mut reader = TestReader::new().join(&mut live);
        reader.1.push_with(|out| out.resize(reader.0.buffer_bytes(), b'\n'));
        for n in 0..40 {
            started.live.append_reasoning(&format!("r{n} "));
            started.live.append(&format!("t{n} "));
            show(&mut live, &started, &mut [&mut reader]);
        }
        assert!(!reader.0.wants_text(&reader.1), "there is no room");
        assert_eq!(reader.received(), []);
        assert!(reader.0.wants_text(&reader.1));
        live.push_lacking(&mut reader.0, &mut reader.1, EventNumber(1), WallTime(0));
        let (reasoning, text) = (started.live.reasoning(), started.live.text_from(0));
        let expected =
            [event("output_reasoning_delta", 0, &reasoning), event("output_snapshot", text.len() as u64, &text)];
        assert_eq!(reader.received(), expected);
    }

    #[test]
    fn each_delta_is_framed_once_for_all_streams_that_keep_up() {
        let (mut live, started) = (LiveAnswers::default(), started());
        live.start(&started);
        let mut readers: Vec<TestReader> = (0..20).map(|_| TestReader::new().join(&mut live)).collect();
        for (reasoning, text) in [("a", ""), ("", "b"), ("c", "d")] {
            started.live.append_reasoning(reasoning);
            started.live.append(text);
            while let Some(delta) = started.live.show(started.message_id, true) {
                assert!(live.grow(&delta));
                let mut answer = StreamedAnswer(live.answers.get_mut(&started.message_id).unwrap());
                let frames: Vec<*const EventFrame> = readers
                    .iter_mut()
                    .map(|TestReader(stream, outbox)| {
                        assert!(answer.push_text(stream, outbox, EventNumber(1), Some(&delta), WallTime(0)));
                        answer.0.pieces[0].as_ref().unwrap().frame.as_ptr()
                    })
                    .collect();
                assert!(frames.iter().all(|frame| *frame == frames[0]), "{delta:?}");
            }
        }
    }
}
