//! The life of a store on a disk that fails, beside a twin on a disk that works: the twin gets what the store has accepted.

use super::cuts::{RecordedStep, Recording};
use super::model::{Disk, Image, Survival};
use super::script::{AdminStep, Script, Step};
use super::store::{Checked, Done, Dump, Store, check_verify};
use super::vfs::{Device, Failure, Planted, locked};
use cortex_core::internals::random::mix;
use cortex_core::internals::{CommandResult, Now, Random, Rejection};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

/// Steps that follow a failed one.
const STEPS_AFTER: usize = 4;
/// A process that was just started has at most so many calls more in a step than one that runs.
const CALLS_MORE: u64 = 200;
/// Lives of one random run, each of which ends with a power cut.
pub const LIVES: u64 = 3;
/// Power cuts that are checked at the end of each life.
pub const CUTS_PER_LIFE: u64 = 3;

struct Life {
    store: Store,
    twin: Store,
    planted: Planted,
    /// The rows after the last step.
    rows: Dump,
    /// Steps that were rejected or cut since the last one that changed something: after a kill or a power cut, one of them may
    /// have taken effect. A client that got no confirmation cannot know.
    unknown: Vec<(Step, Now)>,
}

impl Life {
    fn start(image: &Image, planted: Planted) -> Checked<Life> {
        let mut store = Store::opened(Device::new(Disk::of(image), planted))?;
        let twin = Store::opened(Device::new(Disk::of(image), Planted::Nothing))?;
        let rows = store.dump();
        Ok(Life { store, twin, planted, rows, unknown: Vec::new() })
    }

    /// Makes `count` calls fail after the next `after` ones.
    fn fail(&self, after: u64, count: u64, failure: Failure) {
        let mut device = locked(&self.store.device);
        let from = device.calls + after;
        (device.failing, device.failure) = (from..from + count, failure);
    }

    /// Cuts the power after this number of calls.
    fn cut(&self, after: u64) {
        let mut device = locked(&self.store.device);
        device.cut_at = Some(device.calls + after);
    }

    /// Takes a step. Returns the results of its commands.
    fn step(&mut self, step: &Step, now: Now) -> Checked<Vec<CommandResult>> {
        // The time for which a process has had the database open begins with the first look at the clock.
        self.store.writer().maintenance_due(now);
        self.twin.writer().maintenance_due(now);
        let done = self.store.apply(step, now)?;
        if self.store.is_off() {
            self.unknown.push((step.clone(), now));
            return Ok(Vec::new());
        }
        let before = std::mem::replace(&mut self.rows, self.store.dump());
        // The next process may have found one of them.
        let is_same_process = !done.has_restarted && !matches!(step, Step::Restart);
        if self.rows != before && is_same_process {
            self.unknown.clear();
        }
        self.follow(step, now, &done)?;
        if done.has_failed || done.has_restarted {
            self.compare()?;
        }
        Ok(done.results)
    }

    /// Lets the twin do what the store has done.
    fn follow(&mut self, step: &Step, now: Now, done: &Done) -> Checked {
        match step {
            Step::Commands(commands) => {
                let is_rejected = |result: &CommandResult| matches!(result.result, Err(Rejection::Unavailable));
                let (rejected, accepted): (Vec<_>, Vec<_>) =
                    commands.iter().cloned().zip(&done.results).partition(|(_, result)| is_rejected(result));
                if !rejected.is_empty() {
                    let rejected = rejected.into_iter().map(|(command, _)| command).collect();
                    self.unknown.push((Step::Commands(rejected), now));
                }
                let (accepted, results): (Vec<_>, Vec<_>) = accepted.into_iter().unzip();
                if !accepted.is_empty() {
                    let twin = self.twin.apply(&Step::Commands(accepted), now)?.results;
                    let (found, expected) = (format!("{results:?}"), format!("{twin:?}"));
                    if found != expected {
                        return Err(format!("the results are {found} instead of {expected}"));
                    }
                }
            }
            Step::Maintain | Step::Admin(_) if done.has_failed => {
                if self.rows.loose() == self.twin.dump().loose() {
                    self.unknown.push((step.clone(), now));
                } else {
                    drop(self.twin.apply(step, now)?);
                }
            }
            Step::Maintain => drop(self.twin.apply(step, now)?),
            Step::Admin(_) => {
                let error = self.twin.apply(step, now)?.error;
                if error != done.error {
                    return Err(format!("the change fails with {:?} instead of {error:?}", done.error));
                }
            }
            // The age of what expires depends on when the process was started.
            Step::Restart => self.twin.restart()?,
            Step::Index | Step::Probe | Step::Poll | Step::Hold | Step::Release | Step::Backup => {}
        }
        if done.has_restarted { self.twin.restart() } else { Ok(()) }
    }

    /// The store has the same rows as the twin, unless another process has found what was rejected.
    fn compare(&mut self) -> Checked {
        let (found, expected) = (self.rows.loose(), self.twin.dump().loose());
        if found == expected {
            return Ok(());
        }
        if !self.is_unknown(&self.rows.clone())? {
            return Err(format!("the rows differ from the accepted ones: {:?}", found.differences(&expected)));
        }
        self.copy_to_twin()
    }

