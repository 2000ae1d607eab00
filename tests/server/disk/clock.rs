//! The wall clock of the server is wrong for one commit, or from a restart on: nothing becomes older.

use super::shim::Disk;
use crate::cli::{PASSWORD, add, login, verify};
use crate::common::token::{now, token, token_with};
use crate::common::user::text;
use crate::common::{Client, Options, Response, Server, User};
use serde_json::json;

const JUMPS_SECONDS: [i32; 3] = [2 * 3600, 10 * 86_400, -2 * 3600];

/// A user whose token is valid whatever the clock says.
fn user(server: &Server, id: &str) -> User {
    User::with_token(server, id, &token_with(json!({"oid": id, "exp": now() + 100 * 86_400})))
}

fn send_once(user: &mut User) -> Response {
    user.request("POST", "/input").header("Idempotency-Key", "k").json(&json!({"content": "once"})).send().expect(200)
}

#[track_caller]
fn assert_replayed(user: &mut User, name: &str) {
    assert_eq!(send_once(user).header("idempotent-replayed"), Some("true"), "{name}");
    let stored = user.get("/conversations/default/messages").expect(200).json();
    assert_eq!(stored.as_array().map(Vec::len), Some(1), "{name}: {stored}");
}

#[test]
fn a_jump_of_the_clock_forgets_no_idempotency_key_and_no_event() {
    for seconds in JUMPS_SECONDS {
        let (disk, mut server) = Disk::with_server(1, Options::new());
        let (mut ann, mut ben) = (user(&server, "ann"), user(&server, "ben"));
        send_once(&mut ann);
        disk.set_clock(seconds);
        let is_wrong = verify(&mut Client::new(server.addr), &token("ben")).status == 401;
        assert!(is_wrong, "a token of one hour has expired, or is of the future");
        ben.say("default", "in between");
        disk.set_clock(0);
        assert_replayed(&mut ann, "after one commit");
        // A process looks for expired rows when it starts.
        for clock in [seconds, 0] {
            server.kill();
            disk.set_clock(clock);
            server.restart();
            ann.follow(&server);
            ben.follow(&server);
            ben.say("default", "after the start");
            assert_replayed(&mut ann, "after a restart");
        }
        let mut stream = ann.stream_with("last_event_id=0");
        let kinds = ["workspace_created", "conversation_created", "input"];
        for kind in kinds {
            stream.next_of(kind);
        }
    }
}

#[test]
fn a_password_that_is_changed_after_a_jump_does_not_lock_its_owner_out() {
    for seconds in JUMPS_SECONDS {
        let (disk, server) = Disk::with_server(1, Options::new());
        add(server.sandbox(), &["ann@example.com"]);
        let mut client = Client::new(server.addr);
        let token = text(&login(&mut client, "ann@example.com", PASSWORD).expect(200).json()["access_token"]);
        disk.set_clock(seconds);
        user(&server, "ben").say("default", "in between");
        disk.set_clock(0);
        let new = "another good pass phrase";
        let change = json!({"current_password": PASSWORD, "new_password": new});
        client.request("POST", "/auth/password").token(&token).json(&change).send().expect(200);
        assert_eq!(verify(&mut client, &token).status, 401, "{seconds}");
        let token = text(&login(&mut client, "ann@example.com", new).expect(200).json()["access_token"]);
        verify(&mut client, &token).expect(200);
    }
}
