//! What is measured, and the measurement of each contender: it starts on its own, and stops before the next one.

use crate::fan_out::{FanOut, Pace, Route, content};
use crate::load::{Load, Scenario};
use crate::process::Peer;
use crate::servers::{self, Kind, ROOM};
use crate::support::bare_loop::BareLoop;
use crate::support::figures::PROGRAM;
use crate::support::histogram::Histogram;
use crate::support::http;
use crate::support::server::Server;
use crate::{bare_http, bare_sqlite, bare_writes, routes};
use std::net::SocketAddr;
use std::time::Duration;

const WARM_UP: Duration = Duration::from_millis(500);
const SHORT_REQUESTS: u64 = 10;
/// Bytes of a frame of this program for a message of the load.
const FRAME_BYTES: usize = 520;

/// The results of one measurement.
pub struct Outcome {
    pub per_second: f64,
    /// Processor time of the contender per request or delivery.
    pub cpu_each: Duration,
    /// In nanoseconds.
    pub latency: Histogram,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Contender {
    Program,
    Peer(Kind),
    /// An epoll loop that parses with httparse and sends the same bytes to every request.
    BareLoop,
    /// A thread that only writes frames, with this many per write.
    BareWrites(u64),
    /// Transactions of SQLite without anything else.
    BareSqlite,
}

impl Contender {
    /// Its name in the figures.
    pub fn name(self) -> String {
        match self {
            Contender::Program => PROGRAM.to_owned(),
            Contender::Peer(kind) => kind.name().to_owned(),
            Contender::BareLoop => "bare epoll loop with httparse".to_owned(),
            Contender::BareWrites(1) => "bare loop of writes".to_owned(),
            Contender::BareWrites(joined) => format!("bare loop of writes, {joined} joined"),
            Contender::BareSqlite => "bare SQLite group commits".to_owned(),
        }
    }

    /// The package that is not installed; `None` if all that it needs is there.
    pub fn lacks(self) -> Option<&'static str> {
        match self {
            Contender::Peer(kind) => kind.lacks(),
            _ => None,
        }
    }
}

/// What the contenders of a row do.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    Get { connections: usize, requests_each: u64 },
    Post { connections: usize },
    FanOut { streams: usize, publishers: usize, pace: Pace },
}

pub struct Row {
    /// Selects it in `BENCH_ROWS`.
    pub letter: char,
    pub name: String,
    pub work: Work,
    /// Measured in pairs with this program.
    pub others: &'static [Contender],
}

impl Row {
    /// The unit of its rate.
    pub fn unit(&self) -> &'static str {
        match self.work {
            Work::FanOut { .. } => "deliveries/s",
            _ => "requests/s",
        }
    }
}

pub fn all() -> Vec<Row> {
    use Contender::{BareLoop, BareSqlite, BareWrites, Peer};
    const GETS: &[Contender] = &[BareLoop, Peer(Kind::Axum), Peer(Kind::H2o), Peer(Kind::Nginx)];
    const POSTS: &[Contender] = &[Peer(Kind::Axum), Peer(Kind::DurableStreams), BareSqlite, Peer(Kind::Python)];
    const FLAT_OUT: &[Contender] = &[
        BareWrites(16),
        Peer(Kind::Axum),
        Peer(Kind::DurableStreams),
        Peer(Kind::Nchan),
        Peer(Kind::Pushpin),
        Peer(Kind::Redis),
    ];
    const ONE_AT_A_TIME: &[Contender] = &[
        BareWrites(1),
        Peer(Kind::Axum),
        Peer(Kind::DurableStreams),
        Peer(Kind::Nchan),
        Peer(Kind::Pushpin),
        Peer(Kind::Redis),
    ];
    const PACED: &[Contender] = &[Peer(Kind::Nchan), Peer(Kind::Redis)];
    let get = |letter, name: &str, requests_each, others| Row {
        letter,
        name: name.to_owned(),
        work: Work::Get { connections: 64, requests_each },
        others,
    };
    let fan_out = |letter, name: &str, streams, publishers, pace, others| Row {
        letter,
        name: format!("fan-out to {streams} streams, {name}"),
        work: Work::FanOut { streams, publishers, pace },
        others,
    };
    let mut rows =
        vec![get('g', "GET /, 64 connections", u64::MAX, GETS), get('s', "short connections", SHORT_REQUESTS, GETS)];
    rows.extend([1, 16, 64, 256].map(|connections| Row {
        letter: 'p',
        name: match connections {
            1 => "POST /input, durable, 1 connection".to_owned(),
            _ => format!("POST /input, durable, {connections} connections"),
        },
        work: Work::Post { connections },
        others: POSTS,
    }));
    rows.push(fan_out('f', "flat out", 1000, 4, Pace::FlatOut, FLAT_OUT));
    rows.push(fan_out('o', "one at a time", 1000, 1, Pace::OneAtATime, ONE_AT_A_TIME));
    rows.push(fan_out('t', "20 a second", 100, 1, Pace::PerSecond(20.0), PACED));
    rows
}

