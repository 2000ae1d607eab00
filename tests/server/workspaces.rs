//! Workspaces and conversations: create, list, read, update, delete, metadata and access.

use crate::common::user::{ids, text};
use crate::common::{Client, Options, Server, UNKNOWN_ID, User, assert_error};
use serde_json::{Value, json};

#[test]
fn workspaces_are_created_listed_read_updated_and_deleted() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "owner");
    let metadata = json!({"icon": "project", "color": "#4287f5"});
    let body = json!({"name": "Project X", "description": "Development", "metadata": metadata});
    let made = user.post("/config/workspace", body).expect(200).json()["workspace"].clone();
    let path = format!("/config/workspace/{}", text(&made["id"]));
    assert_eq!(user.get(&path).expect(200).json(), json!({"workspace": made}));

    let changed = user.put(&path, json!({"name": "Project Y"})).expect(200).json();
    let expected = json!({
        "id": made["id"], "name": "Project Y", "description": "Development", "owner_id": "owner", "metadata": metadata,
    });
    assert_eq!(changed, json!({"status": "workspace updated", "workspace": expected}));
    assert_eq!(user.get(&path).expect(200).json()["workspace"], expected, "absent fields stay");
    let changed = user.put(&path, json!({"description": "Done"})).expect(200).json();
    assert_eq!(changed["workspace"]["name"], "Project Y");
    assert_eq!(changed["workspace"]["description"], "Done");

    let deleted = user.delete(&path).expect(200).json();
    assert_eq!(deleted, json!({"status": "workspace deleted", "success": true}));
    assert_error(&user.get(&path), 404, "not_found");
    assert_error(&user.put(&path, json!({"name": "x"})), 404, "not_found");
    assert_error(&user.delete(&path), 404, "not_found");
    assert_eq!(user.get("/config/workspace").expect(200).json(), json!({"workspaces": [], "total": 0}));
}

#[test]
fn conversations_are_created_listed_read_updated_and_deleted() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "owner");
    let workspace = user.create_workspace("w");
    let body = json!({
        "workspace_id": workspace, "topic": "Backend", "participant_ids": ["ann", "owner", "ann"],
        "metadata": {"icon": "code", "priority": "high"},
    });
    let made = user.post("/config/conversation", body).expect(200).json()["conversation"].clone();
    let mut participants = made["participant_ids"].as_array().expect("a list").clone();
    participants.sort_by_key(Value::to_string);
    assert_eq!(participants, [json!("ann"), json!("owner")], "duplicates collapse, and the caller is included");
    let path = format!("/config/conversation/{}", text(&made["id"]));
    assert_eq!(user.get(&path).expect(200).json(), json!({"conversation": made}));

    let changed = user.put(&path, json!({"topic": "Frontend"})).expect(200).json();
    assert_eq!(changed["status"], "conversation updated");
    assert_eq!(changed["conversation"]["topic"], "Frontend");
    assert_eq!(changed["conversation"]["participant_ids"], made["participant_ids"]);
    assert_eq!(changed["conversation"]["metadata"], made["metadata"]);
    assert_eq!(user.get(&path).expect(200).json()["conversation"], changed["conversation"]);

    let listed = user.get(&format!("/config/conversation?workspace_id={workspace}")).expect(200).json();
    assert_eq!(listed, json!({"conversations": [changed["conversation"]], "total": 1}));

    let deleted = user.delete(&path).expect(200).json();
    assert_eq!(deleted, json!({"status": "conversation deleted", "success": true}));
    assert_error(&user.get(&path), 404, "not_found");
    assert_error(&user.delete(&path), 404, "not_found");
    assert!(user.conversation_ids(&workspace).is_empty());
}

#[test]
fn metadata_merges_key_by_key_and_null_removes() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "owner");
    let workspace = user.create_workspace("w");
    let conversation = user.create_conversation(&workspace, "t", &[]);
    for (path, thing) in [
        (format!("/config/workspace/{workspace}"), "workspace"),
        (format!("/config/conversation/{conversation}"), "conversation"),
    ] {
        let mut put = |metadata: Value| {
            let changed = user.put(&path, json!({"metadata": metadata})).expect(200).json();
            assert_eq!(user.get(&path).expect(200).json()[thing], changed[thing]);
            changed[thing]["metadata"].clone()
        };
        assert_eq!(put(json!({"a": {"x": 1}, "b": 2})), json!({"a": {"x": 1}, "b": 2}));
        assert_eq!(
            put(json!({"a": {"y": 1}, "c": 3})),
            json!({"a": {"y": 1}, "b": 2, "c": 3}),
            "at the top level only"
        );
        assert_eq!(put(json!({"b": null, "absent": null})), json!({"a": {"y": 1}, "c": 3}));
        assert_eq!(put(json!({})), json!({"a": {"y": 1}, "c": 3}));
    }
}

