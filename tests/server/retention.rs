//! Gaps of streams whose position was removed by retention.

use crate::common::sse::Event;
use crate::common::{DEADLINE, Server, User};
use std::time::Instant;

/// A stream resumed from a number gets one gap, if any later event of its user was removed, and then the rest.
#[test]
fn a_stream_that_lags_behind_retention_gets_one_gap() {
    let server = Server::with(&[
        // Ben keeps the two events of his default conversation, and Ann five.
        ("JOURNAL_RETENTION_EVENTS", "7"),
        ("STREAM_STALL_TIMEOUT_SECONDS", "0.2"),
        ("STREAM_BUFFER_BYTES", "4096"),
    ]);
    let (mut ann, mut ben) = (User::new(&server, "ann"), User::new(&server, "ben"));
    ben.say("default", "mine");
    let workspace = ann.create_workspace("w");
    let conversation = ann.create_conversation(&workspace, "t", &["ben"]);
    let start = ann.stream().established.number();
    let texts: Vec<String> = (0..40).map(|round| format!("message {round} {}", "x".repeat(300))).collect();
    for text in &texts {
        ann.say(&conversation, text);
    }
    for round in 0..20 {
        ann.create_workspace(&format!("w{round}"));
    }
    let newest = ann.stream().established.number();
    let first_kept = newest - 5 + 1;

    let replay = |user: &User, after: u64| {
        let mut stream = user.stream_with(&format!("last_event_id={after}"));
        let mut events = Vec::new();
        while events.last().is_none_or(|event: &Event| event.kind() != "caught_up") {
            events.push(stream.next());
        }
        events
    };
    // Nothing else happens meanwhile: retention removes each event once it is old enough.
    let end = Instant::now() + DEADLINE;
    let others = |events: &[Event]| events.iter().filter(|e| !e.is_control() && e.kind() != "input").count();
    while others(&replay(&ann, 0)) > 5 {
        assert!(Instant::now() < end, "retention does not remove the events");
    }
    let events = replay(&ann, 0);
    let gaps: Vec<&Event> = events.iter().filter(|event| event.kind() == "gap").collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!((events[0].kind(), events[0].number()), ("gap", 0), "the gap comes first");
    assert_eq!(events[0].data["data"]["first_available_id"], first_kept);
    let contents: Vec<&str> = events.iter().map(Event::content).filter(|content| !content.is_empty()).collect();
    assert_eq!(contents, texts, "every message is replayed");
    let numbers: Vec<u64> = events[1..events.len() - 1].iter().map(Event::number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(numbers[40..], [first_kept, first_kept + 1, first_kept + 2, first_kept + 3, newest]);

    let gaps_after = |user: &User, after: u64| replay(user, after).iter().filter(|e| e.kind() == "gap").count();
    assert_eq!([first_kept - 2, first_kept - 1].map(|after| gaps_after(&ann, after)), [1, 0]);
    // Ben's newest removed event is the creation of the conversation; later removals that concern only Ann are no gap
    // for him.
    assert_eq!([start - 1, start].map(|after| gaps_after(&ben, after)), [1, 0]);
    assert_eq!(replay(&ben, start).len(), texts.len() + 1);
}
