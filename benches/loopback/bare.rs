//! The limit: an epoll loop that parses with httparse and sends the same bytes to every request.

use crate::support::cores;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

const LISTENER: Token = Token(usize::MAX);
const STOP: Token = Token(usize::MAX - 1);
const READ_BYTES_MAX: usize = 64 * 1024;
const REQUEST_FIELDS_MAX: usize = 32;

/// A running loop; it ends on drop.
pub struct BareServer {
    pub address: SocketAddr,
    stop: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl BareServer {
    /// Listens on a free loopback port, on a thread pinned to `core`.
    pub fn start(response: Vec<u8>, core: Option<usize>) -> Result<BareServer, String> {
        let set_up = || -> io::Result<(Poll, TcpListener, Arc<Waker>)> {
            let poll = Poll::new()?;
            let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
            poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
            let stop = Arc::new(Waker::new(poll.registry(), STOP)?);
            Ok((poll, listener, stop))
        };
        let (poll, listener, stop) = set_up().map_err(|error| format!("bare server: {error}"))?;
        let address = listener.local_addr().map_err(|error| format!("bare server: {error}"))?;
        let thread = std::thread::spawn(move || {
            if let Some(core) = core {
                cores::pin_this_thread(core).expect("the core was usable before");
            }
            serve(poll, listener, &response).expect("loopback does not fail");
        });
        Ok(BareServer { address, stop, thread: Some(thread) })
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        self.stop.wake().expect("the loop's eventfd is open");
        let ended = self.thread.take().expect("joined once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the bare server failed");
    }
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
