//! `kill -9` at random moments under posts, edits, deletions, answers and streams.

use crate::common::port::free_port;
use crate::common::publish::{Acknowledged, Publisher};
use crate::common::token::token;
use crate::common::user::text;
use crate::common::{Client, DEADLINE, Options, Response, Server, Stream, User, database};
use crate::scale::{self, fork, once_in, one_of};
use cortex_core::internals::Random;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Cycles of a normal run, and the minimum on a slow machine.
const CYCLES: u64 = 250;
const CYCLES_MIN: u64 = 30;
const SECONDS: u64 = 50;
const PUBLISHERS: usize = 3;
const STRAYS: usize = 2;
const FOLLOWERS: usize = 4;
const LAST: &str = "the end";

/// State shared by the threads.
struct Work {
    addr: SocketAddr,
    conversations: [String; 2],
    stop: AtomicBool,
    acknowledged: AtomicU64,
    newest: AtomicU64,
}

impl Work {
    fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    fn count(&self, number: u64) {
        self.acknowledged.fetch_add(1, Relaxed);
        self.newest.fetch_max(number, Relaxed);
    }

    /// Retries until there is a response; the server may be down at any moment.
    fn insist(&self, client: &mut Client, user: &str, method: &str, path: &str, body: Option<&Value>) -> Response {
        let end = Instant::now() + 2 * DEADLINE;
        loop {
            let request = client.request(method, path).token(&token(user));
            let request = if let Some(body) = body { request.json(body) } else { request };
            match request.try_send() {
                Ok(response) if response.status != 503 => return response,
                _ => thread::sleep(Duration::from_millis(3)),
            }
            assert!(Instant::now() < end, "{method} {path} gets no response");
        }
    }
}

#[test]
fn acknowledged_messages_exist_once_after_hundreds_of_kills() {
    let mut random = scale::random("kills");
    let options = Options::new().set("PORT", free_port()).set("RESPONDER", "echo").set("LOG_LEVEL", "WARNING");
    let mut server = Server::start(options);
    let names: Vec<String> = (0..PUBLISHERS).map(|n| format!("publisher{n}")).collect();
    let everybody: Vec<&str> = names.iter().map(String::as_str).chain(["stray", "reader"]).collect();
    let mut owner = User::new(&server, "owner");
    let workspace = owner.create_workspace("w");
    let conversations = ["one", "other"].map(|topic| owner.create_conversation(&workspace, topic, &everybody));
    let start = owner.get("/config/workspace").expect(200).number("X-Last-Event-Id");
    let work = Work {
        addr: server.addr,
        conversations,
        stop: AtomicBool::new(false),
        acknowledged: AtomicU64::new(0),
        newest: AtomicU64::new(0),
    };

    let (kept, strays, editor, logs, kills) = thread::scope(|scope| {
        let work = &work;
        let followers: Vec<_> = (0..FOLLOWERS)
            .map(|n| {
                let random = fork(&mut random);
                scope.spawn(move || follow(work, ["owner", "reader"][n % 2], start, random))
            })
            .collect();
        let publishers: Vec<_> = names
            .iter()
            .map(|name| {
                let random = fork(&mut random);
                scope.spawn(move || publish(work, name, random))
            })
            .collect();
        let strays: Vec<_> = (0..STRAYS).map(|n| scope.spawn(move || stray(work, n))).collect();
        let editor = {
            let random = fork(&mut random);
            scope.spawn(move || edit(work, random))
        };
        let kills = kill_often(&mut server, work, &mut random);
        work.stop.store(true, Relaxed);
        let mut kept: Vec<Acknowledged> =
            publishers.into_iter().flat_map(|thread| thread.join().expect("a publisher succeeds")).collect();
        let strays: Vec<Stray> = strays.into_iter().map(|thread| thread.join().expect("a stray succeeds")).collect();
        let editor = editor.join().expect("the editor succeeds");
        let mut last = Publisher::new(work.addr, "owner");
        kept.extend(work.conversations.iter().map(|conversation| last.post(conversation, LAST)));
        let logs: Vec<StreamLog> =
            followers.into_iter().map(|thread| thread.join().expect("a follower succeeds")).collect();
        (kept, strays, editor, logs, kills)
    });
    println!(
        "{kills} kills; {} messages kept under keys, {} acknowledged without, {} edited, {} deleted; {} connections of streams",
        kept.len(),
        strays.iter().map(|stray| stray.acknowledged.len()).sum::<usize>(),
        editor.messages.values().filter(|state| state.is_some()).count(),
        editor.messages.values().filter(|state| state.is_none()).count(),
        logs.iter().map(|log| log.connections).sum::<usize>(),
    );
    check(&work, &mut server, &kept, &strays, &editor, &logs);
}

