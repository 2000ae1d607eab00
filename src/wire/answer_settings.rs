//! The settings of a conversation's answers, as members of its metadata.

use crate::base::limits::*;
use crate::domain::history::AnswerSettings;
use crate::domain::model::Metadata;
use crate::wire::json;
use crate::wire::metadata;
use std::sync::Arc;

/// The members that only the workspace's owner may set, besides `responder`.
const KEYS: [&str; 6] = ["model", "system_prompt", "temperature", "top_p", "max_tokens", "stop"];

/// The settings in a conversation's metadata. Invalid values are ignored: earlier versions stored any value.
pub(crate) fn read(metadata: &Metadata) -> AnswerSettings {
    let mut settings = AnswerSettings::default();
    for key in KEYS {
        if let Some(value) = metadata::member(metadata, key) {
            // The rule matters only to a request that sets the value.
            let _ = set(&mut settings, key, value);
        }
    }
    settings
}

/// The rules that the settings in `patch` violate, each with the name of its setting. `after` is the metadata with `patch`
/// applied, so that a removed setting is not in it. `models` are the models that a conversation may choose.
pub(crate) fn violations(patch: &Metadata, after: &Metadata, models: &[Arc<str>]) -> Vec<String> {
    let mut violations = Vec::new();
    for key in KEYS.into_iter().filter(|key| metadata::has_member(patch, key)) {
        let Some(value) = metadata::member(after, key) else { continue };
        let mut settings = AnswerSettings::default();
        match set(&mut settings, key, value) {
            Err(rule) => violations.push(format!("{key} {rule}")),
            Ok(()) if settings.model.as_ref().is_some_and(|model| !models.contains(model)) => {
                violations.push(model_rule(models));
            }
            Ok(()) => {}
        }
    }
    violations
}

/// The first member of `metadata` that only the workspace's owner may set.
pub(crate) fn owners_member(metadata: &Metadata) -> Option<&'static str> {
    ["responder"].into_iter().chain(KEYS).find(|key| metadata::has_member(metadata, key))
}

/// Takes the JSON text of one setting.
///
/// # Errors
/// Returns the violated rule.
fn set(settings: &mut AnswerSettings, key: &str, value: &str) -> Result<(), &'static str> {
    match key {
        "model" => settings.model = Some(text(value).ok_or("must be a string")?),
        "system_prompt" => {
            let prompt = text(value).filter(|prompt| prompt.len() <= SYSTEM_PROMPT_BYTES_MAX);
            settings.system_prompt = Some(prompt.ok_or("must be a string of at most 32 KiB")?);
        }
        "temperature" => settings.temperature = Some(number(value, 2.0).ok_or("must be a number from 0 to 2")?),
        "top_p" => settings.top_p = Some(number(value, 1.0).ok_or("must be a number from 0 to 1")?),
        "max_tokens" => settings.max_tokens = Some(whole(value).ok_or("must be a whole number from 1 to 2147483647")?),
        "stop" => settings.stop = stop(value).ok_or("must be a string or at most 4 strings, none of them empty")?,
        _ => unreachable!("a key of the table"),
    }
    Ok(())
}

fn text(value: &str) -> Option<Arc<str>> {
    value.starts_with('"').then(|| json::text(value).ok().map(Arc::from))?
}

/// A JSON number from 0 to `max`, as it was sent.
fn number(value: &str, max: f64) -> Option<Arc<str>> {
    // The texts of JSON numbers, and no other JSON values, are texts of `f64`.
    let number: f64 = value.parse().ok()?;
    (0.0..=max).contains(&number).then(|| value.into())
}

/// A whole number from 1 to [`ANSWER_TOKENS_MAX`]. JSON does not distinguish 5 from 5.0.
fn whole(value: &str) -> Option<u64> {
    let number: f64 = value.parse().ok()?;
    (number.fract() == 0.0 && (1.0..=ANSWER_TOKENS_MAX as f64).contains(&number)).then_some(number as u64)
}

fn stop(value: &str) -> Option<Vec<Arc<str>>> {
    let texts: Vec<Arc<str>> = match value.starts_with('[') {
        true => json::elements(value).take(STOP_TEXTS_MAX + 1).map(text).collect::<Option<_>>()?,
        false => vec![text(value)?],
    };
    (texts.len() <= STOP_TEXTS_MAX && texts.iter().all(|text| !text.is_empty())).then_some(texts)
}

