//! Journal pages and lists against a model, after random commands.

mod answers;
mod checks;
mod model;
mod pages;
mod run;

use crate::common::*;
use cortex_core::internals::{Event, EventKind, FlushLimits, Random, Retention, WallTime};
use model::*;
use run::ModelRun;
use std::collections::BTreeSet;
use std::ops::Range;

fn run_seed(seed: u64, world: World, rounds: usize, reopens: bool) -> BTreeSet<&'static str> {
    let run = run_rounds(seed, world, rounds, reopens);
    run.model.events.iter().map(|event| event.kind.as_str()).collect()
}

fn run_rounds(seed: u64, mut world: World, rounds: usize, reopens: bool) -> ModelRun {
    world.now = START;
    let mut run =
        ModelRun { world, model: Model::default(), answers: answers::Answers::default(), random: Random::new(seed) };
    for round in 0..rounds {
        run.run_batch();
        if run.random.below(4) == 0 {
            run.world.maintain();
            run.apply_notifications();
        }
        if run.random.below(20) == 0 {
            // The clock may go forward or back.
            run.world.now = WallTime(START.0 + run.random.below(1_000_000_000) as i64 - 500_000_000);
        }
        if reopens {
            match run.random.below(60) {
                0 => run.world.reopen(),
                1..=2 => run.world.abandon(),
                _ => {}
            }
        }
        if run.random.below(3) == 0 {
            run.check_replay();
        }
        if round % 16 == 0 {
            run.world.writer().check_invariants();
            run.check_lists();
            run.check_conversation_views();
            run.check_users();
            run.check_open_jobs();
        }
    }
    run.world.maintain_all();
    run.apply_notifications();
    assert!(run.model.workspaces.values().all(|workspace| workspace.unnotified.is_empty()));
    run.world.writer().check_invariants();
    for _ in 0..50 {
        run.check_replay();
    }
    run
}

/// Asserts that the runs emitted events of every kind.
fn check_kinds(seen: impl Iterator<Item = BTreeSet<&'static str>>) {
    let seen: BTreeSet<&str> = seen.flatten().collect();
    assert_eq!(seen.len(), 12, "a kind is missing: {seen:?}");
}

/// Limits so small that a flush has many steps, and flushes are frequent.
fn small_inboxes(seed: u64) -> FlushLimits {
    let mut random = Random::new(seed);
    FlushLimits {
        inbox_flush_numbers: 1 + random.below(60),
        inbox_entries_max: 1 + random.below(40) as usize,
        step_messages_max: 1 + random.below(12) as usize,
        step_users_max: 1 + random.below(2) as usize,
        chunk_bytes_max: random.below(12) as usize,
        index_flush_numbers: 1 + random.below(60),
        index_flush_bytes: 1 + random.below(2000) as usize,
        step_indexed_max: 1 + random.below(6) as usize,
    }
}

/// The seeds of a test that has many. Runs on a server take longer, so it gets half of them.
fn seeds(all: Range<u64>) -> Range<u64> {
    if support::is_sqlite() { all } else { all.start..all.start.midpoint(all.end) }
}

#[test]
fn pages_equal_the_model_on_a_reader() {
    check_kinds((40..44).map(|seed| run_seed(seed, World::answered_in_file(Some("echo")), 250, true)));
}

#[test]
fn pages_equal_the_model_through_flushes_and_crashes() {
    check_kinds(seeds(200..208).map(|seed| {
        let mut world = World::answered_in_file_with(small_inboxes(seed), Some("echo"));
        world.config.query_rows_max = 1 + seed as usize % 4;
        world.reopen();
        run_seed(seed, world, 200, true)
    }));
}

#[test]
fn pages_equal_the_model_in_memory() {
    check_kinds((100..104).map(|seed| run_seed(seed, World::answered_in_memory(Some("echo")), 300, false)));
    let small = |seed| World::answered_in_memory_with(small_inboxes(seed), Some("echo"));
    check_kinds(seeds(300..308).map(|seed| run_seed(seed, small(seed), 300, false)));
}

/// Whether the event is a message event.
fn is_message(event: &Event) -> bool {
    matches!(event.kind, EventKind::Input | EventKind::Output)
}

#[test]
fn retention_removes_the_oldest_of_a_workspace_and_reports_gaps() {
    for seed in seeds(400..406) {
        let mut run = run_rounds(seed, World::answered_in_file_with(small_inboxes(seed), Some("echo")), 100, false);
        let stored = run.model.events.iter().filter(|event| !is_message(event)).count() as u64;
        // Some of these events have been removed with their subject, so the bound may not be exceeded.
        let retention = Retention { events: run.random.below(stored), young_milliseconds: 0, ..Retention::default() };
        run.world.config.retention = retention;
        run.world.reopen();
        run.world.pass_seconds(1_000);
        let position = run.world.writer().position();
        run.world.maintain_all();
        run.world.writer().check_invariants();
        assert_eq!(run.world.writer().position(), position, "no number is assigned again");
        for user in USERS {
            let expected = run.model.expected(user, 0, &EVERYTHING);
            let page = run.world.page(user, 0, usize::MAX, EVERYTHING);
            assert_eq!(page.through, position, "one page has all events");
            let kept: BTreeSet<u64> = page.events.iter().map(|event| event.number.0).collect();
            let lost: Vec<&Event> = expected.iter().filter(|event| !kept.contains(&event.number.0)).collect();
            assert!(lost.iter().all(|event| !is_message(event)), "messages have no retention");
            assert_eq!(page.events.len() + lost.len(), expected.len());
            let newest_lost = lost.last().map_or(0, |event| event.number.0);
            for event in page.events.iter().filter(|event| !is_message(event)) {
                let mut others = lost.iter().filter(|lost| lost.workspace_id == event.workspace_id);
                assert!(others.all(|lost| lost.number < event.number), "the oldest events are removed first");
            }
            for after in 0..=position.0 {
                let gap = run.world.page(user, after, 0, EVERYTHING).gap.map(|first| first.0);
                let expected = (after < newest_lost).then_some(newest_lost + 1);
                assert_eq!(gap, expected, "{user} after {after}");
            }
        }
    }
}
