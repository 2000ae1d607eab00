//! Floor 2: HTTP/1.1 on byte slices, strictly by RFC 9112. No sockets, no clock, no buffers of its own: whoever has the
//! bytes calls `head::parse_head`, then `body::BodyReader`, and answers through `response_write::write_head`.
//!
//! What was read wrongly once can hide a second request behind it, so nothing is repaired: it is refused, and the
//! caller closes the connection after the answer.

pub(crate) mod body;
pub(crate) mod head;
pub(crate) mod response_parse;
pub(crate) mod response_write;
pub(crate) mod target;
pub(crate) mod urlencoded;

/// Whether `byte` may stand in a token: a method or a field name (RFC 9110 §5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether `byte` may stand in a field value: visible, white space, or beyond ASCII (RFC 9110 §5.5).
fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
