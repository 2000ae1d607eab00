//! What operators and passers-by ask.

use super::Reply;
use crate::base::metrics;
use crate::wire;

/// `GET /`
pub fn root() -> Reply {
    Reply::json(wire::reply::root())
}

/// `GET /metrics`: the Prometheus text format, version 0.0.4.
pub fn metrics() -> Reply {
    let mut text = String::new();
    metrics::render(&mut text);
    Reply {
        status: 200,
        content_type: "text/plain; version=0.0.4; charset=utf-8",
        fields: Vec::new(),
        body: text.into_bytes().into(),
    }
}
