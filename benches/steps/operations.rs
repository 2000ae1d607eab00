//! Every operation of the API, through a connection.

use super::data::{Database, NOW, open_with};
use super::program::{Longest, Program, Response};
use super::{Report, timed};
use cortex_core::internals::{Database as Location, MaintenanceDue, Now, Retention, StoreConfig};
use serde_json::json;
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// Rounds of each operation that are measured, after one that prepares statements and fills caches.
const ROUNDS: usize = 5;
/// No further round begins after this time.
const ROUNDS_TIME: Duration = Duration::from_secs(5);
/// Streams of other users that are open meanwhile, at most. The number of connections is bounded by a setting.
const STREAMS_MAX: u64 = 10_000;

pub fn measure(database: &Database, report: &mut Report) -> Result<(), String> {
    let (mut program, open_time, rules_time) = Program::start(database)?;
    report.add("start: open the database", "start", open_time);
    report.add("start: load the rules of tokens", "start", rules_time);
    program.maintain();
    report.add("maintenance: remove users, flush inboxes, expire responses", "writer", program.take().writer);
    for number in 1..=database.rows.min(STREAMS_MAX) {
        program.open_stream(&format!("crowd-{number}"), "");
    }
    (0..255).for_each(|number| program.open_stream(&format!("full-{number}"), ""));
    let mut measured = Measured { program, report };
    reads(database, &mut measured);
    accounts(&mut measured);
    changes(database, &mut measured);
    deletions(database, &mut measured);
    let checkpoint = measured.program.checkpoint;
    measured.report.add("a checkpoint of the log", "writer", checkpoint);
    Ok(())
}

struct Measured<'a> {
    program: Program,
    report: &'a mut Report,
}

impl Measured<'_> {
    /// Runs rounds of an operation, and reports the longest calls. `request` returns its first line and body.
    fn rounds(
        &mut self,
        name: &str,
        user: &str,
        request: impl Fn(usize) -> (String, serde_json::Value),
        mut then: impl FnMut(Response),
    ) {
        let start = Instant::now();
        let mut longest = Vec::new();
        for round in 0..=ROUNDS {
            let (line, body) = request(round);
            let body = if body.is_null() { String::new() } else { body.to_string() };
            self.program.take();
            let response = self.program.request(user, &line, &body);
            assert!(response.status < 300, "{line}: {} {}", response.status, response.body);
            if round > 0 {
                longest.push(self.program.take());
            }
            then(response);
            if round > 0 && start.elapsed() > ROUNDS_TIME {
                break;
            }
        }
        self.add(name, Longest::median(&longest));
    }

    fn get(&mut self, name: &str, user: &str, target: &str) {
        self.rounds(name, user, |_| (format!("GET {target}"), json!(null)), |_| ());
    }

    /// An operation that is possible once.
    fn once(&mut self, name: &str, user: &str, line: &str) {
        self.program.take();
        let response = self.program.request(user, line, "");
        assert!(response.status < 300, "{line}: {} {}", response.status, response.body);
        let longest = self.program.take();
        self.add(name, longest);
    }

    fn maintenance(&mut self, name: &str) {
        self.program.take();
        self.program.maintain();
        let longest = self.program.take();
        self.add(name, longest);
    }

    fn add(&mut self, name: &str, longest: Longest) {
        if !longest.event_loop.is_zero() {
            self.report.add(name, "event loop", longest.event_loop);
        }
        if !longest.writer.is_zero() {
            self.report.add(name, "writer", longest.writer);
        }
        if !longest.reader.is_zero() {
            self.report.add(name, "reader", longest.reader);
        }
    }
}

