//! The server under load: a child process with its own database.

use super::{cores, http};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cortex_core::internals::random::fill_secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

const START_MAX: Duration = Duration::from_secs(15);
const STOP_MAX: Duration = Duration::from_secs(15);
/// A setting with which 15,000 streams have an outbox each; by default, there are about 12,000.
pub const MEMORY_OF_MANY_STREAMS: (&str, &str) = ("MEMORY_LIMIT_BYTES", "2147483648");
const LISTENING: &str = "listening on http://";

/// A running server; it is stopped and its files are removed on drop.
pub struct Server {
    pub address: SocketAddr,
    /// Valid for one user, for longer than the benchmark.
    pub token: String,
    secret: String,
    // Fields are dropped in this order: the process ends before its files are removed.
    process: Process,
    _directory: TemporaryDirectory,
}

/// The server's commits so far, or between two readings.
#[derive(Clone, Copy)]
pub struct CommitCounts {
    pub commits: u64,
    pub commands: u64,
}

impl CommitCounts {
    pub fn since(self, before: CommitCounts) -> CommitCounts {
        CommitCounts { commits: self.commits - before.commits, commands: self.commands - before.commands }
    }
}

impl Server {
    /// Starts the program built with this benchmark (or `BENCH_PROGRAM`, to compare) on `core` with additional
    /// settings, and waits until it listens.
    pub fn start(core: Option<usize>, settings: &[(&str, &str)]) -> Result<Server, String> {
        let secret = random_hex::<32>();
        let directory = TemporaryDirectory::new()?;
        let mut command =
            Command::new(std::env::var_os("BENCH_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_cortex-core").into()));
        command
            .env_clear()
            .current_dir(&directory.0)
            .envs([("ENV", "development"), ("HOST", "127.0.0.1"), ("PORT", "0"), ("WORKERS", "1")])
            .env("MAX_CONNECTIONS_PER_ADDRESS", "0")
            .envs([("LOG_LEVEL", "WARNING"), ("RESPONDER", "none"), ("JWT_SECRET_KEY", secret.as_str())])
            .env("DATABASE_URL", format!("sqlite:///{}", directory.0.join("bench.db").display()))
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = spawn_on(&mut command, core).map_err(|error| format!("cannot start the server: {error}"))?;
        let stdout = child.stdout.take().expect("stdout is piped");
        let process = Process(child);
        let address = wait_for_address(stdout)?;
        let token = sign_token(&secret, "bench");
        Ok(Server { address, token, secret, process, _directory: directory })
    }

    /// The number of its process.
    pub fn process_id(&self) -> u32 {
        self.process.0.id()
    }

    /// A token of another user.
    pub fn token_of(&self, user: &str) -> String {
        sign_token(&self.secret, user)
    }

    /// Processor time of all its threads so far, in user space and in the kernel.
    pub fn cpu_time(&self) -> Duration {
        process_cpu_time(self.process.0.id()).expect("a running process has a clock")
    }

    /// Its resident memory in bytes, without kernel memory of sockets (proc_pid_statm(5)).
    pub fn resident_bytes(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/statm", self.process.0.id());
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let pages: Option<u64> = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
        // SAFETY: it reads a constant of the system.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
        Ok(pages.ok_or_else(|| format!("{path}: {text:?}"))? * page_bytes)
    }

    /// The counters of commits, if `GET /metrics` has them.
    pub fn commit_counts(&self) -> Option<CommitCounts> {
        let response = http::fetch(self.address, "/metrics").ok()?;
        let text = std::str::from_utf8(&response).ok()?;
        let value = |name: &str| -> Option<u64> {
            let mut samples = text.lines().filter_map(|line| line.split_once(' ')).filter(|(key, _)| *key == name);
            Some(samples.next()?.1.trim().parse::<f64>().ok()? as u64)
        };
        Some(CommitCounts {
            commits: value("cortex_commits_total")?,
            commands: value("cortex_commands_committed_total")?,
        })
    }
}

/// Starts a process on `core`. It does not outlive a killed benchmark.
pub fn spawn_on(command: &mut Command, core: Option<usize>) -> io::Result<Child> {
    // SAFETY: between fork and exec this makes system calls only, and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            core.map_or(Ok(()), cores::pin_this_thread)
        });
    }
    command.spawn()
}

/// Processor time of all threads of a process so far, in user space and in the kernel; `None` if it has ended.
pub fn process_cpu_time(id: u32) -> Option<Duration> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both pointers are valid during the calls.
    let failed = unsafe {
        libc::clock_getcpuclockid(id as libc::pid_t, &mut clock) != 0 || libc::clock_gettime(clock, &mut time) != 0
    };
    (!failed).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// The address in the line that announces it; later output is drained, so that the server never blocks.
fn wait_for_address(stdout: ChildStdout) -> Result<SocketAddr, String> {
    let (found, finding) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some((_, address)) = line.split_once(LISTENING) {
                // The receiver is gone if the start was given up.
                let _ = found.send(address.trim().trim_end_matches('/').to_owned());
            }
        }
    });
    match finding.recv_timeout(START_MAX) {
        Ok(address) => address.parse().map_err(|_| format!("no address: {address:?}")),
        Err(mpsc::RecvTimeoutError::Timeout) => {
            Err(format!("the server did not listen within {} s", START_MAX.as_secs()))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => Err("the server ended before it listened".into()),
    }
}

/// A child process; it is stopped on drop.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // SAFETY: the child has not been waited for, so its id is not reused.
        unsafe { libc::kill(self.0.id() as libc::pid_t, libc::SIGTERM) };
        let deadline = Instant::now() + STOP_MAX;
        while Instant::now() < deadline {
            match self.0.try_wait() {
                Ok(Some(_)) | Err(_) => return,
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        eprintln!("a process did not stop within {} s and is killed", STOP_MAX.as_secs());
        if self.0.kill().is_ok() {
            // After SIGKILL, waiting cannot fail; it frees the files.
            let _ = self.0.wait();
        }
    }
}

/// A directory in the target directory, which is on a disk, unlike `/tmp` on some machines, since syncs are measured.
pub struct TemporaryDirectory(pub PathBuf);

impl TemporaryDirectory {
    pub fn new() -> Result<TemporaryDirectory, String> {
        TemporaryDirectory::inside(Path::new(env!("CARGO_TARGET_TMPDIR")))
    }

    pub fn inside(parent: &Path) -> Result<TemporaryDirectory, String> {
        let path = parent.join(format!("bench-{}", random_hex::<8>()));
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(TemporaryDirectory(path))
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// A JWT (RFC 7519) with HS256, valid for a day.
pub fn sign_token(secret: &str, user: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let claims = format!(
        r#"{{"oid":"{user}","name":"Bench","email":"bench@example.com","iat":{now},"exp":{}}}"#,
        now + 24 * 60 * 60
    );
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC accepts a key of any length");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

pub fn random_hex<const BYTES: usize>() -> String {
    let mut bytes = [0; BYTES];
    fill_secret(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
