//! The real program as a child process, in its own directory and environment.

use super::DEADLINE;
use super::database::{self, Durability};
use super::token::KEY;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How a server is started: its environment variables and the files in its working directory.
#[derive(Clone)]
pub struct Options {
    environment: BTreeMap<String, String>,
    files: Vec<(&'static str, Vec<u8>)>,
    handed_over: Option<Arc<OwnedFd>>,
    group: Option<PathBuf>,
}

impl Options {
    /// A development server on a free port with the test key, without a responder, and without heartbeats unless a test
    /// enables them: the first one of a stream comes at a random time.
    pub fn new() -> Options {
        let settings = [
            ("ENV", "development"),
            ("HOST", "127.0.0.1"),
            ("PORT", "0"),
            ("JWT_SECRET_KEY", KEY),
            ("LOG_LEVEL", "INFO"),
            ("WORKERS", "2"),
            ("RESPONDER", "none"),
            ("HEARTBEAT_INTERVAL_SECONDS", "3600"),
            ("RUST_BACKTRACE", "1"),
        ];
        let environment = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Options { environment, files: Vec::new(), handed_over: None, group: None }
    }

    /// Sets a variable.
    pub fn set(mut self, name: &str, value: impl ToString) -> Options {
        self.environment.insert(name.to_owned(), value.to_string());
        self
    }

    /// Sets a variable that is not set.
    pub fn set_default(mut self, name: &str, value: impl ToString) -> Options {
        self.environment.entry(name.to_owned()).or_insert_with(|| value.to_string());
        self
    }

    /// Removes a variable.
    pub fn unset(mut self, name: &str) -> Options {
        self.environment.remove(name);
        self
    }

    fn is_production(&self) -> bool {
        ["ENV", "ENVIRONMENT"].iter().any(|name| self.environment.get(*name).is_some_and(|value| value == "production"))
    }

    /// Passes a socket to every start, as a service manager does: as descriptor 3, with `LISTEN_FDS` and `LISTEN_PID`.
    pub fn pass_socket(mut self, socket: impl Into<OwnedFd>) -> Options {
        self.handed_over = Some(Arc::new(socket.into()));
        self.set("LISTEN_FDS", 1)
    }

    /// Makes the server and the other commands enter the control group with this file of processes.
    pub fn enter(mut self, processes: PathBuf) -> Options {
        self.group = Some(processes);
        self
    }

    /// Puts a file into the working directory before the first start.
    pub fn file(mut self, name: &'static str, content: impl Into<Vec<u8>>) -> Options {
        self.files.push((name, content.into()));
        self
    }
}

/// A directory with settings, in which servers and other commands of the program run.
#[derive(Clone)]
pub struct Sandbox {
    directory: Arc<Directory>,
    options: Options,
}

impl Sandbox {
    /// A sandbox in which nothing has run yet.
    pub fn new(options: Options) -> Sandbox {
        Sandbox { directory: Arc::new(Directory::with(&options.files)), options }
    }

    /// The program with the settings of this sandbox and without arguments.
    pub fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_cortex-core");
        let mut command = Command::new(program);
        if self.options.handed_over.is_some() {
            // `exec` keeps the process id of the shell, which becomes the value of `LISTEN_PID`.
            command = Command::new("/bin/sh");
            command.args(["-c", "export LISTEN_PID=${LISTEN_PID:-$$}; exec \"$0\" \"$@\" 3<&0 </dev/null", program]);
        }
        if let Some(processes) = &self.options.group {
            command = Command::new("/bin/sh");
            command.args(["-c", "echo $$ >\"$0\" && exec \"$@\""]).arg(processes).arg(program);
        }
        command.env_clear().envs(&self.options.environment).current_dir(&self.directory.0);
        if !self.options.environment.contains_key("DATABASE_URL") {
            command.env("DATABASE_URL", database::address_of(&self.database()));
        }
        command
    }

    /// Starts a server here and waits until it listens.
    #[track_caller]
    pub fn serve(&self) -> Server {
        let mut process = Process::spawn(self);
        let addr = process.wait_listening();
        Server { sandbox: self.clone(), process: Some(process), addr }
    }

