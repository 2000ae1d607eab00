//! A reference model of the journal, derived from the commands and sharing no code with the store.
//!
//! Invariant: `journal[n - 1]` is event `n`; deletions and departures hide events permanently.

use cortex_core::internals::limits::IDEMPOTENCY_RETENTION_SECONDS;
use cortex_core::internals::time::SECOND;
use cortex_core::internals::{
    ApiVariant, Command, CommandKind, CommandResult, Committed, ConversationId, ConversationRef, Event, EventBody,
    EventKind, Message, MessageId, Outcome, Rejection, Role, UserId, WallTime, WorkspaceId, wire,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A set of users, one bit each.
pub type Users = u32;

pub struct Workspace {
    pub id: WorkspaceId,
    pub owner: usize,
    pub deleted: Option<u64>,
    /// The participants who are not notified of the deletion yet.
    pub unnotified: Users,
}

pub struct Conversation {
    pub id: ConversationId,
    pub workspace: usize,
    /// The participants in joining order, with the event of their joining.
    pub participants: Vec<(usize, u64)>,
    /// Former participants, with the event of their leaving.
    pub left: Vec<(usize, u64)>,
    pub deleted: Option<u64>,
}

pub struct Entry {
    pub event: Arc<Event>,
    /// The JSON after `data:`.
    pub json: Vec<u8>,
    pub recipients: Users,
    pub workspace: usize,
    pub conversation: Option<usize>,
    /// The event that created the message that this one is about.
    pub message: Option<u64>,
    /// The age of the database when it was committed.
    pub age: i64,
    /// The users for whom retention removed it.
    pub removed: Users,
}

/// A message and its changes.
pub struct Story {
    /// Its versions, each with the event that created it.
    versions: Vec<(u64, Message)>,
    deleted: Option<u64>,
}

/// The filter of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub conversation: Option<ConversationId>,
    pub workspace: Option<WorkspaceId>,
    pub kinds: Vec<EventKind>,
}

impl Filter {
    pub fn passes(&self, event: &Event) -> bool {
        self.conversation.is_none_or(|id| event.conversation_id == Some(id))
            && self.workspace.is_none_or(|id| event.workspace_id == id)
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
    }
}

struct StoredResult {
    fingerprint: [u8; 32],
    body: Vec<u8>,
    number: Option<u64>,
    age: i64,
}

/// The expected response to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub status: u16,
    /// `None` where only the status is known, as for rejections.
    pub body: Option<Vec<u8>>,
    pub number: Option<u64>,
    pub replayed: bool,
}

/// A fault of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The database must not grow.
    Full,
    /// Another connection holds the lock.
    Busy,
    /// This number of commits becomes rollbacks.
    Commit(u32),
    /// The writer's session with its server is lost.
    Lost(Loss),
}

/// When a session is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    BeforeTransaction,
    /// The transaction is lost as well.
    BeforeCommit,
    /// Only the reply is lost, so the writer must find out that the commit took effect.
    AfterCommit,
}

impl Fault {
    /// Whether commands may fail.
    fn fails(self) -> bool {
        !matches!(self, Fault::None | Fault::Lost(Loss::AfterCommit))
    }
}

#[derive(Default)]
pub struct Model {
    pub users: Vec<UserId>,
    pub workspaces: Vec<Workspace>,
    pub conversations: Vec<Conversation>,
    pub journal: Vec<Entry>,
    pub removed_through: Vec<u64>,
    /// All past values of `removed_through`, which gaps report.
    pub removed_history: Vec<Vec<u64>>,
    /// By the event that created them.
    messages: BTreeMap<u64, Story>,
    workspace_of: HashMap<WorkspaceId, usize>,
    conversation_of: HashMap<ConversationId, usize>,
    default_workspace: Vec<Option<usize>>,
    default_conversation: Vec<Option<usize>>,
    keys: BTreeMap<(usize, String), StoredResult>,
    last_at: WallTime,
    /// The age of the database at the present commit.
    age: i64,
}

