//! Stream tickets: a browser's `EventSource` puts one into its URL and reuses it on reconnect.

use crate::common::token::{now, token, token_with};
use crate::common::user::text;
use crate::common::{Client, Options, Server, Stream, User, assert_error};
use serde_json::json;

/// A ticket of a user whose token lives this number of seconds, and its reported lifetime.
fn ticket(server: &Server, user: &str, seconds: i64) -> (String, i64) {
    let token = token_with(json!({"oid": user, "name": "N", "iat": now(), "exp": now() + seconds}));
    let response = User::with_token(server, user, &token).post("/auth/stream-ticket", json!({})).expect(200).json();
    (text(&response["ticket"]), response["expires_in"].as_i64().expect("a number"))
}

#[test]
fn a_ticket_opens_several_streams() {
    for environment in ["development", "production"] {
        let mut server = Server::with(&[("ENV", environment)]);
        let (ticket, expires_in) = ticket(&server, "u", 3600);
        assert!((3500..=3600).contains(&expires_in), "{expires_in}");
        let mut user = User::new(&server, "u");
        let query = format!("ticket={ticket}");
        let mut first = Stream::open_with(server.addr, &query, &[]);
        assert_eq!(first.established.data["user_id"], "u");
        user.say("default", "one");
        let number = first.next_of("input").number().to_string();
        drop(first);
        user.say("default", "two");
        let mut again = Stream::open_with(server.addr, &query, &[("Last-Event-ID", &number)]);
        assert_eq!(again.next().content(), "two", "resumed with the same URL: {environment}");
        // The signing key outlives the server, and so does the ticket.
        drop(again);
        user.follow(&server);
        server.restart();
        user.follow(&server);
        let mut back = Stream::open_with(server.addr, &format!("{query}&types=input"), &[("Last-Event-ID", &number)]);
        assert_eq!(back.next().content(), "two");
        assert!(!server.log().contains(&ticket), "a ticket is as sensitive as a token, and is not logged");
    }
}

#[test]
fn a_ticket_is_accepted_for_streams_only() {
    let server = Server::with(&[]);
    let (ticket, _) = ticket(&server, "u", 3600);
    let (id, mut client) = (crate::common::UNKNOWN_ID, Client::new(server.addr));
    let everywhere = [
        ("GET", "/auth/verify".to_owned()),
        ("POST", "/auth/refresh".into()),
        ("POST", "/auth/stream-ticket".into()),
        ("POST", "/auth/password".into()),
        ("POST", "/input".into()),
        ("GET", "/output/streams".into()),
        ("POST", format!("/output/streams/{id}/renew")),
        ("GET", "/config/workspace".into()),
        ("POST", "/config/workspace".into()),
        ("DELETE", format!("/config/conversation/{id}")),
        ("GET", "/users?ids=u".into()),
    ];
    for (method, path) in &everywhere {
        let as_token = client.request(method, path).token(&ticket).send();
        assert_error(&as_token, 401, "unauthorized");
        let mark = if path.contains('?') { '&' } else { '?' };
        let in_the_query = client.request(method, &format!("{path}{mark}ticket={ticket}")).send();
        assert_error(&in_the_query, 401, "unauthorized");
    }
    // On a stream it is accepted in the query, where nothing else is.
    assert_error(&client.request("GET", "/output/stream").token(&ticket).send(), 401, "unauthorized");
    for query in [
        format!("access_token={ticket}"),
        format!("token={ticket}"),
        format!("ticket={}", token("u")),
        format!("ticket={ticket}x"),
        "ticket=".into(),
        "ticket=x.y.z".into(),
    ] {
        assert_error(&client.request("GET", &format!("/output/stream?{query}")).send(), 401, "unauthorized");
    }
    assert_error(&client.request("POST", "/auth/stream-ticket").send(), 401, "unauthorized");
}

/// A ticket and the streams that it opened expire with the token that requested it.
#[test]
fn a_ticket_expires_with_its_token() {
    let server = Server::with(&[]);
    let (ticket, expires_in) = ticket(&server, "u", 3);
    assert!((2..=3).contains(&expires_in), "{expires_in}");
    let mut stream = Stream::open_with(server.addr, &format!("ticket={ticket}"), &[]);
    let kinds: Vec<String> = stream.until_end().iter().map(|event| event.kind().to_owned()).collect();
    assert_eq!(kinds, ["token_expiring", "token_expired"]);
    // A token that has expired beyond the leeway gets no ticket.
    let ended = token_with(json!({"oid": "u", "exp": now() - 3600}));
    let rejected = Client::new(server.addr).request("POST", "/auth/stream-ticket").token(&ended).send();
    assert_error(&rejected, 401, "unauthorized");
}

/// A stream opened by a ticket is renewed with a token, like any other.
#[test]
fn a_stream_opened_by_ticket_is_renewed_with_a_token() {
    let server = Server::with(&[("HEARTBEAT_INTERVAL_SECONDS", "0.2")]);
    let (ticket, _) = ticket(&server, "u", 2);
    let end_at = now() + 3;
    let mut stream = Stream::open_with(server.addr, &format!("ticket={ticket}"), &[]);
    let renewal = format!("/output/streams/{}/renew", text(&stream.established.data["stream_id"]));
    let mut user = User::new(&server, "u");
    user.post(&renewal, json!({})).expect(200);
    while now() < end_at {
        stream.next_of("heartbeat");
    }
    user.say("default", "past its end");
    assert_eq!(stream.next_of("input").content(), "past its end");
}

/// Behind a proxy with a password, a browser sends `Authorization: Basic` with an `EventSource` too. It does not
/// replace the ticket.
#[test]
fn a_ticket_is_accepted_beside_basic_credentials_for_a_proxy() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let ticket = user.post("/auth/stream-ticket", json!({})).expect(200).json()["ticket"].clone();
    let query = format!("ticket={}", ticket.as_str().expect("a string"));
    Stream::open_with(server.addr, &query, &[("Authorization", "Basic dXNlcjpwYXNz")]);
    let mut client = Client::new(server.addr);
    let mut rejected = |path: &str, authorization: &str| {
        let response = client.request("GET", path).header("Authorization", authorization).send();
        assert_error(&response, 401, "unauthorized");
    };
    rejected("/output/stream", "Basic dXNlcjpwYXNz");
    rejected(&format!("/output/stream?{query}"), "Bearer bad");
    rejected(&format!("/auth/verify?{query}"), "Basic dXNlcjpwYXNz");
}
