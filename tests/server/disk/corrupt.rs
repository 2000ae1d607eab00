//! A damaged database file: the damage is reported, no wrong data is returned, and the program does not crash.

use super::ABOUT_A_FILE;
use super::shim::with_suffix;
use crate::common::user::text;
use crate::common::{Options, Server, User, of_sqlite_only};
use serde_json::json;
use std::fs::File;
use std::os::unix::fs::FileExt;

const PAGE_BYTES: u64 = 4096;

/// Overwrites each page of the database except the first, one at a time, while the server is down.
#[test]
fn a_damaged_page_is_an_error_and_never_a_wrong_response() {
    of_sqlite_only!(ABOUT_A_FILE);
    let mut server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let workspace = user.create_workspace("w");
    let conversation = user.create_conversation(&workspace, "t", &["v"]);
    let said: Vec<String> = (0..40).map(|n| format!("{n} {}", "word ".repeat(50))).collect();
    for content in &said {
        user.say(&conversation, content);
    }
    assert_eq!(server.stop().code(), Some(0));
    let whole = std::fs::read(server.database()).expect("the database is a file");
    let pages = whole.len() as u64 / PAGE_BYTES;
    assert!(pages > 10);
    let (mut rejected, mut failed) = (0, 0);
    for page in 1..pages {
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(with_suffix(&server.database(), suffix));
        }
        std::fs::write(server.database(), &whole).expect("the whole database is put back");
        let file = File::options().write(true).open(server.database()).expect("the database is a file");
        file.write_all_at(&[0xa5; PAGE_BYTES as usize], page * PAGE_BYTES).expect("the page can be overwritten");
        let mut process = server.second();
        let Some(addr) = process.listening_or_ended() else {
            rejected += 1;
            assert_eq!(process.wait_exit().code(), Some(1), "page {page}: the start is rejected");
            continue;
        };
        let mut user = User::at(addr, "u");
        for path in [
            format!("/conversations/{conversation}/messages?limit=1000"),
            format!("/config/conversation/{conversation}"),
            "/config/workspace".to_owned(),
        ] {
            let response = user.get(&path);
            match response.status {
                // All returned messages were posted.
                200 if path.starts_with("/conversations") => {
                    let shown = response.json();
                    let contents: Vec<String> =
                        shown.as_array().expect("a list").iter().map(|message| text(&message["content"])).collect();
                    assert_eq!(contents, said, "page {page}");
                }
                200 => {}
                500 | 503 => failed += 1,
                _ => panic!("page {page}: {}", response.shown()),
            }
        }
        let response = user.post("/input", json!({"content": "more", "conversation_id": conversation}));
        assert!([200, 500, 503].contains(&response.status), "page {page}: {}", response.shown());
        user.get("/").expect(200);
        process.signal(libc::SIGKILL);
        process.wait_exit();
    }
    assert!(rejected + failed > 0, "damage to {pages} pages is not detected");
}
