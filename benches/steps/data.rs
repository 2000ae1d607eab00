//! A database with a number of rows of each kind, most of which are inserted directly.

use cortex_core::internals::{
    Actor, ApiVariant, Command, CommandKind, ConversationId, Credential, Database as Location, EventNumber, Metadata,
    MonoTime, Now, Outcome, ReplyTo, StoreConfig, Topic, UserId, WallTime, WorkspaceDescription, WorkspaceId,
    WorkspaceName, Writer,
};
use rusqlite::Connection;
use std::path::{Path, PathBuf};

pub const NOW: Now = Now { wall: WallTime(1_767_225_600_000_000), mono: MonoTime(1_000_000) };
pub const SECRET: &str = "the benchmark signs its tokens with this secret";
/// What the password of `ann` is stored as. No benchmark checks it.
pub const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaA";
const NO_REPLY: ReplyTo = ReplyTo { shard: 0, slot: 0, generation: 0 };
/// Participants of each conversation of the crowd.
const CROWD: u64 = 250;

/// A database file, which is removed on drop. `ann` owns everything in it that `eve` does not.
pub struct Database {
    pub path: PathBuf,
    pub rows: u64,
    /// A workspace of `eve` with as many conversations as rows. She owns as many workspaces, too.
    pub wide: WorkspaceId,
    /// A workspace with as many participants as rows.
    pub crowd: WorkspaceId,
    /// A workspace with the conversations below.
    pub workspace: WorkspaceId,
    /// A conversation with as many messages of `ben` as rows.
    pub messages: ConversationId,
    /// A conversation with as many events as rows, half of which are tombstones.
    pub former: ConversationId,
    /// A conversation with 256 participants.
    pub full: ConversationId,
    /// A conversation of `ann` and `ben`.
    pub small: ConversationId,
}

impl Database {
    pub fn build(rows: u64) -> Result<Database, String> {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("steps-{}-{rows}", std::process::id()));
        std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        let path = directory.join("cortex.db");
        let mut writer = open(&path);
        let (crowd, crowd_number) = add_workspace(&mut writer, "ann");
        let (workspace, workspace_number) = add_workspace(&mut writer, "ann");
        let (wide, wide_number) = add_workspace(&mut writer, "eve");
        let everybody: Vec<String> = (0..255).map(|number| format!("full-{number}")).collect();
        let everybody: Vec<&str> = everybody.iter().map(String::as_str).collect();
        let [messages, former, full, small] =
            [&["ben"][..], &["ben"], &everybody, &["ben"]].map(|ids| add_conversation(&mut writer, workspace, ids));
        let start = writer.position().0;
        writer.close();
        let fill = Fill {
            rows,
            start,
            crowd: crowd_number.0,
            workspace: workspace_number.0,
            wide: wide_number.0,
            messages: messages.1.0,
            former: former.1.0,
        };
        fill.run(&path).map_err(|error| error.to_string())?;
        let (messages, former, full, small) = (messages.0, former.0, full.0, small.0);
        Ok(Database { path, rows, wide, crowd, workspace, messages, former, full, small })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = self.path.parent().map(std::fs::remove_dir_all);
    }
}

/// What is inserted directly. The numbers of the journal continue after `start`.
struct Fill {
    rows: u64,
    start: u64,
    crowd: u64,
    workspace: u64,
    wide: u64,
    messages: u64,
    former: u64,
}

