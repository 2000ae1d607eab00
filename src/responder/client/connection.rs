//! A connection to an upstream. Every wait has a deadline, and ends early when the answer is no longer wanted.

use super::READ_BYTES_MAX;
use crate::base::limits::{OUTPUT_DELTA_MILLISECONDS, UPSTREAM_BODY_BYTES_MAX, UPSTREAM_TICK_MILLISECONDS_MAX};
use crate::base::thread::{OnPanic, spawn};
use crate::config::upstream_address::UpstreamAddress;
use crate::http1::body::BodyReader;
use crate::http1::response_parse::{BodyEnd, ReceivedHead};
use crate::responder::{Failure, TextSink};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::ops::ControlFlow;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Stack of the thread that connects, in bytes: the system's resolver needs some.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// Why a connection cannot be used any more.
#[derive(Debug)]
pub(super) enum Broken {
    /// The deadline has passed.
    Late,
    /// The answer is no longer wanted.
    Stopped,
    /// An error of the system.
    Io(io::Error),
    /// The response cannot be used.
    Failed(Failure),
}

impl Broken {
    /// The same as a failure; `late` makes that of a missed deadline.
    pub(super) fn into_failure(self, late: impl FnOnce() -> Failure) -> Failure {
        match self {
            Broken::Late => late(),
            Broken::Stopped => Failure::stopped(),
            Broken::Io(error) => Failure::connection_lost().with_detail(error),
            Broken::Failed(failure) => failure,
        }
    }
}

/// One wait, in steps: between two steps it checks whether to continue.
pub(super) struct Wait<'a> {
    sink: TextSink<'a>,
    until: Instant,
    step_milliseconds: u64,
}

impl<'a> Wait<'a> {
    /// A wait until `until`.
    pub(super) fn new(sink: TextSink<'a>, until: Instant) -> Wait<'a> {
        Wait { sink, until, step_milliseconds: OUTPUT_DELTA_MILLISECONDS }
    }

    /// Waits until the deadline.
    pub(super) fn rest(mut self) -> Result<(), Failure> {
        while let Ok(step) = self.step() {
            thread::sleep(step);
            self.passed().map_err(|_| Failure::stopped())?;
        }
        Ok(())
    }

    /// The length of the next step; never zero.
    fn step(&self) -> Result<Duration, Broken> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Broken::Late);
        }
        Ok(left.min(Duration::from_millis(self.step_milliseconds)).max(Duration::from_millis(1)))
    }

    /// A step has passed without an event. The first steps are short, because a delta may be due; later ones are long, so
    /// that many silent answers cost little.
    fn passed(&mut self) -> Result<(), Broken> {
        self.step_milliseconds = (self.step_milliseconds * 2).min(UPSTREAM_TICK_MILLISECONDS_MAX);
        if (self.sink)("") == ControlFlow::Break(()) { Err(Broken::Stopped) } else { Ok(()) }
    }
}

/// A connection to an upstream.
pub(super) struct UpstreamConnection {
    socket: UpstreamSocket,
}

enum UpstreamSocket {
    Open(TcpStream),
    #[cfg(feature = "tls")]
    Encrypted(Box<crate::responder::tls::TlsStream>),
}

impl UpstreamConnection {
    /// Resolves the name and connects, on a thread of its own, because name resolution cannot be cancelled.
    pub(super) fn open(address: &UpstreamAddress, wait: &mut Wait<'_>) -> Result<UpstreamConnection, Broken> {
        let (sender, receiver) = mpsc::channel();
        let (host, port, until) = (address.host.clone(), address.port, wait.until);
        // A receiver that no longer waits has dropped the channel: the connection closes with the message.
        let dial = move || drop(sender.send(dial(&host, port, until)));
        spawn("connect", STACK_BYTES, OnPanic::Thread, dial).map_err(Broken::Io)?;
        loop {
            match receiver.recv_timeout(wait.step()?) {
                Ok(Ok(stream)) => return Ok(UpstreamConnection { socket: UpstreamSocket::Open(stream) }),
                Ok(Err(error)) if Instant::now() >= until => {
                    log::debug!("the upstream was not reached in time: {error}");
                    return Err(Broken::Late);
                }
                Ok(Err(error)) => return Err(Broken::Io(error)),
                Err(RecvTimeoutError::Timeout) => wait.passed()?,
                Err(RecvTimeoutError::Disconnected) => return Err(Broken::Io(ErrorKind::Other.into())),
            }
        }
    }

    /// Does the TLS handshake.
    #[cfg(feature = "tls")]
    pub(crate) fn encrypt(
        self,
        tls: &crate::responder::tls::Tls,
        wait: &mut Wait<'_>,
    ) -> Result<UpstreamConnection, Broken> {
        let UpstreamSocket::Open(stream) = self.socket else { unreachable!("a connection is encrypted once") };
        let stream = tls.stream(stream).map_err(Broken::Io)?;
        let mut connection = UpstreamConnection { socket: UpstreamSocket::Encrypted(Box::new(stream)) };
        connection.patiently(wait, |socket| match socket {
            UpstreamSocket::Encrypted(stream) => stream.conn.complete_io(&mut stream.sock).map(|_| ()),
            UpstreamSocket::Open(_) => unreachable!("it was just made"),
        })?;
        Ok(connection)
    }

