//! Password checks, which run on a thread of their own because they are slow by design.

use crate::domain::command::ReplyTo;
use crate::domain::id::UserId;
use crate::domain::model::UserProfile;
use crate::domain::result::Rejection;

/// Work for the password thread: slow on purpose, so it has a thread and a bounded queue of its own.
#[derive(Clone)]
pub struct PasswordJob {
    /// Who waits for the answer.
    pub reply_to: ReplyTo,
    /// What to check.
    pub check: PasswordCheck,
}

/// What to check of a password.
#[derive(Clone)]
pub enum PasswordCheck {
    /// Does this email have this password?
    Login {
        /// The email, or the user name as older clients call it.
        email: Box<str>,
        /// The password as typed.
        password: Box<str>,
    },
    /// Does this user have the current password? Then hash the new one.
    Change {
        /// Who.
        user: UserId,
        /// The current password as typed.
        current: Box<str>,
        /// The new password, of a valid length.
        new: Box<str>,
    },
}

/// What the password thread found.
#[derive(Clone)]
pub struct PasswordResponse {
    /// Who waits for it.
    pub to: ReplyTo,
    /// What was found, or why not.
    pub result: Result<PasswordOutcome, Rejection>,
}

impl std::fmt::Debug for PasswordResponse {
    /// Without what was found, which may be a hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordResponse").field("to", &self.to).finish_non_exhaustive()
    }
}

/// What a password check found.
#[derive(Clone)]
pub enum PasswordOutcome {
    /// Email and password are those of this user.
    User(UserProfile),
    /// The new password's hash, in PHC form.
    Hash(Box<str>),
    /// They are not, or the user has no password.
    Wrong,
}