impl Fill {
    fn run(&self, path: &Path) -> rusqlite::Result<()> {
        let Fill { rows, start, crowd, workspace, wide, messages, former } = self;
        let db = Connection::open(path)?;
        let users: u64 = db.query_row("SELECT max(key) FROM users", [], |row| row.get::<_, i64>(0))? as u64;
        let key = |oid: &str| -> rusqlite::Result<i64> {
            db.query_row("SELECT key FROM users WHERE oid = ?1", [oid], |row| row.get(0))
        };
        let (ann, ben, eve) = (key("ann")?, key("ben")?, key("eve")?);
        let conversations = rows.div_ceil(CROWD);
        let (first_message, first_former) = (start + conversations, start + conversations + rows);
        let first_old = first_former + rows;
        let first_wide = first_old + rows;
        let first_workspace = first_wide + rows;
        let position = first_workspace + rows;
        // Each kind of event has a time that grows with its number.
        let event = |first: u64, parity: u64, kind: &str, conversation: &str| {
            format!(
                "INSERT INTO state_events (number, kind, at, actor, workspace, workspace_at, conversation, conversation_at,
                    correlation_id, payload)
                SELECT {first} + i, '{kind}', {first} + i, {ann}, {workspace}, 1, {conversation}, 1, 'request', '{{}}'
                FROM n WHERE {parity} = 2 OR i % 2 = {parity};"
            )
        };
        let recipients = |first: u64, parity: u64, user: i64| {
            format!(
                "INSERT INTO event_recipients (user, number) SELECT {user}, {first} + i FROM n
                WHERE {parity} = 2 OR i % 2 = {parity};"
            )
        };
        let former_text = former.to_string();
        let script = format!(
            "PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; PRAGMA cache_size = -200000;
            BEGIN;
            CREATE TEMP TABLE n (i INTEGER PRIMARY KEY);
            INSERT INTO n WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < {rows}) SELECT i FROM r;
            INSERT INTO users (key, oid, name, email, created_at, only_named)
                SELECT {users} + i, 'crowd-' || i, '', '', 1, 1 FROM n;
            INSERT INTO users (key, oid, name, email, created_at, only_named)
                SELECT {users} + {rows} + i, 'named-' || i, '', '', 1, 1 FROM n;
            INSERT INTO released_users SELECT {users} + {rows} + i FROM n WHERE i <= {rows} / 10;
            INSERT INTO users (key, oid, name, email, created_at, tokens_since)
                SELECT {users} + 2 * {rows} + i, 'restricted-' || i, '', '', 1, 1 FROM n;
            INSERT INTO conversations (number, workspace, topic, metadata, created_at)
                SELECT {start} + i, {crowd}, 't', '{{}}', i FROM n WHERE i <= {conversations};
            INSERT INTO conversation_state (conversation, updated_at, message_count, last_number)
                SELECT {start} + i, i, 0, 0 FROM n WHERE i <= {conversations};
            INSERT INTO participants (conversation, user, since, ordinal)
                SELECT {start} + 1 + (i - 1) / {CROWD}, {users} + i, 1, i % {CROWD} FROM n;
            INSERT INTO messages (number, conversation, sender, role, status, created_at, updated_at, correlation_id,
                metadata, content)
                SELECT {first_message} + i, {messages}, {ben}, 0, 0, {first_message} + i, 1, 'request', '{{}}',
                    printf('%200d', i) FROM n;
            UPDATE conversation_state SET message_count = {rows}, last_number = {first_message} + {rows}
                WHERE conversation = {messages};
            INSERT INTO conversations (number, workspace, topic, metadata, created_at)
                SELECT {first_wide} + i, {wide}, 't', '{{}}', i FROM n;
            INSERT INTO conversation_state (conversation, updated_at, message_count, last_number)
                SELECT {first_wide} + i, i, 0, 0 FROM n;
            INSERT INTO participants (conversation, user, since, ordinal) SELECT {first_wide} + i, {eve}, 1, 0 FROM n;
            INSERT INTO workspaces (number, owner, name, description, metadata, created_at, updated_at)
                SELECT {first_workspace} + i, {eve}, 'w', 'd', '{{}}', i, i FROM n;
            INSERT INTO idempotency (user, key, fingerprint, number, age_at, body) SELECT {ben}, 'key-' || i, x'', NULL, -1000000000000000, x'' FROM n
                WHERE i <= {rows} / 10;
            UPDATE users SET password = '{HASH}' WHERE key = {ann};
            {}{}{}{}{}{}
            UPDATE journal_stats SET events = events + 2 * {rows}, bytes = bytes + 2 * {rows} * 89;
            UPDATE journal_workspaces SET events = events + 2 * {rows}, bytes = bytes + 2 * {rows} * 89
                WHERE workspace = {workspace};
            UPDATE journal_owners SET events = events + 2 * {rows}, bytes = bytes + 2 * {rows} * 89 WHERE owner = {ann};
            UPDATE journal_head SET number = {position};
            DROP TABLE n;
            COMMIT;",
            event(first_former, 0, "conversation_left", &former_text),
            event(first_former, 1, "conversation_updated", &former_text),
            event(first_old, 2, "workspace_updated", "NULL"),
            recipients(first_former, 0, ben),
            recipients(first_former, 1, ann),
            recipients(first_old, 2, ann),
        );
        db.execute_batch(&script)?;
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }
}

pub fn open(path: &Path) -> Writer {
    open_with(&StoreConfig::new(Location::File(path.into())))
}

/// Opens a database that is not synced, so that purges of many rows take seconds.
pub fn open_with(config: &StoreConfig) -> Writer {
    let mut writer = Writer::open(config).expect("a database");
    writer.connection().pragma_update(None, "synchronous", "OFF").expect("a pragma");
    writer
}

fn command(user: &str, kind: CommandKind) -> Command {
    let actor = Actor { id: UserId::new_unchecked(user), name: None, email: None, credential: Credential::default() };
    Command { reply_to: NO_REPLY, actor, correlation_id: "request".into(), idempotency: None, kind }
}

fn create_workspace() -> CommandKind {
    CommandKind::CreateWorkspace {
        name: WorkspaceName::new_unchecked("w"),
        description: WorkspaceDescription::new_unchecked("d"),
        metadata: Metadata::empty(),
    }
}

fn create_conversation(workspace: WorkspaceId, participants: &[&str]) -> CommandKind {
    CommandKind::CreateConversation {
        workspace: Some(workspace),
        topic: Topic::new_unchecked("t"),
        participants: participants.iter().map(|id| UserId::new_unchecked(*id)).collect(),
        metadata: Metadata::empty(),
        earlier_messages: Vec::new(),
        initial_message: None,
        api_variant: ApiVariant::Config,
    }
}

fn add_workspace(writer: &mut Writer, owner: &str) -> (WorkspaceId, EventNumber) {
    let committed = writer.commit_batch(&[command(owner, create_workspace())], NOW);
    let number = committed.events[0].number;
    match committed.results.into_iter().next().map(|result| result.result) {
        Some(Ok(Outcome::WorkspaceCreated(workspace))) => (workspace.id, number),
        other => panic!("{other:?}"),
    }
}

fn add_conversation(writer: &mut Writer, workspace: WorkspaceId, ids: &[&str]) -> (ConversationId, EventNumber) {
    let committed = writer.commit_batch(&[command("ann", create_conversation(workspace, ids))], NOW);
    let number = committed.events[0].number;
    match committed.results.into_iter().next().map(|result| result.result) {
        Some(Ok(Outcome::ConversationCreated { conversation, .. })) => (conversation.id, number),
        other => panic!("{other:?}"),
    }
}
