//! Changes of conversations, participants and messages while they are answered.

use super::fixture::*;
use crate::common::*;
use cortex_core::internals::{CommandKind, Content, ConversationRef, EventKind, Rejection, Status};

#[test]
fn an_answer_belongs_to_the_workspaces_owner() {
    let mut fixture = AnswerFixture::in_memory();
    let job = fixture.ask("hello");
    let id = fixture.started(job.key, "part");
    let room = ConversationRef::Id(fixture.room);
    let change = |text: &str| CommandKind::UpdateMessage {
        conversation: room,
        message: id,
        content: Some(Content::new_unchecked(text)),
        metadata: None,
    };
    assert_eq!(fixture.world.rejected("ann", change("x")), Rejection::Conflict("the answer is still being written"));
    for kind in [change("x"), delete_message(fixture.room, id)] {
        assert!(matches!(fixture.world.rejected("ben", kind), Rejection::Forbidden(_)));
    }
    fixture.step(finish(job.key, Status::Complete, Some("whole")));
    for kind in [change("x"), delete_message(fixture.room, id)] {
        assert!(matches!(fixture.world.rejected("ben", kind), Rejection::Forbidden(_)));
    }
    fixture.world.done("ann", change("corrected"));
    assert_eq!(fixture.outputs("ben"), ["complete: corrected"], "a replay shows it as it is");
    fixture.world.done("ann", delete_message(fixture.room, id));
    assert_eq!(fixture.outputs("ben"), [""; 0]);
    fixture.check();
}

#[test]
fn an_answer_comes_also_when_who_asked_has_left() {
    let mut fixture = AnswerFixture::in_memory();
    let (first, second) = (fixture.ask("one"), fixture.ask("two"));
    fixture.started(first.key, "part");
    fixture.world.done("ben", leave(fixture.room));
    let (_, events) = fixture.step(finish(first.key, Status::Complete, Some("whole")));
    assert_eq!(names(&events[0].recipients), ["ann"]);
    fixture.step(finish(second.key, Status::Complete, Some("two")));
    assert_eq!(fixture.outputs("ann"), ["complete: whole", "complete: two"]);
    assert_eq!(fixture.outputs("ben"), [""; 0]);
    fixture.check();
}

#[test]
fn the_answer_to_a_deleted_message_ends_where_it_is() {
    let mut fixture = AnswerFixture::in_memory();
    let job = fixture.ask("hello");
    let id = fixture.started(job.key, "part");
    let (_, events) = fixture.world.run("ben", delete_message(fixture.room, job.message_id));
    assert_eq!(
        events.iter().map(|event| event.kind).collect::<Vec<_>>(),
        [EventKind::MessageDeleted, EventKind::Output]
    );
    assert_eq!((events[1].actor.as_str(), said(&events[1])), (ECHO, "cancelled: part".to_owned()));
    let message = fixture.message(id);
    assert_eq!((message.status, message.reply_to), (Status::Cancelled, None));
    fixture.check();
    // Its own end is as any other answer's.
    fixture.world.done("ann", delete_message(fixture.room, id));
    assert_eq!(fixture.outputs("ann"), [""; 0]);
    fixture.check();
}

#[test]
fn a_deleted_conversation_takes_orders_and_answers_along() {
    let mut fixture = AnswerFixture::in_file();
    for round in 0..600 {
        let job = fixture.ask("hello");
        match round % 3 {
            0 => drop(fixture.started(job.key, "part")),
            1 => drop(fixture.step(finish(job.key, Status::Complete, Some("whole")))),
            _ => {}
        }
    }
    let kept = fixture.world.conversation("ann", fixture.home, &[]);
    fixture.world.post("ann", kept, "hello");
    fixture.check();
    fixture.world.done("ann", delete_conversation(fixture.room));
    assert_eq!(fixture.open_jobs().len(), 1);
    while fixture.world.maintain() {
        fixture.check();
    }
    assert_eq!(fixture.open_jobs().len(), 1);
    fixture.world.done("ann", CommandKind::DeleteWorkspace { id: fixture.home });
    assert!(fixture.open_jobs().is_empty());
    fixture.world.maintain_all();
    fixture.check();
}
