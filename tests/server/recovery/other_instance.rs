//! Streams whose shard has not applied all events yet, because other instances committed them: streams that resume after a
//! number that the shard does not know, and streams of one answer. This test drives a shard directly, so that the shard is
//! behind at every moment.

use crate::common::sse::{Event as ReceivedEvent, Parser};
use crate::common::token::{KEY, now as seconds, token};
use cortex_core::internals::time::SECOND;
use cortex_core::internals::{
    AnswerPage, AnswerStarted, CommitShare, Content, Context, ConversationId, Event, EventBody, EventKind, EventNumber,
    Input, JobId, JournalPage, Keys, LiveAnswer, MemoryPlan, Message, MessageId, Metadata, MonoTime, Now, Output,
    Query, QueryKind, QueryResponse, QueryResult, Random, Rejection, Role, Settings, Shard, ShardMessage, Status,
    UserId, WallTime, Work, WorkspaceId,
};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use uuid::Uuid;

const USERS: [&str; 2] = ["ann", "ben"];
const CONVERSATION: ConversationId = ConversationId(Uuid::from_u128(2));
const WORKSPACE: WorkspaceId = WorkspaceId(Uuid::from_u128(3));
/// A number that the journal never reaches.
const UNKNOWN: u64 = 1_000_000;

/// A shard between a journal that other instances write and the clients of its streams.
struct World {
    random: Random,
    now: Now,
    shard: Shard,
    /// All committed events. The number of an event is its place, from 1 on.
    journal: Vec<Arc<Event>>,
    /// The number of events that were sent to the shard.
    distributed: usize,
    mailbox: VecDeque<ShardMessage>,
    queries: Vec<Query>,
    clients: Vec<Client>,
    /// The number of streams that were opened after a number that the shard did not know.
    opened_ahead: u64,
    /// From now on, no query fails.
    is_settling: bool,
}

/// A client of a stream, which checks what it receives.
struct Client {
    user: &'static str,
    slot: u32,
    /// Whether its stream is of one answer, whose ids are offsets in the text.
    follows_answer: bool,
    /// The number after which it resumed.
    after: u64,
    parser: Parser,
    head_read: bool,
    /// The number through which it has every event.
    complete: Option<u64>,
    gaps: u64,
    caught_up: u64,
    received: Vec<ReceivedEvent>,
    is_closed: bool,
}

fn event(number: usize, kind: EventKind, recipients: &[&str], body: EventBody) -> Arc<Event> {
    Arc::new(Event {
        number: EventNumber(number as u64),
        kind,
        at: WallTime(0),
        actor: UserId::new_unchecked("ann"),
        correlation_id: "c".into(),
        workspace_id: WORKSPACE,
        conversation_id: Some(CONVERSATION),
        recipients: recipients.iter().map(|user| UserId::new_unchecked(*user)).collect(),
        body,
    })
}

impl World {
    fn new(seed: u64) -> World {
        let small = |name: &str| (name == "STREAM_BUFFER_BYTES").then(|| "4096".to_owned());
        let context = Arc::new(Context {
            settings: Settings::load(&small, 1).expect("the settings are valid").settings,
            memory: MemoryPlan::unlimited(),
            keys: Keys::new(KEY.as_bytes(), &[], None, None),
            epoch: "e".into(),
        });
        World {
            random: Random::new(seed),
            now: Now { wall: WallTime(seconds() * SECOND), mono: MonoTime(0) },
            shard: Shard::new(0, context, Arc::default(), Arc::default(), EventNumber(0), Random::new(seed)),
            journal: Vec::new(),
            distributed: 0,
            mailbox: VecDeque::new(),
            queries: Vec::new(),
            clients: Vec::new(),
            opened_ahead: 0,
            is_settling: false,
        }
    }

    /// Opens a stream of `user` at a path that ends with the number after which it resumes.
    fn open(&mut self, user: &'static str, path: &str, after: u64) {
        let slot = self.shard.accept([127, 0, 0, 1].into(), self.now);
        self.clients.push(Client {
            user,
            slot,
            follows_answer: path.starts_with("/conversations/"),
            after,
            parser: Parser::default(),
            head_read: false,
            complete: None,
            gaps: 0,
            caught_up: 0,
            received: Vec::new(),
            is_closed: false,
        });
        let queries = self.queries.len();
        let request = format!("GET {path}{after} HTTP/1.0\r\nAuthorization: Bearer {}\r\n\r\n", token(user));
        self.feed(Input::Bytes { slot, bytes: request.as_bytes() });
        let is_access_check = |query: &Query| matches!(query.kind, QueryKind::StreamAccess(_));
        self.opened_ahead += self.queries[queries..].iter().filter(|query| is_access_check(query)).count() as u64;
    }

