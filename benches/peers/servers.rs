//! The peers, each started with the configuration that its makers advise for one core.
//!
//! All run as the user of the benchmark. `benches/peers/install` installs them.

use crate::bare_http;
use crate::process::{Peer, free_address};
use crate::support::server::{TemporaryDirectory, random_hex, sign_token};
use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The channel, or the stream, of all messages.
pub const ROOM: &str = "room";
/// The body of the response to `GET /`.
const STATUS: &str = r#"{"status":"online","service":"Cortex Core"}"#;
const NCHAN_MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
/// More requests than a benchmark sends on one connection.
const REQUESTS_MAX: u64 = 1_000_000_000;
const CONNECTIONS_MAX: u64 = 10_000;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Axum,
    DurableStreams,
    H2o,
    Nchan,
    Nginx,
    Pushpin,
    Python,
    Redis,
}

impl Kind {
    /// Its name in the figures.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Axum => "axum, tokio, rusqlite",
            Kind::DurableStreams => "durable-streams",
            Kind::H2o => "h2o",
            Kind::Nchan => "nginx with nchan",
            Kind::Nginx => "nginx",
            Kind::Pushpin => "pushpin",
            Kind::Python => "Python, FastAPI, in memory",
            Kind::Redis => "Redis pub/sub",
        }
    }

    /// The package that is not installed; `None` if all that it needs is there.
    pub fn lacks(self) -> Option<&'static str> {
        let (package, files): (_, &[PathBuf]) = match self {
            Kind::Axum => ("the crate in benches/peers/axum", &[axum_program()]),
            Kind::DurableStreams => ("the crate durable-streams", &[durable_streams_program()]),
            Kind::H2o => ("the Debian package h2o", &[on_path("h2o")]),
            Kind::Nchan => {
                ("the Debian packages nginx and libnginx-mod-nchan", &[on_path("nginx"), NCHAN_MODULE.into()])
            }
            Kind::Nginx => ("the Debian package nginx", &[on_path("nginx")]),
            Kind::Pushpin => {
                ("the Debian packages pushpin, condure and zurl", &["pushpin", "condure", "zurl"].map(on_path))
            }
            Kind::Python => ("benches/peers/python/requirements.txt", &[python_directory().join("uvicorn")]),
            Kind::Redis => ("the Debian package redis-server", &[on_path("redis-server")]),
        };
        files.iter().any(|file| !file.exists()).then_some(package)
    }
}

/// Where `benches/peers/install` puts what is not a Debian package.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers")
}

fn axum_program() -> PathBuf {
    installed().join("bin/axum-peer")
}

fn durable_streams_program() -> PathBuf {
    installed().join("bin/durable-streams-server")
}

fn python_directory() -> PathBuf {
    installed().join("python/bin")
}

/// The file that a shell runs for `name`, also where only root's `PATH` has it; `name` itself if there is none.
fn on_path(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    directories.map(|directory| directory.join(name)).find(|file| file.exists()).unwrap_or_else(|| name.into())
}

/// Whether the benchmark runs as root, so that servers which would change the user need a setting.
fn is_root() -> bool {
    // SAFETY: it reads an id.
    unsafe { libc::geteuid() == 0 }
}

/// The axum service and a valid token.
pub fn axum(core: Option<usize>) -> Result<(Peer, String), String> {
    let secret = random_hex::<32>();
    let mut peer = Peer::new(TemporaryDirectory::new()?)?;
    let mut command = Command::new(axum_program());
    command.env_clear().env("PORT", peer.address.port().to_string()).env("JWT_SECRET_KEY", &secret);
    command.env("DATABASE", peer.directory().join("axum.db"));
    peer.start(&mut command, core)?;
    peer.wait_for(&[peer.address])?;
    Ok((peer, sign_token(&secret, "bench")))
}

/// The Python service and a valid token. One process, since its events are in memory.
pub fn python(core: Option<usize>) -> Result<(Peer, String), String> {
    let secret = random_hex::<32>();
    let mut peer = Peer::new(TemporaryDirectory::new()?)?;
    let port = peer.address.port().to_string();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/python");
    let mut command = Command::new(python_directory().join("uvicorn"));
    command.args(["service:app", "--host", "127.0.0.1", "--port", &port, "--loop", "uvloop", "--http", "httptools"]);
    command
        .args(["--log-level", "warning", "--no-access-log", "--timeout-keep-alive", "75"])
        .arg("--app-dir")
        .arg(source);
    command.env("JWT_SECRET_KEY", &secret).env("PYTHONDONTWRITEBYTECODE", "1");
    peer.start(&mut command, core)?;
    peer.wait_for(&[peer.address])?;
    Ok((peer, sign_token(&secret, "bench")))
}

