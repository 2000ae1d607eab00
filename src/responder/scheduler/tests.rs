use super::*;
use crate::domain::answer_job::{JobRange, UserJobPage, UserKey};
use crate::domain::command::ReplyTo;
use crate::domain::id::{EventNumber, UserId, WorkspaceId};
use crate::domain::token_rules::{Credential, TokenRule};
use uuid::Uuid;

const LIMITS: SchedulerLimits = SchedulerLimits {
    answers_max: 3,
    answers_per_user_max: 2,
    steps_max: 3,
    steps_per_user_max: 2,
    waiting_max: 21,
    waiting_per_user_max: 3,
    page_jobs: 3,
    has_model: true,
    relist_milliseconds: None,
};
const TO: ReplyTo = ReplyTo { shard: 0, slot: 7, generation: 1 };

/// The users have the keys 1, 2, 3 in the order of their names.
fn key_of(user: &str) -> UserKey {
    UserKey(i64::from(user.as_bytes()[0] - b'a') + 1)
}

/// A job of a user in a conversation, to be answered by a model.
fn job(id: u64, user: &str, conversation: u128) -> AnswerJob {
    AnswerJob {
        key: JobId(EventNumber(id)),
        message_id: MessageId(Uuid::from_u128(u128::from(id))),
        conversation_id: ConversationId(Uuid::from_u128(conversation)),
        workspace_id: WorkspaceId(Uuid::from_u128(1000)),
        user: UserId::new(user).unwrap(),
        user_key: key_of(user),
        responder: ResponderKind::OpenAi,
        correlation_id: "c".into(),
        content_bytes: 6,
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
            SchedulerOutput::ListJobs { class, range: JobRange::UsersAfter(user), .. } => {
                format!("list {class:?} after user {}", user.0)
            }
            SchedulerOutput::ListJobs { class, range: JobRange::User { user, after }, .. } => {
                format!("list {class:?} of user {} after {}", user.0, after.0)
            }
            SchedulerOutput::AnswerAtOnce { job, answer } => format!("{answer:?} {}", job.key.0),
            SchedulerOutput::StartAnswer(job) => format!("start {}", job.key.0),
            SchedulerOutput::StopAnswer { job, reason } => format!("stop {} {reason:?}", job.0),
            SchedulerOutput::CancelAnswer(job) => format!("cancel {}", job.key.0),
            SchedulerOutput::CancelAnswers { request, running } => {
                let running = running.map_or(0, |job| job.key.0.0);
                format!("cancel all, {running} runs, through {}", request.through.map_or(0, |job| job.0.0))
            }
            SchedulerOutput::CancelResult(result) => match result.result {
                Ok(Outcome::AnswersCancelled { count, .. }) => format!("cancelled {count}"),
                other => format!("{other:?}"),
            },
            SchedulerOutput::CancelDropped(_) => "dropped".to_owned(),
            SchedulerOutput::StartPassing(PassingId(id)) => format!("pass {id}"),
            SchedulerOutput::RejectPassing(PassingId(id), why) => format!("reject {id} {why:?}"),
        })
        .collect();
    scheduler.check_invariants();
    said
}

/// A scheduler that has found the table empty.
fn idle() -> Scheduler {
    let mut scheduler = Scheduler::new(LIMITS);
    let lists = ["list Immediate after user 0", "list Model after user 0"];
    assert_eq!(after(&mut scheduler, SchedulerInput::Tick, 0), lists);
    for class in [JobClass::Model, JobClass::Immediate] {
        let page = Some(JobPage { users: Vec::new(), is_last: true });
        assert!(after(&mut scheduler, SchedulerInput::JobsListed { class, page }, 0).is_empty());
    }
    scheduler
}

/// A page of jobs for a model, with the last job that was examined of each user, if more follow.
fn page(users: &[(&str, &[AnswerJob], Option<u64>)], is_last: bool) -> SchedulerInput {
    let users = users.iter().map(|(user, jobs, through)| UserJobPage {
        user: key_of(user),
        jobs: jobs.to_vec(),
        through: through.map(id),
    });
    SchedulerInput::JobsListed { class: JobClass::Model, page: Some(JobPage { users: users.collect(), is_last }) }
}

