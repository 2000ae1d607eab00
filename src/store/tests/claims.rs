//! Claims of answer jobs by instances that share a database.

use super::answers::open_jobs_of;
use super::support::TempDir;
use super::*;
use crate::base::random::Random;
use crate::domain::answer_job::{AnswerJob, AnswerStep, CancelledAnswer, JobClass, JobId};
use crate::domain::event::{EventBody, EventKind};
use crate::domain::live_answer::LiveAnswer;
use crate::domain::responder::ResponderKind;
use crate::domain::result::Rejection;
use crate::store::ResponderRules;
#[cfg(feature = "cluster")]
use crate::store::tables::answer_jobs;
use std::collections::BTreeMap;

const CLOSED: Rejection = Rejection::Conflict("the job is closed");

fn open_with_model(path: &Path) -> Writer {
    let responders = ResponderRules {
        default: ResponderKind::OpenAi,
        allowed: vec![ResponderKind::OpenAi],
        models: Vec::new(),
        answers_per_user_max: 2,
    };
    Writer::open(&StoreConfig { responders, ..StoreConfig::new(support::database_at(path)) }).unwrap()
}

/// Two instances on one database on a server; `None` on SQLite, which has one.
fn open_two(directory: &TempDir) -> Option<[Writer; 2]> {
    let path = directory.file("a.db");
    (!support::is_sqlite()).then(|| [open_with_model(&path), open_with_model(&path)])
}

/// The jobs of new messages, each in a conversation of its own.
fn ask(writer: &mut Writer, user: &str, count: usize) -> Vec<AnswerJob> {
    let workspace = add_workspace(writer, user);
    let ask = |_| {
        let conversation = add_conversation(writer, user, workspace, &[]);
        let asked = command(user, post(ConversationRef::Id(conversation), "Why?"));
        writer.commit_batch(&[asked], NOW).jobs.remove(0)
    };
    (0..count).map(ask).collect()
}

fn take(writer: &mut Writer, job: JobId, step: AnswerStep) -> Result<(), Rejection> {
    let step = command("responder:openai", CommandKind::Answer { job, step });
    writer.commit_batch(&[step], NOW).results.remove(0).result.map(drop)
}

fn claim(writer: &mut Writer, job: JobId) -> Result<(), Rejection> {
    take(writer, job, AnswerStep::Claim)
}

fn begin(text: &str) -> AnswerStep {
    AnswerStep::Begin { text: text.into(), live: LiveAnswer::default() }
}

fn append(text: &str) -> AnswerStep {
    AnswerStep::Append { text: text.into() }
}

fn end(status: Status, text: Option<&str>) -> AnswerStep {
    let text = text.map(Content::new_unchecked);
    AnswerStep::Finish { status, text, reasoning: None, metadata: Metadata::empty(), error: None, usage: None }
}

fn cancel_all(writer: &mut Writer, conversation: ConversationId, running: Option<(JobId, &str)>) -> usize {
    let running = running.map(|(job, text)| {
        let (text, metadata) = (Some(Content::new_unchecked(text)), Metadata::empty());
        Box::new(CancelledAnswer { job, text, reasoning: None, metadata, usage: None })
    });
    let kind = CommandKind::CancelAnswers { conversation, running, through: None };
    match writer.commit_batch(&[command("responder:openai", kind)], NOW).results.remove(0).result {
        Ok(Outcome::AnswersCancelled { closed, .. }) => closed.len(),
        other => panic!("{other:?}"),
    }
}

fn listed(writer: &Writer, class: JobClass) -> Vec<JobId> {
    open_jobs_of(writer, class).iter().map(|job| job.key).collect()
}

