//! The lines of an export. Each is one JSON object with a `type`. docs/export-format.md describes them.
//!
//! A line with a field that is missing, unknown, duplicate or invalid is rejected, so that an import loses nothing silently.

use crate::base::limits::{CONTENT_BYTES_MAX, PARTICIPANTS_MAX, USER_ID_CHARS_MAX};
use crate::base::time::WallTime;
use crate::domain::id::{ConversationId, EventNumber, MessageId, UserId, WorkspaceId};
use crate::domain::model::*;
use crate::domain::responder::ResponderKind;
use crate::wire::json::{self, JsonWriter};
use crate::wire::metadata::metadata;
use crate::wire::request::valid_json;
use std::borrow::Cow;
use uuid::Uuid;

/// The format that the first line declares.
const FORMAT: &str = "cortex-core-export";
/// The version of the format. No other can be read.
const VERSION: u64 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ExportLine {
    /// The first line.
    Header(ExportHeader),
    /// A user.
    User(UserLine),
    /// A workspace.
    Workspace(Workspace),
    /// A conversation.
    Conversation(ConversationLine),
    /// A message.
    Message(MessageLine),
    /// The last line: the number of lines before it.
    End(ExportCounts),
}

/// The properties of the exported database.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExportHeader {
    /// The bytes of its `IdKey`.
    pub id_key: [u8; 16],
    /// The epoch of its journal.
    pub epoch: Uuid,
    /// The newest event number.
    pub position: EventNumber,
    /// The newest time.
    pub at: WallTime,
}

/// A user.
#[derive(Clone, PartialEq)]
pub(crate) struct UserLine {
    /// The id, which may be a responder's.
    pub id: UserId,
    /// The name.
    pub name: String,
    /// The email.
    pub email: String,
    /// When the user was created.
    pub created_at: WallTime,
    /// The status.
    pub status: UserStatus,
    /// Tokens issued before this time are rejected.
    pub tokens_since: Option<WallTime>,
    /// The hash of the password, if hashes are exported.
    pub password: Option<String>,
    /// The default workspace.
    pub default_workspace: Option<WorkspaceId>,
    /// The default conversation.
    pub default_conversation: Option<ConversationId>,
    /// The number of the user's newest event that is no longer retained.
    pub removed_through: EventNumber,
}

impl std::fmt::Debug for UserLine {
    /// Omits the hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("UserLine").field(&self.id).finish()
    }
}

/// A conversation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConversationLine {
    /// Its public id.
    pub id: ConversationId,
    /// The id of what contains it.
    pub workspace_id: WorkspaceId,
    /// The topic.
    pub topic: Topic,
    /// When it was created.
    pub created_at: WallTime,
    /// When it or one of its messages was last changed or added.
    pub updated_at: WallTime,
    /// The participants in the order in which they joined, each with the number after which they receive events.
    pub participants: Vec<(UserId, EventNumber)>,
    /// The client's own data.
    pub metadata: Metadata,
}

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MessageLine {
    /// Its public id.
    pub id: MessageId,
    /// The id of what contains it.
    pub conversation_id: ConversationId,
    /// Its sender.
    pub sender: UserId,
    /// The role of the sender.
    pub role: Role,
    /// Its state.
    pub status: Status,
    /// When it was created.
    pub created_at: WallTime,
    /// When it was last changed.
    pub updated_at: WallTime,
    /// The message that it answers, unless that was deleted.
    pub reply_to: Option<MessageId>,
    /// The number and time of the event that published it, if that is not its own.
    pub published: Option<(EventNumber, WallTime)>,
    /// The responder of its open answer job.
    pub responder: Option<ResponderKind>,
    /// The id of the request that sent it.
    pub correlation_id: String,
    /// The client's own data.
    pub metadata: Metadata,
    /// The text.
    pub content: Content,
}

