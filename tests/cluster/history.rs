//! Histories of clients at several instances that are killed. Each history is also written as EDN in the form of Elle's list-append
//! model.

use crate::cluster::{Cluster, amount};
use crate::common::history::{Clients, Moments, Recorded, edn, is_linearizable};
use cortex_core::internals::Random;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

#[test]
fn histories_of_clients_at_killed_instances_are_linearizable() {
    let mut cluster = Cluster::start("history");
    let mut random = Random::from_system();
    let (addresses, moments) = (cluster.addresses(), Moments::default());
    let mut histories: Vec<Vec<Recorded>> = Vec::new();
    for _ in 0..amount(12, 500) {
        let mut owner = cluster.user(0, "ann");
        let clients = Clients::new(&addresses, owner.start_conversation("c"), owner.token.clone(), &moments);
        let killed = random.below(3) as usize;
        let kill_after = Duration::from_millis(random.below(60));
        let mut recorded = clients.run(&mut random, || {
            thread::sleep(kill_after);
            cluster.instances[killed].kill();
        });
        recorded.push(clients.read_last(addresses[(killed + 1) % 3]));
        assert!(is_linearizable(&recorded), "{}", edn(&[recorded]));
        histories.push(recorded);
        cluster.instances[killed].start_again();
    }
    let (operations, lines) = (histories.iter().flatten().count(), edn(&histories));
    let unknown = histories.iter().flatten().filter(|recorded| !recorded.is_known).count();
    assert!(unknown > 0, "kills hit operations");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("history.edn");
    fs::write(&path, lines).expect("a file in the directory of the tests");
    println!("{operations} operations, {unknown} with an unknown outcome: {}", path.display());
}
