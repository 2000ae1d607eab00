//! The errors of a head.

/// Why a head is rejected. The start of the next request is then unknown, so the connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// More than two empty lines before the request line.
    EmptyLines,
    /// Not a method, a target and a version with one space between them.
    RequestLine,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// The target exceeds `TARGET_BYTES_MAX`.
    TargetTooLong,
    /// The target is neither a path, nor an `http` URI, nor `*` with `OPTIONS`.
    TargetForm,
    /// The target has a byte that is not visible ASCII.
    TargetByte,
    /// The target has a fragment.
    TargetFragment,
    /// The path has a `%` without two hexadecimal digits.
    TargetEncoding,
    /// A bare LF or a bare CR.
    LineEnd,
    /// A field name is not a token, has white space before it (obs-fold) or after it, or has no colon.
    FieldName,
    /// A field value has a control character.
    FieldValue,
    /// More than `HEADERS_MAX` fields.
    TooManyFields,
    /// The head exceeds `HeadLimits::head_bytes_max`.
    TooLarge,
    /// HTTP/1.1 without Host.
    HostMissing,
    /// More than one Host.
    HostRepeated,
    /// Host is empty, or is not a host with an optional port.
    HostMalformed,
    /// Content-Length is not a decimal number of at most 64 bits.
    LengthMalformed,
    /// More than one Content-Length, equal or not.
    LengthRepeated,
    /// Transfer-Encoding is not exactly one `chunked`.
    CodingUnknown,
    /// Transfer-Encoding in HTTP/1.0, which does not define it.
    CodingInHttp10,
    /// Both Content-Length and Transfer-Encoding.
    LengthAndCoding,
    /// An expectation other than `100-continue`.
    Expectation,
}

impl HeadError {
    /// The status of the response.
    pub fn status(self) -> u16 {
        match self {
            HeadError::TargetTooLong => 414,
            HeadError::Expectation => 417,
            HeadError::TooManyFields | HeadError::TooLarge => 431,
            _ => 400,
        }
    }

    /// The error code of the API.
    pub fn code(self) -> &'static str {
        match self.status() {
            414 => "uri_too_long",
            417 => "expectation_failed",
            431 => "headers_too_large",
            _ => "bad_request",
        }
    }

    /// The message for the client.
    pub fn message(self) -> &'static str {
        match self {
            HeadError::EmptyLines => "Too many empty lines before the request",
            HeadError::RequestLine => {
                "The request line must be a method, a target and a version with one space between them"
            }
            HeadError::Version => "The version must be HTTP/1.0 or HTTP/1.1",
            HeadError::TargetTooLong => "The request target is too long",
            HeadError::TargetForm => "The request target must be a path, or an http URI without a user name",
            HeadError::TargetByte => "The request target must be visible ASCII",
            HeadError::TargetFragment => "The request target must not have a fragment",
            HeadError::TargetEncoding => "In the path, % must be followed by two hexadecimal digits",
            HeadError::LineEnd => "Every line must end in CR LF, and must not have CR or LF elsewhere",
            HeadError::FieldName => {
                "A header line must be a name followed immediately by a colon, and a value on the same line"
            }
            HeadError::FieldValue => "A header value must not have control characters",
            HeadError::TooManyFields => "Too many header fields",
            HeadError::TooLarge => "The request head is too large",
            HeadError::HostMissing => "An HTTP/1.1 request must have a Host header",
            HeadError::HostRepeated => "A request must have only one Host header",
            HeadError::HostMalformed => "Host must be a name or an address with an optional port",
            HeadError::LengthMalformed => "Content-Length must be a decimal number",
            HeadError::LengthRepeated => "A request must have only one Content-Length",
            HeadError::CodingUnknown => "Transfer-Encoding must be exactly one \"chunked\"",
            HeadError::CodingInHttp10 => "HTTP/1.0 does not support Transfer-Encoding",
            HeadError::LengthAndCoding => "A request must not have both Content-Length and Transfer-Encoding",
            HeadError::Expectation => "The only supported expectation is 100-continue",
        }
    }
}

impl From<httparse::Error> for HeadError {
    fn from(error: httparse::Error) -> HeadError {
        match error {
            httparse::Error::Token | httparse::Error::Status => HeadError::RequestLine,
            httparse::Error::Version => HeadError::Version,
            httparse::Error::NewLine => HeadError::LineEnd,
            httparse::Error::HeaderName => HeadError::FieldName,
            httparse::Error::HeaderValue => HeadError::FieldValue,
            httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        }
    }
}
