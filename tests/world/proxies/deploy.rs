//! nginx with the configuration of `deploy/` in front of the server: it forwards events immediately, keeps connections
//! to the server open, and passes on the clients' addresses.

use crate::common::http::{Connection, Framing};
use crate::common::port::free_port;
use crate::common::{Client, DEADLINE, Server, User};
use crate::tools;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn nginx_forwards_streams_and_addresses() {
    let Some(nginx) = tools::nginx() else { return };
    let settings = [("TRUSTED_PROXIES", "127.0.0.1"), ("ALLOWED_HOSTS", "*"), ("LOGIN_RATE_LIMIT_PER_MINUTE", "1")];
    let server = Server::with(&settings);
    let proxy = Proxy::start(nginx, server.addr);

    let mut user = User::at(proxy.addr, "u");
    let mut stream = Connection::open(proxy.addr);
    let token = &user.token;
    stream.send(format!("GET /output/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"));
    let head = stream.try_head().expect("the head of a response");
    assert_eq!(head.status, 200, "{}", head.shown());
    let (mut framing, mut text) = (Framing::of(&head, "GET"), String::new());
    let mut read_to = |wanted: &str| {
        while !text.contains(wanted) {
            let piece = stream.try_body_piece(&mut framing).expect("the stream continues").expect("no end");
            text.push_str(std::str::from_utf8(&piece).expect("the events are ASCII"));
        }
    };
    read_to("connection_established");
    user.say("default", "through the proxy");
    // The stream continues, and nothing buffers it.
    read_to("through the proxy");

    // Logins are limited by address: an address claimed by the client has no effect, since the proxy sends its own.
    let login = |client: &str, password: &str| {
        let form = format!("username=nobody%40example.com&password={password}");
        let mut through = Client::new(proxy.addr);
        let request = through.request("POST", "/auth/login").header("X-Forwarded-For", client);
        request.body("application/x-www-form-urlencoded", form).send().status
    };
    assert_eq!(login("192.0.2.1", "wrong"), 401);
    assert_eq!(login("192.0.2.2", "wrong"), 429, "the claimed address is ignored");
    // Connected directly, the server trusts this machine, and the claimed address counts.
    let mut straight = Client::new(server.addr);
    let request = straight.request("POST", "/auth/login").header("X-Forwarded-For", "192.0.2.2");
    let form = "username=nobody%40example.com&password=wrong";
    assert_eq!(request.body("application/x-www-form-urlencoded", form).send().status, 401);

    // Outsiders do not see metrics, and the server validates long tokens.
    let mut outsider = Connection::open(proxy.addr);
    outsider.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let told = outsider.read_to_end();
    assert!(told.starts_with(b"HTTP/1.1 404 "), "{}", String::from_utf8_lossy(&told));
    assert_eq!(Client::new(server.addr).request("GET", "/metrics").send().status, 200);
    let response = Client::new(proxy.addr).request("GET", "/auth/verify").token(&"x".repeat(8192)).send();
    assert_eq!((response.status, response.json()["error"]["code"].as_str()), (401, Some("unauthorized")));
    drop(proxy);
}

/// A running proxy with its own directory. It is stopped on drop.
struct Proxy {
    child: Child,
    directory: PathBuf,
    addr: SocketAddr,
}

impl Proxy {
    fn start(program: &str, server: SocketAddr) -> Proxy {
        let directory = std::env::temp_dir().join(format!("cortex-core-nginx-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).expect("a directory for the proxy");
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let snippet = include_str!("../../../deploy/nginx.conf");
        let ours =
            snippet.replace("127.0.0.1:8000", &server.to_string()).replace("listen 80;", &format!("listen {addr};"));
        assert!(
            ours.contains(&server.to_string()) && ours.contains(&addr.to_string()),
            "the snippet has both addresses"
        );
        fs::write(directory.join("cortex.conf"), ours).expect("the configuration can be written");
        // The surrounding configuration, with paths for an unprivileged proxy.
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {};", directory.join(name).display()))
            .concat();
        let whole = format!(
            "daemon off; pid {0}/pid; error_log stderr; events {{}} http {{ access_log off; {paths} include {0}/cortex.conf; }}",
            directory.display()
        );
        let config = directory.join("nginx.conf");
        fs::write(&config, whole).expect("the configuration can be written");
        let start = |more: &[&str]| {
            let mut command = Command::new(program);
            command.arg("-p").arg(&directory).arg("-c").arg(&config).args(more).stdin(Stdio::null());
            command
        };
        let checked = start(&["-t"]).output().expect("it starts");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let child = start(&[]).spawn().expect("it starts");
        let proxy = Proxy { child, directory, addr };
        let end = Instant::now() + DEADLINE;
        while TcpStream::connect(addr).is_err() {
            assert!(Instant::now() < end, "the proxy does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // A graceful stop also ends its workers.
        // SAFETY: the child has not been waited for, so its id is not reused.
        unsafe {
            libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM);
        }
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
