//! Redis that is killed, stopped, silent, or loses messages: events come later, and nothing is lost.

use crate::ServerDatabase;
use crate::cluster::{Cluster, STALL_MAX, amount};
use crate::common::metrics::Scrape;
use crate::common::postgres::TestServer;
use crate::common::redis::TestRedis;
use crate::common::{DEADLINE, Options, Server, Stream, User, eventually};
use crate::proxy::{Link, Proxy};
use crate::redis_messages::Damage;
use crate::traffic::{self, FollowerPlan, WriterPlan};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// One writer at each instance.
const WRITERS: [WriterPlan; 3] = [
    WriterPlan { instance: 0, moves: false },
    WriterPlan { instance: 1, moves: false },
    WriterPlan { instance: 2, moves: false },
];
/// Redis is killed or stopped at intervals of twice this time.
const HALF_PERIOD: Duration = Duration::from_millis(1500);

/// Three followers at each instance.
fn followers() -> Vec<FollowerPlan> {
    (0..9).map(|number| FollowerPlan::at(number / 3)).collect()
}

/// Whether an instance uses Redis.
fn uses_redis(instance: SocketAddr) -> bool {
    Scrape::at(instance).get("cortex_bus_up") == 1.0
}

/// Waits until a condition holds at each of these instances. Returns the time that it took.
#[track_caller]
fn wait_for(what: &str, instances: &[SocketAddr], holds: impl Fn(SocketAddr) -> bool) -> Duration {
    let start = Instant::now();
    for instance in instances {
        while !holds(*instance) {
            assert!(start.elapsed() < STALL_MAX, "not in time: {instance} {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }
    start.elapsed()
}

#[track_caller]
pub fn wait_until_down(instances: &[SocketAddr]) -> Duration {
    wait_for("knows that it cannot use Redis", instances, |instance| !uses_redis(instance))
}

#[track_caller]
pub fn wait_until_up(instances: &[SocketAddr]) -> Duration {
    wait_for("uses Redis", instances, uses_redis)
}

/// Waits until each instance uses Redis and gets notices, while there are writers. Returns the time that it took.
#[track_caller]
fn wait_until_used(instances: &[SocketAddr]) -> Duration {
    let before: Vec<(SocketAddr, Scrape)> =
        instances.iter().map(|instance| (*instance, Scrape::at(*instance))).collect();
    let start = Instant::now();
    wait_until_up(instances);
    wait_for("gets notices", instances, |instance| {
        let before = before.iter().find(|(addr, _)| *addr == instance).map(|(_, scrape)| scrape);
        let now = Scrape::at(instance);
        before.is_some_and(|before| !now.since(before, "cortex_notices_total").is_empty())
    });
    start.elapsed()
}

/// A user who posts at one instance and has a stream at another.
struct Probe {
    writer: User,
    stream: Stream,
}

impl Probe {
    fn new(cluster: &Cluster) -> Probe {
        Probe { writer: cluster.user(0, "probe"), stream: cluster.user(1, "probe").stream() }
    }

    /// The time from the response to a message until the stream shows it.
    #[track_caller]
    fn latency(&mut self) -> Duration {
        let content = format!("{:?}", Instant::now());
        self.writer.say("default", &content);
        let acknowledged_at = Instant::now();
        assert_eq!(self.stream.next_of("input").content(), content);
        acknowledged_at.elapsed()
    }
}

/// The longest of several times of a kind.
#[derive(Default)]
struct Longest {
    noticed: Duration,
    back: Duration,
    latency_without: Duration,
    latency_with: Duration,
}

impl Longest {
    /// Lets a fault begin and end, and watches the instances with and without Redis.
    #[track_caller]
    fn observe(
        &mut self,
        (instances, probe): (&[SocketAddr], &mut Probe),
        traffic: &traffic::Traffic,
        begin: impl FnOnce(),
        end: impl FnOnce(),
    ) {
        begin();
        let begun_at = Instant::now();
        self.noticed = self.noticed.max(wait_until_down(instances));
        traffic.wait_for_progress(&[0, 1, 2], STALL_MAX);
        self.latency_without = self.latency_without.max(probe.latency());
        thread::sleep(HALF_PERIOD.saturating_sub(begun_at.elapsed()));
        end();
        let ended_at = Instant::now();
        self.back = self.back.max(wait_until_used(instances));
        self.latency_with = self.latency_with.max(probe.latency());
        thread::sleep(HALF_PERIOD.saturating_sub(ended_at.elapsed()));
    }

    fn print(&self, faults: &str) {
        println!(
            "{faults}: noticed after {:?}, in use again after {:?}, shown elsewhere after {:?} without Redis and {:?} with it, at most",
            self.noticed, self.back, self.latency_without, self.latency_with
        );
    }
}

#[test]
fn nothing_is_lost_while_redis_is_killed_or_stopped_and_comes_back() {
    let redis = TestRedis::start();
    let mut cluster = Cluster::start_with_redis("redis_kills", &Options::new(), [redis.port(); 3]);
    let (mut kills, mut stops) = (Longest::default(), Longest::default());
    traffic::run(&mut cluster, &WRITERS, &followers(), |cluster, traffic| {
        let (instances, mut probe) = (cluster.addresses(), Probe::new(cluster));
        wait_until_used(&instances);
        for _ in 0..amount(3, 30) {
            kills.observe((&instances, &mut probe), traffic, || redis.kill(), || redis.start_again());
        }
        for _ in 0..amount(1, 10) {
            stops.observe((&instances, &mut probe), traffic, || redis.pause(), || redis.resume());
        }
    });
    kills.print("Redis killed");
    stops.print("Redis stopped");
}

#[test]
fn an_instance_that_gets_no_reply_from_redis_goes_on_without_it() {
    let redis = TestRedis::start();
    let proxy = Proxy::to(redis.port());
    let ports = [proxy.port(), redis.port(), redis.port()];
    let mut cluster = Cluster::start_with_redis("redis_silence", &Options::new(), ports);
    let mut longest = Longest::default();
    traffic::run(&mut cluster, &WRITERS, &followers(), |cluster, traffic| {
        let (instances, mut probe) = (cluster.addresses(), Probe::new(cluster));
        wait_until_used(&instances);
        for _ in 0..amount(1, 20) {
            for link in [Link::Swallow, Link::SwallowRequests, Link::SwallowReplies] {
                let end = || {
                    assert!(instances[1..].iter().all(|other| uses_redis(*other)), "the others use Redis");
                    proxy.set(Link::Pass);
                };
                longest.observe((&instances[..1], &mut probe), traffic, || proxy.set(link), end);
            }
            proxy.end_connections();
            wait_until_used(&instances);
            // All subscriptions end, and connections that publish do not.
            redis.run(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            wait_until_used(&instances);
        }
    });
    longest.print("one instance without replies");
}

#[test]
fn streams_show_each_event_once_in_order_whatever_happens_to_notices() {
    let redis = TestRedis::start();
    let damages = [1, 2, 3].map(Damage::new);
    let proxies = damages.each_ref().map(|damage| Proxy::damaging(redis.port(), damage.clone()));
    let mut cluster =
        Cluster::start_with_redis("redis_damage", &Options::new(), proxies.each_ref().map(|proxy| proxy.port()));
    let enough = |done: [u64; 3]| done.iter().all(|count| *count >= amount(10, 1000));
    traffic::run(&mut cluster, &WRITERS, &followers(), |cluster, traffic| {
        let instances = cluster.addresses();
        wait_until_used(&instances);
        let before: Vec<Scrape> = instances.iter().map(|instance| Scrape::at(*instance)).collect();
        let end = Instant::now() + DEADLINE.max(Duration::from_secs(amount(0, 600)));
        while !damages.iter().all(|damage| enough(damage.done())) {
            assert!(Instant::now() < end, "few notices are damaged: {:?}", damages.each_ref().map(Damage::done));
            // Notices of this instance come after those of later turns.
            proxies[0].set(Link::Delay(Duration::from_millis(30)));
            thread::sleep(Duration::from_millis(250));
            proxies[0].set(Link::Pass);
            thread::sleep(Duration::from_millis(250));
            traffic.wait_for_progress(&[0, 1, 2], STALL_MAX);
        }
        for ((instance, before), damage) in instances.iter().zip(&before).zip(&damages) {
            let after = Scrape::at(*instance);
            let changed = |name: &str| after.get(name) - before.get(name);
            let (slices, pages) = (changed("cortex_slices_total"), changed("cortex_catchup_pages_total"));
            let [lost, repeated, late] = damage.done();
            println!("{lost} notices lost, {repeated} repeated, {late} late: {slices} slices, {pages} pages");
            assert!(slices > 0.0, "what is missing is read in one piece");
        }
    });
}

#[test]
fn others_show_soon_what_a_killed_instance_has_not_published() {
    let redis = TestRedis::start();
    let proxy = Proxy::to(redis.port());
    let ports = [proxy.port(), redis.port(), redis.port()];
    let mut cluster = Cluster::start_with_redis("redis_unpublished", &Options::new(), ports);
    let instances = cluster.addresses();
    let mut streams = [1, 2].map(|instance| cluster.user(instance, "ann").stream());
    let mut expect = |content: &str| {
        streams.iter_mut().for_each(|stream| assert_eq!(stream.next_of("input").content(), content));
    };
    let (rounds, mut longest) = (amount(4, 100), Duration::ZERO);
    for round in 0..rounds {
        wait_until_up(&instances);
        proxy.set(Link::SwallowRequests);
        let content = format!("not published {round}");
        cluster.user(0, "ann").say("default", &content);
        cluster.instances[0].kill();
        let killed_at = Instant::now();
        // The next notice shows that one is missing, or there is none.
        let next = (round % 2 == 1).then(|| format!("the next one {round}"));
        if let Some(next) = &next {
            cluster.user(1, "ann").say("default", next);
        }
        expect(&content);
        longest = longest.max(killed_at.elapsed());
        next.iter().for_each(|next| expect(next));
        assert!(killed_at.elapsed() < STALL_MAX);
        proxy.set(Link::Pass);
        cluster.instances[0].start_again();
        let content = format!("published {round}");
        cluster.user(0, "ann").say("default", &content);
        expect(&content);
    }
    println!("{rounds} kills between commit and publication, shown elsewhere after {longest:?} at most");
}

/// Waits until a message of the probe comes with a notice.
#[track_caller]
fn wait_until_noticed(instances: &[SocketAddr], probe: &mut Probe) {
    wait_until_up(instances);
    let before = Scrape::at(instances[1]);
    eventually("the other instance gets a notice", || {
        probe.latency();
        !Scrape::at(instances[1]).since(&before, "cortex_notices_total").is_empty()
    });
}

#[test]
fn instances_that_start_without_redis_use_it_when_it_is_there() {
    let redis = TestRedis::start();
    redis.kill();
    let cluster = Cluster::start_with_redis("redis_late", &Options::new(), [redis.port(); 3]);
    let (instances, mut probe) = (cluster.addresses(), Probe::new(&cluster));
    assert!(!instances.iter().any(|instance| uses_redis(*instance)));
    probe.latency();
    redis.start_again();
    wait_until_noticed(&instances, &mut probe);
}

#[test]
fn redis_is_reached_with_a_password_and_tls() {
    let redis = TestRedis::start_protected();
    let options = Options::new().set("SSL_CERT_FILE", TestRedis::authority().display());
    let cluster = Cluster::start_with_redis_at("redis_tls", &options, [0, 1, 2].map(|_| redis.protected_url()));
    let (instances, mut probe) = (cluster.addresses(), Probe::new(&cluster));
    wait_until_noticed(&instances, &mut probe);
}

#[test]
fn the_redis_server_that_a_sentinel_names_is_used() {
    let redis = TestRedis::start();
    let replica = TestRedis::replica_of(&redis);
    let sentinel = TestRedis::sentinel_of(&redis, &replica);
    let addresses = [0, 1, 2].map(|_| sentinel.sentinel_url());
    let cluster = Cluster::start_with_redis_at("redis_sentinel", &Options::new(), addresses);
    let (instances, mut probe) = (cluster.addresses(), Probe::new(&cluster));
    wait_until_noticed(&instances, &mut probe);
    redis.kill();
    wait_until_down(&instances);
    probe.latency();
    eventually("the replica is the primary", || sentinel.primary_port() == replica.port());
    wait_until_noticed(&instances, &mut probe);
}

#[test]
fn streams_that_move_resume_without_the_database() {
    let redis = TestRedis::start();
    let mut cluster = Cluster::start_with_redis("resumed", &Options::new(), [redis.port(); 3]);
    wait_until_up(&cluster.addresses());
    let stays = Duration::from_millis(amount(200, 1000));
    let followers: Vec<FollowerPlan> =
        (0..9).map(|number| FollowerPlan { instance: number / 3, moves: true, stays }).collect();
    traffic::run(&mut cluster, &WRITERS, &followers, |_, _| thread::sleep(Duration::from_secs(amount(3, 60))));
    let of_instances = cluster.addresses().into_iter();
    let pages: f64 = of_instances.map(|instance| Scrape::at(instance).get("cortex_recent_pages_total")).sum();
    assert!(pages > 0.0, "pages are read from the database");
}

#[test]
fn a_copy_of_a_database_shows_nothing_of_the_original() {
    let redis = TestRedis::start();
    let original = ServerDatabase::create("original");
    original.sandbox().serve().stop();
    let server = TestServer::shared();
    server.run("CREATE DATABASE copied TEMPLATE original", "postgres");
    let copied = ServerDatabase { name: "copied", address: server.address("copied"), port: server.port() };
    let start = |database: &ServerDatabase| Server::start(database.options().set("REDIS_URL", redis.url()));
    let instances: Vec<Server> = [&original, &original, &copied, &copied].into_iter().map(start).collect();
    wait_until_up(&instances.iter().map(|instance| instance.addr).collect::<Vec<_>>());
    let mut users: Vec<User> = instances.iter().map(|instance| User::new(instance, "ann")).collect();
    let mut streams: Vec<Stream> = users.iter().map(User::stream).collect();
    for round in 0..10 {
        for (writer, readers, content) in [(0, 0..2, "original"), (2, 2..4, "copy")] {
            let content = format!("{content} {round}");
            users[writer].say("default", &content);
            for stream in &mut streams[readers] {
                assert_eq!(stream.next_of("input").content(), content);
            }
        }
    }
}
