//! The texts that a model receives. Pure.
//!
//! Invariant: one system text comes first, if there is any. After it, user and assistant alternate. The first and the last of
//! them are texts of users, and the last contains the message to answer. Every chat template accepts this form.

use crate::base::limits::{HISTORY_BYTES_MAX, SPEAKER_NAME_CHARS_MAX};
use crate::domain::answer_job::Turn;
use crate::domain::history::History;
use crate::domain::model::{Content, Role};
use std::borrow::Cow;

/// The text between two texts that are joined.
const SEPARATOR: &str = "\n\n";

/// The settings of a server that determine contexts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextRules {
    /// `RESPONDER_SYSTEM_PROMPT`
    pub system_prompt: Option<String>,
    /// Maximum bytes of all texts. The system text and the message to answer are sent even if they are longer.
    pub bytes_max: usize,
    /// `RESPONDER_NAMES`: whether the texts of users begin with their names where several users speak.
    pub names: bool,
}

impl Default for ContextRules {
    fn default() -> ContextRules {
        ContextRules { system_prompt: None, bytes_max: HISTORY_BYTES_MAX, names: true }
    }
}

/// The texts of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelContext {
    system: Option<String>,
    /// Texts of users and assistants, oldest first. The first is a user's, and the last is the message to answer.
    texts: Vec<ContextText>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ContextText {
    role: Role,
    /// The text before `text`: the user's name and a colon, or nothing.
    prefix: String,
    text: Content,
}

/// One message of a request: its role and its text.
pub(crate) type ContextMessage<'c> = (Role, Cow<'c, str>);

impl ModelContext {
    /// The context for the answer to the last turn. The oldest turns are left out if all texts are longer than
    /// `rules.bytes_max`.
    ///
    /// # Panics
    /// Panics if the last turn is not a user's.
    pub(crate) fn new(rules: &ContextRules, history: &History) -> ModelContext {
        assert_eq!(history.turns.last().map(|turn| turn.role), Some(Role::User), "a user's message is answered");
        let system = system_text(rules, history);
        let is_named = rules.names && has_several_speakers(&history.turns);
        let mut bytes_left = rules.bytes_max.saturating_sub(system.as_ref().map_or(0, String::len));
        let mut texts: Vec<ContextText> = Vec::new();
        for turn in history.turns.iter().rev().filter(|turn| is_sent(turn)) {
            let text = ContextText::new(turn, is_named);
            if !texts.is_empty() && text.bytes() > bytes_left {
                break;
            }
            bytes_left = bytes_left.saturating_sub(text.bytes());
            texts.push(text);
        }
        texts.reverse();
        ModelContext { system, texts: beginning_with_user(&texts).to_vec() }
    }

    /// The context without the older half of the text before the message to answer, for a model that reports that the context
    /// is too long; `None` if only that message is left.
    pub(crate) fn shorter(&self) -> Option<ModelContext> {
        let (_, earlier) = self.texts.split_last().filter(|(_, earlier)| !earlier.is_empty())?;
        let bytes: usize = earlier.iter().map(ContextText::bytes).sum();
        let (mut dropped, mut bytes_left) = (0, bytes);
        while dropped == 0 || (dropped < earlier.len() && bytes_left > bytes / 2) {
            bytes_left -= earlier[dropped].bytes();
            dropped += 1;
        }
        let texts = beginning_with_user(&self.texts[dropped..]).to_vec();
        Some(ModelContext { system: self.system.clone(), texts })
    }

    /// The messages in the order in which they are sent.
    pub(crate) fn messages(&self) -> Vec<ContextMessage<'_>> {
        let mut messages: Vec<ContextMessage<'_>> = Vec::new();
        messages.extend(self.system.as_deref().map(|text| (Role::System, Cow::Borrowed(text))));
        for text in &self.texts {
            match messages.last_mut() {
                Some((role, joined)) if *role == text.role => {
                    let joined = joined.to_mut();
                    joined.push_str(SEPARATOR);
                    joined.push_str(&text.prefix);
                    joined.push_str(text.text.as_str());
                }
                _ if text.prefix.is_empty() => messages.push((text.role, Cow::Borrowed(text.text.as_str()))),
                _ => messages.push((text.role, Cow::Owned([&text.prefix, text.text.as_str()].concat()))),
            }
        }
        messages
    }
}

impl ContextText {
    fn new(turn: &Turn, is_named: bool) -> ContextText {
        let prefix = if is_named && turn.role == Role::User { name_prefix(turn) } else { String::new() };
        ContextText { role: turn.role, prefix, text: turn.text.clone() }
    }

    fn bytes(&self) -> usize {
        self.prefix.len() + self.text.as_str().len()
    }
}

/// The server's and the conversation's system prompts and the conversation's `system` messages, joined; `None` if there is no
/// text.
fn system_text(rules: &ContextRules, history: &History) -> Option<String> {
    let prompts = [rules.system_prompt.as_deref(), history.settings.system_prompt.as_deref()];
    let messages = history.system.iter().map(Content::as_str);
    let texts: Vec<&str> = prompts.into_iter().flatten().chain(messages).filter(|text| !is_blank(text)).collect();
    (!texts.is_empty()).then(|| texts.join(SEPARATOR))
}

fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

fn is_sent(turn: &Turn) -> bool {
    turn.role != Role::System && !is_blank(turn.text.as_str())
}

fn has_several_speakers(turns: &[Turn]) -> bool {
    let mut speakers = turns.iter().filter(|turn| turn.role == Role::User).map(|turn| &turn.sender);
    let first = speakers.next();
    speakers.any(|speaker| Some(speaker) != first)
}

/// The name of the turn's sender, or the id if there is no name, in one line, followed by a colon and a space.
fn name_prefix(turn: &Turn) -> String {
    let name = if is_blank(&turn.sender_name) { turn.sender.as_str() } else { &*turn.sender_name };
    let is_separator = |char: char| char.is_whitespace() || char.is_control();
    let words: Vec<&str> = name.split(is_separator).filter(|word| !word.is_empty()).collect();
    let mut prefix: String = words.join(" ").chars().take(SPEAKER_NAME_CHARS_MAX).collect();
    prefix.push_str(": ");
    prefix
}

/// The texts from the first of a user on.
fn beginning_with_user(texts: &[ContextText]) -> &[ContextText] {
    let first = texts.iter().position(|text| text.role == Role::User);
    &texts[first.expect("the last text is a user's")..]
}

#[cfg(test)]
mod tests;
