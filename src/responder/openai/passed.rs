//! Objects of an answer as they are passed on to a client of the OpenAI-compatible API.

use crate::base::limits::UPSTREAM_PLAIN_BYTES_MAX;
use crate::domain::passing::PassingForm;
use crate::responder::Failure;
use crate::responder::openai::text::json_text;
use crate::sse::write_data;
use crate::wire::json;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Appends one object, of which `raw` is the JSON text. `is_json` states that the response is JSON and no event stream.
///
/// # Errors
/// Fails if the object has the form of a stream and a whole answer is wanted.
pub(super) fn push(
    form: PassingForm,
    value: &Value,
    raw: &str,
    is_json: bool,
    out: &mut String,
) -> Result<(), Failure> {
    let is_piece =
        value["choices"].as_array().is_some_and(|choices| choices.iter().any(|one| one["delta"].is_object()));
    match form {
        PassingForm::Whole if !is_json || is_piece || out.len() + raw.len() > UPSTREAM_PLAIN_BYTES_MAX => {
            return Err(not_whole());
        }
        PassingForm::Whole => out.push_str(&strict(value, raw)),
        PassingForm::Stream { hides_usage: true } if is_usage(value) => {}
        // Signs of life, which clients would take for chunks.
        PassingForm::Stream { .. } if !value["choices"].is_array() && !is_usage(value) => {}
        PassingForm::Stream { .. } => {
            let chunk = if is_json && !is_piece { Cow::Owned(as_chunk(value)) } else { strict(value, raw) };
            push_event(&chunk, out);
        }
    }
    Ok(())
}

/// Appends an object that is valid JSON, and that no reader of values takes.
///
/// # Errors
/// Fails if it is too large.
pub(super) fn push_unread(form: PassingForm, raw: &str, out: &mut String) -> Result<(), Failure> {
    match form {
        PassingForm::Whole if out.len() + raw.len() > UPSTREAM_PLAIN_BYTES_MAX => {
            return Err(Failure::invalid_response("the answer is too large"));
        }
        PassingForm::Whole => out.push_str(raw),
        PassingForm::Stream { .. } => push_event(raw, out),
    }
    Ok(())
}

fn push_event(json: &str, out: &mut String) {
    // JSON has line breaks only between its tokens.
    let line = json.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte });
    let mut event = Vec::with_capacity(json.len() + 16);
    write_data(|event| event.extend(line), &mut event);
    out.push_str(std::str::from_utf8(&event).expect("made of text alone"));
}

/// The failure of an answer in several objects where one is wanted.
pub(super) fn not_whole() -> Failure {
    Failure::invalid_response("it came as a stream, although a whole answer was requested")
}

/// The text itself, unless it is JSON only to a lenient reader.
fn strict<'r>(value: &Value, raw: &'r str) -> Cow<'r, str> {
    if json::is_valid(raw) { Cow::Borrowed(raw) } else { Cow::Owned(json_text(value)) }
}

/// Whether a chunk has token counts and nothing else.
fn is_usage(value: &Value) -> bool {
    value["usage"].is_object() && value["choices"].as_array().is_none_or(Vec::is_empty)
}

/// A whole answer as a chunk, for a client that wants a stream.
fn as_chunk(value: &Value) -> String {
    let mut chunk = value.as_object().cloned().unwrap_or_default();
    chunk.insert("object".into(), "chat.completion.chunk".into());
    if let Some(Value::Array(choices)) = chunk.get_mut("choices") {
        for choice in choices.iter_mut().filter_map(Value::as_object_mut) {
            let mut delta = choice.remove("message").unwrap_or_else(|| Value::Object(Map::new()));
            // Calls of tools have an index in chunks.
            if let Some(Value::Array(calls)) = delta.get_mut("tool_calls") {
                for (index, call) in calls.iter_mut().filter_map(Value::as_object_mut).enumerate() {
                    call.entry("index").or_insert_with(|| index.into());
                }
            }
            choice.insert("delta".into(), delta);
        }
    }
    json_text(&Value::Object(chunk))
}

#[cfg(test)]
mod tests {
    use crate::domain::passing::PassingForm;
    use crate::responder::openai::{AnswerPieces, AnswerReader};

    const STREAM: PassingForm = PassingForm::Stream { hides_usage: true };

    /// What is passed on of a body that arrives in pieces of this size, or the error.
    fn passed_in(form: PassingForm, body: &str, piece_bytes: usize) -> Result<String, String> {
        let mut reader = AnswerReader::new([].into()).passing(form);
        let mut pieces = AnswerPieces::default();
        for piece in body.as_bytes().chunks(piece_bytes) {
            reader.read(piece, &mut pieces).map_err(|failure| failure.message)?;
        }
        reader.end(true, &mut pieces).map_err(|failure| failure.message)?;
        assert!(pieces.text.is_empty() && pieces.reasoning.is_empty());
        Ok(pieces.passed)
    }

    fn passed(form: PassingForm, body: &str) -> Result<String, String> {
        let whole = passed_in(form, body, body.len());
        assert_eq!(passed_in(form, body, 1), whole, "{body}");
        whole
    }