/// The number of lines of each type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ExportCounts {
    /// Users.
    pub users: u64,
    /// Workspaces.
    pub workspaces: u64,
    /// Conversations.
    pub conversations: u64,
    /// Messages.
    pub messages: u64,
}

impl ExportCounts {
    /// The number of lines between the first and the last.
    pub(crate) fn lines(&self) -> u64 {
        self.users + self.workspaces + self.conversations + self.messages
    }
}

impl std::fmt::Display for ExportCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ExportCounts { users, workspaces, conversations, messages } = self;
        write!(f, "{users} users, {workspaces} workspaces, {conversations} conversations, {messages} messages")
    }
}

/// Appends a line with its line feed.
pub(crate) fn write(line: &ExportLine, out: &mut Vec<u8>) {
    let mut json = JsonWriter(out);
    match line {
        ExportLine::Header(header) => write_header(&mut json, header),
        ExportLine::User(user) => write_user(&mut json, user),
        ExportLine::Workspace(workspace) => write_workspace(&mut json, workspace),
        ExportLine::Conversation(conversation) => write_conversation(&mut json, conversation),
        ExportLine::Message(message) => write_message(&mut json, message),
        ExportLine::End(counts) => write_end(&mut json, counts),
    }
    out.extend_from_slice(b"}\n");
}

fn write_header(json: &mut JsonWriter, header: &ExportHeader) {
    json.raw("{\"type\":\"header\",\"format\":").string(FORMAT).raw(",\"version\":").number(VERSION);
    json.raw(",\"id_key\":").string(&format!("{:032x}", u128::from_be_bytes(header.id_key)));
    json.raw(",\"epoch\":").uuid(header.epoch);
    json.raw(",\"position\":").number(header.position.0).raw(",\"at\":").time(header.at);
}

fn write_user(json: &mut JsonWriter, user: &UserLine) {
    json.raw("{\"type\":\"user\",\"id\":").string(user.id.as_str());
    json.raw(",\"name\":").string(&user.name).raw(",\"email\":").string(&user.email);
    json.raw(",\"created_at\":").time(user.created_at);
    json.raw(",\"access\":").string(status_name(user.status));
    if let Some(since) = user.tokens_since {
        json.raw(",\"tokens_since\":").time(since);
    }
    if let Some(password) = &user.password {
        json.raw(",\"password\":").string(password);
    }
    if let Some(id) = user.default_workspace {
        json.raw(",\"default_workspace_id\":").uuid(id.0);
    }
    if let Some(id) = user.default_conversation {
        json.raw(",\"default_conversation_id\":").uuid(id.0);
    }
    json.raw(",\"removed_through\":").number(user.removed_through.0);
}

fn write_workspace(json: &mut JsonWriter, workspace: &Workspace) {
    json.raw("{\"type\":\"workspace\",\"id\":").uuid(workspace.id.0);
    json.raw(",\"owner_id\":").string(workspace.owner.as_str());
    json.raw(",\"name\":").string(workspace.name.as_str());
    json.raw(",\"description\":").string(workspace.description.as_str());
    json.raw(",\"created_at\":").time(workspace.created_at).raw(",\"updated_at\":").time(workspace.updated_at);
    json.raw(",\"metadata\":").raw(workspace.metadata.as_str());
}

fn write_conversation(json: &mut JsonWriter, conversation: &ConversationLine) {
    json.raw("{\"type\":\"conversation\",\"id\":").uuid(conversation.id.0);
    json.raw(",\"workspace_id\":").uuid(conversation.workspace_id.0);
    json.raw(",\"topic\":").string(conversation.topic.as_str());
    json.raw(",\"created_at\":").time(conversation.created_at).raw(",\"updated_at\":").time(conversation.updated_at);
    json.raw(",\"participants\":").array(&conversation.participants, |json, (id, since)| {
        json.raw("{\"id\":").string(id.as_str()).raw(",\"since\":").number(since.0).raw("}");
    });
    json.raw(",\"metadata\":").raw(conversation.metadata.as_str());
}

