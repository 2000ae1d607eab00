//! Request bodies: `wire::request` accepts what `docs/api.md` allows, as parsed by `json_reference`; a rejection names
//! each invalid field; and accepted data is unchanged in responses and events.
//!
//! Input: a byte for the endpoint, then the body. For merging, two bodies separated by a byte 0x1e.

use super::choices::Choices;
use super::json_reference::{self as json, Fault, Json};
use cortex_core::internals::limits::{CONTENT_BYTES_MAX, METADATA_BYTES_MAX, METADATA_LEVELS_MAX, PARTICIPANTS_MAX};
use cortex_core::internals::wire::request::InvalidBody;
use cortex_core::internals::wire::{command_result, event, metadata, request};
use cortex_core::internals::{
    ApiVariant, Content, ConversationId, ConversationRef, Event, EventBody, EventKind, EventNumber, Message, MessageId,
    Metadata, Outcome, Role, Status, UserId, WallTime, Workspace, WorkspaceDescription, WorkspaceId, WorkspaceName,
};
use std::sync::Arc;
use uuid::Uuid;

/// The rule of a field.
#[derive(Clone, Copy)]
enum Rule {
    Any,
    Content,
    /// A minimum and a maximum number of characters.
    Chars(usize, usize),
    /// A maximum number of bytes.
    Bytes(usize),
    Role,
    Ids,
    Metadata,
}

/// An accepted value.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    Ids(Vec<String>),
    Metadata(String),
}