type FailedStart = Result<(), u16>;

/// The request that caused an event.
#[derive(Clone, Copy)]
struct Cause<'c> {
    actor: &'c UserId,
    correlation_id: &'c Arc<str>,
    /// `None` if the event follows from an earlier one.
    kind: Option<&'c CommandKind>,
}

impl<'c> Cause<'c> {
    fn of(command: &'c Command) -> Cause<'c> {
        Cause { actor: &command.actor.id, correlation_id: &command.correlation_id, kind: Some(&command.kind) }
    }
}

impl Model {
    pub fn new(users: Vec<UserId>) -> Model {
        let count = users.len();
        Model {
            users,
            removed_through: vec![0; count],
            removed_history: vec![Vec::new(); count],
            default_workspace: vec![None; count],
            default_conversation: vec![None; count],
            ..Model::default()
        }
    }

    pub fn position(&self) -> u64 {
        self.journal.len() as u64
    }

    /// The age of the database at the last event.
    pub fn last_age(&self) -> i64 {
        self.journal.last().map_or(0, |entry| entry.age)
    }

    pub fn entry(&self, number: u64) -> Option<&Entry> {
        self.journal.get((number as usize).checked_sub(1)?)
    }

    pub fn user(&self, id: &UserId) -> usize {
        self.users.iter().position(|user| user == id).expect("the user is part of the run")
    }

    pub fn owner_of(&self, conversation: usize) -> usize {
        self.workspaces[self.conversations[conversation].workspace].owner
    }

    pub fn workspace_lives(&self, workspace: usize) -> bool {
        self.workspaces[workspace].deleted.is_none()
    }

    pub fn conversation_lives(&self, conversation: usize) -> bool {
        let conversation = &self.conversations[conversation];
        conversation.deleted.is_none() && self.workspace_lives(conversation.workspace)
    }

    pub fn takes_part(&self, conversation: usize, user: usize) -> bool {
        self.conversations[conversation].participants.iter().any(|(member, _)| *member == user)
    }

    pub fn may_see(&self, conversation: usize, user: usize) -> bool {
        self.takes_part(conversation, user) || self.owner_of(conversation) == user
    }

    pub fn workspace_named(&self, id: WorkspaceId) -> Option<usize> {
        self.workspace_of.get(&id).copied()
    }

    pub fn conversation_named(&self, id: ConversationId) -> Option<usize> {
        self.conversation_of.get(&id).copied()
    }

    /// The event that hid the entry from the user, if any; for other users, from everyone.
    pub fn hidden_by(&self, entry: &Entry, user: usize) -> Option<u64> {
        use EventKind::*;
        if matches!(entry.event.kind, ConversationLeft | ConversationDeleted | WorkspaceDeleted) {
            return None;
        }
        let mut by = self.workspaces[entry.workspace].deleted;
        let mut earlier = |number: Option<u64>| by = [by, number].into_iter().flatten().min();
        if entry.event.kind != MessageDeleted {
            earlier(entry.message.and_then(|message| self.messages[&message].deleted));
        }
        if let Some(conversation) = entry.conversation {
            let conversation = &self.conversations[conversation];
            earlier(conversation.deleted);
            if self.workspaces[entry.workspace].owner != user {
                let number = entry.event.number.0;
                let departures = conversation.left.iter().filter(|(member, at)| *member == user && *at > number);
                earlier(departures.map(|(_, at)| *at).min());
            }
        }
        by
    }

    /// Whether the entry's rows are removed with its subject.
    pub fn is_deleted(&self, entry: &Entry) -> bool {
        self.hidden_by(entry, self.users.len()).is_some()
    }

    /// Whether the message of the entry was changed.
    pub fn is_changed(&self, entry: &Entry) -> bool {
        entry.message.is_some_and(|message| self.messages[&message].versions.len() > 1)
    }

