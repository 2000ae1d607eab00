//! The body of `POST /v1/chat/completions`: what this server reads of it. The rest is passed on unchanged.

use super::{BodyFields, InvalidBody};
use crate::base::limits::{BEGUN_MESSAGES_MAX, TOPIC_CHARS_MAX};
use crate::domain::model::{Content, Metadata, Role, Topic};
use crate::domain::passing::PassingBody;
use crate::wire::json::{self, JsonWriter};
use crate::wire::metadata;
use std::borrow::Cow;

/// A request for a chat completion.
#[derive(Debug)]
pub struct CompletionRequest<'a> {
    /// The model; `None` leaves the choice to the server.
    pub model: Option<String>,
    /// Whether the answer is to come in chunks.
    pub is_streamed: bool,
    /// Whether a stream is to end with a chunk of token counts.
    pub includes_usage: bool,
    /// Whether the answer is to be stored.
    pub stores: bool,
    /// `metadata.conversation_id`
    pub conversation_id: Option<String>,
    stream_options: Option<&'a str>,
    metadata: Option<&'a str>,
    messages: &'a str,
    body: &'a str,
}

/// A conversation to begin.
#[derive(Debug, PartialEq, Eq)]
pub struct BegunConversation {
    /// The beginning of the message.
    pub topic: Topic,
    /// The client's metadata, and the settings of the request.
    pub metadata: Metadata,
    /// The messages of users and assistants before the last.
    pub earlier: Vec<(Role, Content)>,
    /// The last message, which is the user's.
    pub content: Content,
}

/// What a message cannot hold.
const UNHOLDABLE: &str = "cannot be part of a conversation yet: leave it out, or do without a conversation";
const FIELDS: [&str; 6] = ["model", "messages", "stream", "stream_options", "store", "metadata"];
/// Settings of a conversation that have the same name in a request.
const SETTINGS: [&str; 3] = ["temperature", "top_p", "stop"];
/// The names of all members of a conversation's metadata that a request sets.
const SET_MEMBERS: [&str; 8] =
    ["conversation_id", "responder", "model", "system_prompt", "max_tokens", "temperature", "top_p", "stop"];

