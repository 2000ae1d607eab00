//! Ids. A user's id is a string; every other resource has a number, which clients see as a UUID.
//!
//! One journalled event creates each workspace, conversation and message, and the number of that event is its key. Its
//! public id is a UUID of version 7 (RFC 9562 §5.7) that encodes the time and the number, so no index over UUIDs is needed.
//! `IdKey` encodes and decodes it.

use crate::base::limits::USER_ID_CHARS_MAX;
use crate::base::random::mix;
use crate::base::time::WallTime;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use uuid::Uuid;

/// The id of an instance: one running process among those that serve the same database. It is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub i64);

/// The name of an instance on the bus: random, and never used again.
#[cfg(feature = "cluster")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InstanceName(pub Uuid);

/// The number of an event in the journal. Numbers grow in commit order and are never reused. 0 precedes the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventNumber(pub u64);

impl EventNumber {
    /// The number after this one.
    pub fn next(self) -> EventNumber {
        EventNumber(self.0 + 1)
    }
}

impl fmt::Display for EventNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a user: the `oid` claim of their tokens. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<str>);

/// The prefix of the ids of responders, which no token may have.
pub const RESPONDER_PREFIX: &str = "responder:";

impl UserId {
    /// Validates a user id: 1 to 255 characters, without `RESPONDER_PREFIX`.
    ///
    /// # Errors
    /// Returns the violated rule.
    pub fn new(raw: &str) -> Result<UserId, &'static str> {
        // Bytes bound characters from above, so most ids need no counting.
        if raw.is_empty() || (raw.len() > USER_ID_CHARS_MAX && raw.chars().count() > USER_ID_CHARS_MAX) {
            return Err("must be 1 to 255 characters");
        }
        if raw.starts_with(RESPONDER_PREFIX) {
            return Err("must not start with \"responder:\"");
        }
        Ok(UserId(raw.into()))
    }

    /// A user id that was validated before it was stored, or that is a responder's.
    pub fn new_unchecked(raw: impl Into<Arc<str>>) -> UserId {
        UserId(raw.into())
    }

    /// The id as tokens and responses have it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A number below `buckets` that spreads users evenly. It is the same in every run.
    pub(crate) fn bucket(&self, buckets: usize) -> usize {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish() as usize % buckets
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for UserId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Parses the hyphenated form, in upper or lower case. `None` for any other form.
            pub fn parse(raw: &str) -> Option<$name> {
                parse_hyphenated(raw).map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }
    };
}

uuid_id!(
    /// A workspace.
    WorkspaceId
);
uuid_id!(
    /// A conversation.
    ConversationId
);
uuid_id!(
    /// A message.
    MessageId
);

fn parse_hyphenated(raw: &str) -> Option<Uuid> {
    // The uuid crate also reads braced, simple and URN forms, which have other lengths.
    if raw.len() != 36 { None } else { Uuid::try_parse(raw).ok() }
}

/// The key that permutes the numbers in the UUIDs of one database, so that ids cannot be enumerated. It is not a means of
/// access control: access is checked whenever an id is used.
#[derive(Clone)]
pub(crate) struct IdKey([u64; 2]);

const HALF_BITS: u32 = 31;
const HALF_MASK: u64 = (1 << HALF_BITS) - 1;
const ROUNDS: u64 = 6;
const MICROS_PER_MILLI: i64 = 1000;

impl IdKey {
    /// The key from 16 random bytes.
    pub(crate) fn new(bytes: [u8; 16]) -> IdKey {
        let (low, high) = bytes.split_at(8);
        IdKey([low, high].map(|half| u64::from_le_bytes(half.try_into().expect("a half has 8 bytes"))))
    }

