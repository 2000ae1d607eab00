//! The sockets, with edge-triggered readiness as in the event loop: a shard that misses an output leaves bytes behind.

use crate::link::*;
use crate::model::Expected;
use crate::session::{HEARTBEAT_MILLISECONDS, Moment, Session};
use crate::transcript::{Block, Item, Response};
use crate::world::*;
use cortex_core::internals::Input;
use cortex_core::internals::limits::{TOKEN_LEEWAY_SECONDS, WRITE_BUFFERS_MAX};
use cortex_core::internals::random::mix;
use std::io::IoSlice;

/// Bytes of control events that may wait in addition to events in an outbox.
const CONTROL_BYTES: u64 = 1500;
/// Longer than all timeouts of a connection without a stream.
const IDLE_MILLISECONDS: u64 = 200_000;
/// Maximum number of slices in an outbox of the simulation.
const RUNS_MAX: usize = 512;

impl World {
    /// Some bytes sent by a client reach the server's kernel.
    pub fn arrive(&mut self, id: usize) {
        let take = {
            let link = &self.links[&id];
            let all = link.sending.len();
            if all > 0 && self.chance(1, 2) { 1 + self.below(all) } else { all }
        };
        let now = self.now.mono;
        let link = self.links.get_mut(&id).expect("the link exists");
        link.active_at = now;
        if link.reset {
            link.sending.clear();
            link.reset_arrived = true;
        } else {
            let bytes: Vec<u8> = link.sending.drain(..take).collect();
            link.arrived.extend_from_slice(&bytes);
            link.arrived_end |= link.sending_ends && link.sending.is_empty();
        }
        link.readable = true;
        let shard = link.shard;
        if !std::mem::replace(&mut link.in_ready, true) {
            self.state_mut(shard).ready.push_back(id);
        }
        if self.links[&id].reset_arrived {
            self.writable_edge(id);
        }
    }

    /// A loop reads a connection that is ready.
    pub fn read(&mut self, shard: usize) {
        let Some(id) = self.state_mut(shard).ready.pop_front() else { return };
        let Some(link) = self.links.get_mut(&id).filter(|link| !link.gone) else { return };
        link.in_ready = false;
        let slot = link.slot;
        for _ in 0..2 {
            let Some(link) = self.links.get_mut(&id).filter(|link| !link.gone && link.readable) else { return };
            let process = self.instances[shard / self.setup.shards].as_mut().expect("the instance runs");
            if !process.loops[shard % self.setup.shards].shard.wants_bytes(slot) {
                return;
            }
            if link.reset_arrived {
                link.readable = false;
                self.feed(shard, Input::Failed { slot });
            } else if link.arrived.is_empty() {
                link.readable = false;
                if link.arrived_end {
                    self.feed(shard, Input::Ended { slot });
                }
            } else {
                let bytes = std::mem::take(&mut link.arrived);
                link.fed += bytes.len() as u64;
                trace!(self, "link {id}: the loop reads {}", bytes.len());
                link.readable = link.arrived_end;
                self.feed(shard, Input::Bytes { slot, bytes: &bytes });
            }
        }
        if let Some(link) = self.links.get_mut(&id).filter(|link| !link.gone && link.readable && !link.in_ready) {
            link.in_ready = true;
            self.state_mut(shard).ready.push_back(id);
        }
    }

    /// A loop writes every dirty connection, and those whose sockets have space again.
    pub fn write(&mut self, shard: usize) {
        let now = self.now;
        let state = self.state_mut(shard);
        state.shard.count_finished(now);
        let mut slots = Vec::new();
        state.shard.take_dirty(&mut slots);
        let mut ids: Vec<usize> = slots.iter().filter_map(|slot| state.slots.get(slot).copied()).collect();
        ids.append(&mut state.writable);
        for id in ids {
            self.write_link(id);
        }
    }

