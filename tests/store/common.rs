//! A store in a temporary file or in memory, and shorthands for commands and queries.

#![allow(dead_code)]

#[path = "../../src/store/tests/support.rs"]
pub mod support;

use cortex_core::internals::{
    Actor, AnswerStep, ApiVariant, Command, CommandKind, CommandResult, Committed, Content, Conversation,
    ConversationId, ConversationRef, Credential, Database, Event, EventNumber, FlushLimits, JobId, JournalPage,
    KindSet, LiveAnswer, MaintenanceDue, MessageId, Metadata, MonoTime, Now, Outcome, PendingQuery, Query, QueryKind,
    QueryResponse, QueryResult, QueryStep, RESPONDER_PREFIX, Reader, Rejection, ReplyTo, ResponderKind, ResponderRules,
    Retention, Role, Status, StoreConfig, StreamFilter, Topic, UserId, WallTime, WorkspaceDescription, WorkspaceId,
    WorkspaceName, Writer,
};
use std::path::Path;
use std::sync::Arc;
use support::TempDir;

/// 2026-01-01T00:00:00Z.
pub const START: WallTime = WallTime(1_767_225_600_000_000);

/// The name of a store's file in its directory.
const FILE: &str = "a.db";

pub const UNUSED_REPLY_TO: ReplyTo = ReplyTo { shard: 0, slot: 0, generation: 0 };

pub struct World {
    pub config: StoreConfig,
    pub writer: Option<Writer>,
    reader: Option<Reader>,
    /// The wall clock. The next commit advances it and `mono`.
    pub now: WallTime,
    pub mono: MonoTime,
    /// The events that maintenance has published and no test has taken.
    pub notifications: Vec<Arc<Event>>,
    directory: TempDir,
}

/// The response body that is stored under an idempotency key.
pub use cortex_core::internals::wire::command_result::command_body as render;

impl World {
    pub fn in_file() -> World {
        World::in_file_with(FlushLimits::default())
    }

    pub fn in_file_with(flush: FlushLimits) -> World {
        World::answered_in_file_with(flush, None)
    }

    /// A store in a file, with a default responder.
    pub fn answered_in_file(default: Option<&str>) -> World {
        World::answered_in_file_with(FlushLimits::default(), default)
    }

    pub fn answered_in_file_with(flush: FlushLimits, default: Option<&str>) -> World {
        let directory = TempDir::new();
        let responders = responders(default);
        let notified_rows_max = notified_rows_max(&flush);
        let database = support::database_at(&directory.file(FILE));
        let config = StoreConfig { flush, notified_rows_max, responders, ..StoreConfig::new(database) };
        World::opened(config, directory)
    }

    pub fn in_memory() -> World {
        World::in_memory_with(FlushLimits::default(), Retention::default())
    }

    pub fn in_memory_with(flush: FlushLimits, retention: Retention) -> World {
        let responders = responders(None);
        World::kept_in_memory(StoreConfig {
            flush,
            retention,
            responders,
            ..StoreConfig::new(support::temporary_database())
        })
    }

    /// A store in memory, with a default responder.
    pub fn answered_in_memory(default: Option<&str>) -> World {
        World::answered_in_memory_with(FlushLimits::default(), default)
    }

    pub fn answered_in_memory_with(flush: FlushLimits, default: Option<&str>) -> World {
        let (responders, notified_rows_max) = (responders(default), notified_rows_max(&flush));
        let config =
            StoreConfig { flush, notified_rows_max, responders, ..StoreConfig::new(support::temporary_database()) };
        World::kept_in_memory(config)
    }

    fn kept_in_memory(config: StoreConfig) -> World {
        World::opened(config, TempDir::new())
    }

    fn opened(config: StoreConfig, directory: TempDir) -> World {
        let writer = Writer::open(&config).unwrap();
        let reader = writer.open_reader().unwrap();
        World::with(config, writer, reader, directory)
    }

    fn with(config: StoreConfig, mut writer: Writer, reader: Reader, directory: TempDir) -> World {
        support::claim_open_jobs(&mut writer);
        World {
            config,
            writer: Some(writer),
            reader: Some(reader),
            now: START,
            mono: MonoTime(1_000_000),
            notifications: Vec::new(),
            directory,
        }
    }

    /// A store that is already open.
    pub fn of(config: StoreConfig, writer: Writer, reader: Reader) -> World {
        World::with(config, writer, reader, TempDir::new())
    }

