//! What was acknowledged is there: after a restart, and after any number of kills in the middle of work.

use crate::common::user::text;
use crate::common::{Client, Options, Server, User, assert_error, database, token::token};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

#[test]
fn everything_survives_a_restart() {
    let mut server = Server::start(Options::new());
    let (mut owner, mut ann) = (User::new(&server, "owner"), User::new(&server, "ann"));
    let body = json!({"name": "kept", "description": "d", "metadata": {"k": [1, {"x": null}]}});
    let workspace = text(&owner.post("/config/workspace", body).expect(200).json()["workspace"]["id"]);
    let conversation = owner.create_conversation(&workspace, "t", &["ann"]);
    let (renamed, gone) = (owner.create_workspace("renamed"), owner.create_workspace("gone"));
    owner.put(&format!("/config/workspace/{renamed}"), json!({"name": "by another name"})).expect(200);
    owner.delete(&format!("/config/workspace/{gone}")).expect(200);
    owner.say(&conversation, "from the owner");
    ann.say(&conversation, "from ann");
    ann.say("default", "to herself");
    let last = ann.post("/input", json!({"content": "the last"})).expect(200).number("X-Event-Id");

    let look = |owner: &mut User, ann: &mut User| {
        let paths = [
            "/config/workspace".to_owned(),
            format!("/config/workspace/{workspace}"),
            format!("/config/conversation?workspace_id={workspace}"),
            format!("/config/conversation/{conversation}"),
            "/users?ids=ann".into(),
        ];
        let mut seen: Vec<String> = paths.iter().map(|path| owner.get(path).expect(200).text().to_owned()).collect();
        seen.push(ann.get("/config/conversation/default").expect(200).text().to_owned());
        seen.push(ann.get("/config/workspace").expect(200).text().to_owned());
        seen
    };
    let before = look(&mut owner, &mut ann);
    let epoch = owner.stream().established.data["epoch"].clone();
    for way in ["in good order", "by a kill", "in good order again"] {
        if way == "by a kill" {
            server.kill();
        }
        server.restart();
        owner.follow(&server);
        ann.follow(&server);
        assert_eq!(look(&mut owner, &mut ann), before, "{way}");
        assert_error(&owner.get(&format!("/config/workspace/{gone}")), 404, "not_found");
        let established = owner.stream().established;
        assert_eq!(established.number(), last, "the journal goes on where it was: {way}");
        assert_eq!(established.data["epoch"], epoch, "and is the same journal: {way}");
    }
    let contents = database::sound_message_contents(&server.database());
    assert_eq!(contents, ["from the owner", "from ann", "to herself", "the last"]);
    let next = ann.post("/input", json!({"content": "after it"})).expect(200).number("X-Event-Id");
    assert!(next > last, "numbers are never used again");
}

/// A message that shows when a part of it is missing or from another: its name, over and over, to a length of its own.
fn content(name: &str, seed: u64) -> String {
    // Most are small; some are larger than a page of the database, and a few larger than many.
    let bytes = match seed % 16 {
        0 => 20_000 + (seed % 7) * 9_001,
        1..4 => 3_000 + (seed % 5) * 1_001,
        _ => 40 + seed % 200,
    };
    let mut text = String::with_capacity(bytes as usize + name.len() + 1);
    while text.len() < bytes as usize {
        text.push_str(name);
        text.push(' ');
    }
    text
}

/// What one posting thread leaves behind: what it sent, and which of that was acknowledged, with id and number.
#[derive(Default)]
struct Ledger {
    sent: HashSet<String>,
    acknowledged: HashMap<String, (String, u64)>,
}

