//! The token that a connection sent last, so that the same token is not verified again for each request.

use crate::auth::jwt::{Claims, Keys};
use crate::auth::token_error::TokenError;
use crate::base::limits::VERIFIED_TOKEN_BYTES_MAX;
use crate::base::time::WallTime;
use std::fmt;

/// A token and its claims, after [`Keys::verify`] has accepted it.
pub(crate) struct VerifiedToken {
    token: Box<str>,
    claims: Claims,
    /// The latest time at which it was accepted.
    at: WallTime,
}

impl VerifiedToken {
    /// Verifies a token as [`Keys::verify`] does, whose result it returns. `last` is the token that was accepted before, if any; after a
    /// success, it is this one, unless it is longer than `VERIFIED_TOKEN_BYTES_MAX`.
    pub(crate) fn verify(
        last: &mut Option<Box<VerifiedToken>>,
        token: &str,
        keys: &Keys,
        now: WallTime,
    ) -> Result<Claims, TokenError> {
        if let Some(last) = last
            && last.is_accepted(token, keys, now)
        {
            last.at = now;
            return Ok(last.claims.clone());
        }
        let claims = keys.verify(token, now)?;
        *last = (token.len() <= VERIFIED_TOKEN_BYTES_MAX)
            .then(|| Box::new(VerifiedToken { token: token.into(), claims: claims.clone(), at: now }));
        Ok(claims)
    }

    /// Whether `token` is this one, and a verification accepts it. Everything that depends on the time is accepted until `exp`, unless
    /// the clock was set back.
    fn is_accepted(&self, token: &str, keys: &Keys, now: WallTime) -> bool {
        is_equal(self.token.as_bytes(), token.as_bytes())
            && now >= self.at
            && keys.still_accept(self.claims.key, self.claims.expires_at, now)
    }
}

impl fmt::Debug for VerifiedToken {
    /// Omits the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedToken").field("user", &self.claims.user).field("at", &self.at).finish_non_exhaustive()
    }
}

/// Whether two tokens are equal. The time depends on their lengths alone: a proxy may send the requests of several users over one
/// connection, and none of them may guess the token of another byte by byte.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len()
        && std::hint::black_box(a.iter().zip(b).fold(0, |differences, (a, b)| differences | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::jwt::Purpose;
    use crate::base::limits::TOKEN_LEEWAY_SECONDS;
    use crate::base::time::SECOND;
    use crate::domain::id::UserId;
    use crate::domain::token_rules::Credential;

    const NOW: WallTime = WallTime(1_769_850_930 * SECOND);

    fn token_of(keys: &Keys, user: &str, seconds: i64) -> String {
        let claims = Claims {
            user: UserId::new(user).unwrap(),
            name: Some("N".into()),
            email: None,
            sub: None,
            expires_at: NOW.plus_seconds(seconds),
            issued_at: Some(NOW),
            credential: Credential { authenticated_at: Some(NOW), generation: Some(1) },
            purpose: Purpose::Access,
            key: keys.current(),
        };
        keys.sign(&claims).unwrap()
    }

    fn is_kept(last: &Option<Box<VerifiedToken>>, token: &str) -> bool {
        last.as_ref().is_some_and(|last| *last.token == *token)
    }

    /// Verifies a token with and without the kept one, which must make no difference.
    fn verify(
        last: &mut Option<Box<VerifiedToken>>,
        token: &str,
        keys: &Keys,
        now: WallTime,
    ) -> Result<Claims, TokenError> {
        let verified = VerifiedToken::verify(last, token, keys, now);
        assert_eq!(verified, keys.verify(token, now), "{token} at {now:?}");
        verified
    }

    #[test]
    fn a_kept_token_has_the_result_of_a_verification() {
        let keys = Keys::new(b"a key", &[b"a previous key".to_vec()], None, None);
        let (first, second) = (token_of(&keys, "first", 60), token_of(&keys, "second", 60));
        let previous = token_of(&Keys::new(b"a previous key", &[], None, None), "third", 60);
        let mut last = None;
        for token in [&first, &first, &second, &first, &previous, &previous, &first] {
            assert!(verify(&mut last, token, &keys, NOW).is_ok());
            assert!(is_kept(&last, token));
        }
        // Every other token is verified, whatever its difference from the kept one.
        for at in 0..first.len() {
            let mut bytes = first.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(bytes).unwrap();
            // The last character of a signature has unused bits, which must be 0.
            assert!(verify(&mut last, &other, &keys, NOW).is_err(), "{at}");
            assert!(verify(&mut last, &first[..at], &keys, NOW).is_err());
            assert!(is_kept(&last, &first), "a rejected token replaces none");
        }
        assert!(verify(&mut last, &format!("{first}A"), &keys, NOW).is_err());
    }

    #[test]
    fn a_kept_token_expires() {
        let keys = Keys::new(b"a key", &[], None, None);
        let (token, mut last) = (token_of(&keys, "u", 60), None);
        // It was issued in the future when the clock has been set back. Accepted times are kept in mind, whatever their order.
        for (seconds, is_ok) in
            [(0, true), (30, true), (10, true), (-3600, false), (59, true), (3600, false), (59, true)]
        {
            let now = NOW.plus_seconds(seconds);
            assert_eq!(verify(&mut last, &token, &keys, now).is_ok(), is_ok, "{seconds}");
        }
        let end = NOW.plus_seconds(60 + TOKEN_LEEWAY_SECONDS);
        assert!(verify(&mut last, &token, &keys, WallTime(end.0 - 1)).is_ok());
        assert!(verify(&mut last, &token, &keys, end).is_err());
    }

    #[test]
    fn a_kept_token_ends_with_its_key() {
        let keys = Keys::new(b"a key", &[], None, None);
        let (token, mut last) = (token_of(&keys, "u", 60), None);
        verify(&mut last, &token, &keys, NOW).unwrap();
        assert!(!format!("{last:?}").contains(&token), "the token is not shown");
        let rotated = Keys::new(b"another key", &[b"a key".to_vec()], None, None);
        verify(&mut last, &token, &rotated, NOW).unwrap();
        let removed = Keys::new(b"another key", &[], None, None);
        assert_eq!(verify(&mut last, &token, &removed, NOW), Err(TokenError::Signature));
        let stricter = Keys::new(b"a key", &[], Some("issuer".into()), None);
        assert_eq!(verify(&mut last, &token, &stricter, NOW), Err(TokenError::Issuer));
    }

    #[test]
    fn a_long_token_is_not_kept() {
        let keys = Keys::new(b"a key", &[], None, None);
        let (short, long) = (token_of(&keys, "u", 60), token_of(&keys, &"u".repeat(100), 60));
        let mut last = None;
        verify(&mut last, &short, &keys, NOW).unwrap();
        assert!(is_kept(&last, &short));
        assert!(long.len() <= VERIFIED_TOKEN_BYTES_MAX);
        verify(&mut last, &long, &keys, NOW).unwrap();
        assert!(is_kept(&last, &long));
        let longer = {
            let mut claims = keys.verify(&short, NOW).unwrap();
            claims.name = Some("n".repeat(VERIFIED_TOKEN_BYTES_MAX).into());
            keys.sign(&claims).unwrap()
        };
        verify(&mut last, &longer, &keys, NOW).unwrap();
        assert!(last.is_none());
    }
}
