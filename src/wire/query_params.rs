//! Query parameters: decoded pairs in, typed values out, or all invalid parameters at once. Unknown ones are ignored.

use crate::base::limits::*;
use crate::domain::event::{EventKind, KindSet};
use crate::domain::id::{MessageId, RESPONDER_PREFIX, UserId};
use crate::domain::last_event_id::{LastEventId, parse_last_event_ids};
use crate::domain::page::Pagination;
use crate::domain::query::MessageCursor;
use crate::domain::search::SearchTerm;
use crate::domain::usage::{Day, DayRange, UsageBy};
use crate::wire::FieldErrors;
use crate::wire::request::{LoginRequest, email_text, typed_password};
use crate::wire::search_query::search_terms;
use std::borrow::Cow;
use std::collections::HashSet;

/// A name and a value, percent-decoded.
pub type QueryPair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// `limit` and `offset` of a list.
pub fn pagination(pairs: &[QueryPair]) -> Result<Pagination, FieldErrors> {
    let mut query = QueryReader::of(pairs);
    let pagination = query.pagination();
    query.end(pagination)
}

/// `GET /config/conversation`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationList {
    /// The workspace's id as sent, which may not be a UUID.
    pub workspace_id: String,
    /// The part of the list.
    pub pagination: Pagination,
}

/// Reads the query of `GET /config/conversation`.
pub fn conversation_list(pairs: &[QueryPair]) -> Result<ConversationList, FieldErrors> {
    let mut query = QueryReader::of(pairs);
    let workspace_id = query.required("workspace_id");
    let pagination = query.pagination();
    let list =
        workspace_id.zip(pagination).map(|(workspace_id, pagination)| ConversationList { workspace_id, pagination });
    query.end(list)
}

/// `GET /conversations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConversationViewList {
    /// The part of the list.
    pub pagination: Pagination,
    /// Whether each conversation includes its last messages.
    pub with_messages: bool,
}

/// Reads the query of `GET /conversations`.
pub fn conversation_view_list(pairs: &[QueryPair]) -> Result<ConversationViewList, FieldErrors> {
    let mut query = QueryReader::of(pairs);
    let pagination = query.pagination();
    let with_messages = query.includes("messages");
    query.end(pagination.map(|pagination| ConversationViewList { pagination, with_messages }))
}

/// `GET /conversations/{id}/messages`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageList {
    /// The part of the messages.
    pub cursor: MessageCursor,
    /// The maximum number of messages.
    pub limit: u32,
    /// Whether answers include the model's reasoning.
    pub with_reasoning: bool,
}

/// Reads the query of `GET /conversations/{id}/messages`.
pub fn message_list(pairs: &[QueryPair]) -> Result<MessageList, FieldErrors> {
    let mut query = QueryReader::of(pairs);
    let limit = query.limit();
    let with_reasoning = query.includes("reasoning");
    let rule = "must be the id of a message of this conversation";
    let (before, after) = (query.message("before", rule), query.message("after", rule));
    let cursor = match (before, after) {
        (None, None) => Some(MessageCursor::First),
        (Some(id), None) => Some(MessageCursor::Before(id)),
        (None, Some(id)) => Some(MessageCursor::After(id)),
        (Some(_), Some(_)) => query.reject("before", "must not be given together with after"),
    };
    query.end(cursor.map(|cursor| MessageList { cursor, limit, with_reasoning }))
}

/// Reads the query of `GET /conversations/{id}/messages/{message_id}`: whether an answer includes the model's reasoning.
pub(crate) fn message(pairs: &[QueryPair]) -> Result<bool, FieldErrors> {
    let mut query = QueryReader::of(pairs);
    let with_reasoning = query.includes("reasoning");
    query.end(Some(with_reasoning))
}

/// `GET /search`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchParameters {
    /// What a message must have, and must not have.
    pub terms: Vec<SearchTerm>,
    /// The conversation's id as sent: `default`, a UUID, or neither.
    pub conversation_id: Option<String>,
    /// The workspace's id as sent, which may not be a UUID.
    pub workspace_id: Option<String>,
    /// The maximum number of messages.
    pub limit: u32,
    /// The message before which the results begin.
    pub before: Option<MessageId>,
}

/// Reads the query of `GET /search`.
pub fn search(pairs: &[QueryPair]) -> Result<SearchParameters, FieldErrors> {
    let mut query = QueryReader::of(pairs);
    let terms = query.search_terms();
    let conversation_id = query.once("conversation_id").map(str::to_owned);
    let workspace_id = query.once("workspace_id").map(str::to_owned);
    let limit = query.number("limit", 1, SEARCH_LIMIT_MAX.into(), "must be a whole number from 1 to 100");
    let limit = limit.map_or(SEARCH_LIMIT_DEFAULT, |limit| limit as u32);
    let before = query.message("before", "must be the id of a message");
    query.end(terms.map(|terms| SearchParameters { terms, conversation_id, workspace_id, limit, before }))
}