    /// The versions of the entry's text, oldest first, each with the event from which it is valid.
    pub fn texts(&self, entry: &Entry) -> Vec<(u64, Vec<u8>)> {
        let number = entry.event.number.0;
        let Some(message) = entry.message.filter(|_| entry.event.message().is_some()) else {
            return vec![(number, entry.json.clone())];
        };
        let versions = self.messages[&message].versions.iter().filter(|(since, _)| *since >= number);
        let text = |message: &Message| {
            let mut json = Vec::new();
            let body = EventBody::Message(message.clone());
            wire::event::event_json(&Event { body, ..(*entry.event).clone() }, &mut json);
            json
        };
        versions.map(|(since, message)| (*since, text(message))).collect()
    }

    /// The messages of a conversation.
    pub fn messages_of(&self, conversation: usize) -> Vec<MessageId> {
        let living = self.messages.iter().filter(|(_, story)| story.deleted.is_none());
        let here = living
            .filter(|(number, _)| self.entry(**number).is_some_and(|entry| entry.conversation == Some(conversation)));
        here.map(|(_, story)| story.versions[0].1.id).collect()
    }

    /// Whether a replay returns the entry to the user now.
    pub fn replays(&self, entry: &Entry, user: usize) -> bool {
        entry.recipients & !entry.removed & (1 << user) != 0 && self.hidden_by(entry, user).is_none()
    }

    /// Applies a batch: every command is executed here, and every event and command result is compared.
    pub fn commit(
        &mut self,
        commands: &[Command],
        committed: &Committed,
        age: i64,
        fault: Fault,
    ) -> Vec<(Arc<str>, Expected)> {
        let is_stale = committed.events.is_empty() && fault.fails() && committed.before == committed.through;
        // A writer that could not begin a transaction does not know what others have committed.
        assert!(
            committed.before.0 == self.position() || (is_stale && committed.before.0 < self.position()),
            "a batch starts at the end of the journal"
        );
        assert_eq!(committed.results.len(), commands.len(), "one result per command");
        self.age = age;
        let mut events = committed.events.iter();
        let mut expected = Vec::with_capacity(commands.len());
        for (command, command_result) in commands.iter().zip(&committed.results) {
            assert_eq!(command_result.to, command.reply_to, "results are in command order");
            let failed = matches!(command_result.result, Err(Rejection::Unavailable | Rejection::Database));
            let response = if failed {
                assert!(fault.fails(), "a command fails without a fault: {:?}", command_result.result);
                rejected(if matches!(command_result.result, Err(Rejection::Database)) { 500 } else { 503 })
            } else {
                self.run(command, command_result, &mut events)
            };
            expected.push((Arc::clone(&command.correlation_id), response));
        }
        if let Some(event) = events.next() {
            panic!("event {} belongs to no command: {:?}", event.number, event.kind);
        }
        assert!(committed.through.0 == self.position() || is_stale, "a batch ends with its last event");
        expected
    }

    /// Applies the events of a step of maintenance, which notify participants of deleted workspaces.
    pub fn notify(&mut self, committed: &Committed, age: i64) {
        self.age = age;
        assert_eq!(committed.before.0, self.position(), "a step starts at the end of the journal");
        for event in committed.events.iter() {
            let workspace = self.workspace_named(event.workspace_id).expect("the workspace is known");
            let mark = self.workspaces[workspace].deleted.expect("the workspace is deleted");
            let mark = Arc::clone(&self.entry(mark).expect("the deletion is an event").event);
            let notified = self.recipients(event);
            let unnotified = self.workspaces[workspace].unnotified;
            assert!(notified != 0 && notified & !unnotified == 0, "{notified:b} of {unnotified:b}");
            self.workspaces[workspace].unnotified = unnotified & !notified;
            let cause = Cause { actor: &mark.actor, correlation_id: &mark.correlation_id, kind: None };
            self.append(event, EventKind::WorkspaceDeleted, workspace, None, notified, cause);
        }
        assert_eq!(committed.through.0, self.position(), "a step ends with its last event");
    }