fn ended(job: u64, end: JobEnd) -> SchedulerInput {
    SchedulerInput::AnswerEnded { job: id(job), end }
}

#[test]
fn one_job_per_conversation_and_a_share_per_user() {
    let mut scheduler = idle();
    let jobs = [job(1, "ann", 1), job(3, "ann", 2), job(4, "ann", 3)];
    assert_eq!(after(&mut scheduler, SchedulerInput::JobsAdded(jobs.into()), 0), ["start 1", "start 3"]);
    let of_bob = SchedulerInput::JobsAdded(vec![job(5, "bob", 4)]);
    assert_eq!(after(&mut scheduler, of_bob, 0), ["start 5"], "another user does not wait for hers");
    let of_cyd = SchedulerInput::JobsAdded(vec![job(6, "cyd", 5)]);
    assert!(after(&mut scheduler, of_cyd, 0).is_empty(), "so many answers at once");
    let next = SchedulerInput::JobsAdded(vec![job(2, "ann", 1)]);
    assert!(after(&mut scheduler, next, 0).is_empty(), "the store is faster than the end of the job before it");
    assert_eq!(after(&mut scheduler, ended(1, JobEnd::Closed), 0), ["start 6"], "it is the third user's turn");
    assert_eq!(after(&mut scheduler, ended(5, JobEnd::Closed), 0), ["start 2"], "the conversation is free");
    assert_eq!(after(&mut scheduler, ended(3, JobEnd::Closed), 0), ["start 4"]);
    assert_eq!((scheduler.waiting_jobs(), scheduler.running_jobs()), (0, 3));
}

#[test]
fn a_job_is_held_until_the_one_before_it_in_its_conversation_has_ended() {
    let mut scheduler = idle();
    after(&mut scheduler, SchedulerInput::JobsAdded(vec![job(1, "ann", 1)]), 0);
    // The store has closed the first job, and then the second.
    for number in [2, 3] {
        let next = SchedulerInput::JobsAdded(vec![job(number, "bob", 1)]);
        assert!(after(&mut scheduler, next, 0).is_empty());
    }
    assert_eq!(after(&mut scheduler, ended(1, JobEnd::Closed), 0), ["start 3"]);
}

#[test]
fn one_users_backlog_stays_in_the_table_and_delays_no_other_user() {
    let mut scheduler = idle();
    let jobs = (1..=9).map(|n| job(n, "ann", n.into())).collect();
    // Three are kept, two of which start.
    assert_eq!(after(&mut scheduler, SchedulerInput::JobsAdded(jobs), 0), ["start 1", "start 2"]);
    let of_bob = SchedulerInput::JobsAdded(vec![job(10, "bob", 10), job(11, "bob", 11)]);
    assert_eq!(after(&mut scheduler, of_bob, 0), ["start 10"]);
    assert_eq!(after(&mut scheduler, ended(1, JobEnd::Closed), 0), ["start 3"], "her turn");
    assert_eq!(after(&mut scheduler, ended(2, JobEnd::Closed), 0), ["start 11"], "his turn");
    let listed: Vec<AnswerJob> = (4..=6).map(|n| job(n, "ann", n.into())).collect();
    assert_eq!(after(&mut scheduler, ended(3, JobEnd::Closed), 0), ["list Model of user 1 after 3"]);
    assert_eq!(after(&mut scheduler, page(&[("ann", &listed, Some(6))], true), 0), ["start 4"]);
    assert_eq!(after(&mut scheduler, ended(10, JobEnd::Closed), 0), ["start 5"]);
}