    #[test]
    fn chunks_are_passed_on_unchanged() {
        const TOOL: &str = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\": 1.50"}}]}}], "x":1e2}"#;
        const OTHER: &str = r#"{"choices":[{"index":1,"delta":{"content":"\ud83d"}}]}"#;
        // Some clients end a line there.
        const LINES: &str = "{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"\u{2028}\"}}]}";
        const ESCAPED: &str = r#"{"choices":[{"index":1,"delta":{"content":"\u2028"}}]}"#;
        const END: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#;
        const GREAT: &str = r#"{"choices":[{"index":0,"delta":{}}],"x":1e400}"#;
        let body = format!(
            ": hello\n\ndata: {GREAT}\n\ndata: {{\"type\":\"ping\"}}\n\ndata: {TOOL}\n\ndata:{OTHER}\n\ndata:{LINES}\n\nevent: x\ndata: {END}\n\ndata: [DONE]\n\n"
        );
        let expected = format!("data: {GREAT}\n\ndata: {TOOL}\n\ndata: {OTHER}\n\ndata: {ESCAPED}\n\ndata: {END}\n\n");
        assert_eq!(passed(STREAM, &body), Ok(expected));
    }

    #[test]
    fn a_chunk_with_token_counts_is_for_those_who_asked() {
        const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":1}}"#;
        const LAST: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#;
        let body = format!("data: {LAST}\n\ndata: {USAGE}\n\ndata: [DONE]\n\n");
        assert_eq!(passed(STREAM, &body), Ok(format!("data: {LAST}\n\n")));
        let shown = PassingForm::Stream { hides_usage: false };
        assert_eq!(passed(shown, &body), Ok(format!("data: {LAST}\n\ndata: {USAGE}\n\n")));
    }

    #[test]
    fn a_whole_answer_is_one_body_or_one_chunk() {
        let body = "{\"object\":\"chat.completion\",\n \"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"c\"}]},\"finish_reason\":\"tool_calls\"}]}";
        assert_eq!(passed(PassingForm::Whole, body), Ok(body.to_owned()));
        let chunk = r#"{"choices":[{"delta":{"role":"assistant","tool_calls":[{"id":"c","index":0}]},"finish_reason":"tool_calls","index":0}],"object":"chat.completion.chunk"}"#;
        assert_eq!(passed(STREAM, body), Ok(format!("data: {chunk}\n\n")));
        let after_ping = format!("{{\"type\":\"ping\"}}\n{}\n", body.replace('\n', ""));
        assert_eq!(passed(PassingForm::Whole, &after_ping), Ok(body.replace('\n', "")));
    }

    #[test]
    fn halves_of_characters_are_passed_on_as_they_came() {
        const CHUNK: &str = r#"{"choices":[{"delta":{"content":"\ud83d"},"finish_reason":"stop"}]}"#;
        for body in [format!("data: {{\"data\":{CHUNK}}}\n\n"), format!("data: [{CHUNK}]\n\n")] {
            assert_eq!(passed(STREAM, &body), Ok(format!("data: {CHUNK}\n\n")), "{body}");
        }
        let lenient = r#"data: {"choices":[{"delta":{"content":"\ud83d"},"x":NaN}]}"#;
        let expected = r#"data: {"choices":[{"delta":{"content":"\ud83d"},"x":null}]}"#;
        assert_eq!(passed(STREAM, &format!("{lenient}\n\ndata: [DONE]\n\n")), Ok(format!("{expected}\n\n")));
    }

    #[test]
    fn an_error_in_a_choice_is_not_passed_on() {
        let body = r#"data: {"choices":[{"delta":{},"error":{"message":"no luck"}}]}"#;
        let mut reader = AnswerReader::new([].into()).passing(STREAM);
        let mut pieces = AnswerPieces::default();
        assert!(reader.read(format!("{body}\n\n").as_bytes(), &mut pieces).is_err());
        assert_eq!(pieces.passed, "");
    }

    #[test]
    fn a_stream_of_another_choice_has_its_end() {
        const OTHER: &str = r#"{"choices":[{"index":1,"delta":{"content":"a"},"finish_reason":"stop"}]}"#;
        let body = format!("data: {OTHER}\n\n");
        assert_eq!(passed(STREAM, &body), Ok(body.clone()));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let cut = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
        let table = [
            (STREAM, cut, "ended the connection"),
            (STREAM, "data: {\"error\":{\"message\":\"no luck\"}}\n\n", "no luck"),
            (STREAM, "{\"error\":{\"message\":\"no luck\"}}", "no luck"),
            (PassingForm::Whole, "{\"detail\":\"no luck\"}", "no luck"),
            (PassingForm::Whole, "{\"object\":\"list\"}", "cannot be read"),
            (PassingForm::Whole, cut, "cannot be read"),
            (PassingForm::Whole, "data: [DONE]\n\n", "is empty"),
            (PassingForm::Whole, "{\"id\":\"a\"}\n[DONE]\n", "is empty"),
            (
                PassingForm::Whole,
                "{\"choices\":[{\"message\":{}}]}\n{\"choices\":[{\"message\":{}}]}\n",
                "cannot be read",
            ),
        ];
        for (form, body, words) in table {
            let error = passed(form, body).unwrap_err();
            assert!(error.contains(words), "{body}: {error}");
        }
    }
}