/// The ends of answers by the message that they answer, as they are replayed to a user: the status and the text.
fn ends(writer: &mut Writer, user: &str) -> BTreeMap<MessageId, Vec<String>> {
    let mut ends = BTreeMap::<MessageId, Vec<String>>::new();
    for event in replay(writer, user) {
        match (&event.kind, &event.body) {
            (EventKind::Output, EventBody::Message(message)) => {
                let end = format!("{} {}", message.status.as_str(), message.content.as_str());
                ends.entry(message.reply_to.unwrap()).or_default().push(end);
            }
            (EventKind::OutputError, EventBody::Unanswered(asked, _)) => {
                ends.entry(*asked).or_default().push("nothing".to_owned());
            }
            _ => {}
        }
    }
    ends
}

/// Releases the jobs of a writer whose lease has ended.
fn release(writer: &mut Writer) {
    #[cfg(feature = "cluster")]
    if let Some(instance) = writer.connection.instance() {
        writer.connection.begin().unwrap();
        answer_jobs::release(&writer.connection.db, instance).unwrap();
        writer.connection.commit().unwrap();
    }
    assert!(!support::is_sqlite() && writer.connection.is_idle());
}

#[test]
fn without_other_instances_no_job_is_claimed() {
    if !support::is_sqlite() {
        return;
    }
    let directory = TempDir::new();
    let mut writer = open_with_model(&directory.file("a.db"));
    let job = ask(&mut writer, "ann", 1).remove(0);
    assert!(matches!(claim(&mut writer, job.key), Err(Rejection::Conflict(_))));
    assert_eq!(listed(&writer, JobClass::Model), [job.key]);
    take(&mut writer, job.key, begin("a")).unwrap();
    take(&mut writer, job.key, append("b")).unwrap();
    take(&mut writer, job.key, end(Status::Complete, None)).unwrap();
    assert_eq!(ends(&mut writer, "ann")[&job.message_id], ["complete ab"]);
}

#[test]
fn a_job_is_claimed_by_one_instance() {
    let directory = TempDir::new();
    let Some([mut a, mut b]) = open_two(&directory) else { return };
    let job = ask(&mut a, "ann", 1).remove(0);
    let later = command("ann", post(ConversationRef::Id(job.conversation_id), "And?"));
    let later = JobId(a.commit_batch(&[later], NOW).events[0].number);
    assert_eq!(listed(&b, JobClass::Model), [job.key], "any instance may claim it");
    assert_eq!(claim(&mut b, later), Err(CLOSED), "another job of its conversation is open");
    assert_eq!(claim(&mut a, job.key), Ok(()));
    assert_eq!(claim(&mut b, job.key), Err(CLOSED));
    assert!(claim(&mut a, job.key).is_ok(), "the outcome of the first claim may be unknown");
    assert_eq!(listed(&a, JobClass::Model), [job.key], "a job that is started again is found");
    assert!(listed(&b, JobClass::Model).is_empty());
    // The next job of the conversation is not claimed.
    take(&mut a, job.key, end(Status::Complete, Some("x"))).unwrap();
    assert_eq!(claim(&mut a, job.key), Err(CLOSED));
    assert_eq!((listed(&a, JobClass::Model), listed(&b, JobClass::Model)), (vec![later], vec![later]));
    assert!(claim(&mut b, later).is_ok());
}

