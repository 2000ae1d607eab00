//! The thread of an instance that reads what other instances have committed, one step at a time.

use crate::planted::Planted;
use crate::world::*;
use cortex_core::internals::{EventNumber, JournalSlice, Reader, wire};

/// The reader of slices, and a slice that it has read and not delivered.
pub struct Follower {
    reader: Reader,
    slice: Option<JournalSlice>,
}

impl Follower {
    pub fn new(reader: Reader) -> Follower {
        Follower { reader, slice: None }
    }
}

impl World {
    /// Delivers the slice that was read, or reads the next one. Returns whether there was one.
    pub fn follow(&mut self, instance: usize) -> bool {
        let process = self.process(instance);
        let Some(follower) = &mut process.follower else { return false };
        let position = process.merger.position();
        if let Some(slice) = follower.slice.take() {
            self.coverage.slices_late += u64::from(slice.after < position);
            self.deliver_slice(instance, slice);
            return true;
        }
        if !self.calm && self.chance(1, 20) {
            self.coverage.slices_failed += 1;
            return false;
        }
        let follower = self.process(instance).follower.as_mut().expect("it was there");
        let Some(mut slice) = follower.reader.slice(position).expect("the slice can be read") else { return false };
        self.coverage.slices += 1;
        self.check_told(instance, position.0);
        self.check_slice(&slice, position);
        if self.planted == Planted::SliceLacksEvent && self.chance(1, 20) {
            slice.events.pop();
        }
        if !self.calm && self.chance(1, 3) {
            self.process(instance).follower.as_mut().expect("it was there").slice = Some(slice);
        } else {
            self.deliver_slice(instance, slice);
        }
        true
    }

    fn deliver_slice(&mut self, instance: usize, slice: JournalSlice) {
        trace!(
            self,
            "instance {instance}: slice after {} through {}: {} events, has gap {}",
            slice.after,
            slice.through,
            slice.events.len(),
            slice.has_gap
        );
        let mut passed = Vec::new();
        let Process { merger, answers, told, .. } = self.process(instance);
        let misses_events = merger.misses_events(&slice);
        if misses_events {
            answers.forget();
            told.forget(slice.through);
        }
        merger.slice(slice, |committed| passed.push(committed));
        merger.check_invariants();
        self.coverage.slices_lacking += u64::from(misses_events);
        self.distribute(instance, passed);
    }

    /// Checks that a slice has each event for every user who may see it, and for no other user than its recipients.
    fn check_slice(&self, slice: &JournalSlice, after: EventNumber) {
        let model = &self.model;
        assert_eq!(slice.after, after);
        assert!(slice.through > after && slice.through.0 <= model.position(), "a slice goes through {}", slice.through);
        let mut events = slice.events.iter().peekable();
        for number in after.0 + 1..=slice.through.0 {
            let entry = model.entry(number).expect("it is committed");
            let event = events.next_if(|event| event.number.0 == number);
            let recipients = event.map_or(0, |event| model.recipients(event));
            assert_eq!(recipients & !entry.recipients, 0, "event {number} of a slice goes to others than it should");
            for user in (0..model.users.len()).filter(|user| model.replays(entry, *user)) {
                assert!(recipients & (1 << user) != 0, "a slice lacks event {number} of {}", model.users[user]);
            }
            if let Some(event) = event {
                let mut json = Vec::new();
                wire::event::event_json(event, &mut json);
                assert!(model.texts(entry).last().is_some_and(|(_, text)| *text == json), "event {number} of a slice");
            }
        }
        let is_lost = |through: &u64| *through > after.0;
        assert_eq!(slice.has_gap, model.removed_through.iter().any(is_lost), "a slice tells of removed events");
        assert!(events.next().is_none(), "a slice has an event that is not in its range, or twice");
    }
}