    /// The UUID of the resource that event `number` created at `at`: the time in milliseconds and microseconds, then the
    /// permuted number. UUIDs grow with the time.
    ///
    /// # Panics
    /// Panics if the number has more than 62 bits.
    pub(crate) fn uuid(&self, number: EventNumber, at: WallTime) -> Uuid {
        assert!(number.0 < 1 << (2 * HALF_BITS), "a journal never gets that long");
        let millis = at.0.div_euclid(MICROS_PER_MILLI) as u128 & 0xffff_ffff_ffff;
        let micros = at.0.rem_euclid(MICROS_PER_MILLI) as u128;
        let carried = self.permute(number.0, 0..ROUNDS);
        Uuid::from_u128(millis << 80 | 0x7 << 76 | micros << 64 | 0b10 << 62 | u128::from(carried))
    }

    /// The number and the time in `uuid`; `None` if it does not have the form that [`IdKey::uuid`] returns. The caller compares
    /// the time with that of the row, because a UUID of another key may decode to the number of an existing row.
    pub(crate) fn open(&self, uuid: Uuid) -> Option<(EventNumber, WallTime)> {
        let bits = uuid.as_u128();
        let (millis, version) = ((bits >> 80) as i64, (bits >> 76) & 0xf);
        let (micros, variant) = ((bits >> 64) as i64 & 0xfff, (bits >> 62) & 0b11);
        if version != 7 || variant != 0b10 || micros >= MICROS_PER_MILLI {
            return None;
        }
        let carried = bits as u64 & ((1 << (2 * HALF_BITS)) - 1);
        let swapped = (carried & HALF_MASK) << HALF_BITS | carried >> HALF_BITS;
        let opened = self.permute(swapped, (0..ROUNDS).rev());
        let number = (opened & HALF_MASK) << HALF_BITS | opened >> HALF_BITS;
        Some((EventNumber(number), WallTime(millis * MICROS_PER_MILLI + micros)))
    }

    /// A balanced Feistel network over 62 bits. With the halves swapped and the rounds reversed, it is its own inverse.
    fn permute(&self, block: u64, rounds: impl Iterator<Item = u64>) -> u64 {
        let (mut left, mut right) = (block >> HALF_BITS, block & HALF_MASK);
        for round in rounds {
            let keyed = mix(mix(right ^ self.0[0]) ^ self.0[1] ^ (round << 56));
            (left, right) = (right, left ^ (keyed & HALF_MASK));
        }
        left << HALF_BITS | right
    }
}

impl fmt::Debug for IdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    #[test]
    fn a_uuid_gives_back_its_number_and_time() {
        let key = IdKey::new(*b"0123456789abcdef");
        let mut random = Random::new(5);
        for round in 0..10_000 {
            let number = EventNumber(if round < 100 { round } else { random.below(1 << 62) });
            let at = WallTime(random.below(4_000_000_000_000_000) as i64);
            let uuid = key.uuid(number, at);
            assert_eq!(key.open(uuid), Some((number, at)));
            assert_eq!(uuid.get_version_num(), 7);
            assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
            assert!(key.uuid(number.next(), WallTime(at.0 + 1)) > uuid, "ids grow with the time");
        }
    }

    #[test]
    fn neighbours_do_not_look_alike_and_keys_matter() {
        let (a, b) = (IdKey::new([1; 16]), IdKey::new([2; 16]));
        let carried = |key: &IdKey, n| key.uuid(EventNumber(n), WallTime(0)).as_u128() as u64;
        for n in 0..1000 {
            assert!((carried(&a, n) ^ carried(&a, n + 1)).count_ones() > 8);
            assert_ne!(carried(&a, n), carried(&b, n));
        }
    }

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let good = "0190c42e-8d3f-7123-9abc-0123456789ab";
        assert_eq!(MessageId::parse(good).unwrap().to_string(), good);
        assert_eq!(MessageId::parse(&good.to_uppercase()).unwrap().to_string(), good);
        for bad in ["", "x", "0190c42e8d3f71239abc0123456789ab", &format!("{{{good}}}"), &format!("urn:uuid:{good}")] {
            assert!(MessageId::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn user_ids() {
        assert!(UserId::new("a").is_ok());
        assert!(UserId::new(&"ü".repeat(255)).is_ok());
        for bad in [String::new(), "ü".repeat(256), "responder:echo".into()] {
            assert!(UserId::new(&bad).is_err(), "{bad}");
        }
    }
}
