//! Request bodies: JSON in, valid domain values out, or all invalid fields at once.
//!
//! `serde_json` first checks the whole body without recursion and without decoding, so unknown fields may have any depth.
//! Then each known field is parsed on its own, so that one invalid field does not hide another.

mod completion;
mod conversations;

pub use completion::{BegunConversation, CompletionRequest};
pub use conversations::*;

use crate::base::limits::*;
use crate::domain::id::UserId;
use crate::domain::model::*;
use crate::wire::metadata::metadata;
use crate::wire::{FieldErrors, json};
use serde::de::IgnoredAny;
use std::collections::HashSet;

/// The reason why a body is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidBody {
    /// `400`: it is not UTF-8, not JSON, or has a string with a lone surrogate. The message has the line and the column, both
    /// from 1, the column in bytes.
    Json(String),
    /// `422`: it is JSON, but has invalid fields.
    Fields(FieldErrors),
}

/// `POST /input`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostInput {
    /// The text.
    pub content: Content,
    /// The conversation's id as sent: `default`, a UUID, or neither.
    pub conversation_id: Option<String>,
    /// The client's own data; empty if absent.
    pub metadata: Metadata,
}

/// Reads the body of `POST /input`.
pub fn post_input(body: &[u8]) -> Result<PostInput, InvalidBody> {
    let mut fields = BodyFields::read(body, ["content", "conversation_id", "metadata"])?;
    let content = fields.required("content", Content::new);
    let conversation_id = fields.optional("conversation_id", any_text);
    let metadata = fields.metadata();
    match (content, conversation_id, metadata) {
        (Some(content), Some(conversation_id), Some(metadata)) => {
            Ok(PostInput { content, conversation_id, metadata: metadata.unwrap_or_else(Metadata::empty) })
        }
        _ => Err(fields.error()),
    }
}

/// `POST /config/workspace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWorkspace {
    /// The name.
    pub name: WorkspaceName,
    /// The description.
    pub description: WorkspaceDescription,
    /// The client's own data; empty if absent.
    pub metadata: Metadata,
}

/// Reads the body of `POST /config/workspace`.
pub fn new_workspace(body: &[u8]) -> Result<NewWorkspace, InvalidBody> {
    let mut fields = BodyFields::read(body, ["name", "description", "metadata"])?;
    let name = fields.required("name", WorkspaceName::new);
    let description = fields.required("description", WorkspaceDescription::new);
    let metadata = fields.metadata();
    match (name, description, metadata) {
        (Some(name), Some(description), Some(metadata)) => {
            Ok(NewWorkspace { name, description, metadata: metadata.unwrap_or_else(Metadata::empty) })
        }
        _ => Err(fields.error()),
    }
}

/// `PUT /config/workspace/{id}`. `None` leaves a field unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceChange {
    /// A new name.
    pub name: Option<WorkspaceName>,
    /// A new description.
    pub description: Option<WorkspaceDescription>,
    /// Keys to set, or to remove where the value is `null`.
    pub metadata: Option<Metadata>,
}

/// Reads the body of `PUT /config/workspace/{id}`.
pub fn workspace_change(body: &[u8]) -> Result<WorkspaceChange, InvalidBody> {
    let mut fields = BodyFields::read(body, ["name", "description", "metadata"])?;
    let name = fields.optional("name", WorkspaceName::new);
    let description = fields.optional("description", WorkspaceDescription::new);
    let metadata = fields.metadata();
    match (name, description, metadata) {
        (Some(name), Some(description), Some(metadata)) => Ok(WorkspaceChange { name, description, metadata }),
        _ => Err(fields.error()),
    }
}

/// `POST /config/conversation`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewConversation {
    /// The workspace's id as sent, which may not be a UUID.
    pub workspace_id: String,
    /// The topic.
    pub topic: Topic,
    /// The participants beside the caller, without duplicates, in the order sent.
    pub participants: Vec<UserId>,
    /// The client's own data; empty if absent.
    pub metadata: Metadata,
}

/// Reads the body of `POST /config/conversation`.
pub fn new_conversation(body: &[u8]) -> Result<NewConversation, InvalidBody> {
    let mut fields = BodyFields::read(body, ["workspace_id", "topic", "participant_ids", "metadata"])?;
    let workspace_id = fields.required("workspace_id", any_text);
    let topic = fields.required("topic", Topic::new);
    let participants = fields.participants();
    let metadata = fields.metadata();
    match (workspace_id, topic, participants, metadata) {
        (Some(workspace_id), Some(topic), Some(participants), Some(metadata)) => Ok(NewConversation {
            workspace_id,
            topic,
            participants: participants.unwrap_or_default(),
            metadata: metadata.unwrap_or_else(Metadata::empty),
        }),
        _ => Err(fields.error()),
    }
}

/// `PUT /config/conversation/{id}`. `None` leaves a field unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationChange {
    /// A new topic.
    pub topic: Option<Topic>,
    /// The new participants, without duplicates, in the order sent.
    pub participants: Option<Vec<UserId>>,
    /// Keys to set, or to remove where the value is `null`.
    pub metadata: Option<Metadata>,
}

