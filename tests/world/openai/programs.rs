//! Programs that speak OpenAI's API: Simon Willison's `llm`, and the load tool llmeter.

use super::client::{Api, Clients, command, directory, finish, parse, succeed};
use super::echo_server;
use super::mock::Mock;
use crate::common::{Server, User};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program `llm` with a directory of its own.
struct Llm {
    python: PathBuf,
    home: PathBuf,
    api: Api,
}

impl Llm {
    /// Configures it as its documentation describes, with a model `NAME` of the server, and `NAME-durable` in a conversation.
    fn new(clients: &Clients, server: &Server, user: &mut User, model: &str) -> Llm {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("llm-{}", user.id));
        // Left by the previous run.
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).expect("a directory for its settings");
        let api = Api::new(server, user);
        let settings = |id: &str, headers: Value| {
            json!({
                "model_id": id, "model_name": model, "api_base": format!("{}/v1", api.url), "api_key_name": "cortex",
                "supports_tools": true, "headers": headers,
            })
        };
        let conversation = user.start_conversation("from the command line");
        let durable = settings(&format!("{model}-durable"), json!({"X-Conversation-Id": conversation}));
        // JSON is YAML.
        let models = json!([settings(model, json!({})), durable]).to_string();
        fs::write(home.join("extra-openai-models.yaml"), models).expect("it can be written");
        fs::write(home.join("keys.json"), json!({"cortex": user.token}).to_string()).expect("it can be written");
        Llm { python: clients.python.clone(), home, api }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // By its interpreter: the script names the place where it was installed.
        let mut command = command(&self.python, &self.api);
        command.args(["-m", "llm"]).args(arguments).env("LLM_USER_PATH", &self.home);
        command
    }

    /// What it prints, without the line feed that it adds.
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        succeed(&mut self.command(arguments)).trim_end_matches('\n').to_owned()
    }
}

#[test]
fn llm_talks_to_echo() {
    let Some(clients) = Clients::install() else { return };
    let server = echo_server();
    let mut user = User::new(&server, "terminal");
    let llm = Llm::new(&clients, &server, &mut user, "echo");
    assert_eq!(llm.run(&["-m", "echo", "Hello, żółw"]), "Hello, żółw");
    assert_eq!(llm.run(&["-m", "echo", "--no-stream", "Hello"]), "Hello");
    assert_eq!(llm.run(&["-c", "-s", "Be brief.", "And then?"]), "And then?");
    assert_eq!(llm.run(&["-m", "echo-durable", "Keep this"]), "Keep this");
    let conversation = &user.get("/conversations?include=messages").expect(200).json()[0];
    let stored: Vec<_> =
        conversation["messages"].as_array().expect("messages").iter().map(|one| &one["content"]).collect();
    assert_eq!(stored, ["Keep this", "Keep this"]);

    let rejected = finish(&mut llm.command(&["-m", "echo", "--key", "x.y.z", "Hello"]));
    let said = String::from_utf8_lossy(&rejected.stderr);
    assert!(!rejected.status.success() && said.starts_with("Error: Error code: 401"), "{said}");
}

/// `llm` runs the tool that the model asks for, and shows the model its result.
#[test]
fn llm_runs_a_tool() {
    let Some(clients) = Clients::install() else { return };
    let mock = Mock::start(&clients);
    let server = mock.serve();
    let llm = Llm::new(&clients, &server, &mut User::new(&server, "terminal with tools"), "small");
    for stream in [&[][..], &["--no-stream"]] {
        let said = llm.run(&[&["-m", "small", "-T", "llm_version", "Tell me which version"], stream].concat());
        assert_eq!(said, "That is the version.");
        let [_, arrived] = mock.arrived().try_into().expect("two requests");
        let result = arrived["messages"].as_array().and_then(|messages| messages.last()).expect("a message");
        assert_eq!((&result["role"], &result["tool_call_id"]), (&json!("tool"), &json!("call_version")), "{arrived}");
        assert_eq!(arrived["tools"][0]["function"]["name"], "llm_version", "{arrived}");
    }
    let failed = finish(&mut llm.command(&["-m", "small", "please break off"]));
    let shown = String::from_utf8_lossy(&failed.stdout);
    assert!(!failed.status.success() && shown.starts_with("This"), "{failed:?}");
}

#[test]
fn llmeter_measures_no_failure() {
    let Some(clients) = Clients::install() else { return };
    let server = echo_server();
    let api = Api::new(&server, &User::new(&server, "load"));
    let mut llmeter = command(&clients.python, &api);
    llmeter.arg(directory().join("load.py")).args(["echo", "20", "25"]);
    let said = succeed(&mut llmeter);
    let results: Vec<Value> = said.lines().map(parse).collect();
    assert_eq!(results.len(), 2, "{said}");
    for result in &results {
        assert_eq!((&result["total_requests"], &result["failed_requests"]), (&json!(500), &json!(0)), "{result}");
        assert_eq!(result["unequal"], json!([]), "{result}");
    }
    assert!(results[0]["time_to_first_token-p50"].is_number(), "{said}");
}
