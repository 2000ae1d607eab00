//! The JSON of a token's header and payload: the known names with their values, which are not yet validated.

use crate::auth::token_error::TokenError;
use crate::base::limits::TOKEN_NAMES_MAX;
use crate::base::time::{SECOND, WallTime};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// 9999-12-31T23:59:59Z, the last second of RFC 3339. A time in milliseconds, a common mistake, exceeds it, and is rejected
/// instead of never expiring.
const TIME_SECONDS_MAX: u64 = 253_402_300_799;

/// The value of a known name.
#[derive(Debug, Default)]
pub(super) enum Value<'t> {
    /// The name is missing.
    #[default]
    Absent,
    /// `null`
    Null,
    /// A string.
    Text(Cow<'t, str>),
    /// An array of strings alone.
    Texts(Vec<Cow<'t, str>>),
    /// A number of seconds from 1970 to 9999, rounded to microseconds.
    Time(WallTime),
    /// Any other value.
    Other,
}

/// The known claims.
#[derive(Debug, Default)]
pub(super) struct RawClaims<'t> {
    pub oid: Value<'t>,
    pub name: Value<'t>,
    pub email: Value<'t>,
    pub sub: Value<'t>,
    pub exp: Value<'t>,
    pub nbf: Value<'t>,
    pub iat: Value<'t>,
    pub auth_time: Value<'t>,
    pub iss: Value<'t>,
    pub aud: Value<'t>,
    pub purpose: Value<'t>,
    pub generation: Value<'t>,
}

impl<'t> RawClaims<'t> {
    /// Parses a payload: one JSON object with unique names, at most `TOKEN_NAMES_MAX`.
    pub(super) fn parse(text: &'t str) -> Result<RawClaims<'t>, TokenError> {
        let object: Object<RawClaims> = serde_json::from_str(text).map_err(|_| TokenError::Payload)?;
        match object {
            Object { has_too_many: true, .. } => Err(TokenError::Names),
            Object { has_duplicate: true, .. } => Err(TokenError::Duplicate),
            Object { known, .. } => Ok(known),
        }
    }
}

/// The known header parameters (RFC 7515 §4.1).
#[derive(Debug, Default)]
pub(super) struct RawHeader<'t> {
    pub alg: Value<'t>,
    pub typ: Value<'t>,
    pub crit: Value<'t>,
}

impl<'t> RawHeader<'t> {
    /// Parses a header: one JSON object with unique names, at most `TOKEN_NAMES_MAX`.
    pub(super) fn parse(text: &'t str) -> Option<RawHeader<'t>> {
        let object: Object<RawHeader> = serde_json::from_str(text).ok()?;
        (!object.has_duplicate && !object.has_too_many).then_some(object.known)
    }
}

/// A set of known names.
trait Known<'t>: Default {
    /// The value of a known name; `None` for any other name.
    fn slot(&mut self, name: &str) -> Option<&mut Value<'t>>;
}

impl<'t> Known<'t> for RawClaims<'t> {
    fn slot(&mut self, name: &str) -> Option<&mut Value<'t>> {
        Some(match name {
            "oid" => &mut self.oid,
            "name" => &mut self.name,
            "email" => &mut self.email,
            "sub" => &mut self.sub,
            "exp" => &mut self.exp,
            "nbf" => &mut self.nbf,
            "iat" => &mut self.iat,
            "auth_time" => &mut self.auth_time,
            "iss" => &mut self.iss,
            "aud" => &mut self.aud,
            "use" => &mut self.purpose,
            "token_generation" => &mut self.generation,
            _ => return None,
        })
    }
}

impl<'t> Known<'t> for RawHeader<'t> {
    fn slot(&mut self, name: &str) -> Option<&mut Value<'t>> {
        Some(match name {
            "alg" => &mut self.alg,
            "typ" => &mut self.typ,
            "crit" => &mut self.crit,
            _ => return None,
        })
    }
}

/// A JSON object.
struct Object<K> {
    known: K,
    /// Whether a name occurs twice.
    has_duplicate: bool,
    /// Whether the object has more than `TOKEN_NAMES_MAX` names. The rest is then only checked for its syntax.
    has_too_many: bool,
}

