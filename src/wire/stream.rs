//! The JSON of tickets, of the list of open streams, and of renewals.

use crate::domain::open_stream::OpenStream;
use crate::wire::json::JsonWriter;

/// The body of `GET /output/streams`.
pub(crate) fn open_streams(streams: &[OpenStream]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + 160 * streams.len());
    let mut json = JsonWriter(&mut out);
    json.raw("{\"streams\":")
        .array(streams, |json, stream| {
            json.raw("{\"stream_id\":")
                .uuid(stream.id)
                .raw(",\"since\":")
                .time(stream.since)
                .raw(",\"state\":")
                .string(if stream.live { "live" } else { "behind" })
                .raw(",\"events_behind\":")
                .number(stream.events_behind)
                .raw(",\"bytes_behind\":")
                .number(stream.bytes_behind)
                .raw("}");
        })
        .raw(",\"total\":")
        .number(streams.len() as u64)
        .raw("}");
    out
}

/// The body of `POST /output/streams/{stream_id}/renew`.
pub(crate) fn renewed(stream_id: &str, expires_in_seconds: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    JsonWriter(&mut out)
        .raw("{\"status\":\"stream renewed\",\"stream_id\":")
        .string(stream_id)
        .raw(",\"expires_in\":")
        .number(expires_in_seconds)
        .raw("}");
    out
}

/// The body of `POST /auth/stream-ticket`.
pub(crate) fn ticket(ticket: &str, expires_in_seconds: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + ticket.len());
    JsonWriter(&mut out).raw("{\"ticket\":").string(ticket).raw(",\"expires_in\":").number(expires_in_seconds).raw("}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::WallTime;
    use uuid::Uuid;

    #[test]
    fn shapes() {
        let stream = OpenStream { id: Uuid::nil(), since: WallTime(0), live: true, events_behind: 1, bytes_behind: 2 };
        let table = [
            (open_streams(&[]), r#"{"streams":[],"total":0}"#),
            (
                open_streams(&[stream]),
                r#"{"streams":[{"stream_id":"00000000-0000-0000-0000-000000000000","since":"1970-01-01T00:00:00.000000Z","state":"live","events_behind":1,"bytes_behind":2}],"total":1}"#,
            ),
            (renewed("s", 9), r#"{"status":"stream renewed","stream_id":"s","expires_in":9}"#),
            (ticket("a.b.c", 9), r#"{"ticket":"a.b.c","expires_in":9}"#),
        ];
        for (got, want) in table {
            assert_eq!(String::from_utf8(got).unwrap(), want);
        }
    }
}
