//! Queueing a response: its head and its body.

use super::context::RequestContext;
use super::finished::FinishedRequest;
use crate::api::{Response, cors};
use crate::base::time::Now;
use crate::http1::head::Method;
use crate::http1::response_write::{Length, ResponseHead};
use crate::shard::Shard;
use std::borrow::Cow;

/// Most header fields of one response beside the fixed ones: those of the rate, of CORS and of the `Response`.
const FIELDS_MAX: usize = 20;
/// Fields of every response: no content sniffing, and no `Referer` from its links, whose URL may carry a token.
const ALWAYS: &str = "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n";
/// The same with the default of `Cache-Control`. Nearly every response contains a token (RFC 6749 §5.1), private data, or a
/// state that changes.
const ALWAYS_NOT_STORED: &str =
    "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-store\r\n";

impl Shard {
    /// Queues a response. The connection then waits for the next request, or closes.
    pub(in crate::shard) fn respond(
        &mut self,
        slot: u32,
        request_context: &RequestContext<'_>,
        response: Response,
        now: Now,
    ) {
        let response = response.in_form_of(&request_context.path);
        let keep_alive = request_context.keep_alive && !self.draining;
        let length = match response.status {
            204 | 304 => Length::NoBody,
            _ => Length::Known(response.body.len() as u64),
        };
        self.push_head(slot, request_context, &response, length, keep_alive, now);
        let is_head = request_context.method == Method::Head;
        let body = if is_head { Cow::Borrowed(&[][..]) } else { response.body };
        self.note_finished(request_context, response.status, body.len());
        self.connections.push_body(slot, body, request_context.user.as_ref(), now.mono);
        self.connections.output_queued(slot, now);
        if keep_alive {
            self.connections.arm(slot, now);
        } else {
            self.begin_closing(slot, now);
        }
    }

    /// Queues the head of a response.
    pub(in crate::shard) fn push_head(
        &mut self,
        slot: u32,
        request_context: &RequestContext<'_>,
        response: &Response,
        length: Length,
        keep_alive: bool,
        now: Now,
    ) {
        let second = now.wall.seconds();
        if self.date.0 != second {
            self.date = (second, now.wall.imf_fixdate());
        }
        let mut fields = [("", ""); FIELDS_MAX];
        let mut count = 0;
        let mut add = |name, value| {
            fields[count] = (name, value);
            count += 1;
        };
        if !response.content_type.is_empty() {
            add("Content-Type", response.content_type);
        }
        add("X-Request-Id", &request_context.request_id);
        let quota = request_context.quota.map(|quota| quota.field_values(&mut self.quota_text));
        if let Some((policy, remaining)) = quota {
            add("RateLimit-Policy", policy);
            add("RateLimit", remaining);
        }
        for (name, value) in &response.fields {
            add(name, value);
        }
        if let Some(origin) = &request_context.origin {
            for (name, value) in cors::fields(origin) {
                add(name, value);
            }
        }
        if let Some(varies) = cors::varies(&self.context.settings.origins).filter(|_| !response.has("Vary")) {
            add("Vary", varies);
        }
        self.connections[slot].push_head(&ResponseHead {
            status: response.status,
            keep_alive,
            version: request_context.version,
            date: &self.date.1,
            length,
            fields: &fields[..count],
            fixed_lines: if response.has("Cache-Control") { ALWAYS } else { ALWAYS_NOT_STORED },
        });
    }

    /// Notes a request whose response is queued, for its metrics and its log line.
    pub(in crate::shard) fn note_finished(
        &mut self,
        request_context: &RequestContext<'_>,
        status: u16,
        body_bytes: usize,
    ) {
        if let Some(user) = &request_context.user {
            self.shared.overload.note(user, status == 503, request_context.started);
        }
        self.finished.push(FinishedRequest::new(request_context, status, body_bytes));
    }
}