    pub fn clocks(&self) -> Now {
        Now { wall: self.now, mono: self.mono }
    }

    /// Advances both clocks.
    pub fn pass_seconds(&mut self, seconds: i64) {
        self.now = self.now.plus_seconds(seconds);
        self.mono = self.mono.plus_milliseconds(1000 * seconds as u64);
    }

    pub fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().unwrap()
    }

    /// Closes the store and opens it again.
    pub fn reopen(&mut self) {
        self.reader = None;
        self.writer.take().unwrap().close();
        self.open_again();
    }

    /// Drops the store without closing it, as a killed process does, and opens it again.
    pub fn abandon(&mut self) {
        self.kill();
        self.open_again();
    }

    fn kill(&mut self) {
        self.reader = None;
        if let Some(writer) = self.writer.take() {
            support::kill(writer);
        }
    }

    /// A copy of the store's file, and of its log, as a crash would leave them now. A server copies a database only while it
    /// has no session, so there the store is dropped, and opened again.
    pub fn crashed_copy(&mut self, name: &str) -> Database {
        let (path, copy) = (self.directory.file(FILE), self.directory.file(name));
        #[cfg(feature = "cluster")]
        if !support::is_sqlite() {
            self.kill();
            let address = support::postgres::copy_database(&path, &copy);
            self.open_again();
            return Database::parse(&address).unwrap();
        }
        for ending in ["", "-wal"] {
            let file = |path: &Path| format!("{}{ending}", path.display());
            std::fs::copy(file(&path), file(&copy)).unwrap();
        }
        Database::File(copy)
    }

    fn open_again(&mut self) {
        let mut writer = Writer::open(&self.config).unwrap();
        support::claim_open_jobs(&mut writer);
        self.reader = Some(writer.open_reader().unwrap());
        self.writer = Some(writer);
    }

    pub fn commit(&mut self, commands: &[Command]) -> Committed {
        self.now = WallTime(self.now.0 + 1000);
        self.mono = self.mono.plus_milliseconds(1);
        let now = self.clocks();
        // On a server, only claimed answers are written.
        support::claim_open_jobs(self.writer());
        let before = self.writer().position();
        let mut committed = self.writer().commit_batch(commands, now);
        // A transaction of many rows ends early, and the other commands follow in the next.
        while (1..commands.len()).contains(&committed.results.len()) {
            let next = self.writer().commit_batch(&commands[committed.results.len()..], now);
            assert!(!next.results.is_empty() && next.before == committed.through);
            committed.through = next.through;
            committed.events = committed.events.iter().chain(next.events.iter()).cloned().collect();
            committed.results.extend(next.results);
            committed.jobs.extend(next.jobs);
            committed.started = committed.started.iter().chain(next.started.iter()).cloned().collect();
            committed.token_rules = next.token_rules.or(committed.token_rules);
        }
        assert_eq!(committed.before, before);
        assert_eq!(committed.through, self.writer().position());
        assert_eq!(committed.results.len(), commands.len());
        // The events of a batch are numbered in the order of their times. Numbers without an event belong to the messages of
        // started answers.
        let numbers: Vec<u64> = committed.events.iter().map(|event| event.number.0).collect();
        let begins = commands.iter().filter(|command| takes_number(&command.kind)).count();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(numbers.iter().all(|number| (before.0 + 1..=committed.through.0).contains(number)));
        assert!((numbers.len()..=numbers.len() + begins).contains(&((committed.through.0 - before.0) as usize)));
        assert!(committed.events.windows(2).all(|pair| pair[0].at < pair[1].at));
        committed
    }

    /// Runs one command. Returns its result and its events.
    pub fn run(&mut self, user: &str, kind: CommandKind) -> (CommandResult, Vec<Arc<Event>>) {
        let committed = self.commit(&[command(user, kind)]);
        (committed.results.into_iter().next().unwrap(), committed.events.to_vec())
    }

    pub fn done(&mut self, user: &str, kind: CommandKind) -> Outcome {
        self.run(user, kind).0.result.unwrap()
    }

    pub fn rejected(&mut self, user: &str, kind: CommandKind) -> Rejection {
        let (command_result, events) = self.run(user, kind);
        assert!(events.is_empty() && command_result.number.is_none(), "a rejected command changes nothing");
        command_result.result.unwrap_err()
    }

    pub fn workspace(&mut self, user: &str) -> WorkspaceId {
        match self.done(user, create_workspace("w")) {
            Outcome::WorkspaceCreated(workspace) => workspace.id,
            other => panic!("{other:?}"),
        }
    }

    pub fn conversation(&mut self, user: &str, workspace: WorkspaceId, participants: &[&str]) -> ConversationId {
        match self.done(user, create_conversation(Some(workspace), participants)) {
            Outcome::ConversationCreated { conversation, .. } => conversation.id,
            other => panic!("{other:?}"),
        }
    }

    pub fn post(&mut self, user: &str, conversation: ConversationId, text: &str) -> Arc<Event> {
        match self.done(user, post(ConversationRef::Id(conversation), text)) {
            Outcome::Posted { event, .. } => event,
            other => panic!("{other:?}"),
        }
    }

    pub fn query(&mut self, user: &str, kind: QueryKind) -> QueryResponse {
        let query = Query { reply_to: UNUSED_REPLY_TO, caller: UserId::new_unchecked(user), kind };
        execute(self.reader.as_mut().unwrap(), query)
    }

    pub fn query_result(&mut self, user: &str, kind: QueryKind) -> QueryResult {
        self.query(user, kind).result.unwrap()
    }

    pub fn query_rejection(&mut self, user: &str, kind: QueryKind) -> Rejection {
        self.query(user, kind).result.unwrap_err()
    }

    pub fn page(&mut self, user: &str, after: u64, bytes_max: usize, filter: StreamFilter) -> JournalPage {
        match self.query_result(user, QueryKind::JournalPage { after: EventNumber(after), bytes_max, filter }) {
            QueryResult::JournalPage(page) => page,
            other => panic!("{other:?}"),
        }
    }

    /// The number and kind of each event that is replayed to `user` after a number.
    pub fn replay(&mut self, user: &str, after: u64) -> Vec<(u64, &'static str)> {
        let page = self.page(user, after, usize::MAX, EVERYTHING);
        assert_eq!((page.through, page.gap), (page.position, None));
        page.events.iter().map(|event| (event.number.0, event.kind.as_str())).collect()
    }

    /// Runs a step of maintenance. Returns whether another one is due.
    pub fn maintain(&mut self) -> bool {
        let now = self.clocks();
        if let Some(committed) = self.writer().maintain(now) {
            assert_eq!(committed.through, self.writer().position());
            self.notifications.extend(committed.events.iter().cloned());
        }
        self.writer().index_messages();
        matches!(self.writer().maintenance_due(now), MaintenanceDue::Now | MaintenanceDue::WhenIdle)
    }

    /// Runs maintenance until no work is left. Returns the number of steps.
    pub fn maintain_all(&mut self) -> usize {
        let mut steps = 1;
        while self.maintain() {
            steps += 1;
        }
        self.writer().check_search_index();
        steps
    }
}