/// nginx: `GET /` from memory, and with nchan a channel with `POST /publish` and the EventSource `/subscribe`.
pub fn nginx(with_nchan: bool, core: Option<usize>) -> Result<Peer, String> {
    let mut peer = Peer::new(TemporaryDirectory::new()?)?;
    let user = if is_root() { "user root;" } else { "" };
    let (module, channel) = if with_nchan {
        let channel = format!(
            "location = /publish {{ nchan_publisher; nchan_channel_id {ROOM}; nchan_message_timeout 1m; }}
             location = /subscribe {{
                 nchan_subscriber eventsource; nchan_channel_id {ROOM}; nchan_subscriber_first_message newest;
             }}"
        );
        (format!("load_module {NCHAN_MODULE};"), channel)
    } else {
        Default::default()
    };
    let memory = if with_nchan { "nchan_shared_memory_size 256m;" } else { "" };
    let paths: String =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {name};\n")).concat();
    let configuration = format!(
        "{module} {user}
         daemon off; worker_processes 1; worker_rlimit_nofile {CONNECTIONS_MAX}; pid nginx.pid; error_log log warn;
         events {{ worker_connections {CONNECTIONS_MAX}; multi_accept on; }}
         http {{
             {paths} {memory}
             access_log off; tcp_nodelay on; keepalive_requests {REQUESTS_MAX}; default_type application/json;
             server {{
                 listen {address} backlog=4096;
                 location = / {{ return 200 '{STATUS}'; }}
                 {channel}
             }}
         }}",
        address = peer.address
    );
    peer.write("nginx.conf", &configuration)?;
    let mut command = Command::new(on_path("nginx"));
    command.arg("-p").arg(peer.directory()).args(["-e", "log", "-c", "nginx.conf"]);
    peer.start(&mut command, core)?;
    peer.wait_for(&[peer.address])?;
    Ok(peer)
}

/// h2o: `GET /` is a small file, which it keeps open.
pub fn h2o(core: Option<usize>) -> Result<Peer, String> {
    let mut peer = Peer::new(TemporaryDirectory::new()?)?;
    let user = if is_root() { "user: root\n" } else { "" };
    let files = peer.directory().join("files");
    std::fs::create_dir(&files).map_err(|error| format!("{}: {error}", files.display()))?;
    peer.write("files/index.json", STATUS)?;
    let configuration = format!(
        "{user}num-threads: 1\nmax-connections: {CONNECTIONS_MAX}\nlisten:\n  host: 127.0.0.1\n  port: {port}\n\
         hosts:\n  default:\n    paths:\n      /:\n        file.dir: {files}\n        file.index: [ 'index.json' ]\n",
        port = peer.address.port(),
        files = files.display()
    );
    peer.write("h2o.conf", &configuration)?;
    let mut command = Command::new(on_path("h2o"));
    command.args(["-m", "worker", "-c", "h2o.conf"]);
    peer.start(&mut command, core)?;
    peer.wait_for(&[peer.address])?;
    Ok(peer)
}

/// Redis without persistence, which pub/sub does not use.
pub fn redis(core: Option<usize>) -> Result<Peer, String> {
    let mut peer = Peer::new(TemporaryDirectory::new()?)?;
    let port = peer.address.port().to_string();
    let mut command = Command::new(on_path("redis-server"));
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--tcp-backlog", "4096"]);
    peer.start(&mut command, core)?;
    peer.wait_for(&[peer.address])?;
    Ok(peer)
}

