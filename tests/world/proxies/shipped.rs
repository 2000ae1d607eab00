//! Proxies with the configurations of `deploy/`, each in a directory of its own.

use crate::clients::follower::Running;
use crate::common::DEADLINE;
use crate::common::port::free_port;
use crate::tools;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A proxy with a shipped configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Caddy,
}

/// A running proxy with its own directory. It is killed on drop.
pub struct Shipped {
    running: Running,
    directory: PathBuf,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Shipped {
    /// Starts the proxy in front of a server. `None` when these tests are left out.
    #[track_caller]
    pub fn start(kind: Kind, server: SocketAddr) -> Option<Shipped> {
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let directory = new_directory(&format!("{kind:?}"));
        let command = match kind {
            Kind::Nginx => {
                let shipped = include_str!("../../../deploy/nginx.conf");
                let config = replaced(
                    shipped,
                    &[
                        ("127.0.0.1:8000", &server.to_string()),
                        ("listen 80;", &format!("listen {addr};")),
                        ("/var/log/nginx", &directory.display().to_string()),
                    ],
                );
                nginx(tools::nginx()?, &directory, &config)
            }
            Kind::Caddy => {
                let shipped = include_str!("../../../deploy/Caddyfile");
                let config = replaced(
                    shipped,
                    &[
                        ("127.0.0.1:8000", &server.to_string()),
                        // Several run at once.
                        ("\n{\n", "\n{\n\tadmin off\n"),
                        (":80 {\n", &format!("http://:{} {{\n\tbind 127.0.0.1\n", addr.port())),
                    ],
                );
                let file = directory.join("Caddyfile");
                fs::write(&file, config).expect("it can be written");
                let mut command = Command::new(tools::caddy()?);
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file).env("HOME", &directory);
                command
            }
        };
        Some(Shipped { running: listening(command, addr), directory, addr })
    }

    /// Everything that it has logged, in files and on standard error.
    pub fn logs(&self) -> String {
        let files = fs::read_dir(&self.directory).expect("its directory").map(|entry| entry.expect("an entry").path());
        let logs = files.filter(|file| file.extension().is_some_and(|extension| extension == "log"));
        let text = |file: PathBuf| String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned();
        logs.map(text).collect::<String>() + &self.running.all_errors()
    }
}

impl Drop for Shipped {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// nginx in front of another proxy, without any configuration for streams.
pub struct Outer {
    _running: Running,
    directory: PathBuf,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Outer {
    /// Starts nginx in front of another proxy. `None` when these tests are left out.
    #[track_caller]
    pub fn start(inner: SocketAddr) -> Option<Outer> {
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let directory = new_directory("outer");
        let config = format!("gzip on; server {{ listen {addr}; location / {{ proxy_pass http://{inner}; }} }}");
        let running = listening(nginx(tools::nginx()?, &directory, &config), addr);
        Some(Outer { _running: running, directory, addr })
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// nginx with a configuration in its http block.
#[track_caller]
fn nginx(program: &str, directory: &Path, included: &str) -> Command {
    fs::write(directory.join("included.conf"), included).expect("it can be written");
    // Paths for an unprivileged proxy.
    let place = directory.display();
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {place}/{name};"))
        .concat();
    let config = directory.join("nginx.conf");
    let whole = format!(
        "daemon off; pid {place}/pid; error_log {place}/error.log notice; events {{}}
        http {{ access_log {place}/access.log; {paths} include {place}/included.conf; }}"
    );
    fs::write(&config, whole).expect("it can be written");
    let start = || {
        let mut command = Command::new(program);
        command.arg("-p").arg(directory).arg("-e").arg(directory.join("error.log")).arg("-c").arg(&config);
        command
    };
    let checked = start().arg("-t").output().expect("it starts");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    start()
}

/// Starts a proxy and waits until it listens.
#[track_caller]
pub fn listening(command: Command, addr: SocketAddr) -> Running {
    let running = Running::start(command);
    let end = Instant::now() + DEADLINE;
    while TcpStream::connect(addr).is_err() {
        assert!(Instant::now() < end, "the proxy does not listen: {}", running.errors());
        thread::sleep(Duration::from_millis(5));
    }
    running
}

fn new_directory(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("cortex-core-{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let directory = std::env::temp_dir().join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).expect("a directory for the proxy");
    directory
}

/// A shipped configuration with the addresses and paths of a test.
#[track_caller]
fn replaced(shipped: &str, replacements: &[(&str, &str)]) -> String {
    replacements.iter().fold(shipped.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the configuration has {from:?}");
        text.replace(from, to)
    })
}
