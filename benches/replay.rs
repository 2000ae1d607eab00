//! The cost of inboxes for writes, and their gain for replays.
//!
//! Writes: messages per second in batches of 64 and 256, with 3 recipients each, among 1,000 users and 10,000
//! conversations, with and without inbox flushes. Replays: events per second, in pages as a stream requests them, for a
//! user of 10 conversations and one of 5,000 with the same number of messages, with the file cached by the system and
//! not.

use cortex_core::internals::limits::QUERY_ROWS_EXAMINED_MAX;
use cortex_core::internals::{
    Actor, ApiVariant, Command, CommandKind, Content, ConversationId, ConversationRef, Credential, Database,
    EventNumber, InboxLimits, KindSet, Metadata, MonoTime, Now, Outcome, PendingQuery, Query, QueryKind, QueryResult,
    QueryStep, Random, Reader, ReplyTo, Role, StoreConfig, StreamFilter, Topic, UserId, WallTime, WorkspaceDescription,
    WorkspaceId, WorkspaceName, Writer,
};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

const USERS: u64 = 1_000;
const CONVERSATIONS: usize = 10_000;
const FEW: usize = 10;
const MANY: usize = 5_000;
const ROUNDS: usize = 7;
const MESSAGES_PER_ROUND: usize = 24_576;
const REPLAYED: usize = 40_000;
/// Bytes of a stream's outbox, by default.
const PAGE_BYTES: usize = 64 * 1024;
const NO_REPLY: ReplyTo = ReplyTo { shard: 0, slot: 0, generation: 0 };

fn main() {
    let directory = std::env::temp_dir().join(format!("cortex-replay-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory for the databases");
    writing(&directory);
    replaying(&directory);
    std::fs::remove_dir_all(&directory).expect("the databases go");
}

fn writing(directory: &Path) {
    let never = InboxLimits { flush_numbers: u64::MAX, ..InboxLimits::default() };
    let mut without = BenchStore::new(directory.join("without.db"), never);
    let mut with = BenchStore::new(directory.join("with.db"), InboxLimits::default());
    // The first messages fill the empty caches of a new database.
    for store in [&mut without, &mut with] {
        store.write(100_000, 256);
    }
    println!("{:<34} {:>10} {:>10} {:>7}", "", "without", "inboxes", "ratio");
    for batch in [64, 256] {
        let (mut bare, mut flushed) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bare.push(without.write(MESSAGES_PER_ROUND, batch));
            flushed.push(with.write(MESSAGES_PER_ROUND, batch));
        }
        let ((bare, bare_longest), (flushed, flushed_longest)) = (median(bare), median(flushed));
        let ratio = flushed / bare;
        println!("{:<34} {bare:>10.0} {flushed:>10.0} {ratio:>7.2}", format!("messages/s, {batch} per commit"));
        let ratio = flushed_longest / bare_longest;
        println!("{:<34} {bare_longest:>10.2} {flushed_longest:>10.2} {ratio:>7.2}", "  longest commit, ms");
    }
}

fn replaying(directory: &Path) {
    let path = directory.join("with.db");
    let config = StoreConfig::new(Database::File(path.clone()));
    let mut store = BenchStore::open(path.clone(), config.inbox);
    let few = store.user_in("few", FEW);
    let many = store.user_in("many", MANY);
    let start = store.writer.position();
    for pair in 0..REPLAYED {
        let rooms = [few[pair % FEW], many[pair * 7919 % MANY]];
        store.waiting.extend(rooms.map(|room| command("user-0", post(room))));
        store.commit_if(256);
    }
    store.commit_if(1);
    println!("\n{:<34} {:>10} {:>10} {:>7}", "", FEW, MANY, "ratio");
    let rounds = |cold: bool| {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (rates, user) in rates.iter_mut().zip(["few", "many"]) {
                if cold {
                    store.drop_cache();
                }
                rates.push((replay(&path, user, start), 0.0));
            }
        }
        rates.map(|rates| median(rates).0)
    };
    for (name, cold) in [("replayed events/s, warm", false), ("replayed events/s, cold", true)] {
        let [few, many] = rounds(cold);
        println!("{name:<34} {few:>10.0} {many:>10.0} {:>7.2}", many / few);
    }
}

/// A database and its content.
struct BenchStore {
    path: PathBuf,
    writer: Writer,
    rooms: Vec<(ConversationId, String)>,
    random: Random,
    now: Now,
    waiting: Vec<Command>,
}

impl BenchStore {
    fn open(path: PathBuf, inbox: InboxLimits) -> BenchStore {
        let config = StoreConfig { inbox, ..StoreConfig::new(Database::File(path.clone())) };
        let writer = Writer::open(&config).expect("a database");
        let now = Now { wall: WallTime(1_767_225_600_000_000), mono: MonoTime(0) };
        BenchStore { path, writer, rooms: Vec::new(), random: Random::new(1), now, waiting: Vec::new() }
    }

    /// A database with conversations of three users, each in the workspace of one of them.
    fn new(path: PathBuf, inbox: InboxLimits) -> BenchStore {
        let mut store = BenchStore::open(path, inbox);
        let workspaces: Vec<WorkspaceId> = (0..USERS).map(|user| store.workspace(&format!("user-{user}"))).collect();
        for _ in 0..CONVERSATIONS {
            let owner = store.random.below(USERS);
            let others = [1, 2].map(|_| UserId::new_unchecked(format!("user-{}", store.random.below(USERS))));
            let kind = create_conversation(workspaces[owner as usize], &others);
            store.waiting.push(command(&format!("user-{owner}"), kind));
            for outcome in store.commit_if(256) {
                let Outcome::ConversationCreated { conversation, .. } = outcome else { continue };
                store.rooms.push((conversation.id, conversation.participants[0].as_str().into()));
            }
        }
        store
    }

