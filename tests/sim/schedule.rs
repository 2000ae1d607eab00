//! The scheduler of the simulation: it picks the next step, and brings everything to rest.

use crate::model::Model;
use crate::session::HEARTBEAT_MILLISECONDS;
use crate::world::*;
use cortex_core::internals::Random;
use cortex_core::internals::random::mix;
use std::sync::atomic::Ordering::Relaxed;

/// Maximum number of turns until the world is idle. A long event takes one turn for each part that a stream holds.
const TURNS_MAX: usize = 100_000;
/// Buffer space of every socket in the final phase, which shortens it.
const ROOM_AT_REST: u64 = 64 * 1024;
/// Time after which a failed page is requested again, in microseconds.
const RETRY_MICROSECONDS: u64 = 300_000;

impl World {
    /// Runs until the final idle state.
    pub fn run(&mut self) {
        for step in 0..self.setup.steps {
            if !self.form.takes(step) {
                continue;
            }
            self.random = Random::new(mix(self.seed ^ mix(step)));
            self.next_step();
            self.one_step();
            if self.chance(1, 400) {
                self.rest();
            }
        }
        self.rest();
        self.coverage.seeds = 1;
        self.coverage.steps = self.step.load(Relaxed);
        let (position, now) = (self.model.position(), self.now.mono.0);
        self.note(4, position);
        self.note(5, now);
    }

    fn next_step(&mut self) {
        self.step.fetch_add(1, Relaxed);
        if self.step.load(Relaxed).is_multiple_of(64) {
            self.sweep();
        }
    }

    fn one_step(&mut self) {
        let instance = self.below(self.setup.instances);
        let shard = self.shards_of(instance).start + self.below(self.setup.shards);
        // The last steps are those of the bus.
        let choice = self.below(if self.setup.instances > 1 { 1200 } else { 1000 });
        // Clients, the network and the clock do not depend on the instance.
        if !self.is_active(instance) && !matches!(choice, 0..350 | 560..690 | 950..970) {
            return self.inactive_step(instance);
        }
        match choice {
            0..150 => {
                let agent = self.below(self.agents.len());
                self.agent_acts(agent);
            }
            150..200 => {
                let stream_client = self.below(self.stream_clients.len());
                self.listen(stream_client);
            }
            200..350 => {
                if let Some(id) = self.pick(|link| link.can_arrive()) {
                    self.arrive(id);
                }
            }
            350..450 => self.read(shard),
            450..560 => self.write(shard),
            560..690 => {
                if let Some(id) = self.pick(|link| link.can_read()) {
                    self.client_read(id);
                }
            }
            690..770 => {
                self.writer_step(instance);
                if self.process(instance).unreported.is_some() && self.chance(1, 20) {
                    self.crash(instance);
                }
            }
            770..790 => {
                #[cfg(feature = "cluster")]
                if self.chance(self.setup.follow_percent, 100) {
                    // While notices come, it is read rarely what others have committed.
                    let has_reason = self.process(instance).merger.is_behind() || !self.bus.is_up(instance);
                    if has_reason || self.chance(1, 10) {
                        self.follow(instance);
                    }
                }
            }
            790..860 => {
                let reader = self.below(2);
                self.reader_step(instance, reader);
            }
            860..950 => self.handle_message(shard),
            950..970 => self.pass_time(),
            970..1000 => self.inject_fault(instance),
            _ =>
            {
                #[cfg(feature = "cluster")]
                self.bus_step(instance)
            }
        }
        self.end_of_drain(instance);
    }

    /// An instance that does not run is started after a while, and one that is stopped goes on.
    fn inactive_step(&mut self, instance: usize) {
        if !self.chance(1, 30) {
            return;
        }
        match &mut self.instances[instance] {
            None => self.start(instance),
            Some(process) => {
                process.stopped = false;
                trace!(self, "instance {instance}: goes on");
            }
        }
    }

    fn inject_fault(&mut self, instance: usize) {
        match self.below(60) {
            0..8 => {
                if let Some(id) = self.pick(|link| !link.client_done) {
                    self.reset(id);
                }
            }
            8..12 => {
                if let Some(id) = self.pick(|link| !link.client_done) {
                    self.half_close(id);
                }
            }
            12..24 => {
                if let Some(id) = self.pick(|link| !link.client_done && !link.stalled && link.session.is_some()) {
                    self.links.get_mut(&id).expect("the link exists").stalled = true;
                }
            }
            24..40 => {
                if let Some(id) = self.pick(|link| link.stalled) {
                    self.links.get_mut(&id).expect("the link exists").stalled = false;
                }
            }
            40..54 => self.maintain(instance),
            54..56 => self.crash(instance),
            56 if !self.process(instance).draining => self.drain(instance),
            #[cfg(feature = "cluster")]
            58 if self.setup.instances > 1 => self.bus_fails(instance),
            57 if self.setup.instances > 1 => {
                trace!(self, "instance {instance}: stopped");
                self.coverage.stops += 1;
                self.process(instance).stopped = true;
            }
            _ => {}
        }
    }

