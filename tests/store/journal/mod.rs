//! Journal pages against a model that remembers everything and computes nothing cleverly.

mod answers;

use crate::common::*;
use cortex_core::internals::{
    Command, CommandKind, Content, ConversationId, ConversationRef, ConversationView, Event, EventBody, EventKind,
    InboxLimits, KindSet, Message, MessageCursor, MessageId, Metadata, Pagination, QueryKind, QueryResult, Random,
    Retention, StreamFilter, UserId, WallTime, WorkspaceId,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const USERS: &[&str] = &["ann", "ben", "cyd", "dan", "eve"];

/// What the journal should say, kept as plainly as possible.
#[derive(Default)]
struct Model {
    workspaces: BTreeMap<WorkspaceId, ModelWorkspace>,
    conversations: BTreeMap<ConversationId, ModelConversation>,
    /// Every message there ever was, as it is now; `None` once it is deleted.
    messages: BTreeMap<MessageId, (ConversationId, Option<Message>)>,
    events: Vec<Arc<Event>>,
}

struct ModelWorkspace {
    owner: &'static str,
    deleted: bool,
}

struct ModelConversation {
    workspace: WorkspaceId,
    /// Since when each participant takes part, in the order in which they joined.
    participants: Vec<(&'static str, u64)>,
    updated_at: WallTime,
    deleted: bool,
}

impl Model {
    fn gone(&self, id: &ConversationId) -> bool {
        let conversation = &self.conversations[id];
        conversation.deleted || self.workspaces[&conversation.workspace].deleted
    }

    fn audience(&self, id: &ConversationId) -> BTreeSet<&'static str> {
        let conversation = &self.conversations[id];
        let owner = self.workspaces[&conversation.workspace].owner;
        conversation.participants.iter().map(|(user, _)| *user).chain([owner]).collect()
    }

    /// Whether `user`, to whom `event` was sent, may still see it.
    fn sees(&self, user: &str, event: &Event) -> bool {
        if !event.recipients.iter().any(|id| id.as_str() == user) {
            return false;
        }
        if matches!(
            event.kind,
            EventKind::ConversationLeft | EventKind::ConversationDeleted | EventKind::WorkspaceDeleted
        ) {
            return true;
        }
        let message_gone = event.message_id().is_some_and(|id| self.messages[&id].1.is_none());
        if message_gone && event.kind != EventKind::MessageDeleted {
            return false;
        }
        let workspace = &self.workspaces[&event.workspace_id];
        match &event.conversation_id {
            None => !workspace.deleted,
            Some(id) => {
                let since = self.conversations[id].participants.iter().find(|(participant, _)| *participant == user);
                !self.gone(id) && (workspace.owner == user || since.is_some_and(|(_, since)| *since <= event.number.0))
            }
        }
    }

    fn expected(&self, user: &str, after: u64, filter: &StreamFilter) -> Vec<Event> {
        let named = |event: &Event| {
            filter.kinds.has(event.kind)
                && filter.workspace.is_none_or(|id| id == event.workspace_id)
                && filter.conversation.is_none_or(|id| event.conversation_id.map(ConversationRef::Id) == Some(id))
        };
        let events = self.events.iter().filter(|event| event.number.0 > after && named(event));
        let mut seen: Vec<Event> =
            events.filter(|event| self.sees(user, event)).map(|event| (**event).clone()).collect();
        for event in &mut seen {
            event.recipients = Arc::default();
            // Whatever a message said before, it is shown as it is.
            if let EventBody::Message(message) = &mut event.body {
                *message = self.messages[&message.id].1.clone().unwrap();
            }
        }
        seen
    }

    /// The messages of a conversation, oldest first.
    fn messages_of(&self, id: ConversationId) -> Vec<Message> {
        let inside = self.messages.values().filter(|(conversation, _)| *conversation == id);
        inside.filter_map(|(_, message)| message.clone()).collect()
    }

    /// The conversations that a user takes part in or owns, the one that changed last first.
    fn chats_of(&self, user: &str) -> Vec<ConversationId> {
        let mut chats: Vec<_> = self.conversations.keys().copied().collect();
        chats.retain(|id| !self.gone(id) && self.audience(id).contains(user));
        chats.sort_by_key(|id| Reverse(self.conversations[id].updated_at));
        chats
    }
}

struct Game {
    world: World,
    model: Model,
    answers: answers::Answers,
    random: Random,
}

impl Game {
    fn user(&mut self) -> &'static str {
        USERS[self.random.below(USERS.len() as u64) as usize]
    }

    fn some_users(&mut self) -> Vec<&'static str> {
        USERS.iter().copied().filter(|_| self.random.below(2) == 0).collect()
    }

    /// Any workspace there ever was; refusals are checked elsewhere, here they must change nothing.
    fn workspace(&mut self) -> Option<WorkspaceId> {
        let ids: Vec<_> = self.model.workspaces.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[self.random.below(ids.len() as u64) as usize])
    }

    fn conversation(&mut self) -> Option<ConversationId> {
        let ids: Vec<_> = self.model.conversations.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[self.random.below(ids.len() as u64) as usize])
    }

    fn message(&mut self) -> Option<(MessageId, ConversationId)> {
        let ids: Vec<_> = self.model.messages.iter().map(|(id, (conversation, _))| (*id, *conversation)).collect();
        (!ids.is_empty()).then(|| ids[self.random.below(ids.len() as u64) as usize])
    }

    /// A change of any message there ever was, now and then looked for in another conversation.
    fn message_act(&mut self) -> Option<CommandKind> {
        let (message, mut home) = self.message()?;
        if self.random.below(10) == 0 {
            home = self.conversation()?;
        }
        let conversation = ConversationRef::Id(home);
        if self.random.below(3) == 0 {
            return Some(CommandKind::DeleteMessage { conversation, message });
        }
        let text = format!("changed {}", self.random.below(1000));
        let content = (self.random.below(4) > 0).then(|| Content::new(&text).unwrap());
        let patches = [r#"{"a":1}"#, r#"{"a":[2]}"#, r#"{"a":null}"#];
        let patch = patches.get(self.random.below(4) as usize);
        Some(CommandKind::UpdateMessage {
            conversation,
            message,
            content,
            metadata: patch.map(|json| Metadata::new_unchecked(*json)),
        })
    }

    fn any_act(&mut self) -> Option<CommandKind> {
        let wanted = self.some_users();
        Some(match self.random.below(100) {
            0..=2 => create_workspace("w"),
            3..=4 => update_workspace(self.workspace()?, "x"),
            5 if self.random.below(3) == 0 => CommandKind::DeleteWorkspace { id: self.workspace()? },
            5..=14 => create_conversation(Some(self.workspace()?), &wanted),
            15 => create_conversation(None, &wanted),
            16..=27 => update_conversation(self.conversation()?, Some(&wanted), None),
            28..=30 => update_conversation(self.conversation()?, None, Some(r#"{"a":1}"#)),
            31..=37 => leave(self.conversation()?),
            38..=39 => delete_conversation(self.conversation()?),
            40..=44 => post(ConversationRef::Default, "to myself"),
            45..=60 => self.message_act()?,
            61..=78 => self.answer_act()?,
            _ => post(ConversationRef::Id(self.conversation()?), "hello"),
        })
    }

    fn play_batch(&mut self) {
        let size = 1 + self.random.below(12);
        let mut acts: Vec<(&'static str, CommandKind)> =
            (0..size).filter_map(|_| Some((self.user(), self.any_act()?))).collect();
        for (user, kind) in &mut acts {
            if matches!(kind, CommandKind::Answer { .. }) {
                *user = answers::RESPONDER;
            }
        }
        let commands: Vec<Command> = acts.iter().map(|(user, kind)| command(user, kind.clone())).collect();
        let committed = self.world.commit(&commands);
        let mut events = committed.events.iter().peekable();
        for ((user, kind), receipt) in acts.iter().zip(&committed.results) {
            match (kind, &receipt.result) {
                (CommandKind::Answer { job: order, step }, result) => {
                    self.follow_step(*order, step, result, &mut events)
                }
                (_, Ok(_)) => self.follow(user, kind, &mut events),
                (_, Err(_)) => {}
            }
            if let (CommandKind::DeleteMessage { message, .. }, Ok(_)) = (kind, &receipt.result) {
                self.follow_deletion(*message, &mut events);
            }
        }
        assert!(events.next().is_none(), "every event has a command that succeeded");
        self.check_committed(&committed);
    }

    /// Takes the events of one command that succeeded, checks who gets them, and changes the model.
    fn follow<'e>(
        &mut self,
        user: &'static str,
        kind: &CommandKind,
        events: &mut std::iter::Peekable<impl Iterator<Item = &'e Arc<Event>>>,
    ) {
        let mut first = true;
        while let Some(event) = events.next_if(|event| first || !begins(kind, event)) {
            self.apply(user, kind, event);
            first = false;
            if ends(kind, event, events.peek().copied()) {
                break;
            }
        }
    }

    fn apply(&mut self, user: &'static str, kind: &CommandKind, event: &Arc<Event>) {
        assert_eq!(event.actor.as_str(), user);
        self.follow_message(user, kind, event);
        let model = &mut self.model;
        if let Some(id) = event.conversation_id
            && !matches!(event.kind, EventKind::ConversationLeft | EventKind::OutputError)
            && let Some(conversation) = model.conversations.get_mut(&id)
        {
            conversation.updated_at = event.at;
        }
        let audience: BTreeSet<&str> = match event.kind {
            EventKind::WorkspaceCreated => {
                model.workspaces.insert(event.workspace_id, ModelWorkspace { owner: user, deleted: false });
                [user].into()
            }
            EventKind::WorkspaceUpdated => [user].into(),
            EventKind::WorkspaceDeleted => {
                let inside =
                    model.conversations.iter().filter(|(_, c)| c.workspace == event.workspace_id && !c.deleted);
                let took_part = inside.flat_map(|(_, c)| c.participants.iter().map(|(user, _)| *user));
                let everybody = took_part.chain([user]).collect();
                model.workspaces.get_mut(&event.workspace_id).unwrap().deleted = true;
                everybody
            }
            EventKind::ConversationCreated => {
                let mut participants: Vec<&'static str> = match kind {
                    CommandKind::CreateConversation { participants, .. } => known(participants),
                    _ => Vec::new(),
                };
                if !participants.contains(&user) {
                    participants.push(user);
                }
                let id = event.conversation_id.unwrap();
                let participants = participants.into_iter().map(|user| (user, event.number.0)).collect();
                let (workspace, updated_at) = (event.workspace_id, event.at);
                let made = ModelConversation { workspace, participants, updated_at, deleted: false };
                model.conversations.insert(id, made);
                model.audience(&id)
            }
            EventKind::ConversationUpdated => {
                let id = event.conversation_id.unwrap();
                let participants = &mut model.conversations.get_mut(&id).unwrap().participants;
                match kind {
                    CommandKind::LeaveConversation { .. } => {
                        participants.retain(|(participant, _)| *participant != user)
                    }
                    CommandKind::UpdateConversation { participants: Some(wanted), .. } => {
                        let wanted = known(wanted);
                        participants.retain(|(participant, _)| *participant == user || wanted.contains(participant));
                        for joining in wanted {
                            if participants.iter().all(|(participant, _)| *participant != joining) {
                                participants.push((joining, event.number.0));
                            }
                        }
                    }
                    _ => {}
                }
                model.audience(&id)
            }
            EventKind::ConversationLeft => {
                assert_eq!(event.recipients.len(), 1);
                let id = event.conversation_id.unwrap();
                let left = event.recipients[0].as_str();
                assert!(model.conversations[&id].participants.iter().all(|(participant, _)| *participant != left));
                [USERS.iter().copied().find(|user| *user == left).unwrap()].into()
            }
            EventKind::ConversationDeleted => {
                let id = event.conversation_id.unwrap();
                model.conversations.get_mut(&id).unwrap().deleted = true;
                model.audience(&id)
            }
            EventKind::Input
            | EventKind::Output
            | EventKind::OutputError
            | EventKind::MessageUpdated
            | EventKind::MessageDeleted => model.audience(&event.conversation_id.unwrap()),
            other => panic!("{other:?}"),
        };
        let recipients: BTreeSet<&str> = event.recipients.iter().map(UserId::as_str).collect();
        assert_eq!(recipients, audience, "{event:?}");
        assert_eq!(recipients.len(), event.recipients.len(), "nobody gets an event twice");
        if let Some(id) = event.conversation_id {
            assert!(!self.model.gone(&id) || event.kind == EventKind::ConversationDeleted, "{event:?}");
        }
        self.model.events.push(event.clone());
    }

    /// Changes the model's message, after checking that the event says what was asked for.
    fn follow_message(&mut self, user: &str, kind: &CommandKind, event: &Event) {
        let Some(id) = event.message_id() else { return };
        if event.kind == EventKind::Output {
            return;
        }
        let home = event.conversation_id.unwrap();
        if event.kind == EventKind::Input {
            self.model.messages.insert(id, (home, event.message().cloned()));
            self.answers.order(id, event);
            return;
        }
        let owner = self.model.workspaces[&event.workspace_id].owner;
        let (known_home, message) = self.model.messages.get_mut(&id).unwrap();
        assert_eq!(*known_home, home);
        let before = message.take().unwrap();
        assert!(before.sender.as_str() == user || owner == user, "{user} changed a message of {}", before.sender);
        if let CommandKind::UpdateMessage { message: asked, content, metadata, .. } = kind {
            assert_eq!((*asked, event.kind), (id, EventKind::MessageUpdated));
            let mut after = Message { updated_at: event.at, ..before };
            after.content = content.clone().unwrap_or(after.content);
            after.metadata = match metadata.as_ref().map(Metadata::as_str) {
                None => after.metadata,
                Some(r#"{"a":null}"#) => Metadata::empty(),
                Some(json) => Metadata::new_unchecked(json),
            };
            assert_eq!(event.message(), Some(&after));
            *message = Some(after);
        }
    }

    fn some_filter(&mut self) -> StreamFilter {
        let mut filter = EVERYTHING;
        if self.random.below(4) == 0 {
            filter.conversation = self.conversation().map(ConversationRef::Id);
        }
        if self.random.below(4) == 0 {
            filter.workspace = self.workspace();
        }
        if self.random.below(4) == 0 {
            filter.kinds = KindSet::NONE;
            for kind in EventKind::ALL {
                if self.random.below(3) == 0 {
                    filter.kinds = filter.kinds.with(*kind);
                }
            }
        }
        filter
    }

    /// Reads a user's journal in pages of random sizes, and compares.
    fn check_replay(&mut self) {
        let user = self.user();
        let filter = self.some_filter();
        let position = self.world.writer().position().0;
        let start = if self.random.below(3) == 0 { 0 } else { self.random.below(position + 1) };
        let expected = self.model.expected(user, start, &filter);
        let (mut after, mut seen) = (start, Vec::new());
        loop {
            let bytes_max = self.random.below(6000) as usize;
            let page = self.world.page(user, after, bytes_max, filter);
            assert_eq!((page.gap, page.position.0), (None, position));
            let weight: usize = page.events.iter().map(|event| event.weight()).sum();
            assert!(weight <= bytes_max || page.events.len() == 1, "a page keeps its bound");
            assert!(page.events.iter().all(|event| event.number.0 > after && event.number <= page.through));
            seen.extend(page.events.iter().map(|event| (**event).clone()));
            assert!(page.through.0 > after || page.through.0 == position, "a page goes on");
            after = page.through.0;
            if after == position {
                break;
            }
        }
        assert_eq!(seen, expected, "{user} after {start} with {filter:?}");
    }

    fn check_lists(&mut self) {
        let user = self.user();
        let pagination = Pagination { limit: 1000, offset: 0 };
        let QueryResult::Workspaces(listed) = self.world.found(user, QueryKind::Workspaces(pagination)) else {
            panic!()
        };
        let own = self.model.workspaces.iter().filter(|(_, w)| w.owner == user && !w.deleted);
        let own: BTreeSet<WorkspaceId> = own.map(|(id, _)| *id).collect();
        assert_eq!(listed.total, own.len() as u64);
        assert_eq!(listed.items.iter().map(|w| w.id).collect::<BTreeSet<_>>(), own);
        for workspace in own {
            let kind = QueryKind::Conversations(workspace, pagination);
            let QueryResult::Conversations(listed) = self.world.found(user, kind) else { panic!() };
            let inside = self.model.conversations.iter().filter(|(_, c)| c.workspace == workspace && !c.deleted);
            assert_eq!(listed.total, inside.clone().count() as u64);
            for (conversation, (id, model)) in listed.items.iter().zip(inside) {
                assert_eq!(conversation.id, *id, "ids grow in creation order");
                let participants: Vec<&str> = model.participants.iter().map(|(user, _)| *user).collect();
                assert_eq!(names(&conversation.participants), participants);
                assert_eq!(conversation.message_count, self.model.messages_of(*id).len() as u64);
            }
        }
    }

    /// The conversations of one user and their last messages, and one conversation in pages of random sizes.
    fn check_chats(&mut self) {
        let user = self.user();
        let chats = self.model.chats_of(user);
        let pagination = Pagination { limit: 1 + self.random.below(8) as u32, offset: self.random.below(8) };
        let with_messages = self.random.below(2) == 0;
        let QueryResult::ConversationViews(listed) =
            self.world.found(user, QueryKind::ConversationViews { pagination, with_messages })
        else {
            panic!()
        };
        assert_eq!((listed.total, listed.truncated), (chats.len() as u64, false));
        let expected = chats.iter().skip(pagination.offset as usize).take(pagination.limit as usize);
        assert_eq!(
            listed.items.iter().map(|chat| &chat.conversation.id).collect::<Vec<_>>(),
            expected.collect::<Vec<_>>()
        );
        for ConversationView { conversation, last } in &listed.items {
            assert_eq!(conversation.updated_at, self.model.conversations[&conversation.id].updated_at);
            let messages = self.model.messages_of(conversation.id);
            assert_eq!(conversation.message_count, messages.len() as u64);
            let shown = if with_messages { messages.len().saturating_sub(50) } else { messages.len() };
            assert_eq!(last.messages, messages[shown..]);
        }
        for id in chats {
            let conversation = ConversationRef::Id(id);
            let QueryResult::ConversationView(chat) = self.world.found(user, QueryKind::ConversationView(conversation))
            else {
                panic!()
            };
            let messages = self.model.messages_of(id);
            assert_eq!(chat.last.messages, messages[messages.len().saturating_sub(100)..]);
            let limit = 1 + self.random.below(9) as u32;
            let mut cursor = MessageCursor::First;
            let mut forwards = Vec::new();
            while let [.., last] = self.messages(user, conversation, cursor, limit, &mut forwards)[..] {
                cursor = MessageCursor::After(last);
            }
            assert_eq!(forwards, messages);
            // Any message of the conversation that there ever was marks its place.
            let marks: Vec<_> =
                self.model.messages.iter().filter(|(_, (home, _))| *home == id).map(|(id, _)| *id).collect();
            let Some(mark) = marks.get(self.random.below(marks.len().max(1) as u64) as usize) else { continue };
            let (mut cursor, mut backwards) = (MessageCursor::Before(*mark), Vec::new());
            let mut pages = Vec::new();
            while let [first, ..] = self.messages(user, conversation, cursor, limit, &mut backwards)[..] {
                cursor = MessageCursor::Before(first);
                pages.push(std::mem::take(&mut backwards));
            }
            let before: Vec<Message> = messages.iter().filter(|message| message.id < *mark).cloned().collect();
            assert_eq!(pages.into_iter().rev().flatten().collect::<Vec<_>>(), before);
        }
    }

    /// Adds a page to `all`; the ids of its messages.
    fn messages(
        &mut self,
        user: &str,
        conversation: ConversationRef,
        cursor: MessageCursor,
        limit: u32,
        all: &mut Vec<Message>,
    ) -> Vec<MessageId> {
        let kind = QueryKind::Messages { conversation, cursor, limit };
        let QueryResult::Messages(page) = self.world.found(user, kind) else { panic!() };
        assert!(page.messages.len() <= limit as usize && !page.truncated);
        let ids = page.messages.iter().map(|message| message.id).collect();
        all.extend(page.messages);
        ids
    }
}

fn known(ids: &[UserId]) -> Vec<&'static str> {
    ids.iter().map(|id| *USERS.iter().find(|user| **user == id.as_str()).unwrap()).collect()
}

/// Whether `event` can only be the first of a command's.
fn begins(kind: &CommandKind, event: &Event) -> bool {
    match kind {
        CommandKind::PostMessage { .. } => false,
        CommandKind::CreateConversation { .. } => event.kind != EventKind::ConversationCreated,
        _ => event.kind != EventKind::ConversationLeft,
    }
}

/// Whether `event` is the last of a command's.
fn ends(kind: &CommandKind, event: &Event, next: Option<&Arc<Event>>) -> bool {
    match kind {
        CommandKind::PostMessage { .. } => event.kind == EventKind::Input,
        CommandKind::CreateConversation { .. } => event.kind == EventKind::ConversationCreated,
        _ => next.is_none_or(|next| next.kind != EventKind::ConversationLeft),
    }
}

fn play(seed: u64, world: World, rounds: usize, reopens: bool) -> BTreeSet<&'static str> {
    let game = play_on(seed, world, rounds, reopens);
    game.model.events.iter().map(|event| event.kind.as_str()).collect()
}

