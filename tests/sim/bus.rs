//! The bus between the instances, through which each learns at once what another one has committed. It delays, reorders, repeats and
//! drops messages, and it is down at times.

use crate::planted::Planted;
use crate::world::*;
use cortex_core::internals::wire::bus_message::BusBatch;
use cortex_core::internals::{BusMessage, CommitNotice, Committed, InstanceName, Random};
use std::collections::VecDeque;
use uuid::Uuid;

/// The timeline of the database server, as most messages name it.
const TIMELINE: i64 = 1;

/// The messages on their way.
pub struct Bus {
    /// Whether each instance reaches the bus.
    is_up: Vec<bool>,
    /// The payloads from each instance to each other one.
    queues: Vec<Vec<VecDeque<Payload>>>,
    /// The payloads that may come to each instance once more, at any later time.
    repeats: Vec<Vec<Payload>>,
    /// The number through which each instance did not get all notices.
    lost_through: Vec<u64>,
}

#[derive(Clone)]
struct Payload {
    from: usize,
    bytes: Vec<u8>,
    /// The number through which its notices go.
    through: u64,
    /// Whether one of them starts an answer.
    has_starts: bool,
}

/// What an instance has for the bus.
pub struct BusPort {
    name: InstanceName,
    /// The messages that are not published yet, each to one instance or to all.
    unpublished: Vec<(Option<usize>, BusMessage)>,
}

impl BusPort {
    pub fn new(random: &mut Random) -> BusPort {
        BusPort {
            name: InstanceName(Uuid::from_u64_pair(random.next_u64(), random.next_u64())),
            unpublished: Vec::new(),
        }
    }

    /// Queues a message.
    pub fn send(&mut self, to: Option<usize>, message: BusMessage) {
        self.unpublished.push((to, message));
    }

    pub fn has_unpublished(&self) -> bool {
        !self.unpublished.is_empty()
    }
}

impl Bus {
    pub fn new(instances: usize) -> Bus {
        Bus {
            is_up: vec![true; instances],
            queues: vec![vec![VecDeque::new(); instances]; instances],
            repeats: vec![Vec::new(); instances],
            lost_through: vec![0; instances],
        }
    }

    /// Whether an instance reaches the bus.
    pub fn is_up(&self, instance: usize) -> bool {
        self.is_up[instance]
    }

    /// An instance has subscribed at this position, and gets no earlier message.
    pub fn subscribed(&mut self, instance: usize, position: u64) {
        self.is_up[instance] = true;
        self.queues.iter_mut().for_each(|queues| queues[instance].clear());
        self.repeats[instance].clear();
        self.lost_through[instance] = position;
    }

    /// Whether all notices through this position have reached an instance that has the events through it.
    fn has_told(&self, instance: usize, position: u64) -> bool {
        position >= self.lost_through[instance] && self.queues.iter().all(|queues| queues[instance].is_empty())
    }

    /// An instance does not get the notices through this number.
    fn lost(&mut self, instance: usize, through: u64) {
        let lost = &mut self.lost_through[instance];
        *lost = through.max(*lost);
    }
}

impl World {
    /// One step of an instance at the bus: it publishes what it has, or gets a payload, or connects.
    pub fn bus_step(&mut self, instance: usize) {
        if !self.bus.is_up(instance) {
            if self.chance(1, 12) {
                trace!(self, "instance {instance}: its bus is up");
                self.bus.is_up[instance] = true;
            }
            return;
        }
        if !self.chance(self.setup.bus_percent, 100) {
            return;
        }
        match self.below(16) {
            0..7 => _ = self.publish(instance),
            7..12 => _ = self.receive(instance),
            12..15 => self.receive_again(instance),
            _ => self.want_answer(instance),
        }
    }

    /// Queues a notice of a commit.
    pub fn notify(&mut self, instance: usize, committed: &Committed) {
        let Some(notice) = CommitNotice::of(committed) else { return };
        self.process(instance).port.send(None, BusMessage::Commit(notice));
    }

    /// Publishes what an instance has for others, all in one payload. Returns whether there was anything.
    pub fn publish(&mut self, instance: usize) -> bool {
        let port = &mut self.process(instance).port;
        let (from, mut messages) = (port.name, VecDeque::from(std::mem::take(&mut port.unpublished)));
        let has_any = !messages.is_empty();
        while let Some((to, message)) = messages.pop_front() {
            let mut messages_to = vec![message];
            while messages.front().is_some_and(|(next, _)| *next == to) {
                messages_to.extend(messages.pop_front().map(|(_, message)| message));
            }
            let timeline = match self.below(40) {
                _ if self.calm => TIMELINE,
                // One of the two uses a server that was replaced.
                0 => TIMELINE - 1,
                1 => TIMELINE + 1,
                _ => TIMELINE,
            };
            if self.planted == Planted::NoticeLacksEvent && self.chance(1, 8) {
                messages_to.iter_mut().for_each(Planted::drop_event);
            }
            let batch = BusBatch { from, timeline, messages: messages_to };
            self.send_payload(instance, to, &batch);
        }
        has_any
    }

    fn send_payload(&mut self, from: usize, to: Option<usize>, batch: &BusBatch) {
        let notices = || batch.messages.iter().filter_map(notice_of);
        let payload = Payload {
            from,
            bytes: batch.encode(),
            through: notices().map(|notice| notice.through.0).max().unwrap_or(0),
            has_starts: notices().any(|notice| !notice.started.is_empty()),
        };
        self.coverage.notices_batched += u64::from(batch.messages.len() > 1);
        for receiver in (0..self.setup.instances).filter(|receiver| *receiver != from) {
            if to.is_some_and(|to| to != receiver) {
                continue;
            }
            let is_there = self.instances[receiver].is_some();
            if self.bus.is_up(from) && self.bus.is_up(receiver) && is_there {
                self.bus.queues[from][receiver].push_back(payload.clone());
            } else {
                self.coverage.notices_unsent += u64::from(is_there);
                self.bus.lost(receiver, payload.through);
            }
        }
    }

