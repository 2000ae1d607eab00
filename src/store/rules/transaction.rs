//! One transaction of the writer: what its commands share until the commit.
//!
//! Invariant: numbers and times are given out in the order in which their rows are written, each greater than the one
//! before; what is in memory says what the rows say, those of this transaction included.

use crate::base::limits::{WRITER_CACHE_CONVERSATION_BYTES_MAX, WRITER_CACHE_USERS_MAX};
use crate::base::time::WallTime;
use crate::domain::answer_job::AnswerJob;
use crate::domain::command::{Actor, Command};
use crate::domain::event::{Event, EventBody, EventKind};
use crate::domain::id::{ConversationId, EventNumber, IdKey, UserId};
use crate::domain::started_answer::AnswerStarted;
use crate::domain::token_rules::TokenRules;
use crate::store::StoreConfig;
use crate::store::rules::cache::{Cache, Weigh};
use crate::store::rules::inbox_flush::Inboxes;
use crate::store::sqlite::schema;
use crate::store::sqlite::tables::answer_jobs::Responders;
use crate::store::sqlite::tables::conversations::{self, Home, Room, Touch};
use crate::store::sqlite::tables::state_events::{self, Draft, Stats};
use crate::store::sqlite::tables::users::{self, Member, User};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the writer knows without asking the database. It is the only one that changes these rows, so it is never told.
pub(crate) struct Memory {
    pub rooms: Cache<EventNumber, Arc<Room>>,
    pub users: Cache<UserId, Arc<User>>,
    pub inboxes: Inboxes,
    /// What there is of events that are no messages; `None` until it is read.
    pub stats: Option<Stats>,
    pub responders: Responders,
}

impl Weigh for Room {
    fn weight(&self) -> usize {
        const BASE: usize = 320;
        const PER_PARTICIPANT: usize = 64;
        let ids: usize = self.recipients.iter().map(|id| id.as_str().len()).sum();
        BASE + self.recipients.len() * PER_PARTICIPANT + ids + self.responder.as_ref().map_or(0, |name| name.len())
    }
}

/// Users are much of a size, so they are counted.
impl Weigh for User {
    fn weight(&self) -> usize {
        1
    }
}

impl Memory {
    pub(crate) fn new(config: &StoreConfig) -> Memory {
        Memory {
            rooms: Cache::new(WRITER_CACHE_CONVERSATION_BYTES_MAX),
            users: Cache::new(WRITER_CACHE_USERS_MAX),
            inboxes: Inboxes::new(config.inbox),
            stats: None,
            responders: config.responders.clone(),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.rooms.clear();
        self.users.clear();
        self.inboxes.clear();
        self.stats = None;
    }
}

/// The newest number and time given out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Clock {
    pub number: EventNumber,
    pub at: WallTime,
}

impl Clock {
    pub(crate) fn load(db: &Connection) -> rusqlite::Result<Clock> {
        schema::position(db).map(|(number, at)| Clock { number, at })
    }
}

/// A transaction that is open.
pub(crate) struct Batch<'a> {
    pub db: &'a Connection,
    pub ids: &'a IdKey,
    pub memory: &'a mut Memory,
    /// The time of the batch: the wall clock's, unless that has gone back.
    pub now: WallTime,
    pub clock: Clock,
    pub events: Vec<Arc<Event>>,
    /// Orders that the batch made and did not close again.
    pub jobs: Vec<AnswerJob>,
    /// Answers that the batch began and did not end again.
    pub started: Vec<AnswerStarted>,
    pub gates_changed: bool,
    stored: Clock,
    touches: BTreeMap<EventNumber, Touch>,
    journalled: Stats,
}

/// Who asks, and what is known of them before anything is written.
pub(crate) struct Caller<'c> {
    pub actor: &'c Actor,
    pub correlation_id: &'c Arc<str>,
    pub known: Option<Arc<User>>,
}

impl Caller<'_> {
    pub(crate) fn id(&self) -> &UserId {
        &self.actor.id
    }
}

/// Who writes: a caller whose user has a row.
pub(crate) struct Author<'c> {
    pub user: Arc<User>,
    pub correlation_id: &'c Arc<str>,
}