#[test]
fn a_users_share_holds_over_all_instances() {
    let directory = TempDir::new();
    let Some([mut a, mut b]) = open_two(&directory) else { return };
    let jobs = ask(&mut a, "ann", 4);
    let other = ask(&mut b, "ben", 1).remove(0);
    claim(&mut a, jobs[0].key).unwrap();
    claim(&mut b, jobs[1].key).unwrap();
    for writer in [&mut a, &mut b] {
        assert_eq!(claim(writer, jobs[2].key), Err(Rejection::SHARE_TAKEN));
    }
    assert!(claim(&mut a, other.key).is_ok(), "the share of another user is free");
    take(&mut b, jobs[1].key, end(Status::Complete, Some("x"))).unwrap();
    assert!(claim(&mut a, jobs[2].key).is_ok());
    // A deleted conversation takes no share until its rows are purged.
    let conversation = ConversationRef::Id(jobs[0].conversation_id);
    done(&mut b, "ann", CommandKind::DeleteConversation { conversation, api_variant: ApiVariant::Config });
    assert_eq!(claim(&mut a, jobs[0].key), Err(CLOSED));
    assert!(claim(&mut b, jobs[3].key).is_ok());
    // Claims of one transaction see each other.
    let more = ask(&mut a, "cyd", 3);
    let claims = more.iter().map(|job| CommandKind::Answer { job: job.key, step: AnswerStep::Claim });
    let claims: Vec<Command> = claims.map(|kind| command("responder:openai", kind)).collect();
    let results = a.commit_batch(&claims, NOW).results;
    let taken: Vec<bool> = results.iter().map(|result| result.result.is_ok()).collect();
    assert_eq!(taken, [true, true, false]);
}

#[test]
fn only_the_instance_that_claimed_a_job_writes_its_answer() {
    let directory = TempDir::new();
    let Some([mut a, mut b]) = open_two(&directory) else { return };
    let job = ask(&mut a, "ann", 1).remove(0);
    assert_eq!(take(&mut a, job.key, begin("a")), Err(CLOSED), "it is not claimed");
    claim(&mut a, job.key).unwrap();
    let echo = AnswerStep::Echo { metadata: Metadata::empty(), bytes: 4 };
    let steps = [begin("x"), append("x"), echo, end(Status::Complete, Some("x")), end(Status::Cancelled, None)];
    let position = a.position();
    for step in &steps {
        assert_eq!(take(&mut b, job.key, step.clone()), Err(CLOSED), "{step:?}");
    }
    assert_eq!(b.position(), position, "a rejected step changes nothing");
    take(&mut a, job.key, begin("a")).unwrap();
    for step in &steps {
        assert_eq!(take(&mut b, job.key, step.clone()), Err(CLOSED), "{step:?}");
    }
    take(&mut a, job.key, append("b")).unwrap();
    take(&mut a, job.key, end(Status::Complete, None)).unwrap();
    assert_eq!(ends(&mut b, "ann")[&job.message_id], ["complete ab"]);
    // Any instance closes a job that is not claimed.
    let job = ask(&mut a, "ann", 1).remove(0);
    take(&mut b, job.key, end(Status::Failed, None)).unwrap();
    assert_eq!(claim(&mut a, job.key), Err(CLOSED));
}

#[test]
fn released_jobs_are_taken_over() {
    let directory = TempDir::new();
    let Some([mut a, mut b]) = open_two(&directory) else { return };
    let [begun, claimed] = <[AnswerJob; 2]>::try_from(ask(&mut a, "ann", 2)).unwrap();
    claim(&mut a, begun.key).unwrap();
    take(&mut a, begun.key, begin("stored")).unwrap();
    claim(&mut a, claimed.key).unwrap();
    assert!(listed(&b, JobClass::Model).is_empty() && listed(&b, JobClass::Immediate).is_empty());
    release(&mut a);
    assert_eq!(listed(&b, JobClass::Model), [claimed.key]);
    let found = open_jobs_of(&b, JobClass::Immediate);
    assert!(found.len() == 1 && found[0].key == begun.key && found[0].started.is_some(), "{found:?}");
    assert_eq!(claim(&mut b, begun.key), Err(CLOSED), "an answer that has begun is not continued");

    claim(&mut b, claimed.key).unwrap();
    assert_eq!(take(&mut a, begun.key, append("late")), Err(CLOSED));
    assert_eq!(take(&mut a, claimed.key, begin("late")), Err(CLOSED));
    take(&mut b, begun.key, end(Status::Interrupted, None)).unwrap();
    take(&mut b, claimed.key, begin("new")).unwrap();
    assert_eq!(take(&mut a, claimed.key, end(Status::Complete, Some("late"))), Err(CLOSED));
    assert_eq!(take(&mut a, begun.key, end(Status::Complete, Some("late"))), Err(CLOSED));
    take(&mut b, claimed.key, end(Status::Complete, None)).unwrap();
    let ends = ends(&mut a, "ann");
    assert_eq!(ends[&begun.message_id], ["interrupted stored"]);
    assert_eq!(ends[&claimed.message_id], ["complete new"]);
}