    fn run<'e>(
        &mut self,
        command: &Command,
        command_result: &CommandResult,
        events: &mut impl Iterator<Item = &'e Arc<Event>>,
    ) -> Expected {
        let user = self.user(&command.actor.id);
        let key = command.idempotency.as_ref().map(|request| (user, request.key.to_string()));
        if let (Some(key), Some(request)) = (&key, &command.idempotency)
            && let Some(kept) =
                self.keys.get(key).filter(|kept| self.age - kept.age < IDEMPOTENCY_RETENTION_SECONDS * SECOND)
        {
            if kept.fingerprint != request.fingerprint {
                assert!(
                    matches!(command_result.result, Err(Rejection::IdempotencyKeyReused)),
                    "a reused key is rejected"
                );
                return rejected(422);
            }
            let Ok(Outcome::Replayed { body, number }) = &command_result.result else {
                panic!("a repeated request is not replayed: {:?}", command_result.result)
            };
            assert_eq!(**body, *kept.body, "a replay is the first response");
            assert_eq!(number.map(|number| number.0), kept.number);
            return Expected { status: 200, body: Some(kept.body.clone()), number: kept.number, replayed: true };
        }
        let before = self.position();
        let done = self.apply(command, user, events);
        let outcome = match (done, &command_result.result) {
            (Ok(()), Ok(outcome)) => outcome,
            (Err(status), Err(rejection)) if status_of(rejection) == status => return rejected(status),
            (done, result) => panic!("{:?} of {} must be {done:?}, and is {result:?}", command.kind, self.users[user]),
        };
        let body = wire::command_result::command_body(outcome);
        let number = command_result.number.map(|number| number.0);
        assert!(
            number.is_some_and(|number| number > before && number <= self.position()),
            "a result has the number of its event"
        );
        if let (Some(key), Some(request)) = (key, &command.idempotency) {
            let kept = StoredResult { fingerprint: request.fingerprint, body: body.clone(), number, age: self.age };
            self.keys.insert(key, kept);
        }
        Expected { status: 200, body: Some(body), number, replayed: false }
    }

