//! Bytes in: heads and bodies, as they become complete.
//!
//! Nothing is copied when a read of the socket ends with a request: heads borrow from the socket's buffer, and only an
//! incomplete rest is kept.

use super::Connection;
use super::phase::Phase;
use crate::base::limits::{LINGER_BYTES_MAX, PIPELINE_BYTES_MAX};
use crate::base::time::MonoTime;
use crate::http1::body::BodyError;
use crate::http1::head::{Head, HeadError, HeadLimits, HeaderBuf, parse_head, worth_parsing};
use crate::shard::request::pending::ReceivingRequest;
use std::borrow::Cow;

/// How far the bytes that a connection reads from have been read.
#[derive(Debug, Default)]
pub(in crate::shard) struct ReadPosition {
    /// Bytes read.
    at: usize,
    /// Bytes after `at` in which no complete head was found before.
    searched: usize,
}

impl ReadPosition {
    fn advance(&mut self, bytes: usize) {
        self.at += bytes;
        self.searched = 0;
    }
}

/// What a connection has read.
#[must_use]
pub(in crate::shard) enum ReadEffect<'h, 'b> {
    /// Nothing more can be read now. Call `keep_rest`.
    Blocked,
    /// A head is complete.
    Head {
        /// The head.
        head: Head<'h, 'b>,
        /// No byte has arrived behind it yet.
        ends_input: bool,
    },
    /// A head is invalid. Respond, and end the connection.
    InvalidHead(HeadError),
    /// A request with a body is complete.
    Request(Box<ReceivingRequest>),
    /// A body is invalid. Respond, and end the connection.
    InvalidBody(Box<ReceivingRequest>, BodyError),
    /// A discarded body is invalid. Call `begin_closing`.
    BeginClosing,
    /// A closing connection has sent too much. Remove it.
    Close,
}

impl Connection {
    /// Whether bytes of the socket are wanted now.
    pub(in crate::shard) fn wants_bytes(&self) -> bool {
        match self.phase {
            Phase::Head => !self.is_paused(),
            Phase::Waiting(_) => false,
            // What is read shows whether the client is still there. A next request is kept.
            Phase::Passing(_) => self.input.is_empty(),
            Phase::Body(_) | Phase::Discard(_) | Phase::Stream(_) | Phase::Closing { .. } => true,
        }
    }

    /// Whether so much output waits that no further request is read.
    pub(super) fn is_paused(&self) -> bool {
        self.outbox.bytes() >= PIPELINE_BYTES_MAX
    }

    /// Bytes have arrived: returns what is to be read now, which is the bytes themselves unless some were kept before.
    pub(in crate::shard) fn receive<'a>(&mut self, bytes: &'a [u8]) -> (Cow<'a, [u8]>, ReadPosition) {
        if self.input.is_empty() {
            return (Cow::Borrowed(bytes), ReadPosition::default());
        }
        let searched = self.input.len();
        self.input.extend_from_slice(bytes);
        (Cow::Owned(std::mem::take(&mut self.input)), ReadPosition { at: 0, searched })
    }

    /// Returns the bytes that were kept, to be read now.
    pub(in crate::shard) fn resume_reading(&mut self) -> (Cow<'static, [u8]>, ReadPosition) {
        (Cow::Owned(std::mem::take(&mut self.input)), ReadPosition::default())
    }

    /// Reads until something is complete.
    pub(in crate::shard) fn read<'h, 'b>(
        &mut self,
        input: &'b [u8],
        position: &mut ReadPosition,
        headers: &'h mut HeaderBuf<'b>,
        limits: &HeadLimits,
        now: MonoTime,
    ) -> ReadEffect<'h, 'b> {
        loop {
            let rest = &input[position.at..];
            match &mut self.phase {
                Phase::Head => {
                    if rest.is_empty() || self.is_paused() || !worth_parsing(position.searched, rest, limits) {
                        return ReadEffect::Blocked;
                    }
                    return match parse_head(rest, headers, limits) {
                        Ok(None) => ReadEffect::Blocked,
                        Ok(Some(head)) => {
                            position.advance(head.bytes);
                            ReadEffect::Head { head, ends_input: position.at == input.len() }
                        }
                        Err(error) => {
                            position.advance(rest.len());
                            ReadEffect::InvalidHead(error)
                        }
                    };
                }
                Phase::Body(receiving) => {
                    let progress = receiving.read(rest);
                    position.advance(progress.as_ref().map_or(rest.len(), |progress| progress.consumed));
                    if progress.as_ref().is_ok_and(|progress| !progress.done) {
                        return ReadEffect::Blocked;
                    }
                    let Some(receiving) = self.take_receiving() else { unreachable!("the phase is Body") };
                    return match progress {
                        Ok(_) => ReadEffect::Request(receiving),
                        Err(error) => ReadEffect::InvalidBody(receiving, error),
                    };
                }
                Phase::Discard(reader) => {
                    let Ok(progress) = reader.discard(rest) else {
                        position.advance(rest.len());
                        return ReadEffect::BeginClosing;
                    };
                    position.advance(progress.consumed);
                    if !progress.done {
                        return ReadEffect::Blocked;
                    }
                    self.phase = Phase::Head;
                    self.since = now;
                }
                Phase::Waiting(_) | Phase::Passing(_) => return ReadEffect::Blocked,
                // A client has nothing to send on a stream.
                Phase::Stream(_) => {
                    position.advance(rest.len());
                    return ReadEffect::Blocked;
                }
                Phase::Closing { discarded_bytes, .. } => {
                    position.advance(rest.len());
                    *discarded_bytes += rest.len();
                    let is_over = *discarded_bytes > LINGER_BYTES_MAX;
                    return if is_over { ReadEffect::Close } else { ReadEffect::Blocked };
                }
            }
        }
    }

    /// Keeps what was not read, and begins to wait for the rest of it.
    pub(in crate::shard) fn keep_rest(&mut self, input: Cow<'_, [u8]>, position: &ReadPosition, now: MonoTime) {
        let is_complete = position.at == input.len();
        match input {
            Cow::Borrowed(_) if is_complete => {}
            Cow::Borrowed(bytes) => {
                self.input.extend_from_slice(&bytes[position.at..]);
                self.since = now;
            }
            Cow::Owned(mut bytes) => {
                if position.at > 0 {
                    self.since = now;
                }
                if !is_complete {
                    bytes.drain(..position.at);
                    self.input = bytes;
                }
            }
        }
    }
}
