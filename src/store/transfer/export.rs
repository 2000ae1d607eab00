//! Writes the content of a database as lines of JSON: users, workspaces, conversations and messages with their ids, from one
//! snapshot. Derived data (inboxes, counts), state events, responses under idempotency keys, and the signing key are omitted.

use crate::base::limits::{SCAN_MESSAGES_MAX, SCAN_ROWS_MAX};
use crate::base::time::WallTime;
use crate::config::types::Database;
use crate::domain::id::*;
use crate::domain::model::*;
use crate::domain::usage::{Day, TokenCounts, TokenUsage};
use crate::store::error::{Abort, DataError, OpenError};
use crate::store::progress::{Progress, ProgressReport};
use crate::store::rules::records::JournalHead;
use crate::store::snapshot::Snapshot;
use crate::store::sql::values::{decode, number};
use crate::store::sql::{Row, SqlConnection, SqlResult, SqlRows};
use crate::store::sqlite::files::atomic_file::{AtomicFile, reject_existing};
use crate::store::tables::journal_head;
use crate::store::tables::{answer_jobs, messages, usage, users};
use crate::wire::export_line::{
    self, AnswerLine, ConversationLine, ExportCounts, ExportHeader, ExportLine, MessageLine, UsageLine, UserLine,
};
use std::cmp::Ordering;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// Writes a database to `out`, with or without password hashes. Returns the number of lines of each type.
///
/// # Errors
/// Fails if the database cannot be read, or with [`DataError::Output`] if the output cannot be written.
pub(crate) fn export(
    source: &Database,
    out: &mut dyn Write,
    with_passwords: bool,
    progress: ProgressReport<'_>,
) -> Result<ExportCounts, DataError> {
    let Snapshot { db, meta, path } = Snapshot::begin(source)?;
    let counts = ExportCounts::default();
    let mut exporter = Exporter { db: &db, ids: &meta.ids, with_passwords, counts, buffer: Vec::new(), out, progress };
    exporter.run().map_err(|abort| match abort {
        Abort::Failed(error) => OpenError::of_engine(&path, &error).into(),
        Abort::Rejected(error) => DataError::Output(error),
    })
}

/// As [`export`], into a new file that only its owner can read.
///
/// # Errors
/// As [`export`], and if `target` exists or cannot be created.
pub(crate) fn export_to_file(
    source: &Database,
    target: &Path,
    with_passwords: bool,
    progress: ProgressReport<'_>,
) -> Result<ExportCounts, DataError> {
    reject_existing(target)?;
    let file = AtomicFile::create(target)?;
    let counts = export(source, &mut BufWriter::new(file.file()), with_passwords, progress)?;
    reject_existing(target)?;
    file.publish()?;
    Ok(counts)
}

/// Writes lines from one snapshot.
struct Exporter<'a> {
    db: &'a SqlConnection,
    ids: &'a IdKey,
    with_passwords: bool,
    counts: ExportCounts,
    buffer: Vec<u8>,
    out: &'a mut dyn Write,
    progress: ProgressReport<'a>,
}

