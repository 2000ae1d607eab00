//! Distributes commits to the shards and the responders: those of this process, and those of other instances.

use super::merger::Merger;
use super::replies::Replies;
use crate::domain::commit::Committed;
use crate::domain::id::EventNumber;
#[cfg(feature = "cluster")]
use crate::domain::slice::JournalSlice;
use crate::domain::started_answer::LiveAnswerSet;
use crate::shard::shared::SharedState;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
#[cfg(feature = "cluster")]
use std::time::Duration;

/// Distributes commits, one after the other.
pub(crate) struct Distributor {
    state: Mutex<DistributorState>,
    /// Wakes the follower when a slice is due, or when the writer has ended.
    slice_is_due: Condvar,
    replies: Replies,
    shared: Arc<SharedState>,
}

struct DistributorState {
    merger: Merger,
    live_answers: LiveAnswerSet,
    has_ended: bool,
}

impl Distributor {
    /// At the position of the shards. `has_slices`: whether a follower reads what other instances commit.
    pub(crate) fn new(
        position: EventNumber,
        has_slices: bool,
        replies: Replies,
        shared: Arc<SharedState>,
    ) -> Distributor {
        shared.streams.advance_position(position);
        let state = DistributorState {
            merger: Merger::new(position, has_slices),
            live_answers: LiveAnswerSet::default(),
            has_ended: false,
        };
        Distributor { state: Mutex::new(state), slice_is_due: Condvar::new(), replies, shared }
    }

    /// A transaction of the writer begins.
    pub(crate) fn commit_begins(&self) {
        self.state().merger.commit_begins();
    }

    /// Distributes a commit of the writer.
    pub(crate) fn committed(&self, committed: Committed) {
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
    }

    /// Distributes a slice of the journal.
    #[cfg(feature = "cluster")]
    pub(crate) fn slice_read(&self, slice: JournalSlice) {
        let DistributorState { merger, live_answers, .. } = &mut *self.state();
        merger.slice(slice, |commit| self.send(live_answers, commit));
    }

    /// Waits until a slice may be due: at once if events are known to be missing, else for `pause`. Returns the number after which
    /// it begins; `None` once the writer has ended.
    #[cfg(feature = "cluster")]
    pub(crate) fn wait_for_slice(&self, pause: Duration) -> Option<EventNumber> {
        let is_idle = |state: &mut DistributorState| !state.has_ended && !state.merger.is_behind();
        let waited = self.slice_is_due.wait_timeout_while(self.state(), pause, is_idle);
        let (state, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        (!state.has_ended).then(|| state.merger.position())
    }

    fn send(&self, live_answers: &mut LiveAnswerSet, committed: Committed) {
        self.shared.streams.advance_position(committed.through);
        live_answers.committed(&committed.started, &committed.events);
        self.replies.committed(committed);
    }

    fn state(&self) -> MutexGuard<'_, DistributorState> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
