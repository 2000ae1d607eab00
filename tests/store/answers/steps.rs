//! The steps of an answer, and the rows and events of each.

use super::fixture::*;
use crate::common::*;
use cortex_core::internals::limits::{CONTENT_BYTES_MAX, METADATA_BYTES_MAX, REASONING_BYTES_MAX};
use cortex_core::internals::{
    AnswerJob, AnswerStep, CommandKind, Content, ConversationRef, Event, EventBody, EventKind, JobId, MessageCursor,
    Metadata, QueryKind, QueryResult, Rejection, Role, Status, StoredPhase,
};
use std::sync::Arc;

#[test]
fn an_answer_in_one_step_is_its_own_event() {
    let mut fixture = AnswerFixture::in_file();
    let job = fixture.ask("hello");
    let metadata = Metadata::new_unchecked(r#"{"responder":"echo"}"#);
    let step = AnswerStep::Finish {
        status: Status::Complete,
        text: Some(Content::new_unchecked("hello")),
        reasoning: None,
        metadata: metadata.clone(),
        error: None,
        usage: None,
    };
    let (id, events) = fixture.step(CommandKind::Answer { job: job.key, step });
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!(
        (event.kind, event.actor.as_str(), names(&event.recipients)),
        (EventKind::Output, ECHO, vec!["ben", "ann"])
    );
    assert_eq!(event.correlation_id, job.correlation_id);
    let message = event.message().unwrap();
    assert_eq!((message.role, message.status, &*message.sender_name), (Role::Assistant, Status::Complete, "echo"));
    assert_eq!((Some(message.id), message.reply_to, &message.metadata), (id, Some(job.message_id), &metadata));
    assert_eq!(fixture.message(message.id), *message);
    let replayed = fixture.world.page("ben", event.number.0 - 1, usize::MAX, EVERYTHING).events;
    let expected = Event { recipients: Arc::default(), ..(**event).clone() };
    assert_eq!(replayed.iter().map(|event| &**event).collect::<Vec<_>>(), [&expected]);
    assert!(fixture.open_jobs().is_empty());
    assert_eq!(fixture.world.rejected(ECHO, finish(job.key, Status::Complete, Some("again"))), CLOSED);
    fixture.check();
}

#[test]
fn a_streamed_answer_is_published_once_when_complete() {
    let mut fixture = AnswerFixture::in_file();
    let job = fixture.ask("hello");
    let committed = fixture.world.commit(&[command(ECHO, begin(job.key, "Good "))]);
    assert!(committed.events.is_empty() && committed.jobs.is_empty());
    let begin_number = committed.through.0;
    let [started] = &committed.started[..] else { panic!("{:?}", committed.started) };
    assert_eq!(names(&started.recipients), ["ben", "ann"]);
    assert_eq!((started.conversation_id, started.workspace_id), (fixture.conversation, fixture.workspace));
    assert_eq!(
        (&*started.live.text_from(0), started.sender.as_str(), &*started.correlation_id),
        ("Good ", ECHO, "request")
    );
    let id = started.message_id;
    let listed = fixture.open_jobs();
    assert_eq!(listed, [AnswerJob { started: Some(id), ..job.clone() }]);

    // A streaming answer is listed and counted like other messages.
    let growing = fixture.message(id);
    assert_eq!(
        (growing.status, growing.content.as_str(), growing.reply_to),
        (Status::Streaming, "Good ", Some(job.message_id))
    );
    let conversation = ConversationRef::Id(fixture.conversation);
    let QueryResult::ConversationView(view) =
        fixture.world.query_result("ben", QueryKind::ConversationView(conversation))
    else {
        panic!()
    };
    assert_eq!((view.conversation.message_count, view.conversation.updated_at), (2, growing.created_at));
    assert_eq!(view.last.messages.last(), Some(&growing));

    let later = fixture.world.post("ann", fixture.conversation, "meanwhile").number.0;
    let (_, events) = fixture.step(append(job.key, "even\u{0}ing"));
    assert!(events.is_empty());
    let grown = fixture.message(id);
    assert_eq!(grown.content.as_str(), "Good even\u{0}ing");
    assert!(grown.updated_at > growing.updated_at && grown.created_at == growing.created_at);
    let QueryResult::ConversationView(view) =
        fixture.world.query_result("ben", QueryKind::ConversationView(conversation))
    else {
        panic!()
    };
    assert_eq!(view.conversation.updated_at, grown.updated_at);
    assert_eq!(fixture.outputs("ben"), [""; 0], "a streaming answer is not published");
    fixture.check();

    let (finished, events) = fixture.step(finish(job.key, Status::Complete, Some("Good evening!")));
    let [event] = &events[..] else { panic!("{events:?}") };
    let number = event.number.0;
    assert_eq!((event.kind, finished), (EventKind::Output, Some(id)));
    let message = event.message().unwrap();
    assert_eq!((message.id, message.created_at, message.updated_at), (id, growing.created_at, event.at));
    assert_eq!(fixture.message(id), *message);
    assert!(begin_number < later && later < number);
    for user in ["ann", "ben"] {
        let page = fixture.world.page(user, begin_number - 1, usize::MAX, EVERYTHING);
        let replayed: Vec<_> = page.events.iter().map(|event| (event.number.0, event.kind)).collect();
        assert_eq!(replayed, [(later, EventKind::Input), (number, EventKind::Output)]);
        let expected = Event { recipients: Arc::default(), ..(**event).clone() };
        assert_eq!(*page.events[1], expected);
        assert!(fixture.world.page(user, number, usize::MAX, EVERYTHING).events.is_empty());
    }
    fixture.check();
}

#[test]
fn the_end_of_an_answer_determines_its_message() {
    use Shown::{Nothing, Reasoning, Text};
    type End = fn(JobId) -> CommandKind;
    // What was shown before the end; the end; the published answer, or else the code and the reason.
    type Case = (&'static str, Shown, End, Result<&'static str, (&'static str, &'static str)>);
    let table: [Case; 18] = [
        ("complete", Text, |o| finish(o, Status::Complete, Some("whole")), Ok("complete: whole")),
        ("complete as stored", Text, |o| finish(o, Status::Complete, None), Ok("complete: part")),
        ("complete in one step", Nothing, |o| finish(o, Status::Complete, Some("whole")), Ok("complete: whole")),
        ("complete at the first text", Reasoning, |o| finish(o, Status::Complete, Some("x")), Ok("complete: x")),
        ("complete without text", Nothing, |o| finish(o, Status::Complete, None), Err(("failed", EMPTY))),
        (
            "complete with no more than reasoning",
            Reasoning,
            |o| finish(o, Status::Complete, None),
            Err(("failed", EMPTY)),
        ),
        ("complete with an empty text", Nothing, |o| finish(o, Status::Complete, Some("")), Err(("failed", EMPTY))),
        ("cancelled", Text, |o| finish(o, Status::Cancelled, Some("part of")), Ok("cancelled: part of")),
        ("cancelled as stored", Text, |o| finish(o, Status::Cancelled, None), Ok("cancelled: part")),
        ("cancelled before the start", Nothing, |o| finish(o, Status::Cancelled, None), Err(("cancelled", CANCELLED))),
        (
            "cancelled in the reasoning",
            Reasoning,
            |o| finish(o, Status::Cancelled, None),
            Err(("cancelled", CANCELLED)),
        ),
        ("interrupted", Text, |o| finish(o, Status::Interrupted, None), Ok("interrupted: part")),
        ("interrupted before the start", Nothing, |o| finish(o, Status::Interrupted, None), Err(("failed", EARLY))),
        ("failed", Text, |o| failed(o, None, Some("why")), Ok("failed: part")),
        ("failed with text", Text, |o| failed(o, Some("parts"), Some("why")), Ok("failed: parts")),
        ("failed before the start", Nothing, |o| failed(o, None, Some("why")), Err(("failed", "why"))),
        ("failed before the start, with text", Nothing, |o| failed(o, Some("x"), Some("why")), Ok("failed: x")),
        ("failed without a reason", Reasoning, |o| failed(o, None, None), Err(("failed", "the answer failed"))),
    ];
    for (name, shown, end, expected) in table {
        let mut fixture = AnswerFixture::in_memory();
        let job = fixture.ask("hello");
        let started = match shown {
            Nothing => None,
            Reasoning => Some(fixture.started(job.key, "")),
            Text => Some(fixture.started(job.key, "part")),
        };
        let (id, events) = fixture.step(end(job.key));
        let [event] = &events[..] else { panic!("{name}: {events:?}") };
        assert_eq!((names(&event.recipients), event.actor.as_str()), (vec!["ben", "ann"], ECHO), "{name}");
        let kept = match expected {
            Ok(kept) => {
                assert_eq!((event.kind, status_and_text(event).as_str()), (EventKind::Output, kept), "{name}");
                assert!(started.is_none() || started == id, "{name}");
                let message = event.message().unwrap();
                let error = (message.status == Status::Failed).then_some("why");
                assert_eq!((message.error.as_deref(), Some(message.id)), (error, id), "{name}");
                Some(kept)
            }
            Err((code, reason)) => {
                let (asked, conversation) = (job.message_id, fixture.conversation);
                let data = format!(
                    r#"{{"reply_to":"{asked}","conversation_id":"{conversation}","code":"{code}","error":"{reason}"}}"#
                );
                assert_eq!(event.kind, EventKind::OutputError, "{name}");
                assert_eq!((&event.body, id), (&EventBody::Unanswered(asked, data.into()), None), "{name}");
                None
            }
        };
        // The replay for clients that were away.
        let replayed = fixture.world.page("ben", event.number.0 - 1, usize::MAX, EVERYTHING).events;
        assert_eq!(*replayed[0], Event { recipients: Arc::default(), ..(**event).clone() }, "{name}");
        assert_eq!(fixture.outputs("ann"), kept.into_iter().collect::<Vec<_>>(), "{name}");
        let asked = fixture.message(job.message_id);
        let answer = asked.answer.unwrap();
        let status = kept.map_or_else(|| expected.unwrap_err().0, |kept| kept.split_once(':').unwrap().0);
        let error = match expected {
            Ok(_) => (status == "failed").then_some("why"),
            Err((code, reason)) => (code == "failed").then_some(reason),
        };
        assert_eq!((answer.phase.as_str(), answer.message_id, answer.error.as_deref()), (status, id, error), "{name}");
        let QueryResult::ConversationView(view) =
            fixture.world.query_result("ann", QueryKind::ConversationView(ConversationRef::Id(fixture.conversation)))
        else {
            panic!()
        };
        assert_eq!(view.conversation.message_count, 1 + u64::from(kept.is_some()), "{name}");
        assert!(fixture.open_jobs().is_empty(), "{name}");
        fixture.check();
        fixture.world.maintain_all();
        fixture.check();
    }
}

/// What of an answer was shown.
#[derive(Debug, Clone, Copy)]
enum Shown {
    Nothing,
    Reasoning,
    Text,
}

const EMPTY: &str = "the model's answer is empty";
const EARLY: &str = "the answer was interrupted before its first text";
const CANCELLED: &str = "the answer was cancelled";

#[test]
fn reasoning_reserves_an_id_and_the_first_text_makes_the_message() {
    let mut fixture = AnswerFixture::in_file();
    let job = fixture.ask("hello");
    let committed = fixture.world.commit(&[command(ECHO, begin(job.key, ""))]);
    let [started] = &committed.started[..] else { panic!("{:?}", committed.started) };
    let id = started.message_id;
    assert!(committed.events.is_empty() && started.live.is_empty());
    let missing = |fixture: &mut AnswerFixture| fixture.world.query("ann", fixture.message_query(id)).result.is_err();
    assert!(missing(&mut fixture), "an answer without text has no message");
    assert_eq!(fixture.message(job.message_id).answer.unwrap().phase, StoredPhase::Queued);
    assert_eq!(fixture.open_jobs(), std::slice::from_ref(&job), "it would be answered from the beginning");
    fixture.check();

    // Messages that came in between have greater numbers.
    let later = fixture.world.post("ann", fixture.conversation, "meanwhile");
    assert_eq!(fixture.step(append(job.key, "")).0, Some(id));
    assert!(missing(&mut fixture));
    assert_eq!(fixture.step(append(job.key, "first ")).0, Some(id));
    let message = fixture.message(id);
    assert_eq!((message.status, message.content.as_str()), (Status::Streaming, "first "));
    assert!(message.created_at < later.at && later.at < message.updated_at);
    assert_eq!(fixture.open_jobs()[0].started, Some(id));
    fixture.check();
    fixture.step(append(job.key, "text"));
    fixture.step(finish(job.key, Status::Complete, None));
    for user in ["ann", "ben"] {
        assert_eq!(fixture.outputs(user), ["complete: first text"]);
    }
    fixture.world.maintain_all();
    fixture.check();
}

#[test]
fn reasoning_is_stored_beside_the_text_and_shown_when_it_is_asked_for() {
    let mut fixture = AnswerFixture::in_memory();
    for (text, reasoning, expected) in [
        (Some("yes"), "because".to_owned(), Some("because".to_owned())),
        (Some("yes"), String::new(), None),
        (Some("yes"), "é".repeat(REASONING_BYTES_MAX), Some("é".repeat(REASONING_BYTES_MAX / 2))),
        (None, "because".to_owned(), None),
    ] {
        let job = fixture.ask("why?");
        let step = AnswerStep::Finish {
            status: Status::Complete,
            text: text.map(Content::new_unchecked),
            reasoning: Some(reasoning.into()),
            metadata: Metadata::empty(),
            error: None,
            usage: None,
        };
        let (id, _) = fixture.step(CommandKind::Answer { job: job.key, step });
        assert_eq!(id.is_some(), text.is_some());
        let Some(id) = id else { continue };
        assert_eq!(fixture.message(id).reasoning.as_deref(), expected.as_deref());
        let conversation = ConversationRef::Id(fixture.conversation);
        let page = |fixture: &mut AnswerFixture, with_reasoning| {
            let kind = QueryKind::Messages { conversation, cursor: MessageCursor::First, limit: 100, with_reasoning };
            match fixture.world.query_result("ben", kind) {
                QueryResult::Messages(page) => page.messages.into_iter().find(|message| message.id == id).unwrap(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(page(&mut fixture, true).reasoning.as_deref(), expected.as_deref());
        assert_eq!(page(&mut fixture, false).reasoning, None);
        fixture.check();
        fixture.world.run("ann", delete_message(fixture.conversation, id));
        fixture.check();
    }
}

#[test]
fn steps_in_the_wrong_state_are_rejected() {
    let mut fixture = AnswerFixture::in_memory();
    let job = fixture.ask("hello");
    assert_eq!(fixture.world.rejected(ECHO, append(job.key, "x")), Rejection::Conflict("the answer has not started"));
    let streaming = fixture.world.rejected(ECHO, finish(job.key, Status::Streaming, Some("x")));
    let superseded = fixture.world.rejected(ECHO, finish(job.key, Status::Superseded, Some("x")));
    assert_eq!(streaming, superseded);
    assert!(matches!(&streaming, Rejection::Invalid(fields) if fields[0].0 == "status"), "{streaming:?}");
    for outsider in ["responder:openai", "ann", "echo"] {
        let rejected = fixture.world.rejected(outsider, begin(job.key, "x"));
        assert!(matches!(rejected, Rejection::Forbidden(_)), "{outsider} {rejected:?}");
    }
    let never = JobId(fixture.world.writer().position().next());
    assert_eq!(fixture.world.rejected(ECHO, begin(never, "x")), CLOSED);
    fixture.started(job.key, "x");
    assert_eq!(
        fixture.world.rejected(ECHO, begin(job.key, "y")),
        Rejection::Conflict("the answer has already started")
    );
    assert_eq!(fixture.open_jobs().len(), 1);
    fixture.check();
}

#[test]
fn an_answer_has_the_bounds_of_a_message() {
    let mut fixture = AnswerFixture::in_memory();
    let job = fixture.ask("hello");
    let too_long = "x".repeat(CONTENT_BYTES_MAX + 1);
    let is_text = |rejection: Rejection| matches!(rejection, Rejection::Invalid(fields) if fields[0].0 == "text");
    assert!(is_text(fixture.world.rejected(ECHO, begin(job.key, &too_long))));
    assert!(is_text(fixture.world.rejected(ECHO, finish(job.key, Status::Complete, Some(&too_long)))));
    fixture.started(job.key, "é");
    assert!(is_text(fixture.world.rejected(ECHO, append(job.key, &too_long[2..]))), "the bound is in bytes");
    fixture.step(append(job.key, &too_long[3..]));
    let metadata = Metadata::new_unchecked(format!("{{\"a\":\"{}\"}}", "x".repeat(METADATA_BYTES_MAX)));
    let step = AnswerStep::Finish {
        status: Status::Complete,
        text: None,
        metadata,
        error: None,
        reasoning: None,
        usage: None,
    };
    let rejected = fixture.world.rejected(ECHO, CommandKind::Answer { job: job.key, step });
    assert!(matches!(&rejected, Rejection::Invalid(fields) if fields[0].0 == "metadata"), "{rejected:?}");
    let (id, _) = fixture.step(finish(job.key, Status::Complete, None));
    assert_eq!(fixture.message(id.unwrap()).content.as_str().len(), CONTENT_BYTES_MAX);
}
