//! The publisher thread: sends messages to other instances.

use crate::base::limits::{BUS_BEAT_MILLISECONDS, BUS_COUNTS_MILLISECONDS, BUS_RETRY_MILLISECONDS};
use crate::bus::{BusAddress, Publisher};
use crate::domain::bus_message::BusMessage;
use crate::runtime::bus_port::{Addressed, BusPort};
use crate::runtime::distributor::Distributor;
use crate::wire::bus_message::BusBatch;
use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

/// Longest time between two messages.
const BEAT: Duration = Duration::from_millis(BUS_BEAT_MILLISECONDS);
/// Time between two messages with all that this process counts.
const ALL_COUNTS: Duration = Duration::from_millis(BUS_COUNTS_MILLISECONDS);
/// Time between two attempts to connect.
const RETRY: Duration = Duration::from_millis(BUS_RETRY_MILLISECONDS);

/// Publishes the messages of the port, until it has ended. Those for which the server is not reached are dropped.
pub(crate) fn publish(port: &BusPort, address: &BusAddress, distributor: &Distributor) {
    let mut publisher = None;
    let mut all_counted_at = Instant::now();
    while let Some(mut messages) = port.take(BEAT) {
        distributor.end_late_queries();
        messages.extend(distributor.changed_counts().map(|counts| (None, counts)));
        // Those that were lost are sent again.
        if all_counted_at.elapsed() > ALL_COUNTS {
            all_counted_at = Instant::now();
            messages.push_back((None, distributor.counts()));
        }
        if messages.is_empty() {
            messages.push_back((None, BusMessage::Beat));
        }
        let published = match &mut publisher {
            Some(publisher) => Ok(publisher),
            none => Publisher::open(address).map(|opened| none.insert(opened)),
        };
        if let Err(error) = published.and_then(|publisher| publisher.publish(&payloads(port, messages))) {
            log::debug!("messages to other instances are not published: {error}");
            publisher = None;
            if !port.has_ended() {
                thread::sleep(RETRY);
            }
        }
    }
}

/// The messages as payloads with their channels. Consecutive messages to the same instances share one.
fn payloads(port: &BusPort, mut messages: VecDeque<Addressed>) -> Vec<(String, Vec<u8>)> {
    let mut payloads = Vec::new();
    while let Some((to, message)) = messages.pop_front() {
        let mut batch = BusBatch { from: port.name, timeline: port.timeline(), messages: vec![message] };
        while messages.front().is_some_and(|(next, _)| *next == to)
            && let Some((_, message)) = messages.pop_front()
        {
            batch.messages.push(message);
        }
        payloads.push((port.channel(to), batch.encode()));
    }
    payloads
}
