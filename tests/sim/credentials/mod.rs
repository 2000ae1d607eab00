//! A simulation of credentials: real shards, the real writer and administrator with the real SQL, clients that hold requests
//! back, and changes that end credentials, determined by a seed. See `world`.

mod model;
mod world;

use crate::database::is_on_server;
use crate::trace::{Trace, run_seed};
use crate::{caught, is_twice, variable};
use world::{CredentialCounts, CredentialWorld};

const SEEDS_DEFAULT: u64 = 150;
/// As [`SEEDS_DEFAULT`], on a server.
const SEEDS_ON_SERVER: u64 = 40;

/// Runs one seed; returns a description of a failure.
fn run(seed: u64, trace: Trace) -> Result<(CredentialCounts, Trace), String> {
    caught(seed, |directory| {
        let mut world = CredentialWorld::new(seed, directory, trace);
        world.run();
        (world.counts, world.trace)
    })
}

#[test]
fn no_credential_outlives_its_end() {
    if let Some(seed) = variable("SIM_SEED") {
        if let Err(failure) = run(seed, Trace::Shown) {
            panic!("SIM_SEED={seed}: {failure}");
        }
        return;
    }
    let mut total = CredentialCounts::default();
    let seeds_default = if is_on_server() { SEEDS_ON_SERVER } else { SEEDS_DEFAULT };
    for seed in 1..=variable("SIM_SEEDS").unwrap_or(seeds_default) {
        match run_seed(is_twice(seed), |trace| run(seed, trace)) {
            Ok(counts) => total.add(&counts),
            Err(failure) => panic!("SIM_SEED={seed}: {failure}"),
        }
    }
    println!("{total:?}");
    for (name, count) in total.all() {
        assert!(count > 0, "no run covers {name}");
    }
}
