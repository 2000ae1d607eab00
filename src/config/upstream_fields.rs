//! The header fields that are added to each request to a model: `Name=value,Name2=value2` with percent-encoded values, as in
//! OpenTelemetry's header variables (W3C Baggage).

use super::types::Secret;
use crate::base::limits::{UPSTREAM_FIELD_BYTES_MAX, UPSTREAM_FIELDS_MAX};

/// Fields that the connection or the framing of the request determines, in lower case.
const RESERVED: [&str; 14] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamField {
    /// The name, a token.
    pub name: Box<str>,
    /// The value, in visible ASCII, with spaces and tabs inside.
    pub value: Secret,
}

impl UpstreamField {
    /// Parses a list of fields.
    ///
    /// # Errors
    ///
    /// The rule that is broken. It names the field, but does not repeat a value.
    pub(super) fn parse_list(list: &str) -> Result<Vec<UpstreamField>, String> {
        let mut fields: Vec<UpstreamField> = Vec::new();
        for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let field = UpstreamField::parse(item)?;
            if fields.iter().any(|other| other.name.eq_ignore_ascii_case(&field.name)) {
                return Err(format!("the field {} is there twice", field.name));
            }
            fields.push(field);
        }
        match fields.len() {
            0..=UPSTREAM_FIELDS_MAX => Ok(fields),
            _ => Err(format!("allowed are at most {UPSTREAM_FIELDS_MAX} fields")),
        }
    }

    fn parse(item: &str) -> Result<UpstreamField, String> {
        // An item without `=` may be a part of a secret, so it is not repeated.
        let (name, value) = item.split_once('=').ok_or("each field has the form Name=value")?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || name.len() > UPSTREAM_FIELD_BYTES_MAX || !name.bytes().all(is_token_byte) {
            return Err("the name of each field must be a token, as in RFC 9110".to_owned());
        }
        if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
            return Err(format!("the field {name} is set by the server itself"));
        }
        let value = percent_decoded(value)
            .filter(|value| value.bytes().all(|byte| byte.is_ascii_graphic() || b" \t".contains(&byte)))
            .filter(|value| value.trim() == value && value.len() <= UPSTREAM_FIELD_BYTES_MAX)
            .ok_or_else(|| {
                format!("the value of {name} must be percent-encoded ASCII of at most {UPSTREAM_FIELD_BYTES_MAX} bytes, in one line")
            })?;
        Ok(UpstreamField { name: name.into(), value: Secret::new(value) })
    }
}

/// RFC 9110 §5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 3986 §2.1; `None` if an escape is malformed or the result is not UTF-8. `+` is a literal.
fn percent_decoded(raw: &str) -> Option<String> {
    let mut parts = raw.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        decoded.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_parsed() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            ("X-Team=chat", &[("X-Team", "chat")]),
            (" a = b , c=d=e ,", &[("a", "b"), ("c", "d=e")]),
            ("Authorization=Basic%20dTpw", &[("Authorization", "Basic dTpw")]),
            ("a=%2C%3d%25+", &[("a", ",=%+")]),
            ("a=", &[("a", "")]),
        ];
        for (list, expected) in table {
            let fields = UpstreamField::parse_list(list).unwrap_or_else(|error| panic!("{list}: {error}"));
            let fields: Vec<_> = fields.iter().map(|field| (&*field.name, field.value.expose())).collect();
            assert_eq!(fields, *expected, "{list}");
        }
    }

    #[test]
    fn invalid_fields_are_rejected_without_their_values() {
        let table = [
            ("hunter2", "Name=value"),
            ("=hunter2", "token"),
            ("a b=hunter2", "token"),
            ("a\r\nX:=hunter2", "token"),
            ("\u{e9}=hunter2", "token"),
            ("a=hunter2%0d%0aX: y", "value of a"),
            ("a=hunter2%00", "value of a"),
            ("a=hunter2%", "value of a"),
            ("a=hunter2%2", "value of a"),
            ("a=hunter2%zz", "value of a"),
            ("a=hunter2%+f", "value of a"),
            ("a=hunter2%ff", "value of a"),
            ("a=hunter2%c3%a9", "value of a"),
            ("a=hunter2%20", "value of a"),
            ("a=hunter2,A=hunter2", "twice"),
            ("Host=hunter2", "Host"),
            ("content-length=hunter2", "content-length"),
            ("Transfer-Encoding=hunter2", "Transfer-Encoding"),
            ("connection=hunter2", "connection"),
        ];
        for (list, part) in table {
            let error = UpstreamField::parse_list(list).expect_err(list);
            assert!(error.contains(part) && !error.contains("hunter2"), "{list}: {error}");
        }
        let long = format!("a={}", "x".repeat(UPSTREAM_FIELD_BYTES_MAX + 1));
        assert!(UpstreamField::parse_list(&long).is_err());
        let many: Vec<String> = (0..=UPSTREAM_FIELDS_MAX).map(|n| format!("n{n}=v")).collect();
        assert!(UpstreamField::parse_list(&many.join(",")).expect_err("too many").contains("at most 32"));
        assert!(UpstreamField::parse_list(&many[1..].join(",")).is_ok());
    }
}