type Values = Vec<Option<Value>>;
/// Name, whether it is required, and its rule.
type Field = (&'static str, bool, Rule);

const NAME: Rule = Rule::Chars(1, 100);
const DESCRIPTION: Rule = Rule::Chars(1, 500);
const TOPIC: Rule = Rule::Chars(1, 200);
const METADATA: Field = ("metadata", false, Rule::Metadata);

/// The fields of each endpoint, and the program's result for a body.
fn endpoint(which: usize, body: &[u8]) -> (Vec<Field>, Result<Values, InvalidBody>) {
    let metadata = |metadata: &Metadata| Some(Value::Metadata(metadata.as_str().to_owned()));
    let text = |text: &str| Some(Value::Text(text.to_owned()));
    let ids = |ids: &Vec<UserId>| Some(Value::Ids(ids.iter().map(|id| id.as_str().to_owned()).collect()));
    match which {
        0 => (
            vec![("content", true, Rule::Content), ("conversation_id", false, Rule::Any), METADATA],
            request::post_input(body).map(|got| {
                vec![text(got.content.as_str()), got.conversation_id.as_deref().and_then(text), metadata(&got.metadata)]
            }),
        ),
        1 => (
            vec![("name", true, NAME), ("description", true, DESCRIPTION), METADATA],
            request::new_workspace(body)
                .map(|got| vec![text(got.name.as_str()), text(got.description.as_str()), metadata(&got.metadata)]),
        ),
        2 => (
            vec![("name", false, NAME), ("description", false, DESCRIPTION), METADATA],
            request::workspace_change(body).map(|got| {
                vec![
                    got.name.and_then(|name| text(name.as_str())),
                    got.description.and_then(|description| text(description.as_str())),
                    got.metadata.as_ref().and_then(metadata),
                ]
            }),
        ),
        3 => (
            vec![
                ("workspace_id", true, Rule::Any),
                ("topic", true, TOPIC),
                ("participant_ids", false, Rule::Ids),
                METADATA,
            ],
            request::new_conversation(body).map(|got| {
                vec![text(&got.workspace_id), text(got.topic.as_str()), ids(&got.participants), metadata(&got.metadata)]
            }),
        ),
        4 => (
            vec![("topic", false, TOPIC), ("participant_ids", false, Rule::Ids), METADATA],
            request::conversation_change(body).map(|got| {
                vec![
                    got.topic.and_then(|topic| text(topic.as_str())),
                    got.participants.as_ref().and_then(ids),
                    got.metadata.as_ref().and_then(metadata),
                ]
            }),
        ),
        5 => (
            vec![("email", true, Rule::Chars(1, 320)), ("password", true, Rule::Bytes(800))],
            request::login(body).map(|got| vec![text(&got.email), text(&got.password)]),
        ),
        6 => (
            vec![("current_password", true, Rule::Bytes(800)), ("new_password", true, Rule::Chars(12, 200))],
            request::password_change(body).map(|got| vec![text(&got.current), text(&got.new)]),
        ),
        7 => (
            vec![
                ("title", true, TOPIC),
                ("initial_message", false, Rule::Content),
                ("workspace_id", false, Rule::Any),
                METADATA,
            ],
            request::new_conversation_view(body).map(|got| {
                vec![
                    text(got.title.as_str()),
                    got.initial_message.and_then(|content| text(content.as_str())),
                    got.workspace_id.as_deref().and_then(text),
                    metadata(&got.metadata),
                ]
            }),
        ),
        8 => (
            vec![("title", false, TOPIC), METADATA],
            request::conversation_view_change(body).map(|got| {
                vec![got.title.and_then(|title| text(title.as_str())), got.metadata.as_ref().and_then(metadata)]
            }),
        ),
        9 => (
            vec![("content", true, Rule::Content), ("role", false, Rule::Role), METADATA],
            request::new_message(body)
                .map(|got| vec![text(got.content.as_str()), text(got.role.as_str()), metadata(&got.metadata)]),
        ),
        _ => (
            vec![("content", false, Rule::Content), METADATA],
            request::message_change(body).map(|got| {
                vec![got.content.and_then(|content| text(content.as_str())), got.metadata.as_ref().and_then(metadata)]
            }),
        ),
    }
}

/// Endpoints whose metadata is empty by default.
const MAKERS: [usize; 5] = [0, 1, 3, 7, 9];

pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let which = choices.below(12);
    if which == 11 {
        return merge(choices.0);
    }
    let body = choices.0;
    let (mut fields, got) = endpoint(which, body);
    let members = match json::parse_bytes(body) {
        Err(Fault::TooDeep) => return,
        Err(Fault::Syntax) => return assert!(matches!(got, Err(InvalidBody::Json(_))), "{got:?}"),
        Ok(Json::Object(members)) => members,
        Ok(_) => {
            let refused = matches!(&got, Err(InvalidBody::Fields(bad)) if bad.len() == 1 && bad[0].0 == "body");
            return assert!(refused, "{got:?}");
        }
    };
    if which == 5 {
        login_name(&mut fields, &members);
    }
    let checked: Vec<Result<Option<Value>, Bad>> = fields.iter().map(|field| check_field(field, &members)).collect();
    let bad: Vec<&str> =
        fields.iter().zip(&checked).filter(|(_, outcome)| outcome.is_err()).map(|(field, _)| field.0).collect();
    if checked.contains(&Err(Bad::NoText)) {
        assert!(matches!(got, Err(InvalidBody::Json(_))), "{got:?}");
    } else if !bad.is_empty() {
        let Err(InvalidBody::Fields(named)) = got else { panic!("{bad:?} should be rejected, not {got:?}") };
        assert_eq!(named.iter().map(|(name, _)| *name).collect::<Vec<_>>(), bad);
        assert!(named.iter().all(|(_, rule)| !rule.is_empty()));
    } else {
        let mut want: Values = checked.into_iter().map(|outcome| outcome.expect("none is bad")).collect();
        if MAKERS.contains(&which) {
            let last = want.len() - 1;
            want[last].get_or_insert(Value::Metadata("{}".to_owned()));
            if which == 3 {
                want[2].get_or_insert(Value::Ids(Vec::new()));
            }
            if which == 9 {
                want[1].get_or_insert(Value::Text("user".to_owned()));
            }
        }
        assert_eq!(got, Ok(want.clone()));
        check_round_trip(&want, which);
    }
}