/// What all measurements share.
pub struct Bench {
    pub duration: Duration,
    pub server_core: Option<usize>,
    /// The response of this program to `GET /`.
    pub root_response: Vec<u8>,
}

/// A contender that serves.
enum Running {
    Program(Server),
    Peer(Peer),
    Bare(BareLoop),
}

impl Running {
    fn cpu_time(&self) -> Duration {
        match self {
            Running::Program(server) => server.cpu_time(),
            Running::Peer(peer) => peer.cpu_time(),
            Running::Bare(bare) => bare.cpu_time(),
        }
    }
}

impl Bench {
    /// Starts a contender, measures it, and stops it.
    pub fn measure(&self, work: Work, contender: Contender) -> Result<Outcome, String> {
        match work {
            Work::Get { connections, requests_each } => self.get(contender, connections, requests_each),
            Work::Post { connections } if contender == Contender::BareSqlite => self.commits(connections),
            Work::Post { connections } => self.post(contender, connections),
            Work::FanOut { streams, publishers, pace } => match contender {
                Contender::BareWrites(joined) => self.writes(streams, joined),
                _ => self.fan_out(contender, streams, publishers, pace),
            },
        }
    }

    fn get(&self, contender: Contender, connections: usize, requests_each: u64) -> Result<Outcome, String> {
        let core = self.server_core;
        let (running, address) = match contender {
            Contender::Program => program(core)?,
            Contender::BareLoop => {
                let bare = bare_http::start(self.root_response.clone(), core)?;
                let address = bare.address;
                (Running::Bare(bare), address)
            }
            Contender::Peer(Kind::Axum) => of_peer(servers::axum(core)?.0),
            Contender::Peer(Kind::H2o) => of_peer(servers::h2o(core)?),
            Contender::Peer(Kind::Nginx) => of_peer(servers::nginx(false, core)?),
            _ => return Err("it does not serve GET /".into()),
        };
        let scenario =
            Scenario { name: "GET /", request: http::get(address, "/", ""), body_start: b"{\"status\":\"online\"" };
        self.requests(&running, address, &scenario, connections, requests_each)
    }

    fn post(&self, contender: Contender, connections: usize) -> Result<Outcome, String> {
        let core = self.server_core;
        let body = format!("{{\"content\":\"{}\"}}", content());
        let input = |address, token: &str| Scenario {
            name: "POST /input",
            request: http::post(address, "/input", &http::bearer(token), &body),
            body_start: b"{\"status\":\"received\"",
        };
        let (running, address, scenario) = match contender {
            Contender::Program => {
                let server = Server::start(core, &[])?;
                let (address, scenario) = (server.address, input(server.address, &server.token));
                (Running::Program(server), address, scenario)
            }
            Contender::Peer(kind @ (Kind::Axum | Kind::Python)) => {
                let (peer, token) = if kind == Kind::Axum { servers::axum(core)? } else { servers::python(core)? };
                let (address, scenario) = (peer.address, input(peer.address, &token));
                (Running::Peer(peer), address, scenario)
            }
            Contender::Peer(Kind::DurableStreams) => {
                let (running, address) = of_peer(servers::durable_streams(core)?);
                routes::create_stream(address)?;
                let request = http::post(address, &format!("/{ROOM}"), "", &body);
                (running, address, Scenario { name: "append", request, body_start: b"" })
            }
            _ => return Err("it has no durable POST".into()),
        };
        self.requests(&running, address, &scenario, connections, u64::MAX)
    }