    fn workspace(&mut self, user: &str) -> WorkspaceId {
        let kind = CommandKind::CreateWorkspace {
            name: WorkspaceName::new_unchecked("w"),
            description: WorkspaceDescription::new_unchecked("d"),
            metadata: Metadata::empty(),
        };
        self.waiting.push(command(user, kind));
        match self.commit_if(1).remove(0) {
            Outcome::WorkspaceCreated(workspace) => workspace.id,
            other => panic!("{other:?}"),
        }
    }

    /// A user who takes part in this number of new conversations of the first user.
    fn user_in(&mut self, name: &str, conversations: usize) -> Vec<ConversationId> {
        let workspace = self.workspace("user-0");
        let mut rooms = Vec::new();
        for made in 1..=conversations {
            self.waiting.push(command("user-0", create_conversation(workspace, &[UserId::new_unchecked(name)])));
            let outcomes = self.commit_if(if made == conversations { 1 } else { 256 });
            rooms.extend(outcomes.into_iter().map(|outcome| match outcome {
                Outcome::ConversationCreated { conversation, .. } => conversation.id,
                other => panic!("{other:?}"),
            }));
        }
        rooms
    }

    /// Commits the waiting commands if there are at least this many.
    fn commit_if(&mut self, commands: usize) -> Vec<Outcome> {
        if self.waiting.len() < commands {
            return Vec::new();
        }
        self.now = Now { wall: WallTime(self.now.wall.0 + 1000), mono: self.now.mono.plus_milliseconds(1) };
        let waiting = std::mem::take(&mut self.waiting);
        let mut results = Vec::with_capacity(waiting.len());
        while results.len() < waiting.len() {
            results.extend(self.writer.commit_batch(&waiting[results.len()..], self.now).results);
        }
        results.into_iter().map(|command_result| command_result.result.expect("the command succeeds")).collect()
    }

    /// Writes messages to evenly chosen conversations. Returns messages per second, and milliseconds of the longest
    /// commit.
    fn write(&mut self, messages: usize, batch: usize) -> (f64, f64) {
        let (mut busy, mut longest) = (0.0, 0.0);
        for _ in 0..messages / batch {
            for _ in 0..batch {
                let (room, user) = &self.rooms[self.random.below(self.rooms.len() as u64) as usize];
                self.waiting.push(command(user, post(*room)));
            }
            let start = cpu_time();
            self.commit_if(batch);
            let seconds = (cpu_time() - start).as_secs_f64();
            busy += seconds;
            longest = f64::max(longest, seconds * 1000.0);
        }
        (messages as f64 / busy, longest)
    }

    /// Drops the file from the system's page cache.
    fn drop_cache(&self) {
        for ending in ["", "-wal"] {
            let path = format!("{}{ending}", self.path.display());
            let Ok(file) = std::fs::File::open(path) else { continue };
            file.sync_all().expect("the file can be synced");
            // SAFETY: the descriptor stays open during the call.
            let failed = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
            assert_eq!(failed, 0);
        }
    }
}

/// Reads all events of `user` after a number, as a stream does. Returns events per second.
fn replay(path: &Path, user: &str, start: EventNumber) -> f64 {
    let filter = StreamFilter { conversation: None, workspace: None, kinds: KindSet::ALL };
    let mut reader = Reader::open(path, QUERY_ROWS_EXAMINED_MAX).expect("a reader");
    let (mut after, mut events) = (start, 0);
    let began = cpu_time();
    loop {
        let kind = QueryKind::JournalPage { after, bytes_max: PAGE_BYTES, filter };
        let query = Query { reply_to: NO_REPLY, caller: UserId::new_unchecked(user), kind };
        let QueryStep::Done(response) = reader.step(PendingQuery::new(query)) else { panic!("a page takes one step") };
        let Ok(QueryResult::JournalPage(page)) = response.result else { panic!("no page") };
        events += page.events.len();
        after = page.through;
        if after == page.position {
            break;
        }
    }
    assert_eq!(events, REPLAYED, "{user} gets every message once");
    events as f64 / (cpu_time() - began).as_secs_f64()
}

fn command(user: &str, kind: CommandKind) -> Command {
    let actor = Actor { id: UserId::new_unchecked(user), name: None, email: None, credential: Credential::default() };
    Command { reply_to: NO_REPLY, actor, correlation_id: "request".into(), idempotency: None, kind }
}

fn create_conversation(workspace: WorkspaceId, participants: &[UserId]) -> CommandKind {
    CommandKind::CreateConversation {
        workspace: Some(workspace),
        topic: Topic::new_unchecked("t"),
        participants: participants.into(),
        metadata: Metadata::empty(),
        earlier_messages: Vec::new(),
        initial_message: None,
        api_variant: ApiVariant::Config,
    }
}

fn post(conversation: ConversationId) -> CommandKind {
    CommandKind::PostMessage {
        conversation: ConversationRef::Id(conversation),
        role: Role::User,
        content: Content::new_unchecked("x".repeat(200)),
        metadata: Metadata::empty(),
        api_variant: ApiVariant::Config,
    }
}

/// The median of each component.
fn median(mut rounds: Vec<(f64, f64)>) -> (f64, f64) {
    let middle = rounds.len() / 2;
    rounds.sort_by(|a, b| a.1.total_cmp(&b.1));
    let second = rounds[middle].1;
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    (rounds[middle].0, second)
}

/// Processor time of this thread, which other processes do not affect.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists and the pointer is valid.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