    fn end_of_drain(&mut self, instance: usize) {
        let Some(process) = self.instances[instance].as_ref().filter(|process| process.draining && !process.stopped)
        else {
            return;
        };
        let drained = process.loops.iter().all(|state| state.drained);
        if drained || self.chance(1, 60) {
            self.end(instance);
        }
    }

    fn pass_time(&mut self) {
        let active = self.instances.iter().flatten().filter(|process| !process.stopped);
        let next = active.flat_map(|process| &process.loops).filter_map(|state| state.shard.poll_timeout()).min();
        let micros = match self.below(40) {
            0..20 => self.random.below(50_000),
            20..32 => next.map_or(1000, |at| at.since(self.now.mono)),
            32..38 => self.random.below(8_000_000),
            38 => self.random.below(100_000_000),
            _ if self.chance(1, 4) => {
                self.posts.iter_mut().for_each(|post| post.aged = true);
                self.coverage.days += 1;
                25 * 3600 * 1_000_000
            }
            _ => 0,
        };
        self.advance(micros);
        if self.chance(1, 20) {
            self.now.wall.0 -= self.random.below(2_000_000) as i64;
        }
    }

    fn advance(&mut self, micros: u64) {
        self.now.mono = self.now.mono.plus(micros);
        self.now.wall.0 += micros as i64;
        trace!(self, "{micros} microseconds pass");
        for instance in 0..self.setup.instances {
            if self.is_active(instance) {
                self.shards_of(instance).for_each(|shard| self.tick(shard));
            }
        }
    }

    fn pick(&mut self, good: impl Fn(&crate::link::Link) -> bool) -> Option<usize> {
        let all: Vec<usize> = self.links.iter().filter(|(_, link)| good(link)).map(|(id, _)| *id).collect();
        if all.is_empty() { None } else { Some(all[self.below(all.len())]) }
    }

    /// All clients read, nothing fails, and no new work starts, until nothing is left to do; then everything must be
    /// complete.
    pub fn rest(&mut self) {
        trace!(self, "everything comes to rest");
        self.coverage.rests += 1;
        for instance in 0..self.setup.instances {
            match &mut self.instances[instance] {
                None => self.start(instance),
                Some(process) => process.stopped = false,
            }
        }
        for instance in 0..self.setup.instances {
            if self.process(instance).draining {
                self.settle();
                self.end(instance);
            }
            if self.instances[instance].is_none() {
                self.start(instance);
            }
        }
        // Messages with a key are sent until they get a response, failed pages are requested again, and all streams
        // reconnect; each of these may take another round.
        self.calm = true;
        #[cfg(feature = "cluster")]
        self.bus_recovers();
        for _ in 0..40 {
            self.settle();
            let rejected = self.rejected_so_far();
            let more = self.resend_posts() | self.reopen_streams();
            self.settle();
            self.advance(RETRY_MICROSECONDS);
            self.settle();
            if !more && rejected == self.rejected_so_far() && self.stream_clients.iter().all(|l| l.link.is_some()) {
                break;
            }
        }
        // A step of maintenance that failed is not due again by itself.
        for instance in 0..self.setup.instances {
            loop {
                self.poll_external_writes(instance);
                self.maintain(instance);
                if !self.maintenance_is_due(instance) {
                    break;
                }
            }
        }
        self.settle();
        self.check_rest();
        self.check_rows();
        self.process(0).writer.check_search_index();
        self.advance(HEARTBEAT_MILLISECONDS * 1000 + 1000);
        self.settle();
        self.check_heartbeats();
        self.calm = false;
    }

    fn rejected_so_far(&self) -> u64 {
        self.coverage.reader_overloads + self.coverage.writer_overloads + self.coverage.streams_rejected
    }

    /// Does everything that can be done without time passing.
    fn settle(&mut self) {
        for link in self.links.values_mut() {
            link.stalled = false;
            link.room = link.room.max(ROOM_AT_REST);
        }
        for _ in 0..TURNS_MAX {
            self.next_step();
            let mut done = 0;
            let ids: Vec<usize> = self.links.keys().copied().collect();
            for id in ids {
                done += self.turn_link(id);
            }
            for instance in 0..self.setup.instances {
                done += self.turn_instance(instance);
            }
            // What a notice may still tell is not read.
            #[cfg(feature = "cluster")]
            if done == 0 {
                done += (0..self.setup.instances).filter(|instance| self.follow(*instance)).count();
            }
            if done == 0 {
                self.sweep();
                return;
            }
        }
        panic!("the world does not become idle");
    }