    /// Writes everything.
    pub(super) fn write(&mut self, mut bytes: &[u8], wait: &mut Wait<'_>) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let written = self.patiently(wait, |socket| socket.write(bytes))?;
            if written == 0 {
                return Err(Broken::Io(ErrorKind::WriteZero.into()));
            }
            bytes = &bytes[written..];
        }
        self.patiently(wait, UpstreamSocket::flush)
    }

    /// Reads at least one byte and appends it to `out`; returns 0 at the end.
    pub(super) fn read(&mut self, out: &mut Vec<u8>, wait: &mut Wait<'_>) -> Result<usize, Broken> {
        let begin = out.len();
        out.resize(begin + READ_BYTES_MAX, 0);
        let read = self.patiently(wait, |socket| match socket.read(&mut out[begin..]) {
            // TLS ended without `close_notify`; the framing shows whether something is missing.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
            other => other,
        });
        out.truncate(begin + *read.as_ref().unwrap_or(&0));
        read
    }

    /// The body that follows a head; `rest` is the part of it that was read with the head.
    pub(super) fn body(&mut self, head: &ReceivedHead, rest: Vec<u8>) -> Result<Body<'_>, Failure> {
        let reader = match head.body {
            BodyEnd::UntilClose => None,
            BodyEnd::Framed(framing) => Some(
                BodyReader::new(framing, UPSTREAM_BODY_BYTES_MAX)
                    .map_err(|error| Failure::invalid_response(format!("the answer's body: {error:?}")))?,
            ),
        };
        Ok(Body { connection: self, reader, rest, bytes: 0 })
    }

    fn patiently<T>(
        &mut self,
        wait: &mut Wait<'_>,
        mut step: impl FnMut(&mut UpstreamSocket) -> io::Result<T>,
    ) -> Result<T, Broken> {
        loop {
            let time = Some(wait.step()?);
            let tcp = self.socket.tcp();
            tcp.set_read_timeout(time).and_then(|()| tcp.set_write_timeout(time)).map_err(Broken::Io)?;
            match step(&mut self.socket) {
                Ok(done) => return Ok(done),
                Err(error) if error.kind() == ErrorKind::WouldBlock => wait.passed()?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::Io(error)),
            }
        }
    }
}

impl UpstreamSocket {
    fn tcp(&self) -> &TcpStream {
        match self {
            UpstreamSocket::Open(stream) => stream,
            #[cfg(feature = "tls")]
            UpstreamSocket::Encrypted(stream) => &stream.sock,
        }
    }

    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            UpstreamSocket::Open(stream) => stream.read(out),
            #[cfg(feature = "tls")]
            UpstreamSocket::Encrypted(stream) => stream.read(out),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            UpstreamSocket::Open(stream) => stream.write(bytes),
            #[cfg(feature = "tls")]
            UpstreamSocket::Encrypted(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            UpstreamSocket::Open(stream) => stream.flush(),
            #[cfg(feature = "tls")]
            UpstreamSocket::Encrypted(stream) => stream.flush(),
        }
    }
}

/// Tries every address of the name, each with an equal share of the remaining time.
fn dial(host: &str, port: u16, until: Instant) -> io::Result<TcpStream> {
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for (place, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now()) / (addresses.len() - place) as u32;
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(address, left) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A response body, without its framing.
pub(super) struct Body<'c> {
    connection: &'c mut UpstreamConnection,
    /// `None` if the body ends with the connection.
    reader: Option<BodyReader>,
    /// The bytes of the body that arrived with the head.
    rest: Vec<u8>,
    bytes: u64,
}

impl Body<'_> {
    /// Whether its end is known, so that a lost end shows.
    pub(super) fn is_framed(&self) -> bool {
        self.reader.is_some()
    }

    /// Reads on and appends to `out`, perhaps nothing; `false` at the end.
    pub(super) fn read(&mut self, out: &mut Vec<u8>, wait: &mut Wait<'_>) -> Result<bool, Broken> {
        if self.reader.as_ref().is_some_and(BodyReader::is_done) {
            return Ok(false);
        }
        let mut raw = std::mem::take(&mut self.rest);
        if raw.is_empty() && self.connection.read(&mut raw, wait)? == 0 {
            let lost = || Broken::Io(io::Error::new(ErrorKind::UnexpectedEof, "the body has no end"));
            return if self.is_framed() { Err(lost()) } else { Ok(false) };
        }
        self.bytes += raw.len() as u64;
        if self.bytes > UPSTREAM_BODY_BYTES_MAX {
            return Err(Broken::Failed(Failure::invalid_response("the answer is too large")));
        }
        match &mut self.reader {
            Some(reader) => {
                let unreadable =
                    |error| Broken::Failed(Failure::invalid_response(format!("the answer's body: {error:?}")));
                reader.read(&raw, out).map_err(unreadable)?;
            }
            None => out.append(&mut raw),
        }
        Ok(true)
    }
}
