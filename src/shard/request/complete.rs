//! Completing a request that waited for another thread.

use crate::api::error::ApiError;
use crate::api::health::{self, ReaderCheck};
use crate::api::operation::Operation;
use crate::api::{self, Response, Subscription};
use crate::base::limits::*;
use crate::base::metrics::{self, LoginResult};
use crate::base::time::Now;
use crate::domain::command::{CommandKind, ConversationRef, ReplyTo};
use crate::domain::id::UserId;
use crate::domain::password::{PasswordOutcome, PasswordResponse};
use crate::domain::query::{QueryResponse, QueryResult, StreamFilter};
use crate::domain::result::{CommandResult, Outcome, Rejection, Resource};
use crate::domain::work::Work;
use crate::shard::connection::{Continuation, PendingRequest, Phase, RequestContext};
use crate::shard::request::admission::user_rate;
use crate::shard::shared::rate_limiter::RateKey;
use crate::shard::subscription::subscriber::DeliveryState;
use crate::shard::{Output, Shard};

impl Shard {
    pub(in crate::shard) fn command_finished(&mut self, command_finished: CommandResult, now: Now) {
        let Some(mut pending) = self.take_pending(command_finished.to) else { return };
        let slot = command_finished.to.slot;
        // What was answered before costs nothing.
        if let (Ok(Outcome::Replayed { .. }), Some(caller), Some(limit)) =
            (&command_finished.result, &pending.caller, self.context.settings.rate_limit)
        {
            let key = RateKey::User(caller.actor.id.clone());
            pending.request_context.quota = Some(self.shared.rate_limiter.put_back(&key, user_rate(limit), now.mono));
        }
        let reply = api::command_response(command_finished, pending.operation.subject());
        self.respond_and_go_on(slot, &pending.request_context, reply, now);
    }

    pub(in crate::shard) fn query_answered(&mut self, answer: QueryResponse, now: Now) {
        let slot = answer.to.slot;
        // A reader may see a commit before the writer has told of it, and a client may start a stream at what it was shown.
        self.shared.streams.advance_position(answer.position);
        if let Some(conn) = self.waiting(answer.to)
            && let Phase::Stream(stream) = &conn.phase
        {
            // A stream asks for nothing but pages.
            if stream.source == DeliveryState::AwaitingPage {
                let page = answer.result.and_then(|found| match found {
                    QueryResult::JournalPage(page) => Ok(page),
                    _ => Err(Rejection::Unavailable),
                });
                self.page(slot, page, now);
            }
            return;
        }
        let Some(mut pending) = self.take_pending(answer.to) else { return };
        let continuation = std::mem::replace(&mut pending.continuation, Continuation::Respond);
        match (continuation, pending.caller.take(), &answer.result) {
            (Continuation::Health, _, found) => {
                let check = if found.is_ok() { ReaderCheck::Answered } else { ReaderCheck::Failed };
                let reply = self.health(check, now);
                self.respond_and_go_on(slot, &pending.request_context, reply, now);
            }
            (Continuation::OpenStream(wanted), Some(caller), Ok(QueryResult::StreamAccess(filter))) => {
                let wanted = Subscription { filter: *filter, ..wanted };
                self.open_stream(slot, &pending.request_context, &caller, wanted, now);
                self.after_waiting(slot, now);
            }
            (
                Continuation::CancelAnswer,
                caller,
                Ok(QueryResult::StreamAccess(StreamFilter { conversation: Some(named), .. })),
            ) => {
                let ConversationRef::Id(conversation_id) = *named else { unreachable!("access names it by its id") };
                self.wait(slot, PendingRequest { caller, ..*pending });
                self.outputs.push_back(Output::Work(Work::CancelAnswer { reply_to: answer.to, conversation_id }));
            }
            // Somebody else's conversation is not there, on this side of the API.
            (Continuation::CancelAnswer, _, Err(Rejection::Forbidden(_))) => {
                let reply = ApiError::not_found(Resource::Conversation).into_response();
                self.respond_and_go_on(slot, &pending.request_context, reply, now);
            }
            (Continuation::OpenStream(wanted), _, Err(Rejection::Unavailable)) => {
                let reply = self.defer_stream(wanted.start);
                self.respond_and_go_on(slot, &pending.request_context, reply, now);
            }
            // Whoever asks and does not read may fill the memory up to here, and no further.
            _ if self.reply_bytes > RESPONSES_WAITING_BYTES_MAX => {
                let reply = ApiError::overloaded().with_metric_reason("replies_full").into_response();
                self.respond_and_go_on(slot, &pending.request_context, reply, now);
            }
            _ => {
                let reply = api::query_response(answer, pending.operation.subject());
                self.respond_and_go_on(slot, &pending.request_context, reply, now);
            }
        }
    }

