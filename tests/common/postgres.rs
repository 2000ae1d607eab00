//! A PostgreSQL server of the tests' own, in a temporary directory, for tests that run on both engines.
//!
//! `CORTEX_TEST_ENGINE=postgres` selects it. The server runs as an ordinary user on the loopback address. It is started once for
//! each test program, and ends with it.

#![allow(dead_code)]

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

/// Whether the tests run on a server.
pub fn is_selected() -> bool {
    std::env::var("CORTEX_TEST_ENGINE").is_ok_and(|engine| engine == "postgres")
}

/// The databases that stand for files.
static CREATED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The address of the database that stands for the file at `path`. The first call for a path creates it.
pub fn address_of(path: &Path) -> String {
    let (name, server) = (name_of(path), TestServer::shared());
    if CREATED.lock().unwrap().insert(name.clone()) {
        server.create_database(&name);
    }
    server.address(&name)
}

/// Runs a statement in the database that stands for the file at `path`, and returns what `psql` prints.
#[track_caller]
pub fn run_for(path: &Path, statement: &str) -> String {
    TestServer::shared().run(statement, &name_of(path))
}

/// Removes the database that stands for the file at `path`, if there is one.
pub fn remove_for(path: &Path) {
    let name = name_of(path);
    if CREATED.lock().unwrap().remove(&name) {
        // This runs when tests end, also by a panic. What stays is removed with the server.
        let drop = format!("DROP DATABASE {name} WITH (FORCE)");
        let _ = psql(TestServer::shared().port, "postgres").args(["-c", &drop]).output();
    }
}

/// Copies the database that stands for the file at `from`, which must have no session. Returns the address of the copy.
pub fn copy_database(from: &Path, to: &Path) -> String {
    let (name, server) = (name_of(to), TestServer::shared());
    server.copy_database(&name_of(from), &name);
    server.address(&name)
}

/// A session that has executed statements in the database that stands for a file. It ends on drop.
pub struct Session(Child);

impl Session {
    /// Opens a session and waits until the statements are executed.
    #[track_caller]
    pub fn with(path: &Path, statements: &str) -> Session {
        let mut psql = psql(TestServer::shared().port, &name_of(path))
            .args(["-v", "ON_ERROR_STOP=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql can be run");
        writeln!(psql.stdin.as_mut().expect("a pipe"), "{statements}\n\\echo done.").expect("psql reads");
        expect_line(&mut psql, b"done.\n");
        Session(psql)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Without input, psql ends.
        self.0.stdin = None;
        let _ = self.0.wait();
    }
}

/// While one of these exists, the shared server keeps what it commits even if the machine stops, as production requires.
pub struct Durability(());

/// The number of [`Durability`] values.
static DURABILITIES: Mutex<u32> = Mutex::new(0);

impl Durability {
    /// Makes the server durable. Programs that start from now on see this.
    pub fn begin() -> Durability {
        let mut count = DURABILITIES.lock().unwrap();
        if *count == 0 {
            set_durable("on");
        }
        *count += 1;
        Durability(())
    }
}

impl Drop for Durability {
    fn drop(&mut self) {
        let mut count = DURABILITIES.lock().unwrap();
        *count -= 1;
        if *count == 0 {
            set_durable("off");
        }
    }
}

fn set_durable(value: &str) {
    let server = TestServer::shared();
    for name in ["fsync", "full_page_writes"] {
        server.run(&format!("ALTER SYSTEM SET {name} = {value}"), "postgres");
    }
    server.run("SELECT pg_reload_conf()", "postgres");
    while server.run("SHOW fsync", "postgres") != value {
        thread::sleep(Duration::from_millis(10));
    }
}

/// The name of the database that stands for the file at `path`.
fn name_of(path: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    format!("t{:016x}", hasher.finish())
}

/// A running server.
pub struct TestServer {
    port: u16,
    /// Carries out orders. It stops the server and removes its directory as soon as its standard input is closed.
    guard: Mutex<Child>,
}

impl TestServer {
    /// The server of this process.
    pub fn shared() -> &'static TestServer {
        static SERVER: OnceLock<TestServer> = OnceLock::new();
        SERVER.get_or_init(TestServer::start)
    }

