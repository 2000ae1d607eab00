//! Query parameters: decoded pairs in, typed values out, or all invalid parameters at once. Unknown ones are ignored.

use crate::base::limits::*;
use crate::domain::event::{EventKind, KindSet};
use crate::domain::id::{EventNumber, MessageId, RESPONDER_PREFIX, UserId};
use crate::domain::page::Pagination;
use crate::domain::query::MessageCursor;
use crate::wire::FieldErrors;
use crate::wire::request::{LoginRequest, email_text, typed_password};
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
    let with_messages = match query.once("include") {
        None => false,
        Some("messages") => true,
        Some(_) => query.reject("include", "must be messages").unwrap_or(false),
    };
    query.end(pagination.map(|pagination| ConversationViewList { pagination, with_messages }))
}

/// `GET /conversations/{id}/messages`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageList {
    /// The part of the messages.
    pub cursor: MessageCursor,
    /// The maximum number of messages.
    pub limit: u32,
}

/// Reads the query of `GET /conversations/{id}/messages`.
pub fn message_list(pairs: &[QueryPair]) -> Result<MessageList, FieldErrors> {
    let mut query = QueryReader::of(pairs);
    let limit = query.limit();
    let (before, after) = (query.message("before"), query.message("after"));
    let cursor = match (before, after) {
        (None, None) => Some(MessageCursor::First),
        (Some(id), None) => Some(MessageCursor::Before(id)),
        (None, Some(id)) => Some(MessageCursor::After(id)),
        (Some(_), Some(_)) => query.reject("before", "must not be given together with after"),
    };
    query.end(cursor.map(|cursor| MessageList { cursor, limit }))
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
    /// The number after which to replay, unless the header has one.
    pub last_event_id: Option<EventNumber>,
}

