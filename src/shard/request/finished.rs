//! Finished requests: their metrics and their lines in the access log.

use super::context::RequestContext;
use crate::api::request_metrics::{self, Endpoint};
use crate::base::log::{self, AccessLine};
use crate::base::time::MonoTime;
use crate::domain::id::UserId;
use crate::http1::head::Method;
use std::sync::Arc;

/// A request whose response is queued.
pub(in crate::shard) struct FinishedRequest {
    started: MonoTime,
    method: Method,
    endpoint: Endpoint,
    status: u16,
    /// For the access log, if it is enabled.
    line: Option<FinishedRequestLine>,
}

struct FinishedRequestLine {
    method: Box<str>,
    path: Box<str>,
    body_bytes: usize,
    request_id: Arc<str>,
    user: Option<UserId>,
}

impl FinishedRequest {
    /// A request whose response has this status and this many bytes in its body.
    pub(super) fn new(request_context: &RequestContext<'_>, status: u16, body_bytes: usize) -> FinishedRequest {
        let line = log::access_enabled().then(|| FinishedRequestLine {
            method: request_context.method_name.as_ref().into(),
            path: request_context.path.as_ref().into(),
            body_bytes,
            request_id: Arc::clone(&request_context.request_id),
            user: request_context.user.clone(),
        });
        let RequestContext { started, method, endpoint, .. } = *request_context;
        FinishedRequest { started, method, endpoint, status, line }
    }

    /// Counts the request, and writes its log line.
    pub(in crate::shard) fn record(self, now: MonoTime) {
        let micros = now.since(self.started);
        request_metrics::record(self.endpoint, self.method, self.status, micros);
        let Some(line) = self.line else { return };
        log::access(&AccessLine {
            method: &line.method,
            path: &line.path,
            status: self.status,
            bytes: line.body_bytes as u64,
            micros,
            request_id: &line.request_id,
            user: line.user.as_ref().map(UserId::as_str),
        });
    }
}