/// Reads the query of `GET /usage`. Without `to`, the range ends today; without `from`, it has a default length.
pub(crate) fn usage(pairs: &[QueryPair], today: Day) -> Result<(DayRange, UsageBy), FieldErrors> {
    let mut query = QueryReader::of(pairs);
    let to = query.day("to").unwrap_or(today);
    let from = query.day("from").unwrap_or(Day(to.0 - (USAGE_DAYS_DEFAULT - 1)));
    if from > to {
        query.reject::<()>("from", "must not be after to");
    } else if to.0 - from.0 >= USAGE_DAYS_MAX {
        query.reject::<()>("from", format!("must be at most {} days before to", USAGE_DAYS_MAX - 1));
    }
    let by = match query.once("by") {
        None | Some("day") => Some(UsageBy::Day),
        Some("conversation") => Some(UsageBy::Conversation),
        Some("model") => Some(UsageBy::Model),
        Some(_) => query.reject("by", "must be day, conversation or model"),
    };
    query.end(by.map(|by| (DayRange { from, to }, by)))
}

/// `GET /users?ids=a,b`: the ids without duplicates, in the order sent. Ids of responders are left out rather than rejected,
/// since clients request the names of all senders that they have seen.
pub fn user_ids(pairs: &[QueryPair]) -> Result<Vec<UserId>, FieldErrors> {
    let mut query = QueryReader::of(pairs);
    let ids = query.required("ids").and_then(|ids| query.user_ids(&ids));
    query.end(ids)
}

/// `GET /output/stream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamQuery {
    /// The conversation's id as sent: `default`, a UUID, or neither.
    pub conversation_id: Option<String>,
    /// The workspace's id as sent, which may not be a UUID.
    pub workspace_id: Option<String>,
    /// The kinds of events to send. They always include the control events.
    pub kinds: KindSet,
    /// Whether events have an `event:` line.
    pub named: bool,
    /// The number after which to replay, unless the header has one. It is not `Invalid`.
    pub last_event_id: LastEventId,
}

/// Reads the query of `GET /output/stream`.
pub fn stream(pairs: &[QueryPair]) -> Result<StreamQuery, FieldErrors> {
    let mut query = QueryReader::of(pairs);
    let conversation_id = query.once("conversation_id");
    let workspace_id = query.once("workspace_id");
    let kinds = query.kinds();
    let AnswerStreamQuery { named, last_event_id } = query.stream_parameters();
    query.end(Some(StreamQuery {
        conversation_id: conversation_id.map(str::to_owned),
        workspace_id: workspace_id.map(str::to_owned),
        kinds,
        named,
        last_event_id,
    }))
}

/// `GET /conversations/{id}/messages/{message_id}/stream`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnswerStreamQuery {
    /// Whether events have an `event:` line.
    pub named: bool,
    /// The offset in the text at which to start, unless the header has one. It is not `Invalid`.
    pub last_event_id: LastEventId,
}

/// Reads the query of `GET /conversations/{id}/messages/{message_id}/stream`.
pub(crate) fn answer_stream(pairs: &[QueryPair]) -> Result<AnswerStreamQuery, FieldErrors> {
    let mut query = QueryReader::of(pairs);
    let parameters = query.stream_parameters();
    query.end(Some(parameters))
}

/// Reads the form of `POST /auth/login`, the OAuth2 password form (RFC 6749 §4.3.2): `username` and `password`.
pub fn login_form(pairs: &[QueryPair]) -> Result<LoginRequest, FieldErrors> {
    let mut form = QueryReader::of(pairs);
    let email = form.required("username").and_then(|raw| form.checked("username", email_text(&raw)));
    let password = form.required("password").and_then(|raw| form.checked("password", typed_password(&raw)));
    let login = email.zip(password).map(|(email, password)| LoginRequest { email, password });
    form.end(login)
}

struct QueryReader<'a> {
    pairs: &'a [QueryPair<'a>],
    invalid: FieldErrors,
}

