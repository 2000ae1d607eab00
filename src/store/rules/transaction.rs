//! One transaction of the writer: the state that its commands share until the commit.
//!
//! Invariant: numbers and times are assigned in the order in which their rows are written, and each is greater than its
//! predecessor.

use crate::base::time::WallTime;
use crate::domain::answer_job::{AnswerJob, JobId};
use crate::domain::answer_status_change::AnswerStatusChange;
use crate::domain::command::{Actor, Command};
use crate::domain::event::{Event, EventBody, EventKind};
use crate::domain::id::{ConversationId, EventNumber, IdKey, InstanceId, UserId};
use crate::domain::model::{Message, UserStatus};
use crate::domain::started_answer::AnswerStarted;
use crate::store::rules::age::AgeTime;
use crate::store::rules::records::*;
use crate::store::rules::rows::{RowResult, Rows};
use crate::store::rules::writer_cache::WriterCache;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An open transaction, over the rows of one engine.
///
/// Order of calls: `new`, then any number of commands and at most one `step_flush`, then `finish`, then the engine's
/// commit. After an error the engine rolls back, and the cache must be cleared.
pub(crate) struct Transaction<'a, R> {
    pub rows: &'a R,
    pub ids: &'a IdKey,
    pub cache: &'a mut WriterCache,
    /// The wall clock at the start of the transaction, or the time of `head` if that is later.
    pub now: WallTime,
    /// The wall clock at the start of the transaction.
    pub wall: WallTime,
    /// The age of the database.
    pub age: AgeTime,
    /// The newest number and time that were assigned.
    pub head: JournalHead,
    /// The events that the transaction emits, by number.
    pub events: Vec<Arc<Event>>,
    /// Answer jobs that the transaction made the first of their conversations and did not close.
    pub jobs: Vec<AnswerJob>,
    /// Messages that the transaction queued for a model, by job, unless it closed the job.
    pub queued: Vec<(JobId, Arc<AnswerStatusChange>)>,
    /// Answers that the transaction started and did not end.
    pub started: Vec<AnswerStarted>,
    pub token_rules_changed: bool,
    /// The instance that writes, if several may use the database.
    pub instance: Option<InstanceId>,
    /// The weight of the expiring events that were inserted, in bytes.
    pub event_bytes: u64,
    /// Rows of participants, events and recipients that were written or deleted.
    pub rows_changed: usize,
    head_stored: JournalHead,
    /// By conversation, the changes that are not written yet.
    updates: BTreeMap<EventNumber, ConversationUpdate>,
    /// By workspace, its owner and the expiring events that were inserted. Their shares are not written yet.
    shares_added: BTreeMap<EventNumber, (i64, JournalStats)>,
}

/// The user who sends a command.
pub(crate) struct CommandCaller<'c> {
    pub actor: &'c Actor,
    pub correlation_id: &'c Arc<str>,
    /// The user's row, if it exists.
    pub known: Option<Arc<UserRow>>,
}

impl CommandCaller<'_> {
    pub(crate) fn id(&self) -> &UserId {
        &self.actor.id
    }

    /// Whether the token is accepted by the rule that this transaction reads, which may be newer than that of an event loop.
    pub(crate) fn is_accepted(&self) -> bool {
        let rule = self.known.as_ref().and_then(|user| user.token_rule);
        rule.is_none_or(|rule| rule.accepts(&self.actor.credential))
    }
}

/// A caller whose row exists: the actor of events and the sender of messages.
pub(crate) struct Author<'c> {
    pub user: Arc<UserRow>,
    pub correlation_id: &'c Arc<str>,
}

/// A state event to publish.
pub(crate) struct NewStateEvent<'n> {
    pub kind: EventKind,
    pub workspace: &'n WorkspaceRef,
    pub conversation: Option<&'n ConversationAccess>,
    pub recipients: Arc<[UserId]>,
    pub recipient_keys: &'n [i64],
    pub payload: Arc<str>,
}

