//! Layer 2: HTTP/1.1 on byte slices, strictly by RFC 9112, without sockets, clocks or buffers. A server calls
//! [`head::parse_head`], then [`body::BodyReader`], then [`response_write::write_head`].
//!
//! Nothing is repaired, because a misread request can hide a second one (request smuggling). A malformed request is
//! rejected, and the caller closes the connection after the response.

pub(crate) mod body;
pub(crate) mod head;
pub(crate) mod response_parse;
pub(crate) mod response_write;
pub(crate) mod urlencoded;

/// Whether `byte` is valid in a token: a method or a field name (RFC 9110 §5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether `byte` is valid in a field value: visible, white space, or not ASCII (RFC 9110 §5.5).
fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
