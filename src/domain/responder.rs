//! The kinds of responders, which answer messages.

use crate::domain::id::{RESPONDER_PREFIX, UserId};

/// The kind of a responder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ResponderKind {
    /// No answer.
    #[default]
    None,
    /// The message's own text.
    Echo,
    /// A model behind an OpenAI-compatible API.
    OpenAi,
}

impl ResponderKind {
    /// Every kind.
    pub const ALL: [ResponderKind; 3] = [ResponderKind::None, ResponderKind::Echo, ResponderKind::OpenAi];

    /// The name in settings, in metadata and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            ResponderKind::None => "none",
            ResponderKind::Echo => "echo",
            ResponderKind::OpenAi => "openai",
        }
    }

    /// The kind with this name.
    pub fn parse(raw: &str) -> Option<ResponderKind> {
        ResponderKind::ALL.into_iter().find(|kind| kind.as_str() == raw)
    }

    /// The id of the user that sends the answers of this kind.
    pub fn user_id(self) -> UserId {
        UserId::new_unchecked(format!("{RESPONDER_PREFIX}{}", self.as_str()))
    }
}
