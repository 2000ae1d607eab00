//! A client that follows a stream in a process or a page of its own.

use crate::common::user::text;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long a client may take for one step. Clients reconnect within a few seconds.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// How long an event may take to be shown while nothing follows it.
const PROMPT: Duration = Duration::from_secs(15);

/// A client that runs. It prints one line of JSON for each event.
pub struct Follower {
    lines: Receiver<String>,
    /// The client's process; `None` for a client in a page.
    process: Option<Running>,
    /// The numbers and texts of the messages so far.
    messages: Vec<(u64, String)>,
    has_ended: bool,
    /// How often an EventSource gave up for good.
    pub gave_up: usize,
}

impl Follower {
    /// Starts a client that follows the stream of `token` at `server`.
    #[track_caller]
    pub fn start(mut command: Command, server: SocketAddr, token: &str) -> Follower {
        command.env("SERVER", format!("http://{server}")).env("TOKEN", token);
        // The server is on this machine, whatever else is reached through a proxy.
        command.envs([("NO_PROXY", "*"), ("no_proxy", "*"), ("PYTHONIOENCODING", "utf-8")]);
        let mut process = Running::start(command);
        let stdout = process.child.stdout.take().expect("standard output is a pipe");
        let (sender, lines) = channel();
        thread::spawn(move || {
            // The test may have ended.
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            // Some libraries print their errors there too.
            lines.filter(|line| line.starts_with('{')).for_each(|line| drop(sender.send(line)));
        });
        Follower { lines, process: Some(process), messages: Vec::new(), has_ended: false, gave_up: 0 }
    }

    /// A client in a page, by the lines that the page posts for it.
    pub fn in_page(lines: Receiver<String>) -> Follower {
        Follower { lines, process: None, messages: Vec::new(), has_ended: false, gave_up: 0 }
    }

    /// The next line of a page, within this time. `None` when it has ended.
    #[track_caller]
    pub fn next_within(&mut self, timeout: Duration) -> Option<Value> {
        self.next(Instant::now() + timeout, "the next line")
    }

    /// The next event. `None` when the client has ended.
    #[track_caller]
    fn next(&mut self, end: Instant, awaited: &str) -> Option<Value> {
        loop {
            let line = match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{awaited} is not shown, after {} messages.{}", self.messages.len(), self.errors())
                }
            };
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if line["gave_up"] == true {
                self.gave_up += 1;
                continue;
            }
            if line["end"] == true {
                self.has_ended = true;
                return None;
            }
            assert!(line.get("error").is_none(), "{line}");
            let data = &line["data"];
            assert_ne!(data["type"], "gap", "{line}");
            if data["type"] == "input" {
                let number = text(&line["id"]).parse().unwrap_or_else(|_| panic!("an id: {line}"));
                self.messages.push((number, text(&data["data"]["content"])));
            }
            return Some(line);
        }
    }

    /// Waits for the first event of a stream, which nothing follows.
    #[track_caller]
    pub fn wait_for_established(&mut self) {
        // Browsers take a while to start on a busy machine.
        let end = Instant::now() + if self.process.is_some() { STEP_TIMEOUT / 2 } else { 2 * STEP_TIMEOUT };
        let first = self.next(end, "the first event");
        assert!(first.is_some(), "the client ended before the first event.{}", self.errors());
    }

    /// Waits for the message with that number, or for a later one.
    #[track_caller]
    pub fn wait_for_message(&mut self, number: u64) {
        self.wait_for_number(number, STEP_TIMEOUT);
    }

    /// The same for a message that nothing follows.
    #[track_caller]
    pub fn wait_for_lone_message(&mut self, number: u64) {
        self.wait_for_number(number, PROMPT);
    }

    #[track_caller]
    fn wait_for_number(&mut self, number: u64, timeout: Duration) {
        let end = Instant::now() + timeout;
        while self.messages.last().is_none_or(|(last, _)| *last < number) {
            let awaited = format!("message {number}");
            assert!(self.next(end, &awaited).is_some(), "the client ended before {awaited}.{}", self.errors());
        }
    }

    /// Waits until the client has ended well. Returns the numbers and texts of all messages that it has shown.
    #[track_caller]
    pub fn messages_to_the_end(mut self) -> Vec<(u64, String)> {
        let end = Instant::now() + STEP_TIMEOUT;
        while self.next(end, "the end").is_some() {}
        match &mut self.process {
            Some(process) => {
                let status = process.child.wait().expect("it can be waited for");
                assert!(status.success(), "{status}.{}", self.errors());
            }
            None => assert!(self.has_ended, "the page ended before the message"),
        }
        std::mem::take(&mut self.messages)
    }

    fn errors(&self) -> String {
        self.process.as_ref().map(Running::errors).unwrap_or_default()
    }
}

/// A program with the processes that it has started. They are killed when this is dropped.
pub struct Running {
    child: Child,
    stderr: Arc<Mutex<String>>,
}

impl Running {
    /// Starts a program.
    #[track_caller]
    pub fn start(mut command: Command) -> Running {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut pipe = child.stderr.take().expect("standard error is a pipe");
        let stderr = Arc::new(Mutex::new(String::new()));
        let kept = stderr.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut buffer) {
                kept.lock().expect("no panic holds it").push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
        });
        Running { child, stderr }
    }

    /// Everything that it has written to standard error.
    pub fn all_errors(&self) -> String {
        self.stderr.lock().expect("no panic holds it").clone()
    }

    /// The end of that.
    pub fn errors(&self) -> String {
        let text = self.all_errors();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].iter().map(|line| format!("\n    {line}")).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: the child was the leader of a group of its own and has not been waited for, or its group is gone.
        unsafe {
            libc::kill(-(self.child.id() as libc::pid_t), libc::SIGKILL);
        }
        let _ = self.child.wait();
    }
}
