//! Completing a request with the result of a worker.

use super::admission::{replay_rate, user_rate};
use super::context::RequestContext;
#[cfg(feature = "cluster")]
use super::execute::renewed;
use super::pending::{Continuation, PendingRequest, PostedCompletion};
use crate::api::error::ApiError;
use crate::api::health::{self, ReaderCheck};
use crate::api::operation::Operation;
use crate::api::{self, AnswerSubscription, CompletionView, Response, Subscription};
use crate::base::metrics::{self, LoginResult};
use crate::base::time::Now;
use crate::domain::command::{CommandKind, ConversationRef, ReplyTo};
use crate::domain::id::{ConversationId, MessageId};
use crate::domain::password::{PasswordOutcome, PasswordResponse};
#[cfg(feature = "cluster")]
use crate::domain::peer_query::{PeerAnswer, PeerQueryKind, PeerResponse};
use crate::domain::query::{Query, QueryKind, QueryResponse, QueryResult, StreamFilter};
use crate::domain::result::{CommandResult, Outcome, Rejection, Resource};
use crate::domain::work::Work;
use crate::shard::Shard;
use crate::shard::shared::rate_limiter::{Quota, RateKey};
use crate::wire;

impl Shard {
    /// Responds with the result of a command.
    pub(in crate::shard) fn command_finished(&mut self, result: CommandResult, now: Now) {
        let Some(mut pending) = self.take_pending(result.to) else { return };
        let slot = result.to.slot;
        // A replayed command does not count for the rate, unless the user repeats too many.
        if let (Ok(Outcome::Replayed { .. }), Some(caller), Some(limit)) =
            (&result.result, &pending.caller, self.context.settings.rate_limit)
        {
            let limiter = &self.shared.rate_limiter;
            let user = &caller.actor.id;
            let (replays, counted) = (RateKey::Replays(user.clone()), RateKey::User(user.clone()));
            let replay_rate = self.share_of_rate(&replays, replay_rate(limit));
            if limiter.take(replays, replay_rate, now.mono).is_ok() {
                let rate = self.share_of_rate(&counted, user_rate(limit));
                let quota = limiter.put_back(&counted, rate, now.mono);
                pending.request_context.quota = Some(quota);
            }
        }
        if let Err(Rejection::StateEventRate { burst_bytes, window_seconds, retry_seconds }) = result.result {
            let quota = Quota::of_state_events(burst_bytes, window_seconds, retry_seconds);
            pending.request_context.quota = Some(quota);
        }
        let result = match std::mem::replace(&mut pending.continuation, Continuation::Respond) {
            Continuation::Complete(view) => match posted(&result) {
                Some(ids) => return self.view_answer(slot, *pending, *view, (ids, &result), now),
                None => result,
            },
            _ => result,
        };
        let response = api::command_response(result, pending.operation);
        self.complete(slot, &pending.request_context, response, now);
    }