    fn turn_instance(&mut self, instance: usize) -> usize {
        let mut done = 0;
        for shard in self.shards_of(instance) {
            let state = self.state(shard);
            let busy = !state.ready.is_empty()
                || !state.mailbox.is_empty()
                || !state.messages.is_empty()
                || !state.writable.is_empty()
                || state.shard.has_dirty();
            done += usize::from(busy);
            self.handle_message(shard);
            self.read(shard);
            self.write(shard);
        }
        let process = self.process(instance);
        done += process.deliveries.len() + process.commands.len() + process.queries.len();
        done += usize::from(process.unreported.is_some());
        done += process.readers.iter().filter(|(_, message)| message.is_some()).count();
        self.writer_step(instance);
        self.reader_step(instance, 0);
        self.reader_step(instance, 1);
        #[cfg(feature = "cluster")]
        {
            done += usize::from(self.publish(instance)) + usize::from(self.receive(instance));
        }
        done
    }

    fn turn_link(&mut self, id: usize) -> usize {
        let mut done = 0;
        if self.links[&id].can_arrive() {
            self.arrive(id);
            done += 1;
        }
        if self.links[&id].can_read() {
            self.client_read(id);
            done += 1;
        }
        done
    }

    /// Sends every message with a key and without a response again.
    fn resend_posts(&mut self) -> bool {
        let open = |post: &crate::link::PostedMessage| post.is_open() && post.pending == 0;
        let open: Vec<usize> = (0..self.posts.len()).filter(|place| open(&self.posts[*place])).collect();
        for place in &open {
            let user = self.posts[*place].user;
            if let Some(agent) = self.agents.iter().position(|agent| agent.user == user)
                && let Some(link) = self.agent_link(agent)
            {
                self.send_post(link, *place);
            }
        }
        !open.is_empty()
    }

    fn reopen_streams(&mut self) -> bool {
        let idle: Vec<usize> = (0..self.stream_clients.len())
            .filter(|stream_client| self.stream_clients[*stream_client].link.is_none())
            .collect();
        for stream_client in &idle {
            self.listen(*stream_client);
        }
        !idle.is_empty()
    }

    /// Checks that nothing is pending, every request has its response, and every stream is complete.
    fn check_rest(&mut self) {
        for shard in 0..self.setup.instances * self.setup.shards {
            let state = self.state(shard);
            assert!(state.messages.is_empty() && state.mailbox.is_empty(), "shard {shard} has messages");
        }
        let unnotified = |workspace: &crate::model::Workspace| workspace.unnotified != 0;
        assert!(!self.model.workspaces.iter().any(unnotified), "a participant is not notified of a deletion");
        let position = self.model.position();
        for state in self.instances.iter().flatten().flat_map(|process| &process.loops) {
            assert!(state.position == position || state.slots.is_empty(), "a shard stays at {}", state.position);
        }
        let (model, requests): (&Model, _) = (&self.model, &self.requests);
        for (id, link) in &mut self.links {
            assert!(link.unsent.is_empty(), "link {id}: bytes are unwritten although the socket has space");
            assert!(link.arrived.is_empty() || link.gone, "link {id}: bytes are unread");
            for at in &link.expects {
                let whole = link.fed >= requests[*at].end;
                assert!(!whole || link.gone, "link {id}: r{at} has no response");
            }
            let Some(session) = &mut link.session else { continue };
            if session.ended || link.client_done || link.gone || link.ended {
                continue;
            }
            assert!(session.established);
            session.check_complete(model);
            let replays = session.asked != crate::session::Asked::Now;
            assert!(!replays || session.caught_up, "link {id}: the replay does not end");
        }
        for post in &self.posts {
            assert!(!post.is_open(), "a message has no response");
        }
        for stream_client in &self.stream_clients {
            assert!(stream_client.link.is_some(), "a client cannot reconnect");
        }
    }

    /// Checks that every open stream reports the journal's end.
    fn check_heartbeats(&mut self) {
        let position = self.model.position();
        for (id, link) in &self.links {
            let Some(session) = &link.session else { continue };
            if session.ended || link.client_done || link.gone || link.ended {
                continue;
            }
            assert_eq!(session.complete, position, "link {id}: the heartbeat has another number");
            let stream_client = self.stream_clients.iter().find(|stream_client| stream_client.link == Some(*id));
            let seen = stream_client.expect("a stream has its client").seen.last();
            assert_eq!(seen, Some(&position), "link {id}: the client did not receive it");
        }
    }
}