impl<'a> CompletionRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// Fails if it is not JSON, or if a field that this server reads is invalid.
    pub fn read(body: &'a [u8]) -> Result<CompletionRequest<'a>, InvalidBody> {
        let mut fields = BodyFields::read(body, FIELDS)?;
        let model = fields.optional("model", super::any_text);
        let messages = fields.messages();
        let is_streamed = fields.boolean("stream");
        let stores = fields.boolean("store");
        let (stream_options, metadata) = (fields.object("stream_options"), fields.object("metadata"));
        let includes_usage = stream_options.flatten().map(|options| member(options, "include_usage") == Some("true"));
        let conversation_id = fields.conversation_id(metadata.flatten());
        let Some(((model, messages), (is_streamed, stores))) = model.zip(messages).zip(is_streamed.zip(stores)) else {
            return Err(fields.error());
        };
        let (Some(stream_options), Some(metadata), Some(conversation_id)) = (stream_options, metadata, conversation_id)
        else {
            return Err(fields.error());
        };
        Ok(CompletionRequest {
            model,
            is_streamed,
            includes_usage: includes_usage.unwrap_or(false),
            stores,
            conversation_id,
            stream_options,
            metadata,
            messages,
            body: fields.body,
        })
    }

    /// The body to pass on. `model` is the server's choice, which counts if the client made none.
    pub fn passing_body(&self, model: &str) -> PassingBody {
        let mut members = Vec::with_capacity(self.body.len() + 64);
        members.push(b'{');
        let mut json = JsonWriter(&mut members);
        let own = json::members(self.body).filter(|(name, value)| match &*json::name(name) {
            b"stream_options" => false,
            b"model" => *value != "null",
            _ => true,
        });
        for (index, (name, value)) in own.enumerate() {
            json.raw(if index > 0 { "," } else { "" }).raw(name).raw(":").raw(value);
        }
        if self.model.is_none() {
            json.raw(",\"model\":").string(model);
        }
        PassingBody {
            members,
            stream_options: self.stream_options.map(Into::into),
            counting_stream_options: counting(self.stream_options).into(),
        }
    }

    /// The text of the last message, if it is a user's and has only text.
    pub(crate) fn last_text(&self) -> Option<String> {
        let last = json::elements(self.messages).last()?;
        (role(last) == "user").then(|| text_of(last))?
    }

    /// About how many bytes of text the messages have.
    pub(crate) fn text_bytes(&self) -> usize {
        json::elements(self.messages).filter_map(text_of).map(|text| text.len()).sum()
    }

    /// The number of answers that are wanted, if it is not one.
    pub(crate) fn other_count(&self) -> Option<&'a str> {
        given(self.body, "n").filter(|count| count.parse() != Ok(1.0))
    }

    /// The text to post to a conversation that exists: that of the last message, which is the user's.
    ///
    /// # Errors
    /// Fails if a conversation cannot hold what the request has.
    pub fn posted(&self) -> Result<Content, InvalidBody> {
        self.check_holdable()?;
        self.content()
    }

    /// The conversation that the request begins. `choices` are the settings that choose its responder and its model.
    ///
    /// # Errors
    /// Fails if a conversation cannot hold what the request has.
    pub fn begun(&self, choices: &[(&str, &str)]) -> Result<BegunConversation, InvalidBody> {
        self.check_holdable()?;
        let content = self.content()?;
        let (mut system, mut earlier) = (Vec::new(), Vec::new());
        for (index, message) in json::elements(self.messages).enumerate() {
            let role = role(message);
            match &*role {
                "system" | "developer" => {
                    system.push(
                        text_of(message)
                            .ok_or_else(|| invalid("messages", "must have system messages of nothing but text"))?,
                    );
                }
                "user" | "assistant" => {
                    let role = if role == "user" { Role::User } else { Role::Assistant };
                    earlier.push((role, plain_content(index, message)?));
                }
                _ => return Err(invalid("messages", &format!("item {} {UNHOLDABLE}", index + 1))),
            }
        }
        // The last is `content`.
        earlier.pop();
        if earlier.len() > BEGUN_MESSAGES_MAX {
            let rule = format!("must be at most {BEGUN_MESSAGES_MAX} and the last to begin a conversation");
            return Err(invalid("messages", &rule));
        }
        let metadata =
            metadata::metadata(&self.settings(choices, &system)).map_err(|rule| invalid("metadata", rule))?;
        Ok(BegunConversation { topic: topic(content.as_str()), metadata, earlier, content })
    }

    /// The metadata of a conversation that the request begins, as JSON.
    fn settings(&self, choices: &[(&str, &str)], system: &[String]) -> String {
        let mut out = vec![b'{'];
        let mut json = JsonWriter(&mut out);
        let mut separator = "";
        for (name, value) in self.metadata.iter().flat_map(|metadata| json::members(metadata)) {
            if !SET_MEMBERS.iter().any(|set| *json::name(name) == *set.as_bytes()) {
                json.raw(std::mem::replace(&mut separator, ",")).raw(name).raw(":").raw(value);
            }
        }
        for (name, value) in choices {
            json.raw(std::mem::replace(&mut separator, ",")).string(name).raw(":").string(value);
        }
        if !system.is_empty() {
            json.raw(std::mem::replace(&mut separator, ",")).raw("\"system_prompt\":").string(&system.join("\n\n"));
        }
        let tokens = given(self.body, "max_completion_tokens").or_else(|| given(self.body, "max_tokens"));
        let settings = SETTINGS.iter().filter_map(|name| Some((*name, given(self.body, name)?)));
        for (name, value) in settings.chain(tokens.map(|value| ("max_tokens", value))) {
            json.raw(std::mem::replace(&mut separator, ",")).string(name).raw(":").raw(value);
        }
        json.raw("}");
        String::from_utf8(out).expect("made of text alone")
    }

    fn content(&self) -> Result<Content, InvalidBody> {
        let text = self.last_text();
        let text = text.ok_or_else(|| invalid("messages", "must end with a user message of nothing but text"))?;
        Content::new(&text).map_err(|rule| invalid("messages", &format!("must end with a text that {rule}")))
    }

    /// Checks that the request asks for nothing that a conversation cannot hold.
    fn check_holdable(&self) -> Result<(), InvalidBody> {
        let is_used = |value: &str| !["null", "\"none\""].contains(&value) && !is_empty_list(value);
        for name in ["tools", "functions", "function_call", "audio"] {
            if member(self.body, name).is_some_and(is_used) {
                return Err(invalid(name, UNHOLDABLE));
            }
        }
        if given(self.body, "response_format").is_some_and(|format| member(format, "type") != Some("\"text\"")) {
            return Err(invalid("response_format", UNHOLDABLE));
        }
        if self.other_count().is_some() {
            return Err(invalid("n", "must be 1: a message has one answer"));
        }
        Ok(())
    }
}