impl<'a, R: Rows> Transaction<'a, R> {
    pub(crate) fn new(
        rows: &'a R,
        ids: &'a IdKey,
        cache: &'a mut WriterCache,
        head: JournalHead,
        wall: WallTime,
        age: AgeTime,
    ) -> Transaction<'a, R> {
        Transaction {
            rows,
            ids,
            cache,
            now: wall.max(head.at),
            wall,
            age,
            head,
            events: Vec::new(),
            jobs: Vec::new(),
            queued: Vec::new(),
            started: Vec::new(),
            token_rules_changed: false,
            instance: None,
            event_bytes: 0,
            rows_changed: 0,
            head_stored: head,
            updates: BTreeMap::new(),
            shares_added: BTreeMap::new(),
        }
    }

    /// Writes the rows that are written once per transaction.
    pub(crate) fn finish(&mut self) -> RowResult<()> {
        self.write_updates()?;
        let (mut added, mut owners) = (JournalStats::default(), BTreeMap::new());
        for (workspace, (owner, share)) in std::mem::take(&mut self.shares_added) {
            self.rows.add_workspace_share(workspace, owner, share)?;
            *owners.entry(owner).or_insert(JournalStats::default()) += share;
            added += share;
        }
        for (owner, share) in owners {
            self.rows.add_owner_share(owner, share)?;
        }
        self.rows.add_journal_stats(added)?;
        if let Some(stats) = &mut self.cache.stats {
            *stats += added;
        }
        if self.head != self.head_stored {
            self.rows.set_journal_head(self.head)?;
        }
        Ok(())
    }

    /// Runs a short step of the flush of the index by conversation, if it has begun or is due. It is also due if the index lacks
    /// messages through `required`.
    pub(crate) fn step_index(&mut self, required: EventNumber) -> RowResult<()> {
        self.cache.index.step(self.rows, self.head.number, required, self.events.len())
    }

    /// Runs a short step of each flush that has begun or is due: of the index by conversation, and of the inboxes. If they took turns,
    /// the inboxes would fall behind when transactions are large.
    pub(crate) fn step_flush(&mut self) -> RowResult<()> {
        self.step_index(EventNumber(0))?;
        let (newest, events) = (self.head.number, self.events.len());
        // An inbox has no message that the index lacks.
        let indexed_through = self.cache.index.indexed_through(newest);
        let WriterCache { conversations, inboxes, deleted_workspaces, .. } = &mut *self.cache;
        inboxes.step(self.rows, indexed_through, events, |number| {
            // A flush must not evict the conversations that commands use.
            if let Some(access) = conversations.peek(&number) {
                return Ok(Some(access).filter(|access| !deleted_workspaces.contains(&access.workspace.number)));
            }
            let access = self.rows.conversation_access(number)?.map(Arc::new);
            if let Some(access) = &access {
                conversations.insert(number, access.clone());
            }
            Ok(access)
        })
    }

    /// Assigns the next time, for a change without an event.
    pub(crate) fn next_time(&mut self) -> WallTime {
        self.head.at = self.now.max(WallTime(self.head.at.0 + 1));
        self.head.age = self.age;
        self.head.at
    }

    /// Assigns the next number and its time.
    pub(crate) fn next_number(&mut self) -> (EventNumber, WallTime) {
        self.head.number = self.head.number.next();
        (self.head.number, self.next_time())
    }

    pub(crate) fn caller<'c>(&mut self, command: &'c Command) -> RowResult<CommandCaller<'c>> {
        let known = self.user(&command.actor.id)?;
        Ok(CommandCaller { actor: &command.actor, correlation_id: &command.correlation_id, known })
    }

    pub(crate) fn user(&mut self, id: &UserId) -> RowResult<Option<Arc<UserRow>>> {
        self.cache.user(self.rows, id)
    }

    /// The caller's row, updated with the token's name and email, or inserted if it does not exist.
    pub(crate) fn upsert_author<'c>(&mut self, caller: &CommandCaller<'c>) -> RowResult<Author<'c>> {
        let (name, email) = (caller.actor.name.as_ref(), caller.actor.email.as_ref());
        let user = match &caller.known {
            None => {
                let (name, email) = (name.cloned().unwrap_or_default(), email.cloned().unwrap_or_default());
                let key = self.rows.insert_user(caller.id(), &name, &email, self.now)?;
                self.cache_new_user(key, caller.id(), (name, email), false)
            }
            Some(user) => {
                let name = name.filter(|name| **name != user.name);
                let email = email.filter(|email| **email != user.email);
                let is_unchanged = name.is_none() && email.is_none() && !user.only_named;
                if is_unchanged { user.clone() } else { self.update_profile(user, name, email)? }
            }
        };
        Ok(Author { user, correlation_id: caller.correlation_id })
    }

    /// The row of a user who becomes a participant, inserted if it does not exist.
    pub(crate) fn upsert_participant(&mut self, id: &UserId) -> RowResult<UserRef> {
        let user = match self.user(id)? {
            Some(user) => user,
            None => {
                let key = self.rows.insert_named_user(id, self.now)?;
                self.cache_new_user(key, id, Default::default(), true)
            }
        };
        Ok(user.reference())
    }

    pub(crate) fn set_defaults(
        &mut self,
        user: &UserRow,
        workspace: Option<EventNumber>,
        conversation: Option<EventNumber>,
    ) -> RowResult<()> {
        self.rows.set_user_defaults(user.key, workspace, conversation)?;
        self.cache_user(UserRow { default_workspace: workspace, default_conversation: conversation, ..user.clone() });
        Ok(())
    }

    /// The conversation with this id, unless it is deleted.
    pub(crate) fn conversation(&mut self, id: ConversationId) -> RowResult<Option<Arc<ConversationAccess>>> {
        let Some((number, _)) = self.ids.open(id.0) else { return Ok(None) };
        // An id of another database may decode to a number of this database.
        Ok(self.conversation_at(number)?.filter(|access| access.id == id))
    }

    pub(crate) fn conversation_at(&mut self, number: EventNumber) -> RowResult<Option<Arc<ConversationAccess>>> {
        self.cache.conversation(self.rows, number)
    }

    /// Records a change of a conversation's state. Updates are written once per transaction.
    pub(crate) fn record_update(&mut self, conversation: EventNumber, at: WallTime, message: Option<EventNumber>) {
        let update = self.updates.entry(conversation).or_default();
        update.updated_at = at;
        if let Some(number) = message {
            update.messages_added += 1;
            // An answer may get its message after messages with greater numbers.
            update.last_number = update.last_number.max(number);
        }
    }

    /// Writes the recorded updates, so that later reads in this transaction include them.
    pub(crate) fn write_updates(&mut self) -> RowResult<()> {
        for (conversation, update) in std::mem::take(&mut self.updates) {
            self.rows.update_conversation_state(conversation, &update)?;
        }
        Ok(())
    }

    /// Inserts a message, and counts it if the index by conversation gets it later.
    pub(crate) fn insert_message(&mut self, number: EventNumber, row: &NewMessageRow<'_>) -> RowResult<()> {
        if row.publication == Publication::OwnEntry {
            let Message { content, metadata, .. } = row.message;
            self.cache.index.message_inserted(content.as_str().len() + metadata.as_str().len());
        }
        self.rows.insert_message(number, row)
    }

    /// Inserts an event, and counts it if retention may remove it.
    pub(crate) fn insert_event(&mut self, number: EventNumber, at: WallTime, row: &NewEventRow<'_>) -> RowResult<()> {
        self.rows.insert_event(number, at, self.age, row)?;
        self.rows_changed += 1 + row.recipient_keys.len();
        if expires(row.kind) {
            let owner = row.workspace.owner.key;
            let (_, share) = self.shares_added.entry(row.workspace.number).or_insert((owner, JournalStats::default()));
            *share += JournalStats { events: 1, bytes: row.bytes() };
            self.event_bytes += row.bytes() as u64;
        }
        Ok(())
    }

    /// Inserts and emits a state event. `next_number` has assigned its number and time.
    pub(crate) fn publish_state_event(
        &mut self,
        (number, at): (EventNumber, WallTime),
        author: &Author<'_>,
        new: NewStateEvent<'_>,
    ) -> RowResult<()> {
        let row = NewEventRow {
            kind: new.kind,
            actor_key: author.user.key,
            correlation_id: author.correlation_id,
            workspace: new.workspace,
            conversation: new.conversation.map(|access| (access.number, access.created_at)),
            message: None,
            payload: &new.payload,
            recipient_keys: new.recipient_keys,
        };
        self.insert_event(number, at, &row)?;
        self.events.push(Arc::new(Event {
            number,
            kind: new.kind,
            at,
            actor: author.user.id.clone(),
            correlation_id: author.correlation_id.clone(),
            workspace_id: new.workspace.id,
            conversation_id: new.conversation.map(|access| access.id),
            recipients: new.recipients,
            body: EventBody::Data(new.payload),
        }));
        Ok(())
    }

    fn cache_new_user(
        &mut self,
        key: i64,
        id: &UserId,
        (name, email): (Arc<str>, Arc<str>),
        only_named: bool,
    ) -> Arc<UserRow> {
        self.cache_user(UserRow {
            key,
            id: id.clone(),
            name,
            email,
            status: UserStatus::Enabled,
            has_password: false,
            default_workspace: None,
            default_conversation: None,
            token_rule: None,
            only_named,
        })
    }

    fn update_profile(
        &mut self,
        user: &UserRow,
        name: Option<&Arc<str>>,
        email: Option<&Arc<str>>,
    ) -> RowResult<Arc<UserRow>> {
        let mut changed = UserRow { only_named: false, ..user.clone() };
        changed.name = name.unwrap_or(&user.name).clone();
        if let Some(email) = email {
            // Email and password identify a login: a token can neither take over another user's email nor remove the
            // email of a user with a password.
            let is_kept = user.has_password && (email.is_empty() || self.rows.is_login_taken(email, user.key)?);
            if !is_kept {
                changed.email = email.clone();
            }
        }
        self.rows.set_user_profile(user.key, &changed.name, &changed.email)?;
        Ok(self.cache_user(changed))
    }

    fn cache_user(&mut self, user: UserRow) -> Arc<UserRow> {
        let user = Arc::new(user);
        self.cache.users.insert(user.id.clone(), user.clone());
        user
    }
}
