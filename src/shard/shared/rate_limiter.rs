//! Rate limits: token buckets (the generic cell rate algorithm), shared by all shards under one lock.
//!
//! Invariant: no table has more than `buckets_max` buckets, and each bucket is in the table of its kind.

use crate::base::decimal;
use crate::base::time::MonoTime;
#[cfg(feature = "cluster")]
use crate::domain::bus_message::SharedRate;
use crate::domain::id::UserId;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};

/// Microseconds in a second.
const SECOND_MICROS: u64 = 1_000_000;
/// Most microseconds that one message of another instance takes from a bucket.
#[cfg(feature = "cluster")]
const TAKEN_MICROS_MAX: i64 = 3600 * SECOND_MICROS as i64;
/// Number of kinds of `RateKey`.
const KINDS: usize = 5;

/// What a rate is counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RateKey {
    /// The requests of a user.
    User(UserId),
    /// The requests of a user that repeat an executed one, by its `Idempotency-Key`.
    Replays(UserId),
    /// Requests from one network without a valid token.
    Anonymous(IpAddr),
    /// Logins to one account, a `RateLimiter::account`, from one network.
    Login(u64, IpAddr),
    /// Logins from one network.
    LoginAddress(IpAddr),
}

impl RateKey {
    fn kind(&self) -> usize {
        match self {
            RateKey::User(_) => 0,
            RateKey::Anonymous(_) => 1,
            RateKey::Login(..) => 2,
            RateKey::LoginAddress(_) => 3,
            RateKey::Replays(_) => 4,
        }
    }

    /// Whether the bucket counts for all instances that tell each other what they count.
    pub(crate) fn is_shared(&self) -> bool {
        !matches!(self, RateKey::Login(..))
    }

    /// The key by which other instances know the bucket. That of an account is seeded in each process.
    #[cfg(feature = "cluster")]
    fn shared(&self) -> Option<SharedRate> {
        Some(match self {
            RateKey::User(user) => SharedRate::User(user.clone()),
            RateKey::Replays(user) => SharedRate::Replays(user.clone()),
            RateKey::Anonymous(address) => SharedRate::Anonymous(*address),
            RateKey::LoginAddress(address) => SharedRate::LoginAddress(*address),
            RateKey::Login(..) => return None,
        })
    }

    /// The name of the policy in `RateLimit` and `RateLimit-Policy`.
    fn policy(&self) -> &'static str {
        ["default", "address", "login", "login-address", "replays"][self.kind()]
    }
}

#[cfg(feature = "cluster")]
impl From<SharedRate> for RateKey {
    fn from(shared: SharedRate) -> RateKey {
        match shared {
            SharedRate::User(user) => RateKey::User(user),
            SharedRate::Replays(user) => RateKey::Replays(user),
            SharedRate::Anonymous(address) => RateKey::Anonymous(address),
            SharedRate::LoginAddress(address) => RateKey::LoginAddress(address),
        }
    }
}

/// How many requests are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Microseconds until one more request is allowed; at least 1.
    pub micros_each: u64,
    /// Requests that are allowed at once.
    pub burst: u64,
}

impl Rate {
    /// `requests` in each second, and `burst` at once.
    pub fn per_second(requests: u64, burst: u64) -> Rate {
        Rate { micros_each: (SECOND_MICROS / requests.max(1)).max(1), burst }
    }

    /// `requests` in each minute, all of which may come at once.
    pub fn per_minute(requests: u64) -> Rate {
        Rate { micros_each: (60 * SECOND_MICROS / requests.max(1)).max(1), burst: requests.max(1) }
    }

    /// This rate, divided among so many instances. At least one request is allowed at once.
    pub(crate) fn divided(self, instances: u64) -> Rate {
        Rate { micros_each: self.micros_each.saturating_mul(instances), burst: (self.burst / instances).max(1) }
    }

    /// Microseconds until an empty bucket is full.
    fn fill_micros(self) -> u64 {
        self.micros_each.saturating_mul(self.burst)
    }
}

