//! Receiving a request: what its head admits, the body, and the end of a request that does not arrive whole.

use crate::api::Response;
use crate::api::error::ApiError;
use crate::base::limits::*;
use crate::base::time::Now;
use crate::http1::body::{BodyError, BodyReader};
use crate::http1::head::{Framing, Head, HeadError};
use crate::http1::response_write::{self};
use crate::shard::Shard;
use crate::shard::connection::{DiscardedBody, Phase, ReceivingRequest, RequestContext};

impl Shard {
    /// Decides from the head alone who may go on; `head_ends_input` says that nothing of a body has arrived yet.
    pub(in crate::shard) fn head_complete(&mut self, slot: u32, head: &Head<'_, '_>, head_ends_input: bool, now: Now) {
        let mut request_context = self.request_context(head, now);
        let admitted = match self.admit(slot, head, &mut request_context, now) {
            Ok(admitted) => admitted,
            Err(reply) => return self.answer_early(slot, request_context, *reply, head, now),
        };
        if head.framing == Framing::None {
            return self.execute(slot, request_context, admitted, &[], now);
        }
        let bytes_max = admitted.operation.body_bytes_max(self.context.settings.body_bytes_max) as u64;
        let reader = match BodyReader::new(head.framing, bytes_max) {
            Ok(reader) => reader,
            Err(_) => {
                let reply = ApiError::payload_too_large(bytes_max).into_response();
                return self.answer_early(slot, request_context, reply, head, now);
            }
        };
        let receiving = ReceivingRequest {
            request_context: request_context.into_owned(),
            admitted: admitted.into_owned(),
            reader,
            body: Vec::new(),
        };
        let conn = &mut self.connections[slot as usize];
        conn.phase = Phase::Body(Box::new(receiving));
        conn.since = now.mono;
        // RFC 9110 §10.1.1: no need to say so when the body is coming already.
        if head.expect_continue && head_ends_input {
            conn.outbox.push_with(|out| out.extend_from_slice(response_write::CONTINUE));
            self.mark_dirty(slot, now);
        }
    }

    pub(in crate::shard) fn body_complete(&mut self, slot: u32, now: Now) {
        let conn = &mut self.connections[slot as usize];
        let Phase::Body(receiving) = std::mem::replace(&mut conn.phase, Phase::Head) else {
            unreachable!("a body ends where one began")
        };
        let ReceivingRequest { request_context, admitted, body, .. } = *receiving;
        self.execute(slot, request_context, admitted, &body, now);
    }

    pub(in crate::shard) fn bad_head(&mut self, slot: u32, error: HeadError, now: Now) {
        let request_context = self.unread_meta(now);
        let reply = ApiError::new(error.status(), error.code(), error.message()).into_response();
        self.respond(slot, &request_context, reply, now);
    }

    pub(in crate::shard) fn bad_body(&mut self, slot: u32, error: BodyError, now: Now) {
        let settings_max = self.context.settings.body_bytes_max;
        let bytes_max = match &self.connections[slot as usize].phase {
            Phase::Body(receiving) => receiving.admitted.operation.body_bytes_max(settings_max),
            _ => settings_max,
        };
        let request_context = self.receiving_meta(slot, now);
        let reply = match error {
            BodyError::TooLarge => ApiError::payload_too_large(bytes_max as u64),
            other => ApiError::new(other.status(), other.code(), other.message()),
        }
        .into_response();
        self.respond(slot, &request_context, reply, now);
    }

    pub(in crate::shard) fn request_timed_out(&mut self, slot: u32, now: Now) {
        let request_context = self.receiving_meta(slot, now);
        self.respond(slot, &request_context, ApiError::request_timeout().into_response(), now);
    }

    /// What is known of a request that is cut off: all, if its body was on its way. Its connection ends with it.
    fn receiving_meta(&mut self, slot: u32, now: Now) -> RequestContext<'static> {
        let conn = &mut self.connections[slot as usize];
        match std::mem::replace(&mut conn.phase, Phase::Head) {
            Phase::Body(receiving) => RequestContext { keep_alive: false, ..receiving.request_context },
            _ => self.unread_meta(now),
        }
    }

    /// Answers before the body is read; a short body is passed over, else the connection ends.
    fn answer_early(
        &mut self,
        slot: u32,
        mut request_context: RequestContext<'_>,
        reply: Response,
        head: &Head<'_, '_>,
        now: Now,
    ) {
        let short = match head.framing {
            Framing::None => None,
            Framing::Length(bytes) if bytes <= DISCARD_BYTES_MAX as u64 && !head.expect_continue => {
                BodyReader::new(head.framing, bytes).ok()
            }
            Framing::Length(_) | Framing::Chunked => {
                request_context.keep_alive = false;
                None
            }
        };
        self.respond(slot, &request_context, reply, now);
        if let (Some(reader), Some(conn)) = (short, self.connections.get_mut(slot as usize))
            && matches!(conn.phase, Phase::Head)
        {
            conn.phase = Phase::Discard(Box::new(DiscardedBody { reader }));
            conn.since = now.mono;
        }
    }
}
