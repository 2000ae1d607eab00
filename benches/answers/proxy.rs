//! The limit of answers that are passed on: an epoll loop that copies bytes between clients and the model's server, and parses
//! nothing.

use crate::support::bare_loop::{BareLoop, LISTENER, STOP};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

const READ_BYTES_MAX: usize = 64 * 1024;

/// A client, and its connection to the model's server once it has sent something.
struct Pair {
    client: TcpStream,
    model: Option<TcpStream>,
}

/// Starts a proxy on a thread pinned to `core`.
pub fn start(model: SocketAddr, core: Option<usize>) -> Result<BareLoop, String> {
    BareLoop::start("bare proxy", core, move |poll, listener| serve(poll, &listener, model))
}

fn serve(mut poll: Poll, listener: &TcpListener, model: SocketAddr) -> io::Result<()> {
    let mut events = Events::with_capacity(1024);
    // A pair's client has twice its number as its token, and its connection to the model the token after that.
    let mut pairs: HashMap<usize, Pair> = HashMap::new();
    let mut next_pair = 0;
    let mut scratch = vec![0; READ_BYTES_MAX];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            match event.token() {
                STOP => return Ok(()),
                LISTENER => accept(poll.registry(), listener, &mut pairs, &mut next_pair)?,
                Token(token) => {
                    let (number, is_closed) = (token / 2, event.is_read_closed());
                    let Some(pair) = pairs.get_mut(&number) else { continue };
                    let is_open = match token % 2 {
                        0 => forward(pair, poll.registry(), Token(token + 1), model, is_closed, &mut scratch)?,
                        _ => {
                            let from = pair.model.as_mut().expect("it has a token");
                            copy(from, &mut pair.client, is_closed, &mut scratch)?
                        }
                    };
                    if !is_open {
                        pairs.remove(&number);
                    }
                }
            }
        }
    }
}

fn accept(
    registry: &Registry,
    listener: &TcpListener,
    pairs: &mut HashMap<usize, Pair>,
    next_pair: &mut usize,
) -> io::Result<()> {
    loop {
        let mut client = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        client.set_nodelay(true)?;
        registry.register(&mut client, Token(2 * *next_pair), Interest::READABLE)?;
        pairs.insert(*next_pair, Pair { client, model: None });
        *next_pair += 1;
    }
}

/// Copies a request to the model's server, and connects to it first; `false` if the client has closed.
fn forward(
    pair: &mut Pair,
    registry: &Registry,
    token: Token,
    address: SocketAddr,
    is_closed: bool,
    scratch: &mut [u8],
) -> io::Result<bool> {
    if pair.model.is_none() {
        // Over loopback, connecting does not block.
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE)?;
        pair.model = Some(stream);
    }
    copy(&mut pair.client, pair.model.as_mut().expect("it is connected"), is_closed, scratch)
}

/// Copies what has arrived; `false` if one side has closed. `is_closed`: the end has arrived as well. The load waits for each answer, and a stream's chunks are small, so
/// what is written always fits the socket.
fn copy(from: &mut TcpStream, to: &mut TcpStream, is_closed: bool, scratch: &mut [u8]) -> io::Result<bool> {
    loop {
        let bytes = match from.read(scratch) {
            Ok(0) => return Ok(false),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(error),
        };
        match to.write_all(&scratch[..bytes]) {
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                return Ok(false);
            }
            outcome => outcome?,
        }
        // A short read has emptied the socket, and the next bytes make a new edge (epoll(7)).
        if bytes < scratch.len() && !is_closed {
            return Ok(true);
        }
    }
}
