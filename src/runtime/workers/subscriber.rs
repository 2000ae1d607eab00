//! The subscriber thread: receives the messages of other instances.

use crate::base::limits::{BUS_BEAT_MILLISECONDS, BUS_RETRY_MILLISECONDS, BUS_SILENCE_MILLISECONDS};
use crate::base::metrics;
use crate::bus::{self, BusAddress};
use crate::domain::bus_message::BusMessage;
use crate::domain::id::{InstanceName, MessageId};
use crate::domain::live_answer::TextRequest;
use crate::runtime::bus_port::BusPort;
use crate::runtime::clock::Clock;
use crate::runtime::distributor::Distributor;
use crate::wire::bus_message::BusBatch;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

/// Longest time between two checks whether messages still go through.
const CHECK: Duration = Duration::from_millis(BUS_BEAT_MILLISECONDS);
/// Time between two attempts to connect.
const RETRY: Duration = Duration::from_millis(BUS_RETRY_MILLISECONDS);
/// How long a process may not receive its own messages before the bus counts as broken.
const SILENCE_MAX: Duration = Duration::from_millis(BUS_SILENCE_MILLISECONDS);
/// Shortest time between two requests for the text of an answer.
const REQUEST_PAUSE: Duration = Duration::from_millis(250);
/// Most answers whose last request is remembered.
const REQUESTS_MAX: usize = 1024;

/// Receives messages, and distributes them, until the port has ended.
pub(crate) fn receive(port: &BusPort, address: &BusAddress, distributor: &Distributor, clock: Clock) {
    let channels = [port.channel(None), port.channel(Some(port.name))];
    let mut receiver = Receiver { port, distributor, clock, heard_at: HashMap::new(), requested: HashMap::new() };
    let mut has_failed = false;
    while !port.has_ended() {
        let mut heard_at = Instant::now();
        let received = bus::subscribe(address, &channels, CHECK, |payload| {
            if payload.is_some_and(|payload| receiver.payload(payload)) {
                heard_at = Instant::now();
                if distributor.set_bus_up(true) {
                    log::info!("the bus to other instances works");
                    has_failed = false;
                }
            }
            receiver.forget_silent(SILENCE_MAX);
            // The publisher may wait for the server.
            distributor.end_late_queries();
            if port.has_ended() || heard_at.elapsed() > SILENCE_MAX {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        distributor.set_bus_up(false);
        receiver.forget_silent(Duration::ZERO);
        if port.has_ended() {
            return;
        }
        if !has_failed {
            let reason = received.err().map_or("no messages come back".into(), |error| error.to_string());
            log::warn!("the bus to other instances does not work, so their events come later: {reason}");
            has_failed = true;
        }
        thread::sleep(RETRY);
    }
}

struct Receiver<'a> {
    port: &'a BusPort,
    distributor: &'a Distributor,
    clock: Clock,
    /// When other instances were heard last.
    heard_at: HashMap<InstanceName, Instant>,
    /// When the text of an answer was requested.
    requested: HashMap<MessageId, Instant>,
}

impl Receiver<'_> {
    /// Takes a payload. Returns whether it is from this process.
    fn payload(&mut self, payload: &[u8]) -> bool {
        let batch = match BusBatch::decode(payload) {
            Ok(Some(batch)) => batch,
            Ok(None) => return false,
            Err(error) => {
                log::debug!("a message on the bus is invalid: {error}");
                metrics::BUS_MESSAGES_INVALID.add(1);
                return false;
            }
        };
        if batch.from == self.port.name {
            return true;
        }
        if self.heard_at.insert(batch.from, Instant::now()).is_none() {
            self.port.set_heard(self.heard_at.len());
            self.port.send_to(batch.from, BusMessage::CountsWanted);
        }
        // A process that uses a server which was replaced, or has seen a newer one, does not continue this journal.
        let order = batch.timeline.cmp(&self.port.timeline());
        for message in batch.messages {
            match (order, message) {
                (Ordering::Equal, message) => self.message(batch.from, message),
                (Ordering::Greater, BusMessage::Commit(notice)) => self.distributor.lacks(notice.through),
                (Ordering::Greater | Ordering::Less, _) => {}
            }
        }
        false
    }

    /// Forgets what instances count of which nothing was heard for so long.
    fn forget_silent(&mut self, silence: Duration) {
        for (instance, _) in self.heard_at.extract_if(|_, at| at.elapsed() >= silence) {
            self.distributor.forget_instance(instance);
        }
        self.port.set_heard(self.heard_at.len());
    }

    fn message(&mut self, from: InstanceName, message: BusMessage) {
        match message {
            BusMessage::Beat => {}
            BusMessage::Commit(notice) => {
                metrics::NOTICES.add(1);
                self.distributor.noticed(notice);
            }
            BusMessage::Status(change) => self.distributor.status_received(&change),
            BusMessage::Text(part) => {
                if let Some(request) = self.distributor.text_received(from, &part) {
                    self.request(from, request);
                }
            }
            BusMessage::TextWanted(request) => {
                for message in self.distributor.text_wanted(request) {
                    self.port.send_to(from, message);
                }
            }
            BusMessage::Answer(started) => self.distributor.answer_received(started),
            BusMessage::CountsWanted => self.port.send_to(from, self.distributor.counts()),
            BusMessage::Counts(counts) => {
                self.distributor.counts_received(from, counts, self.clock.now().mono);
            }
            BusMessage::Query(number, query) => {
                let answer = self.distributor.answer_query(&query);
                self.port.send_to(from, BusMessage::QueryAnswered(number, answer));
            }
            BusMessage::QueryAnswered(number, answer) => {
                if let Some(response) = self.port.answered(from, number, answer) {
                    self.distributor.peers_answered(response);
                }
            }
        }
    }

    /// Requests text, unless that was done a moment ago.
    fn request(&mut self, from: InstanceName, request: TextRequest) {
        let now = Instant::now();
        if self.requested.get(&request.message_id).is_some_and(|at| now.duration_since(*at) < REQUEST_PAUSE) {
            return;
        }
        if self.requested.len() >= REQUESTS_MAX {
            self.requested.clear();
        }
        self.requested.insert(request.message_id, now);
        self.port.send_to(from, BusMessage::TextWanted(request));
    }
}
