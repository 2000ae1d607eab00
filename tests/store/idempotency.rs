//! Repeated requests with an idempotency key.

use crate::common::*;
use cortex_core::internals::limits::IDEMPOTENCY_RETENTION_SECONDS;
use cortex_core::internals::{
    Command, CommandResult, ConversationId, ConversationRef, EventNumber, Idempotency, Outcome, Rejection,
};
use std::sync::Arc;

fn keyed(user: &str, key: &str, fingerprint: u8, text: &str) -> Command {
    let mut command = command(user, post(ConversationRef::Default, text));
    command.idempotency = Some(Idempotency { key: key.into(), fingerprint: [fingerprint; 32] });
    command
}

/// The body and number of a replayed response; `None` for a first response.
fn replayed(command_result: &CommandResult) -> Option<(Arc<[u8]>, Option<EventNumber>)> {
    match command_result.result.as_ref().unwrap() {
        Outcome::Replayed { body, number } => {
            assert_eq!(*number, command_result.number);
            Some((body.clone(), *number))
        }
        _ => None,
    }
}

#[test]
fn a_repeated_request_gets_the_stored_response() {
    let mut world = World::in_file();
    let first = world.commit(&[keyed("ann", "k", 1, "x")]);
    let kept = (render(first.results[0].result.as_ref().unwrap()).into(), first.results[0].number);
    assert!(first.results[0].number.is_some());

    for _ in 0..2 {
        let again = world.commit(&[keyed("ann", "k", 1, "x")]);
        assert_eq!(replayed(&again.results[0]), Some(kept.clone()));
        assert!(again.events.is_empty(), "nothing is stored");
        world.reopen();
    }
    let other = world.commit(&[keyed("ann", "k", 2, "y")]);
    assert_eq!(other.results[0].result.as_ref().unwrap_err(), &Rejection::IdempotencyKeyReused);
    assert!(replayed(&world.commit(&[keyed("ben", "k", 1, "x")]).results[0]).is_none(), "keys are per user");

    let twice = world.commit(&[keyed("ann", "two", 1, "x"), keyed("ann", "two", 1, "x"), keyed("ann", "two", 3, "x")]);
    let body = render(twice.results[0].result.as_ref().unwrap());
    assert_eq!(&*replayed(&twice.results[1]).unwrap().0, &*body);
    assert_eq!(twice.results[2].result.as_ref().unwrap_err(), &Rejection::IdempotencyKeyReused);
    assert_eq!(twice.events.len(), 1);
    world.writer().check_invariants();
}

#[test]
fn keys_of_rejected_and_expired_requests_are_free() {
    let mut world = World::in_memory();
    let mut rejected = keyed("ann", "k", 1, "x");
    rejected.kind = post(ConversationRef::Id(ConversationId(uuid::Uuid::nil())), "x");
    assert!(world.commit(&[rejected]).results[0].result.is_err());
    assert!(replayed(&world.commit(&[keyed("ann", "k", 2, "x")]).results[0]).is_none());

    world.pass_seconds(IDEMPOTENCY_RETENTION_SECONDS - 1);
    assert!(replayed(&world.commit(&[keyed("ann", "k", 2, "x")]).results[0]).is_some());
    world.pass_seconds(2);
    assert!(replayed(&world.commit(&[keyed("ann", "k", 3, "x")]).results[0]).is_none(), "the key expires after a day");
    assert!(replayed(&world.commit(&[keyed("ann", "k", 3, "x")]).results[0]).is_some());
    world.maintain_all();
    assert!(
        replayed(&world.commit(&[keyed("ann", "k", 3, "x")]).results[0]).is_some(),
        "maintenance keeps younger responses"
    );
}
