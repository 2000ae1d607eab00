//! `Last-Event-ID`: the position from which a client resumes a stream.

use crate::domain::id::EventNumber;

/// Where `Last-Event-ID` values tell a stream to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastEventId {
    /// There is no value, or only empty ones.
    Absent,
    /// After this number.
    Number(EventNumber),
    /// A value is not a number of this server's.
    Invalid,
}

/// Parses the values of `Last-Event-ID` fields or parameters. Clients and proxies may repeat the field or join its values with
/// commas; the largest number counts.
pub fn parse_last_event_ids<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> LastEventId {
    let mut largest = LastEventId::Absent;
    for part in values.into_iter().flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii) {
        if part.is_empty() {
            continue;
        }
        largest = match (parse_number(part), largest) {
            (None, _) => return LastEventId::Invalid,
            (Some(number), LastEventId::Number(other)) => LastEventId::Number(number.max(other)),
            (Some(number), _) => LastEventId::Number(number),
        };
    }
    largest
}

/// Parses an id (HTML Standard §9.2.4): ASCII digits within 64 bits. This server sends no other ids.
fn parse_number(value: &[u8]) -> Option<EventNumber> {
    value
        .iter()
        .try_fold(0_u64, |number, byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        })
        .map(EventNumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_event_ids() {
        let table: [(&[&[u8]], LastEventId); 24] = [
            (&[], LastEventId::Absent),
            (&[b""], LastEventId::Absent),
            (&[b"", b" , "], LastEventId::Absent),
            (&[b"0"], LastEventId::Number(EventNumber(0))),
            (&[b"41"], LastEventId::Number(EventNumber(41))),
            (&[b"007"], LastEventId::Number(EventNumber(7))),
            (&[b" 1 "], LastEventId::Number(EventNumber(1))),
            (&[b"1, 8"], LastEventId::Number(EventNumber(8))),
            (&[b"8,1"], LastEventId::Number(EventNumber(8))),
            (&[b"5", b"", b"3,"], LastEventId::Number(EventNumber(5))),
            (&[b"18446744073709551615"], LastEventId::Number(EventNumber(u64::MAX))),
            (&[b"18446744073709551616"], LastEventId::Invalid),
            (&[b"99999999999999999999"], LastEventId::Invalid),
            (&[b"+1"], LastEventId::Invalid),
            (&[b"-1"], LastEventId::Invalid),
            (&[b"1.0"], LastEventId::Invalid),
            (&[b"1 2"], LastEventId::Invalid),
            (&[b"0x1"], LastEventId::Invalid),
            (&[b"abc"], LastEventId::Invalid),
            (&[b"1, abc"], LastEventId::Invalid),
            (&[b"abc", b"7"], LastEventId::Invalid),
            (&["٣".as_bytes()], LastEventId::Invalid),
            (&[b"\xff"], LastEventId::Invalid),
            (&[b"5;6"], LastEventId::Invalid),
        ];
        for (values, expected) in table {
            assert_eq!(parse_last_event_ids(values.iter().copied()), expected, "{values:?}");
        }
    }
}
