//! The events of one stream, checked as the server queues them.
//!
//! Invariant: every event of the user that the filter passes, after `start` and through `complete`, was sent once and
//! in order, unless the replay correctly omits it or a gap covers it.

use crate::coverage::Coverage;
use crate::model::{Filter, Model};
use crate::transcript::Block;
use cortex_core::internals::{EventKind, MonoTime, Now, WallTime};
use std::collections::BTreeSet;

pub const HEARTBEAT_MILLISECONDS: u64 = 5_000;

/// The requested start of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Now,
    After(u64),
    /// Not a number.
    Invalid,
}

/// The activity of the shard when it queued something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    Commit,
    Page,
    Tick,
    Other,
}

/// The circumstances under which something was queued.
#[derive(Debug, Clone)]
pub struct Moment {
    pub doing: Doing,
    /// The position that the shard had applied before.
    pub position_before: u64,
    /// Events of the page that it received.
    pub page: BTreeSet<u64>,
    pub now: Now,
}

#[derive(Debug)]
pub struct Session {
    pub user: usize,
    pub filter: Filter,
    pub named: bool,
    pub asked: Asked,
    /// The position known to be committed when the request was sent.
    pub known_committed: u64,
    pub expires_at: WallTime,
    pub established: bool,
    pub complete: u64,
    /// The last event sent.
    last_event: u64,
    pub caught_up: bool,
    gap_sent: u64,
    pub ended: bool,
    pub heartbeat_due: MonoTime,
    pub stream_id: String,
}

impl Session {
    pub fn new(
        user: usize,
        filter: Filter,
        named: bool,
        asked: Asked,
        known_committed: u64,
        expires_at: WallTime,
    ) -> Session {
        Session {
            user,
            filter,
            named,
            asked,
            known_committed,
            expires_at,
            established: false,
            complete: 0,
            last_event: 0,
            caught_up: false,
            gap_sent: 0,
            ended: false,
            heartbeat_due: MonoTime(u64::MAX),
            stream_id: String::new(),
        }
    }

    /// Applies a queued block; returns the id that the client will remember.
    pub fn queued(&mut self, block: &Block, model: &Model, moment: &Moment, coverage: &mut Coverage) -> Option<u64> {
        assert!(!self.ended, "an event follows the last one of a stream");
        // The moment of a long event is that of its first part, after which its rest has postponed the heartbeat.
        self.heartbeat_due = self.heartbeat_due.max(moment.now.mono.plus_milliseconds(2 * HEARTBEAT_MILLISECONDS));
        let Block { id, name, data } = block;
        let kind = kind_of(data);
        assert_eq!(name.as_deref(), self.named.then_some(kind.as_str()), "a stream has names or has none");
        assert!(
            self.established || kind == EventKind::ConnectionEstablished,
            "{kind:?} comes before connection_established"
        );
        match kind {
            EventKind::ConnectionEstablished => {
                self.established_event(id.expect("connection_established has an id"), data, model)
            }
            EventKind::Heartbeat => {
                coverage.heartbeats += 1;
                self.complete_through(id.expect("a heartbeat has an id"), model);
            }
            EventKind::CaughtUp => {
                assert!(self.asked != Asked::Now && !self.caught_up, "caught_up comes once, after a replay");
                self.caught_up = true;
                coverage.caught_up += 1;
                self.complete_through(id.expect("caught_up has an id"), model);
            }
            EventKind::Gap => {
                self.complete_through(id.expect("gap has an id"), model);
                self.gap(data, model, coverage);
            }
            EventKind::TokenExpiring => {
                assert!(self.expires_at.0 - moment.now.wall.0 <= 60_000_000);
                self.complete_through(id.expect("token_expiring has an id"), model);
            }
            EventKind::TokenExpired => {
                assert!(moment.now.wall >= self.expires_at, "token_expired comes too early");
                self.complete_through(id.expect("token_expired has an id"), model);
                self.ended = true;
                coverage.tokens_expired += 1;
            }
            EventKind::ServerShutdown => {
                self.complete_through(id.expect("server_shutdown has an id"), model);
                self.ended = true;
            }
            _ => self.event(id.expect("an event has its number"), kind, data, model, moment, coverage),
        }
        *id
    }

    /// Checks that all of the user's events were sent.
    pub fn check_complete(&mut self, model: &Model) {
        self.complete_through(model.position(), model);
    }

