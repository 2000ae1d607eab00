//! A recorded run, and what is there after a power cut at each of its calls.

use super::model::{Disk, Image, Survival};
use super::script::{Script, Step};
use super::store::{Checked, Dump, Store, check_verify};
use super::vfs::{Device, DiskCall, Planted, locked};
use cortex_core::internals::random::mix;
use cortex_core::internals::{CommandResult, Now, Random};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

/// A run without faults.
pub struct Recording {
    pub steps: Vec<RecordedStep>,
    calls: Vec<DiskCall>,
    pub commands: usize,
    /// The script after the last step.
    pub script: Script,
}

/// A step, and what is there after it.
pub struct RecordedStep {
    pub step: Step,
    pub now: Now,
    results: Vec<CommandResult>,
    dump: Dump,
    /// The number of calls through the step.
    calls: usize,
    /// What a killed process would leave.
    pub image: Image,
}

/// Creates a database, and runs steps until there were so many commands.
pub fn record(seed: u64, commands: usize, planted: Planted) -> Checked<Recording> {
    let mut device = Device::new(Disk::default(), planted);
    device.recorded = Some(Vec::new());
    let mut store = Store::opened(device)?;
    let mut recording = Recording { steps: Vec::new(), calls: Vec::new(), commands: 0, script: Script::new(seed) };
    // The creation of the database changes nothing that a command does.
    recording.add(&mut store, (Step::Poll, recording.script.now()), Vec::new());
    while recording.commands < commands {
        let (step, now) = recording.script.next();
        let results = store.apply(&step, now)?.results;
        recording.commands += results.len();
        recording.script.learn(&results);
        recording.add(&mut store, (step, now), results);
    }
    recording.calls = locked(&store.device).recorded.take().expect("they are recorded");
    Ok(recording)
}

impl Recording {
    fn add(&mut self, store: &mut Store, (step, now): (Step, Now), results: Vec<CommandResult>) {
        let dump = store.dump();
        let calls = locked(&store.device).recorded.as_ref().map_or(0, Vec::len);
        let image = store.image(Survival::Everything, &mut Random::new(0));
        self.steps.push(RecordedStep { step, now, results, dump, calls, image });
    }

    /// The kinds of the commands that succeeded, and of the other steps.
    pub fn kinds(&self) -> BTreeSet<String> {
        let mut kinds = BTreeSet::new();
        for RecordedStep { step, results, .. } in &self.steps[1..] {
            let is_done = |place: usize| results.get(place).is_none_or(|result| result.result.is_ok());
            kinds.extend(
                step.kinds().into_iter().enumerate().filter(|(place, _)| is_done(*place)).map(|(_, kind)| kind),
            );
        }
        kinds
    }

    /// The number of calls of each kind.
    pub fn calls_by_kind(&self) -> [usize; 2] {
        let count = |is_counted: fn(&DiskCall) -> bool| self.calls.iter().filter(|call| is_counted(call)).count();
        [count(|call| matches!(call, DiskCall::Write { .. })), count(|call| matches!(call, DiskCall::Sync(_)))]
    }

