use super::*;
use crate::base::random::Random;
use crate::domain::answer_job::{JobId, UserKey};
use crate::domain::id::{ConversationId, EventNumber, UserId, WorkspaceId};
use crate::domain::model::Role;
use crate::domain::responder::ResponderKind;
use uuid::Uuid;

const MESSAGE: MessageId = MessageId(Uuid::from_u128(9));

fn at(milliseconds: u64) -> MonoTime {
    MonoTime(milliseconds * 1000)
}

fn turn() -> Turn {
    Turn { role: Role::User, text: Content::new_unchecked("Hello?") }
}

fn new_answer() -> Answer {
    let job = AnswerJob {
        key: JobId(EventNumber(1)),
        message_id: MessageId(Uuid::from_u128(1)),
        conversation_id: ConversationId(Uuid::from_u128(2)),
        workspace_id: WorkspaceId(Uuid::from_u128(3)),
        user: UserId::new("ann").unwrap(),
        responder: ResponderKind::OpenAi,
        correlation_id: "c".into(),
        user_key: UserKey(1),
        content_bytes: 6,
        started: None,
    };
    Answer::new(job, LiveAnswer::default())
}

/// An answer whose request was sent to the model.
fn writing() -> Answer {
    let mut answer = new_answer();
    assert_eq!(answer.poll(at(0)), Some(AnswerEffect::ReadHistory));
    answer.history_read(StoreResult::Done(vec![turn()]));
    assert_eq!(answer.poll(at(0)), Some(AnswerEffect::AskModel(vec![turn()])));
    answer
}

/// The effects, in short. Every step is stored at once.
fn effects(answer: &mut Answer, milliseconds: u64) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(effect) = answer.poll(at(milliseconds)) {
        all.push(match effect {
            AnswerEffect::Store(step) => {
                let text = match &step {
                    AnswerStep::Begin { text, .. } => format!("begin {text}"),
                    AnswerStep::Append { text } => format!("append {text}"),
                    AnswerStep::Echo { .. } => unreachable!("a model answers"),
                    AnswerStep::Finish { status, text, error, .. } => {
                        let text = text.as_ref().map_or("nothing", |text| text.as_str());
                        format!("{} {text}{}", status.as_str(), error.as_deref().unwrap_or_default())
                    }
                };
                answer.stored(StoreResult::Done(Some(MESSAGE)), at(milliseconds));
                text
            }
            AnswerEffect::Show(delta) => {
                let text = answer.live.with_text(delta.from..delta.to, str::to_owned);
                format!("{} {text}", delta.index)
            }
            other => panic!("{other:?}"),
        });
        answer.check_invariants();
    }
    all
}

#[test]
fn the_first_text_goes_at_once_and_the_rest_in_its_time() {
    let mut answer = writing();
    assert!(effects(&mut answer, 7).is_empty());
    assert_eq!(answer.poll_timeout(), None);
    answer.text("a");
    assert_eq!(effects(&mut answer, 10_000), ["begin a", "0 a"], "in the store first");
    answer.text("b");
    answer.text("c");
    assert_eq!(answer.poll_timeout(), Some(at(10_050)));
    assert!(effects(&mut answer, 10_049).is_empty());
    assert_eq!(effects(&mut answer, 10_050), ["1 bc"]);
    assert_eq!(answer.poll_timeout(), Some(at(11_000)), "it is stored even if nothing follows");
    assert_eq!(effects(&mut answer, 11_000), ["append bc"]);
    assert_eq!(answer.poll_timeout(), None);
    answer.text("d");
    assert_eq!(effects(&mut answer, 11_001), ["2 d"]);
    answer.text("e");
    answer.model_ended(Ok(Completion::default()), at(11_002));
    assert_eq!(effects(&mut answer, 11_002), ["3 e", "complete abcde"]);
    assert_eq!(answer.end(), Some(JobEnd::Closed));
}

