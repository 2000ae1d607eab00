use super::*;
use crate::base::random::Random;
use crate::config::upstream_address::UpstreamAddress;
use crate::domain::answer_job::{JobId, Turn, UserKey};
use crate::domain::id::{ConversationId, EventNumber, UserId, WorkspaceId};
use crate::domain::model::Role;
use crate::domain::responder::ResponderKind;
use crate::responder::retry::RetryPolicy;
use crate::responder::upstream::UpstreamSettings;
use uuid::Uuid;

const MESSAGE: MessageId = MessageId(Uuid::from_u128(9));

fn at(milliseconds: u64) -> MonoTime {
    MonoTime(milliseconds * 1000)
}

fn history() -> History {
    let (sender, sender_name) = (UserId::new_unchecked("ann"), "".into());
    let turn = Turn { role: Role::User, text: Content::new_unchecked("Hello?"), sender, sender_name };
    History { turns: vec![turn], ..History::default() }
}

fn upstream() -> Arc<Upstream> {
    let address = UpstreamAddress::parse("http://127.0.0.1:1/v1").unwrap();
    let retry = RetryPolicy { tries_max: 1, ..RetryPolicy::default() };
    let settings = UpstreamSettings { retry, ..UpstreamSettings::new(address, "m".into()) };
    Arc::new(Upstream::new(settings).unwrap())
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
    Answer::new(job, upstream(), Random::new(1))
}

/// An answer whose request was sent to the model, which began to respond.
fn writing() -> Answer {
    let mut answer = new_answer();
    assert_eq!(answer.poll(at(0)), Some(AnswerEffect::ReadHistory));
    answer.history_read(StoreResult::Done(history()), at(0));
    assert_eq!(answer.poll(at(0)), Some(AnswerEffect::Connect));
    let started = answer.poll(at(0));
    assert!(matches!(started, Some(AnswerEffect::Report(change)) if change.phase == AnswerPhase::Started));
    answer.connected(at(0));
    let request = String::from_utf8(answer.outgoing().to_vec()).unwrap();
    assert!(request.contains("Hello?"), "{request}");
    answer.wrote(Some(request.len()));
    answer.received(b"HTTP/1.1 200 OK\r\n\r\n", at(0));
    assert_eq!(answer.poll(at(0)), None);
    answer
}

/// The model sends a piece of text.
fn say(answer: &mut Answer, text: &str, milliseconds: u64) {
    let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    answer.received(event.as_bytes(), at(milliseconds));
}

/// The model ends its answer.
fn finish(answer: &mut Answer, milliseconds: u64) {
    answer.received(b"data: [DONE]\n\n", at(milliseconds));
}

/// A step, in short.
fn described(step: &AnswerStep) -> String {
    match step {
        AnswerStep::Begin { text, .. } => format!("begin {text}"),
        AnswerStep::Append { text } => format!("append {text}"),
        AnswerStep::Claim => "claim".to_owned(),
        AnswerStep::Echo { .. } => unreachable!("a model answers"),
        AnswerStep::Finish { status, text, error, .. } => {
            let text = text.as_ref().map_or("nothing", |text| text.as_str());
            format!("{} {text}{}", status.as_str(), error.as_deref().unwrap_or_default())
        }
    }
}

/// The effects, in short. Every step is stored at once.
fn effects(answer: &mut Answer, milliseconds: u64) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(effect) = answer.poll(at(milliseconds)) {
        all.push(match effect {
            AnswerEffect::Store(step) => {
                answer.stored(StoreResult::Done(Some(MESSAGE)), at(milliseconds));
                described(&step)
            }
            AnswerEffect::Show(delta) => {
                let text = answer.live.text_from(delta.from);
                format!("{} {}", delta.index, &text[..delta.to - delta.from])
            }
            AnswerEffect::Close => "close".to_owned(),
            other => panic!("{other:?}"),
        });
        answer.check_invariants();
    }
    all
}