    fn feed(&mut self, input: Input<'_>) {
        self.shard.handle(input, self.now);
        self.poll();
    }

    fn poll(&mut self) {
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Work(Work::Query(query)) => self.queries.push(query),
                Output::EndWriting(slot) | Output::Close(slot) => {
                    let open = self.clients.iter_mut().filter(|client| client.slot == slot && !client.is_closed);
                    open.for_each(|client| client.is_closed = true);
                }
                _ => {}
            }
        }
        self.shard.check_invariants();
    }

    fn step(&mut self) {
        self.now.mono = self.now.mono.plus_milliseconds(10);
        self.shard.tick(self.now);
        self.poll();
        match self.random.below(16) {
            0..3 => self.commit(),
            3..5 => self.distribute(),
            5 => {
                let user = USERS[self.random.below(2) as usize];
                let after = self.numbers();
                self.open(user, "/output/stream?last_event_id=", after);
            }
            6..9 => self.read(),
            9..12 => self.write(),
            12 => self.leave(),
            _ => self.receive(),
        }
    }

    /// A number that a client may have from another instance, or none of this journal.
    fn numbers(&mut self) -> u64 {
        let newest = self.journal.len() as u64;
        match self.random.below(8) {
            0 => UNKNOWN,
            1 => self.random.below(newest + 1),
            _ => newest - self.random.below(newest.min(4) + 1),
        }
    }

    /// Another instance commits.
    fn commit(&mut self) {
        for _ in 0..1 + self.random.below(3) {
            let recipients = [&USERS[..], &USERS[..1], &USERS[1..]][self.random.below(3) as usize];
            let json = format!("{{\"x\":\"{}\"}}", "x".repeat(self.random.below(1500) as usize));
            let number = self.journal.len() + 1;
            self.journal.push(event(number, EventKind::WorkspaceUpdated, recipients, EventBody::Data(json.into())));
        }
    }

    /// Sends some of the events to the shard, or only their numbers.
    fn distribute(&mut self) {
        let left = (self.journal.len() - self.distributed) as u64;
        let before = self.distributed;
        self.distributed += self.random.below(left.min(6) + 1) as usize;
        let is_lost = self.random.below(4) == 0;
        let share = CommitShare {
            before: EventNumber(if is_lost { self.distributed } else { before } as u64),
            through: EventNumber(self.distributed as u64),
            events: if is_lost { Arc::new([]) } else { self.journal[before..self.distributed].into() },
            results: Vec::new(),
            started: Arc::new([]),
            token_rules: None,
        };
        self.mailbox.push_back(ShardMessage::Committed(share));
    }

    /// Sends the next event to the shard, which applies it at once.
    fn apply(&mut self, number: usize, started: Option<AnswerStarted>) {
        let share = CommitShare {
            before: EventNumber(number as u64 - 1),
            through: EventNumber(number as u64),
            events: self.journal[number - 1..number].into(),
            results: Vec::new(),
            started: started.into_iter().collect(),
            token_rules: None,
        };
        self.feed(Input::Message(ShardMessage::Committed(share)));
    }

    /// A reader responds to a query, whatever the shard has applied.
    fn read(&mut self) {
        if self.queries.is_empty() {
            return;
        }
        let place = self.random.below(self.queries.len() as u64) as usize;
        let query = self.queries.remove(place);
        let position = EventNumber(self.journal.len() as u64);
        let result = match query.kind {
            QueryKind::StreamAccess(filter) => Ok(QueryResult::StreamAccess(filter)),
            _ if !self.is_settling && self.random.below(8) == 0 => Err(Rejection::Unavailable),
            QueryKind::JournalPage { after, .. } => {
                assert!(after <= position, "the number was known to be of this journal");
                let sees = |event: &&Arc<Event>| event.number > after && event.recipients.contains(&query.caller);
                let mut events: Vec<_> = self.journal.iter().filter(sees).cloned().collect();
                let whole = events.len();
                events.truncate(1 + self.random.below(6) as usize);
                let is_whole = events.len() == whole;
                let through = events.last().filter(|_| !is_whole).map_or(position, |event| event.number);
                Ok(QueryResult::JournalPage(JournalPage { events, through, position, gap: None }))
            }
            kind => panic!("{kind:?}"),
        };
        self.mailbox.push_back(ShardMessage::QueryResponse(QueryResponse { to: query.reply_to, position, result }));
    }

    fn receive(&mut self) {
        if let Some(message) = self.mailbox.pop_front() {
            self.feed(Input::Message(message));
        }
    }

    /// A client takes some bytes.
    fn write(&mut self) {
        if !self.clients.is_empty() {
            let index = self.random.below(self.clients.len() as u64) as usize;
            let bytes_max = 1 + self.random.below(6000) as usize;
            self.write_to(index, bytes_max);
        }
    }

    fn write_to(&mut self, index: usize, bytes_max: usize) {
        let slot = self.clients[index].slot;
        if self.clients[index].is_closed {
            return;
        }
        let mut slices = [IoSlice::new(&[]); 8];
        let filled = self.shard.outgoing(slot, &mut slices);
        let mut bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        // The head is taken at once.
        if self.clients[index].head_read {
            bytes.truncate(bytes_max);
        }
        if !bytes.is_empty() {
            self.clients[index].take(&bytes, &self.journal);
            self.feed(Input::Wrote { slot, bytes: bytes.len() });
        }
    }

    /// A client closes its connection.
    fn leave(&mut self) {
        let open: Vec<usize> = (0..self.clients.len()).filter(|index| !self.clients[*index].is_closed).collect();
        if open.len() > 4 {
            let index = open[self.random.below(open.len() as u64) as usize];
            self.clients[index].is_closed = true;
            self.feed(Input::Failed { slot: self.clients[index].slot });
        }
    }

    /// Everything arrives.
    fn settle(&mut self) {
        self.is_settling = true;
        while self.distributed < self.journal.len() {
            self.distribute();
        }
        for _ in 0..100 {
            self.now.mono = self.now.mono.plus_milliseconds(50);
            self.shard.tick(self.now);
            self.poll();
            (0..self.queries.len()).for_each(|_| self.read());
            (0..self.mailbox.len()).for_each(|_| self.receive());
            (0..self.clients.len()).for_each(|index| self.write_to(index, usize::MAX));
        }
    }
}

