//! The output of one connection that the socket has not taken yet: a queue of segments. Connections share the segments of
//! events that several of them get.
//!
//! An event that is longer than the queue may hold is in memory in parts. It is the first segment, and nothing behind it is
//! written before its last part.
//!
//! Invariant: `bytes` is the length of all segments minus `written`, and no segment is empty.

use crate::domain::id::EventNumber;
use crate::http1::response_write::COPIED_BYTES_MAX;
use crate::sse::frame::{EventFrame, StreamForm};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

/// A segment of bytes.
#[derive(Debug, Clone)]
enum Segment {
    /// For this connection alone.
    Owned(Vec<u8>),
    /// In the program's image.
    Static(&'static [u8]),
    /// An event that other connections get too, in the form of this stream.
    Frame(Arc<EventFrame>, StreamForm),
    /// A long event, of which a part is in memory.
    Long(Box<LongEvent>),
}

/// An event that is longer than a stream may hold.
#[derive(Debug, Clone)]
struct LongEvent {
    number: EventNumber,
    form: StreamForm,
    /// Length of its frame.
    len: usize,
    digest: u64,
    /// The part of the frame that is in memory.
    part: Vec<u8>,
    /// Where the part begins.
    part_at: usize,
}

impl LongEvent {
    /// Takes the part of the frame from `at` on.
    fn load(&mut self, frame: &EventFrame, at: usize, part_bytes: usize) {
        self.part.clear();
        frame.copy(self.form, at..self.len.min(at + part_bytes), &mut self.part);
        self.part_at = at;
    }

    /// Where the part ends.
    fn part_end(&self) -> usize {
        self.part_at + self.part.len()
    }
}

impl Segment {
    /// The bytes in memory, in two slices, of which the first may be empty.
    fn slices(&self) -> [&[u8]; 2] {
        match self {
            Segment::Owned(bytes) => [&[], bytes],
            Segment::Static(bytes) => [&[], bytes],
            Segment::Frame(frame, form) => frame.slices(*form),
            Segment::Long(event) => [&[], &event.part],
        }
    }

    fn len(&self) -> usize {
        match self {
            Segment::Long(event) => event.len,
            _ => self.slices().iter().map(|slice| slice.len()).sum(),
        }
    }
}

/// Largest capacity that an empty queue keeps, in segments. A busy stream fills it again at once.
const EMPTY_SEGMENTS_MAX: usize = 64;
/// Largest capacity that an empty queue keeps when the next segment is not shared, in segments: the connection gets a
/// heartbeat or a response, so it is not busy with events.
const IDLE_SEGMENTS_MAX: usize = 8;

/// Length of an owned segment from which on nothing is appended to it. Its memory is freed when all of it is written, and a
/// slow reader could otherwise make it grow without end.
const JOINED_BYTES_MAX: usize = 16 * 1024;
/// Largest capacity of a new owned segment: the last piece begins before `JOINED_BYTES_MAX` and seldom moves all to a larger one.
const SEGMENT_CAPACITY_MAX: usize = JOINED_BYTES_MAX + 2048;

/// The queue. It counts its bytes; the caller decides how many are too many.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    segments: VecDeque<Segment>,
    /// Bytes of the first segment that the socket has taken.
    written: usize,
    bytes: usize,
}

impl Outbox {
    /// Number of bytes that wait, those of a long event that are not in memory included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Whether `more` bytes fit under `bytes_max`; an empty queue takes one segment of any size.
    pub(crate) fn has_room(&self, more: usize, bytes_max: usize) -> bool {
        self.is_empty() || self.bytes + more <= bytes_max
    }

    /// Queues an event that other connections get too.
    pub(crate) fn push_frame(&mut self, frame: Arc<EventFrame>, form: StreamForm) {
        self.bytes += frame.len(form);
        self.push(Segment::Frame(frame, form));
    }

    /// Queues an event of which only a part is to be in memory. The queue must be empty.
    pub(crate) fn push_long(&mut self, number: EventNumber, frame: &EventFrame, form: StreamForm, part_bytes: usize) {
        assert!(self.is_empty(), "a long event has the queue for itself");
        let (len, digest) = (frame.len(form), frame.digest());
        let part = Vec::with_capacity(part_bytes.min(len));
        let mut event = Box::new(LongEvent { number, form, len, digest, part, part_at: 0 });
        event.load(frame, 0, part_bytes);
        self.bytes += len;
        self.push(Segment::Long(event));
    }

    /// Appends a segment. Most connections never have a second one waiting, so the first gets only the memory that it needs.
    fn push(&mut self, segment: Segment) {
        if self.segments.capacity() == 0 {
            self.segments.reserve_exact(1);
        }
        self.segments.push_back(segment);
    }

