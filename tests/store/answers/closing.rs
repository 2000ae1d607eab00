//! Closing answer jobs: the first command to close a job wins.

use super::fixture::*;
use crate::common::*;
use cortex_core::internals::{
    AnswerJob, Command, CommandKind, CommandResult, ConversationRef, JobId, MessageId, Status,
};

/// The commands that close a job, by name.
fn closing_commands(
    fixture: &AnswerFixture,
    job: &AnswerJob,
    started: Option<MessageId>,
) -> Vec<(&'static str, Command)> {
    let (conversation, workspace, key) = (fixture.conversation, fixture.workspace, job.key);
    let mut closing_commands = vec![
        ("finish", command(ECHO, finish(key, Status::Complete, Some("whole")))),
        ("cancel", command(ECHO, finish(key, Status::Cancelled, None))),
        ("fail", command(ECHO, failed(key, None, Some("why")))),
        ("delete the message", command("ben", delete_message(conversation, job.message_id))),
        ("delete the conversation", command("ann", delete_conversation(conversation))),
        ("delete the workspace", command("ann", CommandKind::DeleteWorkspace { id: workspace })),
    ];
    if let Some(answer) = started {
        closing_commands.push(("delete the answer", command("ann", delete_message(conversation, answer))));
    }
    closing_commands
}

#[test]
fn the_first_command_to_close_a_job_wins() {
    for is_begun in [false, true] {
        for together in [false, true] {
            let count = if is_begun { 7 } else { 6 };
            for first in 0..count {
                let mut fixture = AnswerFixture::in_memory();
                let job = fixture.ask("hello");
                let started = is_begun.then(|| fixture.started(job.key, "part"));
                let (name, close) = closing_commands(&fixture, &job, started).swap_remove(first);
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
                assert!(results[0].result.is_ok(), "{name} {:?}", results[0]);
                for command_result in &results[1..] {
                    assert_eq!(command_result.result.as_ref().err(), Some(&CLOSED), "{name}");
                }
                assert!(fixture.open_jobs().is_empty(), "{name}");
                let outputs = fixture.outputs("ann");
                let kept: &[&str] = match (name, is_begun) {
                    ("finish", _) => &["complete: whole"],
                    ("cancel" | "delete the message", true) => &["cancelled: part"],
                    ("fail", true) => &["failed: part"],
                    _ => &[],
                };
                assert_eq!(outputs, kept, "{name}");
                fixture.check();
                fixture.world.maintain_all();
                fixture.check();
            }
        }
    }
}

#[test]
fn a_batch_does_not_report_jobs_and_answers_that_it_closed() {
    let mut fixture = AnswerFixture::in_memory();
    let conversation = ConversationRef::Id(fixture.conversation);
    let asked = [command("ben", post(conversation, "a")), command("ann", delete_conversation(fixture.conversation))];
    assert!(fixture.world.commit(&asked).jobs.is_empty());
    let mut fixture = AnswerFixture::in_memory();
    let conversation = ConversationRef::Id(fixture.conversation);
    let asked = [
        command("ben", post(conversation, "a")),
        command("ann", CommandKind::DeleteWorkspace { id: fixture.workspace }),
    ];
    assert!(fixture.world.commit(&asked).jobs.is_empty());

    let mut fixture = AnswerFixture::in_memory();
    let conversation = ConversationRef::Id(fixture.conversation);
    let key = JobId(fixture.world.writer().position().next());
    let asked = [command("ben", post(conversation, "a")), command(ECHO, finish(key, Status::Complete, Some("a")))];
    let committed = fixture.world.commit(&asked);
    assert!(committed.results[1].result.is_ok() && committed.jobs.is_empty());

    for last in 0..5 {
        let mut fixture = AnswerFixture::in_memory();
        let job = fixture.ask("hello");
        let closing_commands = closing_commands(&fixture, &job, None);
        // All commands but `fail`.
        let (name, close) = &closing_commands[last + usize::from(last > 1)];
        let committed = fixture.world.commit(&[command(ECHO, begin(job.key, "part")), close.clone()]);
        assert!(committed.results.iter().all(|command_result| command_result.result.is_ok()), "{name}");
        assert!(committed.started.is_empty(), "{name}");
        fixture.check();
    }
}
