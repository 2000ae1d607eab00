//! A new database made of an export, with the same ids, numbers and times. It is written beside its place and put there when
//! it is whole, as a restored one is, so a bad line or a crash leaves everything as it was.

use crate::base::limits::FRAME_BYTES_MAX;
use crate::base::time::WallTime;
use crate::domain::answer_job::JobId;
use crate::domain::event::EventKind;
use crate::domain::id::*;
use crate::domain::model::{Status, Workspace};
use crate::store::error::fault_of;
use crate::store::rules::records::{JournalHead, NewEventRow};
use crate::store::sqlite::admin::development_user::is_development_user;
use crate::store::sqlite::admin::integrity;
use crate::store::sqlite::admin::restore::{self, Place};
use crate::store::sqlite::connection;
use crate::store::sqlite::files::atomic_file::{Partial, Progress, Report};
use crate::store::sqlite::tables::journal_head;
use crate::store::sqlite::tables::{answer_jobs, conversations, messages, state_events, users, workspaces};
use crate::store::sqlite::values::sql;
use crate::store::{Database, OpenError};
use crate::wire::export_line::{self, ConversationLine, ExportCounts, ExportHeader, ExportLine, MessageLine, UserLine};
use crate::wire::metadata::string_member;
use rusqlite::{Connection, OptionalExtension, params};
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// A database that was made of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// How many there are of each.
    pub counts: ExportCounts,
    /// The number that the journal goes on from.
    pub goes_on_from: EventNumber,
    /// Where the empty database is now that was there before.
    pub kept: Option<PathBuf>,
}

/// Makes `target` a database with what `input` says. There must be no database, or one in which nothing has happened yet.
/// Errors are one line for people, and name the line that is wrong.
pub fn import(target: &Path, input: &mut dyn BufRead, now: WallTime, report: Report<'_>) -> Result<Imported, String> {
    let place = Place::take(target)?;
    if place.is_taken && !is_empty(target)? {
        return Err(format!(
            "the database {} has something in it: an export can only become a database of its own, at another DATABASE_URL",
            target.display()
        ));
    }
    let partial = Partial::begin(target)?;
    let (db, _) =
        connection::open_writing(&Database::File(partial.path().into())).map_err(|error| error.to_string())?;
    let failed = |error: rusqlite::Error| OpenError::of(partial.path(), &error).to_string();
    // Nothing looks at the file before it is whole.
    db.query_row("PRAGMA journal_mode = OFF", [], |_| Ok(())).map_err(failed)?;
    db.pragma_update(None, "synchronous", "OFF").map_err(failed)?;
    db.execute_batch("BEGIN").map_err(failed)?;
    let counts = read_all(&db, input, &failed, report)?;
    db.execute_batch(COUNT_MESSAGES).map_err(failed)?;
    db.execute_batch("COMMIT").map_err(failed)?;
    if let Some(finding) = integrity::rows(&db, |_, _| {}).first() {
        return Err(format!("what the lines say does not fit together: {finding}"));
    }
    let goes_on_from = restore::finish(db, partial.path(), place.known, now)?;
    let kept = place.give_to(partial, now)?;
    Ok(Imported { counts, goes_on_from, kept })
}

/// Whether a database has nothing in it but what a server makes at its first start.
fn is_empty(path: &Path) -> Result<bool, String> {
    let (db, _) = connection::open_reading(&Database::File(path.into())).map_err(|error| error.to_string())?;
    let position = journal_head::load(&db).map_err(|error| OpenError::of(path, &error).to_string())?.number;
    let mut users =
        db.prepare("SELECT oid FROM users LIMIT 2").map_err(|error| OpenError::of(path, &error).to_string())?;
    let users = users.query_map([], |row| row.get::<_, String>(0)).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let users = users.map_err(|error| OpenError::of(path, &error).to_string())?;
    Ok(position == EventNumber(0) && users.into_iter().all(|id| is_development_user(&UserId::new_unchecked(id))))
}

fn read_all(
    db: &Connection,
    input: &mut dyn BufRead,
    failed: &dyn Fn(rusqlite::Error) -> String,
    report: Report<'_>,
) -> Result<ExportCounts, String> {
    let mut lines = Lines { input, at: 0, text: Vec::new() };
    let (mut importer, mut counts) = (None, ExportCounts::default());
    loop {
        let line = lines.next()?;
        let said = (|| match (line, &mut importer) {
            (ExportLine::Header(header), None) => {
                importer = Some(Importer::begin(db, &header)?);
                Ok(None)
            }
            (ExportLine::Header(_), Some(_)) => Err(Wrong::Line("there is one header only".into())),
            (_, None) => Err(Wrong::Line("the first line must be the header".into())),
            (ExportLine::End(end), Some(_)) => Ok(Some(end)),
            (line, Some(importer)) => importer.add(&line, &mut counts).map(|()| None),
        })();
        report(Progress { done: counts.lines(), of: None });
        match said {
            Ok(None) => {}
            Ok(Some(end)) if end == counts => break,
            Ok(Some(end)) => return Err(lines.wrong(&format!("it counts {end}, and there were {counts}"))),
            Err(Wrong::Line(what)) => return Err(lines.wrong(&what)),
            // The line is not to blame for the disk.
            Err(Wrong::Database(error)) if fault_of(&error).is_some() => return Err(failed(error)),
            Err(Wrong::Database(error)) => return Err(lines.wrong(&error.to_string())),
        }
    }
    if lines.has_more()? { Err(lines.wrong("something follows the last line")) } else { Ok(counts) }
}

