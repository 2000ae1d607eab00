//! The effect of each command. A command is checked first and writes afterwards, so a rejected command writes nothing and
//! needs no savepoint.

mod answers;
mod conversations;
mod messages;
mod workspaces;

use crate::domain::command::{Command, CommandKind};
use crate::domain::id::EventNumber;
use crate::domain::model::Metadata;
use crate::domain::result::{Outcome, Rejection};
use crate::store::error::Abort;
use crate::store::rules::rows::Rows;
use crate::store::rules::transaction::{CommandCaller, Transaction};
use crate::wire::command_result::command_body;
use crate::wire::metadata;

/// The outcome of a command and the number of its event, if it has one.
pub(crate) type CommandOutcome = Result<(Outcome, Option<EventNumber>), Abort<Rejection>>;

impl<R: Rows> Transaction<'_, R> {
    /// Executes `command`, and stores its response under the idempotency key, if the command has one.
    pub(crate) fn run(&mut self, command: &Command) -> CommandOutcome {
        let caller = self.caller(command)?;
        // A change of a password compares the hash first: the second of two changes is a conflict, although the first one has
        // ended its token.
        if !matches!(command.kind, CommandKind::SetPassword { .. }) && !caller.is_accepted() {
            return Err(Rejection::Unauthorized.into());
        }
        let Some(request) = &command.idempotency else { return self.dispatch(&caller, &command.kind) };
        if let Some(user) = &caller.known
            && let Some(stored) = self.rows.stored_response(user.key, &request.key, self.age)?
        {
            if stored.fingerprint != request.fingerprint {
                return Err(Rejection::IdempotencyKeyReused.into());
            }
            return Ok((Outcome::Replayed { body: stored.body, number: stored.number }, stored.number));
        }
        let (outcome, number) = self.dispatch(&caller, &command.kind)?;
        let user = self.upsert_participant(caller.id())?;
        self.rows.store_response(user.key, request, number, &command_body(&outcome), self.age)?;
        Ok((outcome, number))
    }

    /// Executes a command, unless it publishes a state event and the caller wrote too many of them.
    fn dispatch(&mut self, caller: &CommandCaller<'_>, kind: &CommandKind) -> CommandOutcome {
        // An answer must end, and messages are not removed from the journal.
        let is_limited = !matches!(
            kind,
            CommandKind::Answer { .. }
                | CommandKind::CancelAnswers { .. }
                | CommandKind::PostMessage { .. }
                | CommandKind::CountUsage(_)
                | CommandKind::SetPassword { .. }
        );
        if is_limited {
            self.cache.event_rates.check(caller.id(), self.age)?;
        }
        let bytes_before = self.event_bytes;
        let outcome = self.execute(caller, kind);
        self.cache.event_rates.count(caller.id(), self.event_bytes - bytes_before, self.age);
        outcome
    }

    fn execute(&mut self, caller: &CommandCaller<'_>, kind: &CommandKind) -> CommandOutcome {
        match kind {
            CommandKind::PostMessage { conversation, role, content, metadata, api_variant } => {
                self.post_message(caller, *conversation, *role, content, metadata, *api_variant)
            }
            CommandKind::CreateWorkspace { name, description, metadata } => {
                self.create_workspace(caller, name, description, metadata)
            }
            CommandKind::UpdateWorkspace { id, name, description, metadata } => {
                self.update_workspace(caller, *id, name.as_ref(), description.as_ref(), metadata.as_ref())
            }
            CommandKind::DeleteWorkspace { id } => self.delete_workspace(caller, *id),
            CommandKind::CreateConversation {
                workspace,
                topic,
                participants,
                metadata,
                earlier_messages,
                initial_message,
                api_variant,
            } => {
                let new = conversations::ConversationDraft {
                    topic,
                    participants,
                    metadata,
                    earlier: earlier_messages,
                    first: initial_message.as_ref(),
                };
                self.create_conversation(caller, *workspace, new, *api_variant)
            }
            CommandKind::UpdateConversation { conversation, topic, participants, metadata, api_variant } => {
                let change = conversations::ConversationPatch {
                    topic: topic.as_ref(),
                    participants: participants.as_deref(),
                    metadata: metadata.as_ref(),
                };
                self.update_conversation(caller, *conversation, change, *api_variant)
            }
            CommandKind::LeaveConversation { conversation } => self.leave_conversation(caller, *conversation),
            CommandKind::DeleteConversation { conversation, api_variant } => {
                self.delete_conversation(caller, *conversation, *api_variant)
            }
            CommandKind::UpdateMessage { conversation, message, content, metadata } => {
                self.update_message(caller, *conversation, *message, content.as_ref(), metadata.as_ref())
            }
            CommandKind::DeleteMessage { conversation, message } => {
                self.delete_message(caller, *conversation, *message)
            }
            CommandKind::AnswerMessage { conversation, message } => self.answer_again(caller, *conversation, *message),
            CommandKind::Answer { job, step } => self.answer(caller, *job, step),
            CommandKind::CancelAnswers { conversation, running, through } => {
                self.cancel_answers(*conversation, running.as_deref(), *through)
            }
            CommandKind::CountUsage(used) => self.count_usage(caller, used),
            CommandKind::SetPassword { verified, hash } => self.set_password(caller, verified, hash),
        }
    }

    fn set_password(&mut self, caller: &CommandCaller<'_>, verified: &str, hash: &str) -> CommandOutcome {
        let Some(user) = caller.known.as_ref().filter(|user| user.has_password) else {
            return Err(Rejection::Conflict("the user has no password").into());
        };
        if !user.status.is_enabled() {
            return Err(Rejection::Unauthorized.into());
        }
        if self.rows.user_password(user.key)?.as_deref() != Some(verified) {
            return Err(Rejection::Conflict("The password was changed in the meantime").into());
        }
        if !caller.is_accepted() {
            return Err(Rejection::Unauthorized.into());
        }
        let user = self.upsert_author(caller)?.user;
        self.rows.set_user_password(user.key, hash)?;
        self.rows.end_user_tokens(user.key, self.wall)?;
        self.cache.users.remove(&user.id);
        self.token_rules_changed = true;
        Ok((Outcome::PasswordChanged, None))
    }
}

/// The metadata `old` with `patch` merged in.
///
/// # Errors
/// Fails with the field and the violated rule if the merged metadata is too large.
fn merged(old: &Metadata, patch: Option<&Metadata>) -> Result<Metadata, (&'static str, String)> {
    match patch {
        None => Ok(old.clone()),
        Some(patch) => {
            metadata::merge(old, patch).map_err(|rule| ("metadata", format!("{rule}, also after the change")))
        }
    }
}