    /// Responds with what a query found, or does what the query permits. A journal page goes to its stream.
    pub(in crate::shard) fn query_finished(&mut self, response: QueryResponse, now: Now) {
        let (to, slot) = (response.to, response.to.slot);
        // A reader can see a commit before this shard receives it, and a client may start a stream at the position of a
        // response.
        self.shared.streams.advance_position(response.position);
        if self.connections.find(to).is_some_and(|conn| conn.is_stream()) {
            let result = response.result.map(|result| (result, response.position));
            return self.stream_query_finished(slot, result, now);
        }
        let Some(mut pending) = self.take_pending(to) else { return };
        // A change may have ended the token while the request was with a worker.
        if let Some(caller) = &pending.caller
            && let Err(error) = self.check_again(caller, now)
        {
            return self.complete(slot, &pending.request_context, error.into_response(), now);
        }
        let continuation = std::mem::replace(&mut pending.continuation, Continuation::Respond);
        match (continuation, pending.caller.take(), &response.result) {
            (Continuation::Health, _, found) => {
                let check = if found.is_ok() { ReaderCheck::Answered } else { ReaderCheck::Failed };
                let health = self.health(check, now);
                self.complete(slot, &pending.request_context, health, now);
            }
            (Continuation::OpenStream(wanted), Some(caller), Ok(QueryResult::StreamAccess(filter))) => {
                let wanted = Subscription { filter: *filter, ..wanted };
                self.open_stream(slot, &pending.request_context, &caller, wanted, now);
                self.read_on(slot, now);
            }
            (
                Continuation::CancelAnswer,
                caller,
                Ok(QueryResult::StreamAccess(StreamFilter { conversation: Some(conversation), .. })),
            ) => {
                let ConversationRef::Id(conversation_id) = *conversation else {
                    unreachable!("the store resolves it to an id")
                };
                let work = Work::CancelAnswer { reply_to: to, conversation_id };
                self.wait(slot, PendingRequest { caller, ..*pending }, work, now);
            }
            // The conversations API does not reveal whether a conversation of other users exists.
            (Continuation::CancelAnswer, _, Err(Rejection::Forbidden(_))) => {
                let error = ApiError::not_found(Resource::Conversation);
                self.complete(slot, &pending.request_context, error.into_response(), now);
            }
            (Continuation::FollowAnswer(wanted), Some(caller), Ok(QueryResult::AnswerPage(page))) => {
                let page = (&**page, response.position);
                self.open_answer_stream(slot, &pending.request_context, &caller, &wanted, page, now);
                self.read_on(slot, now);
            }
            (Continuation::Pass(draft), Some(caller), Ok(QueryResult::Usage(used))) => {
                match self.check_quota(used, now) {
                    Ok(()) => {
                        self.pass(slot, pending.request_context, &caller, *draft, now);
                        self.read_on(slot, now);
                    }
                    Err(error) => self.complete(slot, &pending.request_context, error.into_response(), now),
                }
            }
            (Continuation::ViewAnswer(posted), Some(caller), Ok(QueryResult::AnswerPage(page))) => {
                let page = (&**page, response.position);
                self.open_answer_view(slot, pending.request_context, &caller, *posted, page, now);
                self.read_on(slot, now);
            }
            (
                Continuation::OpenStream(Subscription { start, named, .. })
                | Continuation::FollowAnswer(AnswerSubscription { start, named, .. }),
                _,
                Err(Rejection::Unavailable | Rejection::Overloaded),
            ) => {
                let deferral = self.defer_stream(start, named);
                self.complete(slot, &pending.request_context, deferral, now);
            }
            (Continuation::ViewAnswer(posted), _, Err(rejection)) => {
                let error = ApiError::rejected(rejection.clone(), pending.operation.subject());
                let response = error.after_storing(posted.view.is_repeatable).into_response();
                self.complete(slot, &pending.request_context, response, now);
            }
            _ => {
                let response = api::query_response(response, pending.operation.subject());
                self.complete(slot, &pending.request_context, response, now);
            }
        }
    }

    /// Responds with what other instances have answered.
    #[cfg(feature = "cluster")]
    pub(in crate::shard) fn peers_answered(&mut self, response: PeerResponse, now: Now) {
        let PeerResponse { to, answers, is_complete } = response;
        let Some(pending) = self.take_pending(to) else { return };
        let Continuation::AskedPeers(kind) = &pending.continuation else {
            unreachable!("only these requests ask other instances")
        };
        let response = match kind {
            PeerQueryKind::ListStreams(user) => {
                let streams = answers.into_iter().flat_map(|answer| match answer {
                    PeerAnswer::Streams(streams) => streams,
                    PeerAnswer::Renewed(_) => Vec::new(),
                });
                self.list_streams(user, streams.collect(), is_complete)
            }
            PeerQueryKind::RenewStream { stream, .. } => {
                let ends_at = answers.into_iter().find_map(|answer| match answer {
                    PeerAnswer::Renewed(ends_at) => ends_at,
                    PeerAnswer::Streams(_) => None,
                });
                renewed(*stream, ends_at, is_complete, now)
            }
        };
        self.complete(to.slot, &pending.request_context, response, now);
    }

    /// Reads the answer to a message that was posted, to respond with it.
    fn view_answer(
        &mut self,
        slot: u32,
        pending: PendingRequest,
        view: CompletionView,
        ((conversation, message), result): ((ConversationId, MessageId), &CommandResult),
        now: Now,
    ) {
        let mut fields = vec![("X-Conversation-Id", conversation.to_string()), ("X-Message-Id", message.to_string())];
        fields.extend(result.number.map(|number| ("X-Event-Id", number.to_string())));
        if matches!(result.result, Ok(Outcome::Replayed { .. })) {
            fields.push(("Idempotent-Replayed", "true".to_owned()));
        }
        let Some(caller) = &pending.caller else {
            return self.respond(slot, &pending.request_context, ApiError::missing_token().into_response(), now);
        };
        let kind = QueryKind::AnswerPage {
            conversation: ConversationRef::Id(conversation),
            message,
            from: 0,
            bytes_max: self.context.settings.stream_buffer_bytes / 2,
        };
        let query = Query { reply_to: self.reply_to(slot), caller: caller.actor.id.clone(), kind };
        let continuation = Continuation::ViewAnswer(Box::new(PostedCompletion { view, message, fields }));
        self.wait(slot, PendingRequest { continuation, ..pending }, Work::Query(query), now);
    }

