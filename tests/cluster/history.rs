//! Histories of clients at several instances that are killed, checked by a linearizability checker of others (`todc-utils`).
//!
//! A conversation is a list: its messages are appended, and its first page is read. Each history is also written as EDN in the form
//! of Elle's list-append model.

use crate::cluster::{Cluster, amount};
use crate::common::Client;
use cortex_core::internals::Random;
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

const CLIENTS: usize = 5;
/// Operations of one client in one history. The checker needs a time that may be exponential in the length of a history.
const OPERATIONS: u64 = 16;

/// An operation on a list, with its result.
#[derive(Debug, Clone)]
enum Operation {
    /// Appends a value. The number of its event is known if there was a response.
    Append { value: u64, number: Option<u64> },
    /// Reads all values, and a position of the journal at which they were read. The result is known after the response.
    Read { values: Vec<u64>, position: u64 },
}

/// A list, and the number of the last event that is known.
struct List;

impl Specification for List {
    type State = (Vec<u64>, u64);
    type Operation = Operation;

    fn init() -> Self::State {
        (Vec::new(), 0)
    }

    fn apply(operation: &Operation, (values, last): &Self::State) -> (bool, Self::State) {
        match operation {
            Operation::Append { value, number } => {
                let appended = values.iter().chain([value]).copied().collect();
                (number.is_none_or(|number| number > *last), (appended, number.unwrap_or(*last)))
            }
            Operation::Read { values: read, position } => (read == values && position >= last, (values.clone(), *last)),
        }
    }
}

/// What one client did at one moment.
struct Recorded {
    /// The process of the history. A client whose operation has an unknown outcome goes on as another one.
    process: usize,
    /// When it was sent and when its client went on: places in the order of all these moments.
    sent_at: u64,
    ended_at: u64,
    /// Whether there was a response that says that it took effect.
    is_known: bool,
    operation: Operation,
}

/// Whether the operations are linearizable. An append with an unknown outcome may take effect at any time after it was sent. One that
/// no query has shown is left out, since it may take effect after all of them.
fn is_linearizable(recorded: &[Recorded]) -> bool {
    let shown: BTreeSet<u64> = recorded.iter().flat_map(|recorded| recorded.operation.values()).copied().collect();
    let mut actions = Vec::new();
    for (number, Recorded { sent_at, ended_at, is_known, operation, .. }) in recorded.iter().enumerate() {
        let ended_at = match operation {
            _ if *is_known => *ended_at,
            Operation::Append { value, .. } if shown.contains(value) => u64::MAX,
            _ => continue,
        };
        actions.push((*sent_at, number, Action::Call(operation.clone())));
        actions.push((ended_at, number, Action::Response(operation.clone())));
    }
    actions.sort_by_key(|(at, number, _)| (*at, *number));
    // Each operation is a process of its own: those of one client are in order anyway.
    let actions: Vec<_> = actions.into_iter().map(|(_, number, action)| (number, action)).collect();
    actions.is_empty() || WGLChecker::<List>::is_linearizable(History::from_actions(actions))
}

/// The histories of lists, as Elle reads them.
fn edn(histories: &[Vec<Recorded>]) -> String {
    let mut steps = Vec::new();
    for (list, Recorded { process, sent_at, ended_at, is_known, operation }) in
        histories.iter().enumerate().flat_map(|(list, history)| history.iter().map(move |recorded| (list, recorded)))
    {
        let (sent, done) = match operation {
            Operation::Append { value, .. } => {
                (format!("[:append {list} {value}]"), format!("[:append {list} {value}]"))
            }
            Operation::Read { values, .. } => (format!("[:r {list} nil]"), format!("[:r {list} {values:?}]")),
        };
        let (kind, result) = if *is_known { ("ok", done) } else { ("info", sent.clone()) };
        steps.push((*sent_at, process, "invoke", sent));
        steps.push((*ended_at, process, kind, result));
    }
    steps.sort_unstable();
    let mut lines = String::new();
    for (index, (at, process, kind, value)) in steps.iter().enumerate() {
        writeln!(lines, "{{:index {index}, :time {at}, :type :{kind}, :process {process}, :f :txn, :value [{value}]}}")
            .expect("a string takes all");
    }
    lines
}