#[test]
fn metadata_comes_back_byte_for_byte() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "owner");
    let exact = r#"{"z":1,"a":1.50,"big":123456789012345678901234567890,"e":1E+2,"u":"\u00e9\/ é","":[{},null,-0.0]}"#;
    let spaced = exact.replace("\":", "\" :\n ").replace("[{}", "[ {\t}");
    let body = format!(r#"{{"name":"w","description":"d","metadata": {spaced} }}"#);
    let made = user.request("POST", "/config/workspace").body("application/json", body).send().expect(200);
    assert!(made.text().contains(&format!(r#""metadata":{exact}"#)), "{}", made.text());
    let id = text(&made.json()["workspace"]["id"]);
    for path in [format!("/config/workspace/{id}"), "/config/workspace".into()] {
        let shown = user.get(&path).expect(200);
        assert!(shown.text().contains(exact), "{}", shown.text());
    }
    let mut stream = user.stream();
    let body = format!(r#"{{"content":"m","metadata":{spaced}}}"#);
    let posted = user.request("POST", "/input").body("application/json", body).send().expect(200);
    assert!(posted.text().contains(exact), "{}", posted.text());
    stream.next_of("input");
    assert!(String::from_utf8_lossy(&stream.raw).contains(exact), "the metadata is in the event unchanged");
}

#[test]
fn names_may_repeat_and_keep_their_spaces_and_any_character() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "owner");
    for name in ["  spaced  ", "  spaced  ", "\u{0}\u{7f}\"\\/", "日本語 🦀", "\u{202e}rtl", "a\nb"] {
        let id = user.create_workspace(name);
        assert_eq!(user.workspace(&id)["name"], name);
        let conversation = user.create_conversation(&id, name, &[]);
        assert_eq!(user.conversation(&conversation)["topic"], name);
    }
    assert_eq!(user.workspace_ids().len(), 6);
}

#[test]
fn lists_are_in_creation_order_and_paged() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "owner");
    let workspaces: Vec<String> = (0..7).map(|n| user.create_workspace(&format!("w{n}"))).collect();
    let conversations: Vec<String> =
        (0..7).map(|n| user.create_conversation(&workspaces[0], &format!("t{n}"), &[])).collect();
    let table = [
        ("", 0, 7),
        ("limit=3", 0, 3),
        ("limit=3&offset=3", 3, 6),
        ("offset=5", 5, 7),
        ("offset=7", 7, 7),
        ("limit=1000&offset=100", 7, 7),
    ];
    for (query, from, to) in table {
        let page = user.get(&format!("/config/workspace?{query}")).expect(200).json();
        assert_eq!(ids(&page["workspaces"]), workspaces[from..to], "{query}");
        assert_eq!(page["total"], 7, "{query}");
        let page = user.get(&format!("/config/conversation?workspace_id={}&{query}", workspaces[0])).expect(200).json();
        assert_eq!(ids(&page["conversations"]), conversations[from..to], "{query}");
        assert_eq!(page["total"], 7, "{query}");
    }
    assert_eq!(user.conversation_ids(&workspaces[1]), Vec::<String>::new());
}

/// `durability` tests this with kills.
#[test]
fn workspaces_and_conversations_survive_a_restart() {
    let mut server = Server::start(Options::new());
    let mut user = User::new(&server, "owner");
    let workspace = user.create_workspace("kept");
    let conversation = user.create_conversation(&workspace, "kept too", &["ann"]);
    user.put(&format!("/config/conversation/{conversation}"), json!({"metadata": {"k": "v"}})).expect(200);
    let before = (user.workspace(&workspace), user.conversation(&conversation));
    server.restart();
    user.follow(&server);
    assert_eq!((user.workspace(&workspace), user.conversation(&conversation)), before);
}

/// The oldest clients create workspaces without metadata and send messages without a conversation.
#[test]
fn metadata_and_conversation_may_be_omitted() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "old");
    let mut stream = user.stream();
    let body = json!({"name": "w", "description": "d", "color": "unknown fields are ignored"});
    let workspace = user.post("/config/workspace", body).expect(200).json()["workspace"].clone();
    assert_eq!(workspace["metadata"], json!({}));
    assert!(workspace.get("color").is_none());
    user.post("/input", json!({"content": "no conversation", "conversation_id": null})).expect(200);
    let event = stream.next_of("input");
    assert_eq!(event.content(), "no conversation");
    assert_eq!(event.data["data"]["conversation_id"], user.conversation("default")["id"], "named by its UUID");
}