#[test]
fn an_answer_beside_other_instances_begins_with_the_claim_of_its_job() {
    let claiming = || {
        let mut answer = new_answer().claiming();
        assert_eq!(answer.poll_timeout(), Some(at(0)));
        assert_eq!(answer.poll(at(0)), Some(AnswerEffect::Store(AnswerStep::Claim)));
        assert_eq!((answer.poll(at(0)), answer.poll_timeout()), (None, None), "nothing else is done before");
        answer
    };
    let mut answer = claiming();
    answer.stored(StoreResult::Done(None), at(1));
    assert_eq!((answer.poll(at(1)), answer.end()), (Some(AnswerEffect::ReadHistory), None));
    for (result, end) in [
        (StoreResult::Closed, JobEnd::Closed),
        (StoreResult::ShareTaken, JobEnd::ShareTaken),
        (StoreResult::Unavailable, JobEnd::Retry),
    ] {
        let mut answer = claiming();
        answer.stored(result, at(1));
        assert_eq!((answer.poll(at(1)), answer.end()), (None, Some(end)), "{result:?}");
    }
    for (reason, end) in [(StopReason::Shutdown, JobEnd::Retry), (StopReason::JobClosed, JobEnd::Closed)] {
        let mut answer = claiming();
        answer.stop(reason);
        answer.stored(StoreResult::Done(None), at(1));
        assert_eq!((answer.poll(at(1)), answer.end()), (None, Some(end)), "{reason:?}");
    }
    let mut answer = claiming();
    answer.give_way();
    assert_eq!((answer.poll(at(1)), answer.end()), (None, Some(JobEnd::Retry)));
}

#[test]
fn text_is_shown_at_once_and_stored_at_intervals() {
    let mut answer = writing();
    assert!(effects(&mut answer, 7).is_empty());
    say(&mut answer, "a", 10_000);
    assert_eq!(effects(&mut answer, 10_000), ["begin a", "0 a"], "in the store first");
    say(&mut answer, "b", 10_001);
    assert_eq!(effects(&mut answer, 10_001), ["1 b"]);
    say(&mut answer, "c", 10_001);
    assert_eq!(effects(&mut answer, 10_001), ["2 c"]);
    assert_eq!(answer.poll_timeout(), Some(at(11_000)), "it is stored even if nothing follows");
    assert_eq!(effects(&mut answer, 11_000), ["append bc"]);
    assert_ne!(answer.poll_timeout(), Some(at(12_000)), "nothing is to be stored");
    say(&mut answer, "d", 11_001);
    assert_eq!(effects(&mut answer, 11_001), ["3 d"]);
    say(&mut answer, "e", 11_002);
    finish(&mut answer, 11_002);
    assert_eq!(effects(&mut answer, 11_002), ["close", "4 e", "complete abcde"]);
    assert_eq!(answer.end(), Some(JobEnd::Closed));
}

#[test]
fn text_that_arrives_while_the_store_is_busy_is_shown_or_waits_for_the_first_step() {
    let mut answer = writing();
    say(&mut answer, "a", 0);
    assert!(matches!(answer.poll(at(0)), Some(AnswerEffect::Store(AnswerStep::Begin { .. }))));
    say(&mut answer, "b", 1);
    assert_eq!(answer.poll(at(1)), None, "nothing is shown before it is known as shown");
    answer.stored(StoreResult::Done(Some(MESSAGE)), at(2));
    assert_eq!(effects(&mut answer, 2), ["0 ab"]);
    assert!(matches!(answer.poll(at(1_000)), Some(AnswerEffect::Store(AnswerStep::Append { .. }))));
    say(&mut answer, "c", 1_001);
    assert!(matches!(answer.poll(at(1_001)), Some(AnswerEffect::Show(_))));
    finish(&mut answer, 1_002);
    assert_eq!(answer.poll(at(1_002)), Some(AnswerEffect::Close));
    assert_eq!(answer.poll(at(1_002)), None, "one step is at the store");
    answer.stored(StoreResult::Done(Some(MESSAGE)), at(1_003));
    assert_eq!(effects(&mut answer, 1_003), ["complete abc"]);
}

