//! Rules about the tokens of users.
//!
//! Invariant: a credential that a rule rejects is rejected by every later rule of that user.

use crate::base::limits::TOKEN_RULE_BUCKETS;
use crate::base::time::WallTime;
use crate::domain::id::UserId;
use std::collections::HashMap;
use std::sync::Arc;

/// The part of a token by which rules judge it. A token that is derived from another one has the same credential, so it ends
/// with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Credential {
    /// When the user logged in, or when the first token was issued: `auth_time`, otherwise `iat`.
    pub authenticated_at: Option<WallTime>,
    /// The generation of the user's tokens. Only tokens of our own logins have one.
    pub generation: Option<u64>,
}

/// The rules about users' tokens. Only users with a rule are in it.
///
/// A clone shares all buckets, and a change copies one of them, so the event loops can read one version while the writer makes
/// the next one in a time that hardly depends on the number of rules.
#[derive(Debug, Clone, Default)]
pub struct TokenRules {
    /// Empty, or `TOKEN_RULE_BUCKETS` buckets.
    buckets: Vec<Arc<HashMap<UserId, TokenRule>>>,
}

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
    /// The rule of a user, if there is one.
    pub fn get(&self, user: &UserId) -> Option<TokenRule> {
        self.buckets.get(user.bucket(TOKEN_RULE_BUCKETS))?.get(user).copied()
    }

    /// Whether no user has a rule.
    pub fn is_empty(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.is_empty())
    }

    /// The users with another rule than in `old`, of which this is a later version. Reads only the buckets that have changed.
    pub(crate) fn changed_since<'a>(&'a self, old: &'a TokenRules) -> impl Iterator<Item = &'a UserId> {
        let changed = self
            .buckets
            .iter()
            .enumerate()
            .filter(|(index, bucket)| old.buckets.get(*index).is_none_or(|old| !Arc::ptr_eq(old, bucket)));
        let users = changed.flat_map(|(_, bucket)| bucket.iter());
        users.filter(|(user, rule)| old.get(user) != Some(**rule)).map(|(user, _)| user)
    }

    /// Replaces or removes the rule of a user.
    pub fn set(&mut self, user: UserId, rule: Option<TokenRule>) {
        if self.buckets.is_empty() {
            self.buckets = vec![Arc::default(); TOKEN_RULE_BUCKETS];
        }
        let bucket = Arc::make_mut(&mut self.buckets[user.bucket(TOKEN_RULE_BUCKETS)]);
        match rule {
            Some(rule) => drop(bucket.insert(user, rule)),
            None => drop(bucket.remove(&user)),
        }
    }

    /// Whether a token of `user` with this credential is accepted.
    pub fn accepts(&self, user: &UserId, credential: &Credential) -> bool {
        self.get(user).is_none_or(|rule| rule.accepts(credential))
    }

    /// Whether the user is disabled or deleted.
    pub fn rejects_all(&self, user: &UserId) -> bool {
        self.get(user) == Some(TokenRule::RejectAll)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_decides_and_the_time_only_without_one() {
        let since = WallTime(1_000_000_000);
        let mut rules = TokenRules::default();
        rules.set(UserId::new_unchecked("changed"), Some(TokenRule::Since { generation: 7, at: since }));
        rules.set(UserId::new_unchecked("disabled"), Some(TokenRule::RejectAll));
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

    #[test]
    fn a_change_copies_one_bucket_and_leaves_older_versions() {
        let user = |number: usize| UserId::new_unchecked(format!("user-{number}"));
        let mut rules = TokenRules::default();
        assert!(rules.is_empty());
        (0..3 * TOKEN_RULE_BUCKETS).for_each(|number| rules.set(user(number), Some(TokenRule::RejectAll)));
        let before = rules.clone();
        rules.set(user(5), None);
        rules.set(user(5), Some(TokenRule::Since { generation: 1, at: WallTime(1) }));
        assert!(before.rejects_all(&user(5)) && !rules.rejects_all(&user(5)));
        assert!((6..3 * TOKEN_RULE_BUCKETS).all(|number| rules.rejects_all(&user(number))));
        let copied = before.buckets.iter().zip(&rules.buckets).filter(|(old, new)| !Arc::ptr_eq(old, new)).count();
        assert_eq!(copied, 1);
        assert_eq!(rules.changed_since(&before).collect::<Vec<_>>(), [&user(5)]);
        assert_eq!(rules.changed_since(&rules).count(), 0);
        assert_eq!(rules.changed_since(&TokenRules::default()).count(), 3 * TOKEN_RULE_BUCKETS);
        rules.set(user(5), None);
        assert_eq!(rules.get(&user(5)), None);
    }
}
