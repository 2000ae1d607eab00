//! `token issue`.

use super::{add, run, verify};
use crate::common::token::now;
use crate::common::{Client, Options, Sandbox, Server};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a token has three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

#[track_caller]
fn issue(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let all: Vec<&str> = ["token", "issue"].iter().chain(arguments).copied().collect();
    let printed = run(sandbox, &all).well();
    let token = printed.strip_suffix('\n').expect("a line").to_owned();
    assert!(!token.contains(char::is_whitespace), "the output is the token: {printed:?}");
    token
}

#[test]
fn a_created_token_verifies_and_has_the_claims_of_the_user() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let ann = add(server.sandbox(), &["ann@example.com", "--name", "Ann"]);
    let table: [(&[&str], Value); 4] = [
        (&["ann@example.com"], json!({"user_id": ann, "name": "Ann", "email": "ann@example.com"})),
        (&[&ann, "--name", "Anna"], json!({"user_id": ann, "name": "Anna", "email": "ann@example.com"})),
        (&["--id", "machine", "--email", "m@x"], json!({"user_id": "machine", "name": "", "email": "m@x"})),
        (&["--id", "-"], json!({"user_id": "-", "name": "", "email": ""})),
    ];
    for (arguments, expected) in table {
        let token = issue(server.sandbox(), arguments);
        assert_eq!(verify(&mut client, &token).expect(200).json(), expected, "{arguments:?}");
    }
    let life =
        |arguments: &[&str]| claims(&issue(server.sandbox(), arguments))["exp"].as_i64().expect("a time") - now();
    assert!((23 * 3600 + 3000..=24 * 3600).contains(&life(&[&ann])));
    assert!((8783 * 3600 + 3000..=8784 * 3600).contains(&life(&[&ann, "--hours", "8784"])));
}

#[test]
fn a_created_token_is_signed_with_the_key_of_the_server() {
    // The database's own key, with issuer and audience.
    let options = Options::new().unset("JWT_SECRET_KEY").set("JWT_ISSUER", "here").set("JWT_AUDIENCE", "there");
    let options = options.set("JWT_EXPIRATION_HOURS", "2");
    let server = Server::start(options);
    let token = issue(server.sandbox(), &["user@example.com"]);
    let said = claims(&token);
    assert_eq!((&said["iss"], &said["aud"]), (&json!("here"), &json!("there")));
    assert!((3600..=7200).contains(&(said["exp"].as_i64().expect("a time") - now())));
    verify(&mut Client::new(server.addr), &token).expect(200);
}

#[test]
fn disabled_and_unknown_users_get_no_token() {
    let sandbox = Sandbox::new(Options::new());
    for (email, command) in [("a@b", &["user", "disable", "a@b"][..]), ("c@d", &["user", "delete", "c@d", "--yes"])] {
        let id = add(&sandbox, &[email]);
        issue(&sandbox, &[email]);
        run(&sandbox, command).well();
        run(&sandbox, &["token", "issue", "--id", &id]).failed(1, &id);
    }
}
