//! Orders and answers when SQLite fails: none is told of that is not stored, and rows leave nothing behind.

use super::support::TempDir;
use super::*;
use crate::domain::answer_job::AnswerJob;
use crate::domain::answer_job::AnswerStep;
use crate::domain::answer_job::JobId;
use crate::domain::answer_job::RESPONDERS;
use crate::domain::live_answer::LiveAnswer;
use crate::domain::responder::ResponderKind;
use crate::domain::result::Rejection;
use crate::store::ResponderRules;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) fn open_answered(path: &Path) -> Writer {
    let responders = ResponderRules { default: ResponderKind::Echo, allowed: vec![ResponderKind::Echo] };
    let config = StoreConfig { responders, ..StoreConfig::new(Database::File(path.into())) };
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
    step(job, AnswerStep::Finish { status: Status::Complete, text, metadata: Metadata::empty(), error: None })
}

pub(crate) fn open_jobs(writer: &mut Writer) -> Vec<AnswerJob> {
    let reply_to = ReplyTo { shard: RESPONDERS, slot: 0, generation: 0 };
    let kind = QueryKind::OpenJobs { after: JobId(EventNumber(0)), limit: 100 };
    let answer = answer(writer, &Query { reply_to, caller: UserId::new_unchecked("responder:echo"), kind });
    match answer.result.unwrap() {
        QueryResult::OpenJobs(jobs) => jobs,
        other => panic!("{other:?}"),
    }
}

/// Has the commits with these places fail, counted from the next.
fn fail_commits(writer: &mut Writer, places: &'static [u32]) {
    let commits = AtomicU32::new(0);
    let fails = move || places.contains(&commits.fetch_add(1, Ordering::Relaxed));
    writer.connection.db.commit_hook(Some(fails)).unwrap();
}

fn rows(writer: &Writer, table: &str) -> i64 {
    writer.connection.db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn what_was_not_committed_is_neither_ordered_nor_begun() {
    let directory = TempDir::new();
    let mut writer = open_answered(&directory.file("a.db"));
    // The batch's commit fails, and the second of the commits that follow.
    fail_commits(&mut writer, &[0, 2]);
    let batch = ["ann", "ben", "cyd"].map(|user| command(user, post(ConversationRef::Default, "x")));
    let committed = writer.commit_batch(&batch, NOW);
    let jobs: Vec<&str> = committed.jobs.iter().map(|job| job.user.as_str()).collect();
    assert_eq!(jobs, ["ann", "cyd"]);
    assert_eq!(open_jobs(&mut writer), committed.jobs);
    writer.check_invariants();

    fail_commits(&mut writer, &[0, 1]);
    let keys: Vec<JobId> = committed.jobs.iter().map(|job| job.key).collect();
    let committed = writer.commit_batch(&[begin(keys[0]), begin(keys[1])], NOW);
    assert!(matches!(committed.results[0].result, Err(Rejection::Database | Rejection::Unavailable)));
    assert_eq!(committed.started.len(), 1);
    let started: Vec<Option<MessageId>> = open_jobs(&mut writer).into_iter().map(|job| job.started).collect();
    assert_eq!(started, [None, Some(committed.started[0].message_id)]);
    writer.check_invariants();

    // Once more if something rode along with it.
    fail_commits(&mut writer, &[0, 1]);
    assert!(writer.commit_batch(&[finish(keys[1])], NOW).results[0].result.is_err());
    fail_commits(&mut writer, &[]);
    assert_eq!(open_jobs(&mut writer).len(), 2, "an order stays open until its end is on disk");
    assert!(writer.commit_batch(&[finish(keys[1])], NOW).results[0].result.is_ok());
    assert_eq!(open_jobs(&mut writer).len(), 1);
    writer.check_invariants();
}

#[test]
fn an_answer_leaves_no_row_behind() {
    let directory = TempDir::new();
    let mut writer = open_answered(&directory.file("a.db"));
    let home = workspace(&mut writer, "ann");
    let room = conversation(&mut writer, "ann", home, &["ben"]);
    let counts = |writer: &Writer| {
        ["answer_jobs", "messages", "state_events", "event_recipients"].map(|table| rows(writer, table))
    };
    let before = counts(&writer);
    let asked = command("ben", post(ConversationRef::Id(room), "x"));
    let job = writer.commit_batch(&[asked], NOW).jobs.remove(0);
    let started = writer.commit_batch(&[begin(job.key)], NOW).started[0].message_id;
    writer.commit_batch(&[finish(job.key)], NOW);
    let published = [before[0], before[1] + 2, before[2] + 1, before[3] + 2];
    assert_eq!(counts(&writer), published, "a closed order has no row, and the answer has one event");
    let delete = |message| CommandKind::DeleteMessage { conversation: ConversationRef::Id(room), message };
    done(&mut writer, "ann", delete(started));
    done(&mut writer, "ben", delete(job.message_id));
    // What is left says that two messages are gone.
    assert_eq!(counts(&writer), [before[0], before[1], before[2] + 2, before[3] + 4]);
    writer.check_invariants();

    // Orders that are open go with their conversation.
    let batch = [(); 300].map(|()| command("ben", post(ConversationRef::Id(room), "x")));
    let jobs = writer.commit_batch(&batch, NOW).jobs;
    writer.commit_batch(&[begin(jobs[7].key), finish(jobs[8].key)], NOW);
    done(
        &mut writer,
        "ann",
        CommandKind::DeleteConversation { conversation: ConversationRef::Id(room), api_variant: ApiVariant::Config },
    );
    while maintain(&mut writer, NOW) {
        writer.check_invariants();
    }
    assert_eq!((rows(&writer, "answer_jobs"), rows(&writer, "messages")), (0, 0));
}
