//! Clients that write and follow one conversation at several instances, and what must hold of what they have seen.

use crate::cluster::Cluster;
use crate::common::publish::{Acknowledged, Publisher};
use crate::common::reader::{Frame, Opening, Reader};
use crate::common::token::token;
use crate::common::user::text;
use crate::common::{DEADLINE, User};
use crate::printed;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// The content of the message after which a follower ends.
const LAST: &str = "the end";
/// Users of the writers, of whom each may have several.
const WRITING_USERS: usize = 8;
/// Users of the followers. The first one owns the conversation.
const FOLLOWING_USERS: [&str; 3] = ["owner", "ann", "ben"];
/// A follower opens another stream after this time at the latest.
const STREAM_LASTS_MAX: Duration = Duration::from_secs(60);

/// A client that posts messages one after the other until it is stopped.
#[derive(Debug, Clone, Copy)]
pub struct WriterPlan {
    /// The instance that it uses.
    pub instance: usize,
    /// Whether it goes to the next instance when one does not accept a message.
    pub moves: bool,
}

/// A client that reads a stream until the last message, and resumes a stream that ends.
#[derive(Debug, Clone, Copy)]
pub struct FollowerPlan {
    /// The instance that it uses first.
    pub instance: usize,
    /// Whether it resumes at the next instance.
    pub moves: bool,
    /// How long it reads a stream.
    pub stays: Duration,
}

impl FollowerPlan {
    /// A follower that stays at an instance.
    pub fn at(instance: usize) -> FollowerPlan {
        FollowerPlan { instance, moves: false, stays: STREAM_LASTS_MAX }
    }
}

/// What is common to the clients of one run.
pub struct Traffic {
    addresses: Vec<SocketAddr>,
    conversation: String,
    /// The position of the journal before the first message.
    start: u64,
    /// Writers stop.
    is_over: AtomicBool,
    /// Followers stop as well, since the test has failed.
    has_failed: AtomicBool,
    /// The number of messages of each writer that were acknowledged.
    counts: Vec<AtomicU64>,
}

/// The messages of one writer.
pub struct Written {
    /// The messages, in order.
    pub acknowledged: Vec<Acknowledged>,
    /// The longest time until a message was acknowledged.
    pub slowest: Duration,
    /// The number of responses that were replayed.
    pub replayed: u64,
}

/// The events of one follower.
struct Followed {
    user: &'static str,
    /// Number and content of each event.
    events: Vec<(u64, String)>,
}

/// Runs writers and followers while `during` does something to the cluster. Checks that each acknowledged message is stored once
/// and that each stream has shown each event once, in order and without a gap. Returns what the writers have written.
#[track_caller]
pub fn run(
    cluster: &mut Cluster,
    writers: &[WriterPlan],
    followers: &[FollowerPlan],
    during: impl FnOnce(&mut Cluster, &Traffic),
) -> Vec<Written> {
    let traffic = Traffic::new(cluster, writers.len());
    let (written, followed, last) = thread::scope(|scope| {
        let traffic = &traffic;
        let mut guard = Guard { traffic, has_succeeded: false };
        let followers: Vec<_> = (followers.iter().zip(FOLLOWING_USERS.iter().cycle()))
            .map(|(plan, user)| scope.spawn(move || traffic.follow(user, *plan)))
            .collect();
        let writers: Vec<_> = (writers.iter().enumerate())
            .map(|(number, plan)| scope.spawn(move || traffic.write(number, *plan)))
            .collect();
        during(cluster, traffic);
        traffic.is_over.store(true, Relaxed);
        let written: Vec<Written> =
            writers.into_iter().map(|thread| thread.join().expect("a writer succeeds")).collect();
        let last = Publisher::at_any_of(&traffic.addresses, "owner", "last").post(&traffic.conversation, LAST);
        let followed: Vec<Followed> =
            followers.into_iter().map(|thread| thread.join().expect("a follower succeeds")).collect();
        guard.has_succeeded = true;
        (written, followed, last)
    });
    let mut acknowledged: Vec<&Acknowledged> = written.iter().flat_map(|written| &written.acknowledged).collect();
    acknowledged.push(&last);
    acknowledged.sort_unstable();
    check(&acknowledged, &followed);
    let holes = "SELECT number - (SELECT count(*) FROM (SELECT number FROM state_events UNION SELECT number FROM messages) AS used) \
        - coalesce((SELECT sum(through - after) FROM skipped_ranges), 0) FROM journal_head";
    assert_eq!(cluster.database.run(holes), "0", "each number of the journal is that of an event");
    assert!(printed(cluster.instances[0].sandbox(), &["verify"], "").starts_with("ok: "));
    for instance in 0..cluster.instances.len() {
        let stored = stored(&mut cluster.user(instance, "owner"), &traffic.conversation);
        assert_eq!(stored.len(), acknowledged.len(), "each acknowledged message is stored once");
        assert!(stored.iter().zip(&acknowledged).all(|(id, said)| *id == said.message_id), "in the order of numbers");
    }
    written
}

/// Ends the threads of a run when the test fails.
struct Guard<'a> {
    traffic: &'a Traffic,
    has_succeeded: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.traffic.is_over.store(true, Relaxed);
        self.traffic.has_failed.store(!self.has_succeeded, Relaxed);
    }
}

