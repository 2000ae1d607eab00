//! The same over HTTPS, with a server certificate signed by the authority of the tests.

use super::standin::Channel;
use super::*;
use cortex_core::internals::FailureKind;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

impl Channel for StreamOwned<ServerConnection, TcpStream> {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/formats/upstream/certificates").join(name)
}

fn encrypted(scripts: Vec<Vec<Step>>) -> StandIn {
    let chain = vec![CertificateDer::from_pem_file(file("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let wrap = move |mut socket: TcpStream| {
        let mut connection = ServerConnection::new(config.clone()).map_err(std::io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(Box::new(StreamOwned::new(connection, socket)) as Box<dyn Channel>)
    };
    StandIn::wrapped(scripts, Arc::new(wrap))
}

fn upstream(standin: &StandIn, host: &str, authority: &str, timeouts: Timeouts) -> Arc<Upstream> {
    let url = format!("https://{host}:{}/v1", standin.addr.port());
    let settings = UpstreamSettings { ca_file: Some(file(authority)), timeouts, ..settings(url) };
    Arc::new(Upstream::new(settings).expect("the settings are valid"))
}

fn failure(upstream: &Arc<Upstream>) -> cortex_core::internals::Failure {
    ask(upstream).1.expect_err("the request fails")
}

#[test]
fn answers_are_read_through_an_encrypted_connection() {
    let table: [(&str, Vec<Step>); 5] = [
        ("until the end of the connection", say(until_close(&good_events()))),
        ("in chunks", say(chunked(&good_events(), 10))),
        ("byte by byte", vec![Step::Pieces(until_close(&good_events()), 1)]),
        ("kept open after [DONE]", vec![Step::Send(until_close(&good_events())), Step::Hang]),
        ("after an error", say(with_length(500, "", ""))),
    ];
    for (name, script) in table {
        for host in ["localhost", "127.0.0.1"] {
            let standin = encrypted(vec![script.clone(), say(until_close(&good_events()))]);
            let (text, end) = ask(&upstream(&standin, host, "authority.pem", LONG_TIMEOUTS));
            assert_eq!((text.as_str(), end.is_ok()), (TEXT, true), "{name}, {host}: {end:?}");
            assert!(standin.requests()[0].head.contains(&format!("Host: {host}:")));
        }
    }
}

#[test]
fn a_long_request_is_sent_over_tls() {
    let standin = encrypted(vec![say(until_close(&good_events()))]);
    let long = "x".repeat(3_000_000);
    let upstream = upstream(&standin, "localhost", "authority.pem", LONG_TIMEOUTS);
    ask_about(&upstream, &history(&[long.as_str()])).1.unwrap();
    assert_eq!(standin.requests()[0].body["messages"][0]["content"].as_str().map(str::len), Some(3_000_000));
}

#[test]
fn an_untrusted_server_receives_no_request() {
    let standin = encrypted(vec![say(until_close(&good_events()))]);
    let outsider = failure(&upstream(&standin, "localhost", "other.pem", LONG_TIMEOUTS));
    assert_eq!(outsider.kind, FailureKind::Connect);
    assert!(outsider.detail.contains("certificate"), "{outsider:?}");
    let wrong_name = failure(&upstream(&standin, "localhost.", "authority.pem", LONG_TIMEOUTS));
    assert_eq!(wrong_name.kind, FailureKind::Connect, "{wrong_name:?}");
    assert_eq!(standin.requests().len(), 0);
}

#[test]
fn a_plain_http_server_fails_as_https() {
    let standin = StandIn::start(vec![vec![Step::Deaf, Step::Send(until_close(&good_events()))]]);
    let failure = failure(&upstream(&standin, "localhost", "authority.pem", LONG_TIMEOUTS));
    assert_eq!(failure.kind, FailureKind::Connect, "{failure:?}");
}

#[test]
fn timeouts_and_disconnects_are_detected_over_tls() {
    let started = until_close(&delta("H\u{e9}l"));
    let first = Timeouts { first_byte_milliseconds: 200, ..LONG_TIMEOUTS };
    let between = Timeouts { between_bytes_milliseconds: 200, ..LONG_TIMEOUTS };
    let table = [
        ("nothing", first, vec![Step::Hang], "", FailureKind::Timeout),
        ("half an answer", between, vec![Step::Send(started.clone()), Step::Hang], "H\u{e9}l", FailureKind::Timeout),
        ("an end without a word", LONG_TIMEOUTS, say(started), "H\u{e9}l", FailureKind::ConnectionLost),
    ];
    for (name, timeouts, script, shown, kind) in table {
        let standin = encrypted(vec![script]);
        let (text, end) = ask(&upstream(&standin, "localhost", "authority.pem", timeouts));
        assert_eq!((text.as_str(), end.unwrap_err().kind), (shown, kind), "{name}");
    }
    let silent = StandIn::start(vec![vec![Step::Deaf, Step::Hang, Step::Hang]]);
    let timeouts = Timeouts { connect_milliseconds: 200, ..LONG_TIMEOUTS };
    let failure = failure(&upstream(&silent, "localhost", "authority.pem", timeouts));
    assert_eq!(failure.kind, FailureKind::Timeout, "a handshake that is not answered: {failure:?}");
}

#[test]
fn a_cancelled_answer_over_tls_stops() {
    let standin = encrypted(vec![vec![Step::Hang]]);
    let upstream = upstream(&standin, "localhost", "authority.pem", LONG_TIMEOUTS);
    let (_, end) = ask_until(&upstream, &history(&["Hello?"]), |_| {
        if standin.requests().is_empty() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert_eq!(end, None);
    standin.wait_until_closed(1);
}

#[test]
fn invalid_certificate_files_are_rejected_at_start() {
    for name in ["absent.pem", "make", "server.key"] {
        let settings = UpstreamSettings { ca_file: Some(file(name)), ..settings("https://localhost/v1") };
        let error = Upstream::new(settings).expect_err(name);
        assert!(error.starts_with("RESPONDER_CA_FILE"), "{error}");
    }
}
