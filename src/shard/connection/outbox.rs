//! What waits to be written to one connection: a queue of byte runs, shared where many connections get the same.
//!
//! Invariant: `bytes` is the sum of the runs less `written`, and no run in the queue is empty.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

/// Bytes of one connection alone, or shared with others.
#[derive(Debug, Clone)]
enum Run {
    Own(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Run {
    fn bytes(&self) -> &[u8] {
        match self {
            Run::Own(bytes) => bytes,
            Run::Shared(bytes) => bytes,
        }
    }
}

/// Capacity in runs that an empty queue may keep, because a busy stream fills it again at once.
const EMPTY_RUNS_MAX: usize = 64;
/// Capacity in runs that an idle connection may keep: what comes to one next is a heartbeat or an answer, its own bytes.
const IDLE_RUNS_MAX: usize = 8;

/// Bytes of an own run past which nothing more is joined to it: its memory is kept until all of it is written, and a
/// reader can see to it that something is always left.
const JOINED_BYTES_MAX: usize = 16 * 1024;

/// The queue. It knows how full it is; whoever pushes decides what that means.
#[derive(Debug, Default)]
pub struct Outbox {
    runs: VecDeque<Run>,
    /// Bytes of the first run that are written already.
    written: usize,
    bytes: usize,
}

impl Outbox {
    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether `more` bytes fit under `bytes_max`; an empty queue takes one run of any size.
    pub fn has_room(&self, more: usize, bytes_max: usize) -> bool {
        self.is_empty() || self.bytes + more <= bytes_max
    }

    /// Queues bytes that other connections get too.
    pub fn push_shared(&mut self, bytes: Arc<[u8]>) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.runs.push_back(Run::Shared(bytes));
        }
    }

    /// Queues what `write` appends; joins it to what was queued this way just before, while that is short.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.runs.is_empty() && self.runs.capacity() > IDLE_RUNS_MAX {
            self.runs = VecDeque::new();
        }
        if !matches!(self.runs.back(), Some(Run::Own(last)) if last.len() < JOINED_BYTES_MAX) {
            self.runs.push_back(Run::Own(Vec::new()));
        }
        let Some(Run::Own(last)) = self.runs.back_mut() else { unreachable!("an own run was just made sure of") };
        let before = last.len();
        write(last);
        self.bytes += last.len() - before;
        if last.is_empty() {
            self.runs.pop_back();
        }
    }

    /// Fills `slices` with what waits, in order; returns how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, run) in slices.iter_mut().zip(&self.runs) {
            let skip = if filled == 0 { self.written } else { 0 };
            *slice = IoSlice::new(&run.bytes()[skip..]);
            filled += 1;
        }
        filled
    }

    /// Drops the first `n` bytes, which the socket has taken.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.bytes, "a socket takes no more than it was given");
        self.bytes -= n;
        self.written += n;
        while let Some(first) = self.runs.front() {
            let len = first.bytes().len();
            if self.written < len {
                break;
            }
            self.written -= len;
            self.runs.pop_front();
        }
        if self.runs.is_empty() && self.runs.capacity() > EMPTY_RUNS_MAX {
            self.runs = VecDeque::new();
        }
    }

    /// Asserts the invariant of this module.
    pub fn check_invariants(&self) {
        let sum: usize = self.runs.iter().map(|run| run.bytes().len()).sum();
        assert_eq!(sum, self.bytes + self.written);
        assert!(self.runs.iter().all(|run| !run.bytes().is_empty()));
        assert!(self.runs.front().map_or(self.written == 0, |run| self.written < run.bytes().len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    #[test]
    fn gives_out_what_was_put_in_whatever_the_socket_takes() {
        let mut random = Random::new(11);
        let mut outbox = Outbox::default();
        let (mut put, mut got) = (Vec::new(), Vec::new());
        for round in 0..5_000u32 {
            let bytes: Vec<u8> = (0..random.below(40)).map(|i| (round + i as u32) as u8).collect();
            put.extend_from_slice(&bytes);
            if random.below(2) == 0 {
                outbox.push_shared(bytes.into());
            } else {
                outbox.push_with(|out| out.extend_from_slice(&bytes));
            }
            outbox.check_invariants();
            let mut slices = [IoSlice::new(&[]); 3];
            let filled = outbox.slices(&mut slices);
            let offered: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
            let take = random.below(offered.len() as u64 + 1) as usize;
            got.extend_from_slice(&offered[..take]);
            outbox.advance(take);
            outbox.check_invariants();
            assert_eq!(put.len() - got.len(), outbox.bytes());
        }
        assert!(put.starts_with(&got));
    }

    #[test]
    fn a_reader_that_always_leaves_something_does_not_make_it_grow() {
        let mut outbox = Outbox::default();
        outbox.push_with(|out| out.push(0));
        for _ in 0..10_000 {
            outbox.push_with(|out| out.extend_from_slice(&[1; 500]));
            outbox.advance(500);
            outbox.check_invariants();
            let held: usize = outbox.runs.iter().map(|run| run.bytes().len()).sum();
            assert!(held < 2 * JOINED_BYTES_MAX, "{held} bytes are held for {}", outbox.bytes());
        }
    }

    #[test]
    fn an_empty_one_takes_a_run_of_any_size() {
        let mut outbox = Outbox::default();
        assert!(outbox.has_room(1000, 10));
        outbox.push_shared(vec![0; 4].into());
        assert!(outbox.has_room(6, 10) && !outbox.has_room(7, 10));
    }

    #[test]
    fn an_idle_one_gives_its_memory_back() {
        let mut outbox = Outbox::default();
        for (runs, kept_max) in [(40, EMPTY_RUNS_MAX), (1000, 0)] {
            (0..runs).for_each(|_| outbox.push_shared(vec![0; 4].into()));
            outbox.advance(4 * runs);
            assert!(outbox.runs.capacity() <= kept_max);
            outbox.push_with(|out| out.extend_from_slice(b"heartbeat"));
            assert!(outbox.runs.capacity() <= IDLE_RUNS_MAX);
            outbox.advance(9);
        }
    }
}
