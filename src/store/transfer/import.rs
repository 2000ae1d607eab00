//! Creates a database from an export, with the same ids, numbers and times. A file is atomic, and on a server everything is one
//! transaction, so after an invalid line or a crash nothing has changed.

use crate::base::limits::{
    EXPORT_LINE_BYTES_MAX, IMPORT_BYTES_SENT_MAX, IMPORT_CONVERSATIONS_CACHED_MAX, IMPORT_LINES_SENT_MAX,
    IMPORT_ROWS_CACHED_MAX,
};
use crate::base::time::WallTime;
use crate::config::types::Database;
use crate::domain::answer_job::{JobId, UserKey};
use crate::domain::event::EventKind;
use crate::domain::id::*;
use crate::domain::model::{Status, Workspace};
use crate::store::admin::development_user::is_development_user;
use crate::store::admin::integrity;
use crate::store::error::{DataError, OpenError, fault_of};
#[cfg(feature = "cluster")]
use crate::store::postgres::{
    address::{Address, SessionUse},
    migration, schema,
    turn::{Turns, is_served},
};
use crate::store::progress::{Progress, ProgressReport};
use crate::store::rules::age::AgeTime;
use crate::store::rules::records::{ConversationAccess, EndedAnswerRow, JournalHead, NewEventRow, NewJobRow};
use crate::store::sql::values::sql;
use crate::store::sql::{EngineError, OptionalRow, SqlConnection, SqlResult, params};
use crate::store::sqlite::connection::{self, Durability};
use crate::store::sqlite::files::atomic_file::AtomicFile;
use crate::store::sqlite::restore::{RestoreTarget, start_timeline};
use crate::store::tables::journal_head;
#[cfg(feature = "cluster")]
use crate::store::tables::timeline;
use crate::store::tables::{
    answer_jobs, answers, conversations, messages, reasoning, released_users, state_events, usage, users, workspaces,
};
use crate::wire::export_line::{
    self, ConversationLine, ExportCounts, ExportHeader, ExportLine, MessageLine, UsageLine, UserLine,
};
use crate::wire::metadata::string_member;
use std::collections::HashMap;
use std::hash::Hash;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// The result of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImportReport {
    /// The path of the database, or the address of its server.
    pub path: PathBuf,
    /// The number of lines of each type.
    pub counts: ExportCounts,
    /// The number after which new events are numbered.
    pub continues_after: EventNumber,
    /// The new path of the empty database that was at the target.
    pub kept: Option<PathBuf>,
}

/// Creates the database `target` from the lines of `input`. The target must not exist, or must be a database without data.
///
/// # Errors
/// Fails if a server has `target` open, if it has data, or if a line is invalid. The target is then unchanged.
pub(crate) fn import(
    target: &Database,
    input: &mut dyn BufRead,
    now: WallTime,
    progress: ProgressReport<'_>,
) -> Result<ImportReport, DataError> {
    match target {
        Database::File(path) => import_into_file(path, input, now, progress),
        Database::Memory => Err(OpenError::in_memory().into()),
        #[cfg(feature = "cluster")]
        Database::Server(url) => {
            let path = PathBuf::from(Address::parse(url)?.name());
            let db = Address::parse(url)?.connect(SessionUse::Tool)?;
            let imported = import_into_server(&db, &path, input, now, progress);
            if imported.is_err() {
                db.roll_back().unwrap_or_else(|error| log::warn!("cannot roll back a transaction: {error}"));
            }
            imported
        }
    }
}

