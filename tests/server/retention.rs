//! Gaps of streams whose position was removed by retention.

use crate::common::metrics::{Scrape, wait_for};
use crate::common::sse::Event;
use crate::common::{DEADLINE, Response, Server, User, assert_error};
use serde_json::{Value, json};
use std::time::Instant;

/// The events of a user after a number, and `caught_up`.
fn replay(user: &User, after: u64) -> Vec<Event> {
    let mut stream = user.stream_with(&format!("last_event_id={after}"));
    let mut events = Vec::new();
    while events.last().is_none_or(|event: &Event| event.kind() != "caught_up") {
        events.push(stream.next());
    }
    events
}

/// The numbers of the state events among `events`.
fn state_events(events: &[Event]) -> Vec<u64> {
    let state_events = events.iter().filter(|event| !event.is_control() && event.kind() != "input");
    state_events.map(Event::number).collect()
}

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

/// The bound of the journal in `a_user_who_fills_the_journal`.
const JOURNAL_BYTES: u64 = 2 << 20;

/// 255 ids of the greatest length.
fn long_ids() -> Vec<String> {
    (0..255).map(|n| format!("{n:03}{}", "x".repeat(252))).collect()
}

/// Sends the requests of `flood`, by their number, until their events exceed the bound of the journal by half. Another user writes state
/// meanwhile, and keeps every event.
fn a_user_who_fills_the_journal(
    prepare: impl FnOnce(&mut User) -> Value,
    flood: impl Fn(&mut User, &Value, u64) -> Response,
) {
    let server = Server::with(&[
        ("JOURNAL_RETENTION_BYTES", &JOURNAL_BYTES.to_string()),
        ("STREAM_STALL_TIMEOUT_SECONDS", "0.5"),
    ]);
    let (mut ann, mut eve) = (User::new(&server, "ann"), User::new(&server, "eve"));
    let workspace = ann.create_workspace("w");
    let conversation = ann.create_conversation(&workspace, "t", &["ben"]);
    let prepared = prepare(&mut eve);
    let (mut own, mut accepted, mut rejected, mut largest) = (Vec::new(), Vec::new(), 0, 0.0);
    let journal_bytes = |scrape: &Scrape| scrape.get("cortex_journal_bytes");
    let end = Instant::now() + 4 * DEADLINE;
    let mut written = 0;
    while written < 3 * JOURNAL_BYTES / 2 {
        assert!(Instant::now() < end, "the rate is too low");
        let response = flood(&mut eve, &prepared, accepted.len() as u64);
        if response.status == 200 {
            accepted.push(response.number("X-Event-Id"));
            written += response.body.len() as u64;
        } else {
            assert_error(&response, 429, "rate_limited");
            assert!(response.number("Retry-After") > 0);
            let policy = format!("\"state-events\";q={};w=1", JOURNAL_BYTES / 4);
            assert_eq!(response.header("RateLimit-Policy"), Some(&*policy), "{}", response.shown());
            rejected += 1;
        }
        if accepted.len() % 8 == 0 {
            let renamed =
                ann.put(&format!("/config/conversation/{conversation}"), json!({"topic": "again"})).expect(200);
            own.push(renamed.number("X-Event-Id"));
            eve.post("/input", json!({"content": "messages have no such rate"})).expect(200);
            largest = f64::max(largest, journal_bytes(&Scrape::of(&server)));
        }
    }
    assert!(rejected > 0, "the rate is limited");
    assert!(largest < 2.0 * JOURNAL_BYTES as f64, "{largest} bytes");
    wait_for(&server, |scrape| journal_bytes(scrape) <= JOURNAL_BYTES as f64);

    let events = replay(&ann, 0);
    assert!(events.iter().all(|event| event.kind() != "gap"), "no event of another user is lost");
    assert_eq!(state_events(&events)[2..], own);
    let events = replay(&eve, 0);
    let kept = state_events(&events);
    let newest_lost = accepted.iter().rfind(|number| !kept.contains(number)).expect("the oldest events are removed");
    assert_eq!(events[0].kind(), "gap");
    assert_eq!(events[0].data["data"]["first_available_id"], newest_lost + 1);
    let kept = accepted.iter().filter(|number| kept.contains(number)).copied();
    assert_eq!(
        kept.collect::<Vec<_>>(),
        accepted.iter().copied().filter(|number| number > newest_lost).collect::<Vec<_>>()
    );
    let events = replay(&eve, *newest_lost);
    assert!(events.iter().all(|event| event.kind() != "gap"), "a stream that has the last removed event lost nothing");
}

/// 3,300 of these requests filled a journal of 1 GiB in a minute, and removed the state events of all users.
#[test]
fn updates_of_a_large_conversation_push_out_no_events_of_others() {
    let prepare = |eve: &mut User| {
        let workspace = eve.create_workspace("w");
        let metadata = json!({"x": "y".repeat(65_000)});
        let request =
            json!({"workspace_id": workspace, "topic": "t", "participant_ids": long_ids(), "metadata": metadata});
        eve.post("/config/conversation", request).expect(200).json()["conversation"]["id"].clone()
    };
    a_user_who_fills_the_journal(prepare, |eve, id, n| {
        eve.put(&format!("/config/conversation/{}", id.as_str().expect("an id")), json!({"topic": format!("{n}")}))
    });
}

#[test]
fn updates_of_a_workspace_push_out_no_events_of_others() {
    let prepare = |eve: &mut User| {
        let metadata = json!({"x": "y".repeat(65_000)});
        let request = json!({"name": "w", "description": "d", "metadata": metadata});
        eve.post("/config/workspace", request).expect(200).json()["workspace"]["id"].clone()
    };
    a_user_who_fills_the_journal(prepare, |eve, id, n| {
        eve.put(&format!("/config/workspace/{}", id.as_str().expect("an id")), json!({"name": format!("{n}")}))
    });
}

#[test]
fn many_workspaces_push_out_no_events_of_others() {
    let metadata = json!({"x": "y".repeat(65_000)});
    a_user_who_fills_the_journal(
        |_| Value::Null,
        |eve, _, n| {
            let request = json!({"name": format!("{n:03}"), "description": "d", "metadata": metadata});
            eve.post("/config/workspace", request)
        },
    );
}

#[test]
fn added_and_removed_participants_push_out_no_events_of_others() {
    let ids = long_ids();
    let prepare = |eve: &mut User| {
        let workspace = eve.create_workspace("w");
        Value::String(eve.create_conversation(&workspace, "t", &[]))
    };
    a_user_who_fills_the_journal(prepare, |eve, id, n| {
        let participants = if n % 2 == 0 { &ids[..] } else { &[] };
        let request = json!({"participant_ids": participants});
        eve.put(&format!("/config/conversation/{}", id.as_str().expect("an id")), request)
    });
}
