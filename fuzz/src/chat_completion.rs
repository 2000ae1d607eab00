//! The OpenAI-compatible API: its request bodies, answers that are passed on, and the pipe on which they pass.
//!
//! Input: a byte for the part. For requests, the body follows; for answers, a byte each for the cuts, the form and the end of
//! the body, then the body, in which `KEY` stands for the reader's key; for the pipe, operations.

use super::answer_reader::{KEY, check_secrecy, with_key};
use super::choices::{Choices, cuts, pieces};
use super::json_reference::{self as json, Fault, Json};
use super::sse_reference;
use cortex_core::internals::limits::{
    BEGUN_MESSAGES_MAX, METADATA_BYTES_MAX, METADATA_LEVELS_MAX, PIPE_BYTES_MAX, TOPIC_CHARS_MAX,
};
use cortex_core::internals::wire::metadata;
use cortex_core::internals::wire::request::{CompletionRequest, InvalidBody};
use cortex_core::internals::{
    AnswerPieces, AnswerPipe, AnswerReader, Completion, CompletionError, Content, Failure, PassingForm, ReadProgress,
    Secret,
};

/// The server's choice of a model.
const MODEL: &str = "m \"é\"";
/// The settings that choose a responder and a model.
const CHOICES: [(&str, &str); 2] = [("responder", "openai"), ("model", MODEL)];
const FORMS: [PassingForm; 3] =
    [PassingForm::Stream { hides_usage: true }, PassingForm::Stream { hides_usage: false }, PassingForm::Whole];
/// Line breaks of Unicode, which are escaped.
const LINE_ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];
/// The maximum number of operations on a pipe.
const STEPS_MAX: usize = 1000;

/// The members of an object: names, values, and the values as written.
type Members<'a> = [(Option<String>, Json<'a>, &'a str)];

pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    match choices.below(3) {
        0 => check_request(choices.0),
        1 => check_answer(choices),
        _ => check_pipe(choices),
    }
}

/// Why a field is bad.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bad {
    Rule,
    /// It has a lone surrogate where a text is read.
    NoText,
}

/// A body that is accepted.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    model: Option<String>,
    is_streamed: bool,
    stores: bool,
    includes_usage: bool,
    conversation_id: Option<String>,
}

fn check_request(body: &[u8]) {
    let got = CompletionRequest::read(body);
    let members = match json::parse_bytes(body) {
        Err(Fault::TooDeep) => return,
        Err(Fault::Syntax) => return assert!(matches!(got, Err(InvalidBody::Json(_))), "{got:?}"),
        Ok(Json::Object(members)) => members,
        Ok(_) => return assert_eq!(names_of(got.map(|_| ())), ["body"]),
    };
    match wanted(&members) {
        Err(bad) if bad.iter().any(|(_, bad)| *bad == Bad::NoText) => {
            assert!(matches!(got, Err(InvalidBody::Json(_))), "{got:?}");
        }
        Err(bad) => {
            assert_eq!(names_of(got.map(|_| ())), bad.into_iter().map(|(name, _)| name).collect::<Vec<_>>());
        }
        Ok(wanted) => {
            let got = got.expect("the body is accepted");
            let read = Wanted {
                model: got.model.clone(),
                is_streamed: got.is_streamed,
                stores: got.stores,
                includes_usage: got.includes_usage,
                conversation_id: got.conversation_id.clone(),
            };
            assert_eq!(read, wanted);
            check_passing(&got, &members);
            check_stored(&got, &members);
        }
    }
}

/// The names of the rejected fields.
fn names_of(got: Result<(), InvalidBody>) -> Vec<&'static str> {
    let Err(InvalidBody::Fields(named)) = got else { panic!("fields should be rejected, not {got:?}") };
    assert!(named.iter().all(|(_, rule)| !rule.is_empty()));
    named.into_iter().map(|(name, _)| name).collect()
}