    fn requests(
        &self,
        running: &Running,
        address: SocketAddr,
        scenario: &Scenario,
        connections: usize,
        requests_each: u64,
    ) -> Result<Outcome, String> {
        let mut load = Load::connect_short(address, scenario, connections, requests_each)
            .map_err(|error| format!("cannot connect: {error}"))?;
        let failed = |error: String| format!("{}: {error}", scenario.name);
        load.run(WARM_UP).map_err(failed)?;
        let cpu_before = running.cpu_time();
        let measured = load.run(self.duration).map_err(failed)?;
        let cpu = running.cpu_time() - cpu_before;
        let cpu_each = cpu.div_f64(measured.latency.total().max(1) as f64);
        Ok(Outcome { per_second: measured.requests_per_second(), cpu_each, latency: measured.latency })
    }

    fn commits(&self, rows: usize) -> Result<Outcome, String> {
        let committed = bare_sqlite::measure(rows, &content(), self.duration, self.server_core)?;
        let total = committed.latency.total() as f64;
        let per_second = total / committed.elapsed.as_secs_f64();
        Ok(Outcome { per_second, cpu_each: committed.cpu.div_f64(total.max(1.0)), latency: committed.latency })
    }

    /// Only the rate of the bare loop says something: its frames wait in the sockets.
    fn writes(&self, streams: usize, joined: u64) -> Result<Outcome, String> {
        let measured = bare_writes::measure(streams, joined, FRAME_BYTES, self.duration, self.server_core)?;
        let deliveries = measured.deliveries as f64;
        let per_second = deliveries / measured.elapsed.as_secs_f64();
        Ok(Outcome { per_second, cpu_each: measured.cpu.div_f64(deliveries.max(1.0)), latency: Histogram::new() })
    }

    fn fan_out(&self, contender: Contender, streams: usize, publishers: usize, pace: Pace) -> Result<Outcome, String> {
        let core = self.server_core;
        let (running, route): (Running, Route) = match contender {
            Contender::Program => {
                let settings = [("MAX_STREAMS_PER_USER", "0"), ("HEARTBEAT_INTERVAL_SECONDS", "3600")];
                let server = Server::start(core, &settings)?;
                let route = routes::api(server.address, &server.token);
                (Running::Program(server), route)
            }
            Contender::Peer(kind) => {
                let (peer, route) = match kind {
                    Kind::Axum => with_route(servers::axum(core)?, |peer, token| routes::api(peer.address, token)),
                    Kind::DurableStreams => {
                        let peer = servers::durable_streams(core)?;
                        let route = routes::durable_streams(peer.address)?;
                        (peer, route)
                    }
                    Kind::Nchan => {
                        with_route((servers::nginx(true, core)?, ()), |peer, ()| routes::nchan(peer.address))
                    }
                    Kind::Pushpin => {
                        with_route(servers::pushpin(core)?, |peer, publish| routes::pushpin(peer.address, *publish))
                    }
                    Kind::Redis => with_route((servers::redis(core)?, ()), |peer, ()| routes::redis(peer.address)),
                    Kind::H2o | Kind::Nginx | Kind::Python => return Err("it is not measured with streams".into()),
                };
                (Running::Peer(peer), route)
            }
            _ => return Err("it has no streams".into()),
        };
        let mut fan_out = FanOut::open(&route, streams, publishers)?;
        fan_out.run(pace, WARM_UP).map_err(|error| format!("warming up: {error}"))?;
        let cpu_before = running.cpu_time();
        let delivered = fan_out.run(pace, self.duration)?;
        let cpu = running.cpu_time() - cpu_before;
        let deliveries = delivered.deliveries as f64;
        let per_second = deliveries / delivered.elapsed.as_secs_f64();
        Ok(Outcome { per_second, cpu_each: cpu.div_f64(deliveries.max(1.0)), latency: delivered.latency })
    }
}

fn program(core: Option<usize>) -> Result<(Running, SocketAddr), String> {
    let server = Server::start(core, &[])?;
    let address = server.address;
    Ok((Running::Program(server), address))
}

fn of_peer(peer: Peer) -> (Running, SocketAddr) {
    let address = peer.address;
    (Running::Peer(peer), address)
}

fn with_route<T>((peer, detail): (Peer, T), route: impl FnOnce(&Peer, &T) -> Route) -> (Peer, Route) {
    let route = route(&peer, &detail);
    (peer, route)
}
