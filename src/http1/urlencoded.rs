//! Percent-decoding (RFC 3986 §2.1) and `application/x-www-form-urlencoded` (WHATWG URL §5.1), for queries and forms.

use crate::base::limits::FORM_PAIRS_MAX;
use std::borrow::Cow;

/// A name and its value, decoded.
pub(crate) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Decodes one segment of a path; `None` if an escape is malformed or the result is not UTF-8. `+` is a literal.
pub fn decode_path_segment(raw: &str) -> Option<Cow<'_, str>> {
    decode(raw, false).ok()
}

/// Decodes the pairs of a query or a form, in order. `+` is a space, a name without `=` has an empty value, and names may
/// repeat.
///
/// # Errors
///
/// A message about a malformed escape (which the parser of WHATWG accepts), text that is not UTF-8, or too many pairs.
pub fn parse_pairs(raw: &str) -> Result<Vec<Pair<'_>>, &'static str> {
    let mut pairs = Vec::new();
    for part in raw.split('&').filter(|part| !part.is_empty()) {
        if pairs.len() == FORM_PAIRS_MAX {
            return Err("too many parameters");
        }
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        pairs.push((decode(name, true)?, decode(value, true)?));
    }
    Ok(pairs)
}

fn decode(raw: &str, plus_is_space: bool) -> Result<Cow<'_, str>, &'static str> {
    let bytes = raw.as_bytes();
    let is_special = |byte: &u8| *byte == b'%' || (plus_is_space && *byte == b'+');
    let Some(first) = bytes.iter().position(is_special) else { return Ok(Cow::Borrowed(raw)) };
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(&bytes[..first]);
    let mut rest = &bytes[first..];
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match (byte, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let (high, low) = hex(*high).zip(hex(*low)).ok_or("% must be followed by two hexadecimal digits")?;
                out.push(high << 4 | low);
                rest = tail;
            }
            (b'%', _) => return Err("% must be followed by two hexadecimal digits"),
            (b'+', _) if plus_is_space => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| "must be UTF-8 once percent-decoded")
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_segments() {
        let table = [
            ("", Some("")),
            ("plain", Some("plain")),
            ("a+b", Some("a+b")),
            ("%41%62c", Some("Abc")),
            ("a%2Fb%2f", Some("a/b/")),
            ("%C3%A4%e2%82%ac", Some("ä€")),
            ("%00", Some("\0")),
            ("%C3", None),
            ("%ff", None),
            ("%ED%A0%80", None),
            ("%", None),
            ("%4", None),
            ("%4g", None),
            ("%%41", None),
        ];
        for (raw, want) in table {
            assert_eq!(decode_path_segment(raw).as_deref(), want, "{raw}");
        }
        assert!(matches!(decode_path_segment("plain"), Some(Cow::Borrowed(_))));
    }

    #[test]
    fn pairs() {
        let escape = "% must be followed by two hexadecimal digits";
        type Plain = Result<&'static [(&'static str, &'static str)], &'static str>;
        let table: &[(&str, Plain)] = &[
            ("", Ok(&[])),
            ("&&", Ok(&[])),
            ("a=1&b=2&a=3", Ok(&[("a", "1"), ("b", "2"), ("a", "3")])),
            ("a", Ok(&[("a", "")])),
            ("a=", Ok(&[("a", "")])),
            ("=b", Ok(&[("", "b")])),
            ("a=b=c", Ok(&[("a", "b=c")])),
            ("a+b=c+d%2B%26%3d", Ok(&[("a b", "c d+&=")])),
            ("name=J%C3%B6rg", Ok(&[("name", "Jörg")])),
            ("name=Jörg+", Ok(&[("name", "Jörg ")])),
            ("a=%", Err(escape)),
            ("a=%4", Err(escape)),
            ("%zz=1", Err(escape)),
            ("a=1&b=%ff", Err("must be UTF-8 once percent-decoded")),
        ];
        for (raw, want) in table {
            let got = parse_pairs(raw);
            let got: Result<Vec<(&str, &str)>, &str> = match &got {
                Ok(pairs) => Ok(pairs.iter().map(|(name, value)| (&**name, &**value)).collect()),
                Err(message) => Err(message),
            };
            assert_eq!(got, want.map(|pairs| pairs.to_vec()), "{raw}");
        }
    }

    #[test]
    fn the_number_of_pairs_is_bounded() {
        assert_eq!(parse_pairs(&"a&".repeat(FORM_PAIRS_MAX)).unwrap().len(), FORM_PAIRS_MAX);
        assert!(parse_pairs(&"a&".repeat(FORM_PAIRS_MAX + 1)).is_err());
    }
}