    /// Delivers a payload to an instance, or lets something happen to it. Returns whether there was one.
    pub fn receive(&mut self, instance: usize) -> bool {
        let senders = 0..self.setup.instances;
        let senders: Vec<usize> = senders.filter(|from| !self.bus.queues[*from][instance].is_empty()).collect();
        if senders.is_empty() {
            return false;
        }
        let from = senders[self.below(senders.len())];
        let waiting = self.bus.queues[from][instance].len();
        let place = if !self.calm && self.chance(1, 2) { self.below(waiting) } else { 0 };
        let payload = self.bus.queues[from][instance].remove(place).expect("it is in the queue");
        self.coverage.notices_reordered += u64::from(place > 0);
        if !self.calm && self.chance(1, 15) {
            trace!(self, "instance {instance}: a message from {from} is lost");
            self.coverage.notices_dropped += 1;
            self.bus.lost(instance, payload.through);
            return true;
        }
        if payload.has_starts || self.chance(1, 5) {
            self.bus.repeats[instance].push(payload.clone());
        }
        self.received(instance, &payload);
        true
    }

    /// Delivers a payload once more.
    fn receive_again(&mut self, instance: usize) {
        let count = self.bus.repeats[instance].len();
        if count > 0 {
            self.coverage.notices_repeated += 1;
            let place = self.below(count);
            let payload = self.bus.repeats[instance].swap_remove(place);
            self.received(instance, &payload);
        }
    }

    fn received(&mut self, instance: usize, payload: &Payload) {
        let batch = BusBatch::decode(&payload.bytes).expect("a payload is valid").expect("its version is known");
        let is_of_dead = self.instances[payload.from].as_ref().is_none_or(|process| process.port.name != batch.from);
        self.coverage.notices_of_dead += u64::from(is_of_dead);
        for message in batch.messages {
            match (batch.timeline, message) {
                (TIMELINE, BusMessage::Commit(notice)) => self.noticed(instance, notice),
                (TIMELINE, BusMessage::Answer(started)) => self.answer_received(instance, started),
                (TIMELINE, other) => unreachable!("it is not sent: {other:?}"),
                (timeline, message) => {
                    self.bus.lost(instance, payload.through);
                    if timeline > TIMELINE
                        && let BusMessage::Commit(notice) = message
                    {
                        self.coverage.notices_lacked += 1;
                        self.process(instance).merger.lacks(notice.through);
                    }
                }
            }
        }
    }

    /// Passes a notice to the merger of an instance.
    fn noticed(&mut self, instance: usize, mut notice: CommitNotice) {
        trace!(self, "instance {instance}: notice of {} through {}", notice.before, notice.through);
        let process = self.process(instance);
        let position = process.merger.position();
        notice.started = process.answers.without_known(&notice.started);
        self.coverage.notices += 1;
        self.coverage.notices_early += u64::from(notice.before > position);
        self.coverage.notices_late += u64::from(notice.through <= position && notice.before < notice.through);
        self.note(6, notice.through.0);
        self.starts_noticed(instance, &notice);
        let mut passed = Vec::new();
        let mut committed = Committed::from(notice);
        self.planted.notice(&mut committed, position, &mut passed);
        let merger = &mut self.process(instance).merger;
        merger.committed(committed, |committed| passed.push(committed));
        merger.check_invariants();
        self.distribute(instance, passed);
    }

    /// The bus fails for one instance or for all. Some of what was sent still arrives.
    pub fn bus_fails(&mut self, instance: usize) {
        let is_for_all = self.chance(1, 2);
        let instances = if is_for_all { 0..self.setup.instances } else { instance..instance + 1 };
        trace!(self, "the bus fails for {instances:?}");
        self.coverage.bus_failures += 1;
        for instance in instances {
            self.bus.is_up[instance] = false;
            for from in 0..self.setup.instances {
                self.lose_payloads(from, instance);
            }
        }
    }

    /// Loses the end of the queue from an instance to another one.
    fn lose_payloads(&mut self, from: usize, to: usize) {
        let left = self.below(self.bus.queues[from][to].len() + 1);
        for payload in self.bus.queues[from][to].split_off(left) {
            self.bus.lost(to, payload.through);
        }
    }

    /// An instance has ended. What it has not published is lost, and so is a part of what was on its way.
    pub fn left_bus(&mut self, instance: usize, process: &Process) {
        let is_untold = process.unreported.is_some() || process.port.has_unpublished();
        let position = self.model.position();
        for other in (0..self.setup.instances).filter(|other| *other != instance) {
            if is_untold {
                self.bus.lost(other, position);
            }
            let sent = self.bus.queues[instance][other].len();
            if self.chance(1, 2) {
                self.lose_payloads(instance, other);
            }
            self.coverage.notices_died += (sent - self.bus.queues[instance][other].len()) as u64;
        }
    }

    /// All instances reach the bus again.
    pub fn bus_recovers(&mut self) {
        self.bus.is_up.fill(true);
    }

    /// Asserts that a calm instance that got all notices has all events.
    pub fn check_told(&self, instance: usize, position: u64) {
        let is_told = self.calm && self.bus.has_told(instance, position);
        assert!(!is_told, "instance {instance} stays at {position}, although no notice was lost");
    }
}

fn notice_of(message: &BusMessage) -> Option<&CommitNotice> {
    match message {
        BusMessage::Commit(notice) => Some(notice),
        _ => None,
    }
}