/// The state of a bucket, as responses report it (draft-ietf-httpapi-ratelimit-headers-10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The name of the policy.
    pub policy: &'static str,
    /// Requests that a full bucket allows at once.
    pub limit: u64,
    /// Seconds until an empty bucket is full, rounded up.
    pub window_seconds: u64,
    /// Requests that are allowed now.
    pub remaining: u64,
    /// Seconds until one more request is allowed, rounded up; at least 1.
    pub next_seconds: u64,
}

impl Quota {
    /// The state of a bucket that is full again in `fill_micros`.
    fn of(key: &RateKey, rate: Rate, fill_micros: u64) -> Quota {
        let missing = fill_micros.div_ceil(rate.micros_each).min(rate.burst);
        let next_micros = fill_micros.saturating_sub(missing.saturating_sub(1) * rate.micros_each);
        Quota {
            policy: key.policy(),
            limit: rate.burst,
            window_seconds: rate.fill_micros().div_ceil(SECOND_MICROS).max(1),
            remaining: rate.burst - missing,
            next_seconds: next_micros.div_ceil(SECOND_MICROS).max(1),
        }
    }
}

impl Quota {
    /// The exceeded quota of a user's state events, in bytes. The store counts them, because it determines their weight.
    pub fn of_state_events(burst_bytes: u64, window_seconds: u64, next_seconds: u64) -> Quota {
        Quota { policy: "state-events", limit: burst_bytes, window_seconds, remaining: 0, next_seconds }
    }

    /// The values of `RateLimit-Policy` and `RateLimit`, written into `text`.
    pub fn field_values(self, text: &mut Vec<u8>) -> (&str, &str) {
        text.clear();
        push_item(text, self.policy, [(";q=", self.limit), (";w=", self.window_seconds)]);
        let policy_bytes = text.len();
        push_item(text, self.policy, [(";r=", self.remaining), (";t=", self.next_seconds)]);
        std::str::from_utf8(text).expect("names and digits are ASCII").split_at(policy_bytes)
    }
}

/// One item of a structured field (RFC 9651 §3.3): a string with parameters.
fn push_item(text: &mut Vec<u8>, name: &str, parameters: [(&str, u64); 2]) {
    text.push(b'"');
    text.extend_from_slice(name.as_bytes());
    text.push(b'"');
    for (key, number) in parameters {
        text.extend_from_slice(key.as_bytes());
        decimal::push(text, number);
    }
}

/// For each key, when its bucket is full again. A full bucket needs no entry.
type RateTable = HashMap<RateKey, MonoTime>;

/// All buckets of the process. Each kind has a table of its own, so that one kind cannot evict another.
#[derive(Debug)]
pub struct RateLimiter {
    tables: Mutex<[RateTable; KINDS]>,
    /// What was taken since other instances were told, in microseconds; `None` while they are not told.
    #[cfg(feature = "cluster")]
    taken: Mutex<Option<HashMap<SharedRate, i64>>>,
    /// Most buckets in a table.
    buckets_max: usize,
    account_hasher: RandomState,
}

impl RateLimiter {
    /// A limiter with at most `buckets_max` buckets of each kind.
    pub(crate) fn new(buckets_max: usize) -> RateLimiter {
        RateLimiter {
            tables: Mutex::default(),
            #[cfg(feature = "cluster")]
            taken: Mutex::default(),
            buckets_max,
            account_hasher: RandomState::new(),
        }
    }

    /// What was taken of the buckets that count for all instances, since this was called last, in microseconds. From the first call on it is
    /// recorded; after one with `goes_on` false, no longer.
    #[cfg(feature = "cluster")]
    pub(crate) fn taken(&self, goes_on: bool) -> Vec<(SharedRate, i64)> {
        let mut taken = self.taken.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let taken = std::mem::replace(&mut *taken, goes_on.then(HashMap::new));
        taken.into_iter().flatten().filter(|(_, micros)| *micros != 0).collect()
    }