impl<'t, K: Known<'t>> Deserialize<'t> for Object<K> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<K>(K);
        impl<'t, K: Known<'t>> Visitor<'t> for ObjectVisitor<K> {
            type Value = Object<K>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'t>>(mut self, mut map: A) -> Result<Object<K>, A::Error> {
                let (mut names, mut has_duplicate) = (0, false);
                let mut unknown: Vec<Cow<'t, str>> = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    names += 1;
                    if names > TOKEN_NAMES_MAX {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if let Some(value) = self.0.slot(&name) {
                        has_duplicate |= !matches!(value, Value::Absent);
                        *value = map.next_value()?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                        has_duplicate |= unknown.contains(&name);
                        unknown.push(name);
                    }
                }
                Ok(Object { known: self.0, has_duplicate, has_too_many: names > TOKEN_NAMES_MAX })
            }
        }
        deserializer.deserialize_map(ObjectVisitor(K::default()))
    }
}

/// A name, borrowed from the text unless it has escapes.
struct Name<'t>(Cow<'t, str>);

impl<'t> Deserialize<'t> for Name<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'t> Visitor<'t> for NameVisitor {
            type Value = Name<'t>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'t str) -> Result<Name<'t>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'t>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

impl<'t> Deserialize<'t> for Value<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'t> Visitor<'t> for ValueVisitor {
    type Value = Value<'t>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value<'t>, E> {
        Ok(Value::Null)
    }

    fn visit_borrowed_str<E>(self, text: &'t str) -> Result<Value<'t>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'t>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, seconds: u64) -> Result<Value<'t>, E> {
        Ok(if seconds <= TIME_SECONDS_MAX { Value::Time(WallTime(seconds as i64 * SECOND)) } else { Value::Other })
    }

    /// Only negative integers arrive here: times before 1970.
    fn visit_i64<E>(self, _: i64) -> Result<Value<'t>, E> {
        Ok(Value::Other)
    }

    /// Until 2106 the error of a double is below half a microsecond, so rounding is exact.
    fn visit_f64<E>(self, seconds: f64) -> Result<Value<'t>, E> {
        Ok(if (0.0..=TIME_SECONDS_MAX as f64).contains(&seconds) {
            Value::Time(WallTime((seconds * SECOND as f64).round() as i64))
        } else {
            Value::Other
        })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<'t>, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut seq: A) -> Result<Value<'t>, A::Error> {
        let mut texts = Vec::new();
        let mut only_texts = true;
        while let Some(value) = seq.next_element()? {
            match value {
                Value::Text(text) => texts.push(text),
                _ => only_texts = false,
            }
        }
        Ok(if only_texts { Value::Texts(texts) } else { Value::Other })
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Value<'t>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    #[test]
    fn microseconds_are_parsed_exactly() {
        let mut random = Random::new(5);
        for _ in 0..100_000 {
            let micros = random.below(1 << 32) as i64 * SECOND + random.below(SECOND as u64) as i64;
            let text = format!("{{\"iat\":{}.{:06}}}", micros / SECOND, micros % SECOND);
            let raw = RawClaims::parse(&text).unwrap();
            assert!(matches!(raw.iat, Value::Time(WallTime(read)) if read == micros), "{text}: {:?}", raw.iat);
        }
    }

    #[test]
    fn the_number_of_names_is_bounded_in_header_and_payload() {
        let object = |names: usize| {
            let members: Vec<String> = (0..names).map(|name| format!("\"{name:x}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(RawClaims::parse(&object(TOKEN_NAMES_MAX)).is_ok());
        assert!(RawHeader::parse(&object(TOKEN_NAMES_MAX)).is_some());
        for names in [TOKEN_NAMES_MAX + 1, 844] {
            assert_eq!(RawClaims::parse(&object(names)).unwrap_err(), TokenError::Names);
            assert!(RawHeader::parse(&object(names)).is_none());
        }
        // A repeated known name counts as well.
        let repeated = format!("{{{}\"exp\":1}}", "\"exp\":1,".repeat(TOKEN_NAMES_MAX));
        assert_eq!(RawClaims::parse(&repeated).unwrap_err(), TokenError::Names);
        // The syntax is checked to the end.
        let broken = object(844).replace('}', ",");
        assert_eq!(RawClaims::parse(&broken).unwrap_err(), TokenError::Payload);
    }

    #[test]
    fn a_name_with_escapes_is_the_same_name() {
        assert_eq!(RawClaims::parse(r#"{"exp":1,"\u0065xp":2}"#).unwrap_err(), TokenError::Duplicate);
        assert_eq!(RawClaims::parse(r#"{"a":1,"\u0061":2}"#).unwrap_err(), TokenError::Duplicate);
        assert!(matches!(RawClaims::parse(r#"{"\u0065xp":2}"#).unwrap().exp, Value::Time(WallTime(2_000_000))));
    }
}
