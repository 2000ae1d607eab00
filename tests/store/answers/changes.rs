//! Changes of conversations, participants and messages while they are answered.

use super::fixture::*;
use crate::common::*;
use cortex_core::internals::{CommandKind, Content, ConversationRef, EventKind, Rejection, Status};

#[test]
fn only_the_workspaces_owner_may_change_an_answer() {
    let mut fixture = AnswerFixture::in_memory();
    let job = fixture.ask("hello");
    let id = fixture.started(job.key, "part");
    let conversation = ConversationRef::Id(fixture.conversation);
    let change = |text: &str| CommandKind::UpdateMessage {
        conversation,
        message: id,
        content: Some(Content::new_unchecked(text)),
        metadata: None,
    };
    assert_eq!(fixture.world.rejected("ann", change("x")), Rejection::Conflict("the answer is still being written"));
    for kind in [change("x"), delete_message(fixture.conversation, id)] {
        assert!(matches!(fixture.world.rejected("ben", kind), Rejection::Forbidden(_)));
    }
    fixture.step(finish(job.key, Status::Complete, Some("whole")));
    for kind in [change("x"), delete_message(fixture.conversation, id)] {
        assert!(matches!(fixture.world.rejected("ben", kind), Rejection::Forbidden(_)));
    }
    fixture.world.done("ann", change("corrected"));
    assert_eq!(fixture.outputs("ben"), ["complete: corrected"], "a replay has the present message");
    fixture.world.done("ann", delete_message(fixture.conversation, id));
    assert_eq!(fixture.outputs("ben"), [""; 0]);
    fixture.check();
}

#[test]
fn an_answer_is_published_after_its_user_has_left() {
    let mut fixture = AnswerFixture::in_memory();
    let (first, second) = (fixture.ask("one"), fixture.ask("two"));
    fixture.started(first.key, "part");
    fixture.world.done("ben", leave(fixture.conversation));
    let (_, events) = fixture.step(finish(first.key, Status::Complete, Some("whole")));
    assert_eq!(names(&events[0].recipients), ["ann"]);
    fixture.step(finish(second.key, Status::Complete, Some("two")));
    assert_eq!(fixture.outputs("ann"), ["complete: whole", "complete: two"]);
    assert_eq!(fixture.outputs("ben"), [""; 0]);
    fixture.check();
}

#[test]
fn the_answer_to_a_deleted_message_is_cancelled() {
    let mut fixture = AnswerFixture::in_memory();
    let job = fixture.ask("hello");
    let id = fixture.started(job.key, "part");
    let (_, events) = fixture.world.run("ben", delete_message(fixture.conversation, job.message_id));
    assert_eq!(
        events.iter().map(|event| event.kind).collect::<Vec<_>>(),
        [EventKind::MessageDeleted, EventKind::Output]
    );
    assert_eq!((events[1].actor.as_str(), status_and_text(&events[1])), (ECHO, "cancelled: part".to_owned()));
    let message = fixture.message(id);
    assert_eq!((message.status, message.reply_to), (Status::Cancelled, None));
    fixture.check();
    // The answer can be deleted like any other.
    fixture.world.done("ann", delete_message(fixture.conversation, id));
    assert_eq!(fixture.outputs("ann"), [""; 0]);
    fixture.check();
}

#[test]
fn jobs_and_answers_are_deleted_with_their_conversation() {
    let mut fixture = AnswerFixture::in_file();
    for round in 0..600 {
        let job = fixture.ask("hello");
        match round % 3 {
            0 => drop(fixture.started(job.key, "part")),
            1 => drop(fixture.step(finish(job.key, Status::Complete, Some("whole")))),
            _ => {}
        }
    }
    let kept = fixture.world.conversation("ann", fixture.workspace, &[]);
    fixture.world.post("ann", kept, "hello");
    fixture.check();
    fixture.world.done("ann", delete_conversation(fixture.conversation));
    assert_eq!(fixture.open_jobs().len(), 1);
    while fixture.world.maintain() {
        fixture.check();
    }
    assert_eq!(fixture.open_jobs().len(), 1);
    fixture.world.done("ann", CommandKind::DeleteWorkspace { id: fixture.workspace });
    assert!(fixture.open_jobs().is_empty());
    fixture.world.maintain_all();
    fixture.check();
}