/// Posts until the server is gone.
fn post_until_killed(addr: SocketAddr, round: usize, thread: usize, count: &AtomicU64, ledger: &Mutex<Ledger>) {
    let token = token(&format!("poster{thread}"));
    let mut client = Client::new(addr);
    for n in 0.. {
        let content = content(&format!("{round}/{thread}/{n}"), (round * 31 + thread * 17 + n) as u64);
        ledger.lock().expect("no poster panicked").sent.insert(content.clone());
        let body = json!({"content": content});
        let Ok(answer) = client.request("POST", "/input").token(&token).json(&body).try_send() else { return };
        assert_eq!(answer.status, 200, "{}", answer.shown());
        let id = text(&answer.json()["data"]["message_id"]);
        let number = answer.number("X-Event-Id");
        ledger.lock().expect("no poster panicked").acknowledged.insert(content, (id, number));
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_acknowledged_message_is_there_once_after_any_kill() {
    const ROUNDS: usize = 20;
    const POSTERS: usize = 6;
    let mut server = Server::start(Options::new());
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    for round in 0..ROUNDS {
        let count = Arc::new(AtomicU64::new(0));
        let addr = server.addr;
        let posters: Vec<_> = (0..POSTERS)
            .map(|poster| {
                let (count, ledger) = (count.clone(), ledger.clone());
                thread::spawn(move || post_until_killed(addr, round, poster, &count, &ledger))
            })
            .collect();
        // A different moment each round; in the first after hardly anything.
        let enough = 1 + (round as u64 * 13) % 90;
        while count.load(Ordering::Relaxed) < enough {
            assert!(!posters.iter().any(|poster| poster.is_finished()), "a poster ended before the kill");
            thread::sleep(Duration::from_millis(1));
        }
        server.kill();
        for poster in posters {
            poster.join().expect("a poster ends when the server is gone, and for no other reason");
        }

        check(&server, &ledger.lock().expect("no poster panicked"));
        server.restart();
        let ledger = ledger.lock().expect("no poster panicked");
        let newest = ledger.acknowledged.values().map(|(_, number)| *number).max().unwrap_or(0);
        let mut user = User::new(&server, "poster0");
        let established = user.stream().established;
        assert!(established.number() >= newest, "round {round}: the journal goes back to {}", established.number());
        assert!(user.workspace_ids().len() <= 1, "round {round}: one default workspace, whatever was cut off");
    }
}

/// Every acknowledged message once, nothing that nobody sent, and no part of anything.
fn check(server: &Server, ledger: &Ledger) {
    let stored = database::sound_message_contents(&server.database());
    let mut times: HashMap<&str, usize> = HashMap::new();
    for content in &stored {
        assert!(ledger.sent.contains(content), "nobody sent this: {:?}", content.chars().take(80).collect::<String>());
        *times.entry(content).or_default() += 1;
    }
    let twice = times.iter().find(|(_, times)| **times > 1);
    assert!(twice.is_none(), "stored more than once: {twice:?}");
    for content in ledger.acknowledged.keys() {
        assert!(times.contains_key(content.as_str()), "lost: {:?}", content.chars().take(80).collect::<String>());
    }
    let ids: HashSet<&str> = ledger.acknowledged.values().map(|(id, _)| id.as_str()).collect();
    let numbers: HashSet<u64> = ledger.acknowledged.values().map(|(_, number)| *number).collect();
    assert_eq!(ids.len(), ledger.acknowledged.len(), "an id was given twice");
    assert_eq!(numbers.len(), ledger.acknowledged.len(), "a number was given twice");
}

/// What a stream has shown is on disk: nothing is delivered before its commit.
#[test]
fn what_a_stream_has_shown_survives_a_kill() {
    let mut server = Server::start(Options::new());
    for round in 0..5 {
        let user = User::new(&server, "u");
        let mut stream = user.stream();
        let stop = Arc::new(AtomicBool::new(false));
        let addr = server.addr;
        let posters: Vec<_> = (0..3)
            .map(|poster| {
                let stop = stop.clone();
                thread::spawn(move || {
                    let mut client = Client::new(addr);
                    for n in 0.. {
                        let body: Value = json!({"content": format!("{round}/{poster}/{n}")});
                        let sent = client.request("POST", "/input").token(&token("u")).json(&body).try_send();
                        if sent.is_err() || stop.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                })
            })
            .collect();
        let mut shown: Vec<String> = (0..100).map(|_| stream.next_of("input").content().to_owned()).collect();
        server.kill();
        stop.store(true, Ordering::Relaxed);
        posters.into_iter().for_each(|poster| poster.join().expect("a poster ends"));
        // What had still reached the socket counts as shown too.
        while let Ok(Some(event)) = stream.try_next() {
            if event.kind() == "input" {
                shown.push(event.content().to_owned());
            }
        }
        let stored: HashSet<String> = database::sound_message_contents(&server.database()).into_iter().collect();
        let lost: Vec<&String> = shown.iter().filter(|content| !stored.contains(*content)).collect();
        assert!(lost.is_empty(), "shown and lost: {lost:?}");
        server.restart();
    }
}

#[test]
fn a_message_of_a_mebibyte_survives_whole() {
    let mut server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let large: String = ('!'..='~').cycle().take(1024 * 1024).collect();
    user.say("default", &large);
    server.kill();
    assert!(database::sound_message_contents(&server.database()) == [large], "every byte of it");
    server.restart();
}