    /// The event whose next part has to be supplied before anything can be written.
    pub(crate) fn lacks_part(&self) -> Option<EventNumber> {
        match self.segments.front() {
            Some(Segment::Long(event)) if self.written == event.part_end() => Some(event.number),
            _ => None,
        }
    }

    /// Supplies the part of an event that is lacking. Returns false if the frame differs from the one that was begun.
    pub(crate) fn supply_part(&mut self, frame: &EventFrame, part_bytes: usize) -> bool {
        let Some(Segment::Long(event)) = self.segments.front_mut() else { return false };
        let is_same = frame.len(event.form) == event.len && frame.digest() == event.digest;
        if is_same {
            event.load(frame, self.written, part_bytes);
        }
        is_same
    }

    /// Queues the body of a response. A long one is not copied.
    pub(crate) fn push_body(&mut self, body: Cow<'static, [u8]>) {
        if body.len() <= COPIED_BYTES_MAX {
            return self.push_with(|out| out.extend_from_slice(&body));
        }
        self.bytes += body.len();
        self.push(match body {
            Cow::Borrowed(bytes) => Segment::Static(bytes),
            Cow::Owned(bytes) => Segment::Owned(bytes),
        });
    }

    /// Queues what `write` appends, unless the queue would then exceed `bytes_max`; returns whether it was queued. An empty
    /// queue takes one piece of any size. `expected_bytes` estimates this piece and those that follow it, for the allocation.
    pub(crate) fn push_within(
        &mut self,
        bytes_max: usize,
        expected_bytes: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let was_empty = self.is_empty();
        let (last, before) = self.open_segment(expected_bytes.min(SEGMENT_CAPACITY_MAX));
        write(last);
        let written = last.len() - before;
        let fits = was_empty || self.bytes + written <= bytes_max;
        if fits {
            self.bytes += written;
        }
        if !fits || written == 0 {
            self.close_segment(before);
        }
        fits
    }

