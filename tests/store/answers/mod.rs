//! Orders to answer and their answers: who answers, what each step leaves behind, and that the first to close an order
//! wins, whatever crashes.

mod crash;
mod history;

use crate::common::*;
use cortex_core::internals::limits::{CONTENT_BYTES_MAX, METADATA_BYTES_MAX};
use cortex_core::internals::{
    AnswerJob, AnswerStep, ApiVariant, Command, CommandKind, CommandResult, Content, ConversationId, ConversationRef,
    Event, EventBody, EventKind, EventNumber, Idempotency, JobId, Message, MessageId, Metadata, Outcome, QueryKind,
    QueryResult, Rejection, ResponderKind, Role, Status, Topic, UserId, WorkspaceId,
};
use std::sync::Arc;

const ECHO: &str = "responder:echo";
const CLOSED: Rejection = Rejection::Conflict("the job is closed");

/// A conversation of ann's with ben in it, and a store in which echo answers.
struct Stage {
    world: World,
    home: WorkspaceId,
    room: ConversationId,
}

impl Stage {
    fn new(mut world: World) -> Stage {
        let home = world.workspace("ann");
        let room = world.conversation("ann", home, &["ben"]);
        Stage { world, home, room }
    }

    fn in_memory() -> Stage {
        Stage::new(World::answered_in_memory(Some("echo")))
    }

    fn in_file() -> Stage {
        Stage::new(World::answered_in_file(Some("echo")))
    }

    /// Posts as ben; the order that this makes.
    fn ask(&mut self, text: &str) -> AnswerJob {
        let committed = self.world.commit(&[command("ben", post(ConversationRef::Id(self.room), text))]);
        let [order] = &committed.jobs[..] else { panic!("{:?}", committed.jobs) };
        order.clone()
    }

    fn step(&mut self, kind: CommandKind) -> (Option<MessageId>, Vec<Arc<Event>>) {
        let (receipt, events) = self.world.act(ECHO, kind);
        let Ok(Outcome::Answered { message_id, .. }) = receipt.result else { panic!("{receipt:?}") };
        assert_eq!(receipt.number, events.first().map(|event| event.number));
        (message_id, events)
    }

    fn started(&mut self, order: JobId, text: &str) -> MessageId {
        self.step(begin(order, text)).0.unwrap()
    }

    fn message(&mut self, id: MessageId) -> Message {
        match self.world.found("ann", QueryKind::Message(ConversationRef::Id(self.room), id)) {
            QueryResult::Message(message) => message,
            other => panic!("{other:?}"),
        }
    }

    fn open_orders(&mut self) -> Vec<AnswerJob> {
        open_orders(&mut self.world)
    }

    /// What `user` gets replayed of answers, with their texts.
    fn outputs(&mut self, user: &str) -> Vec<String> {
        let page = self.world.page(user, 0, usize::MAX, EVERYTHING);
        page.events.iter().filter(|event| event.kind == EventKind::Output).map(|event| said(event)).collect()
    }

    fn check(&mut self) {
        self.world.writer().check_invariants();
    }
}

fn open_orders(world: &mut World) -> Vec<AnswerJob> {
    match world.found(ECHO, QueryKind::OpenJobs { after: JobId(EventNumber(0)), limit: 1000 }) {
        QueryResult::OpenJobs(jobs) => jobs,
        other => panic!("{other:?}"),
    }
}

fn said(event: &Event) -> String {
    let message = event.message().unwrap();
    format!("{}: {}", message.status.as_str(), message.content.as_str())
}

fn failed(order: JobId, text: Option<&str>, error: Option<&str>) -> CommandKind {
    let text = text.map(Content::new_unchecked);
    let (metadata, error) = (Metadata::empty(), error.map(Arc::from));
    CommandKind::Answer { job: order, step: AnswerStep::Finish { status: Status::Failed, text, metadata, error } }
}

fn with_metadata(json: &str) -> CommandKind {
    CommandKind::CreateConversation {
        workspace: None,
        topic: Topic::new_unchecked("t"),
        participants: Vec::new(),
        metadata: Metadata::new_unchecked(json),
        initial_message: Some(Content::new_unchecked("first")),
        api_variant: ApiVariant::Conversations,
    }
}