impl Operation {
    /// The values that it has shown.
    fn values(&self) -> &[u64] {
        match self {
            Operation::Append { .. } => &[],
            Operation::Read { values, .. } => values,
        }
    }
}

/// What is common to the clients of one history.
struct Clients<'a> {
    addresses: &'a [SocketAddr],
    conversation: String,
    token: String,
    moments: &'a AtomicU64,
    values: AtomicU64,
    processes: &'a AtomicUsize,
}

impl Clients<'_> {
    /// Appends and reads at random instances.
    fn run(&self, mut random: Random) -> Vec<Recorded> {
        let mut process = self.processes.fetch_add(1, Relaxed);
        let mut recorded = Vec::new();
        for _ in 0..OPERATIONS {
            let addr = self.addresses[random.below(self.addresses.len() as u64) as usize];
            let operation = match random.below(2) {
                0 => Operation::Append { value: self.values.fetch_add(1, Relaxed), number: None },
                _ => Operation::Read { values: Vec::new(), position: 0 },
            };
            let sent_at = self.moments.fetch_add(1, Relaxed);
            let result = self.execute(addr, &operation);
            let ended_at = self.moments.fetch_add(1, Relaxed);
            if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
                // It was not sent.
                continue;
            }
            let is_known = result.is_ok();
            recorded.push(Recorded { process, sent_at, ended_at, is_known, operation: result.unwrap_or(operation) });
            if !is_known {
                process = self.processes.fetch_add(1, Relaxed);
            }
        }
        recorded
    }

    /// Executes an operation. Returns it with its result.
    fn execute(&self, addr: SocketAddr, operation: &Operation) -> io::Result<Operation> {
        let (mut client, path) = (Client::new(addr), format!("/conversations/{}/messages", self.conversation));
        let request = match operation {
            Operation::Append { value, .. } => {
                client.request("POST", &path).json(&json!({"content": value.to_string(), "role": "user"}))
            }
            Operation::Read { .. } => client.request("GET", &format!("{path}?limit=1000")),
        };
        let response = request.token(&self.token).try_send()?;
        if response.status == 503 {
            return Err(ErrorKind::Other.into());
        }
        let response = response.expect(200);
        Ok(match operation {
            Operation::Append { value, .. } => {
                Operation::Append { value: *value, number: Some(response.number("X-Event-Id")) }
            }
            Operation::Read { .. } => {
                let messages = response.json();
                let values = messages.as_array().expect("a list").iter().map(|message| {
                    let content = message["content"].as_str().expect("a text");
                    content.parse().expect("a value")
                });
                Operation::Read { values: values.collect(), position: response.number("X-Last-Event-Id") }
            }
        })
    }
}

#[test]
fn histories_of_clients_at_killed_instances_are_linearizable() {
    let mut cluster = Cluster::start("history");
    let mut random = Random::from_system();
    let addresses = cluster.addresses();
    let (moments, processes) = (AtomicU64::new(0), AtomicUsize::new(0));
    let mut histories: Vec<Vec<Recorded>> = Vec::new();
    for _ in 0..amount(12, 500) {
        let mut owner = cluster.user(0, "ann");
        let clients = Clients {
            addresses: &addresses,
            conversation: owner.start_conversation("c"),
            token: owner.token.clone(),
            moments: &moments,
            values: AtomicU64::new(0),
            processes: &processes,
        };
        let killed = random.below(3) as usize;
        let kill_after = Duration::from_millis(random.below(60));
        let mut recorded: Vec<Recorded> = thread::scope(|scope| {
            let clients = &clients;
            let threads: Vec<_> = (0..CLIENTS)
                .map(|_| Random::new(random.next_u64()))
                .map(|random| scope.spawn(move || clients.run(random)))
                .collect();
            thread::sleep(kill_after);
            cluster.instances[killed].kill();
            threads.into_iter().flat_map(|thread| thread.join().expect("a client succeeds")).collect()
        });
        // The last query shows which appends took effect.
        let read = Operation::Read { values: Vec::new(), position: 0 };
        let (process, sent_at) = (processes.fetch_add(1, Relaxed), moments.fetch_add(1, Relaxed));
        let operation = clients.execute(addresses[(killed + 1) % 3], &read).expect("a result");
        let ended_at = moments.fetch_add(1, Relaxed);
        recorded.push(Recorded { process, sent_at, ended_at, is_known: true, operation });
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
