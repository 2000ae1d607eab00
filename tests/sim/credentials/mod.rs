//! A simulation of credentials: real shards, the real writer and administrator with the real SQL, clients that hold requests
//! back, and changes that end credentials, determined by a seed. See `world`.

mod model;
mod world;

use crate::{keep_panics_for_later, scratch, take_panic, variable};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{CredentialCounts, CredentialWorld};

const SEEDS_DEFAULT: u64 = 150;

/// Runs one seed; returns a description of a failure.
fn run(seed: u64, trace: bool) -> Result<CredentialCounts, String> {
    keep_panics_for_later();
    let directory = scratch(seed);
    let outcome = crate::while_running(|| {
        catch_unwind(AssertUnwindSafe(|| {
            let mut world = CredentialWorld::new(seed, directory.clone(), trace);
            world.run();
            world.counts
        }))
    });
    let _ = std::fs::remove_dir_all(&directory);
    outcome.map_err(|_| take_panic())
}

#[test]
fn no_credential_outlives_its_end() {
    if let Some(seed) = variable("SIM_SEED") {
        if let Err(failure) = run(seed, true) {
            panic!("SIM_SEED={seed}: {failure}");
        }
        return;
    }
    let mut total = CredentialCounts::default();
    for seed in 1..=variable("SIM_SEEDS").unwrap_or(SEEDS_DEFAULT) {
        match run(seed, false) {
            Ok(counts) => total.add(&counts),
            Err(failure) => panic!("SIM_SEED={seed}: {failure}"),
        }
    }
    println!("{total:?}");
    for (name, count) in total.all() {
        assert!(count > 0, "no run covers {name}");
    }
}
