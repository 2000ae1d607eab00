//! The reference model of `shard_ops`: the journal as a list, and the events that each stream must have received.

use super::backend;
use super::json_reference::{self as json, Json};
use super::sse_reference;
use cortex_core::internals::{
    AnswerDelta, AnswerStarted, Command, CommandKind, CommandResult, Content, ConversationRef, Event, EventBody,
    EventKind, EventNumber, JobId, JournalPage, KindSet, LiveAnswer, Message, MessageId, Metadata, Now, Outcome, Role,
    Status, StreamFilter, StreamStart, UserId, WallTime, wire,
};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const USERS: [&str; 3] = ["alice", "bob", "carol"];
/// The participants of each conversation; the first stands for everyone's default conversation.
const PARTICIPANTS: [&[usize]; 3] = [&[], &[0, 1], &[0, 1, 2]];
/// The number before the first event of the model.
const FIRST: u64 = 100;

pub struct Entry {
    pub event: Arc<Event>,
    /// The JSON of its event.
    json: Vec<u8>,
    /// The event that deleted it.
    deleted_by: Option<u64>,
    /// Whether retention removed it.
    is_removed: bool,
}

/// An answer in progress.
struct AnswerInProgress {
    message: MessageId,
    pieces: Vec<String>,
    live: LiveAnswer,
}

pub struct Journal {
    entries: Vec<Entry>,
    announced: u64,
    removed_through: [u64; USERS.len()],
    writing: Vec<AnswerInProgress>,
    /// Every answer so far, with its deltas.
    written: BTreeMap<MessageId, Vec<String>>,
}

fn ids(users: impl IntoIterator<Item = usize>) -> Vec<UserId> {
    users.into_iter().map(|user| UserId::new_unchecked(USERS[user])).collect()
}

impl Journal {
    pub fn new() -> Journal {
        Journal {
            entries: Vec::new(),
            announced: FIRST,
            removed_through: [0; USERS.len()],
            writing: Vec::new(),
            written: BTreeMap::new(),
        }
    }

    pub fn newest(&self) -> u64 {
        FIRST + self.entries.len() as u64
    }

    /// The number through which everything was announced.
    pub fn announced(&self) -> u64 {
        self.announced
    }

    pub fn entry(&self, number: u64) -> Option<&Entry> {
        self.entries.get(number.checked_sub(FIRST + 1)? as usize)
    }

    /// The events not announced yet.
    pub fn announce(&mut self) -> Vec<Arc<Event>> {
        let from = (self.announced - FIRST) as usize;
        self.announced = self.newest();
        self.entries[from..].iter().map(|entry| Arc::clone(&entry.event)).collect()
    }

    fn add(&mut self, event: Arc<Event>) {
        let mut json = Vec::new();
        wire::event::event_json(&event, &mut json);
        self.entries.push(Entry { event, json, deleted_by: None, is_removed: false });
    }

    /// Writes the message of a command.
    pub fn post(&mut self, command: &Command) -> CommandResult {
        let CommandKind::PostMessage { conversation, api_variant, .. } = &command.kind else {
            unreachable!("only messages are posted")
        };
        let place = (1..PARTICIPANTS.len())
            .find(|place| *conversation == ConversationRef::Id(backend::conversation_id(*place as u128)))
            .unwrap_or(0);
        let user = USERS.iter().position(|user| *user == command.actor.id.as_str()).expect("a user of ours");
        let recipients = if place == 0 { ids([user]) } else { ids(PARTICIPANTS[place].iter().copied()) };
        let number = self.newest() + 1;
        let event = backend::message_event(number, backend::conversation_id(place as u128), command, &recipients);
        self.add(Arc::clone(&event));
        let result = Ok(Outcome::Posted { event, conversation: *conversation, api_variant: *api_variant });
        CommandResult { to: command.reply_to, number: Some(EventNumber(number)), result }
    }

