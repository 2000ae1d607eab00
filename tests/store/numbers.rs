//! Numbers, times and ids grow in commit order.

use crate::common::*;
use cortex_core::internals::{CommandKind, ConversationRef, EventNumber, MessageId, WallTime};

#[test]
fn numbers_are_never_used_twice() {
    let mut world = World::in_file();
    let workspace = world.workspace("ann");
    let conversation = world.conversation("ann", workspace, &[]);
    let last = world.post("ann", conversation, "x").number;
    world.done("ann", CommandKind::DeleteWorkspace { id: workspace });
    assert_eq!(world.writer().position(), last.next());
    world.maintain_all();
    world.reopen();
    assert_eq!(world.writer().position(), last.next());
    let (command_result, _) = world.run("ann", create_workspace("w"));
    assert_eq!(command_result.number, Some(EventNumber(last.0 + 2)));
}

#[test]
fn times_grow_when_the_clock_goes_back() {
    let mut world = World::in_file();
    let mut last = WallTime(0);
    for (step, clock) in [0, 5_000_000, -3_000_000, -86_400_000_000, 5_000_001].into_iter().enumerate() {
        world.now = WallTime(START.0 + clock);
        if step == 3 {
            world.reopen();
        }
        let (_, events) = world.run("ann", post(ConversationRef::Default, "x"));
        for event in events {
            assert!(event.at > last, "step {step}");
            let message = event.message();
            assert!(message.is_none_or(|message| message.created_at == event.at));
            last = event.at;
        }
    }
    assert!(last.0 < START.0 + 6_000_000, "while the clock is behind, times grow by microseconds");
    world.writer().check_invariants();
}

#[test]
fn ids_grow_in_commit_order() {
    let mut world = World::in_memory();
    let mut last = MessageId(uuid::Uuid::nil());
    for round in 0..200 {
        world.now = WallTime(START.0 - round * 7);
        let (_, events) = world.run("ann", post(ConversationRef::Default, "x"));
        let id = events.last().unwrap().message().unwrap().id;
        assert!(id > last);
        last = id;
    }
}