fn write_message(json: &mut JsonWriter, message: &MessageLine) {
    json.raw("{\"type\":\"message\",\"id\":").uuid(message.id.0);
    json.raw(",\"conversation_id\":").uuid(message.conversation_id.0);
    json.raw(",\"sender_id\":").string(message.sender.as_str());
    json.raw(",\"role\":").string(message.role.as_str()).raw(",\"status\":").string(message.status.as_str());
    json.raw(",\"created_at\":").time(message.created_at).raw(",\"updated_at\":").time(message.updated_at);
    if let Some(id) = message.reply_to {
        json.raw(",\"reply_to\":").uuid(id.0);
    }
    if let Some((number, at)) = message.published {
        json.raw(",\"published\":{\"number\":").number(number.0).raw(",\"at\":").time(at).raw("}");
    }
    if let Some(responder) = &message.responder {
        json.raw(",\"responder\":").string(responder.as_str());
    }
    json.raw(",\"correlation_id\":").string(&message.correlation_id);
    json.raw(",\"metadata\":").raw(message.metadata.as_str());
    json.raw(",\"content\":").string(message.content.as_str());
}

fn write_end(json: &mut JsonWriter, counts: &ExportCounts) {
    json.raw("{\"type\":\"end\",\"users\":").number(counts.users);
    json.raw(",\"workspaces\":").number(counts.workspaces);
    json.raw(",\"conversations\":").number(counts.conversations);
    json.raw(",\"messages\":").number(counts.messages);
}

/// Parses a line, with or without its line feed.
pub(crate) fn read(line: &[u8]) -> Result<ExportLine, String> {
    let line = valid_json(line).map_err(|error| error.to_string())?;
    let mut fields = LineFields::of(line)?;
    let line = match &*fields.text("type")? {
        "header" => ExportLine::Header(read_header(&mut fields)?),
        "user" => ExportLine::User(read_user(&mut fields)?),
        "workspace" => ExportLine::Workspace(read_workspace(&mut fields)?),
        "conversation" => ExportLine::Conversation(read_conversation(&mut fields)?),
        "message" => ExportLine::Message(read_message(&mut fields)?),
        "end" => ExportLine::End(ExportCounts {
            users: fields.number("users")?,
            workspaces: fields.number("workspaces")?,
            conversations: fields.number("conversations")?,
            messages: fields.number("messages")?,
        }),
        other => return Err(format!("there is no type {other:?}")),
    };
    fields.finish()?;
    Ok(line)
}

fn read_header(fields: &mut LineFields) -> Result<ExportHeader, String> {
    let format = fields.text("format")?;
    if format != FORMAT {
        return Err(format!("`format` is {format:?}, and not {FORMAT:?}"));
    }
    let version = fields.number("version")?;
    if version != VERSION {
        return Err(format!("`version` is {version}, and this program reads version {VERSION}"));
    }
    let key = fields.text("id_key")?;
    let id_key = u128::from_str_radix(&key, 16).ok().filter(|_| key.len() == 32 && !key.starts_with('+'));
    Ok(ExportHeader {
        id_key: id_key.ok_or("`id_key` must be 32 hexadecimal digits")?.to_be_bytes(),
        epoch: fields.id("epoch", |raw| WorkspaceId::parse(raw).map(|id| id.0))?,
        position: EventNumber(fields.number("position")?),
        at: fields.time("at")?,
    })
}

fn read_user(fields: &mut LineFields) -> Result<UserLine, String> {
    Ok(UserLine {
        id: fields.user("id")?,
        name: fields.text("name")?.into_owned(),
        email: fields.text("email")?.into_owned(),
        created_at: fields.time("created_at")?,
        status: fields.checked("access", parse_status)?,
        tokens_since: fields.optional("tokens_since", LineFields::time)?,
        password: fields.optional("password", LineFields::text)?.map(Cow::into_owned),
        default_workspace: fields.optional("default_workspace_id", |f, name| f.id(name, WorkspaceId::parse))?,
        default_conversation: fields
            .optional("default_conversation_id", |f, name| f.id(name, ConversationId::parse))?,
        removed_through: EventNumber(fields.number("removed_through")?),
    })
}

