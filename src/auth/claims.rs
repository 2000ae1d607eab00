//! The JSON of a token's header and payload, read without judging it: each known name with whatever value it has.

use crate::auth::jwt::TokenError;
use crate::base::time::{SECOND, WallTime};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can write. A time in milliseconds, a common mistake, lies
/// beyond it and is refused instead of living for ever.
const TIME_SECONDS_MAX: u64 = 253_402_300_799;

/// A value of a known name.
#[derive(Debug, Default)]
pub(super) enum Value<'t> {
    /// The name does not occur.
    #[default]
    Absent,
    /// `null`
    Null,
    /// A string.
    Text(Cow<'t, str>),
    /// An array of strings and nothing else.
    Texts(Vec<Cow<'t, str>>),
    /// A number of seconds between 1970 and 9999, to the microsecond.
    Time(WallTime),
    /// Anything else.
    Other,
}

/// The claims that we know.
#[derive(Debug, Default)]
pub(super) struct RawClaims<'t> {
    pub oid: Value<'t>,
    pub name: Value<'t>,
    pub email: Value<'t>,
    pub sub: Value<'t>,
    pub exp: Value<'t>,
    pub nbf: Value<'t>,
    pub iat: Value<'t>,
    pub iss: Value<'t>,
    pub aud: Value<'t>,
    pub purpose: Value<'t>,
}

impl<'t> RawClaims<'t> {
    /// Reads a payload: one JSON object, no name of which occurs twice.
    pub(super) fn parse(text: &'t str) -> Result<RawClaims<'t>, TokenError> {
        let object: Object<RawClaims> = serde_json::from_str(text).map_err(|_| TokenError::Payload)?;
        if object.duplicate { Err(TokenError::Duplicate) } else { Ok(object.known) }
    }
}

/// The header parameters that we know (RFC 7515 §4.1).
#[derive(Debug, Default)]
pub(super) struct RawHeader<'t> {
    pub alg: Value<'t>,
    pub typ: Value<'t>,
    pub crit: Value<'t>,
}

impl<'t> RawHeader<'t> {
    /// Reads a header: one JSON object, no name of which occurs twice.
    pub(super) fn parse(text: &'t str) -> Option<RawHeader<'t>> {
        let object: Object<RawHeader> = serde_json::from_str(text).ok()?;
        (!object.duplicate).then_some(object.known)
    }
}

/// Where the value of a name goes.
trait Known<'t>: Default {
    fn place(&mut self, name: &str) -> Option<&mut Value<'t>>;
}

impl<'t> Known<'t> for RawClaims<'t> {
    fn place(&mut self, name: &str) -> Option<&mut Value<'t>> {
        Some(match name {
            "oid" => &mut self.oid,
            "name" => &mut self.name,
            "email" => &mut self.email,
            "sub" => &mut self.sub,
            "exp" => &mut self.exp,
            "nbf" => &mut self.nbf,
            "iat" => &mut self.iat,
            "iss" => &mut self.iss,
            "aud" => &mut self.aud,
            "use" => &mut self.purpose,
            _ => return None,
        })
    }
}

impl<'t> Known<'t> for RawHeader<'t> {
    fn place(&mut self, name: &str) -> Option<&mut Value<'t>> {
        Some(match name {
            "alg" => &mut self.alg,
            "typ" => &mut self.typ,
            "crit" => &mut self.crit,
            _ => return None,
        })
    }
}

/// A JSON object, and whether a name stood in it twice.
struct Object<K> {
    known: K,
    duplicate: bool,
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
                let mut duplicate = false;
                let mut unknown: Vec<Cow<'t, str>> = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    if let Some(place) = self.0.place(&name) {
                        duplicate |= !matches!(place, Value::Absent);
                        *place = map.next_value()?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                        duplicate |= unknown.contains(&name);
                        unknown.push(name);
                    }
                }
                Ok(Object { known: self.0, duplicate })
            }
        }
        deserializer.deserialize_map(ObjectVisitor(K::default()))
    }
}

/// A name, borrowed from the text unless it is written with escapes.
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

    /// Only negative integers come here, and nothing of ours was issued before 1970.
    fn visit_i64<E>(self, _: i64) -> Result<Value<'t>, E> {
        Ok(Value::Other)
    }

    /// A double holds microseconds of our century exactly enough: its error is below half of one until 2106.
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
    fn microseconds_come_back_exactly() {
        let mut random = Random::new(5);
        for _ in 0..100_000 {
            let micros = random.below(1 << 32) as i64 * SECOND + random.below(SECOND as u64) as i64;
            let text = format!("{{\"iat\":{}.{:06}}}", micros / SECOND, micros % SECOND);
            let raw = RawClaims::parse(&text).unwrap();
            assert!(matches!(raw.iat, Value::Time(WallTime(read)) if read == micros), "{text}: {:?}", raw.iat);
        }
    }

    #[test]
    fn a_name_with_escapes_is_the_same_name() {
        assert_eq!(RawClaims::parse(r#"{"exp":1,"\u0065xp":2}"#).unwrap_err(), TokenError::Duplicate);
        assert_eq!(RawClaims::parse(r#"{"a":1,"\u0061":2}"#).unwrap_err(), TokenError::Duplicate);
        assert!(matches!(RawClaims::parse(r#"{"\u0065xp":2}"#).unwrap().exp, Value::Time(WallTime(2_000_000))));
    }
}
