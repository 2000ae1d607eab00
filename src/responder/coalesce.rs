//! An answer as it grows: when the next delta is due, and when new text is due on disk.
//!
//! Invariant: the deltas, one after another, are the text through the last of them, and so are the appended pieces; no
//! text is in a delta before the first piece of it is due on disk, so that after a crash it is known what was shown.

use crate::base::limits::{OUTPUT_APPEND_MILLISECONDS, OUTPUT_DELTA_MILLISECONDS};
use crate::base::time::MonoTime;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due<'a> {
    /// Append this to what is on disk. Of an answer's first text this comes before its first delta: once it is committed,
    /// the answer is known as one that was shown.
    Append(&'a str),
    /// Send this as the delta with this index; they count from 0.
    Delta(u64, &'a str),
}

/// The text of one answer.
#[derive(Debug, Default)]
pub struct Growing {
    text: String,
    /// Bytes of the text that deltas have carried.
    sent: usize,
    /// Deltas so far.
    deltas: u64,
    /// When the last delta was sent.
    sent_at: Option<MonoTime>,
    /// Bytes of the text that were given out to be appended.
    appended: usize,
    /// When that was.
    appended_at: Option<MonoTime>,
}

impl Growing {
    /// An answer without text.
    pub fn new() -> Growing {
        Growing::default()
    }

    /// Adds a piece.
    pub fn push(&mut self, piece: &str) {
        self.text.push_str(piece);
    }

    /// What is due now; to be called until there is nothing.
    pub fn poll(&mut self, now: MonoTime) -> Option<Due<'_>> {
        if self.append_at().is_some_and(|at| at <= now) {
            self.appended_at = Some(now);
            return self.take_append();
        }
        if self.delta_at().is_some_and(|at| at <= now) {
            self.sent_at = Some(now);
            return self.take_delta();
        }
        None
    }

    /// What is left when the answer ends, whatever the time; to be called until there is nothing. The whole text is
    /// stored with the answer's end, so nothing is appended any more.
    pub fn finish(&mut self) -> Option<Due<'_>> {
        self.take_delta()
    }

    /// When something will be due, if nothing is added until then.
    pub fn due_at(&self) -> Option<MonoTime> {
        [self.append_at(), self.delta_at()].into_iter().flatten().min()
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text through the last delta, and that delta's index, for who joins now.
    pub fn snapshot(&self) -> Option<(u64, &str)> {
        Some((self.deltas.checked_sub(1)?, &self.text[..self.sent]))
    }

    /// Panics when an invariant does not hold.
    pub fn check_invariants(&self) {
        assert!(self.sent <= self.text.len() && self.appended <= self.text.len());
        assert!(self.sent == 0 || self.appended_at.is_some(), "what is shown is known as shown");
        assert_eq!(self.sent == 0, self.deltas == 0, "no delta is empty");
    }

    /// At once for the first text, so that nobody waits for it; then not before the last one is old enough.
    fn delta_at(&self) -> Option<MonoTime> {
        let at = self.sent_at.map_or(MonoTime(0), |at| at.plus_milliseconds(OUTPUT_DELTA_MILLISECONDS));
        (self.sent < self.text.len()).then_some(at)
    }

    fn append_at(&self) -> Option<MonoTime> {
        let at = self.appended_at.map_or(MonoTime(0), |at| at.plus_milliseconds(OUTPUT_APPEND_MILLISECONDS));
        (self.appended < self.text.len()).then_some(at)
    }

    fn take_delta(&mut self) -> Option<Due<'_>> {
        let piece = &self.text[self.sent..];
        if piece.is_empty() {
            return None;
        }
        self.sent = self.text.len();
        self.deltas += 1;
        Some(Due::Delta(self.deltas - 1, piece))
    }

    fn take_append(&mut self) -> Option<Due<'_>> {
        let piece = &self.text[self.appended..];
        self.appended = self.text.len();
        Some(Due::Append(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    fn at(milliseconds: u64) -> MonoTime {
        MonoTime(milliseconds * 1000)
    }

    fn due(growing: &mut Growing, milliseconds: u64) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(due) = growing.poll(at(milliseconds)) {
            all.push(match due {
                Due::Append(text) => format!("append {text}"),
                Due::Delta(index, text) => format!("{index} {text}"),
            });
            growing.check_invariants();
        }
        all
    }

    #[test]
    fn the_first_text_goes_at_once_and_the_rest_in_its_time() {
        let mut growing = Growing::new();
        assert_eq!(due(&mut growing, 7), [] as [&str; 0]);
        assert_eq!((growing.due_at(), growing.snapshot()), (None, None));
        growing.push("a");
        assert_eq!(due(&mut growing, 10_000), ["append a", "0 a"], "on disk first");
        growing.push("b");
        growing.push("c");
        assert_eq!(growing.due_at(), Some(at(10_050)));
        assert_eq!(due(&mut growing, 10_049), [] as [&str; 0]);
        assert_eq!(growing.snapshot(), Some((0, "a")));
        assert_eq!(due(&mut growing, 10_050), ["1 bc"]);
        assert_eq!(growing.snapshot(), Some((1, "abc")));
        assert_eq!(growing.due_at(), Some(at(11_000)), "it is on its way to disk even if nothing follows");
        assert_eq!(due(&mut growing, 11_000), ["append bc"]);
        assert_eq!(growing.due_at(), None);
        growing.push("d");
        assert_eq!(due(&mut growing, 11_001), ["2 d"]);
        growing.push("e");
        assert_eq!(growing.finish(), Some(Due::Delta(3, "e")));
        assert_eq!(growing.finish(), None);
        assert_eq!(growing.text(), "abcde");
    }

    #[test]
    fn an_empty_piece_is_nothing() {
        let mut growing = Growing::new();
        growing.push("");
        assert_eq!(due(&mut growing, 5), [] as [&str; 0]);
        assert_eq!((growing.due_at(), growing.finish()), (None, None));
    }

    #[test]
    fn deltas_and_appended_pieces_are_the_text() {
        for seed in 0..100 {
            let mut random = Random::new(seed);
            let (mut growing, mut now) = (Growing::new(), 0);
            let (mut sent, mut appended, mut deltas) = (String::new(), String::new(), Vec::new());
            for _ in 0..300 {
                now += random.below(40);
                if random.below(3) > 0 {
                    growing.push(["x", "\u{1f600}", " and so on", ""][random.below(4) as usize]);
                }
                while let Some(due) = growing.poll(at(now)) {
                    match due {
                        Due::Append(text) => appended += text,
                        Due::Delta(index, text) => {
                            sent += text;
                            deltas.push((index, now));
                        }
                    }
                    growing.check_invariants();
                    assert!(
                        growing.snapshot().is_none_or(|(index, text)| index == deltas.len() as u64 - 1 && text == sent)
                    );
                }
                assert!(growing.due_at().is_none_or(|due| due > at(now)), "all that is due was given");
            }
            assert!(growing.text().starts_with(&appended));
            while let Some(Due::Delta(_, text)) = growing.finish() {
                sent += text;
            }
            assert_eq!(sent, growing.text());
            assert!(deltas.iter().enumerate().all(|(place, (index, _))| *index == place as u64));
            assert!(deltas.windows(2).all(|pair| pair[1].1 - pair[0].1 >= OUTPUT_DELTA_MILLISECONDS));
        }
    }
}
