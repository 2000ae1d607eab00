//! Errors of administrative operations on users.

use crate::domain::id::UserId;
use crate::store::error::{Abort, OpenError};
use std::fmt;

/// Why an administrative operation failed. Its message is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminError {
    /// The database cannot be opened or used.
    Store(OpenError),
    /// No user has this id, and no user with a password has this email.
    Unknown(String),
    /// The text is the email of a user with a password, and the id of another user.
    Ambiguous {
        /// The text.
        text: String,
        /// The user with this email.
        by_email: UserId,
    },
    /// The user was deleted, which cannot be undone.
    Deleted(UserId),
    /// The user is disabled.
    Disabled(UserId),
    /// The user already has a password.
    HasPassword(UserId),
    /// The user has no password.
    NoPassword(UserId),
    /// Another user logs in with this email.
    EmailTaken {
        /// The email.
        email: String,
        /// The other user.
        by: UserId,
    },
    /// The id is that of the development user, which production switches off.
    DevelopmentUser(UserId),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminError::Store(error) => error.fmt(f),
            AdminError::Unknown(text) => {
                write!(f, "no user has the id {text:?}, and no user with a password has that email: see user list")
            }
            AdminError::Ambiguous { text, by_email } => write!(
                f,
                "{text:?} is the email of the user {:?} and the id of another user: select one of them with --id",
                by_email.as_str()
            ),
            AdminError::Deleted(id) => write!(f, "the user {:?} was deleted permanently", id.as_str()),
            AdminError::Disabled(id) => {
                write!(f, "the user {:?} is disabled: see user enable", id.as_str())
            }
            AdminError::HasPassword(id) => {
                write!(f, "the user {:?} has a password already: change it with user passwd", id.as_str())
            }
            AdminError::NoPassword(id) => {
                let id = id.as_str();
                write!(f, "the user {id:?} has no password to change: add one with user add EMAIL --id {id}")
            }
            AdminError::EmailTaken { email, by } => {
                write!(f, "the user {:?} already logs in with the email {email}", by.as_str())
            }
            AdminError::DevelopmentUser(id) => {
                write!(f, "{id} is the id of the development user, which production switches off: choose another id")
            }
        }
    }
}

impl std::error::Error for AdminError {}

impl From<OpenError> for AdminError {
    fn from(error: OpenError) -> AdminError {
        AdminError::Store(error)
    }
}

impl From<AdminError> for Abort<AdminError> {
    fn from(error: AdminError) -> Abort<AdminError> {
        Abort::Rejected(error)
    }
}