fn reads(database: &Database, measured: &mut Measured<'_>) {
    let Database { rows, wide, workspace, messages, full, .. } = database;
    for target in ["/", "/health", "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json"] {
        measured.get(&format!("GET {target}"), "ann", target);
    }
    measured.get("GET /config/workspace", "eve", "/config/workspace?limit=100");
    let target = format!("/config/workspace?limit=100&offset={}", rows / 2);
    measured.get("GET /config/workspace, from the middle", "eve", &target);
    measured.get("GET /config/workspace/{id}", "ann", &format!("/config/workspace/{}", workspace.0));
    let target = format!("/config/conversation?workspace_id={}&limit=100", wide.0);
    measured.get("GET /config/conversation", "eve", &target);
    measured.get("GET /config/conversation, from the middle", "eve", &format!("{target}&offset={}", rows / 2));
    let target = format!("/config/conversation/{}", full.0);
    measured.get("GET /config/conversation/{id}, 256 participants", "ann", &target);
    measured.get("GET /conversations", "eve", "/conversations?limit=100");
    measured.get("GET /conversations, with an offset", "eve", "/conversations?limit=100&offset=500");
    measured.get("GET /conversations/{id}", "ben", &format!("/conversations/{}", messages.0));
    let target = format!("/conversations/{}/messages?limit=100", messages.0);
    let last = RefCell::new(String::new());
    let request = |_| (format!("GET {target}"), json!(null));
    let remember = |response: Response| {
        let found = response.body.as_array().and_then(|list| list.last()).map(|message| message["id"].clone());
        *last.borrow_mut() = found.and_then(|id| id.as_str().map(str::to_owned)).expect("messages");
    };
    measured.rounds("GET /conversations/{id}/messages", "ben", request, remember);
    let last = last.into_inner();
    measured.get("GET /conversations/{id}/messages?before=", "ben", &format!("{target}&before={last}"));
    let target = format!("/conversations/{}/messages/{last}", messages.0);
    measured.get("GET /conversations/{id}/messages/{id}", "ben", &target);
    let ids: Vec<String> = (1..=255).map(|number| format!("crowd-{number}")).collect();
    measured.get("GET /users, 255 ids", "ann", &format!("/users?ids={}", ids.join(",")));
    measured.get(
        "GET /users, 255 ids, of a user in many conversations",
        "eve",
        &format!("/users?ids={}", ids.join(",")),
    );
    measured.get("GET /output/streams", "crowd-1", "/output/streams");
    measured.get("GET /output/stream", "ann", "/output/stream");
    measured.get("GET /output/stream, replay from the start", "ben", "/output/stream?last_event_id=0");
    let target = format!("/output/stream?last_event_id=0&types=workspace_created&workspace_id={}", workspace.0);
    measured.get("GET /output/stream, replay with a filter", "ann", &target);
    measured.get("GET /output/stream, of a workspace", "eve", &format!("/output/stream?workspace_id={}", wide.0));
}

fn accounts(measured: &mut Measured<'_>) {
    measured.get("GET /auth/verify", "ann", "/auth/verify");
    let post = |target: &'static str, body: serde_json::Value| move |_| (format!("POST {target}"), body.clone());
    measured.rounds("POST /auth/refresh", "ann", post("/auth/refresh", json!(null)), |_| ());
    measured.rounds("POST /auth/stream-ticket", "ann", post("/auth/stream-ticket", json!(null)), |_| ());
    let change = json!({"current_password": "a password of ann", "new_password": "another password of ann"});
    measured.rounds("POST /auth/password", "ann", post("/auth/password", change), |_| ());
}