/// Reads the query of `GET /output/stream`.
pub fn stream(pairs: &[QueryPair]) -> Result<StreamQuery, FieldErrors> {
    let mut query = QueryReader::of(pairs);
    let conversation_id = query.once("conversation_id");
    let workspace_id = query.once("workspace_id");
    let kinds = query.kinds();
    let named = query.flag("named");
    let last_event_id = query.number("last_event_id", 0, u64::MAX, "must be a whole number from 0");
    // `api::auth` parses the credential. It may not be repeated.
    for name in ["ticket", "access_token", "token"] {
        query.once(name);
    }
    query.end(Some(StreamQuery {
        conversation_id: conversation_id.map(str::to_owned),
        workspace_id: workspace_id.map(str::to_owned),
        kinds,
        named,
        last_event_id: last_event_id.map(EventNumber),
    }))
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

    fn message(&mut self, name: &'static str) -> Option<MessageId> {
        let value = self.once(name)?;
        let id = MessageId::parse(value).ok_or("must be the id of a message of this conversation");
        self.checked(name, id)
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

    fn flag(&mut self, name: &'static str) -> bool {
        match self.once(name) {
            Some("true" | "1") => true,
            None | Some("false" | "0") => false,
            Some(_) => self.reject(name, "must be true or false").unwrap_or(false),
        }
    }

    fn kinds(&mut self) -> KindSet {
        let Some(types) = self.once("types") else { return KindSet::ALL };
        let mut kinds = CONTROL.iter().fold(KindSet::NONE, |kinds, control| kinds.with(*control));
        for name in types.split(',') {
            match EventKind::parse(name) {
                Some(EventKind::Output) => {
                    let brings = [EventKind::Output, EventKind::OutputDelta, EventKind::OutputSnapshot];
                    kinds = brings.into_iter().fold(kinds, KindSet::with);
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

    fn user_ids(&mut self, ids: &str) -> Option<Vec<UserId>> {
        let mut users = Vec::new();
        let mut seen = HashSet::new();
        for (index, raw) in ids.split(',').enumerate() {
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
        if users.len() > USERS_QUERY_IDS_MAX {
            return self.reject("ids", format!("must be at most {USERS_QUERY_IDS_MAX} ids"));
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

/// The control events, which no filter excludes.
const CONTROL: [EventKind; 7] = [
    EventKind::ConnectionEstablished,
    EventKind::CaughtUp,
    EventKind::Heartbeat,
    EventKind::Gap,
    EventKind::TokenExpiring,
    EventKind::TokenExpired,
    EventKind::ServerShutdown,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits `a=1&b=2` without decoding.
    fn pairs(query: &str) -> Vec<QueryPair<'_>> {
        fn split(pair: &str) -> QueryPair<'_> {
            let (name, value) = pair.split_once('=').unwrap();
            (name.into(), value.into())
        }
        query.split('&').filter(|pair| !pair.is_empty()).map(split).collect()
    }

    fn rejected_fields<T>(result: Result<T, FieldErrors>) -> Vec<(&'static str, String)> {
        result.err().unwrap_or_default()
    }

    #[test]
    fn spans() {
        let good = [
            ("", 100, 0),
            ("limit=1", 1, 0),
            ("limit=1000&offset=0", 1000, 0),
            ("offset=9223372036854775807&other=x", 100, i64::MAX as u64),
            ("limit=007", 7, 0),
        ];
        for (query, limit, offset) in good {
            assert_eq!(pagination(&pairs(query)), Ok(Pagination { limit, offset }), "{query}");
        }
        let (limit, offset) = ("must be a whole number from 1 to 1000", "must be a whole number from 0");
        let bad = [
            ("limit=0", vec![("limit", limit)]),
            ("limit=1001", vec![("limit", limit)]),
            ("limit=", vec![("limit", limit)]),
            ("limit=+5", vec![("limit", limit)]),
            ("limit=5.0", vec![("limit", limit)]),
            ("limit=٣", vec![("limit", limit)]),
            ("limit=99999999999999999999", vec![("limit", limit)]),
            ("limit=-1&offset=-1", vec![("limit", limit), ("offset", offset)]),
            ("offset=x", vec![("offset", offset)]),
            ("offset=9223372036854775808", vec![("offset", offset)]),
            ("limit=1&limit=1", vec![("limit", "must be given once")]),
        ];
        for (query, expected) in bad {
            let expected: Vec<_> = expected.into_iter().map(|(name, rule)| (name, rule.to_owned())).collect();
            assert_eq!(rejected_fields(pagination(&pairs(query))), expected, "{query}");
        }
    }

    #[test]
    fn conversation_lists() {
        let list = conversation_list(&pairs("workspace_id=w&limit=5&offset=2")).unwrap();
        assert_eq!(list, ConversationList { workspace_id: "w".into(), pagination: Pagination { limit: 5, offset: 2 } });
        let bad = rejected_fields(conversation_list(&pairs("limit=0")));
        assert_eq!(bad[0], ("workspace_id", "is required".into()));
        assert_eq!(bad[1].0, "limit");
        let bad = rejected_fields(conversation_list(&pairs("workspace_id=a&workspace_id=a")));
        assert_eq!(bad, [("workspace_id", "must be given once".into())]);
    }

    #[test]
    fn chats_and_their_messages() {
        let pagination = |limit, offset| Pagination { limit, offset };
        let list = |query| conversation_view_list(&pairs(query));
        assert_eq!(list(""), Ok(ConversationViewList { pagination: pagination(100, 0), with_messages: false }));
        let with_messages = ConversationViewList { pagination: pagination(3, 5), with_messages: true };
        assert_eq!(list("limit=3&offset=5&include=messages"), Ok(with_messages));
        assert_eq!(rejected_fields(list("include=all")), [("include", "must be messages".to_owned())]);
        assert_eq!(
            rejected_fields(list("include=messages&include=messages")),
            [("include", "must be given once".to_owned())]
        );
        assert_eq!(rejected_fields(list("limit=0&offset=x&include=")).len(), 3);

        const ID: &str = "0190c42e-8d3f-7123-9abc-0123456789ab";
        let id = MessageId::parse(ID).unwrap();
        let list = |query: &str| message_list(&pairs(query));
        let good = [
            (String::new(), MessageCursor::First, 100),
            (format!("before={ID}&limit=1000"), MessageCursor::Before(id), 1000),
            (format!("after={}", ID.to_uppercase()), MessageCursor::After(id), 100),
        ];
        for (query, cursor, limit) in good {
            assert_eq!(list(&query), Ok(MessageList { cursor, limit }), "{query}");
        }
        let bad = [
            ("before=x".to_owned(), vec!["before"]),
            ("after=".to_owned(), vec!["after"]),
            ("limit=1001&before=default&after=7".to_owned(), vec!["limit", "before", "after"]),
            (format!("before={ID}&after={ID}"), vec!["before"]),
            (format!("before={ID}&before={ID}"), vec!["before"]),
        ];
        for (query, fields) in bad {
            let named: Vec<&str> = rejected_fields(list(&query)).into_iter().map(|(name, _)| name).collect();
            assert_eq!(named, fields, "{query}");
        }
    }

    #[test]
    fn ids_of_users() {
        let good = [
            ("ids=a", vec!["a"]),
            ("ids=b,a,b", vec!["b", "a"]),
            ("ids=a,responder:echo,c", vec!["a", "c"]),
            ("ids=responder:echo", vec![]),
        ];
        for (query, expected) in good {
            let ids = user_ids(&pairs(query)).unwrap();
            assert_eq!(ids.iter().map(UserId::as_str).collect::<Vec<_>>(), expected, "{query}");
        }
        let many = |count: usize| format!("ids={}", (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
        assert_eq!(user_ids(&pairs(&many(1000))).unwrap().len(), 1000);
        let bad = [
            ("".into(), "is required"),
            ("ids=".into(), "item 1 must be 1 to 255 characters"),
            ("ids=a,,b".into(), "item 2 must be 1 to 255 characters"),
            (format!("ids=a,{}", "x".repeat(256)), "item 2 must be 1 to 255 characters"),
            (many(1001), "must be at most 1000 ids"),
            ("ids=a&ids=b".into(), "must be given once"),
        ];
        for (query, rule) in bad {
            assert_eq!(rejected_fields(user_ids(&pairs(&query))), [("ids", rule.to_owned())], "{query}");
        }
    }

    #[test]
    fn streams() {
        let plain = stream(&pairs("")).unwrap();
        let all = StreamQuery {
            conversation_id: None,
            workspace_id: None,
            kinds: KindSet::ALL,
            named: false,
            last_event_id: None,
        };
        assert_eq!(plain, all);
        let query = "conversation_id=default&workspace_id=w&named=true&last_event_id=18446744073709551615&token=t&x=y";
        let expected = StreamQuery {
            conversation_id: Some("default".into()),
            workspace_id: Some("w".into()),
            named: true,
            last_event_id: Some(EventNumber(u64::MAX)),
            ..all
        };
        assert_eq!(stream(&pairs(query)).unwrap(), expected);
        for (query, named) in [("named=1", true), ("named=true", true), ("named=0", false), ("named=false", false)] {
            assert_eq!(stream(&pairs(query)).unwrap().named, named, "{query}");
        }
    }

    #[test]
    fn kinds_of_streams() {
        use EventKind::*;
        let table: [(&str, &[EventKind]); 5] = [
            ("input", &[Input]),
            ("output", &[Output, OutputDelta, OutputSnapshot]),
            ("input,output_error,input", &[Input, OutputError]),
            ("output_delta", &[OutputDelta]),
            ("heartbeat", &[]),
        ];
        for (types, expected) in table {
            let kinds = stream(&pairs(&format!("types={types}"))).unwrap().kinds;
            for kind in EventKind::ALL {
                let wanted = expected.contains(kind) || CONTROL.contains(kind);
                assert_eq!(kinds.has(*kind), wanted, "{types} {}", kind.as_str());
            }
        }
        for (types, named) in
            [("", ""), ("input,", ""), ("Input", "Input"), ("input,foo,bar", "foo"), (" input", " input")]
        {
            let bad = rejected_fields(stream(&pairs(&format!("types={types}"))));
            assert_eq!(bad, [("types", format!("names an unknown kind \"{named}\""))], "{types}");
        }
    }

    #[test]
    fn every_bad_parameter_of_a_stream_is_named() {
        let once = "must be given once";
        let twice =
            ["conversation_id", "workspace_id", "types", "named", "last_event_id", "ticket", "access_token", "token"];
        for name in twice {
            let bad = rejected_fields(stream(&pairs(&format!("{name}=1&{name}=1"))));
            assert_eq!(bad, [(name, once.to_owned())]);
        }
        let number = "must be a whole number from 0";
        for value in ["", "x", "-1", "+1", "1 ", "1.0", "0x1", "18446744073709551616"] {
            let bad = rejected_fields(stream(&pairs(&format!("last_event_id={value}"))));
            assert_eq!(bad, [("last_event_id", number.to_owned())], "{value}");
        }
        let bad = rejected_fields(stream(&pairs("types=x&named=yes&last_event_id=y&token=1&token=2")));
        let expected = [
            ("types", "names an unknown kind \"x\"".to_owned()),
            ("named", "must be true or false".to_owned()),
            ("last_event_id", number.to_owned()),
            ("token", once.to_owned()),
        ];
        assert_eq!(bad, expected);
    }

    #[test]
    fn login_forms() {
        let login = login_form(&pairs("grant_type=password&username=u&password=p w&scope=")).ok().unwrap();
        assert_eq!((login.email.as_str(), login.password.as_str()), ("u", "p w"));
        let long = format!("username={}&password={}", "x".repeat(321), "x".repeat(801));
        let (email, password) = ("must be 1 to 320 characters", "must be 1 to 200 characters");
        let bad = [
            ("", "is required", "is required"),
            ("username=&password=", email, password),
            (&long, email, password),
            ("username=a&username=a&password=p&password=p", "must be given once", "must be given once"),
        ];
        for (form, username, password) in bad {
            let expected = [("username", username.to_owned()), ("password", password.to_owned())];
            assert_eq!(rejected_fields(login_form(&pairs(form))), expected, "{form}");
        }
    }
}
