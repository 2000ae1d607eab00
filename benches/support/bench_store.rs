//! A database that a benchmark fills without a server.

use cortex_core::internals::{
    Actor, ApiVariant, Command, CommandKind, Content, ConversationId, ConversationRef, Credential, Database,
    FlushLimits, Metadata, MonoTime, Now, Outcome, Random, ReplyTo, Role, StoreConfig, Topic, UserId, WallTime,
    WorkspaceDescription, WorkspaceId, WorkspaceName, Writer,
};
use std::path::PathBuf;
use std::time::Duration;

/// The number of users, `user-0` and so on.
pub const USERS: u64 = 1_000;
const CONVERSATIONS: usize = 10_000;
/// The recipient of results; there is none.
pub const NO_REPLY: ReplyTo = ReplyTo { shard: 0, slot: 0, generation: 0 };

/// A database and its content.
pub struct BenchStore {
    pub path: PathBuf,
    pub writer: Writer,
    /// Conversations with a participant of each.
    pub rooms: Vec<(ConversationId, String)>,
    pub random: Random,
    now: Now,
    /// Commands for the next transaction.
    pub waiting: Vec<Command>,
}

impl BenchStore {
    /// Opens a database, and creates it if it is missing.
    pub fn open(path: PathBuf, flush: FlushLimits) -> BenchStore {
        let config = StoreConfig { flush, ..StoreConfig::new(Database::File(path.clone())) };
        let writer = Writer::open(&config).expect("a database");
        let now = Now { wall: WallTime(1_767_225_600_000_000), mono: MonoTime(0) };
        BenchStore { path, writer, rooms: Vec::new(), random: Random::new(1), now, waiting: Vec::new() }
    }

    /// A database with conversations of three users, each in the workspace of one of them.
    pub fn new(path: PathBuf, flush: FlushLimits) -> BenchStore {
        let mut store = BenchStore::open(path, flush);
        let workspaces: Vec<WorkspaceId> = (0..USERS).map(|user| store.workspace(&format!("user-{user}"))).collect();
        for made in 1..=CONVERSATIONS {
            let owner = store.random.below(USERS);
            let others = [1, 2].map(|_| UserId::new_unchecked(format!("user-{}", store.random.below(USERS))));
            let kind = create_conversation(workspaces[owner as usize], &others);
            store.waiting.push(command(&format!("user-{owner}"), kind));
            for outcome in store.commit_if(if made == CONVERSATIONS { 1 } else { 256 }) {
                let Outcome::ConversationCreated { conversation, .. } = outcome else { continue };
                store.rooms.push((conversation.id, conversation.participants[0].as_str().into()));
            }
        }
        store
    }

    /// A new workspace of a user.
    pub fn workspace(&mut self, user: &str) -> WorkspaceId {
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
    pub fn user_in(&mut self, name: &str, conversations: usize) -> Vec<ConversationId> {
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
    pub fn commit_if(&mut self, commands: usize) -> Vec<Outcome> {
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
}

/// A command of a user.
pub fn command(user: &str, kind: CommandKind) -> Command {
    let actor = Actor { id: UserId::new_unchecked(user), name: None, email: None, credential: Credential::default() };
    Command { reply_to: NO_REPLY, actor, correlation_id: "request".into(), idempotency: None, kind }
}

/// A new conversation.
pub fn create_conversation(workspace: WorkspaceId, participants: &[UserId]) -> CommandKind {
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

/// A message.
pub fn post(conversation: ConversationId, text: String) -> CommandKind {
    CommandKind::PostMessage {
        conversation: ConversationRef::Id(conversation),
        role: Role::User,
        content: Content::new_unchecked(text),
        metadata: Metadata::empty(),
        api_variant: ApiVariant::Config,
    }
}

/// Processor time of this thread, which other processes do not affect.
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists and the pointer is valid.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
