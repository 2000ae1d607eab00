//! Possible mistakes of instances that share a database, each planted around the real parts to show that the simulation finds
//! them.

#[cfg(feature = "cluster")]
use crate::world::Process;
#[cfg(feature = "cluster")]
use cortex_core::internals::{Committed, EventNumber};

/// A planted mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    Nothing,
    /// A slice lacks its last event.
    #[cfg(feature = "cluster")]
    SliceLacksEvent,
    /// The merger passes an own commit on before those that it follows.
    #[cfg(feature = "cluster")]
    PassesOutOfChain,
    /// A writer does not notice that others have written.
    #[cfg(feature = "cluster")]
    KeepsHead,
    /// A writer notices new numbers of others, and keeps its cache.
    #[cfg(feature = "cluster")]
    KeepsCache,
    /// A commit is reported as if nothing had come between it and the one before it of the same instance.
    #[cfg(feature = "cluster")]
    ReportsOwnPosition,
}

#[cfg(feature = "cluster")]
impl Planted {
    pub const ALL: [Planted; 5] = [
        Planted::SliceLacksEvent,
        Planted::PassesOutOfChain,
        Planted::KeepsHead,
        Planted::KeepsCache,
        Planted::ReportsOwnPosition,
    ];

    /// Before a step of the writer.
    pub fn begin_step(self, process: &mut Process) {
        match self {
            Planted::KeepsHead => process.writer.overlook_external_writes(false),
            Planted::KeepsCache => process.writer.overlook_external_writes(true),
            _ => {}
        }
    }

    /// Changes a commit before the merger gets it. `own`: the position after the last commit of the same instance.
    pub fn report(self, committed: &mut Committed, merged: EventNumber, own: EventNumber) {
        let has_events = committed.before < committed.through;
        match self {
            Planted::PassesOutOfChain if has_events && committed.before > merged => committed.before = merged,
            Planted::ReportsOwnPosition if has_events => committed.before = own,
            _ => {}
        }
    }
}