    /// Cuts the power at every sync and step, and at one write of `every`. Returns the number of cuts.
    pub fn cut_everywhere(&self, every: usize, threads: usize, seed: u64) -> Checked<u64> {
        let cuts = AtomicU64::new(0);
        let run = |thread: usize| -> Checked {
            let mut cut = Cut { disk: Disk::default(), number: 0, threads, thread, seed };
            let mut calls = self.calls.iter().enumerate();
            for (place, recorded) in self.steps.iter().enumerate() {
                let before = place.checked_sub(1).map(|before| &self.steps[before].dump);
                let during = Expected { dumps: &[before, Some(&recorded.dump)], place, step: Some(recorded) };
                for (number, call) in calls.by_ref().take(self.calls_of(place)) {
                    let is_cut = (number + seed as usize).is_multiple_of(every);
                    let at = |error| format!("call {number}: {error}");
                    if matches!(call, DiskCall::Sync(_)) {
                        cut.check(Survival::AnySectors, &during).map_err(at)?;
                    }
                    call.apply(&mut cut.disk);
                    match call {
                        DiskCall::Sync(_) => cut.check(Survival::Nothing, &during),
                        DiskCall::Write { .. } if is_cut => cut
                            .check(Survival::TornWrite, &during)
                            .and_then(|()| cut.check(Survival::AnySectors, &during)),
                        DiskCall::Write { .. } | DiskCall::Create(_) => Ok(()),
                        DiskCall::Resize(..) | DiskCall::Remove(..) => cut.check(Survival::AnySectors, &during),
                    }
                    .map_err(at)?;
                }
                let after = Expected { dumps: &[None, Some(&recorded.dump)], place, step: None };
                for survival in [Survival::Nothing, Survival::AnySectors] {
                    cut.check(survival, &after).map_err(|error| format!("after the step: {error}"))?;
                }
            }
            cuts.fetch_add(cut.number.div_ceil(threads as u64), Relaxed);
            Ok(())
        };
        thread::scope(|scope| {
            let run = &run;
            let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("a thread ends"))
        })?;
        Ok(cuts.into_inner())
    }

    /// The number of calls of a step.
    pub fn calls_of(&self, place: usize) -> usize {
        self.steps[place].calls - place.checked_sub(1).map_or(0, |before| self.steps[before].calls)
    }
}

/// What may be there after a cut.
struct Expected<'r> {
    /// The states before and after the step.
    dumps: &'r [Option<&'r Dump>; 2],
    place: usize,
    /// The step that is cut.
    step: Option<&'r RecordedStep>,
}

/// The disk of a run, of whose cuts each thread checks a part.
struct Cut {
    disk: Disk,
    number: u64,
    threads: usize,
    thread: usize,
    seed: u64,
}

impl Cut {
    fn check(&mut self, survival: Survival, expected: &Expected<'_>) -> Checked {
        self.number += 1;
        if self.number as usize % self.threads != self.thread {
            return Ok(());
        }
        let mut random = Random::new(mix(self.seed ^ mix(self.number)));
        let image = self.disk.image(survival, &mut random);
        expected.check(image).map_err(|error| {
            let kinds = expected.step.map(|recorded| recorded.step.kinds()).unwrap_or_default();
            format!("step {} {kinds:?}, {survival:?}: {error}", expected.place)
        })
    }
}

impl Expected<'_> {
    fn check(&self, image: Image) -> Checked {
        let mut store = Store::start(Device::new(Disk::of(&image), Planted::Nothing));
        // The creation of the database is the first step.
        let is_created = self.place > 0 || self.step.is_none();
        if is_created {
            check_verify(&store)?;
        }
        store.open()?;
        let dump = store.dump();
        if !is_created {
            let expected = self.dumps[1].expect("the created database").without_identity();
            let found = dump.without_identity();
            return if found == expected { check_verify(&store) } else { Err("a new database is not empty".into()) };
        }
        if !self.dumps.contains(&Some(&dump)) {
            let differences: Vec<_> = self.dumps.iter().flatten().map(|other| dump.differences(other)).collect();
            return Err(format!("the rows are those of no step: {differences:?}"));
        }
        match self.step {
            Some(step) => step.check_repetition(&mut store),
            None => Ok(()),
        }
    }
}

impl RecordedStep {
    /// Whether every command was accepted.
    pub fn has_succeeded(&self) -> bool {
        self.results.iter().all(|result| result.result.is_ok())
    }

    /// A client repeats the requests that it got no response to. They take effect once, if each had a key.
    fn check_repetition(&self, store: &mut Store) -> Checked {
        let Step::Commands(commands) = &self.step else { return Ok(()) };
        store.apply(&self.step, self.now)?;
        let is_once = commands.iter().all(|command| command.idempotency.is_some()) && self.has_succeeded();
        let (found, expected) = (store.dump().content(), self.dump.content());
        if is_once && found != expected {
            return Err(format!("a repeated command took effect twice: {:?}", found.differences(&expected)));
        }
        Ok(())
    }
}
