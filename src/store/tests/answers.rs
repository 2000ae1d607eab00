//! Answer jobs and answers: failures of SQLite, and the rows that are left.

use super::support::TempDir;
use super::*;
use crate::domain::answer_job::AnswerJob;
use crate::domain::answer_job::AnswerStep;
use crate::domain::answer_job::JobClass;
use crate::domain::answer_job::JobId;
use crate::domain::answer_job::JobRange;
use crate::domain::answer_job::RESPONDERS;
use crate::domain::answer_job::UserKey;
use crate::domain::live_answer::LiveAnswer;
use crate::domain::responder::ResponderKind;
use crate::domain::result::Rejection;
use crate::store::ResponderRules;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) fn open_answered(path: &Path) -> Writer {
    let responders = ResponderRules {
        default: ResponderKind::Echo,
        allowed: vec![ResponderKind::Echo],
        models: Vec::new(),
        answers_per_user_max: 2,
    };
    let config = StoreConfig { responders, ..StoreConfig::new(support::database_at(path)) };
    Writer::open(&config).unwrap()
}

fn step(job: JobId, step: AnswerStep) -> Command {
    command("responder:echo", CommandKind::Answer { job, step })
}

pub(crate) fn begin(job: JobId) -> Command {
    step(job, AnswerStep::Begin { text: "part".into(), live: LiveAnswer::default() })
}

pub(crate) fn finish(job: JobId) -> Command {
    let text = Some(Content::new_unchecked("whole"));
    step(
        job,
        AnswerStep::Finish {
            status: Status::Complete,
            text,
            metadata: Metadata::empty(),
            error: None,
            reasoning: None,
            usage: None,
        },
    )
}

pub(crate) fn open_jobs(writer: &Writer) -> Vec<AnswerJob> {
    open_jobs_of(writer, JobClass::Immediate)
}

pub(crate) fn open_jobs_of(writer: &Writer, class: JobClass) -> Vec<AnswerJob> {
    let reply_to = ReplyTo { shard: RESPONDERS, slot: 0, generation: 0 };
    let range = JobRange::UsersAfter(UserKey(0));
    let kind = QueryKind::Jobs { class, range, per_user: 100, limit: 100 };
    let response = execute(writer, &Query { reply_to, caller: UserId::new_unchecked("responder:echo"), kind });
    match response.result.unwrap() {
        QueryResult::Jobs(page) => page.users.into_iter().flat_map(|user| user.jobs).collect(),
        other => panic!("{other:?}"),
    }
}

/// Makes the commits with these indexes fail; the next commit has index 0.
fn fail_commits(writer: &mut Writer, indexes: &'static [u32]) {
    let commits = AtomicU32::new(0);
    let fails = move || indexes.contains(&commits.fetch_add(1, Ordering::Relaxed));
    writer.connection.db.sqlite_mut().commit_hook(Some(fails)).unwrap();
}

fn rows(writer: &Writer, table: &str) -> i64 {
    writer.connection.db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn uncommitted_jobs_and_answers_are_not_reported() {
    if !support::is_sqlite() {
        return;
    }
    let directory = TempDir::new();
    let mut writer = open_answered(&directory.file("a.db"));
    // The commit of the batch fails, then that of the second command alone.
    fail_commits(&mut writer, &[0, 2]);
    let batch = ["ann", "ben", "cyd"].map(|user| command(user, post(ConversationRef::Default, "x")));
    let committed = writer.commit_batch(&batch, NOW);
    let jobs: Vec<&str> = committed.jobs.iter().map(|job| job.user.as_str()).collect();
    assert_eq!(jobs, ["ann", "cyd"]);
    assert_eq!(open_jobs(&writer), committed.jobs);
    writer.check_invariants();

    fail_commits(&mut writer, &[0, 1]);
    let keys: Vec<JobId> = committed.jobs.iter().map(|job| job.key).collect();
    let committed = writer.commit_batch(&[begin(keys[0]), begin(keys[1])], NOW);
    assert!(matches!(committed.results[0].result, Err(Rejection::Database | Rejection::Unavailable)));
    assert_eq!(committed.started.len(), 1);
    let started: Vec<Option<MessageId>> = open_jobs(&writer).into_iter().map(|job| job.started).collect();
    assert_eq!(started, [None, Some(committed.started[0].message_id)]);
    writer.check_invariants();

    // The transaction is retried without a step of an inbox flush, and that fails as well.
    fail_commits(&mut writer, &[0, 1]);
    assert!(writer.commit_batch(&[finish(keys[1])], NOW).results[0].result.is_err());
    fail_commits(&mut writer, &[]);
    assert_eq!(open_jobs(&writer).len(), 2, "a job stays open until its end is on disk");
    assert!(writer.commit_batch(&[finish(keys[1])], NOW).results[0].result.is_ok());
    assert_eq!(open_jobs(&writer).len(), 1);
    writer.check_invariants();
}

#[test]
fn deleted_answers_leave_no_rows() {
    let directory = TempDir::new();
    let mut writer = open_answered(&directory.file("a.db"));
    let workspace = add_workspace(&mut writer, "ann");
    let conversation = add_conversation(&mut writer, "ann", workspace, &["ben"]);
    let counts = |writer: &Writer| {
        ["answer_jobs", "messages", "state_events", "event_recipients"].map(|table| rows(writer, table))
    };
    let before = counts(&writer);
    let asked = command("ben", post(ConversationRef::Id(conversation), "x"));
    let job = writer.commit_batch(&[asked], NOW).jobs.remove(0);
    support::claim_open_jobs(&mut writer);
    let started = writer.commit_batch(&[begin(job.key)], NOW).started[0].message_id;
    writer.commit_batch(&[finish(job.key)], NOW);
    let published = [before[0], before[1] + 2, before[2] + 1, before[3] + 2];
    assert_eq!(counts(&writer), published, "a closed job has no row, and the answer has one event");
    let delete = |message| CommandKind::DeleteMessage { conversation: ConversationRef::Id(conversation), message };
    done(&mut writer, "ann", delete(started));
    done(&mut writer, "ben", delete(job.message_id));
    // Two tombstones are left.
    assert_eq!(counts(&writer), [before[0], before[1], before[2] + 2, before[3] + 4]);
    writer.check_invariants();

    // Open jobs are purged with their conversation.
    let batch = [(); 300].map(|()| command("ben", post(ConversationRef::Id(conversation), "x")));
    let committed = writer.commit_batch(&batch, NOW);
    assert_eq!(committed.jobs.len(), 1, "the others wait behind it");
    let [first, second] = [7, 8].map(|n: usize| JobId(committed.events[n].number));
    support::claim_open_jobs(&mut writer);
    writer.commit_batch(&[begin(first), finish(second)], NOW);
    done(
        &mut writer,
        "ann",
        CommandKind::DeleteConversation {
            conversation: ConversationRef::Id(conversation),
            api_variant: ApiVariant::Config,
        },
    );
    while maintain(&mut writer, NOW) {
        writer.check_invariants();
    }
    assert_eq!((rows(&writer, "answer_jobs"), rows(&writer, "messages")), (0, 0));
}
