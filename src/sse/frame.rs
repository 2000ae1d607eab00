//! Blocks of an event stream as they go onto the wire: one block for one connection, or one frame that many share.
//!
//! To HTTP/1.1 clients a stream is chunked (RFC 9112 §7.1), one chunk per block, so that a client can tell a cut from an end.
//! The head and the end of the chunk are part of the block's bytes, so that they cost no copy and no segment of their own.

use crate::domain::id::EventNumber;
use crate::sse::{BlockFields, write_block, write_name};
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;
use std::sync::OnceLock;

/// The last chunk (RFC 9112 §7.1), which is sent only at the planned end of a stream.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// Length of a chunk's head. The size has leading zeros, which RFC 9112 §7.1 allows, so that it can be written after the data.
const CHUNK_HEAD_BYTES: usize = CHUNK_SIZE_DIGITS + CRLF.len();
const CHUNK_SIZE_DIGITS: usize = 6;
const CRLF: &[u8] = b"\r\n";

const _: () = assert!(crate::base::limits::FRAME_BYTES_MAX < 1 << (4 * CHUNK_SIZE_DIGITS));

/// The form in which one stream receives its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamForm {
    /// Whether blocks have an `event:` line.
    pub named: bool,
    /// Whether each block is a chunk: HTTP/1.1. Otherwise the stream lasts until the connection closes: HTTP/1.0.
    pub chunked: bool,
}

/// Appends one block in this form. See [`write_block`].
pub(crate) fn write_block_in(
    form: StreamForm,
    fields: BlockFields,
    name: &str,
    write_json: impl FnOnce(&mut Vec<u8>),
    out: &mut Vec<u8>,
) {
    let name = form.named.then_some(name);
    if !form.chunked {
        return write_block(fields, name, write_json, out);
    }
    let head_at = out.len();
    out.extend_from_slice(&[0; CHUNK_HEAD_BYTES]);
    write_block(fields, name, write_json, out);
    let data_bytes = out.len() - head_at - CHUNK_HEAD_BYTES;
    write_chunk_head(data_bytes, &mut out[head_at..]);
    out.extend_from_slice(CRLF);
}

/// Appends a part of a stream: as one chunk, or unmodified.
pub(crate) fn write_part(is_chunked: bool, bytes: &[u8], out: &mut Vec<u8>) {
    if !is_chunked {
        return out.extend_from_slice(bytes);
    }
    let head_at = out.len();
    out.extend_from_slice(&[0; CHUNK_HEAD_BYTES]);
    write_chunk_head(bytes.len(), &mut out[head_at..]);
    out.extend_from_slice(bytes);
    out.extend_from_slice(CRLF);
}

/// One event, framed once for all its recipients.
///
/// The buffer has the parts of all forms in this order: the head of the named chunk, the `event:` line, the head of the
/// unnamed chunk, the block, the end of the chunk. A form is one or two slices of it.
#[derive(Debug)]
pub(crate) struct EventFrame {
    bytes: Vec<u8>,
    /// Where the `event:` line ends.
    name_end: usize,
    digest: OnceLock<u64>,
}

impl EventFrame {
    /// Frames the event whose JSON `write_json` appends, about `json_bytes` bytes of it. See [`write_block`].
    pub(crate) fn new(
        id: Option<EventNumber>,
        name: &str,
        json_bytes: usize,
        write_json: impl FnOnce(&mut Vec<u8>),
    ) -> EventFrame {
        let mut bytes = Vec::with_capacity(FIELDS_BYTES + name.len() + json_bytes);
        bytes.extend_from_slice(&[0; CHUNK_HEAD_BYTES]);
        write_name(name, &mut bytes);
        let name_end = bytes.len();
        bytes.extend_from_slice(&[0; CHUNK_HEAD_BYTES]);
        write_block(BlockFields { retry_milliseconds: None, id }, None, write_json, &mut bytes);
        let block_bytes = bytes.len() - name_end - CHUNK_HEAD_BYTES;
        bytes.extend_from_slice(CRLF);
        write_chunk_head(name_end - CHUNK_HEAD_BYTES + block_bytes, &mut bytes);
        write_chunk_head(block_bytes, &mut bytes[name_end..]);
        bytes.shrink_to_fit();
        EventFrame { bytes, name_end, digest: OnceLock::new() }
    }

