//! Restores, and their effect on clients that reconnect.

use super::{ABOUT_A_FILE, failed_with, printed, replayed};
use crate::common::database::sound_message_contents;
use crate::common::sse::Event;
use crate::common::{Options, Sandbox, Server, Stream, UNKNOWN_ID, User, database, eventually, of_sqlite_only};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::process::{Child, Stdio};

/// The largest integer that JavaScript reads exactly, `Number.MAX_SAFE_INTEGER`.
const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

fn kinds_and_contents(events: &[Event]) -> Vec<(&str, &str)> {
    events.iter().map(|event| (event.kind(), event.content())).collect()
}

#[track_caller]
fn epoch(stream: &Stream) -> String {
    stream.established.data["epoch"].as_str().expect("an epoch").to_owned()
}

#[test]
fn after_a_restore_clients_of_lost_events_get_a_gap_and_others_resume() {
    of_sqlite_only!(ABOUT_A_FILE);
    let mut server = Server::start(Options::new());
    let mut user = User::new(&server, "u");
    let first_epoch = epoch(&user.stream());
    let first = user.post("/input", json!({"content": "one"})).expect(200).number("X-Event-Id");
    let key = |user: &mut User| {
        user.request("POST", "/input").header("Idempotency-Key", "k").json(&json!({"content": "two"})).send()
    };
    let second = key(&mut user).expect(200).number("X-Event-Id");
    printed(&server.run(&["backup", "copy.db"]));
    let lost: Vec<u64> = ["lost 1", "lost 2"]
        .iter()
        .map(|content| user.post("/input", json!({"content": content})).expect(200).number("X-Event-Id"))
        .collect();

    // Rejected while the server runs, and without `--force`.
    let said = failed_with(&server.run(&["restore", "--force", "copy.db"]), 1);
    let process = format!("(process {})", server.process().id());
    assert!(said.contains(&process) && said.contains("stop the server first"), "{said}");
    server.stop();
    let said = failed_with(&server.run(&["restore", "copy.db"]), 1);
    assert!(said.contains("--force"), "{said}");
    let said = printed(&server.run(&["restore", "--force", "copy.db"]));
    let (kept, said) = said.split_once('\n').expect("the output has two lines");
    let kept = kept.split_once(": ").expect("the name of the kept file").0.to_owned();
    assert!(kept.contains("cortex.db.before-") && said.contains(&format!("events through {second},")), "{said}");

    server.restart();
    user.follow(&server);
    let stream = user.stream();
    assert_ne!(epoch(&stream), first_epoch);
    let from = stream.established.number();
    assert!(from > 1 << 40 && from < SAFE_INTEGER_MAX, "{from}");
    assert_eq!(key(&mut user).expect(200).header("Idempotent-Replayed"), Some("true"), "keys are in the backup");
    let third = user.post("/input", json!({"content": "three"})).expect(200).number("X-Event-Id");
    assert_eq!(third, from + 1);

    let gap = ("gap", "");
    type Case<'a> = (&'a str, u64, Vec<(&'a str, &'a str)>);
    let table: [Case; 9] = [
        ("everything", first - 1, vec![("input", "one"), ("input", "two"), ("input", "three")]),
        ("from before the backup", first, vec![("input", "two"), ("input", "three")]),
        ("as new as the backup", second, vec![("input", "three")]),
        ("of the lost time", lost[0], vec![gap, ("input", "three")]),
        ("the last of the lost time", lost[1], vec![gap, ("input", "three")]),
        ("in the middle of the hole", from / 2, vec![gap, ("input", "three")]),
        ("as new as the restore", from, vec![("input", "three")]),
        ("the newest", third, vec![]),
        ("beyond it", third + 1, vec![gap]),
    ];
    for (name, number, expected) in table {
        let events = replayed(&server, "u", number);
        assert_eq!(kinds_and_contents(&events), expected, "{name}");
        for event in events.iter().filter(|event| event.kind() == "gap") {
            let first_available = if number > third { third + 1 } else { from + 1 };
            assert_eq!(event.data["data"], json!({"first_available_id": first_available}), "{name}");
        }
    }
    let gaps_of_new_user = kinds_and_contents(&replayed(&server, "newcomer", lost[0])).len();
    assert_eq!(gaps_of_new_user, 1, "an unknown number is a gap for every user");
    // Live events follow the replay, with increasing numbers.
    let mut stream = user.stream_with(&format!("last_event_id={}", lost[1]));
    user.say("default", "four");
    let own = [stream.next_own(), stream.next_own()];
    assert_eq!(own.each_ref().map(Event::number), [third, third + 1]);

    // The kept file is a complete database.
    server.stop();
    printed(&server.run(&["restore", "--force", &kept]));
    server.restart();
    user.follow(&server);
    let again = user.stream().established.number();
    assert!(again > from + 2, "numbers of the replaced database are skipped");
    let events = replayed(&server, "u", second);
    assert_eq!(kinds_and_contents(&events), [("input", "lost 1"), ("input", "lost 2")]);
    assert_eq!(kinds_and_contents(&replayed(&server, "u", third)), [gap], "events before are lost");
}

