use super::reading::{ReadEffect, ReadPosition};
use super::writing::OutputEffect;
use super::*;
use crate::base::limits::{LINGER_BYTES_MAX, PIPELINE_BYTES_MAX};
use crate::http1::head::{Framing, HeadLimits, HeaderBuf};
use std::net::Ipv4Addr;

const NOW: MonoTime = MonoTime(1_000_000);
const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 1024 };

fn connection() -> Connection {
    Connection::new(1, Ipv4Addr::LOCALHOST.into(), NOW)
}

/// A connection with a response of this many bytes in its outbox.
fn with_output(bytes: usize) -> Connection {
    let mut conn = connection();
    conn.push_body(vec![b'x'; bytes].into(), NOW);
    let _ = conn.output_queued(NOW);
    conn
}

/// The path of the head that `read` returns next, and whether the input ends with it; `None` if it is blocked.
fn read_head(conn: &mut Connection, input: &[u8], position: &mut ReadPosition) -> Option<(String, bool)> {
    let mut headers = HeaderBuf::new();
    match conn.read(input, position, &mut headers, &LIMITS, NOW) {
        ReadEffect::Head { head, ends_input } => Some((head.path.to_owned(), ends_input)),
        ReadEffect::Blocked => None,
        _ => panic!("no head"),
    }
}

/// Whether `read` returns `Close`, and not `Blocked`, for this input.
fn is_closed_by(conn: &mut Connection, input: &[u8]) -> bool {
    let mut headers = HeaderBuf::new();
    match conn.read(input, &mut ReadPosition::default(), &mut headers, &LIMITS, NOW) {
        ReadEffect::Close => true,
        ReadEffect::Blocked => false,
        _ => panic!("a closing connection reads no request"),
    }
}

#[test]
fn heads_are_read_from_the_sockets_buffer_and_an_incomplete_rest_is_kept() {
    let mut conn = connection();
    let (input, mut position) = conn.receive(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HT");
    assert!(matches!(input, std::borrow::Cow::Borrowed(_)), "nothing is copied");
    assert_eq!(read_head(&mut conn, &input, &mut position), Some(("/a".into(), false)));
    conn.push_body((&[]).into(), NOW);
    assert_eq!(read_head(&mut conn, &input, &mut position), None);
    conn.keep_rest(input, &position, NOW);
    assert_eq!(conn.input, b"GET /b HT");
    assert!(!conn.is_idle());

    let (input, mut position) = conn.receive(b"TP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(read_head(&mut conn, &input, &mut position), Some(("/b".into(), true)));
    conn.keep_rest(input, &position, NOW);
    assert!(conn.is_idle() && conn.input.capacity() == 0, "an idle connection keeps no buffer");
}

#[test]
fn a_full_outbox_pauses_reading_until_it_is_written() {
    let mut conn = with_output(PIPELINE_BYTES_MAX);
    assert!(!conn.wants_bytes());
    let (input, mut position) = conn.receive(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(read_head(&mut conn, &input, &mut position), None);
    conn.keep_rest(input, &position, NOW);
    // A peer that sends no more still gets the response to what it has sent.
    assert_eq!(conn.peer_ended(), Effect::Arm);

    assert_eq!(conn.wrote(1, NOW), Effect::ReadOn);
    let (input, mut position) = conn.resume_reading();
    assert_eq!(read_head(&mut conn, &input, &mut position), Some(("/a".into(), true)));
    conn.keep_rest(input, &position, NOW);
    assert_eq!(conn.settle(), Effect::BeginClosing);
}

#[test]
fn a_connection_closes_after_its_output_is_written_and_the_peer_has_ended() {
    // Whether output waits, and whether the peer has ended before; the effect of `begin_closing`, of the last write if output
    // waited, and of the peer's end if it came last.
    let table = [
        (false, false, Effect::EndWriting, None, Some(Effect::Close)),
        (false, true, Effect::Close, None, None),
        (true, false, Effect::Arm, Some(Effect::EndWriting), Some(Effect::Close)),
        (true, true, Effect::Arm, Some(Effect::Close), None),
    ];
    for (has_output, has_ended, begun, written, ended) in table {
        let mut conn = if has_output { with_output(10) } else { connection() };
        if has_ended {
            assert_eq!(conn.peer_ended(), Effect::BeginClosing);
        }
        assert_eq!(conn.begin_closing(NOW), begun);
        assert_eq!(conn.begin_closing(NOW), Effect::None, "once");
        if let Some(written) = written {
            assert_eq!(conn.wrote(9, NOW), Effect::None);
            assert_eq!(conn.wrote(1, NOW), written);
        }
        if let Some(ended) = ended {
            assert_eq!(conn.peer_ended(), ended);
        }
    }
}

#[test]
fn a_closing_connection_discards_a_bounded_amount() {
    let mut conn = connection();
    let _ = conn.begin_closing(NOW);
    assert!(conn.wants_bytes());
    assert!(!is_closed_by(&mut conn, &vec![0; LINGER_BYTES_MAX]));
    assert!(is_closed_by(&mut conn, &[0]));
}

#[test]
fn the_body_of_a_rejected_request_is_discarded_before_the_next_head() {
    let mut conn = connection();
    conn.discard_body(BodyReader::new(Framing::Length(4), 4).unwrap(), NOW);
    assert_eq!(conn.peer_ended(), Effect::BeginClosing, "the rest of the body will not come");
    let (input, mut position) = conn.receive(b"bodyGET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(read_head(&mut conn, &input, &mut position), Some(("/a".into(), true)));
}

#[test]
fn output_is_listed_and_timed_once_until_it_is_written() {
    let effect = |enlist, arm| OutputEffect { enlist, arm };
    let mut conn = connection();
    assert_eq!(conn.output_queued(NOW), effect(false, false), "nothing waits");
    conn.push_continue();
    assert_eq!(conn.output_queued(NOW), effect(true, true));
    assert_eq!(conn.output_queued(NOW), effect(false, false));
    assert_eq!(conn.wrote(1, NOW), Effect::None);
    conn.delisted();
    assert_eq!(conn.output_queued(NOW), effect(true, false), "the reader is already waited for");
    assert_eq!(conn.wrote(conn.outgoing_bytes(), NOW), Effect::Arm);
    conn.push_continue();
    assert_eq!(conn.output_queued(NOW), effect(false, true), "it is still listed");
    conn.check_invariants(0);
}

#[test]
#[should_panic(expected = "a request follows the response to the one before it")]
fn a_request_is_not_taken_up_while_the_connection_closes() {
    let mut conn = connection();
    let _ = conn.begin_closing(NOW);
    conn.leave_head(Phase::Head, NOW);
}
