//! The way to the bus: a bounded queue of messages to other instances, and whether the bus works.
//!
//! Nothing here waits. A message for which there is no room is dropped: others then read what they lack from the database.

use crate::base::limits::BUS_QUEUE_BYTES_MAX;
use crate::base::metrics;
use crate::base::random::fill_secret;
use crate::domain::bus_message::{BusMessage, InstanceName};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// A message and the instance that it is for; all others if none.
pub(crate) type Addressed = (Option<InstanceName>, BusMessage);

/// One process on the bus.
#[derive(Debug)]
pub(crate) struct BusPort {
    /// The name under which others send to this process.
    pub name: InstanceName,
    /// The beginning of the names of all channels: instances of other databases may use the same server.
    prefix: String,
    queue: Mutex<MessageQueue>,
    /// Wakes the publisher.
    is_filled: Condvar,
    /// Whether messages go through.
    is_up: AtomicBool,
    /// Whether there are other instances.
    has_others: AtomicBool,
    /// The timeline of the database server.
    timeline: AtomicI64,
}

#[derive(Debug, Default)]
struct MessageQueue {
    messages: VecDeque<Addressed>,
    bytes: usize,
    has_ended: bool,
}

impl BusPort {
    /// The port of a process with a new name, on the bus of a journal.
    pub(crate) fn new(epoch: Uuid) -> BusPort {
        let mut name = [0; 16];
        fill_secret(&mut name);
        BusPort {
            name: InstanceName(Uuid::from_bytes(name)),
            prefix: format!("cortex:{epoch}"),
            queue: Mutex::default(),
            is_filled: Condvar::new(),
            is_up: AtomicBool::new(false),
            has_others: AtomicBool::new(false),
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
        if self.has_others.load(Relaxed)
            && let Some(message) = message()
        {
            self.push((None, message));
        }
    }

    /// Sends a message to one instance.
    pub(crate) fn send_to(&self, instance: InstanceName, message: BusMessage) {
        self.push((Some(instance), message));
    }

    fn push(&self, message: Addressed) {
        let mut queue = self.queue();
        let weight = message.1.weight();
        if queue.bytes + weight > BUS_QUEUE_BYTES_MAX {
            metrics::BUS_MESSAGES_DROPPED.add(1);
            return;
        }
        queue.bytes += weight;
        queue.messages.push_back(message);
        drop(queue);
        self.is_filled.notify_one();
    }

    /// Waits for messages, at most `pause`, and takes all; `None` after the last.
    pub(crate) fn take(&self, pause: Duration) -> Option<VecDeque<Addressed>> {
        let is_idle = |queue: &mut MessageQueue| queue.messages.is_empty() && !queue.has_ended;
        let waited = self.is_filled.wait_timeout_while(self.queue(), pause, is_idle);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.bytes = 0;
        let messages = std::mem::take(&mut queue.messages);
        (!messages.is_empty() || !queue.has_ended).then_some(messages)
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

    /// Sets what the writer knows: whether there are other instances, and the timeline of the database server.
    pub(crate) fn set_known(&self, has_others: bool, timeline: i64) {
        self.has_others.store(has_others, Relaxed);
        self.timeline.store(timeline, Relaxed);
    }

    fn queue(&self) -> MutexGuard<'_, MessageQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::MessageId;
    use crate::domain::live_answer::{AnswerPart, AnswerTextKind};

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
        let port = BusPort::new(Uuid::nil());
        port.send(|| Some(BusMessage::Beat));
        assert_eq!(port.take(Duration::ZERO), Some(VecDeque::new()), "there is no other instance");
        port.set_known(true, 1);
        port.send(|| Some(BusMessage::Beat));
        port.send_to(port.name, text(1));
        port.end();
        let taken = port.take(Duration::ZERO).unwrap();
        assert_eq!(taken, [(None, BusMessage::Beat), (Some(port.name), text(1))]);
        assert_eq!(port.take(Duration::from_secs(600)), None);
    }

    #[test]
    fn messages_without_room_are_dropped() {
        let port = BusPort::new(Uuid::nil());
        port.set_known(true, 1);
        for _ in 0..10 {
            port.send(|| Some(text(BUS_QUEUE_BYTES_MAX / 4)));
        }
        assert_eq!(port.take(Duration::ZERO).unwrap().len(), 3);
        port.send(|| Some(text(BUS_QUEUE_BYTES_MAX / 2)));
        assert_eq!(port.take(Duration::ZERO).unwrap().len(), 1);
    }
}
