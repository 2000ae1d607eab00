//! Work for the threads beside the event loops.

use crate::domain::command::{Command, ReplyTo};
use crate::domain::id::ConversationId;
use crate::domain::passing::{PassingControl, PassingRequest};
use crate::domain::password::PasswordJob;
#[cfg(feature = "cluster")]
use crate::domain::peer_query::PeerQuery;
use crate::domain::query::Query;

/// An item of work. Its `reply_to` gets exactly one reply, except for the last two.
#[derive(Clone)]
pub enum Work {
    /// A command, for the writer.
    Command(Command),
    /// A query, for the readers.
    Query(Query),
    /// A password check, for the password thread.
    Password(PasswordJob),
    /// A request to cancel the running answer of a conversation, for the responders.
    CancelAnswer {
        /// The recipient of the result.
        reply_to: ReplyTo,
        /// The conversation.
        conversation_id: ConversationId,
    },
    /// A query to other instances.
    #[cfg(feature = "cluster")]
    AskPeers(PeerQuery),
    /// A request whose answer is passed on, for the responders. Its pipe has everything that follows.
    Pass(Box<PassingRequest>),
    /// A word about such a request.
    ControlPassing {
        /// The connection of the request.
        to: ReplyTo,
        /// The word.
        control: PassingControl,
    },
}

impl Work {
    /// The recipient of the reply.
    pub fn reply_to(&self) -> ReplyTo {
        match self {
            Work::Command(command) => command.reply_to,
            Work::Query(query) => query.reply_to,
            Work::Password(job) => job.reply_to,
            Work::CancelAnswer { reply_to, .. } => *reply_to,
            #[cfg(feature = "cluster")]
            Work::AskPeers(query) => query.reply_to,
            Work::Pass(request) => request.to,
            Work::ControlPassing { to, .. } => *to,
        }
    }
}
