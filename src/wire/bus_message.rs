//! The messages of the bus as JSON. A batch is one payload: the sender, the timeline of its database server, and the messages in order.
//!
//! Fields that are not known are ignored, so that a newer program can add some. A message of an unknown type is skipped. Whatever
//! else is wrong makes the whole batch invalid.

use crate::base::time::WallTime;
use crate::domain::answer_job::JobId;
use crate::domain::answer_status_change::{AnswerPhase, AnswerStatusChange};
use crate::domain::bus_message::{BusMessage, CommitNotice, PeerCounts, SharedRate};
use crate::domain::event::{Event, EventBody, EventKind};
use crate::domain::id::{ConversationId, EventNumber, InstanceName, MessageId, UserId, WorkspaceId};
use crate::domain::live_answer::{AnswerPart, AnswerTextKind, LiveAnswer, ShownText, TextRequest};
use crate::domain::model::{Content, Message, Metadata, Role, Status};
use crate::domain::open_stream::OpenStream;
use crate::domain::peer_query::{PeerAnswer, PeerQueryKind};
use crate::domain::started_answer::AnswerStarted;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use uuid::Uuid;

/// The version of the format. Batches of another one are ignored.
const VERSION: u32 = 1;

/// A batch of messages from one instance.
#[derive(Debug, PartialEq, Eq)]
pub struct BusBatch {
    /// The instance that sent it.
    pub from: InstanceName,
    /// The timeline of its database server.
    pub timeline: i64,
    /// The messages, in order.
    pub messages: Vec<BusMessage>,
}

impl BusBatch {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let batch = BatchJson {
            version: VERSION,
            from: self.from.0.as_u128(),
            timeline: self.timeline,
            messages: self.messages.iter().map(MessageJson::of).collect(),
        };
        serde_json::to_vec(&batch).expect("writing to memory does not fail")
    }

    /// Reads a payload. `None` if it has another version.
    ///
    /// # Errors
    /// Fails with the reason if it is invalid.
    pub fn decode(payload: &[u8]) -> Result<Option<BusBatch>, String> {
        let version: VersionJson = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
        if version.version != VERSION {
            return Ok(None);
        }
        let batch: BatchJson<'_> = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
        let from = InstanceName(Uuid::from_u128(batch.from));
        let messages = batch.messages.into_iter().filter_map(|message| message.read(from).transpose());
        Ok(Some(BusBatch { from, timeline: batch.timeline, messages: messages.collect::<Result<_, _>>()? }))
    }
}

#[derive(Deserialize)]
struct VersionJson {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct BatchJson<'a> {
    version: u32,
    from: u128,
    timeline: i64,
    #[serde(borrow)]
    messages: Vec<MessageJson<'a>>,
}

/// One message: one of the fields is there, named like its type. None is if a newer program sent another type.
#[derive(Default, Serialize, Deserialize)]
struct MessageJson<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    beat: Option<EmptyJson>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    commit: Option<CommitJson<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<StatusJson<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<TextJson<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text_wanted: Option<TextWantedJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<AnswerJson<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    counts_wanted: Option<EmptyJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    counts: Option<CountsJson<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    list_streams: Option<ListStreamsJson<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    streams: Option<StreamsJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    renew_stream: Option<RenewStreamJson<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    renewed: Option<RenewedJson>,
}