/// Starts and kills the server repeatedly; the last process keeps running. Returns the number of kills.
fn kill_often(server: &mut Server, work: &Work, random: &mut Random) -> u64 {
    let wanted = scale::setting("CHAOS_CYCLES");
    let end = scale::ends_after(SECONDS);
    let mut kills = 0;
    loop {
        let done = match wanted {
            Some(cycles) => kills >= cycles,
            None => kills >= CYCLES_MIN && (Instant::now() >= end || (kills >= CYCLES && !scale::is_long())),
        };
        if done {
            return kills;
        }
        // Kills some processes under load, some right after they listen, and stops some gracefully under load.
        let enough = work.acknowledged.load(Relaxed) + random.below(24);
        if !once_in(random, 8) {
            wait_for(work, enough);
        }
        thread::sleep(Duration::from_micros(random.below(4000)));
        if once_in(random, 16) {
            server.process().signal(libc::SIGTERM);
            thread::sleep(Duration::from_micros(random.below(20_000)));
        }
        server.kill();
        kills += 1;
        // Kills some during the start, within recovery.
        while once_in(random, 6) {
            let mut process = server.second();
            thread::sleep(Duration::from_micros(random.below(60_000)));
            process.signal(libc::SIGKILL);
            process.wait_exit();
            kills += 1;
        }
        if kills % 40 == 0 {
            database::sound_message_contents(&server.database());
        }
        let newest = work.newest.load(Relaxed);
        server.restart();
        let shown = User::new(server, "owner").get("/config/workspace").expect(200).number("X-Last-Event-Id");
        assert!(shown >= newest, "after {kills} kills the journal goes back to {shown} from {newest}");
    }
}

fn wait_for(work: &Work, enough: u64) {
    let end = Instant::now() + 2 * DEADLINE;
    while work.acknowledged.load(Relaxed) < enough {
        assert!(Instant::now() < end, "no more messages are acknowledged");
        thread::sleep(Duration::from_micros(500));
    }
}

/// A message that shows when a part of it is missing: its name, repeated. Most are small, some larger than a database
/// page, and a few larger than many pages.
fn content(name: &str, random: &mut Random) -> String {
    let bytes = match random.below(16) {
        0 => 20_000 + random.below(60_000),
        1..4 => 3_000 + random.below(5_000),
        _ => 40 + random.below(200),
    };
    let mut text = String::new();
    while text.len() < bytes as usize {
        text.push_str(name);
        text.push(' ');
    }
    text
}

fn publish(work: &Work, name: &str, mut random: Random) -> Vec<Acknowledged> {
    let mut publisher = Publisher::new(work.addr, name);
    let mut kept = Vec::new();
    while work.goes_on() {
        let conversation = one_of(&mut random, &work.conversations);
        let said = publisher.post(conversation, &content(&format!("{name}/{}", kept.len()), &mut random));
        work.count(said.number);
        kept.push(said);
    }
    kept
}

/// Messages without a key: a client without a response does not retry.
#[derive(Default)]
struct Stray {
    sent: HashSet<String>,
    acknowledged: Vec<String>,
    /// Users whose first request is this message, which also creates their workspace and conversation.
    new_users: Vec<String>,
}

fn stray(work: &Work, n: usize) -> Stray {
    let (mut stray, mut client) = (Stray::default(), Client::new(work.addr));
    while work.goes_on() {
        let said = format!("stray/{n}/{}", stray.sent.len());
        stray.sent.insert(said.clone());
        let body = json!({"content": said, "conversation_id": work.conversations[n % 2]});
        match client.request("POST", "/input").token(&token("stray")).json(&body).try_send() {
            Ok(response) if response.status == 200 => {
                work.count(response.number("X-Event-Id"));
                stray.acknowledged.push(said);
            }
            Ok(response) => assert_eq!(response.status, 503, "{}", response.shown()),
            Err(_) => thread::sleep(Duration::from_millis(3)),
        }
        if stray.sent.len() % 8 == 0 {
            let new_user = format!("new_user{n}-{}", stray.new_users.len());
            // With or without a response, everything is stored once or not at all.
            for _ in 0..2 {
                let request = client.request("POST", "/input").token(&token(&new_user));
                let _ = request.json(&json!({"content": "hello"})).try_send();
            }
            stray.new_users.push(new_user);
        }
    }
    stray
}

