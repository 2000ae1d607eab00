//! The JSON of the OpenAI-compatible API: chat completions, their chunks, models and errors.
//!
//! The shapes are those of OpenAI's API reference, "Chat". Invariant: no function here writes a raw line break.

use crate::domain::completion_error::{CompletionError, kind_of};
use crate::domain::id::{ConversationId, MessageId};
use crate::domain::model::{Message, Metadata};
use crate::domain::responder::ResponderKind;
use crate::wire::json::{self, JsonWriter};
use crate::wire::metadata;

/// The event that ends a stream which is complete.
pub(crate) const DONE: &[u8] = b"data: [DONE]\n\n";

/// What all chunks of a completion, or the whole of it, repeat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CompletionHead<'a> {
    /// The id.
    pub id: &'a str,
    /// The time of the request, in seconds since 1970.
    pub created: i64,
    /// The model.
    pub model: &'a str,
}

/// Token counts, as far as they are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CompletionUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the completion.
    pub completion_tokens: u64,
}

impl CompletionUsage {
    /// The usage of an echo of a text. A token counts as about four bytes.
    pub(crate) fn of_echo(prompt_bytes: usize, text_bytes: usize) -> CompletionUsage {
        const TOKEN_BYTES: usize = 4;
        let tokens = |bytes: usize| bytes.div_ceil(TOKEN_BYTES) as u64;
        CompletionUsage { prompt_tokens: tokens(prompt_bytes), completion_tokens: tokens(text_bytes) }
    }
}

