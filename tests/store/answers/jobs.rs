//! Answer jobs: which messages get one, and for which responder.

use super::fixture::*;
use crate::common::*;
use cortex_core::internals::limits::CONTENT_BYTES_MAX;
use cortex_core::internals::{
    AnswerJob, ApiVariant, Content, ConversationRef, EventNumber, Idempotency, JobId, Outcome, QueryKind, QueryResult,
    Rejection, ResponderKind, Role, Status, UserId,
};

#[test]
fn a_users_message_gets_a_job_for_the_chosen_responder() {
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
        assert_eq!(ordered.map(|job| job.responder.as_str()), expected, "{default:?} {metadata}");
        if let Some(job) = ordered {
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
            assert_eq!(*job, expected);
            world.reopen();
            assert_eq!(open_jobs(&mut world), [expected], "the listed job equals that of the commit");
        }
        // The choice is the same whether the conversation is cached or read from the database.
        world.reopen();
        for api_variant in [ApiVariant::Config, ApiVariant::Conversations] {
            let kind = post_as(ConversationRef::Id(conversation.id), Role::User, api_variant, "second");
            let jobs = world.commit(&[command("ann", kind)]).jobs;
            assert_eq!(jobs.first().map(|job| job.responder.as_str()), expected, "{default:?} {metadata}");
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
    let mut fixture = AnswerFixture::in_file();
    let conversation = fixture.conversation;
    let patches = [
        (r#"{"responder":"openai"}"#, Some("openai")),
        (r#"{"a":1}"#, Some("openai")),
        (r#"{"responder":"none"}"#, None),
        (r#"{"responder":null}"#, Some("echo")),
    ];
    for (patch, expected) in patches {
        fixture.world.done("ann", update_conversation(conversation, None, Some(patch)));
        let jobs = fixture.world.commit(&[command("ben", post(ConversationRef::Id(conversation), "x"))]).jobs;
        assert_eq!(jobs.first().map(|job| job.responder.as_str()), expected, "{patch}");
        fixture.check();
    }
    let rule = || Rejection::Invalid(vec![("metadata", "responder must be one of echo, openai, none".into())]);
    for wrong in [r#"{"responder":"parrot"}"#, r#"{"responder":""}"#, r#"{"responder":7}"#, r#"{"responder":["echo"]}"#]
    {
        assert_eq!(
            fixture.world.rejected("ann", update_conversation(conversation, None, Some(wrong))),
            rule(),
            "{wrong}"
        );
        assert_eq!(fixture.world.rejected("ann", with_metadata(wrong)), rule(), "{wrong}");
        let forbidden = fixture.world.rejected("ben", update_conversation(conversation, None, Some(wrong)));
        assert!(matches!(forbidden, Rejection::Forbidden(_)));
    }
    // A choice that is no longer allowed is ignored, and does not prevent other changes.
    fixture.world.done("ann", update_conversation(conversation, None, Some(r#"{"responder":"openai"}"#)));
    fixture.world.config.responders.allowed.pop();
    fixture.world.reopen();
    fixture.world.done("ann", update_conversation(conversation, None, Some(r#"{"b":2}"#)));
    assert_eq!(fixture.ask("x").responder.as_str(), "echo");
}

#[test]
fn a_repeated_message_gets_one_job() {
    let mut world = World::answered_in_file(Some("echo"));
    let mut keyed = command("ann", post(ConversationRef::Default, "x"));
    keyed.idempotency = Some(Idempotency { key: "k".into(), fingerprint: [1; 32] });
    let committed = world.commit(&[keyed.clone(), keyed.clone()]);
    assert_eq!(committed.jobs.len(), 1);
    assert!(matches!(committed.results[1].result, Ok(Outcome::Replayed { .. })));
    world.reopen();
    assert!(world.commit(std::slice::from_ref(&keyed)).jobs.is_empty());
    let job = open_jobs(&mut world).remove(0);
    world.done(ECHO, finish(job.key, Status::Complete, Some("x")));
    assert!(world.commit(&[keyed]).jobs.is_empty(), "also after the answer");
    assert!(open_jobs(&mut world).is_empty());
}

#[test]
fn open_jobs_are_listed_in_pages() {
    let mut fixture = AnswerFixture::in_memory();
    let keys: Vec<JobId> = (0..10).map(|_| fixture.ask(&"x".repeat(CONTENT_BYTES_MAX)).key).collect();
    let (mut after, mut pages) = (JobId(EventNumber(0)), Vec::new());
    loop {
        let kind = QueryKind::OpenJobs { after, limit: 9 };
        let QueryResult::OpenJobs(jobs) = fixture.world.query_result(ECHO, kind) else { panic!() };
        let Some(last) = jobs.last() else { break };
        after = last.key;
        pages.push(jobs.iter().map(|job| job.key).collect::<Vec<_>>());
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [8, 2], "eight jobs reach the size of a list");
    assert_eq!(pages.concat(), keys);
}