/// What the fields of a body say, or all bad fields, in the order of their checks.
fn wanted(members: &Members<'_>) -> Result<Wanted, Vec<(&'static str, Bad)>> {
    let mut bad = Vec::new();
    let mut field = |name: &'static str, check: &dyn Fn(&Json<'_>) -> Result<(), Bad>| {
        let found: Vec<_> = members.iter().filter(|(known, ..)| known.as_deref() == Some(name)).collect();
        match &found[..] {
            [] if name == "messages" => bad.push((name, Bad::Rule)),
            [] => {}
            [(_, value, _)] => bad.extend(check(value).err().map(|why| (name, why))),
            _ => bad.push((name, Bad::Rule)),
        }
    };
    field("model", &text_rule);
    field("messages", &|value| match value {
        Json::Array(items) if !items.is_empty() && items.iter().all(has_role) => Ok(()),
        _ => Err(Bad::Rule),
    });
    for name in ["stream", "store"] {
        field(name, &|value| if matches!(value, Json::Null | Json::Bool) { Ok(()) } else { Err(Bad::Rule) });
    }
    for name in ["stream_options", "metadata"] {
        field(name, &|value| if matches!(value, Json::Null | Json::Object(_)) { Ok(()) } else { Err(Bad::Rule) });
    }
    let object = |name: &str| match member(members, name) {
        Some((Json::Object(inner), _)) if count(members, name) == 1 => Some(inner),
        _ => None,
    };
    let conversation_id = object("metadata").and_then(|inner| member(inner, "conversation_id"));
    if let Some((id, _)) = conversation_id {
        bad.extend(text_rule(id).err().map(|why| ("metadata", why)));
    }
    if !bad.is_empty() {
        return Err(bad);
    }
    let text = |found: Option<(&Json<'_>, &str)>| match found {
        Some((Json::Text(text), _)) => text.clone(),
        _ => None,
    };
    let is_true = |found: Option<(&Json<'_>, &str)>| found.is_some_and(|(_, raw)| raw == "true");
    Ok(Wanted {
        model: text(member(members, "model")),
        is_streamed: is_true(member(members, "stream")),
        stores: is_true(member(members, "store")),
        includes_usage: object("stream_options").is_some_and(|inner| is_true(member(inner, "include_usage"))),
        conversation_id: text(conversation_id),
    })
}

/// A text or `null`.
fn text_rule(value: &Json<'_>) -> Result<(), Bad> {
    match value {
        Json::Null | Json::Text(Some(_)) => Ok(()),
        Json::Text(None) => Err(Bad::NoText),
        _ => Err(Bad::Rule),
    }
}

fn has_role(message: &Json<'_>) -> bool {
    matches!(message, Json::Object(members) if matches!(member(members, "role"), Some((Json::Text(_), _))))
}

fn count(members: &Members<'_>, name: &str) -> usize {
    members.iter().filter(|(known, ..)| known.as_deref() == Some(name)).count()
}

/// The last member of this name, and how it is written.
fn member<'m, 'a>(members: &'m Members<'a>, name: &str) -> Option<(&'m Json<'a>, &'a str)> {
    let found = members.iter().rev().find(|(known, ..)| known.as_deref() == Some(name));
    found.map(|(_, value, raw)| (value, *raw))
}

/// The same without `null`.
fn given<'m, 'a>(members: &'m Members<'a>, name: &str) -> Option<(&'m Json<'a>, &'a str)> {
    member(members, name).filter(|(value, _)| **value != Json::Null)
}

fn pairs(members: &Members<'_>) -> Vec<(Option<String>, String)> {
    members.iter().map(|(name, _, raw)| (name.clone(), (*raw).to_owned())).collect()
}

fn pair(name: &str, raw: &str) -> (Option<String>, String) {
    (Some(name.to_owned()), raw.to_owned())
}

fn is_named(found: &(Option<String>, String), name: &str) -> bool {
    found.0.as_deref() == Some(name)
}

