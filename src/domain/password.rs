//! Password checks. They are slow by design, so they have a thread and a bounded queue of their own.

use crate::domain::command::ReplyTo;
use crate::domain::holder::Holder;
use crate::domain::id::UserId;
use crate::domain::model::UserProfile;
use crate::domain::result::Rejection;

/// A password check, and the recipient of its outcome.
#[derive(Clone)]
pub struct PasswordJob {
    /// The recipient of the response.
    pub reply_to: ReplyTo,
    /// The holder of the share that the check takes: for a login, the client's network.
    pub holder: Holder,
    /// The check.
    pub check: PasswordCheck,
}

/// A check of a password.
#[derive(Clone)]
pub enum PasswordCheck {
    /// Verifies the password of the user with this email.
    Login {
        /// The email. Older clients call it the user name.
        email: Box<str>,
        /// The password as typed.
        password: Box<str>,
    },
    /// Verifies the current password of this user, then hashes the new one.
    Change {
        /// The user.
        user: UserId,
        /// The current password as typed.
        current: Box<str>,
        /// The new password, of a valid length.
        new: Box<str>,
    },
}

/// The outcome of a password check, and its recipient.
#[derive(Clone)]
pub struct PasswordResponse {
    /// The recipient.
    pub to: ReplyTo,
    /// The result, or the reason for the rejection.
    pub result: Result<PasswordOutcome, Rejection>,
}

impl std::fmt::Debug for PasswordResponse {
    /// Omits the outcome, which may contain a hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordResponse").field("to", &self.to).finish_non_exhaustive()
    }
}

/// The outcome of a password check.
#[derive(Clone)]
pub enum PasswordOutcome {
    /// Email and password belong to this user.
    User {
        /// The user.
        profile: UserProfile,
        /// The generation of the user's tokens, read together with the hash that was verified.
        generation: u64,
    },
    /// The current password is right.
    Hash {
        /// The hash that was verified.
        verified: Box<str>,
        /// The new password's hash, in PHC form.
        hash: Box<str>,
    },
    /// The password is wrong, or there is no such user with a password.
    Wrong,
}
