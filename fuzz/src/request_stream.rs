//! Arbitrary bytes into one connection of a shard. The responses are compared with the requests that `http_reference`
//! finds in the bytes: one per request, well-formed, in order, and independent of how the bytes arrive and how the
//! responses are read.
//!
//! Input: a byte for the cuts, then the bytes of the connection, in which `$A` stands for a token of alice and `$T` for
//! a ticket.

use super::backend::{self, BODY_MAX, BUFFER_BYTES, HEAD_MAX, POSTED, START};
use super::choices::{Choices, cuts, pieces};
use super::http_reference::{Body, Chunks, Head, Reading, assert_beyond_repair, read_chunks, read_head};
use super::responses::{Response, read_response};
use cortex_core::internals::limits::READ_BYTES_MAX;
use cortex_core::internals::{
    ApiVariant, Command, CommandKind, CommandResult, Conversation, ConversationRef, EventNumber, Input, Outcome,
    Output, PasswordCheck, PasswordOutcome, PasswordResponse, Purpose, QueryKind, Random, Rejection, Resource, Shard,
    ShardMessage, SharedState, TokenRules, UserId, UserProfile, Work,
};
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Maximum size of a response here, in bytes.
const RESPONSE_MAX: usize = 256 * 1024;
/// The path of the OpenAI-compatible API whose responses may be streams.
const COMPLETIONS: &str = "/v1/chat/completions";
/// The number of ways to cut one input; each is a complete run.
const RUNS_MAX: usize = 8;

pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let seed = choices.byte();
    let input = with_tokens(choices.0);
    let (sent, asked) = drive(std::iter::once(&input[..]), 0);
    let responses = compare(&input, &sent);
    let ways = cuts(input.len(), seed);
    let step = ways.len().div_ceil(RUNS_MAX).max(1);
    for (way, ends) in ways.iter().step_by(step).enumerate() {
        let (sent_again, asked_again) = drive(pieces(&input, ends), way);
        assert_eq!(asked_again, asked, "in pieces that end at {ends:?}");
        let again = compare(&input, &sent_again);
        assert_eq!(again.len(), responses.len(), "requests in pieces that end at {ends:?}");
        for (again, response) in again.iter().zip(&responses) {
            assert_eq!(comparable(again), comparable(response), "in pieces that end at {ends:?}");
        }
    }
}

