//! Carries the bytes of one request to a model over a real socket, as the program's responders do.

use cortex_core::internals::{AnswerPieces, Completion, Failure, History, ModelEffect, ModelRequest, MonoTime, Random};
use cortex_core::internals::{Upstream, UpstreamAddress};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Longest time between two calls of the caller's function.
const STEP: Duration = Duration::from_millis(5);

/// The text and the result of the answer to "Hello?".
pub fn ask(upstream: &Arc<Upstream>) -> (String, Result<Completion, Failure>) {
    ask_about(upstream, &super::history(&["Hello?"]))
}

/// The text and the result of the answer to these messages.
pub fn ask_about(upstream: &Arc<Upstream>, history: &History) -> (String, Result<Completion, Failure>) {
    let (text, end) = ask_until(upstream, history, |_| ControlFlow::Continue(()));
    (text, end.expect("nobody stops the request"))
}

/// As `ask_about`, but the request is stopped when `look`, which gets the text so far, wants it: it then has no result.
pub fn ask_until(
    upstream: &Arc<Upstream>,
    history: &History,
    mut look: impl FnMut(&str) -> ControlFlow<()>,
) -> (String, Option<Result<Completion, Failure>>) {
    // Requests share a breaker, and so a clock.
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let now = || MonoTime(1_000_000 + BEGAN.get_or_init(Instant::now).elapsed().as_micros() as u64);
    let mut request = ModelRequest::new(Arc::clone(upstream), Random::from_system());
    let mut socket: Option<TcpStream> = None;
    let mut pieces = AnswerPieces::default();
    let mut end = None;
    let mut is_stopped = false;
    loop {
        match request.poll(now()) {
            Some(ModelEffect::Prepare { halvings, counts_tokens }) => {
                let body = upstream.answer_body(history, halvings, counts_tokens);
                request.prepared(body.as_deref(), now());
            }
            Some(ModelEffect::Connect) => {
                let until = request.poll_timeout().expect("a connection has a deadline");
                let timeout = Duration::from_micros(until.0 - now().0 + 1000);
                match connect(&upstream.settings().address, timeout) {
                    Ok(connected) => {
                        socket = Some(connected);
                        request.connected(now());
                    }
                    Err(error) if error.kind() == ErrorKind::TimedOut => request.tick(&mut pieces, now()),
                    Err(error) => request.disconnected(Some(error.to_string()), &mut pieces, now()),
                }
            }
            Some(ModelEffect::Close) => socket = None,
            Some(ModelEffect::Retrying(_)) => {}
            Some(ModelEffect::Ended(result)) => end = Some(result),
            None if end.is_some() || is_stopped => return (pieces.text, end),
            None => {
                if look(&pieces.text).is_break() {
                    request.stop();
                    is_stopped = true;
                    continue;
                }
                match &mut socket {
                    Some(socket) => exchange(socket, &mut request, &mut pieces, now),
                    None => std::thread::sleep(STEP),
                }
                if request.poll_timeout().is_some_and(|at| at <= now()) {
                    request.tick(&mut pieces, now());
                }
            }
        }
    }
}

/// Connects to the first address that accepts.
fn connect(address: &UpstreamAddress, timeout: Duration) -> std::io::Result<TcpStream> {
    let mut addresses = (address.host.as_str(), address.port).to_socket_addrs()?;
    let none = || Err(ErrorKind::NotFound.into());
    let first = addresses.next().map_or_else(none, |address| TcpStream::connect_timeout(&address, timeout));
    let socket =
        addresses.fold(first, |before, address| before.or_else(|_| TcpStream::connect_timeout(&address, timeout)))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(STEP))?;
    socket.set_write_timeout(Some(STEP))?;
    Ok(socket)
}

/// Writes what there is to write, and reads once.
fn exchange(socket: &mut TcpStream, request: &mut ModelRequest, pieces: &mut AnswerPieces, now: impl Fn() -> MonoTime) {
    let would_block = |error: &std::io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    while !request.outgoing().is_empty() {
        match socket.write(request.outgoing()) {
            Ok(written) => request.wrote(Some(written)),
            Err(error) if would_block(&error) => break,
            Err(_) => request.wrote(None),
        }
    }
    let mut bytes = [0; 16 * 1024];
    match socket.read(&mut bytes) {
        Ok(0) => {
            let _ = socket.shutdown(Shutdown::Both);
            request.disconnected(None, pieces, now());
        }
        Ok(read) => request.received(&bytes[..read], pieces, now()),
        Err(error) if would_block(&error) => {}
        Err(error) => request.disconnected(Some(error.to_string()), pieces, now()),
    }
}
