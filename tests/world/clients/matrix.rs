//! Popular clients of event streams, each against a server of its own.

use super::browser::{Browser, Kind, PageClient};
use super::faults::{Course, Limit};
use super::follower::Follower;
use crate::tools;
use std::path::Path;
use std::process::Command;
use std::thread;

/// A client that runs as a process.
struct Client {
    name: &'static str,
    /// Makes the command that starts it; `None` when these tests are skipped.
    command: fn() -> Option<Command>,
    limits: &'static [Limit],
}

const CLIENTS: &[Client] = &[
    Client { name: "curl", command: curl, limits: &[] },
    Client { name: "eventsource 2", command: || node("eventsource_2.mjs", ""), limits: EVENTSOURCE_2 },
    Client { name: "eventsource 3", command: || node("eventsource.mjs", "eventsource"), limits: &[] },
    Client { name: "eventsource 4", command: || node("eventsource.mjs", "eventsource-4"), limits: &[] },
    Client { name: "launchdarkly-eventsource", command: || node("launchdarkly_eventsource.mjs", ""), limits: &[] },
    Client { name: "httpx-sse", command: || python("follow_httpx_sse.py"), limits: &[] },
    Client { name: "requests", command: || python("follow_requests.py"), limits: &[] },
    Client { name: "sseclient-py", command: || python("follow_sseclient_py.py"), limits: &[] },
    Client { name: "sseclient", command: sseclient, limits: &[Limit::JoinsCutEvents] },
    Client {
        name: "launchdarkly-eventsource (Python)",
        command: || python("follow_launchdarkly_eventsource.py"),
        limits: &[],
    },
    Client { name: "aiohttp-sse-client", command: || python("follow_aiohttp_sse_client.py"), limits: &[] },
];

const EVENTSOURCE_2: &[Limit] = &[Limit::StoresIdsEarly, Limit::JoinsCutEvents];

/// A client in a page.
struct InPage {
    browser: Kind,
    module: &'static str,
    /// Whether the page adds the headers of tracing libraries to each request.
    is_traced: bool,
    limits: &'static [Limit],
}

impl InPage {
    const fn new(browser: Kind, module: &'static str, limits: &'static [Limit]) -> InPage {
        InPage { browser, module, is_traced: false, limits }
    }

    fn name(&self) -> String {
        format!("{}{} in {:?}", self.module, if self.is_traced { " with tracing" } else { "" }, self.browser)
    }
}

const IN_PAGES: &[InPage] = &[
    InPage::new(Kind::Chromium, "eventsource", &[]),
    InPage::new(Kind::Chromium, "event_source_polyfill", &[]),
    InPage::new(Kind::Chromium, "reconnecting_eventsource", &[]),
    InPage::new(Kind::Chromium, "fetch_event_source", &[Limit::StoresIdsEarly]),
    InPage { is_traced: true, ..InPage::new(Kind::Chromium, "fetch_event_source", &[Limit::StoresIdsEarly]) },
    InPage::new(Kind::Firefox, "eventsource", &[Limit::NeedsServer]),
    InPage::new(Kind::Firefox, "fetch_event_source", &[Limit::StoresIdsEarly]),
];

#[test]
fn clients_lose_nothing_and_show_nothing_twice() {
    let selected = CLIENTS.iter().filter(|client| is_selected(client.name));
    let runs = selected.filter_map(|client| {
        let command = (client.command)()?;
        let run = move |seed| {
            let course = Course::start(seed);
            let follower = Follower::start(command, course.addr(), &course.token());
            course.run(follower, client.limits);
        };
        Some((client.name.to_owned(), Box::new(run) as Run))
    });
    run_at_once(runs.collect());
}

#[test]
fn clients_in_browsers_lose_nothing_and_show_nothing_twice() {
    let mut runs: Vec<(String, Run)> = Vec::new();
    let mut browsers = Vec::new();
    for kind in [Kind::Chromium, Kind::Firefox] {
        let Some(program) = browser(kind) else { return };
        let Some(packages) = tools::node_packages() else { return };
        let mut courses = Vec::new();
        let mut clients = Vec::new();
        let selected = IN_PAGES.iter().filter(|client| client.browser == kind && is_selected(&client.name()));
        for client in selected {
            let course = Course::start(seed() ^ clients.len() as u64);
            clients.push(PageClient {
                name: client.name(),
                module: client.module,
                is_traced: client.is_traced,
                server: course.addr(),
                token: course.token(),
            });
            courses.push((course, client.limits));
        }
        if clients.is_empty() {
            continue;
        }
        let (browser, followers) = Browser::start(kind, Path::new(program), &packages, &clients);
        browsers.push(browser);
        for ((client, follower), (course, limits)) in clients.into_iter().zip(followers).zip(courses) {
            runs.push((client.name, Box::new(move |_| course.run(follower, limits))));
        }
    }
    run_at_once(runs);
}

/// The names of all clients, those in pages by their modules.
pub fn names() -> impl Iterator<Item = &'static str> {
    CLIENTS.iter().map(|client| client.name).chain(IN_PAGES.iter().map(|client| client.module))
}

type Run = Box<dyn FnOnce(u64) + Send>;

/// Runs all clients at once, because they mostly wait. Panics with the names of those that failed.
#[track_caller]
fn run_at_once(runs: Vec<(String, Run)>) {
    let threads: Vec<_> = runs
        .into_iter()
        .zip(0..)
        .map(|((name, run), n)| {
            let seed = seed() ^ (n << 32);
            let thread = thread::Builder::new().name(name.clone());
            (name, thread.spawn(move || run(seed)).expect("a thread starts"))
        })
        .collect();
    let mut failed = Vec::new();
    for (name, thread) in threads {
        if thread.join().is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "WORLD_SEED={}: failed: {}", seed(), failed.join(", "));
}

/// `WORLD_SEED` repeats the choices of a run.
fn seed() -> u64 {
    let default = || u64::from(std::process::id());
    std::env::var("WORLD_SEED").ok().map_or_else(default, |text| text.parse().expect("WORLD_SEED is a number"))
}

/// `WORLD_CLIENT` runs only the clients whose names contain it.
fn is_selected(name: &str) -> bool {
    std::env::var("WORLD_CLIENT").map_or(true, |wanted| name.contains(&wanted))
}

fn curl() -> Option<Command> {
    if !tools::curl() {
        return None;
    }
    let mut command = Command::new("bash");
    command.arg(script("follow_curl.sh"));
    Some(command)
}

/// Node with a module, and a package whose EventSource the module uses.
pub fn node(module: &str, event_source: &str) -> Option<Command> {
    let runner = tools::node_runner()?;
    let mut command = Command::new("node");
    command.arg(runner).args([module, event_source]);
    Some(command)
}

/// Python with a script.
pub fn python(file: &str) -> Option<Command> {
    let mut command = Command::new(tools::python(file)?);
    command.arg(script(file));
    Some(command)
}

/// sseclient and sseclient-py both have a module `sseclient`, so they are installed in different places.
fn sseclient() -> Option<Command> {
    let requirements = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/world/clients/requirements-sseclient.txt");
    let packages = tools::Packages { place: "python-sseclient", requirements, modules: "requests, sseclient" };
    let mut command = Command::new(tools::python_with("sseclient", &packages)?);
    command.arg(script("follow_sseclient.py"));
    Some(command)
}

/// The program of a browser.
pub fn browser(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Chromium => tools::chromium(),
        Kind::Firefox => tools::firefox(),
    }
}

fn script(name: &str) -> String {
    format!("{}/tests/world/clients/follow/{name}", env!("CARGO_MANIFEST_DIR"))
}