#[test]
fn only_the_owner_has_access_to_a_workspace() {
    let server = Server::start(Options::new());
    let (mut owner, mut ann, mut outsider) =
        (User::new(&server, "owner"), User::new(&server, "ann"), User::new(&server, "outsider"));
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["ann"]);
    let path = format!("/config/workspace/{workspace}");
    for user in [&mut ann, &mut outsider] {
        assert_error(&user.get(&path), 403, "forbidden");
        assert_error(&user.put(&path, json!({"name": "mine"})), 403, "forbidden");
        assert_error(&user.delete(&path), 403, "forbidden");
        assert_error(&user.get(&format!("/config/conversation?workspace_id={workspace}")), 403, "forbidden");
        let body = json!({"workspace_id": workspace, "topic": "intruding"});
        assert_error(&user.post("/config/conversation", body), 403, "forbidden");
        assert!(user.workspace_ids().is_empty());
    }
    assert_eq!(owner.workspace(&workspace)["name"], "w");
    assert_eq!(owner.conversation_ids(&workspace), [conversation]);
}

#[test]
fn participants_and_the_owner_have_access_to_a_conversation() {
    let server = Server::start(Options::new());
    let (mut owner, mut ann, mut outsider) =
        (User::new(&server, "owner"), User::new(&server, "ann"), User::new(&server, "outsider"));
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["ann"]);
    let path = format!("/config/conversation/{conversation}");

    assert_error(&outsider.get(&path), 403, "forbidden");
    assert_error(&outsider.put(&path, json!({"topic": "mine"})), 403, "forbidden");
    assert_error(&outsider.put(&path, json!({"participant_ids": ["outsider"]})), 403, "forbidden");
    assert_error(&outsider.delete(&path), 403, "forbidden");
    assert_error(&outsider.post("/input", json!({"content": "hi", "conversation_id": conversation})), 403, "forbidden");

    assert_eq!(ann.get(&path).expect(200).json()["conversation"]["topic"], "t");
    ann.put(&path, json!({"topic": "renamed by a participant"})).expect(200);
    ann.say(&conversation, "hello from ann");
    assert_error(&ann.delete(&path), 403, "forbidden");

    owner.request("POST", &format!("{path}/leave")).send().expect(200);
    assert_eq!(owner.conversation(&conversation)["participant_ids"], json!(["ann"]));
    owner.say(&conversation, "the owner need not take part");
    owner.delete(&path).expect(200);
    assert_error(&ann.get(&path), 404, "not_found");
}

#[test]
fn a_participant_may_add_and_only_the_owner_removes_others() {
    let server = Server::start(Options::new());
    let (mut owner, mut ann, mut ben) =
        (User::new(&server, "owner"), User::new(&server, "ann"), User::new(&server, "ben"));
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["ann"]);
    let path = format!("/config/conversation/{conversation}");

    ann.put(&path, json!({"participant_ids": ["owner", "ann", "ben"]})).expect(200);
    ben.say(&conversation, "added");
    assert_error(&ann.put(&path, json!({"participant_ids": ["owner", "ann"]})), 403, "forbidden");
    assert_error(&ben.put(&path, json!({"participant_ids": ["ben"]})), 403, "forbidden");
    ben.say(&conversation, "still here");
    ann.put(&path, json!({"participant_ids": ["owner", "ben"]})).expect(200);
    ann.say(&conversation, "who asks stays in");

    owner.put(&path, json!({"participant_ids": ["ann"]})).expect(200);
    assert_error(&ben.get(&path), 403, "forbidden");
    let mut left: Vec<String> =
        owner.conversation(&conversation)["participant_ids"].as_array().expect("a list").iter().map(text).collect();
    left.sort();
    assert_eq!(left, ["ann", "owner"]);

    let response = ann.post(&format!("{path}/leave"), json!({})).expect(200).json();
    assert_eq!(response, json!({"status": "conversation left", "success": true}));
    assert_error(&ann.get(&path), 403, "forbidden");
}

#[test]
fn only_the_owner_names_a_responder() {
    let server = Server::start(Options::new());
    let (mut owner, mut ann) = (User::new(&server, "owner"), User::new(&server, "ann"));
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["ann"]);
    let path = format!("/config/conversation/{conversation}");
    assert_error(&ann.put(&path, json!({"metadata": {"responder": "none"}})), 403, "forbidden");
    ann.put(&path, json!({"metadata": {"colour": "red"}})).expect(200);
    assert_eq!(owner.conversation(&conversation)["metadata"], json!({"colour": "red"}));
}