/// The body for the model has the client's members, a model, and the stream options.
fn check_passing(got: &CompletionRequest<'_>, members: &Members<'_>) {
    let passing = got.passing_body(MODEL);
    let mut same = pairs(members);
    same.retain(|own| !(is_named(own, "stream_options") || is_named(own, "model") && own.1 == "null"));
    if got.model.is_none() {
        same.push(pair("model", &serde_json::to_string(MODEL).expect("a text is JSON")));
    }
    let options = given(members, "stream_options");
    for (form, counts_tokens) in FORMS.into_iter().flat_map(|form| [(form, false), (form, true)]) {
        let bytes = passing.bytes(form, counts_tokens);
        let text = String::from_utf8(bytes).expect("a body is text");
        let Ok(Json::Object(mut passed)) = json::parse(&text) else { panic!("{text} is not an object") };
        let passed_options = passed.pop_if(|(name, ..)| name.as_deref() == Some("stream_options"));
        assert_eq!(pairs(&passed), same);
        let Some((_, passed_options, raw)) = passed_options else {
            assert!(options.is_none() && (form == PassingForm::Whole || !counts_tokens), "no options in {text}");
            continue;
        };
        if form == PassingForm::Whole || !counts_tokens {
            assert_eq!(Some(raw), options.map(|(_, raw)| raw));
            continue;
        }
        let mut expected = match options {
            Some((Json::Object(inner), _)) => pairs(inner),
            _ => Vec::new(),
        };
        expected.retain(|own| !is_named(own, "include_usage"));
        expected.push(pair("include_usage", "true"));
        let Json::Object(passed_options) = passed_options else { panic!("{raw} is not an object") };
        assert_eq!(pairs(&passed_options), expected);
    }
    assert!(passing.held_bytes() >= passing.members.len());
}

/// The text to post, and the conversation to begin.
fn check_stored(got: &CompletionRequest<'_>, members: &Members<'_>) {
    let Some((Json::Array(messages), _)) = member(members, "messages") else { unreachable!("there are messages") };
    let text = holdable(members).and_then(|()| {
        let last = messages.last().filter(|last| role(last) == "user").and_then(text_of);
        last.filter(|text| Content::new(text).is_ok()).ok_or("messages")
    });
    assert_eq!(got.posted().map(|content| content.as_str().to_owned()).map_err(one_name), text.clone());

    let begun = got.begun(&CHOICES).map_err(one_name);
    let expected = text.clone().and_then(|_| Ok((earlier(messages)?, settings(members, messages)?)));
    let (begun, (earlier, settings)) = match (begun, expected) {
        (Ok(begun), Ok(expected)) => (begun, expected),
        (begun, expected) => return assert_eq!(begun.map(|_| ()), expected.map(|_| ())),
    };
    let begun_earlier: Vec<_> =
        begun.earlier.iter().map(|(role, text)| (role.as_str().to_owned(), text.as_str().to_owned())).collect();
    assert_eq!(begun_earlier, earlier);
    assert_eq!(Ok(begun.content.as_str()), text.as_deref().map_err(|name| *name));
    let topic = begun.topic.as_str();
    assert!((1..=TOPIC_CHARS_MAX).contains(&topic.chars().count()) && begun.content.as_str().contains(topic));
    let Ok(Json::Object(stored)) = json::parse(begun.metadata.as_str()) else { panic!("metadata is an object") };
    assert_eq!(pairs(&stored), settings);
    assert_eq!(metadata::metadata(begun.metadata.as_str()), Ok(begun.metadata.clone()), "metadata is valid");
}

fn one_name(invalid: InvalidBody) -> &'static str {
    let names = names_of(Err(invalid));
    assert_eq!(names.len(), 1);
    names[0]
}