#[test]
fn a_backup_is_restored_as_a_new_database() {
    of_sqlite_only!(ABOUT_A_FILE);
    let server = Server::start(Options::new().unset("JWT_SECRET_KEY"));
    let login = json!({"email": "user@example.com", "password": "password123"});
    let mut anybody = User::new(&server, "nobody");
    let response = anybody.post("/auth/login", login).expect(200).json();
    let bearer = response["access_token"].as_str().expect("a token").to_owned();
    let id = "550e8400-e29b-41d4-a716-446655440000";
    let mut user = User::with_token(&server, id, &bearer);
    let conversation = user.start_conversation("c");
    let message = user.post_message(&conversation, "hello");
    printed(&server.run(&["backup", "copy.db"]));

    let mut other = Server::start(Options::new().unset("JWT_SECRET_KEY"));
    other.stop();
    database::remove(&other.database());
    let file = server.file("copy.db");
    let file = file.to_str().expect("a path of text");
    let said = printed(&other.run(&["restore", file]));
    assert_eq!(said.lines().count(), 1, "nothing was replaced: {said}");
    other.restart();
    // The ids are the same, and in development the key as well: tokens stay valid.
    let mut user = User::with_token(&other, id, &bearer);
    let found = user.get(&format!("/conversations/{conversation}/messages/{message}")).expect(200).json();
    assert_eq!(found["content"], "hello");
    assert_eq!(user.get(&format!("/conversations/{UNKNOWN_ID}")).status, 404);
}

#[test]
fn a_restore_through_a_symlink_replaces_its_target() {
    of_sqlite_only!(ABOUT_A_FILE);
    let sandbox = Sandbox::new(Options::new().set("DATABASE_URL", "sqlite:///link.db"));
    symlink("real.db", sandbox.database().with_file_name("link.db")).expect("a link");
    let mut server = sandbox.serve();
    let mut user = User::new(&server, "u");
    user.say("default", "one");
    printed(&server.run(&["backup", "copy.db"]));
    user.say("default", "two");
    // All names of a database lead to the one lock.
    let by_name = |arguments: &[&str]| {
        server.sandbox().command().env("DATABASE_URL", "sqlite:///real.db").args(arguments).output().expect("it starts")
    };
    assert!(failed_with(&by_name(&["restore", "--force", "copy.db"]), 1).contains("stop the server first"));
    assert!(failed_with(&server.run(&["restore", "--force", "copy.db"]), 1).contains("stop the server first"));
    let backup_of_link = failed_with(&server.run(&["backup", "link.db"]), 1);
    assert!(backup_of_link.contains("already exists"), "{backup_of_link}");
    server.stop();

    let said = printed(&server.run(&["restore", "--force", "copy.db"]));
    assert!(said.starts_with("real.db.before-"), "{said}");
    assert!(fs::symlink_metadata(server.file("link.db")).expect("the link").is_symlink());
    assert_eq!(sound_message_contents(&server.file("real.db")), ["one"]);
    let kept = said.split_once(": ").expect("a name").0;
    assert_eq!(sound_message_contents(&server.file(kept)), ["one", "two"]);
    assert!(!server.file("link.db.lock").exists() && server.file("real.db.lock").exists());
}

