//! Third-party proxies, each as a process in its own directory, with a log of the forwarded requests.

use crate::common::DEADLINE;
use crate::common::port::free_port;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The proxy program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// nginx, configured as liberally as possible.
    Nginx,
    /// HAProxy, configured as liberally as possible.
    Haproxy,
}

/// A running proxy. It is killed on drop.
///
/// It keeps connections to the server and shares them between clients, retries nothing, and assigns each request an id:
/// `X-Request-Id` to the server, `X-Proxy-Id` to the client.
pub struct Proxy {
    kind: Kind,
    child: Child,
    directory: PathBuf,
    /// The address it listens on.
    pub addr: SocketAddr,
}

impl Proxy {
    /// Starts a proxy in front of `server`. It waits `timeout_seconds` for either side. `None` if these tests are
    /// skipped.
    #[track_caller]
    pub fn start(kind: Kind, server: SocketAddr, timeout_seconds: u32) -> Option<Proxy> {
        if std::env::var("CORTEX_SKIP_CLIENTS").is_ok_and(|value| value == "1") {
            let _ = writeln!(std::io::stderr(), "skipped: the test with {kind:?}, because CORTEX_SKIP_CLIENTS=1");
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cortex-core-proxy-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).expect("a directory for the proxy");
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let place = directory.to_str().expect("the directory's name is UTF-8");
        let log = File::create(directory.join("said.log")).expect("a file for its log");
        let errors = log.try_clone().expect("a second handle");
        let mut command = match kind {
            Kind::Nginx => {
                fs::write(directory.join("conf"), nginx(place, addr, server, timeout_seconds))
                    .expect("the configuration can be written");
                let mut command = program("nginx");
                command.args(["-p", place, "-e", "error.log", "-c", "conf"]);
                command
            }
            Kind::Haproxy => {
                fs::write(directory.join("conf"), haproxy(addr, server, timeout_seconds))
                    .expect("the configuration can be written");
                let mut command = program("haproxy");
                command.args(["-db", "-f", "conf"]);
                command
            }
        };
        command.current_dir(&directory).stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().expect("the proxy starts");
        let mut proxy = Proxy { kind, child, directory, addr };
        proxy.wait_listening();
        Some(proxy)
    }

    #[track_caller]
    fn wait_listening(&mut self) {
        let end = Instant::now() + DEADLINE;
        while TcpStream::connect(self.addr).is_err() {
            let ended = self.child.try_wait().expect("the child's state can be read");
            assert!(ended.is_none() && Instant::now() < end, "{:?} does not start: {}", self.kind, self.said());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The ids of all requests forwarded to the server, from its log so far.
    pub fn forwarded(&self) -> BTreeSet<String> {
        let name = match self.kind {
            Kind::Nginx => "access.log",
            Kind::Haproxy => "said.log",
        };
        let log = fs::read(self.directory.join(name)).unwrap_or_default();
        let mut ids = BTreeSet::new();
        for line in String::from_utf8_lossy(&log).lines() {
            // The markers of a request that was not forwarded differ between nginx and HAProxy.
            if let [mark, id, server, ..] = line.split(' ').collect::<Vec<_>>()[..]
                && mark == "passed"
                && !matches!(server, "-" | "<NOSRV>")
            {
                assert!(ids.insert(id.to_owned()), "{:?} used the id {id} twice", self.kind);
            }
        }
        ids
    }

    fn said(&self) -> String {
        let read = |name| fs::read(self.directory.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[read("said.log"), read("error.log")].concat()).into_owned()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The program, which Debian installs outside the usual path.
#[track_caller]
fn program(name: &str) -> Command {
    for path in [name.to_owned(), format!("/usr/sbin/{name}")] {
        let mut version = Command::new(&path);
        version.arg("-v").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if version.status().is_ok_and(|status| status.success()) {
            return Command::new(path);
        }
    }
    panic!("{name} is missing: install it, run tests/run, or set CORTEX_SKIP_CLIENTS=1");
}

/// A single process without a master, with all files in `place`.
fn nginx(place: &str, addr: SocketAddr, server: SocketAddr, timeout_seconds: u32) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("    {what}_temp_path {place}/{what};\n"))
        .collect();
    format!(
        "daemon off;
master_process off;
pid {place}/pid;
error_log {place}/error.log warn;
events {{ worker_connections 512; }}
http {{
{temporary}
    log_format ids 'passed $request_id $upstream_status';
    access_log {place}/access.log ids;
    client_header_timeout {timeout_seconds}s;
    client_body_timeout {timeout_seconds}s;
    keepalive_timeout {timeout_seconds}s;
    lingering_timeout {timeout_seconds}s;
    client_max_body_size 4m;
    large_client_header_buffers 4 32k;
    underscores_in_headers on;
    ignore_invalid_headers off;
    merge_slashes off;
    upstream cortex {{ server {server}; keepalive 16; }}
    server {{
        listen {addr};
        location / {{
            proxy_pass http://cortex;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
            proxy_set_header Host $http_host;
            proxy_set_header X-Request-Id $request_id;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_request_buffering off;
            proxy_next_upstream off;
            proxy_read_timeout {timeout_seconds}s;
            proxy_pass_header X-Accel-Buffering;
            add_header X-Proxy-Id $request_id always;
        }}
    }}
}}
"
    )
}

fn haproxy(addr: SocketAddr, server: SocketAddr, timeout_seconds: u32) -> String {
    format!(
        "global
    log stdout format raw local0
    maxconn 512
    nbthread 1
defaults
    mode http
    log global
    log-format \"passed %ID %s\"
    unique-id-format %[uuid()]
    retries 0
    timeout connect 30s
    timeout client {timeout_seconds}s
    timeout http-request {timeout_seconds}s
    timeout http-keep-alive {timeout_seconds}s
    timeout server {timeout_seconds}s
frontend all
    bind {addr}
    option accept-invalid-http-request
    http-request set-header X-Request-Id %[unique-id]
    http-after-response set-header X-Proxy-Id %[unique-id]
    default_backend cortex
backend cortex
    http-reuse always
    option forwardfor
    server cortex {server}
"
    )
}
