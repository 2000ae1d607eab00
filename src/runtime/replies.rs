//! Where answers go: to the event loop of the connection that asked, or to the responders' desk.

use super::mailbox::{Mail, Mailbox};
use super::responders::{ResponderPort, StoreReply};
use crate::domain::command::ReplyTo;
use crate::domain::commit::Committed;
use crate::domain::event::EventKind;
use crate::domain::password::PasswordResponse;
use crate::domain::query::QueryResponse;
use crate::domain::result::CommandResult;
use std::sync::Arc;

/// All who may wait for something.
#[derive(Clone)]
pub struct Post {
    /// One mailbox per event loop.
    pub mailboxes: Vec<Arc<Mailbox>>,
    /// The responders.
    pub responders: Arc<ResponderPort>,
}

impl Post {
    /// Brings a reader's answer.
    pub fn answer(&self, answer: QueryResponse) {
        let to = answer.to;
        match self.mailbox(to) {
            Some(mailbox) => mailbox.push(Mail::QueryResponse(answer)),
            None => self.responders.deliver(to, StoreReply::QueryResponse(answer)),
        }
    }

    /// Brings a receipt that no commit carries.
    pub fn receipt(&self, receipt: CommandResult) {
        let to = receipt.to;
        match self.mailbox(to) {
            Some(mailbox) => mailbox.push(Mail::CommandResult(receipt)),
            None => self.responders.deliver(to, StoreReply::CommandResult(receipt)),
        }
    }

    /// Brings what the password thread found.
    pub fn password(&self, answer: PasswordResponse) {
        if let Some(mailbox) = self.mailbox(answer.to) {
            mailbox.push(Mail::Password(answer));
        }
    }

    /// Says that there will be no answer.
    pub fn lost(&self, to: ReplyTo) {
        match self.mailbox(to) {
            Some(mailbox) => mailbox.push(Mail::Lost(to)),
            None => self.responders.deliver(to, StoreReply::Dropped),
        }
    }

    /// Tells every event loop.
    pub fn to_all(&self, mail: impl Fn() -> Mail) {
        for mailbox in &self.mailboxes {
            mailbox.push(mail());
        }
    }

    /// Tells every shard of a commit, each of its own receipts, and the responders of theirs and of new orders. The
    /// shards come first: what a responder then says of an answer finds them knowing it.
    pub fn committed(&self, committed: Committed) {
        let mut shares: Vec<Vec<CommandResult>> = self.mailboxes.iter().map(|_| Vec::new()).collect();
        let mut responders = Vec::new();
        for receipt in committed.results {
            match shares.get_mut(receipt.to.shard as usize) {
                Some(share) => share.push(receipt),
                None => responders.push(receipt),
            }
        }
        let nothing_for_all =
            committed.events.is_empty() && committed.token_rules.is_none() && committed.started.is_empty();
        // Whoever reads an answer may turn to another event loop at once, so those without receipts hear first.
        let mut told: Vec<_> = self.mailboxes.iter().zip(shares).collect();
        told.sort_by_key(|(_, results)| !results.is_empty());
        for (mailbox, results) in told {
            if !nothing_for_all || !results.is_empty() {
                mailbox.push(Mail::Committed(Committed {
                    before: committed.before,
                    through: committed.through,
                    events: Arc::clone(&committed.events),
                    results,
                    jobs: Vec::new(),
                    started: Arc::clone(&committed.started),
                    token_rules: committed.token_rules.clone(),
                }));
            }
        }
        let deletes = |kind| {
            matches!(kind, EventKind::MessageDeleted | EventKind::ConversationDeleted | EventKind::WorkspaceDeleted)
        };
        let deleted: Vec<_> = committed.events.iter().filter(|event| deletes(event.kind)).cloned().collect();
        self.responders.committed(responders, &committed.started, &deleted, committed.jobs);
    }

    fn mailbox(&self, to: ReplyTo) -> Option<&Arc<Mailbox>> {
        self.mailboxes.get(to.shard as usize)
    }
}
