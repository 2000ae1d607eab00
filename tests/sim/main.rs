//! A simulation of the whole program: real shards, the real writer and readers with the real SQL, in an environment in
//! which a seed determines everything. See `docs/architecture.md`.
//!
//! A seed that fails is tried with fewer steps and clients; `SIM_FORM` is the smallest part of its run that fails.
//! `SIM_SEEDS=100000 cargo test --test sim` runs more seeds; `SIM_SEED=17 cargo test --test sim -- --nocapture` runs
//! one with a trace of its steps; `SIM_TWICE=1` runs each twice, and compares the traces. With the feature `cluster`,
//! `CORTEX_TEST_ENGINE=postgres` runs them on a database server. `answers` and `credentials` are two smaller simulations with the same SQL: of the scheduler of answers, and of
//! tokens and tickets. `passing` is one of answers that are passed on, which need no SQL.

#[macro_use]
mod coverage;
mod fair_queue;

mod answers;
mod backend;
#[cfg(feature = "cluster")]
mod bus;
mod clients;
mod credentials;
mod database;
#[cfg(feature = "cluster")]
mod follower;
mod link;
#[cfg(feature = "cluster")]
mod live_answers;
mod model;
mod passing;
mod planted;
mod schedule;
mod session;
mod shrink;
mod sockets;
mod trace;
mod transcript;
mod world;

#[cfg(feature = "cluster")]
#[path = "../common/postgres.rs"]
mod postgres;

use coverage::Coverage;
use database::is_on_server;
use planted::Planted;
use shrink::{Form, TRIES_MAX, shrink};
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};
use trace::{Trace, run_seed};
use world::{STEPS_MAX, World};

/// With the feature, seeds have up to three instances and take longer, and the default build runs more of them.
const SEEDS_DEFAULT: u64 = if cfg!(feature = "cluster") { 200 } else { 500 };
/// As [`SEEDS_DEFAULT`], on a server.
const SEEDS_ON_SERVER: u64 = 40;
/// Seeds after which a planted mistake must have been found.
#[cfg(feature = "cluster")]
const SEEDS_TO_FIND: u64 = 500;
/// Planted mistakes whose runs are made smaller.
#[cfg(feature = "cluster")]
const SHRUNK: [Planted; 2] = [Planted::SliceLacksEvent, Planted::KeepsHead];
const THREADS: usize = 2;
/// The first seeds, which run twice.
const SEEDS_TWICE: u64 = 12;
/// Maximum duration of a step.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// The result of a run: its coverage, digest and trace, or its failure.
type Outcome = Result<((Coverage, u64), Trace), String>;

/// Runs a form of one seed; a failure includes the step.
fn run((seed, form): (u64, &Form), planted: Planted, step: &Arc<AtomicU64>, trace: Trace) -> Outcome {
    step.store(0, Relaxed);
    let outcome = caught(seed, |directory| {
        let mut world = World::new((seed, form.clone()), planted, Arc::clone(step), trace, directory);
        world.run();
        ((std::mem::take(&mut world.coverage), world.digest), std::mem::take(&mut world.trace))
    });
    outcome.map_err(|said| format!("SIM_SEED={seed} fails at step {}: {said}", step.load(Relaxed)))
}

thread_local! {
    /// Message and place of this thread's last panic.
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    /// Whether a run is in progress on this thread.
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// A panic in a run is printed once, with its seed and step.
fn keep_panics_for_later() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if RUNNING.get() {
                LAST_PANIC.with(|last| *last.borrow_mut() = info.to_string());
            } else {
                default(info);
            }
        }));
    });
}

/// Runs a world in a new directory. A panic in it is the error.
fn caught<T>(seed: u64, run: impl FnOnce(PathBuf) -> T) -> Result<T, String> {
    keep_panics_for_later();
    let directory = scratch(seed);
    RUNNING.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| run(directory.clone())));
    RUNNING.set(false);
    let _ = std::fs::remove_dir_all(&directory);
    outcome.map_err(|_| LAST_PANIC.with(|last| last.borrow().clone()))
}

