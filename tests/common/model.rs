//! A model behind the OpenAI protocol, controlled by the test: it accepts requests and sends the answers that the test
//! chooses.

use crate::common::DEADLINE;
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// The name that the model reports.
pub const NAME: &str = "standin-1b";

/// A listening model. Requests wait until the test takes them; dropping the model closes them.
pub struct Model {
    /// The address it listens on.
    pub addr: SocketAddr,
    calls: Receiver<Call>,
}

impl Model {
    /// Listens on a free port.
    pub fn start() -> Model {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let (sender, calls) = channel();
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let sender = sender.clone();
                thread::spawn(move || {
                    if let Some(call) = Call::read(socket) {
                        // The test may have ended.
                        drop(sender.send(call));
                    }
                });
            }
        });
        Model { addr, calls }
    }

    /// The value for `RESPONDER_URL`.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// The next request.
    #[track_caller]
    pub fn call(&self) -> Call {
        self.calls.recv_timeout(DEADLINE).expect("the server sends a request")
    }

    /// A request that has already arrived.
    pub fn call_by_now(&self) -> Option<Call> {
        self.calls.try_recv().ok()
    }

    /// A request that arrives within `time`.
    pub fn call_within(&self, time: Duration) -> Option<Call> {
        match self.calls.recv_timeout(time) {
            Ok(call) => Some(call),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the thread of the model ended"),
        }
    }
}

/// One request and its connection, which closes on drop.
pub struct Call {
    /// The request's head.
    pub head: String,
    /// The request's body.
    pub body: Value,
    socket: TcpStream,
}

impl Call {
    fn read(mut socket: TcpStream) -> Option<Call> {
        socket.set_nodelay(true).ok()?;
        socket.set_read_timeout(Some(DEADLINE)).ok()?;
        let mut bytes = Vec::new();
        let mut buffer = [0; 64 * 1024];
        loop {
            let n = socket.read(&mut buffer).ok().filter(|n| *n > 0)?;
            bytes.extend_from_slice(&buffer[..n]);
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("Content-Length").then(|| value.parse::<usize>().ok()).flatten()
            });
            if bytes.len() >= end + 4 + length.expect("a request with a length") {
                let body = serde_json::from_slice(&bytes[end + 4..]).expect("a request of JSON");
                return Some(Call { head, body, socket });
            }
        }
    }

    /// The last message of the request.
    #[track_caller]
    pub fn prompt(&self) -> String {
        let messages = self.body["messages"].as_array().expect("a list of messages");
        messages.last().expect("a message")["content"].as_str().expect("text").to_owned()
    }

    /// Role and content of each message of the request.
    #[track_caller]
    pub fn turns(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let messages = self.body["messages"].as_array().expect("a list of messages");
        messages.iter().map(|message| (text(&message["role"]), text(&message["content"]))).collect()
    }

    /// Sends bytes unmodified. The server may have disconnected.
    pub fn send(&mut self, bytes: &str) -> &mut Call {
        drop(self.socket.write_all(bytes.as_bytes()));
        self
    }

    /// Starts a streamed answer.
    pub fn begin(&mut self) -> &mut Call {
        self.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    }

    /// Sends one delta.
    pub fn say(&mut self, text: &str) -> &mut Call {
        let chunk = json!({"model": NAME, "choices": [{"index": 0, "delta": {"content": text}}]});
        self.send(&format!("data: {chunk}\n\n"))
    }

    /// Completes the answer, with token counts.
    pub fn finish(mut self) {
        let stop = json!({"model": NAME, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
        let usage = json!({"model": NAME, "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}});
        self.send(&format!("data: {stop}\n\ndata: {usage}\n\ndata: [DONE]\n\n"));
    }

    /// Sends a complete answer.
    pub fn answer(mut self, text: &str) {
        self.begin().say(text);
        self.finish();
    }

    /// Responds with an error status.
    pub fn reject(mut self, status: u16, fields: &str) {
        let body = json!({"error": {"message": "not now"}}).to_string();
        self.send(&format!("HTTP/1.1 {status} x\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()));
    }

    /// Closes the connection before the answer is complete.
    pub fn disconnect(self) {
        drop(self.socket.shutdown(Shutdown::Both));
    }

    /// Waits until the server closes the connection, for less than the server's own timeout.
    #[track_caller]
    pub fn wait_until_closed(mut self) {
        self.socket.set_read_timeout(Some(DEADLINE / 2)).expect("a socket");
        let mut buffer = [0; 1024];
        match self.socket.read(&mut buffer) {
            Ok(0) => {}
            Ok(_) => panic!("the server sends more than its request"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the server keeps the connection after the answer")
            }
            Err(_) => {}
        }
    }
}