/// Reads the body of `PUT /config/conversation/{id}`.
pub fn conversation_change(body: &[u8]) -> Result<ConversationChange, InvalidBody> {
    let mut fields = BodyFields::read(body, ["topic", "participant_ids", "metadata"])?;
    let topic = fields.optional("topic", Topic::new);
    let participants = fields.participants();
    let metadata = fields.metadata();
    match (topic, participants, metadata) {
        (Some(topic), Some(participants), Some(metadata)) => Ok(ConversationChange { topic, participants, metadata }),
        _ => Err(fields.error()),
    }
}

/// `POST /auth/login`. It has no `Debug`, so that no password reaches a log.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginRequest {
    /// The email. Older clients call it the user name.
    pub email: String,
    /// The password as typed.
    pub password: String,
}

/// Reads the JSON body of `POST /auth/login`. `email` has precedence over `username`.
pub fn login(body: &[u8]) -> Result<LoginRequest, InvalidBody> {
    let mut fields = BodyFields::read(body, ["email", "username", "password"])?;
    let [email, username, _] = fields.slots;
    let by_username =
        matches!(email, FieldSlot::Absent | FieldSlot::Once("null")) && !matches!(username, FieldSlot::Absent);
    let email = fields.required(if by_username { "username" } else { "email" }, email_text);
    let password = fields.required("password", typed_password);
    match (email, password) {
        (Some(email), Some(password)) => Ok(LoginRequest { email, password }),
        _ => Err(fields.error()),
    }
}

/// `POST /auth/password`. It has no `Debug`, so that no password reaches a log.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordChange {
    /// The current password as typed.
    pub current: String,
    /// The new password, of 12 to 200 characters.
    pub new: String,
}

/// Reads the body of `POST /auth/password`.
pub fn password_change(body: &[u8]) -> Result<PasswordChange, InvalidBody> {
    let mut fields = BodyFields::read(body, ["current_password", "new_password"])?;
    let current = fields.required("current_password", typed_password);
    let new = fields.required("new_password", new_password);
    match (current, new) {
        (Some(current), Some(new)) => Ok(PasswordChange { current, new }),
        _ => Err(fields.error()),
    }
}

/// Validates the email or user name of a login.
pub(crate) fn email_text(raw: &str) -> Result<String, &'static str> {
    let chars = raw.chars().take(PROFILE_CHARS_MAX + 1).count();
    if (1..=PROFILE_CHARS_MAX).contains(&chars) { Ok(raw.to_owned()) } else { Err("must be 1 to 320 characters") }
}

/// Validates the password of a login. Only its length in bytes is bounded: a longer text cannot be a password, so it is not
/// hashed, and the response reveals no more than the rule for new passwords.
pub(crate) fn typed_password(raw: &str) -> Result<String, &'static str> {
    let bytes_max = PASSWORD_CHARS_MAX * char::MAX.len_utf8();
    if (1..=bytes_max).contains(&raw.len()) { Ok(raw.to_owned()) } else { Err("must be 1 to 200 characters") }
}

/// Validates a new password.
pub(crate) fn new_password(raw: &str) -> Result<String, &'static str> {
    let chars = raw.chars().take(PASSWORD_CHARS_MAX + 1).count();
    if (PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&chars) {
        Ok(raw.to_owned())
    } else {
        Err("must be 12 to 200 characters")
    }
}

fn any_text(raw: &str) -> Result<String, &'static str> {
    Ok(raw.to_owned())
}

