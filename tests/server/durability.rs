//! Acknowledged data survives a restart and a kill. `tests/chaos/kills.rs` kills under load.

use crate::common::user::text;
use crate::common::{Options, Server, User, assert_error, database};
use serde_json::json;

#[test]
fn all_data_survives_a_restart() {
    let mut server = Server::start(Options::new());
    let (mut owner, mut ann) = (User::new(&server, "owner"), User::new(&server, "ann"));
    let body = json!({"name": "kept", "description": "d", "metadata": {"k": [1, {"x": null}]}});
    let workspace = text(&owner.post("/config/workspace", body).expect(200).json()["workspace"]["id"]);
    let conversation = owner.create_conversation(&workspace, "t", &["ann"]);
    let (renamed, gone) = (owner.create_workspace("renamed"), owner.create_workspace("gone"));
    owner.put(&format!("/config/workspace/{renamed}"), json!({"name": "by another name"})).expect(200);
    owner.delete(&format!("/config/workspace/{gone}")).expect(200);
    owner.say(&conversation, "from the owner");
    ann.say(&conversation, "from ann");
    ann.say("default", "to herself");
    let last = ann.post("/input", json!({"content": "the last"})).expect(200).number("X-Event-Id");

    let look = |owner: &mut User, ann: &mut User| {
        let paths = [
            "/config/workspace".to_owned(),
            format!("/config/workspace/{workspace}"),
            format!("/config/conversation?workspace_id={workspace}"),
            format!("/config/conversation/{conversation}"),
            "/users?ids=ann".into(),
        ];
        let mut seen: Vec<String> = paths.iter().map(|path| owner.get(path).expect(200).text().to_owned()).collect();
        seen.push(ann.get("/config/conversation/default").expect(200).text().to_owned());
        seen.push(ann.get("/config/workspace").expect(200).text().to_owned());
        seen
    };
    let before = look(&mut owner, &mut ann);
    let epoch = owner.stream().established.data["epoch"].clone();
    for way in ["in good order", "by a kill", "in good order again"] {
        if way == "by a kill" {
            server.kill();
        }
        server.restart();
        owner.follow(&server);
        ann.follow(&server);
        assert_eq!(look(&mut owner, &mut ann), before, "{way}");
        assert_error(&owner.get(&format!("/config/workspace/{gone}")), 404, "not_found");
        let established = owner.stream().established;
        assert_eq!(established.number(), last, "the journal continues: {way}");
        assert_eq!(established.data["epoch"], epoch, "the epoch is unchanged: {way}");
    }
    let contents = database::sound_message_contents(&server.database());
    assert_eq!(contents, ["from the owner", "from ann", "to herself", "the last"]);
    let next = ann.post("/input", json!({"content": "after it"})).expect(200).number("X-Event-Id");
    assert!(next > last, "numbers are never reused");
}

#[test]
fn a_message_of_a_mebibyte_survives_whole() {
    let mut server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let large: String = ('!'..='~').cycle().take(1024 * 1024).collect();
    user.say("default", &large);
    server.kill();
    assert!(database::sound_message_contents(&server.database()) == [large], "every byte is stored");
    server.restart();
}
