//! The tables, their migrations, and the values of which a database has exactly one.
//!
//! The key of a workspace, a conversation or a message is the number of the event that created it, so UUIDs are neither
//! stored nor indexed. A message is its own journal entry; all other events have rows in `state_events`. Columns that change
//! with every message are in narrow tables.

use crate::base::random::fill_secret;
use crate::domain::id::IdKey;
use crate::store::error::OpenError;
use rusqlite::{Connection, params};
use std::path::Path;
use uuid::Uuid;

/// One step per schema version. The first step creates version [`FIRST_VERSION`] in an empty database.
const MIGRATIONS: &[&str] = &[
    VERSION_3, VERSION_4, VERSION_5, VERSION_6, VERSION_7, VERSION_8, VERSION_9, VERSION_10, VERSION_11, VERSION_12,
    VERSION_13, VERSION_14,
];

/// The oldest schema version that can be migrated. Earlier versions were never released.
const FIRST_VERSION: i64 = 3;

/// "Crtx", by which `file` and this program recognize a database.
const APPLICATION_ID: i64 = 0x4372_7478;

// The numbers in `deleted`, `default_*`, `reply_to`, `published_by`, `answer_jobs.answer` and `state_events.message` have no
// foreign keys, because the rows that they refer to may be purged; the same holds for the columns of later versions that name
// answers and conversations. `published_by` is 0 for a message that is its own journal
// entry, NULL for a message that is not published yet, and otherwise the number of the event that published it.
// `tables::users` defines the codes in `users.status`.
const VERSION_3: &str = "
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    id_key BLOB NOT NULL,
    epoch BLOB NOT NULL,
    signing_key BLOB NOT NULL
);
CREATE TABLE journal_head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    number INTEGER NOT NULL,
    at INTEGER NOT NULL
);
INSERT INTO journal_head (id, number, at) VALUES (1, 0, 0);
CREATE TABLE skipped_ranges (
    after INTEGER PRIMARY KEY,
    through INTEGER NOT NULL,
    at INTEGER NOT NULL
);