/// Lines of an input, one at a time.
struct Lines<'a> {
    input: &'a mut dyn BufRead,
    /// From 1.
    at: u64,
    text: Vec<u8>,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<ExportLine, String> {
        self.text.clear();
        self.at += 1;
        let mut bounded = (&mut *self.input).take(FRAME_BYTES_MAX as u64);
        bounded.read_until(b'\n', &mut self.text).map_err(|error| format!("the input cannot be read: {error}"))?;
        if self.text.is_empty() {
            return Err(self.wrong("the input ends before its last line: it is not whole"));
        }
        if self.text.len() == FRAME_BYTES_MAX {
            return Err(self.wrong("it is too long"));
        }
        export_line::read(&self.text).map_err(|what| self.wrong(&what))
    }

    fn has_more(&mut self) -> Result<bool, String> {
        let rest = self.input.fill_buf().map_err(|error| format!("the input cannot be read: {error}"))?;
        Ok(!rest.is_empty())
    }

    fn wrong(&self, what: &str) -> String {
        format!("line {}: {what}", self.at)
    }
}

/// What is wrong with a line.
enum Wrong {
    Line(String),
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for Wrong {
    fn from(error: rusqlite::Error) -> Wrong {
        Wrong::Database(error)
    }
}

impl From<String> for Wrong {
    fn from(what: String) -> Wrong {
        Wrong::Line(what)
    }
}

/// Writes lines into a database that has nothing in it.
struct Importer<'a> {
    db: &'a Connection,
    ids: IdKey,
    position: EventNumber,
    position_at: WallTime,
}

impl<'a> Importer<'a> {
    fn begin(db: &'a Connection, header: &ExportHeader) -> Result<Importer<'a>, Wrong> {
        if sql(header.position) < 0 || header.position.0 > crate::base::limits::EVENT_NUMBER_MAX {
            return Err(Wrong::Line("`position` is too large".into()));
        }
        db.execute("UPDATE meta SET id_key = ?1 WHERE id = 1", [header.id_key])?;
        journal_head::store(db, JournalHead { number: header.position, at: header.at })?;
        Ok(Importer { db, ids: IdKey::new(header.id_key), position: header.position, position_at: header.at })
    }

    fn add(&mut self, line: &ExportLine, counts: &mut ExportCounts) -> Result<(), Wrong> {
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
            ExportLine::Header(_) | ExportLine::End(_) => Ok(()),
        }
    }

    fn add_user(&self, user: &UserLine) -> Result<(), Wrong> {
        if users::find(self.db, &user.id)?.is_some() {
            return Err(Wrong::Line(format!("there is a user {:?} already", user.id.as_str())));
        }
        let key = users::insert(self.db, &user.id, &user.name, &user.email, user.created_at)?;
        if let Some(password) = &user.password {
            if users::is_login_taken(self.db, &user.email, key)? {
                return Err(Wrong::Line(format!("another user logs in as {:?}", user.email)));
            }
            users::set_password(self.db, key, password, None)?;
        }
        let workspace = user.default_workspace.map(|id| self.number("default_workspace_id", id.0)).transpose()?;
        let conversation = user.default_conversation.map(|id| self.number("default_conversation_id", id.0));
        users::set_defaults(self.db, key, workspace, conversation.transpose()?)?;
        users::change_disabled(self.db, key, users::ADMITTED, users::access_code(user.access))?;
        if user.removed_through > self.position {
            return Err(Wrong::Line("`removed_through` is beyond the header's position".into()));
        }
        self.db
            .prepare_cached("UPDATE users SET tokens_since = ?2, removed_through = ?3 WHERE key = ?1")?
            .execute(params![key, user.tokens_since.map(|at| at.0), sql(user.removed_through)])?;
        Ok(())
    }

    fn add_workspace(&self, workspace: &Workspace) -> Result<(), Wrong> {
        let number = self.new_number(workspace.id.0, workspace.created_at)?;
        let owner = self.user("owner_id", &workspace.owner)?;
        workspaces::insert(self.db, number, owner, workspace)?;
        Ok(())
    }

    fn add_conversation(&self, conversation: &ConversationLine) -> Result<(), Wrong> {
        let number = self.new_number(conversation.id.0, conversation.created_at)?;
        let workspace = self.existing("workspace_id", conversation.workspace_id.0, WORKSPACE_MADE_AT)?;
        self.db.prepare_cached(INSERT_CONVERSATION)?.execute(params![
            sql(number),
            sql(workspace),
            conversation.topic.as_str(),
            conversation.metadata.as_str(),
            conversation.created_at.0,
            string_member(&conversation.metadata, "responder"),
        ])?;
        self.db.prepare_cached(INSERT_STATE)?.execute([sql(number), conversation.updated_at.0])?;
        for (place, (id, since)) in conversation.participants.iter().enumerate() {
            if *since > self.position {
                return Err(Wrong::Line("a participant's `since` is beyond the header's position".into()));
            }
            let user = self.user("participants", id)?;
            conversations::insert_participant(self.db, number, user, *since, place)?;
        }
        Ok(())
    }

