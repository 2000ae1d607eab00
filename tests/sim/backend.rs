//! The threads of the writer and the readers, one step at a time, their messages to the loops, and faults of the
//! database.

use crate::database::is_on_server;
use crate::model::{Expected, Fault, Filter, Loss, Model, Users};
use crate::world::*;
use cortex_core::internals::commit_routing::route_commit;
use cortex_core::internals::mailbox::bound_events;
use cortex_core::internals::{
    Command, Committed, ConversationRef, EventKind, EventNumber, Input, JournalPage, MaintenanceDue, Now, Query,
    QueryKind, QueryResponse, QueryResult, QueryStep, Rejection, ShardMessage, StreamFilter, UserId, WorkspaceId, wire,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Maximum number of events in a page, by the store's limit.
const PAGE_EVENTS_MAX: usize = cortex_core::internals::limits::PAGE_EVENTS_MAX;

const LOSSES: [Loss; 3] = [Loss::BeforeTransaction, Loss::BeforeCommit, Loss::AfterCommit];

impl World {
    /// Advances the writer's thread by one step: it delivers a message, or reports its last commit, or commits the next one.
    pub fn writer_step(&mut self, instance: usize) {
        let process = self.process(instance);
        if let Some(delivery) = process.deliveries.pop_front() {
            match delivery {
                Delivery::Announce(through) => {
                    process.shared.streams.advance_position(through);
                    process.known_committed = process.known_committed.max(through.0);
                    self.known_committed = self.known_committed.max(through.0);
                }
                Delivery::Share(place, committed) => {
                    let shard = self.shards_of(instance).start + place;
                    self.enqueue_message(shard, ShardMessage::Committed(committed));
                }
            }
            return;
        }
        if let Some(committed) = process.unreported.take() {
            return self.report(instance, committed);
        }
        if process.commands.is_empty() {
            self.poll_external_writes(instance);
            if self.maintenance_is_due(instance) {
                self.maintain(instance);
            }
            return;
        }
        let waiting = process.commands.len();
        let count = 1 + self.below(waiting.min(8));
        let commands = self.process(instance).commands.take(count);
        // Few seeds run on a server.
        let fault = match self.below(if is_on_server() { 20 } else { 40 }) {
            _ if self.calm => Fault::None,
            0 => Fault::Full,
            1 => Fault::Busy,
            2 => Fault::Commit(1 + self.below(3) as u32),
            3 if is_on_server() => Fault::Lost(LOSSES[self.below(3)]),
            _ => Fault::None,
        };
        self.commit(instance, commands, fault);
    }

    /// An idle writer reads what others have changed.
    pub fn poll_external_writes(&mut self, instance: usize) {
        if let Some(changes) = self.process(instance).writer.poll_external_writes() {
            self.report(instance, changes);
        }
    }

    /// Commits a batch, in the store and in the model.
    pub fn commit(&mut self, instance: usize, commands: Vec<Command>, fault: Fault) {
        let now = self.commit_clocks();
        let age = self.age(instance);
        self.begin_fault(instance, fault);
        #[cfg(feature = "cluster")]
        self.planted.begin_step(self.instances[instance].as_mut().expect("the instance runs"));
        let process = self.process(instance);
        #[cfg_attr(not(feature = "cluster"), expect(unused_mut))]
        let mut committed = process.writer.commit_batch(&commands, now);
        self.end_fault(instance, fault);
        trace!(
            self,
            "instance {instance}: commit of {} under {fault:?}: {} through {}",
            commands.len(),
            committed.before,
            committed.through
        );
        self.coverage.commits += 1;
        self.coverage.commands += commands.len() as u64;
        let from = self.model.journal.len();
        let expected = self.model.commit(&commands, &committed, age, fault);
        self.count_failures(fault, &expected);
        for (correlation_id, response) in expected {
            self.coverage.replayed += u64::from(response.replayed);
            self.coverage.keys_reused += u64::from(response.status == 422);
            self.requests[request_of(&correlation_id)].expected = Some(response);
        }
        for entry in &self.model.journal[from..] {
            trace!(self, "{} {:?} to {:b}", entry.event.number, entry.event.kind, entry.recipients);
            self.coverage.departures += u64::from(entry.event.kind == EventKind::ConversationLeft);
            let deletes = matches!(entry.event.kind, EventKind::ConversationDeleted | EventKind::WorkspaceDeleted);
            self.coverage.deletions += u64::from(deletes);
            self.coverage.messages_changed += u64::from(entry.event.kind == EventKind::MessageUpdated);
            self.coverage.messages_deleted += u64::from(entry.event.kind == EventKind::MessageDeleted);
        }
        self.note(3, committed.through.0);
        self.check_on_disk(&committed);
        #[cfg(feature = "cluster")]
        {
            self.start_answer(instance, &mut committed);
            let last = self.model.journal.last().map(|entry| &*entry.event);
            if let Some(failed) = last.and_then(|last| self.planted.failed_commit(&committed, last)) {
                self.notify(instance, &failed);
            }
        }
        if self.setup.instances > 1 && !self.calm && self.chance(1, 4) {
            self.process(instance).unreported = Some(committed);
        } else {
            self.report(instance, committed);
        }
    }

    /// The clocks as the writer reads them: for some commits, the wall clock is far ahead.
    fn commit_clocks(&mut self) -> Now {
        let mut now = self.now;
        if !self.calm && self.chance(1, 100) {
            now.wall = now.wall.plus_seconds([2 * 3600, 10 * 86_400][self.below(2)]);
            self.coverage.clock_jumps += 1;
        }
        now
    }

    /// The age of the database, which the writer counts from its start, and which another writer may have raised.
    fn age(&mut self, instance: usize) -> i64 {
        let now = self.now.mono;
        let process = self.process(instance);
        let own = process.age_at_open + now.since(process.opened_at) as i64;
        own.max(self.database.number("SELECT age FROM journal_head", &[]))
    }

    fn count_failures(&mut self, fault: Fault, expected: &[(Arc<str>, Expected)]) {
        if !expected.iter().any(|(_, response)| matches!(response.status, 500 | 503)) {
            self.coverage.batches_failed += u64::from(matches!(fault, Fault::Commit(_)));
            return;
        }
        match fault {
            Fault::None => {}
            Fault::Full => self.coverage.full += 1,
            Fault::Busy => self.coverage.busy += 1,
            Fault::Commit(_) => self.coverage.commits_failed += 1,
            Fault::Lost(_) => {}
        }
    }

    fn begin_fault(&mut self, instance: usize, fault: Fault) {
        let process = self.instances[instance].as_mut().expect("the instance runs");
        self.database.begin_fault(fault, &mut process.writer);
    }

    fn end_fault(&mut self, instance: usize, fault: Fault) {
        let process = self.instances[instance].as_mut().expect("the instance runs");
        self.database.end_fault(fault, &mut process.writer);
        match fault {
            Fault::Lost(Loss::AfterCommit) => self.coverage.replies_lost += 1,
            Fault::Lost(_) => self.coverage.sessions_lost += 1,
            _ => {}
        }
    }

    /// Checks that the journal on disk has the commit before it is announced.
    fn check_on_disk(&self, committed: &Committed) {
        let position = self.database.number("SELECT number FROM journal_head", &[]);
        // A writer that could not begin a transaction does not know what others have committed.
        if committed.events.is_empty() {
            assert!(committed.through.0 <= position as u64, "a batch ends beyond the journal on disk");
            return;
        }
        assert_eq!(position as u64, committed.through.0, "an announced batch is not the end of the journal on disk");
        for event in committed.events.iter() {
            // An event deleted by a later command of the batch has no row.
            if event.kind == EventKind::Input
                && self.model.entry(event.number.0).is_some_and(|entry| self.model.is_deleted(entry))
            {
                continue;
            }
            let table = if event.kind == EventKind::Input { "messages" } else { "state_events" };
            let query = format!("SELECT count(*) FROM {table} WHERE number = ?1");
            let found = self.database.number(&query, &[(event.number.0 as i64).into()]);
            assert_eq!(found, 1, "event {} is announced and not on disk", event.number);
        }
    }

    /// Passes a commit to the merger.
    #[cfg_attr(not(feature = "cluster"), expect(unused_mut))]
    fn report(&mut self, instance: usize, mut committed: Committed) {
        #[cfg(feature = "cluster")]
        {
            self.notify(instance, &committed);
            self.starts_reported(instance, &committed);
            self.plant(instance, &mut committed);
        }
        let mut passed = Vec::new();
        self.process(instance).merger.committed(committed, |committed| passed.push(committed));
        self.distribute(instance, passed);
    }

    /// Changes a commit as the planted mistake does.
    #[cfg(feature = "cluster")]
    fn plant(&mut self, instance: usize, committed: &mut Committed) {
        let process = self.instances[instance].as_mut().expect("the instance runs");
        self.planted.report(committed, process.merger.position(), process.own_position);
        process.own_position = committed.through;
    }

    /// Sends commits to the shards of an instance.
    pub fn distribute(&mut self, instance: usize, passed: Vec<Committed>) {
        #[cfg(feature = "cluster")]
        {
            passed.iter().for_each(|committed| self.update_answers(instance, committed));
            let recent = &mut self.process(instance).recent;
            passed.iter().for_each(|committed| recent.committed(committed));
            recent.check_invariants();
            self.check_answers(instance);
        }
        let shards = self.setup.shards;
        let deliveries = &mut self.process(instance).deliveries;
        for committed in passed {
            deliveries.push_back(Delivery::Announce(committed.through));
            let routed = route_commit(committed, shards);
            assert!(routed.responder_results.is_empty(), "a result without a connection that waits for it");
            deliveries.extend(routed.shards.into_iter().map(|(shard, share)| Delivery::Share(shard, share)));
        }
    }

    pub fn enqueue_message(&mut self, shard: usize, mut message: ShardMessage) {
        let bytes_max = self.setup.mailbox_bytes;
        let (instance, place) = (self.instance_of(shard), shard % self.setup.shards);
        let state = &mut self.instances[instance].as_mut().expect("the instance runs").loops[place];
        if let ShardMessage::Committed(committed) = &mut message {
            let events = committed.events.len();
            bound_events(committed, &mut state.mailbox_bytes, bytes_max);
            self.coverage.mails_bounded += u64::from(committed.events.len() < events);
        }
        state.mailbox.push(message);
    }

    /// Handles the next message of a loop.
    pub fn handle_message(&mut self, shard: usize) {
        let state = self.state_mut(shard);
        if state.messages.is_empty() {
            state.messages.extend(state.mailbox.drain(..));
            state.mailbox_bytes = 0;
        }
        let Some(message) = state.messages.pop_front() else { return };
        self.feed(shard, Input::Message(message));
    }

    /// Runs the next query of a reader, or delivers its pending result.
    pub fn reader_step(&mut self, instance: usize, reader: usize) {
        if let Some(message) = self.process(instance).readers[reader].1.take() {
            let to = match &message {
                ShardMessage::QueryResponse(response) => response.to,
                ShardMessage::Dropped(to) => *to,
                _ => unreachable!("a reader returns query results"),
            };
            return self.enqueue_message(self.shard_of(instance, to), message);
        }
        if self.process(instance).queries.is_empty() {
            return;
        }
        let Some((pending, is_resumed)) = self.process(instance).queries.take(1).pop() else { return };
        let query = pending.query.clone();
        let response = match self.process(instance).readers[reader].0.step(pending) {
            QueryStep::Done(response) => response,
            QueryStep::More(pending) => {
                self.coverage.queries_paused += 1;
                return self.ask(instance, (pending, true));
            }
        };
        // A query of several steps has seen several states.
        if !is_resumed {
            self.check_response(&query, &response);
        }
        let is_page = matches!(query.kind, QueryKind::JournalPage { .. });
        let message = match self.below(30) {
            _ if self.calm => ShardMessage::QueryResponse(response),
            0 => ShardMessage::Dropped(query.reply_to),
            1 => ShardMessage::QueryResponse(QueryResponse { result: Err(Rejection::Unavailable), ..response }),
            _ => ShardMessage::QueryResponse(response),
        };
        if is_page && !matches!(&message, ShardMessage::QueryResponse(QueryResponse { result: Ok(_), .. })) {
            self.coverage.pages_failed += 1;
        }
        self.process(instance).readers[reader].1 = Some(message);
    }

    /// Responds to a query from the latest events, if they have all that it needs, and if the schedule does not want it to be read.
    #[cfg(feature = "cluster")]
    pub fn answer_from_recent_events(&mut self, instance: usize, query: &Query) -> bool {
        if self.chance(1, 2) {
            return false;
        }
        let Some(response) = self.process(instance).recent.page(query) else { return false };
        self.coverage.pages_recent += 1;
        // An older state of the journal was checked when its events came out.
        let Ok(QueryResult::JournalPage(page)) = &response.result else { panic!("it is a page") };
        let QueryKind::JournalPage { after, bytes_max, filter } = &query.kind else { panic!("it is a page") };
        let user = self.model.user(&query.caller);
        if response.position.0 == self.model.position() && self.model.removed_through[user] <= after.0 {
            check_page(&self.model, user, after.0, *bytes_max, &own_filter(filter), page);
        }
        let to = response.to;
        self.enqueue_message(self.shard_of(instance, to), ShardMessage::QueryResponse(response));
        true
    }

    fn check_response(&mut self, query: &Query, response: &QueryResponse) {
        assert_eq!(response.position.0, self.model.position(), "a snapshot is current");
        let user = self.model.user(&query.caller);
        match (&query.kind, &response.result) {
            (QueryKind::JournalPage { after, bytes_max, filter }, result) => {
                let Ok(QueryResult::JournalPage(page)) = result else { panic!("a page fails: {result:?}") };
                trace!(
                    self,
                    "page of {user} after {after}: {} events through {}, gap {:?}",
                    page.events.len(),
                    page.through,
                    page.gap
                );
                self.coverage.pages += 1;
                self.coverage.pages_short += u64::from(page.through < page.position);
                check_page(&self.model, user, after.0, *bytes_max, &own_filter(filter), page);
            }
            (QueryKind::StreamAccess(filter), result) => {
                let allowed = access(&self.model, user, filter);
                match result {
                    Ok(QueryResult::StreamAccess(found)) => assert!(allowed == Ok(()) && found == filter),
                    Err(Rejection::NotFound(_)) => assert_eq!(allowed, Err(404)),
                    Err(Rejection::Forbidden(_)) => assert_eq!(allowed, Err(403)),
                    other => panic!("the access check returns {other:?}"),
                }
            }
            _ => {}
        }
    }

    /// Runs a step of maintenance, as an idle writer does.
    pub fn maintain(&mut self, instance: usize) {
        let now = self.now;
        let age = self.age(instance);
        let fault = match self.below(20) {
            _ if self.calm => Fault::None,
            0 => Fault::Busy,
            1 => Fault::Commit(1),
            2 if is_on_server() => Fault::Lost(LOSSES[self.below(3)]),
            _ => Fault::None,
        };
        let there_before = self.events_on_disk();
        let was_too_large = self.journal_bytes() > self.setup.retention.bytes;
        self.begin_fault(instance, fault);
        let writer = &mut self.process(instance).writer;
        let notifications = writer.maintain(now);
        writer.index_messages();
        // A notification is an event as well.
        let is_too_large = was_too_large || notifications.is_some();
        self.end_fault(instance, fault);
        if let Some(committed) = notifications {
            self.coverage.notifications += 1;
            self.model.notify(&committed, age);
            self.check_on_disk(&committed);
            self.report(instance, committed);
        }
        let there = self.events_on_disk();
        if there_before.iter().any(|(number, had)| there.get(number) != Some(had)) {
            self.retained(&there_before, &there, is_too_large, age);
        }
    }

    /// Whether maintenance has more to remove than the limits allow to keep.
    pub fn maintenance_is_due(&mut self, instance: usize) -> bool {
        let now = self.now;
        self.process(instance).writer.maintenance_due(now) == MaintenanceDue::Now
    }

    /// The weight of the state events on disk.
    fn journal_bytes(&self) -> u64 {
        self.database.number("SELECT bytes FROM journal_stats", &[]) as u64
    }

    /// The state events on disk, with their recipients.
    fn events_on_disk(&self) -> BTreeMap<u64, Users> {
        let query = "SELECT r.number, u.oid FROM event_recipients r JOIN users u ON u.key = r.\"user\"";
        let mut there: BTreeMap<u64, Users> = BTreeMap::new();
        for (number, oid) in self.database.query(query, &[], |row| (row.number(0), row.text(1))) {
            *there.entry(number as u64).or_default() |= 1 << self.model.user(&UserId::new_unchecked(oid));
        }
        there
    }

    /// Applies a maintenance step to the model: it removed deleted events, or state events beyond the limit, not young and the
    /// oldest of their workspace.
    fn retained(
        &mut self,
        before: &BTreeMap<u64, Users>,
        after: &BTreeMap<u64, Users>,
        is_too_large: bool,
        age_now: i64,
    ) {
        let keep = self.setup.retention;
        let mut lost = vec![0; self.model.users.len()];
        let mut last_removed: BTreeMap<WorkspaceId, u64> = BTreeMap::new();
        for (number, had) in before {
            let gone = had & !after.get(number).copied().unwrap_or_default();
            let place = *number as usize - 1;
            if gone == 0 || self.model.is_deleted(&self.model.journal[place]) {
                self.coverage.purges += u64::from(gone != 0);
                continue;
            }
            let entry = &self.model.journal[place];
            let age = age_now - entry.age;
            let too_much =
                is_too_large || before.len() as u64 > keep.events || age >= keep.seconds.saturating_mul(1_000_000);
            assert!(too_much, "event {number} is removed below the limit");
            assert!(age >= 1000 * keep.young_milliseconds as i64, "event {number} is young");
            for (user, lost) in lost.iter_mut().enumerate().filter(|(user, _)| gone & (1 << user) != 0) {
                if self.model.hidden_by(entry, user).is_none() {
                    *lost = *number;
                }
            }
            last_removed.insert(entry.event.workspace_id, *number);
            self.model.journal[place].removed |= gone;
            self.coverage.retentions += 1;
        }
        for number in after.keys() {
            let entry = &self.model.journal[*number as usize - 1];
            let last = last_removed.get(&entry.event.workspace_id).copied().unwrap_or(0);
            assert!(
                *number >= last || self.model.is_deleted(entry),
                "{last} is removed before {number}, which is older"
            );
        }
        self.raise_gaps(&lost);
    }

    /// A user who lost a visible event must get a gap, and no other user.
    fn raise_gaps(&mut self, lost: &[u64]) {
        let query = "SELECT oid, removed_through FROM users";
        for (oid, through) in self.database.query(query, &[], |row| (row.text(0), row.number(1))) {
            let (user, through) = (self.model.user(&UserId::new_unchecked(oid)), through as u64);
            let before = self.model.removed_through[user];
            assert_eq!(through, before.max(lost[user]), "the removed events of user {user}");
        }
        // A user who was only named may have been removed in the same step.
        for (user, lost) in lost.iter().enumerate() {
            if *lost > self.model.removed_through[user] {
                self.model.removed_through[user] = *lost;
                self.model.removed_history[user].push(*lost);
            }
        }
    }

    /// Kills an instance: data on disk stays, synced or not.
    pub fn crash(&mut self, instance: usize) {
        let is_only = self.running().len() == 1;
        let process = self.process(instance);
        let message = process.loops.iter().any(|state| !state.mailbox.is_empty() || !state.messages.is_empty())
            || !process.deliveries.is_empty();
        trace!(self, "instance {instance}: crash");
        self.coverage.crashes += 1;
        self.coverage.crashes_with_messages += u64::from(message);
        if is_on_server() && self.chance(1, 2) {
            self.coverage.crashes_in_turn += 1;
            let process = self.instances[instance].as_mut().expect("the instance runs");
            self.database.begin_turn(&mut process.writer);
        }
        let process = self.instances[instance].take().expect("the instance runs");
        #[cfg(feature = "cluster")]
        self.left_bus(instance, &process);
        self.coverage.crashes_unreported += u64::from(process.unreported.is_some());
        let killed = process.writer.instance();
        match is_only {
            true => self.database.crash(|| drop(process)),
            false => drop(process),
        }
        self.database.expire_instance(killed);
        self.ended(instance, is_only);
    }

    /// Shuts an instance down after accepted commands are committed.
    pub fn end(&mut self, instance: usize) {
        trace!(self, "instance {instance}: end");
        self.coverage.restarts += 1;
        while !self.process(instance).commands.is_empty() {
            let commands = &mut self.process(instance).commands;
            let count = commands.len().min(8);
            let commands = commands.take(count);
            self.commit(instance, commands, Fault::None);
        }
        #[cfg(feature = "cluster")]
        self.publish(instance);
        let is_only = self.running().len() == 1;
        let process = self.instances[instance].take().expect("the instance runs");
        #[cfg(feature = "cluster")]
        self.left_bus(instance, &process);
        if is_only {
            self.database.closing();
        }
        process.writer.close();
        drop((process.readers, process.loops));
        self.ended(instance, is_only);
    }

    /// An instance has ended. If no other one runs, it is started again at once.
    fn ended(&mut self, instance: usize, is_only: bool) {
        let cut = self.chance(1, 2);
        let shards = self.shards_of(instance);
        for link in self.links.values_mut().filter(|link| shards.contains(&link.shard)) {
            link.cut |= cut && !link.gone;
            link.gone = true;
            link.in_ready = false;
            link.unsent.clear();
        }
        if self.chance(1, 4) {
            // The clock may go back, as on another machine.
            self.now.wall.0 -= self.random.below(3_000_000) as i64;
        }
        if is_only {
            self.start(instance);
        }
    }

    /// Starts an instance that does not run.
    pub fn start(&mut self, instance: usize) {
        trace!(self, "instance {instance}: start");
        self.open(instance);
        self.process(instance).writer.check_invariants();
    }

    /// Makes every loop of an instance drain.
    pub fn drain(&mut self, instance: usize) {
        trace!(self, "instance {instance}: drain");
        self.process(instance).draining = true;
        for shard in self.shards_of(instance) {
            self.enqueue_message(shard, ShardMessage::Drain);
        }
    }

    /// Lets every writer notice what others have changed, and compares its state with the rows.
    fn check_writers(&mut self) {
        let now = self.now;
        for instance in 0..self.setup.instances {
            if self.setup.instances > 1 {
                #[cfg(feature = "cluster")]
                self.planted.begin_step(self.instances[instance].as_mut().expect("the instance runs"));
                let committed = self.process(instance).writer.commit_batch(&[], now);
                self.report(instance, committed);
            }
            self.process(instance).writer.check_invariants();
        }
    }

    /// Checks that the rows equal the model, and that each message is stored once.
    pub fn check_rows(&mut self) {
        self.check_writers();
        let numbers = |query: &str| self.database.query(query, &[], |row| row.number(0) as u64);
        let mut found = numbers("SELECT number FROM messages");
        found.extend(numbers("SELECT number FROM state_events"));
        found.sort_unstable();
        let mut found = found.into_iter().peekable();
        for entry in &self.model.journal {
            let number = entry.event.number.0;
            let there = found.next_if_eq(&number).is_some();
            // Rows of a deleted resource are removed in steps.
            let gone = entry.removed == entry.recipients || self.model.is_deleted(entry);
            assert!(there || gone, "event {number} is missing on disk");
        }
        assert_eq!(found.next(), None, "the disk has an unknown event");
        let query = "SELECT content FROM messages GROUP BY content HAVING count(*) > 1";
        for twice in self.database.query(query, &[], |row| row.text(0)) {
            let aged = self.posts.iter().any(|post| post.aged && post.content == twice);
            assert!(aged, "a message is stored twice: {twice:.40}");
        }
    }
}

fn own_filter(filter: &StreamFilter) -> Filter {
    let conversation = filter.conversation.map(|conversation| match conversation {
        ConversationRef::Id(id) => id,
        ConversationRef::Default => unreachable!("streams name a conversation by its id"),
    });
    let all = EventKind::ALL.iter().all(|kind| filter.kinds.has(*kind));
    let kinds = if all { Vec::new() } else { EventKind::ALL.to_vec() };
    let kinds = kinds.into_iter().filter(|kind| filter.kinds.has(*kind)).collect();
    Filter { conversation, workspace: filter.workspace, kinds }
}

/// Checks that a page equals the model's replay from its start through its number.
fn check_page(model: &Model, user: usize, after: u64, bytes_max: usize, filter: &Filter, page: &JournalPage) {
    assert_eq!(page.position.0, model.position());
    assert!(after <= model.position(), "a stream is beyond the journal");
    let removed_through = model.removed_through[user];
    let gap = (after < removed_through).then_some(EventNumber(removed_through + 1));
    assert_eq!(page.gap, gap, "the page of {} after {after}", model.users[user]);
    assert!((after..=model.position()).contains(&page.through.0), "a page goes through {}", page.through);
    let expected: Vec<u64> = (after + 1..=page.through.0)
        .filter(|number| {
            let entry = model.entry(*number).expect("it is committed");
            model.replays(entry, user) && filter.passes(&entry.event)
        })
        .collect();
    let found: Vec<u64> = page.events.iter().map(|event| event.number.0).collect();
    assert_eq!(found, expected, "the page of {} after {after} through {}", model.users[user], page.through);
    for event in &page.events {
        let mut json = Vec::new();
        wire::event::event_json(event, &mut json);
        let entry = model.entry(event.number.0).expect("it is committed");
        let texts = model.texts(entry);
        let now = texts.last().expect("an event says something");
        assert!(json == now.1, "event {} is replayed as another", event.number);
    }
    let weight: usize = page.events.iter().map(|event| event.weight()).sum();
    assert!(page.events.len() <= 1 || weight <= bytes_max, "a page is too large");
    assert!(page.events.len() <= PAGE_EVENTS_MAX);
    assert!(page.through.0 > after || after == model.position(), "a page gets nowhere");
}

fn access(model: &Model, user: usize, filter: &StreamFilter) -> Result<(), u16> {
    if let Some(ConversationRef::Id(id)) = filter.conversation {
        let found = model.conversation_named(id).filter(|found| model.conversation_lives(*found)).ok_or(404u16)?;
        if !model.may_see(found, user) {
            return Err(403);
        }
    }
    if let Some(id) = filter.workspace {
        let found = model.workspace_named(id).filter(|found| model.workspace_lives(*found)).ok_or(404u16)?;
        let inside = |place: &usize| {
            let conversation = &model.conversations[*place];
            conversation.workspace == found && conversation.deleted.is_none() && model.takes_part(*place, user)
        };
        if model.workspaces[found].owner != user && !(0..model.conversations.len()).any(|place| inside(&place)) {
            return Err(403);
        }
    }
    Ok(())
}