#[test]
fn names_are_visible_to_users_who_share_a_conversation() {
    let server = Server::start(Options::new());
    let (mut owner, mut ann, mut outsider) =
        (User::new(&server, "owner"), User::new(&server, "ann"), User::new(&server, "outsider"));
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["ann"]);
    ann.say(&conversation, "known from now on");
    outsider.create_workspace("elsewhere");
    let response = owner.get("/users?ids=ann,outsider,nobody").expect(200).json();
    assert_eq!(response, json!({"users": [{"user_id": "ann", "name": "Name of ann"}]}));
    assert_eq!(outsider.get("/users?ids=ann,owner").expect(200).json(), json!({"users": []}));
}

/// Deleting a workspace deletes its conversations immediately, for all users.
#[test]
fn deleting_a_workspace_deletes_its_conversations() {
    let mut server = Server::start(Options::new());
    let (mut owner, mut ann) = (User::new(&server, "owner"), User::new(&server, "ann"));
    let (kept, gone) = (owner.create_workspace("kept"), owner.create_workspace("gone"));
    let stays = owner.create_conversation(&kept, "stays", &["ann"]);
    let vanishing: Vec<String> = (0..5).map(|n| owner.create_conversation(&gone, &format!("t{n}"), &["ann"])).collect();
    for conversation in &vanishing {
        ann.say(conversation, "in it");
    }
    owner.delete(&format!("/config/workspace/{gone}")).expect(200);
    for round in 0..2 {
        for conversation in &vanishing {
            let path = format!("/config/conversation/{conversation}");
            assert_error(&owner.get(&path), 404, "not_found");
            assert_error(&ann.get(&path), 404, "not_found");
            let body = json!({"content": "late", "conversation_id": conversation});
            assert_error(&ann.post("/input", body), 404, "not_found");
        }
        assert_error(&owner.get(&format!("/config/conversation?workspace_id={gone}")), 404, "not_found");
        ann.say(&stays, &format!("round {round}"));
        assert_eq!(owner.workspace_ids(), std::slice::from_ref(&kept));
        server.restart();
        owner.follow(&server);
        ann.follow(&server);
    }
}

#[test]
fn a_conversation_needs_a_workspace_that_exists() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "owner");
    let body = json!({"workspace_id": UNKNOWN_ID, "topic": "t"});
    assert_error(&user.post("/config/conversation", body), 404, "not_found");
    let gone = user.create_workspace("gone");
    user.delete(&format!("/config/workspace/{gone}")).expect(200);
    assert_error(&user.post("/config/conversation", json!({"workspace_id": gone, "topic": "t"})), 404, "not_found");
}

#[test]
fn reads_carry_the_journal_position_and_writes_their_event_number() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "owner");
    let workspace = user.create_workspace("w");
    let conversation = user.create_conversation(&workspace, "t", &[]);
    let paths = [
        "/config/workspace".to_owned(),
        format!("/config/workspace/{workspace}"),
        format!("/config/conversation?workspace_id={workspace}"),
        format!("/config/conversation/{conversation}"),
        "/users?ids=owner".to_owned(),
    ];
    let mut last = 0;
    for path in paths {
        let written = user.put(&format!("/config/workspace/{workspace}"), json!({"name": path})).expect(200);
        let number = written.number("X-Event-Id");
        assert!(number > last, "numbers increase");
        last = number;
        let position = user.get(&path).expect(200).number("X-Last-Event-Id");
        assert_eq!(position, number, "{path}");
    }
    assert_eq!(user.stream().established.number(), last);
}

/// A key may be an escaped half of a surrogate pair, which is valid JSON but not Unicode text.
#[test]
fn metadata_with_a_key_that_is_a_lone_surrogate_can_be_changed() {
    let server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let workspace = user.create_workspace("w");
    let conversation = user.create_conversation(&workspace, "t", &[]);
    let metadata = r#"{"metadata":{"\ud800":1,"v":"\udc00"}}"#;
    for path in [format!("/config/workspace/{workspace}"), format!("/config/conversation/{conversation}")] {
        user.request("PUT", &path).body("application/json", metadata).send().expect(200);
        user.put(&path, json!({"metadata": {"x": 2}})).expect(200);
        let remove = r#"{"metadata":{"\uD800":null}}"#;
        let response = user.request("PUT", &path).body("application/json", remove).send().expect(200);
        assert!(response.text().contains(r#""metadata":{"v":"\udc00","x":2}"#), "{}", response.shown());
    }
    Client::new(server.addr).request("GET", "/").send().expect(200);
}
