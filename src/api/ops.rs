//! What operators and passers-by ask. The answers about health need nothing but what they are given, so that they can be
//! given before there is a store.

use super::{JSON, Response, traffic};
use crate::base::metrics::exposition::Exposition;
use crate::base::metrics::{self, process};
use crate::base::time::WallTime;
use crate::domain::health::{Readiness, WriterFault};
use crate::domain::id::EventNumber;
use crate::wire;
use crate::wire::reply::VERSION;

/// All open streams at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamsSurvey {
    /// Streams that have been given everything.
    pub live: u64,
    /// The others.
    pub behind: u64,
    /// Bytes that wait for their readers.
    pub bytes_waiting: u64,
    /// Numbers of the journal between the one that is furthest behind and the newest.
    pub lag_events: u64,
    /// How long ago the one that has been behind for longest was last live, in microseconds.
    pub lag_micros: u64,
}

/// How a reader took the question whether it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReaderCheck {
    /// It answered.
    Answered,
    /// It answered that the database fails.
    Failed,
    /// Its queue had no room.
    Busy,
    /// It did not answer in time.
    Late,
}

impl ReaderCheck {
    fn as_str(self) -> &'static str {
        match self {
            ReaderCheck::Answered => OK,
            ReaderCheck::Failed => "the database cannot be read",
            ReaderCheck::Busy => "too many questions wait",
            ReaderCheck::Late => "the database does not answer in time",
        }
    }
}

/// What a check says when nothing is wrong.
const OK: &str = "ok";

/// `GET /`
pub(crate) fn root() -> Response {
    Response::json(wire::reply::root())
}

/// `GET /health`: whether the database can be read and written to.
pub(crate) fn health(reader: ReaderCheck, writer: Option<WriterFault>, now: WallTime) -> Response {
    let checks = [("database_read", reader.as_str()), ("database_write", writer.map_or(OK, WriterFault::as_str))];
    let healthy = checks.iter().all(|(_, check)| *check == OK);
    report(healthy, if healthy { "healthy" } else { "unhealthy" }, &checks, now)
}

/// `GET /health/live`: whoever reads this was answered by an event loop that turns.
pub(crate) fn live(now: WallTime) -> Response {
    report(true, "alive", &[], now)
}

/// `GET /health/ready`
pub(crate) fn ready(readiness: Readiness, now: WallTime) -> Response {
    let reason = readiness.reason();
    let checks = [("ready", reason.unwrap_or(OK))];
    report(reason.is_none(), if reason.is_none() { "ready" } else { "not ready" }, &checks, now)
}

fn report(good: bool, status: &str, checks: &[(&str, &str)], now: WallTime) -> Response {
    let body = wire::reply::health(status, checks, now);
    Response {
        status: if good { 200 } else { 503 },
        content_type: JSON,
        fields: vec![("Cache-Control", "no-store".into())],
        body: body.into(),
    }
}

/// `GET /metrics`: the Prometheus text format, version 0.0.4.
pub(crate) fn metrics(streams: StreamsSurvey, position: EventNumber, now: WallTime) -> Response {
    let mut text = Exposition::default();
    traffic::render(&mut text);
    metrics::render(&mut text);
    render_streams(&mut text, streams);
    text.gauge("cortex_journal_position", "Number of the newest event.", position.0);
    let age = match metrics::JOURNAL_OLDEST_AT.get() {
        0 => 0,
        oldest_at => (now.0.max(0) as u64).saturating_sub(oldest_at),
    };
    let help = "Age of the oldest event kept that is no message.";
    text.gauge_seconds("cortex_journal_oldest_age_seconds", help, age);
    text.family("cortex_build_info", "gauge", "1, with the version of the program.");
    text.sample("cortex_build_info", &[("version", VERSION)], 1);
    process::render(&mut text);
    Response {
        status: 200,
        content_type: "text/plain; version=0.0.4; charset=utf-8",
        fields: Vec::new(),
        body: text.into_bytes().into(),
    }
}

fn render_streams(text: &mut Exposition, streams: StreamsSurvey) {
    text.family("cortex_streams", "gauge", "Open streams: live ones have been given everything.");
    text.sample("cortex_streams", &[("state", "live")], streams.live);
    text.sample("cortex_streams", &[("state", "behind")], streams.behind);
    let help = "Journal numbers between the stream furthest behind and the newest event.";
    text.gauge("cortex_stream_lag_events", help, streams.lag_events);
    let help = "Time since the stream that has been behind for longest was live.";
    text.gauge_seconds("cortex_stream_lag_seconds", help, streams.lag_micros);
    text.family("cortex_outbox_bytes", "gauge", "Bytes that wait for their readers.");
    text.sample("cortex_outbox_bytes", &[("of", "streams")], streams.bytes_waiting);
    text.sample("cortex_outbox_bytes", &[("of", "replies")], metrics::RESPONSES_WAITING_BYTES.get());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(reply: &Response) -> String {
        assert_eq!(reply.fields, [("Cache-Control", "no-store".into())]);
        String::from_utf8(reply.body.to_vec()).unwrap()
    }

    #[test]
    fn a_check_that_fails_makes_the_service_unhealthy_and_says_why() {
        let table = [
            (ReaderCheck::Answered, None, 200, "\"healthy\"", "\"database_read\":\"ok\",\"database_write\":\"ok\""),
            (
                ReaderCheck::Late,
                None,
                503,
                "\"unhealthy\"",
                "\"database_read\":\"the database does not answer in time\"",
            ),
            (ReaderCheck::Busy, None, 503, "\"unhealthy\"", "\"database_read\":\"too many questions wait\""),
            (ReaderCheck::Failed, None, 503, "\"unhealthy\"", "\"database_read\":\"the database cannot be read\""),
            (
                ReaderCheck::Answered,
                Some(WriterFault::Full),
                503,
                "\"unhealthy\"",
                "\"database_write\":\"the disk is full\"",
            ),
        ];
        for (reader, writer, status, word, check) in table {
            let reply = health(reader, writer, WallTime(0));
            let body = body(&reply);
            assert_eq!(reply.status, status, "{body}");
            assert!(body.starts_with(&format!("{{\"status\":{word},\"service\":\"conversational-core\",")), "{body}");
            assert!(body.contains(check), "{body}");
        }
    }

    #[test]
    fn only_who_is_ready_says_so() {
        let table = [
            (Readiness::Ready, 200, "\"ready\""),
            (Readiness::Starting, 503, "starting"),
            (Readiness::Draining, 503, "shutting down"),
            (Readiness::Unwritable(WriterFault::Locked), 503, "locked"),
        ];
        for (readiness, status, word) in table {
            let reply = ready(readiness, WallTime(0));
            assert_eq!(reply.status, status);
            assert!(body(&reply).contains(word), "{readiness:?}");
        }
        assert_eq!(live(WallTime(0)).status, 200);
    }
}