#[test]
fn users_in_the_table_are_served_before_any_user_has_a_second_turn() {
    // Six jobs fit.
    let limits = SchedulerLimits { answers_max: 1, answers_per_user_max: 1, waiting_max: 6, ..LIMITS };
    let mut scheduler = Scheduler::new(SchedulerLimits { waiting_per_user_max: 2, page_jobs: 2, ..limits });
    after(&mut scheduler, SchedulerInput::Tick, 0);
    let jobs = |user: &str, numbers: [u64; 2]| numbers.map(|number| job(number, user, number.into()));
    let of_ann = page(&[("ann", &jobs("ann", [1, 2]), None)], false);
    assert_eq!(after(&mut scheduler, of_ann, 0), ["start 1", "list Model after user 1"]);
    let of_bob = page(&[("bob", &jobs("bob", [3, 4]), Some(4))], false);
    assert_eq!(after(&mut scheduler, of_bob, 0), ["list Model after user 2"]);
    let others = page(&[("cyd", &jobs("cyd", [5, 6]), None), ("dan", &jobs("dan", [7, 8]), None)], true);
    assert!(after(&mut scheduler, others, 0).is_empty(), "there is no room for more");
    let new = SchedulerInput::JobsAdded(vec![job(9, "bob", 9), job(10, "cyd", 10), job(11, "eva", 11)]);
    assert!(after(&mut scheduler, new, 0).is_empty(), "these stay in the table");
    // The users that are passed leave the window, which makes room for others.
    assert_eq!(after(&mut scheduler, ended(1, JobEnd::Closed), 0), ["start 3", "list Model after user 4"]);
    let last = page(&[("eva", &[job(11, "eva", 11)], None)], true);
    assert!(after(&mut scheduler, last, 0).is_empty());
    for (ended_job, next) in [(3, "start 5"), (5, "start 7"), (7, "start 11")] {
        let said = after(&mut scheduler, ended(ended_job, JobEnd::Closed), 0);
        assert_eq!(said[0], next);
    }
}

#[test]
fn dropped_jobs_are_listed_again() {
    let mut scheduler = idle();
    let lists = ["list Immediate after user 0", "list Model after user 0"];
    assert_eq!(after(&mut scheduler, SchedulerInput::JobsDropped, 0), lists);
    // A job is dropped while the list is read: another list follows.
    assert!(after(&mut scheduler, SchedulerInput::JobsDropped, 0).is_empty());
    let jobs = [job(7, "ann", 1)];
    let listed = page(&[("ann", &jobs, None)], true);
    assert_eq!(after(&mut scheduler, listed.clone(), 0), ["list Model after user 0"]);
    assert_eq!(after(&mut scheduler, listed, 0), ["start 7"]);
    let known = SchedulerInput::JobsAdded(jobs.to_vec());
    assert!(after(&mut scheduler, known, 0).is_empty(), "a list was faster than the commit's own message");
}

#[test]
fn a_list_that_is_older_than_a_change_does_not_undo_it() {
    let mut scheduler = idle();
    after(&mut scheduler, SchedulerInput::JobsAdded(vec![job(1, "bob", 1)]), 0);
    // The users after the last turn come first.
    let said = after(&mut scheduler, SchedulerInput::JobsDropped, 0);
    assert_eq!(said, ["list Immediate after user 0", "list Model after user 2"]);
    assert_eq!(after(&mut scheduler, page(&[], true), 0), ["list Model after user 0"]);
    // Meanwhile one job ends, and another is added.
    assert!(after(&mut scheduler, ended(1, JobEnd::Closed), 0).is_empty());
    assert!(after(&mut scheduler, SchedulerInput::JobsAdded(vec![job(3, "ann", 3)]), 0).is_empty());
    let listed = page(&[("bob", &[job(1, "bob", 1), job(2, "bob", 2)], None)], true);
    assert_eq!(after(&mut scheduler, listed, 0), ["start 3", "start 2"]);
    assert_eq!((scheduler.waiting_jobs(), scheduler.running_jobs()), (0, 2));
}

