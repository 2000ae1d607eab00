//! From a head to a complete request, and the end of requests that never become complete.

use super::context::{AdmittedRequest, RequestContext};
use super::pending::ReceivingRequest;
use crate::api::Response;
use crate::api::error::ApiError;
use crate::base::limits::DISCARD_BYTES_MAX;
use crate::base::time::Now;
use crate::http1::body::{BodyError, BodyReader};
use crate::http1::head::{Framing, Head, HeadError};
use crate::shard::Shard;

impl Shard {
    /// Admits or rejects a request by its head. `ends_input`: no byte of a body has arrived yet.
    pub(in crate::shard) fn head_complete(&mut self, slot: u32, head: &Head<'_, '_>, ends_input: bool, now: Now) {
        let mut request_context = self.request_context(head, now);
        let admitted = match self.admit(slot, head, &mut request_context, now) {
            Ok(admitted) => admitted,
            Err(response) => return self.respond_early(slot, request_context, *response, head, now),
        };
        if head.framing == Framing::None {
            return self.execute(slot, request_context, admitted, &[], now);
        }
        let bytes_max = self.body_bytes_max(&admitted);
        let Ok(reader) = BodyReader::new(head.framing, bytes_max) else {
            let response = ApiError::payload_too_large(bytes_max).into_response();
            return self.respond_early(slot, request_context, response, head, now);
        };
        let receiving = ReceivingRequest::new(request_context.into_owned(), admitted.into_owned(), reader);
        let conn = &mut self.connections[slot];
        conn.receive_body(receiving, now.mono);
        // RFC 9110 §10.1.1: it may be omitted when part of the body has arrived.
        if head.expect_continue && ends_input {
            conn.push_continue();
            self.connections.output_queued(slot, now);
        }
    }

    /// Executes a request whose body is complete. A change may have ended its token while the body arrived.
    pub(in crate::shard) fn body_complete(&mut self, slot: u32, receiving: ReceivingRequest, now: Now) {
        let (request_context, admitted, body) = receiving.into_parts();
        if let Some(caller) = &admitted.caller
            && let Err(error) = self.check_again(caller, now)
        {
            return self.respond(slot, &request_context, error.into_response(), now);
        }
        self.execute(slot, request_context, admitted, &body, now);
    }

    /// Responds to an invalid head.
    pub(in crate::shard) fn reject_head(&mut self, slot: u32, error: HeadError, now: Now) {
        let request_context = self.unreadable_context(now);
        let response = ApiError::new(error.status(), error.code(), error.message()).into_response();
        self.respond(slot, &request_context, response, now);
    }

    /// Responds to an invalid body.
    pub(in crate::shard) fn reject_body(&mut self, slot: u32, receiving: ReceivingRequest, error: BodyError, now: Now) {
        let error = match error {
            BodyError::TooLarge => ApiError::payload_too_large(self.body_bytes_max(&receiving.admitted)),
            other => ApiError::new(other.status(), other.code(), other.message()),
        };
        let request_context = RequestContext { keep_alive: false, ..receiving.request_context };
        self.respond(slot, &request_context, error.into_response(), now);
    }

    /// Responds to a request of which the rest did not arrive in time.
    pub(in crate::shard) fn request_timed_out(&mut self, slot: u32, now: Now) {
        self.end_incomplete(slot, ApiError::request_timeout(), now);
    }

    /// Rejects a request of which only a part has arrived, because such requests exceed their budget.
    pub(in crate::shard) fn reject_incomplete(&mut self, slot: u32, now: Now) {
        let error = ApiError::overloaded_by("You have too many unfinished requests; try again", "requests_full");
        self.end_incomplete(slot, error, now);
    }

    fn end_incomplete(&mut self, slot: u32, error: ApiError, now: Now) {
        let request_context = match self.connections[slot].take_receiving() {
            Some(receiving) => RequestContext { keep_alive: false, ..receiving.request_context },
            None => self.unreadable_context(now),
        };
        self.respond(slot, &request_context, error.into_response(), now);
    }

    fn body_bytes_max(&self, admitted: &AdmittedRequest<'_>) -> u64 {
        let setting = self.context.settings.body_bytes_max.min(self.context.memory.body_bytes_max());
        admitted.operation.body_bytes_max(setting) as u64
    }

    /// Responds before the body is read. A short body is then discarded; otherwise the connection ends.
    fn respond_early(
        &mut self,
        slot: u32,
        mut request_context: RequestContext<'_>,
        response: Response,
        head: &Head<'_, '_>,
        now: Now,
    ) {
        let discarding = match head.framing {
            Framing::None => None,
            Framing::Length(bytes) if bytes <= DISCARD_BYTES_MAX as u64 && !head.expect_continue => {
                BodyReader::new(head.framing, bytes).ok()
            }
            Framing::Length(_) | Framing::Chunked => {
                request_context.keep_alive = false;
                None
            }
        };
        self.respond(slot, &request_context, response, now);
        if let (Some(reader), Some(conn)) = (discarding, self.connections.get_mut(slot)) {
            conn.discard_body(reader, now.mono);
        }
    }
}