/// The value of `access`.
fn status_name(status: UserStatus) -> &'static str {
    match status {
        UserStatus::Enabled => "admitted",
        UserStatus::Disabled => "disabled",
        UserStatus::SwitchedOff => "switched_off",
        UserStatus::Deleted => "deleted",
    }
}

fn parse_status(raw: &str) -> Result<UserStatus, &'static str> {
    UserStatus::ALL.into_iter().find(|status| status_name(*status) == raw).ok_or("is none that there is")
}

fn read_workspace(fields: &mut LineFields) -> Result<Workspace, String> {
    Ok(Workspace {
        id: fields.id("id", WorkspaceId::parse)?,
        owner: fields.user("owner_id")?,
        name: fields.checked("name", WorkspaceName::new)?,
        description: fields.checked("description", WorkspaceDescription::new)?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
        metadata: fields.metadata()?,
    })
}

fn read_conversation(fields: &mut LineFields) -> Result<ConversationLine, String> {
    let listed = fields.required("participants")?;
    if !listed.starts_with('[') {
        return Err("`participants` must be an array".into());
    }
    let participant = |item| -> Result<_, String> {
        let mut fields = LineFields::of(item)?;
        let read = (fields.user("id")?, EventNumber(fields.number("since")?));
        fields.finish()?;
        Ok(read)
    };
    let participants: Vec<_> = json::elements(listed)
        .map(participant)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("`participants`: {e}"))?;
    if participants.len() > PARTICIPANTS_MAX {
        return Err(format!("`participants` must be at most {PARTICIPANTS_MAX}"));
    }
    Ok(ConversationLine {
        id: fields.id("id", ConversationId::parse)?,
        workspace_id: fields.id("workspace_id", WorkspaceId::parse)?,
        topic: fields.checked("topic", Topic::new)?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
        participants,
        metadata: fields.metadata()?,
    })
}

fn read_message(fields: &mut LineFields) -> Result<MessageLine, String> {
    let published = |fields: &mut LineFields, name: &str| -> Result<_, String> {
        let mut inner = LineFields::of(fields.required(name)?)?;
        let read = (EventNumber(inner.number("number")?), inner.time("at")?);
        inner.finish()?;
        Ok(read)
    };
    // A running answer may be empty.
    let content =
        |raw: &str| if raw.len() > CONTENT_BYTES_MAX { Err("is too long") } else { Ok(Content::new_unchecked(raw)) };
    Ok(MessageLine {
        id: fields.id("id", MessageId::parse)?,
        conversation_id: fields.id("conversation_id", ConversationId::parse)?,
        sender: fields.user("sender_id")?,
        role: fields.checked("role", |raw| Role::parse(raw).ok_or("is none that there is"))?,
        status: fields.checked("status", |raw| Status::parse(raw).ok_or("is none that there is"))?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
        reply_to: fields.optional("reply_to", |fields, name| fields.id(name, MessageId::parse))?,
        published: fields.optional("published", published)?,
        responder: fields.optional("responder", |fields, name| {
            fields.checked(name, |raw| ResponderKind::parse(raw).ok_or("is not the name of a responder"))
        })?,
        correlation_id: fields.text("correlation_id")?.into_owned(),
        metadata: fields.metadata()?,
        content: fields.checked("content", content)?,
    })
}

/// The members of an object that are not read yet.
struct LineFields<'a>(Vec<(Cow<'a, [u8]>, &'a str)>);

