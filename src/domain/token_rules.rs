//! Rules about the tokens of users.
//!
//! Invariant: a credential that a rule rejects is rejected by every later rule of that user.

use crate::base::time::WallTime;
use crate::domain::id::UserId;
use std::collections::HashMap;

/// The part of a token by which rules judge it. A token that is derived from another one has the same credential, so it ends
/// with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Credential {
    /// When the user logged in, or when the first token was issued: `auth_time`, otherwise `iat`.
    pub authenticated_at: Option<WallTime>,
    /// The generation of the user's tokens. Only tokens of our own logins have one.
    pub generation: Option<u64>,
}

/// The rules about users' tokens. Only users with a rule are in the map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenRules(pub HashMap<UserId, TokenRule>);

/// A rule about one user's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRule {
    /// No token is accepted: the user is disabled or deleted.
    RejectAll,
    /// Tokens from before the last change of the password, and from before the user was last disabled, are rejected.
    Since {
        /// The least generation that is accepted. It does not depend on a clock.
        generation: u64,
        /// The wall clock at the change. It judges only tokens without a generation, whose issuers use wall clocks too.
        at: WallTime,
    },
}

impl TokenRule {
    /// Whether a token with this credential is accepted.
    pub fn accepts(&self, credential: &Credential) -> bool {
        match (self, credential.generation) {
            (TokenRule::RejectAll, _) => false,
            // An event loop may receive the rule of a new generation after the first token of that generation.
            (TokenRule::Since { generation, .. }, Some(of_token)) => of_token >= *generation,
            (TokenRule::Since { at, .. }, None) => credential.authenticated_at.is_some_and(|since| since >= *at),
        }
    }
}

impl TokenRules {
    /// Whether a token of `user` with this credential is accepted.
    pub fn accepts(&self, user: &UserId, credential: &Credential) -> bool {
        self.0.get(user).is_none_or(|rule| rule.accepts(credential))
    }

    /// Whether the user is disabled or deleted.
    pub fn rejects_all(&self, user: &UserId) -> bool {
        self.0.get(user) == Some(&TokenRule::RejectAll)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_decides_and_the_time_only_without_one() {
        let since = WallTime(1_000_000_000);
        let rules = TokenRules(HashMap::from([
            (UserId::new_unchecked("changed"), TokenRule::Since { generation: 7, at: since }),
            (UserId::new_unchecked("disabled"), TokenRule::RejectAll),
        ]));
        let (before, after) = (Some(since.plus_seconds(-3600)), Some(since.plus_seconds(3600)));
        let table = [
            ("changed", before, Some(7), true, "the clock has gone back since the change"),
            ("changed", None, Some(8), true, "the rule is not the latest"),
            ("changed", after, Some(6), false, "the clock had been ahead at the login"),
            ("changed", after, Some(0), false, "the login was before the first change"),
            ("changed", after, None, true, "another issuer, after the change"),
            ("changed", Some(since), None, true, "another issuer, at the change"),
            ("changed", before, None, false, "another issuer, before the change"),
            ("changed", None, None, false, "a token without times"),
            ("disabled", after, Some(9), false, "a disabled user"),
            ("disabled", after, None, false, "a disabled user, another issuer"),
            ("other", None, None, true, "a user without a rule"),
        ];
        for (user, authenticated_at, generation, expected, name) in table {
            let credential = Credential { authenticated_at, generation };
            assert_eq!(rules.accepts(&UserId::new_unchecked(user), &credential), expected, "{name}");
        }
    }
}