fn with_tokens(bytes: &[u8]) -> Vec<u8> {
    let (token, ticket) = (backend::token("alice", Purpose::Access), backend::token("alice", Purpose::StreamTicket));
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        match rest {
            [b'$', b'A', after @ ..] => {
                out.extend_from_slice(token.as_bytes());
                rest = after;
            }
            [b'$', b'T', after @ ..] => {
                out.extend_from_slice(ticket.as_bytes());
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// The response without the parts that may differ: interim responses, which are only sent while a body is awaited,
/// random ids of streams, and metrics.
fn comparable(response: &Response) -> Response {
    let mut body = response.body.clone();
    let mark = b"\"stream_id\":\"";
    if let Some(at) = body.windows(mark.len()).position(|bytes| bytes == mark) {
        body.drain(at + mark.len()..at + mark.len() + 36);
    }
    if response.field("Content-Type").is_some_and(|kind| kind.starts_with("text/plain")) {
        body.clear();
    }
    Response { continues: 0, body, ..response.clone() }
}

/// One connection of a shard, with the peer's side.
struct Connection {
    shard: Shard,
    slot: u32,
    arrived: Vec<u8>,
    sent: Vec<u8>,
    asked: Vec<String>,
    is_closed: bool,
    /// Maximum number of bytes that the peer takes at once.
    takes: usize,
}

/// Feeds the pieces, then the end. Returns the bytes that the shard sent and the work that it requested.
fn drive<'a>(pieces: impl Iterator<Item = &'a [u8]>, way: usize) -> (Vec<u8>, Vec<String>) {
    let shared = Arc::new(SharedState::default());
    let position = EventNumber(7);
    shared.streams.advance_position(position);
    let mut shard =
        Shard::new(0, backend::context(), shared, Arc::new(TokenRules::default()), position, Random::new(1));
    let slot = shard.accept(IpAddr::V4(Ipv4Addr::LOCALHOST), START);
    let takes = [usize::MAX, usize::MAX, 100, 1000][way % 4];
    let mut connection =
        Connection { shard, slot, arrived: Vec::new(), sent: Vec::new(), asked: Vec::new(), is_closed: false, takes };
    for piece in pieces {
        connection.arrived.extend_from_slice(piece);
        connection.pump();
    }
    if !connection.is_closed {
        connection.shard.handle(Input::Ended { slot }, START);
        connection.pump();
        assert!(connection.is_closed, "a half-closed connection gets its responses and closes");
    }
    assert_eq!(connection.shard.connections(), 0);
    (connection.sent, connection.asked)
}

impl Connection {
    fn pump(&mut self) {
        loop {
            let mut moved = self.drain_outputs();
            if !self.arrived.is_empty() && self.shard.wants_bytes(self.slot) {
                let count = self.arrived.len().min(READ_BYTES_MAX);
                let bytes: Vec<u8> = self.arrived.drain(..count).collect();
                self.handle(Input::Bytes { slot: self.slot, bytes: &bytes });
                moved = true;
            }
            moved |= self.take();
            if !moved {
                return;
            }
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.shard.handle(input, START);
        self.shard.check_invariants();
        let waiting = self.shard.outgoing_bytes(self.slot);
        assert!(waiting <= READ_BYTES_MAX + RESPONSE_MAX + BUFFER_BYTES, "{waiting} bytes of responses wait");
    }

    /// The peer takes some of the waiting bytes.
    fn take(&mut self) -> bool {
        let taken = {
            let mut slices = [IoSlice::new(&[]); 64];
            let filled = self.shard.outgoing(self.slot, &mut slices);
            let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
            bytes[..bytes.len().min(self.takes)].to_vec()
        };
        if taken.is_empty() {
            return false;
        }
        self.handle(Input::Wrote { slot: self.slot, bytes: taken.len() });
        self.sent.extend_from_slice(&taken);
        true
    }

    fn drain_outputs(&mut self) -> bool {
        let mut moved = false;
        while let Some(output) = self.shard.poll_output() {
            // `Resume` names a slot, whether or not it is in use.
            assert!(!self.is_closed || matches!(output, Output::Resume(_)), "a closed connection has no output");
            moved = true;
            match output {
                Output::Work(Work::Command(command)) => {
                    self.asked.push(format!("{:?} {:?}", command.kind, command.idempotency));
                    self.handle(Input::Message(ShardMessage::CommandResult(command_result(&command))));
                }
                Output::Work(Work::Query(query)) => {
                    // How often an answer is read depends on how the response is read.
                    if !matches!(query.kind, QueryKind::AnswerPage { .. }) {
                        self.asked.push(format!("{:?}", query.kind));
                    }
                    self.handle(Input::Message(ShardMessage::QueryResponse(backend::answer(&query, EventNumber(7)))));
                }
                Output::Work(Work::Password(job)) => {
                    let result = checked(&job.check);
                    self.asked.push("a password".to_owned());
                    self.handle(Input::Message(ShardMessage::PasswordResponse(PasswordResponse {
                        to: job.reply_to,
                        result,
                    })));
                }
                Output::Work(Work::CancelAnswer { reply_to: to, conversation_id: conversation }) => {
                    self.asked.push(format!("cancel {conversation}"));
                    let result = Ok(Outcome::Answered { message_id: None, closed: false });
                    self.handle(Input::Message(ShardMessage::CommandResult(CommandResult {
                        to,
                        number: None,
                        result,
                    })));
                }
                Output::Work(_) => unreachable!("there is no model, and no other instance"),
                Output::Close(slot) => {
                    assert_eq!(slot, self.slot);
                    self.is_closed = true;
                    self.arrived.clear();
                }
                Output::StopAccepting | Output::Drained => unreachable!("the shard does not drain"),
                Output::MeasureUndelivered(slot) => self.handle(Input::Undelivered { slot, bytes: 0 }),
                Output::Quiesced | Output::TuneStream(_) | Output::Resume(_) | Output::EndWriting(_) => {}
            }
        }
        moved
    }
}

fn command_result(command: &Command) -> CommandResult {
    let number = Some(EventNumber(POSTED));
    let result = match &command.kind {
        CommandKind::PostMessage { conversation, api_variant, .. } => {
            let id = match conversation {
                ConversationRef::Default => backend::conversation_id(0),
                ConversationRef::Id(id) => *id,
            };
            let event = backend::message_event(POSTED, id, command, std::slice::from_ref(&command.actor.id));
            Ok(Outcome::Posted { event, conversation: *conversation, api_variant: *api_variant })
        }
        CommandKind::DeleteWorkspace { .. } => Ok(Outcome::WorkspaceDeleted),
        CommandKind::LeaveConversation { .. } => Ok(Outcome::ConversationLeft),
        CommandKind::SetPassword { .. } => Ok(Outcome::PasswordChanged),
        CommandKind::DeleteMessage { .. } => Err(Rejection::NotFound(Resource::Message)),
        CommandKind::UpdateWorkspace { .. } => Err(Rejection::Forbidden("only the owner may change it")),
        CommandKind::UpdateConversation { .. } => {
            Err(Rejection::Invalid(vec![("metadata", "is too \"large\"".to_owned())]))
        }
        CommandKind::CreateConversation { topic, metadata, api_variant: ApiVariant::OpenAi, .. } => {
            let id = backend::conversation_id(1);
            let recipients = std::slice::from_ref(&command.actor.id);
            let conversation = Conversation {
                id,
                workspace_id: backend::workspace_id(),
                topic: topic.clone(),
                participants: recipients.into(),
                metadata: metadata.clone(),
                created_at: START.wall,
                updated_at: START.wall,
                message_count: 1,
            };
            let first = Some(backend::message_event(POSTED, id, command, recipients));
            Ok(Outcome::ConversationCreated { conversation, first, api_variant: ApiVariant::OpenAi })
        }
        CommandKind::CreateConversation { .. } => Err(Rejection::IdempotencyKeyReused),
        _ => Err(Rejection::Unavailable),
    };
    let number = number.filter(|_| result.is_ok());
    CommandResult { to: command.reply_to, number, result }
}

fn checked(check: &PasswordCheck) -> Result<PasswordOutcome, Rejection> {
    match check {
        PasswordCheck::Login { password, .. } if **password == *"right" => Ok(PasswordOutcome::User {
            profile: UserProfile {
                id: UserId::new_unchecked("alice"),
                name: "Alice".into(),
                email: "alice@example.com".into(),
            },
            generation: 0,
        }),
        PasswordCheck::Change { current, .. } if **current == *"right" => {
            Ok(PasswordOutcome::Hash { verified: "old".into(), hash: "hash".into() })
        }
        _ => Ok(PasswordOutcome::Wrong),
    }
}

/// How the body of a request ends.
enum End {
    /// After this number of bytes.
    After(usize),
    Unfinished,
    /// It must be rejected with this status.
    Bad(u16),
}

/// Matches responses to requests and returns the responses.
fn compare(input: &[u8], sent: &[u8]) -> Vec<Response> {
    let (mut rest, mut bytes) = (input, sent);
    let mut responses: Vec<Response> = Vec::new();
    loop {
        match read_head(rest, HEAD_MAX) {
            Reading::Unfinished if bytes.is_empty() => break,
            reading @ (Reading::Unfinished | Reading::Bad(_)) => {
                let (response, after) = read_response(bytes, "-");
                match reading {
                    Reading::Bad(statuses) => {
                        assert!(statuses.contains(&response.status), "{} is not one of {statuses:?}", response.status);
                    }
                    _ => assert_beyond_repair(rest, response.status),
                }
                assert!(response.closes && response.continues == 0, "an invalid head ends the connection");
                responses.push(response);
                bytes = after;
                break;
            }
            Reading::Good(head) => {
                let behind = &rest[head.len..];
                let end = body_end(&head, behind);
                let continues = if bytes.starts_with(b"HTTP/1.1 100 ") { 1 } else { 0 };
                let interim_only = bytes == b"HTTP/1.1 100 Continue\r\n\r\n";
                if matches!(end, End::Unfinished) && (bytes.is_empty() || interim_only) {
                    assert!(continues == 0 || head.expect_continue);
                    bytes = &[];
                    break;
                }
                let (response, after) = read_response(bytes, &head.method);
                assert!(
                    response.continues <= usize::from(head.expect_continue),
                    "at most one interim response, if it was expected"
                );
                check_response(&response, &head, &end);
                bytes = after;
                let goes_on = !response.closes;
                responses.push(response);
                match end {
                    End::After(len) if goes_on => rest = &behind[len..],
                    _ => break,
                }
            }
        }
    }
    assert!(bytes.is_empty(), "a response without a request: {:?}", String::from_utf8_lossy(bytes));
    responses
}

fn body_end(head: &Head, behind: &[u8]) -> End {
    match head.body {
        Body::None => End::After(0),
        Body::Length(length) => match usize::try_from(length) {
            Ok(length) if length <= behind.len() => End::After(length),
            _ => End::Unfinished,
        },
        Body::Chunked => match read_chunks(behind, BODY_MAX as u64) {
            Chunks::Whole(_, len) => End::After(len),
            Chunks::Unfinished(_) => End::Unfinished,
            Chunks::Bad(_, status) => End::Bad(status),
        },
    }
}

/// Whether this request can have the response.
fn check_response(response: &Response, head: &Head, end: &End) {
    assert!(head.keep_alive || response.closes, "a requested close is honoured");
    let id = head.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-request-id")).map(|(_, id)| &id[..]);
    let is_id = |id: &&[u8]| {
        (1..=128).contains(&id.len()) && id.iter().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(b))
    };
    if let Some(id) = id.filter(is_id) {
        assert_eq!(response.field("X-Request-Id").map(str::as_bytes), Some(id), "the client's id comes back");
    }
    let is_completion = head.path == COMPLETIONS;
    let is_stream = head.path == "/output/stream" || head.path.ends_with("/stream") || is_completion;
    assert!(!response.is_stream || is_stream || head.path.contains('%'));
    if let Some(is_openai) = response.has_openai_error() {
        let expected = head.path == "/v1" || head.path.starts_with("/v1/");
        assert_eq!(is_openai, expected, "the form of errors is that of the path {}", head.path);
    }
    if response.status == 405 {
        assert!(response.field("Allow").is_some());
    }
    let rejected_early = [400, 401, 404, 405, 413, 415, 422, 429].contains(&response.status) || response.status == 204;
    match end {
        End::Bad(status) => {
            assert!(response.closes, "the next request cannot be found");
            assert!(response.status == *status || rejected_early, "{} instead of {status}", response.status);
            let message = String::from_utf8_lossy(&response.body);
            let misnamed = response.status == 400 && *status != 400 && message.contains("trailers");
            assert!(!misnamed, "{status} is answered with 400: {message}");
        }
        End::Unfinished => assert!(rejected_early, "{} before the body has arrived", response.status),
        End::After(_) => {
            // A completion that waits for its answer has its connection to its end, as a stream has.
            let is_good = response.status < 300 && !response.is_stream && !(is_completion && response.closes);
            let chunks_unread = head.body == Body::Chunked && response.status == 204;
            if is_good && head.keep_alive && !chunks_unread {
                assert!(!response.closes, "a successful response keeps the connection");
            }
        }
    }
}
