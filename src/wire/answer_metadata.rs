//! The metadata of answers.

use crate::domain::responder::ResponderKind;
use crate::wire::json::JsonWriter;

/// The properties of a model's answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnswerFacts<'a> {
    /// The model, as the upstream server names it.
    pub model: Option<&'a str>,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the completion.
    pub completion_tokens: Option<u64>,
    /// The finish reason.
    pub finish_reason: Option<&'a str>,
}

/// The metadata of an answer, as compact JSON.
pub(crate) fn metadata(responder: ResponderKind, properties: Option<AnswerFacts<'_>>) -> String {
    let mut out = Vec::with_capacity(128);
    let mut json = JsonWriter(&mut out);
    json.raw("{\"responder\":").string(responder.as_str());
    let properties = properties.unwrap_or_default();
    for (name, text) in [("model", properties.model), ("finish_reason", properties.finish_reason)] {
        if let Some(text) = text {
            json.raw(",").string(name).raw(":").string(text);
        }
    }
    for (name, count) in
        [("prompt_tokens", properties.prompt_tokens), ("completion_tokens", properties.completion_tokens)]
    {
        if let Some(count) = count {
            json.raw(",").string(name).raw(":").number(count);
        }
    }
    json.raw("}");
    String::from_utf8(out).expect("made of text alone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_known() {
        assert_eq!(metadata(ResponderKind::Echo, None), r#"{"responder":"echo"}"#);
        let properties = AnswerFacts {
            model: Some("m\"1"),
            prompt_tokens: Some(3),
            completion_tokens: None,
            finish_reason: Some("stop"),
        };
        assert_eq!(
            metadata(ResponderKind::OpenAi, Some(properties)),
            r#"{"responder":"openai","model":"m\"1","finish_reason":"stop","prompt_tokens":3}"#
        );
    }
}