#[test]
fn an_answer_ends_as_its_model_and_its_stop_say() {
    let failed = "failed hThe model's server ended the connection in the middle of its answer";
    // The reason to stop, whether text was shown, whether the model ended (in order: no, whole, lost); the effects, and the end
    // of the job.
    let shutdown = Some(StopReason::Shutdown);
    let closed = Some(StopReason::JobClosed);
    type EndCase<'t> = (Option<StopReason>, bool, Option<bool>, &'t [&'t str], JobEnd);
    let table: [EndCase<'_>; 9] = [
        (None, true, Some(true), &["close", "complete h"], JobEnd::Closed),
        (None, true, Some(false), &["close", failed], JobEnd::Closed),
        (None, false, Some(false), &["close", &failed.replace("d h", "d nothing")], JobEnd::Closed),
        (closed, true, None, &["close"], JobEnd::Closed),
        (closed, false, None, &["close"], JobEnd::Closed),
        (closed, true, Some(true), &["close"], JobEnd::Closed),
        (shutdown, true, None, &["close", "interrupted h"], JobEnd::Closed),
        (shutdown, false, None, &["close"], JobEnd::Retry),
        (shutdown, true, Some(true), &["close", "complete h"], JobEnd::Closed),
    ];
    for (stop, has_text, ended, stored, end) in table {
        let name = format!("{stop:?} {has_text} {ended:?}");
        let mut answer = writing();
        if has_text {
            say(&mut answer, "h", 0);
            assert_eq!(effects(&mut answer, 0), ["begin h", "0 h"]);
        }
        let mut done = Vec::new();
        match ended {
            Some(true) => finish(&mut answer, 5),
            Some(false) => answer.disconnected(None, at(5)),
            None => {}
        }
        if ended.is_some() {
            assert_eq!(answer.poll(at(5)), Some(AnswerEffect::Close), "{name}");
            done.push("close".to_owned());
            let last = answer.poll(at(5));
            assert!(matches!(last, Some(AnswerEffect::Store(_))), "{name}");
            if let Some(reason) = stop {
                answer.stop(reason);
            }
            if let Some(AnswerEffect::Store(step)) = last
                && stop != closed
            {
                done.push(described(&step));
            }
            answer.stored(StoreResult::Done(Some(MESSAGE)), at(5));
        } else if let Some(reason) = stop {
            answer.stop(reason);
        }
        done.extend(effects(&mut answer, 5));
        assert_eq!(done, stored, "{name}");
        assert_eq!(answer.end(), Some(end), "{name}");
    }
}

#[test]
fn what_the_store_cannot_take_is_offered_again() {
    let mut answer = writing();
    say(&mut answer, "a", 0);
    assert!(matches!(answer.poll(at(0)), Some(AnswerEffect::Store(AnswerStep::Begin { .. }))));
    answer.stored(StoreResult::Unavailable, at(0));
    say(&mut answer, "b", 1);
    assert_eq!(answer.poll(at(1)), None);
    assert_eq!(effects(&mut answer, 1_000), ["begin ab", "0 ab"], "the model writes on meanwhile");
    say(&mut answer, "c", 1_050);
    assert_eq!(effects(&mut answer, 1_050), ["1 c"]);
    assert!(matches!(answer.poll(at(2_000)), Some(AnswerEffect::Store(AnswerStep::Append { .. }))));
    answer.stored(StoreResult::Unavailable, at(2_000));
    say(&mut answer, "d", 2_001);
    assert_eq!(effects(&mut answer, 3_000), ["2 d", "append cd"]);
    finish(&mut answer, 3_000);
    assert_eq!(answer.poll(at(3_000)), Some(AnswerEffect::Close));
    assert!(matches!(answer.poll(at(3_000)), Some(AnswerEffect::Store(_))));
    answer.stored(StoreResult::Unavailable, at(3_000));
    assert_eq!(answer.poll(at(3_001)), None);
    assert_eq!(answer.poll_timeout(), Some(at(3_000 + RETRY_MILLISECONDS)));
    assert_eq!(effects(&mut answer, 3_000 + RETRY_MILLISECONDS), ["complete abcd"]);
}

#[test]
fn a_store_that_takes_nothing_does_not_delay_a_shutdown() {
    for (has_message, end) in [(false, JobEnd::Retry), (true, JobEnd::Closed)] {
        let mut answer = writing();
        say(&mut answer, "a", 0);
        if has_message {
            assert_eq!(effects(&mut answer, 0), ["begin a", "0 a"]);
        } else {
            assert!(matches!(answer.poll(at(0)), Some(AnswerEffect::Store(_))));
        }
        answer.stop(StopReason::Shutdown);
        assert_eq!(answer.poll(at(1)), Some(AnswerEffect::Close));
        if has_message {
            assert!(matches!(answer.poll(at(1)), Some(AnswerEffect::Store(_))));
        }
        answer.stored(StoreResult::Unavailable, at(1));
        assert_eq!(answer.end(), Some(end));
    }
}

#[test]
fn a_closed_job_ends_the_answer_wherever_it_is() {
    let mut answer = new_answer();
    assert_eq!(answer.poll(at(0)), Some(AnswerEffect::ReadHistory));
    answer.history_read(StoreResult::Closed, at(0));
    assert_eq!((answer.poll(at(0)), answer.end()), (None, Some(JobEnd::Closed)));

    let mut answer = writing();
    say(&mut answer, "a", 0);
    assert!(answer.poll(at(0)).is_some());
    answer.stored(StoreResult::Closed, at(0));
    assert_eq!(answer.end(), Some(JobEnd::Closed));
    assert_eq!(answer.poll(at(1)), Some(AnswerEffect::Close));
    say(&mut answer, "b", 1);
    assert_eq!((answer.poll(at(1)), answer.live().text_from(0).as_str()), (None, "a"));

    let mut answer = new_answer();
    answer.stop(StopReason::JobClosed);
    assert_eq!((answer.poll(at(0)), answer.end()), (None, Some(JobEnd::Closed)));

    let mut answer = new_answer();
    assert_eq!(answer.poll(at(0)), Some(AnswerEffect::ReadHistory));
    answer.stop(StopReason::JobClosed);
    answer.history_read(StoreResult::Done(history()), at(0));
    assert_eq!((answer.poll(at(0)), answer.end()), (None, Some(JobEnd::Closed)));
}

#[test]
fn deltas_and_stored_pieces_are_the_text() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let (mut answer, mut now) = (writing(), 0);
        let (mut shown, mut stored, mut deltas) = (String::new(), String::new(), 0);
        let mut at_store: Option<AnswerStep> = None;
        for _ in 0..300 {
            now += random.below(40);
            if random.below(3) > 0 {
                say(&mut answer, ["x", "\u{1f600}", " and so on", ""][random.below(4) as usize], now);
            }
            if random.below(3) == 0
                && let Some(step) = at_store.take()
            {
                let is_taken = random.below(8) > 0;
                stored += if is_taken { step.text() } else { "" };
                let result = if is_taken { StoreResult::Done(Some(MESSAGE)) } else { StoreResult::Unavailable };
                answer.stored(result, at(now));
            }
            while let Some(effect) = answer.poll(at(now)) {
                match effect {
                    AnswerEffect::Store(step) => assert!(at_store.replace(step).is_none(), "one step is at the store"),
                    AnswerEffect::Show(delta) => {
                        assert_eq!((delta.from, delta.index), (shown.len(), deltas));
                        shown += &answer.live.text_from(delta.from)[..delta.to - delta.from];
                        deltas += 1;
                    }
                    other => panic!("{other:?}"),
                }
                answer.check_invariants();
            }
            assert!(answer.poll_timeout().is_none_or(|due| due > at(now)), "all that is due was done");
        }
        let text = answer.live.text_from(0);
        assert!(text.starts_with(&stored) && text.starts_with(&shown));
        assert!(shown.len() >= stored.len(), "what the store has is shown at once");
    }
}
