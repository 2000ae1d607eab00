//! The history of a conversation that a responder receives.

use super::fixture::*;
use crate::common::*;
use cortex_core::internals::limits::HISTORY_BYTES_MAX;
use cortex_core::internals::{
    AnswerJob, ApiVariant, CommandKind, ConversationRef, QueryKind, QueryResult, Role, Status,
};

impl AnswerFixture {
    fn history(&mut self, job: &AnswerJob, limit: u32) -> Vec<String> {
        match self.world.query_result(ECHO, QueryKind::History { job: job.key, limit }) {
            QueryResult::History(turns) => {
                turns.iter().map(|turn| format!("{}: {}", turn.role.as_str(), turn.text.as_str())).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    fn say(&mut self, role: Role, text: &str) {
        self.world.done("ann", post_as(ConversationRef::Id(self.conversation), role, ApiVariant::Config, text));
    }
}

#[test]
fn a_history_ends_with_the_message_to_answer() {
    let mut fixture = AnswerFixture::in_file();
    fixture.say(Role::System, "be kind");
    fixture.say(Role::Assistant, "welcome");
    let first = fixture.ask("one");
    let second = fixture.ask("two");
    let third = fixture.ask("three");
    assert_eq!(fixture.history(&first, 9), ["system: be kind", "assistant: welcome", "user: one"]);
    assert_eq!(fixture.history(&second, 2), ["user: one", "user: two"]);
    assert_eq!(fixture.history(&second, 1), ["user: two"]);
    assert_eq!(fixture.history(&second, 0), [""; 0]);

    // A streaming answer is not included. A complete answer follows its message, however late it came.
    fixture.started(first.key, "answer");
    assert_eq!(fixture.history(&second, 2), ["user: one", "user: two"]);
    fixture.step(finish(first.key, Status::Complete, Some("answer one")));
    assert_eq!(fixture.history(&second, 3), ["user: one", "assistant: answer one", "user: two"]);
    assert_eq!(fixture.history(&second, 2), ["assistant: answer one", "user: two"]);
    fixture.step(finish(second.key, Status::Cancelled, Some("answer t")));
    let all = ["user: one", "assistant: answer one", "user: two", "assistant: answer t", "user: three"];
    assert_eq!(fixture.history(&third, 5), all);
    // Later messages are not included.
    let fourth = fixture.ask("four");
    assert_eq!(fixture.history(&third, 5), all);
    fixture.step(finish(third.key, Status::Complete, Some(" \n")));
    assert_eq!(
        fixture.history(&fourth, 3),
        ["assistant: answer t", "user: three", "user: four"],
        "an empty answer is omitted"
    );

    assert_eq!(fixture.world.query_rejection(ECHO, QueryKind::History { job: third.key, limit: 9 }), CLOSED);
    fixture.world.done("ann", delete_conversation(fixture.conversation));
    assert_eq!(fixture.world.query_rejection(ECHO, QueryKind::History { job: fourth.key, limit: 9 }), CLOSED);
    let mut fixture = AnswerFixture::in_file();
    let job = fixture.ask("one");
    fixture.world.done("ann", CommandKind::DeleteWorkspace { id: fixture.workspace });
    assert_eq!(fixture.world.query_rejection(ECHO, QueryKind::History { job: job.key, limit: 9 }), CLOSED);
}

#[test]
fn a_history_is_bounded_in_bytes() {
    let mut fixture = AnswerFixture::in_memory();
    let quarter = "x".repeat(HISTORY_BYTES_MAX / 4);
    let mut jobs: Vec<AnswerJob> = (0..4).map(|_| fixture.ask(&quarter)).collect();
    jobs.push(fixture.ask("last"));
    for job in &jobs[..2] {
        fixture.step(finish(job.key, Status::Complete, Some("answered")));
    }
    let lengths: Vec<usize> = fixture.history(&jobs[4], 100).iter().map(String::len).collect();
    let (asked, answered) = ("user: ".len() + quarter.len(), "assistant: answered".len());
    assert_eq!(lengths, [answered, asked, answered, asked, asked, "user: last".len()], "the newest are kept");
    let large = fixture.ask(&"y".repeat(HISTORY_BYTES_MAX + 1));
    assert_eq!(fixture.history(&large, 100).len(), 1, "the message to answer is always included");
}