    fn established_event(&mut self, id: u64, data: &[u8], model: &Model) {
        assert!(!self.established, "connection_established comes once");
        self.established = true;
        let json: serde_json::Value = serde_json::from_slice(data).expect("connection_established is JSON");
        assert_eq!(json["last_event_id"], id);
        assert_eq!(json["user_id"], model.users[self.user].as_str());
        self.stream_id = json["stream_id"].as_str().expect("a stream has an id").to_owned();
        match self.asked {
            Asked::After(number) => assert_eq!(id, number, "a replay starts at the requested number"),
            Asked::Now | Asked::Invalid => {
                // It may come from a snapshot newer than the loops' position.
                let newest = model.position();
                assert!(
                    (self.known_committed..=newest).contains(&id),
                    "a stream starts at {id}, not in {}..={newest}",
                    self.known_committed
                )
            }
        }
        self.complete = id;
        self.last_event = id;
    }

    fn gap(&mut self, data: &[u8], model: &Model, coverage: &mut Coverage) {
        let json: serde_json::Value = serde_json::from_slice(data).expect("a gap is JSON");
        let first = json["data"]["first_available_id"].as_u64().expect("a gap names a number");
        assert!(first > self.gap_sent, "the gap before {first} is sent again");
        let foreign = self.asked == Asked::Invalid && self.gap_sent == 0 && first == self.complete + 1;
        let removed = model.removed_history[self.user].contains(&(first - 1)) && first - 1 > self.complete;
        assert!(foreign || removed, "no event of {} before {first} was removed", model.users[self.user]);
        self.gap_sent = first;
        coverage.gaps += 1;
    }

    fn event(
        &mut self,
        number: u64,
        kind: EventKind,
        data: &[u8],
        model: &Model,
        moment: &Moment,
        coverage: &mut Coverage,
    ) {
        let user = &model.users[self.user];
        let entry = model.entry(number).unwrap_or_else(|| panic!("event {number} is sent before its commit"));
        assert!(number > self.last_event, "event {number} of {user} follows {}", self.last_event);
        assert!(entry.recipients & (1 << self.user) != 0, "event {number} is not for {user}");
        assert!(self.filter.passes(&entry.event), "event {number} does not pass {:?}", self.filter);
        assert_eq!(kind, entry.event.kind);
        let texts = model.texts(entry);
        let said = texts.iter().rposition(|(_, text)| text == data);
        let said = said.unwrap_or_else(|| panic!("event {number} is sent as {}", String::from_utf8_lossy(data)));
        if let Some((changed_by, _)) = texts.get(said + 1) {
            let fresh = moment.page.contains(&number) || *changed_by > moment.position_before;
            assert!(fresh, "event {number} is sent in its state before {changed_by}");
        }
        if let Some(hider) = model.hidden_by(entry, self.user) {
            let fresh = moment.page.contains(&number) || hider > moment.position_before;
            assert!(fresh, "event {number} is sent to {user} after {hider} hid it");
        }
        assert!(
            number > self.complete,
            "event {number} is sent after the stream was complete through {}",
            self.complete
        );
        if number > self.complete + 1 {
            self.complete_through(number - 1, model);
        }
        self.complete = number;
        self.last_event = number;
        match moment.doing {
            Doing::Commit => coverage.given_live += 1,
            Doing::Page if moment.page.contains(&number) => coverage.given_by_page += 1,
            _ => coverage.given_by_tail += 1,
        }
    }

    /// The stream reports that it is complete through `number`.
    fn complete_through(&mut self, number: u64, model: &Model) {
        assert!(number >= self.complete, "a stream goes back from {} to {number}", self.complete);
        assert!(number <= model.position(), "a stream is complete through {number}, which is not committed");
        for at in self.complete + 1..=number {
            let entry = model.entry(at).expect("it is committed");
            if entry.recipients & (1 << self.user) == 0 || !self.filter.passes(&entry.event) {
                continue;
            }
            let told = entry.removed & (1 << self.user) != 0 && self.gap_sent > at;
            assert!(
                told || model.hidden_by(entry, self.user).is_some(),
                "event {at} ({:?}) was not sent to {}, whose stream is complete through {number}",
                entry.event.kind,
                model.users[self.user]
            );
        }
        self.complete = number;
    }
}

fn kind_of(data: &[u8]) -> EventKind {
    let rest = data.strip_prefix(b"{\"type\":\"").expect("an event begins with its type");
    let end = memchr::memchr(b'"', rest).expect("a type ends");
    let name = std::str::from_utf8(&rest[..end]).expect("a type is text");
    EventKind::parse(name).unwrap_or_else(|| panic!("{name} is not an event type"))
}