    /// Responds to a login or a change of a password, or submits the command that stores the new hash.
    pub(in crate::shard) fn password_checked(&mut self, checked: PasswordResponse, now: Now) {
        let Some(pending) = self.take_pending(checked.to) else { return };
        let slot = checked.to.slot;
        if pending.operation == Operation::Login {
            let result = match &checked.result {
                Ok(PasswordOutcome::User { profile, .. }) if self.token_rules.rejects_all(&profile.id) => {
                    LoginResult::Disabled
                }
                Ok(PasswordOutcome::User { .. }) => LoginResult::Success,
                Ok(PasswordOutcome::Wrong) => LoginResult::Wrong,
                Ok(PasswordOutcome::Hash { .. }) | Err(_) => LoginResult::Failed,
            };
            metrics::LOGINS[result as usize].add(1);
        }
        let response = match checked.result {
            Ok(PasswordOutcome::User { profile, generation }) => {
                let credential = api::auth::login_credential(generation, now.wall);
                if self.token_rules.accepts(&profile.id, &credential) {
                    api::auth::login_response(&self.context, &profile, credential, now.wall)
                        .unwrap_or_else(ApiError::into_response)
                } else {
                    // The password was right until a moment ago.
                    ApiError::invalid_credentials().into_response()
                }
            }
            Ok(PasswordOutcome::Wrong) => match &pending.caller {
                None => ApiError::invalid_credentials().into_response(),
                Some(caller) if self.token_rules.rejects_all(&caller.actor.id) => {
                    ApiError::token_ended().into_response()
                }
                // The password was compared with the one of another change, which arrived at the same time.
                Some(caller) if !self.token_rules.accepts(&caller.actor.id, &caller.actor.credential) => {
                    ApiError::password_conflict().into_response()
                }
                // The caller's token is valid, so the error must not look like an expired one.
                Some(_) => ApiError::wrong_password().into_response(),
            },
            // The writer checks the token and compares the hash again.
            Ok(PasswordOutcome::Hash { verified, hash }) if pending.caller.is_some() => {
                return self.submit(slot, *pending, None, CommandKind::SetPassword { verified, hash }, now);
            }
            Ok(PasswordOutcome::Hash { .. }) => ApiError::internal().into_response(),
            Err(rejection) => ApiError::rejected(rejection, pending.operation.subject()).into_response(),
        };
        self.complete(slot, &pending.request_context, response, now);
    }

    /// Responds to a request whose work was dropped. A stream requests its page again later.
    pub(in crate::shard) fn work_dropped(&mut self, to: ReplyTo, now: Now) {
        if self.connections.find(to).is_some_and(|conn| conn.is_stream()) {
            return self.stream_query_finished(to.slot, Err(Rejection::Unavailable), now);
        }
        let Some(pending) = self.take_pending(to) else { return };
        let response = match pending.continuation {
            Continuation::OpenStream(Subscription { start, named, .. })
            | Continuation::FollowAnswer(AnswerSubscription { start, named, .. }) => self.defer_stream(start, named),
            Continuation::Health => self.health(ReaderCheck::Busy, now),
            Continuation::Respond | Continuation::CancelAnswer | Continuation::Pass(_) | Continuation::Complete(_) => {
                ApiError::overloaded().into_response()
            }
            #[cfg(feature = "cluster")]
            Continuation::AskedPeers(_) => ApiError::overloaded().into_response(),
            Continuation::ViewAnswer(posted) => {
                ApiError::overloaded().after_storing(posted.view.is_repeatable).into_response()
            }
        };
        self.complete(to.slot, &pending.request_context, response, now);
    }

    /// Responds to a health check that no reader has responded to in time. The connection closes, since the reader's response
    /// may still come and must not reach another request.
    pub(in crate::shard) fn health_timed_out(&mut self, slot: u32, now: Now) {
        let Some(mut pending) = self.connections[slot].take_pending() else { return };
        pending.request_context.keep_alive = false;
        let response = self.health(ReaderCheck::Late, now);
        self.respond(slot, &pending.request_context, response, now);
    }

    fn health(&self, reader: ReaderCheck, now: Now) -> Response {
        health::health(reader, self.shared.writer_health.fault(now.mono), now.wall)
    }

    /// Takes the request that waits for a worker's result; `None` if its connection is gone.
    fn take_pending(&mut self, to: ReplyTo) -> Option<Box<PendingRequest>> {
        self.connections.find(to)?.take_pending()
    }

    /// Responds to a request that waited for a worker, and reads what arrived in between.
    fn complete(&mut self, slot: u32, request_context: &RequestContext<'_>, response: Response, now: Now) {
        self.respond(slot, request_context, response, now);
        self.read_on(slot, now);
    }
}

/// The conversation and the id of the message that a command posted, now or when its key was used first.
fn posted(result: &CommandResult) -> Option<(ConversationId, MessageId)> {
    let event = match result.result.as_ref().ok()? {
        Outcome::Replayed { body, .. } => return wire::openai::read_posted(body),
        Outcome::Posted { event, .. } => event,
        Outcome::ConversationCreated { first, .. } => first.as_ref()?,
        _ => return None,
    };
    event.message().map(|message| (message.conversation_id, message.id))
}