impl Exporter<'_> {
    fn run(&mut self) -> Result<ExportCounts, Abort<io::Error>> {
        self.header()?;
        self.users()?;
        self.workspaces()?;
        self.conversations()?;
        self.messages()?;
        self.usage()?;
        self.line(&ExportLine::End(self.counts))?;
        self.out.flush().map_err(Abort::Rejected)?;
        self.db.commit()?;
        Ok(self.counts)
    }

    fn line(&mut self, line: &ExportLine) -> Result<(), Abort<io::Error>> {
        self.buffer.clear();
        export_line::write(line, &mut self.buffer);
        self.out.write_all(&self.buffer).map_err(Abort::Rejected)?;
        (self.progress)(Progress { done: self.counts.lines(), of: None });
        Ok(())
    }

    fn header(&mut self) -> Result<(), Abort<io::Error>> {
        let JournalHead { number: position, at, .. } = journal_head::load(self.db)?;
        let (id_key, epoch) = self.db.query_row("SELECT id_key, epoch FROM meta WHERE id = 1", [], |row| {
            Ok((row.get(0)?, Uuid::from_bytes(row.get(1)?)))
        })?;
        let removed_users_through = self.db.query_row(REMOVED_USERS_THROUGH, [], |row| row.get::<Option<i64>>(0))?;
        let removed_users_through = removed_users_through.map(number);
        self.line(&ExportLine::Header(ExportHeader { id_key, epoch, position, at, removed_users_through }))
    }

    fn users(&mut self) -> Result<(), Abort<io::Error>> {
        let mut statement = self.db.prepare_cached(USERS)?;
        let mut rows = statement.scan([], SCAN_ROWS_MAX)?;
        while let Some(row) = rows.next()? {
            let user = UserLine {
                id: UserId::new_unchecked(row.get::<Arc<str>>(0)?),
                name: row.get(1)?,
                email: row.get(2)?,
                created_at: WallTime(row.get(3)?),
                status: decode(row, 4, users::status_of)?,
                tokens_since: row.get::<Option<i64>>(5)?.map(WallTime),
                token_generation: row.get::<Option<i64>>(12)?.map(|it| it.max(0) as u64),
                password: if self.with_passwords { row.get(6)? } else { None },
                default_workspace: self.optional_id(row, 7)?.map(WorkspaceId),
                default_conversation: self.optional_id(row, 9)?.map(ConversationId),
                removed_through: number(row.get(11)?),
            };
            self.counts.users += 1;
            self.line(&ExportLine::User(user))?;
        }
        Ok(())
    }

    fn workspaces(&mut self) -> Result<(), Abort<io::Error>> {
        let mut statement = self.db.prepare_cached(WORKSPACES)?;
        let mut rows = statement.scan([], SCAN_ROWS_MAX)?;
        while let Some(row) = rows.next()? {
            let workspace = Workspace {
                id: WorkspaceId(self.id(row, 0)?),
                created_at: WallTime(row.get(1)?),
                updated_at: WallTime(row.get(2)?),
                owner: UserId::new_unchecked(row.get::<Arc<str>>(3)?),
                name: WorkspaceName::new_unchecked(row.get::<Arc<str>>(4)?),
                description: WorkspaceDescription::new_unchecked(row.get::<Arc<str>>(5)?),
                metadata: Metadata::new_unchecked(row.get::<Arc<str>>(6)?),
            };
            self.counts.workspaces += 1;
            self.line(&ExportLine::Workspace(workspace))?;
        }
        Ok(())
    }

    fn conversations(&mut self) -> Result<(), Abort<io::Error>> {
        let mut statement = self.db.prepare_cached(CONVERSATIONS)?;
        let mut rows = statement.scan([], SCAN_ROWS_MAX)?;
        let mut statement = self.db.prepare_cached(PARTICIPANTS)?;
        let mut participants = Belonging::new(statement.scan([], SCAN_ROWS_MAX)?, |row| {
            Ok((UserId::new_unchecked(row.get::<Arc<str>>(1)?), number(row.get(2)?)))
        });
        while let Some(row) = rows.next()? {
            let conversation = ConversationLine {
                id: ConversationId(self.id(row, 0)?),
                created_at: WallTime(row.get(1)?),
                workspace_id: WorkspaceId(self.id(row, 2)?),
                updated_at: WallTime(row.get(4)?),
                topic: Topic::new_unchecked(row.get::<Arc<str>>(5)?),
                metadata: Metadata::new_unchecked(row.get::<Arc<str>>(6)?),
                participants: participants.of(row.get(0)?)?,
            };
            self.counts.conversations += 1;
            self.line(&ExportLine::Conversation(conversation))?;
        }
        Ok(())
    }

    fn messages(&mut self) -> Result<(), Abort<io::Error>> {
        let mut statement = self.db.prepare_cached(MESSAGES)?;
        let mut rows = statement.scan([], SCAN_MESSAGES_MAX)?;
        let mut statement = self.db.prepare_cached(ANSWERS)?;
        let mut answers = Belonging::new(statement.scan([], SCAN_ROWS_MAX)?, answer_line);
        while let Some(row) = rows.next()? {
            let published = match (row.get::<Option<i64>>(11)?, row.get::<Option<i64>>(12)?) {
                (Some(event), Some(at)) => Some((number(event), WallTime(at))),
                _ => None,
            };
            let message = MessageLine {
                id: MessageId(self.id(row, 0)?),
                created_at: WallTime(row.get(1)?),
                conversation_id: ConversationId(self.id(row, 2)?),
                updated_at: WallTime(row.get(4)?),
                sender: UserId::new_unchecked(row.get::<Arc<str>>(5)?),
                role: decode(row, 6, messages::role_of)?,
                status: decode(row, 7, messages::status_of)?,
                correlation_id: row.get(8)?,
                reply_to: self.optional_id(row, 9)?.map(MessageId),
                published,
                responder: match row.get::<Option<Arc<str>>>(13)? {
                    None => None,
                    Some(_) => Some(answer_jobs::responder_of(row, 13)?),
                },
                job: match (row.get::<Option<i64>>(16)?, row.get::<Option<Arc<str>>>(17)?) {
                    (Some(job), Some(user)) => Some((number(job), UserId::new_unchecked(user))),
                    _ => None,
                },
                answers: answers.of(row.get(0)?)?,
                error: row.get(18)?,
                reasoning: row.get(19)?,
                metadata: Metadata::new_unchecked(row.get::<Arc<str>>(14)?),
                content: Content::new_unchecked(row.get::<Arc<str>>(15)?),
            };
            self.counts.messages += 1;
            self.line(&ExportLine::Message(message))?;
        }
        Ok(())
    }

    fn usage(&mut self) -> Result<(), Abort<io::Error>> {
        let mut statement = self.db.prepare_cached(USAGE)?;
        let mut rows = statement.scan([], SCAN_ROWS_MAX)?;
        while let Some(row) = rows.next()? {
            let usage = UsageLine {
                user: UserId::new_unchecked(row.get::<Arc<str>>(5)?),
                day: Day(row.get(6)?),
                conversation: match number(row.get(7)?) {
                    usage::NO_CONVERSATION => None,
                    _ => Some(ConversationId(self.id(row, 7)?)),
                },
                model: row.get(9)?,
                sums: usage::sums_of(row)?,
            };
            self.counts.usage += 1;
            self.line(&ExportLine::Usage(usage))?;
        }
        Ok(())
    }

    /// The id that consists of the number in a column and the time in the next column.
    fn id(&self, row: Row<'_>, column: usize) -> SqlResult<Uuid> {
        Ok(self.ids.uuid(number(row.get(column)?), WallTime(row.get(column + 1)?)))
    }

    fn optional_id(&self, row: Row<'_>, column: usize) -> SqlResult<Option<Uuid>> {
        if row.get::<Option<i64>>(column)?.is_some() { self.id(row, column).map(Some) } else { Ok(None) }
    }
}