#[test]
fn a_restore_onto_a_directory_is_rejected() {
    of_sqlite_only!(ABOUT_A_FILE);
    let server = Server::start(Options::new());
    printed(&server.run(&["backup", "copy.db"]));
    fs::create_dir(server.file("directory")).expect("a directory");
    for command in [&["restore", "--force", "copy.db"][..], &["import", "copy.db"]] {
        let url = "sqlite:///directory";
        let output = server.sandbox().command().env("DATABASE_URL", url).args(command).output().expect("it starts");
        assert!(failed_with(&output, 1).contains("directory is not a file"), "{command:?}");
    }
    assert!(fs::metadata(server.file("directory")).expect("it stays").is_dir());
    assert!(!server.file("directory.lock").exists());
    assert!(failed_with(&server.run(&["verify", "directory"]), 1).contains("it is a directory"));
}

#[test]
fn a_restore_removes_logs_of_the_replaced_database() {
    of_sqlite_only!(ABOUT_A_FILE);
    let mut server = Server::start(Options::new());
    User::new(&server, "u").say("default", "one");
    printed(&server.run(&["backup", "copy.db"]));
    server.stop();
    fs::remove_file(server.database()).expect("the database");
    for ending in ["-wal", "-journal"] {
        fs::write(server.file(&format!("cortex.db{ending}")), ending).expect("a log");
    }
    printed(&server.run(&["restore", "copy.db"]));
    let names: Vec<String> = fs::read_dir(server.file(""))
        .expect("the directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    for ending in ["-wal", "-journal"] {
        assert!(!server.file(&format!("cortex.db{ending}")).exists(), "{names:?}");
        let kept = names.iter().find(|name| name.starts_with("cortex.db.before-") && name.ends_with(ending));
        assert_eq!(fs::read_to_string(server.file(kept.expect("it is kept"))).expect("a log"), ending);
    }
    assert_eq!(sound_message_contents(&server.database()), ["one"]);
}

#[test]
fn a_restore_by_root_keeps_the_owner_of_the_directory() {
    of_sqlite_only!(ABOUT_A_FILE);
    const SERVER: u32 = 65534;
    let sandbox = Sandbox::new(Options::new());
    let directory = sandbox.database().parent().expect("a directory").to_owned();
    if chown(&directory, Some(SERVER), Some(SERVER)).is_err() {
        // Only root can change the owner of a file.
        return;
    }
    let run = |arguments: &[&str]| {
        let mut command = sandbox.command();
        let mut child =
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut input = child.stdin.take().expect("a pipe");
        // A command that reads no input may have exited.
        let _ = input.write_all(b"a good pass phrase\n");
        drop(input);
        assert!(child.wait().expect("it exits").success(), "{arguments:?}");
    };
    let owners = || -> Vec<(String, u32)> {
        let entries = fs::read_dir(&directory).expect("the directory").map(|entry| entry.expect("an entry"));
        let owner = |entry: fs::DirEntry| {
            (entry.file_name().into_string().expect("text"), entry.metadata().expect("it is there").uid())
        };
        entries.map(owner).filter(|(name, _)| name.starts_with("cortex.db")).collect()
    };
    run(&["user", "add", "ann@example.com"]);
    assert!(owners().len() > 1 && owners().iter().all(|(_, owner)| *owner == SERVER), "{:?}", owners());
    run(&["backup", "copy.db"]);
    run(&["export", "lines"]);
    for name in ["copy.db", "lines"] {
        assert_eq!(fs::metadata(directory.join(name)).expect("it is there").uid(), 0, "{name} was requested by root");
    }
    run(&["restore", "--force", "copy.db"]);
    assert!(owners().len() > 2 && owners().iter().all(|(_, owner)| *owner == SERVER), "{:?}", owners());
    for (name, _) in owners() {
        fs::remove_file(directory.join(name)).expect("a file");
    }
    run(&["import", "lines"]);
    assert!(owners().len() > 1 && owners().iter().all(|(_, owner)| *owner == SERVER), "{:?}", owners());

    // Root does not write through another user's symlink.
    fs::write(directory.join("precious"), "mine").expect("a file");
    for link in ["other.db.lock", "other.partial"] {
        symlink("precious", directory.join(link)).expect("a link");
    }
    let other = |arguments: &[&str]| {
        sandbox.command().env("DATABASE_URL", "sqlite:///other.db").args(arguments).output().expect("it starts")
    };
    assert!(failed_with(&other(&["restore", "copy.db"]), 1).contains("other.db.lock"));
    assert!(
        failed_with(&sandbox.command().args(["backup", "other"]).output().expect("it starts"), 1)
            .contains("other.partial")
    );
    assert_eq!(fs::read_to_string(directory.join("precious")).expect("a file"), "mine");
}

