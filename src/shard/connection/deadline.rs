//! The deadline of a connection: when it is, and what its expiry means.

use super::Connection;
use super::phase::Phase;
use crate::base::limits::{HEALTH_TIMEOUT_MILLISECONDS, LINGER_MILLISECONDS};
use crate::base::time::{MonoTime, Now};
use crate::config::Settings;
use crate::shard::request::pending::Continuation;

/// The timeouts of all connections of a shard, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionTimeouts {
    /// Between two requests.
    keep_alive: u64,
    /// For a head, from its first byte.
    header: u64,
    /// For a body, from the end of its head.
    body: u64,
    /// For a reader that takes no byte.
    stall: u64,
    /// Shortens `keep_alive` while the shard drains.
    pub(super) drain: Option<DrainNotice>,
}

/// How long a draining shard keeps connections without a request, so that a client can send a last one.
#[derive(Debug, Clone, Copy)]
pub(in crate::shard) struct DrainNotice {
    /// When the shard began to drain.
    pub began: MonoTime,
    /// How long a connection is kept from then on, or from its last response.
    pub milliseconds: u64,
}

impl ConnectionTimeouts {
    pub(super) fn new(settings: &Settings, drain: Option<DrainNotice>) -> ConnectionTimeouts {
        ConnectionTimeouts {
            keep_alive: settings.keep_alive_ms,
            header: settings.header_timeout_ms,
            body: settings.body_timeout_ms,
            stall: settings.stream_stall_timeout_ms,
            drain,
        }
    }
}

/// What the shard must do with a connection whose deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(in crate::shard) enum Expiry {
    /// The reader stalled, or all that was waited for is over: close the socket and remove the connection.
    Close,
    /// No further request came, or not all of a discarded body: call `begin_closing`.
    BeginClosing,
    /// A request did not arrive in time: respond `408`.
    RequestTimeout,
    /// No reader responded to a health check in time: respond so.
    HealthTimeout,
    /// The stream has something to do: call `Subscriber::tick`.
    TickStream,
    /// A response that an answer is passed on to has something to do: call `tick_passing`.
    TickPassing,
    /// Measure how many bytes the kernel has not delivered, and pass the number to `Connection::drain_measured`.
    MeasureDrain,
}

impl Connection {
    /// What the passing of the deadline means at `now`, or the deadline if it is later; `None` without a deadline.
    pub(super) fn expire(&self, timeouts: &ConnectionTimeouts, now: Now) -> Option<Result<Expiry, MonoTime>> {
        let (deadline, expiry) = self.deadline(timeouts, now)?;
        if deadline > now.mono {
            return Some(Err(deadline));
        }
        let is_stalled = self.waits_for_reader && self.stalls_at(timeouts) <= now.mono;
        Some(Ok(if is_stalled { Expiry::Close } else { expiry }))
    }

    /// The present deadline, and what its expiry means unless the reader has stalled by then. `None` while only a worker is
    /// waited for, since every worker responds.
    pub(super) fn deadline(&self, timeouts: &ConnectionTimeouts, now: Now) -> Option<(MonoTime, Expiry)> {
        let of_phase = self.deadline_of_phase(timeouts, now);
        let Some(drain) = self.held.as_ref().and_then(|held| held.drain.as_ref()) else { return of_phase };
        match of_phase {
            Some((deadline, _)) if deadline <= drain.check_at => of_phase,
            _ => Some((drain.check_at, Expiry::MeasureDrain)),
        }
    }

