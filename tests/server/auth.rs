//! Logins, token refresh, and password changes.

use crate::common::token::{now, token, token_with};
use crate::common::user::text;
use crate::common::{Client, Options, Response, Server, User, assert_error};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

const USER_ID: &str = "550e8400-e29b-41d4-a716-446655440000";
const FORM: &str = "application/x-www-form-urlencoded";

fn login(client: &mut Client, password: &str) -> Response {
    client.request("POST", "/auth/login").json(&json!({"email": "user@example.com", "password": password})).send()
}

fn access_token(response: Response) -> String {
    text(&response.expect(200).json()["access_token"])
}

fn verify(client: &mut Client, token: &str) -> Response {
    client.request("GET", "/auth/verify").token(token).send()
}

#[test]
fn logins_are_accepted_as_form_or_json() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let bodies = [
        (FORM, "username=user@example.com&password=password123".to_owned()),
        (FORM, "grant_type=password&scope=&username=user%40example.com&password=%70assword123".into()),
        (FORM, "password=password123&username=user%40example.com".into()),
        ("application/x-www-form-urlencoded; charset=utf-8", "username=user@example.com&password=password123".into()),
        ("application/json", json!({"email": "user@example.com", "password": "password123"}).to_string()),
        ("application/json", json!({"username": "user@example.com", "password": "password123"}).to_string()),
    ];
    for (media_type, body) in bodies {
        let response = client.request("POST", "/auth/login").body(media_type, body.clone()).send();
        assert_eq!(response.status, 200, "{body}: {}", response.shown());
        assert_eq!(verify(&mut client, &access_token(response)).expect(200).json()["user_id"], USER_ID, "{body}");
    }
}

#[test]
fn a_plus_in_a_form_is_a_space() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let token = access_token(login(&mut client, "password123"));
    let body = json!({"current_password": "password123", "new_password": "three + words & more"});
    client.request("POST", "/auth/password").token(&token).json(&body).send().expect(200);
    let form = "username=user%40example.com&password=three+%2B+words+%26+more";
    client.request("POST", "/auth/login").body(FORM, form).send().expect(200);
}

#[test]
fn a_wrong_password_and_an_unknown_user_get_the_same_response() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let mut rejected_login = |email: &str, password: &str| {
        let body = json!({"email": email, "password": password});
        let response = client.request("POST", "/auth/login").json(&body).send();
        let error = assert_error(&response, 401, "unauthorized");
        assert_eq!(error["message"], "Invalid credentials");
        assert!(!response.text().contains(email) && !response.text().contains(password));
        error
    };
    let wrong = rejected_login("user@example.com", "not-the-password");
    assert_eq!(rejected_login("nobody@example.com", "not-the-password"), wrong);
    assert_eq!(rejected_login("user@example.com", "password1234"), wrong);
    assert_eq!(rejected_login("user@example.com", "PASSWORD123"), wrong);
}

#[test]
fn production_and_open_addresses_have_no_development_user() {
    for settings in [&[("ENV", "production")][..], &[("HOST", "0.0.0.0")][..]] {
        let server = Server::with(settings);
        let addr = (std::net::Ipv4Addr::LOCALHOST, server.addr.port()).into();
        assert_error(&login(&mut Client::new(addr), "password123"), 401, "unauthorized");
    }
}

#[test]
fn a_refreshed_token_is_a_token_of_the_same_user() {
    let server = Server::with(&[("JWT_EXPIRATION_HOURS", "2")]);
    let mut client = Client::new(server.addr);
    let token = access_token(login(&mut client, "password123"));
    let response = client.request("POST", "/auth/refresh").token(&token).send().expect(200);
    let body = response.json();
    assert_eq!(body["token_type"], "bearer");
    assert_eq!(body["expires_in"], 2 * 3600);
    assert_eq!(body["claims"], json!({"oid": USER_ID, "name": "Test User", "email": "user@example.com"}));
    assert_eq!(verify(&mut client, &access_token(response)).expect(200).json()["user_id"], USER_ID);

    // A user without a login here, known only by the shared secret, can refresh as well.
    let foreign =
        token_with(json!({"oid": "foreign", "name": "F", "email": "f@example.com", "exp": now() + 60, "iat": now()}));
    let fresh = access_token(client.request("POST", "/auth/refresh").token(&foreign).send());
    let expected = json!({"user_id": "foreign", "name": "F", "email": "f@example.com"});
    assert_eq!(verify(&mut client, &fresh).expect(200).json(), expected);
}

/// A token refreshed after a password change must not predate it because the clock went back.
#[test]
fn a_refreshed_token_is_never_older_than_the_one_it_comes_from() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let made = now() + 20;
    let ahead = token_with(json!({"oid": "u", "exp": made + 60, "iat": made}));
    let fresh = access_token(client.request("POST", "/auth/refresh").token(&ahead).send());
    let claims = URL_SAFE_NO_PAD.decode(fresh.split('.').nth(1).expect("a payload")).expect("base64url");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    assert!(claims["iat"].as_f64().expect("a time") >= made as f64, "{claims}");
}

