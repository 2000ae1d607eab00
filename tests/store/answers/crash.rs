//! Images of the database as a crash would leave it, at every place of an answer's life.

use super::*;
use cortex_core::internals::{Database, StoreConfig, Writer};
use std::path::PathBuf;

/// A store opened from a copy of the files as they are now, under a writer that goes on.
fn crashed(stage: &Stage, name: &str) -> Stage {
    let Database::File(path) = &stage.world.config.database else { panic!() };
    let copy = path.with_file_name(name);
    for ending in ["", "-wal"] {
        let file = |path: &PathBuf| format!("{}{ending}", path.display());
        std::fs::copy(file(path), file(&copy)).unwrap();
    }
    let config = StoreConfig { database: Database::File(copy), ..stage.world.config.clone() };
    let writer = Writer::open(&config).unwrap();
    let reader = writer.open_reader().unwrap();
    Stage { world: World::of(config, writer, reader), home: stage.home, room: stage.room }
}

#[test]
fn a_crash_at_any_place_leaves_one_answer() {
    let mut stage = Stage::in_file();
    let order = stage.ask("hello");
    let key = order.key;

    // Ordered and nothing more: it is answered from the start.
    let mut image = crashed(&stage, "ordered.db");
    image.check();
    assert_eq!(image.open_orders(), std::slice::from_ref(&order));
    image.step(finish(key, Status::Complete, Some("from the start")));
    assert_eq!(image.outputs("ben"), ["complete: from the start"]);

    // Begun, and grown: what was shown stays, and is published once, after what came before it.
    let id = stage.started(key, "some ");
    for (name, shown) in [("begun.db", "some "), ("grown.db", "some more")] {
        if name == "grown.db" {
            stage.step(append(key, "more"));
        }
        let mut image = crashed(&stage, name);
        image.check();
        assert_eq!(image.open_orders(), [AnswerJob { started: Some(id), ..order.clone() }]);
        assert_eq!(image.message(id).content.as_str(), shown);
        assert_eq!(image.outputs("ben"), [""; 0]);
        let seen = image.world.writer().position().0;
        let meanwhile = image.world.post("ann", image.room, "back again").number.0;
        let metadata = Metadata::new_unchecked(r#"{"responder":"echo"}"#);
        let step = AnswerStep::Finish { status: Status::Interrupted, text: None, metadata, error: None };
        let (finished, _) = image.step(CommandKind::Answer { job: key, step });
        assert_eq!(finished, Some(id));
        assert_eq!(image.world.replay("ben", seen), [(meanwhile, "input"), (meanwhile + 1, "output")]);
        assert_eq!(image.outputs("ben"), [format!("interrupted: {shown}")]);
        assert_eq!(image.world.refused(ECHO, finish(key, Status::Complete, Some("late"))), CLOSED);
        image.check();
    }

    // Finished: nothing is left to do.
    stage.step(finish(key, Status::Complete, Some("some more.")));
    let mut image = crashed(&stage, "finished.db");
    image.check();
    assert!(image.open_orders().is_empty());
    assert_eq!(image.outputs("ben"), ["complete: some more."]);
    assert_eq!(image.world.refused(ECHO, finish(key, Status::Interrupted, None)), CLOSED);
    assert_eq!(image.outputs("ben"), ["complete: some more."]);
}