    /// The bytes of the frame in this form, in two slices, of which the first may be empty.
    pub(crate) fn slices(&self, form: StreamForm) -> [&[u8]; 2] {
        let block_at = self.name_end + CHUNK_HEAD_BYTES;
        let end = if form.chunked { self.bytes.len() } else { self.bytes.len() - CRLF.len() };
        match (form.named, form.chunked) {
            (true, true) => [&self.bytes[..self.name_end], &self.bytes[block_at..end]],
            (true, false) => [&self.bytes[CHUNK_HEAD_BYTES..self.name_end], &self.bytes[block_at..end]],
            (false, true) => [&[], &self.bytes[self.name_end..end]],
            (false, false) => [&[], &self.bytes[block_at..end]],
        }
    }

    /// Length of the frame in this form.
    pub(crate) fn len(&self, form: StreamForm) -> usize {
        self.slices(form).iter().map(|slice| slice.len()).sum()
    }

    /// Appends a part of the frame in this form.
    pub(crate) fn copy(&self, form: StreamForm, mut part: Range<usize>, out: &mut Vec<u8>) {
        for slice in self.slices(form) {
            out.extend_from_slice(&slice[part.start.min(slice.len())..part.end.min(slice.len())]);
            part = part.start.saturating_sub(slice.len())..part.end.saturating_sub(slice.len());
        }
    }

    /// Tells frames of one event that differ apart.
    pub(crate) fn digest(&self) -> u64 {
        *self.digest.get_or_init(|| {
            let mut hasher = DefaultHasher::new();
            hasher.write(&self.bytes);
            hasher.finish()
        })
    }

    /// Bytes that the frame holds in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Bytes of a frame beside its name and its JSON, at most: chunk heads, `data: `, `id: ` with 20 digits, `event: `, line ends.
const FIELDS_BYTES: usize = 96;

/// Writes the head of a chunk of `data_bytes` bytes in place.
fn write_chunk_head(data_bytes: usize, out: &mut [u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    assert!(data_bytes < 1 << (4 * CHUNK_SIZE_DIGITS), "a block fits the digits of a chunk's size");
    for (at, digit) in out[..CHUNK_SIZE_DIGITS].iter_mut().enumerate() {
        *digit = HEX[data_bytes >> (4 * (CHUNK_SIZE_DIGITS - 1 - at)) & 15];
    }
    out[CHUNK_SIZE_DIGITS..CHUNK_HEAD_BYTES].copy_from_slice(CRLF);
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMS: [StreamForm; 4] = [
        StreamForm { named: false, chunked: false },
        StreamForm { named: true, chunked: false },
        StreamForm { named: false, chunked: true },
        StreamForm { named: true, chunked: true },
    ];

    #[test]
    fn a_shared_frame_is_the_block_in_every_form() {
        for json in ["{}".to_owned(), format!("{{\"a\":\"{}\"}}", "x".repeat(70_000))] {
            let frame =
                EventFrame::new(Some(EventNumber(41)), "input", 8, |out| out.extend_from_slice(json.as_bytes()));
            for form in FORMS {
                let mut alone = Vec::new();
                let fields = BlockFields { retry_milliseconds: None, id: Some(EventNumber(41)) };
                write_block_in(form, fields, "input", |out| out.extend_from_slice(json.as_bytes()), &mut alone);
                assert_eq!(frame.slices(form).concat(), alone, "{form:?}");
                assert_eq!(frame.len(form), alone.len());
            }
        }
    }

    #[test]
    fn blocks_are_chunks() {
        let mut out = Vec::new();
        let fields = BlockFields { retry_milliseconds: Some(3000), id: Some(EventNumber(7)) };
        let form = StreamForm { named: true, chunked: true };
        write_block_in(form, fields, "gap", |out| out.extend_from_slice(b"{}"), &mut out);
        let block = "retry: 3000\nevent: gap\ndata: {}\nid: 7\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), format!("{:06x}\r\n{block}\r\n", block.len()));
    }
}
