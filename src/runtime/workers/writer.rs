//! The writer thread.

use super::Workers;
use crate::base::limits::*;
use crate::base::metrics::{self, COMMIT_BOUNDS, DURATION_BOUNDS};
use crate::base::time::MonoTime;
use crate::domain::event::{Event, EventKind};
use crate::runtime::clock::Clock;
use crate::runtime::distributor::Distributor;
use crate::runtime::process;
use crate::runtime::queue::Wakeup;
use crate::shard::shared::SharedState;
use crate::store::{MaintenanceDue, Writer};
use std::sync::Arc;
use std::time::Duration;

/// Longest time between two steps of maintenance, in milliseconds.
const MAINTENANCE_MILLISECONDS: u64 = 60_000;
/// Longest time between two checks of an idle writer for changes by other processes.
const EXTERNAL_WRITES: Duration = Duration::from_millis(250);
/// Time between two probes while the database cannot be written to.
const PROBE: Duration = Duration::from_millis(WRITER_PROBE_MILLISECONDS);
/// Most transactions between two steps of maintenance.
const TRANSACTIONS_PER_MAINTENANCE: u32 = 64;

/// Commits the commands in the queue, all that wait in one transaction, until the queue is closed. In between it runs
/// maintenance, and while the database cannot be written to, it probes whether that has changed.
///
/// A panic here ends the process, because the state of the writer's cache is then unknown. So does a database that cannot be
/// synced.
pub(crate) fn write(
    mut writer: Writer,
    workers: &Workers,
    shared: &SharedState,
    distributor: &Distributor,
    clock: Clock,
) {
    let transaction_bytes_max = workers.memory.transaction_bytes_max();
    let mut commands = Vec::new();
    let mut due = MaintenanceDue::Now;
    let (mut transactions_since, mut maintain_by) = (0, clock.now().mono);
    let mut probe_at = maintain_by;
    let mut indexing = IndexingTurns { next_at: maintain_by, is_busy: false };
    loop {
        if writer.is_poisoned() {
            log::error!(
                "the database could not be synced: ending, so that the next start restores it from the write-ahead log"
            );
            process::end_failed();
        }
        #[cfg(feature = "cluster")]
        {
            end_with_epoch(&writer);
            writer.has_shown(shared.streams.position());
        }
        let is_failing = writer.fault().is_some();
        let until_due = if is_failing { PROBE } else { time_until(due, clock.now().mono) };
        let until_indexing = match indexing.due(&writer) {
            Some(at) if !is_failing => Duration::from_micros(at.since(clock.now().mono)),
            _ => EXTERNAL_WRITES,
        };
        let timeout = until_due.min(EXTERNAL_WRITES).min(until_indexing);
        let wakeup = workers.writer.take(&mut commands, TRANSACTION_COMMANDS_MAX, transaction_bytes_max, Some(timeout));
        if wakeup == Wakeup::Closed {
            break;
        }
        // A transaction checks by itself.
        if wakeup == Wakeup::Idle {
            if let Some(changes) = writer.poll_external_writes() {
                distributor.committed(changes);
            }
            shared.writer_health.rests(writer.fault());
            #[cfg(feature = "cluster")]
            tell_of_others(&writer, workers, shared);
        }
        let mut left = &commands[..];
        while !left.is_empty() {
            let began = clock.now();
            shared.writer_health.begins(began.mono);
            let committed = writer.commit_batch(left, began);
            #[cfg(feature = "cluster")]
            end_with_epoch(&writer);
            shared.writer_health.rests(writer.fault());
            #[cfg(feature = "cluster")]
            tell_of_others(&writer, workers, shared);
            let done = committed.results.len();
            metrics::COMMIT_DURATION.observe(&DURATION_BOUNDS, clock.now().mono.since(began.mono));
            metrics::COMMIT_COMMANDS.observe(&COMMIT_BOUNDS, done as u64);
            let created = |event: &&Arc<Event>| event.kind == EventKind::ConversationCreated;
            metrics::CONVERSATIONS.add(committed.events.iter().filter(created).count() as u64);
            distributor.committed(committed);
            left = &left[done..];
            transactions_since += 1;
            indexing.is_busy = true;
        }
        commands.clear();
        let now = clock.now();
        if is_failing && now.mono >= probe_at {
            shared.writer_health.begins(now.mono);
            writer.probe();
            shared.writer_health.rests(writer.fault());
            probe_at = clock.now().mono.plus_milliseconds(WRITER_PROBE_MILLISECONDS);
        }
        due = writer.maintenance_due(now);
        if writer.fault().is_some() {
            continue;
        }
        // While there is more to do, steps and transactions alternate.
        let is_due = wakeup == Wakeup::Idle && timeout == until_due;
        if is_due
            || due == MaintenanceDue::Now
            || transactions_since >= TRANSACTIONS_PER_MAINTENANCE
            || now.mono >= maintain_by
        {
            shared.writer_health.begins(now.mono);
            let notifications = writer.maintain(now);
            #[cfg(feature = "cluster")]
            end_with_epoch(&writer);
            shared.writer_health.rests(writer.fault());
            if let Some(committed) = notifications {
                distributor.committed(committed);
            }
            due = writer.maintenance_due(now);
            (transactions_since, maintain_by) = (0, now.mono.plus_milliseconds(MAINTENANCE_MILLISECONDS));
        }
        let began = clock.now();
        if indexing.due(&writer).is_some_and(|at| at <= began.mono) {
            shared.writer_health.begins(began.mono);
            writer.index_messages();
            shared.writer_health.rests(writer.fault());
            indexing.took(began.mono, clock.now().mono);
        }
    }
    writer.close();
    distributor.end();
}