CREATE TABLE users (
    key INTEGER PRIMARY KEY,
    oid TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    password TEXT,
    status INTEGER NOT NULL DEFAULT 0,
    tokens_since INTEGER,
    default_workspace INTEGER,
    default_conversation INTEGER,
    removed_through INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX users_login ON users (email COLLATE NOCASE) WHERE password IS NOT NULL;
CREATE INDEX users_token_rules ON users (key) WHERE status <> 0 OR tokens_since IS NOT NULL;

CREATE TABLE workspaces (
    number INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL REFERENCES users (key),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted INTEGER
);
CREATE INDEX workspaces_owner ON workspaces (owner, deleted);
CREATE INDEX workspaces_deleted ON workspaces (deleted) WHERE deleted IS NOT NULL;

CREATE TABLE conversations (
    number INTEGER PRIMARY KEY,
    workspace INTEGER NOT NULL REFERENCES workspaces (number),
    topic TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    deleted INTEGER,
    responder TEXT
);
CREATE INDEX conversations_workspace ON conversations (workspace, deleted);
CREATE INDEX conversations_deleted ON conversations (deleted) WHERE deleted IS NOT NULL;
CREATE TABLE conversation_state (
    conversation INTEGER PRIMARY KEY REFERENCES conversations (number),
    updated_at INTEGER NOT NULL,
    message_count INTEGER NOT NULL,
    last_number INTEGER NOT NULL
);
CREATE TABLE participants (
    conversation INTEGER NOT NULL REFERENCES conversations (number),
    user INTEGER NOT NULL REFERENCES users (key),
    since INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    PRIMARY KEY (conversation, user)
) WITHOUT ROWID;
CREATE INDEX participants_user ON participants (user, conversation, since);

CREATE TABLE messages (
    number INTEGER PRIMARY KEY,
    conversation INTEGER NOT NULL REFERENCES conversations (number),
    sender INTEGER NOT NULL REFERENCES users (key),
    role INTEGER NOT NULL,
    status INTEGER NOT NULL,
    reply_to INTEGER,
    published_by INTEGER DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    correlation_id TEXT NOT NULL,
    metadata TEXT NOT NULL,
    content TEXT NOT NULL
);
CREATE INDEX messages_conversation ON messages (conversation);
CREATE TABLE answer_jobs (
    message INTEGER PRIMARY KEY REFERENCES messages (number),
    responder TEXT NOT NULL,
    answer INTEGER
);

CREATE TABLE inbox (
    user INTEGER NOT NULL REFERENCES users (key),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    deltas BLOB NOT NULL,
    PRIMARY KEY (user, first)
) WITHOUT ROWID;
CREATE TABLE inbox_open (
    user INTEGER PRIMARY KEY REFERENCES users (key),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    deltas BLOB NOT NULL
);
CREATE TABLE inbox_watermark (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    flushed_through INTEGER NOT NULL,
    flushing_through INTEGER NOT NULL,
    users_below INTEGER NOT NULL
);
INSERT INTO inbox_watermark (id, flushed_through, flushing_through, users_below) VALUES (1, 0, 0, 0);

CREATE TABLE state_events (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    at INTEGER NOT NULL,
    actor INTEGER NOT NULL REFERENCES users (key),
    workspace INTEGER NOT NULL,
    workspace_at INTEGER NOT NULL,
    conversation INTEGER,
    conversation_at INTEGER,
    message INTEGER,
    message_at INTEGER,
    correlation_id TEXT NOT NULL,
    payload TEXT NOT NULL
);
CREATE INDEX state_events_conversation ON state_events (conversation) WHERE conversation IS NOT NULL;
CREATE INDEX state_events_expiring ON state_events (number) WHERE kind <> 'output';
CREATE INDEX state_events_workspace ON state_events (workspace) WHERE conversation IS NULL;
CREATE TABLE event_recipients (
    user INTEGER NOT NULL REFERENCES users (key),
    number INTEGER NOT NULL REFERENCES state_events (number),
    PRIMARY KEY (user, number)
) WITHOUT ROWID;
CREATE INDEX event_recipients_number ON event_recipients (number);

CREATE TABLE journal_stats (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    events INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);
INSERT INTO journal_stats (id, events, bytes) VALUES (1, 0, 0);

CREATE TABLE idempotency (
    id INTEGER PRIMARY KEY,
    user INTEGER NOT NULL REFERENCES users (key),
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    number INTEGER,
    at INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (user, key)
);
CREATE INDEX idempotency_at ON idempotency (at);
";

// Tokens that were issued before this version have no generation, so `tokens_since` judges them.
const VERSION_4: &str = "
ALTER TABLE users ADD COLUMN token_generation INTEGER NOT NULL DEFAULT 0;
UPDATE users SET token_generation = max(tokens_since, 0) WHERE tokens_since IS NOT NULL;
";

// The indexes of events omit tombstones, which a purge keeps: otherwise each of its steps would pass over all of them.
// A row of `workspace_deletions` says which participants of a deleted workspace are notified: those of the conversations before
// `conversation`, and of this one those through `user`. `notified_users` has each of them once.
const VERSION_5: &str = "
DROP INDEX state_events_conversation;
DROP INDEX state_events_workspace;
CREATE INDEX state_events_of_conversation ON state_events (conversation)
    WHERE conversation IS NOT NULL AND kind NOT IN ('conversation_left', 'conversation_deleted');
CREATE INDEX state_events_of_workspace ON state_events (workspace)
    WHERE conversation IS NULL AND kind <> 'workspace_deleted';

CREATE TABLE workspace_deletions (
    number INTEGER PRIMARY KEY,
    workspace INTEGER NOT NULL UNIQUE REFERENCES workspaces (number),
    actor INTEGER NOT NULL,
    correlation_id TEXT NOT NULL,
    conversation INTEGER NOT NULL,
    user INTEGER NOT NULL
);
CREATE TABLE notified_users (
    workspace INTEGER NOT NULL REFERENCES workspaces (number),
    user INTEGER NOT NULL,
    PRIMARY KEY (workspace, user)
) WITHOUT ROWID;
";

// A user who was only named as a participant is removed with the last row that names the user. The row of a user is not
// removed if the user ever sent a message or caused an event, so `messages.sender` and `state_events.actor` need no foreign key:
// without an index, it would make SQLite read the whole table for each removed user. (The text of a constraint is all there is of
// it: <https://www.sqlite.org/lang_altertable.html#making_other_kinds_of_table_schema_changes>.)
const VERSION_6: &str = "
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, 'sender INTEGER NOT NULL REFERENCES users (key)', 'sender INTEGER NOT NULL')
    WHERE type = 'table' AND name = 'messages';