/// A new directory, in memory if possible.
fn scratch(seed: u64) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let name = format!("cortex-sim-{}-{seed}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
    let path = parent.join(name);
    std::fs::create_dir_all(&path).expect("a directory can be created");
    path
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// The smallest form of a failing run, and its failure with the way to repeat it.
fn smallest(seed: u64, planted: Planted, failure: String, tries_max: usize) -> (Form, String) {
    let fails = |form: &Form| run((seed, form), planted, &Arc::default(), Trace::Dropped).err();
    let whole = failure.clone();
    let (form, failure) = shrink(STEPS_MAX, failure, tries_max, fails);
    let text = format!("{whole}\nThe smallest failing part of the run: SIM_SEED={seed} SIM_FORM={form}\n{failure}");
    (form, text)
}

/// Whether a seed runs twice, to show that it determines the run.
fn is_twice(seed: u64) -> bool {
    seed <= SEEDS_TWICE || variable("SIM_TWICE") == Some(1)
}

#[test]
fn simulated_runs_lose_nothing() {
    if let Some(seed) = variable("SIM_SEED") {
        let form = std::env::var("SIM_FORM").ok();
        let form = form.map_or(Form::whole(), |text| Form::parse(&text).expect("SIM_FORM is a form of a run"));
        if let Err(failure) = run((seed, &form), Planted::Nothing, &Arc::default(), Trace::Shown) {
            panic!("{failure}");
        }
        return;
    }
    let seeds_default = if is_on_server() { SEEDS_ON_SERVER } else { SEEDS_DEFAULT };
    let seeds = variable("SIM_SEEDS").unwrap_or(seeds_default);
    let (next, failed, whole) = (AtomicU64::new(1), AtomicBool::new(false), Form::whole());
    let total = Mutex::new(Coverage::default());
    let failures = Mutex::new(Vec::new());
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let (step, seed_now) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
                watch(&step, &seed_now);
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed > seeds || failed.load(Relaxed) {
                        break;
                    }
                    seed_now.store(seed, Relaxed);
                    match run_seed(is_twice(seed), |trace| run((seed, &whole), Planted::Nothing, &step, trace)) {
                        Ok((coverage, _)) => total.lock().expect("no panic holds it").add(&coverage),
                        Err(failure) => {
                            failed.store(true, Relaxed);
                            failures
                                .lock()
                                .expect("no panic holds it")
                                .push(smallest(seed, Planted::Nothing, failure, TRIES_MAX).1);
                        }
                    }
                }
                seed_now.store(0, Relaxed);
            });
        }
    });
    let failures = failures.into_inner().expect("no panic holds it");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let total = total.into_inner().expect("no panic holds it");
    let counts: Vec<String> = total.all().iter().map(|(name, count)| format!("{name} {count}")).collect();
    println!("simulated in {:.1} s: {}", started.elapsed().as_secs_f64(), counts.join(", "));
    if seeds >= seeds_default {
        let sessions = ["sessions_lost", "replies_lost", "crashes_in_turn"];
        // The few seeds on a server may lack these.
        let rare = [
            "ahead",
            "answers_late",
            "batches_failed",
            "notices_died",
            "notices_lacked",
            "notices_reordered",
            "notices_unsent",
            "slices_late",
        ];
        let instances = ["stops", "moves", "ahead", "crashes_unreported", "bus_failures", "pages_recent"];
        let of_instances = |name: &str| {
            let prefixes = ["slices", "notices", "answers"];
            instances.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
        };
        for (name, count) in total.all() {
            let is_possible = (is_on_server() || !sessions.contains(&name))
                && (cfg!(feature = "cluster") || !of_instances(name))
                && !(is_on_server() && rare.contains(&name));
            assert!(count > 0 || !is_possible, "no run covers {name}");
        }
    }
}

/// Ends the test if a step hangs, which causes no panic.
fn watch(step: &Arc<AtomicU64>, seed: &Arc<AtomicU64>) {
    let (step, seed) = (Arc::downgrade(step), Arc::downgrade(seed));
    thread::spawn(move || {
        let (mut last, mut since) = ((0, 0), Instant::now());
        loop {
            thread::sleep(Duration::from_millis(500));
            let (Some(step), Some(seed)) = (step.upgrade(), seed.upgrade()) else { return };
            let now = (seed.load(Relaxed), step.load(Relaxed));
            if now != last || now.0 == 0 {
                (last, since) = (now, Instant::now());
            } else if since.elapsed() > STEP_TIMEOUT {
                // Written directly to the descriptor: captured output is lost when the process ends.
                let _ = writeln!(std::io::stderr(), "SIM_SEED={} hangs at step {}", now.0, now.1);
                std::process::exit(101);
            }
        }
    });
}

#[cfg(feature = "cluster")]
#[test]
fn planted_mistakes_of_instances_are_found() {
    // The mistakes of writers are planted in those of files.
    if is_on_server() {
        return;
    }
    for planted in Planted::ALL {
        let (step, whole) = (Arc::default(), Form::whole());
        let run = |seed| Some((seed, run((seed, &whole), planted, &step, Trace::Dropped).err()?));
        let (seed, failure) = (1..=SEEDS_TO_FIND).find_map(run).unwrap_or_else(|| panic!("{planted:?} is not found"));
        if !SHRUNK.contains(&planted) {
            println!("{planted:?} is found: {failure}");
            continue;
        }
        let (form, failure) = smallest(seed, planted, failure, TRIES_MAX);
        let steps = (0..STEPS_MAX).filter(|step| form.takes(*step)).count() as u64;
        assert!(steps < STEPS_MAX / 10, "{planted:?} still needs {steps} steps");
        println!("{planted:?} is found, in {steps} steps: {failure}");
    }
}
