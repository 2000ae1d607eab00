//! A running answer while recipients come and go, and an event loop that misses commits and deltas, or reads the journal
//! beyond what it has applied. No socket overflows a mailbox at the right moment, so this test drives a shard directly.

use crate::common::sse::Parser;
use crate::common::token::{KEY, now as seconds, token};
use cortex_core::internals::time::SECOND;
use cortex_core::internals::{
    AnswerPage, AnswerPhase, AnswerStarted, AnswerStatusChange, CommitShare, Context, ConversationId, Event, EventBody,
    EventKind, EventNumber, Input, JobId, JournalPage, Keys, LiveAnswer, LiveAnswerSet, MessageId, MonoTime, Now,
    Output, Query, QueryKind, QueryResponse, QueryResult, Random, Rejection, Resource, Settings, Shard, ShardMessage,
    UserId, WallTime, Work, WorkspaceId,
};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use uuid::Uuid;

const OWNER: &str = "owner";
const GUEST: &str = "guest";
const CONVERSATION: ConversationId = ConversationId(Uuid::from_u128(2));
const WORKSPACE: WorkspaceId = WorkspaceId(Uuid::from_u128(3));

/// A stream of one user, as its client sees it.
struct Reader {
    user: &'static str,
    slot: u32,
    parser: Parser,
    head_read: bool,
    /// Whether the last event that it has received about the conversation says that the user is a participant.
    is_member: bool,
    texts: usize,
    statuses: usize,
    /// The text of a stream of the one answer; `None` for a stream of all events.
    answer: Option<String>,
    is_closed: bool,
}

struct World {
    random: Random,
    now: Now,
    shard: Shard,
    live: LiveAnswer,
    answers: LiveAnswerSet,
    /// All committed events.
    journal: Vec<Arc<Event>>,
    /// Commits that are not distributed yet.
    committed: VecDeque<Vec<Arc<Event>>>,
    mailbox: VecDeque<ShardMessage>,
    pages: VecDeque<Query>,
    readers: Vec<Reader>,
    guest_is_member: bool,
    /// After each distributed commit, whether the guest may see the text that follows.
    eras: Vec<bool>,
    message: MessageId,
}

fn recipients(with_guest: bool) -> Arc<[UserId]> {
    let users = if with_guest { &[OWNER, GUEST][..] } else { &[OWNER] };
    users.iter().map(|user| UserId::new(user).expect("a good id")).collect()
}

impl World {
    fn new(seed: u64) -> World {
        let settings = Settings::load(&|_| None, 1).expect("the defaults are valid").settings;
        let keys = Keys::new(KEY.as_bytes(), &[], None, None);
        let context = Arc::new(Context {
            settings,
            memory: cortex_core::internals::MemoryPlan::unlimited(),
            keys,
            epoch: "e".into(),
        });
        let now = Now { wall: WallTime(seconds() * SECOND), mono: MonoTime(0) };
        let shard = Shard::new(0, context, Arc::default(), Arc::default(), EventNumber(0), Random::new(seed));
        let message = MessageId(Uuid::from_u128(1));
        let mut world = World {
            random: Random::new(seed),
            now,
            shard,
            live: LiveAnswer::default(),
            answers: LiveAnswerSet::default(),
            journal: Vec::new(),
            committed: VecDeque::new(),
            mailbox: VecDeque::new(),
            pages: VecDeque::new(),
            readers: Vec::new(),
            guest_is_member: true,
            eras: vec![true],
            message,
        };
        let started = AnswerStarted {
            job: JobId::default(),
            message_id: message,
            reply_to: MessageId(Uuid::from_u128(4)),
            conversation_id: CONVERSATION,
            workspace_id: WORKSPACE,
            recipients: recipients(true),
            known_at: EventNumber::default(),
            sender: UserId::new_unchecked("responder:openai"),
            correlation_id: "c".into(),
            live: world.live.clone(),
        };
        world.answers.committed(std::slice::from_ref(&started), &[]);
        let share = CommitShare {
            before: EventNumber(0),
            through: EventNumber(0),
            events: Arc::new([]),
            results: Vec::new(),
            started: Arc::new([started]),
            token_rules: None,
        };
        world.feed(Input::Message(ShardMessage::Committed(share)));
        for user in [OWNER, GUEST, GUEST] {
            world.open(user, None);
        }
        world
    }

    /// Opens a stream of all events, or of the one answer.
    fn open(&mut self, user: &'static str, answer: Option<String>) {
        let path = match answer {
            None => "/output/stream".to_owned(),
            Some(_) => format!("/conversations/{CONVERSATION}/messages/{}/stream", self.message),
        };
        let slot = self.shard.accept([127, 0, 0, 1].into(), self.now);
        let request = format!("GET {path} HTTP/1.0\r\nAuthorization: Bearer {}\r\n\r\n", token(user));
        self.readers.push(Reader {
            user,
            slot,
            parser: Parser::default(),
            head_read: false,
            is_member: true,
            texts: 0,
            statuses: 0,
            answer,
            is_closed: false,
        });
        self.feed(Input::Bytes { slot, bytes: request.as_bytes() });
    }

