//! The way to the bus: a bounded queue of messages to other instances, and whether the bus works.
//!
//! Nothing here waits. A message for which there is no room is dropped: others then read what they lack from the database.

use crate::base::limits::BUS_QUERY_MILLISECONDS;
use crate::base::metrics;
use crate::base::random::fill_secret;
use crate::domain::bus_message::BusMessage;
use crate::domain::id::InstanceName;
use crate::domain::peer_query::{PeerAnswer, PeerQuery, PeerResponse};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long other instances may take to answer a query.
const QUERY_TIME: Duration = Duration::from_millis(BUS_QUERY_MILLISECONDS);

/// A message and the instance that it is for; all others if none.
pub(crate) type Addressed = (Option<InstanceName>, BusMessage);

/// One process on the bus.
#[derive(Debug)]
pub(crate) struct BusPort {
    /// The name under which others send to this process.
    pub name: InstanceName,
    /// The beginning of the names of all channels: instances of other databases may use the same server.
    prefix: String,
    /// Most bytes of messages that wait.
    queue_bytes_max: usize,
    queue: Mutex<MessageQueue>,
    /// Wakes the publisher.
    is_filled: Condvar,
    /// Whether messages go through.
    is_up: AtomicBool,
    /// The number of other instances in the database.
    others: AtomicUsize,
    /// The number of other instances that were heard on the bus a moment ago, of which the database may not have told yet.
    heard: AtomicUsize,
    /// The timeline of the database server.
    timeline: AtomicI64,
}

#[derive(Debug, Default)]
struct MessageQueue {
    messages: VecDeque<Addressed>,
    bytes: usize,
    has_ended: bool,
    /// Something has changed that others must know, without a message.
    is_woken: bool,
    /// Queries that wait for answers, by their numbers. There are no more than connections, each of which waits for one response.
    queries: BTreeMap<u64, OpenPeerQuery>,
    next_query: u64,
}

/// A query that waits for answers.
#[derive(Debug)]
struct OpenPeerQuery {
    asked_at: Instant,
    /// The instances that have answered.
    answered: Vec<InstanceName>,
    response: PeerResponse,
}

impl BusPort {
    /// The port of a process with a new name. The names of its channels begin with `prefix`, which no other database has. At most
    /// `queue_bytes_max` bytes of messages wait.
    pub(crate) fn new(prefix: String, queue_bytes_max: usize) -> BusPort {
        let mut name = [0; 16];
        fill_secret(&mut name);
        BusPort {
            name: InstanceName(Uuid::from_bytes(name)),
            prefix,
            queue_bytes_max,
            queue: Mutex::default(),
            is_filled: Condvar::new(),
            is_up: AtomicBool::new(false),
            others: AtomicUsize::new(0),
            heard: AtomicUsize::new(0),
            timeline: AtomicI64::new(0),
        }
    }

    /// The channel of an instance, or of all.
    pub(crate) fn channel(&self, to: Option<InstanceName>) -> String {
        match to {
            None => format!("{}:journal", self.prefix),
            Some(InstanceName(name)) => format!("{}:to:{name}", self.prefix),
        }
    }

    /// Sends a message to all other instances, if there are any.
    pub(crate) fn send(&self, message: impl FnOnce() -> Option<BusMessage>) {
        if self.others.load(Relaxed) > 0
            && let Some(message) = message()
        {
            self.push((None, message));
        }
    }

    /// Sends a message to one instance.
    pub(crate) fn send_to(&self, instance: InstanceName, message: BusMessage) {
        self.push((Some(instance), message));
    }

    /// Asks all other instances. The answers come from `answered` or `late_responses`. While messages do not go through, there are
    /// none, and they are returned at once.
    pub(crate) fn ask(&self, query: PeerQuery) -> Option<PeerResponse> {
        let mut queue = self.queue();
        let number = queue.next_query;
        queue.next_query += 1;
        let response = PeerResponse { to: query.reply_to, answers: Vec::new(), is_complete: false };
        if !self.is_up() {
            return Some(response);
        }
        queue.queries.insert(number, OpenPeerQuery { asked_at: Instant::now(), answered: Vec::new(), response });
        drop(queue);
        self.push((None, BusMessage::Query(number, query.kind)));
        None
    }

