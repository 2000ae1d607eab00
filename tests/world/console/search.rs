//! The search of the console.

use super::browser::Browser;
use crate::common::{Options, Server, User};
use serde_json::json;

#[test]
fn the_search_finds_what_was_said_and_nothing_of_others() {
    const COMMON: usize = 130;
    let server = Server::start(Options::new());
    let mut ann = User::new(&server, "ann");
    let mut ben = User::new(&server, "ben");
    let pond = ann.start_conversation("Pond");
    let needle = (1..=COMMON).map(|number| match number {
        7 => ann.post_message(&pond, "needle in message 7, common"),
        _ => ann.post_message(&pond, &format!("common message {number}")),
    });
    let needle = needle.collect::<Vec<_>>().swap_remove(6);
    for content in [
        "Crème brûlée",
        "the quick turtle",
        "turtle quick",
        "markup <img class=pwned src=x onerror=pwned()> \u{e000}x\u{e001}",
    ] {
        ann.post_message(&pond, content);
    }
    let elsewhere = ben.start_conversation("Elsewhere");
    ben.post_message(&elsewhere, "secret needle, common");
    let setup = json!({"token": ann.token, "needle": needle, "common": COMMON});
    let Some(browser) = Browser::start("search.mjs", &server, setup) else { return };
    browser.ends();
}