/// Small if the limits of the inboxes are small.
fn notified_rows_max(flush: &FlushLimits) -> usize {
    flush.inbox_entries_max.min(StoreConfig::new(Database::Memory).notified_rows_max)
}

pub const EVERYTHING: StreamFilter = StreamFilter { conversation: None, workspace: None, kinds: KindSet::ALL };

/// Executes all steps of a query.
pub fn execute(reader: &mut Reader, query: Query) -> QueryResponse {
    let mut pending = PendingQuery::new(query);
    loop {
        match reader.step(pending) {
            QueryStep::Done(response) => return response,
            QueryStep::More(more) => pending = more,
        }
    }
}

/// A command of a user, whose name is the id in capitals, or of a responder.
pub fn command(user: &str, kind: CommandKind) -> Command {
    let name = user.strip_prefix(RESPONDER_PREFIX).map_or_else(|| user.to_uppercase(), str::to_owned);
    let actor = Actor {
        id: UserId::new_unchecked(user),
        name: Some(name.into()),
        email: None,
        credential: Credential::default(),
    };
    Command { reply_to: UNUSED_REPLY_TO, actor, correlation_id: "request".into(), idempotency: None, kind }
}

/// The two responders that conversations may choose.
pub fn responders(default: Option<&str>) -> ResponderRules {
    let default = default.map_or(ResponderKind::None, |name| ResponderKind::parse(name).expect("a responder's name"));
    let models = ["small", "large"].map(Arc::from).to_vec();
    let allowed = vec![ResponderKind::Echo, ResponderKind::OpenAi];
    ResponderRules { default, allowed, models, answers_per_user_max: u32::MAX }
}

