//! A connection that sends one request at a time and reads the response, and never blocks.

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

pub struct Connection {
    stream: TcpStream,
    /// The start of the current request; `None` without one.
    pub asked_at: Option<Instant>,
    /// Bytes of the request that the socket has taken.
    written: usize,
    /// An incomplete response.
    received: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr, registry: &Registry, token: Token) -> io::Result<Connection> {
        // Connecting blocks; on loopback, the system accepts at once.
        Connection::over(std::net::TcpStream::connect(address)?, registry, token)
    }

    /// Takes over an open connection.
    pub fn over(stream: std::net::TcpStream, registry: &Registry, token: Token) -> io::Result<Connection> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Connection { stream, asked_at: None, written: 0, received: Vec::new() })
    }

    pub fn ask(&mut self, request: &[u8], now: Instant) -> Result<(), String> {
        self.asked_at = Some(now);
        self.written = 0;
        self.write_on(request)
    }

    /// Continues a request that the socket took partly.
    pub fn write_on(&mut self, request: &[u8]) -> Result<(), String> {
        while self.asked_at.is_some() && self.written < request.len() {
            match self.stream.write(&request[self.written..]) {
                Ok(bytes) => self.written += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("write: {error}")),
            }
        }
        Ok(())
    }

    /// Whether the socket has taken all of the request.
    pub fn is_written(&self, request: &[u8]) -> bool {
        self.written == request.len()
    }

    /// Reads what has arrived; `Some` if `check` returns a result, and not that the response is incomplete.
    pub fn read_response<T>(
        &mut self,
        scratch: &mut [u8],
        check: impl Fn(&[u8]) -> Result<Option<T>, String>,
    ) -> Result<Option<T>, String> {
        loop {
            let bytes = match self.stream.read(scratch) {
                Ok(0) => return Err("the server closed the connection".into()),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("read: {error}")),
            };
            // Nearly every response arrives in one piece and is not copied.
            let response = if self.received.is_empty() {
                let response = check(&scratch[..bytes])?;
                if response.is_none() {
                    self.received.extend_from_slice(&scratch[..bytes]);
                }
                response
            } else {
                self.received.extend_from_slice(&scratch[..bytes]);
                check(&self.received)?
            };
            if response.is_some() {
                self.received.clear();
                return Ok(response);
            }
        }
    }
}