    fn add_event(&mut self, kind: EventKind, recipients: Vec<UserId>, in_conversation: bool, body: EventBody) {
        let number = self.newest() + 1;
        self.add(Arc::new(Event {
            number: EventNumber(number),
            kind,
            at: WallTime(backend::START.wall.0 + number as i64),
            actor: UserId::new_unchecked("dave"),
            correlation_id: "c".into(),
            workspace_id: backend::workspace_id(),
            conversation_id: in_conversation.then(|| backend::conversation_id(1)),
            recipients: recipients.into(),
            body,
        }));
    }

    /// A workspace or conversation changes, for the users in the mask.
    pub fn add_other(&mut self, mask: u8, bytes: usize, in_conversation: bool) {
        let recipients = ids((0..USERS.len()).filter(|user| mask & (1 << user) != 0));
        let kind = if in_conversation { EventKind::ConversationUpdated } else { EventKind::WorkspaceUpdated };
        let data = format!("{{\"text\":\"{}\"}}", "y".repeat(bytes));
        // The participants of the conversation stay the same, so its answers are not affected.
        let recipients = if in_conversation { ids(PARTICIPANTS[1].iter().copied()) } else { recipients };
        self.add_event(kind, recipients, in_conversation, EventBody::Data(data.into()));
    }

    /// Deletes one of the last messages.
    pub fn delete(&mut self, back: usize) {
        let is_message = |entry: &&mut Entry| entry.event.kind == EventKind::Input && entry.deleted_by.is_none();
        let number = FIRST + self.entries.len() as u64 + 1;
        let Some(entry) = self.entries.iter_mut().rev().filter(is_message).nth(back % 8) else { return };
        entry.deleted_by = Some(number);
        let (recipients, message) = (entry.event.recipients.to_vec(), entry.event.message_id().expect("a message"));
        let conversation = entry.event.conversation_id;
        self.add_event(EventKind::MessageDeleted, recipients, false, EventBody::Deleted(message));
        let deletion = self.entries.last_mut().expect("it was just added");
        let mut event = (*deletion.event).clone();
        event.conversation_id = conversation;
        self.entries.pop();
        self.add(Arc::new(event));
    }

    /// Retention: removes state events, except the last `keep`.
    pub fn retain(&mut self, keep: u64) {
        let end = self.entries.len().saturating_sub(keep as usize);
        let announced = (self.announced - FIRST) as usize;
        for entry in self.entries[..end.min(announced)].iter_mut().filter(|entry| entry.event.kind != EventKind::Input)
        {
            if !entry.is_removed {
                entry.is_removed = true;
                for user in entry.event.recipients.iter() {
                    let user = USERS.iter().position(|name| *name == user.as_str()).expect("a user of ours");
                    self.removed_through[user] = self.removed_through[user].max(entry.event.number.0);
                }
            }
        }
    }

    /// The page of a reader after `after`.
    pub fn page(
        &self,
        user: usize,
        after: u64,
        bytes_max: usize,
        events_max: usize,
        filter: &StreamFilter,
    ) -> JournalPage {
        let (newest, mut weight) = (self.newest(), 0);
        let mut page = JournalPage {
            events: Vec::new(),
            through: EventNumber(newest),
            position: EventNumber(newest),
            gap: (after < self.removed_through[user]).then(|| EventNumber(self.removed_through[user] + 1)),
        };
        for entry in self.entries.iter().filter(|entry| entry.event.number.0 > after) {
            if !entry.is_for(user) || !passes(&entry.event, filter) || entry.is_removed || entry.deleted_by.is_some() {
                continue;
            }
            weight += entry.event.weight();
            if page.events.len() == events_max || (weight > bytes_max && !page.events.is_empty()) {
                page.through = page.events.last().expect("it is not empty").number;
                break;
            }
            page.events.push(Arc::new(Event { recipients: Arc::new([]), ..(*entry.event).clone() }));
        }
        page
    }