    fn write_link(&mut self, id: usize) {
        let Some(link) = self.links.get(&id).filter(|link| !link.gone && link.writable) else { return };
        let (shard, slot, reset, space) =
            (link.shard, link.slot, link.reset_arrived, link.room - (link.taken - link.read));
        let (offered, filled) = {
            let mut slices = [IoSlice::new(&[]); WRITE_BUFFERS_MAX];
            let filled = self.state_mut(shard).shard.outgoing(slot, &mut slices);
            (slices[..filled].iter().map(|slice| slice.len()).sum::<usize>(), filled)
        };
        if filled == 0 {
            return;
        }
        if reset {
            self.feed(shard, Input::Failed { slot });
            return;
        }
        let mut taken = offered.min(space as usize);
        if taken > 0 && self.chance(1, 6) {
            taken = 1 + self.below(taken);
        }
        self.note(1, taken as u64);
        trace!(self, "link {id}: the socket takes {taken} of {offered}");
        let now = self.now.mono;
        let link = self.links.get_mut(&id).expect("the link exists");
        link.writable = taken == offered;
        if taken == 0 {
            return;
        }
        link.taken += taken as u64;
        link.unsent.drain(..taken);
        link.progress_at = now;
        link.active_at = now;
        let (more, room_left) = (link.writable && filled == WRITE_BUFFERS_MAX, link.taken - link.read < link.room);
        let writable = link.writable;
        self.feed(shard, Input::Wrote { slot, bytes: taken });
        if more {
            self.state_mut(shard).writable.push(id);
        } else if !writable && room_left {
            // The kernel took less than its free space, and reports the rest as a new edge.
            self.writable_edge(id);
        }
    }

    fn writable_edge(&mut self, id: usize) {
        let Some(link) = self.links.get_mut(&id).filter(|link| !link.gone && !link.writable) else { return };
        link.writable = true;
        let shard = link.shard;
        self.state_mut(shard).writable.push(id);
    }

    /// A client reads some bytes from its kernel.
    pub fn client_read(&mut self, id: usize) {
        let Some(link) = self.links.get(&id).filter(|link| link.can_read()) else { return };
        let (there, cut) = (link.taken - link.read, link.cut);
        let take = if there > 0 && self.chance(1, 4) { 1 + self.below(there as usize) as u64 } else { there };
        let link = self.links.get_mut(&id).expect("the link exists");
        if !cut {
            link.read += take;
        }
        let mut seen = Vec::new();
        while link.items.front().is_some_and(|(end, ..)| *end <= link.read) {
            seen.extend(link.items.pop_front());
        }
        let over = cut || (link.read == link.taken && (link.ended || link.gone));
        for (_, item, request, remembered) in seen {
            self.client_saw(id, item, request, remembered);
        }
        if over {
            self.client_sees_end(id);
        } else if take > 0 {
            self.writable_edge(id);
        }
    }

    /// Checks what a shard has queued on its connections.
    pub fn observe(&mut self, shard: usize, moment: &Moment) {
        let process = self.instances[self.instance_of(shard)].as_ref().expect("the instance runs");
        let state = &process.loops[shard % self.setup.shards];
        let mut fresh = Vec::new();
        for (&slot, &id) in &state.slots {
            let link = self.links.get_mut(&id).expect("a used slot has a link");
            if link.part_queued.is_some() {
                link.latest_wall = link.latest_wall.max(moment.now.wall);
            }
            let mut slices = [IoSlice::new(&[]); RUNS_MAX];
            let filled = state.shard.outgoing(slot, &mut slices);
            assert!(filled < RUNS_MAX, "an outbox has too many runs");
            let mut known = 0;
            let mut added = Vec::new();
            for slice in &slices[..filled] {
                let old = slice.len().min(link.unsent.len() - known);
                assert!(slice[..old] == link.unsent[known..known + old], "waiting bytes have changed");
                known += old;
                added.extend_from_slice(&slice[old..]);
            }
            assert!(known == link.unsent.len(), "waiting bytes have vanished");
            if !added.is_empty() {
                fresh.push((id, added));
            }
        }
        for (id, added) in fresh {
            self.queued(id, &added, moment);
        }
    }

