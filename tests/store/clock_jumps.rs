//! The wall clock jumps, for one commit or from one process to the next: numbers and times continue to grow, and nothing
//! becomes older.

use crate::common::*;
use cortex_core::internals::limits::IDEMPOTENCY_RETENTION_SECONDS;
use cortex_core::internals::{
    Command, ConversationRef, Idempotency, MonoTime, Now, Outcome, Rejection, Retention, StoreConfig, WallTime, Writer,
};

const JUMPS_SECONDS: [i64; 4] = [2 * 3600, 10 * 86_400, 10 * 365 * 86_400, -10 * 86_400];
const WEEK_SECONDS: i64 = 7 * 86_400;

fn keyed(key: &str) -> Command {
    let idempotency = Some(Idempotency { key: key.into(), fingerprint: [1; 32] });
    Command { idempotency, ..command("ann", post(ConversationRef::Default, "once")) }
}

fn is_replayed(world: &mut World, key: &str) -> bool {
    let committed = world.commit(&[keyed(key)]);
    matches!(committed.results[0].result.as_ref().unwrap(), Outcome::Replayed { .. })
}

/// One commit and one step of maintenance at a wall clock that differs by `seconds`. The clock is right again afterwards.
fn jump(world: &mut World, seconds: i64) {
    let clock = world.now;
    world.now = clock.plus_seconds(seconds);
    world.workspace("ben");
    world.maintain_all();
    world.now = clock;
}

/// The numbers of the state events that are replayed to `ann` as far as retention has kept them.
fn events(world: &mut World) -> Vec<u64> {
    world.page("ann", 0, usize::MAX, EVERYTHING).events.iter().map(|event| event.number.0).collect()
}

fn world_that_keeps_a_week() -> World {
    let mut world = World::in_file();
    world.config.retention = Retention { seconds: WEEK_SECONDS, ..Retention::default() };
    world.reopen();
    world
}

#[test]
fn an_idempotency_key_is_kept_for_a_day_of_use() {
    for seconds in JUMPS_SECONDS {
        let mut world = World::in_file();
        assert!(!is_replayed(&mut world, "k"));
        jump(&mut world, seconds);
        assert!(is_replayed(&mut world, "k"), "{seconds}: after one commit");
        world.now = world.now.plus_seconds(seconds);
        world.reopen();
        world.maintain_all();
        assert!(is_replayed(&mut world, "k"), "{seconds}: after a restart with a wrong clock");
        world.abandon();
        world.now = world.now.plus_seconds(-seconds);
        assert!(is_replayed(&mut world, "k"), "{seconds}: after a kill, and a right clock");
        world.pass_seconds(IDEMPOTENCY_RETENTION_SECONDS - 60);
        assert!(is_replayed(&mut world, "k"), "{seconds}: after almost a day");
        world.pass_seconds(120);
        assert!(!is_replayed(&mut world, "k"), "{seconds}: after a day");
        world.writer().check_invariants();
    }
}

#[test]
fn events_are_kept_for_a_week_of_use() {
    for seconds in JUMPS_SECONDS {
        let mut world = world_that_keeps_a_week();
        world.workspace("ann");
        world.pass_seconds(WEEK_SECONDS / 2);
        world.workspace("ann");
        let all = events(&mut world);
        assert_eq!(all.len(), 2);
        jump(&mut world, seconds);
        assert_eq!(events(&mut world), all, "{seconds}: after one commit");
        world.now = world.now.plus_seconds(seconds);
        world.abandon();
        jump(&mut world, 0);
        assert_eq!(events(&mut world), all, "{seconds}: after a restart with a wrong clock");
        world.pass_seconds(WEEK_SECONDS / 2 - 60);
        world.maintain_all();
        assert_eq!(events(&mut world), all, "{seconds}: after almost a week");
        world.pass_seconds(120);
        world.maintain_all();
        assert_eq!(events(&mut world), all[1..], "{seconds}: each event at its own age");
        world.pass_seconds(WEEK_SECONDS / 2);
        world.maintain_all();
        assert_eq!(events(&mut world), [0; 0], "{seconds}");
        world.writer().check_invariants();
    }
}

/// A stream that stalls may still need them.
#[test]
fn young_events_stay_young() {
    let mut world = World::in_file();
    world.config.retention = Retention { events: 1, young_milliseconds: 240_000, ..Retention::default() };
    world.reopen();
    for _ in 0..3 {
        world.workspace("ann");
    }
    jump(&mut world, 10 * 86_400);
    assert_eq!(events(&mut world).len(), 3);
    world.pass_seconds(241);
    world.maintain_all();
    assert_eq!(events(&mut world).len(), 0, "the bound counts the events of all users");
}

#[test]
fn a_rate_refills_with_the_time_that_passes() {
    for seconds in JUMPS_SECONDS {
        let mut world = World::in_file();
        world.config.event_rate = Some(Retention { bytes: 1024, ..Retention::default() }.event_rate());
        world.reopen();
        // Each has about 200 bytes, and the burst is a quarter of the journal.
        world.workspace("ann");
        world.workspace("ann");
        jump(&mut world, seconds);
        let rejection = world.rejected("ann", create_workspace("w"));
        assert!(matches!(rejection, Rejection::StateEventRate { .. }), "{seconds}: {rejection:?}");
        world.pass_seconds(300);
        world.workspace("ann");
    }
}

/// An idle process stores the age as well.
#[test]
fn the_age_grows_in_a_process_without_commands() {
    let mut world = world_that_keeps_a_week();
    world.workspace("ann");
    for _ in 0..9 {
        // The age starts with the first step.
        world.maintain_all();
        for _ in 0..5 {
            world.pass_seconds(4 * 3600);
            world.maintain_all();
        }
        world.abandon();
    }
    world.maintain_all();
    assert_eq!(events(&mut world), [0; 0]);
}

#[test]
fn numbers_and_times_grow_over_every_jump() {
    let config = StoreConfig::new(support::temporary_database());
    let mut writer = Writer::open(&config).unwrap();
    let (mut number, mut at) = (0, WallTime(0));
    for (step, seconds) in JUMPS_SECONDS.into_iter().cycle().take(12).enumerate() {
        let now = Now { wall: START.plus_seconds(seconds), mono: MonoTime(step as u64) };
        for event in writer.commit_batch(&[command("ann", create_workspace("w"))], now).events.iter() {
            assert!(event.number.0 > number && event.at > at);
            (number, at) = (event.number.0, event.at);
        }
    }
}