#[test]
fn nothing_starts_for_a_while_after_the_store_has_failed() {
    let mut scheduler = Scheduler::new(LIMITS);
    after(&mut scheduler, SchedulerInput::Tick, 0);
    let failed = SchedulerInput::JobsListed { class: JobClass::Model, page: None };
    assert!(after(&mut scheduler, failed, 5).is_empty());
    assert_eq!(scheduler.poll_timeout(), Some(MonoTime((5 + RETRY_MILLISECONDS) * 1000)));
    assert!(after(&mut scheduler, SchedulerInput::Tick, 100).is_empty());
    let later = 5 + RETRY_MILLISECONDS;
    assert_eq!(after(&mut scheduler, SchedulerInput::Tick, later), ["list Model after user 0"]);
    assert_eq!(after(&mut scheduler, page(&[("ann", &[job(1, "ann", 1)], None)], true), 600), ["start 1"]);
    assert!(after(&mut scheduler, ended(1, JobEnd::Retry), 700).is_empty());
    assert_eq!(after(&mut scheduler, SchedulerInput::Tick, 700 + RETRY_MILLISECONDS), ["start 1"]);
}

const RELIST: u64 = 1000;

/// An idle scheduler whose table other instances change as well. It lists again after [`RELIST`].
fn idle_beside_others(limits: SchedulerLimits) -> Scheduler {
    let mut scheduler = Scheduler::new(SchedulerLimits { relist_milliseconds: Some(RELIST), ..limits });
    after(&mut scheduler, SchedulerInput::Tick, 0);
    for class in [JobClass::Model, JobClass::Immediate] {
        let page = Some(JobPage { users: Vec::new(), is_last: true });
        assert!(after(&mut scheduler, SchedulerInput::JobsListed { class, page }, 0).is_empty());
    }
    scheduler
}

/// Passes the time as the driver does until `end`, in milliseconds. Returns what was said and when.
fn until(scheduler: &mut Scheduler, end: u64) -> Vec<(u64, Vec<String>)> {
    let mut said = Vec::new();
    while let Some(MonoTime(at)) = scheduler.poll_timeout().filter(|at| *at <= MonoTime(end * 1000)) {
        said.push((at / 1000, after(scheduler, SchedulerInput::Tick, at / 1000)));
        assert!(scheduler.poll_timeout().is_none_or(|next| next > MonoTime(at)), "the scheduler is busy");
    }
    said
}

#[test]
fn jobs_that_other_instances_left_are_listed_once_per_interval() {
    let mut scheduler = idle_beside_others(LIMITS);
    assert_eq!(scheduler.poll_timeout(), Some(MonoTime(RELIST * 1000)));
    let lists = || ["list Immediate after user 0", "list Model after user 0"].map(str::to_owned).to_vec();
    // A page that is being read is not requested again.
    assert_eq!(until(&mut scheduler, 2 * RELIST), [(RELIST, lists()), (2 * RELIST, Vec::new())]);
    let none = SchedulerInput::JobsListed {
        class: JobClass::Immediate,
        page: Some(JobPage { users: Vec::new(), is_last: true }),
    };
    assert!(after(&mut scheduler, none, 2 * RELIST).is_empty());
    let found = page(&[("ann", &[job(1, "ann", 1)], None)], true);
    assert_eq!(after(&mut scheduler, found, 2 * RELIST), ["start 1"]);
    let said = after(&mut scheduler, SchedulerInput::Tick, 3 * RELIST);
    assert_eq!(said, ["list Immediate after user 0", "list Model after user 1"], "after the last turn");
    // Another instance has the job, which is no news.
    assert!(after(&mut scheduler, ended(1, JobEnd::Closed), 3 * RELIST).is_empty());
    assert_eq!(after(&mut scheduler, page(&[], true), 3 * RELIST), ["list Model after user 0"]);
    let stale = page(&[("ann", &[job(2, "ann", 1)], None)], true);
    assert_eq!(after(&mut scheduler, stale, 3 * RELIST), ["start 2"]);
    after(&mut scheduler, SchedulerInput::Stop, 3 * RELIST);
    assert_eq!(scheduler.poll_timeout(), None);
}

#[test]
fn a_window_without_a_free_slot_is_not_listed_again() {
    let mut scheduler = idle_beside_others(LIMITS);
    let jobs = [job(1, "ann", 1), job(2, "bob", 2), job(3, "cyd", 3), job(4, "dan", 4)];
    let said = after(&mut scheduler, SchedulerInput::JobsAdded(jobs.into()), 0);
    assert_eq!(said, ["start 1", "start 2", "start 3"]);
    assert_eq!(until(&mut scheduler, RELIST), [(RELIST, vec!["list Immediate after user 0".to_owned()])]);
    assert_eq!(after(&mut scheduler, ended(2, JobEnd::Closed), RELIST), ["start 4"]);
}

