//! What the driver runs: an answer of a conversation, or one that is passed on. Both use a connection to the upstream in the same
//! way.

use crate::base::time::MonoTime;
use crate::domain::id::UserId;
use crate::responder::Upstream;
use crate::responder::answer::Answer;
use crate::responder::passed_answer::PassedAnswer;

/// An answer in progress.
pub(super) enum Task {
    /// An answer of a conversation.
    Answer(Answer),
    /// An answer that is passed on.
    Passed(PassedAnswer),
}

/// Calls the same method of either answer.
macro_rules! either {
    ($task:expr, $answer:ident => $call:expr) => {
        match $task {
            Task::Answer($answer) => $call,
            Task::Passed($answer) => $call,
        }
    };
}

impl Task {
    /// The user for whose shares it counts.
    pub(super) fn user(&self) -> &UserId {
        match self {
            Task::Answer(answer) => &answer.job().user,
            Task::Passed(answer) => &answer.passing().actor.id,
        }
    }

    /// The upstream.
    pub(super) fn upstream(&self) -> &Upstream {
        either!(self, answer => answer.upstream())
    }

    /// The bytes that it holds.
    pub(super) fn held_bytes(&self) -> usize {
        either!(self, answer => answer.held_bytes())
    }

    /// When it has something to do, if nothing else happens until then.
    pub(super) fn poll_timeout(&self) -> Option<MonoTime> {
        either!(self, answer => answer.poll_timeout())
    }

    /// Ends waits that are over.
    pub(super) fn tick(&mut self, now: MonoTime) {
        either!(self, answer => answer.tick(now));
    }

    /// The connection to the upstream is open.
    pub(super) fn connected(&mut self, now: MonoTime) {
        either!(self, answer => answer.connected(now));
    }

    /// The connection to the upstream has ended, or could not be opened, with this error.
    pub(super) fn disconnected(&mut self, error: Option<String>, now: MonoTime) {
        either!(self, answer => answer.disconnected(error, now));
    }

    /// The bytes to write to the connection.
    pub(super) fn outgoing(&self) -> &[u8] {
        either!(self, answer => answer.outgoing())
    }

    /// The connection took so many bytes; `None` if it takes nothing more.
    pub(super) fn wrote(&mut self, bytes: Option<usize>) {
        either!(self, answer => answer.wrote(bytes));
    }

    /// Takes bytes of the connection.
    pub(super) fn received(&mut self, bytes: &[u8], now: MonoTime) {
        either!(self, answer => answer.received(bytes, now));
    }

    /// Whether its connection is not to be read for now.
    pub(super) fn is_paused(&self) -> bool {
        match self {
            Task::Answer(_) => false,
            Task::Passed(answer) => answer.is_paused(),
        }
    }
}