/// Tells other threads how many other instances there are.
#[cfg(feature = "cluster")]
fn tell_of_others(writer: &Writer, workers: &Workers, shared: &SharedState) {
    let others = writer.others();
    let bus = workers.replies.bus.as_ref();
    shared.streams.set_others(others, bus.is_some_and(|bus| bus.is_up()));
    if let Some(bus) = bus {
        bus.set_known(others, writer.timeline());
    }
}

/// Ends the process if the journal has a new epoch. It is called before a commit is distributed, so that no stream which had lost events
/// gets others before it has a gap.
#[cfg(feature = "cluster")]
fn end_with_epoch(writer: &Writer) {
    if writer.has_new_epoch() {
        log::error!("the journal has a new epoch: ending, so that streams which had lost events get a gap");
        process::end_failed();
    }
}

/// The turns of the steps that bring the index of searches up to date.
struct IndexingTurns {
    /// The earliest start of the next step while commands arrive.
    next_at: MonoTime,
    /// Whether a command was committed since the last step.
    is_busy: bool,
}

impl IndexingTurns {
    /// When the next step is due; `None` if the index has everything.
    fn due(&self, writer: &Writer) -> Option<MonoTime> {
        let at = writer.indexing_due()?;
        Some(if self.is_busy { at.max(self.next_at) } else { at })
    }

    /// Records a step. While commands arrive, steps take a tenth of the writer's time.
    fn took(&mut self, began: MonoTime, ended: MonoTime) {
        *self = IndexingTurns { next_at: ended.plus(9 * ended.since(began)), is_busy: false };
    }
}

/// How long the writer waits for commands before it runs maintenance.
fn time_until(due: MaintenanceDue, now: MonoTime) -> Duration {
    let longest = Duration::from_millis(MAINTENANCE_MILLISECONDS);
    match due {
        MaintenanceDue::Now | MaintenanceDue::WhenIdle => Duration::ZERO,
        MaintenanceDue::At(at) => Duration::from_micros(at.since(now).max(1000)).min(longest),
        MaintenanceDue::Unknown => longest,
    }
}
