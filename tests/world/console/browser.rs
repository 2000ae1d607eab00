//! A headless Chromium that a script of this directory drives. Script and test take turns: the script reports each step that it
//! has reached, and continues when the test resumes it.

use crate::common::{DEADLINE, Server};
use crate::tools::{self, NodePackages};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Timeout of one step. It is longer than those of the script, which name what is missing.
const STEP_TIMEOUT: Duration = Duration::from_secs(4 * DEADLINE.as_secs());

const PACKAGES: NodePackages =
    NodePackages { place: "console", manifest: include_str!("package.json"), scripts: &["console"] };

/// A script and its browser. Both end on drop.
pub struct Browser {
    script: &'static str,
    node: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Browser {
    /// Starts a script for a server, with further values; `None` when these tests are left out.
    #[track_caller]
    pub fn start(script: &'static str, server: &Server, setup: Value) -> Option<Browser> {
        let chromium = tools::chromium()?;
        let place = tools::node_with("the console in Chromium", &PACKAGES)?;
        let mut setup = setup;
        setup["server"] = json!(format!("http://{}", server.addr));
        setup["evidence"] = json!(evidence(script));
        let mut node = Command::new("node")
            .arg(place.join(script))
            .args([chromium, &setup.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Node starts");
        let input = node.stdin.take();
        let stdout = node.stdout.take().expect("standard output is a pipe");
        let (sender, lines) = channel();
        thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        Some(Browser { script, node, input, lines })
    }

    /// Waits until the script has reached a step. Returns what it reports there.
    #[track_caller]
    pub fn reaches(&mut self, step: &str) -> Value {
        let line = self.lines.recv_timeout(STEP_TIMEOUT).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => panic!("{}: {step:?} is not reached in time", self.script),
            RecvTimeoutError::Disconnected => panic!("{}: ended before {step:?}; its errors are above", self.script),
        });
        let report: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{}: {line}", self.script));
        assert_eq!(report["step"], step, "{}", self.script);
        report["value"].clone()
    }

    /// Lets the script continue.
    #[track_caller]
    pub fn resume(&mut self) {
        self.resume_with(Value::Null);
    }

    /// Lets the script continue with a value.
    #[track_caller]
    pub fn resume_with(&mut self, value: Value) {
        let input = self.input.as_mut().expect("standard input is a pipe");
        writeln!(input, "{value}").expect("the script reads");
    }

    /// Waits until the script has reached a step, and lets it continue.
    #[track_caller]
    pub fn passes(&mut self, step: &str) {
        self.reaches(step);
        self.resume();
    }

    /// Waits until the script has ended without a complaint.
    #[track_caller]
    pub fn ends(mut self) {
        match self.lines.recv_timeout(STEP_TIMEOUT) {
            Ok(line) => panic!("{}: an unexpected step: {line}", self.script),
            Err(RecvTimeoutError::Timeout) => panic!("{}: does not end", self.script),
            Err(RecvTimeoutError::Disconnected) => {}
        }
        let status = self.node.wait().expect("the script exits");
        assert!(status.success(), "{}: {status}; its errors are above", self.script);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The end of its input ends the script, and the script its browser.
        self.input = None;
        let end = Instant::now() + DEADLINE;
        while matches!(self.node.try_wait(), Ok(None)) && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
        drop(self.node.kill());
        drop(self.node.wait());
    }
}

/// Where a script that fails saves a picture of each of its pages.
fn evidence(script: &str) -> PathBuf {
    let name = Path::new(script).file_stem().expect("a script has a name");
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("console").join(name)
}
