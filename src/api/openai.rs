//! The OpenAI-compatible API (`docs/api.md`, section 10): `/v1/models` and `/v1/chat/completions`.
//!
//! A completion is passed on, or, if it names a conversation or asks for one, it is a view of the answer to a message.

use super::action::Action;
use super::completion::{CompletionView, PassingDraft};
use super::context::Context;
use super::error::ApiError;
use super::request::{Request, conversation};
use super::response::Response;
use super::stream::event_stream;
use crate::base::time::WallTime;
use crate::config::Settings;
use crate::domain::command::{ApiVariant, CommandKind};
use crate::domain::completion_error::CompletionError;
use crate::domain::model::{Metadata, Role};
use crate::domain::passing::PassingForm;
use crate::domain::responder::ResponderKind;
use crate::sse::write_data;
use crate::wire::openai::{self, ChunkPart, CompletionHead, CompletionUsage};
use crate::wire::request::CompletionRequest;

/// The name of the responder `echo` as a model.
const ECHO: &str = "echo";
/// Most chunks of an echo.
const ECHO_CHUNKS_MAX: usize = 64;

/// `GET /v1/models`
pub(super) fn list_models(context: &Context) -> Result<Action, ApiError> {
    let names = models(&context.settings).into_iter().map(|(name, _)| name);
    Ok(Action::Respond(Response::json(openai::models(names))))
}

/// `GET /v1/models/{id}`
pub(super) fn get_model(context: &Context, request: &Request<'_>) -> Result<Action, ApiError> {
    let name = request.parameters[0];
    find_model(&context.settings, Some(name))?;
    Ok(Action::Respond(Response::json(openai::model(name))))
}

/// `POST /v1/chat/completions`
pub(super) fn complete(context: &Context, request: &Request<'_>, now: WallTime) -> Result<Action, ApiError> {
    let wanted = CompletionRequest::read(request.body).map_err(|error| request.invalid_body(error))?;
    let (model, responder) = find_model(&context.settings, wanted.model.as_deref())?;
    if let Some(conversation_id) = conversation_id(request, &wanted)? {
        let content = wanted.posted().map_err(|error| request.invalid_body(error))?;
        let kind = CommandKind::PostMessage {
            conversation: conversation(conversation_id)?,
            role: Role::User,
            content,
            metadata: Metadata::empty(),
            api_variant: ApiVariant::OpenAi,
        };
        return Ok(Action::Complete(kind, view(request, &wanted, model, now)));
    }
    if wanted.stores {
        let kind = new_conversation(&context.settings, request, &wanted, (model, responder))?;
        return Ok(Action::Complete(kind, view(request, &wanted, model, now)));
    }
    match responder {
        ResponderKind::OpenAi => Ok(Action::Pass(PassingDraft {
            body: wanted.passing_body(model),
            form: match wanted.is_streamed {
                true => PassingForm::Stream { hides_usage: !wanted.includes_usage },
                false => PassingForm::Whole,
            },
        })),
        ResponderKind::Echo | ResponderKind::None => echo(request, &wanted, now).map(Action::Respond),
    }
}

fn new_conversation(
    settings: &Settings,
    request: &Request<'_>,
    wanted: &CompletionRequest<'_>,
    (model, responder): (&str, ResponderKind),
) -> Result<CommandKind, ApiError> {
    let mut choices = Vec::new();
    if responder != settings.responder {
        choices.push(("responder", responder.as_str()));
    }
    if responder == ResponderKind::OpenAi {
        choices.push(("model", model));
    }
    let new = wanted.begun(&choices).map_err(|error| request.invalid_body(error))?;
    Ok(CommandKind::CreateConversation {
        workspace: None,
        topic: new.topic,
        participants: Vec::new(),
        metadata: new.metadata,
        earlier_messages: new.earlier,
        initial_message: Some(new.content),
        api_variant: ApiVariant::OpenAi,
    })
}

fn view(request: &Request<'_>, wanted: &CompletionRequest<'_>, model: &str, now: WallTime) -> CompletionView {
    CompletionView {
        is_streamed: wanted.is_streamed,
        includes_usage: wanted.includes_usage,
        model: model.to_owned(),
        created: now.seconds(),
        is_repeatable: request.has_idempotency_key,
    }
}

