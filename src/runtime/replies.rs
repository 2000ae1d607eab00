//! Where replies go: to the event loop of the connection that waits, or to the responders.

#[cfg(feature = "cluster")]
use super::bus_port::BusPort;
use super::mailbox::Mailbox;
#[cfg(feature = "cluster")]
use super::recent_events::RecentEvents;
use super::responders::{ResponderPort, StoreReply};
use crate::domain::answer_status_change::AnswerStatusChange;
#[cfg(feature = "cluster")]
use crate::domain::bus_message::BusMessage;
use crate::domain::command::ReplyTo;
use crate::domain::commit::Committed;
use crate::domain::holder::Holder;
use crate::domain::live_answer::{AnswerDelta, LiveAnswer};
use crate::domain::password::PasswordResponse;
#[cfg(feature = "cluster")]
use crate::domain::peer_query::{PeerQuery, PeerResponse};
#[cfg(feature = "cluster")]
use crate::domain::query::Query;
use crate::domain::query::QueryResponse;
use crate::domain::result::CommandResult;
use crate::shard::commit_routing::route_commit;
use crate::shard::message::ShardMessage;
use std::sync::Arc;
#[cfg(feature = "cluster")]
use std::sync::{Mutex, PoisonError};

/// The receivers of every reply.
#[derive(Clone)]
pub(crate) struct Replies {
    /// One mailbox per event loop, by the index of its shard.
    pub mailboxes: Vec<Arc<Mailbox>>,
    /// The responders.
    pub responders: Arc<ResponderPort>,
    /// The latest events, if a bus is configured.
    #[cfg(feature = "cluster")]
    pub recent: Option<Arc<Mutex<RecentEvents>>>,
    /// The way to other instances, if a bus is configured.
    #[cfg(feature = "cluster")]
    pub bus: Option<Arc<BusPort>>,
}

impl Replies {
    /// Sends the response to a query, which takes the share of `holder` in the mailbox.
    pub(crate) fn query_response(&self, holder: &Holder, response: QueryResponse) {
        let to = response.to;
        match self.mailbox(to) {
            Some(mailbox) => mailbox.push_query_response(holder, response),
            None => self.responders.deliver(to, StoreReply::QueryResponse(response)),
        }
    }

    /// Sends the result of a command that no commit carries.
    pub(crate) fn command_result(&self, result: CommandResult) {
        let to = result.to;
        match self.mailbox(to) {
            Some(mailbox) => mailbox.push(ShardMessage::CommandResult(result)),
            None => self.responders.deliver(to, StoreReply::CommandResult(result)),
        }
    }

    /// Sends the result of a password check.
    pub(crate) fn password_response(&self, response: PasswordResponse) {
        if let Some(mailbox) = self.mailbox(response.to) {
            mailbox.push(ShardMessage::PasswordResponse(response));
        }
    }

    /// The response to a query that the latest events have, without the database. While the events of other instances do not come at once,
    /// only the database knows which have been acknowledged.
    #[cfg(feature = "cluster")]
    pub(crate) fn recent_page(&self, query: &Query) -> Option<QueryResponse> {
        let recent = self.recent.as_ref().filter(|_| self.bus.as_ref().is_some_and(|bus| bus.is_up()))?;
        recent.lock().unwrap_or_else(PoisonError::into_inner).page(query)
    }

    /// Adds a commit to the latest events.
    #[cfg(feature = "cluster")]
    pub(crate) fn remember(&self, committed: &Committed) {
        if let Some(recent) = &self.recent {
            recent.lock().unwrap_or_else(PoisonError::into_inner).committed(committed);
        }
    }

    /// Sends what other instances have answered.
    #[cfg(feature = "cluster")]
    pub(crate) fn peer_response(&self, response: PeerResponse) {
        if let Some(mailbox) = self.mailbox(response.to) {
            mailbox.push(ShardMessage::PeerResponse(response));
        }
    }

    /// Asks other instances.
    #[cfg(feature = "cluster")]
    pub(crate) fn ask_peers(&self, query: PeerQuery) {
        match &self.bus {
            Some(bus) => bus.ask(query).into_iter().for_each(|response| self.peer_response(response)),
            None => self.dropped(query.reply_to),
        }
    }

    /// Reports that the pipe to a connection has something.
    pub(crate) fn piped(&self, to: ReplyTo) {
        if let Some(mailbox) = self.mailbox(to) {
            mailbox.push(ShardMessage::Piped(to));
        }
    }

    /// Reports that work was dropped: there will be no reply.
    pub(crate) fn dropped(&self, to: ReplyTo) {
        match self.mailbox(to) {
            Some(mailbox) => mailbox.push(ShardMessage::Dropped(to)),
            None => self.responders.deliver(to, StoreReply::Dropped),
        }
    }

    /// Reports that a command was dropped.
    pub(crate) fn command_dropped(&self, to: ReplyTo) {
        match self.mailbox(to) {
            Some(mailbox) => mailbox.push(ShardMessage::CommandDropped(to)),
            None => self.responders.deliver(to, StoreReply::Dropped),
        }
    }

    /// Sends a message to every shard.
    pub(crate) fn broadcast(&self, message: impl Fn() -> ShardMessage) {
        for mailbox in &self.mailboxes {
            mailbox.push(message());
        }
    }

    /// Sends the new status of an answer to every shard, also of other instances.
    pub(crate) fn answer_status(&self, change: AnswerStatusChange) {
        let change = Arc::new(change);
        #[cfg(feature = "cluster")]
        if let Some(bus) = &self.bus {
            bus.send(|| Some(BusMessage::Status(Arc::clone(&change))));
        }
        self.status_received(&change);
    }

    /// Sends the new status of an answer to every shard.
    pub(crate) fn status_received(&self, change: &Arc<AnswerStatusChange>) {
        self.broadcast(|| ShardMessage::AnswerStatus(Arc::clone(change)));
    }

    /// Sends new text of an answer to every shard, also of other instances.
    #[cfg_attr(not(feature = "cluster"), expect(unused_variables))]
    pub(crate) fn delta(&self, live: &LiveAnswer, delta: AnswerDelta) {
        #[cfg(feature = "cluster")]
        if let Some(bus) = &self.bus {
            bus.send(|| live.part(delta.message_id, delta.kind, delta.from).map(BusMessage::Text));
        }
        self.broadcast(|| ShardMessage::Delta(delta));
    }

    /// Distributes a commit to the shards and the responders, in the order of `route_commit`.
    pub(crate) fn committed(&self, committed: Committed) {
        // Before the shards abort what a token began: its end must not begin what waits.
        if let Some(token_rules) = committed.token_rules.clone() {
            self.responders.token_rules_changed(token_rules);
        }
        let routed = route_commit(committed, self.mailboxes.len());
        for (shard, share) in routed.shards {
            self.mailboxes[shard].push(ShardMessage::Committed(share));
        }
        for change in &routed.queued {
            self.status_received(change);
        }
        self.responders.committed(routed.responder_results, &routed.started, &routed.ends, routed.jobs);
    }

    fn mailbox(&self, to: ReplyTo) -> Option<&Arc<Mailbox>> {
        self.mailboxes.get(usize::from(to.shard))
    }
}
