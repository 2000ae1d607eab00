//! Frames of events that are longer than a stream may hold. A stream holds a part of such a frame, and gets the next one when it
//! has drained: from here, from the tail, or from the journal.

use crate::domain::id::EventNumber;
use crate::sse::frame::EventFrame;
use std::collections::VecDeque;
use std::sync::Arc;

/// The frames that were used last, most recent last.
#[derive(Debug)]
pub(crate) struct LongFrames {
    frames: VecDeque<(EventNumber, Arc<EventFrame>)>,
    bytes: usize,
    bytes_max: usize,
}

impl LongFrames {
    /// Without frames. It keeps at most `bytes_max`, or a single frame.
    pub(crate) fn new(bytes_max: usize) -> LongFrames {
        LongFrames { frames: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// The frame of an event, if it is kept. The event may have changed since.
    pub(crate) fn get(&self, number: EventNumber) -> Option<&Arc<EventFrame>> {
        self.frames.iter().find(|(kept, _)| *kept == number).map(|(_, frame)| frame)
    }

    /// Keeps a frame, in place of an earlier one of the event and of those that were used the longest ago.
    pub(crate) fn insert(&mut self, number: EventNumber, frame: Arc<EventFrame>) {
        let place = self.frames.iter().position(|(kept, _)| *kept == number);
        if let Some((_, old)) = place.and_then(|place| self.frames.remove(place)) {
            self.bytes -= old.held_bytes();
        }
        self.bytes += frame.held_bytes();
        self.frames.push_back((number, frame));
        while self.bytes > self.bytes_max && self.frames.len() > 1 {
            let Some((_, oldest)) = self.frames.pop_front() else { return };
            self.bytes -= oldest.held_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_that_were_used_last_are_kept() {
        let mut frames = LongFrames::new(2500);
        let frame = |bytes: usize| Arc::new(EventFrame::new(None, "e", 0, |out| out.resize(out.len() + bytes, b'x')));
        for (number, bytes, kept) in [
            (1, 1000, vec![1]),
            (2, 1000, vec![1, 2]),
            (1, 1000, vec![1, 2]),
            (3, 1000, vec![1, 3]),
            (4, 5000, vec![4]),
        ] {
            frames.insert(EventNumber(number), frame(bytes));
            let found: Vec<u64> = (1..=4).filter(|number| frames.get(EventNumber(*number)).is_some()).collect();
            assert_eq!(found, kept);
        }
    }
}
