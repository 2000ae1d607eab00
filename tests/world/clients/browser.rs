//! Browsers that run clients in a page, without a driver: the page posts what the clients show.

use super::follower::{Follower, Running};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// A browser that runs a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Chromium,
    Firefox,
}

/// A client in the page.
pub struct PageClient {
    /// Its name.
    pub name: String,
    /// Its module in `page/`.
    pub module: &'static str,
    /// Whether the page adds the headers of tracing libraries to each request.
    pub is_traced: bool,
    /// The server, as the client reaches it.
    pub server: SocketAddr,
    /// A bearer token.
    pub token: String,
}

/// A browser that shows the page.
pub struct Browser {
    running: Running,
    directory: PathBuf,
}

impl Browser {
    /// Starts a browser with a page that runs these clients. Returns a follower for each, in order.
    #[track_caller]
    pub fn start(kind: Kind, program: &Path, packages: &Path, clients: &[PageClient]) -> (Browser, Vec<Follower>) {
        let (senders, receivers): (Vec<_>, Vec<_>) = clients.iter().map(|_| channel()).unzip();
        let page = Page {
            packages: packages.to_owned(),
            clients: list(clients).to_string(),
            senders: Mutex::new(clients.iter().map(|client| client.name.clone()).zip(senders).collect()),
        };
        // In development, the server allows origins of localhost on any port.
        let url = format!("http://localhost:{}/", page.serve().port());
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cortex-core-{kind:?}-{}-{count}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).expect("a directory for the browser");
        let mut command = Command::new(program);
        command.env("HOME", &directory);
        match kind {
            Kind::Chromium => {
                command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
                command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
                command.args(["--disable-dev-shm-usage", "--no-proxy-server"]);
                command.arg(format!("--user-data-dir={}", directory.display())).arg(url);
            }
            Kind::Firefox => {
                fs::write(directory.join("user.js"), FIREFOX_SETTINGS).expect("a file for its settings");
                command.args(["--headless", "--no-remote", "--profile"]).arg(&directory).arg(url);
            }
        }
        let running = Running::start(command);
        let followers = receivers.into_iter().map(Follower::in_page).collect();
        (Browser { running, directory }, followers)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the browser's errors ---{}\n---", self.running.errors());
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Settings that keep Firefox from requesting anything but the page.
const FIREFOX_SETTINGS: &str = r#"
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("extensions.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("network.proxy.type", 0);
user_pref("services.settings.server", "http://localhost:1");
user_pref("toolkit.telemetry.enabled", false);
"#;

fn list(clients: &[PageClient]) -> Value {
    let entries = clients.iter().map(|client| {
        let server = format!("http://{}", client.server);
        json!({
            "client": client.name,
            "module": client.module,
            "isTraced": client.is_traced,
            "server": server,
            "token": client.token,
        })
    });
    entries.collect()
}

/// A server of static files that also receives the lines of the clients.
struct Page {
    /// The directory with `node_modules`.
    packages: PathBuf,
    /// The list of clients, as JSON.
    clients: String,
    /// Where the lines of each client go.
    senders: Mutex<BTreeMap<String, Sender<String>>>,
}

impl Page {
    fn serve(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let page = Arc::new(self);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let page = page.clone();
                // The browser may have left.
                thread::spawn(move || drop(page.respond(socket)));
            }
        });
        addr
    }

    /// Responds to one request, which closes the connection.
    fn respond(&self, mut socket: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(socket.try_clone()?);
        let mut request_line = String::new();
        reader.read_line(&mut request_line)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().unwrap_or(0)
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let path = request_line.split(' ').nth(1).unwrap_or_default();
        let content = match path {
            "/lines" => {
                self.pass_on(&String::from_utf8_lossy(&body));
                Some(Vec::new())
            }
            "/clients.json" => Some(self.clients.clone().into_bytes()),
            "/" => self.file("/index.html"),
            _ => self.file(path),
        };
        let media_type = match path.rsplit_once('.') {
            Some((_, "json")) => "application/json",
            _ if path == "/" => "text/html; charset=utf-8",
            _ => "text/javascript; charset=utf-8",
        };
        let status = if content.is_some() { "200 OK" } else { "404 Not Found" };
        let content = content.unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            content.len()
        );
        socket.write_all(&[head.into_bytes(), content].concat())
    }

    /// A file of `page/`, or of a package. The packages name their own modules without an ending.
    fn file(&self, path: &str) -> Option<Vec<u8>> {
        let directory = match path.starts_with("/node_modules/") {
            true => self.packages.clone(),
            false => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/world/clients/page"),
        };
        let file = directory.join(path.trim_start_matches('/'));
        fs::read(&file).or_else(|_| fs::read(file.with_extension("js"))).ok()
    }

    /// Forwards posted lines to the followers. A line without a client goes to all of them.
    fn pass_on(&self, lines: &str) {
        let senders = self.senders.lock().expect("no thread panicked");
        for line in lines.lines() {
            let client = serde_json::from_str::<Value>(line).unwrap_or_default()["client"].clone();
            for (name, sender) in senders.iter() {
                if client.as_str().is_none_or(|client| client == name) {
                    // The test may have ended.
                    drop(sender.send(line.to_owned()));
                }
            }
        }
    }
}