    /// Counts what was taken at another instance, in microseconds, or put back there if it is negative.
    #[cfg(feature = "cluster")]
    pub(crate) fn taken_elsewhere(&self, key: SharedRate, micros: i64, now: MonoTime) {
        let key = RateKey::from(key);
        let mut tables = self.tables();
        let table = &mut tables[key.kind()];
        let full_at = table.get(&key).copied().unwrap_or(now).max(now);
        if table.len() >= self.buckets_max && !table.contains_key(&key) {
            make_room(table, self.buckets_max / 2, now);
        }
        // One message empties no bucket for longer than it takes to fill it.
        let micros = micros.min(TAKEN_MICROS_MAX);
        table.insert(key, MonoTime(full_at.0.saturating_add_signed(micros)));
    }

    /// Records what was taken, for other instances. What exceeds the number of buckets is not recorded.
    #[cfg(feature = "cluster")]
    fn record(&self, key: &RateKey, change: impl FnOnce(&mut i64)) {
        let Some(key) = key.shared() else { return };
        let mut taken = self.taken.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(taken) = &mut *taken
            && (taken.len() < self.buckets_max || taken.contains_key(&key))
        {
            change(taken.entry(key).or_default());
        }
    }

    /// A short key for an account, whose name may be as long as an email. The hash is seeded, so a client cannot find two
    /// accounts with the same key.
    pub fn account(&self, email_or_user: &str) -> u64 {
        self.account_hasher.hash_one(email_or_user.to_lowercase())
    }

    /// Counts one request.
    ///
    /// # Errors
    /// If the rate is exceeded, the request is not counted, and `next_seconds` says when one is allowed.
    pub fn take(&self, key: RateKey, rate: Rate, now: MonoTime) -> Result<Quota, Quota> {
        let mut tables = self.tables();
        let table = &mut tables[key.kind()];
        let full_at = table.get(&key).copied().unwrap_or(now).max(now);
        let after = full_at.plus(rate.micros_each);
        if after.since(now) > rate.fill_micros() {
            return Err(Quota::of(&key, rate, full_at.since(now)));
        }
        let quota = Quota::of(&key, rate, after.since(now));
        if table.len() >= self.buckets_max && !table.contains_key(&key) {
            make_room(table, self.buckets_max / 2, now);
        }
        #[cfg(feature = "cluster")]
        self.record(&key, |micros| *micros = micros.saturating_add_unsigned(rate.micros_each));
        table.insert(key, after);
        Ok(quota)
    }

    /// Takes back one counted request.
    pub fn put_back(&self, key: &RateKey, rate: Rate, now: MonoTime) -> Quota {
        #[cfg(feature = "cluster")]
        self.record(key, |micros| *micros = micros.saturating_sub_unsigned(rate.micros_each));
        let fill_micros = match self.tables()[key.kind()].get_mut(key) {
            Some(full_at) => {
                full_at.0 = full_at.0.saturating_sub(rate.micros_each);
                full_at.since(now)
            }
            None => 0,
        };
        Quota::of(key, rate, fill_micros)
    }

    /// Asserts the invariant of this module.
    pub fn check_invariants(&self) {
        for (kind, table) in self.tables().iter().enumerate() {
            assert!(table.len() <= self.buckets_max && table.keys().all(|key| key.kind() == kind));
        }
    }