#[test]
fn a_user_whose_share_is_taken_waits_for_the_next_list_and_delays_no_other_user() {
    let mut scheduler = idle_beside_others(LIMITS);
    let jobs = [1, 2, 3].map(|number| job(number, "ann", number.into()));
    assert_eq!(after(&mut scheduler, SchedulerInput::JobsAdded(jobs.to_vec()), 0), ["start 1", "start 2"]);
    assert!(after(&mut scheduler, ended(1, JobEnd::ShareTaken), 1).is_empty());
    assert!(after(&mut scheduler, ended(2, JobEnd::ShareTaken), 1).is_empty());
    assert_eq!((scheduler.waiting_jobs(), scheduler.running_jobs()), (3, 0));
    let more = SchedulerInput::JobsAdded(vec![job(4, "ann", 4), job(5, "bob", 5)]);
    assert_eq!(after(&mut scheduler, more, 2), ["start 5"]);
    // An echo needs no share.
    let echo = AnswerJob { responder: ResponderKind::Echo, ..job(6, "ann", 6) };
    assert_eq!(after(&mut scheduler, SchedulerInput::JobsAdded(vec![echo]), 2), ["Echo 6"]);
    assert!(until(&mut scheduler, RELIST - 1).is_empty(), "nothing is tried in between");
    let said = after(&mut scheduler, SchedulerInput::Tick, RELIST);
    assert_eq!(said, ["list Immediate after user 1", "list Model after user 2"]);
    assert_eq!(after(&mut scheduler, page(&[], true), RELIST), ["list Model after user 0"]);
    let listed = page(&[("ann", &jobs, Some(3))], true);
    assert_eq!(after(&mut scheduler, listed, RELIST), ["start 1", "start 2"]);
}

/// Each job of many users is refused. Without a memory of that, the window would go round the circle without end.
#[test]
fn refused_jobs_keep_no_thread_busy() {
    let limits = SchedulerLimits { waiting_max: 6, waiting_per_user_max: 1, page_jobs: 2, ..LIMITS };
    let mut scheduler = idle_beside_others(limits);
    let table: Vec<AnswerJob> =
        (0..20).map(|n| job(n + 1, &format!("{}", (b'a' + n as u8) as char), n.into())).collect();
    let mut started = 0;
    for round in 1..=3 {
        let now = round * RELIST * 1000;
        scheduler.handle(SchedulerInput::Tick, MonoTime(now));
        let mut outputs = 0;
        while let Some(output) = scheduler.poll_output() {
            outputs += 1;
            assert!(outputs < 500, "the scheduler is busy");
            let input = match output {
                SchedulerOutput::ListJobs { class, range: JobRange::UsersAfter(after), limit, .. } => {
                    let users = table.iter().filter(|job| class == JobClass::Model && job.user_key > after);
                    let users: Vec<UserJobPage> = users
                        .take(limit as usize)
                        .map(|job| UserJobPage { user: job.user_key, jobs: vec![job.clone()], through: None })
                        .collect();
                    let is_last = users.len() < limit as usize;
                    SchedulerInput::JobsListed { class, page: Some(JobPage { users, is_last }) }
                }
                SchedulerOutput::StartAnswer(job) => {
                    started += 1;
                    SchedulerInput::AnswerEnded { job: job.key, end: JobEnd::ShareTaken }
                }
                other => panic!("{other:?}"),
            };
            scheduler.handle(input, MonoTime(now));
        }
        scheduler.check_invariants();
    }
    assert!((20..=60).contains(&started), "each user is tried at most once in an interval: {started}");
}

#[test]
fn jobs_in_deleted_conversations_hide_no_others() {
    let mut scheduler = Scheduler::new(LIMITS);
    after(&mut scheduler, SchedulerInput::Tick, 0);
    let listed = page(&[("ann", &[], Some(1000))], true);
    assert_eq!(after(&mut scheduler, listed, 0), ["list Model of user 1 after 1000"]);
    assert_eq!(after(&mut scheduler, page(&[("ann", &[job(1001, "ann", 1)], None)], true), 0), ["start 1001"]);
}