    fn feed(&mut self, input: Input<'_>) {
        self.shard.handle(input, self.now);
        let mut ended = Vec::new();
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Work(Work::Query(query)) => self.pages.push_back(query),
                Output::EndWriting(slot) => ended.push(slot),
                Output::Close(slot) => {
                    let open = self.readers.iter_mut().filter(|reader| reader.slot == slot && !reader.is_closed);
                    open.for_each(|reader| reader.is_closed = true);
                }
                _ => {}
            }
        }
        self.shard.check_invariants();
        for slot in ended {
            self.feed(Input::Ended { slot });
        }
    }

    fn step(&mut self) {
        self.now.mono = self.now.mono.plus_milliseconds(1);
        match self.random.below(14) {
            12 => self.report_status(),
            13 => {
                let open = self.readers.iter().filter(|reader| reader.answer.is_some() && !reader.is_closed).count();
                if open < 4 {
                    let user = [OWNER, GUEST][self.random.below(2) as usize];
                    self.open(user, Some(String::new()));
                }
            }
            0 => self.commit(),
            1..3 => self.distribute(),
            3..6 => self.show_text(),
            6..8 => self.read_page(),
            8 => self.write_all(),
            _ => {
                if let Some(message) = self.mailbox.pop_front() {
                    self.feed(Input::Message(message));
                }
            }
        }
    }

    /// The guest leaves or joins, or neither.
    fn commit(&mut self) {
        let mut kinds = vec![(EventKind::ConversationUpdated, recipients(self.guest_is_member))];
        if self.random.below(4) > 0 {
            self.guest_is_member ^= true;
            kinds = vec![(EventKind::ConversationUpdated, recipients(self.guest_is_member))];
            if !self.guest_is_member {
                kinds.insert(0, (EventKind::ConversationLeft, [UserId::new_unchecked(GUEST)].into()));
            }
        }
        let mut events = Vec::new();
        for (kind, recipients) in kinds {
            let event = Arc::new(Event {
                number: EventNumber(self.journal.len() as u64 + 1),
                kind,
                at: self.now.wall,
                actor: UserId::new_unchecked(OWNER),
                correlation_id: "c".into(),
                workspace_id: WORKSPACE,
                conversation_id: Some(CONVERSATION),
                recipients,
                body: EventBody::Data("{}".into()),
            });
            self.journal.push(Arc::clone(&event));
            events.push(event);
        }
        self.committed.push_back(events);
    }

    /// Hands a commit to the shard, which may have no room for its events.
    fn distribute(&mut self) {
        let Some(events) = self.committed.pop_front() else { return };
        self.answers.committed(&[], &events);
        let updated = events.iter().rfind(|event| event.kind == EventKind::ConversationUpdated).expect("an update");
        self.eras.push(updated.recipients.len() == 2);
        let through = events.last().expect("an event").number;
        let before = EventNumber(events[0].number.0 - 1);
        let is_lost = self.random.below(2) == 0;
        let share = CommitShare {
            before: if is_lost { through } else { before },
            through,
            events: if is_lost { Arc::new([]) } else { events.into() },
            results: Vec::new(),
            started: Arc::new([]),
            token_rules: None,
        };
        self.mailbox.push_back(ShardMessage::Committed(share));
    }

    /// The answer grows by a piece that names the number of distributed commits. Some deltas are lost.
    fn show_text(&mut self) {
        self.live.append(&format!("<{}>", self.eras.len() - 1));
        let delta = self.live.show(self.message, true).expect("new text");
        if self.random.below(3) > 0 {
            self.mailbox.push_back(ShardMessage::Delta(delta));
        }
    }

    /// The responders report the status of an answer, with the recipients at some position of the journal.
    fn report_status(&mut self) {
        // A snapshot has whole commits, and the update is the last event of each.
        let mut updates = self.journal.iter().filter(|event| event.kind == EventKind::ConversationUpdated);
        let commits = self.random.below(updates.clone().count() as u64 + 1) as usize;
        let last = commits.checked_sub(1).and_then(|at| updates.nth(at));
        let change = AnswerStatusChange {
            reply_to: MessageId(Uuid::from_u128(5)),
            conversation_id: CONVERSATION,
            workspace_id: WORKSPACE,
            recipients: last.map_or_else(|| recipients(true), |event| Arc::clone(&event.recipients)),
            known_at: last.map_or(EventNumber(0), |event| event.number),
            sender: UserId::new_unchecked("responder:openai"),
            correlation_id: "c".into(),
            phase: [AnswerPhase::Queued, AnswerPhase::Started][self.random.below(2) as usize],
        };
        self.mailbox.push_back(ShardMessage::AnswerStatus(Arc::new(change)));
    }

    /// A reader reads a page at the present position, whatever the shard has applied.
    fn read_page(&mut self) {
        let Some(query) = self.pages.pop_front() else { return };
        let position = EventNumber(self.journal.len() as u64);
        let result = match query.kind {
            QueryKind::JournalPage { after, .. } => {
                let sees = |event: &&Arc<Event>| event.number > after && event.recipients.contains(&query.caller);
                let events = self.journal.iter().filter(sees).cloned().collect();
                Ok(QueryResult::JournalPage(JournalPage { events, through: position, position, gap: None }))
            }
            QueryKind::AnswerPage { .. } if query.caller.as_str() == OWNER || self.guest_is_member => {
                Ok(QueryResult::AnswerPage(Box::new(AnswerPage {
                    reply_to: Some(MessageId(Uuid::from_u128(4))),
                    message_id: Some(self.message),
                    conversation_id: CONVERSATION,
                    workspace_id: WORKSPACE,
                    ended: None,
                })))
            }
            QueryKind::AnswerPage { .. } => Err(Rejection::NotFound(Resource::Conversation)),
            _ => panic!("{query:?}"),
        };
        self.mailbox.push_back(ShardMessage::QueryResponse(QueryResponse { to: query.reply_to, position, result }));
    }

    /// The sockets take everything, and the clients read it.
    fn write_all(&mut self) {
        for index in 0..self.readers.len() {
            let slot = self.readers[index].slot;
            while !self.readers[index].is_closed {
                let mut slices = [IoSlice::new(&[]); 8];
                let filled = self.shard.outgoing(slot, &mut slices);
                let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                if bytes.is_empty() {
                    break;
                }
                self.readers[index].read(&bytes, &self.eras);
                self.feed(Input::Wrote { slot, bytes: bytes.len() });
            }
        }
    }
}

