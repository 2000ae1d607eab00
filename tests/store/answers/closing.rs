//! Closing answer jobs: the first command to close a job wins.

use super::fixture::*;
use crate::common::*;
use cortex_core::internals::{
    AnswerJob, Command, CommandKind, CommandResult, ConversationRef, JobId, MessageId, Status,
};

/// What closes an order.
fn closers(fixture: &AnswerFixture, job: &AnswerJob, started: Option<MessageId>) -> Vec<(&'static str, Command)> {
    let (room, home, key) = (fixture.room, fixture.home, job.key);
    let mut closers = vec![
        ("finish", command(ECHO, finish(key, Status::Complete, Some("whole")))),
        ("cancel", command(ECHO, finish(key, Status::Cancelled, None))),
        ("fail", command(ECHO, failed(key, None, Some("why")))),
        ("delete the message", command("ben", delete_message(room, job.message_id))),
        ("delete the conversation", command("ann", delete_conversation(room))),
        ("delete the workspace", command("ann", CommandKind::DeleteWorkspace { id: home })),
    ];
    if let Some(answer) = started {
        closers.push(("delete the answer", command("ann", delete_message(room, answer))));
    }
    closers
}

#[test]
fn the_first_to_close_an_order_wins() {
    for is_begun in [false, true] {
        for together in [false, true] {
            let count = if is_begun { 7 } else { 6 };
            for first in 0..count {
                let mut fixture = AnswerFixture::in_memory();
                let job = fixture.ask("hello");
                let started = is_begun.then(|| fixture.started(job.key, "part"));
                let (what, close) = closers(&fixture, &job, started).swap_remove(first);
                let steps = [
                    begin(job.key, "x"),
                    append(job.key, "x"),
                    finish(job.key, Status::Complete, Some("x")),
                    finish(job.key, Status::Cancelled, None),
                    failed(job.key, None, Some("why")),
                ];
                let mut commands = vec![close];
                commands.extend(steps.map(|kind| command(ECHO, kind)));
                let results: Vec<CommandResult> = if together {
                    fixture.world.commit(&commands).results
                } else {
                    commands.iter().flat_map(|one| fixture.world.commit(std::slice::from_ref(one)).results).collect()
                };
                assert!(results[0].result.is_ok(), "{what} {:?}", results[0]);
                for command_result in &results[1..] {
                    assert_eq!(command_result.result.as_ref().err(), Some(&CLOSED), "{what}");
                }
                assert!(fixture.open_jobs().is_empty(), "{what}");
                let outputs = fixture.outputs("ann");
                let kept: &[&str] = match (what, is_begun) {
                    ("finish", _) => &["complete: whole"],
                    ("cancel" | "delete the message", true) => &["cancelled: part"],
                    ("fail", true) => &["failed: part"],
                    _ => &[],
                };
                assert_eq!(outputs, kept, "{what}");
                fixture.check();
                fixture.world.maintain_all();
                fixture.check();
            }
        }
    }
}

#[test]
fn a_batch_tells_of_no_order_or_answer_that_it_closed_itself() {
    let mut fixture = AnswerFixture::in_memory();
    let room = ConversationRef::Id(fixture.room);
    let asked = [command("ben", post(room, "a")), command("ann", delete_conversation(fixture.room))];
    assert!(fixture.world.commit(&asked).jobs.is_empty());
    let mut fixture = AnswerFixture::in_memory();
    let room = ConversationRef::Id(fixture.room);
    let asked = [command("ben", post(room, "a")), command("ann", CommandKind::DeleteWorkspace { id: fixture.home })];
    assert!(fixture.world.commit(&asked).jobs.is_empty());

    let mut fixture = AnswerFixture::in_memory();
    let room = ConversationRef::Id(fixture.room);
    let key = JobId(fixture.world.writer().position().next());
    let asked = [command("ben", post(room, "a")), command(ECHO, finish(key, Status::Complete, Some("a")))];
    let committed = fixture.world.commit(&asked);
    assert!(committed.results[1].result.is_ok() && committed.jobs.is_empty());

    for last in 0..5 {
        let mut fixture = AnswerFixture::in_memory();
        let job = fixture.ask("hello");
        let closers = closers(&fixture, &job, None);
        // Cancelling, failing and both deletions end an answer as finishing does.
        let (what, close) = &closers[last + usize::from(last > 1)];
        let committed = fixture.world.commit(&[command(ECHO, begin(job.key, "part")), close.clone()]);
        assert!(committed.results.iter().all(|command_result| command_result.result.is_ok()), "{what}");
        assert!(committed.started.is_empty(), "{what}");
        fixture.check();
    }
}
