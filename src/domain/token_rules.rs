//! Rules about the tokens of users.

use crate::base::time::WallTime;
use crate::domain::id::UserId;
use std::collections::HashMap;

/// The rules about users' tokens. Only users with a rule are in the map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenRules(pub HashMap<UserId, TokenRule>);

/// A rule about one user's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRule {
    /// No token is accepted: the user is disabled or deleted.
    RejectAll,
    /// Only tokens issued since this time are accepted. It is the writer's time, which never goes back.
    IssuedSince(WallTime),
}

impl TokenRules {
    /// Whether a token of `user` issued at `issued_at` is accepted.
    pub fn accepts(&self, user: &UserId, issued_at: Option<WallTime>) -> bool {
        match self.0.get(user) {
            None => true,
            Some(TokenRule::RejectAll) => false,
            Some(TokenRule::IssuedSince(since)) => issued_at.is_some_and(|at| at >= *since),
        }
    }

    /// The time of issue for a new token of `user`; `None` if it would not be accepted. After a password change, it is at least
    /// the time of the change, since the clock may have gone back. A token from more than `leeway_seconds` ahead would be
    /// rejected.
    pub fn issue_time(&self, user: &UserId, now: WallTime, leeway_seconds: i64) -> Option<WallTime> {
        match self.0.get(user) {
            None => Some(now),
            Some(TokenRule::RejectAll) => None,
            Some(TokenRule::IssuedSince(since)) => {
                Some(now.max(*since)).filter(|at| *at <= now.plus_seconds(leeway_seconds))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If the clock goes back a little after a password change, new tokens are accepted, and older ones stay rejected.
    #[test]
    fn tokens_made_after_a_change_pass_though_the_clock_went_back() {
        let user = |name: &str| UserId::new(name).unwrap();
        let since = WallTime(1_000_000_000);
        let token_rules = TokenRules(HashMap::from([
            (user("changed"), TokenRule::IssuedSince(since)),
            (user("disabled"), TokenRule::RejectAll),
        ]));
        let table = [
            ("changed", since.plus_seconds(5), Some(since.plus_seconds(5))),
            ("changed", since, Some(since)),
            ("changed", since.plus_seconds(-30), Some(since)),
            // Such a token would be rejected as issued in the future.
            ("changed", since.plus_seconds(-31), None),
            ("disabled", since, None),
            ("other", since.plus_seconds(-31), Some(since.plus_seconds(-31))),
        ];
        for (name, now, expected) in table {
            let issued_at = token_rules.issue_time(&user(name), now, 30);
            assert_eq!(issued_at, expected, "{name} at {now}");
            assert!(issued_at.is_none() || token_rules.accepts(&user(name), issued_at), "{name} at {now}");
        }
        assert!(
            !token_rules.accepts(&user("changed"), Some(WallTime(since.0 - 1)))
                && !token_rules.accepts(&user("changed"), None)
        );
    }
}
