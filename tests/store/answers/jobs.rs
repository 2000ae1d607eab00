//! Answer jobs: which messages get one, and for which responder.

use super::fixture::*;
use crate::common::*;
use cortex_core::internals::limits::JOBS_EXAMINED_MAX;
use cortex_core::internals::{
    AnswerJob, ApiVariant, CommandKind, ConversationRef, Idempotency, JobClass, JobId, JobRange, Outcome, Rejection,
    ResponderKind, Role, Status, UserId, UserKey, WorkspaceId,
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
                user_key: job.user_key,
                responder: ResponderKind::parse(expected.unwrap()).unwrap(),
                correlation_id: "request".into(),
                content_bytes: "first".len(),
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
            close_open_jobs(&mut world);
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
        close_open_jobs(&mut fixture.world);
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
fn the_settings_of_answers_are_validated_and_belong_to_the_owner() {
    let mut fixture = AnswerFixture::in_file();
    let conversation = fixture.conversation;
    let table = [
        (r#"{"model":"huge"}"#, "model must be one of small, large"),
        (r#"{"temperature":3}"#, "temperature must be a number from 0 to 2"),
        (r#"{"top_p":-1}"#, "top_p must be a number from 0 to 1"),
        (r#"{"max_tokens":0}"#, "max_tokens must be a whole number from 1 to 2147483647"),
        (r#"{"system_prompt":1}"#, "system_prompt must be a string of at most 32 KiB"),
        (r#"{"stop":[""]}"#, "stop must be a string or at most 4 strings, none of them empty"),
        (
            r#"{"responder":"parrot","top_p":2,"model":7}"#,
            "responder must be one of echo, openai, none; model must be a string; top_p must be a number from 0 to 1",
        ),
    ];
    for (metadata, rule) in table {
        let invalid = Rejection::Invalid(vec![("metadata", rule.into())]);
        let change = || update_conversation(conversation, None, Some(metadata));
        assert_eq!(fixture.world.rejected("ann", change()), invalid, "{metadata}");
        assert_eq!(fixture.world.rejected("ann", with_metadata(metadata)), invalid, "{metadata}");
        assert!(matches!(fixture.world.rejected("ben", change()), Rejection::Forbidden(_)), "{metadata}");
    }
    let good = r#"{"model":"large","temperature":0.2,"top_p":1,"max_tokens":9,"stop":"x","system_prompt":"s"}"#;
    for metadata in [good, r#"{"model":null}"#] {
        let change = || update_conversation(conversation, None, Some(metadata));
        assert!(matches!(fixture.world.rejected("ben", change()), Rejection::Forbidden(_)), "{metadata}");
        fixture.world.done("ann", change());
        fixture.world.done("ann", with_metadata(metadata));
    }
    fixture.world.done("ben", update_conversation(conversation, None, Some(r#"{"note":1}"#)));
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

/// Closes every job, of every responder.
fn close_open_jobs(world: &mut World) {
    for job in open_jobs(world) {
        world.done(job.responder.user_id().as_str(), failed(job.key, None, None));
    }
}

#[test]
fn a_conversation_passes_on_one_job_at_a_time() {
    let mut fixture = AnswerFixture::in_file();
    let jobs: Vec<AnswerJob> = (0..5).map(|n| fixture.ask(&format!("question {n}"))).collect();
    assert_eq!(fixture.open_jobs(), jobs[..1]);
    let passed_on = |fixture: &mut AnswerFixture, kind: CommandKind, user: &str| {
        let jobs = fixture.world.commit(&[command(user, kind)]).jobs;
        fixture.check();
        jobs
    };
    let finished = finish(jobs[0].key, Status::Complete, Some("x"));
    assert_eq!(passed_on(&mut fixture, finished, ECHO), jobs[1..2], "the next one follows");
    fixture.world.reopen();
    let delete = |job: &AnswerJob| CommandKind::DeleteMessage {
        conversation: ConversationRef::Id(job.conversation_id),
        message: job.message_id,
    };
    assert_eq!(passed_on(&mut fixture, delete(&jobs[2]), "ben"), [], "it was not the first");
    assert_eq!(passed_on(&mut fixture, delete(&jobs[1]), "ben"), jobs[3..4]);
    // Several are closed at once.
    let steps = [3, 4].map(|n: usize| command(ECHO, finish(jobs[n].key, Status::Complete, Some("x"))));
    assert_eq!(fixture.world.commit(&steps).jobs, []);
    assert!(fixture.open_jobs().is_empty());
    fixture.check();
}

/// Posts one message to each of `count` new conversations; returns the jobs.
fn ask_in_new_conversations(world: &mut World, user: &str, workspace: WorkspaceId, count: usize) -> Vec<JobId> {
    let ask = |_| {
        let conversation = world.conversation(user, workspace, &[]);
        JobId(world.post(user, conversation, "x").number)
    };
    (0..count).map(ask).collect()
}

#[test]
fn jobs_are_listed_by_user_in_bounded_pages() {
    let mut world = World::answered_in_file(Some("echo"));
    let asked = [("ann", 12), ("bob", 1), ("cyd", 10), ("dan", 1)].map(|(user, count)| {
        let workspace = world.workspace(user);
        ask_in_new_conversations(&mut world, user, workspace, count)
    });
    let (mut after, mut pages, mut users) = (UserKey(0), Vec::new(), Vec::new());
    loop {
        let page = job_page(&mut world, JobClass::Immediate, JobRange::UsersAfter(after), 9, 10);
        pages.push(page.users.iter().map(|user| (user.jobs.len(), user.through)).collect::<Vec<_>>());
        for listed in &page.users {
            assert!(listed.user > after, "in the order of the keys");
            after = listed.user;
            let keys = &asked[users.len()];
            assert!(listed.jobs.iter().map(|job| &job.key).eq(&keys[..listed.jobs.len()]), "the oldest come first");
            assert!(listed.jobs.iter().all(|job| job.user_key == listed.user));
            users.push(listed.user);
        }
        if page.is_last {
            break;
        }
    }
    let expected = [vec![(9, Some(asked[0][8])), (1, None)], vec![(9, Some(asked[2][8])), (1, None)]];
    assert_eq!(pages, expected, "one user's jobs take a part of a page");

    let mut of_user = |user, after| {
        let mut page = job_page(&mut world, JobClass::Immediate, JobRange::User { user, after }, 2, 1);
        let listed = page.users.remove(0);
        assert!(page.users.is_empty() && page.is_last && listed.user == user);
        (listed.jobs.iter().map(|job| job.key).collect::<Vec<_>>(), listed.through)
    };
    assert_eq!(of_user(users[0], asked[0][8]), (asked[0][9..11].to_vec(), Some(asked[0][10])));
    assert_eq!(of_user(users[0], asked[0][9]), (asked[0][10..].to_vec(), None));
    assert_eq!(of_user(users[0], asked[0][11]), (Vec::new(), None));
    let range = JobRange::UsersAfter(UserKey(0));
    assert_eq!(job_page(&mut world, JobClass::Model, range, 9, 9).users, [], "echoes are of another class");
}

#[test]
fn a_page_examines_a_bounded_number_of_jobs_in_deleted_workspaces() {
    let mut world = World::answered_in_file(Some("echo"));
    let (doomed, kept) = (world.workspace("ann"), world.workspace("ann"));
    let deleted = ask_in_new_conversations(&mut world, "ann", doomed, JOBS_EXAMINED_MAX + 10);
    let last = ask_in_new_conversations(&mut world, "ann", kept, 1);
    world.done("ann", CommandKind::DeleteWorkspace { id: doomed });

    let page = job_page(&mut world, JobClass::Immediate, JobRange::UsersAfter(UserKey(0)), 8, 512);
    let examined = Some(deleted[JOBS_EXAMINED_MAX - 1]);
    assert_eq!((page.users[0].jobs.len(), page.users[0].through), (0, examined));
    let range = JobRange::User { user: page.users[0].user, after: page.users[0].through.unwrap() };
    let page = job_page(&mut world, JobClass::Immediate, range, 8, 512);
    assert_eq!(page.users[0].jobs.iter().map(|job| job.key).collect::<Vec<_>>(), last, "the page after it");
    world.maintain_all();
    world.writer().check_invariants();
    assert_eq!(open_jobs(&mut world).len(), 1);
}