#[test]
fn jobs_that_need_no_model_take_one_step_each() {
    let mut scheduler = Scheduler::new(SchedulerLimits { has_model: false, ..LIMITS });
    after(&mut scheduler, SchedulerInput::Tick, 0);
    for class in [JobClass::Model, JobClass::Immediate] {
        let page = Some(JobPage { users: Vec::new(), is_last: true });
        after(&mut scheduler, SchedulerInput::JobsListed { class, page }, 0);
    }
    let echo = |number| AnswerJob { responder: ResponderKind::Echo, ..job(number, "ann", number.into()) };
    let begun = AnswerJob { started: Some(MessageId(Uuid::from_u128(99))), ..job(3, "ann", 3) };
    let jobs = SchedulerInput::JobsAdded(vec![echo(1), begun, echo(4), job(5, "bob", 5)]);
    assert_eq!(after(&mut scheduler, jobs, 0), ["Echo 1", "Interrupted 3", "NotConfigured 5"]);
    let stored = |job, is_closed| SchedulerInput::AnsweredAtOnce { job: id(job), is_closed };
    assert!(after(&mut scheduler, stored(1, false), 0).is_empty(), "the store failed");
    assert_eq!(after(&mut scheduler, SchedulerInput::Tick, RETRY_MILLISECONDS), ["Echo 1"]);
    assert_eq!(after(&mut scheduler, stored(1, true), RETRY_MILLISECONDS), ["Echo 4"]);
}

#[test]
fn messages_of_users_whose_tokens_are_rejected_are_not_answered() {
    let mut scheduler = idle();
    let jobs = [job(1, "ann", 1), job(2, "ann", 2), job(3, "ann", 3), job(4, "bob", 4)];
    assert_eq!(after(&mut scheduler, SchedulerInput::JobsAdded(jobs.into()), 0), ["start 1", "start 4", "start 2"]);
    let mut rejects = TokenRules::default();
    rejects.set(UserId::new("ann").unwrap(), Some(TokenRule::RejectAll));
    let rules = SchedulerInput::TokenRules(Arc::new(rejects));
    assert_eq!(after(&mut scheduler, rules, 0), ["cancel 1", "cancel 2"]);
    let result = |job, result| SchedulerInput::CancelStored { job: id(job), result };
    let closed =
        CommandResult { to: TO, number: None, result: Ok(Outcome::Answered { message_id: None, closed: true }) };
    assert_eq!(after(&mut scheduler, result(2, Some(closed)), 0), ["stop 2 JobClosed"], "no client waits for it");
    assert_eq!(after(&mut scheduler, ended(2, JobEnd::Closed), 0), ["Cancelled 3"], "in the user's share");
    // The store does not take the other one.
    assert!(after(&mut scheduler, result(1, None), 0).is_empty());
    assert_eq!(after(&mut scheduler, SchedulerInput::Tick, RETRY_MILLISECONDS), ["cancel 1"]);
}

/// The store's result of a command that cancels the answers of conversation 1.
fn cancelled(request: CancelRequest, result: Option<Result<Outcome, Rejection>>) -> SchedulerInput {
    let result = result.map(|result| Box::new(CommandResult { to: TO, number: None, result }));
    SchedulerInput::AnswersCancelled { request, result }
}

fn outcome(closed: &[u64], rest: Option<u64>) -> Option<Result<Outcome, Rejection>> {
    let closed: Vec<JobId> = closed.iter().copied().map(id).collect();
    Some(Ok(Outcome::AnswersCancelled { count: closed.len() as u64, closed, rest: rest.map(id) }))
}