/// The known fields of one body, and its errors so far. A method that returns `None` has recorded an error, which `error`
/// returns.
struct BodyFields<'a, const N: usize> {
    body: &'a str,
    names: [&'static str; N],
    slots: [FieldSlot<'a>; N],
    invalid: FieldErrors,
    no_text: Option<InvalidBody>,
}

#[derive(Clone, Copy)]
enum FieldSlot<'a> {
    Absent,
    /// The JSON text of the value.
    Once(&'a str),
    Twice,
}

impl<'a, const N: usize> BodyFields<'a, N> {
    fn read(body: &'a [u8], names: [&'static str; N]) -> Result<Self, InvalidBody> {
        let body = valid_json(body)?;
        if !body.trim_ascii_start().starts_with('{') {
            return Err(InvalidBody::Fields(vec![("body", "must be a JSON object".to_owned())]));
        }
        let mut slots = [FieldSlot::Absent; N];
        for (name, value) in json::members(body) {
            let name = json::name(name);
            if let Some(place) = names.iter().position(|known| known.as_bytes() == &*name) {
                slots[place] = match slots[place] {
                    FieldSlot::Absent => FieldSlot::Once(value),
                    FieldSlot::Once(_) | FieldSlot::Twice => FieldSlot::Twice,
                };
            }
        }
        Ok(BodyFields { body, names, slots, invalid: Vec::new(), no_text: None })
    }

    /// A required string that `rule` accepts.
    fn required<T>(&mut self, name: &'static str, rule: fn(&str) -> Result<T, &'static str>) -> Option<T> {
        match self.value(name)? {
            Some(value) => self.text(name, value, rule),
            None => self.reject(name, "is required"),
        }
    }

    /// An optional string that `rule` accepts. `null` means absent.
    fn optional<T>(&mut self, name: &'static str, rule: fn(&str) -> Result<T, &'static str>) -> Option<Option<T>> {
        match self.value(name)? {
            None | Some("null") => Some(None),
            Some(value) => self.text(name, value, rule).map(Some),
        }
    }

    fn metadata(&mut self) -> Option<Option<Metadata>> {
        match self.value("metadata")?.map(metadata).transpose() {
            Ok(metadata) => Some(metadata),
            Err(rule) => self.reject("metadata", rule),
        }
    }

    fn participants(&mut self) -> Option<Option<Vec<UserId>>> {
        const NAME: &str = "participant_ids";
        let value = match self.value(NAME)? {
            None | Some("null") => return Some(None),
            Some(value) if value.starts_with('[') => value,
            Some(_) => return self.reject(NAME, "must be an array of strings"),
        };
        let mut participants = Vec::new();
        let mut seen = HashSet::new();
        for (index, item) in json::elements(value).enumerate() {
            // Elements are counted as sent, so that repeating an id costs no work.
            if index == PARTICIPANTS_MAX {
                return self.reject(NAME, format!("must be at most {PARTICIPANTS_MAX} ids"));
            }
            let id = match self.decode(item)?.map(|text| UserId::new(&text)) {
                Some(Ok(id)) => id,
                Some(Err(rule)) => return self.reject(NAME, format!("item {} {rule}", index + 1)),
                None => return self.reject(NAME, format!("item {} must be a string", index + 1)),
            };
            if seen.insert(id.clone()) {
                participants.push(id);
            }
        }
        Some(Some(participants))
    }

    /// The JSON text of a field's value; `Some(None)` if it is absent.
    fn value(&mut self, name: &'static str) -> Option<Option<&'a str>> {
        let place = self.names.iter().position(|known| *known == name).expect("a field that is read is known");
        match self.slots[place] {
            FieldSlot::Absent => Some(None),
            FieldSlot::Once(value) => Some(Some(value)),
            FieldSlot::Twice => self.reject(name, "must be given once"),
        }
    }

    fn text<T>(&mut self, name: &'static str, value: &'a str, rule: fn(&str) -> Result<T, &'static str>) -> Option<T> {
        match self.decode(value)?.map(|text| rule(&text)) {
            Some(Ok(value)) => Some(value),
            Some(Err(rule)) => self.reject(name, rule),
            None => self.reject(name, "must be a string"),
        }
    }

    /// The text of a string; `Some(None)` if the value is not a string.
    fn decode(&mut self, value: &'a str) -> Option<Option<std::borrow::Cow<'a, str>>> {
        if !value.starts_with('"') {
            return Some(None);
        }
        match json::text(value) {
            Ok(text) => Some(Some(text)),
            Err(at) => {
                // The value is a slice of the body, so the distance of their pointers is its position.
                let at = value.as_ptr() as usize - self.body.as_ptr() as usize + at;
                let place = place(self.body.as_bytes(), at);
                self.no_text.get_or_insert(InvalidBody::Json(format!("lone surrogate in a string at {place}")));
                None
            }
        }
    }

    fn reject<T>(&mut self, name: &'static str, rule: impl Into<String>) -> Option<T> {
        self.invalid.push((name, rule.into()));
        None
    }

    /// The error. Call it only after a method returned `None`.
    fn error(self) -> InvalidBody {
        self.no_text.unwrap_or_else(|| {
            assert!(!self.invalid.is_empty(), "a field that was not read has its reason noted");
            InvalidBody::Fields(self.invalid)
        })
    }
}

impl std::fmt::Display for InvalidBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            InvalidBody::Json(what) => f.write_str(what),
            InvalidBody::Fields(fields) => write!(f, "{fields:?}"),
        }
    }
}

/// The body as text, if it is one JSON value.
pub(super) fn valid_json(body: &[u8]) -> Result<&str, InvalidBody> {
    if body.trim_ascii().is_empty() {
        return Err(InvalidBody::Json("a JSON body is expected, but it is empty".to_owned()));
    }
    let body = str::from_utf8(body)
        .map_err(|error| InvalidBody::Json(format!("invalid UTF-8 at {}", place(body, error.valid_up_to()))))?;
    match serde_json::from_str::<IgnoredAny>(body) {
        Ok(_) => Ok(body),
        Err(error) => Err(InvalidBody::Json(error.to_string())),
    }
}

/// The line and the column of the byte `at`, in the words of `serde_json`.
fn place(body: &[u8], at: usize) -> String {
    let before = &body[..at];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = at - before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1) + 1;
    format!("line {line} column {column}")
}

#[cfg(test)]
mod tests;
