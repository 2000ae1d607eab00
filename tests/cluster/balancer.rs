//! nginx with the configuration of `deploy/` in front of several instances.

use crate::cluster::Cluster;
use crate::common::port::free_port;
use crate::common::{Client, DEADLINE, Options, Stream, User};
use crate::{PASSWORD, printed};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SHIPPED: &str = include_str!("../../deploy/nginx.conf");
const COMPOSE: &str = include_str!("../../deploy/compose.yaml");

/// A running nginx with its own directory. It is killed on drop.
pub struct Balancer {
    child: Child,
    directory: PathBuf,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Balancer {
    /// The settings of instances behind it.
    pub fn options() -> Options {
        Options::new().set("TRUSTED_PROXIES", "127.0.0.1").set("ALLOWED_HOSTS", "*")
    }

    /// Starts nginx in front of instances. `None` if tests with third-party programs are skipped.
    #[track_caller]
    pub fn start(instances: &[SocketAddr]) -> Option<Balancer> {
        let program = nginx()?;
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cortex-core-balancer-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).expect("a directory for nginx");
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let place = directory.display().to_string();
        let replacements = [("listen 80;", format!("listen {addr};")), ("/var/log/nginx", place.clone())];
        let included = replacements.iter().fold(balancing(instances), |text, (from, to)| {
            assert!(text.contains(from), "the configuration has {from:?}");
            text.replace(from, to)
        });
        fs::write(directory.join("included.conf"), included).expect("it can be written");
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let paths = paths.map(|name| format!("{name}_temp_path {place}/{name};")).concat();
        let whole = format!(
            "daemon off; pid {place}/pid; error_log {place}/error.log notice; events {{}}
            http {{ access_log off; {paths} include {place}/included.conf; }}"
        );
        fs::write(directory.join("nginx.conf"), whole).expect("it can be written");
        let checked = command(program, &directory).arg("-t").output().expect("nginx starts");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let mut command = command(program, &directory);
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let balancer = Balancer { child: command.spawn().expect("nginx starts"), directory, addr };
        let end = Instant::now() + DEADLINE;
        while TcpStream::connect(addr).is_err() {
            assert!(Instant::now() < end, "nginx does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        Some(balancer)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // SAFETY: the child is the leader of a group of its own, and was not waited for.
        unsafe { libc::kill(-(self.child.id() as libc::pid_t), libc::SIGKILL) };
        let _ = self.child.wait();
        if !thread::panicking() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// A client of the balancer that reads the stream of a user, and resumes it when it ends.
pub struct Follower {
    addr: SocketAddr,
    token: String,
    stream: Stream,
    cursor: u64,
    /// Number and content of each message.
    pub messages: Vec<(u64, String)>,
}

impl Follower {
    /// Opens the stream after an event.
    #[track_caller]
    pub fn start(balancer: &Balancer, token: &str, after: u64) -> Follower {
        let stream = resume(balancer.addr, token, after);
        Follower { addr: balancer.addr, token: token.to_owned(), stream, cursor: after, messages: Vec::new() }
    }

    /// Reads until a message has come. There must be no gap.
    #[track_caller]
    pub fn read_to(&mut self, content: &str) {
        loop {
            match self.stream.try_next() {
                Ok(Some(event)) => {
                    assert_ne!(event.kind(), "gap", "after {}", self.cursor);
                    if event.id.is_some() {
                        assert!(event.number() >= self.cursor, "{event:?} after {}", self.cursor);
                        self.cursor = event.number();
                    }
                    if event.kind() == "input" {
                        self.messages.push((event.number(), event.content().to_owned()));
                        if event.content() == content {
                            return;
                        }
                    }
                }
                Ok(None) | Err(_) => self.stream = resume(self.addr, &self.token, self.cursor),
            }
        }
    }
}

/// Opens a stream after an event, as soon as an instance accepts it.
#[track_caller]
fn resume(addr: SocketAddr, token: &str, after: u64) -> Stream {
    let fields = [("Authorization", &*format!("Bearer {token}")), ("Last-Event-ID", &after.to_string())];
    let end = Instant::now() + DEADLINE;
    loop {
        match Stream::try_open_with(addr, "", &fields) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < end, "no stream: {error}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn command(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("-p").arg(directory).arg("-e").arg(directory.join("error.log"));
    command.arg("-c").arg(directory.join("nginx.conf"));
    command
}

/// The program nginx; `None` if tests with third-party programs are skipped.
fn nginx() -> Option<&'static str> {
    if std::env::var("CORTEX_SKIP_CLIENTS").is_ok_and(|value| value == "1") {
        let _ = writeln!(std::io::stderr(), "skipped: a test with nginx, because CORTEX_SKIP_CLIENTS=1");
        return None;
    }
    let exists = |program: &&str| Command::new(program).arg("-v").output().is_ok_and(|output| output.status.success());
    let found = ["nginx", "/usr/sbin/nginx"].into_iter().find(exists);
    assert!(found.is_some(), "nginx (nginx-light) is missing: install it, or set CORTEX_SKIP_CLIENTS=1");
    found
}

/// The shipped configuration, with one line for each instance.
fn balancing(instances: &[SocketAddr]) -> String {
    const PLACEHOLDER: &str = "127.0.0.1:8000";
    let line = SHIPPED.lines().find(|line| line.contains(PLACEHOLDER)).expect("a line for an instance");
    let lines = instances.iter().map(|instance| line.replace(PLACEHOLDER, &instance.to_string()) + "\n");
    SHIPPED.replace(&format!("{line}\n"), &lines.collect::<String>())
}

#[test]
fn compose_configures_the_balancer_for_its_instances() {
    let line = COMPOSE.lines().map(str::trim).find(|line| line.starts_with("sed ")).expect("a command");
    let (edit, _) = line.split_once(" /nginx.conf >").expect("it reads the configuration");
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/nginx.conf");
    let output = Command::new("sh").arg("-ec").arg(format!("{edit} {shipped}")).output().expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let addresses: Vec<SocketAddr> = (COMPOSE.lines())
        .filter_map(|line| line.trim().strip_prefix("ipv4_address: "))
        .map(|ip| SocketAddr::new(ip.parse().expect("an address"), 8000))
        .collect();
    let [first, second, balancer] = addresses[..] else { panic!("{addresses:?}") };
    assert_eq!(String::from_utf8_lossy(&output.stdout), balancing(&[first, second]));
    assert!(COMPOSE.contains(&format!("TRUSTED_PROXIES: {}\n", balancer.ip())));
}

/// The unit for several instances gives the program no more rights than the one for a single one.
#[test]
fn both_units_protect_the_machine_alike() {
    let units = [include_str!("../../deploy/cortex-core.service"), include_str!("../../deploy/cortex-core@.service")];
    let protections = units.map(|unit| {
        let from = unit.find("# What it does not need, it cannot do.").expect("the part about rights");
        &unit[from..unit.find("[Install]").expect("the next section")]
    });
    assert_eq!(protections[0], protections[1]);
}

#[test]
fn two_instances_behind_nginx_serve_while_one_is_stopped() {
    let mut cluster = Cluster::start_with("balanced", Balancer::options());
    let Some(balancer) = Balancer::start(&cluster.addresses()[..2]) else { return };
    cluster.instances.truncate(2);
    let user =
        printed(cluster.instances[0].sandbox(), &["user", "add", "ann@example.com", "--password-stdin"], PASSWORD);
    let form = format!("username=ann%40example.com&password={}", PASSWORD.replace(' ', "%20"));
    let log_in = || {
        let mut client = Client::new(balancer.addr);
        let request = client.request("POST", "/auth/login").body("application/x-www-form-urlencoded", form.clone());
        request.send().expect(200).json()["access_token"].as_str().expect("a token").to_owned()
    };
    let token = log_in();
    let mut ann = User::at(balancer.addr, user.trim());
    ann.token = token.clone();
    let start = ann.get("/conversations").expect(200).number("X-Last-Event-Id");
    // One at each instance: nginx takes turns.
    let mut followers: Vec<Follower> = (0..2).map(|_| Follower::start(&balancer, &token, start)).collect();
    let mut messages = 0;
    let mut say = || {
        for _ in 0..20 {
            messages += 1;
            let content = format!("message {messages}");
            // Each of them is accepted, whichever instance is up. After a kill, one may be on a connection that ends.
            let request = ann.request("POST", "/input").header("Idempotency-Key", &format!("key-{messages}"));
            request.json(&json!({"content": content})).send().expect(200);
            ann.get("/conversations").expect(200);
            followers.iter_mut().for_each(|follower| follower.read_to(&content));
        }
    };
    say();
    for instance in 0..2 {
        assert!(cluster.instances[instance].stop().success());
        say();
        log_in();
        cluster.instances[instance].start_again();
        say();
    }
    cluster.instances[0].kill();
    say();
    log_in();
}