UPDATE sqlite_schema SET sql = replace(sql, 'actor INTEGER NOT NULL REFERENCES users (key)', 'actor INTEGER NOT NULL')
    WHERE type = 'table' AND name = 'state_events';
PRAGMA writable_schema = RESET;

ALTER TABLE users ADD COLUMN only_named INTEGER NOT NULL DEFAULT 0;
CREATE TABLE released_users (user INTEGER PRIMARY KEY);
CREATE TABLE removed_users (
    hash INTEGER PRIMARY KEY,
    removed_through INTEGER NOT NULL
);
CREATE INDEX removed_users_lowest ON removed_users (removed_through);
CREATE TABLE removed_users_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    users INTEGER NOT NULL,
    others_through INTEGER NOT NULL
);
INSERT INTO removed_users_state (id, users, others_through) VALUES (1, 0, 0);

UPDATE users SET only_named = 1
WHERE name = '' AND email = '' AND password IS NULL AND status = 0 AND tokens_since IS NULL AND token_generation = 0
    AND key NOT IN (SELECT sender FROM messages) AND key NOT IN (SELECT owner FROM workspaces)
    AND key NOT IN (SELECT actor FROM state_events) AND key NOT IN (SELECT user FROM idempotency);
INSERT INTO released_users SELECT key FROM users WHERE only_named <> 0;
";

// `journal_workspaces` and `journal_owners` have the shares of the journal. Owner 0 has the tombstones of workspaces that were
// purged before this version.
const VERSION_7: &str = "
CREATE INDEX state_events_expiring_of_workspace ON state_events (workspace) WHERE kind <> 'output';
CREATE TABLE journal_workspaces (
    workspace INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL,
    events INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);
CREATE INDEX journal_workspaces_events ON journal_workspaces (owner, events DESC);
CREATE INDEX journal_workspaces_bytes ON journal_workspaces (owner, bytes DESC);
CREATE TABLE journal_owners (
    owner INTEGER PRIMARY KEY,
    events INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);
CREATE INDEX journal_owners_events ON journal_owners (events DESC);
CREATE INDEX journal_owners_bytes ON journal_owners (bytes DESC);

INSERT INTO journal_workspaces (workspace, owner, events, bytes)
SELECT e.workspace, coalesce(w.owner, 0), count(*), sum(64 + octet_length(e.correlation_id) + octet_length(e.payload)
    + 16 * (SELECT count(*) FROM event_recipients r WHERE r.number = e.number))
FROM state_events e LEFT JOIN workspaces w ON w.number = e.workspace
WHERE e.kind <> 'output' GROUP BY e.workspace;
INSERT INTO journal_owners (owner, events, bytes)
SELECT owner, sum(events), sum(bytes) FROM journal_workspaces GROUP BY owner;
";

// The age of a database starts with this version, so what it has already expires as if it was new.
const VERSION_8: &str = "
ALTER TABLE journal_head ADD COLUMN age INTEGER NOT NULL DEFAULT 0;
ALTER TABLE state_events ADD COLUMN age_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE idempotency RENAME COLUMN at TO age_at;
UPDATE idempotency SET age_at = 0;
";