fn import_into_file(
    target: &Path,
    input: &mut dyn BufRead,
    now: WallTime,
    progress: ProgressReport<'_>,
) -> Result<ImportReport, DataError> {
    let destination = RestoreTarget::lock(target)?;
    if destination.exists {
        let (db, _) = connection::open_reading(target)?;
        if !is_empty(&db).map_err(|error| OpenError::of_engine(target, &error))? {
            return Err(DataError::TargetNotEmpty(target.into()));
        }
    }
    let file = AtomicFile::create(target)?;
    // No other process opens the file before it is complete, so it needs no durability and no journal.
    let (db, _) = connection::open_writing(file.path(), Durability::None)?;
    let failed = |error: EngineError| OpenError::of_engine(file.path(), &error);
    db.query_row("PRAGMA journal_mode = OFF", [], |_| Ok(())).map_err(failed)?;
    db.begin().map_err(failed)?;
    let counts = read_all(&db, file.path(), input, progress)?;
    derive_rows(&db).map_err(failed)?;
    db.commit().map_err(failed)?;
    check(&db)?;
    let continues_after = start_timeline(db, file.path(), destination.known, now)?;
    let kept = destination.replace_with(file, now)?;
    Ok(ImportReport { path: target.into(), counts, continues_after, kept })
}

/// Imports in one transaction, which creates the tables if the database has none, and is one of the turns of writers.
#[cfg(feature = "cluster")]
fn import_into_server(
    db: &SqlConnection,
    path: &Path,
    input: &mut dyn BufRead,
    now: WallTime,
    progress: ProgressReport<'_>,
) -> Result<ImportReport, DataError> {
    let failed = |error: EngineError| OpenError::of_engine(path, &error);
    let mut turns = Turns::new(false, 0);
    db.begin().map_err(failed)?;
    migration::create_within(db, path)?;
    turns.begin_within(db).map_err(failed)?;
    if is_served(db).map_err(failed)? {
        return Err(DataError::InUse { path: path.into(), holder: None });
    }
    if !is_empty(db).map_err(failed)? {
        return Err(DataError::TargetNotEmpty(path.into()));
    }
    // The development user, whom the lines may have as well.
    db.run("DELETE FROM users", []).map_err(failed)?;
    let counts = read_all(db, path, input, progress)?;
    // Otherwise the server plans the statements below for empty tables.
    schema::analyze(db).map_err(failed)?;
    derive_rows(db).map_err(failed)?;
    check(db)?;
    let continues_after = timeline::start(db, EventNumber(0), now).map_err(failed)?;
    let continues_after = continues_after.ok_or(DataError::NumbersExhausted)?;
    turns.commit(db).map_err(failed)?;
    Ok(ImportReport { path: path.into(), counts, continues_after, kept: None })
}

/// Whether a database has no other data than a server creates at its first start.
fn is_empty(db: &SqlConnection) -> SqlResult<bool> {
    let head = journal_head::load(db)?;
    let mut statement = db.prepare_cached("SELECT oid FROM users LIMIT 2")?;
    let users = statement.query_map([], |row| row.get::<String>(0))?.collect::<Result<Vec<_>, _>>()?;
    let only_development = users.into_iter().all(|id| is_development_user(&UserId::new_unchecked(id)));
    Ok(head.number == EventNumber(0) && only_development)
}

/// Writes what is derived from the rows of all lines.
fn derive_rows(db: &SqlConnection) -> SqlResult<()> {
    if !db.is_server() {
        [INDEX_MESSAGES, SET_INDEXED].iter().try_for_each(|statement| db.run(statement, []))?;
    }
    [COUNT_MESSAGES, ADD_ERRORS, ADD_ANSWERS, MARK_NAMED_USERS]
        .iter()
        .try_for_each(|statement| db.run(statement, []))?;
    db.flush()
}

/// Checks that the rows fit together.
fn check(db: &SqlConnection) -> Result<(), DataError> {
    match integrity::rows(db, |_, _| {}).into_iter().next() {
        None => Ok(()),
        Some(finding) => Err(DataError::Inconsistent(finding)),
    }
}

