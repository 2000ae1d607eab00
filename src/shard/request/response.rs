//! Queueing a response: its head, its body, and its line in the access log.

use crate::api::{Response, cors};
use crate::base::log;
use crate::base::time::Now;
use crate::http1::head::Method;
use crate::http1::response_write::{Length, ResponseHead, write_head};
use crate::shard::connection::{Phase, RequestContext};
use crate::shard::{FinishedRequest, FinishedRequestLine, Shard};
use std::borrow::Cow;
use std::sync::Arc;

/// Fields that one answer can have at most: our own, those of the rate, those of CORS, and those of the reply.
const FIELDS_MAX: usize = 24;
/// Fields of every answer: a body is what its type says, a link from it says nothing of where it stood, and nobody on the
/// way keeps it. Nearly every answer shows a token (RFC 6749 §5.1), somebody's data, or a state that passes.
const ALWAYS: [(&str, &str); 2] = [("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")];
/// Of every answer that says nothing else of it.
const UNKEPT: (&str, &str) = ("Cache-Control", "no-store");

impl Shard {
    /// Queues an answer. The connection is ready for the next request, or ends.
    pub(in crate::shard) fn respond(
        &mut self,
        slot: u32,
        request_context: &RequestContext<'_>,
        reply: Response,
        now: Now,
    ) {
        let keep_alive = request_context.keep_alive && !self.draining;
        let length = match reply.status {
            204 | 304 => Length::NoBody,
            _ => Length::Known(reply.body.len() as u64),
        };
        self.write_head(slot, request_context, &reply, length, keep_alive, now);
        let conn = &mut self.connections[slot as usize];
        let (status, body) =
            (reply.status, if request_context.method == Method::Head { Cow::Borrowed(&[][..]) } else { reply.body });
        let body_bytes = body.len();
        conn.outbox.push_body(body);
        conn.reply_bytes += body_bytes;
        self.reply_bytes += body_bytes;
        conn.phase = Phase::Head;
        conn.since = now.mono;
        self.note_finished(request_context, status, body_bytes);
        self.mark_dirty(slot, now);
        if keep_alive {
            self.arm(slot, now);
        } else {
            self.begin_closing(slot, now);
        }
    }

    /// Queues the head of an answer.
    pub(in crate::shard) fn write_head(
        &mut self,
        slot: u32,
        request_context: &RequestContext<'_>,
        reply: &Response,
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
        if !reply.content_type.is_empty() {
            add("Content-Type", reply.content_type);
        }
        add("X-Request-Id", &request_context.request_id);
        for (name, value) in ALWAYS {
            add(name, value);
        }
        if !reply.has("Cache-Control") {
            add(UNKEPT.0, UNKEPT.1);
        }
        let quota = request_context.quota.map(|quota| quota.field_values(&mut self.quota_text));
        if let Some((policy, left)) = quota {
            add("RateLimit-Policy", policy);
            add("RateLimit", left);
        }
        for (name, value) in &reply.fields {
            add(name, value);
        }
        if let Some(origin) = &request_context.origin {
            for (name, value) in cors::fields(origin) {
                add(name, value);
            }
        }
        if let Some(varies) = cors::varies(&self.context.settings.origins).filter(|_| !reply.has("Vary")) {
            add("Vary", varies);
        }
        let head = ResponseHead {
            status: reply.status,
            keep_alive,
            version: request_context.version,
            date: &self.date.1,
            length,
            fields: &fields[..count],
        };
        self.connections[slot as usize].outbox.push_with(|out| write_head(out, &head));
    }

    pub(in crate::shard) fn note_finished(&mut self, request_context: &RequestContext<'_>, status: u16, bytes: usize) {
        let line = log::access_enabled().then(|| FinishedRequestLine {
            method: request_context.method_name.as_ref().into(),
            path: request_context.path.as_ref().into(),
            bytes,
            request_id: Arc::clone(&request_context.request_id),
            user: request_context.user.clone(),
        });
        let RequestContext { started, method, endpoint, .. } = *request_context;
        self.finished.push(FinishedRequest { started, method, endpoint, status, line });
    }
}
