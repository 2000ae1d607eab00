//! Concurrent clients: no errors, no delays by slow clients, and correct totals.

use crate::common::token::token;
use crate::common::user::text;
use crate::common::{Connection, Options, Server, User, database};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Barrier;
use std::thread;

#[test]
fn thirty_two_clients_work_concurrently() {
    const CLIENTS: usize = 32;
    const ROUNDS: usize = 4;
    let server = Server::with(&[("WORKERS", "4")]);
    let mut owner = User::new(&server, "owner");
    let workspace = owner.create_workspace("shared");
    let names: Vec<String> = (0..CLIENTS).map(|n| format!("client{n}")).collect();
    let participants: Vec<&str> = names.iter().map(String::as_str).collect();
    let shared = owner.create_conversation(&workspace, "shared", &participants);
    let mut stream = owner.stream();
    let start = Barrier::new(CLIENTS);
    thread::scope(|scope| {
        for name in &names {
            let (addr, shared, start) = (server.addr, &shared, &start);
            scope.spawn(move || {
                let mut user = User::at(addr, name);
                start.wait();
                for round in 0..ROUNDS {
                    one_round(&mut user, shared, round);
                }
            });
        }
    });

    // Each client keeps one workspace per round, with two conversations of four messages each, and its default
    // workspace.
    for name in &names {
        let mut user = User::new(&server, name);
        let listed = user.get("/config/workspace").expect(200).json();
        assert_eq!(listed["total"], ROUNDS + 1, "{name}");
        for workspace in listed["workspaces"].as_array().expect("a list") {
            let conversations = user.conversation_ids(&text(&workspace["id"]));
            let expected = if workspace["name"] == "Default" { 1 } else { 2 };
            assert_eq!(conversations.len(), expected, "{name}: {workspace}");
        }
    }
    // The owner has received every message of the shared conversation once, and those of each client in order.
    let mut next: HashMap<String, usize> = HashMap::new();
    for _ in 0..CLIENTS * ROUNDS {
        let event = stream.next_of("input");
        let sender = text(&event.data["user_id"]);
        let round = next.entry(sender.clone()).or_default();
        assert_eq!(event.content(), format!("{sender} in round {round}"));
        *round += 1;
    }
    owner.say(&shared, "the end");
    assert_eq!(stream.next_of("input").content(), "the end");

    let mut server = server;
    server.stop();
    assert!(!server.log().contains("database is locked"), "{}", server.log());
    let stored = database::sound_message_contents(&server.database());
    for name in &names {
        for round in 0..ROUNDS {
            for kind in ["in round", "kept in round", "default in round"] {
                let count = stored.iter().filter(|content| **content == format!("{name} {kind} {round}")).count();
                assert_eq!(count, if kind == "kept in round" { 8 } else { 1 }, "{name} {kind} {round}");
            }
        }
    }
}

fn one_round(user: &mut User, shared: &str, round: usize) {
    let name = user.id.clone();
    let (kept, gone) = (user.create_workspace("kept"), user.create_workspace("gone"));
    for (workspace, fate) in [(&kept, "kept"), (&gone, "gone")] {
        for topic in ["a", "b"] {
            let conversation = user.create_conversation(workspace, topic, &[]);
            for _ in 0..4 {
                user.say(&conversation, &format!("{name} {fate} in round {round}"));
            }
        }
        let third = user.create_conversation(workspace, "c", &[]);
        user.put(&format!("/config/conversation/{third}"), json!({"topic": "renamed"})).expect(200);
        assert_eq!(user.conversation_ids(workspace).len(), 3, "{name} sees its own writes");
        user.delete(&format!("/config/conversation/{third}")).expect(200);
        assert_eq!(user.conversation_ids(workspace).len(), 2);
    }
    user.say(shared, &format!("{name} in round {round}"));
    user.say("default", &format!("{name} default in round {round}"));
    user.put(&format!("/config/workspace/{kept}"), json!({"description": "kept", "metadata": {"round": round}}))
        .expect(200);
    user.delete(&format!("/config/workspace/{gone}")).expect(200);
    assert_eq!(user.get(&format!("/config/workspace/{gone}")).status, 404);
    assert_eq!(user.workspace_ids().len(), round + 2, "one per round and the default one");
}