impl Reader {
    fn read(&mut self, mut bytes: &[u8], eras: &[bool]) {
        if !std::mem::replace(&mut self.head_read, true) {
            let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("the end of a head");
            bytes = &bytes[end + 4..];
        }
        self.parser.feed(bytes);
        for event in std::mem::take(&mut self.parser.events) {
            match event.kind() {
                "conversation_left" => self.is_member = false,
                "conversation_updated" => self.is_member = true,
                "answer_status" => {
                    assert!(self.is_member, "{}: a status after conversation_left", self.user);
                    self.statuses += 1;
                }
                "output_delta" | "output_snapshot" => {
                    assert!(self.is_member, "{}: text after conversation_left", self.user);
                    let data = &event.data["data"];
                    let text = data["delta"].as_str().or(data["text"].as_str()).expect("a text");
                    if let Some(answer) = &mut self.answer {
                        assert_eq!(
                            (event.kind(), data["offset"].as_u64()),
                            ("output_delta", Some(answer.len() as u64))
                        );
                        answer.push_str(text);
                        assert_eq!(event.number(), answer.len() as u64, "the id is the next offset");
                    }
                    for era in text.split(['<', '>']).filter(|era| !era.is_empty()) {
                        let era: usize = era.parse().expect("a number");
                        // A guest who came back gets the whole text, as the journal gives a guest the whole message.
                        let may_see = self.user == OWNER || eras[era..].contains(&true);
                        assert!(may_see, "{}: text of a time without the guest: {text}", self.user);
                    }
                    self.texts += 1;
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_removed_participant_gets_no_text_whatever_the_event_loop_missed() {
    // Of the three streams of all events, and of the streams of the answer by user.
    let (mut texts, mut statuses) = ([0; 5], [0; 5]);
    for seed in 0..500 {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..150 {
                world.step();
            }
            // Once everything has arrived, the next delta brings the owner all of the text.
            while let Some(()) = (!world.committed.is_empty()).then(|| world.distribute()) {}
            for _ in 0..3 {
                while let Some(message) = world.mailbox.pop_front() {
                    world.feed(Input::Message(message));
                }
                world.write_all();
                (0..world.pages.len()).for_each(|_| world.read_page());
            }
            world.live.append("<0>");
            let delta = world.live.show(world.message, true).expect("new text");
            world.feed(Input::Message(ShardMessage::Delta(delta)));
            let before = world.readers[0].texts;
            world.write_all();
            assert!(world.readers[0].texts > before, "the owner gets the text");
            let whole = world.live.text_from(0);
            let mut counts: Vec<(usize, usize)> =
                world.readers[..3].iter().map(|reader| (reader.texts, reader.statuses)).collect();
            for user in [OWNER, GUEST] {
                let of_answer = world.readers.iter().filter(|reader| reader.user == user && reader.answer.is_some());
                for reader in of_answer.clone() {
                    let text = reader.answer.as_ref().expect("a text");
                    assert!(whole.starts_with(text) && (user == GUEST || text.is_empty() || *text == whole));
                }
                counts.push((of_answer.map(|reader| reader.texts).sum(), 0));
            }
            counts
        });
        let counts = run.unwrap_or_else(|_| panic!("seed {seed}"));
        for (at, (text, status)) in counts.into_iter().enumerate() {
            texts[at] += text;
            statuses[at] += status;
        }
    }
    assert!(texts.iter().all(|count| *count > 1_000), "texts reach everyone: {texts:?}");
    assert!(statuses[..3].iter().all(|count| *count > 500), "statuses reach everyone: {statuses:?}");
}