#[test]
fn a_changed_password_revokes_older_tokens_of_that_user_only() {
    let mut server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let old = access_token(login(&mut client, "password123"));
    let change = |client: &mut Client, token: &str, current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        client.request("POST", "/auth/password").token(token).json(&body).send()
    };
    let wrong = change(&mut client, &old, "not-the-password", "a new pass phrase");
    assert_error(&wrong, 403, "forbidden");
    verify(&mut client, &old).expect(200);

    // Tokens have their issue time in whole seconds, so the change must come in a later second.
    let made = now();
    while now() == made {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let response = change(&mut client, &old, "password123", "a new pass phrase").expect(200);
    assert_eq!(response.json(), json!({"status": "password changed"}));
    for _ in 0..2 {
        assert_error(&verify(&mut client, &old), 401, "unauthorized");
        assert_error(&client.request("POST", "/auth/refresh").token(&old).send(), 401, "unauthorized");
        assert_error(&login(&mut client, "password123"), 401, "unauthorized");
        verify(&mut client, &token("somebody-else")).expect(200);
        let new = access_token(login(&mut client, "a new pass phrase"));
        verify(&mut client, &new).expect(200);
        // The same after a restart: the development user is not recreated.
        server.restart();
        client = Client::new(server.addr);
    }
}

#[test]
fn a_user_without_a_password_cannot_change_it() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let body = json!({"current_password": "password123", "new_password": "a new pass phrase"});
    let response = client.request("POST", "/auth/password").token(&token("by-token-only")).json(&body).send();
    assert!((400..500).contains(&response.status), "{}", response.shown());
    verify(&mut client, &token("by-token-only")).expect(200);
}

#[test]
fn a_user_has_the_name_of_the_latest_token() {
    let server = Server::start(Options::new());
    let (mut owner, mut client) = (User::new(&server, "owner"), Client::new(server.addr));
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["u"]);
    for name in ["First", "Second 🦀"] {
        let claims = json!({"oid": "u", "name": name, "email": "owner@example.com", "exp": now() + 60});
        let body = json!({"content": name, "conversation_id": conversation});
        client.request("POST", "/input").token(&token_with(claims)).json(&body).send().expect(200);
        let users = owner.get("/users?ids=u").expect(200).json();
        assert_eq!(users["users"], json!([{"user_id": "u", "name": name}]), "two users may have the same email");
    }
}

#[test]
fn the_issuer_and_the_audience_are_enforced_when_set() {
    let server = Server::with(&[("JWT_ISSUER", "the-issuer"), ("JWT_AUDIENCE", "the-audience")]);
    let mut client = Client::new(server.addr);
    let table = [
        (json!({"iss": "the-issuer", "aud": "the-audience"}), 200),
        (json!({"iss": "the-issuer", "aud": ["another", "the-audience"]}), 200),
        (json!({"iss": "the-issuer", "aud": "another"}), 401),
        (json!({"iss": "the-issuer", "aud": []}), 401),
        (json!({"iss": "another", "aud": "the-audience"}), 401),
        (json!({"iss": "the-issuer"}), 401),
        (json!({"aud": "the-audience"}), 401),
        (json!({}), 401),
    ];
    for (mut claims, status) in table {
        claims["oid"] = json!("u");
        claims["exp"] = json!(now() + 60);
        let response = verify(&mut client, &token_with(claims.clone()));
        assert_eq!(response.status, status, "{claims}: {}", response.shown());
    }
    // The server's own tokens satisfy its own rules.
    let own = access_token(login(&mut client, "password123"));
    verify(&mut client, &own).expect(200);
}

/// A token with an empty email does not change the email of a password user.
#[test]
fn a_token_without_an_email_does_not_disable_a_login() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let id = "550e8400-e29b-41d4-a716-446655440000";
    let token = token_with(json!({"oid": id, "name": "Renamed", "email": "", "exp": now() + 60}));
    User::with_token(&server, id, &token).say("default", "x");
    let credentials = json!({"username": "user@example.com", "password": "password123"});
    let login = client.request("POST", "/auth/login").json(&credentials).send().expect(200).json();
    assert_eq!(login["claims"], json!({"oid": id, "name": "Renamed", "email": "user@example.com"}));
}

#[test]
fn one_connection_serves_several_users() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let tokens = ["one", "two"].map(|user| (user, token(user)));
    for (user, token) in tokens.iter().cycle().take(6) {
        for _ in 0..2 {
            assert_eq!(verify(&mut client, token).expect(200).json()["user_id"], *user);
        }
        // Another signature, and the claims of the other user.
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let first = if signature.starts_with('A') { "B" } else { "A" };
        let forged = [format!("{signed}.{first}{}", &signature[1..]), signed.to_owned()];
        let other = tokens.iter().find(|(other, _)| other != user).expect("two users");
        let mixed = format!("{}.{signature}", other.1.rsplit_once('.').expect("three parts").0);
        for wrong in forged.iter().chain([&mixed]) {
            assert_error(&verify(&mut client, wrong), 401, "unauthorized");
        }
        assert_error(&client.request("GET", "/auth/verify").send(), 401, "unauthorized");
    }
}
