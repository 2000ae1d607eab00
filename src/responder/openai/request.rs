//! Requests to a model.

use crate::domain::history::AnswerSettings;
use crate::responder::context::ModelContext;
use crate::wire::json::JsonWriter;

/// The body of a request. `settings.model` is not read: `model` is the one to ask. `count_tokens` asks for token counts at
/// the end of the stream, which some servers reject.
pub(crate) fn request_body(
    model: &str,
    settings: &AnswerSettings,
    context: &ModelContext,
    count_tokens: bool,
) -> Vec<u8> {
    let mut body = Vec::new();
    let mut json = JsonWriter(&mut body);
    json.raw("{\"model\":").string(model).raw(",\"messages\":").array(context.messages(), |json, (role, text)| {
        json.raw("{\"role\":").string(role.as_str()).raw(",\"content\":").string(&text).raw("}");
    });
    for (name, number) in [("temperature", &settings.temperature), ("top_p", &settings.top_p)] {
        if let Some(number) = number {
            json.raw(",").string(name).raw(":").raw(number);
        }
    }
    if let Some(tokens) = settings.max_tokens {
        json.raw(",\"max_tokens\":").number(tokens);
    }
    if !settings.stop.is_empty() {
        json.raw(",\"stop\":").array(&settings.stop, |json, text| {
            json.string(text);
        });
    }
    json.raw(",\"stream\":true");
    if count_tokens {
        json.raw(",\"stream_options\":{\"include_usage\":true}");
    }
    json.raw("}");
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::answer_job::Turn;
    use crate::domain::history::History;
    use crate::domain::id::UserId;
    use crate::domain::model::{Content, Role};
    use crate::responder::context::ContextRules;
    use serde_json::{Value, json};

    fn body(settings: &AnswerSettings, prompt: Option<&str>, count_tokens: bool) -> Value {
        let turn = |role, text: &str| Turn {
            role,
            text: Content::new_unchecked(text),
            sender: UserId::new_unchecked("ann"),
            sender_name: "".into(),
        };
        let turns = vec![turn(Role::User, "a\n\"b\""), turn(Role::Assistant, "c"), turn(Role::User, "\u{1f600}")];
        let rules = ContextRules { system_prompt: prompt.map(str::to_owned), bytes_max: 1000, names: true };
        let context = ModelContext::new(&rules, &History { turns, ..History::default() });
        serde_json::from_slice(&request_body("m", settings, &context, count_tokens)).unwrap()
    }

    #[test]
    fn requests_have_the_shape_of_the_protocol() {
        let expected = json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "be kind"},
                {"role": "user", "content": "a\n\"b\""},
                {"role": "assistant", "content": "c"},
                {"role": "user", "content": "\u{1f600}"},
            ],
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        assert_eq!(body(&AnswerSettings::default(), Some("be kind"), true), expected);
        let plain = body(&AnswerSettings::default(), None, false);
        assert_eq!(plain["messages"].as_array().unwrap().len(), 3);
        assert_eq!(plain.as_object().unwrap().len(), 3, "no option is sent that is not set");
    }

    #[test]
    fn settings_of_a_conversation_are_options_of_the_request() {
        let settings = AnswerSettings {
            model: Some("another".into()),
            system_prompt: None,
            temperature: Some("0.5".into()),
            top_p: Some("1".into()),
            max_tokens: Some(7),
            stop: vec!["\n\n".into(), "END".into()],
        };
        let body = body(&settings, None, false);
        let options = [&body["model"], &body["temperature"], &body["top_p"], &body["max_tokens"], &body["stop"]];
        let expected = [json!("m"), json!(0.5), json!(1), json!(7), json!(["\n\n", "END"])];
        assert_eq!(options, expected.each_ref());
    }
}