fn changes(database: &Database, measured: &mut Measured<'_>) {
    let Database { workspace, messages, full, small, crowd, .. } = database;
    let message = json!({"content": "x".repeat(200), "conversation_id": full.0.to_string()});
    measured.rounds("POST /input, 256 participants", "ann", |_| ("POST /input".into(), message.clone()), |_| ());
    let posted = RefCell::new(Vec::new());
    let line = format!("POST /conversations/{}/messages", messages.0);
    measured.rounds(
        "POST /conversations/{id}/messages",
        "ben",
        |_| (line.clone(), json!({"content": "x"})),
        |response| posted.borrow_mut().push(response.body["id"].as_str().expect("an id").to_owned()),
    );
    let posted = posted.into_inner();
    let about = |round: usize| format!("/conversations/{}/messages/{}", messages.0, posted[round]);
    measured.rounds(
        "PUT /conversations/{id}/messages/{id}",
        "ben",
        |round| (format!("PUT {}", about(round)), json!({"content": "changed"})),
        |_| (),
    );
    measured.rounds(
        "DELETE /conversations/{id}/messages/{id}",
        "ben",
        |round| (format!("DELETE {}", about(round)), json!(null)),
        |_| (),
    );
    let create = |_| ("POST /config/workspace".into(), json!({"name": "w", "description": "d"}));
    measured.rounds("POST /config/workspace", "ann", create, |_| ());
    let line = format!("PUT /config/workspace/{}", crowd.0);
    measured.rounds("PUT /config/workspace/{id}", "ann", |_| (line.clone(), json!({"name": "changed"})), |_| ());
    let create = |round| {
        let ids: Vec<String> = (0..255).map(|number| format!("new-{round}-{number}")).collect();
        let body = json!({"workspace_id": workspace.0.to_string(), "topic": "t", "participant_ids": ids});
        ("POST /config/conversation".into(), body)
    };
    measured.rounds("POST /config/conversation, 255 new users", "ann", create, |_| ());
    let everybody: Vec<String> = (1..=255).map(|number| format!("crowd-{number}")).collect();
    let line = format!("PUT /config/conversation/{}", small.0);
    let update = |round: usize| {
        let ids = if round.is_multiple_of(2) { everybody.clone() } else { vec!["ben".to_owned()] };
        (line.clone(), json!({"topic": format!("topic {round}"), "participant_ids": ids}))
    };
    measured.rounds("PUT /config/conversation/{id}, 255 come or go", "ann", update, |_| ());
    let line = format!("POST /config/conversation/{}/leave", small.0);
    measured.program.request(
        "ann",
        &format!("PUT /config/conversation/{}", small.0),
        "{\"participant_ids\":[\"ben\"]}",
    );
    measured.once("POST /config/conversation/{id}/leave", "ben", &line);
}

fn deletions(database: &Database, measured: &mut Measured<'_>) {
    let Database { messages, former, crowd, wide, .. } = database;
    let conversation = |id| format!("DELETE /config/conversation/{id}");
    let workspace = |id| format!("DELETE /config/workspace/{id}");
    measured.once("DELETE /config/conversation/{id}, many former participants", "ann", &conversation(former.0));
    measured.maintenance("maintenance: purge events and keep tombstones");
    measured.once("DELETE /config/conversation/{id}, many messages", "ann", &conversation(messages.0));
    measured.maintenance("maintenance: purge messages");
    measured.once("DELETE /config/workspace/{id}, many participants", "ann", &workspace(crowd.0));
    measured.maintenance("maintenance: notify participants, purge their conversations");
    measured.once("DELETE /config/workspace/{id}, many conversations", "eve", &workspace(wide.0));
    measured.maintenance("maintenance: purge many conversations");
}

/// Measures the removal of all events.
pub fn measure_retention(database: &Database, report: &mut Report) -> Result<(), String> {
    let later = Now { wall: NOW.wall.plus_seconds(1_000_000), ..NOW };
    let retention = Retention { events: 0, young_milliseconds: 0, ..Retention::default() };
    let config = StoreConfig { retention, ..StoreConfig::new(Location::File(database.path.clone())) };
    let mut writer = open_with(&config);
    let mut longest = Duration::ZERO;
    loop {
        longest = longest.max(timed(|| drop(writer.maintain(later))).0);
        if !matches!(writer.maintenance_due(later), MaintenanceDue::Now | MaintenanceDue::WhenIdle) {
            break;
        }
    }
    report.add("maintenance: retention", "writer", longest);
    writer.close();
    Ok(())
}