    /// Starts an answer in the first shared conversation.
    pub fn begin_answer(&mut self) -> AnswerStarted {
        let message = backend::message_id(1_000_000 + self.written.len() as u64);
        self.written.insert(message, Vec::new());
        let live = LiveAnswer::default();
        self.writing.push(AnswerInProgress { message, pieces: Vec::new(), live: live.clone() });
        AnswerStarted {
            job: JobId::default(),
            message_id: message,
            reply_to: message,
            conversation_id: backend::conversation_id(1),
            workspace_id: backend::workspace_id(),
            recipients: ids(PARTICIPANTS[1].iter().copied()).into(),
            known_at: EventNumber::default(),
            sender: UserId::new_unchecked("responder:openai"),
            correlation_id: "c".into(),
            live,
        }
    }

    pub fn grow_answer(&mut self, which: u8) -> Option<AnswerDelta> {
        let count = self.writing.len();
        let writing = self.writing.get_mut(usize::from(which) % count.max(1))?;
        let piece = format!("{} ", "z".repeat(usize::from(which) * 2));
        writing.pieces.push(piece.clone());
        self.written.entry(writing.message).or_default().push(piece.clone());
        writing.live.append(&piece);
        writing.live.show(writing.message, true)
    }

    /// Completes the answer, whose message event replaces it.
    pub fn finish_answer(&mut self, which: u8) -> bool {
        if self.writing.is_empty() {
            return false;
        }
        let writing = self.writing.remove(usize::from(which) % self.writing.len());
        let recipients = ids(PARTICIPANTS[1].iter().copied());
        let at = WallTime(backend::START.wall.0);
        let message = Message {
            id: writing.message,
            conversation_id: backend::conversation_id(1),
            sender: UserId::new_unchecked("responder:openai"),
            sender_name: "openai".into(),
            role: Role::Assistant,
            content: Content::new_unchecked(writing.pieces.concat()),
            metadata: Metadata::empty(),
            created_at: at,
            updated_at: at,
            status: Status::Complete,
            reply_to: None,
            error: None,
            answer: None,
            reasoning: None,
        };
        self.add_event(EventKind::Output, recipients, true, EventBody::Message(message));
        true
    }
}

impl Entry {
    fn is_for(&self, user: usize) -> bool {
        self.event.recipients.iter().any(|name| name.as_str() == USERS[user])
    }
}

fn passes(event: &Event, filter: &StreamFilter) -> bool {
    let conversation = match filter.conversation {
        None => true,
        Some(ConversationRef::Id(id)) => event.conversation_id == Some(id),
        Some(ConversationRef::Default) => panic!("streams name a conversation by its id"),
    };
    conversation && filter.workspace.is_none_or(|id| event.workspace_id == id) && filter.kinds.has(event.kind)
}

/// Bytes of the framing of a chunk.
const CHUNK_BYTES: usize = 10;

/// The state of one stream.
pub struct StreamModel {
    user: usize,
    filter: StreamFilter,
    query: &'static str,
    named: bool,
    start: StreamStart,
    pub ended: bool,
    /// Whether its blocks arrive in chunks.
    pub is_chunked: bool,
    /// The size of the largest frame received, in bytes, with the framing of a chunk.
    pub largest_frame: usize,
    established: bool,
    caught_up: bool,
    complete: u64,
    gap_sent: u64,
    /// The text of each answer assembled from deltas, and the next expected index.
    texts: BTreeMap<MessageId, (u64, String)>,
}

