//! Several instances of the program on one database.

use crate::ServerDatabase;
use crate::common::port::free_port;
use crate::common::postgres::TestServer;
use crate::common::redis;
use crate::common::{Options, Server, User};
use crate::proxy::Proxy;
use std::env;
use std::net::SocketAddr;
use std::time::Duration;

/// The longest time for which instances that run may wait for one that was killed or stopped. A machine that does other things
/// as well needs most of it.
pub const STALL_MAX: Duration = Duration::from_secs(10);

/// The number for a normal run, or for a long one (`CLUSTER_LONG=1`).
pub fn amount(short: u64, long: u64) -> u64 {
    if env::var("CLUSTER_LONG").is_ok_and(|set| set == "1") { long } else { short }
}

/// Instances with the same settings, each on a port of its own that it keeps when it is started again.
pub struct Cluster {
    /// The database of all instances.
    pub database: ServerDatabase,
    /// The instances.
    pub instances: Vec<Server>,
}

impl Cluster {
    /// Starts three instances without a responder on a new database.
    #[track_caller]
    pub fn start(name: &'static str) -> Cluster {
        Cluster::start_with(name, Options::new())
    }

    /// Starts three instances with these settings on a new database.
    #[track_caller]
    pub fn start_with(name: &'static str, options: Options) -> Cluster {
        let database = ServerDatabase::create(name);
        let instances = (0..3).map(|_| start_instance(&options, &database.address)).collect();
        Cluster { database, instances }
    }

    /// Starts two instances on a new database of `servers`, the first of which accepts writes. The instances know all of them.
    #[track_caller]
    pub fn start_on(name: &'static str, servers: [&TestServer; 2]) -> Cluster {
        servers[0].create_database(name);
        let [first, second] = servers.map(TestServer::port);
        let address = format!("postgres://postgres@127.0.0.1:{first},127.0.0.1:{second}/{name}");
        let instances = (0..2).map(|_| start_instance(&Options::new(), &address)).collect();
        Cluster { database: ServerDatabase { name, address, port: first }, instances }
    }

    /// Starts three instances, the first of which reaches the database through a proxy.
    #[track_caller]
    pub fn start_with_proxy(name: &'static str) -> (Cluster, Proxy) {
        let mut cluster = Cluster { database: ServerDatabase::create(name), instances: Vec::new() };
        let server = TestServer::shared();
        let proxy = Proxy::to(server.port());
        let proxied = cluster.database.address.replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
        for address in [&proxied, &cluster.database.address, &cluster.database.address] {
            cluster.instances.push(start_instance(&Options::new(), address));
        }
        (cluster, proxy)
    }

    /// Starts three instances with these settings, each of which reaches Redis at one of these ports: that of the server, or of a
    /// proxy.
    #[track_caller]
    pub fn start_with_redis(name: &'static str, options: &Options, ports: [u16; 3]) -> Cluster {
        Cluster::start_with_redis_at(name, options, ports.map(redis::url))
    }

    /// Starts three instances with these settings, each of which reaches Redis at one of these addresses.
    #[track_caller]
    pub fn start_with_redis_at(name: &'static str, options: &Options, addresses: [String; 3]) -> Cluster {
        let database = ServerDatabase::create(name);
        let options = addresses.map(|address| options.clone().set("REDIS_URL", address));
        let instances = options.iter().map(|options| start_instance(options, &database.address)).collect();
        Cluster { database, instances }
    }

    /// The addresses of the instances.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.instances.iter().map(|instance| instance.addr).collect()
    }

    /// A user at one instance.
    pub fn user(&self, instance: usize, id: &str) -> User {
        User::new(&self.instances[instance], id)
    }

    /// Stops an instance, which keeps its connections.
    pub fn pause(&mut self, instance: usize) {
        self.instances[instance].process().signal(libc::SIGSTOP);
    }

    /// Lets a stopped instance run again.
    pub fn resume(&mut self, instance: usize) {
        self.instances[instance].process().signal(libc::SIGCONT);
    }
}

#[track_caller]
fn start_instance(options: &Options, database: &str) -> Server {
    let options = options.clone().set("DATABASE_URL", database).set("PORT", free_port());
    Server::start(options.set("LOG_LEVEL", "WARNING").set_default("MAX_STREAMS_PER_USER", 0))
}