#[test]
fn an_answer_ends_as_its_model_and_its_stop_say() {
    let lost = || Err(Failure::connection_lost());
    let whole = || Ok(Completion::default());
    let failed = "failed hThe model's server ended the connection in the middle of its answer";
    // The reason to stop, whether text was shown, the end of the model's response; the stored text, and the end of the job.
    let table = [
        (None, true, whole(), Some("complete h"), JobEnd::Closed),
        (None, true, lost(), Some(failed), JobEnd::Closed),
        (None, false, lost(), Some(&*failed.replace("d h", "d nothing")), JobEnd::Closed),
        (Some(StopReason::JobClosed), true, lost(), None, JobEnd::Closed),
        (Some(StopReason::JobClosed), true, whole(), None, JobEnd::Closed),
        (Some(StopReason::Shutdown), true, lost(), Some("interrupted h"), JobEnd::Closed),
        (Some(StopReason::Shutdown), false, lost(), None, JobEnd::Retry),
        (Some(StopReason::Shutdown), true, whole(), Some("complete h"), JobEnd::Closed),
    ];
    for (stop, has_text, ended, stored, end) in table {
        let name = format!("{stop:?} {has_text} {ended:?}");
        let mut answer = writing();
        if has_text {
            answer.text("h");
            assert_eq!(effects(&mut answer, 0), ["begin h", "0 h"]);
        }
        if let Some(reason) = stop {
            answer.stop(reason);
            assert!(answer.flow().is_break());
        }
        answer.model_ended(ended, at(5));
        assert_eq!(effects(&mut answer, 5), stored.as_slice(), "{name}");
        assert_eq!(answer.end(), Some(end), "{name}");
    }
}

#[test]
fn what_the_store_cannot_take_is_offered_again() {
    let mut answer = writing();
    answer.text("a");
    assert!(matches!(answer.poll(at(0)), Some(AnswerEffect::Store(AnswerStep::Begin { .. }))));
    answer.stored(StoreResult::Unavailable, at(0));
    assert_eq!(answer.end(), Some(JobEnd::Retry), "nothing is shown");

    let mut answer = writing();
    answer.text("a");
    assert_eq!(effects(&mut answer, 0), ["begin a", "0 a"]);
    answer.text("b");
    assert_eq!(effects(&mut answer, 50), ["1 b"]);
    assert!(matches!(answer.poll(at(1_000)), Some(AnswerEffect::Store(AnswerStep::Append { .. }))));
    answer.stored(StoreResult::Unavailable, at(1_000));
    answer.text("c");
    assert_eq!(effects(&mut answer, 2_000), ["append bc", "2 c"]);
    answer.model_ended(Ok(Completion::default()), at(2_000));
    assert!(matches!(answer.poll(at(2_000)), Some(AnswerEffect::Store(_))));
    answer.stored(StoreResult::Unavailable, at(2_000));
    assert_eq!(answer.poll(at(2_001)), None);
    assert_eq!(answer.poll_timeout(), Some(at(2_000 + RETRY_MILLISECONDS)));
    assert_eq!(effects(&mut answer, 2_000 + RETRY_MILLISECONDS), ["complete abc"]);
}

#[test]
fn a_closed_job_ends_the_answer_wherever_it_is() {
    let mut answer = new_answer();
    assert_eq!(answer.poll(at(0)), Some(AnswerEffect::ReadHistory));
    answer.history_read(StoreResult::Closed);
    assert_eq!(answer.end(), Some(JobEnd::Closed));

    let mut answer = writing();
    answer.text("a");
    assert!(answer.poll(at(0)).is_some());
    answer.stored(StoreResult::Closed, at(0));
    assert_eq!((answer.end(), answer.flow()), (Some(JobEnd::Closed), ControlFlow::Break(())));
    answer.model_ended(Err(Failure::stopped()), at(1));
    assert_eq!(answer.poll(at(1)), None);

    let mut answer = new_answer();
    answer.stop(StopReason::JobClosed);
    assert_eq!((answer.poll(at(0)), answer.end()), (None, Some(JobEnd::Closed)));
}

#[test]
fn deltas_and_stored_pieces_are_the_text() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let (mut answer, mut now) = (writing(), 0);
        let (mut shown, mut stored, mut times) = (String::new(), String::new(), Vec::new());
        for _ in 0..300 {
            now += random.below(40);
            if random.below(3) > 0 {
                answer.text(["x", "\u{1f600}", " and so on", ""][random.below(4) as usize]);
            }
            while let Some(effect) = answer.poll(at(now)) {
                match effect {
                    AnswerEffect::Store(step) => {
                        let is_taken = random.below(8) > 0 || answer.message_id.is_none();
                        let result = if is_taken {
                            stored += step.text();
                            StoreResult::Done(Some(MESSAGE))
                        } else {
                            StoreResult::Unavailable
                        };
                        answer.stored(result, at(now));
                    }
                    AnswerEffect::Show(delta) => {
                        assert_eq!((delta.from, delta.index), (shown.len(), times.len() as u64));
                        answer.live.with_text(delta.from..delta.to, |text| shown += text);
                        times.push(now);
                    }
                    other => panic!("{other:?}"),
                }
                answer.check_invariants();
            }
            assert!(answer.poll_timeout().is_none_or(|due| due > at(now)), "all that is due was done");
        }
        let text = answer.live.text_from(0);
        assert!(text.starts_with(&stored) && text.starts_with(&shown));
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= OUTPUT_DELTA_MILLISECONDS));
    }
}
