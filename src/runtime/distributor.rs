//! Distributes commits to the shards and the responders: those of this process, and those of other instances.

#[cfg(feature = "cluster")]
mod instances;

use super::merger::Merger;
use super::replies::Replies;
use crate::base::memory_plan::MemoryPlan;
use crate::domain::commit::Committed;
use crate::domain::id::EventNumber;
use crate::domain::started_answer::LiveAnswerSet;
use crate::shard::shared::SharedState;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Distributes commits, one after the other.
pub(crate) struct Distributor {
    state: Mutex<DistributorState>,
    /// Wakes the follower when a slice is due, or when the writer has ended.
    slice_is_due: Condvar,
    replies: Replies,
    shared: Arc<SharedState>,
    /// Most bytes of the texts of other instances.
    #[cfg(feature = "cluster")]
    received_text_bytes_max: usize,
}

struct DistributorState {
    merger: Merger,
    live_answers: LiveAnswerSet,
    has_ended: bool,
    /// The position, and the newest number, for which a slice was due last.
    #[cfg(feature = "cluster")]
    sliced_at: (EventNumber, EventNumber),
}

impl Distributor {
    /// At the position of the shards, within these budgets of memory. `has_slices`: whether a follower reads what other instances commit.
    pub(crate) fn new(
        position: EventNumber,
        has_slices: bool,
        replies: Replies,
        shared: Arc<SharedState>,
        memory: &MemoryPlan,
    ) -> Distributor {
        shared.streams.advance_position(position);
        let state = DistributorState {
            merger: Merger::new(position, has_slices, memory),
            live_answers: LiveAnswerSet::default(),
            has_ended: false,
            #[cfg(feature = "cluster")]
            sliced_at: (position, position),
        };
        Distributor {
            state: Mutex::new(state),
            slice_is_due: Condvar::new(),
            replies,
            shared,
            #[cfg(feature = "cluster")]
            received_text_bytes_max: memory.received_text_bytes,
        }
    }

    /// Distributes a commit of the writer.
    pub(crate) fn committed(&self, committed: Committed) {
        // Before the responders get it, whose texts follow.
        #[cfg(feature = "cluster")]
        self.notify_others(&committed);
        self.merge(committed);
    }

    fn merge(&self, committed: Committed) {
        let DistributorState { merger, live_answers, .. } = &mut *self.state();
        merger.committed(committed, |commit| self.send(live_answers, commit));
        if merger.is_behind() {
            self.slice_is_due.notify_all();
        }
    }

    /// The writer has ended.
    pub(crate) fn end(&self) {
        self.state().has_ended = true;
        self.slice_is_due.notify_all();
        #[cfg(feature = "cluster")]
        if let Some(bus) = &self.replies.bus {
            bus.end();
        }
    }

    fn send(&self, live_answers: &mut LiveAnswerSet, committed: Committed) {
        self.shared.streams.advance_position(committed.through);
        #[cfg(feature = "cluster")]
        self.replies.remember(&committed);
        live_answers.committed(&committed.started, &committed.events);
        self.replies.committed(committed);
    }

    fn state(&self) -> MutexGuard<'_, DistributorState> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