    /// Queues what `write` appends, in the last segment if that is owned and short.
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let (last, before) = self.open_segment(0);
        write(last);
        let written = last.len() - before;
        self.bytes += written;
        if written == 0 {
            self.close_segment(before);
        }
    }

    /// An owned segment to append to, and its length: the last one if it is short, else a new one.
    fn open_segment(&mut self, capacity: usize) -> (&mut Vec<u8>, usize) {
        if self.segments.is_empty() && self.segments.capacity() > IDLE_SEGMENTS_MAX {
            self.segments = VecDeque::new();
        }
        if !matches!(self.segments.back(), Some(Segment::Owned(last)) if last.len() < JOINED_BYTES_MAX) {
            self.push(Segment::Owned(Vec::with_capacity(capacity)));
        }
        let Some(Segment::Owned(last)) = self.segments.back_mut() else { unreachable!("the last segment is owned") };
        let before = last.len();
        (last, before)
    }

    /// Truncates the last segment to the length that it had before something was appended.
    fn close_segment(&mut self, before: usize) {
        if let Some(Segment::Owned(last)) = self.segments.back_mut() {
            last.truncate(before);
            if before == 0 {
                self.segments.pop_back();
            }
        }
    }

    /// Fills `slices` with what waits, in order; returns how many were filled.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let (mut filled, mut skip) = (0, self.written);
        let mut count = self.segments.len();
        if let Some(Segment::Long(event)) = self.segments.front() {
            skip -= event.part_at;
            if event.part_end() < event.len {
                // What follows has to wait for the rest.
                count = 1;
            }
        }
        for part in self.segments.iter().take(count).flat_map(Segment::slices) {
            if skip >= part.len() {
                skip -= part.len();
                continue;
            }
            let Some(slice) = slices.get_mut(filled) else { break };
            *slice = IoSlice::new(&part[skip..]);
            (filled, skip) = (filled + 1, 0);
        }
        filled
    }

    /// Drops the first `n` bytes, which the socket has taken.
    pub(crate) fn advance(&mut self, n: usize) {
        assert!(n <= self.bytes, "a socket takes no more than it was offered");
        self.bytes -= n;
        self.written += n;
        while let Some(first) = self.segments.front() {
            let len = first.len();
            if self.written < len {
                break;
            }
            self.written -= len;
            self.segments.pop_front();
        }
        if self.segments.is_empty() && self.segments.capacity() > EMPTY_SEGMENTS_MAX {
            self.segments = VecDeque::new();
        }
    }

    /// Asserts the invariant of this module.
    pub(crate) fn check_invariants(&self) {
        let sum: usize = self.segments.iter().map(Segment::len).sum();
        assert_eq!(sum, self.bytes + self.written);
        assert!(self.segments.iter().all(|segment| segment.len() > 0));
        assert!(!self.segments.iter().skip(1).any(|segment| matches!(segment, Segment::Long(_))));
        if let Some(Segment::Long(event)) = self.segments.front() {
            assert!((event.part_at..=event.part_end()).contains(&self.written) && event.part_end() <= event.len);
        }
        assert!(self.segments.front().map_or(self.written == 0, |segment| self.written < segment.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    fn frame(json: &[u8]) -> Arc<EventFrame> {
        Arc::new(EventFrame::new(None, "e", 0, |out| out.extend_from_slice(json)))
    }

    fn random_form(random: &mut Random) -> StreamForm {
        StreamForm { named: random.below(2) == 0, chunked: random.below(2) == 0 }
    }

    #[test]
    fn gives_out_what_was_put_in_whatever_the_socket_takes() {
        let mut random = Random::new(11);
        let mut outbox = Outbox::default();
        let (mut put, mut got, mut long) = (Vec::new(), Vec::new(), None);
        for round in 0..5_000u32 {
            let length = if round % 50 == 0 { 2 * COPIED_BYTES_MAX as u64 } else { random.below(40) };
            let bytes: Vec<u8> = (0..length).map(|i| b'a' + ((u64::from(round) + i) % 26) as u8).collect();
            // A long event is queued alone, and its parts are supplied as they are needed.
            let is_long = round % 20 == 0 && outbox.is_empty();
            match if is_long { 5 } else { random.below(5) } {
                5 => {
                    let (frame, form) = (frame(&[b'l'; 700]), random_form(&mut random));
                    put.extend(frame.slices(form).concat());
                    outbox.push_long(EventNumber(1), &frame, form, 100);
                    long = Some(frame);
                }
                0 => {
                    put.extend_from_slice(&bytes);
                    outbox.push_body(Cow::Owned(bytes));
                }
                1 => {
                    put.extend_from_slice(b"static");
                    outbox.push_body(Cow::Borrowed(b"static"));
                }
                2 => {
                    let (frame, form) = (frame(&bytes), random_form(&mut random));
                    put.extend(frame.slices(form).concat());
                    outbox.push_frame(frame, form);
                }
                3 => {
                    let fits = outbox.has_room(bytes.len(), 100);
                    assert_eq!(outbox.push_within(100, 0, |out| out.extend_from_slice(&bytes)), fits);
                    put.extend_from_slice(if fits { &bytes } else { &[] });
                }
                _ => {
                    put.extend_from_slice(&bytes);
                    outbox.push_with(|out| out.extend_from_slice(&bytes));
                }
            }
            outbox.check_invariants();
            let mut slices = [IoSlice::new(&[]); 3];
            if outbox.lacks_part().is_some() {
                assert_eq!(outbox.slices(&mut [IoSlice::new(&[]); 3]), 0, "nothing overtakes the rest of an event");
                assert!(!outbox.supply_part(&frame(&[b'm'; 700]), 100), "another event");
                assert!(outbox.supply_part(long.as_ref().unwrap(), 100));
            }
            let filled = outbox.slices(&mut slices);
            let offered: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
            let take = random.below(offered.len() as u64 + 1) as usize;
            got.extend_from_slice(&offered[..take]);
            outbox.advance(take);
            outbox.check_invariants();
            assert_eq!(put.len() - got.len(), outbox.bytes());
        }
        assert!(put.starts_with(&got) && long.is_some());
    }

    #[test]
    fn an_outbox_that_is_never_empty_does_not_grow() {
        let mut outbox = Outbox::default();
        outbox.push_with(|out| out.push(0));
        for _ in 0..10_000 {
            outbox.push_with(|out| out.extend_from_slice(&[1; 500]));
            outbox.advance(500);
            outbox.check_invariants();
            let held: usize = outbox.segments.iter().map(Segment::len).sum();
            assert!(held < 2 * JOINED_BYTES_MAX, "{held} bytes are held for {}", outbox.bytes());
        }
    }

    #[test]
    fn an_empty_outbox_takes_a_segment_of_any_size() {
        let mut outbox = Outbox::default();
        assert!(outbox.has_room(1000, 10));
        outbox.push_frame(frame(b""), StreamForm { named: false, chunked: true });
        let bytes = outbox.bytes();
        assert!(outbox.has_room(6, bytes + 6) && !outbox.has_room(7, bytes + 6));
    }

    #[test]
    fn an_idle_outbox_frees_its_memory() {
        let mut outbox = Outbox::default();
        for (frames, kept_max) in [(40, EMPTY_SEGMENTS_MAX), (1000, 0)] {
            (0..frames).for_each(|_| outbox.push_frame(frame(b""), StreamForm { named: false, chunked: true }));
            outbox.advance(outbox.bytes());
            assert!(outbox.segments.capacity() <= kept_max);
            outbox.push_with(|out| out.extend_from_slice(b"heartbeat"));
            assert!(outbox.segments.capacity() <= IDLE_SEGMENTS_MAX);
            outbox.advance(9);
        }
    }
}