fn play_on(seed: u64, mut world: World, rounds: usize, reopens: bool) -> Game {
    world.now = START;
    let mut game =
        Game { world, model: Model::default(), answers: answers::Answers::default(), random: Random::new(seed) };
    for round in 0..rounds {
        game.play_batch();
        if game.random.below(4) == 0 {
            let now = game.world.now;
            game.world.writer().maintain(now);
        }
        if game.random.below(20) == 0 {
            // A clock may go back, also by years.
            game.world.now = WallTime(START.0 + game.random.below(1_000_000_000) as i64 - 500_000_000);
        }
        if reopens {
            match game.random.below(60) {
                0 => game.world.reopen(),
                1..=2 => game.world.abandon(),
                _ => {}
            }
        }
        if game.random.below(3) == 0 {
            game.check_replay();
        }
        if round % 16 == 0 {
            game.world.writer().check_invariants();
            game.check_lists();
            game.check_chats();
            game.check_orders();
        }
    }
    game.world.maintain_all();
    game.world.writer().check_invariants();
    for _ in 0..50 {
        game.check_replay();
    }
    game
}

/// A game in which something never happens shows nothing about it.
fn check_kinds(played: impl Iterator<Item = BTreeSet<&'static str>>) {
    let played: BTreeSet<&str> = played.flatten().collect();
    assert_eq!(played.len(), 12, "every kind that the store makes was played: {played:?}");
}