    fn apply<'e>(
        &mut self,
        command: &Command,
        user: usize,
        events: &mut impl Iterator<Item = &'e Arc<Event>>,
    ) -> FailedStart {
        let mut take = |model: &mut Model, kind, workspace: usize, conversation: Option<usize>, recipients: Users| {
            let event = events.next().unwrap_or_else(|| panic!("{kind:?} is missing after {}", model.position()));
            model.append(event, kind, workspace, conversation, recipients, Cause::of(command))
        };
        match &command.kind {
            CommandKind::CreateWorkspace { .. } => {
                let workspace = self.add_workspace(user);
                take(self, EventKind::WorkspaceCreated, workspace, None, 1 << user);
            }
            CommandKind::UpdateWorkspace { id, .. } => {
                let workspace = self.own_workspace(*id, user)?;
                take(self, EventKind::WorkspaceUpdated, workspace, None, 1 << user);
            }
            CommandKind::DeleteWorkspace { id } => {
                let workspace = self.own_workspace(*id, user)?;
                let living = self.conversations.iter().filter(|c| c.workspace == workspace && c.deleted.is_none());
                let everybody = living.fold(1 << user, |all, conversation| all | members(conversation));
                let event = events.next().expect("a deletion has an event");
                let notified = self.recipients(event);
                assert!(notified & !everybody == 0 && notified & (1 << user) != 0, "{notified:b} of {everybody:b}");
                let (kind, cause) = (EventKind::WorkspaceDeleted, Cause::of(command));
                let number = self.append(event, kind, workspace, None, notified, cause);
                self.workspaces[workspace].deleted = Some(number);
                self.workspaces[workspace].unnotified = everybody & !notified;
            }
            CommandKind::CreateConversation { workspace, participants, .. } => {
                let workspace = self.own_workspace(workspace.expect("the configuration API names one"), user)?;
                let mut wanted: Vec<usize> = participants.iter().map(|id| self.user(id)).collect();
                wanted.push(user);
                self.make_conversation(workspace, &wanted, &mut take);
            }
            CommandKind::UpdateConversation { conversation, participants, api_variant, .. } => {
                let conversation = self.authorized(*conversation, user, *api_variant)?;
                let wanted: Option<Vec<usize>> =
                    participants.as_ref().map(|ids| ids.iter().map(|id| self.user(id)).collect());
                self.update_conversation(conversation, user, wanted, &mut take)?;
            }
            CommandKind::LeaveConversation { conversation } => {
                let conversation = self.authorized(*conversation, user, ApiVariant::Config)?;
                if !self.takes_part(conversation, user) {
                    return Err(409);
                }
                self.change_participants(conversation, &[user], &[], &mut take);
            }
            CommandKind::DeleteConversation { conversation, api_variant } => {
                let conversation = self.authorized(*conversation, user, *api_variant)?;
                if self.owner_of(conversation) != user {
                    return Err(403);
                }
                let workspace = self.conversations[conversation].workspace;
                let all = self.audience(conversation);
                let number = take(self, EventKind::ConversationDeleted, workspace, Some(conversation), all);
                self.conversations[conversation].deleted = Some(number);
            }
            CommandKind::PostMessage { conversation, role, api_variant, .. } => {
                assert_eq!(*role, Role::User, "agents post as users");
                let conversation = match conversation {
                    ConversationRef::Id(_) => self.authorized(*conversation, user, *api_variant)?,
                    ConversationRef::Default => match self.default_of(user) {
                        Some(conversation) => conversation,
                        None => self.make_default(user, &mut take),
                    },
                };
                let workspace = self.conversations[conversation].workspace;
                let all = self.audience(conversation);
                take(self, EventKind::Input, workspace, Some(conversation), all);
            }
            CommandKind::UpdateMessage { conversation, message, .. } => {
                let (conversation, made) = self.own_message(*conversation, *message, user)?;
                let (workspace, all) = (self.conversations[conversation].workspace, self.audience(conversation));
                let number = take(self, EventKind::MessageUpdated, workspace, Some(conversation), all);
                let entry = self.journal.last_mut().expect("the entry was just added");
                entry.message = Some(made);
                let changed = entry.event.message().expect("a change has the new message").clone();
                self.messages.get_mut(&made).expect("the message exists").versions.push((number, changed));
            }
            CommandKind::DeleteMessage { conversation, message } => {
                let (conversation, made) = self.own_message(*conversation, *message, user)?;
                let (workspace, all) = (self.conversations[conversation].workspace, self.audience(conversation));
                let number = take(self, EventKind::MessageDeleted, workspace, Some(conversation), all);
                self.journal.last_mut().expect("the entry was just added").message = Some(made);
                self.messages.get_mut(&made).expect("the message exists").deleted = Some(number);
            }
            CommandKind::SetPassword { .. }
            | CommandKind::Answer { .. }
            | CommandKind::AnswerMessage { .. }
            | CommandKind::CountUsage(_)
            | CommandKind::CancelAnswers { .. } => {
                unreachable!("runs have no passwords and no responders")
            }
        }
        Ok(())
    }

    fn update_conversation(
        &mut self,
        conversation: usize,
        user: usize,
        wanted: Option<Vec<usize>>,
        take: &mut impl FnMut(&mut Model, EventKind, usize, Option<usize>, Users) -> u64,
    ) -> FailedStart {
        let present: Vec<usize> =
            self.conversations[conversation].participants.iter().map(|(participant, _)| *participant).collect();
        let wanted = wanted.unwrap_or_else(|| present.clone());
        let gone: Vec<usize> = present
            .iter()
            .copied()
            .filter(|participant| !wanted.contains(participant) && *participant != user)
            .collect();
        if !gone.is_empty() && self.owner_of(conversation) != user {
            return Err(403);
        }
        let mut added = Vec::new();
        for participant in wanted {
            if !present.contains(&participant) && !added.contains(&participant) {
                added.push(participant);
            }
        }
        self.change_participants(conversation, &gone, &added, take);
        Ok(())
    }

    fn change_participants(
        &mut self,
        conversation: usize,
        gone: &[usize],
        added: &[usize],
        take: &mut impl FnMut(&mut Model, EventKind, usize, Option<usize>, Users) -> u64,
    ) {
        let number = self.position() + 1;
        let workspace = self.conversations[conversation].workspace;
        let participants = &mut self.conversations[conversation].participants;
        participants.retain(|(participant, _)| !gone.contains(participant));
        participants.extend(added.iter().map(|participant| (*participant, number)));
        let all = self.audience(conversation);
        take(self, EventKind::ConversationUpdated, workspace, Some(conversation), all);
        for participant in gone {
            let number = take(self, EventKind::ConversationLeft, workspace, Some(conversation), 1 << participant);
            self.conversations[conversation].left.push((*participant, number));
        }
    }

    fn make_conversation(
        &mut self,
        workspace: usize,
        wanted: &[usize],
        take: &mut impl FnMut(&mut Model, EventKind, usize, Option<usize>, Users) -> u64,
    ) -> usize {
        let number = self.position() + 1;
        let mut participants: Vec<(usize, u64)> = Vec::new();
        for participant in wanted {
            if participants.iter().all(|(present, _)| present != participant) {
                participants.push((*participant, number));
            }
        }
        let conversation = self.conversations.len();
        // The id is in the event.
        let id = ConversationId(uuid::Uuid::nil());
        self.conversations.push(Conversation { id, workspace, participants, left: Vec::new(), deleted: None });
        let all = self.audience(conversation);
        take(self, EventKind::ConversationCreated, workspace, Some(conversation), all);
        conversation
    }

    fn make_default(
        &mut self,
        user: usize,
        take: &mut impl FnMut(&mut Model, EventKind, usize, Option<usize>, Users) -> u64,
    ) -> usize {
        let workspace = match self.default_workspace[user].filter(|workspace| self.workspace_lives(*workspace)) {
            Some(workspace) => workspace,
            None => {
                let workspace = self.add_workspace(user);
                take(self, EventKind::WorkspaceCreated, workspace, None, 1 << user);
                workspace
            }
        };
        let conversation = self.make_conversation(workspace, &[user], take);
        self.default_workspace[user] = Some(workspace);
        self.default_conversation[user] = Some(conversation);
        conversation
    }

    fn add_workspace(&mut self, owner: usize) -> usize {
        self.workspaces.push(Workspace { id: WorkspaceId(uuid::Uuid::nil()), owner, deleted: None, unnotified: 0 });
        self.workspaces.len() - 1
    }

    pub fn default_of(&self, user: usize) -> Option<usize> {
        self.default_conversation[user].filter(|conversation| self.conversation_lives(*conversation))
    }

    fn own_workspace(&self, id: WorkspaceId, user: usize) -> Result<usize, u16> {
        let workspace = self.workspace_named(id).filter(|workspace| self.workspace_lives(*workspace)).ok_or(404u16)?;
        if self.workspaces[workspace].owner == user { Ok(workspace) } else { Err(403) }
    }

    /// A message that the user may change, and the event that created it.
    fn own_message(&self, conversation: ConversationRef, id: MessageId, user: usize) -> Result<(usize, u64), u16> {
        let conversation = self.authorized(conversation, user, ApiVariant::Conversations)?;
        let named = |story: &Story| story.deleted.is_none() && story.versions[0].1.id == id;
        let (made, _) = self.messages.iter().rfind(|(_, story)| named(story)).ok_or(404u16)?;
        let entry = self.entry(*made).expect("it is committed");
        if entry.conversation != Some(conversation) {
            return Err(404);
        }
        let own = entry.event.actor == self.users[user] || self.owner_of(conversation) == user;
        if own { Ok((conversation, *made)) } else { Err(403) }
    }

    fn authorized(&self, conversation: ConversationRef, user: usize, api_variant: ApiVariant) -> Result<usize, u16> {
        let conversation = match conversation {
            ConversationRef::Default => self.default_of(user),
            ConversationRef::Id(id) => self.conversation_named(id).filter(|found| self.conversation_lives(*found)),
        };
        let conversation = conversation.ok_or(404u16)?;
        let outsider = if api_variant == ApiVariant::Config { 403 } else { 404 };
        if self.may_see(conversation, user) { Ok(conversation) } else { Err(outsider) }
    }

    /// The recipients of a conversation's events.
    pub fn audience(&self, conversation: usize) -> Users {
        members(&self.conversations[conversation]) | 1 << self.owner_of(conversation)
    }

    /// Compares an event with the expected one and adds it; returns its number.
    fn append(
        &mut self,
        event: &Arc<Event>,
        kind: EventKind,
        workspace: usize,
        conversation: Option<usize>,
        recipients: Users,
        cause: Cause<'_>,
    ) -> u64 {
        let number = self.position() + 1;
        assert_eq!((event.number.0, event.kind), (number, kind), "numbers are consecutive");
        assert!(event.at > self.last_at, "event {number} is not later than the one before");
        self.last_at = event.at;
        assert_eq!(event.actor, *cause.actor, "event {number} is of another user");
        assert_eq!(event.correlation_id, *cause.correlation_id, "event {number} is of another request");
        assert_eq!(self.recipients(event), recipients, "event {number} ({kind:?}) goes to others than it should");
        if kind == EventKind::WorkspaceCreated {
            self.workspaces[workspace].id = event.workspace_id;
            self.workspace_of.insert(event.workspace_id, workspace);
        }
        if let (EventKind::ConversationCreated, Some(made)) = (kind, conversation) {
            let id = event.conversation_id.expect("a conversation's event names it");
            self.conversations[made].id = id;
            self.conversation_of.insert(id, made);
        }
        assert_eq!(event.workspace_id, self.workspaces[workspace].id, "event {number} is of another workspace");
        assert_eq!(event.conversation_id, conversation.map(|conversation| self.conversations[conversation].id));
        if let (EventBody::Message(message), Some(CommandKind::PostMessage { content, .. })) = (&event.body, cause.kind)
        {
            assert_eq!(message.content, *content, "message {number} has another content");
        }
        let mut json = Vec::new();
        wire::event::event_json(event, &mut json);
        self.journal.push(Entry {
            event: Arc::clone(event),
            json,
            recipients,
            workspace,
            conversation,
            message: None,
            age: self.age,
            removed: 0,
        });
        if kind == EventKind::Input {
            let message = event.message().expect("it is a message").clone();
            self.messages.insert(number, Story { versions: vec![(number, message)], deleted: None });
            self.journal.last_mut().expect("the entry was just added").message = Some(number);
        }
        number
    }

    pub fn recipients(&self, event: &Event) -> Users {
        let mut found: Users = 0;
        for id in event.recipients.iter() {
            let bit = 1 << self.user(id);
            assert!(found & bit == 0, "event {} goes to {id} twice", event.number);
            found |= bit;
        }
        found
    }
}

fn members(conversation: &Conversation) -> Users {
    conversation.participants.iter().fold(0, |all, (participant, _)| all | 1 << participant)
}

fn rejected(status: u16) -> Expected {
    Expected { status, body: None, number: None, replayed: false }
}

fn status_of(rejection: &Rejection) -> u16 {
    match rejection {
        Rejection::NotFound(_) => 404,
        Rejection::Forbidden(_) => 403,
        Rejection::Conflict(_) => 409,
        Rejection::Invalid(_) | Rejection::IdempotencyKeyReused => 422,
        Rejection::Unauthorized => 401,
        Rejection::StateEventRate { .. } | Rejection::QuotaExceeded { .. } => 429,
        Rejection::Unavailable | Rejection::Overloaded | Rejection::TooLittleMemory => 503,
        Rejection::Database => 500,
    }
}