/// An event that is no message, before it has its number.
pub(crate) struct Notice<'n> {
    pub kind: EventKind,
    pub home: &'n Home,
    pub room: Option<&'n Room>,
    pub recipients: Arc<[UserId]>,
    pub recipient_keys: &'n [i64],
    pub payload: Arc<str>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(
        db: &'a Connection,
        ids: &'a IdKey,
        memory: &'a mut Memory,
        clock: Clock,
        now: WallTime,
    ) -> Batch<'a> {
        Batch {
            db,
            ids,
            memory,
            now: now.max(clock.at),
            clock,
            events: Vec::new(),
            jobs: Vec::new(),
            started: Vec::new(),
            gates_changed: false,
            stored: clock,
            touches: BTreeMap::new(),
            journalled: Stats::default(),
        }
    }

    /// Writes what the commands have left for the end; the commit may follow. The rules for tokens, if they changed.
    pub(crate) fn finish(&mut self) -> rusqlite::Result<Option<TokenRules>> {
        self.flush_touches()?;
        state_events::add_stats(self.db, self.journalled)?;
        if let Some(stats) = &mut self.memory.stats {
            stats.events += self.journalled.events;
            stats.bytes += self.journalled.bytes;
        }
        if self.clock != self.stored {
            schema::set_position(self.db, self.clock.number, self.clock.at)?;
        }
        if self.gates_changed { users::token_rules(self.db).map(Some) } else { Ok(None) }
    }

    /// A time of its own for a change that is no event.
    pub(crate) fn next_time(&mut self) -> WallTime {
        self.clock.at = self.now.max(WallTime(self.clock.at.0 + 1));
        self.clock.at
    }

    /// The next number and its time.
    pub(crate) fn next(&mut self) -> (EventNumber, WallTime) {
        self.clock.number = self.clock.number.next();
        (self.clock.number, self.next_time())
    }

    pub(crate) fn caller<'c>(&mut self, command: &'c Command) -> rusqlite::Result<Caller<'c>> {
        let known = self.user(&command.actor.id)?;
        Ok(Caller { actor: &command.actor, correlation_id: &command.correlation_id, known })
    }

    pub(crate) fn user(&mut self, id: &UserId) -> rusqlite::Result<Option<Arc<User>>> {
        if let Some(user) = self.memory.users.get(id) {
            return Ok(Some(user));
        }
        let user = users::find(self.db, id)?.map(Arc::new);
        if let Some(user) = &user {
            self.memory.users.insert(id.clone(), user.clone());
        }
        Ok(user)
    }

    /// The caller's row, made with their first write, with name and email as their token says.
    pub(crate) fn enter<'c>(&mut self, caller: &Caller<'c>) -> rusqlite::Result<Author<'c>> {
        let (name, email) = (caller.actor.name.as_ref(), caller.actor.email.as_ref());
        let user = match &caller.known {
            None => self.create_user(caller.id(), name.cloned(), email.cloned())?,
            Some(user) => {
                let name = name.filter(|name| **name != user.name);
                let email = email.filter(|email| **email != user.email);
                if name.is_none() && email.is_none() { user.clone() } else { self.change_profile(user, name, email)? }
            }
        };
        Ok(Author { user, correlation_id: caller.correlation_id })
    }

    fn create_user(
        &mut self,
        id: &UserId,
        name: Option<Arc<str>>,
        email: Option<Arc<str>>,
    ) -> rusqlite::Result<Arc<User>> {
        let (name, email) = (name.unwrap_or_default(), email.unwrap_or_default());
        let key = users::insert(self.db, id, &name, &email, self.now)?;
        let member = Member { key, id: id.clone() };
        let user = User {
            member,
            name,
            email,
            disabled: false,
            has_password: false,
            default_workspace: None,
            default_conversation: None,
        };
        Ok(self.remember_user(user))
    }

    fn change_profile(
        &mut self,
        user: &User,
        name: Option<&Arc<str>>,
        email: Option<&Arc<str>>,
    ) -> rusqlite::Result<Arc<User>> {
        let mut changed = user.clone();
        changed.name = name.unwrap_or(&user.name).clone();
        if let Some(email) = email {
            // An email and a password identify a login, so it cannot become another's by way of a token.
            // Nor can it go: without one, nobody could log in.
            let keeps = user.has_password && (email.is_empty() || users::login_taken(self.db, email, user.member.key)?);
            if !keeps {
                changed.email = email.clone();
            }
        }
        users::set_profile(self.db, user.member.key, &changed.name, &changed.email)?;
        Ok(self.remember_user(changed))
    }

    pub(crate) fn set_defaults(
        &mut self,
        user: &User,
        workspace: Option<EventNumber>,
        conversation: Option<EventNumber>,
    ) -> rusqlite::Result<()> {
        users::set_defaults(self.db, user.member.key, workspace, conversation)?;
        let changed = User { default_workspace: workspace, default_conversation: conversation, ..user.clone() };
        self.remember_user(changed);
        Ok(())
    }

    pub(crate) fn remember_user(&mut self, user: User) -> Arc<User> {
        let user = Arc::new(user);
        self.memory.users.insert(user.member.id.clone(), user.clone());
        user
    }

    /// The row of somebody who takes part; they need not have been seen before.
    pub(crate) fn member(&mut self, id: &UserId) -> rusqlite::Result<Member> {
        let user = match self.user(id)? {
            Some(user) => user,
            None => self.create_user(id, None, None)?,
        };
        Ok(user.member.clone())
    }

    /// The conversation that `id` names, unless it is gone.
    pub(crate) fn room(&mut self, id: ConversationId) -> rusqlite::Result<Option<Arc<Room>>> {
        let Some((number, _)) = self.ids.open(id.0) else { return Ok(None) };
        // An id of another database may open to a number of ours.
        Ok(self.room_at(number)?.filter(|room| room.id == id))
    }

    pub(crate) fn room_at(&mut self, number: EventNumber) -> rusqlite::Result<Option<Arc<Room>>> {
        if let Some(room) = self.memory.rooms.get(&number) {
            return Ok(Some(room));
        }
        let room = conversations::room(self.db, self.ids, number)?.map(Arc::new);
        if let Some(room) = &room {
            self.memory.rooms.insert(number, room.clone());
        }
        Ok(room)
    }

    /// Notes a change of a conversation's state, which is written once per batch.
    pub(crate) fn touch(&mut self, conversation: EventNumber, at: WallTime, message: Option<EventNumber>) {
        let touch = self.touches.entry(conversation).or_default();
        touch.updated_at = at;
        if let Some(number) = message {
            touch.messages_added += 1;
            touch.last_number = number;
        }
    }

    /// Writes the noted changes, so that a read sees them.
    pub(crate) fn flush_touches(&mut self) -> rusqlite::Result<()> {
        for (conversation, touch) in std::mem::take(&mut self.touches) {
            conversations::touch(self.db, conversation, &touch)?;
        }
        Ok(())
    }

    /// Writes the row of an event that is no message, and counts it if retention may remove it.
    pub(crate) fn journal(&mut self, number: EventNumber, at: WallTime, draft: &Draft<'_>) -> rusqlite::Result<()> {
        state_events::insert(self.db, number, at, draft)?;
        if state_events::expires(draft.kind) {
            self.journalled.events += 1;
            self.journalled.bytes += draft.bytes();
        }
        Ok(())
    }

    /// Journals an event that is no message, under a number and a time that `next` gave.
    pub(crate) fn publish(
        &mut self,
        (number, at): (EventNumber, WallTime),
        author: &Author<'_>,
        notice: Notice<'_>,
    ) -> rusqlite::Result<()> {
        let draft = Draft {
            kind: notice.kind,
            actor: author.user.member.key,
            correlation_id: author.correlation_id,
            home: notice.home,
            conversation: notice.room.map(|room| (room.number, room.created_at)),
            message: None,
            payload: &notice.payload,
            recipients: notice.recipient_keys,
        };
        self.journal(number, at, &draft)?;
        self.events.push(Arc::new(Event {
            number,
            kind: notice.kind,
            at,
            actor: author.user.member.id.clone(),
            correlation_id: author.correlation_id.clone(),
            workspace_id: notice.home.id,
            conversation_id: notice.room.map(|room| room.id),
            recipients: notice.recipients,
            body: EventBody::Data(notice.payload),
        }));
        Ok(())
    }
}