    fn deadline_of_phase(&self, timeouts: &ConnectionTimeouts, now: Now) -> Option<(MonoTime, Expiry)> {
        let stalls_at = self.stalls_at(timeouts);
        let after = |milliseconds| self.since.plus_milliseconds(milliseconds);
        Some(match &self.phase {
            Phase::Head if self.waits_for_reader => (stalls_at, Expiry::Close),
            Phase::Head if self.input.is_empty() => match timeouts.drain {
                None => (after(timeouts.keep_alive), Expiry::BeginClosing),
                // All responses were read a while ago, so closing at once cannot cut one off.
                Some(DrainNotice { began, milliseconds }) => {
                    let notice_ends = began.max(self.since).plus_milliseconds(milliseconds);
                    (after(timeouts.keep_alive).min(notice_ends), Expiry::Close)
                }
            },
            Phase::Head => (after(timeouts.header), Expiry::RequestTimeout),
            Phase::Body(_) => (after(timeouts.body), Expiry::RequestTimeout),
            Phase::Discard(_) => (after(timeouts.body), Expiry::BeginClosing),
            Phase::Waiting(pending) if pending.continuation == Continuation::Health => {
                (after(HEALTH_TIMEOUT_MILLISECONDS), Expiry::HealthTimeout)
            }
            Phase::Waiting(_) => return None,
            Phase::Passing(passed) if self.waits_for_reader => (passed.next_tick().min(stalls_at), Expiry::TickPassing),
            Phase::Passing(passed) => (passed.next_tick(), Expiry::TickPassing),
            // Nothing follows what waits, but a part of it may have to be read again.
            Phase::Stream(stream) if stream.has_ended() => match stream.retry_at() {
                Some(retry_at) => (retry_at.min(stalls_at), Expiry::TickStream),
                None => (stalls_at, Expiry::Close),
            },
            Phase::Stream(stream) if self.waits_for_reader => {
                (stream.next_tick(now).min(stalls_at), Expiry::TickStream)
            }
            Phase::Stream(stream) => (stream.next_tick(now), Expiry::TickStream),
            Phase::Closing { write_ended: false, .. } => (stalls_at, Expiry::Close),
            Phase::Closing { write_ended: true, .. } => (after(LINGER_MILLISECONDS), Expiry::Close),
        })
    }

    /// When a reader that takes no further byte counts as stalled.
    pub(super) fn stalls_at(&self, timeouts: &ConnectionTimeouts) -> MonoTime {
        self.progress_at.plus_milliseconds(timeouts.stall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::WallTime;
    use crate::http1::body::BodyReader;
    use crate::http1::head::Framing;
    use std::net::Ipv4Addr;

    const STALL: u64 = 7_000;
    const TIMEOUTS: ConnectionTimeouts =
        ConnectionTimeouts { keep_alive: 5_000, header: 1_000, body: 3_000, stall: STALL, drain: None };

    /// A connection that was accepted at time 0.
    fn connection() -> Connection {
        Connection::new(1, Ipv4Addr::LOCALHOST.into(), MonoTime(0))
    }

    fn with_input(mut conn: Connection) -> Connection {
        conn.input.push(b'G');
        conn
    }

    fn with_output(mut conn: Connection) -> Connection {
        conn.push_continue();
        let _ = conn.output_queued(MonoTime(0));
        conn
    }

    fn discarding(mut conn: Connection) -> Connection {
        conn.discard_body(BodyReader::new(Framing::Length(1), 1).unwrap(), MonoTime(0));
        conn
    }

    fn closing(mut conn: Connection) -> Connection {
        let _ = conn.begin_closing(MonoTime(0));
        conn
    }

    #[test]
    fn each_wait_has_its_deadline() {
        let draining = |began: u64, milliseconds| ConnectionTimeouts {
            drain: Some(DrainNotice { began: MonoTime(1_000 * began), milliseconds }),
            ..TIMEOUTS
        };
        let table = [
            (connection(), TIMEOUTS, 5_000, Expiry::BeginClosing),
            (connection(), draining(2_000, 500), 2_500, Expiry::Close),
            (connection(), draining(4_000, 5_000), 5_000, Expiry::Close),
            (with_input(connection()), TIMEOUTS, 1_000, Expiry::RequestTimeout),
            (with_input(connection()), draining(0, 500), 1_000, Expiry::RequestTimeout),
            (with_output(connection()), TIMEOUTS, STALL, Expiry::Close),
            (discarding(connection()), TIMEOUTS, 3_000, Expiry::BeginClosing),
            (closing(connection()), TIMEOUTS, LINGER_MILLISECONDS, Expiry::Close),
            (closing(with_output(connection())), TIMEOUTS, STALL, Expiry::Close),
        ];
        for (conn, timeouts, milliseconds, expiry) in table {
            let deadline = MonoTime(1_000 * milliseconds);
            let at = |micros| Now { wall: WallTime(0), mono: MonoTime(micros) };
            assert_eq!(conn.expire(&timeouts, at(deadline.0 - 1)), Some(Err(deadline)), "{conn:?}");
            assert_eq!(conn.expire(&timeouts, at(deadline.0)), Some(Ok(expiry)), "{conn:?}");
        }
    }

    #[test]
    fn a_stalled_reader_is_closed_whatever_else_is_due() {
        let conn = discarding(with_output(connection()));
        let now = Now { wall: WallTime(0), mono: MonoTime(1_000 * STALL) };
        assert_eq!(conn.expire(&TIMEOUTS, now), Some(Ok(Expiry::Close)));
    }
}
