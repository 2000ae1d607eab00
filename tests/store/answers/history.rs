//! What a responder is told of a conversation.

use super::*;
use cortex_core::internals::limits::HISTORY_BYTES_MAX;

impl Stage {
    fn history(&mut self, order: &AnswerJob, limit: u32) -> Vec<String> {
        match self.world.found(ECHO, QueryKind::History { job: order.key, limit }) {
            QueryResult::History(turns) => {
                turns.iter().map(|turn| format!("{}: {}", turn.role.as_str(), turn.text.as_str())).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    fn say(&mut self, role: Role, text: &str) {
        self.world.done("ann", post_as(ConversationRef::Id(self.room), role, ApiVariant::Config, text));
    }
}

#[test]
fn a_history_ends_with_the_message_to_answer() {
    let mut stage = Stage::in_file();
    stage.say(Role::System, "be kind");
    stage.say(Role::Assistant, "welcome");
    let first = stage.ask("one");
    let second = stage.ask("two");
    let third = stage.ask("three");
    assert_eq!(stage.history(&first, 9), ["system: be kind", "assistant: welcome", "user: one"]);
    assert_eq!(stage.history(&second, 2), ["user: one", "user: two"]);
    assert_eq!(stage.history(&second, 1), ["user: two"]);
    assert_eq!(stage.history(&second, 0), [""; 0]);

    // An answer that is being written says nothing yet; a whole one stands behind its question, however late it came.
    stage.started(first.key, "answer");
    assert_eq!(stage.history(&second, 2), ["user: one", "user: two"]);
    stage.step(finish(first.key, Status::Complete, Some("answer one")));
    assert_eq!(stage.history(&second, 3), ["user: one", "assistant: answer one", "user: two"]);
    assert_eq!(stage.history(&second, 2), ["assistant: answer one", "user: two"]);
    stage.step(finish(second.key, Status::Cancelled, Some("answer t")));
    let all = ["user: one", "assistant: answer one", "user: two", "assistant: answer t", "user: three"];
    assert_eq!(stage.history(&third, 5), all);
    // What others ask later is not for this answer.
    let fourth = stage.ask("four");
    assert_eq!(stage.history(&third, 5), all);
    stage.step(finish(third.key, Status::Complete, Some(" \n")));
    assert_eq!(
        stage.history(&fourth, 3),
        ["assistant: answer t", "user: three", "user: four"],
        "without an empty answer"
    );

    assert_eq!(stage.world.denied(ECHO, QueryKind::History { job: third.key, limit: 9 }), CLOSED);
    stage.world.done("ann", delete_conversation(stage.room));
    assert_eq!(stage.world.denied(ECHO, QueryKind::History { job: fourth.key, limit: 9 }), CLOSED);
    let mut stage = Stage::in_file();
    let order = stage.ask("one");
    stage.world.done("ann", CommandKind::DeleteWorkspace { id: stage.home });
    assert_eq!(stage.world.denied(ECHO, QueryKind::History { job: order.key, limit: 9 }), CLOSED);
}

#[test]
fn a_history_is_bounded_in_bytes() {
    let mut stage = Stage::in_memory();
    let quarter = "x".repeat(HISTORY_BYTES_MAX / 4);
    let mut jobs: Vec<AnswerJob> = (0..4).map(|_| stage.ask(&quarter)).collect();
    jobs.push(stage.ask("last"));
    for order in &jobs[..2] {
        stage.step(finish(order.key, Status::Complete, Some("answered")));
    }
    let lengths: Vec<usize> = stage.history(&jobs[4], 100).iter().map(String::len).collect();
    let (asked, answered) = ("user: ".len() + quarter.len(), "assistant: answered".len());
    assert_eq!(lengths, [answered, asked, answered, asked, asked, "user: last".len()], "the newest are kept");
    let large = stage.ask(&"y".repeat(HISTORY_BYTES_MAX + 1));
    assert_eq!(stage.history(&large, 100).len(), 1, "the message to answer always comes along");
}
