//! Every route and method with another user's ids, unknown ids and invalid tokens: no byte of another user's data, and
//! no difference where `docs/api.md` defines none.
//!
//! A new route needs rows in `probes`; otherwise a test fails.

use crate::common::token::{now, signed, token_with};
use crate::common::user::text;
use crate::common::{Client, Options, Response, Server, Stream, UNKNOWN_ID, User, assert_error, database};
use cortex_core::internals::{Access, Method, ROUTES};
use serde_json::json;

/// Part of all of Ann's data, and of nothing else.
const SECRET: &str = "secret";
/// Methods of routes, and one that no route has.
const METHODS: [Method; 5] = [Method::Get, Method::Post, Method::Put, Method::Delete, Method::Patch];

/// The rule of `docs/api.md` for another user's resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// `403` if the resource exists and `404` if not.
    Forbidden,
    /// `404` in both cases, indistinguishable.
    Hidden,
    /// `409` in both cases, as for a closed stream, indistinguishable.
    Ended,
    /// The request is about the caller's own resources; other users' data has no effect.
    Own,
}
use Rule::{Ended, Forbidden, Hidden, Own};

/// A rule, a target and a body, in which `{w}` `{c}` `{m}` `{s}` `{u}` stand for the ids of a workspace, a
/// conversation, a message, a stream and a user. An empty string means no body.
type Probe = (Rule, &'static str, &'static str);

