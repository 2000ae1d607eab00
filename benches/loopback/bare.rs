//! The limit: an epoll loop that parses with httparse and sends the same bytes to every request.

use crate::support::bare_loop::{BareLoop, LISTENER, STOP};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{self, ErrorKind, Read, Write};

const READ_BYTES_MAX: usize = 64 * 1024;
const REQUEST_FIELDS_MAX: usize = 32;

/// Starts a server on a thread pinned to `core`.
pub fn start(response: Vec<u8>, core: Option<usize>) -> Result<BareLoop, String> {
    BareLoop::start("bare server", core, move |poll, listener| serve(poll, listener, &response))
}

fn serve(mut poll: Poll, listener: TcpListener, response: &[u8]) -> io::Result<()> {
    let mut events = Events::with_capacity(1024);
    let mut connections: Vec<Option<(TcpStream, Vec<u8>)>> = Vec::new();
    let mut scratch = vec![0; READ_BYTES_MAX];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            match event.token() {
                STOP => return Ok(()),
                LISTENER => accept(&poll, &listener, &mut connections)?,
                Token(index) => {
                    let Some((stream, waiting)) = &mut connections[index] else { continue };
                    if !respond_to_all(stream, waiting, &mut scratch, response)? {
                        connections[index] = None;
                    }
                }
            }
        }
    }
}

fn accept(poll: &Poll, listener: &TcpListener, connections: &mut Vec<Option<(TcpStream, Vec<u8>)>>) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        poll.registry().register(&mut stream, Token(connections.len()), Interest::READABLE)?;
        connections.push(Some((stream, Vec::new())));
    }
}

/// Responds to the requests that have arrived; `false` if the client has closed. The load waits for each response, so a
/// response always fits the socket.
fn respond_to_all(
    stream: &mut TcpStream,
    waiting: &mut Vec<u8>,
    scratch: &mut [u8],
    response: &[u8],
) -> io::Result<bool> {
    loop {
        let bytes = match stream.read(scratch) {
            Ok(0) => return Ok(false),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(error),
        };
        if !waiting.is_empty() {
            waiting.extend_from_slice(&scratch[..bytes]);
        }
        let input = if waiting.is_empty() { &scratch[..bytes] } else { waiting.as_slice() };
        let mut fields = [httparse::EMPTY_HEADER; REQUEST_FIELDS_MAX];
        match httparse::Request::new(&mut fields).parse(input) {
            Ok(httparse::Status::Complete(_)) => {
                stream.write_all(response)?;
                waiting.clear();
            }
            Ok(httparse::Status::Partial) if waiting.is_empty() => waiting.extend_from_slice(&scratch[..bytes]),
            Ok(httparse::Status::Partial) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
        // A short read has emptied the socket, and the next bytes make a new edge (epoll(7)).
        if bytes < scratch.len() {
            return Ok(true);
        }
    }
}
