//! Writes the lines of an export.

use super::{
    AnswerLine, ConversationLine, ExportCounts, ExportHeader, ExportLine, FORMAT, MessageLine, UsageLine, UserLine,
    VERSION, status_name,
};
use crate::domain::model::Workspace;
use crate::domain::usage::TokenCounts;
use crate::wire::json::JsonWriter;

/// Appends a line with its line feed.
pub(crate) fn write(line: &ExportLine, out: &mut Vec<u8>) {
    let mut json = JsonWriter(out);
    match line {
        ExportLine::Header(header) => write_header(&mut json, header),
        ExportLine::User(user) => write_user(&mut json, user),
        ExportLine::Workspace(workspace) => write_workspace(&mut json, workspace),
        ExportLine::Conversation(conversation) => write_conversation(&mut json, conversation),
        ExportLine::Message(message) => write_message(&mut json, message),
        ExportLine::Usage(usage) => write_usage(&mut json, usage),
        ExportLine::End(counts) => write_end(&mut json, counts),
    }
    out.extend_from_slice(b"}\n");
}

fn write_header(json: &mut JsonWriter, header: &ExportHeader) {
    json.raw("{\"type\":\"header\",\"format\":").string(FORMAT).raw(",\"version\":").number(VERSION);
    json.raw(",\"id_key\":").string(&format!("{:032x}", u128::from_be_bytes(header.id_key)));
    json.raw(",\"epoch\":").uuid(header.epoch);
    json.raw(",\"position\":").number(header.position.0).raw(",\"at\":").time(header.at);
    if let Some(through) = header.removed_users_through {
        json.raw(",\"removed_users_through\":").number(through.0);
    }
}

fn write_user(json: &mut JsonWriter, user: &UserLine) {
    json.raw("{\"type\":\"user\",\"id\":").string(user.id.as_str());
    json.raw(",\"name\":").string(&user.name).raw(",\"email\":").string(&user.email);
    json.raw(",\"created_at\":").time(user.created_at);
    json.raw(",\"access\":").string(status_name(user.status));
    if let Some(since) = user.tokens_since {
        json.raw(",\"tokens_since\":").time(since);
    }
    if let Some(generation) = user.token_generation {
        json.raw(",\"token_generation\":").number(generation);
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
    if let Some((number, user)) = &message.job {
        json.raw(",\"job\":{\"number\":").number(number.0).raw(",\"user_id\":").string(user.as_str()).raw("}");
    }
    if !message.answers.is_empty() {
        json.raw(",\"answers\":").array(&message.answers, write_answer);
    }
    for (name, text) in [("error", &message.error), ("reasoning", &message.reasoning)] {
        if let Some(text) = text {
            json.raw(",").string(name).raw(":").string(text);
        }
    }
    json.raw(",\"correlation_id\":").string(&message.correlation_id);
    json.raw(",\"metadata\":").raw(message.metadata.as_str());
    json.raw(",\"content\":").string(message.content.as_str());
}

fn write_answer(json: &mut JsonWriter, answer: &AnswerLine) {
    json.raw("{\"status\":").string(answer.status.as_str());
    if let Some(number) = answer.answer {
        json.raw(",\"answer\":").number(number.0);
    }
    if let Some(error) = &answer.error {
        json.raw(",\"error\":").string(error);
    }
    if let Some(usage) = &answer.usage {
        json.raw(",\"model\":").string(&usage.model);
        write_tokens(json, usage.tokens);
    }
    json.raw("}");
}

fn write_usage(json: &mut JsonWriter, usage: &UsageLine) {
    json.raw("{\"type\":\"usage\",\"user_id\":").string(usage.user.as_str());
    json.raw(",\"day\":").string(&usage.day.to_string());
    if let Some(conversation) = usage.conversation {
        json.raw(",\"conversation_id\":").uuid(conversation.0);
    }
    json.raw(",\"model\":").string(&usage.model).raw(",\"answers\":").number(usage.sums.answers);
    write_tokens(json, usage.sums.tokens);
}

fn write_tokens(json: &mut JsonWriter, tokens: TokenCounts) {
    json.raw(",\"prompt_tokens\":").number(tokens.prompt);
    json.raw(",\"completion_tokens\":").number(tokens.completion);
    json.raw(",\"reasoning_tokens\":").number(tokens.reasoning);
    json.raw(",\"cached_tokens\":").number(tokens.cached);
}

fn write_end(json: &mut JsonWriter, counts: &ExportCounts) {
    json.raw("{\"type\":\"end\",\"users\":").number(counts.users);
    json.raw(",\"workspaces\":").number(counts.workspaces);
    json.raw(",\"conversations\":").number(counts.conversations);
    json.raw(",\"messages\":").number(counts.messages);
    json.raw(",\"usage\":").number(counts.usage);
}