#[test]
fn a_command_that_waits_during_a_restore_does_not_write_to_the_replaced_database() {
    of_sqlite_only!(ABOUT_A_FILE);
    let sandbox = Sandbox::new(Options::new());
    let with_input = |arguments: &[&str]| {
        let mut command = sandbox.command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it starts")
    };
    let finish = |mut child: Child| {
        child.stdin.take().expect("a pipe").write_all(b"a good pass phrase\n").expect("it reads");
        child.wait_with_output().expect("it exits")
    };
    assert!(finish(with_input(&["user", "add", "ann@example.com"])).status.success());
    let run = |arguments: &[&str]| sandbox.command().args(arguments).output().expect("it starts");
    printed(&run(&["backup", "copy.db"]));
    let changing = with_input(&["user", "passwd", "ann@example.com"]);
    // It has the log open once it has read from the database.
    let open = || {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", changing.id())).expect("it runs");
        let mut files = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        files.any(|file| file.to_string_lossy().ends_with("cortex.db-wal"))
    };
    eventually("it opens the database", open);
    // A reader does not block the restore.
    printed(&run(&["restore", "--force", "copy.db"]));
    assert!(failed_with(&finish(changing), 1).contains("another database has taken its place"));
    assert!(finish(with_input(&["user", "passwd", "ann@example.com"])).status.success());
}

#[test]
fn an_invalid_backup_is_rejected_and_the_database_is_unchanged() {
    of_sqlite_only!(ABOUT_A_FILE);
    let mut server = Server::start(Options::new());
    User::new(&server, "u").say("default", &"hello ".repeat(5000));
    printed(&server.run(&["backup", "copy.db"]));
    server.stop();
    let good = fs::read(server.file("copy.db")).expect("a backup");
    fs::write(server.file("truncated"), &good[..good.len() / 2]).expect("a file");
    let mut damaged = good.clone();
    damaged[3 * 4096..4 * 4096].fill(0xa5);
    fs::write(server.file("damaged"), damaged).expect("a file");
    fs::write(server.file("empty"), "").expect("a file");
    fs::write(server.file("text"), "hello").expect("a file");
    let mut foreign = good.clone();
    foreign[68..72].fill(7);
    fs::write(server.file("foreign"), foreign).expect("a file");
    let mut newer = good;
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(server.file("newer"), newer).expect("a file");
    let table = [
        ("nothing", "it does not exist"),
        ("truncated", "truncated"),
        ("damaged", "damaged"),
        ("empty", "it is empty"),
        ("text", "text is not an SQLite database"),
        ("foreign", "foreign is a database of another program"),
        ("newer", "newer has schema version 99"),
    ];
    let before = fs::read(server.database()).expect("the database");
    for (name, expected) in table {
        let said = failed_with(&server.run(&["restore", "--force", name]), 1);
        assert!(said.contains(expected), "{name}: {said}");
    }
    assert!(failed_with(&server.run(&["restore"]), 2).contains("a file is missing"));
    assert_eq!(fs::read(server.database()).expect("the database"), before);
    assert!(!server.file("cortex.db.partial").exists());
    server.restart();
}