#[test]
fn idle_connections_delay_no_request() {
    const IDLE: usize = 300;
    let server = Server::start(Options::new());
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut idle: Vec<Connection> = (0..IDLE).map(|_| Connection::open(server.addr)).collect();
    // A third is silent, a third starts a request, and a third stays open after a response.
    for (n, connection) in idle.iter_mut().enumerate() {
        match n % 3 {
            0 => {}
            1 => connection.send(&request[..20]),
            _ => {
                connection.send(request);
                connection.response("GET").expect(200);
            }
        }
    }
    let mut user = User::new(&server, "u");
    let mut stream = user.stream();
    for n in 0..100 {
        user.say("default", &n.to_string());
        assert_eq!(stream.next_of("input").content(), n.to_string());
    }
    for (n, connection) in idle.iter_mut().enumerate() {
        connection.send(if n % 3 == 1 { &request[20..] } else { request });
        connection.response("GET").expect(200);
    }
}

#[test]
fn a_client_that_sends_one_byte_at_a_time_delays_no_request() {
    let server = Server::with(&[("WORKERS", "1")]);
    let mut user = User::new(&server, "u");
    let body = json!({"content": "one byte at a time"}).to_string();
    let request = format!(
        "POST /input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        token("slow"),
        body.len()
    );
    let mut slow = Connection::open(server.addr);
    for (n, byte) in request.bytes().enumerate() {
        slow.send([byte]);
        // Other requests on the same event loop are served between any two bytes.
        user.say("default", &format!("message {n}"));
    }
    assert_eq!(slow.response("POST").expect(200).json()["data"]["content"], "one byte at a time");
}

/// A client that does not read its responses delays no other.
#[test]
fn a_client_that_reads_nothing_delays_no_request() {
    let server = Server::with(&[("WORKERS", "1")]);
    let mut user = User::new(&server, "u");
    let description = "x".repeat(500);
    for n in 0..200 {
        let body = json!({"name": n.to_string(), "description": description});
        user.post("/config/workspace", body).expect(200);
    }
    let stream = user.stream();
    let list = format!(
        "GET /config/workspace?limit=1000 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        token("u")
    );
    let mut deaf = Connection::open(server.addr);
    deaf.send(list.repeat(100));
    // The responses to `deaf` (about 13 MB) and the events of `stream` (about 4 MB) are not read.
    let content = "y".repeat(20_000);
    for _ in 0..200 {
        user.say("default", &content);
    }
    assert_eq!(user.get("/config/workspace").expect(200).json()["total"], 201);
    for _ in 0..100 {
        let total = deaf.response("GET").expect(200).json()["total"].clone();
        assert!([json!(200), json!(201)].contains(&total), "with or without the default workspace: {total}");
    }
    drop(stream);
}

/// Two concurrent changes of the same resource are both kept, in any order.
#[test]
fn concurrent_changes_of_one_resource_are_all_kept() {
    let server = Server::with(&[("WORKERS", "4")]);
    let mut owner = User::new(&server, "owner");
    let workspace = owner.create_workspace("w");
    let path = format!("/config/workspace/{workspace}");
    thread::scope(|scope| {
        for n in 0..8 {
            let (addr, path) = (server.addr, &path);
            scope.spawn(move || {
                let mut user = User::at(addr, "owner");
                for round in 0..20 {
                    user.put(path, json!({"metadata": {format!("key{n}-{round}"): n}})).expect(200);
                }
            });
        }
    });
    let metadata = owner.workspace(&workspace)["metadata"].clone();
    assert_eq!(metadata.as_object().map(|keys| keys.len()), Some(160), "{metadata}");
}

/// Concurrent first writes of a user create one default conversation.
#[test]
fn concurrent_first_messages_share_one_default_conversation() {
    let server = Server::with(&[("WORKERS", "4")]);
    let start = Barrier::new(16);
    thread::scope(|scope| {
        for n in 0..16 {
            let (addr, start) = (server.addr, &start);
            scope.spawn(move || {
                let mut user = User::at(addr, "newcomer");
                start.wait();
                user.say("default", &n.to_string());
            });
        }
    });
    let mut user = User::new(&server, "newcomer");
    let workspaces = user.workspace_ids();
    assert_eq!(workspaces.len(), 1);
    assert_eq!(user.conversation_ids(&workspaces[0]).len(), 1);
}
