//! One hostile user, and one hostile address without a token, against each limit that users share, beside a victim whose
//! requests are measured. `docs/architecture.md` has the table of these limits; a row without an attack fails, and so does an
//! attack that does not fill its limit.
//!
//! The victim's latency is counted in rounds of requests that a client of a second, quiet server completes meanwhile on the same
//! machine, and not in milliseconds.

mod attacks;
mod victim;

use crate::common::metrics::Scrape;
use crate::common::model::Model;
use crate::common::process::held_bytes;
use crate::common::{DEADLINE, Options, Server};
use crate::scale;
use attacks::{ATTACKS, Arena, Attack};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use victim::{Part, Victim};

/// Latency of the victim under attack, as a multiple of that of the quiet server's client.
const RATIO_MAX: f64 = 5.0;
/// Measurements of which the best counts.
const ATTEMPTS_MAX: usize = 8;
/// Rounds of requests of one victim.
const ROUNDS: u64 = 25;

/// The first column of the table of shared limits.
fn documented_limits() -> BTreeSet<&'static str> {
    let text = include_str!("../../../docs/architecture.md");
    let (_, section) = text.split_once("## Limits that users share").expect("the section");
    let section = section.split("\n## ").next().expect("its text");
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(2);
    rows.filter_map(|row| row.split('|').nth(1)).map(str::trim).collect()
}

#[test]
fn every_shared_limit_is_attacked() {
    let attacked: BTreeSet<&str> = ATTACKS.iter().map(|attack| attack.limit).collect();
    assert_eq!(attacked.len(), ATTACKS.len(), "each limit has one attack");
    assert_eq!(documented_limits(), attacked);
}

/// Runs each attack once. With `CHAOS_MINUTES`, the victim's part of each takes its share of that time.
#[test]
fn a_victim_does_not_notice_an_attack_on_a_shared_limit() {
    let only: Option<String> = scale::setting("CHAOS_ATTACK");
    let failures: Vec<String> = ATTACKS
        .iter()
        .filter(|attack| only.as_ref().is_none_or(|only| attack.limit == only))
        .filter_map(|attack| run(attack).err())
        .collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

/// A running server with its settings for an attack, and with a model if the victim waits for answers.
fn server(attack: &Attack, change: impl FnOnce(Options) -> Options) -> Server {
    let mut options = attack.settings.iter().fold(Options::new(), |options, (name, value)| options.set(name, value));
    if attack.victim == Part::Answer {
        let model = Model::start();
        options = options.set("RESPONDER", "openai").set("RESPONDER_URL", model.url()).set("RESPONDER_MODEL", "m");
        // A short answer of a fast model for the victim, and longer ones for the hostile user.
        thread::spawn(move || {
            while let Some(call) = model.call_within(DEADLINE) {
                thread::spawn(move || {
                    let is_hostile = !call.prompt().starts_with("round");
                    thread::sleep(Duration::from_millis(if is_hostile { 400 } else { 20 }));
                    call.answer("an answer");
                });
            }
        });
    }
    Server::start(change(options.set("LOG_LEVEL", "WARNING")))
}

/// Runs an attack. The error says what the victim noticed.
fn run(attack: &Attack) -> Result<(), String> {
    // The client of the quiet server runs without a pause.
    let unlimited = |options: Options| options.set("RATE_LIMIT_PER_SECOND", 0).set("LOGIN_RATE_LIMIT_PER_MINUTE", 0);
    let (mut attacked, quiet) = (server(attack, |options| options), server(attack, unlimited));
    let process = attacked.process().id();
    let memory_limit = attack.settings.iter().find(|(name, _)| *name == "MEMORY_LIMIT_BYTES");
    let memory_limit = memory_limit.map(|(_, bytes)| bytes.parse::<usize>().expect("a number"));
    let is_over = AtomicBool::new(false);
    let quiet_rounds = AtomicU64::new(0);
    let arena = Arena::new(attacked.addr, &is_over);
    let seconds = scale::setting::<f64>("CHAOS_MINUTES").map(|minutes| minutes * 60.0 / ATTACKS.len() as f64);
    thread::scope(|scope| {
        // The threads end when the scope's closure returns, however that is.
        let _end = EndOnDrop(&is_over);
        let mut client = Victim::new(&quiet, "quiet", attack.victim);
        let (is_over, quiet_rounds) = (&is_over, &quiet_rounds);
        scope.spawn(move || {
            while !is_over.load(Relaxed) {
                client.round();
                quiet_rounds.fetch_add(1, Relaxed);
            }
        });
        let (mut victims, mut held_max) = (0, 0);
        // Quiet rounds per round of victims, each of whom stays below the rate limit.
        let mut measure = |seconds: f64| {
            let (begin, mut quiet, mut done) = (Instant::now(), 0, 0);
            while done == 0 || begin.elapsed().as_secs_f64() < seconds {
                victims += 1;
                let mut victim = Victim::new(&attacked, &format!("victim{victims}"), attack.victim);
                let first = quiet_rounds.load(Relaxed);
                for _ in 0..ROUNDS {
                    victim.round();
                    held_max = held_max.max(held_bytes(process));
                }
                quiet += quiet_rounds.load(Relaxed) - first;
                done += ROUNDS;
            }
            quiet as f64 / done as f64
        };
        let before = measure(0.0);
        (attack.prepare)(&arena);
        for thread in 0..attack.threads {
            let arena = &arena;
            scope.spawn(move || (attack.attack)(arena, thread));
        }
        let end = Instant::now() + 2 * DEADLINE;
        while !(attack.is_felt)(&arena, &Scrape::of(&attacked)) {
            if Instant::now() > end {
                return Err(format!("{}: the attack does not fill the limit", attack.limit));
            }
            thread::sleep(Duration::from_millis(20));
        }
        // The two servers' clients are equally fast, unless the machine gives one of them less time for a while.
        let is_too_slow = |ratio: &f64| *ratio > RATIO_MAX * before.max(1.0);
        let mut during = measure(seconds.unwrap_or_default());
        for _ in 1..ATTEMPTS_MAX {
            if is_too_slow(&during) {
                during = measure(seconds.unwrap_or_default());
            }
        }
        if memory_limit.is_some_and(|limit| held_max > limit) {
            return Err(format!("{}: the server holds {held_max} bytes", attack.limit));
        }
        println!("{}: {before:.2} rounds of the quiet server per round before, {during:.2} during", attack.limit);
        if is_too_slow(&during) {
            return Err(format!("{}: {before:.2} rounds before, {during:.2} during", attack.limit));
        }
        Ok(())
    })
}

struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