/// Limits so small that a flush takes many steps, and the next begins soon.
fn small_inboxes(seed: u64) -> InboxLimits {
    let mut random = Random::new(seed);
    InboxLimits {
        flush_numbers: 1 + random.below(60),
        flush_entries_max: 1 + random.below(40) as usize,
        step_messages_max: 1 + random.below(12) as usize,
        step_users_max: 1 + random.below(2) as usize,
        chunk_bytes_max: random.below(12) as usize,
    }
}

#[test]
fn pages_equal_the_model_on_a_reader() {
    check_kinds((40..44).map(|seed| play(seed, World::answered_in_file(Some("echo")), 250, true)));
}

#[test]
fn pages_equal_the_model_through_flushes_and_crashes() {
    check_kinds(
        (200..208).map(|seed| play(seed, World::answered_in_file_with(small_inboxes(seed), Some("echo")), 200, true)),
    );
}

#[test]
fn pages_equal_the_model_in_memory() {
    check_kinds((100..104).map(|seed| play(seed, World::answered_in_memory(Some("echo")), 300, false)));
    let small = |seed| World::answered_in_memory_with(small_inboxes(seed), Some("echo"));
    check_kinds((300..308).map(|seed| play(seed, small(seed), 300, false)));
}

/// Whether a message is the event, and not only what the event is about.
fn is_message(event: &Event) -> bool {
    matches!(event.kind, EventKind::Input | EventKind::Output)
}