impl StreamModel {
    pub fn new(user: usize, how: u8, start: StreamStart) -> StreamModel {
        let kinds = |names: &[EventKind]| names.iter().fold(KindSet::NONE, |kinds, kind| kinds.with(*kind));
        let only = ConversationRef::Id(backend::conversation_id(1));
        let (conversation, kinds, query) = match how % 8 {
            0..=3 => (None, KindSet::ALL, ""),
            4 => (Some(only), KindSet::ALL, "conversation_id=01900000-0000-7000-8000-000000000001&"),
            5 => (Some(ConversationRef::Id(backend::conversation_id(0))), KindSet::ALL, "conversation_id=default&"),
            6 => (None, kinds(&[EventKind::Input]), "types=input&"),
            _ => (
                None,
                kinds(&[
                    EventKind::Output,
                    EventKind::OutputDelta,
                    EventKind::OutputSnapshot,
                    EventKind::WorkspaceUpdated,
                ]),
                "types=output,workspace_updated&",
            ),
        };
        StreamModel {
            user,
            filter: StreamFilter { conversation, workspace: None, kinds },
            query,
            named: how & 8 == 8,
            start,
            ended: false,
            is_chunked: true,
            largest_frame: 0,
            established: false,
            caught_up: false,
            complete: 0,
            gap_sent: 0,
            texts: BTreeMap::new(),
        }
    }

    pub fn query(&self) -> String {
        format!("{}named={}", self.query, self.named)
    }

