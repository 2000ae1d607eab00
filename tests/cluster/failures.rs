//! What a server or the connection to it does in the worst moment: an acknowledged message is stored, a rejected one is not, and the
//! program recovers by itself.

use crate::common::postgres::TestServer;
use crate::common::{Options, Server, User, eventually};
use crate::proxy::{Cut, Proxy};
use serde_json::json;

/// An instance on a new database of `server`, through `port`.
fn instance(server: &TestServer, port: u16, database: &str) -> Server {
    server.create_database(database);
    Server::start(Options::new().set("DATABASE_URL", format!("postgres://postgres@127.0.0.1:{port}/{database}")))
}

fn contents(user: &mut User) -> Vec<String> {
    let messages = user.get("/conversations/default/messages?limit=1000").expect(200).json();
    let messages = messages.as_array().expect("an array").clone();
    messages.iter().map(|message| message["content"].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn the_result_of_a_command_is_true_when_the_connection_is_cut_at_its_commit() {
    let server = TestServer::shared();
    let proxy = Proxy::to(server.port());
    let instance = instance(server, proxy.port(), "cut");
    let mut user = User::new(&instance, "u");
    user.say("default", "first");
    for round in 0..3 {
        for cut in [Cut::Before, Cut::After] {
            // With warm caches, the message and the commit are in one flight.
            for _ in 0..3 {
                user.say("default", "warm");
            }
            let text = format!("message {cut:?} {round}");
            proxy.cut(&text, cut);
            let response = user.post("/input", json!({"content": text}));
            assert!(proxy.has_cut());
            let is_stored = contents(&mut user).contains(&text);
            match response.status {
                200 => assert!(is_stored, "{cut:?}: acknowledged"),
                503 => assert!(!is_stored, "{cut:?}: rejected"),
                other => panic!("{other}"),
            }
            assert!(is_stored || cut == Cut::Before, "{cut:?}");
            eventually("the instance writes again", || user.post("/input", json!({"content": "next"})).status == 200);
        }
    }
    let all = contents(&mut user);
    assert!(
        ["message After 0", "message After 1", "message After 2"].iter().all(|text| all
            .iter()
            .filter(|stored| stored == text)
            .count()
            == 1)
    );
}

#[test]
fn an_instance_recovers_from_the_crash_of_its_server() {
    let server = TestServer::start();
    let instance = instance(&server, server.port(), "crash");
    let mut user = User::new(&instance, "u");
    user.say("default", "before");
    for _ in 0..2 {
        server.kill();
        let response = user.post("/input", json!({"content": "refused"}));
        assert_eq!(response.status, 503, "{}", response.shown());
        eventually("health reports it", || user.get("/health").status == 503);
        user.get("/health/ready").expect(503);
        server.start_again();
        eventually("the instance is ready again", || user.get("/health/ready").status == 200);
        user.say("default", "after");
    }
    assert_eq!(contents(&mut user), ["before", "after", "after"]);
}

#[test]
fn a_paused_server_is_reported_and_nothing_acknowledged_is_lost() {
    let server = TestServer::start();
    let instance = instance(&server, server.port(), "pause");
    let mut user = User::new(&instance, "u");
    user.say("default", "before");
    server.pause();
    let mut other = User::new(&instance, "u");
    let response = other.post("/input", json!({"content": "late"}));
    assert_eq!(response.status, 503, "{}", response.shown());
    user.get("/health/ready").expect(503);
    server.resume();
    eventually("the instance is ready again", || user.get("/health/ready").status == 200);
    user.say("default", "after");
    let stored = contents(&mut user);
    // The outcome of the command that was rejected is unknown: it may have been stored once.
    assert!(stored == ["before", "after"] || stored == ["before", "late", "after"], "{stored:?}");
}
