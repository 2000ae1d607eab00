//! The meaning of one JSON object of a model: its text and reasoning, finish reason, token counts. Errors are in `error`.

use crate::base::limits::UPSTREAM_NESTING_MAX;
use crate::responder::Completion;
use serde_json::Value;

/// Text and reasoning of one object.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ChunkText {
    pub text: String,
    pub reasoning: String,
}

/// Where a choice has its text. One answer uses one of them: some servers repeat the whole text in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextPlace {
    /// The next piece: `delta`.
    Delta,
    /// The whole text, or a piece of it: `message`.
    Message,
    /// The choice itself, as legacy completions have it: `text`.
    Choice,
}

/// The object that has the choices: some gateways wrap it, RunPod in a list.
pub(super) fn unwrapped(value: &Value) -> &Value {
    if value.get("choices").is_some_and(|choices| !choices.is_null()) {
        return value;
    }
    let wrapped = ["data", "result", "output", "response"].iter().filter_map(|name| value.get(name));
    let mut first = wrapped.map(|inner| inner.as_array().and_then(|list| list.first()).unwrap_or(inner));
    first.find(|inner| has_choices(inner)).unwrap_or(value)
}

/// Whether there is a choice.
pub(super) fn has_choices(value: &Value) -> bool {
    match &value["choices"] {
        Value::Array(choices) => !choices.is_empty(),
        choices => choices.is_object(),
    }
}

/// The choice that counts: the one without an index or with index 0, or, if the object is the whole answer, the first. Without
/// choices, the object itself if it has a message.
pub(super) fn choice(value: &Value, is_whole: bool) -> Option<&Value> {
    let choices = match &value["choices"] {
        Value::Array(choices) => &choices[..],
        choices @ Value::Object(_) => std::slice::from_ref(choices),
        _ => return value["message"].is_object().then_some(value),
    };
    let counts = |choice: &&Value| {
        let is_first = match &choice["index"] {
            Value::Null => true,
            Value::String(index) => index.trim() == "0",
            index => index.as_f64() == Some(0.0),
        };
        choice.is_object() && is_first
    };
    let first = || choices.iter().find(|choice| is_whole && choice["message"].is_object());
    choices.iter().find(counts).or_else(first)
}

/// The text of a choice, and its place. `place` is that of the answer's text so far.
pub(super) fn text_of(choice: &Value, place: Option<TextPlace>) -> (ChunkText, Option<TextPlace>) {
    let parts =
        [(TextPlace::Delta, &choice["delta"]), (TextPlace::Message, &choice["message"]), (TextPlace::Choice, choice)];
    for (candidate, part) in parts {
        if place.is_some_and(|place| place != candidate) || part.is_null() {
            continue;
        }
        let found = part_text(part);
        if found != ChunkText::default() {
            return (found, Some(candidate));
        }
    }
    (ChunkText::default(), place)
}

fn part_text(part: &Value) -> ChunkText {
    let mut found = ChunkText::default();
    if let Some(text) = part.as_str() {
        found.text.push_str(text);
        return found;
    }
    // Servers that change the name of the field send both for a while.
    for name in ["reasoning_content", "reasoning", "reasoning_text", "thinking", "reasoning_details", "thinking_blocks"]
    {
        add_strings(&part[name], 0, &mut found.reasoning);
        if !found.reasoning.is_empty() {
            break;
        }
    }
    let mut content = ChunkText::default();
    add_content(&part["content"], 0, &mut content);
    if content.text.is_empty() && part.get("content").is_none_or(Value::is_null) {
        add_content(&part["text"], 0, &mut content);
    }
    if found.reasoning.is_empty() {
        found.reasoning = content.reasoning;
    }
    found.text = content.text;
    found.text.push_str(part["refusal"].as_str().unwrap_or_default());
    found
}

/// Adds content: a string, a part, or a list of parts.
fn add_content(content: &Value, depth: usize, found: &mut ChunkText) {
    if depth > UPSTREAM_NESTING_MAX {
        return;
    }
    match content {
        Value::String(text) => found.text.push_str(text),
        Value::Array(parts) => parts.iter().for_each(|part| add_content(part, depth + 1, found)),
        Value::Object(part) => {
            let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
            if kind.contains("thinking") || kind.contains("reasoning") || kind.contains("summary") {
                add_strings(content, depth, &mut found.reasoning);
            } else if !["tool", "function", "image", "audio", "reference", "file"]
                .iter()
                .any(|word| kind.contains(word))
            {
                for name in ["text", "content", "refusal", "value"] {
                    if let Some(inner) = part.get(name).filter(|inner| !inner.is_null()) {
                        return add_content(inner, depth + 1, found);
                    }
                }
            }
        }
        _ => {}
    }
}

/// Adds the texts of reasoning, which may be a string, an object or a list. Encrypted reasoning and signatures are no text.
fn add_strings(value: &Value, depth: usize, out: &mut String) {
    if depth > UPSTREAM_NESTING_MAX {
        return;
    }
    match value {
        Value::String(text) => out.push_str(text),
        Value::Array(parts) => parts.iter().for_each(|part| add_strings(part, depth + 1, out)),
        Value::Object(part) => {
            let names = ["thinking", "text", "summary", "content", "reasoning"];
            if let Some(inner) = names.iter().find_map(|name| part.get(*name).filter(|inner| !inner.is_null())) {
                add_strings(inner, depth + 1, out);
            }
        }
        _ => {}
    }
}