// The first job of each conversation is marked, so that the jobs that may run are found by class and user, whatever waits behind
// them. The new columns repeat those of the message, and have no foreign keys of their own.
const VERSION_9: &str = "
ALTER TABLE answer_jobs RENAME TO answer_jobs_8;
CREATE TABLE answer_jobs (
    message INTEGER PRIMARY KEY REFERENCES messages (number),
    responder TEXT NOT NULL,
    answer INTEGER,
    user INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    is_first INTEGER NOT NULL
);
INSERT INTO answer_jobs (message, responder, answer, user, conversation, is_first)
SELECT j.message, j.responder, j.answer, m.sender, m.conversation,
    j.message = min(j.message) OVER (PARTITION BY m.conversation)
FROM answer_jobs_8 j JOIN messages m ON m.number = j.message;
DROP TABLE answer_jobs_8;
CREATE INDEX answer_jobs_conversation ON answer_jobs (conversation);
CREATE INDEX answer_jobs_first ON answer_jobs ((responder = 'openai' AND answer IS NULL), user) WHERE is_first = 1;
";

// Each change of the columns that make up a rule about tokens gets the next number, whichever process makes it, so that the
// writer reads only the rules that have changed.
const VERSION_10: &str = "
ALTER TABLE users ADD COLUMN rule_change INTEGER;
CREATE INDEX users_rule_change ON users (rule_change) WHERE rule_change IS NOT NULL;
CREATE TRIGGER users_rule_updated AFTER UPDATE OF status, tokens_since, token_generation ON users BEGIN
    UPDATE users SET rule_change = 1 + coalesce(
        (SELECT rule_change FROM users WHERE rule_change IS NOT NULL ORDER BY rule_change DESC LIMIT 1), 0)
    WHERE key = NEW.key;
END;
CREATE TRIGGER users_rule_inserted AFTER INSERT ON users WHEN NEW.status <> 0 OR NEW.tokens_since IS NOT NULL BEGIN
    UPDATE users SET rule_change = 1 + coalesce(
        (SELECT rule_change FROM users WHERE rule_change IS NOT NULL ORDER BY rule_change DESC LIMIT 1), 0)
    WHERE key = NEW.key;
END;
";

// A job has a number of its own, so that a message can be answered again. `answer` and `answer_at` make up the id of the answer's
// message, which has a row once `is_begun` is set. `answers` has a row for each answer that has ended. The sums in
// `usage` and `usage_days` outlive conversations and messages, whose deletion gives no tokens back.
const VERSION_11: &str = "
ALTER TABLE messages ADD COLUMN error TEXT;
UPDATE messages SET error = 'the answer failed' WHERE status = 4;

ALTER TABLE answer_jobs RENAME TO answer_jobs_10;
DROP INDEX answer_jobs_conversation;
DROP INDEX answer_jobs_first;
CREATE TABLE answer_jobs (
    number INTEGER PRIMARY KEY,
    message INTEGER NOT NULL UNIQUE REFERENCES messages (number),
    responder TEXT NOT NULL,
    answer INTEGER,
    answer_at INTEGER,
    is_begun INTEGER NOT NULL,
    user INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    is_first INTEGER NOT NULL
);
INSERT INTO answer_jobs (number, message, responder, answer, answer_at, is_begun, user, conversation, is_first)
SELECT j.message, j.message, j.responder, a.number, a.created_at, a.number IS NOT NULL, j.user, j.conversation, j.is_first
FROM answer_jobs_10 j LEFT JOIN messages a ON a.number = j.answer;
DROP TABLE answer_jobs_10;
CREATE INDEX answer_jobs_conversation ON answer_jobs (conversation);
CREATE INDEX answer_jobs_first ON answer_jobs ((responder = 'openai' AND is_begun = 0), user) WHERE is_first = 1;

CREATE TABLE answers (
    asked INTEGER NOT NULL REFERENCES messages (number),
    attempt INTEGER NOT NULL,
    status INTEGER NOT NULL,
    answer INTEGER,
    error TEXT,
    model TEXT,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    reasoning_tokens INTEGER,
    cached_tokens INTEGER,
    PRIMARY KEY (asked, attempt)
) WITHOUT ROWID;
INSERT INTO answers (asked, attempt, status, answer, error)
SELECT m.number, 1, a.status, a.number, a.error
FROM messages a JOIN messages m ON m.number = a.reply_to WHERE a.published_by IS NOT NULL;

