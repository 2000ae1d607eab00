//! Possible mistakes of instances that share a database, each planted around the real parts to show that the simulation finds
//! them.

#[cfg(feature = "cluster")]
use crate::world::Process;
#[cfg(feature = "cluster")]
use cortex_core::internals::{BusMessage, Committed, Event, EventNumber};
#[cfg(feature = "cluster")]
use std::sync::Arc;

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
    /// A notice is sent before the commit, which fails.
    #[cfg(feature = "cluster")]
    NotifiesBeforeCommit,
    /// A notice lacks its last event.
    #[cfg(feature = "cluster")]
    NoticeLacksEvent,
    /// The merger passes a notice on before those that it follows.
    #[cfg(feature = "cluster")]
    NoticeOutOfChain,
    /// The merger starts an answer of a notice without the events that came out since.
    #[cfg(feature = "cluster")]
    StartsAsNoticed,
}

#[cfg(feature = "cluster")]
impl Planted {
    pub const ALL: [Planted; 9] = [
        Planted::SliceLacksEvent,
        Planted::PassesOutOfChain,
        Planted::KeepsHead,
        Planted::KeepsCache,
        Planted::ReportsOwnPosition,
        Planted::NotifiesBeforeCommit,
        Planted::NoticeLacksEvent,
        Planted::NoticeOutOfChain,
        Planted::StartsAsNoticed,
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

    /// The notice of a commit that has failed at the end of the journal, whose last event is `last`.
    pub fn failed_commit(self, committed: &Committed, last: &Event) -> Option<Committed> {
        let is_failed = committed.before == committed.through && committed.before == last.number;
        (self == Planted::NotifiesBeforeCommit && is_failed).then(|| {
            let event = Event { number: EventNumber(last.number.0 + 1), ..last.clone() };
            Committed {
                events: [Arc::new(event)].into(),
                ..Committed::empty(last.number, EventNumber(last.number.0 + 1))
            }
        })
    }

    /// Drops the last event of a notice.
    pub fn drop_event(message: &mut BusMessage) {
        if let BusMessage::Commit(notice) = message {
            notice.events = notice.events[..notice.events.len().saturating_sub(1)].into();
        }
    }

    /// Changes a notice before the merger, which is at `position`, gets it. Commits in `passed` need no merger.
    pub fn notice(self, committed: &mut Committed, position: EventNumber, passed: &mut Vec<Committed>) {
        match self {
            Planted::NoticeOutOfChain if committed.before > position => committed.before = position,
            Planted::StartsAsNoticed if !committed.started.is_empty() => {
                let started = std::mem::take(&mut committed.started);
                passed.push(Committed { started, ..Committed::empty(position, position) });
            }
            _ => {}
        }
    }
}
