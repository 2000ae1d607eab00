//! Histories of what clients send and receive while processes are killed, checked by a linearizability checker of others
//! (`todc-utils`).
//!
//! A conversation is a list: its messages are appended, and its first page is read. A history can also be written as EDN in the form
//! of Elle's list-append model.

use super::{Client, DEADLINE};
use cortex_core::internals::Random;
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

const CLIENTS: usize = 5;
/// Operations of one client in one history. The checker needs a time that may be exponential in the length of a history.
const OPERATIONS: usize = 16;

/// An operation on a list, with its result.
#[derive(Debug, Clone)]
pub enum Operation {
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
pub struct Recorded {
    /// The process of the history. A client whose operation has an unknown outcome goes on as another one.
    pub process: usize,
    /// When it was sent and when its client went on: places in the order of all these moments.
    pub sent_at: u64,
    pub ended_at: u64,
    /// Whether there was a response that says that it took effect.
    pub is_known: bool,
    pub operation: Operation,
}

/// Whether the operations are linearizable. An append with an unknown outcome may take effect at any time after it was sent. One that
/// no query has shown is left out, since it may take effect after all of them.
pub fn is_linearizable(recorded: &[Recorded]) -> bool {
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
pub fn edn(histories: &[Vec<Recorded>]) -> String {
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

/// The moments and processes of all histories of a test.
#[derive(Default)]
pub struct Moments {
    moments: AtomicU64,
    processes: AtomicUsize,
}

/// What is common to the clients of one history.
pub struct Clients<'a> {
    pub addresses: &'a [SocketAddr],
    pub conversation: String,
    pub token: String,
    moments: &'a Moments,
    values: AtomicU64,
}

impl<'a> Clients<'a> {
    pub fn new(addresses: &'a [SocketAddr], conversation: String, token: String, moments: &'a Moments) -> Clients<'a> {
        Clients { addresses, conversation, token, moments, values: AtomicU64::new(0) }
    }

    /// Runs all clients, and `interrupt` beside them. Returns their history, without the result of a last query.
    pub fn run(&self, random: &mut Random, interrupt: impl FnOnce()) -> Vec<Recorded> {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..CLIENTS)
                .map(|_| Random::new(random.next_u64()))
                .map(|random| scope.spawn(move || self.run_client(random)))
                .collect();
            interrupt();
            threads.into_iter().flat_map(|thread| thread.join().expect("a client succeeds")).collect()
        })
    }

    /// The last query, which shows which appends took effect.
    pub fn read_last(&self, addr: SocketAddr) -> Recorded {
        let read = Operation::Read { values: Vec::new(), position: 0 };
        let (process, sent_at) = (self.moments.next_process(), self.moments.next());
        let operation = self.execute(addr, &read).expect("a result");
        Recorded { process, sent_at, ended_at: self.moments.next(), is_known: true, operation }
    }

    /// Appends and reads at random instances.
    fn run_client(&self, mut random: Random) -> Vec<Recorded> {
        let mut process = self.moments.next_process();
        let (mut recorded, end) = (Vec::new(), Instant::now() + DEADLINE);
        while recorded.len() < OPERATIONS {
            let addr = self.addresses[random.below(self.addresses.len() as u64) as usize];
            let operation = match random.below(2) {
                0 => Operation::Append { value: self.values.fetch_add(1, Relaxed), number: None },
                _ => Operation::Read { values: Vec::new(), position: 0 },
            };
            let sent_at = self.moments.next();
            let result = self.execute(addr, &operation);
            let ended_at = self.moments.next();
            if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
                // It was not sent.
                assert!(Instant::now() < end, "no server listens");
                thread::sleep(Duration::from_millis(2));
                continue;
            }
            let is_known = result.is_ok();
            recorded.push(Recorded { process, sent_at, ended_at, is_known, operation: result.unwrap_or(operation) });
            if !is_known {
                process = self.moments.next_process();
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

impl Moments {
    fn next(&self) -> u64 {
        self.moments.fetch_add(1, Relaxed)
    }

    fn next_process(&self) -> usize {
        self.processes.fetch_add(1, Relaxed)
    }
}