CREATE TABLE answer_reasoning (
    message INTEGER PRIMARY KEY REFERENCES messages (number),
    text TEXT NOT NULL
);
CREATE TABLE usage (
    user INTEGER NOT NULL REFERENCES users (key),
    day INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    conversation_at INTEGER NOT NULL,
    model TEXT NOT NULL,
    answers INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    PRIMARY KEY (user, day, conversation, model)
) WITHOUT ROWID;
CREATE TABLE usage_days (
    user INTEGER NOT NULL REFERENCES users (key),
    day INTEGER NOT NULL,
    answers INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    PRIMARY KEY (user, day)
) WITHOUT ROWID;
";

// `search_index` has the words of the messages that are published and whose number is at most `search_state.through`, except for
// those in `search_pending`, of which it has the first `done` bytes. It also has the words of the texts in `search_removals`, which
// were changed or deleted, apart from those in the first `done` bytes. `search_texts` is what a complete index would have. Each
// text begins with two words that no search can name as they are: its workspace and its conversation after a character of private
// use, 57344 or U+E000. The index does not store where in a message a word is, which halves it. Segments are merged by steps of the
// program, so that no commit merges many, unless 64 of a level are left.
const VERSION_12: &str = "
CREATE TABLE search_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    through INTEGER NOT NULL
);
INSERT INTO search_state (id, through) VALUES (1, 0);
CREATE TABLE search_pending (
    number INTEGER PRIMARY KEY REFERENCES messages (number),
    done INTEGER NOT NULL
);
CREATE TABLE search_removals (
    number INTEGER PRIMARY KEY,
    done INTEGER NOT NULL,
    text TEXT NOT NULL
);
CREATE VIEW search_texts (number, text) AS
SELECT m.number, char(57344) || 'w' || c.workspace || ' ' || char(57344) || 'c' || m.conversation || ' ' || m.content
FROM messages m CROSS JOIN conversations c ON c.number = m.conversation WHERE m.published_by IS NOT NULL;
CREATE VIRTUAL TABLE search_index USING fts5 (
    text, content = 'search_texts', content_rowid = 'number', detail = 'none', columnsize = 0,
    tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO search_index (search_index, rank) VALUES ('automerge', 0), ('crisismerge', 64), ('hashsize', 262144);
CREATE VIRTUAL TABLE search_words USING fts5vocab (search_index, instance);
";

// `answer_jobs.claimed_by` is for databases that several instances use; here it is always NULL.
const VERSION_13: &str = "ALTER TABLE answer_jobs ADD COLUMN claimed_by INTEGER;";

// The index of messages by conversation is a table, because the newest messages are added to it later
// (see `tables::conversation_index`). It refers to conversations, instead of `messages.conversation`, which has no index any more.
const VERSION_14: &str = "
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, 'conversation INTEGER NOT NULL REFERENCES conversations (number)',
    'conversation INTEGER NOT NULL')
    WHERE type = 'table' AND name = 'messages';
PRAGMA writable_schema = RESET;

CREATE TABLE conversation_index (
    conversation INTEGER NOT NULL REFERENCES conversations (number),
    number INTEGER NOT NULL,
    PRIMARY KEY (conversation, number)
) WITHOUT ROWID;
INSERT INTO conversation_index (conversation, number) SELECT conversation, number FROM messages ORDER BY conversation, number;
DROP INDEX messages_conversation;
CREATE TRIGGER message_deleted AFTER DELETE ON messages BEGIN
    DELETE FROM conversation_index WHERE conversation = OLD.conversation AND number = OLD.number;
END;
CREATE TABLE conversation_index_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    indexed_through INTEGER NOT NULL
);
INSERT INTO conversation_index_state (id, indexed_through) SELECT 1, number FROM journal_head;
";