    /// The path of the database file. See [`database`] for one on a server.
    pub fn database(&self) -> PathBuf {
        self.directory.database()
    }
}

/// A server under test. It is killed on drop.
pub struct Server {
    sandbox: Sandbox,
    process: Option<Process>,
    /// The address since the last start.
    pub addr: SocketAddr,
}

impl Server {
    /// Starts a server and waits until it listens.
    #[track_caller]
    pub fn start(options: Options) -> Server {
        Sandbox::new(options).serve()
    }

    /// Starts a program that must fail to start. Returns its output and exit code.
    #[track_caller]
    pub fn failed_start(options: Options) -> FailedStart {
        Server::failed_start_in(options).0
    }

    /// Like `failed_start`, and returns the directory as well.
    #[track_caller]
    pub fn failed_start_in(options: Options) -> (FailedStart, Arc<Directory>) {
        let sandbox = Sandbox::new(options);
        (Process::spawn(&sandbox).into_failed_start(), sandbox.directory)
    }

    /// A development server with these settings in addition to the default ones.
    #[track_caller]
    pub fn with(settings: &[(&str, &str)]) -> Server {
        Server::start(settings.iter().fold(Options::new(), |options, (name, value)| options.set(name, value)))
    }

    /// Runs a command of the program to its end, in the server's directory and environment, with empty standard input.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.sandbox.command().args(arguments).stdin(Stdio::null()).output().expect("the program starts")
    }

    /// A command of the program that is not started yet, in the server's directory and environment.
    pub fn command(&self) -> Command {
        self.sandbox.command()
    }

    /// A path in the server's directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.sandbox.directory.0.join(name)
    }

    /// Another process on the same database with the same settings; it may have to wait.
    pub fn second(&self) -> Process {
        Process::spawn(&self.sandbox)
    }

    /// Sends SIGTERM and waits for the exit.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("the server runs");
        process.signal(libc::SIGTERM);
        process.wait_exit()
    }

    /// Sends SIGKILL and waits for the exit.
    #[track_caller]
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("the server runs");
        process.signal(libc::SIGKILL);
        process.wait_exit();
    }

    /// Starts again on the same database, on a new port; stops the running process first.
    #[track_caller]
    pub fn restart(&mut self) {
        if self.process.is_some() {
            assert_eq!(self.stop().code(), Some(0), "a server exits with 0 after SIGTERM");
        }
        self.start_again();
    }

    /// Starts again on the same database after the last process has ended in any way.
    #[track_caller]
    pub fn start_again(&mut self) {
        let mut process = Process::spawn(&self.sandbox);
        self.addr = process.wait_listening();
        self.process = Some(process);
    }

    /// A rolling restart: the next process waits for the database before this one is stopped. On a server, both serve before.
    #[track_caller]
    pub fn roll(&mut self) {
        if database::is_on_server() {
            let mut next = self.second();
            let addr = next.wait_listening();
            assert_eq!(self.stop().code(), Some(0), "a server exits with 0 after SIGTERM");
            (self.addr, self.process) = (addr, Some(next));
            return;
        }
        const WAITS: &str = "waiting for another process to release the database";
        let before = self.log().matches(WAITS).count();
        let mut next = self.second();
        let end = Instant::now() + DEADLINE;
        while self.log().matches(WAITS).count() == before {
            assert!(!next.ended_by_now(), "the next process exits instead of waiting:\n{}", self.log());
            assert!(Instant::now() < end, "the next process does not log that it waits:\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.stop().code(), Some(0), "a server exits with 0 after SIGTERM");
        self.addr = next.wait_listening();
        self.process = Some(next);
    }

    /// Starts again after a stop; the start must fail.
    #[track_caller]
    pub fn failed_restart(&mut self) -> FailedStart {
        assert!(self.process.is_none(), "stop the server first");
        Process::spawn(&self.sandbox).into_failed_start()
    }

    /// Sets a variable for the next start.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.sandbox.options = self.sandbox.options.clone().set(name, value);
    }

    /// The running process.
    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the server runs")
    }

    /// The sandbox of the server, for other commands.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The path of the database file. See [`database`] for one on a server.
    pub fn database(&self) -> PathBuf {
        self.sandbox.database()
    }

    /// Waits until the log contains a text.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        let end = Instant::now() + DEADLINE;
        while !self.log().contains(text) {
            assert!(Instant::now() < end, "{text:?} is not logged:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The log of all starts of this server.
    pub fn log(&self) -> String {
        self.sandbox.directory.log()
    }
}

/// A program that exited instead of starting.
pub struct FailedStart {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its output on standard error.
    pub stderr: String,
}

/// One run of the program. It is killed on drop.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    directory: Arc<Directory>,
    _durability: Option<Durability>,
}