    fn add_message(&self, message: &MessageLine) -> Result<(), Wrong> {
        let number = self.new_number(message.id.0, message.created_at)?;
        let conversation = self.existing("conversation_id", message.conversation_id.0, CONVERSATION_MADE_AT)?;
        let reply_to = match message.reply_to {
            Some(id) => Some(self.existing("reply_to", id.0, MESSAGE_MADE_AT)?),
            None => None,
        };
        let sender = self.user("sender_id", &message.sender)?;
        // 0 for a message that is its own entry in the journal.
        let published_by = match message.published {
            Some((event, _)) => Some(sql(self.within(event)?)),
            None => (message.status != Status::Streaming).then_some(0),
        };
        self.db.prepare_cached(messages::INSERT)?.execute(params![
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
        ])?;
        if let Some(responder) = message.responder {
            answer_jobs::insert(self.db, number, responder)?;
        }
        match (message.published, reply_to) {
            (Some(stamp), _) => self.publish(stamp, message, (number, conversation, sender)),
            (None, Some(asked)) if message.status == Status::Streaming => {
                Ok(answer_jobs::set_answer(self.db, JobId(asked), number)?)
            }
            _ => Ok(()),
        }
    }

    /// The event that published an answer, for those who may see it.
    fn publish(
        &self,
        (event, at): (EventNumber, WallTime),
        message: &MessageLine,
        (number, conversation, sender): (EventNumber, EventNumber, i64),
    ) -> Result<(), Wrong> {
        if at > self.position_at {
            return Err(Wrong::Line("it was published after the header's time".into()));
        }
        let access = conversations::access(self.db, &self.ids, conversation)?;
        let access = access.ok_or_else(|| Wrong::Line("`conversation_id` leads nowhere".into()))?;
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
        Ok(state_events::insert(self.db, event, at, &draft)?)
    }

    /// The number in the id of something that was made at `made_at`.
    fn new_number(&self, id: Uuid, made_at: WallTime) -> Result<EventNumber, Wrong> {
        match self.ids.open(id) {
            Some((number, at)) if at == made_at && made_at <= self.position_at => self.within(number),
            Some((_, at)) if at == made_at => Err(Wrong::Line("`created_at` is after the header's time".into())),
            _ => Err(Wrong::Line("`id` was not made with the header's key at the time in `created_at`".into())),
        }
    }

    fn number(&self, name: &str, id: Uuid) -> Result<EventNumber, Wrong> {
        let (number, _) = self.ids.open(id).ok_or_else(|| Wrong::Line(format!("`{name}` is no id of this export")))?;
        self.within(number)
    }

    fn within(&self, number: EventNumber) -> Result<EventNumber, Wrong> {
        if number == EventNumber(0) || number > self.position {
            return Err(Wrong::Line("its number is beyond the header's position".into()));
        }
        Ok(number)
    }

    /// The number in the id of something that an earlier line has made; `made_at` finds when it was made.
    fn existing(&self, name: &str, id: Uuid, made_at: &str) -> Result<EventNumber, Wrong> {
        let opened = self.ids.open(id);
        let found = match opened {
            Some((number, _)) => {
                self.db.prepare_cached(made_at)?.query_row([sql(number)], |row| row.get(0).map(WallTime)).optional()?
            }
            None => None,
        };
        match opened {
            Some((number, at)) if found == Some(at) => Ok(number),
            _ => Err(Wrong::Line(format!("`{name}` names nothing in the lines before"))),
        }
    }

    fn user(&self, name: &str, id: &UserId) -> Result<i64, Wrong> {
        let user = users::find(self.db, id)?;
        let missing =
            || Wrong::Line(format!("`{name}` names a user who is not in the lines before: {:?}", id.as_str()));
        user.map(|user| user.key).ok_or_else(missing)
    }
}

const WORKSPACE_MADE_AT: &str = "SELECT created_at FROM workspaces WHERE number = ?1";
const CONVERSATION_MADE_AT: &str = "SELECT created_at FROM conversations WHERE number = ?1";
const MESSAGE_MADE_AT: &str = "SELECT created_at FROM messages WHERE number = ?1";
const INSERT_CONVERSATION: &str = "
    INSERT INTO conversations (number, workspace, topic, metadata, created_at, responder)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const INSERT_STATE: &str = "
    INSERT INTO conversation_state (conversation, updated_at, message_count, last_number) VALUES (?1, ?2, 0, 0)";
const COUNT_MESSAGES: &str = "
    UPDATE conversation_state SET
        message_count = (SELECT count(*) FROM messages m WHERE m.conversation = conversation_state.conversation),
        last_number = coalesce((SELECT max(number) FROM messages m
            WHERE m.conversation = conversation_state.conversation), 0)";