fn read_all(
    db: &SqlConnection,
    path: &Path,
    input: &mut dyn BufRead,
    progress: ProgressReport<'_>,
) -> Result<ExportCounts, DataError> {
    let mut lines = LineReader { input, number: 0, text: Vec::new(), executed: 0, bytes_sent: 0 };
    let (mut importer, mut counts) = (None, ExportCounts::default());
    loop {
        let line = lines.next()?;
        let done = (|| match (line, &mut importer) {
            (ExportLine::Header(header), None) => {
                importer = Some(Importer::begin(db, &header)?);
                Ok(None)
            }
            (ExportLine::Header(_), Some(_)) => Err(LineError::Rule("only the first line may be a header".into())),
            (_, None) => Err(LineError::Rule("the first line must be the header".into())),
            (ExportLine::End(end), Some(_)) => Ok(Some(end)),
            (line, Some(importer)) => importer.add(&line, &mut counts).map(|()| None),
        })();
        let done = done.and_then(|end| lines.sent(db, end.is_some()).map(|()| end));
        progress(Progress { done: counts.lines(), of: None });
        match done {
            Ok(None) => {}
            Ok(Some(end)) if end == counts => break,
            Ok(Some(end)) => return Err(lines.error(format!("it counts {end}, but the file has {counts}"))),
            Err(LineError::Rule(rule)) => return Err(lines.error(rule)),
            // A fault of the database is not an error of the line.
            Err(LineError::Database(error)) if fault_of(&error).is_some() => {
                return Err(OpenError::of_engine(path, &error).into());
            }
            Err(LineError::Database(error)) => return Err(lines.error_since_executed(error.to_string())),
        }
    }
    if lines.has_more()? { Err(lines.error("it follows the last line".into())) } else { Ok(counts) }
}

/// Reads the lines of an input, one at a time.
struct LineReader<'a> {
    input: &'a mut dyn BufRead,
    /// The number of the last line that was read, from 1.
    number: u64,
    text: Vec<u8>,
    /// The number of the last line whose statements a server has executed.
    executed: u64,
    /// The bytes of the lines since then.
    bytes_sent: usize,
}

impl LineReader<'_> {
    fn next(&mut self) -> Result<ExportLine, DataError> {
        self.text.clear();
        self.number += 1;
        let mut bounded = (&mut *self.input).take(EXPORT_LINE_BYTES_MAX as u64);
        bounded.read_until(b'\n', &mut self.text).map_err(DataError::Input)?;
        if self.text.is_empty() {
            return Err(self.error("the input ends before its last line: it is incomplete".into()));
        }
        if self.text.len() == EXPORT_LINE_BYTES_MAX {
            return Err(self.error("the line is too long".into()));
        }
        export_line::read(&self.text).map_err(|rule| self.error(rule))
    }

    /// Notes that the statements of the last line were sent. Waits until a server has executed those of all lines if they are
    /// many, or if `all` is set.
    fn sent(&mut self, db: &SqlConnection, all: bool) -> Result<(), LineError> {
        self.bytes_sent += self.text.len();
        let lines_sent = self.number - self.executed;
        if all || !db.is_server() || lines_sent >= IMPORT_LINES_SENT_MAX || self.bytes_sent >= IMPORT_BYTES_SENT_MAX {
            db.flush()?;
            (self.executed, self.bytes_sent) = (self.number, 0);
        }
        Ok(())
    }

    fn has_more(&mut self) -> Result<bool, DataError> {
        Ok(!self.input.fill_buf().map_err(DataError::Input)?.is_empty())
    }

    fn error(&self, rule: String) -> DataError {
        DataError::Line { number: self.number, rule }
    }

    /// The error of a statement of the last line, or of a line before it that has not been executed.
    fn error_since_executed(&self, rule: String) -> DataError {
        match self.executed + 1 {
            first if first < self.number => DataError::Lines { first, last: self.number, rule },
            _ => self.error(rule),
        }
    }
}

/// Why a line cannot be imported.
enum LineError {
    /// The line violates a rule.
    Rule(String),
    Database(EngineError),
}

impl From<EngineError> for LineError {
    fn from(error: EngineError) -> LineError {
        LineError::Database(error)
    }
}

