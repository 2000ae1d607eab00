//! Requests to a model.

use crate::base::limits::UPSTREAM_CONTEXT_BYTES_MAX;
use crate::domain::answer_job::Turn;
use crate::domain::model::Role;
use crate::wire::json::JsonWriter;

/// The body of a request. The system prompt goes first; the oldest turns stay out when the text would be over
/// `UPSTREAM_CONTEXT_BYTES_MAX`, but never the last. `count_tokens` asks for token counts at the end of the stream,
/// which some servers reject.
pub fn request_body(model: &str, system_prompt: Option<&str>, turns: &[Turn], count_tokens: bool) -> Vec<u8> {
    let mut left = UPSTREAM_CONTEXT_BYTES_MAX.saturating_sub(system_prompt.map_or(0, str::len));
    let fits = |turn: &&Turn| {
        let fits = turn.text.as_str().len() <= left;
        left = left.saturating_sub(turn.text.as_str().len());
        fits
    };
    let taken = turns.iter().rev().take_while(fits).count().max(1).min(turns.len());
    let last = turns[turns.len() - taken..].iter().map(|turn| (turn.role, turn.text.as_str()));
    let messages = system_prompt.map(|prompt| (Role::System, prompt)).into_iter().chain(last);
    let mut body = Vec::new();
    let mut json = JsonWriter(&mut body);
    json.raw("{\"model\":").string(model).raw(",\"messages\":").array(messages, |json, (role, text)| {
        json.raw("{\"role\":").string(role.as_str()).raw(",\"content\":").string(text).raw("}");
    });
    json.raw(",\"stream\":true");
    if count_tokens {
        json.raw(",\"stream_options\":{\"include_usage\":true}");
    }
    json.raw("}");
    body
}