impl<'a> LineFields<'a> {
    /// `object` is valid JSON.
    fn of(object: &'a str) -> Result<LineFields<'a>, String> {
        if !object.trim_ascii_start().starts_with('{') {
            return Err("must be a JSON object".into());
        }
        Ok(LineFields(json::members(object).map(|(name, value)| (json::name(name), value)).collect()))
    }

    /// Rejects unread members: unknown ones, and the second of duplicates.
    fn finish(self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("`{}` is unknown, or given twice", String::from_utf8_lossy(name))),
        }
    }

    fn is_there(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| **other == *name.as_bytes())
    }

    /// The JSON text of a value.
    fn required(&mut self, name: &str) -> Result<&'a str, String> {
        let place = self.0.iter().position(|(other, _)| **other == *name.as_bytes());
        place.map(|place| self.0.remove(place).1).ok_or_else(|| format!("`{name}` is missing"))
    }

    fn optional<T>(
        &mut self,
        name: &str,
        read: impl Fn(&mut Self, &str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        if self.is_there(name) { read(self, name).map(Some) } else { Ok(None) }
    }

    fn text(&mut self, name: &str) -> Result<Cow<'a, str>, String> {
        let value = self.required(name)?;
        let text = value.starts_with('"').then(|| json::text(value).ok()).flatten();
        text.ok_or_else(|| format!("`{name}` must be a string"))
    }

    fn checked<T>(&mut self, name: &str, rule: impl Fn(&str) -> Result<T, &'static str>) -> Result<T, String> {
        rule(&self.text(name)?).map_err(|rule| format!("`{name}` {rule}"))
    }

    fn number(&mut self, name: &str) -> Result<u64, String> {
        self.required(name)?.parse().map_err(|_| format!("`{name}` must be a whole number"))
    }

    fn time(&mut self, name: &str) -> Result<WallTime, String> {
        let time = WallTime::parse_rfc3339(&self.text(name)?);
        time.ok_or_else(|| format!("`{name}` must be a time like 2026-01-31T09:15:30.123456Z"))
    }

    fn id<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        parse(&self.text(name)?).ok_or_else(|| format!("`{name}` must be a UUID"))
    }

    /// The id of a user or a responder.
    fn user(&mut self, name: &str) -> Result<UserId, String> {
        let text = self.text(name)?;
        let chars = text.chars().take(USER_ID_CHARS_MAX + 1).count();
        let good = (1..=USER_ID_CHARS_MAX).contains(&chars);
        good.then(|| UserId::new_unchecked(&*text)).ok_or_else(|| format!("`{name}` must be 1 to 255 characters"))
    }

    fn metadata(&mut self) -> Result<Metadata, String> {
        metadata(self.required("metadata")?).map_err(|rule| format!("`metadata` {rule}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0190c42e-8d3f-7123-9abc-0123456789ab";
    const AT: &str = "2026-01-31T09:15:30.123456Z";

    fn lines() -> Vec<String> {
        vec![
            format!(
                r#"{{"type":"header","format":"cortex-core-export","version":1,"id_key":"000102030405060708090a0b0c0d0e0f","epoch":"{ID}","position":77,"at":"{AT}"}}"#
            ),
            format!(
                r#"{{"type":"user","id":"u\"é","name":"","email":"a@b","created_at":"{AT}","access":"deleted","tokens_since":"{AT}","password":"$argon2id$x","default_workspace_id":"{ID}","default_conversation_id":"{ID}","removed_through":5}}"#
            ),
            format!(
                r#"{{"type":"user","id":"responder:echo","name":"echo","email":"","created_at":"{AT}","access":"admitted","removed_through":0}}"#
            ),
            format!(
                r#"{{"type":"workspace","id":"{ID}","owner_id":"u","name":" n ","description":"d\n","created_at":"{AT}","updated_at":"{AT}","metadata":{{"a":1.10,"a":99999999999999999999}}}}"#
            ),
            format!(
                r#"{{"type":"conversation","id":"{ID}","workspace_id":"{ID}","topic":"t","created_at":"{AT}","updated_at":"{AT}","participants":[{{"id":"u","since":3}},{{"id":"v","since":4}}],"metadata":{{}}}}"#
            ),
            format!(
                r#"{{"type":"message","id":"{ID}","conversation_id":"{ID}","sender_id":"u","role":"assistant","status":"cancelled","created_at":"{AT}","updated_at":"{AT}","reply_to":"{ID}","published":{{"number":9,"at":"{AT}"}},"responder":"echo","correlation_id":"r","metadata":{{"x":"\u00e9"}},"content":"\u0001 é"}}"#
            ),
            r#"{"type":"end","users":2,"workspaces":1,"conversations":1,"messages":1}"#.to_owned(),
        ]
    }

    #[test]
    fn what_is_read_is_written_again_byte_for_byte() {
        for line in lines() {
            let mut out = Vec::new();
            write(&read(line.as_bytes()).unwrap_or_else(|error| panic!("{error}: {line}")), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{line}\n"));
        }
    }

    #[test]
    fn no_field_is_missing_unknown_or_given_twice() {
        for line in lines() {
            let names: Vec<String> = json::members(&line).map(|(name, _)| name.trim_matches('"').to_owned()).collect();
            const OPTIONAL: [&str; 7] = [
                "tokens_since",
                "password",
                "default_workspace_id",
                "default_conversation_id",
                "reply_to",
                "published",
                "responder",
            ];
            for name in names {
                let (with, without) = (format!("\"{name}\":"), format!("\"other\":1,\"{name}x\":"));
                let error = read(line.replacen(&with, &without, 1).as_bytes()).unwrap_err();
                let expected = if OPTIONAL.contains(&&*name) { "`other`".to_owned() } else { format!("`{name}`") };
                assert!(error.contains(&expected), "{error}: {line}");
                let (_, rest) = line.split_once(&with).unwrap();
                let twice = format!("{{{with}{rest}").replacen('{', &format!("{{{}", &line[1..line.len() - 1]), 1);
                assert!(read(twice.as_bytes()).is_err(), "{twice}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let lines = lines();
        let table = [
            (0, "\"version\":1", "\"version\":2", "`version` is 2, and this program reads version 1"),
            (0, "cortex-core-export", "zip", "`format` is \"zip\""),
            (0, "000102", "+00102", "`id_key` must be 32"),
            (0, "77", "-7", "`position` must be a whole number"),
            (1, "2026-01-31", "2026-02-30", "`created_at` must be a time"),
            (1, "deleted", "gone", "`access` is none that there is"),
            (1, "\"u\\\"é\"", "\"\"", "`id` must be 1 to 255 characters"),
            (1, "\"a@b\"", "\"\\ud800\"", "`email` must be a string"),
            (3, "{\"a\"", "[{\"a\"", "expected"),
            (3, "{\"a\":1.10,\"a\":99999999999999999999}", "[]", "`metadata` must be a JSON object"),
            (3, "\" n \"", "\"\"", "`name` must be 1 to 100"),
            (4, "\"since\":4", "\"since\":null", "`participants`: `since` must be a whole number"),
            (4, "[{\"id\":\"u\",\"since\":3}", "[7", "`participants`: must be a JSON object"),
            (5, ID, "x", "`id` must be a UUID"),
            (5, "assistant", "robot", "`role` is none that there is"),
            (5, "\"number\":9", "\"number\":9,\"n\":1", "`n` is unknown"),
            (6, "\"end\"", "\"finish\"", "there is no type \"finish\""),
            (6, "{", "", "trailing characters"),
        ];
        for (line, from, to, expected) in table {
            let changed = lines[line].replacen(from, to, 1);
            assert_ne!(changed, lines[line], "{from}");
            let error = read(changed.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{error}: {changed}");
        }
        for (line, expected) in [(&b""[..], "empty"), (b"[]", "must be a JSON object"), (b"\xff{}", "UTF-8")] {
            assert!(read(line).is_err_and(|error| error.contains(expected)), "{expected}");
        }
    }
}