impl Client {
    fn take(&mut self, mut bytes: &[u8], journal: &[Arc<Event>]) {
        if !std::mem::replace(&mut self.head_read, true) {
            let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("the end of a head");
            bytes = &bytes[end + 4..];
        }
        self.parser.feed(bytes);
        for event in std::mem::take(&mut self.parser.events) {
            if !self.follows_answer && event.id.is_some() {
                self.check(&event, journal);
            }
            self.received.push(event);
        }
    }

    /// Checks that an event is the next one of the user, and that a control event leaves none out.
    fn check(&mut self, event: &ReceivedEvent, journal: &[Arc<Event>]) {
        let number = event.number();
        let Some(complete) = self.complete else {
            assert_eq!(event.kind(), "connection_established");
            let is_known = self.after != UNKNOWN;
            assert_eq!(is_known, number == self.after, "a known number is the start, and another one is not");
            self.complete = Some(number);
            return;
        };
        let user = UserId::new_unchecked(self.user);
        let mut later = journal.iter().filter(|event| event.number.0 > complete && event.recipients.contains(&user));
        if event.is_control() {
            assert!(number >= complete && later.all(|event| event.number.0 > number), "an event was left out");
            self.gaps += u64::from(event.kind() == "gap");
            self.caught_up += u64::from(event.kind() == "caught_up");
        } else {
            assert_eq!(later.next().map(|event| event.number.0), Some(number), "each event once, in order");
        }
        self.complete = Some(number);
    }

    /// A field of the events of this kind that it has received.
    fn received(&self, kind: &str, field: &str) -> Vec<&str> {
        let events = self.received.iter().filter(|event| event.kind() == kind);
        events.map(|event| event.data["data"][field].as_str().expect("a text")).collect()
    }

    /// Checks that it has every event of its user.
    fn check_whole(&self, journal: &[Arc<Event>]) {
        let complete = self.complete.expect("it is open");
        let user = UserId::new_unchecked(self.user);
        let is_missing = |event: &Arc<Event>| event.number.0 > complete && event.recipients.contains(&user);
        assert!(!journal.iter().any(is_missing), "{} has events through {complete} only", self.user);
        assert_eq!((self.gaps, self.caught_up), (u64::from(self.after == UNKNOWN), 1), "after {}", self.after);
    }
}

