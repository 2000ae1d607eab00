//! `GET /health`, `/health/live` and `/health/ready`. The responses depend on arguments alone, so that a server can send
//! them before its database is open.

use super::response::{JSON, Response};
use crate::base::time::WallTime;
use crate::domain::health::{Readiness, WriterFault};
use crate::wire;

/// How a reader responded to a health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReaderCheck {
    /// It read from the database.
    Answered,
    /// The database failed.
    Failed,
    /// The readers' queue was full.
    Busy,
    /// It did not respond in time.
    Late,
}

impl ReaderCheck {
    fn as_str(self) -> &'static str {
        match self {
            ReaderCheck::Answered => OK,
            ReaderCheck::Failed => "the database cannot be read",
            ReaderCheck::Busy => "too many queries wait",
            ReaderCheck::Late => "the database does not respond in time",
        }
    }
}

/// The text of a check that passed.
const OK: &str = "ok";

/// `GET /health`: whether the database can be read and written to.
pub(crate) fn health(reader: ReaderCheck, writer: Option<WriterFault>, now: WallTime) -> Response {
    let checks = [("database_read", reader.as_str()), ("database_write", writer.map_or(OK, WriterFault::as_str))];
    let is_healthy = checks.iter().all(|(_, check)| *check == OK);
    report(is_healthy, if is_healthy { "healthy" } else { "unhealthy" }, &checks, now)
}

/// `GET /health/live`: the event loop is running if it can respond.
pub(crate) fn live(now: WallTime) -> Response {
    report(true, "alive", &[], now)
}

/// `GET /health/ready`: whether a load balancer should send requests to this server.
pub(crate) fn ready(readiness: Readiness, now: WallTime) -> Response {
    let reason = readiness.reason();
    let checks = [("ready", reason.unwrap_or(OK))];
    report(reason.is_none(), if reason.is_none() { "ready" } else { "not ready" }, &checks, now)
}

fn report(is_good: bool, status: &str, checks: &[(&str, &str)], now: WallTime) -> Response {
    let body = wire::service::health(status, checks, now);
    Response {
        status: if is_good { 200 } else { 503 },
        content_type: JSON,
        fields: vec![("Cache-Control", "no-store".into())],
        body: body.into(),
        ..Response::empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(response: &Response) -> String {
        assert_eq!(response.fields, [("Cache-Control", "no-store".into())]);
        String::from_utf8(response.body.to_vec()).unwrap()
    }

    #[test]
    fn a_failed_check_is_reported_as_unhealthy_with_its_reason() {
        let table = [
            (ReaderCheck::Answered, None, 200, "\"healthy\"", "\"database_read\":\"ok\",\"database_write\":\"ok\""),
            (
                ReaderCheck::Late,
                None,
                503,
                "\"unhealthy\"",
                "\"database_read\":\"the database does not respond in time\"",
            ),
            (ReaderCheck::Busy, None, 503, "\"unhealthy\"", "\"database_read\":\"too many queries wait\""),
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
            let response = health(reader, writer, WallTime(0));
            let body = body(&response);
            assert_eq!(response.status, status, "{body}");
            assert!(body.starts_with(&format!("{{\"status\":{word},\"service\":\"conversational-core\",")), "{body}");
            assert!(body.contains(check), "{body}");
        }
    }

    #[test]
    fn readiness_is_200_only_when_ready() {
        let table = [
            (Readiness::Ready, 200, "\"ready\""),
            (Readiness::Starting, 503, "starting"),
            (Readiness::Draining, 503, "shutting down"),
            (Readiness::Unwritable(WriterFault::Locked), 503, "locked"),
            (Readiness::Overloaded, 503, "most users"),
        ];
        for (readiness, status, word) in table {
            let response = ready(readiness, WallTime(0));
            assert_eq!(response.status, status);
            assert!(body(&response).contains(word), "{readiness:?}");
        }
        assert_eq!(live(WallTime(0)).status, 200);
    }
}
