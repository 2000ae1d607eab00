//! Lists of the conversations API: order, pages, cursors and truncation.

use crate::common::user::{ids, text};
use crate::common::{Options, Server, UNKNOWN_ID, User, assert_error, assert_invalid, database};
use serde_json::{Value, json};

fn contents(list: &Value) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|message| text(&message["content"])).collect()
}

#[test]
fn a_long_conversation_is_read_in_pages() {
    const ADDED: u32 = 5000;
    let mut server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let id = user.start_conversation("long");
    let first = user.post_message(&id, "first");
    server.stop();
    database::add_messages(&server.database(), ADDED);
    server.restart();
    user.follow(&server);
    let last = user.post_message(&id, "last");
    let all: Vec<String> =
        ["first".to_owned()].into_iter().chain((0..ADDED).map(|n| n.to_string())).chain(["last".to_owned()]).collect();
    let path = format!("/conversations/{id}/messages");
    let page = |user: &mut User, query: &str| {
        let response = user.get(&format!("{path}?{query}")).expect(200);
        assert_eq!(response.header("X-Truncated"), None);
        let list = response.json();
        (ids(&list), contents(&list))
    };

    for limit in [1000, 317] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let (ids, contents) = page(&mut user, &format!("limit={limit}{cursor}"));
            let Some(last) = ids.last() else { break };
            assert!(ids.len() == limit || seen.len() + ids.len() == all.len());
            cursor = format!("&after={last}");
            seen.extend(contents);
        }
        assert_eq!(seen, all);
        let (mut seen, mut cursor) = (Vec::new(), last.clone());
        loop {
            let (ids, contents) = page(&mut user, &format!("limit={limit}&before={cursor}"));
            let Some(first) = ids.first() else { break };
            cursor = first.clone();
            seen.push(contents);
        }
        let seen: Vec<String> = seen.into_iter().rev().flatten().collect();
        assert_eq!(seen, all[..all.len() - 1]);
    }
    assert_eq!(page(&mut user, "").1, all[..100], "the oldest hundred come first");
    assert_eq!(page(&mut user, &format!("after={first}&limit=2")).1, ["0", "1"]);
    assert_eq!(page(&mut user, &format!("before={last}&limit=2")).1, ["4998", "4999"]);
    assert_eq!(page(&mut user, &format!("before={first}")).1, [""; 0]);
    assert_eq!(page(&mut user, &format!("after={last}")).1, [""; 0]);

    let conversation = user.get(&format!("/conversations/{id}")).expect(200).json();
    assert_eq!(conversation["message_count"], ADDED + 2);
    assert_eq!(contents(&conversation["messages"]), all[all.len() - 100..]);
    let listed = user.get("/conversations?include=messages").expect(200).json();
    assert_eq!(contents(&listed[0]["messages"]), all[all.len() - 50..]);
    assert_eq!(
        user.put(&format!("/conversations/{id}"), json!({})).expect(200).json()["messages"],
        conversation["messages"]
    );
}

#[test]
fn a_cursor_must_be_a_message_of_the_conversation() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let (id, other) = (user.start_conversation("t"), user.start_conversation("another"));
    let [a, b, c] = ["a", "b", "c"].map(|content| user.post_message(&id, content));
    let elsewhere = user.post_message(&other, "elsewhere");
    let workspace = user.create_workspace("w");
    let path = format!("/conversations/{id}/messages");
    for name in ["before", "after"] {
        for bad in ["", "x", "default", UNKNOWN_ID, &elsewhere, &id, &other, &workspace, &a[1..]] {
            assert_invalid(&user.get(&format!("{path}?{name}={bad}")), &[name]);
        }
        assert_invalid(&user.get(&format!("{path}?{name}={a}&{name}={a}")), &[name]);
        assert_invalid(&user.get(&format!("{path}?{name}=x&limit=0")), &[name, "limit"]);
        for limit in ["0", "1001", "-1", "x", ""] {
            assert_invalid(&user.get(&format!("{path}?{name}={a}&limit={limit}")), &["limit"]);
        }
        assert_error(&user.get(&format!("/conversations/{UNKNOWN_ID}/messages?{name}={a}")), 404, "not_found");
    }
    assert_invalid(&user.get(&format!("{path}?before={a}&after={a}")), &["before"]);

    // A client whose cursor message is deleted can continue.
    user.delete(&format!("{path}/{b}")).expect(200);
    let list = |user: &mut User, query: String| contents(&user.get(&format!("{path}?{query}")).expect(200).json());
    assert_eq!(list(&mut user, format!("after={b}")), ["c"]);
    assert_eq!(list(&mut user, format!("before={}", b.to_uppercase())), ["a"]);
    assert_eq!(list(&mut user, format!("after={a}")), ["c"]);
    assert_eq!(list(&mut user, format!("before={c}")), ["a"]);
}