    /// Whether the rows are those after a step of `unknown`.
    fn is_unknown(&self, rows: &Dump) -> Checked<bool> {
        let image = self.twin.image(Survival::Everything, &mut Random::new(0));
        for (step, now) in &self.unknown {
            for step in parts(step) {
                let mut other = Store::opened(Device::new(Disk::of(&image), Planted::Nothing))?;
                other.apply(&step, *now)?;
                if other.dump().content() == rows.content() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn copy_to_twin(&mut self) -> Checked {
        let image = self.store.image(Survival::Everything, &mut Random::new(0));
        self.twin = Store::opened(Device::new(Disk::of(&image), Planted::Nothing))?;
        self.unknown.clear();
        Ok(())
    }

    /// What is there after a power cut, which must be what was acknowledged.
    fn after_cut(&self, survival: Survival, random: &mut Random) -> Checked<Store> {
        let at = |error| format!("after a power cut, {survival:?}: {error}");
        let image = self.store.image(survival, random);
        let mut store = Store::start(Device::new(Disk::of(&image), self.planted));
        check_verify(&store).map_err(at)?;
        store.open().map_err(at)?;
        let rows = store.dump();
        // A flush of inboxes that was rejected with its commands, or a step of the index, may have taken effect.
        if rows.loose() != self.rows.loose() && !self.is_unknown(&rows).map_err(at)? {
            let differences = rows.differences(&self.rows);
            return Err(at(format!("the rows are not the acknowledged ones: {differences:?}")));
        }
        Ok(store)
    }

    /// Goes on after the power cut.
    fn go_on(&mut self, store: Store) -> Checked {
        self.store = store;
        self.rows = self.store.dump();
        self.copy_to_twin()
    }
}

/// What a step may do if its commands take effect one by one: the step with some of them.
fn parts(step: &Step) -> Vec<Step> {
    let Step::Commands(commands) = step else { return vec![step.clone()] };
    let part = |chosen: usize| {
        let is_chosen = |place: &usize| chosen & (1 << place) != 0;
        (0..commands.len()).filter(is_chosen).map(|place| commands[place].clone()).collect()
    };
    (1..1 << commands.len()).map(|chosen| Step::Commands(part(chosen))).collect()
}

/// Makes each call of each step fail in turn, or about one of `every`. Returns the number of failed calls.
pub fn fail_everywhere(recording: &Recording, every: u64, threads: usize, seed: u64) -> Checked<u64> {
    let (failed, next) = (AtomicU64::new(0), AtomicU64::new(1));
    let run = || -> Checked {
        loop {
            let place = next.fetch_add(1, Relaxed) as usize;
            let Some(step) = recording.steps.get(place) else { return Ok(()) };
            let after = &recording.steps[place + 1..(place + 1 + STEPS_AFTER).min(recording.steps.len())];
            let image = &recording.steps[place - 1].image;
            for failure in [Failure::Input, Failure::Full] {
                let is_chosen = |call: &u64| {
                    mix(seed ^ mix((*call << 32) + 2 * place as u64 + failure as u64)).is_multiple_of(every)
                };
                let calls = recording.calls_of(place) as u64 + CALLS_MORE;
                for call in (0..calls).filter(is_chosen) {
                    let kinds = step.step.kinds();
                    let at = |error| format!("step {place} {kinds:?}, call {call}, {failure:?}: {error}");
                    if !fail_at(image, step, after, (call, failure), seed).map_err(at)? {
                        break;
                    }
                    failed.fetch_add(1, Relaxed);
                }
            }
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a thread ends"))
    })?;
    Ok(failed.into_inner())
}

/// Makes one call of a step fail. Returns whether the step has so many calls.
fn fail_at(
    image: &Image,
    step: &RecordedStep,
    after: &[RecordedStep],
    (call, failure): (u64, Failure),
    seed: u64,
) -> Checked<bool> {
    let mut random = Random::new(seed ^ call);
    let mut life = Life::start(image, Planted::Nothing)?;
    life.fail(call, 1, failure);
    life.step(&step.step, step.now)?;
    if locked(&life.store.device).failed == 0 {
        return Ok(false);
    }
    let survival = [Survival::Everything, Survival::AnySectors][random.below(2) as usize];
    life.after_cut(survival, &mut random)?;
    for next in after {
        life.step(&next.step, next.now)?;
    }
    life.after_cut(Survival::Nothing, &mut random)?;
    Ok(true)
}

/// Makes the syncs of one step fail, kills the process, and goes on with the next commands, for each step in turn. Then the power is
/// cut. Returns the number of steps of which the next process has found what was rejected.
pub fn kill_after_failed_syncs(recording: &Recording) -> Checked<u64> {
    let mut found = 0;
    for place in places_of_commands(recording) {
        let (mut store, before) = killed_after_a_failed_sync(recording, place)?;
        store.open()?;
        found += u64::from(store.dump() != before);
        for next in recording.steps[place + 1..].iter().filter(|recorded| is_command(recorded)) {
            store.apply(&next.step, next.now)?;
        }
        let images = images_after_a_cut(&store, place);
        same_rows(images, &store.dump()).map_err(|error| format!("step {place}: {error}"))?;
    }
    Ok(found)
}

/// As `kill_after_failed_syncs`, but the next process is a command of the command line, and the power is cut after it.
pub fn administer_after_failed_syncs(recording: &Recording) -> Checked {
    for place in places_of_commands(recording) {
        let (mut store, _) = killed_after_a_failed_sync(recording, place)?;
        store.administer(&AdminStep::Add("admin"), recording.steps[place].now)?;
        let images = images_after_a_cut(&store, place);
        store.open()?;
        same_rows(images, &store.dump()).map_err(|error| format!("step {place}: {error}"))?;
    }
    Ok(())
}

/// As `kill_after_failed_syncs`, but the power is cut at each call of the next process's start. Returns the number of cuts.
pub fn cut_after_failed_syncs(recording: &Recording) -> Checked<u64> {
    let mut cuts = 0;
    for place in places_of_commands(recording) {
        for call in 0.. {
            let (mut store, _) = killed_after_a_failed_sync(recording, place)?;
            {
                let mut device = locked(&store.device);
                device.cut_at = Some(device.calls + call);
            }
            store.open()?;
            if !store.is_off() {
                break;
            }
            for image in images_after_a_cut(&store, place + call as usize) {
                check_verify(&Store::start(Device::new(Disk::of(&image), Planted::Nothing)))
                    .map_err(|error| format!("step {place}, call {call}: {error}"))?;
            }
            cuts += 1;
        }
    }
    Ok(cuts)
}

fn is_command(recorded: &RecordedStep) -> bool {
    matches!(recorded.step, Step::Commands(_))
}

/// The places of the steps with commands, after two other steps.
fn places_of_commands(recording: &Recording) -> impl Iterator<Item = usize> {
    (2..recording.steps.len()).filter(|place| is_command(&recording.steps[*place]))
}

/// A store whose process was killed after the syncs of a step had failed, and its rows before the kill.
fn killed_after_a_failed_sync(recording: &Recording, place: usize) -> Checked<(Store, Dump)> {
    let [begin, previous, recorded] = &recording.steps[place - 2..=place] else { unreachable!("three steps") };
    let mut store = Store::opened(Device::new(Disk::of(&begin.image), Planted::Nothing))?;
    // The log begins with what was synced.
    store.apply(&previous.step, previous.now)?;
    locked(&store.device).fails_syncs = true;
    store.apply(&recorded.step, recorded.now)?;
    let before = store.dump();
    store.kill();
    Ok((store, before))
}

/// What may be on the disk after a power cut.
fn images_after_a_cut(store: &Store, seed: usize) -> [Image; 2] {
    let mut random = Random::new(seed as u64);
    [Survival::Nothing, Survival::AnySectors].map(|survival| store.image(survival, &mut random))
}

/// A database that is opened from one of the images has these rows.
fn same_rows(images: [Image; 2], acknowledged: &Dump) -> Checked {
    for image in images {
        let mut next = Store::opened(Device::new(Disk::of(&image), Planted::Nothing))?;
        let differences = next.dump().differences(acknowledged);
        if !differences.is_empty() {
            return Err(format!("the rows are not the acknowledged ones: {differences:?}"));
        }
    }
    Ok(())
}

/// A database with some content, and the script that made it.
pub struct Beginning {
    pub image: Image,
    pub script: Script,
}

/// Random steps with random faults, which end with a power cut at a random call, several times.
pub fn live(seed: u64, beginning: &Beginning, planted: Planted) -> Checked {
    let mut random = Random::new(seed);
    let mut script = beginning.script.clone();
    script.reseed(random.next_u64());
    let mut life = Life::start(&beginning.image, planted)?;
    for number in 0..LIVES {
        let steps = 1 + random.below(12);
        for last in (0..steps).rev() {
            if random.below(3) == 0 {
                let failure = [Failure::Input, Failure::Full][random.below(2) as usize];
                let count = [1, 1, 3, 1 + random.below(60)][random.below(4) as usize];
                life.fail(random.below(40), count, failure);
            }
            if last == 0 {
                life.cut(random.below(50));
            }
            let (step, now) = script.next();
            let at = |error| format!("life {number}, {last} steps before the cut, {:?}: {error}", step.kinds());
            let results = life.step(&step, now).map_err(at)?;
            script.learn(&results);
            if life.store.is_off() {
                break;
            }
        }
        let all = [Survival::Nothing, Survival::Everything, Survival::TornWrite, Survival::AnySectors];
        let first = random.below(4) as usize;
        for other in 1..CUTS_PER_LIFE as usize {
            life.after_cut(all[(first + other) % 4], &mut random).map_err(|error| format!("life {number}, {error}"))?;
        }
        let store = life.after_cut(all[first], &mut random).map_err(|error| format!("life {number}, {error}"))?;
        life.go_on(store)?;
    }
    Ok(())
}
