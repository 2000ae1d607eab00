//! System calls per request, in all threads, as strace counts them.

use crate::program::{COUNTED, Work, counts, release_build};
use std::collections::BTreeMap;

/// Calls by name.
type Calls = BTreeMap<String, u64>;

#[test]
fn a_request_takes_three_system_calls() {
    let Some(program) = release_build() else { return };
    for path in ["/", "/auth/verify"] {
        let calls = calls_each(&program, Work::Get(path));
        for call in ["epoll_wait", "recvfrom", "sendto"] {
            assert_eq!(calls.get(call), Some(&1), "{path}: {calls:?}");
        }
        assert_eq!(calls.len(), 3, "{path}: {calls:?}");
    }
}

#[test]
fn a_durable_message_is_synced_once() {
    let Some(program) = release_build() else { return };
    let calls = calls_each(&program, Work::Post);
    let syncs: u64 = ["fsync", "fdatasync"].iter().filter_map(|call| calls.get(*call)).sum();
    assert_eq!(syncs, 1, "{calls:?}");
    assert_eq!(calls.get("recvfrom"), Some(&1), "{calls:?}");
    assert_eq!(calls.get("sendto"), Some(&1), "{calls:?}");
    // Four or five pages, each with its header.
    assert!(calls["pwrite64"] <= 10, "{calls:?}");
    let total: u64 = calls.values().sum();
    assert!(total <= CALLS_OF_MESSAGE_MAX, "{total}: {calls:?}");
}

/// All calls for one message that is committed alone.
const CALLS_OF_MESSAGE_MAX: u64 = 46;

/// Calls per request, rounded; those that only happen now and then are left out.
fn calls_each(program: &std::path::Path, work: Work) -> Calls {
    let [less, more] = counts(&["strace", "-f", "-qq", "-c", "-o", "OUTPUT"], program, work, calls);
    let each = |(name, count): (&String, &u64)| {
        let requests = count.saturating_sub(*less.get(name).unwrap_or(&0));
        (name.clone(), (requests + COUNTED as u64 / 2) / COUNTED as u64)
    };
    more.iter().map(each).filter(|(_, calls)| *calls > 0).collect()
}

/// The table that `strace -c` writes: the calls are in the fourth column, and the name is in the last.
fn calls(table: &str) -> Calls {
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| {
        row.len() >= 5 && row[0].starts_with(|c: char| c.is_ascii_digit()) && row[row.len() - 1] != "total"
    })
    .map(|row| (row[row.len() - 1].to_owned(), row[3].parse().expect("a number of calls")))
    .collect()
}