    fn queued(&mut self, id: usize, added: &[u8], moment: &Moment) {
        let link = self.links.get_mut(&id).expect("the link exists");
        if link.unsent.is_empty() {
            link.progress_at = moment.now.mono;
        }
        link.active_at = moment.now.mono;
        link.unsent.extend_from_slice(added);
        link.queued += added.len() as u64;
        let mut begin = link.queued - added.len() as u64;
        let items = link.transcript.feed(added);
        let mut part_queued = link.part_queued.take();
        let was_stream = link.session.is_some();
        let behind = part_queued.is_some().then(|| {
            let mut behind = moment.clone();
            behind.now.wall = behind.now.wall.max(link.latest_wall);
            behind
        });
        self.note(2, added.len() as u64 ^ mix(id as u64));
        for (end, item) in items {
            // A long event counts from the moment at which its first part was queued.
            let began = part_queued.take();
            let moment = began.as_ref().or(behind.as_ref()).unwrap_or(moment);
            let (mut request, mut remembered) = (None, None);
            match &item {
                Item::Response(response) => request = Some(self.response_queued(id, response, end, moment)),
                Item::Block(block) => {
                    let link = self.links.get_mut(&id).expect("the link exists");
                    let session = link.session.as_mut().expect("blocks follow the head of a stream");
                    let before = self.coverage.given_live + self.coverage.given_by_tail + self.coverage.given_by_page;
                    remembered = session.queued(block, &self.model, moment, &mut self.coverage);
                    let given = self.coverage.given_live + self.coverage.given_by_tail + self.coverage.given_by_page;
                    if given > before {
                        link.frames.push_back((begin, end));
                    }
                    if let Block { id: Some(number), .. } = block {
                        trace!(self, "link {id}: {number} queued ({:?})", moment.doing);
                    }
                }
            }
            begin = end;
            let link = self.links.get_mut(&id).expect("the link exists");
            link.items.push_back((end, item, request, remembered));
        }
        let link = &self.links[&id];
        // The rest of a long event is not in memory.
        let has_rest = self.state(link.shard).shard.outgoing_bytes(link.slot) > link.unsent.len();
        assert!(!was_stream || link.transcript.is_whole() || has_rest, "a stream ends within an event");
        if was_stream && !link.transcript.is_whole() {
            let link = self.links.get_mut(&id).expect("the link exists");
            link.part_queued = Some(part_queued.unwrap_or_else(|| {
                link.latest_wall = moment.now.wall;
                moment.clone()
            }));
        }
        let link = self.links.get_mut(&id).expect("the link exists");
        let (bytes, events) = link.waiting_events();
        assert!(
            link.session.is_none() || events < 2 || bytes <= BUFFER_BYTES as u64 + CONTROL_BYTES,
            "{events} events and {bytes} bytes wait in one outbox"
        );
    }

    /// Checks a response against the oldest request; returns that request.
    fn response_queued(&mut self, id: usize, response: &Response, end: u64, moment: &Moment) -> usize {
        let link = self.links.get_mut(&id).expect("the link exists");
        let at = link.expects.pop_front().expect("every response has a request");
        let request = &self.requests[at];
        trace!(self, "link {id}: answer {} to r{at}", response.status);
        let whole = link.fed >= request.end;
        let own = response.request_id == format!("r{at}");
        assert!(own || (response.status == 408 && !whole), "r{at} gets the response of {}", response.request_id);
        if response.status == 408 {
            assert!(!whole && !response.keep_alive, "a complete request does not time out");
            return at;
        }
        if response.status == 401 {
            assert!(moment.now.wall >= request.expires_at, "r{at} has a valid token");
            return at;
        }
        assert!(whole, "r{at} gets {} before it has arrived", response.status);
        if response.opens_stream {
            let Kind::Stream { stream_client, filter, named, asked } = request.kind.clone() else {
                panic!("r{at} did not request a stream")
            };
            let late = moment.now.wall >= request.expires_at;
            let expires_at = request.expires_at.plus_seconds(if late { TOKEN_LEEWAY_SECONDS } else { 0 });
            let user = self.stream_clients[stream_client].user;
            let mut session = Session::new(user, filter, named, asked, request.known_committed, expires_at);
            session.heartbeat_due = moment.now.mono.plus_milliseconds(2 * HEARTBEAT_MILLISECONDS);
            link.session = Some(session);
            link.stream_from = end;
            return at;
        }
        match &request.kind {
            Kind::Post(_) | Kind::Write => self.check_command_result(at, response),
            Kind::Read => {
                assert!(matches!(response.status, 200 | 403 | 404 | 503), "r{at} gets {}", response.status);
                let position = response.position.unwrap_or(u64::MAX);
                assert!(
                    response.status != 200
                        || (request.known_committed..=self.model.position()).contains(&position)
                        || response.position.is_none(),
                    "r{at} was read at {position}, and {} was known when it was sent",
                    request.known_committed
                );
            }
            Kind::Stream { .. } => {
                self.coverage.streams_rejected += 1;
                // An `EventSource` does not reconnect after any status other than 200.
                let later = response.status == 200 && response.body.starts_with(b"retry: ");
                assert!(later || matches!(response.status, 403 | 404 | 429), "a stream gets {}", response.status);
            }
            Kind::Renew { stream_client, stream_id, expires_at } => {
                assert!(matches!(response.status, 200 | 409), "r{at} gets {}", response.status);
                if response.status == 200 {
                    let (stream_id, expires_at) = (stream_id.clone(), *expires_at);
                    let stream_client = *stream_client;
                    self.renewed(stream_client, &stream_id, expires_at);
                }
            }
        }
        at
    }