/// The probes of a route; `None` for a route without any.
fn probes(method: Method, pattern: &str) -> Option<&'static [Probe]> {
    use Method::{Delete, Get, Post, Put};
    Some(match (method, pattern) {
        (Post, "/input") => &[(Forbidden, "/input", r#"{"content":"x","conversation_id":"{c}"}"#)],
        // Without a filter it opens and reveals nothing; `isolation` and `streams` test that.
        (Get, "/output/stream") => &[
            (Forbidden, "/output/stream?conversation_id={c}", ""),
            (Forbidden, "/output/stream?workspace_id={w}", ""),
            (Forbidden, "/output/stream?workspace_id={w}&conversation_id={c}&last_event_id=0", ""),
        ],
        (Get, "/output/streams") => &[(Own, "/output/streams", "")],
        (Post, "/output/streams/{stream_id}/renew") => &[(Ended, "/output/streams/{s}/renew", "")],
        (Get, "/auth/verify") => &[(Own, "/auth/verify", "")],
        (Post, "/auth/refresh") => &[(Own, "/auth/refresh", "")],
        (Post, "/auth/password") => {
            &[(Own, "/auth/password", r#"{"current_password":"x","new_password":"long enough for it"}"#)]
        }
        (Post, "/auth/stream-ticket") => &[(Own, "/auth/stream-ticket", "")],
        (Get, "/users") => &[(Own, "/users?ids={u}", ""), (Own, "/users?ids={u},{w},{c}", "")],
        (Get, "/config/workspace") => &[(Own, "/config/workspace?limit=1000", "")],
        (Post, "/config/workspace") => &[(Own, "/config/workspace", r#"{"name":"n","description":"d"}"#)],
        (Get, "/config/workspace/{workspace_id}") => &[(Forbidden, "/config/workspace/{w}", "")],
        (Put, "/config/workspace/{workspace_id}") => &[(Forbidden, "/config/workspace/{w}", r#"{"name":"taken"}"#)],
        (Delete, "/config/workspace/{workspace_id}") => &[(Forbidden, "/config/workspace/{w}", "")],
        (Get, "/config/conversation") => &[(Forbidden, "/config/conversation?workspace_id={w}", "")],
        (Post, "/config/conversation") => {
            &[(Forbidden, "/config/conversation", r#"{"workspace_id":"{w}","topic":"t"}"#)]
        }
        (Get, "/config/conversation/{conversation_id}") => &[(Forbidden, "/config/conversation/{c}", "")],
        (Put, "/config/conversation/{conversation_id}") => &[
            (Forbidden, "/config/conversation/{c}", r#"{"topic":"taken"}"#),
            (Forbidden, "/config/conversation/{c}", r#"{"participant_ids":["ben"]}"#),
        ],
        (Delete, "/config/conversation/{conversation_id}") => &[(Forbidden, "/config/conversation/{c}", "")],
        (Post, "/config/conversation/{conversation_id}/leave") => &[(Forbidden, "/config/conversation/{c}/leave", "")],
        (Get, "/conversations") => &[(Own, "/conversations?include=messages&limit=1000", "")],
        (Post, "/conversations") => {
            &[(Forbidden, "/conversations", r#"{"title":"t","initial_message":"m","workspace_id":"{w}"}"#)]
        }
        (Get, "/conversations/{conversation_id}") => &[(Hidden, "/conversations/{c}", "")],
        (Put, "/conversations/{conversation_id}") => &[(Hidden, "/conversations/{c}", r#"{"title":"taken"}"#)],
        (Delete, "/conversations/{conversation_id}") => &[(Hidden, "/conversations/{c}", "")],
        (Get, "/conversations/{conversation_id}/messages") => &[
            (Hidden, "/conversations/{c}/messages", ""),
            (Hidden, "/conversations/{c}/messages?before={m}&limit=1", ""),
            (Hidden, "/conversations/{c}/messages?after={m}", ""),
        ],
        (Post, "/conversations/{conversation_id}/messages") => &[
            (Hidden, "/conversations/{c}/messages", r#"{"content":"x","role":"user"}"#),
            (Hidden, "/conversations/{c}/messages", r#"{"content":"x","role":"system"}"#),
        ],
        (Post, "/conversations/{conversation_id}/cancel") => &[(Hidden, "/conversations/{c}/cancel", "")],
        (Post, "/conversations/{conversation_id}/messages/{message_id}/answer") => {
            &[(Hidden, "/conversations/{c}/messages/{m}/answer", "")]
        }
        (Get, "/v1/models") => &[(Own, "/v1/models", "")],
        (Get, "/v1/models/{model}") => &[(Own, "/v1/models/echo", "")],
        (Post, "/v1/chat/completions") => &[
            (
                Hidden,
                "/v1/chat/completions",
                r#"{"messages":[{"role":"user","content":"x"}],"metadata":{"conversation_id":"{c}"}}"#,
            ),
            (Own, "/v1/chat/completions", r#"{"messages":[{"role":"user","content":"x"}]}"#),
        ],
        // Other workspaces are `403`; `search` tests that.
        (Get, "/search") => &[
            (Own, "/search?q=secret", ""),
            (Own, "/search?q=s*&limit=100&conversation_id=default", ""),
            (Hidden, "/search?q=secret&conversation_id={c}", ""),
            (Hidden, "/search?q=secret&conversation_id={c}&before={m}", ""),
            (Forbidden, "/search?q=secret&workspace_id={w}", ""),
            (Hidden, "/search?q=secret&workspace_id={w}&conversation_id={c}", ""),
        ],
        (Get, "/usage") => &[(Own, "/usage", ""), (Own, "/usage?by=conversation", "")],
        (Get, "/conversations/{conversation_id}/messages/{message_id}") => {
            &[(Hidden, "/conversations/{c}/messages/{m}", "")]
        }
        (Get, "/conversations/{conversation_id}/messages/{message_id}/stream") => {
            &[(Hidden, "/conversations/{c}/messages/{m}/stream", "")]
        }
        (Put, "/conversations/{conversation_id}/messages/{message_id}") => {
            &[(Hidden, "/conversations/{c}/messages/{m}", r#"{"content":"taken"}"#)]
        }
        (Delete, "/conversations/{conversation_id}/messages/{message_id}") => {
            &[(Hidden, "/conversations/{c}/messages/{m}", "")]
        }
        _ => return None,
    })
}

/// The ids for the letters of a probe.
#[derive(Clone)]
struct Ids {
    workspace: String,
    conversation: String,
    message: String,
    stream: String,
    user: String,
}

impl Ids {
    fn all(id: &str) -> Ids {
        let [workspace, conversation, message, stream, user] = std::array::from_fn(|_| id.to_owned());
        Ids { workspace, conversation, message, stream, user }
    }

    fn fill(&self, template: &str) -> String {
        template
            .replace("{w}", &self.workspace)
            .replace("{c}", &self.conversation)
            .replace("{m}", &self.message)
            .replace("{s}", &self.stream)
            .replace("{u}", &self.user)
    }

    /// Texts that must not be revealed, including the ids.
    fn secrets(&self) -> [&str; 5] {
        [SECRET, &self.workspace, &self.conversation, &self.message, &self.stream]
    }
}

/// A user with a secret in every field.
struct Ann {
    user: User,
    stream: Stream,
    ids: Ids,
}

impl Ann {
    fn new(server: &Server) -> Ann {
        let mut user = User::new(server, "secret-ann");
        let stream = user.stream();
        let secret = |what: &str| format!("{SECRET} {what}");
        let metadata = json!({"secret-name": {"secret-inner": ["secret value"]}});
        let mut post = |path: &str, body: serde_json::Value| {
            user.request("POST", path).header("X-Request-Id", "secret-request").json(&body).send().expect(200).json()
        };
        let body = json!({"name": secret("name"), "description": secret("description"), "metadata": metadata});
        let workspace = text(&post("/config/workspace", body)["workspace"]["id"]);
        let participants = ["secret-participant", "pat"];
        let body = json!({"workspace_id": workspace, "topic": secret("topic"), "participant_ids": participants,
            "metadata": metadata});
        let conversation = text(&post("/config/conversation", body)["conversation"]["id"]);
        let body = json!({"content": secret("content"), "role": "user", "metadata": metadata});
        let message = text(&post(&format!("/conversations/{conversation}/messages"), body)["id"]);
        post("/input", json!({"content": secret("default"), "metadata": metadata}));
        let ids = Ids {
            workspace,
            conversation,
            message,
            stream: text(&stream.established.data["stream_id"]),
            user: user.id.clone(),
        };
        Ann { user, stream, ids }
    }

    /// All her data, as she reads it.
    fn state(&mut self) -> Vec<String> {
        let Ids { workspace, conversation, .. } = self.ids.clone();
        let paths = [
            "/config/workspace".to_owned(),
            format!("/config/conversation?workspace_id={workspace}"),
            format!("/conversations/{conversation}"),
            "/conversations?include=messages".into(),
        ];
        let state: Vec<Response> = paths.iter().map(|path| self.user.get(path).expect(200)).collect();
        let position = state[0].number("X-Last-Event-Id");
        state.iter().map(|response| response.text().to_owned()).chain([position.to_string()]).collect()
    }
}

/// Every operation that needs a token, with its probes.
#[track_caller]
fn guarded() -> Vec<(&'static str, &'static str, Probe)> {
    let mut all = Vec::new();
    for route in ROUTES {
        for (method, operation) in route.methods.iter().filter(|(_, operation)| operation.access() != Access::Open) {
            let name = method.as_str().expect("routes have methods with names");
            let probes = probes(*method, route.pattern)
                .unwrap_or_else(|| panic!("{name} {} ({operation:?}) needs rows in `probes`", route.pattern));
            all.extend(probes.iter().map(|probe| (name, route.pattern, *probe)));
            if *method == Method::Get {
                all.extend(probes.iter().map(|probe| ("HEAD", route.pattern, *probe)));
            }
        }
    }
    all
}

fn send(client: &mut Client, authorization: Option<&str>, method: &str, target: &str, body: &str) -> Response {
    let mut request = client.request(method, target).header("X-Request-Id", "same");
    if let Some(token) = authorization {
        request = request.token(token);
    }
    if body.is_empty() { request.send() } else { request.body("application/json", body).send() }
}

#[track_caller]
fn assert_reveals_nothing(response: &Response, secrets: &[&str], what: &str) {
    let shown = response.shown();
    for secret in secrets {
        assert!(!shown.contains(secret), "{what}: {secret:?} in {shown}");
    }
}

/// The response without its time and request id.
fn essence(response: &Response) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let fields = response.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("Date")).cloned().collect();
    (response.status, fields, response.body.clone())
}

#[test]
fn requests_of_an_outsider_reveal_and_change_nothing() {
    let server = Server::start(Options::new().set("RESPONDERS_ALLOWED", "echo,none"));
    let mut ann = Ann::new(&server);
    let mut ben = User::new(&server, "ben");
    let own = ben.start_conversation("ben's own");
    let before = ann.state();
    let mut client = Client::new(server.addr);
    let nobodys = Ids::all(UNKNOWN_ID);
    for (method, _, (rule, target, body)) in guarded().into_iter().filter(|(_, _, (rule, ..))| *rule != Own) {
        let mut ask = |ids: &Ids| {
            let (target, body) = (ids.fill(target), ids.fill(body));
            let response = send(&mut client, Some(&ben.token), method, &target, &body);
            assert_reveals_nothing(&response, &ann.ids.secrets(), &format!("{method} {target} {body}"));
            response
        };
        let what = format!("{method} {target} {body}");
        let (theirs, missing) = (ask(&ann.ids), ask(&nobodys));
        let (of_theirs, of_missing) = match rule {
            Forbidden => ((403, "forbidden"), (404, "not_found")),
            Ended => ((409, "conflict"), (409, "conflict")),
            Hidden | Own => ((404, "not_found"), (404, "not_found")),
        };
        for (response, (status, code)) in [(&theirs, of_theirs), (&missing, of_missing)] {
            assert_eq!(response.status, status, "{what}: {}", response.shown());
            if method != "HEAD" {
                assert_error(response, status, code);
            }
        }
        if rule != Forbidden {
            assert_eq!(essence(&theirs), essence(&missing), "{what}");
        }
        for id in ["x", "%00", "..", &format!("{UNKNOWN_ID}0"), &ann.ids.conversation.to_uppercase()] {
            let response = ask(&Ids::all(id));
            assert!(matches!(response.status, 400..500), "{what} of {id}: {}", response.shown());
        }
        // In his own conversation, another user's message is as unknown as a missing one.
        if rule == Hidden && target.contains("{m}") {
            let mine = |message: &str| Ids { conversation: own.clone(), message: message.into(), ..nobodys.clone() };
            let (theirs, missing) = (ask(&mine(&ann.ids.message)), ask(&mine(UNKNOWN_ID)));
            assert!(matches!(theirs.status, 404 | 422), "{what}: {}", theirs.shown());
            assert_eq!(essence(&theirs), essence(&missing), "{what} in a conversation of his own");
        }
    }
    assert_eq!(ann.state(), before, "nothing has changed, and no event was made");
    ann.user.say("default", "the end");
    let seen = ann.stream.before_message("the end");
    let strange: Vec<_> = seen.iter().filter(|event| event.data["user_id"] == "ben").collect();
    assert!(strange.is_empty(), "{strange:?}");
}

#[test]
fn resources_of_the_caller_reveal_nothing_of_others() {
    let server = Server::start(Options::new());
    let ann = Ann::new(&server);
    let other = Server::start(Options::new());
    let probes: Vec<_> = guarded().into_iter().filter(|(_, _, (rule, ..))| *rule == Own).collect();
    let ask = |server: &Server, ids: &Ids| -> Vec<(u16, usize)> {
        let ben = User::new(server, "ben");
        let mut client = Client::new(server.addr);
        let mut seen = Vec::new();
        for (method, _, (_, target, body)) in &probes {
            let response = send(&mut client, Some(&ben.token), method, &ids.fill(target), body);
            assert_reveals_nothing(&response, &ann.ids.secrets(), &format!("{method} {target}"));
            assert!(response.status < 500, "{method} {target}: {}", response.shown());
            seen.push((response.status, response.body.len()));
        }
        seen
    };
    let with_ann = ask(&server, &ann.ids);
    let alone = ask(&other, &ann.ids);
    assert_eq!(with_ann, alone, "as without other users");
}

#[test]
fn invalid_tokens_reveal_nothing() {
    let mut server = Server::start(Options::new());
    let ann = Ann::new(&server);
    let mut disabled = User::new(&server, "disabled");
    disabled.say("default", "x");
    let ticket = User::new(&server, "secret-ann").post("/auth/stream-ticket", json!({})).expect(200);
    let ticket = text(&ticket.json()["ticket"]);
    server.stop();
    database::execute(&server.database(), "UPDATE users SET status = 1 WHERE oid = 'disabled'");
    assert_eq!(database::number(&server.database(), "SELECT count(*) FROM users WHERE status = 1"), 1);
    server.restart();

    let claims = |exp: i64| json!({"oid": "secret-ann", "exp": exp});
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let good = now() + 3600;
    let credentials = [
        ("none", None),
        ("an empty token", Some(String::new())),
        ("an expired token", Some(token_with(claims(now() - 3600)))),
        ("a token to come", Some(token_with(json!({"oid": "secret-ann", "exp": good, "nbf": good})))),
        ("another key's", Some(signed(&header, &claims(good), "another key, which is long enough for it"))),
        ("an unsigned one", Some(unsigned(&claims(good)))),
        ("a stream ticket", Some(ticket)),
        ("a disabled user's", Some(disabled.token.clone())),
        ("a responder's", Some(token_with(json!({"oid": "responder:echo", "exp": good})))),
    ];
    let mut client = Client::new(server.addr);
    for (name, token) in &credentials {
        for (method, pattern, (_, target, body)) in guarded() {
            let what = format!("{name}: {method} {target}");
            let mut ask = |ids: &Ids| {
                let response = send(&mut client, token.as_deref(), method, &ids.fill(target), &ids.fill(body));
                assert_reveals_nothing(&response, &ann.ids.secrets(), &what);
                response
            };
            let (theirs, missing) = (ask(&ann.ids), ask(&Ids::all(UNKNOWN_ID)));
            assert_eq!(theirs.status, 401, "{what}: {}", theirs.shown());
            assert_eq!(essence(&theirs), essence(&missing), "{what} of {pattern}");
            if method != "HEAD" {
                let code = if target.starts_with("/v1/") { "invalid_api_key" } else { "unauthorized" };
                assert_error(&theirs, 401, code);
            }
        }
    }
    drop(ann.stream);
}

/// A token whose header declares no signature.
fn unsigned(claims: &serde_json::Value) -> String {
    let whole = signed(&json!({"alg": "none"}), claims, "any");
    format!("{}.", whole.rsplit_once('.').expect("a token has dots").0)
}

#[test]
fn an_unsupported_method_is_rejected_for_every_id() {
    let server = Server::start(Options::new());
    let ann = Ann::new(&server);
    let ben = User::new(&server, "ben");
    let mut client = Client::new(server.addr);
    for route in ROUTES {
        for method in METHODS.iter().filter(|method| route.methods.iter().all(|(known, _)| known != *method)) {
            let name = method.as_str().expect("it has a name");
            let mut ask = |ids: &Ids| {
                let target = route
                    .pattern
                    .replace("{workspace_id}", &ids.workspace)
                    .replace("{conversation_id}", &ids.conversation)
                    .replace("{message_id}", &ids.message)
                    .replace("{stream_id}", &ids.stream);
                let response = send(&mut client, Some(&ben.token), name, &target, "");
                assert_reveals_nothing(&response, &ann.ids.secrets(), &format!("{name} {target}"));
                response
            };
            let (theirs, missing) = (ask(&ann.ids), ask(&Ids::all(UNKNOWN_ID)));
            assert_error(&theirs, 405, "method_not_allowed");
            assert_eq!(essence(&theirs), essence(&missing), "{name} {}", route.pattern);
        }
    }
}

#[test]
fn public_endpoints_reveal_no_user() {
    let server = Server::start(Options::new());
    let ann = Ann::new(&server);
    let mut client = Client::new(server.addr);
    for route in ROUTES {
        for (method, operation) in route.methods.iter().filter(|(_, operation)| operation.access() == Access::Open) {
            let name = method.as_str().expect("it has a name");
            let body =
                if *method == Method::Post { r#"{"email":"secret-ann@example.com","password":"x"}"# } else { "" };
            let response = send(&mut client, None, name, route.pattern, body);
            assert_reveals_nothing(&response, &ann.ids.secrets(), &format!("{name} {} ({operation:?})", route.pattern));
        }
    }
}

/// A participant sees the conversation and nothing else of its workspace; the owner's operations get `403`.
#[test]
fn a_participant_can_read_and_cannot_act_as_the_owner() {
    let server = Server::start(Options::new());
    let mut ann = Ann::new(&server);
    let mut pat = User::new(&server, "pat");
    let Ids { workspace, conversation, message, .. } = ann.ids.clone();
    ann.user.create_conversation(&workspace, "without pat", &[]);
    let before = ann.state();
    let conversation_path = format!("/conversations/{conversation}");
    let table = [
        ("GET", format!("/config/workspace/{workspace}"), ""),
        ("PUT", format!("/config/workspace/{workspace}"), r#"{"name":"taken"}"#),
        ("DELETE", format!("/config/workspace/{workspace}"), ""),
        ("GET", format!("/config/conversation?workspace_id={workspace}"), ""),
        ("POST", "/config/conversation".into(), r#"{"workspace_id":"{w}","topic":"t"}"#),
        ("POST", "/conversations".into(), r#"{"workspace_id":"{w}","title":"t"}"#),
        ("DELETE", format!("/config/conversation/{conversation}"), ""),
        ("DELETE", conversation_path.clone(), ""),
        ("PUT", format!("/config/conversation/{conversation}"), r#"{"participant_ids":["pat"]}"#),
        ("PUT", format!("/config/conversation/{conversation}"), r#"{"metadata":{"responder":"echo"}}"#),
        ("PUT", conversation_path.clone(), r#"{"metadata":{"responder":"echo"}}"#),
        ("POST", format!("{conversation_path}/messages"), r#"{"content":"x","role":"assistant"}"#),
        ("POST", format!("{conversation_path}/messages"), r#"{"content":"x","role":"system"}"#),
        ("PUT", format!("{conversation_path}/messages/{message}"), r#"{"content":"taken"}"#),
        ("DELETE", format!("{conversation_path}/messages/{message}"), ""),
    ];
    let mut client = Client::new(server.addr);
    for (method, target, body) in table {
        let response = send(&mut client, Some(&pat.token), method, &target, &ann.ids.fill(body));
        assert_eq!(response.status, 403, "{method} {target} {body}: {}", response.shown());
        assert_error(&response, 403, "forbidden");
        assert_reveals_nothing(&response, &[SECRET], &format!("{method} {target}"));
    }
    assert_eq!(ann.state(), before);
    for path in
        ["/conversations?include=messages", "/config/workspace", &conversation_path, "/users?ids=secret-ann,ben"]
    {
        let response = pat.get(path).expect(200);
        assert_reveals_nothing(
            &response,
            &["secret name", "secret description", "secret default", "without pat"],
            path,
        );
    }
    assert!(
        pat.get(&conversation_path).expect(200).text().contains("secret content"),
        "participants read the messages"
    );
    assert!(pat.get("/users?ids=secret-ann").expect(200).text().contains("Name of secret-ann"));
}