/// The last state of edited messages: the content of an existing message, `None` for a deleted one.
struct Edited {
    conversation: String,
    messages: BTreeMap<String, Option<String>>,
    workspaces_deleted: Vec<String>,
}

/// Creates, changes and deletes messages and whole workspaces.
fn edit(work: &Work, mut random: Random) -> Edited {
    let mut client = Client::new(work.addr);
    let workspace = make_workspace(work, &mut client);
    let body = json!({"workspace_id": workspace, "topic": "edited"});
    let response = work.insist(&mut client, "editor", "POST", "/config/conversation", Some(&body)).expect(200);
    let conversation = text(&response.json()["conversation"]["id"]);
    let mut edited = Edited { conversation, messages: BTreeMap::new(), workspaces_deleted: Vec::new() };
    let mut publisher = Publisher::new(work.addr, "editor");
    for n in 0.. {
        if !work.goes_on() {
            break;
        }
        let said = publisher.post(&edited.conversation, &format!("first {n}"));
        work.count(said.number);
        let path = format!("/conversations/{}/messages/{}", edited.conversation, said.message_id);
        edited.messages.insert(said.message_id, Some(said.content));
        let ids: Vec<String> = edited.messages.keys().rev().take(20).cloned().collect();
        let id = one_of(&mut random, &ids).clone();
        let path = if once_in(&mut random, 2) {
            path
        } else {
            format!("/conversations/{}/messages/{id}", edited.conversation)
        };
        let id = path.rsplit('/').next().expect("a path has segments").to_owned();
        match random.below(4) {
            0 | 1 if edited.messages[&id].is_some() => {
                let changed = format!("changed {n}");
                let response = work.insist(&mut client, "editor", "PUT", &path, Some(&json!({"content": changed})));
                response.expect(200);
                edited.messages.insert(id, Some(changed));
            }
            2 => {
                let response = work.insist(&mut client, "editor", "DELETE", &path, None);
                // An earlier request whose response was lost may have deleted it.
                assert!(matches!(response.status, 200 | 404), "{}", response.shown());
                edited.messages.insert(id, None);
            }
            _ if n % 8 == 0 => {
                let workspace = make_workspace(work, &mut client);
                let body = json!({"workspace_id": workspace, "topic": "goes"});
                let response =
                    work.insist(&mut client, "editor", "POST", "/config/conversation", Some(&body)).expect(200);
                publisher.post(&text(&response.json()["conversation"]["id"]), "goes too");
                let path = format!("/config/workspace/{workspace}");
                let response = work.insist(&mut client, "editor", "DELETE", &path, None);
                assert!(matches!(response.status, 200 | 404), "{}", response.shown());
                edited.workspaces_deleted.push(workspace);
            }
            _ => {}
        }
    }
    edited
}

fn make_workspace(work: &Work, client: &mut Client) -> String {
    let body = json!({"name": "w", "description": "for a test"});
    let response = work.insist(client, "editor", "POST", "/config/workspace", Some(&body)).expect(200);
    text(&response.json()["workspace"]["id"])
}

/// The events of a stream over all its connections.
#[derive(Default)]
struct StreamLog {
    /// Number, conversation and content of every message.
    said: Vec<(u64, String, String)>,
    /// The id of the answered message and the content of every answer.
    answers: Vec<(String, String)>,
    ids: BTreeSet<String>,
    connections: usize,
}

/// Follows a user's stream across reconnects until the last message of each conversation is answered.
fn follow(work: &Work, user: &str, start: u64, mut random: Random) -> StreamLog {
    let (mut log, mut last, mut ends_left) = (StreamLog::default(), start, work.conversations.len());
    let authorization = format!("Bearer {}", token(user));
    let mut quiet_since = Instant::now();
    while ends_left > 0 {
        assert!(quiet_since.elapsed() < 3 * DEADLINE, "{user} has {} messages, and no end", log.said.len());
        let fields = [("Authorization", authorization.as_str()), ("Last-Event-ID", &last.to_string())];
        let Ok(mut stream) = Stream::try_open_with(work.addr, "", &fields) else {
            thread::sleep(Duration::from_millis(3));
            continue;
        };
        log.connections += 1;
        assert_eq!(stream.established.number(), last, "it starts at the requested number");
        // Some disconnect by themselves.
        let events_max = if once_in(&mut random, 4) { random.below(40) } else { u64::MAX };
        for _ in 0..events_max {
            let Ok(Some(event)) = stream.try_next() else { break };
            assert_ne!(event.kind(), "gap", "no event is lost: {event:?} after {last}");
            if event.is_control() || event.id.is_none() {
                continue;
            }
            assert!(event.number() > last, "once and in order: {event:?} after {last}");
            last = event.number();
            quiet_since = Instant::now();
            let (data, content) = (&event.data["data"], event.content().to_owned());
            match event.kind() {
                "input" => {
                    assert!(log.ids.insert(text(&data["message_id"])), "twice: {event:?}");
                    log.said.push((last, text(&data["conversation_id"]), content));
                }
                "output" => {
                    ends_left -= usize::from(content == LAST);
                    log.answers.push((text(&data["reply_to"]), content));
                }
                _ => panic!("an unexpected event of {user}: {event:?}"),
            }
            if ends_left == 0 {
                break;
            }
        }
    }
    log
}

