//! Clients in separate processes that are stopped while they read, like a laptop that goes to sleep.

use crate::common::sse::Parser;
use crate::common::token::token;
use crate::common::{DEADLINE, Server, User};
use crate::idle::IdleState;
use crate::scale::{self, once_in};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const CLIENTS: usize = 12;
const MESSAGES: usize = 120;
const CONTENT_BYTES: usize = 64 * 1024;
const LAST: &str = "the end";

/// A client that writes its stream to a file.
struct Client {
    process: Child,
    file: PathBuf,
    stopped: bool,
}

impl Client {
    fn follow(server: &Server, user: &str, name: usize) -> Client {
        let file = server.database().with_file_name(format!("client-{name}"));
        let process = Command::new("curl")
            .args(["-sSN", "-H", &format!("Authorization: Bearer {}", token(user)), "-o"])
            .arg(&file)
            .arg(format!("http://{}/output/stream", server.addr))
            .stdin(Stdio::null())
            .spawn()
            .expect("curl is installed");
        Client { process, file, stopped: false }
    }

    fn signal(&mut self, signal: i32) {
        self.stopped = signal == libc::SIGSTOP;
        // SAFETY: the child has not been waited for, so its id is not reused.
        let sent = unsafe { libc::kill(self.process.id() as libc::pid_t, signal) };
        assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
    }

    /// Numbers and contents of the messages received.
    fn said(&self) -> Vec<(u64, String)> {
        let mut parser = Parser::default();
        parser.feed(&fs::read(&self.file).unwrap_or_default());
        let messages = parser.events.iter().filter(|event| event.kind() == "input");
        messages.map(|event| (event.number(), event.content().to_owned())).collect()
    }

    /// Waits for its exit and returns whether the stream ended without an error.
    fn ended_well(&mut self) -> bool {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.process.try_wait().expect("the child's state can be read") {
                return status.success();
            }
            assert!(Instant::now() < end, "the stream of the client does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let end = Instant::now() + 2 * DEADLINE;
    while !is_there() {
        assert!(Instant::now() < end, "{what} does not happen");
        thread::sleep(Duration::from_millis(20));
    }
}

fn content(n: usize) -> String {
    format!("{n} ").repeat(CONTENT_BYTES / 8)
}

#[test]
fn a_stopped_client_receives_every_event_once_after_it_continues() {
    let mut random = scale::random("clients");
    let mut server = Server::with(&[("STREAM_BUFFER_BYTES", "16384"), ("LOG_LEVEL", "WARNING")]);
    let mut user = User::new(&server, "u");
    user.say("default", "warm");
    drop(user);
    let idle_state = IdleState::of(&mut server);
    let mut user = User::new(&server, "u");
    let mut clients: Vec<Client> = (0..CLIENTS).map(|n| Client::follow(&server, "u", n)).collect();
    wait_for("every stream", || {
        clients.iter().all(|client| fs::metadata(&client.file).is_ok_and(|file| file.len() > 0))
    });
    let mut said = Vec::new();
    for n in 0..MESSAGES {
        for client in &mut clients {
            if once_in(&mut random, 12) {
                client.signal(if client.stopped { libc::SIGCONT } else { libc::SIGSTOP });
            }
        }
        user.say("default", &content(n));
        said.push(content(n));
    }
    user.say("default", LAST);
    said.push(LAST.to_owned());
    for client in &mut clients {
        client.signal(libc::SIGCONT);
    }
    for client in &clients {
        wait_for("the end", || client.said().last().is_some_and(|(_, content)| content == LAST));
        let (numbers, contents): (Vec<u64>, Vec<String>) = client.said().into_iter().unzip();
        assert!(contents == said, "{} messages of {}, once and in order", contents.len(), said.len());
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
    }
    drop((clients, user));
    idle_state.returns(&mut server);
}

#[test]
fn a_client_that_stays_stopped_is_disconnected_and_can_resume() {
    let settings = [("STREAM_BUFFER_BYTES", "16384"), ("STREAM_STALL_TIMEOUT_SECONDS", "2"), ("LOG_LEVEL", "WARNING")];
    let mut server = Server::with(&settings);
    let mut user = User::new(&server, "u");
    user.say("default", "warm");
    drop(user);
    let idle_state = IdleState::of(&mut server);
    let mut user = User::new(&server, "u");
    let mut client = Client::follow(&server, "u", 0);
    wait_for("the stream", || fs::metadata(&client.file).is_ok_and(|file| file.len() > 0));
    client.signal(libc::SIGSTOP);
    // Until its socket and the server's buffer are full and the server closes the connection.
    let mut said = Vec::new();
    wait_for("the end of the stream", || {
        user.say("default", &content(said.len()));
        said.push(content(said.len()));
        user.get("/output/streams").expect(200).json()["streams"] == serde_json::json!([])
    });
    client.signal(libc::SIGCONT);
    client.ended_well();
    // It received a prefix that may end anywhere; the rest follows the last number.
    let mut seen = client.said();
    let last = seen.last().map_or(0, |(number, _)| *number);
    user.say("default", LAST);
    let rest = user.stream_with(&format!("last_event_id={last}")).before_message(LAST);
    seen.extend(rest.into_iter().map(|event| (event.number(), event.content().to_owned())));
    seen.retain(|(_, content)| content != "warm");
    let contents: Vec<String> = seen.into_iter().map(|(_, content)| content).collect();
    assert!(contents == said, "{} of {} messages, once and in order", contents.len(), said.len());
    drop(user);
    idle_state.returns(&mut server);
}