    /// Takes an answer of an instance. Returns the response if it is complete. An answer that comes again is ignored.
    pub(crate) fn answered(&self, from: InstanceName, number: u64, answer: PeerAnswer) -> Option<PeerResponse> {
        let mut queue = self.queue();
        let query = queue.queries.get_mut(&number)?;
        // No other instance has the stream.
        let is_decided = matches!(answer, PeerAnswer::Renewed(Some(_)));
        if query.answered.contains(&from) {
            return None;
        }
        query.answered.push(from);
        query.response.answers.push(answer);
        let others = self.others.load(Relaxed).max(self.heard.load(Relaxed));
        if query.answered.len() < others && !is_decided {
            return None;
        }
        let mut response = queue.queries.remove(&number)?.response;
        response.is_complete = true;
        Some(response)
    }

    /// The responses to queries whose time is over, or to all while messages do not go through.
    pub(crate) fn late_responses(&self) -> Vec<PeerResponse> {
        let mut queue = self.queue();
        let mut responses = Vec::new();
        while let Some(first) = queue.queries.first_entry()
            && (first.get().asked_at.elapsed() >= QUERY_TIME || !self.is_up())
        {
            responses.push(first.remove().response);
        }
        responses
    }

    fn push(&self, message: Addressed) {
        let mut queue = self.queue();
        let weight = message.1.weight();
        if queue.bytes + weight > self.queue_bytes_max {
            metrics::BUS_MESSAGES_DROPPED.add(1);
            return;
        }
        queue.bytes += weight;
        queue.messages.push_back(message);
        drop(queue);
        self.is_filled.notify_one();
    }