#[derive(Serialize, Deserialize)]
struct CountsJson<'a> {
    streams: Vec<(Cow<'a, str>, u32)>,
    are_all: bool,
    taken: Vec<(RateJson<'a>, i64)>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RateJson<'a> {
    User(Cow<'a, str>),
    Replays(Cow<'a, str>),
    Anonymous(IpAddr),
    LoginAddress(IpAddr),
}

#[derive(Serialize, Deserialize)]
struct ListStreamsJson<'a> {
    query: u64,
    user: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct StreamsJson {
    query: u64,
    streams: Vec<StreamJson>,
}

#[derive(Serialize, Deserialize)]
struct StreamJson {
    id: u128,
    since: i64,
    live: bool,
    events_behind: u64,
    bytes_behind: u64,
}

#[derive(Serialize, Deserialize)]
struct RenewStreamJson<'a> {
    query: u64,
    user: Cow<'a, str>,
    stream: u128,
    expires_at: i64,
    key: u64,
}

#[derive(Serialize, Deserialize)]
struct RenewedJson {
    query: u64,
    ends_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct EmptyJson {}

#[derive(Serialize, Deserialize)]
struct CommitJson<'a> {
    before: u64,
    through: u64,
    #[serde(borrow)]
    events: Vec<EventJson<'a>>,
    started: Vec<AnswerJson<'a>>,
    queued: Vec<StatusJson<'a>>,
}

#[derive(Serialize, Deserialize)]
struct TextJson<'a> {
    message_id: u128,
    is_reasoning: bool,
    index: u64,
    from: usize,
    #[serde(borrow)]
    text: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct TextWantedJson {
    message_id: u128,
    /// What the requester has of the text and of the reasoning, in bytes.
    known: Option<(usize, usize)>,
}

#[derive(Serialize, Deserialize)]
struct EventJson<'a> {
    number: u64,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    at: i64,
    actor: Cow<'a, str>,
    correlation_id: Cow<'a, str>,
    workspace_id: u128,
    conversation_id: Option<u128>,
    recipients: Vec<Cow<'a, str>>,
    body: BodyJson<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BodyJson<'a> {
    Message(#[serde(borrow)] Box<StoredMessageJson<'a>>),
    Deleted(u128),
    Unanswered(u128, Cow<'a, str>),
    Data(Cow<'a, str>),
}

#[derive(Serialize, Deserialize)]
struct StoredMessageJson<'a> {
    id: u128,
    conversation_id: u128,
    #[serde(borrow)]
    sender: Cow<'a, str>,
    sender_name: Cow<'a, str>,
    role: Cow<'a, str>,
    content: Cow<'a, str>,
    metadata: Cow<'a, str>,
    created_at: i64,
    updated_at: i64,
    status: Cow<'a, str>,
    reply_to: Option<u128>,
    error: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
struct AnswerJson<'a> {
    job: u64,
    message_id: u128,
    reply_to: u128,
    conversation_id: u128,
    workspace_id: u128,
    #[serde(borrow)]
    recipients: Vec<Cow<'a, str>>,
    known_at: u64,
    sender: Cow<'a, str>,
    correlation_id: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct StatusJson<'a> {
    reply_to: u128,
    conversation_id: u128,
    workspace_id: u128,
    #[serde(borrow)]
    recipients: Vec<Cow<'a, str>>,
    known_at: u64,
    sender: Cow<'a, str>,
    correlation_id: Cow<'a, str>,
    phase: PhaseJson,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PhaseJson {
    Queued,
    Started,
    Retrying { in_milliseconds: u64 },
}

impl<'a> MessageJson<'a> {
    fn of(message: &'a BusMessage) -> MessageJson<'a> {
        let mut json = MessageJson::default();
        match message {
            BusMessage::Beat => json.beat = Some(EmptyJson {}),
            BusMessage::Commit(notice) => {
                json.commit = Some(CommitJson {
                    before: notice.before.0,
                    through: notice.through.0,
                    events: notice.events.iter().map(|event| EventJson::of(event)).collect(),
                    started: notice.started.iter().map(AnswerJson::of).collect(),
                    queued: notice.queued.iter().map(|change| StatusJson::of(change)).collect(),
                });
            }
            BusMessage::Status(change) => json.status = Some(StatusJson::of(change)),
            BusMessage::Text(part) => {
                json.text = Some(TextJson {
                    message_id: part.message_id.0.as_u128(),
                    is_reasoning: part.kind == AnswerTextKind::Reasoning,
                    index: part.index,
                    from: part.from,
                    text: (&*part.text).into(),
                });
            }
            BusMessage::TextWanted(request) => {
                let known = request.known.map(|shown| (shown.bytes, shown.reasoning_bytes));
                json.text_wanted = Some(TextWantedJson { message_id: request.message_id.0.as_u128(), known });
            }
            BusMessage::Answer(started) => json.answer = Some(AnswerJson::of(started)),
            BusMessage::CountsWanted => json.counts_wanted = Some(EmptyJson {}),
            BusMessage::Counts(counts) => json.counts = Some(CountsJson::of(counts)),
            BusMessage::Query(query, PeerQueryKind::ListStreams(user)) => {
                json.list_streams = Some(ListStreamsJson { query: *query, user: user.as_str().into() });
            }
            BusMessage::Query(query, PeerQueryKind::RenewStream { user, stream, expires_at, key }) => {
                json.renew_stream = Some(RenewStreamJson {
                    query: *query,
                    user: user.as_str().into(),
                    stream: stream.as_u128(),
                    expires_at: expires_at.0,
                    key: *key,
                });
            }
            BusMessage::QueryAnswered(query, PeerAnswer::Streams(streams)) => {
                let streams = streams.iter().map(StreamJson::of).collect();
                json.streams = Some(StreamsJson { query: *query, streams });
            }
            BusMessage::QueryAnswered(query, PeerAnswer::Renewed(ends_at)) => {
                json.renewed = Some(RenewedJson { query: *query, ends_at: ends_at.map(|at| at.0) });
            }
        }
        json
    }

    /// The message, which this instance has sent; `None` if its type is not known.
    fn read(self, from: InstanceName) -> Result<Option<BusMessage>, String> {
        if let Some(notice) = self.commit {
            return Ok(Some(BusMessage::Commit(CommitNotice {
                before: EventNumber(notice.before),
                through: EventNumber(notice.through),
                events: read_events(notice.before, notice.through, notice.events)?,
                started: notice.started.into_iter().map(|started| started.read(from)).collect(),
                queued: notice.queued.into_iter().map(StatusJson::read).collect(),
            })));
        }
        let part = self.text.map(|part| {
            BusMessage::Text(AnswerPart {
                message_id: message_id_of(part.message_id),
                kind: if part.is_reasoning { AnswerTextKind::Reasoning } else { AnswerTextKind::Text },
                index: part.index,
                from: part.from,
                text: part.text.into(),
            })
        });
        let wanted = self.text_wanted.map(|request| {
            BusMessage::TextWanted(TextRequest {
                message_id: message_id_of(request.message_id),
                known: request.known.map(|(bytes, reasoning_bytes)| ShownText { bytes, reasoning_bytes }),
            })
        });
        let listed = self
            .list_streams
            .map(|asked| BusMessage::Query(asked.query, PeerQueryKind::ListStreams(UserId::new_unchecked(asked.user))));
        let renewed = self.renew_stream.map(|asked| {
            let query = PeerQueryKind::RenewStream {
                user: UserId::new_unchecked(asked.user),
                stream: Uuid::from_u128(asked.stream),
                expires_at: WallTime(asked.expires_at),
                key: asked.key,
            };
            BusMessage::Query(asked.query, query)
        });
        let streams = self.streams.map(|answer| {
            let streams = answer.streams.into_iter().map(StreamJson::read).collect();
            BusMessage::QueryAnswered(answer.query, PeerAnswer::Streams(streams))
        });
        let ends = self
            .renewed
            .map(|answer| BusMessage::QueryAnswered(answer.query, PeerAnswer::Renewed(answer.ends_at.map(WallTime))));
        Ok(part
            .or(wanted)
            .or(self.counts.map(|counts| BusMessage::Counts(counts.read())))
            .or(listed)
            .or(renewed)
            .or(streams)
            .or(ends)
            .or(self.status.map(|status| BusMessage::Status(status.read())))
            .or(self.answer.map(|answer| BusMessage::Answer(answer.read(from))))
            .or(self.counts_wanted.map(|_| BusMessage::CountsWanted))
            .or(self.beat.map(|_| BusMessage::Beat)))
    }
}

/// The events of a commit, whose numbers are in its range and ascend. The database has numbers up to `i64::MAX`.
fn read_events(before: u64, through: u64, events: Vec<EventJson<'_>>) -> Result<Arc<[Arc<Event>]>, String> {
    if before > through || through > i64::MAX as u64 {
        return Err(format!("there is no commit between {before} and {through}"));
    }
    let mut last = before;
    let mut read = Vec::with_capacity(events.len());
    for event in events {
        if event.number <= last || event.number > through {
            return Err(format!("event {} is not in its place", event.number));
        }
        last = event.number;
        read.push(Arc::new(event.read()?));
    }
    Ok(read.into())
}

impl<'a> CountsJson<'a> {
    fn of(counts: &'a PeerCounts) -> CountsJson<'a> {
        let rate = |rate: &'a SharedRate| match rate {
            SharedRate::User(user) => RateJson::User(user.as_str().into()),
            SharedRate::Replays(user) => RateJson::Replays(user.as_str().into()),
            SharedRate::Anonymous(address) => RateJson::Anonymous(*address),
            SharedRate::LoginAddress(address) => RateJson::LoginAddress(*address),
        };
        CountsJson {
            streams: counts.streams.iter().map(|(user, count)| (user.as_str().into(), *count)).collect(),
            are_all: counts.are_all,
            taken: counts.taken.iter().map(|(key, micros)| (rate(key), *micros)).collect(),
        }
    }

    fn read(self) -> PeerCounts {
        let rate = |rate| match rate {
            RateJson::User(user) => SharedRate::User(UserId::new_unchecked(user)),
            RateJson::Replays(user) => SharedRate::Replays(UserId::new_unchecked(user)),
            RateJson::Anonymous(address) => SharedRate::Anonymous(address),
            RateJson::LoginAddress(address) => SharedRate::LoginAddress(address),
        };
        PeerCounts {
            streams: self.streams.into_iter().map(|(user, count)| (UserId::new_unchecked(user), count)).collect(),
            are_all: self.are_all,
            taken: self.taken.into_iter().map(|(key, micros)| (rate(key), micros)).collect(),
        }
    }
}

impl StreamJson {
    fn of(stream: &OpenStream) -> StreamJson {
        let OpenStream { id, since, live, events_behind, bytes_behind } = *stream;
        StreamJson { id: id.as_u128(), since: since.0, live, events_behind, bytes_behind }
    }

    fn read(self) -> OpenStream {
        let StreamJson { id, since, live, events_behind, bytes_behind } = self;
        OpenStream { id: Uuid::from_u128(id), since: WallTime(since), live, events_behind, bytes_behind }
    }
}

impl<'a> EventJson<'a> {
    fn of(event: &'a Event) -> EventJson<'a> {
        EventJson {
            number: event.number.0,
            kind: event.kind.as_str().into(),
            at: event.at.0,
            actor: event.actor.as_str().into(),
            correlation_id: (&*event.correlation_id).into(),
            workspace_id: event.workspace_id.0.as_u128(),
            conversation_id: event.conversation_id.map(|id| id.0.as_u128()),
            recipients: names(&event.recipients),
            body: match &event.body {
                EventBody::Message(message) => BodyJson::Message(Box::new(StoredMessageJson::of(message))),
                EventBody::Deleted(id) => BodyJson::Deleted(id.0.as_u128()),
                EventBody::Unanswered(id, json) => BodyJson::Unanswered(id.0.as_u128(), (&**json).into()),
                EventBody::Data(json) => BodyJson::Data((&**json).into()),
            },
        }
    }

    fn read(self) -> Result<Event, String> {
        Ok(Event {
            number: EventNumber(self.number),
            kind: EventKind::parse(&self.kind).ok_or_else(|| format!("there is no kind {:?}", self.kind))?,
            at: WallTime(self.at),
            actor: UserId::new_unchecked(self.actor),
            correlation_id: self.correlation_id.into(),
            workspace_id: WorkspaceId(Uuid::from_u128(self.workspace_id)),
            conversation_id: self.conversation_id.map(|id| ConversationId(Uuid::from_u128(id))),
            recipients: users(self.recipients),
            body: match self.body {
                BodyJson::Message(message) => EventBody::Message(message.read()?),
                BodyJson::Deleted(id) => EventBody::Deleted(message_id_of(id)),
                BodyJson::Unanswered(id, json) => EventBody::Unanswered(message_id_of(id), json.into()),
                BodyJson::Data(json) => EventBody::Data(json.into()),
            },
        })
    }
}

impl<'a> StoredMessageJson<'a> {
    fn of(message: &'a Message) -> StoredMessageJson<'a> {
        StoredMessageJson {
            id: message.id.0.as_u128(),
            conversation_id: message.conversation_id.0.as_u128(),
            sender: message.sender.as_str().into(),
            sender_name: (&*message.sender_name).into(),
            role: message.role.as_str().into(),
            content: message.content.as_str().into(),
            metadata: message.metadata.as_str().into(),
            created_at: message.created_at.0,
            updated_at: message.updated_at.0,
            status: message.status.as_str().into(),
            reply_to: message.reply_to.map(|id| id.0.as_u128()),
            error: message.error.as_deref().map(Cow::from),
        }
    }

    fn read(self) -> Result<Message, String> {
        Ok(Message {
            id: message_id_of(self.id),
            conversation_id: ConversationId(Uuid::from_u128(self.conversation_id)),
            sender: UserId::new_unchecked(self.sender),
            sender_name: self.sender_name.into(),
            role: Role::parse(&self.role).ok_or_else(|| format!("there is no role {:?}", self.role))?,
            content: Content::new_unchecked(self.content),
            metadata: Metadata::new_unchecked(self.metadata),
            created_at: WallTime(self.created_at),
            updated_at: WallTime(self.updated_at),
            status: Status::parse(&self.status).ok_or_else(|| format!("there is no status {:?}", self.status))?,
            reply_to: self.reply_to.map(message_id_of),
            error: self.error.map(Arc::from),
            // Events have neither.
            answer: None,
            reasoning: None,
        })
    }
}

impl<'a> AnswerJson<'a> {
    fn of(started: &'a AnswerStarted) -> AnswerJson<'a> {
        AnswerJson {
            job: started.job.0.0,
            message_id: started.message_id.0.as_u128(),
            reply_to: started.reply_to.0.as_u128(),
            conversation_id: started.conversation_id.0.as_u128(),
            workspace_id: started.workspace_id.0.as_u128(),
            recipients: names(&started.recipients),
            known_at: started.known_at.0,
            sender: started.sender.as_str().into(),
            correlation_id: (&*started.correlation_id).into(),
        }
    }

    fn read(self, from: InstanceName) -> AnswerStarted {
        AnswerStarted {
            job: JobId(EventNumber(self.job)),
            message_id: message_id_of(self.message_id),
            reply_to: message_id_of(self.reply_to),
            conversation_id: ConversationId(Uuid::from_u128(self.conversation_id)),
            workspace_id: WorkspaceId(Uuid::from_u128(self.workspace_id)),
            recipients: users(self.recipients),
            known_at: EventNumber(self.known_at),
            sender: UserId::new_unchecked(self.sender),
            correlation_id: self.correlation_id.into(),
            live: LiveAnswer::of_other_instance(from),
        }
    }
}

impl<'a> StatusJson<'a> {
    fn of(change: &'a AnswerStatusChange) -> StatusJson<'a> {
        StatusJson {
            reply_to: change.reply_to.0.as_u128(),
            conversation_id: change.conversation_id.0.as_u128(),
            workspace_id: change.workspace_id.0.as_u128(),
            recipients: names(&change.recipients),
            known_at: change.known_at.0,
            sender: change.sender.as_str().into(),
            correlation_id: (&*change.correlation_id).into(),
            phase: match change.phase {
                AnswerPhase::Queued => PhaseJson::Queued,
                AnswerPhase::Started => PhaseJson::Started,
                AnswerPhase::Retrying { in_milliseconds } => PhaseJson::Retrying { in_milliseconds },
            },
        }
    }

    fn read(self) -> Arc<AnswerStatusChange> {
        Arc::new(AnswerStatusChange {
            reply_to: message_id_of(self.reply_to),
            conversation_id: ConversationId(Uuid::from_u128(self.conversation_id)),
            workspace_id: WorkspaceId(Uuid::from_u128(self.workspace_id)),
            recipients: users(self.recipients),
            known_at: EventNumber(self.known_at),
            sender: UserId::new_unchecked(self.sender),
            correlation_id: self.correlation_id.into(),
            phase: match self.phase {
                PhaseJson::Queued => AnswerPhase::Queued,
                PhaseJson::Started => AnswerPhase::Started,
                PhaseJson::Retrying { in_milliseconds } => AnswerPhase::Retrying { in_milliseconds },
            },
        })
    }
}

fn names(users: &[UserId]) -> Vec<Cow<'_, str>> {
    users.iter().map(|user| user.as_str().into()).collect()
}

fn users(names: Vec<Cow<'_, str>>) -> Arc<[UserId]> {
    names.into_iter().map(UserId::new_unchecked).collect()
}

fn message_id_of(id: u128) -> MessageId {
    MessageId(Uuid::from_u128(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(u128::MAX - number)
    }

    fn user(name: &str) -> UserId {
        UserId::new_unchecked(name)
    }

    fn message() -> Message {
        Message {
            id: MessageId(id(1)),
            conversation_id: ConversationId(id(2)),
            sender: user("responder:openai"),
            sender_name: "\u{0}\u{1f600}\u{2028}\"\\".into(),
            role: Role::Assistant,
            content: Content::new_unchecked("a\u{0}b\n\u{1f600}"),
            metadata: Metadata::new_unchecked(r#"{"a":"\u0000","b":[1e400]}"#),
            created_at: WallTime(-5),
            updated_at: WallTime(i64::MAX),
            status: Status::Interrupted,
            reply_to: Some(MessageId(id(3))),
            error: Some("why".into()),
            answer: None,
            reasoning: None,
        }
    }

    fn event(number: u64, kind: EventKind, body: EventBody) -> Arc<Event> {
        Arc::new(Event {
            number: EventNumber(number),
            kind,
            at: WallTime(1_700_000_000_000_000),
            actor: user("u\u{e9}"),
            correlation_id: "c".into(),
            workspace_id: WorkspaceId(id(4)),
            conversation_id: number.is_multiple_of(2).then(|| ConversationId(id(2))),
            recipients: [user("a"), user("b")].into(),
            body,
        })
    }

    fn status(phase: AnswerPhase) -> Arc<AnswerStatusChange> {
        Arc::new(AnswerStatusChange {
            reply_to: MessageId(id(3)),
            conversation_id: ConversationId(id(2)),
            workspace_id: WorkspaceId(id(4)),
            recipients: [user("a")].into(),
            known_at: EventNumber(7),
            sender: user("responder:openai"),
            correlation_id: "c".into(),
            phase,
        })
    }

    fn started() -> AnswerStarted {
        AnswerStarted {
            job: JobId(EventNumber(5)),
            message_id: MessageId(id(1)),
            reply_to: MessageId(id(3)),
            conversation_id: ConversationId(id(2)),
            workspace_id: WorkspaceId(id(4)),
            recipients: [user("a"), user("b")].into(),
            known_at: EventNumber(9),
            sender: user("responder:openai"),
            correlation_id: "c".into(),
            live: LiveAnswer::default(),
        }
    }

    /// What is written again, since two answers are never equal.
    fn written_again(batch: &BusBatch) -> Vec<u8> {
        BusBatch::decode(&batch.encode()).expect("it is valid").expect("its version is known").encode()
    }

    #[test]
    fn every_message_is_read_as_it_was_written() {
        let events = [
            event(2, EventKind::Output, EventBody::Message(message())),
            event(3, EventKind::MessageDeleted, EventBody::Deleted(MessageId(id(1)))),
            event(4, EventKind::OutputError, EventBody::Unanswered(MessageId(id(3)), r#"{"error":"e"}"#.into())),
            event(u64::MAX >> 1, EventKind::ConversationUpdated, EventBody::Data(r#"{"a":"\u0000"}"#.into())),
        ];
        let messages = vec![
            BusMessage::Beat,
            BusMessage::Commit(CommitNotice {
                before: EventNumber(1),
                through: EventNumber(u64::MAX >> 1),
                events: events.into(),
                started: [started()].into(),
                queued: vec![status(AnswerPhase::Queued)],
            }),
            BusMessage::Status(status(AnswerPhase::Retrying { in_milliseconds: 1500 })),
            BusMessage::Status(status(AnswerPhase::Started)),
            BusMessage::Text(AnswerPart {
                message_id: MessageId(id(1)),
                kind: AnswerTextKind::Reasoning,
                index: 3,
                from: 10,
                text: "\u{1f600}\"".into(),
            }),
            BusMessage::TextWanted(TextRequest { message_id: MessageId(id(1)), known: None }),
            BusMessage::TextWanted(TextRequest {
                message_id: MessageId(id(1)),
                known: Some(ShownText { bytes: 4, reasoning_bytes: 5 }),
            }),
            BusMessage::Answer(started()),
            BusMessage::CountsWanted,
            BusMessage::Counts(PeerCounts {
                streams: vec![(user("a"), 3), (user("b"), 0)],
                are_all: true,
                taken: vec![
                    (SharedRate::User(user("a")), 5),
                    (SharedRate::Replays(user("a")), i64::MIN),
                    (SharedRate::Anonymous("10.0.0.1".parse().unwrap()), 1),
                    (SharedRate::LoginAddress("2001:db8::".parse().unwrap()), 2),
                ],
            }),
            BusMessage::Query(1, PeerQueryKind::ListStreams(user("a"))),
            BusMessage::Query(
                u64::MAX,
                PeerQueryKind::RenewStream { user: user("a"), stream: id(6), expires_at: WallTime(5), key: u64::MAX },
            ),
            BusMessage::QueryAnswered(
                1,
                PeerAnswer::Streams(vec![OpenStream {
                    id: id(6),
                    since: WallTime(3),
                    live: true,
                    events_behind: 1,
                    bytes_behind: 2,
                }]),
            ),
            BusMessage::QueryAnswered(2, PeerAnswer::Renewed(Some(WallTime(5)))),
            BusMessage::QueryAnswered(3, PeerAnswer::Renewed(None)),
        ];
        let batch = BusBatch { from: InstanceName(id(0)), timeline: 2, messages };
        let read = BusBatch::decode(&batch.encode()).unwrap().unwrap();
        assert_eq!((read.from, read.timeline, read.messages.len()), (batch.from, 2, batch.messages.len()));
        assert_eq!(written_again(&batch), batch.encode());
        for (read, written) in read.messages.iter().zip(&batch.messages) {
            match (read, written) {
                (BusMessage::Answer(read), BusMessage::Answer(written)) => {
                    assert_eq!(read.live.owner(), Some(batch.from));
                    assert_eq!(*read, AnswerStarted { live: read.live.clone(), ..written.clone() });
                }
                (BusMessage::Commit(read), BusMessage::Commit(written)) => {
                    assert_eq!((&read.events, &read.queued), (&written.events, &written.queued));
                }
                (read, written) => assert_eq!(read, written),
            }
        }
    }

    #[test]
    fn newer_messages_and_fields_are_skipped_and_other_versions_ignored() {
        let newer = br#"{"version":1,"from":1,"timeline":1,"new":0,"messages":[{"new":{}},{"beat":{"new":1}}]}"#;
        assert_eq!(BusBatch::decode(newer).unwrap().unwrap().messages, [BusMessage::Beat]);
        assert_eq!(BusBatch::decode(br#"{"version":2,"whatever":[]}"#).unwrap(), None);
    }

    #[test]
    fn an_invalid_batch_is_an_error() {
        let between = |before: u64, through: u64, events: &str| {
            format!(
                r#"{{"version":1,"from":1,"timeline":1,"messages":[{{"commit":{{"before":{before},"through":{through},"events":[{events}],"started":[],"queued":[]}}}}]}}"#
            )
        };
        let commit = |events: &str| between(1, 3, events);
        let event = |number: u64, kind: &str| {
            format!(
                r#"{{"number":{number},"kind":"{kind}","at":0,"actor":"a","correlation_id":"c","workspace_id":1,"conversation_id":null,"recipients":[],"body":{{"data":"{{}}"}}}}"#
            )
        };
        assert!(BusBatch::decode(commit(&event(2, "workspace_created")).as_bytes()).is_ok());
        let bad = [
            String::new(),
            "{}".into(),
            "[1]".into(),
            commit("{}"),
            between(3, 1, ""),
            between(1, u64::MAX, ""),
            commit(&event(1, "workspace_created")),
            commit(&event(4, "workspace_created")),
            commit(&format!("{},{}", event(3, "workspace_created"), event(3, "workspace_created"))),
            commit(&event(2, "no_kind")),
            r#"{"version":1,"from":-1,"timeline":1,"messages":[]}"#.into(),
        ];
        for payload in bad {
            assert!(BusBatch::decode(payload.as_bytes()).is_err(), "{payload}");
        }
    }
}
