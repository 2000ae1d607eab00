//! Copies of the database as a crash would leave it, after each step of an answer.

use super::fixture::*;
use crate::common::*;
use cortex_core::internals::{AnswerJob, AnswerStep, CommandKind, Metadata, Status, StoreConfig, Writer};

/// A store opened from a copy of the present one.
fn crashed(fixture: &mut AnswerFixture, name: &str) -> AnswerFixture {
    let config = StoreConfig { database: fixture.world.crashed_copy(name), ..fixture.world.config.clone() };
    let writer = Writer::open(&config).unwrap();
    let reader = writer.open_reader().unwrap();
    AnswerFixture {
        world: World::of(config, writer, reader),
        workspace: fixture.workspace,
        conversation: fixture.conversation,
    }
}

#[test]
fn a_crash_at_any_step_leaves_one_answer() {
    let mut fixture = AnswerFixture::in_file();
    let job = fixture.ask("hello");
    let key = job.key;

    // The job exists, but the answer has not started: it is answered from the start.
    let mut image = crashed(&mut fixture, "created.db");
    image.check();
    assert_eq!(image.open_jobs(), std::slice::from_ref(&job));
    image.step(finish(key, Status::Complete, Some("from the start")));
    assert_eq!(image.outputs("ben"), ["complete: from the start"]);

    // The answer has started or grown: the stored text is kept and published once, after earlier events.
    let id = fixture.started(key, "some ");
    for (name, shown) in [("started.db", "some "), ("grown.db", "some more")] {
        if name == "grown.db" {
            fixture.step(append(key, "more"));
        }
        let mut image = crashed(&mut fixture, name);
        image.check();
        assert_eq!(image.open_jobs(), [AnswerJob { started: Some(id), ..job.clone() }]);
        assert_eq!(image.message(id).content.as_str(), shown);
        assert_eq!(image.outputs("ben"), [""; 0]);
        let seen = image.world.writer().position().0;
        let meanwhile = image.world.post("ann", image.conversation, "back again").number.0;
        let metadata = Metadata::new_unchecked(r#"{"responder":"echo"}"#);
        let step = AnswerStep::Finish {
            status: Status::Interrupted,
            text: None,
            metadata,
            error: None,
            reasoning: None,
            usage: None,
        };
        let (finished, _) = image.step(CommandKind::Answer { job: key, step });
        assert_eq!(finished, Some(id));
        assert_eq!(image.world.replay("ben", seen), [(meanwhile, "input"), (meanwhile + 1, "output")]);
        assert_eq!(image.outputs("ben"), [format!("interrupted: {shown}")]);
        assert_eq!(image.world.rejected(ECHO, finish(key, Status::Complete, Some("late"))), CLOSED);
        image.check();
    }

    // The answer is finished: no job is open.
    fixture.step(finish(key, Status::Complete, Some("some more.")));
    let mut image = crashed(&mut fixture, "finished.db");
    image.check();
    assert!(image.open_jobs().is_empty());
    assert_eq!(image.outputs("ben"), ["complete: some more."]);
    assert_eq!(image.world.rejected(ECHO, finish(key, Status::Interrupted, None)), CLOSED);
    assert_eq!(image.outputs("ben"), ["complete: some more."]);
}