/// `username` replaces a missing `email`.
fn login_name(fields: &mut [Field], members: &Members<'_>) {
    let all = |name: &str| members.iter().filter(|(known, ..)| known.as_deref() == Some(name)).count();
    let email_is_null = all("email") == 1
        && members.iter().any(|(name, value, _)| name.as_deref() == Some("email") && *value == Json::Null);
    if (all("email") == 0 || email_is_null) && all("username") > 0 {
        fields[0].0 = "username";
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Bad {
    Field,
    /// A string with a lone surrogate.
    NoText,
}

type Members<'a> = [(Option<String>, Json<'a>, &'a str)];

fn check_field((name, required, rule): &Field, members: &Members<'_>) -> Result<Option<Value>, Bad> {
    let values: Vec<_> = members.iter().filter(|(known, ..)| known.as_deref() == Some(name)).collect();
    let (value, raw) = match values[..] {
        [] if *required => return Err(Bad::Field),
        [] => return Ok(None),
        [(_, value, raw)] => (value, *raw),
        _ => return Err(Bad::Field),
    };
    match (rule, value) {
        (Rule::Metadata, Json::Object(_)) => {
            let kept = json::compact(raw);
            let fits = kept.len() <= METADATA_BYTES_MAX && value.levels() <= METADATA_LEVELS_MAX;
            if fits { Ok(Some(Value::Metadata(kept))) } else { Err(Bad::Field) }
        }
        (Rule::Metadata, _) => Err(Bad::Field),
        (_, Json::Null) if !required => Ok(None),
        (Rule::Ids, Json::Array(items)) => ids(items),
        (Rule::Ids, _) => Err(Bad::Field),
        (_, Json::Text(None)) => Err(Bad::NoText),
        (_, Json::Text(Some(text))) if fits(*rule, text) => Ok(Some(Value::Text(text.clone()))),
        _ => Err(Bad::Field),
    }
}

fn ids(items: &[Json<'_>]) -> Result<Option<Value>, Bad> {
    let mut ids: Vec<String> = Vec::new();
    for item in items {
        let id = match item {
            Json::Text(Some(id)) if fits(Rule::Chars(1, 255), id) && !id.starts_with("responder:") => id,
            Json::Text(None) => return Err(Bad::NoText),
            _ => return Err(Bad::Field),
        };
        if !ids.contains(id) {
            ids.push(id.clone());
        }
        if ids.len() > PARTICIPANTS_MAX {
            return Err(Bad::Field);
        }
    }
    Ok(Some(Value::Ids(ids)))
}

fn fits(rule: Rule, text: &str) -> bool {
    let says_something = text.chars().any(|c| !c.is_whitespace());
    match rule {
        Rule::Any => true,
        Rule::Content => says_something && text.len() <= CONTENT_BYTES_MAX,
        Rule::Chars(min, max) => (min..=max).contains(&text.chars().count()),
        Rule::Bytes(max) => (1..=max).contains(&text.len()),
        Rule::Role => ["user", "assistant", "system"].contains(&text),
        Rule::Ids | Rule::Metadata => false,
    }
}

/// Accepted data, written into a response and an event, parses to the same values, and metadata is unchanged byte by
/// byte.
fn check_round_trip(values: &Values, which: usize) {
    let text = |at: usize| match &values[at] {
        Some(Value::Text(text)) => text.clone(),
        _ => String::new(),
    };
    let Some(Some(Value::Metadata(kept))) = values.last() else { return };
    let (id, at) = (Uuid::from_u128(7), WallTime(1_800_000_000_123_456));
    let metadata = Metadata::new_unchecked(kept.as_str());
    if which == 1 {
        let made = Outcome::WorkspaceCreated(Workspace {
            id: WorkspaceId(id),
            owner: UserId::new_unchecked(text(0)),
            name: WorkspaceName::new_unchecked(text(0)),
            description: WorkspaceDescription::new_unchecked(text(1)),
            metadata,
            created_at: at,
            updated_at: at,
        });
        let body = String::from_utf8(command_result::command_body(&made)).expect("a response is text");
        let workspace = object_member(&body, "workspace");
        assert_eq!(text_member(&workspace, "name"), text(0));
        assert_eq!(text_member(&workspace, "description"), text(1));
        assert_eq!(object_member(&workspace, "metadata"), *kept);
        same_to_serde(&body, "/workspace/name", &text(0));
        return;
    }
    let message = Message {
        id: MessageId(id),
        conversation_id: ConversationId(id),
        sender: UserId::new_unchecked("u"),
        sender_name: text(0).into(),
        role: Role::User,
        content: Content::new_unchecked(text(0)),
        metadata,
        created_at: at,
        updated_at: at,
        status: Status::Complete,
        reply_to: None,
        error: None,
        answer: None,
        reasoning: None,
    };
    let event = Event {
        number: EventNumber(1),
        kind: EventKind::Input,
        at,
        actor: UserId::new_unchecked(text(0)),
        correlation_id: "c".into(),
        workspace_id: WorkspaceId(id),
        conversation_id: Some(ConversationId(id)),
        recipients: Arc::new([]),
        body: EventBody::Message(message),
    };
    let mut line = Vec::new();
    event::event_json(&event, &mut line);
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'), "an event is one line");
    let line = String::from_utf8(line).expect("an event is text");
    assert_eq!(object_member(&line, "metadata"), *kept);
    assert_eq!(text_member(&line, "user_id"), text(0));
    let data = object_member(&line, "data");
    assert_eq!((text_member(&data, "content"), text_member(&data, "sender_name")), (text(0), text(0)));
    same_to_serde(&line, "/data/content", &text(0));
    for api_variant in [ApiVariant::Config, ApiVariant::Conversations] {
        let posted =
            Outcome::Posted { event: Arc::new(event.clone()), conversation: ConversationRef::Default, api_variant };
        let body = String::from_utf8(command_result::command_body(&posted)).expect("a response is text");
        let shown = if api_variant == ApiVariant::Config { object_member(&body, "data") } else { body };
        assert_eq!(text_member(&shown, "content"), text(0));
        assert_eq!(object_member(&shown, "metadata"), *kept);
    }
}

fn raw_member<'a>(object: &'a str, name: &str) -> (Json<'a>, &'a str) {
    let Ok(Json::Object(members)) = json::parse(object) else { panic!("{object} is not an object") };
    let mut found = members.into_iter().filter(|(known, ..)| known.as_deref() == Some(name));
    let (_, value, raw) = found.next().unwrap_or_else(|| panic!("{object} has no {name}"));
    assert!(found.next().is_none(), "{name} occurs twice in {object}");
    (value, raw)
}

fn object_member(object: &str, name: &str) -> String {
    raw_member(object, name).1.to_owned()
}

fn text_member(object: &str, name: &str) -> String {
    match raw_member(object, name).0 {
        Json::Text(Some(text)) => text,
        other => panic!("{name} is {other:?}"),
    }
}

/// Where `serde_json` can parse the text, it gets the same value. It rejects numbers beyond doubles and lone
/// surrogates.
fn same_to_serde(text: &str, pointer: &str, want: &str) {
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
        assert_eq!(value.pointer(pointer).and_then(|value| value.as_str()), Some(want));
    }
}

/// `wire::metadata::merge`: key by key, `null` removes.
fn merge(data: &[u8]) {
    let mut halves = data.splitn(2, |byte| *byte == 0x1e);
    let mut half = || std::str::from_utf8(halves.next()?).ok();
    let (Some(old), Some(patch)) = (half(), half()) else { return };
    let (Ok(Json::Object(old_members)), Ok(Json::Object(patch_members))) = (json::parse(old), json::parse(patch))
    else {
        return;
    };
    let (Ok(old), Ok(patch)) = (metadata::metadata(old), metadata::metadata(patch)) else { return };
    let is_text = |members: &Members<'_>| members.iter().all(|(name, ..)| name.is_some());
    if !is_text(&old_members) || !is_text(&patch_members) {
        let _ = metadata::merge(&old, &patch);
        return;
    }
    let change = |name: &Option<String>| patch_members.iter().rev().find(|(known, ..)| known == name);
    let mut want: Vec<(Option<String>, String)> = Vec::new();
    for (name, _, raw) in &old_members {
        match change(name) {
            None => want.push((name.clone(), json::compact(raw))),
            Some((_, Json::Null, _)) => {}
            Some((_, _, raw)) if want.iter().all(|(known, _)| known != name) => {
                want.push((name.clone(), json::compact(raw)));
            }
            Some(_) => {}
        }
    }
    let old_has = |name: &Option<String>| old_members.iter().any(|(known, ..)| known == name);
    for (name, ..) in &patch_members {
        let (_, value, raw) = change(name).expect("the key exists");
        if !old_has(name) && *value != Json::Null && want.iter().all(|(known, _)| known != name) {
            want.push((name.clone(), json::compact(raw)));
        }
    }
    match metadata::merge(&old, &patch) {
        Ok(merged) => {
            let Ok(Json::Object(members)) = json::parse(merged.as_str()) else { panic!("a merge is an object") };
            let got: Vec<_> = members.into_iter().map(|(name, _, raw)| (name, raw.to_owned())).collect();
            assert_eq!(got, want);
            assert!(merged.as_str().len() <= METADATA_BYTES_MAX);
            assert_eq!(metadata::metadata(merged.as_str()), Ok(merged), "a merge is metadata");
        }
        Err(_) => assert!(old.as_str().len() + patch.as_str().len() > METADATA_BYTES_MAX),
    }
}