impl Process {
    fn spawn(sandbox: &Sandbox) -> Process {
        let directory = &sandbox.directory;
        let log = File::options().create(true).append(true).open(directory.log_path()).expect("a file for the log");
        let mut command = sandbox.command();
        let stdin = match &sandbox.options.handed_over {
            None => Stdio::null(),
            Some(socket) => socket.try_clone().expect("a second handle").into(),
        };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(log);
        let durability = sandbox.options.is_production().then(Durability::begin);
        let mut child = command.spawn().expect("the program starts");
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // The pipe is drained even if the test no longer reads it.
                let _ = sender.send(line);
            }
        });
        Process { child, lines, directory: directory.clone(), _durability: durability }
    }

    /// Waits until it listens. Returns the address.
    #[track_caller]
    pub fn wait_listening(&mut self) -> SocketAddr {
        match self.listening_or_ended() {
            Some(addr) => addr,
            None => panic!("ended before it listened, {:?}:\n{}", self.child.wait(), self.directory.log()),
        }
    }

    /// Waits until it listens or exits. Returns the address if it listens.
    #[track_caller]
    pub fn listening_or_ended(&mut self) -> Option<SocketAddr> {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => match listening_line(&line) {
                    Some(addr) => return Some(addr),
                    None => continue,
                },
                Err(RecvTimeoutError::Timeout) => panic!("neither listens nor ends:\n{}", self.directory.log()),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// The address, if it listens already.
    pub fn listening_by_now(&mut self) -> Option<SocketAddr> {
        self.lines.try_iter().find_map(|line| listening_line(&line))
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has exited.
    pub fn ended_by_now(&mut self) -> bool {
        self.child.try_wait().expect("the child's state can be read").is_some()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: the child has not been waited for, so its id is not reused.
        let sent = unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
    }

    /// Waits for its exit.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child's state can be read") {
                return status;
            }
            assert!(Instant::now() < end, "did not exit in time:\n{}", self.directory.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    fn into_failed_start(mut self) -> FailedStart {
        let status = self.wait_exit();
        let failed = FailedStart { code: status.code(), stderr: self.directory.log() };
        assert!(self.listening_by_now().is_none(), "it listened before it exited:\n{}", failed.stderr);
        failed
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- what the server logged ---\n{}\n---", self.directory.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listening_line(line: &str) -> Option<SocketAddr> {
    let addr = line.strip_prefix("listening on http://")?;
    Some(addr.parse().unwrap_or_else(|error| panic!("{addr}: {error}")))
}

/// A directory that is removed with its last reference, and the database on the server that stands for its file.
pub struct Directory(PathBuf);

impl Directory {
    fn with(files: &[(&'static str, Vec<u8>)]) -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cortex-core-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        // An earlier test program with the same process id may have left it.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a directory for the test");
        for (name, content) in files {
            fs::write(path.join(name), content).expect("a file in the directory");
        }
        Directory(path)
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn database(&self) -> PathBuf {
        self.0.join("cortex.db")
    }

    fn log_path(&self) -> PathBuf {
        self.0.join("stderr.log")
    }

    fn log(&self) -> String {
        fs::read(self.log_path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        database::remove(&self.database());
        let _ = fs::remove_dir_all(&self.0);
    }
}