fn check(
    work: &Work,
    server: &mut Server,
    kept: &[Acknowledged],
    strays: &[Stray],
    edited: &Edited,
    logs: &[StreamLog],
) {
    let mut numbers: Vec<u64> = kept.iter().map(|said| said.number).collect();
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "numbers are unique");
    let first = &logs[0];
    // All followers saw the same events, and each message was answered once.
    for log in logs {
        assert!(log.said == first.said, "all streams show the same events");
        let answered: BTreeSet<&String> = log.answers.iter().map(|(id, _)| id).collect();
        assert_eq!(answered.len(), log.answers.len(), "no message is answered twice");
        assert_eq!(answered, log.ids.iter().collect(), "every message is answered");
    }
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, _, content) in first.said.iter().filter(|(_, _, content)| content != LAST) {
        *times.entry(content).or_default() += 1;
    }
    let twice = times.iter().find(|(_, times)| **times > 1);
    assert!(twice.is_none(), "shown twice: {twice:?}");
    let shown: BTreeSet<(u64, &str)> =
        first.said.iter().map(|(number, _, content)| (*number, content.as_str())).collect();
    for said in kept {
        assert!(shown.contains(&(said.number, &said.content)), "lost: {} {:.80}", said.number, said.content);
    }
    for stray in strays {
        for content in &stray.acknowledged {
            assert!(times.contains_key(content.as_str()), "lost: {content}");
        }
    }
    for new_user in strays.iter().flat_map(|stray| &stray.new_users) {
        let workspaces = User::new(server, new_user).workspace_ids().len();
        assert!(workspaces <= 1, "{workspaces} default workspaces of {new_user}");
    }
    let known: HashSet<&str> = kept.iter().map(|said| said.content.as_str()).collect();
    let unknown = times
        .keys()
        .find(|content| !known.contains(*content) && !strays.iter().any(|stray| stray.sent.contains(**content)));
    assert!(unknown.is_none(), "an unknown message: {unknown:?}");

    // The lists show the same messages as the streams.
    let mut owner = User::new(server, "owner");
    for conversation in &work.conversations {
        let listed = messages(&mut owner, conversation);
        let of_users: Vec<&String> = listed.iter().filter(|(_, role, _)| role == "user").map(|(_, _, c)| c).collect();
        let streamed: Vec<&String> =
            first.said.iter().filter(|(_, of, _)| of == conversation).map(|(_, _, content)| content).collect();
        assert!(of_users == streamed, "{} are listed, {} were shown", of_users.len(), streamed.len());
        assert_eq!(listed.len(), 2 * of_users.len(), "one answer to each message");
    }
    let mut editor = User::new(server, "editor");
    let listed: BTreeMap<String, String> =
        messages(&mut editor, &edited.conversation).into_iter().map(|(id, _, content)| (id, content)).collect();
    for (id, content) in &edited.messages {
        assert_eq!(listed.get(id), content.as_ref(), "{id} has its last content");
    }
    for workspace in &edited.workspaces_deleted {
        editor.get(&format!("/config/workspace/{workspace}")).expect(404);
    }
    assert_eq!(server.stop().code(), Some(0));
    assert!(database::sound_message_contents(&server.database()).len() >= kept.len());
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
}

/// Id, role and content of every message of a conversation, oldest first.
fn messages(user: &mut User, conversation: &str) -> Vec<(String, String, String)> {
    let mut all: Vec<(String, String, String)> = Vec::new();
    loop {
        let after = all.last().map(|(id, _, _)| format!("&after={id}")).unwrap_or_default();
        let page = user.get(&format!("/conversations/{conversation}/messages?limit=1000{after}")).expect(200).json();
        let page = page.as_array().expect("a list");
        if page.is_empty() {
            return all;
        }
        all.extend(page.iter().map(|m| (text(&m["id"]), text(&m["role"]), text(&m["content"]))));
    }
}