fn model_rule(models: &[Arc<str>]) -> String {
    match models {
        [] => "model must be unset, because the server has no model".to_owned(),
        _ => format!("model must be one of {}", models.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(json: &str) -> Metadata {
        metadata::metadata(json).unwrap()
    }

    fn violations_of(json: &str) -> Vec<String> {
        let models = ["m-1", "m-2"].map(Arc::from);
        violations(&metadata(json), &metadata(json), &models)
    }

    #[test]
    fn settings_are_read() {
        let all = r#"{"model":"m-2","system_prompt":"Be \u00e9","temperature":0.70,"top_p":1,"max_tokens":5,"stop":["a","b"],"x":1}"#;
        let expected = AnswerSettings {
            model: Some("m-2".into()),
            system_prompt: Some("Be é".into()),
            temperature: Some("0.70".into()),
            top_p: Some("1".into()),
            max_tokens: Some(5),
            stop: vec!["a".into(), "b".into()],
        };
        assert_eq!(read(&metadata(all)), expected);
        assert_eq!(violations_of(all), [""; 0]);
        assert_eq!(read(&metadata(r#"{"stop":"x"}"#)).stop, [Arc::from("x")]);
        assert_eq!(read(&metadata("{}")), AnswerSettings::default());
    }

    #[test]
    fn each_rule_names_its_setting() {
        let long = format!(r#"{{"system_prompt":"{}"}}"#, "x".repeat(SYSTEM_PROMPT_BYTES_MAX + 1));
        let table = [
            (r#"{"model":1}"#, "model must be a string"),
            (r#"{"model":"m-3"}"#, "model must be one of m-1, m-2"),
            (r#"{"model":"\ud800"}"#, "model must be a string"),
            (r#"{"system_prompt":["a"]}"#, "system_prompt must be a string of at most 32 KiB"),
            (&*long, "system_prompt must be a string of at most 32 KiB"),
            (r#"{"temperature":2.01}"#, "temperature must be a number from 0 to 2"),
            (r#"{"temperature":-0.1}"#, "temperature must be a number from 0 to 2"),
            (r#"{"temperature":"1"}"#, "temperature must be a number from 0 to 2"),
            (r#"{"temperature":true}"#, "temperature must be a number from 0 to 2"),
            (r#"{"temperature":1e999}"#, "temperature must be a number from 0 to 2"),
            (r#"{"top_p":1.5}"#, "top_p must be a number from 0 to 1"),
            (r#"{"top_p":{}}"#, "top_p must be a number from 0 to 1"),
            (r#"{"max_tokens":0}"#, "max_tokens must be a whole number from 1 to 2147483647"),
            (r#"{"max_tokens":2147483648}"#, "max_tokens must be a whole number from 1 to 2147483647"),
            (r#"{"max_tokens":1.5}"#, "max_tokens must be a whole number from 1 to 2147483647"),
            (r#"{"stop":""}"#, "stop must be a string or at most 4 strings, none of them empty"),
            (r#"{"stop":["a","b","c","d","e"]}"#, "stop must be a string or at most 4 strings, none of them empty"),
            (r#"{"stop":["a",1]}"#, "stop must be a string or at most 4 strings, none of them empty"),
            (r#"{"stop":{}}"#, "stop must be a string or at most 4 strings, none of them empty"),
        ];
        for (json, rule) in table {
            assert_eq!(violations_of(json), [rule], "{json}");
        }
        for json in [
            r#"{"stop":[]}"#,
            r#"{"temperature":2.0}"#,
            r#"{"temperature":0}"#,
            r#"{"top_p":1e0}"#,
            r#"{"max_tokens":5.0}"#,
            "{}",
        ] {
            assert_eq!(violations_of(json), [""; 0], "{json}");
        }
        assert_eq!(violations_of(r#"{"top_p":2,"stop":1}"#).len(), 2, "every bad setting is named");
    }

    #[test]
    fn invalid_stored_settings_are_ignored() {
        let stored = r#"{"model":7,"system_prompt":null,"temperature":9,"top_p":0.5,"max_tokens":"5","stop":[1]}"#;
        let expected = AnswerSettings { top_p: Some("0.5".into()), ..AnswerSettings::default() };
        assert_eq!(read(&metadata(stored)), expected);
        let removed = violations(&metadata(r#"{"temperature":null}"#), &metadata("{}"), &[]);
        assert_eq!(removed, [""; 0], "a setting can always be removed");
        let other = violations(&metadata(r#"{"top_p":1}"#), &metadata(r#"{"top_p":1,"temperature":9}"#), &[]);
        assert_eq!(other, [""; 0], "a patch leaves an earlier value unchanged");
        let none = violations(&metadata(r#"{"model":"m"}"#), &metadata(r#"{"model":"m"}"#), &[]);
        assert_eq!(none, ["model must be unset, because the server has no model"]);
    }

    #[test]
    fn members_of_the_owner() {
        let table = [
            (r#"{"a":1}"#, None),
            (r#"{"a":1,"stop":null}"#, Some("stop")),
            (r#"{"model":"m","responder":"echo"}"#, Some("responder")),
            (r#"{"top\u005fp":1}"#, Some("top_p")),
        ];
        for (json, expected) in table {
            assert_eq!(owners_member(&metadata(json)), expected, "{json}");
        }
    }
}