#[test]
fn conversations_are_ordered_by_their_latest_change() {
    let server = Server::start(Options::new());
    let (mut ann, mut ben) = (User::new(&server, "ann"), User::new(&server, "ben"));
    let workspace = ben.create_workspace("ben's");
    let shared = ben.create_conversation(&workspace, "shared", &["ann"]);
    let private = ben.create_conversation(&workspace, "private", &[]);
    let mut order: Vec<String> = (0..20).map(|n| ann.start_conversation(&format!("{n}"))).collect();
    order.reverse();
    order.push(shared.clone());
    let list = |user: &mut User, query: &str| user.get(&format!("/conversations?{query}")).expect(200);
    assert_eq!(ids(&list(&mut ann, "").json()), order);
    let titled: Vec<String> = list(&mut ann, "").json().as_array().unwrap().iter().map(|c| text(&c["title"])).collect();
    assert_eq!((titled[0].as_str(), titled[20].as_str()), ("19", "shared"));

    let mut to_front = |ann: &mut User, id: &str, what: &str| {
        let at = order.iter().position(|other| other == id).expect("known");
        let id = order.remove(at);
        order.insert(0, id);
        assert_eq!(ids(&list(ann, "").json()), order, "after {what}");
    };
    let conversation = ids(&list(&mut ann, "").json())[7].clone();
    let message = ann.post_message(&conversation, "hello");
    to_front(&mut ann, &conversation, "a message");
    ben.say(&shared, "to both");
    to_front(&mut ann, &shared, "somebody else's message");
    ann.put(&format!("/conversations/{conversation}/messages/{message}"), json!({"content": "changed"})).expect(200);
    to_front(&mut ann, &conversation, "a changed message");
    ben.put(&format!("/config/conversation/{shared}"), json!({"topic": "renamed"})).expect(200);
    to_front(&mut ann, &shared, "another name");
    ann.delete(&format!("/conversations/{conversation}/messages/{message}")).expect(200);
    to_front(&mut ann, &conversation, "a deleted message");
    assert_eq!(ids(&list(&mut ben, "").json()), [shared.clone(), private.clone()]);

    for (query, from, to) in [
        ("limit=5", 0, 5),
        ("limit=5&offset=5", 5, 10),
        ("limit=1000&offset=18", 18, 21),
        ("offset=21", 21, 21),
        ("offset=9223372036854775807", 21, 21),
        ("limit=1", 0, 1),
    ] {
        let response = list(&mut ann, query);
        assert_eq!(ids(&response.json()), order[from..to], "{query}");
        assert_eq!(response.number("X-Total-Count"), 21, "{query}");
    }
    for (query, bad) in [
        ("limit=0", vec!["limit"]),
        ("limit=1001&offset=-1", vec!["limit", "offset"]),
        ("include=everything", vec!["include"]),
        ("include=", vec!["include"]),
    ] {
        assert_invalid(&ann.get(&format!("/conversations?{query}")), &bad);
    }

    // Messages are included only on request, and then the last of each conversation.
    for n in 0..60 {
        ann.post_message(&shared, &format!("{n}"));
    }
    let response = list(&mut ann, "").json();
    assert!(
        response.as_array().unwrap().iter().all(|conversation| conversation["messages"] == json!([])),
        "{response}"
    );
    assert_eq!(response[0]["message_count"], 61);
    let response = list(&mut ann, "include=messages").json();
    assert_eq!(contents(&response[0]["messages"]), (10..60).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(response[1]["messages"], json!([]));
    ann.post(&format!("/config/conversation/{shared}/leave"), json!({})).expect(200);
    assert_eq!(list(&mut ann, "").number("X-Total-Count"), 20);
    ben.delete(&format!("/config/workspace/{workspace}")).expect(200);
    assert_eq!(list(&mut ben, "").number("X-Total-Count"), 0);
    let mut nobody = User::new(&server, "never seen");
    assert_eq!(list(&mut nobody, "").expect(200).number("X-Total-Count"), 0);
}

#[test]
fn lists_are_truncated_at_eight_mebibytes() {
    const MIB: usize = 1024 * 1024;
    const BODY_BYTES_MAX: usize = 8 * MIB;
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let id = user.start_conversation("large");
    // Escaped characters are six times as long in the response.
    let fill = ["x", "x", "\u{1}", "x", "x", "\u{1}", "x", "x", "x", "x", "x", "x"];
    let said: Vec<String> = fill
        .iter()
        .enumerate()
        .map(|(n, fill)| format!("{n:02}{}", fill.repeat(if *fill == "x" { MIB - 2 } else { MIB / 4 })))
        .collect();
    let sent: Vec<String> = said.iter().map(|content| text(&user.say(&id, content)["message_id"])).collect();
    let messages = format!("/conversations/{id}/messages");

    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let response = user.get(&format!("{messages}?{cursor}")).expect(200);
        assert!(response.body.len() <= BODY_BYTES_MAX);
        let list = response.json();
        assert_eq!(response.header("X-Truncated").is_some(), seen.len() + ids(&list).len() < said.len());
        seen.extend(ids(&list));
        pages += 1;
        if response.header("X-Truncated").is_none() {
            break;
        }
        cursor = format!("after={}", seen[seen.len() - 1]);
    }
    assert_eq!((&seen, pages), (&sent, 2));
    let (mut seen, mut cursor) = (Vec::new(), sent[sent.len() - 1].clone());
    loop {
        let response = user.get(&format!("{messages}?before={cursor}")).expect(200);
        assert!(response.body.len() <= BODY_BYTES_MAX);
        let mut page = ids(&response.json());
        cursor = page[0].clone();
        page.extend(seen);
        seen = page;
        if response.header("X-Truncated").is_none() {
            break;
        }
    }
    assert_eq!(seen, sent[..sent.len() - 1]);

    // A single conversation includes the newest messages that fit; a client continues before the oldest of them.
    let path = format!("/conversations/{id}");
    let put = user.put(&path, json!({"title": "still large"})).expect(200);
    for response in [user.get(&path).expect(200), user.get("/conversations?include=messages").expect(200), put] {
        assert!(response.body.len() <= BODY_BYTES_MAX);
        assert_eq!(response.header("X-Truncated"), Some("true"));
        let body = response.json();
        let shown = ids(body.get(0).unwrap_or(&body).get("messages").expect("messages"));
        assert!(!shown.is_empty() && sent.ends_with(&shown), "{shown:?}");
    }
    let small = user.start_conversation("small");
    user.post_message(&id, "newest");
    let (mut seen, mut offset) = (Vec::new(), 0);
    while seen.len() < 2 {
        let response = user.get(&format!("/conversations?include=messages&offset={offset}")).expect(200);
        assert_eq!(response.number("X-Total-Count"), 2);
        seen.extend(ids(&response.json()));
        offset = seen.len();
    }
    assert_eq!(seen, [id, small]);
}

#[test]
fn a_user_of_thousands_of_conversations_lists_them_quickly() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let made: Vec<String> = (0..1500).map(|n| user.start_conversation(&n.to_string())).collect();
    let (mut seen, mut offset) = (Vec::new(), 0);
    while offset < made.len() {
        let response = user.get(&format!("/conversations?limit=1000&offset={offset}")).expect(200);
        assert_eq!(response.number("X-Total-Count"), 1500);
        seen.extend(ids(&response.json()));
        offset += 1000;
    }
    assert!(seen.iter().eq(made.iter().rev()));
}
