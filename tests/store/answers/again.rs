//! Messages that are answered again, cancelled queues, and the usage of answers.

use super::fixture::*;
use crate::common::*;
use cortex_core::internals::{
    AnswerJob, AnswerStep, CancelledAnswer, CommandKind, Content, ConversationRef, Day, DayRange, EventKind, Message,
    MessageId, Metadata, Outcome, QueryKind, QueryResult, Rejection, Resource, Role, Status, StoredPhase, TokenCounts,
    TokenUsage, UsageBy, UsageKey, UsageReport, UsageSums,
};

fn again(fixture: &AnswerFixture, message: MessageId) -> CommandKind {
    CommandKind::AnswerMessage { conversation: ConversationRef::Id(fixture.conversation), message }
}

fn cancel(fixture: &AnswerFixture, running: Option<CancelledAnswer>) -> CommandKind {
    CommandKind::CancelAnswers { conversation: fixture.conversation, running: running.map(Box::new), through: None }
}

/// Has a message answered again by `user`. Returns the job, which must be the only one.
fn answered_again(fixture: &mut AnswerFixture, user: &str, message: MessageId) -> AnswerJob {
    let command = command(user, again(fixture, message));
    let committed = fixture.world.commit(&[command]);
    assert!(matches!(committed.results[0].result, Ok(Outcome::AnswerQueued { reply_to }) if reply_to == message));
    let [job] = &committed.jobs[..] else { panic!("{:?}", committed.jobs) };
    assert_eq!((job.message_id, job.user.as_str()), (message, user));
    job.clone()
}

fn state(fixture: &mut AnswerFixture, message: MessageId) -> (&'static str, Option<MessageId>) {
    let answer = fixture.message(message).answer.unwrap();
    (answer.phase.as_str(), answer.message_id)
}

#[test]
fn a_later_answer_supersedes_the_earlier_one_at_once() {
    let mut fixture = AnswerFixture::in_memory();
    let asked = fixture.ask("hello");
    let (first, _) = fixture.step(finish(asked.key, Status::Complete, Some("one")));
    let (result, events) = fixture.world.run("ann", again(&fixture, asked.message_id));
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!((event.kind, event.message_id(), result.number), (EventKind::MessageUpdated, first, Some(event.number)));
    let message: &Message = event.message().unwrap();
    assert_eq!((message.status, message.content.as_str(), message.updated_at), (Status::Superseded, "one", event.at));
    assert_eq!(fixture.message(first.unwrap()), *message, "it stays readable");
    assert_eq!(state(&mut fixture, asked.message_id), ("queued", None));
    fixture.check();

    let job = fixture.open_jobs().remove(0);
    assert!(job.key > asked.key && job.started.is_none());
    let history = QueryKind::History { job: job.key, limit: 10, bytes_max: 4096 };
    let QueryResult::History(history) = fixture.world.query_result(ECHO, history) else { panic!() };
    let turns: Vec<_> = history.turns.iter().map(|turn| (turn.role, turn.text.as_str())).collect();
    assert_eq!(turns, [(Role::User, "hello")], "a superseded answer is not sent to the model");
    // A step of the earlier answer that comes late does not reach the later one.
    assert_eq!(fixture.world.rejected(ECHO, finish(asked.key, Status::Complete, Some("late"))), CLOSED);
    let second = fixture.started(job.key, "tw");
    assert_eq!(state(&mut fixture, asked.message_id), ("streaming", Some(second)));
    fixture.step(finish(job.key, Status::Complete, Some("two")));
    assert_eq!(state(&mut fixture, asked.message_id), ("complete", Some(second)));
    assert_eq!(fixture.outputs("ben"), ["superseded: one", "complete: two"]);
    fixture.check();
}

#[test]
fn every_end_can_be_answered_again() {
    type End = fn(&mut AnswerFixture, &AnswerJob) -> Option<MessageId>;
    let table: [(&str, End); 5] = [
        ("failed with text", |fixture, job| fixture.step(failed(job.key, Some("x"), Some("why"))).0),
        ("failed", |fixture, job| fixture.step(failed(job.key, None, Some("why"))).0),
        ("cancelled", |fixture, job| fixture.step(finish(job.key, Status::Cancelled, None)).0),
        ("deleted", |fixture, job| {
            let (id, _) = fixture.step(finish(job.key, Status::Complete, Some("x")));
            fixture.world.run("ann", delete_message(fixture.conversation, id.unwrap()));
            None
        }),
        ("deleted while it was written", |fixture, job| {
            let id = fixture.started(job.key, "x");
            fixture.world.run("ann", delete_message(fixture.conversation, id));
            None
        }),
    ];
    for (name, end) in table {
        let mut fixture = AnswerFixture::in_memory();
        let asked = fixture.ask("hello");
        let earlier = end(&mut fixture, &asked);
        assert_eq!(state(&mut fixture, asked.message_id).1, earlier, "{name}");
        let job = answered_again(&mut fixture, "ben", asked.message_id);
        if let Some(earlier) = earlier {
            assert_eq!(fixture.message(earlier).status, Status::Superseded, "{name}");
        }
        fixture.check();
        let (id, _) = fixture.step(finish(job.key, Status::Complete, Some("done")));
        assert_eq!(state(&mut fixture, asked.message_id), ("complete", id), "{name}");
        fixture.check();
        fixture.world.run("ben", delete_message(fixture.conversation, asked.message_id));
        fixture.check();
    }
}