/// A piece of a completion.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ChunkPart<'a> {
    /// The beginning, which says who speaks.
    Role,
    /// Text.
    Text(&'a str),
    /// Reasoning. The field `reasoning_content` is that of DeepSeek's API, which most clients know.
    Reasoning(&'a str),
    /// The end of the text, for this reason.
    Finish(&'a str),
}

/// A chunk of a streamed completion.
pub(crate) fn chunk(head: CompletionHead<'_>, part: ChunkPart<'_>, out: &mut Vec<u8>) {
    let mut json = JsonWriter(out);
    chunk_head(&mut json, head);
    json.raw("[{\"index\":0,\"delta\":{");
    match part {
        ChunkPart::Role => json.raw("\"role\":\"assistant\",\"content\":\"\""),
        ChunkPart::Text(text) => json.raw("\"content\":").string(text),
        ChunkPart::Reasoning(text) => json.raw("\"reasoning_content\":").string(text),
        ChunkPart::Finish(_) => &mut json,
    };
    json.raw("},\"logprobs\":null,\"finish_reason\":");
    match part {
        ChunkPart::Finish(reason) => json.string(reason),
        _ => json.raw("null"),
    };
    json.raw("}]}");
}

/// The chunk with the token counts, which has no choices.
pub(crate) fn usage_chunk(head: CompletionHead<'_>, usage: CompletionUsage, out: &mut Vec<u8>) {
    let mut json = JsonWriter(out);
    chunk_head(&mut json, head);
    json.raw("[],\"usage\":");
    write_usage(&mut json, usage);
    json.raw("}");
}

/// A whole completion.
pub(crate) fn completion(
    head: CompletionHead<'_>,
    text: &str,
    finish_reason: &str,
    usage: Option<CompletionUsage>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(512 + text.len());
    let mut json = JsonWriter(&mut out);
    json.raw("{\"id\":").string(head.id).raw(",\"object\":\"chat.completion\",\"created\":");
    json.number(head.created.max(0) as u64).raw(",\"model\":").string(head.model);
    json.raw(",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":").string(text);
    json.raw(",\"refusal\":null},\"logprobs\":null,\"finish_reason\":").string(finish_reason).raw("}]");
    if let Some(usage) = usage {
        json.raw(",\"usage\":");
        write_usage(&mut json, usage);
    }
    json.raw("}");
    out
}

fn chunk_head(json: &mut JsonWriter, head: CompletionHead<'_>) {
    json.raw("{\"id\":").string(head.id).raw(",\"object\":\"chat.completion.chunk\",\"created\":");
    json.number(head.created.max(0) as u64).raw(",\"model\":").string(head.model).raw(",\"choices\":");
}

fn write_usage(json: &mut JsonWriter, CompletionUsage { prompt_tokens, completion_tokens }: CompletionUsage) {
    json.raw("{\"prompt_tokens\":").number(prompt_tokens);
    json.raw(",\"completion_tokens\":").number(completion_tokens);
    json.raw(",\"total_tokens\":").number(prompt_tokens + completion_tokens).raw("}");
}

/// A model.
pub(crate) fn model(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_model(&mut JsonWriter(&mut out), name);
    out
}

/// A list of models.
pub(crate) fn models<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut out = Vec::new();
    JsonWriter(&mut out).raw("{\"object\":\"list\",\"data\":").array(names, write_model).raw("}");
    out
}

fn write_model(json: &mut JsonWriter, name: &str) {
    json.raw("{\"id\":").string(name).raw(",\"object\":\"model\",\"created\":0,\"owned_by\":\"cortex-core\"}");
}

/// The body of an error response. `param` is the field that the error is about.
pub(crate) fn error_body(status: u16, code: &str, message: &str, param: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    write_error(status, code, message, param, &mut out);
    out
}

/// The event that ends a stream in which an error occurred.
pub(crate) fn error_event(error: &CompletionError, out: &mut Vec<u8>) {
    write_error(error.status, error.code, &error.message, None, out);
}

fn write_error(status: u16, code: &str, message: &str, param: Option<&str>, out: &mut Vec<u8>) {
    let mut json = JsonWriter(out);
    json.raw("{\"error\":{\"message\":").string(message).raw(",\"type\":").string(kind_of(status)).raw(",\"param\":");
    match param {
        Some(param) => json.string(param),
        None => json.raw("null"),
    };
    json.raw(",\"code\":").string(code).raw("}}");
}

/// What is stored as the response to a message that was posted through this API, so that a repeated request finds its answer.
pub(crate) fn posted(json: &mut JsonWriter, message: &Message) {
    json.raw("{\"conversation_id\":")
        .uuid(message.conversation_id.0)
        .raw(",\"message_id\":")
        .uuid(message.id.0)
        .raw("}");
}

/// Reads what [`posted`] wrote.
pub(crate) fn read_posted(body: &[u8]) -> Option<(ConversationId, MessageId)> {
    let body = std::str::from_utf8(body).ok()?;
    let mut values = json::members(body).map(|(_, value)| json::text(value).ok());
    let (conversation, message) = (values.next()??, values.next()??);
    Some((ConversationId::parse(&conversation)?, MessageId::parse(&message)?))
}

/// What the metadata of an answer's message tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AnswerDetails {
    /// The model, as its server names it; `echo` for that responder.
    pub model: Option<String>,
    /// Whether the responder `echo` answered.
    pub is_echo: bool,
    /// Why the text ended.
    pub finish_reason: Option<String>,
    /// The token counts, if the model counted any.
    pub usage: Option<CompletionUsage>,
}

impl AnswerDetails {
    /// Reads the metadata that `answer_metadata` wrote.
    pub(crate) fn of(metadata: &Metadata) -> AnswerDetails {
        let text = |name| metadata::string_member(metadata, name);
        let count = |name| number_member(metadata, name);
        let (prompt, completion) = (count("prompt_tokens"), count("completion_tokens"));
        let is_echo = text("responder").is_some_and(|responder| responder == ResponderKind::Echo.as_str());
        AnswerDetails {
            model: text("model").or_else(|| is_echo.then(|| ResponderKind::Echo.as_str().to_owned())),
            is_echo,
            finish_reason: text("finish_reason"),
            usage: prompt.or(completion).map(|_| CompletionUsage {
                prompt_tokens: prompt.unwrap_or(0),
                completion_tokens: completion.unwrap_or(0),
            }),
        }
    }
}

fn number_member(metadata: &Metadata, name: &str) -> Option<u64> {
    metadata::member(metadata, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: CompletionHead<'_> = CompletionHead { id: "chatcmpl-1", created: 7, model: "m" };

    #[test]
    fn chunks_have_the_shape_of_the_protocol() {
        const OPEN: &str = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":"#;
        let table = [
            (ChunkPart::Role, r#"{"role":"assistant","content":""}"#, "null"),
            (ChunkPart::Text("a\n"), r#"{"content":"a\n"}"#, "null"),
            (ChunkPart::Reasoning("b"), r#"{"reasoning_content":"b"}"#, "null"),
            (ChunkPart::Finish("stop"), "{}", "\"stop\""),
        ];
        for (part, delta, reason) in table {
            let mut out = Vec::new();
            chunk(HEAD, part, &mut out);
            let expected =
                format!(r#"{OPEN}[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}]}}"#);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let mut out = Vec::new();
        usage_chunk(HEAD, CompletionUsage { prompt_tokens: 2, completion_tokens: 3 }, &mut out);
        let usage = r#"{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5}"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!(r#"{OPEN}[],"usage":{usage}}}"#));
    }

    #[test]
    fn the_ids_of_a_posted_message_are_read_again() {
        let ids = r#"{"conversation_id":"018f4c6e-0000-7000-8000-000000000001","message_id":"018f4c6e-0000-7000-8000-000000000002"}"#;
        let (conversation, message) = read_posted(ids.as_bytes()).unwrap();
        assert!(conversation.to_string().ends_with('1') && message.to_string().ends_with('2'));
        assert_eq!(read_posted(b"{}"), None);
    }

    #[test]
    fn the_details_of_an_answer_are_those_of_its_metadata() {
        let details = |json: &str| AnswerDetails::of(&Metadata::new_unchecked(json));
        let echo = AnswerDetails { model: Some("echo".into()), is_echo: true, ..AnswerDetails::default() };
        assert_eq!(details(r#"{"responder":"echo"}"#), echo);
        let all =
            r#"{"responder":"openai","model":"m","finish_reason":"length","prompt_tokens":3,"completion_tokens":4}"#;
        let expected = AnswerDetails {
            model: Some("m".into()),
            is_echo: false,
            finish_reason: Some("length".into()),
            usage: Some(CompletionUsage { prompt_tokens: 3, completion_tokens: 4 }),
        };
        assert_eq!(details(all), expected);
    }
}