#[test]
fn a_cancel_closes_the_jobs_first_and_stops_the_answer_then() {
    let conversation_id = ConversationId(Uuid::from_u128(1));
    let request = CancelRequest { to: TO, conversation_id, through: None, count: 0 };
    let cancel = SchedulerInput::CancelRequested { to: TO, conversation_id };
    let mut scheduler = idle();
    assert_eq!(
        after(&mut scheduler, cancel.clone(), 0),
        ["cancel all, 0 runs, through 0"],
        "jobs may wait in the table"
    );
    assert_eq!(after(&mut scheduler, cancelled(request, outcome(&[], None)), 0), ["cancelled 0"]);
    after(&mut scheduler, SchedulerInput::JobsAdded(vec![job(1, "ann", 1)]), 0);
    let table = [
        (outcome(&[1, 2], None), vec!["stop 1 JobClosed", "cancelled 2"]),
        (outcome(&[], None), vec!["cancelled 0"]),
        (Some(Err(Rejection::Unavailable)), vec!["Err(Unavailable)"]),
        (None, vec!["dropped"]),
    ];
    for (result, expected) in table {
        assert_eq!(after(&mut scheduler, cancel.clone(), 0), ["cancel all, 1 runs, through 0"]);
        assert_eq!(after(&mut scheduler, cancelled(request, result), 0), expected);
    }
    // A second command follows as long as jobs may be open, and the client gets the number of all.
    let rest = CancelRequest { through: Some(id(9)), count: 3, ..request };
    let first = after(&mut scheduler, cancelled(request, outcome(&[1, 8, 7], Some(9))), 0);
    assert_eq!(first, ["stop 1 JobClosed", "cancel all, 1 runs, through 9"]);
    assert_eq!(after(&mut scheduler, cancelled(rest, outcome(&[5], None)), 0), ["cancelled 4"]);
}

#[test]
fn a_cancelled_job_that_waits_never_starts() {
    let conversation_id = ConversationId(Uuid::from_u128(1));
    let request = CancelRequest { to: TO, conversation_id, through: None, count: 0 };
    // A job that waits for a slot.
    let mut scheduler = idle();
    let jobs = [job(2, "ann", 2), job(3, "ann", 3), job(4, "ann", 1)];
    assert_eq!(after(&mut scheduler, SchedulerInput::JobsAdded(jobs.into()), 0), ["start 2", "start 3"]);
    assert_eq!(after(&mut scheduler, cancelled(request, outcome(&[4], None)), 0), ["cancelled 1"]);
    assert!(after(&mut scheduler, ended(2, JobEnd::Closed), 0).is_empty());
    assert_eq!(scheduler.waiting_jobs(), 0);
    // A job that is held until the end of the one before it.
    let mut scheduler = idle();
    after(&mut scheduler, SchedulerInput::JobsAdded(vec![job(1, "ann", 1)]), 0);
    after(&mut scheduler, SchedulerInput::JobsAdded(vec![job(2, "ann", 1)]), 0);
    assert_eq!(after(&mut scheduler, cancelled(request, outcome(&[2], None)), 0), ["cancelled 1"]);
    assert!(after(&mut scheduler, ended(1, JobEnd::Closed), 0).is_empty());
    assert_eq!(scheduler.running_jobs(), 0);
}

#[test]
fn an_end_from_outside_stops_the_answers_that_it_is_about() {
    let message = |number| OutsideEnd::Message(MessageId(Uuid::from_u128(number)));
    let unanswered = |number, at| OutsideEnd::Unanswered(MessageId(Uuid::from_u128(number)), EventNumber(at));
    let table = [
        (message(1), true),
        (message(2), false),
        (message(77), true),
        (unanswered(1, 9), true),
        (unanswered(2, 9), false),
        // It is about an earlier answer to the message.
        (unanswered(1, 1), false),
        (OutsideEnd::Conversation(ConversationId(Uuid::from_u128(1))), true),
        (OutsideEnd::Conversation(ConversationId(Uuid::from_u128(2))), false),
        (OutsideEnd::Workspace(WorkspaceId(Uuid::from_u128(1000))), true),
    ];
    for (end, stops) in table {
        let mut scheduler = idle();
        after(&mut scheduler, SchedulerInput::JobsAdded(vec![job(1, "ann", 1)]), 0);
        let message_id = MessageId(Uuid::from_u128(77));
        after(&mut scheduler, SchedulerInput::AnswerStarted { job: id(1), message_id }, 0);
        let said = after(&mut scheduler, SchedulerInput::EndedOutside(vec![end]), 0);
        assert_eq!(said.len(), usize::from(stops), "{end:?}");
    }
}

