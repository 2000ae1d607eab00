//! What the tests `eventsource` of web-platform-tests expect of a server, in Chromium and Firefox. `docs/testing.md` lists the
//! tests that apply.

use crate::clients::browser::{Browser, Kind, PageClient};
use crate::clients::cutter::{Cut, Cutter};
use crate::clients::follower::STEP_TIMEOUT;
use crate::clients::matrix::browser;
use crate::common::port::free_port;
use crate::common::token::token;
use crate::common::{Options, Server, User};
use std::path::Path;
use std::thread;

/// The checks of the page.
const CHECKS: [&str; 10] = [
    "it opens, and closes for good",
    "messages have an origin and a number",
    "named events reach their listeners alone",
    "content cannot leave its event",
    "pages of other origins may use it, with and without credentials",
    "pages of origins that are not allowed may not",
    "errors end it for good",
    "workers may use it",
    "it returns after a cut and gets each message once",
    "an answer that is over ends it for good",
];

#[test]
fn event_source_in_browsers_finds_what_web_platform_tests_expect() {
    let (Some(chromium), Some(firefox)) = (browser(Kind::Chromium), browser(Kind::Firefox)) else { return };
    thread::scope(|scope| {
        scope.spawn(|| check(Kind::Chromium, chromium));
        scope.spawn(|| check(Kind::Firefox, firefox));
    });
}

#[track_caller]
fn check(kind: Kind, program: &str) {
    let options = Options::new().set("LOG_LEVEL", "WARNING").set("RESPONDERS_ALLOWED", "echo").set("PORT", free_port());
    let server = Server::start(options);
    let cutter = Cutter::start(server.addr, 0);
    let client = PageClient {
        name: "EventSource".into(),
        module: "event_source_facts",
        is_traced: false,
        server: cutter.addr,
        token: token("reader"),
    };
    // The page imports no package.
    let (_browser, mut followers) = Browser::start(kind, Path::new(program), Path::new(""), &[client]);
    let mut passed = Vec::new();
    let mut page = followers.pop().expect("one client");
    // Browsers take a while to start on a busy machine.
    while let Some(line) = page.next_within(2 * STEP_TIMEOUT) {
        let data = &line["data"];
        assert!(data.get("failed").is_none(), "{kind:?}: {data}");
        if data["cut"] == true {
            cutter.cut(&[Cut::Data]);
        }
        passed.extend(data["check"].as_str().map(str::to_owned));
    }
    passed.sort_unstable();
    let mut wanted = CHECKS.to_vec();
    wanted.sort_unstable();
    assert_eq!(passed, wanted, "{kind:?}");
    User::new(&server, "reader").wait_until_no_streams();
}
