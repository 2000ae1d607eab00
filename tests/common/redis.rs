//! Redis servers of the tests' own, on the loopback address, without persistence, each in a temporary directory.

use super::port::free_port;
use super::{DEADLINE, eventually};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The name under which a Sentinel knows the servers that it watches.
pub const SENTINEL_NAME: &str = "cortex";
/// The password of a protected server.
pub const PASSWORD: &str = "a good pass phrase of Redis";
/// The certificate of a protected server is for `localhost` and 127.0.0.1, and is signed by `authority.pem`.
const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/formats/upstream/certificates");
/// A Sentinel replaces a server that has not replied for this time.
const SENTINEL_DOWN_AFTER_MS: u32 = 500;

/// A server on a port that it keeps when it is started again. It is killed on drop.
pub struct TestRedis {
    port: u16,
    tls_port: Option<u16>,
    directory: PathBuf,
    arguments: Vec<String>,
    /// The process, unless it was killed.
    process: Mutex<Option<Child>>,
}

impl TestRedis {
    /// Starts a server that anyone may use.
    #[track_caller]
    pub fn start() -> TestRedis {
        TestRedis::launch(free_port(), None, |_| Vec::new())
    }

    /// Starts a server that requires [`PASSWORD`] and also accepts encrypted connections, on another port.
    #[track_caller]
    pub fn start_protected() -> TestRedis {
        let tls_port = free_port();
        let settings = [
            ("--requirepass", PASSWORD.to_owned()),
            ("--tls-port", tls_port.to_string()),
            ("--tls-cert-file", format!("{CERTIFICATES}/server.pem")),
            ("--tls-key-file", format!("{CERTIFICATES}/server.key")),
            ("--tls-ca-cert-file", format!("{CERTIFICATES}/authority.pem")),
            ("--tls-auth-clients", "no".to_owned()),
        ];
        let arguments = settings.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        TestRedis::launch(free_port(), Some(tls_port), |_| arguments)
    }

    /// Starts a server that copies another one.
    #[track_caller]
    pub fn replica_of(primary: &TestRedis) -> TestRedis {
        let replicated = format!("127.0.0.1 {}", primary.port);
        TestRedis::launch(free_port(), None, |_| vec!["--replicaof".to_owned(), replicated])
    }

    /// Starts a Sentinel, which makes a replica of this server the primary when the server does not reply. Returns when it knows the
    /// replica.
    #[track_caller]
    pub fn sentinel_of(primary: &TestRedis, replica: &TestRedis) -> TestRedis {
        let sentinel = TestRedis::launch(free_port(), None, |directory| {
            // A Sentinel stores what it knows in this file.
            let (path, port) = (directory.join("sentinel.conf"), primary.port);
            let settings = format!(
                "sentinel monitor {SENTINEL_NAME} 127.0.0.1 {port} 1\n\
                 sentinel down-after-milliseconds {SENTINEL_NAME} {SENTINEL_DOWN_AFTER_MS}\n\
                 sentinel failover-timeout {SENTINEL_NAME} 2000\n"
            );
            fs::write(&path, settings).expect("a file in the directory");
            vec![path.display().to_string(), "--sentinel".to_owned()]
        });
        let address = format!("127.0.0.1:{}", replica.port);
        eventually("the Sentinel knows the replica, which has a copy", || {
            sentinel.run(&["SENTINEL", "REPLICAS", SENTINEL_NAME]).contains(&address)
                && replica.run(&["INFO", "replication"]).contains("master_link_status:up")
        });
        sentinel
    }

    /// The port for connections that are not encrypted.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address for connections that are not encrypted, without a password.
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// The address of a protected server for encrypted connections, with the password.
    pub fn protected_url(&self) -> String {
        let port = self.tls_port.expect("the server is protected");
        format!("rediss://default:{}@127.0.0.1:{port}", PASSWORD.replace(' ', "%20"))
    }

    /// The address of this Sentinel, for a program that asks it for the primary.
    pub fn sentinel_url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/{SENTINEL_NAME}", self.port)
    }

    /// The certificate that a client of a protected server must trust.
    pub fn authority() -> PathBuf {
        Path::new(CERTIFICATES).join("authority.pem")
    }

    /// Runs a command of Redis, and returns what `redis-cli` prints.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-e", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if self.tls_port.is_some() {
            command.env("REDISCLI_AUTH", PASSWORD);
        }
        let output = command.args(arguments).output().expect("redis-cli can be run (Debian's package `redis-tools`)");
        let printed = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        let is_good = output.status.success() && output.stderr.is_empty();
        assert!(is_good, "{arguments:?}: {printed}{}", String::from_utf8_lossy(&output.stderr));
        printed
    }

    /// The port of the server that this Sentinel calls the primary.
    #[track_caller]
    pub fn primary_port(&self) -> u16 {
        let address = self.run(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SENTINEL_NAME]);
        address.lines().nth(1).and_then(|port| port.parse().ok()).expect("an address and a port")
    }

    /// Kills the process. Its connections break.
    pub fn kill(&self) {
        let mut process = self.process.lock().unwrap().take().expect("the server runs");
        process.kill().and_then(|()| process.wait()).expect("the server can be killed");
    }

    /// Starts the server again after it was killed. It has no data.
    #[track_caller]
    pub fn start_again(&self) {
        let mut process = self.process.lock().unwrap();
        assert!(process.is_none(), "the server runs");
        *process = Some(self.spawn());
    }

    /// Stops the process, which keeps its connections.
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets the process run again.
    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: i32) {
        let process = self.process.lock().unwrap();
        let id = process.as_ref().expect("the server runs").id();
        // SAFETY: the child has not been waited for, so its id is not reused.
        let sent = unsafe { libc::kill(id as libc::pid_t, signal) };
        assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
    }

    #[track_caller]
    fn launch(port: u16, tls_port: Option<u16>, arguments: impl FnOnce(&Path) -> Vec<String>) -> TestRedis {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("cortex-redis-{}-{number}", std::process::id()));
        // An earlier test program with the same process id may have left it.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).expect("a temporary directory");
        let arguments = arguments(&directory);
        let redis = TestRedis { port, tls_port, directory, arguments, process: Mutex::new(None) };
        redis.start_again();
        redis
    }

    #[track_caller]
    fn spawn(&self) -> Child {
        let (port, directory) = (self.port.to_string(), self.directory.display().to_string());
        let log = format!("{directory}/server.log");
        let mut command = Command::new("redis-server");
        command.args(&self.arguments).args(["--port", &port, "--bind", "127.0.0.1", "--dir", &directory]);
        command.args(["--save", "", "--appendonly", "no", "--logfile", &log]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut child = child.expect("Redis is installed (Debian's package `redis-server`)");
        let end = Instant::now() + DEADLINE;
        while !replies(self.port) {
            let has_ended = child.try_wait().expect("the child's state can be read").is_some();
            let in_time = !has_ended && Instant::now() < end;
            assert!(in_time, "Redis does not start:\n{}", fs::read_to_string(&log).unwrap_or_default());
            thread::sleep(Duration::from_millis(5));
        }
        child
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            let _ = (process.kill(), process.wait());
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The address of a server on a port of the loopback address.
pub fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// Whether a server replies, possibly that a password is missing.
fn replies(port: u16) -> bool {
    let mut reply = [0; 1];
    let replied = TcpStream::connect(("127.0.0.1", port)).and_then(|mut socket| {
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.write_all(b"PING\r\n")?;
        socket.read_exact(&mut reply)
    });
    replied.is_ok() && matches!(reply[0], b'+' | b'-')
}