/// The rows of a query that belong to those of another one. Both are in ascending order of their first columns.
struct Belonging<'s, T> {
    rows: SqlRows<'s>,
    read: fn(Row<'_>) -> SqlResult<T>,
    /// The row that was read last, if it belongs to a later one.
    next: Option<(i64, T)>,
}

impl<'s, T> Belonging<'s, T> {
    fn new(rows: SqlRows<'s>, read: fn(Row<'_>) -> SqlResult<T>) -> Belonging<'s, T> {
        Belonging { rows, read, next: None }
    }

    /// The rows that belong to `key`, which grows from call to call.
    fn of(&mut self, key: i64) -> SqlResult<Vec<T>> {
        let mut found = Vec::new();
        loop {
            let next = match self.next.take() {
                Some(next) => next,
                None => match self.rows.next()? {
                    Some(row) => (row.get(0)?, (self.read)(row)?),
                    None => return Ok(found),
                },
            };
            match next.0.cmp(&key) {
                Ordering::Less => {}
                Ordering::Equal => found.push(next.1),
                Ordering::Greater => {
                    self.next = Some(next);
                    return Ok(found);
                }
            }
        }
    }
}

fn answer_line(row: Row<'_>) -> SqlResult<AnswerLine> {
    let count = |column| row.get::<i64>(column).map(|count| count as u64);
    Ok(AnswerLine {
        status: decode(row, 1, messages::status_of)?,
        answer: row.get::<Option<i64>>(2)?.map(number),
        error: row.get(3)?,
        usage: match row.get(4)? {
            None => None,
            Some(model) => {
                let (prompt, completion, reasoning, cached) = (count(5)?, count(6)?, count(7)?, count(8)?);
                Some(TokenUsage { model, tokens: TokenCounts { prompt, completion, reasoning, cached } })
            }
        },
    })
}