    fn check_command_result(&mut self, at: usize, response: &Response) {
        let expected = self.requests[at].expected.clone();
        let expected = expected.unwrap_or_else(|| panic!("r{at} gets a response before it was executed"));
        let Expected { status, body, number, replayed } = expected;
        assert_eq!(response.status, status, "r{at}: {}", String::from_utf8_lossy(&response.body));
        assert!(body.is_none_or(|body| body == response.body), "r{at}: {}", String::from_utf8_lossy(&response.body));
        assert_eq!((response.event_id, response.replayed), (number, replayed), "r{at}");
        if status != 200 {
            self.coverage.rejected += 1;
        }
    }

    fn renewed(&mut self, stream_client: usize, stream_id: &str, expires_at: cortex_core::internals::WallTime) {
        self.coverage.renewals += 1;
        let link = self.stream_clients[stream_client].link.and_then(|link| self.links.get_mut(&link));
        if let Some(session) = link.and_then(|link| link.session.as_mut()).filter(|s| s.stream_id == stream_id) {
            session.expires_at = session.expires_at.max(expires_at);
        }
    }

    /// After a tick, every expired deadline must have had its effect. `waited` had output before the tick.
    pub fn check_deadlines(&mut self, shard: usize, waited: &[usize]) {
        let now = self.now;
        let process = self.instances[self.instance_of(shard)].as_ref().expect("the instance runs");
        let state = &process.loops[shard % self.setup.shards];
        for (&slot, &id) in &state.slots {
            let link = self.links.get_mut(&id).expect("a used slot has a link");
            let Some(session) = &mut link.session else {
                // A connection that waits for the store has no deadline until the response.
                let waits = !state.shard.wants_bytes(slot);
                let idle = link.active_at.plus_milliseconds(IDLE_MILLISECONDS) < now.mono;
                assert!(!idle || waits, "link {id} is idle and not closed");
                continue;
            };
            let stalled = link.progress_at.plus_milliseconds(2 * STALL_MILLISECONDS) < now.mono;
            assert!(link.unsent.is_empty() || !stalled, "link {id} takes nothing and is not closed");
            if session.ended {
                continue;
            }
            // The rest of a long event waits to be read again.
            let has_rest = state.shard.outgoing_bytes(slot) > link.unsent.len();
            if has_rest || waited.contains(&id) {
                session.heartbeat_due = now.mono.plus_milliseconds(2 * HEARTBEAT_MILLISECONDS);
            }
            assert!(now.mono < session.heartbeat_due, "link {id} has no heartbeat");
            let end = session.expires_at.plus_seconds(6);
            // After the rest of a long event, the stream ends.
            assert!(has_rest || now.wall < end, "the token of link {id} has expired, and its stream continues");
        }
    }
}