    pub(in crate::shard) fn password_checked(&mut self, answer: PasswordResponse, now: Now) {
        let Some(mut pending) = self.take_pending(answer.to) else { return };
        let slot = answer.to.slot;
        if pending.operation == Operation::Login {
            let admitted = |user: &UserId| self.token_rules.accepts(user, Some(now.wall));
            let ended = match &answer.result {
                Ok(PasswordOutcome::User(user)) if admitted(&user.id) => LoginResult::Success,
                Ok(PasswordOutcome::User(_)) => LoginResult::Disabled,
                Ok(PasswordOutcome::Wrong) => LoginResult::Wrong,
                Ok(PasswordOutcome::Hash(_)) | Err(_) => LoginResult::Failed,
            };
            metrics::LOGINS[ended as usize].add(1);
        }
        let reply = match answer.result {
            Ok(PasswordOutcome::User(user)) => {
                match self.token_rules.issue_time(&user.id, now.wall, TOKEN_LEEWAY_SECONDS) {
                    Some(issued_at) => api::auth::login_response(&self.context, &user, issued_at, now.wall),
                    None => ApiError::invalid_credentials().into_response(),
                }
            }
            // The token is good, so a client must not take this for the end of it.
            Ok(PasswordOutcome::Wrong) if pending.caller.is_some() => ApiError::wrong_password().into_response(),
            Ok(PasswordOutcome::Wrong) => ApiError::invalid_credentials().into_response(),
            Ok(PasswordOutcome::Hash(hash)) => match pending.caller.take() {
                Some(caller) => {
                    let kind = CommandKind::SetPassword { hash };
                    return self.submit(slot, pending.request_context, pending.operation, caller, None, kind);
                }
                None => ApiError::internal().into_response(),
            },
            Err(rejection) => ApiError::rejected(rejection, pending.operation.subject()).into_response(),
        };
        self.respond_and_go_on(slot, &pending.request_context, reply, now);
    }

    pub(in crate::shard) fn dropped(&mut self, to: ReplyTo, now: Now) {
        if let Some(conn) = self.waiting(to)
            && let Phase::Stream(_) = &conn.phase
        {
            return self.page(to.slot, Err(Rejection::Unavailable), now);
        }
        let Some(pending) = self.take_pending(to) else { return };
        let reply = match pending.continuation {
            Continuation::OpenStream(wanted) => self.defer_stream(wanted.start),
            Continuation::Health => self.health(ReaderCheck::Busy, now),
            Continuation::Respond | Continuation::CancelAnswer => ApiError::overloaded().into_response(),
        };
        self.respond_and_go_on(to.slot, &pending.request_context, reply, now);
    }

    /// No reader has answered in time. Its answer may still come, so that the connection can have no other.
    pub(in crate::shard) fn health_timed_out(&mut self, slot: u32, now: Now) {
        let to = self.reply_to(slot);
        let Some(mut pending) = self.take_pending(to) else { return };
        pending.request_context.keep_alive = false;
        let reply = self.health(ReaderCheck::Late, now);
        self.respond(slot, &pending.request_context, reply, now);
    }

    fn health(&self, reader: ReaderCheck, now: Now) -> Response {
        health::health(reader, self.shared.writer_health.fault(now.mono), now.wall)
    }

    /// Takes the request that waits for an answer; `None` if its connection is gone.
    fn take_pending(&mut self, to: ReplyTo) -> Option<Box<PendingRequest>> {
        let conn = self.waiting(to)?;
        match std::mem::replace(&mut conn.phase, Phase::Head) {
            Phase::Waiting(pending) => Some(pending),
            other => {
                conn.phase = other;
                None
            }
        }
    }

    /// Answers a request that waited, and goes on with what its connection sent meanwhile.
    fn respond_and_go_on(&mut self, slot: u32, request_context: &RequestContext<'_>, reply: Response, now: Now) {
        self.respond(slot, request_context, reply, now);
        self.after_waiting(slot, now);
    }

    fn after_waiting(&mut self, slot: u32, now: Now) {
        self.go_on(slot, 0, now);
        self.outputs.push_back(Output::Resume(slot));
        self.settle(slot, now);
    }
}