/// Whether a command takes a number that no event has: for an answer's message or for a job.
fn takes_number(kind: &CommandKind) -> bool {
    matches!(kind, CommandKind::Answer { step: AnswerStep::Begin { .. }, .. } | CommandKind::AnswerMessage { .. })
}

pub fn users(ids: &[&str]) -> Vec<UserId> {
    ids.iter().map(|id| UserId::new_unchecked(*id)).collect()
}

pub fn names(ids: &[UserId]) -> Vec<&str> {
    ids.iter().map(UserId::as_str).collect()
}

pub fn create_workspace(name: &str) -> CommandKind {
    CommandKind::CreateWorkspace {
        name: WorkspaceName::new(name).unwrap(),
        description: WorkspaceDescription::new("d").unwrap(),
        metadata: Metadata::empty(),
    }
}

pub fn update_workspace(id: WorkspaceId, name: &str) -> CommandKind {
    CommandKind::UpdateWorkspace {
        id,
        name: Some(WorkspaceName::new(name).unwrap()),
        description: None,
        metadata: None,
    }
}

pub fn create_conversation(workspace: Option<WorkspaceId>, participants: &[&str]) -> CommandKind {
    CommandKind::CreateConversation {
        workspace,
        topic: Topic::new("t").unwrap(),
        participants: users(participants),
        metadata: Metadata::empty(),
        earlier_messages: Vec::new(),
        initial_message: None,
        api_variant: ApiVariant::Config,
    }
}

pub fn post(conversation: ConversationRef, text: &str) -> CommandKind {
    post_as(conversation, Role::User, ApiVariant::Config, text)
}

pub fn post_as(conversation: ConversationRef, role: Role, api_variant: ApiVariant, text: &str) -> CommandKind {
    let content = Content::new(text).unwrap();
    CommandKind::PostMessage { conversation, role, content, metadata: Metadata::empty(), api_variant }
}

pub fn update_conversation(id: ConversationId, participants: Option<&[&str]>, metadata: Option<&str>) -> CommandKind {
    CommandKind::UpdateConversation {
        conversation: ConversationRef::Id(id),
        topic: None,
        participants: participants.map(users),
        metadata: metadata.map(Metadata::new_unchecked),
        api_variant: ApiVariant::Config,
    }
}

pub fn begin(job: JobId, text: &str) -> CommandKind {
    let live = LiveAnswer::default();
    live.append(text);
    CommandKind::Answer { job, step: AnswerStep::Begin { text: text.into(), live } }
}

pub fn append(job: JobId, text: &str) -> CommandKind {
    CommandKind::Answer { job, step: AnswerStep::Append { text: text.into() } }
}

pub fn finish(job: JobId, status: Status, text: Option<&str>) -> CommandKind {
    let text = text.map(Content::new_unchecked);
    CommandKind::Answer {
        job,
        step: AnswerStep::Finish {
            status,
            text,
            metadata: Metadata::empty(),
            error: None,
            reasoning: None,
            usage: None,
        },
    }
}

pub fn delete_message(conversation: ConversationId, message: MessageId) -> CommandKind {
    CommandKind::DeleteMessage { conversation: ConversationRef::Id(conversation), message }
}

pub fn leave(id: ConversationId) -> CommandKind {
    CommandKind::LeaveConversation { conversation: ConversationRef::Id(id) }
}

pub fn delete_conversation(id: ConversationId) -> CommandKind {
    CommandKind::DeleteConversation { conversation: ConversationRef::Id(id), api_variant: ApiVariant::Config }
}

/// `ann` owns the workspace and, like `ben` and `cyd`, is a participant of the conversation. `dan` is an outsider.
pub struct SharedConversation {
    pub world: World,
    pub workspace: WorkspaceId,
    pub conversation: ConversationId,
}

impl SharedConversation {
    pub fn new() -> SharedConversation {
        let mut world = World::in_memory();
        let workspace = world.workspace("ann");
        let conversation = world.conversation("ann", workspace, &["ben", "cyd"]);
        world.workspace("dan");
        SharedConversation { world, workspace, conversation }
    }
}

/// The conversation that a command updated.
pub fn updated(outcome: Outcome) -> Conversation {
    match outcome {
        Outcome::ConversationUpdated(conversation) => conversation,
        other => panic!("{other:?}"),
    }
}