    /// Waits for messages, at most `pause` and until the time of a query is over, and takes all; `None` after the last.
    pub(crate) fn take(&self, pause: Duration) -> Option<VecDeque<Addressed>> {
        let mut queue = self.queue();
        let began = Instant::now();
        while queue.messages.is_empty() && !queue.has_ended && !queue.is_woken {
            let of_query = queue.queries.first_key_value();
            let left_of_query = of_query.map(|(_, query)| QUERY_TIME.saturating_sub(query.asked_at.elapsed()));
            let left = pause.saturating_sub(began.elapsed()).min(left_of_query.unwrap_or(Duration::MAX));
            if left.is_zero() {
                break;
            }
            queue = self.is_filled.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        (queue.bytes, queue.is_woken) = (0, false);
        let messages = std::mem::take(&mut queue.messages);
        (!messages.is_empty() || !queue.has_ended).then_some(messages)
    }

    /// Ends the wait of `take`.
    pub(crate) fn wake(&self) {
        self.queue().is_woken = true;
        self.is_filled.notify_one();
    }

    /// No messages follow.
    pub(crate) fn end(&self) {
        self.queue().has_ended = true;
        self.is_filled.notify_one();
    }

    /// Whether `end` was called.
    pub(crate) fn has_ended(&self) -> bool {
        self.queue().has_ended
    }

    /// Whether messages go through.
    pub(crate) fn is_up(&self) -> bool {
        self.is_up.load(Relaxed)
    }

    /// Sets whether messages go through. Returns whether that is new.
    pub(crate) fn set_up(&self, is_up: bool) -> bool {
        metrics::BUS_UP.set(u64::from(is_up));
        self.is_up.swap(is_up, Relaxed) != is_up
    }

    /// The timeline of the database server.
    pub(crate) fn timeline(&self) -> i64 {
        self.timeline.load(Relaxed)
    }

    /// Sets what the writer knows: the number of other instances, and the timeline of the database server.
    pub(crate) fn set_known(&self, others: usize, timeline: i64) {
        self.others.store(others, Relaxed);
        self.timeline.store(timeline, Relaxed);
    }

    /// Sets the number of other instances that were heard a moment ago.
    pub(crate) fn set_heard(&self, heard: usize) {
        self.heard.store(heard, Relaxed);
    }

    fn queue(&self) -> MutexGuard<'_, MessageQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::WallTime;
    use crate::domain::command::ReplyTo;
    use crate::domain::id::{MessageId, UserId};
    use crate::domain::live_answer::{AnswerPart, AnswerTextKind};
    use crate::domain::peer_query::PeerQueryKind;

    const QUEUE_BYTES_MAX: usize = 100_000;

    fn text(bytes: usize) -> BusMessage {
        BusMessage::Text(AnswerPart {
            message_id: MessageId(Uuid::nil()),
            kind: AnswerTextKind::Text,
            index: 0,
            from: 0,
            text: "x".repeat(bytes).into(),
        })
    }

    #[test]
    fn messages_are_taken_in_order_until_the_end() {
        let port = BusPort::new(String::new(), QUEUE_BYTES_MAX);
        port.send(|| Some(BusMessage::Beat));
        assert_eq!(port.take(Duration::ZERO), Some(VecDeque::new()), "there is no other instance");
        port.set_known(1, 1);
        port.send(|| Some(BusMessage::Beat));
        port.send_to(port.name, text(1));
        port.end();
        let taken = port.take(Duration::ZERO).unwrap();
        assert_eq!(taken, [(None, BusMessage::Beat), (Some(port.name), text(1))]);
        assert_eq!(port.take(Duration::from_secs(600)), None);
    }

    #[test]
    fn messages_without_room_are_dropped() {
        let port = BusPort::new(String::new(), QUEUE_BYTES_MAX);
        port.set_known(1, 1);
        for _ in 0..10 {
            port.send(|| Some(text(QUEUE_BYTES_MAX / 4)));
        }
        assert_eq!(port.take(Duration::ZERO).unwrap().len(), 3);
        port.send(|| Some(text(QUEUE_BYTES_MAX / 2)));
        assert_eq!(port.take(Duration::ZERO).unwrap().len(), 1);
    }

    #[test]
    fn a_question_has_the_answers_of_all_or_those_that_came_in_time() {
        let port = BusPort::new(String::new(), QUEUE_BYTES_MAX);
        port.set_known(2, 1);
        port.set_up(true);
        let query = |slot| PeerQuery {
            reply_to: ReplyTo { shard: 0, slot, generation: 0 },
            kind: PeerQueryKind::ListStreams(UserId::new_unchecked("u")),
        };
        (0..3).for_each(|slot| assert_eq!(port.ask(query(slot)), None));
        let streams = || PeerAnswer::Streams(Vec::new());
        let [a, b, c] = [1, 2, 3].map(|number| InstanceName(Uuid::from_u128(number)));
        assert_eq!(port.answered(a, 0, streams()), None);
        assert_eq!(port.answered(a, 0, streams()), None, "it came twice");
        let complete = port.answered(b, 0, streams()).expect("both have answered");
        assert_eq!((complete.to.slot, complete.answers.len(), complete.is_complete), (0, 2, true));
        assert_eq!(port.answered(c, 0, streams()), None, "an answer too many");
        let renewed = port.answered(a, 1, PeerAnswer::Renewed(Some(WallTime(1)))).expect("one instance has the stream");
        assert_eq!((renewed.to.slot, renewed.answers.len(), renewed.is_complete), (1, 1, true));
        // A third instance has just started.
        port.set_heard(3);
        assert_eq!(port.answered(c, 2, streams()), None);
        assert_eq!(port.answered(b, 2, streams()), None);
        // The publisher waits for the end of the time.
        assert_eq!(port.take(Duration::ZERO).map(|messages| messages.len()), Some(3));
        let mut late = Vec::new();
        while late.is_empty() {
            assert_eq!(port.take(Duration::from_secs(600)).map(|messages| messages.len()), Some(0));
            late = port.late_responses();
        }
        assert_eq!((late.len(), late[0].to.slot, late[0].answers.len(), late[0].is_complete), (1, 2, 2, false));
        // No query waits while nothing goes through.
        assert_eq!(port.ask(query(3)), None);
        port.set_up(false);
        assert_eq!(port.late_responses().len(), 1);
        let response = port.ask(query(4)).expect("at once");
        assert_eq!((response.to.slot, response.answers.len(), response.is_complete), (4, 0, false));
    }
}