impl<'a, const N: usize> BodyFields<'a, N> {
    /// A non-empty array of objects with a role.
    fn messages(&mut self) -> Option<&'a str> {
        const NAME: &str = "messages";
        match self.value(NAME)? {
            None => self.reject(NAME, "is required"),
            Some(value) if !value.starts_with('[') => self.reject(NAME, "must be an array of objects"),
            Some(value) => match json::elements(value).position(|message| role_json(message).is_none()) {
                Some(index) => self.reject(NAME, format!("item {} must be an object with a role", index + 1)),
                None if json::elements(value).next().is_none() => self.reject(NAME, "must have a message"),
                None => Some(value),
            },
        }
    }

    /// A boolean; `null` and absence mean `false`.
    fn boolean(&mut self, name: &'static str) -> Option<bool> {
        match self.value(name)? {
            None | Some("null" | "false") => Some(false),
            Some("true") => Some(true),
            Some(_) => self.reject(name, "must be true or false"),
        }
    }

    /// The JSON text of an object; `null` means absent.
    fn object(&mut self, name: &'static str) -> Option<Option<&'a str>> {
        match self.value(name)? {
            None | Some("null") => Some(None),
            Some(value) if value.starts_with('{') => Some(Some(value)),
            Some(_) => self.reject(name, "must be an object"),
        }
    }

    fn conversation_id(&mut self, metadata: Option<&'a str>) -> Option<Option<String>> {
        let Some(value) = metadata.and_then(|metadata| given(metadata, "conversation_id")) else { return Some(None) };
        match self.decode(value)? {
            Some(text) => Some(Some(text.into_owned())),
            None => self.reject("metadata", "conversation_id must be a string"),
        }
    }
}

/// The text of a message that a new conversation begins with.
fn plain_content(index: usize, message: &str) -> Result<Content, InvalidBody> {
    let rule = |rule: &str| invalid("messages", &format!("item {} {rule}", index + 1));
    if given(message, "tool_calls").is_some_and(|calls| !is_empty_list(calls)) {
        return Err(rule(UNHOLDABLE));
    }
    let text = text_of(message).ok_or_else(|| rule("must have nothing but text"))?;
    Content::new(&text).map_err(rule)
}

fn invalid(name: &'static str, rule: &str) -> InvalidBody {
    InvalidBody::Fields(vec![(name, rule.to_owned())])
}

/// The JSON text of a member, if the value is an object.
fn member<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.trim_ascii_start().starts_with('{').then(|| json::member(value, name))?
}

/// The same, without `null`.
fn given<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    member(object, name).filter(|value| *value != "null")
}

/// The stream options with `include_usage`.
fn counting(options: Option<&str>) -> String {
    let mut out = vec![b'{'];
    let mut json = JsonWriter(&mut out);
    for (name, value) in options.iter().flat_map(|options| json::members(options)) {
        if *json::name(name) != *b"include_usage" {
            json.raw(name).raw(":").raw(value).raw(",");
        }
    }
    json.raw("\"include_usage\":true}");
    String::from_utf8(out).expect("made of text alone")
}