impl From<String> for LineError {
    fn from(rule: String) -> LineError {
        LineError::Rule(rule)
    }
}

/// Inserts the rows of lines into an empty database.
struct Importer<'a> {
    db: &'a SqlConnection,
    ids: IdKey,
    position: EventNumber,
    position_at: WallTime,
    /// The keys of some users.
    users: HashMap<UserId, i64>,
    /// The times of some rows, by the statement that selects them and the number.
    created_at: HashMap<(&'static str, EventNumber), WallTime>,
    /// Some conversations.
    conversations: HashMap<EventNumber, Arc<ConversationAccess>>,
}

/// Adds an entry to a cache that holds `max` of them.
fn remember<K: Eq + Hash, V>(cache: &mut HashMap<K, V>, max: usize, key: K, value: V) {
    if cache.len() >= max {
        cache.clear();
    }
    cache.insert(key, value);
}

impl<'a> Importer<'a> {
    fn begin(db: &'a SqlConnection, header: &ExportHeader) -> Result<Importer<'a>, LineError> {
        if sql(header.position) < 0 || header.position.0 > crate::base::limits::EVENT_NUMBER_MAX {
            return Err(LineError::Rule("`position` is too large".into()));
        }
        db.run("UPDATE meta SET id_key = ?1 WHERE id = 1", [header.id_key])?;
        journal_head::store(db, JournalHead { number: header.position, at: header.at, age: AgeTime(0) })?;
        if let Some(through) = header.removed_users_through {
            if through > header.position {
                return Err(LineError::Rule("`removed_users_through` is beyond `position`".into()));
            }
            released_users::raise_others(db, through)?;
        }
        Ok(Importer {
            db,
            ids: IdKey::new(header.id_key),
            position: header.position,
            position_at: header.at,
            users: HashMap::new(),
            created_at: HashMap::new(),
            conversations: HashMap::new(),
        })
    }

    fn add(&mut self, line: &ExportLine, counts: &mut ExportCounts) -> Result<(), LineError> {
        match line {
            ExportLine::User(user) => {
                counts.users += 1;
                self.add_user(user)
            }
            ExportLine::Workspace(workspace) => {
                counts.workspaces += 1;
                self.add_workspace(workspace)
            }
            ExportLine::Conversation(conversation) => {
                counts.conversations += 1;
                self.add_conversation(conversation)
            }
            ExportLine::Message(message) => {
                counts.messages += 1;
                self.add_message(message)
            }
            ExportLine::Usage(usage) => {
                counts.usage += 1;
                self.add_usage(usage)
            }
            ExportLine::Header(_) | ExportLine::End(_) => Ok(()),
        }
    }

    fn add_user(&mut self, user: &UserLine) -> Result<(), LineError> {
        if users::find(self.db, &user.id)?.is_some() {
            return Err(LineError::Rule(format!("the user {:?} already exists", user.id.as_str())));
        }
        let key = users::insert(self.db, &user.id, &user.name, &user.email, user.created_at)?;
        if let Some(password) = &user.password {
            if users::is_login_taken(self.db, &user.email, key)? {
                return Err(LineError::Rule(format!("another user logs in with the email {:?}", user.email)));
            }
            users::set_password(self.db, key, password)?;
        }
        let workspace = user.default_workspace.map(|id| self.number("default_workspace_id", id.0)).transpose()?;
        let conversation = user.default_conversation.map(|id| self.number("default_conversation_id", id.0));
        users::set_defaults(self.db, key, workspace, conversation.transpose()?)?;
        users::set_status(self.db, key, user.status)?;
        if user.removed_through > self.position {
            return Err(LineError::Rule("`removed_through` is beyond the header's position".into()));
        }
        // Without a generation, the time is one: exports had none before version 4 of the schema.
        let generation = user.token_generation.or(user.tokens_since.map(|at| at.0.max(0) as u64)).unwrap_or(0);
        let generation =
            i64::try_from(generation).map_err(|_| LineError::Rule("`token_generation` is too large".into()))?;
        self.db
            .prepare_cached(
                "UPDATE users SET tokens_since = ?2, token_generation = ?3, removed_through = ?4 WHERE key = ?1",
            )?
            .run(params![key, user.tokens_since.map(|at| at.0), generation, sql(user.removed_through)])?;
        remember(&mut self.users, IMPORT_ROWS_CACHED_MAX, user.id.clone(), key);
        Ok(())
    }

    fn add_workspace(&mut self, workspace: &Workspace) -> Result<(), LineError> {
        let number = self.new_number(workspace.id.0, workspace.created_at)?;
        let owner = self.user("owner_id", &workspace.owner)?;
        workspaces::insert(self.db, number, owner, workspace)?;
        self.created(WORKSPACE_CREATED_AT, number, workspace.created_at);
        Ok(())
    }

    fn add_conversation(&mut self, conversation: &ConversationLine) -> Result<(), LineError> {
        let number = self.new_number(conversation.id.0, conversation.created_at)?;
        let workspace = self.existing("workspace_id", conversation.workspace_id.0, WORKSPACE_CREATED_AT)?;
        self.db.prepare_cached(INSERT_CONVERSATION)?.run(params![
            sql(number),
            sql(workspace),
            conversation.topic.as_str(),
            conversation.metadata.as_str(),
            conversation.created_at.0,
            string_member(&conversation.metadata, "responder"),
        ])?;
        self.db.prepare_cached(INSERT_STATE)?.run([sql(number), conversation.updated_at.0])?;
        self.created(CONVERSATION_CREATED_AT, number, conversation.created_at);
        for (ordinal, (id, since)) in conversation.participants.iter().enumerate() {
            if *since > self.position {
                return Err(LineError::Rule("a participant's `since` is beyond the header's position".into()));
            }
            let user = self.user("participants", id)?;
            conversations::insert_participant(self.db, number, user, *since, ordinal)?;
        }
        Ok(())
    }

    fn add_message(&mut self, message: &MessageLine) -> Result<(), LineError> {
        let number = self.new_number(message.id.0, message.created_at)?;
        let conversation = self.existing("conversation_id", message.conversation_id.0, CONVERSATION_CREATED_AT)?;
        let reply_to = match message.reply_to {
            Some(id) => Some(self.existing("reply_to", id.0, MESSAGE_CREATED_AT)?),
            None => None,
        };
        let sender = self.user("sender_id", &message.sender)?;
        // 0 for a message that is its own journal entry.
        let published_by = match message.published {
            Some((event, _)) => Some(sql(self.within(event)?)),
            None => (message.status != Status::Streaming).then_some(0),
        };
        self.db.prepare_cached(messages::INSERT)?.run(params![
            sql(number),
            sql(conversation),
            sender,
            messages::role_code(message.role),
            messages::status_code(message.status),
            reply_to.map(sql),
            published_by,
            message.created_at.0,
            message.updated_at.0,
            message.correlation_id,
            message.metadata.as_str(),
            message.content.as_str(),
            message.error.as_deref(),
        ])?;
        self.created(MESSAGE_CREATED_AT, number, message.created_at);
        if let Some(responder) = message.responder {
            let (key, user) = match &message.job {
                Some((job, user)) => (self.within(*job)?, self.user("job.user_id", user)?),
                None => (number, sender),
            };
            let job = NewJobRow { key: JobId(key), message: number, responder, user: UserKey(user) };
            answer_jobs::insert(self.db, &job)?;
        }
        self.add_answers(number, message)?;
        match (message.published, reply_to) {
            (Some(stamp), _) => self.publish(stamp, message, (number, conversation, sender)),
            (None, Some(asked)) if message.status == Status::Streaming => {
                let job = answer_jobs::of_message(self.db, asked)?;
                let job = job.ok_or_else(|| LineError::Rule("`reply_to` has no answer job".into()))?;
                Ok(answer_jobs::set_answer(self.db, job, (number, message.created_at), true)?)
            }
            _ => Ok(()),
        }
    }

    fn add_answers(&self, number: EventNumber, message: &MessageLine) -> Result<(), LineError> {
        for line in &message.answers {
            if line.status == Status::Streaming {
                return Err(LineError::Rule("an answer in `answers` has not ended".into()));
            }
            let answer = line.answer.map(|answer| self.within(answer)).transpose()?;
            let (error, usage) = (line.error.as_deref(), line.usage.as_ref());
            answers::insert(self.db, &EndedAnswerRow { asked: number, status: line.status, answer, error, usage })?;
        }
        if let Some(reasoning) = &message.reasoning {
            reasoning::insert(self.db, number, reasoning)?;
        }
        Ok(())
    }

    fn add_usage(&mut self, line: &UsageLine) -> Result<(), LineError> {
        let user = self.user("user_id", &line.user)?;
        let (conversation, at) = match line.conversation {
            None => (usage::NO_CONVERSATION, WallTime(0)),
            Some(id) => {
                let opened = self.ids.open(id.0);
                let rule = || LineError::Rule("`conversation_id` is not an id of this export".into());
                let (conversation, at) = opened.ok_or_else(rule)?;
                (self.within(conversation)?, at)
            }
        };
        let within = (sql(conversation), at.0, line.model.as_str());
        Ok(usage::insert(self.db, (user, line.day), within, &line.sums)?)
    }

    /// Inserts the event that published an answer. Its recipients are the present ones of the conversation.
    fn publish(
        &mut self,
        (event, at): (EventNumber, WallTime),
        message: &MessageLine,
        (number, conversation, sender): (EventNumber, EventNumber, i64),
    ) -> Result<(), LineError> {
        if at > self.position_at {
            return Err(LineError::Rule("`published` is after the header's time".into()));
        }
        let access = self.access(conversation)?;
        let draft = NewEventRow {
            kind: EventKind::Output,
            actor_key: sender,
            correlation_id: &message.correlation_id,
            workspace: &access.workspace,
            conversation: Some((conversation, access.created_at)),
            message: Some((number, message.created_at)),
            payload: "",
            recipient_keys: &access.recipient_keys,
        };
        Ok(state_events::insert(self.db, event, at, AgeTime(0), &draft)?)
    }

    fn access(&mut self, conversation: EventNumber) -> Result<Arc<ConversationAccess>, LineError> {
        if let Some(access) = self.conversations.get(&conversation) {
            return Ok(access.clone());
        }
        let access = conversations::access(self.db, &self.ids, conversation)?;
        let rule = || LineError::Rule("`conversation_id` is not an id in the lines before".into());
        let access = Arc::new(access.ok_or_else(rule)?);
        remember(&mut self.conversations, IMPORT_CONVERSATIONS_CACHED_MAX, conversation, access.clone());
        Ok(access)
    }

    /// Remembers a row for `existing`.
    fn created(&mut self, statement: &'static str, number: EventNumber, at: WallTime) {
        remember(&mut self.created_at, IMPORT_ROWS_CACHED_MAX, (statement, number), at);
    }

    /// The number in the id of a new row, which must have been created at `created_at`.
    fn new_number(&self, id: Uuid, created_at: WallTime) -> Result<EventNumber, LineError> {
        match self.ids.open(id) {
            Some((number, at)) if at == created_at && created_at <= self.position_at => self.within(number),
            Some((_, at)) if at == created_at => Err(LineError::Rule("`created_at` is after the header's time".into())),
            _ => Err(LineError::Rule("`id` is not derived from the header's `id_key` and `created_at`".into())),
        }
    }

    fn number(&self, name: &str, id: Uuid) -> Result<EventNumber, LineError> {
        let (number, _) =
            self.ids.open(id).ok_or_else(|| LineError::Rule(format!("`{name}` is not an id of this export")))?;
        self.within(number)
    }

    fn within(&self, number: EventNumber) -> Result<EventNumber, LineError> {
        if number == EventNumber(0) || number > self.position {
            return Err(LineError::Rule("the number is beyond the header's position".into()));
        }
        Ok(number)
    }

    /// The number in the id of a row from an earlier line. The statement `created_at` selects the creation time of the row.
    fn existing(&mut self, name: &str, id: Uuid, created_at: &'static str) -> Result<EventNumber, LineError> {
        let missing = || LineError::Rule(format!("`{name}` is not an id in the lines before"));
        let (number, at) = self.ids.open(id).ok_or_else(missing)?;
        let found = match self.created_at.get(&(created_at, number)) {
            Some(found) => *found,
            None => {
                let mut statement = self.db.prepare_cached(created_at)?;
                let found = statement.query_row([sql(number)], |row| row.get(0).map(WallTime)).optional()?;
                let found = found.ok_or_else(missing)?;
                self.created(created_at, number, found);
                found
            }
        };
        if found == at { Ok(number) } else { Err(missing()) }
    }

    fn user(&mut self, name: &str, id: &UserId) -> Result<i64, LineError> {
        if let Some(key) = self.users.get(id) {
            return Ok(*key);
        }
        let user = users::find(self.db, id)?;
        let missing = || LineError::Rule(format!("`{name}` is not a user in the lines before: {:?}", id.as_str()));
        let key = user.ok_or_else(missing)?.key;
        remember(&mut self.users, IMPORT_ROWS_CACHED_MAX, id.clone(), key);
        Ok(key)
    }
}

const WORKSPACE_CREATED_AT: &str = "SELECT created_at FROM workspaces WHERE number = ?1";
const CONVERSATION_CREATED_AT: &str = "SELECT created_at FROM conversations WHERE number = ?1";
const MESSAGE_CREATED_AT: &str = "SELECT created_at FROM messages WHERE number = ?1";
const INSERT_CONVERSATION: &str = "
    INSERT INTO conversations (number, workspace, topic, metadata, created_at, responder)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const INSERT_STATE: &str = "
    INSERT INTO conversation_state (conversation, updated_at, message_count, last_number) VALUES (?1, ?2, 0, 0)";
/// Users with nothing but an id are removed with the last row that names them. One whom no row names stays, so that another
/// export has the same lines.
const MARK_NAMED_USERS: &str = "
    UPDATE users SET only_named = 1 WHERE key IN (
        SELECT key FROM users
        WHERE name = '' AND email = '' AND password IS NULL AND status = 0 AND tokens_since IS NULL AND token_generation = 0
        EXCEPT SELECT sender FROM messages EXCEPT SELECT owner FROM workspaces
        EXCEPT SELECT actor FROM state_events EXCEPT SELECT user FROM usage)";
const ADD_ERRORS: &str = "UPDATE messages SET error = 'the answer failed' WHERE status = 4 AND error IS NULL";
/// Exports of version 1 have answers, but not the rows about them.
const ADD_ANSWERS: &str = "
    INSERT INTO answers (asked, attempt, status, answer, error)
    SELECT m.number, 1, a.status, a.number, a.error FROM messages a JOIN messages m ON m.number = a.reply_to
    WHERE a.published_by IS NOT NULL AND NOT EXISTS (SELECT 1 FROM answers n WHERE n.asked = m.number)";
const INDEX_MESSAGES: &str = "
    INSERT INTO conversation_index (conversation, number) SELECT conversation, number FROM messages ORDER BY conversation, number";
const SET_INDEXED: &str = "
    UPDATE conversation_index_state SET indexed_through = coalesce((SELECT max(number) FROM messages), 0)";
const COUNT_MESSAGES: &str = "
    UPDATE conversation_state SET
        message_count = (SELECT count(*) FROM conversation_index i WHERE i.conversation = conversation_state.conversation),
        last_number = coalesce((SELECT max(number) FROM conversation_index i
            WHERE i.conversation = conversation_state.conversation), 0)";