impl Traffic {
    #[track_caller]
    fn new(cluster: &Cluster, writers: usize) -> Traffic {
        let mut owner = cluster.user(0, "owner");
        let workspace = owner.create_workspace("w");
        let users: Vec<String> = (0..WRITING_USERS).map(writing_user).collect();
        let users: Vec<&str> = users.iter().map(String::as_str).chain(FOLLOWING_USERS).collect();
        let conversation = owner.create_conversation(&workspace, "t", &users);
        Traffic {
            addresses: cluster.addresses(),
            conversation,
            start: owner.get("/config/workspace").expect(200).number("X-Last-Event-Id"),
            is_over: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
            counts: (0..writers).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Waits until these writers have each got a message acknowledged that they posted after the call. Returns the time that it
    /// took.
    #[track_caller]
    pub fn wait_for_progress(&self, writers: &[usize], bound: Duration) -> Duration {
        let start = Instant::now();
        // The first one may have been posted before.
        let enough: Vec<u64> = writers.iter().map(|writer| self.counts[*writer].load(Relaxed) + 2).collect();
        while writers.iter().zip(&enough).any(|(writer, enough)| self.counts[*writer].load(Relaxed) < *enough) {
            assert!(start.elapsed() < bound, "the writers {writers:?} make no progress");
            thread::sleep(Duration::from_millis(2));
        }
        start.elapsed()
    }

    fn write(&self, number: usize, plan: WriterPlan) -> Written {
        let (user, key) = (writing_user(number % WRITING_USERS), format!("key{number}"));
        let mut addresses = self.addresses.clone();
        addresses.rotate_left(plan.instance);
        addresses.truncate(if plan.moves { addresses.len() } else { 1 });
        let mut publisher = Publisher::at_any_of(&addresses, &user, &key);
        let (mut acknowledged, mut slowest) = (Vec::new(), Duration::ZERO);
        while !self.is_over.load(Relaxed) {
            let start = Instant::now();
            acknowledged.push(publisher.post(&self.conversation, &format!("{number}/{}", acknowledged.len())));
            slowest = slowest.max(start.elapsed());
            self.counts[number].fetch_add(1, Relaxed);
        }
        Written { acknowledged, slowest, replayed: publisher.replayed }
    }

    /// Reads streams as an `EventSource` does: each resumes at the last id of any event.
    fn follow(&self, user: &'static str, plan: FollowerPlan) -> Followed {
        let (mut followed, mut cursor) = (Followed { user, events: Vec::new() }, self.start);
        let (mut instance, mut newest) = (plan.instance, self.start);
        let mut quiet_since = Instant::now();
        while !self.has_failed.load(Relaxed) {
            assert!(quiet_since.elapsed() < 3 * DEADLINE, "{user} gets no event after {cursor}");
            let opening = Opening { token: token(user), last_event_id: Some(cursor), ..Opening::default() };
            let opened_at = Instant::now();
            let mut reader = Reader::open(self.addresses[instance], &opening);
            while let Ok(Ok(Some(Frame { id, kind, content, .. }))) = reader.as_mut().map(Reader::next) {
                assert_ne!(kind, "gap", "{user} after {cursor}");
                let Some(id) = id else { continue };
                assert!(id >= cursor, "{user} gets {kind} {id} after {cursor}");
                cursor = id;
                if kind == "input" {
                    assert!(id > newest, "{user} gets {id} after {newest}");
                    newest = id;
                    quiet_since = Instant::now();
                    let is_last = content == LAST;
                    followed.events.push((id, content));
                    if is_last {
                        return followed;
                    }
                }
                if opened_at.elapsed() > plan.stays {
                    break;
                }
            }
            if plan.moves {
                instance = (instance + 1) % self.addresses.len();
            }
            thread::sleep(Duration::from_millis(2));
        }
        followed
    }
}

fn writing_user(number: usize) -> String {
    format!("writer{number}")
}

/// Compares all streams with the acknowledged messages, in the order of numbers.
#[track_caller]
fn check(acknowledged: &[&Acknowledged], followed: &[Followed]) {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    acknowledged.iter().for_each(|said| *times.entry(&said.content).or_default() += 1);
    assert!(times.values().all(|times| *times == 1), "the contents are different");
    assert!(acknowledged.is_sorted_by(|one, next| one.number < next.number), "the numbers are different");
    for followed in followed {
        let shown = followed.events.iter().map(|(number, content)| (*number, content.as_str()));
        let wrong = shown.zip(acknowledged).find(|(shown, said)| *shown != (said.number, &said.content));
        assert!(wrong.is_none(), "{} was shown another event: {wrong:?}", followed.user);
        assert_eq!(followed.events.len(), acknowledged.len(), "{} was shown all events", followed.user);
    }
}

/// The ids of all messages of a conversation, oldest first.
#[track_caller]
pub fn stored(user: &mut User, conversation: &str) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    loop {
        let after = ids.last().map(|id| format!("&after={id}")).unwrap_or_default();
        let page = user.get(&format!("/conversations/{conversation}/messages?limit=1000{after}")).expect(200).json();
        let page: &Vec<Value> = page.as_array().expect("a list");
        if page.is_empty() {
            return ids;
        }
        ids.extend(page.iter().map(|message| text(&message["id"])));
    }
}