#[test]
fn retention_takes_the_oldest_and_tells_those_who_lost_something() {
    for seed in 400..406 {
        let mut game = play_on(seed, World::answered_in_file_with(small_inboxes(seed), Some("echo")), 100, false);
        let stored = game.model.events.iter().filter(|event| !is_message(event)).count() as u64;
        // Some of those events went with their things already, so not all of these bounds are reached.
        let retention = Retention { events: game.random.below(stored), young_milliseconds: 0, ..Retention::default() };
        game.world.config.retention = retention;
        game.world.reopen();
        game.world.now = WallTime(game.world.now.0 + 1_000_000_000);
        let position = game.world.writer().position();
        game.world.maintain_all();
        game.world.writer().check_invariants();
        assert_eq!(game.world.writer().position(), position, "no number is given again");
        for user in USERS {
            let expected = game.model.expected(user, 0, &EVERYTHING);
            let page = game.world.page(user, 0, usize::MAX, EVERYTHING);
            assert_eq!(page.through, position, "one page has it all");
            let kept: BTreeSet<u64> = page.events.iter().map(|event| event.number.0).collect();
            let lost: Vec<&Event> = expected.iter().filter(|event| !kept.contains(&event.number.0)).collect();
            assert!(lost.iter().all(|event| !is_message(event)), "messages stay");
            assert_eq!(page.events.len() + lost.len(), expected.len());
            let newest_lost = lost.last().map_or(0, |event| event.number.0);
            let others = page.events.iter().filter(|event| !is_message(event));
            assert!(others.clone().all(|event| event.number.0 > newest_lost), "the oldest go first");
            for after in 0..=position.0 {
                let gap = game.world.page(user, after, 0, EVERYTHING).gap.map(|first| first.0);
                let expected = (after < newest_lost).then_some(newest_lost + 1);
                assert_eq!(gap, expected, "{user} after {after}");
            }
        }
    }
}