/// durable-streams with its log, as its guide to tuning advises for one device. The stream does not exist yet.
pub fn durable_streams(core: Option<usize>) -> Result<Peer, String> {
    let mut peer = Peer::new(TemporaryDirectory::new()?)?;
    let port = peer.address.port().to_string();
    let mut command = Command::new(durable_streams_program());
    command.args(["--host", "127.0.0.1", "--port", &port, "--durability", "wal", "--worker-threads", "1"]);
    command.args(["--wal-checkpoint-wal-bytes", "1073741824", "--wal-checkpoint-interval-ms", "60000"]);
    command.args(["--wal-shards", "2"]);
    command.arg("--data-dir").arg(peer.directory().join("data"));
    peer.start(&mut command, core)?;
    peer.wait_for(&[peer.address])?;
    Ok(peer)
}

/// pushpin and the address at which it takes messages over ZeroMQ. The server behind it tells it to hold each request as a
/// stream of the channel.
pub fn pushpin(core: Option<usize>) -> Result<(Peer, SocketAddr), String> {
    // Names of sockets in the file system are short.
    let mut peer = Peer::new(TemporaryDirectory::inside(&env::temp_dir())?)?;
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nGrip-Hold: stream\r\nGrip-Channel: {ROOM}\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let origin = bare_http::start(response.into_bytes(), None)?;
    let origin_address = origin.address;
    peer.keep_origin(origin);
    let publish = free_address()?;
    peer.write("zurl.conf", &zurl_configuration(peer.directory()))?;
    peer.write("routes", &format!("* {origin_address}\n"))?;
    peer.write("pushpin.conf", &pushpin_configuration(&peer, publish)?)?;
    peer.start(Command::new(on_path("zurl")).arg("--config=zurl.conf"), core)?;
    let mut command = Command::new(on_path("pushpin"));
    command.arg(format!("--config={}", peer.directory().join("pushpin.conf").display()));
    peer.start(&mut command, core)?;
    peer.wait_for(&[peer.address, publish])?;
    Ok((peer, publish))
}

/// A socket of zurl, which sends pushpin's requests to the server behind it.
fn zurl_socket(directory: &Path, name: &str) -> String {
    format!("ipc://{}/zurl-{name}", directory.display())
}

fn zurl_configuration(directory: &Path) -> String {
    let [requests, parts, responses, whole] =
        ["in", "in-stream", "out", "req"].map(|name| zurl_socket(directory, name));
    format!(
        "[General]\nin_spec={requests}\nin_stream_spec={parts}\nout_spec={responses}\nin_req_spec={whole}\n\
         defpolicy=allow\nmax_open_requests=2000\nbuffer_size=200000\ntimeout=600\nin_hwm=1000\nout_hwm=1000\n"
    )
}

/// The configuration of the package, with the files in its directory, with buffers for more messages, and without a limit of
/// messages per second, which would make it drop some.
fn pushpin_configuration(peer: &Peer, publish: SocketAddr) -> Result<String, String> {
    const MESSAGES_MAX: u32 = 100_000_000;
    let [subscribed, http, commands] = [free_address()?, free_address()?, free_address()?];
    let [requests, parts, responses] = ["in", "in-stream", "out"].map(|name| zurl_socket(peer.directory(), name));
    let directory = peer.directory().display();
    Ok(format!(
        "[global]\ninclude={{libdir}}/internal.conf\nrundir={directory}\nipc_prefix=p-\nport_offset=0\n\
         stats_connection_ttl=120\n\
         [runner]\nservices=condure,pushpin-proxy,pushpin-handler\nhttp_port={address}\nlogdir={directory}\n\
         log_level=1\nclient_buffer_size=65536\nclient_maxconn=2000\ncondure_bin=condure\n\
         [proxy]\nroutesfile={directory}/routes\ndebug=false\nauto_cross_origin=false\nupdates_check=off\n\
         zurl_out_specs={requests}\nzurl_out_stream_specs={parts}\nzurl_in_specs={responses}\n\
         [handler]\npush_in_spec=tcp://{publish}\npush_in_sub_specs=tcp://{subscribed}\n\
         push_in_http_addr=127.0.0.1\npush_in_http_port={http_port}\ncommand_spec=tcp://{commands}\n\
         message_rate={MESSAGES_MAX}\nmessage_hwm={MESSAGES_MAX}\nmessage_wait=5000\nid_cache_ttl=60\n\
         connection_subscription_max=20\nsubscription_linger=60\nstats_subscription_ttl=60\n\
         stats_report_interval=10\nstats_format=tnetstring\n",
        address = peer.address,
        http_port = http.port(),
    ))
}