const REMOVED_USERS_THROUGH: &str = "
    SELECT nullif(max(others_through, coalesce((SELECT max(removed_through) FROM removed_users), 0)), 0)
    FROM removed_users_state";
// State events are omitted, so `removed_through` includes them, and deletions of workspaces of which a user is not notified yet.
const USERS: &str = "
    SELECT u.oid, u.name, u.email, u.created_at, u.status, u.tokens_since, u.password,
        w.number, w.created_at, c.number, c.created_at,
        max(u.removed_through, coalesce((
            SELECT r.number FROM event_recipients r CROSS JOIN state_events e ON e.number = r.number AND e.kind <> 'output'
            WHERE r.user = u.key ORDER BY r.number DESC LIMIT 1), 0), coalesce((
            SELECT max(d.number) FROM workspace_deletions d
            CROSS JOIN conversations c ON c.workspace = d.workspace AND c.deleted IS NULL
            CROSS JOIN participants p ON p.conversation = c.number AND p.user = u.key), 0)),
        nullif(u.token_generation, 0)
    FROM users u
    LEFT JOIN workspaces w ON w.number = u.default_workspace AND w.deleted IS NULL
    LEFT JOIN conversations c ON c.number = u.default_conversation AND c.deleted IS NULL
        AND EXISTS (SELECT 1 FROM workspaces WHERE number = c.workspace AND deleted IS NULL)
    ORDER BY u.key";
const WORKSPACES: &str = "
    SELECT w.number, w.created_at, w.updated_at, u.oid, w.name, w.description, w.metadata
    FROM workspaces w CROSS JOIN users u ON u.key = w.owner
    WHERE w.deleted IS NULL ORDER BY w.number";
const CONVERSATIONS: &str = "
    SELECT c.number, c.created_at, w.number, w.created_at, s.updated_at, c.topic, c.metadata
    FROM conversations c
    CROSS JOIN workspaces w ON w.number = c.workspace AND w.deleted IS NULL
    CROSS JOIN conversation_state s ON s.conversation = c.number
    WHERE c.deleted IS NULL ORDER BY c.number";
const PARTICIPANTS: &str = "
    SELECT p.conversation, u.oid, p.since FROM participants p CROSS JOIN users u ON u.key = p.user
    ORDER BY p.conversation, p.since, p.ordinal";
const MESSAGES: &str = "
    SELECT m.number, m.created_at, c.number, c.created_at, m.updated_at, u.oid, m.role, m.status, m.correlation_id,
        answered.number, answered.created_at, e.number, e.at, j.responder, m.metadata, m.content,
        CASE WHEN j.number <> m.number THEN j.number END, CASE WHEN j.number <> m.number THEN for_user.oid END, m.error, r.text
    FROM messages m
    CROSS JOIN conversations c ON c.number = m.conversation AND c.deleted IS NULL
    CROSS JOIN workspaces w ON w.number = c.workspace AND w.deleted IS NULL
    CROSS JOIN users u ON u.key = m.sender
    LEFT JOIN messages answered ON answered.number = m.reply_to
    LEFT JOIN state_events e ON m.published_by > 0 AND e.number = m.published_by
    LEFT JOIN answer_jobs j ON j.message = m.number
    LEFT JOIN users for_user ON for_user.key = j.user
    LEFT JOIN answer_reasoning r ON r.message = m.number
    ORDER BY m.number";
const ANSWERS: &str = "
    SELECT asked, status, answer, error, model, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens
    FROM answers ORDER BY asked, attempt";
const USAGE: &str = "
    SELECT s.answers, s.prompt_tokens, s.completion_tokens, s.reasoning_tokens, s.cached_tokens, u.oid, s.day, s.conversation,
        s.conversation_at, s.model
    FROM usage s CROSS JOIN users u ON u.key = s.user ORDER BY s.user, s.day, s.conversation, s.model";
