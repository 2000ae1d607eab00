//! The clients that are libraries, each behind a script of this directory. A script makes the requests of its arguments and
//! prints what its client returned; `script.py` defines both.

use crate::common::{Server, User};
use crate::tools;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PYTHON: tools::Packages = tools::Packages {
    place: "openai-python",
    requirements: concat!(env!("CARGO_MANIFEST_DIR"), "/tests/world/openai/requirements.txt"),
    modules: "langchain_openai, litellm, llm, llmeter, openai",
};

const NODE: tools::NodePackages =
    tools::NodePackages { place: "openai-node", manifest: include_str!("package.json"), scripts: &["openai"] };

/// The server as a client is configured with it.
pub struct Api {
    /// The address of the server, without the path of the API.
    pub url: String,
    /// A token of the user.
    pub token: String,
}

impl Api {
    /// The server as `user` uses it.
    pub fn new(server: &Server, user: &User) -> Api {
        Api { url: format!("http://{}", server.addr), token: user.token.clone() }
    }
}

/// One library.
pub struct Client {
    /// The name of its package.
    pub name: &'static str,
    program: PathBuf,
    script: PathBuf,
}

impl Client {
    /// Makes these requests in turn, in one process. Returns what the client returned for each.
    #[track_caller]
    pub fn send(&self, api: &Api, requests: &[Value]) -> Vec<Value> {
        let mut command = command(&self.program, api);
        command.arg(&self.script).args(requests.iter().map(Value::to_string));
        let said = succeed(&mut command);
        let answers: Vec<Value> = said.lines().map(parse).collect();
        assert_eq!(answers.len(), requests.len(), "{}: {said}", self.name);
        answers
    }

    /// The only answer to one request.
    #[track_caller]
    pub fn send_one(&self, api: &Api, request: Value) -> Value {
        self.send(api, &[request]).remove(0)
    }

    /// Asserts that the client raised an error of this class for a response with this status. LiteLLM has codes of its own,
    /// and a class of its own for `502`.
    #[track_caller]
    pub fn assert_error(&self, answer: &Value, class: &str, status: u16, code: Option<&str>) {
        let class = if self.name == "litellm" && status == 502 { "BadGatewayError" } else { class };
        let error = &answer["error"];
        let has_class = error["classes"].as_array().is_some_and(|classes| classes.iter().any(|name| name == class));
        assert!(has_class && error["status"] == status, "{}: {class} {status}: {answer}", self.name);
        if let Some(code) = code.filter(|_| self.name != "litellm") {
            assert_eq!(error["code"], code, "{}: {answer}", self.name);
        }
    }
}

/// All of them, installed.
pub struct Clients {
    /// The interpreter that has the packages for Python.
    pub python: PathBuf,
    /// The directory that has the packages for Node.
    pub node: PathBuf,
    all: [Client; 4],
}

impl Clients {
    /// Installs the packages unless they are there; `None` when these tests are left out.
    pub fn install() -> Option<Clients> {
        let python = tools::python_with("clients of OpenAI's API", &PYTHON)?;
        let node = tools::node_with("clients of OpenAI's API", &NODE)?;
        let in_python = |name, file| Client { name, program: python.clone(), script: directory().join(file) };
        let all = [
            in_python("openai", "openai_python.py"),
            Client { name: "openai (Node)", program: "node".into(), script: node.join("openai_node.mjs") },
            in_python("litellm", "litellm_client.py"),
            in_python("langchain-openai", "langchain_client.py"),
        ];
        Some(Clients { python, node, all })
    }

    /// Runs a test with each client, one after another.
    pub fn each(&self, test: impl FnMut(&Client)) {
        self.all.iter().for_each(test);
    }

    /// OpenAI's own clients. The others are built upon the one for Python, and start slowly.
    pub fn of_openai(&self) -> &[Client] {
        &self.all[..2]
    }
}

/// A program that uses the server, with nothing of the caller's environment but the path: variables configure most clients.
pub fn command(program: &Path, api: &Api) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.envs([("SERVER", &api.url), ("TOKEN", &api.token)]);
    // The server is local, whatever else needs a proxy.
    command.envs([("NO_PROXY", "*"), ("no_proxy", "*")]);
    command.envs([("HOME", env!("CARGO_TARGET_TMPDIR")), ("PYTHONDONTWRITEBYTECODE", "1"), ("PYTHONUTF8", "1")]);
    // It would fetch a table of prices.
    command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end, which must be a success. Returns what it printed on standard output.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = finish(command);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}\n{errors}", output.status);
    said
}

/// Runs a command to its end. The clients have timeouts of their own.
#[track_caller]
pub fn finish(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The value of a line of JSON.
#[track_caller]
pub fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// The directory of the scripts.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/world/openai")
}