fn is_empty_list(value: &str) -> bool {
    value.starts_with('[') && json::elements(value).next().is_none()
}

/// The JSON text of a message's role, if that is a string.
fn role_json(message: &str) -> Option<&str> {
    member(message, "role").filter(|role| role.starts_with('"'))
}

fn role(message: &str) -> Cow<'_, str> {
    role_json(message).and_then(|role| json::text(role).ok()).unwrap_or_default()
}

/// The text of a message: a string, or parts that are texts, which are joined by an empty line. `None` if it has another part.
fn text_of(message: &str) -> Option<String> {
    let content = member(message, "content")?;
    if content.starts_with('"') {
        return json::text(content).ok().map(Cow::into_owned);
    }
    if !content.starts_with('[') {
        return None;
    }
    json::elements(content).map(text_of_part).collect::<Option<Vec<_>>>().map(|texts| texts.join("\n\n"))
}

fn text_of_part(part: &str) -> Option<Cow<'_, str>> {
    let text = member(part, "text").filter(|text| text.starts_with('"'))?;
    matches!(member(part, "type"), None | Some("\"text\"" | "\"input_text\"")).then(|| json::text(text).ok())?
}

/// The beginning of the first line of a text that is not blank.
fn topic(text: &str) -> Topic {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("Conversation");
    let beginning: String = line.chars().take(TOPIC_CHARS_MAX).collect();
    Topic::new(&beginning).expect("it has 1 to 200 characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<CompletionRequest<'_>, InvalidBody> {
        CompletionRequest::read(body.as_bytes())
    }

    #[test]
    fn what_is_passed_on_is_what_was_sent() {
        let body = r#" {"messages":[{"role":"user","content":"a"}], "temperature" : 1.50, "stream":true,
            "stream_options":{"x":1,"include_usage":false}, "tools":[{"a":[1]}], "model":"m"}"#;
        let request = read(body).unwrap();
        assert!(request.is_streamed && !request.includes_usage && !request.stores);
        let passed = request.passing_body("m");
        assert_eq!(
            String::from_utf8(passed.members).unwrap(),
            r#"{"messages":[{"role":"user","content":"a"}],"temperature":1.50,"stream":true,"tools":[{"a":[1]}],"model":"m""#
        );
        assert_eq!(passed.stream_options.as_deref(), Some(r#"{"x":1,"include_usage":false}"#));
        assert_eq!(&*passed.counting_stream_options, r#"{"x":1,"include_usage":true}"#);

        let bare = read(r#"{"messages":[{"role":"user"}],"model":null}"#).unwrap();
        let passed = bare.passing_body("d\"");
        assert_eq!(String::from_utf8(passed.members).unwrap(), r#"{"messages":[{"role":"user"}],"model":"d\"""#);
        assert_eq!(&*passed.counting_stream_options, r#"{"include_usage":true}"#);
    }

    #[test]
    fn every_invalid_field_is_named() {
        let table = [
            ("[]", "body"),
            ("{}", "messages"),
            (r#"{"messages":[]}"#, "messages"),
            (r#"{"messages":"a"}"#, "messages"),
            (r#"{"messages":[{}]}"#, "messages"),
            (r#"{"messages":[{"role":1}]}"#, "messages"),
            (r#"{"messages":[{"role":"user"}],"stream":"true"}"#, "stream"),
            (r#"{"messages":[{"role":"user"}],"store":1}"#, "store"),
            (r#"{"messages":[{"role":"user"}],"model":1}"#, "model"),
            (r#"{"messages":[{"role":"user"}],"metadata":[]}"#, "metadata"),
            (r#"{"messages":[{"role":"user"}],"metadata":{"conversation_id":1}}"#, "metadata"),
            (r#"{"messages":[{"role":"user"}],"stream_options":true}"#, "stream_options"),
            (r#"{"stream":1,"messages":1}"#, "messages,stream"),
        ];
        for (body, expected) in table {
            let Err(InvalidBody::Fields(fields)) = read(body) else { panic!("{body}") };
            let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
            assert_eq!(names.join(","), expected, "{body}");
        }
    }

    #[test]
    fn the_last_message_is_posted() {
        let posted = |messages: &str| {
            let body = format!(r#"{{"messages":[{messages}]}}"#);
            read(&body).unwrap().posted().map(|content| content.as_str().to_owned()).ok()
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(posted(r#"{"role":"assistant","content":"a"},{"role":"user","content":"b"}"#), text("b"));
        let parts = r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#;
        assert_eq!(posted(parts), text("a\n\nb"));
        let none = [
            r#"{"role":"assistant","content":"a"}"#,
            r#"{"role":"user","content":null}"#,
            r#"{"role":"user","content":""}"#,
            r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}"#,
        ];
        for messages in none {
            assert_eq!(posted(messages), None, "{messages}");
        }
    }

    #[test]
    fn a_conversation_begins_with_the_settings_of_its_request() {
        let body = r#"{"messages":[{"role":"system","content":"be"},{"role":"developer","content":"kind"},
            {"role":"user","content":"\n Hello \nyou"}],"temperature":0.5,"max_tokens":null,"max_completion_tokens":9,
            "stop":["a"],"metadata":{"team":"x","model":"y"},"store":true}"#;
        let new = read(body).unwrap().begun(&[("model", "m")]).unwrap();
        assert_eq!((new.topic.as_str(), new.content.as_str()), ("Hello", "\n Hello \nyou"));
        assert_eq!(
            new.metadata.as_str(),
            r#"{"team":"x","model":"m","system_prompt":"be\n\nkind","temperature":0.5,"stop":["a"],"max_tokens":9}"#
        );
    }

    #[test]
    fn a_conversation_begins_with_the_exchange_before_it() {
        let begun = |messages: &str| {
            let body = format!(r#"{{"messages":[{messages}]}}"#);
            read(&body).unwrap().begun(&[])
        };
        let new = begun(
            r#"{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"system","content":"s"},{"role":"user","content":"c"}"#,
        )
        .unwrap();
        let earlier: Vec<(Role, &str)> = new.earlier.iter().map(|(role, text)| (*role, text.as_str())).collect();
        assert_eq!((earlier, new.content.as_str()), (vec![(Role::User, "a"), (Role::Assistant, "b")], "c"));
        const LAST: &str = r#"{"role":"user","content":"c"}"#;
        let table = [
            r#"{"role":"tool","content":"x"},"#.to_owned(),
            r#"{"role":"assistant","content":"x","tool_calls":[{"id":"c"}]},"#.to_owned(),
            r#"{"role":"assistant","content":null},"#.to_owned(),
            r#"{"role":"user","content":[{"type":"image_url"}]},"#.to_owned(),
            r#"{"role":"user","content":"x"},"#.repeat(BEGUN_MESSAGES_MAX + 1),
        ];
        for before in table {
            assert!(begun(&format!("{before}{LAST}")).is_err(), "{before}");
        }
        assert!(begun(&format!("{}{LAST}", r#"{"role":"user","content":"x"},"#.repeat(BEGUN_MESSAGES_MAX))).is_ok());
    }

    #[test]
    fn what_a_conversation_cannot_hold_is_named() {
        let table = [
            (r#""tools":[{"type":"function"}]"#, Some("tools")),
            (r#""tools":[ ]"#, None),
            (r#""n":1.0"#, None),
            (r#""tools":null,"function_call":"none""#, None),
            (r#""functions":[{}]"#, Some("functions")),
            (r#""n":2"#, Some("n")),
            (r#""n":1"#, None),
            (r#""response_format":{"type":"json_object"}"#, Some("response_format")),
            (r#""response_format":{"type":"text"}"#, None),
        ];
        for (field, expected) in table {
            let body = format!(r#"{{"messages":[{{"role":"user","content":"a"}}],{field}}}"#);
            let found = match read(&body).unwrap().posted() {
                Err(InvalidBody::Fields(fields)) => Some(fields[0].0),
                _ => None,
            };
            assert_eq!(found, expected, "{field}");
        }
    }
}