#[test]
fn a_stream_resumes_after_a_number_of_another_instance() {
    let mut opened_ahead = 0;
    for seed in 0..100 {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..300 {
                world.step();
            }
            world.settle();
            for client in world.clients.iter().filter(|client| !client.is_closed) {
                client.check_whole(&world.journal);
            }
            world.opened_ahead
        });
        opened_ahead += run.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(opened_ahead > 200, "{opened_ahead} streams were opened ahead of the shard");
}

/// An answer to the message that is answered again, with this id and text.
fn output(number: usize, id: u128, text: &str) -> Arc<Event> {
    let message = Message {
        id: MessageId(Uuid::from_u128(id)),
        conversation_id: CONVERSATION,
        sender: UserId::new_unchecked("responder:echo"),
        sender_name: "echo".into(),
        role: Role::Assistant,
        content: Content::new_unchecked(text),
        metadata: Metadata::empty(),
        created_at: WallTime(0),
        updated_at: WallTime(0),
        status: Status::Complete,
        reply_to: Some(MessageId(Uuid::from_u128(4))),
        error: None,
        answer: None,
        reasoning: None,
    };
    event(number, EventKind::Output, &USERS, EventBody::Message(message))
}

/// A message was answered by another instance, and is answered again. The shard applies the first answer after a client has
/// opened a stream of the second one.
#[test]
fn an_answer_that_was_replaced_does_not_end_the_stream_of_the_next_one() {
    let mut world = World::new(0);
    world.journal = vec![output(1, 5, "first"), output(2, 6, "second")];
    let message = Uuid::from_u128(4);
    world.open("ann", &format!("/conversations/{CONVERSATION}/messages/{message}/stream?last_event_id="), 0);
    let query = world.queries.pop().expect("a query");
    assert!(matches!(query.kind, QueryKind::AnswerPage { .. }), "{query:?}");
    let page = AnswerPage {
        reply_to: Some(MessageId(message)),
        message_id: None,
        conversation_id: CONVERSATION,
        workspace_id: WORKSPACE,
        ended: None,
    };
    let result = Ok(QueryResult::AnswerPage(Box::new(page)));
    let response = QueryResponse { to: query.reply_to, position: EventNumber(1), result };
    world.feed(Input::Message(ShardMessage::QueryResponse(response)));
    for (number, contents) in [(1, &[][..]), (2, &["second"][..])] {
        world.apply(number, None);
        world.write_to(0, usize::MAX);
        assert_eq!(world.clients[0].received("output", "content"), contents);
    }
}

/// A stream that is ahead of its shard gets the text of an answer in progress when the shard has caught up, and not only with
/// the next delta.
#[test]
fn a_stream_that_was_ahead_gets_the_text_without_another_delta() {
    for shows_before in [true, false] {
        let mut world = World::new(0);
        world.journal =
            (1..3).map(|n| event(n, EventKind::WorkspaceUpdated, &USERS, EventBody::Data("{}".into()))).collect();
        let live = LiveAnswer::default();
        let started = AnswerStarted {
            job: JobId::default(),
            message_id: MessageId(Uuid::from_u128(5)),
            reply_to: MessageId(Uuid::from_u128(4)),
            conversation_id: CONVERSATION,
            workspace_id: WORKSPACE,
            recipients: USERS.iter().map(|user| UserId::new_unchecked(*user)).collect(),
            known_at: EventNumber::default(),
            sender: UserId::new_unchecked("responder:echo"),
            correlation_id: "c".into(),
            live: live.clone(),
        };
        world.apply(1, Some(started));
        live.append("text");
        let delta = live.show(MessageId(Uuid::from_u128(5)), true).expect("new text");
        if shows_before {
            world.feed(Input::Message(ShardMessage::Delta(delta)));
        }
        world.open("ann", "/output/stream?last_event_id=", 2);
        world.read();
        world.receive();
        if !shows_before {
            world.feed(Input::Message(ShardMessage::Delta(delta)));
        }
        world.write_to(0, usize::MAX);
        assert_eq!(
            world.clients[0].received("output_snapshot", "text"),
            [""; 0],
            "the recipients after event 2 are not known yet"
        );
        world.apply(2, None);
        world.write_to(0, usize::MAX);
        assert_eq!(world.clients[0].received("output_snapshot", "text"), ["text"]);
    }
}