    fn tables(&self) -> MutexGuard<'_, [RateTable; KINDS]> {
        // If a thread panicked with the lock held, one bucket was not updated, so the tables are still usable.
        self.tables.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Removes the full buckets, and of the others the fullest until `kept_max` are left, which are half of the table. So it is
/// called rarely, and a client that wants its own empty bucket removed has to empty half a table of other buckets further.
fn make_room(table: &mut RateTable, kept_max: usize, now: MonoTime) {
    table.retain(|_, full_at| *full_at > now);
    if table.len() > kept_max {
        let mut times: Vec<MonoTime> = table.values().copied().collect();
        let surplus = table.len() - kept_max;
        let (_, last_out, _) = times.select_nth_unstable(surplus - 1);
        let last_out = *last_out;
        table.retain(|_, full_at| *full_at > last_out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::RATE_BUCKETS_MAX;

    fn user(name: &str) -> RateKey {
        RateKey::User(UserId::new(name).unwrap())
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    /// Whether a request was allowed, the remaining requests, and the seconds until the next.
    fn summary(result: Result<Quota, Quota>) -> (bool, u64, u64) {
        let quota = result.unwrap_or_else(|quota| quota);
        (result.is_ok(), quota.remaining, quota.next_seconds)
    }

    #[test]
    fn a_bucket_allows_its_burst_and_then_its_rate() {
        let rate_limiter = RateLimiter::new(RATE_BUCKETS_MAX);
        let rate = Rate { micros_each: 2_500_000, burst: 3 };
        let mut now = MonoTime(50_000);
        for (wait_micros, expected) in [
            (0, (true, 2, 3)),
            (0, (true, 1, 3)),
            (0, (true, 0, 3)),
            (0, (false, 0, 3)),
            (500_000, (false, 0, 2)),
            (1_999_999, (false, 0, 1)),
            (1, (true, 0, 3)),
            (0, (false, 0, 3)),
            (5_000_000, (true, 1, 3)),
            (3_600_000_000, (true, 2, 3)),
        ] {
            now = now.plus(wait_micros);
            assert_eq!(summary(rate_limiter.take(user("u"), rate, now)), expected, "{wait_micros} later");
        }
        let back = rate_limiter.put_back(&user("u"), rate, now);
        assert_eq!((back.remaining, back.limit, back.window_seconds), (3, 3, 8));
        assert!(rate_limiter.take(user("v"), rate, now).is_ok(), "others have their own bucket");
        assert_eq!(rate_limiter.put_back(&user("nobody"), rate, now).remaining, 3, "a full bucket stays full");
    }

    #[test]
    fn quotas_are_written_as_structured_fields() {
        let quota = Quota { policy: "default", limit: 100, window_seconds: 2, remaining: 0, next_seconds: 1 };
        let mut text = b"what was there before".to_vec();
        assert_eq!(quota.field_values(&mut text), ("\"default\";q=100;w=2", "\"default\";r=0;t=1"));
    }

    #[test]
    fn rates_are_never_free() {
        for rate in [Rate::per_second(10_000_000, 1), Rate::per_minute(u64::MAX), Rate::per_second(0, 1)] {
            assert!(rate.micros_each > 0, "{rate:?}");
        }
        assert_eq!(Rate::per_second(50, 100), Rate { micros_each: 20_000, burst: 100 });
        assert_eq!(Rate::per_minute(10), Rate { micros_each: 6_000_000, burst: 10 });
    }

    #[test]
    fn the_number_of_buckets_is_bounded() {
        let rate_limiter = RateLimiter::new(RATE_BUCKETS_MAX);
        let rate = Rate { micros_each: 1_000_000, burst: 1 };
        for n in 0..3 * RATE_BUCKETS_MAX as u32 {
            for key in [
                RateKey::Anonymous(address(n)),
                RateKey::LoginAddress(address(n)),
                RateKey::Login(n.into(), address(n)),
            ] {
                assert!(rate_limiter.take(key, rate, MonoTime(u64::from(n))).is_ok());
            }
        }
        rate_limiter.check_invariants();
    }

    /// A client with many addresses could otherwise have its empty bucket removed.
    #[test]
    fn an_empty_bucket_is_not_evicted_by_many_others() {
        let rate_limiter = RateLimiter::new(RATE_BUCKETS_MAX);
        let rate = Rate::per_minute(10);
        let now = MonoTime(1);
        let drained = [
            RateKey::Anonymous(address(0)),
            RateKey::Login(7, address(0)),
            RateKey::LoginAddress(address(0)),
            user("u"),
        ];
        for key in &drained {
            assert!((0..10).all(|_| rate_limiter.take(key.clone(), rate, now).is_ok()));
        }
        for n in 1..3 * RATE_BUCKETS_MAX as u32 {
            let _ = rate_limiter.take(RateKey::Anonymous(address(n)), rate, now);
            let _ = rate_limiter.take(RateKey::Login(u64::from(n) << 8, address(n)), rate, now);
            // The emptiest buckets of one kind do not affect the others.
            let _ =
                rate_limiter.take(RateKey::LoginAddress(address(n)), Rate { micros_each: 9_000_000, burst: 10 }, now);
        }
        let kept = |key: &RateKey| rate_limiter.take(key.clone(), rate, now).is_err();
        assert!([&drained[0], &drained[1], &drained[3]].into_iter().all(kept));
    }

    /// Otherwise every new key would cost a pass over a full table.
    #[test]
    fn room_is_made_for_many_at_once() {
        let mut table: RateTable =
            (0..RATE_BUCKETS_MAX as u32).map(|n| (RateKey::Anonymous(address(n)), MonoTime(u64::from(n)))).collect();
        make_room(&mut table, RATE_BUCKETS_MAX / 2, MonoTime(0));
        assert_eq!(table.len(), RATE_BUCKETS_MAX / 2);
        assert!(table.values().all(|full_at| full_at.0 >= RATE_BUCKETS_MAX as u64 / 2), "the fullest were removed");
    }

    #[test]
    fn accounts_count_whatever_the_case_of_their_letters() {
        let rate_limiter = RateLimiter::new(RATE_BUCKETS_MAX);
        assert_eq!(rate_limiter.account("Ann@Example.org"), rate_limiter.account("ann@example.ORG"));
        assert_ne!(rate_limiter.account("ann@example.org"), rate_limiter.account("ben@example.org"));
    }

    #[test]
    fn a_divided_rate_allows_something() {
        let rate = Rate { micros_each: 1000, burst: 10 };
        assert_eq!(rate.divided(3), Rate { micros_each: 3000, burst: 3 });
        assert_eq!(rate.divided(20), Rate { micros_each: 20_000, burst: 1 });
    }

    #[cfg(feature = "cluster")]
    #[test]
    fn what_one_instance_takes_counts_at_another() {
        let (here, there) = (RateLimiter::new(8), RateLimiter::new(8));
        let (rate, now) = (Rate { micros_each: 1000, burst: 4 }, MonoTime(0));
        let key = || RateKey::User(UserId::new_unchecked("u"));
        assert!(here.take(key(), rate, now).is_ok());
        assert_eq!(here.taken(true), [], "it was not told before");
        assert!((0..2).all(|_| here.take(key(), rate, now).is_ok()));
        here.put_back(&key(), rate, now);
        assert!(here.take(key(), rate, now).is_ok());
        assert!(here.take(RateKey::Login(7, "10.0.0.1".parse().unwrap()), rate, now).is_ok());
        let taken = here.taken(true);
        assert_eq!(taken, [(SharedRate::User(UserId::new_unchecked("u")), 2000)]);
        taken.into_iter().for_each(|(key, micros)| there.taken_elsewhere(key, micros, now));
        let left = || (0..10).filter(|_| there.take(key(), rate, now).is_ok()).count();
        assert_eq!(left(), 2);
        // Others know of it already when it is put back.
        here.put_back(&key(), rate, now);
        let back = here.taken(true);
        assert_eq!(back, [(SharedRate::User(UserId::new_unchecked("u")), -1000)]);
        back.into_iter().for_each(|(key, micros)| there.taken_elsewhere(key, micros, now));
        assert_eq!(left(), 1);
        for n in 0..20 {
            let _ = here.take(RateKey::User(UserId::new_unchecked(format!("{n}"))), rate, now);
        }
        assert_eq!(here.taken(false).len(), 8);
        assert_eq!(here.taken(false), []);
        for n in 0..20 {
            let micros = [i64::MAX, i64::MIN][n % 2];
            there.taken_elsewhere(SharedRate::User(UserId::new_unchecked(format!("{n}"))), micros, now);
        }
        there.check_invariants();
    }
}
