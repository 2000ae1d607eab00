//! `token issue`.

use super::{add, run, verify};
use crate::common::token::now;
use crate::common::{Client, Options, Place, Server};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a token has three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

#[track_caller]
fn issue(place: &Place, arguments: &[&str]) -> String {
    let all: Vec<&str> = ["token", "issue"].iter().chain(arguments).copied().collect();
    let printed = run(place, &all).well();
    let token = printed.strip_suffix('\n').expect("a line").to_owned();
    assert!(!token.contains(char::is_whitespace), "a token and nothing else: {printed:?}");
    token
}

#[test]
fn a_token_is_good_and_says_what_is_known() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let ann = add(server.place(), &["ann@example.com", "--name", "Ann"]);
    let table: [(&[&str], Value); 4] = [
        (&["ann@example.com"], json!({"user_id": ann, "name": "Ann", "email": "ann@example.com"})),
        (&[&ann, "--name", "Anna"], json!({"user_id": ann, "name": "Anna", "email": "ann@example.com"})),
        (&["--id", "machine", "--email", "m@x"], json!({"user_id": "machine", "name": "", "email": "m@x"})),
        (&["--id", "-"], json!({"user_id": "-", "name": "", "email": ""})),
    ];
    for (arguments, expected) in table {
        let token = issue(server.place(), arguments);
        assert_eq!(verify(&mut client, &token).expect(200).json(), expected, "{arguments:?}");
    }
    let life = |arguments: &[&str]| claims(&issue(server.place(), arguments))["exp"].as_i64().expect("a time") - now();
    assert!((23 * 3600 + 3000..=24 * 3600).contains(&life(&[&ann])));
    assert!((8783 * 3600 + 3000..=8784 * 3600).contains(&life(&[&ann, "--hours", "8784"])));
}

#[test]
fn it_is_signed_as_the_server_would() {
    // The database's own key, the issuer and the audience.
    let options = Options::new().unset("JWT_SECRET_KEY").set("JWT_ISSUER", "here").set("JWT_AUDIENCE", "there");
    let options = options.set("JWT_EXPIRATION_HOURS", "2");
    let server = Server::start(options);
    let token = issue(server.place(), &["user@example.com"]);
    let said = claims(&token);
    assert_eq!((&said["iss"], &said["aud"]), (&json!("here"), &json!("there")));
    assert!((3600..=7200).contains(&(said["exp"].as_i64().expect("a time") - now())));
    verify(&mut Client::new(server.addr), &token).expect(200);
}

#[test]
fn who_is_not_let_in_gets_none() {
    let place = Place::new(Options::new());
    for (email, command) in [("a@b", &["user", "disable", "a@b"][..]), ("c@d", &["user", "delete", "c@d", "--yes"])] {
        let id = add(&place, &[email]);
        issue(&place, &[email]);
        run(&place, command).well();
        run(&place, &["token", "issue", "--id", &id]).failed(1, &id);
    }
}