/// The conversation that the request names, in its field or in its metadata.
fn conversation_id<'a>(request: &Request<'a>, wanted: &'a CompletionRequest<'_>) -> Result<Option<&'a str>, ApiError> {
    let field = match request.conversation_id.map(std::str::from_utf8) {
        None => None,
        Some(Ok(id)) => Some(id.trim()).filter(|id| !id.is_empty()),
        Some(Err(_)) => return Err(ApiError::bad_request("X-Conversation-Id must be a conversation's id")),
    };
    match (field, wanted.conversation_id.as_deref().filter(|id| !id.is_empty())) {
        (Some(field), Some(member)) if !field.eq_ignore_ascii_case(member) => {
            Err(ApiError::bad_request("X-Conversation-Id and metadata.conversation_id name different conversations"))
        }
        (field, member) => Ok(field.or(member)),
    }
}

/// The models that this server offers, with the responders that they stand for. The default comes first.
fn models(settings: &Settings) -> Vec<(&str, ResponderKind)> {
    let mut models = Vec::new();
    let mut responders = vec![settings.responder];
    responders.extend(settings.responders_allowed.iter().filter(|kind| **kind != settings.responder));
    for responder in responders {
        match responder {
            ResponderKind::None => {}
            ResponderKind::Echo => models.push((ECHO, responder)),
            ResponderKind::OpenAi => models.extend(settings.responder_models.iter().map(|name| (&**name, responder))),
        }
    }
    models
}

/// The model with this name, or the default.
fn find_model<'s>(settings: &'s Settings, name: Option<&str>) -> Result<(&'s str, ResponderKind), ApiError> {
    let found = models(settings).into_iter().find(|(own, _)| name.is_none_or(|name| name == *own));
    found.ok_or_else(|| {
        let message = match name {
            Some(name) => format!("The model `{name}` does not exist"),
            None => "This server has no model".to_owned(),
        };
        ApiError::of_completion(CompletionError::new(404, "model_not_found", message))
    })
}

/// The answer of `echo`: the text of the last message, in chunks of some words.
fn echo(request: &Request<'_>, wanted: &CompletionRequest<'_>, now: WallTime) -> Result<Response, ApiError> {
    let invalid = |name, rule: &str| ApiError::validation(request.operation.subject(), vec![(name, rule.to_owned())]);
    if wanted.other_count().is_some() {
        return Err(invalid("n", "must be 1 for echo"));
    }
    let text = wanted.last_text();
    let text = text.ok_or_else(|| invalid("messages", "must end with a user message of nothing but text"))?;
    let id = format!("chatcmpl-{}", request.request_id);
    let head = CompletionHead { id: &id, created: now.seconds(), model: ECHO };
    let usage = CompletionUsage::of_echo(wanted.text_bytes(), text.len());
    if !wanted.is_streamed {
        return Ok(Response::json(openai::completion(head, &text, "stop", Some(usage))));
    }
    let mut body = Vec::with_capacity(2 * text.len() + 4096);
    write_data(|out| openai::chunk(head, ChunkPart::Role, out), &mut body);
    for piece in pieces(&text) {
        write_data(|out| openai::chunk(head, ChunkPart::Text(piece), out), &mut body);
    }
    write_data(|out| openai::chunk(head, ChunkPart::Finish("stop"), out), &mut body);
    if wanted.includes_usage {
        write_data(|out| openai::usage_chunk(head, usage, out), &mut body);
    }
    body.extend_from_slice(openai::DONE);
    Ok(event_stream(body))
}

/// A text in at most `ECHO_CHUNKS_MAX` pieces, which begin with words.
fn pieces(text: &str) -> Vec<&str> {
    let words = text.matches(char::is_whitespace).count() + 1;
    let words_per_piece = words.div_ceil(ECHO_CHUNKS_MAX);
    let (mut pieces, mut from) = (Vec::new(), 0);
    let starts = text.match_indices(char::is_whitespace).map(|(at, _)| at);
    for at in starts.skip(words_per_piece - 1).step_by(words_per_piece).filter(|at| *at > 0) {
        pieces.push(&text[from..at]);
        from = at;
    }
    pieces.push(&text[from..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_text() {
        for text in ["a", "a b", " a  b ", "\n", &"word ".repeat(1000), &"\u{3000}é".repeat(200)] {
            let pieces = pieces(text);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.len() <= ECHO_CHUNKS_MAX + 1 && pieces.iter().all(|piece| !piece.is_empty()), "{pieces:?}");
        }
        assert_eq!(pieces("one two three"), ["one", " two", " three"]);
    }
}
