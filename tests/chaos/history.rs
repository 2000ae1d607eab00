//! Histories of what clients send and receive while the server is killed.

use crate::common::history::{Clients, Moments, Operation, Recorded, edn, is_linearizable};
use crate::common::port::free_port;
use crate::common::{Options, Server, User};
use crate::scale;
use std::thread;
use std::time::Duration;

/// Histories of a normal run, each with a kill.
const HISTORIES: u64 = 20;

#[test]
fn histories_of_clients_at_a_killed_server_are_linearizable() {
    let mut random = scale::random("history");
    let mut server = Server::start(Options::new().set("PORT", free_port()).set("LOG_LEVEL", "WARNING"));
    let moments = Moments::default();
    let (mut operations, mut unknown) = (0, 0);
    for _ in 0..scale::setting("CHAOS_CYCLES").unwrap_or(HISTORIES) {
        let mut owner = User::new(&server, "ann");
        let addresses = [server.addr];
        let clients = Clients::new(&addresses, owner.start_conversation("c"), owner.token.clone(), &moments);
        let kill_after = Duration::from_micros(random.below(30_000));
        let mut recorded = clients.run(&mut random, || {
            thread::sleep(kill_after);
            server.kill();
            server.restart();
        });
        recorded.push(clients.read_last(server.addr));
        operations += recorded.len();
        unknown += recorded.iter().filter(|recorded| !recorded.is_known).count();
        assert!(is_linearizable(&recorded), "{}", edn(&[recorded]));
    }
    assert!(unknown > 0, "kills hit operations");
    println!("{operations} operations, {unknown} with an unknown outcome");
}

/// The checker finds what it must find.
#[test]
fn wrong_histories_are_not_linearizable() {
    let append = |value, number| Operation::Append { value, number };
    let read = |values: &[u64], position| Operation::Read { values: values.to_vec(), position };
    let known = |at: u64, operation| Recorded { process: 0, sent_at: at, ended_at: at + 10, is_known: true, operation };
    let lost = |at: u64, value| Recorded { is_known: false, ..known(at, append(value, None)) };
    let table = [
        ("in order", true, vec![known(0, append(1, Some(5))), known(20, read(&[1], 5)), known(40, append(2, Some(6)))]),
        (
            "at once",
            true,
            vec![known(0, append(1, Some(6))), known(1, append(2, Some(5))), known(20, read(&[2, 1], 6))],
        ),
        ("a stale query", false, vec![known(0, append(1, Some(5))), known(20, read(&[], 5))]),
        (
            "a lost append",
            false,
            vec![known(0, append(1, Some(5))), known(2, append(2, Some(6))), known(20, read(&[2], 6))],
        ),
        ("an append twice", false, vec![known(0, append(1, Some(5))), known(20, read(&[1, 1], 6))]),
        (
            "two orders",
            false,
            vec![
                known(0, append(1, None)),
                known(1, append(2, None)),
                known(20, read(&[1, 2], 9)),
                known(40, read(&[2, 1], 9)),
            ],
        ),
        ("a number that goes back", false, vec![known(0, append(1, Some(6))), known(20, append(2, Some(5)))]),
        ("an old position", false, vec![known(0, append(1, Some(6))), known(20, read(&[1], 5))]),
        (
            "an unknown append that is shown late",
            true,
            vec![lost(0, 1), known(20, read(&[], 0)), known(40, read(&[1], 9))],
        ),
        ("an unknown append that is never shown", true, vec![lost(0, 1), known(20, read(&[], 0))]),
        ("an unknown append that is shown before", false, vec![known(0, read(&[1], 9)), lost(20, 1)]),
        ("an unknown append that vanishes", false, vec![lost(0, 1), known(20, read(&[1], 9)), known(40, read(&[], 9))]),
    ];
    for (name, expected, recorded) in table {
        assert_eq!(is_linearizable(&recorded), expected, "{name}");
    }
}
