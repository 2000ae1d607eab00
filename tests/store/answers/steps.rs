//! The steps of an answer, and the rows and events of each.

use super::fixture::*;
use crate::common::*;
use cortex_core::internals::limits::{CONTENT_BYTES_MAX, METADATA_BYTES_MAX};
use cortex_core::internals::{
    AnswerJob, AnswerStep, CommandKind, Content, ConversationRef, Event, EventBody, EventKind, JobId, Metadata,
    QueryKind, QueryResult, Rejection, Role, Status,
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
        metadata: metadata.clone(),
        error: None,
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
    use EventKind::{Output, OutputError};
    type End = fn(JobId) -> CommandKind;
    type Case = (&'static str, bool, End, &'static [EventKind], Option<&'static str>);
    let table: [Case; 13] = [
        ("complete", true, |o| finish(o, Status::Complete, Some("whole")), &[Output], Some("complete: whole")),
        ("complete as stored", true, |o| finish(o, Status::Complete, None), &[Output], Some("complete: part")),
        (
            "complete in one step",
            false,
            |o| finish(o, Status::Complete, Some("whole")),
            &[Output],
            Some("complete: whole"),
        ),
        ("complete without text", false, |o| finish(o, Status::Complete, None), &[], None),
        ("cancelled", true, |o| finish(o, Status::Cancelled, Some("part of")), &[Output], Some("cancelled: part of")),
        ("cancelled as stored", true, |o| finish(o, Status::Cancelled, None), &[Output], Some("cancelled: part")),
        ("cancelled before the start", false, |o| finish(o, Status::Cancelled, None), &[], None),
        ("interrupted", true, |o| finish(o, Status::Interrupted, None), &[Output], Some("interrupted: part")),
        ("interrupted before the start", false, |o| finish(o, Status::Interrupted, None), &[], None),
        ("failed", true, |o| failed(o, None, Some("why")), &[Output, OutputError], Some("failed: part")),
        (
            "failed with text",
            true,
            |o| failed(o, Some("parts"), Some("why")),
            &[Output, OutputError],
            Some("failed: parts"),
        ),
        ("failed before the start", false, |o| failed(o, None, Some("why")), &[OutputError], None),
        ("failed before the start, with text", false, |o| failed(o, Some("x"), Some("why")), &[OutputError], None),
    ];
    for (name, is_begun, end, kinds, kept) in table {
        let mut fixture = AnswerFixture::in_memory();
        let job = fixture.ask("hello");
        let started = is_begun.then(|| fixture.started(job.key, "part"));
        let (id, events) = fixture.step(end(job.key));
        assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), kinds, "{name}");
        assert_eq!(id.is_some(), kept.is_some(), "{name}");
        assert!(started.is_none() || started == id, "{name}");
        assert_eq!(fixture.outputs("ann"), kept.into_iter().collect::<Vec<_>>(), "{name}");
        let QueryResult::ConversationView(view) =
            fixture.world.query_result("ann", QueryKind::ConversationView(ConversationRef::Id(fixture.conversation)))
        else {
            panic!()
        };
        assert_eq!(view.conversation.message_count, 1 + u64::from(kept.is_some()), "{name}");
        if let Some(failure) = events.iter().find(|event| event.kind == OutputError) {
            let (asked, conversation) = (job.message_id, fixture.conversation);
            let answer = started.map_or(String::new(), |id| format!(r#","answer_id":"{id}""#));
            let data =
                format!(r#"{{"message_id":"{asked}","conversation_id":"{conversation}","error":"why"{answer}}}"#);
            assert_eq!(failure.body, EventBody::Data(data.into()), "{name}");
            assert_eq!((names(&failure.recipients), failure.actor.as_str()), (vec!["ben", "ann"], ECHO));
        }
        assert!(fixture.open_jobs().is_empty(), "{name}");
        fixture.check();
    }
    let mut fixture = AnswerFixture::in_memory();
    let job = fixture.ask("hello");
    let (_, events) = fixture.step(failed(job.key, None, None));
    let EventBody::Data(data) = &events[0].body else { panic!() };
    assert!(data.contains(r#""error":"the answer failed""#), "{data}");
}

#[test]
fn steps_in_the_wrong_state_are_rejected() {
    let mut fixture = AnswerFixture::in_memory();
    let job = fixture.ask("hello");
    assert_eq!(fixture.world.rejected(ECHO, append(job.key, "x")), Rejection::Conflict("the answer has not started"));
    let streaming = fixture.world.rejected(ECHO, finish(job.key, Status::Streaming, Some("x")));
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
    let step = AnswerStep::Finish { status: Status::Complete, text: None, metadata, error: None };
    let rejected = fixture.world.rejected(ECHO, CommandKind::Answer { job: job.key, step });
    assert!(matches!(&rejected, Rejection::Invalid(fields) if fields[0].0 == "metadata"), "{rejected:?}");
    let (id, _) = fixture.step(finish(job.key, Status::Complete, None));
    assert_eq!(fixture.message(id.unwrap()).content.as_str().len(), CONTENT_BYTES_MAX);
}