#[test]
fn any_instance_cancels_the_answers_of_a_conversation() {
    let directory = TempDir::new();
    let Some([mut a, mut b]) = open_two(&directory) else { return };
    let job = ask(&mut a, "ann", 1).remove(0);
    claim(&mut a, job.key).unwrap();
    take(&mut a, job.key, begin("stored")).unwrap();
    // This instance has lost its claim on the job, and what its model says is not the text of the answer.
    assert_eq!(cancel_all(&mut b, job.conversation_id, Some((job.key, "another text"))), 1);
    assert_eq!(take(&mut a, job.key, append("late")), Err(CLOSED));
    assert_eq!(take(&mut a, job.key, end(Status::Complete, Some("late"))), Err(CLOSED));
    assert_eq!(ends(&mut a, "ann")[&job.message_id], ["cancelled stored"]);

    let job = ask(&mut a, "ann", 1).remove(0);
    claim(&mut a, job.key).unwrap();
    assert_eq!(cancel_all(&mut a, job.conversation_id, Some((job.key, "its text"))), 1);
    assert_eq!(ends(&mut b, "ann")[&job.message_id], ["cancelled its text"]);

    let job = ask(&mut a, "ann", 1).remove(0);
    claim(&mut a, job.key).unwrap();
    let conversation = ConversationRef::Id(job.conversation_id);
    done(&mut b, "ann", CommandKind::DeleteMessage { conversation, message: job.message_id });
    assert_eq!(take(&mut a, job.key, begin("late")), Err(CLOSED));
}

/// Whatever two instances do, each message gets one end.
#[test]
fn every_answer_has_one_end() {
    for seed in 1..=20 {
        let directory = TempDir::new();
        let Some(mut writers) = open_two(&directory) else { return };
        let mut random = Random::new(seed);
        let jobs = ask(&mut writers[0], "ann", 3);
        for step in 0..60 {
            let writer = &mut writers[random.below(2) as usize];
            let job = &jobs[random.below(jobs.len() as u64) as usize];
            let text = format!("{step} ");
            let result = match random.below(20) {
                0..6 => claim(writer, job.key),
                6..10 => take(writer, job.key, begin(&text)),
                10..16 => take(writer, job.key, append(&text)),
                16 => take(writer, job.key, end(Status::Complete, Some(&text))),
                17 => take(writer, job.key, end(Status::Interrupted, None)),
                18 if random.below(3) == 0 => {
                    cancel_all(writer, job.conversation_id, Some((job.key, &text)));
                    continue;
                }
                _ => {
                    release(writer);
                    continue;
                }
            };
            let refused = |rejection: &Rejection| matches!(rejection, Rejection::Conflict(_));
            assert!(result.as_ref().map_or_else(refused, |_| true), "seed {seed}: {result:?}");
        }
        let [a, b] = &mut writers;
        release(a);
        release(b);
        for job in listed(b, JobClass::Immediate) {
            take(b, job, end(Status::Interrupted, None)).unwrap();
        }
        for job in listed(a, JobClass::Model) {
            claim(a, job).unwrap();
            take(a, job, end(Status::Complete, Some("x"))).unwrap();
        }
        let ends = ends(a, "ann");
        for job in &jobs {
            assert_eq!(ends.get(&job.message_id).map_or(0, Vec::len), 1, "seed {seed}: {ends:?}");
        }
        done(a, "ann", post(ConversationRef::Default, "The cache has what the other instance changed."));
        a.check_invariants();
    }
}
