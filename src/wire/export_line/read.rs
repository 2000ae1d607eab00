//! Reads the lines of an export.

use super::{
    AnswerLine, ConversationLine, ExportCounts, ExportHeader, ExportLine, FORMAT, MessageLine, UsageLine, UserLine,
    VERSION, status_name,
};
use crate::base::limits::{CONTENT_BYTES_MAX, PARTICIPANTS_MAX, USER_ID_CHARS_MAX};
use crate::base::time::WallTime;
use crate::domain::id::{ConversationId, EventNumber, MessageId, UserId, WorkspaceId};
use crate::domain::model::*;
use crate::domain::responder::ResponderKind;
use crate::domain::usage::{Day, TokenCounts, TokenUsage, UsageSums};
use crate::wire::json;
use crate::wire::metadata::metadata;
use crate::wire::request::valid_json;
use std::borrow::Cow;

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
        "usage" => ExportLine::Usage(read_usage(&mut fields)?),
        "end" => ExportLine::End(ExportCounts {
            users: fields.number("users")?,
            workspaces: fields.number("workspaces")?,
            conversations: fields.number("conversations")?,
            messages: fields.number("messages")?,
            usage: fields.optional("usage", LineFields::number)?.unwrap_or(0),
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
    if !(1..=VERSION).contains(&version) {
        return Err(format!("`version` is {version}, and this program reads versions 1 to {VERSION}"));
    }
    let key = fields.text("id_key")?;
    let id_key = u128::from_str_radix(&key, 16).ok().filter(|_| key.len() == 32 && !key.starts_with('+'));
    Ok(ExportHeader {
        id_key: id_key.ok_or("`id_key` must be 32 hexadecimal digits")?.to_be_bytes(),
        epoch: fields.id("epoch", |raw| WorkspaceId::parse(raw).map(|id| id.0))?,
        position: EventNumber(fields.number("position")?),
        at: fields.time("at")?,
        removed_users_through: fields.optional("removed_users_through", LineFields::number)?.map(EventNumber),
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
        token_generation: fields.optional("token_generation", LineFields::number)?,
        password: fields.optional("password", LineFields::text)?.map(Cow::into_owned),
        default_workspace: fields.optional("default_workspace_id", |f, name| f.id(name, WorkspaceId::parse))?,
        default_conversation: fields
            .optional("default_conversation_id", |f, name| f.id(name, ConversationId::parse))?,
        removed_through: EventNumber(fields.number("removed_through")?),
    })
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
        .take(PARTICIPANTS_MAX + 1)
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
    let job = |fields: &mut LineFields, name: &str| -> Result<_, String> {
        let mut inner = LineFields::of(fields.required(name)?)?;
        let read = (EventNumber(inner.number("number")?), inner.user("user_id")?);
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
        status: fields.status()?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
        reply_to: fields.optional("reply_to", |fields, name| fields.id(name, MessageId::parse))?,
        published: fields.optional("published", published)?,
        responder: fields.optional("responder", |fields, name| {
            fields.checked(name, |raw| ResponderKind::parse(raw).ok_or("is not the name of a responder"))
        })?,
        job: fields.optional("job", job)?,
        answers: fields.optional("answers", read_answers)?.unwrap_or_default(),
        error: fields.optional("error", LineFields::text)?.map(Cow::into_owned),
        reasoning: fields.optional("reasoning", LineFields::text)?.map(Cow::into_owned),
        correlation_id: fields.text("correlation_id")?.into_owned(),
        metadata: fields.metadata()?,
        content: fields.checked("content", content)?,
    })
}

fn read_answers(fields: &mut LineFields, name: &str) -> Result<Vec<AnswerLine>, String> {
    let listed = fields.required(name)?;
    if !listed.starts_with('[') {
        return Err(format!("`{name}` must be an array"));
    }
    let answer = |item| -> Result<_, String> {
        let mut fields = LineFields::of(item)?;
        let read = AnswerLine {
            status: fields.status()?,
            answer: fields.optional("answer", LineFields::number)?.map(EventNumber),
            error: fields.optional("error", LineFields::text)?.map(Cow::into_owned),
            usage: match fields.optional("model", LineFields::text)? {
                Some(model) => Some(TokenUsage { model: model.into(), tokens: fields.tokens()? }),
                None => None,
            },
        };
        fields.finish()?;
        Ok(read)
    };
    json::elements(listed).map(answer).collect::<Result<_, _>>().map_err(|rule| format!("`{name}`: {rule}"))
}

fn read_usage(fields: &mut LineFields) -> Result<UsageLine, String> {
    Ok(UsageLine {
        user: fields.user("user_id")?,
        day: fields.checked("day", |raw| Day::parse(raw).ok_or("must be a date like 2026-01-31"))?,
        conversation: fields.optional("conversation_id", |fields, name| fields.id(name, ConversationId::parse))?,
        model: fields.text("model")?.into_owned(),
        sums: UsageSums { answers: fields.number("answers")?, tokens: fields.tokens()? },
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

    fn status(&mut self) -> Result<Status, String> {
        self.checked("status", |raw| Status::parse(raw).ok_or("is none that there is"))
    }

    fn tokens(&mut self) -> Result<TokenCounts, String> {
        Ok(TokenCounts {
            prompt: self.number("prompt_tokens")?,
            completion: self.number("completion_tokens")?,
            reasoning: self.number("reasoning_tokens")?,
            cached: self.number("cached_tokens")?,
        })
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

fn parse_status(raw: &str) -> Result<UserStatus, &'static str> {
    UserStatus::ALL.into_iter().find(|status| status_name(*status) == raw).ok_or("is none that there is")
}
