//! `GET /metrics`.

use super::request_metrics;
use super::response::Response;
use crate::base::metrics::exposition::Exposition;
use crate::base::metrics::{self, process};
use crate::base::time::WallTime;
use crate::domain::id::EventNumber;
use crate::wire::service::VERSION;

/// The state of all open streams at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamsSurvey {
    /// Live streams: those that have received all events.
    pub live: u64,
    /// Streams that are behind.
    pub behind: u64,
    /// Bytes in the streams' outboxes.
    pub bytes_waiting: u64,
    /// Event numbers between the stream furthest behind and the newest event.
    pub lag_events: u64,
    /// Time since the stream that has been behind for longest was live, in microseconds.
    pub lag_micros: u64,
}

/// `GET /metrics`: the Prometheus text format, version 0.0.4.
pub(crate) fn report(streams: StreamsSurvey, position: EventNumber, now: WallTime) -> Response {
    let mut text = Exposition::default();
    request_metrics::render(&mut text);
    metrics::render(&mut text);
    render_streams(&mut text, streams);
    text.gauge("cortex_journal_position", "Number of the newest event.", position.0);
    let age = match metrics::JOURNAL_OLDEST_AT.get() {
        0 => 0,
        oldest_at => (now.0.max(0) as u64).saturating_sub(oldest_at),
    };
    let help = "Age of the oldest state event in the journal.";
    text.gauge_seconds("cortex_journal_oldest_age_seconds", help, age);
    text.family("cortex_build_info", "gauge", "1, with the version of the program.");
    text.sample("cortex_build_info", &[("version", VERSION)], 1);
    process::render(&mut text);
    Response {
        status: 200,
        content_type: "text/plain; version=0.0.4; charset=utf-8",
        body: text.into_bytes().into(),
        ..Response::empty()
    }
}

fn render_streams(text: &mut Exposition, streams: StreamsSurvey) {
    text.family("cortex_streams", "gauge", "Open streams; live streams have received all events.");
    text.sample("cortex_streams", &[("state", "live")], streams.live);
    text.sample("cortex_streams", &[("state", "behind")], streams.behind);
    let help = "Journal numbers between the stream furthest behind and the newest event.";
    text.gauge("cortex_stream_lag_events", help, streams.lag_events);
    let help = "Time since the stream that has been behind for longest was live.";
    text.gauge_seconds("cortex_stream_lag_seconds", help, streams.lag_micros);
    text.family("cortex_outbox_bytes", "gauge", "Bytes that wait to be sent to clients.");
    text.sample("cortex_outbox_bytes", &[("of", "streams")], streams.bytes_waiting);
    text.sample("cortex_outbox_bytes", &[("of", "replies")], metrics::RESPONSES_WAITING_BYTES.get());
}