    /// Takes complete frames that were queued while the shard had received everything through `delivered`.
    pub fn received(&mut self, bytes: &[u8], journal: &Journal, delivered: u64, now: Now) {
        let text = std::str::from_utf8(bytes).expect("a stream is text");
        for frame in text.split_inclusive("\n\n") {
            assert!(frame.ends_with("\n\n"), "only complete frames are queued");
            self.largest_frame = self.largest_frame.max(frame.len() + CHUNK_BYTES);
            let read = sse_reference::read(frame.as_bytes(), usize::MAX);
            let [event] = &read.events[..] else { panic!("{frame:?} is not one event") };
            assert!(!self.ended, "something follows the last event of a stream");
            let id: Option<u64> =
                (!event.last_event_id.is_empty()).then(|| event.last_event_id.parse().expect("a number"));
            let Ok(Json::Object(members)) = json::parse(&event.data) else { panic!("{} is not an object", event.data) };
            let Some((_, Json::Text(Some(kind)), _)) = members.first() else { panic!("{} has no type", event.data) };
            assert_eq!(event.name, if self.named { kind.as_str() } else { "message" });
            assert!(self.established || kind == "connection_established", "{kind} comes before connection_established");
            self.event(kind, id, &event.data, &members, journal, delivered, now);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn event(
        &mut self,
        kind: &str,
        id: Option<u64>,
        data: &str,
        members: &[(Option<String>, Json<'_>, &str)],
        journal: &Journal,
        delivered: u64,
        now: Now,
    ) {
        let number = |name: &str| -> u64 {
            let found = members.iter().find(|(known, ..)| known.as_deref() == Some(name));
            found.and_then(|(.., raw)| raw.parse().ok()).unwrap_or_else(|| panic!("{data} has no {name}"))
        };
        match kind {
            "connection_established" => {
                assert!(!self.established && Some(number("last_event_id")) == id, "connection_established comes once");
                self.established = true;
                self.complete = id.expect("connection_established has an id");
                let is_right = match self.start {
                    StreamStart::After(asked) => self.complete == asked.0,
                    StreamStart::Now | StreamStart::Unknown => (delivered..=journal.newest()).contains(&self.complete),
                };
                assert!(is_right, "a stream that asked for {:?} starts at {}", self.start, self.complete);
            }
            "heartbeat" => self.complete_through(id.expect("a heartbeat has an id"), journal),
            "caught_up" => {
                assert!(self.start != StreamStart::Now && !self.caught_up, "caught_up comes once, after a replay");
                self.caught_up = true;
                self.complete_through(id.expect("caught_up has an id"), journal);
            }
            "gap" => {
                let Some((_, Json::Object(data), _)) = members.get(1) else { panic!("{data} has no number") };
                let first: u64 = data[0].2.parse().expect("a number");
                assert!(first > self.gap_sent, "a gap is sent twice");
                let foreign = self.start == StreamStart::Unknown && self.gap_sent == 0 && first == self.complete + 1;
                assert!(
                    foreign || journal.removed_through[self.user] + 1 >= first,
                    "no event before {first} was removed"
                );
                self.gap_sent = first;
            }
            "token_expiring" => assert!(id.is_none() && now.wall > backend::START.wall),
            "token_expired" | "server_shutdown" => self.ended = true,
            "output_delta" | "output_snapshot" => {
                assert!(id.is_none(), "an event outside the journal has a number");
                let Some((_, Json::Object(said), _)) = members.get(1) else { panic!("{data} is not an object") };
                self.ephemeral(kind, said, journal);
            }
            _ => self.journalled(id.expect("an event has its number"), kind, data, journal, delivered),
        }
    }

    fn journalled(&mut self, number: u64, kind: &str, data: &str, journal: &Journal, delivered: u64) {
        let entry = journal.entry(number).unwrap_or_else(|| panic!("event {number} is sent before its commit"));
        assert!(number > self.complete, "event {number} follows {}", self.complete);
        assert!(entry.is_for(self.user), "event {number} is not for {}", USERS[self.user]);
        assert!(passes(&entry.event, &self.filter), "event {number} does not pass the filter");
        assert_eq!((entry.event.kind.as_str(), &entry.json[..]), (kind, data.as_bytes()), "event {number}");
        assert!(entry.deleted_by.is_none_or(|by| by > delivered), "event {number} is sent after its deletion");
        self.complete_through(number - 1, journal);
        self.complete = number;
    }

    /// The stream reports that it has received everything through `number`.
    pub fn complete_through(&mut self, number: u64, journal: &Journal) {
        assert!(number >= self.complete, "a stream goes back from {} to {number}", self.complete);
        assert!(number <= journal.newest(), "a stream is complete through {number}, which is not committed");
        for at in self.complete + 1..=number {
            let Some(entry) = journal.entry(at) else { continue };
            let is_owed = entry.is_for(self.user) && passes(&entry.event, &self.filter) && entry.deleted_by.is_none();
            let got_gap = entry.is_removed && self.gap_sent > at;
            assert!(!is_owed || got_gap, "event {at} is missing, and the cursor is {number}");
        }
        self.complete = number;
    }

    /// A delta or a snapshot.
    fn ephemeral(&mut self, kind: &str, said: &[(Option<String>, Json<'_>, &str)], journal: &Journal) {
        let [
            (_, Json::Text(Some(message)), _),
            _,
            _,
            (_, Json::Number(index), _),
            (_, Json::Number(offset), _),
            (_, Json::Text(Some(text)), _),
        ] = said
        else {
            panic!("{said:?} is not a {kind}");
        };
        let message = MessageId::parse(message).expect("a message's id");
        let index: u64 = index.parse().expect("a number");
        let offset: usize = offset.parse().expect("a number");
        assert!(PARTICIPANTS[1].contains(&self.user), "{} sees another conversation's answer", USERS[self.user]);
        let known = self.texts.entry(message).or_default();
        if kind == "output_delta" {
            assert!(index >= known.0, "a delta repeats");
            assert_eq!(offset, known.1.len(), "a delta begins where the text ends");
            known.1.push_str(text);
        } else {
            known.1.clone_from(text);
            assert_eq!(offset, known.1.len(), "the next delta begins where the snapshot ends");
        }
        known.0 = index + 1;
        let pieces = &journal.written[&message];
        assert_eq!(known.1, pieces[..known.0 as usize].concat(), "the text through delta {index}");
    }

    /// Checks that the assembled texts are prefixes of the written ones.
    pub fn check_texts(&self, journal: &Journal) {
        for (message, (next, text)) in &self.texts {
            assert_eq!(*text, journal.written[message][..*next as usize].concat());
        }
    }
}
