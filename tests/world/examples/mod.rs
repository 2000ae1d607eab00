//! The clients of `examples/` and of README.md against a real server and a model played by the test. Each shows a
//! message and its answer, reports a failed answer, and resumes after the server was killed.

mod page;

use crate::common::model::{Call, Model};
use crate::common::port::free_port;
use crate::common::{DEADLINE, Options, Server};
use crate::tools;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A message with characters that are special in a shell and in JSON.
const MESSAGE: &str = r#"What's "up" \ in $HOME?"#;

#[test]
fn the_shell_client_works() {
    if tools::curl() && tools::jq() {
        try_client(|| Command::new(example("chat.sh")), Resumes::Yes);
    }
}

#[test]
fn the_python_client_works() {
    let Some(python) = tools::python("httpx-sse") else { return };
    try_client(|| command(&python, "chat.py"), Resumes::Yes);
}

#[test]
fn the_node_client_works() {
    if tools::plain_node() {
        try_client(|| command(Path::new("node"), "chat.mjs"), Resumes::Yes);
    }
}

/// The code is extracted from the page. It reads its message from standard input.
#[test]
fn the_client_of_the_readme_works() {
    let Some(python) = tools::python("nothing but Python") else { return };
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a README");
    let (_, rest) = readme.split_once("```python\n").expect("the README has a client");
    let client = rest.split_once("\n```").expect("the client ends").0;
    let client = client.replace("\"http://127.0.0.1:8000\"", "sys.argv[1]").replace("input(\"> \")", "sys.argv[2]");
    assert!(client.contains("sys.argv[1]") && client.contains("sys.argv[2]"), "{client}");
    try_client(
        || {
            let mut command = Command::new(&python);
            command.args(["-c", &client]);
            command
        },
        Resumes::No,
    );
}

#[derive(Clone, Copy, PartialEq)]
enum Resumes {
    Yes,
    No,
}

/// Runs a client through the possible ends of an answer.
fn try_client(client: impl Fn() -> Command, resumes: Resumes) {
    let model = Model::start();
    let mut server = server(&model);
    let run = |server: &Server, play: &mut dyn FnMut(Call)| {
        let child = start(client(), server.addr, resumes);
        play(model.call());
        end_of(child)
    };

    let output = run(&server, &mut |mut call| {
        assert_eq!(call.prompt(), MESSAGE);
        call.begin().say("Not ");
        thread::sleep(Duration::from_millis(200));
        call.say("mu");
        call.say("ch.\n\"Ü\"");
        call.finish();
    });
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(shown.trim_end().ends_with("Not much.\n\"Ü\""), "{shown}");
    assert_eq!(shown.matches("Not ").count(), 1, "{shown}");
    assert!(resumes == Resumes::No || shown.starts_with(&format!("Test User: {MESSAGE}\n")), "{shown}");

    let output = run(&server, &mut |call| call.reject(400, ""));
    assert_fails(&output, "no answer: ");

    // The text shown before the failure stays, and must not look like an answer.
    let output = run(&server, &mut |mut call| {
        call.begin().say("Half of");
        thread::sleep(Duration::from_millis(200));
        call.disconnect();
    });
    assert_fails(&output, "the answer was failed");

    let child = start(client(), server.addr, resumes);
    let mut call = model.call();
    call.begin().say("Half of");
    thread::sleep(Duration::from_millis(500));
    server.kill();
    if resumes == Resumes::Yes {
        server.start_again();
        assert_fails(&end_of(child), "the answer was interrupted");
    } else {
        assert_fails(&end_of(child), "");
    }
}

/// A server as a user of the examples starts it, on a fixed port, with answers from `model`.
fn server(model: &Model) -> Server {
    let options = Options::new().unset("JWT_SECRET_KEY").set("PORT", free_port());
    let options = options.set("RESPONDER", "openai").set("RESPONDER_URL", model.url()).set("RESPONDER_MODEL", "small");
    // A stream whose connection vanished is detected by missing heartbeats.
    Server::start(options.set("HEARTBEAT_INTERVAL_SECONDS", 1).set("LOGIN_RATE_LIMIT_PER_MINUTE", 0))
}

fn start(mut command: Command, addr: SocketAddr, resumes: Resumes) -> Child {
    let url = format!("http://{addr}");
    match resumes {
        Resumes::Yes => command.env("CORTEX_URL", url).arg(MESSAGE),
        Resumes::No => command.arg(url).arg(MESSAGE),
    };
    // The server is local, whatever else needs a proxy.
    command.envs([("NO_PROXY", "*"), ("no_proxy", "*")]).envs([("PYTHONIOENCODING", "utf-8")]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the client starts")
}

/// Waits for a client to exit. Its output fits into the pipes.
#[track_caller]
fn end_of(mut child: Child) -> Output {
    let end = Instant::now() + DEADLINE;
    while child.try_wait().expect("the client's state can be read").is_none() {
        if Instant::now() >= end {
            child.kill().expect("the client can be killed");
            let output = child.wait_with_output().expect("the client exits");
            panic!("the client does not exit: {}\n{}", text(&output.stdout), text(&output.stderr));
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().expect("the client exits")
}

#[track_caller]
fn assert_fails(output: &Output, reason: &str) {
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains(reason), "{:?}: {said}", output.status);
}

fn command(program: &Path, file: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(example(file));
    command
}

fn example(file: &str) -> PathBuf {
    root().join("examples").join(file)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
