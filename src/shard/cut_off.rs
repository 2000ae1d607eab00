//! What a process does while it cannot reach its database server, which another one may reach. It opens no streams. After a while, it
//! turns its open ones away, and rejects requests at once, so that a balancer sends them elsewhere.
//!
//! A database in a file has no other process, so its streams stay, and show what comes when it can be written to again.

use super::Shard;
use crate::api::error::ApiError;
use crate::api::{Action, AnswerSubscription, Response, Subscription};
use crate::base::limits::{CUT_OFF_CHECK_MILLISECONDS, CUT_OFF_MILLISECONDS};
use crate::base::time::{MonoTime, Now};
use crate::domain::result::Rejection;
use crate::shard::subscription::subscriber::TurnAway;

impl Shard {
    /// Since when the database server cannot be reached; `None` if it can, or if the database is in a file.
    fn cut_off_since(&self, now: MonoTime) -> Option<MonoTime> {
        let is_server = self.context.settings.database.is_server();
        is_server.then(|| self.shared.writer_health.unreachable_since(now)).flatten()
    }

    /// The response to a request that needs the database server, if that cannot be reached. A request without a stream may still
    /// succeed at first.
    pub(in crate::shard) fn cut_off_response(&mut self, action: &Action, now: MonoTime) -> Option<Response> {
        let since = self.cut_off_since(now)?;
        match action {
            Action::Subscribe(Subscription { start, named, .. })
            | Action::FollowAnswer(AnswerSubscription { start, named, .. }) => Some(self.defer_stream(*start, *named)),
            Action::Submit(_)
            | Action::Query(_)
            | Action::CheckPassword(_)
            | Action::CancelAnswer(_)
            | Action::Complete(..)
                if has_lasted(since, now) =>
            {
                Some(ApiError::rejected(Rejection::Unavailable, "").into_response())
            }
            _ => None,
        }
    }

    /// When [`Shard::tick_cut_off`] is due.
    pub(super) fn cut_off_timeout(&self) -> Option<MonoTime> {
        let has_streams = self.fan_out.users().next().is_some();
        (has_streams && self.context.settings.database.is_server()).then_some(self.cut_off_check_at)
    }

    /// Turns the streams away if the database server could not be reached for long enough.
    pub(super) fn tick_cut_off(&mut self, now: Now) {
        if self.cut_off_timeout().is_none_or(|check_at| now.mono < check_at) {
            return;
        }
        self.cut_off_check_at = now.mono.plus_milliseconds(CUT_OFF_CHECK_MILLISECONDS);
        if self.cut_off_since(now.mono).is_some_and(|since| has_lasted(since, now.mono)) {
            for slot in self.connections.streams() {
                self.turn_away(slot, TurnAway::CutOff, now);
            }
        }
    }
}

/// Whether the server could not be reached for so long that streams are turned away.
fn has_lasted(since: MonoTime, now: MonoTime) -> bool {
    now >= since.plus_milliseconds(CUT_OFF_MILLISECONDS)
}

#[cfg(all(test, feature = "cluster"))]
mod tests {
    use super::*;
    use crate::api::Context;
    use crate::auth::jwt::{Claims, Keys, Purpose};
    use crate::base::limits::{STREAM_RETRY_MILLISECONDS_MIN, STREAM_RETRY_SPREAD_MILLISECONDS};
    use crate::base::memory_plan::MemoryPlan;
    use crate::base::random::Random;
    use crate::base::time::WallTime;
    use crate::config::Settings;
    use crate::domain::health::WriterFault;
    use crate::domain::id::{EventNumber, UserId};
    use crate::domain::token_rules::Credential;
    use crate::shard::shared::SharedState;
    use crate::shard::{Input, Output};
    use std::collections::BTreeSet;
    use std::io::IoSlice;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    const STREAM: &str = "/output/stream";
    const SECRET: &str = "a secret of the tests with enough bytes";

    fn at(milliseconds: u64) -> Now {
        Now { wall: WallTime(1_700_000_000_000_000 + 1000 * milliseconds as i64), mono: MonoTime(1000 * milliseconds) }
    }

    fn shard(database: &str) -> Shard {
        let lookup = |name: &str| match name {
            "DATABASE_URL" => Some(database.to_owned()),
            "HEARTBEAT_INTERVAL_SECONDS" => Some("3600".to_owned()),
            "JWT_SECRET_KEY" => Some(SECRET.to_owned()),
            _ => None,
        };
        let settings = Settings::load(&lookup, 2).expect("the settings are valid").settings;
        let keys = Keys::new(SECRET.as_bytes(), &[], None, None);
        let context = Context { settings, memory: MemoryPlan::unlimited(), keys, epoch: "epoch".into() };
        let shared = Arc::new(SharedState::default());
        shared.streams.advance_position(EventNumber(7));
        Shard::new(0, Arc::new(context), shared, Arc::default(), EventNumber(7), Random::new(1))
    }