#[test]
fn a_users_message_is_ordered_from_who_is_chosen() {
    let table = [
        (Some("echo"), "{}", Some("echo")),
        (Some("echo"), r#"{"responder":"openai"}"#, Some("openai")),
        (Some("echo"), r#"{"responder":"none"}"#, None),
        (Some("echo"), r#"{"responder":null}"#, Some("echo")),
        (Some("none"), "{}", None),
        (None, "{}", None),
        (None, r#"{"responder":"echo"}"#, Some("echo")),
    ];
    for (default, metadata, expected) in table {
        let mut world = World::answered_in_file(default);
        let committed = world.commit(&[command("ann", with_metadata(metadata))]);
        let Ok(Outcome::ConversationCreated { conversation, first, .. }) = &committed.results[0].result else {
            panic!()
        };
        let first = first.as_ref().unwrap();
        let ordered = committed.jobs.first();
        assert_eq!(ordered.map(|order| order.responder.as_str()), expected, "{default:?} {metadata}");
        if let Some(order) = ordered {
            let message = first.message().unwrap();
            let expected = AnswerJob {
                key: JobId(first.number),
                message_id: message.id,
                conversation_id: conversation.id,
                workspace_id: conversation.workspace_id,
                user: UserId::new_unchecked("ann"),
                responder: ResponderKind::parse(expected.unwrap()).unwrap(),
                correlation_id: "request".into(),
                content: Content::new_unchecked("first"),
                started: None,
            };
            assert_eq!(*order, expected);
            world.reopen();
            assert_eq!(open_orders(&mut world), [expected], "the table says what the commit said");
        }
        // A room that comes from the database chooses as one that was just made.
        world.reopen();
        for api_variant in [ApiVariant::Config, ApiVariant::Conversations] {
            let kind = post_as(ConversationRef::Id(conversation.id), Role::User, api_variant, "second");
            let jobs = world.commit(&[command("ann", kind)]).jobs;
            assert_eq!(jobs.first().map(|order| order.responder.as_str()), expected, "{default:?} {metadata}");
        }
        for role in [Role::Assistant, Role::System] {
            let kind = post_as(ConversationRef::Id(conversation.id), role, ApiVariant::Config, "third");
            assert!(world.commit(&[command("ann", kind)]).jobs.is_empty(), "{role:?}");
        }
        world.writer().check_invariants();
    }
}

#[test]
fn the_choice_of_a_responder_changes_with_the_metadata() {
    let mut stage = Stage::in_file();
    let room = stage.room;
    let patches = [
        (r#"{"responder":"openai"}"#, Some("openai")),
        (r#"{"a":1}"#, Some("openai")),
        (r#"{"responder":"none"}"#, None),
        (r#"{"responder":null}"#, Some("echo")),
    ];
    for (patch, expected) in patches {
        stage.world.done("ann", update_conversation(room, None, Some(patch)));
        let jobs = stage.world.commit(&[command("ben", post(ConversationRef::Id(room), "x"))]).jobs;
        assert_eq!(jobs.first().map(|order| order.responder.as_str()), expected, "{patch}");
        stage.check();
    }
    let rule = || Rejection::Invalid(vec![("metadata", "responder must be one of echo, openai, none".into())]);
    for wrong in [r#"{"responder":"parrot"}"#, r#"{"responder":""}"#, r#"{"responder":7}"#, r#"{"responder":["echo"]}"#]
    {
        assert_eq!(stage.world.refused("ann", update_conversation(room, None, Some(wrong))), rule(), "{wrong}");
        assert_eq!(stage.world.refused("ann", with_metadata(wrong)), rule(), "{wrong}");
        let forbidden = stage.world.refused("ben", update_conversation(room, None, Some(wrong)));
        assert!(matches!(forbidden, Rejection::Forbidden(_)));
    }
    // What was chosen while it was allowed counts as no choice later, and does not stand in the way of other changes.
    stage.world.done("ann", update_conversation(room, None, Some(r#"{"responder":"openai"}"#)));
    stage.world.config.responders.allowed.pop();
    stage.world.reopen();
    stage.world.done("ann", update_conversation(room, None, Some(r#"{"b":2}"#)));
    assert_eq!(stage.ask("x").responder.as_str(), "echo");
}

#[test]
fn a_retried_message_is_ordered_once() {
    let mut world = World::answered_in_file(Some("echo"));
    let mut keyed = command("ann", post(ConversationRef::Default, "x"));
    keyed.idempotency = Some(Idempotency { key: "k".into(), fingerprint: [1; 32] });
    let committed = world.commit(&[keyed.clone(), keyed.clone()]);
    assert_eq!(committed.jobs.len(), 1);
    assert!(matches!(committed.results[1].result, Ok(Outcome::Replayed { .. })));
    world.reopen();
    assert!(world.commit(std::slice::from_ref(&keyed)).jobs.is_empty());
    let order = open_orders(&mut world).remove(0);
    world.done(ECHO, finish(order.key, Status::Complete, Some("x")));
    assert!(world.commit(&[keyed]).jobs.is_empty(), "also when it was answered");
    assert!(open_orders(&mut world).is_empty());
}

#[test]
fn an_answer_at_once_is_its_own_event() {
    let mut stage = Stage::in_file();
    let order = stage.ask("hello");
    let metadata = Metadata::new_unchecked(r#"{"responder":"echo"}"#);
    let step = AnswerStep::Finish {
        status: Status::Complete,
        text: Some(Content::new_unchecked("hello")),
        metadata: metadata.clone(),
        error: None,
    };
    let (id, events) = stage.step(CommandKind::Answer { job: order.key, step });
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!(
        (event.kind, event.actor.as_str(), names(&event.recipients)),
        (EventKind::Output, ECHO, vec!["ben", "ann"])
    );
    assert_eq!(event.correlation_id, order.correlation_id);
    let message = event.message().unwrap();
    assert_eq!((message.role, message.status, &*message.sender_name), (Role::Assistant, Status::Complete, "echo"));
    assert_eq!((Some(message.id), message.reply_to, &message.metadata), (id, Some(order.message_id), &metadata));
    assert_eq!(stage.message(message.id), *message);
    let replayed = stage.world.page("ben", event.number.0 - 1, usize::MAX, EVERYTHING).events;
    let expected = Event { recipients: Arc::default(), ..(**event).clone() };
    assert_eq!(replayed.iter().map(|event| &**event).collect::<Vec<_>>(), [&expected]);
    assert!(stage.open_orders().is_empty());
    assert_eq!(stage.world.refused(ECHO, finish(order.key, Status::Complete, Some("again"))), CLOSED);
    stage.check();
}

#[test]
fn an_answer_that_grows_is_published_once_and_whole() {
    let mut stage = Stage::in_file();
    let order = stage.ask("hello");
    let committed = stage.world.commit(&[command(ECHO, begin(order.key, "Good "))]);
    assert!(committed.events.is_empty() && committed.jobs.is_empty());
    let begin_number = committed.through.0;
    let [started] = &committed.started[..] else { panic!("{:?}", committed.started) };
    assert_eq!(names(&started.recipients), ["ben", "ann"]);
    assert_eq!((started.conversation_id, started.workspace_id), (stage.room, stage.home));
    assert_eq!(
        (&*started.live.text_from(0), started.sender.as_str(), &*started.correlation_id),
        ("Good ", ECHO, "request")
    );
    let id = started.message_id;
    let listed = stage.open_orders();
    assert_eq!(listed, [AnswerJob { started: Some(id), ..order.clone() }]);

    // It is a message like others: listed, counted, a place for cursors.
    let growing = stage.message(id);
    assert_eq!(
        (growing.status, growing.content.as_str(), growing.reply_to),
        (Status::Streaming, "Good ", Some(order.message_id))
    );
    let room = ConversationRef::Id(stage.room);
    let QueryResult::ConversationView(chat) = stage.world.found("ben", QueryKind::ConversationView(room)) else {
        panic!()
    };
    assert_eq!((chat.conversation.message_count, chat.conversation.updated_at), (2, growing.created_at));
    assert_eq!(chat.last.messages.last(), Some(&growing));

    let later = stage.world.post("ann", stage.room, "meanwhile").number.0;
    let (_, events) = stage.step(append(order.key, "even\u{0}ing"));
    assert!(events.is_empty());
    let grown = stage.message(id);
    assert_eq!(grown.content.as_str(), "Good even\u{0}ing");
    assert!(grown.updated_at > growing.updated_at && grown.created_at == growing.created_at);
    let QueryResult::ConversationView(chat) = stage.world.found("ben", QueryKind::ConversationView(room)) else {
        panic!()
    };
    assert_eq!(chat.conversation.updated_at, grown.updated_at);
    assert_eq!(stage.outputs("ben"), [""; 0], "nothing is published before it is whole");
    stage.check();

    let (finished, events) = stage.step(finish(order.key, Status::Complete, Some("Good evening!")));
    let [event] = &events[..] else { panic!("{events:?}") };
    let number = event.number.0;
    assert_eq!((event.kind, finished), (EventKind::Output, Some(id)));
    let message = event.message().unwrap();
    assert_eq!((message.id, message.created_at, message.updated_at), (id, growing.created_at, event.at));
    assert_eq!(stage.message(id), *message);
    assert!(begin_number < later && later < number);
    for user in ["ann", "ben"] {
        let page = stage.world.page(user, begin_number - 1, usize::MAX, EVERYTHING);
        let replayed: Vec<_> = page.events.iter().map(|event| (event.number.0, event.kind)).collect();
        assert_eq!(replayed, [(later, EventKind::Input), (number, EventKind::Output)]);
        let expected = Event { recipients: Arc::default(), ..(**event).clone() };
        assert_eq!(*page.events[1], expected);
        assert!(stage.world.page(user, number, usize::MAX, EVERYTHING).events.is_empty());
    }
    stage.check();
}

#[test]
fn how_an_answer_ends_decides_what_is_kept() {
    use EventKind::{Output, OutputError};
    type End = fn(JobId) -> CommandKind;
    type Case = (&'static str, bool, End, &'static [EventKind], Option<&'static str>);
    let table: [Case; 13] = [
        ("complete", true, |o| finish(o, Status::Complete, Some("whole")), &[Output], Some("complete: whole")),
        ("complete as stored", true, |o| finish(o, Status::Complete, None), &[Output], Some("complete: part")),
        ("complete at once", false, |o| finish(o, Status::Complete, Some("whole")), &[Output], Some("complete: whole")),
        ("complete with nothing", false, |o| finish(o, Status::Complete, None), &[], None),
        ("cancelled", true, |o| finish(o, Status::Cancelled, Some("part of")), &[Output], Some("cancelled: part of")),
        ("cancelled as stored", true, |o| finish(o, Status::Cancelled, None), &[Output], Some("cancelled: part")),
        ("cancelled before it began", false, |o| finish(o, Status::Cancelled, None), &[], None),
        ("interrupted", true, |o| finish(o, Status::Interrupted, None), &[Output], Some("interrupted: part")),
        ("interrupted before it began", false, |o| finish(o, Status::Interrupted, None), &[], None),
        ("failed", true, |o| failed(o, None, Some("why")), &[Output, OutputError], Some("failed: part")),
        (
            "failed with text",
            true,
            |o| failed(o, Some("parts"), Some("why")),
            &[Output, OutputError],
            Some("failed: parts"),
        ),
        ("failed before it began", false, |o| failed(o, None, Some("why")), &[OutputError], None),
        ("failed, what it had not shown", false, |o| failed(o, Some("x"), Some("why")), &[OutputError], None),
    ];
    for (what, is_begun, end, kinds, kept) in table {
        let mut stage = Stage::in_memory();
        let order = stage.ask("hello");
        let started = is_begun.then(|| stage.started(order.key, "part"));
        let (id, events) = stage.step(end(order.key));
        assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), kinds, "{what}");
        assert_eq!(id.is_some(), kept.is_some(), "{what}");
        assert!(started.is_none() || started == id, "{what}");
        assert_eq!(stage.outputs("ann"), kept.into_iter().collect::<Vec<_>>(), "{what}");
        let QueryResult::ConversationView(chat) =
            stage.world.found("ann", QueryKind::ConversationView(ConversationRef::Id(stage.room)))
        else {
            panic!()
        };
        assert_eq!(chat.conversation.message_count, 1 + u64::from(kept.is_some()), "{what}");
        if let Some(failure) = events.iter().find(|event| event.kind == OutputError) {
            let (asked, room) = (order.message_id, stage.room);
            let answer = started.map_or(String::new(), |id| format!(r#","answer_id":"{id}""#));
            let data = format!(r#"{{"message_id":"{asked}","conversation_id":"{room}","error":"why"{answer}}}"#);
            assert_eq!(failure.body, EventBody::Data(data.into()), "{what}");
            assert_eq!((names(&failure.recipients), failure.actor.as_str()), (vec!["ben", "ann"], ECHO));
        }
        assert!(stage.open_orders().is_empty(), "{what}");
        stage.check();
    }
    let mut stage = Stage::in_memory();
    let order = stage.ask("hello");
    let (_, events) = stage.step(failed(order.key, None, None));
    let EventBody::Data(data) = &events[0].body else { panic!() };
    assert!(data.contains(r#""error":"the answer failed""#), "{data}");
}

/// What closes an order.
fn closers(stage: &Stage, order: &AnswerJob, started: Option<MessageId>) -> Vec<(&'static str, Command)> {
    let (room, home, key) = (stage.room, stage.home, order.key);
    let mut closers = vec![
        ("finish", command(ECHO, finish(key, Status::Complete, Some("whole")))),
        ("cancel", command(ECHO, finish(key, Status::Cancelled, None))),
        ("fail", command(ECHO, failed(key, None, Some("why")))),
        ("delete the message", command("ben", delete_message(room, order.message_id))),
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
                let mut stage = Stage::in_memory();
                let order = stage.ask("hello");
                let started = is_begun.then(|| stage.started(order.key, "part"));
                let (what, close) = closers(&stage, &order, started).swap_remove(first);
                let steps = [
                    begin(order.key, "x"),
                    append(order.key, "x"),
                    finish(order.key, Status::Complete, Some("x")),
                    finish(order.key, Status::Cancelled, None),
                    failed(order.key, None, Some("why")),
                ];
                let mut commands = vec![close];
                commands.extend(steps.map(|kind| command(ECHO, kind)));
                let results: Vec<CommandResult> = if together {
                    stage.world.commit(&commands).results
                } else {
                    commands.iter().flat_map(|one| stage.world.commit(std::slice::from_ref(one)).results).collect()
                };
                assert!(results[0].result.is_ok(), "{what} {:?}", results[0]);
                for receipt in &results[1..] {
                    assert_eq!(receipt.result.as_ref().err(), Some(&CLOSED), "{what}");
                }
                assert!(stage.open_orders().is_empty(), "{what}");
                let outputs = stage.outputs("ann");
                let kept: &[&str] = match (what, is_begun) {
                    ("finish", _) => &["complete: whole"],
                    ("cancel" | "delete the message", true) => &["cancelled: part"],
                    ("fail", true) => &["failed: part"],
                    _ => &[],
                };
                assert_eq!(outputs, kept, "{what}");
                stage.check();
                stage.world.maintain_all();
                stage.check();
            }
        }
    }
}

#[test]
fn a_batch_tells_of_no_order_or_answer_that_it_closed_itself() {
    let mut stage = Stage::in_memory();
    let room = ConversationRef::Id(stage.room);
    let asked = [command("ben", post(room, "a")), command("ann", delete_conversation(stage.room))];
    assert!(stage.world.commit(&asked).jobs.is_empty());
    let mut stage = Stage::in_memory();
    let room = ConversationRef::Id(stage.room);
    let asked = [command("ben", post(room, "a")), command("ann", CommandKind::DeleteWorkspace { id: stage.home })];
    assert!(stage.world.commit(&asked).jobs.is_empty());

    let mut stage = Stage::in_memory();
    let room = ConversationRef::Id(stage.room);
    let key = JobId(stage.world.writer().position().next());
    let asked = [command("ben", post(room, "a")), command(ECHO, finish(key, Status::Complete, Some("a")))];
    let committed = stage.world.commit(&asked);
    assert!(committed.results[1].result.is_ok() && committed.jobs.is_empty());

    for last in 0..5 {
        let mut stage = Stage::in_memory();
        let order = stage.ask("hello");
        let closers = closers(&stage, &order, None);
        // Cancelling, failing and both deletions end an answer as finishing does.
        let (what, close) = &closers[last + usize::from(last > 1)];
        let committed = stage.world.commit(&[command(ECHO, begin(order.key, "part")), close.clone()]);
        assert!(committed.results.iter().all(|receipt| receipt.result.is_ok()), "{what}");
        assert!(committed.started.is_empty(), "{what}");
        stage.check();
    }
}

#[test]
fn steps_out_of_turn_change_nothing() {
    let mut stage = Stage::in_memory();
    let order = stage.ask("hello");
    assert_eq!(stage.world.refused(ECHO, append(order.key, "x")), Rejection::Conflict("the answer was not begun"));
    let streaming = stage.world.refused(ECHO, finish(order.key, Status::Streaming, Some("x")));
    assert!(matches!(&streaming, Rejection::Invalid(fields) if fields[0].0 == "status"), "{streaming:?}");
    for stranger in ["responder:openai", "ann", "echo"] {
        let refused = stage.world.refused(stranger, begin(order.key, "x"));
        assert!(matches!(refused, Rejection::Forbidden(_)), "{stranger} {refused:?}");
    }
    let never = JobId(stage.world.writer().position().next());
    assert_eq!(stage.world.refused(ECHO, begin(never, "x")), CLOSED);
    stage.started(order.key, "x");
    assert_eq!(stage.world.refused(ECHO, begin(order.key, "y")), Rejection::Conflict("the answer was begun before"));
    assert_eq!(stage.open_orders().len(), 1);
    stage.check();
}

#[test]
fn an_answer_is_no_longer_than_any_message() {
    let mut stage = Stage::in_memory();
    let order = stage.ask("hello");
    let too_long = "x".repeat(CONTENT_BYTES_MAX + 1);
    let is_text = |refusal: Rejection| matches!(refusal, Rejection::Invalid(fields) if fields[0].0 == "text");
    assert!(is_text(stage.world.refused(ECHO, begin(order.key, &too_long))));
    assert!(is_text(stage.world.refused(ECHO, finish(order.key, Status::Complete, Some(&too_long)))));
    stage.started(order.key, "é");
    assert!(is_text(stage.world.refused(ECHO, append(order.key, &too_long[2..]))), "it is bytes that count");
    stage.step(append(order.key, &too_long[3..]));
    let metadata = Metadata::new_unchecked(format!("{{\"a\":\"{}\"}}", "x".repeat(METADATA_BYTES_MAX)));
    let step = AnswerStep::Finish { status: Status::Complete, text: None, metadata, error: None };
    let refused = stage.world.refused(ECHO, CommandKind::Answer { job: order.key, step });
    assert!(matches!(&refused, Rejection::Invalid(fields) if fields[0].0 == "metadata"), "{refused:?}");
    let (id, _) = stage.step(finish(order.key, Status::Complete, None));
    assert_eq!(stage.message(id.unwrap()).content.as_str().len(), CONTENT_BYTES_MAX);
}

#[test]
fn an_answer_belongs_to_the_workspaces_owner() {
    let mut stage = Stage::in_memory();
    let order = stage.ask("hello");
    let id = stage.started(order.key, "part");
    let room = ConversationRef::Id(stage.room);
    let change = |text: &str| CommandKind::UpdateMessage {
        conversation: room,
        message: id,
        content: Some(Content::new_unchecked(text)),
        metadata: None,
    };
    assert_eq!(stage.world.refused("ann", change("x")), Rejection::Conflict("the answer is still being written"));
    for kind in [change("x"), delete_message(stage.room, id)] {
        assert!(matches!(stage.world.refused("ben", kind), Rejection::Forbidden(_)));
    }
    stage.step(finish(order.key, Status::Complete, Some("whole")));
    for kind in [change("x"), delete_message(stage.room, id)] {
        assert!(matches!(stage.world.refused("ben", kind), Rejection::Forbidden(_)));
    }
    stage.world.done("ann", change("corrected"));
    assert_eq!(stage.outputs("ben"), ["complete: corrected"], "a replay shows it as it is");
    stage.world.done("ann", delete_message(stage.room, id));
    assert_eq!(stage.outputs("ben"), [""; 0]);
    stage.check();
}

#[test]
fn an_answer_comes_also_when_who_asked_has_left() {
    let mut stage = Stage::in_memory();
    let (first, second) = (stage.ask("one"), stage.ask("two"));
    stage.started(first.key, "part");
    stage.world.done("ben", leave(stage.room));
    let (_, events) = stage.step(finish(first.key, Status::Complete, Some("whole")));
    assert_eq!(names(&events[0].recipients), ["ann"]);
    stage.step(finish(second.key, Status::Complete, Some("two")));
    assert_eq!(stage.outputs("ann"), ["complete: whole", "complete: two"]);
    assert_eq!(stage.outputs("ben"), [""; 0]);
    stage.check();
}

#[test]
fn the_answer_to_a_deleted_message_ends_where_it_is() {
    let mut stage = Stage::in_memory();
    let order = stage.ask("hello");
    let id = stage.started(order.key, "part");
    let (_, events) = stage.world.act("ben", delete_message(stage.room, order.message_id));
    assert_eq!(
        events.iter().map(|event| event.kind).collect::<Vec<_>>(),
        [EventKind::MessageDeleted, EventKind::Output]
    );
    assert_eq!((events[1].actor.as_str(), said(&events[1])), (ECHO, "cancelled: part".to_owned()));
    let message = stage.message(id);
    assert_eq!((message.status, message.reply_to), (Status::Cancelled, None));
    stage.check();
    // Its own end is as any other answer's.
    stage.world.done("ann", delete_message(stage.room, id));
    assert_eq!(stage.outputs("ann"), [""; 0]);
    stage.check();
}

#[test]
fn a_deleted_conversation_takes_orders_and_answers_along() {
    let mut stage = Stage::in_file();
    for round in 0..600 {
        let order = stage.ask("hello");
        match round % 3 {
            0 => drop(stage.started(order.key, "part")),
            1 => drop(stage.step(finish(order.key, Status::Complete, Some("whole")))),
            _ => {}
        }
    }
    let kept = stage.world.conversation("ann", stage.home, &[]);
    stage.world.post("ann", kept, "hello");
    stage.check();
    stage.world.done("ann", delete_conversation(stage.room));
    assert_eq!(stage.open_orders().len(), 1);
    while stage.world.maintain() {
        stage.check();
    }
    assert_eq!(stage.open_orders().len(), 1);
    stage.world.done("ann", CommandKind::DeleteWorkspace { id: stage.home });
    assert!(stage.open_orders().is_empty());
    stage.world.maintain_all();
    stage.check();
}

#[test]
fn open_orders_come_in_pages() {
    let mut stage = Stage::in_memory();
    let keys: Vec<JobId> = (0..10).map(|_| stage.ask(&"x".repeat(CONTENT_BYTES_MAX)).key).collect();
    let (mut after, mut pages) = (JobId(EventNumber(0)), Vec::new());
    loop {
        let kind = QueryKind::OpenJobs { after, limit: 9 };
        let QueryResult::OpenJobs(jobs) = stage.world.found(ECHO, kind) else { panic!() };
        let Some(last) = jobs.last() else { break };
        after = last.key;
        pages.push(jobs.iter().map(|order| order.key).collect::<Vec<_>>());
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [8, 2], "eight of them are as large as a list may be");
    assert_eq!(pages.concat(), keys);
}