/// Whether a conversation can hold what a request asks for; if not, the field that it cannot.
fn holdable(members: &Members<'_>) -> Result<(), &'static str> {
    for name in ["tools", "functions", "function_call", "audio"] {
        match member(members, name) {
            None | Some((Json::Null, _) | (_, "\"none\"")) => {}
            Some((Json::Array(items), _)) if items.is_empty() => {}
            Some(_) => return Err(name),
        }
    }
    match given(members, "response_format") {
        None => {}
        Some((Json::Object(format), _)) if matches!(member(format, "type"), Some((_, "\"text\""))) => {}
        Some(_) => return Err("response_format"),
    }
    match given(members, "n") {
        None | Some((_, "1")) => Ok(()),
        Some(_) => Err("n"),
    }
}

/// The roles and texts of the messages of users and assistants before the last, or the field that is invalid.
fn earlier(messages: &[Json<'_>]) -> Result<Vec<(String, String)>, &'static str> {
    let mut all = Vec::new();
    for message in messages {
        let (role, Json::Object(members)) = (role(message), message) else { return Err("messages") };
        let calls_tools = match given(members, "tool_calls") {
            Some((Json::Array(calls), _)) => !calls.is_empty(),
            found => found.is_some(),
        };
        match &role[..] {
            "system" | "developer" => {}
            "user" | "assistant" if !calls_tools => {
                let text = text_of(message).filter(|text| Content::new(text).is_ok());
                all.push((role, text.ok_or("messages")?));
            }
            _ => return Err("messages"),
        }
    }
    all.pop();
    if all.len() > BEGUN_MESSAGES_MAX { Err("messages") } else { Ok(all) }
}

/// The metadata of a new conversation, or the field that is invalid.
fn settings(members: &Members<'_>, messages: &[Json<'_>]) -> Result<Vec<(Option<String>, String)>, &'static str> {
    let system = messages.iter().filter(|message| ["system", "developer"].contains(&&*role(message)));
    let system: Vec<String> = system.map(text_of).collect::<Option<_>>().ok_or("messages")?;
    const OWN: [&str; 8] =
        ["conversation_id", "responder", "model", "system_prompt", "max_tokens", "temperature", "top_p", "stop"];
    let mut settings = match given(members, "metadata") {
        Some((Json::Object(inner), _)) => pairs(inner),
        _ => Vec::new(),
    };
    settings.retain(|own| !OWN.iter().any(|name| is_named(own, name)));
    let quoted = |text: &str| serde_json::to_string(text).expect("a text is JSON");
    settings.extend(CHOICES.iter().map(|(name, value)| pair(name, &quoted(value))));
    if !system.is_empty() {
        settings.push(pair("system_prompt", &quoted(&system.join("\n\n"))));
    }
    for name in ["temperature", "top_p", "stop"] {
        settings.extend(given(members, name).map(|(_, raw)| pair(name, raw)));
    }
    let tokens = given(members, "max_completion_tokens").or_else(|| given(members, "max_tokens"));
    settings.extend(tokens.map(|(_, raw)| pair("max_tokens", raw)));
    for (_, raw) in &mut settings {
        *raw = json::compact(raw);
    }
    let levels = |(_, raw): &(Option<String>, String)| json::parse(raw).map_or(0, |value| value.levels());
    let is_deep = 1 + settings.iter().map(levels).max().unwrap_or(0) > METADATA_LEVELS_MAX;
    // The names may be written longer than they are, so the limit is only known from below.
    let bytes: usize = settings.iter().map(|(_, raw)| raw.len()).sum();
    if is_deep || bytes > METADATA_BYTES_MAX { Err("metadata") } else { Ok(settings) }
}

fn role(message: &Json<'_>) -> String {
    match message {
        Json::Object(members) => match member(members, "role") {
            Some((Json::Text(Some(role)), _)) => role.clone(),
            _ => String::new(),
        },
        _ => String::new(),
    }
}

/// The text of a message that has only text.
fn text_of(message: &Json<'_>) -> Option<String> {
    let Json::Object(members) = message else { return None };
    match member(members, "content")?.0 {
        Json::Text(text) => text.clone(),
        Json::Array(parts) => {
            let texts: Option<Vec<String>> = parts.iter().map(text_of_part).collect();
            Some(texts?.join("\n\n"))
        }
        _ => None,
    }
}

fn text_of_part(part: &Json<'_>) -> Option<String> {
    let Json::Object(members) = part else { return None };
    let is_text = matches!(member(members, "type"), None | Some((_, "\"text\"" | "\"input_text\"")));
    match member(members, "text")?.0 {
        Json::Text(text) if is_text => text.clone(),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Passed {
    passed: String,
    end: Result<Completion, Failure>,
}

fn check_answer(mut choices: Choices<'_>) {
    let seed = choices.byte();
    let form = FORMS[choices.below(3)];
    let is_whole = choices.below(2) == 0;
    let body = with_key(choices.0);
    let whole = pass(std::iter::once(&body[..]), form, is_whole);
    for ends in cuts(body.len(), seed) {
        assert_eq!(pass(pieces(&body, &ends), form, is_whole), whole, "in pieces that end at {ends:?}");
    }
    check_secrecy(&whole.end);
    // Marks of halves of characters are internal.
    let has_mark = body.windows(4).any(|bytes| bytes.eq_ignore_ascii_case(b"fdd0"))
        || body.windows(3).any(|bytes| bytes == "\u{fdd0}".as_bytes());
    assert!(has_mark || !whole.passed.contains('\u{fdd0}'), "{}", whole.passed);
    match form {
        PassingForm::Stream { hides_usage } => check_blocks(&whole.passed, hides_usage),
        PassingForm::Whole => check_whole(&whole, &body),
    }
    if let (PassingForm::Stream { hides_usage }, Some((usual, has_ended))) = (form, usual_stream(&body)) {
        let expected: String =
            usual.iter().filter(|chunk| !(hides_usage && chunk.is_usage)).map(UsualChunk::block).collect();
        assert_eq!(whole.passed, expected);
        assert_eq!(whole.end.is_ok(), has_ended, "{:?}", whole.end);
    }
}

fn pass<'a>(chunks: impl Iterator<Item = &'a [u8]>, form: PassingForm, is_whole: bool) -> Passed {
    let mut pieces = AnswerPieces::default();
    let mut reader = AnswerReader::new([Secret::new(KEY)].into()).passing(form);
    let (mut passed, mut is_done, mut failure) = (String::new(), false, None);
    for chunk in chunks {
        match reader.read(chunk, &mut pieces) {
            Ok(progress) => is_done = progress == ReadProgress::Done,
            Err(error) => failure = Some(error),
        }
        passed += &std::mem::take(&mut pieces.passed);
        if is_done || failure.is_some() {
            break;
        }
    }
    let end = match failure {
        Some(failure) => Err(failure),
        None => reader.end(is_whole || is_done, &mut pieces),
    };
    passed += &pieces.passed;
    assert!(pieces.text.is_empty() && pieces.reasoning.is_empty(), "an answer is passed on in one way");
    Passed { passed, end }
}

/// A stream consists of events with one line of JSON each.
fn check_blocks(passed: &str, hides_usage: bool) {
    let mut rest = passed;
    while !rest.is_empty() {
        let (block, after) = rest.split_once("\n\n").expect("an event has its end");
        rest = after;
        let data = block.strip_prefix("data: ").unwrap_or_else(|| panic!("{block:?} is not an event"));
        assert!(!data.contains(LINE_ENDS) && !data.contains(['\n', '\r']), "{data:?} is not one line");
        let Ok(Json::Object(members)) = json::parse(data) else { panic!("{data} is not an object") };
        let has_choices = !matches!(member(&members, "choices"), Some((Json::Array(choices), _)) if choices.is_empty());
        let has_usage = matches!(member(&members, "usage"), Some((Json::Object(_), _)));
        assert!(!hides_usage || !has_usage || has_choices, "token counts were not asked for: {data}");
    }
}

/// A whole answer is one object: that of the body, if the body is nothing else.
fn check_whole(whole: &Passed, body: &[u8]) {
    if whole.passed.is_empty() {
        return assert!(whole.end.is_err(), "a whole answer is not empty");
    }
    let Ok(Json::Object(_)) = json::parse(&whole.passed) else { panic!("{} is not an object", whole.passed) };
    let Ok(text) = std::str::from_utf8(body) else { return };
    if let Ok(Json::Object(members)) = json::parse(text)
        && matches!(given(&members, "choices"), Some((Json::Array(_), _)))
    {
        assert_eq!(whole.passed, text.trim());
    }
}

/// An event of a usual stream.
struct UsualChunk {
    data: String,
    /// It has token counts and nothing else.
    is_usage: bool,
}

impl UsualChunk {
    fn block(&self) -> String {
        let line = self.data.replace(['\n', '\r'], " ");
        let escaped =
            LINE_ENDS.iter().fold(line, |line, end| line.replace(*end, &format!("\\u{:04x}", u32::from(*end))));
        format!("data: {escaped}\n\n")
    }
}

/// The chunks of a body whose events all have the members of OpenAI's chunks and no error, and whether it has its end; `None` for
/// any other body.
fn usual_stream(body: &[u8]) -> Option<(Vec<UsualChunk>, bool)> {
    let body = std::str::from_utf8(body).ok().filter(|body| body.starts_with("data:") && body.ends_with("\n\n"))?;
    if body.to_ascii_lowercase().contains("error") || body.contains('\u{fdd0}') {
        return None;
    }
    let decoded = sse_reference::read(body.as_bytes(), 1 << 20);
    let (mut chunks, mut has_ended) = (Vec::new(), false);
    for event in decoded.events.iter().filter(|event| !event.data.trim().is_empty()) {
        let data = event.data.trim();
        if data == "[DONE]" {
            return Some((chunks, true));
        }
        let value = json::parse(data).ok().filter(|value| value.levels() < 100 && has_finite_numbers(value))?;
        let members = only(&value, &["id", "object", "created", "model", "choices", "usage"])?;
        let Json::Array(choices) = member(members, "choices")?.0 else { return None };
        let mut is_first = true;
        for choice in choices {
            let choice = only(choice, &["index", "delta", "finish_reason", "logprobs"])?;
            let Json::Object(_) = member(choice, "delta")?.0 else { return None };
            let counts = matches!(member(choice, "index"), None | Some((Json::Null, _) | (Json::Number("0"), _)));
            let reason = match member(choice, "finish_reason") {
                None | Some((Json::Null, _)) => None,
                Some((Json::Text(Some(reason)), _)) if ["stop", "length", "tool_calls"].contains(&&reason[..]) => {
                    Some(reason)
                }
                Some(_) => return None,
            };
            if !counts && !matches!(member(choice, "index"), Some((Json::Number("1" | "2"), _))) {
                return None;
            }
            if counts && std::mem::replace(&mut is_first, false) {
                has_ended |= reason.is_some();
            }
        }
        let has_usage = matches!(member(members, "usage"), Some((Json::Object(_), _)));
        chunks.push(UsualChunk { data: data.to_owned(), is_usage: has_usage && choices.is_empty() });
    }
    (!decoded.too_large).then_some((chunks, has_ended))
}

/// The members of an object that has only these, each at most once.
fn only<'m, 'a>(value: &'m Json<'a>, names: &[&str]) -> Option<&'m Members<'a>> {
    let Json::Object(members) = value else { return None };
    let is_known =
        |name: &Option<String>| name.as_deref().is_some_and(|name| names.contains(&name) && count(members, name) == 1);
    members.iter().all(|(name, ..)| is_known(name)).then_some(members)
}

/// Whether no number is beyond doubles.
fn has_finite_numbers(value: &Json<'_>) -> bool {
    match value {
        Json::Number(number) => number.parse::<f64>().is_ok_and(f64::is_finite),
        Json::Array(items) => items.iter().all(has_finite_numbers),
        Json::Object(members) => members.iter().all(|(_, value, _)| has_finite_numbers(value)),
        _ => true,
    }
}

/// What a pipe must do, as lists and flags.
#[derive(Default)]
struct PipeModel {
    waiting: Vec<u8>,
    is_admitted: bool,
    end: Option<Result<(), CompletionError>>,
    is_announced: bool,
    is_paused: bool,
    is_draining: bool,
    is_cut: bool,
}

impl PipeModel {
    /// Whether the reader needs a message about something new.
    fn announce(&mut self) -> bool {
        !std::mem::replace(&mut self.is_announced, true)
    }
}

fn check_pipe(mut choices: Choices<'_>) {
    let pipe = AnswerPipe::default();
    let (writer, mut model) = (pipe.clone(), PipeModel::default());
    let (mut written, mut next) = (0_usize, 0_u8);
    let mut read = Vec::new();
    for _ in 0..STEPS_MAX {
        if choices.is_over() {
            break;
        }
        match choices.below(6) {
            // The writer is not called while it is paused, nor after the end.
            0 if !model.is_paused && model.end.is_none() => {
                let bytes: Vec<u8> =
                    (0..choices.pair() % (2 * PIPE_BYTES_MAX)).map(|at| next.wrapping_add(at as u8)).collect();
                next = next.wrapping_add(bytes.len() as u8 | 1);
                model.waiting.extend_from_slice(&bytes);
                written += bytes.len();
                let announces = !bytes.is_empty() && model.announce();
                assert_eq!(writer.write(&bytes), announces);
                model.is_paused = model.waiting.len() >= PIPE_BYTES_MAX;
                assert_eq!(writer.pause_if_full(), model.is_paused);
                assert!(writer.waiting_bytes() < 3 * PIPE_BYTES_MAX, "a pipe is bounded");
            }
            1 => read_pipe(&pipe, &mut model, choices.pair(), &mut read),
            2 => read_pipe(&pipe, &mut model, usize::MAX, &mut read),
            3 => {
                model.is_admitted = true;
                let announces = model.announce();
                assert_eq!(writer.admit(), announces);
            }
            4 if choices.below(8) == 7 => {
                let end = [Ok(()), Err(CompletionError::shutting_down())][choices.below(2)].clone();
                let announces = model.end.is_none() && model.announce();
                model.is_draining |= model.end.is_none() && !model.waiting.is_empty();
                model.end.get_or_insert(end.clone());
                assert_eq!(writer.end(end), announces);
            }
            5 if choices.below(8) == 7 => {
                written -= model.waiting.len();
                model.waiting.clear();
                model.is_cut = true;
                let announces = model.announce();
                assert_eq!(writer.cut(), announces);
            }
            _ => {}
        }
        assert_eq!((pipe.waiting_bytes(), pipe.has_ended()), (model.waiting.len(), model.end.is_some()));
        assert_eq!(read.len() + model.waiting.len(), written, "no byte is lost");
    }
    writer.end(Ok(()));
    model.is_draining |= model.end.is_none() && !model.waiting.is_empty();
    model.end.get_or_insert(Ok(()));
    read_pipe(&pipe, &mut model, usize::MAX, &mut read);
    assert_eq!(read.len(), written, "no byte is lost");
}

/// Reads from a pipe as the model says.
fn read_pipe(pipe: &AnswerPipe, model: &mut PipeModel, bytes_max: usize, read: &mut Vec<u8>) {
    let part = pipe.read(bytes_max);
    let expected: Vec<u8> = model.waiting.drain(..bytes_max.min(model.waiting.len())).collect();
    assert!(part.bytes == expected, "the bytes come in order");
    read.extend_from_slice(&part.bytes);
    model.is_announced = false;
    assert_eq!(part.is_admitted, model.is_admitted);
    assert_eq!(part.end, model.end.clone().filter(|_| model.waiting.is_empty()), "the end comes after all bytes");
    let is_drained = model.is_draining && model.waiting.is_empty();
    let resumes = is_drained || (model.is_paused && model.waiting.len() < PIPE_BYTES_MAX / 2);
    model.is_paused &= !resumes;
    model.is_draining &= !is_drained;
    assert_eq!(part.resumes, resumes, "a writer is resumed once there is room, and told when all is taken");
    assert_eq!(part.is_cut, model.is_cut);
}
