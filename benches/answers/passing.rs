//! The client of answers that are passed on: it asks the model's server, a bare proxy and the program in the same way, on a new
//! connection for each request.

use super::Load;
use crate::support::histogram::Histogram;
use crate::support::http::{self, read_head};
use mio::net::TcpStream;
use mio::{Interest, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A small answer of the model's server.
pub(super) const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 230\r\n\
    Connection: close\r\n\r\n\
    {\"id\":\"b\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"bench\",\"choices\":[{\"index\":0,\"message\":\
    {\"role\":\"assistant\",\"content\":\"Hello!\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9,\
    \"completion_tokens\":2,\"total_tokens\":11}}";

/// Where requests are sent, and with which token.
pub struct Target {
    pub address: SocketAddr,
    pub token: String,
}

/// A request for a whole answer.
pub(super) struct WholeReader {
    stream: TcpStream,
    received: Vec<u8>,
    asked_at: Instant,
}

impl Load {
    /// The times from a request to its first chunk, of each target. The targets take turns.
    pub fn first_chunks(&mut self, targets: &[Target], count: usize) -> Result<Vec<Histogram>, String> {
        self.sends_at_once = true;
        let mut times: Vec<Histogram> = targets.iter().map(|_| Histogram::new()).collect();
        for _ in 0..count {
            for (target, times) in targets.iter().zip(&mut times) {
                self.delays = Histogram::new();
                let closed = self.closed;
                let began = Instant::now();
                let stream = ask(target, true)?;
                self.add_reader(stream)?;
                self.until("the first chunk", |load| load.delays.total() == 1)?;
                times.add((self.arrived_at - began).as_nanos() as u64);
                self.readers.clear();
                self.until("the end of the connection", |load| load.closed > closed)?;
            }
        }
        Ok(times)
    }

    /// Opens a stream to each target, and waits for the requests to the model.
    pub fn open_streams(&mut self, targets: &[Target]) -> Result<(), String> {
        for target in targets {
            let stream = ask(target, true)?;
            self.add_reader(stream)?;
            self.turn(Duration::ZERO)?;
        }
        self.until("the requests to the model", |load| load.responding.len() == targets.len())
    }

    /// Asks for whole answers, this many at once; returns their times.
    pub fn ask_whole(&mut self, target: &Target, at_once: usize, duration: Duration) -> Result<Histogram, String> {
        self.responds_whole = true;
        self.delays = Histogram::new();
        let began = Instant::now();
        while began.elapsed() < duration {
            while self.whole_readers.len() < at_once {
                let asked_at = Instant::now();
                let stream = ask(target, false)?;
                let (token, stream) = self.register(stream)?;
                self.whole_readers.insert(token, WholeReader { stream, received: Vec::new(), asked_at });
            }
            self.turn(Duration::from_millis(10))?;
        }
        let times = std::mem::replace(&mut self.delays, Histogram::new());
        self.until("the last answers", |load| load.whole_readers.is_empty())?;
        Ok(times)
    }

    pub(super) fn read_whole(&mut self, token: Token) -> Result<(), String> {
        let reader = self.whole_readers.get_mut(&token).expect("the reader is there");
        loop {
            match reader.stream.read(&mut self.scratch) {
                Ok(0) => return Err("a connection ended before its answer".into()),
                Ok(read) => reader.received.extend_from_slice(&self.scratch[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("a whole answer: {error}")),
            }
            if let Some(head) = read_head(&reader.received)?
                && reader.received.len() >= head.head_bytes + head.body_bytes
            {
                self.delays.add(reader.asked_at.elapsed().as_nanos() as u64);
                self.whole_readers.remove(&token);
                return Ok(());
            }
        }
    }

    /// Registers the socket of a reader.
    pub(super) fn register(&mut self, stream: std::net::TcpStream) -> Result<(Token, TcpStream), String> {
        let failed = |error: std::io::Error| format!("a reader: {error}");
        stream.set_nonblocking(true).map_err(failed)?;
        let mut stream = TcpStream::from_std(stream);
        let token = self.new_token();
        self.poll.registry().register(&mut stream, token, Interest::READABLE).map_err(failed)?;
        Ok((token, stream))
    }
}

/// Sends a request on a new connection.
fn ask(target: &Target, streams: bool) -> Result<std::net::TcpStream, String> {
    let body = format!(r#"{{"model":"bench","stream":{streams},"messages":[{{"role":"user","content":"Hello?"}}]}}"#);
    let request = http::post(target.address, "/v1/chat/completions", &http::bearer(&target.token), &body);
    let send = || -> std::io::Result<std::net::TcpStream> {
        let mut stream = std::net::TcpStream::connect(target.address)?;
        stream.set_nodelay(true)?;
        stream.write_all(&request)?;
        Ok(stream)
    };
    send().map_err(|error| format!("a request to {}: {error}", target.address))
}