#[test]
fn after_a_stop_nothing_starts_and_what_runs_ends() {
    let mut scheduler = idle();
    let jobs = (1..=3).map(|n| job(n, "ann", n.into())).collect();
    after(&mut scheduler, SchedulerInput::JobsAdded(jobs), 0);
    assert_eq!(after(&mut scheduler, ended(2, JobEnd::Closed), 0), ["start 3"]);
    assert!(after(&mut scheduler, ended(3, JobEnd::Closed), 0).is_empty());
    assert_eq!(after(&mut scheduler, SchedulerInput::Stop, 0), ["stop 1 Shutdown"]);
    assert!(!scheduler.is_stopped());
    assert!(after(&mut scheduler, ended(1, JobEnd::Closed), 0).is_empty());
    assert!(scheduler.is_stopped());
}

fn requested(id: u64, user: &str) -> SchedulerInput {
    let (user, credential) = (UserId::new(user).unwrap(), Credential::default());
    SchedulerInput::PassingRequested { id: PassingId(id), user, credential }
}

#[test]
fn requests_to_pass_on_and_jobs_share_the_slots() {
    let mut scheduler = idle();
    // A user has two slots, for both kinds together.
    assert_eq!(after(&mut scheduler, requested(1, "a"), 0), ["pass 1"]);
    assert_eq!(after(&mut scheduler, SchedulerInput::JobsAdded(vec![job(10, "a", 1)]), 0), ["start 10"]);
    assert!(after(&mut scheduler, requested(2, "a"), 0).is_empty());
    assert!(after(&mut scheduler, SchedulerInput::JobsAdded(vec![job(11, "a", 2)]), 0).is_empty());
    // All users have three.
    assert_eq!(after(&mut scheduler, requested(3, "b"), 0), ["pass 3"]);
    assert!(after(&mut scheduler, requested(4, "c"), 0).is_empty());
    // The kinds take turns.
    assert_eq!(after(&mut scheduler, SchedulerInput::PassingEnded(PassingId(1)), 0).len(), 1);
    let two = [
        after(&mut scheduler, ended(10, JobEnd::Closed), 0),
        after(&mut scheduler, SchedulerInput::PassingEnded(PassingId(3)), 0),
    ]
    .concat();
    assert_eq!(two.len(), 2, "{two:?}");
    assert_eq!(scheduler.running_jobs(), 3);
}

#[test]
fn requests_of_a_user_whose_tokens_are_rejected_end() {
    let mut scheduler = idle();
    assert_eq!(after(&mut scheduler, requested(1, "a"), 0), ["pass 1"]);
    assert_eq!(after(&mut scheduler, requested(2, "b"), 0), ["pass 2"]);
    let mut rules = TokenRules::default();
    rules.set(UserId::new("a").unwrap(), Some(TokenRule::RejectAll));
    let rules = SchedulerInput::TokenRules(Arc::new(rules));
    assert_eq!(after(&mut scheduler, rules, 0), ["reject 1 Unauthorized"]);
    assert_eq!(after(&mut scheduler, requested(3, "a"), 0), ["reject 3 Unauthorized"]);
    assert_eq!(after(&mut scheduler, requested(5, "b"), 0), ["pass 5"]);
    assert!(after(&mut scheduler, requested(6, "b"), 0).is_empty());
    assert_eq!(after(&mut scheduler, SchedulerInput::Stop, 0), ["reject 6 Shutdown"]);
    assert_eq!(after(&mut scheduler, requested(4, "b"), 0), ["reject 4 Shutdown"]);
    assert!(after(&mut scheduler, SchedulerInput::PassingEnded(PassingId(2)), 0).is_empty());
    assert!(!scheduler.is_stopped(), "one runs on");
    assert_eq!(after(&mut scheduler, SchedulerInput::StopPassing, 0), ["reject 5 Shutdown"]);
    assert!(scheduler.is_stopped());
}
