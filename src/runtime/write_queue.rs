//! The connections to write in each turn of an event loop: responses at once, streams in passes.
//!
//! Writing a dozen frames to a stream costs the kernel about as much as writing one. So a pass over the streams begins only
//! when no command is in progress whose event would join it, or after a short time. A pass spans several turns, so that
//! responses do not wait until an event has been written to all streams.
//!
//! Invariant: every queued stream is written in the present pass or in the next one, and no pass waits longer than
//! `STREAM_HOLD_MICROSECONDS_MAX`.

use crate::base::limits::*;
use crate::base::time::MonoTime;
use std::collections::VecDeque;

/// The queue of connections with pending output.
#[derive(Debug, Default)]
pub(super) struct WriteQueue {
    replies: Vec<u32>,
    /// The longest waiting stream is first.
    streams: VecDeque<u32>,
    /// The number of streams at the front that belong to the present pass.
    pass_left: usize,
    /// The number of small writes to streams that this turn may still do.
    small_left: usize,
    /// Bytes of streams that may still be written in this turn.
    bytes_left: usize,
    /// The latest beginning of the next pass.
    hold_until: Option<MonoTime>,
    commands_under_way: usize,
}

impl WriteQueue {
    /// Enqueues a stream.
    pub(super) fn push_stream(&mut self, slot: u32) {
        self.streams.push_back(slot);
    }

    /// Enqueues a connection with a response.
    pub(super) fn push_reply(&mut self, slot: u32) {
        self.replies.push(slot);
    }

    /// Counts a command that was enqueued for the writer.
    pub(super) fn command_submitted(&mut self) {
        self.commands_under_way += 1;
    }

    /// Counts results of commands.
    pub(super) fn commands_answered(&mut self, count: usize) {
        assert!(count <= self.commands_under_way, "an answer follows its command");
        self.commands_under_way -= count;
    }

    /// Whether there is something to write now.
    pub(super) fn any_now(&self) -> bool {
        !self.replies.is_empty() || self.pass_left > 0 || (!self.streams.is_empty() && self.hold_until.is_none())
    }

    /// The latest beginning of a pass that waits.
    pub(super) fn wakes_at(&self) -> Option<MonoTime> {
        self.hold_until
    }

    /// Moves the connections with responses into `into`.
    pub(super) fn take_replies(&mut self, into: &mut Vec<u32>) {
        into.clear();
        std::mem::swap(&mut self.replies, into);
    }

    /// Begins a turn. `bytes_of` returns the pending output of a stream, in bytes.
    pub(super) fn begin_turn(&mut self, now: MonoTime, bytes_of: impl Fn(u32) -> usize) {
        self.small_left = STREAM_WRITES_PER_TURN_MAX;
        self.bytes_left = STREAM_BYTES_PER_TURN_MAX;
        let Some(first) = self.streams.front() else { return };
        if self.pass_left > 0 {
            return;
        }
        let hold_until = *self.hold_until.get_or_insert(now.plus(STREAM_HOLD_MICROSECONDS_MAX));
        if self.commands_under_way == 0 || hold_until <= now || bytes_of(*first) >= STREAM_HOLD_BYTES_MAX {
            self.hold_until = None;
            self.pass_left = self.streams.len();
        }
    }

    /// The next stream to write in this turn.
    pub(super) fn next_stream(&mut self, bytes_of: impl Fn(u32) -> usize) -> Option<u32> {
        if self.pass_left == 0 {
            return None;
        }
        let slot = *self.streams.front()?;
        if self.bytes_left == 0 {
            return None;
        }
        let bytes = bytes_of(slot);
        // Waiting for more frames would not make a larger write cheaper.
        if bytes < STREAM_HOLD_BYTES_MAX {
            self.small_left = self.small_left.checked_sub(1)?;
        }
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.pass_left -= 1;
        self.streams.pop_front()
    }

    /// Asserts the invariant as far as it concerns the present state.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        assert!(self.pass_left <= self.streams.len());
        assert!(self.hold_until.is_none() || (self.pass_left == 0 && !self.streams.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: MonoTime = MonoTime(1000);

    fn turn(write_queue: &mut WriteQueue, now: MonoTime, bytes: usize) -> Vec<u32> {
        write_queue.begin_turn(now, |_| bytes);
        let written = std::iter::from_fn(|| write_queue.next_stream(|_| bytes)).collect();
        write_queue.check_invariants();
        written
    }

    #[test]
    fn a_pass_goes_over_several_turns_in_order() {
        let count = STREAM_WRITES_PER_TURN_MAX as u32 + 3;
        let mut write_queue = WriteQueue::default();
        (0..count).for_each(|slot| write_queue.push_stream(slot));
        assert!(write_queue.any_now());
        let mut written = turn(&mut write_queue, NOW, 1);
        assert_eq!(written.len(), STREAM_WRITES_PER_TURN_MAX);
        assert!(write_queue.any_now());
        write_queue.push_stream(0);
        written.extend(turn(&mut write_queue, NOW, 1));
        assert_eq!(written, (0..count).collect::<Vec<_>>());
        assert_eq!(turn(&mut write_queue, NOW, 1), [0], "what came meanwhile is in the next pass");
        assert!(!write_queue.any_now());
    }

    #[test]
    fn streams_with_much_to_write_are_not_counted() {
        let count = 3 * STREAM_WRITES_PER_TURN_MAX as u32;
        let mut write_queue = WriteQueue::default();
        (0..count).for_each(|slot| write_queue.push_stream(slot));
        assert_eq!(turn(&mut write_queue, NOW, STREAM_HOLD_BYTES_MAX).len(), count as usize);
    }

    #[test]
    fn the_bytes_of_a_turn_are_bounded() {
        let mut write_queue = WriteQueue::default();
        (0..10).for_each(|slot| write_queue.push_stream(slot));
        assert_eq!(turn(&mut write_queue, NOW, STREAM_BYTES_PER_TURN_MAX / 4), [0, 1, 2, 3]);
        assert!(write_queue.any_now());
        assert_eq!(turn(&mut write_queue, NOW, 2 * STREAM_BYTES_PER_TURN_MAX), [4]);
    }

    #[test]
    fn a_pass_waits_for_commands_under_way_but_not_for_long() {
        let mut write_queue = WriteQueue::default();
        write_queue.command_submitted();
        write_queue.push_stream(7);
        assert!(turn(&mut write_queue, NOW, 1).is_empty());
        assert!(!write_queue.any_now());
        let latest = write_queue.wakes_at().unwrap();
        assert_eq!(latest.since(NOW), STREAM_HOLD_MICROSECONDS_MAX);
        assert_eq!(turn(&mut write_queue, latest, 1), [7], "the time is over");

        write_queue.push_stream(8);
        assert!(turn(&mut write_queue, latest, 1).is_empty());
        write_queue.commands_answered(1);
        assert_eq!(turn(&mut write_queue, latest, 1), [8], "nothing is under way");

        write_queue.command_submitted();
        write_queue.push_stream(9);
        assert_eq!(turn(&mut write_queue, latest, STREAM_HOLD_BYTES_MAX), [9], "enough is joined");
        assert_eq!(write_queue.wakes_at(), None);
    }

    #[test]
    fn replies_wait_for_nothing() {
        let mut write_queue = WriteQueue::default();
        write_queue.command_submitted();
        write_queue.push_reply(1);
        assert!(write_queue.any_now());
        let mut replies = vec![9];
        write_queue.take_replies(&mut replies);
        assert_eq!(replies, [1]);
        assert!(!write_queue.any_now());
    }
}
