//! An upstream over real sockets that plays a script for each connection.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// Timeout of every wait.
const DEADLINE: Duration = Duration::from_secs(30);

/// A step on one connection. After the last one, the connection is closed.
#[derive(Debug, Clone)]
pub enum Step {
    /// Sends these bytes at once.
    Send(Vec<u8>),
    /// Sends these bytes in pieces of this size, each in its own segment.
    Pieces(Vec<u8>, usize),
    /// Sends these bytes until the client disconnects.
    Forever(Vec<u8>),
    /// Sends these bytes slowly until the client disconnects.
    Drip(Vec<u8>),
    /// Sends nothing until the client disconnects.
    Hang,
    /// Closes with a reset.
    Reset,
    /// Does not read the request; allowed as the first step only.
    Deaf,
}

/// A received request.
#[derive(Debug, Clone)]
pub struct Request {
    pub head: String,
    pub body: serde_json::Value,
}

/// Bytes in both directions, encrypted or not.
pub trait Channel: Read + Write {
    fn tcp(&self) -> &TcpStream;
}

impl Channel for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

type Wrap = Arc<dyn Fn(TcpStream) -> io::Result<Box<dyn Channel>> + Send + Sync>;

/// The running stand-in; it ends on drop.
pub struct StandIn {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    ended: AtomicBool,
    /// One script per connection; the last one is repeated.
    scripts: Mutex<Vec<Vec<Step>>>,
    requests: Mutex<Vec<Request>>,
    /// Connections that the client closed during a script.
    left: Mutex<usize>,
    has_left: Condvar,
}

impl StandIn {
    /// Serves plain connections by these scripts; the last one also serves all later connections.
    pub fn start(scripts: Vec<Vec<Step>>) -> StandIn {
        StandIn::wrapped(scripts, Arc::new(|socket| Ok(Box::new(socket))))
    }

    /// Like `start`, with connections transformed by `wrap`.
    pub fn wrapped(scripts: Vec<Vec<Step>>, wrap: Wrap) -> StandIn {
        assert!(!scripts.is_empty());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            ended: AtomicBool::new(false),
            scripts: Mutex::new(scripts),
            requests: Mutex::default(),
            left: Mutex::default(),
            has_left: Condvar::new(),
        });
        let of_thread = shared.clone();
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if of_thread.ended.load(Ordering::Relaxed) {
                    return;
                }
                let script = of_thread.next_script();
                let (shared, wrap) = (of_thread.clone(), wrap.clone());
                thread::spawn(move || {
                    socket.set_nodelay(true).expect("a socket");
                    socket.set_read_timeout(Some(DEADLINE)).expect("a socket");
                    if let Ok(channel) = wrap(socket) {
                        shared.play(channel, script);
                    }
                });
            }
        });
        StandIn { addr, shared }
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Waits until the client has closed this number of connections that were in use.
    pub fn wait_until_closed(&self, count: usize) {
        let left = self.shared.left.lock().unwrap();
        let (left, result) = self.shared.has_left.wait_timeout_while(left, DEADLINE, |left| *left < count).unwrap();
        drop(left);
        assert!(!result.timed_out(), "the client keeps its connection");
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the accepting thread, which then ends.
        drop(TcpStream::connect(self.addr));
    }
}

impl Shared {
    fn next_script(&self) -> Vec<Step> {
        let mut scripts = self.scripts.lock().unwrap();
        if scripts.len() > 1 { scripts.remove(0) } else { scripts[0].clone() }
    }

    fn play(&self, mut channel: Box<dyn Channel>, script: Vec<Step>) {
        if !matches!(script.first(), Some(Step::Deaf)) {
            let Ok(request) = read_request(&mut *channel) else { return };
            self.requests.lock().unwrap().push(request);
        }
        let end = script.into_iter().try_for_each(|step| perform(&mut *channel, step));
        if end.is_err() {
            *self.left.lock().unwrap() += 1;
            self.has_left.notify_all();
        }
        let _ = channel.flush();
        let _ = channel.tcp().shutdown(Shutdown::Write);
        // Remaining bytes of the client are read, so that closing does not cause a reset.
        let _ = io::copy(&mut channel.tcp(), &mut io::sink());
    }
}

/// Performs one step; an error means that the client has disconnected.
fn perform(channel: &mut dyn Channel, step: Step) -> io::Result<()> {
    match step {
        Step::Send(bytes) => channel.write_all(&bytes).and_then(|()| channel.flush()),
        Step::Pieces(bytes, size) => bytes.chunks(size).try_for_each(|piece| {
            channel.write_all(piece)?;
            channel.flush()?;
            thread::sleep(Duration::from_micros(200));
            Ok(())
        }),
        Step::Forever(bytes) => loop {
            channel.write_all(&bytes)?;
        },
        Step::Drip(bytes) => loop {
            channel.write_all(&bytes)?;
            channel.flush()?;
            thread::sleep(Duration::from_millis(5));
        },
        Step::Hang => loop {
            if let Ok(0) | Err(_) = channel.read(&mut [0; 4096]) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        },
        Step::Reset => {
            socket2::SockRef::from(channel.tcp()).set_linger(Some(Duration::ZERO))?;
            Err(io::ErrorKind::ConnectionReset.into())
        }
        Step::Deaf => Ok(()),
    }
}

fn read_request(channel: &mut dyn Channel) -> io::Result<Request> {
    let mut bytes = Vec::new();
    let mut end = None;
    while end.is_none() {
        read_some(channel, &mut bytes)?;
        end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    }
    let end = end.expect("the end was found") + 4;
    let head = String::from_utf8(bytes[..end].to_vec()).expect("heads are ASCII");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
    let length: usize = length.parse().expect("a length");
    while bytes.len() < end + length {
        read_some(channel, &mut bytes)?;
    }
    assert_eq!(bytes.len(), end + length, "bytes follow the request");
    Ok(Request { head, body: serde_json::from_slice(&bytes[end..]).expect("JSON") })
}

fn read_some(channel: &mut dyn Channel, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    match channel.read(&mut buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => {
            bytes.extend_from_slice(&buffer[..read]);
            Ok(())
        }
    }
}