    /// The socket at which it accepts sessions.
    pub fn socket(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The address of a database.
    pub fn address(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Creates an empty database.
    pub fn create_database(&self, name: &str) {
        self.run(&format!("CREATE DATABASE {name}"), "postgres");
    }

    /// Creates a database with the content of another one, which must have no session.
    pub fn copy_database(&self, from: &str, name: &str) {
        self.run(&format!("CREATE DATABASE {name} TEMPLATE {from}"), "postgres");
    }

    /// Removes a database, and ends its sessions.
    pub fn drop_database(&self, name: &str) {
        self.run(&format!("DROP DATABASE {name} WITH (FORCE)"), "postgres");
    }

    /// Runs a statement in a database, and returns what `psql` prints.
    #[track_caller]
    pub fn run(&self, statement: &str, database: &str) -> String {
        run_at(self.port, statement, database)
    }

    /// Kills all processes of the server.
    pub fn kill(&self) {
        self.order("kill");
    }

    /// Starts the server again.
    pub fn start_again(&self) {
        self.order("start");
    }

    /// Makes the server, a standby, one that accepts writes. It needs no primary.
    pub fn promote(&self) {
        self.order("promote");
    }

    /// Ends the copying from the primary. What the server, a standby, has not received by then, it lacks.
    pub fn stop_receiving(&self) {
        self.run("ALTER SYSTEM SET primary_conninfo = ''", "postgres");
        self.run("SELECT pg_reload_conf()", "postgres");
        while self.run("SELECT count(*) FROM pg_stat_wal_receiver", "postgres") != "0" {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops all processes of the server, which keep their connections.
    pub fn pause(&self) {
        self.order("pause");
    }

    /// Lets the processes run again.
    pub fn resume(&self) {
        self.order("continue");
    }

    /// The port of the server on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn order(&self, order: &str) {
        let mut guard = self.guard.lock().unwrap();
        writeln!(guard.stdin.as_mut().expect("a pipe"), "{order}").expect("the script runs");
        expect_line(&mut guard, b"done.\n");
    }

    /// Starts a server of its own, for a test that stops it.
    pub fn start() -> TestServer {
        TestServer::start_at(free_port(), None)
    }

    /// Starts a standby of another server, on a port that nothing uses any more.
    pub fn standby_of(primary: &TestServer, port: u16) -> TestServer {
        TestServer::start_at(port, Some(primary.port))
    }

    fn start_at(port: u16, primary: Option<u16>) -> TestServer {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let directory = std::env::temp_dir().join(format!(
            "cortex-postgres-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("a temporary directory");
        let script = include_str!("postgres.sh");
        let mut guard = Command::new("bash")
            .args(["-c", script, "postgres.sh"])
            .arg(binaries())
            .arg(&directory)
            .arg(port.to_string())
            .args(primary.map(|port| port.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash can be run");
        expect_line(&mut guard, b"ready\n");
        TestServer { port, guard: Mutex::new(guard) }
    }
}

/// Runs a statement in a database of the server at a port, and returns what `psql` prints.
#[track_caller]
pub fn run_at(port: u16, statement: &str, database: &str) -> String {
    let output = psql(port, database).args(["-c", statement]).output().expect("psql can be run");
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// The client program of the server, for a database of the server at a port.
fn psql(port: u16, database: &str) -> Command {
    let mut command = Command::new(binaries().join("psql"));
    command.args([
        "-X",
        "-q",
        "-A",
        "-t",
        "-h",
        "127.0.0.1",
        "-p",
        &port.to_string(),
        "-U",
        "postgres",
        "-d",
        database,
    ]);
    command
}

/// A port that nothing uses.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

/// Reads a line that the script prints when it is done.
fn expect_line(guard: &mut Child, expected: &[u8; 6]) {
    let mut line = [0; 6];
    let read = guard.stdout.as_mut().expect("a pipe").read_exact(&mut line);
    assert!(read.is_ok() && &line == expected, "the server of the tests fails: {:?}", String::from_utf8_lossy(&line));
}

/// The directory of the server's programs, of the newest version that is installed.
fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists()).max();
    newest.expect("PostgreSQL is installed (Debian's package `postgresql`)")
}
