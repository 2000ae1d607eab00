//! A simulation of answers: the real scheduler, the real answers and the real SQL, with models, clients, queues and
//! crashes determined by a seed. See `world`.

mod planted;
mod reference;
mod server;
mod world;

use crate::database::is_on_server;
use crate::trace::{Trace, run_seed};
use crate::{caught, is_twice, variable};
use planted::Planted;
use world::{AnswerWorld, Counts};

const SEEDS_DEFAULT: u64 = 150;
/// As [`SEEDS_DEFAULT`], on a server.
const SEEDS_ON_SERVER: u64 = 40;
/// Seeds after which a planted mistake must have been found.
const SEEDS_TO_FIND: u64 = 300;

/// Runs one seed; returns a description of a failure.
fn run(seed: u64, planted: Planted, trace: Trace) -> Result<(Counts, Trace), String> {
    caught(seed, |directory| {
        let mut world = AnswerWorld::new(seed, planted, directory, trace);
        world.run();
        (world.counts, world.trace)
    })
}

#[test]
fn every_job_is_answered_once_and_in_order() {
    if let Some(seed) = variable("SIM_SEED") {
        if let Err(failure) = run(seed, Planted::Nothing, Trace::Shown) {
            panic!("SIM_SEED={seed}: {failure}");
        }
        return;
    }
    let mut total = Counts::default();
    let seeds_default = if is_on_server() { SEEDS_ON_SERVER } else { SEEDS_DEFAULT };
    for seed in 1..=variable("SIM_SEEDS").unwrap_or(seeds_default) {
        match run_seed(is_twice(seed), |trace| run(seed, Planted::Nothing, trace)) {
            Ok(counts) => total.add(&counts),
            Err(failure) => panic!("SIM_SEED={seed}: {failure}"),
        }
    }
    println!("{total:?}");
    for (name, count) in total.all() {
        assert!(count > 0, "no run covers {name}");
    }
}

#[test]
fn planted_scheduler_mistakes_are_found() {
    // The scheduler has no part in the engine of the database.
    if is_on_server() {
        return;
    }
    for planted in Planted::ALL {
        let found = (1..=SEEDS_TO_FIND).find_map(|seed| Some((seed, run(seed, planted, Trace::Dropped).err()?)));
        let (seed, failure) = found.unwrap_or_else(|| panic!("{planted:?} is not found"));
        println!("{planted:?} is found by seed {seed}: {failure}");
    }
}