/// The values of which a database has exactly one. They do not change while the database is open.
#[derive(Clone)]
pub(crate) struct DatabaseMeta {
    /// Converts between numbers and UUIDs.
    pub ids: IdKey,
    /// The name of the journal. Each restore changes it.
    pub epoch: Uuid,
    /// The signing key for tokens in development.
    pub signing_key: [u8; 32],
}

/// The schema of a database, compared with that of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SchemaState {
    /// The database has no tables.
    Empty,
    /// The schema has this older version, which can be migrated.
    Older(i64),
    /// The schema has the version of this program.
    Current,
}

/// Compares the schema of a database with that of this program.
///
/// # Errors
/// Fails if the database belongs to another program, or if its schema is newer than this program or older than any release.
pub(crate) fn check_version(db: &Connection, path: &Path) -> Result<SchemaState, OpenError> {
    state_of(db, path, MIGRATIONS)
}

/// Creates the schema, or migrates it to the current version, in one transaction.
pub(crate) fn migrate(db: &mut Connection, path: &Path) -> Result<(), OpenError> {
    run_steps(db, path, MIGRATIONS)
}

pub(crate) fn load_meta(db: &Connection) -> rusqlite::Result<DatabaseMeta> {
    db.query_row("SELECT id_key, epoch, signing_key FROM meta WHERE id = 1", [], |row| {
        Ok(DatabaseMeta {
            ids: IdKey::new(row.get(0)?),
            epoch: Uuid::from_bytes(row.get(1)?),
            signing_key: row.get(2)?,
        })
    })
}

/// A random name for a journal.
pub(crate) fn new_epoch() -> Uuid {
    let mut random = [0; 16];
    fill_secret(&mut random);
    uuid::Builder::from_random_bytes(random).into_uuid()
}

/// The schema version after all of `steps`.
fn version_after(steps: &[&str]) -> i64 {
    FIRST_VERSION + steps.len() as i64 - 1
}

fn state_of(db: &Connection, path: &Path, steps: &[&str]) -> Result<SchemaState, OpenError> {
    let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let tables = || db.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0));
    let found = (|| Ok((pragma("user_version")?, pragma("application_id")?, tables()?)))()
        .map_err(|error| OpenError::of(path, &error))?;
    let (current, path) = (version_after(steps), || path.to_path_buf());
    match found {
        (0, 0, 0) => Ok(SchemaState::Empty),
        (_, application, _) if application != APPLICATION_ID => Err(OpenError::Foreign(path())),
        (found, ..) if found > current => Err(OpenError::Newer { path: path(), found, known: current }),
        (found, ..) if found < FIRST_VERSION => Err(OpenError::Unreleased { path: path(), found }),
        (found, ..) if found < current => Ok(SchemaState::Older(found)),
        _ => Ok(SchemaState::Current),
    }
}

fn run_steps(db: &mut Connection, path: &Path, steps: &[&str]) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::of(path, &error);
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
    // Checked again, now that no other process can change the schema.
    let done = match state_of(&transaction, path, steps)? {
        SchemaState::Empty => 0,
        SchemaState::Older(found) => (found - FIRST_VERSION + 1) as usize,
        SchemaState::Current => return Ok(()),
    };
    for step in &steps[done..] {
        transaction.execute_batch(step).map_err(failed)?;
    }
    if done == 0 {
        insert_meta(&transaction).map_err(failed)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    transaction.pragma_update(None, "user_version", version_after(steps)).map_err(failed)?;
    transaction.commit().map_err(failed)
}

fn insert_meta(db: &Connection) -> rusqlite::Result<()> {
    let (mut id_key, mut signing_key) = ([0; 16], [0; 32]);
    fill_secret(&mut id_key);
    fill_secret(&mut signing_key);
    let epoch = new_epoch();
    db.execute(
        "INSERT INTO meta (id, id_key, epoch, signing_key) VALUES (1, ?1, ?2, ?3)",
        params![id_key, epoch.as_bytes(), signing_key],
    )
    .map(drop)
}

#[cfg(test)]
mod tests;
