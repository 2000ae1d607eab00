//! Power cuts and failed calls at every place of a script, and at random places of random scripts, without other processes: a
//! file system of SQLite's records what is synced. `tests/server/disk` has the same with the whole program.
//!
//! `DISK_EXHAUSTIVE=1` tests every call, and 10,000 random power cuts. `DISK_SEED=N` repeats the random choices of a run.

mod cuts;
mod lives;
mod model;
mod script;
mod store;
mod vfs;

use crate::common::support;
use cortex_core::internals::Random;
use cortex_core::internals::random::mix;
use cuts::Recording;
use lives::{Beginning, CUTS_PER_LIFE};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;
use vfs::Planted;

/// The seed of the fixed script, which has commands of every kind.
const SCRIPT: u64 = 15;
const COMMANDS: usize = 200;
/// A seed whose random lives find the planted mistakes soon.
const PLANTED: u64 = 4;
/// Random power cuts in the long form, and in the short one.
const RANDOM_CUTS: [u64; 2] = [10_000, 300];
/// Random lives after which a planted mistake must have been found.
const LIVES_TO_FIND: u64 = 2_000;
/// Threads of the long form.
const THREADS: usize = 2;

fn is_exhaustive() -> bool {
    std::env::var_os("DISK_EXHAUSTIVE").is_some_and(|value| value == "1")
}

/// A seed that differs with each run. It is shown if the test fails.
fn seed() -> u64 {
    let given = std::env::var("DISK_SEED").ok().map(|text| text.parse().expect("DISK_SEED must be a number"));
    let seed = given.unwrap_or_else(|| Random::from_system().below(1 << 32));
    println!("DISK_SEED={seed}");
    seed
}

fn fixed_script() -> Recording {
    cuts::record(SCRIPT, COMMANDS, Planted::Nothing).unwrap_or_else(|error| panic!("{error}"))
}

/// Every how many calls are tested, and on how many threads: in the long form, all of them.
fn extent(short: usize) -> (usize, usize) {
    if is_exhaustive() { (1, THREADS) } else { (short, 1) }
}

#[test]
fn a_power_cut_at_every_call_keeps_what_was_acknowledged() {
    if !support::is_sqlite() {
        return;
    }
    let (started, seed, recording) = (Instant::now(), seed(), fixed_script());
    let expected = [
        "Admin",
        "Answer",
        "AnswerMessage",
        "Backup",
        "CancelAnswers",
        "CountUsage",
        "CreateConversation",
        "CreateWorkspace",
        "DeleteConversation",
        "DeleteMessage",
        "DeleteWorkspace",
        "Hold",
        "Index",
        "LeaveConversation",
        "Maintain",
        "Poll",
        "PostMessage",
        "Probe",
        "Release",
        "Restart",
        "SetPassword",
        "UpdateConversation",
        "UpdateMessage",
        "UpdateWorkspace",
    ];
    let kinds = recording.kinds();
    let missing: Vec<_> = expected.iter().filter(|kind| !kinds.contains(**kind)).collect();
    assert!(missing.is_empty(), "the script lacks {missing:?}");
    let (every, threads) = extent(23);
    let cuts =
        recording.cut_everywhere(every, threads, seed).unwrap_or_else(|error| panic!("DISK_SEED={seed}: {error}"));
    let [writes, syncs] = recording.calls_by_kind();
    println!(
        "{cuts} power cuts in {:.1} s: {} commands in {} steps with {writes} writes and {syncs} syncs",
        started.elapsed().as_secs_f64(),
        recording.commands,
        recording.steps.len(),
    );
}

#[test]
fn a_failed_call_at_every_place_loses_nothing() {
    if !support::is_sqlite() {
        return;
    }
    let (started, seed, recording) = (Instant::now(), seed(), fixed_script());
    let (every, threads) = extent(80);
    let failed = lives::fail_everywhere(&recording, every as u64, threads, seed)
        .unwrap_or_else(|error| panic!("DISK_SEED={seed}: {error}"));
    println!("{failed} failed calls in {:.1} s", started.elapsed().as_secs_f64());
}

/// A sync fails, and the process is killed. The next process finds in the log what was rejected, and goes on behind it.
#[test]
fn a_kill_after_a_failed_sync_loses_nothing_later() {
    if !support::is_sqlite() {
        return;
    }
    let recording = cuts::record(SCRIPT, 20, Planted::Nothing).unwrap_or_else(|error| panic!("{error}"));
    let found = lives::kill_after_failed_syncs(&recording).unwrap_or_else(|error| panic!("{error}"));
    assert!(found > 0, "a process finds what was rejected");
    lives::administer_after_failed_syncs(&recording).unwrap_or_else(|error| panic!("{error}"));
    let cuts = lives::cut_after_failed_syncs(&recording).unwrap_or_else(|error| panic!("{error}"));
    assert!(cuts > 0, "a start writes");
}

/// Databases with some content.
fn beginnings(planted: Planted) -> Vec<Beginning> {
    let beginning = |seed| {
        let mut recording = cuts::record(seed, 60, planted).unwrap_or_else(|error| panic!("{error}"));
        let image = recording.steps.pop().expect("a step").image;
        Beginning { image, script: recording.script }
    };
    (1..=4).map(beginning).collect()
}

/// Runs random lives until one fails. Returns its number and error.
fn first_failure(lives: u64, threads: usize, seed: u64, planted: Planted) -> Option<(u64, String)> {
    let (beginnings, next) = (beginnings(planted), AtomicU64::new(0));
    let run = || {
        loop {
            let number = next.fetch_add(1, Relaxed);
            if number >= lives {
                return None;
            }
            let beginning = &beginnings[number as usize % beginnings.len()];
            if let Err(error) = lives::live(mix(seed ^ mix(number)), beginning, planted) {
                next.store(lives, Relaxed);
                return Some((number, error));
            }
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        threads.into_iter().find_map(|thread| thread.join().expect("a thread ends"))
    })
}

#[test]
fn random_faults_and_power_cuts_lose_nothing() {
    if !support::is_sqlite() {
        return;
    }
    let (started, seed) = (Instant::now(), seed());
    let (_, threads) = extent(1);
    let cuts = RANDOM_CUTS[usize::from(!is_exhaustive())];
    let lives = cuts.div_ceil(CUTS_PER_LIFE * lives::LIVES);
    if let Some((number, error)) = first_failure(lives, threads, seed, Planted::Nothing) {
        panic!("DISK_SEED={seed}, run {number}: {error}");
    }
    println!("{cuts} random power cuts of {lives} runs in {:.1} s", started.elapsed().as_secs_f64());
}

/// Mistakes that lose something are found.
#[test]
fn planted_mistakes_of_syncs_are_found() {
    if !support::is_sqlite() {
        return;
    }
    for planted in [Planted::AcknowledgesEarly, Planted::NeverSyncs, Planted::LosesSyncs] {
        let recording = cuts::record(SCRIPT, COMMANDS / 10, planted).unwrap_or_else(|error| panic!("{error}"));
        let error = recording.cut_everywhere(usize::MAX, 1, 0).expect_err(&format!("{planted:?} is not found"));
        println!("{planted:?} is found: {error}");
    }
    let found = first_failure(LIVES_TO_FIND, 1, PLANTED, Planted::RepeatsSyncs);
    let (number, error) = found.expect("repeated syncs are found");
    println!("RepeatsSyncs is found by run {number}: {error}");
}
