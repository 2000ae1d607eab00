//! What the shard does for a request.

use super::completion::{CompletionView, PassingDraft};
use super::response::Response;
use super::subscription::{AnswerSubscription, StreamId, Subscription};
use crate::domain::command::{CommandKind, ConversationRef};
use crate::domain::password::PasswordCheck;
use crate::domain::query::QueryKind;

/// What the shard does for a request.
pub(crate) enum Action {
    /// Send this response.
    Respond(Response),
    /// Submit a command to the writer and respond with its result.
    Submit(CommandKind),
    /// Submit a query to the readers and respond with its result.
    Query(QueryKind),
    /// Check or change a password.
    CheckPassword(PasswordCheck),
    /// Cancel the running answer of a conversation that the caller owns or takes part in.
    CancelAnswer(ConversationRef),
    /// Open a stream.
    Subscribe(Subscription),
    /// Open a stream of one answer.
    FollowAnswer(AnswerSubscription),
    /// Ask a model, and pass its answer on.
    Pass(PassingDraft),
    /// Submit a command that posts a message, and respond with its answer.
    Complete(CommandKind, CompletionView),
    /// List the caller's open streams.
    ListStreams,
    /// Extend one of the caller's streams to the expiry of this token.
    RenewStream(StreamId),
    /// Report the process's metrics.
    Metrics,
    /// Query a reader and report whether the database works.
    Health,
    /// Report whether this server accepts requests.
    Ready,
}
