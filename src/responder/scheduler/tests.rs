use super::*;
use crate::domain::id::WorkspaceId;
use crate::domain::model::Content;
use uuid::Uuid;

const LIMITS: SchedulerLimits =
    SchedulerLimits { answers_max: 3, answers_per_user_max: 2, waiting_max: 4, has_model: true };
const TO: ReplyTo = ReplyTo { shard: 0, slot: 7, generation: 1 };

/// A job of a user in a conversation, to be answered by a model.
fn job(id: u64, user: &str, conversation: u128) -> AnswerJob {
    AnswerJob {
        key: JobId(EventNumber(id)),
        message_id: MessageId(Uuid::from_u128(u128::from(id))),
        conversation_id: ConversationId(Uuid::from_u128(conversation)),
        workspace_id: WorkspaceId(Uuid::from_u128(1000)),
        user: UserId::new(user).unwrap(),
        responder: ResponderKind::OpenAi,
        correlation_id: "c".into(),
        content: Content::new_unchecked("Hello?"),
        started: None,
    }
}

fn id(number: u64) -> JobId {
    JobId(EventNumber(number))
}

/// The outputs after an input, in short.
fn after(scheduler: &mut Scheduler, input: SchedulerInput, milliseconds: u64) -> Vec<String> {
    scheduler.handle(input, MonoTime(milliseconds * 1000));
    let outputs = std::iter::from_fn(|| scheduler.poll_output());
    let said = outputs
        .map(|output| match output {
            SchedulerOutput::ListJobs { after, limit } => format!("list {limit} after {}", after.0),
            SchedulerOutput::AnswerAtOnce { job, answer } => format!("{answer:?} {}", job.key.0),
            SchedulerOutput::StartAnswer(job) => format!("start {}", job.key.0),
            SchedulerOutput::StopAnswer { job, reason } => format!("stop {} {reason:?}", job.0),
            SchedulerOutput::CancelAnswer { job, .. } => format!("cancel {}", job.key.0),
            SchedulerOutput::CancelResult(result) => match result.result {
                Ok(Outcome::Answered { closed, .. }) => format!("cancelled {closed}"),
                other => format!("{other:?}"),
            },
            SchedulerOutput::CancelDropped(_) => "dropped".to_owned(),
        })
        .collect();
    scheduler.check_invariants();
    said
}

/// A scheduler that has found the table empty.
fn idle() -> Scheduler {
    let mut scheduler = Scheduler::new(LIMITS);
    assert_eq!(after(&mut scheduler, SchedulerInput::Tick, 0), ["list 2 after 0"]);
    assert!(after(&mut scheduler, SchedulerInput::JobsListed(Some(Vec::new())), 0).is_empty());
    scheduler
}

fn ended(job: u64, end: JobEnd) -> SchedulerInput {
    SchedulerInput::AnswerEnded { job: id(job), end }
}

#[test]
fn one_job_per_conversation_and_a_share_per_user() {
    let mut scheduler = idle();
    let jobs = [job(1, "ann", 1), job(2, "ann", 1), job(3, "ann", 2), job(4, "ann", 3)];
    assert_eq!(after(&mut scheduler, SchedulerInput::JobsAdded(jobs.into()), 0), ["start 1", "start 3"]);
    let of_bob = SchedulerInput::JobsAdded(vec![job(5, "bob", 4)]);
    assert_eq!(after(&mut scheduler, of_bob, 0), ["start 5"], "another user does not wait for hers");
    let of_cyd = SchedulerInput::JobsAdded(vec![job(6, "cyd", 5)]);
    assert!(after(&mut scheduler, of_cyd, 0).is_empty(), "so many answers at once");
    assert_eq!(after(&mut scheduler, ended(1, JobEnd::Closed), 0), ["start 2"], "the conversation is free");
    assert_eq!(after(&mut scheduler, ended(5, JobEnd::Closed), 0), ["start 6"]);
    assert_eq!(after(&mut scheduler, ended(3, JobEnd::Closed), 0), ["start 4"]);
    assert_eq!((scheduler.waiting_jobs(), scheduler.running_jobs()), (0, 3));
}

#[test]
fn what_does_not_fit_is_listed_again_before_anything_newer() {
    let mut scheduler = idle();
    let jobs = (1..=6).map(|n| job(n, "ann", 1)).collect();
    assert_eq!(after(&mut scheduler, SchedulerInput::JobsAdded(jobs), 0), ["start 1"]);
    // Four wait at most, so the rest is in the table alone; so is whatever comes after it.
    let newer = SchedulerInput::JobsAdded(vec![job(7, "bob", 2)]);
    assert!(after(&mut scheduler, newer, 0).is_empty());
    assert_eq!(after(&mut scheduler, ended(1, JobEnd::Closed), 0), ["start 2", "list 2 after 4"]);
    let page = |jobs: &[AnswerJob]| SchedulerInput::JobsListed(Some(jobs.to_vec()));
    assert!(after(&mut scheduler, page(&[job(5, "ann", 1), job(6, "ann", 1)]), 0).is_empty());
    assert_eq!(after(&mut scheduler, ended(2, JobEnd::Closed), 0), ["start 3"]);
    assert_eq!(after(&mut scheduler, ended(3, JobEnd::Closed), 0), ["start 4", "list 2 after 6"]);
    assert_eq!(after(&mut scheduler, page(&[job(7, "bob", 2)]), 0), ["start 7", "list 2 after 7"]);
    // A job is dropped while the list is read: an empty page is not the last one.
    assert!(after(&mut scheduler, SchedulerInput::JobsDropped, 0).is_empty());
    let empty = SchedulerInput::JobsListed(Some(Vec::new()));
    assert_eq!(after(&mut scheduler, empty.clone(), 0), ["list 2 after 7"]);
    assert!(after(&mut scheduler, empty, 0).is_empty());
    let known = SchedulerInput::JobsAdded(vec![job(7, "bob", 2)]);
    assert!(after(&mut scheduler, known, 0).is_empty(), "a list was faster than the commit's own message");
    assert_eq!(scheduler.waiting_jobs(), 2);
}

