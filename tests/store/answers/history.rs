//! The history of a conversation that a responder receives.

use super::fixture::*;
use crate::common::*;
use cortex_core::internals::limits::HISTORY_BYTES_MAX;
use cortex_core::internals::{
    AnswerJob, AnswerSettings, ApiVariant, CommandKind, ConversationRef, History, JobId, Outcome, QueryKind,
    QueryResult, Role, Status,
};

impl AnswerFixture {
    fn read_history(&mut self, job: &AnswerJob, limit: u32) -> History {
        match self.world.query_result(ECHO, history_of(job.key, limit)) {
            QueryResult::History(history) => *history,
            other => panic!("{other:?}"),
        }
    }

    fn history(&mut self, job: &AnswerJob, limit: u32) -> Vec<String> {
        let turns = self.read_history(job, limit).turns;
        turns.iter().map(|turn| format!("{}: {}", turn.role.as_str(), turn.text.as_str())).collect()
    }

    fn say(&mut self, role: Role, text: &str) {
        self.world.done("ann", post_as(ConversationRef::Id(self.conversation), role, ApiVariant::Config, text));
    }
}

fn history_of(job: JobId, limit: u32) -> QueryKind {
    QueryKind::History { job, limit, bytes_max: HISTORY_BYTES_MAX }
}

#[test]
fn a_history_ends_with_the_message_to_answer() {
    let mut fixture = AnswerFixture::in_file();
    fixture.say(Role::System, "be kind");
    fixture.say(Role::Assistant, "welcome");
    let first = fixture.ask("one");
    let second = fixture.ask("two");
    let third = fixture.ask("three");
    assert_eq!(fixture.history(&first, 9), ["assistant: welcome", "user: one"]);
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
        ["user: two", "assistant: answer t", "user: four"],
        "an empty answer is omitted, and so is its message"
    );

    assert_eq!(fixture.world.query_rejection(ECHO, history_of(third.key, 9)), CLOSED);
    fixture.world.done("ann", delete_conversation(fixture.conversation));
    assert_eq!(fixture.world.query_rejection(ECHO, history_of(fourth.key, 9)), CLOSED);
    let mut fixture = AnswerFixture::in_file();
    let job = fixture.ask("one");
    fixture.world.done("ann", CommandKind::DeleteWorkspace { id: fixture.workspace });
    assert_eq!(fixture.world.query_rejection(ECHO, history_of(job.key, 9)), CLOSED);
}

/// A connection may know of deleted messages.
#[test]
fn deleted_messages_take_no_places_in_a_history() {
    let mut fixture = AnswerFixture::in_memory();
    fixture.say(Role::Assistant, "welcome");
    let conversation = ConversationRef::Id(fixture.conversation);
    let mut post = || match fixture.world.done("ann", post_as(conversation, Role::Assistant, ApiVariant::Config, "x")) {
        Outcome::Posted { event, .. } => event.message().unwrap().id,
        other => panic!("{other:?}"),
    };
    let deleted: Vec<_> = (0..1100).map(|_| post()).collect();
    let (first, last) = (fixture.ask("one"), fixture.ask("two"));
    assert_eq!(fixture.history(&first, 1), ["user: one"]);
    for message in deleted {
        fixture.world.done("ann", CommandKind::DeleteMessage { conversation, message });
    }
    assert_eq!(fixture.history(&first, 9), ["assistant: welcome", "user: one"]);
    assert_eq!(fixture.history(&last, 9), ["assistant: welcome", "user: one", "user: two"]);
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

#[test]
fn messages_whose_answers_ended_without_text_are_left_out() {
    let mut fixture = AnswerFixture::in_file();
    let jobs: Vec<AnswerJob> = ["failed", "cancelled", "partly", "open"].iter().map(|text| fixture.ask(text)).collect();
    fixture.step(failed(jobs[0].key, None, Some("no connection")));
    fixture.step(finish(jobs[1].key, Status::Cancelled, None));
    fixture.step(finish(jobs[2].key, Status::Cancelled, Some("half")));
    let last = fixture.ask("last");
    let all = ["user: partly", "assistant: half", "user: open", "user: last"];
    assert_eq!(fixture.history(&last, 9), all);
    assert_eq!(fixture.history(&last, 3), all[1..], "what is left out does not count");
    let open = ["user: partly", "assistant: half", "user: open"];
    assert_eq!(fixture.history(&jobs[3], 9), open, "the message to answer is never left out");
}

#[test]
fn a_history_has_the_senders_and_the_system_messages() {
    let mut fixture = AnswerFixture::in_file();
    fixture.say(Role::System, "be kind");
    fixture.say(Role::Assistant, "hello");
    fixture.say(Role::System, "be brief");
    let job = fixture.ask("one");
    fixture.say(Role::System, "too late");
    let history = fixture.read_history(&job, 1);
    let system: Vec<&str> = history.system.iter().map(|text| text.as_str()).collect();
    assert_eq!(system, ["be kind", "be brief"], "they do not count, and come from before the message");
    let turn = history.turns.last().expect("the message");
    assert_eq!((turn.sender.as_str(), history.turns.len()), ("ben", 1));
}

#[test]
fn a_history_has_the_settings_of_its_conversation() {
    let mut fixture = AnswerFixture::in_file();
    let job = fixture.ask("one");
    assert_eq!(fixture.read_history(&job, 1).settings, AnswerSettings::default());
    let settings = r#"{"model":"large","temperature":0.5,"stop":"x","note":1}"#;
    fixture.world.done("ann", update_conversation(fixture.conversation, None, Some(settings)));
    let expected = AnswerSettings {
        model: Some("large".into()),
        temperature: Some("0.5".into()),
        stop: vec!["x".into()],
        ..AnswerSettings::default()
    };
    assert_eq!(fixture.read_history(&job, 1).settings, expected);
}
