//! Work that a shard hands to the threads beside the event loops.

use crate::domain::command::{Command, ReplyTo};
use crate::domain::id::ConversationId;
use crate::domain::password::PasswordJob;
use crate::domain::query::Query;

/// One piece of work. Whoever is named in `reply_to` gets exactly one reply to it.
#[derive(Clone)]
pub enum Work {
    /// A change, for the writer.
    Command(Command),
    /// A read, for the readers.
    Query(Query),
    /// A password check, for the password thread.
    Password(PasswordJob),
    /// The running answer of a conversation is to be stopped, by the responders.
    CancelAnswer {
        /// Which request of which connection waits for the result.
        reply_to: ReplyTo,
        /// The conversation whose answer is to be stopped.
        conversation_id: ConversationId,
    },
}

impl Work {
    /// Which request waits for the reply.
    pub fn reply_to(&self) -> ReplyTo {
        match self {
            Work::Command(command) => command.reply_to,
            Work::Query(query) => query.reply_to,
            Work::Password(job) => job.reply_to,
            Work::CancelAnswer { reply_to, .. } => *reply_to,
        }
    }
}