#[test]
fn a_store_in_trouble_is_left_alone_for_a_while() {
    let mut scheduler = Scheduler::new(LIMITS);
    assert_eq!(after(&mut scheduler, SchedulerInput::Tick, 0), ["list 2 after 0"]);
    assert!(after(&mut scheduler, SchedulerInput::JobsListed(None), 5).is_empty());
    assert_eq!(scheduler.poll_timeout(), Some(MonoTime((5 + RETRY_MILLISECONDS) * 1000)));
    assert!(after(&mut scheduler, SchedulerInput::Tick, 100).is_empty());
    assert_eq!(after(&mut scheduler, SchedulerInput::Tick, 5 + RETRY_MILLISECONDS), ["list 2 after 0"]);
    let page = SchedulerInput::JobsListed(Some(vec![job(1, "ann", 1)]));
    assert_eq!(after(&mut scheduler, page, 600), ["start 1", "list 2 after 1"]);
    assert!(after(&mut scheduler, ended(1, JobEnd::Retry), 700).is_empty());
    assert_eq!(after(&mut scheduler, SchedulerInput::Tick, 700 + RETRY_MILLISECONDS), ["start 1"]);
}

#[test]
fn jobs_that_need_no_model_take_one_step_each() {
    let mut scheduler = Scheduler::new(SchedulerLimits { has_model: false, ..LIMITS });
    after(&mut scheduler, SchedulerInput::Tick, 0);
    after(&mut scheduler, SchedulerInput::JobsListed(Some(Vec::new())), 0);
    let echo = |number| AnswerJob { responder: ResponderKind::Echo, ..job(number, "ann", 1) };
    let begun = AnswerJob { started: Some(MessageId(Uuid::from_u128(99))), ..job(3, "ann", 2) };
    let jobs = SchedulerInput::JobsAdded(vec![echo(1), echo(2), begun, job(4, "bob", 3)]);
    assert_eq!(after(&mut scheduler, jobs, 0), ["Echo 1", "Interrupted 3", "NotConfigured 4"]);
    let stored = |job, is_closed| SchedulerInput::AnsweredAtOnce { job: id(job), is_closed };
    assert!(after(&mut scheduler, stored(1, false), 0).is_empty(), "the second never overtakes the first");
    assert_eq!(after(&mut scheduler, SchedulerInput::Tick, RETRY_MILLISECONDS), ["Echo 1"]);
    assert_eq!(after(&mut scheduler, stored(1, true), RETRY_MILLISECONDS), ["Echo 2"]);
}

#[test]
fn a_cancel_closes_the_job_first_and_stops_the_answer_then() {
    let mut scheduler = idle();
    let conversation_id = ConversationId(Uuid::from_u128(1));
    let cancel = SchedulerInput::CancelRequested { to: TO, conversation_id };
    assert_eq!(after(&mut scheduler, cancel.clone(), 0), ["cancelled false"], "nothing runs");
    let table = [
        (Some(Ok(Outcome::Answered { message_id: None, closed: true })), vec!["stop 1 JobClosed", "cancelled true"]),
        (Some(Err(Rejection::Conflict("the job is closed"))), vec!["cancelled false"]),
        (Some(Err(Rejection::Unavailable)), vec!["Err(Unavailable)"]),
        (None, vec!["dropped"]),
    ];
    after(&mut scheduler, SchedulerInput::JobsAdded(vec![job(1, "ann", 1)]), 0);
    for (result, expected) in table {
        assert_eq!(after(&mut scheduler, cancel.clone(), 0), ["cancel 1"]);
        let result = result.map(|result| CommandResult { to: TO, number: None, result });
        let stored = SchedulerInput::CancelStored { job: id(1), to: TO, result };
        assert_eq!(after(&mut scheduler, stored, 0), expected);
    }
}

#[test]
fn a_deletion_stops_the_answers_in_it() {
    let message = |number| Deletion::Message(MessageId(Uuid::from_u128(number)));
    let table = [
        (message(1), true),
        (message(2), false),
        (message(77), true),
        (Deletion::Conversation(ConversationId(Uuid::from_u128(1))), true),
        (Deletion::Conversation(ConversationId(Uuid::from_u128(2))), false),
        (Deletion::Workspace(WorkspaceId(Uuid::from_u128(1000))), true),
    ];
    for (deletion, stops) in table {
        let mut scheduler = idle();
        after(&mut scheduler, SchedulerInput::JobsAdded(vec![job(1, "ann", 1)]), 0);
        let message_id = MessageId(Uuid::from_u128(77));
        after(&mut scheduler, SchedulerInput::AnswerStarted { job: id(1), message_id }, 0);
        let said = after(&mut scheduler, SchedulerInput::Deleted(vec![deletion]), 0);
        assert_eq!(said.len(), usize::from(stops), "{deletion:?}");
    }
}

#[test]
fn after_a_stop_nothing_starts_and_what_runs_ends() {
    let mut scheduler = idle();
    after(&mut scheduler, SchedulerInput::JobsAdded(vec![job(1, "ann", 1), job(2, "ann", 1)]), 0);
    assert_eq!(after(&mut scheduler, SchedulerInput::Stop, 0), ["stop 1 Shutdown"]);
    assert!(!scheduler.is_stopped());
    assert!(after(&mut scheduler, ended(1, JobEnd::Closed), 0).is_empty());
    assert!(scheduler.is_stopped());
}