impl<'a> QueryReader<'a> {
    fn of(pairs: &'a [QueryPair<'a>]) -> QueryReader<'a> {
        QueryReader { pairs, invalid: Vec::new() }
    }

    /// The value of `name`, which may not be repeated.
    fn once(&mut self, name: &'static str) -> Option<&'a str> {
        let mut values = self.pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value);
        let value = values.next()?;
        match values.next() {
            None => Some(value),
            Some(_) => self.reject(name, "must be given once"),
        }
    }

    fn required(&mut self, name: &'static str) -> Option<String> {
        if !self.pairs.iter().any(|(known, _)| known == name) {
            return self.reject(name, "is required");
        }
        self.once(name).map(str::to_owned)
    }

    fn pagination(&mut self) -> Option<Pagination> {
        const OFFSET_MAX: u64 = i64::MAX as u64;
        let limit = self.limit();
        let offset = self.number("offset", 0, OFFSET_MAX, "must be a whole number from 0");
        Some(Pagination { limit, offset: offset.unwrap_or(0) })
    }

    fn limit(&mut self) -> u32 {
        let limit = self.number("limit", 1, LIST_LIMIT_MAX.into(), "must be a whole number from 1 to 1000");
        limit.map_or(LIST_LIMIT_DEFAULT, |limit| limit as u32)
    }

    fn message(&mut self, name: &'static str, rule: &'static str) -> Option<MessageId> {
        let value = self.once(name)?;
        self.checked(name, MessageId::parse(value).ok_or(rule))
    }

    fn search_terms(&mut self) -> Option<Vec<SearchTerm>> {
        let query = self.required("q")?;
        search_terms(&query).map_err(|rule| self.reject::<()>("q", rule)).ok()
    }

    fn number(&mut self, name: &'static str, min: u64, max: u64, rule: &'static str) -> Option<u64> {
        let value = self.once(name)?;
        // `str::parse` also accepts a plus sign.
        let number = value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten();
        match number {
            Some(number) if (min..=max).contains(&number) => Some(number),
            _ => self.reject(name, rule),
        }
    }

    /// Whether `include` names `part`, which is the only one that there is.
    fn includes(&mut self, part: &'static str) -> bool {
        match self.once("include") {
            None => false,
            Some(name) if name == part => true,
            Some(_) => self.reject("include", format!("must be {part}")).unwrap_or(false),
        }
    }

    fn day(&mut self, name: &'static str) -> Option<Day> {
        let value = self.once(name)?;
        self.checked(name, Day::parse(value).ok_or("must be a date like 2026-01-31"))
    }

    fn flag(&mut self, name: &'static str) -> bool {
        match self.once(name) {
            Some("true" | "1") => true,
            None | Some("false" | "0") => false,
            Some(_) => self.reject(name, "must be true or false").unwrap_or(false),
        }
    }

    fn kinds(&mut self) -> KindSet {
        let Some(types) = self.once("types") else { return KindSet::ALL };
        let control = EventKind::ALL.iter().filter(|kind| kind.is_control());
        let mut kinds = control.fold(KindSet::NONE, |kinds, control| kinds.with(*control));
        for name in types.split(',') {
            match EventKind::parse(name) {
                Some(EventKind::Output) => {
                    kinds = EventKind::OF_ANSWERS.iter().copied().fold(kinds, KindSet::with);
                }
                Some(kind) => kinds = kinds.with(kind),
                None => {
                    self.reject::<()>("types", format!("names an unknown kind \"{name}\""));
                    break;
                }
            }
        }
        kinds
    }

    /// The parameters that every stream has.
    fn stream_parameters(&mut self) -> AnswerStreamQuery {
        let (named, last_event_id) = (self.flag("named"), self.last_event_id());
        // `api::auth` parses the credential. It may not be repeated.
        for name in ["ticket", "access_token", "token"] {
            self.once(name);
        }
        AnswerStreamQuery { named, last_event_id }
    }

    /// The position of a stream. Clients that cannot set header fields spell the parameter in several ways.
    fn last_event_id(&mut self) -> LastEventId {
        const NAMES: [&str; 3] = ["last_event_id", "lasteventid", "last-event-id"];
        let values = self.pairs.iter().filter(|(name, _)| NAMES.iter().any(|known| name.eq_ignore_ascii_case(known)));
        let parsed = parse_last_event_ids(values.map(|(_, value)| value.as_bytes()));
        if parsed == LastEventId::Invalid {
            self.reject::<()>("last_event_id", "must be a whole number from 0");
        }
        parsed
    }

    fn user_ids(&mut self, ids: &str) -> Option<Vec<UserId>> {
        let mut users = Vec::new();
        let mut seen = HashSet::new();
        for (index, raw) in ids.split(',').enumerate() {
            // Ids are counted as sent, so that repeating one costs no work.
            if index == USERS_QUERY_IDS_MAX {
                return self.reject("ids", format!("must be at most {USERS_QUERY_IDS_MAX} ids"));
            }
            if raw.starts_with(RESPONDER_PREFIX) {
                continue;
            }
            let user = match UserId::new(raw) {
                Ok(user) => user,
                Err(rule) => return self.reject("ids", format!("item {} {rule}", index + 1)),
            };
            if seen.insert(user.clone()) {
                users.push(user);
            }
        }
        Some(users)
    }

    fn checked<T>(&mut self, name: &'static str, result: Result<T, &'static str>) -> Option<T> {
        result.map_err(|rule| self.reject::<T>(name, rule)).ok()
    }

    fn reject<T>(&mut self, name: &'static str, rule: impl Into<String>) -> Option<T> {
        self.invalid.push((name, rule.into()));
        None
    }

    /// `value`, unless a parameter is invalid.
    fn end<T>(self, value: Option<T>) -> Result<T, FieldErrors> {
        match value {
            Some(value) if self.invalid.is_empty() => Ok(value),
            _ => Err(self.invalid),
        }
    }
}

#[cfg(test)]
mod tests;