    /// Sends a request on a new connection. Returns its slot.
    fn request(shard: &mut Shard, target: &str, now: Now) -> u32 {
        let claims = Claims {
            user: UserId::new_unchecked("ann"),
            name: None,
            email: None,
            sub: None,
            expires_at: now.wall.plus_seconds(86_400),
            issued_at: None,
            credential: Credential::default(),
            purpose: Purpose::Access,
            key: shard.context.keys.current(),
        };
        let token = shard.context.keys.sign(&claims).expect("the key is accepted");
        let slot = shard.accept(Ipv4Addr::LOCALHOST.into(), now);
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
        shard.handle(Input::Bytes { slot, bytes: request.as_bytes() }, now);
        slot
    }

    /// What a connection has to send, which its socket takes, and whether it is closed then.
    fn sent(shard: &mut Shard, slot: u32, now: Now) -> (String, bool) {
        let mut text = String::new();
        loop {
            let mut slices = [IoSlice::new(&[]); 8];
            let filled = shard.outgoing(slot, &mut slices);
            let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
            if bytes.is_empty() {
                break;
            }
            text.push_str(std::str::from_utf8(&bytes).unwrap());
            shard.handle(Input::Wrote { slot, bytes: bytes.len() }, now);
        }
        let mut has_ended = false;
        while let Some(output) = shard.poll_output() {
            has_ended |= matches!(output, Output::EndWriting(ended) | Output::Close(ended) if ended == slot);
        }
        (text, has_ended)
    }

    #[test]
    fn streams_are_turned_away_when_the_server_cannot_be_reached_for_a_while() {
        let mut shard = shard("postgres://localhost/cortex");
        assert_eq!(shard.cut_off_timeout(), None, "without streams, there is nothing to check");
        let slots: Vec<u32> = (0..20).map(|_| request(&mut shard, STREAM, at(0))).collect();
        for slot in &slots {
            assert!(sent(&mut shard, *slot, at(0)).0.contains("connection_established"));
        }
        let mut now = at(0);
        let mut run_until = |shard: &mut Shard, milliseconds| {
            while let Some(due) = shard.poll_timeout().filter(|due| *due <= at(milliseconds).mono) {
                now = Now { mono: due.max(now.mono), ..now };
                shard.tick(now);
            }
        };
        // A short fault.
        shard.shared.writer_health.rests(Some(WriterFault::Unreachable));
        run_until(&mut shard, 10_000);
        shard.shared.writer_health.rests(None);
        run_until(&mut shard, 20_000);
        shard.shared.writer_health.rests(Some(WriterFault::Unreachable));
        run_until(&mut shard, 20_000 + CUT_OFF_MILLISECONDS);
        assert!(slots.iter().all(|slot| sent(&mut shard, *slot, at(35_000)).0.is_empty()), "the time is not over");
        // No stream is opened meanwhile.
        let late = request(&mut shard, STREAM, at(35_000));
        let (text, _) = sent(&mut shard, late, at(35_000));
        assert!(
            text.starts_with("HTTP/1.1 200 ") && text.contains("{\"type\":\"unavailable\",\"retry_ms\":"),
            "{text}"
        );
        // Another request may still succeed.
        let query = request(&mut shard, "/conversations", at(34_000));
        let (text, _) = sent(&mut shard, query, at(34_000));
        assert!(text.is_empty(), "it waits for a reader: {text}");
        run_until(&mut shard, 20_000 + CUT_OFF_MILLISECONDS + 2 * CUT_OFF_CHECK_MILLISECONDS);
        let query = request(&mut shard, "/conversations", at(37_000));
        let (text, _) = sent(&mut shard, query, at(37_000));
        assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("\r\nRetry-After: 1\r\n"), "{text}");
        let mut times = BTreeSet::new();
        for slot in &slots {
            let (text, has_ended) = sent(&mut shard, *slot, at(37_000));
            let retry = text.split("retry: ").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default();
            let data = format!("data: {{\"type\":\"unavailable\",\"retry_ms\":{retry}}}\nid: 7\n");
            assert!(has_ended && text.contains(&data), "{text}");
            times.insert(retry.parse::<u64>().unwrap());
        }
        let range = STREAM_RETRY_MILLISECONDS_MIN..STREAM_RETRY_MILLISECONDS_MIN + STREAM_RETRY_SPREAD_MILLISECONDS;
        assert!(times.iter().all(|time| range.contains(time)) && times.len() > 10, "{times:?}");
        assert_eq!(shard.cut_off_timeout(), None);
        // It serves again as soon as it reaches the server.
        shard.shared.writer_health.rests(None);
        let slot = request(&mut shard, STREAM, at(40_000));
        assert!(sent(&mut shard, slot, at(40_000)).0.contains("connection_established"));
    }

    #[test]
    fn streams_over_a_file_stay() {
        let mut shard = shard("sqlite:///cortex.db");
        let slot = request(&mut shard, STREAM, at(0));
        assert!(sent(&mut shard, slot, at(0)).0.contains("connection_established"));
        shard.shared.writer_health.rests(Some(WriterFault::Full));
        assert!(shard.cut_off_since(at(0).mono).is_none() && shard.cut_off_timeout().is_none());
    }
}