#[test]
fn who_may_have_what_answered_again() {
    let mut fixture = AnswerFixture::in_memory();
    let asked = fixture.ask("hello");
    let open = fixture.world.rejected("ben", again(&fixture, asked.message_id));
    assert_eq!(open, Rejection::Conflict("the message is already being answered"));
    let (answer, _) = fixture.step(finish(asked.key, Status::Complete, Some("one")));
    let conversation = ConversationRef::Id(fixture.conversation);
    let instruction = post_as(conversation, Role::System, cortex_core::internals::ApiVariant::Config, "be short");
    let (_, events) = fixture.world.run("ann", instruction);
    for id in [answer.unwrap(), events[0].message_id().unwrap()] {
        let rejected = fixture.world.rejected("ann", again(&fixture, id));
        assert!(matches!(&rejected, Rejection::Invalid(fields) if fields[0].0 == "role"), "{rejected:?}");
    }
    let outsider = fixture.world.rejected("eve", again(&fixture, asked.message_id));
    assert_eq!(outsider, Rejection::NotFound(Resource::Conversation));
    let off = update_conversation(fixture.conversation, None, Some(r#"{"responder":"none"}"#));
    fixture.world.run("ann", off);
    let off = fixture.world.rejected("ben", again(&fixture, asked.message_id));
    assert_eq!(off, Rejection::Conflict("the conversation has no responder"));
    // A message that was sent while there was no responder can be answered for the first time.
    let message = fixture.world.post("ben", fixture.conversation, "later").message_id().unwrap();
    assert_eq!(fixture.message(message).answer, None);
    fixture.world.run("ann", update_conversation(fixture.conversation, None, Some(r#"{"responder":null}"#)));
    let job = answered_again(&mut fixture, "ann", message);
    fixture.step(finish(job.key, Status::Complete, Some("at last")));
    fixture.check();
}

#[test]
fn a_cancel_ends_the_running_answer_and_all_queued_ones() {
    let mut fixture = AnswerFixture::in_memory();
    let asked: Vec<AnswerJob> = ["a", "b", "c"].iter().map(|text| fixture.ask(text)).collect();
    let begun = fixture.started(asked[0].key, "hal");
    let usage = TokenUsage { model: "m".into(), tokens: TokenCounts { completion: 1, ..TokenCounts::default() } };
    let running = CancelledAnswer {
        job: asked[0].key,
        text: Some(Content::new_unchecked("half")),
        reasoning: Some("because".into()),
        metadata: Metadata::empty(),
        usage: Some(usage),
    };
    let cancel_all = command(ECHO, cancel(&fixture, Some(running)));
    let committed = fixture.world.commit(std::slice::from_ref(&cancel_all));
    let Ok(Outcome::AnswersCancelled { count: 3, closed, rest: None }) = &committed.results[0].result else { panic!() };
    assert_eq!(closed, &[asked[0].key, asked[2].key, asked[1].key]);
    assert!(committed.jobs.is_empty() && fixture.open_jobs().is_empty());
    let kinds: Vec<_> = committed.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Output, EventKind::OutputError, EventKind::OutputError]);
    assert_eq!(fixture.outputs("ben"), ["cancelled: half"]);
    assert_eq!(fixture.message(begun).reasoning.as_deref(), Some("because"));
    assert_eq!(state(&mut fixture, asked[0].message_id), ("cancelled", Some(begun)));
    for queued in &asked[1..] {
        assert_eq!(state(&mut fixture, queued.message_id), ("cancelled", None));
    }
    fixture.check();
    let committed = fixture.world.commit(&[cancel_all]);
    assert!(matches!(committed.results[0].result, Ok(Outcome::AnswersCancelled { count: 0, rest: None, .. })));
    // Answers of other conversations, and messages that are sent afterwards, are not cancelled.
    let job = fixture.ask("d");
    fixture.step(finish(job.key, Status::Complete, Some("yes")));
    fixture.check();
}

#[test]
fn a_long_queue_is_cancelled_in_steps_that_leave_later_messages_alone() {
    let mut fixture = AnswerFixture::in_memory();
    let conversation = ConversationRef::Id(fixture.conversation);
    let asked: Vec<_> = (0..700).map(|n| command("ben", post(conversation, &n.to_string()))).collect();
    for batch in asked.chunks(100) {
        fixture.world.commit(batch);
    }
    let (mut through, mut cancelled, mut steps) = (None, 0, 0);
    loop {
        let kind = CommandKind::CancelAnswers { conversation: fixture.conversation, running: None, through };
        let (result, _) = fixture.world.run(ECHO, kind);
        let Ok(Outcome::AnswersCancelled { count, rest, .. }) = result.result else { panic!("{result:?}") };
        (cancelled, steps) = (cancelled + count, steps + 1);
        if steps == 1 {
            fixture.world.post("ben", fixture.conversation, "after the request");
        }
        through = rest;
        if through.is_none() {
            break;
        }
    }
    assert_eq!((cancelled, steps), (700, 3));
    let open = fixture.open_jobs();
    assert_eq!(open.len(), 1);
    assert_eq!(fixture.message(open[0].message_id).content.as_str(), "after the request");
    fixture.check();
}

fn used(prompt: u64, completion: u64) -> TokenUsage {
    let tokens = TokenCounts { prompt, completion, reasoning: completion / 2, cached: prompt / 2 };
    TokenUsage { model: "m-1".into(), tokens }
}

fn sums(answers: u64, prompt: u64, completion: u64) -> UsageSums {
    UsageSums { answers, tokens: used(prompt, completion).tokens }
}

fn finish_with(job: &AnswerJob, text: Option<&str>, usage: TokenUsage) -> CommandKind {
    let step = AnswerStep::Finish {
        status: Status::Complete,
        text: text.map(Content::new_unchecked),
        reasoning: None,
        metadata: Metadata::empty(),
        error: None,
        usage: Some(usage),
    };
    CommandKind::Answer { job: job.key, step }
}

fn usage(fixture: &mut AnswerFixture, user: &str, by: UsageBy) -> UsageReport {
    let days = DayRange { from: Day::parse("2000-01-01").unwrap(), to: Day::parse("2100-01-01").unwrap() };
    match fixture.world.query_result(user, QueryKind::Usage { days, by }) {
        QueryResult::Usage(report) => report,
        other => panic!("{other:?}"),
    }
}

#[test]
fn usage_is_summed_and_outlives_what_used_it() {
    let mut fixture = AnswerFixture::in_memory();
    assert_eq!(usage(&mut fixture, "ben", UsageBy::Day).total, UsageSums::default());
    let job = fixture.ask("a");
    fixture.step(finish_with(&job, Some("x"), used(10, 4)));
    let job = fixture.ask("b");
    // An answer without text has used tokens as well.
    fixture.step(finish_with(&job, None, used(20, 2)));
    let again = answered_again(&mut fixture, "ann", job.message_id);
    fixture.step(finish_with(&again, Some("y"), TokenUsage { model: "m-2".into(), ..used(100, 0) }));
    let check = |fixture: &mut AnswerFixture| {
        let today = Day::of(fixture.world.clocks().wall);
        let conversation = UsageKey::Conversation(Some(fixture.conversation));
        for (by, key) in [
            (UsageBy::Day, UsageKey::Day(today)),
            (UsageBy::Conversation, conversation.clone()),
            (UsageBy::Model, UsageKey::Model("m-1".into())),
        ] {
            let report = usage(fixture, "ben", by);
            assert_eq!((report.groups, report.total), (vec![(key, sums(2, 30, 6))], sums(2, 30, 6)));
        }
        let of_ann = usage(fixture, "ann", UsageBy::Model);
        assert_eq!(
            of_ann.groups,
            [(UsageKey::Model("m-2".into()), sums(1, 100, 0))],
            "the user of the second request pays"
        );
        assert!(usage(fixture, "eve", UsageBy::Day).groups.is_empty());
    };
    check(&mut fixture);
    fixture.check();
    fixture.world.run("ann", delete_conversation(fixture.conversation));
    fixture.world.maintain_all();
    fixture.check();
    check(&mut fixture);
}

#[test]
fn an_answer_state_has_a_name_for_each_status() {
    for status in Status::ALL {
        assert_eq!(StoredPhase::Begun(status).as_str(), status.as_str());
    }
    assert_eq!(StoredPhase::Queued.as_str(), "queued");
}