/// The reason for the end of the text, if the choice or the object has one.
pub(super) fn finish_reason<'v>(value: &'v Value, choice: &'v Value) -> Option<&'v str> {
    let reason = ["finish_reason", "finishReason"].iter().find_map(|name| choice.get(name));
    let reason = match reason {
        Some(reason) => reason.as_str(),
        None => choice["stop_reason"]
            .as_str()
            .or_else(|| choice["finish_details"]["type"].as_str())
            .or_else(|| value["finish_reason"].as_str()),
    };
    // Ollama's own form.
    let reason = reason.or_else(|| (value["done"] == true).then(|| value["done_reason"].as_str().unwrap_or("stop")));
    let is_none = |reason: &str| ["", "null", "none", "not_finished"].contains(&reason.to_ascii_lowercase().trim());
    reason.filter(|reason| !is_none(reason))
}

/// How an answer with a finish reason has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FinishKind {
    /// The text stands.
    Complete,
    /// The text was cut by a failure. Another attempt can help.
    Failed,
    /// The text was cut by a failure that the request causes again.
    FailedForGood,
}

/// Finish reasons that mean a failure. Any other ends a text as it is, filters and length limits too.
const FAILED_REASONS: [(&str, FinishKind); 22] = [
    // OpenRouter, Together, Cohere, watsonx.
    ("error", FinishKind::Failed),
    // DeepSeek.
    ("insufficient_system_resource", FinishKind::Failed),
    // vLLM and SGLang, when the request is aborted.
    ("abort", FinishKind::Failed),
    // Cohere. Its `ERROR_LIMIT` is the end of the context.
    ("user_cancel", FinishKind::Failed),
    ("timeout", FinishKind::Failed),
    // Zhipu.
    ("network_error", FinishKind::Failed),
    // watsonx.
    ("time_limit", FinishKind::Failed),
    ("cancelled", FinishKind::Failed),
    // LM Studio's own interface.
    ("failed", FinishKind::Failed),
    ("modelunloaded", FinishKind::Failed),
    ("model_unloaded", FinishKind::Failed),
    // Gemini.
    ("malformed_function_call", FinishKind::FailedForGood),
    ("malformed_response", FinishKind::Failed),
    ("unexpected_tool_call", FinishKind::FailedForGood),
    ("too_many_tool_calls", FinishKind::FailedForGood),
    ("missing_thought_signature", FinishKind::FailedForGood),
    // Of no known server; their meaning leaves no doubt.
    ("server_error", FinishKind::Failed),
    ("internal_error", FinishKind::Failed),
    ("aborted", FinishKind::Failed),
    ("cancel", FinishKind::Failed),
    ("canceled", FinishKind::Failed),
    ("incomplete", FinishKind::Failed),
];

/// The meaning of a finish reason. Letter case, `-` and spaces make no difference.
pub(super) fn finish_kind(reason: &str) -> FinishKind {
    let reason = reason.to_ascii_lowercase().replace(['-', ' '], "_");
    // Gateways pass Gemini's own words on: `function_call_filter: MALFORMED_FUNCTION_CALL`.
    let last = reason.rsplit([':', '.']).next().unwrap_or_default().trim_matches('_');
    FAILED_REASONS.iter().find(|(name, _)| *name == last).map_or(FinishKind::Complete, |(_, kind)| *kind)
}

/// Takes the token counts of an object. Later ones replace earlier ones.
pub(super) fn note_usage(value: &Value, choice: Option<&Value>, completion: &mut Completion) {
    let none = Value::Null;
    let groups = [&value["usage"], &value["x_groq"]["usage"], choice.map_or(&none, |choice| &choice["usage"])];
    let usage = groups.into_iter().find(|usage| usage.is_object()).unwrap_or(&none);
    let read = |paths: &[&str]| paths.iter().find_map(|path| count(usage.pointer(path)?));
    // llama.cpp's own counts stand in where it sends no usage. Its cached tokens are not part of `prompt_n`.
    let timings = &value["timings"];
    let timed_prompt = count(&timings["prompt_n"]).map(|fresh| fresh + count(&timings["cache_n"]).unwrap_or(0));
    let own = |counted: Option<u64>, before: Option<u64>| counted.filter(|_| usage.is_null() && before.is_none());
    let found = [
        read(&["/prompt_tokens", "/input_tokens"])
            .or_else(|| count(&value["prompt_eval_count"]))
            .or_else(|| own(timed_prompt, completion.prompt_tokens)),
        read(&["/completion_tokens", "/output_tokens"])
            .or_else(|| count(&value["eval_count"]))
            .or_else(|| own(count(&timings["predicted_n"]), completion.completion_tokens)),
        read(&[
            "/completion_tokens_details/reasoning_tokens",
            "/output_tokens_details/reasoning_tokens",
            "/reasoning_tokens",
        ]),
        read(&[
            "/prompt_tokens_details/cached_tokens",
            "/input_tokens_details/cached_tokens",
            "/prompt_cache_hit_tokens",
            "/cached_tokens",
            "/cache_read_input_tokens",
        ])
        .or_else(|| own(count(&timings["cache_n"]), completion.cached_tokens)),
    ];
    let fields = [
        &mut completion.prompt_tokens,
        &mut completion.completion_tokens,
        &mut completion.reasoning_tokens,
        &mut completion.cached_tokens,
    ];
    for (field, found) in fields.into_iter().zip(found) {
        *field = found.or(*field);
    }
}

/// A count of tokens, which some servers write as `7.0`. Any sum of some of them fits into 64 bits.
fn count(value: &Value) -> Option<u64> {
    let whole = |float: f64| (float >= 0.0 && float.fract() == 0.0).then_some(float as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(whole)).filter(|count| *count <= u64::from(u32::MAX))
}
