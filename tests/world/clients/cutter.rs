//! A TCP proxy that cuts streams at chosen places.

use crate::common::DEADLINE;
use crate::common::port::free_port;
use socket2::SockRef;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Maximum number of bytes that are forwarded in one piece, so that clients receive events in parts.
const PIECE_BYTES_MAX: u64 = 300;

/// The start of a request for a stream.
const STREAM_REQUEST: &[u8] = b"GET /output/stream";

/// Where a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Between any two bytes of the next few hundred. In a new response, these are its head and its first event.
    Anywhere,
    /// Inside the JSON of a message.
    Data,
    /// Between two digits of the number in an `id:` line.
    Number,
    /// Between the `id:` line and the empty line that ends the event.
    EmptyLine,
    /// Before the request reaches the server: the response is a `502` such as a proxy sends.
    BadGateway,
}

/// The proxy. It forwards all bytes until a cut is planned.
pub struct Cutter {
    /// Where it listens.
    pub addr: SocketAddr,
    server: SocketAddr,
    plan: Arc<Plan>,
    is_listening: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

/// The cuts that are still to be made, in order.
struct Plan {
    cuts: Mutex<(VecDeque<Cut>, Random)>,
    changed: Condvar,
}

impl Plan {
    fn lock(&self) -> MutexGuard<'_, (VecDeque<Cut>, Random)> {
        self.cuts.lock().expect("no connection panicked")
    }
}

impl Cutter {
    /// Starts a proxy in front of a server that keeps its address.
    #[track_caller]
    pub fn start(server: SocketAddr, seed: u64) -> Cutter {
        let plan = Plan { cuts: Mutex::new((VecDeque::new(), Random(seed))), changed: Condvar::new() };
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let is_listening = Arc::new(AtomicBool::new(false));
        let mut cutter = Cutter { addr, server, plan: Arc::new(plan), is_listening, listener: None };
        cutter.listen();
        cutter
    }

    /// Makes these cuts, one after the other, and waits until the last is made.
    #[track_caller]
    pub fn cut(&self, cuts: &[Cut]) {
        let mut plan = self.plan.lock();
        plan.0.extend(cuts);
        let end = Instant::now() + DEADLINE;
        while !plan.0.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the client does not come back, or gets nothing: {:?} is not reached", plan.0);
            plan = self.plan.changed.wait_timeout(plan, left).expect("no connection panicked").0;
        }
    }

    /// Rejects connections from now on, as the kernel does while there is no server.
    pub fn stop_listening(&mut self) {
        self.is_listening.store(false, Ordering::SeqCst);
        // Wakes the thread.
        let _ = TcpStream::connect(self.addr);
        if let Some(listener) = self.listener.take() {
            listener.join().expect("the proxy's thread does not panic");
        }
    }

    /// Accepts connections again.
    #[track_caller]
    pub fn listen(&mut self) {
        let listener = TcpListener::bind(self.addr).expect("the port is free");
        self.is_listening.store(true, Ordering::SeqCst);
        let (is_listening, server, plan) = (self.is_listening.clone(), self.server, self.plan.clone());
        self.listener = Some(thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if !is_listening.load(Ordering::SeqCst) {
                    break;
                }
                let plan = plan.clone();
                // Without a server, the client's connection closes at once.
                if let Ok(server) = TcpStream::connect(server) {
                    let choice = plan.lock().1.below(u64::MAX);
                    let passage = Passage { client, server, plan, is_stream: false, seen: Vec::new(), choice };
                    thread::spawn(move || passage.run());
                }
            }
        }));
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.stop_listening();
    }
}

/// One connection through the proxy.
struct Passage {
    client: TcpStream,
    server: TcpStream,
    plan: Arc<Plan>,
    /// Whether the client has requested a stream.
    is_stream: bool,
    /// The bytes of the response that were forwarded since a cut was planned.
    seen: Vec<u8>,
    /// The choice within the place of the cut.
    choice: u64,
}

impl Passage {
    fn run(mut self) {
        let _ = self.client.set_nodelay(true);
        loop {
            let (client, server) = readable(&self.client, &self.server);
            let goes_on = (!client || self.pass_request()) && (!server || self.pass_response());
            if !goes_on {
                break;
            }
        }
    }

    /// Forwards bytes to the server. Returns whether the connection continues.
    fn pass_request(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let Some(n) = read(&mut self.client, &mut buffer) else { return false };
        if buffer[..n].windows(STREAM_REQUEST.len()).any(|window| window == STREAM_REQUEST) {
            self.is_stream = true;
            if self.plan.lock().0.front() == Some(&Cut::BadGateway) {
                let head = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                let _ = self.client.write_all(head.as_bytes());
                self.made();
                return false;
            }
        }
        self.server.write_all(&buffer[..n]).is_ok()
    }

    /// Forwards bytes to the client, up to a cut. Returns whether the connection continues.
    fn pass_response(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let Some(n) = read(&mut self.server, &mut buffer) else {
            // The end of one connection ends the other.
            return false;
        };
        let mut rest = &buffer[..n];
        let cut = self.plan.lock().0.front().copied().filter(|cut| self.is_stream && *cut != Cut::BadGateway);
        let place = cut.and_then(|cut| self.place(cut, rest));
        if let Some(place) = place {
            rest = &rest[..place];
        }
        let mut plan = self.plan.lock();
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(rest.len().min(1 + plan.1.below(PIECE_BYTES_MAX) as usize));
            if self.client.write_all(piece).is_err() {
                return false;
            }
            rest = others;
        }
        if place.is_some() {
            if plan.1.below(2) == 0 {
                // Closing sends a reset.
                let _ = SockRef::from(&self.client).set_linger(Some(Duration::ZERO));
            }
            drop(plan);
            self.made();
        }
        place.is_none()
    }

    /// How many of these bytes come before the cut, if it is among them.
    fn place(&mut self, cut: Cut, bytes: &[u8]) -> Option<usize> {
        let before = self.seen.len();
        self.seen.extend_from_slice(bytes);
        let after = |from: usize, pattern: &[u8]| {
            let at = self.seen[from..].windows(pattern.len()).position(|window| window == pattern)?;
            Some(from + at + pattern.len())
        };
        let choice = self.choice as usize;
        let message = || after(0, b"{\"type\":\"input\"");
        let number = || after(message()?, b"\nid: ");
        let place = match cut {
            // The head has about 400 bytes, and an event as many.
            Cut::Anywhere => outside_ids(&self.seen, 1 + choice % 900),
            // More of the message follows than that.
            Cut::Data => message().map(|at| at + choice % 200),
            Cut::Number => number().map(|at| at + 1),
            Cut::EmptyLine => number().and_then(|at| after(at, b"\n")),
            Cut::BadGateway => None,
        };
        place.filter(|place| (before..self.seen.len()).contains(place)).map(|place| place - before)
    }

    /// Takes the first cut out of the plan.
    fn made(&self) {
        self.plan.lock().0.pop_front();
        self.plan.changed.notify_all();
    }
}

/// The first place from `place` on that is not between the data of an event and its end: [`Cut::Number`] and
/// [`Cut::EmptyLine`] are for that.
fn outside_ids(seen: &[u8], place: usize) -> Option<usize> {
    let find = |bytes: &[u8], pattern: &[u8]| bytes.windows(pattern.len()).position(|window| window == pattern);
    let mut from = 0;
    while let Some(data) = find(&seen[from..], b"\ndata: ") {
        let line_end = from + data + 1 + find(&seen[from + data + 1..], b"\n")?;
        let end = line_end + find(&seen[line_end..], b"\n\n")? + 2;
        if place <= line_end {
            return Some(place);
        }
        if place < end {
            return Some(end);
        }
        from = end - 1;
    }
    (place < seen.len()).then_some(place)
}

/// Reads once. `None` at the end and after an error.
fn read(socket: &mut TcpStream, buffer: &mut [u8]) -> Option<usize> {
    loop {
        match socket.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return None,
            Ok(n) => return Some(n),
        }
    }
}

/// Waits until one of two sockets can be read, or has ended. Returns which.
fn readable(first: &TcpStream, second: &TcpStream) -> (bool, bool) {
    let mut sockets =
        [first, second].map(|socket| libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    loop {
        // SAFETY: the array has two entries, and outlives the call.
        let count = unsafe { libc::poll(sockets.as_mut_ptr(), 2, -1) };
        if count > 0 {
            return (sockets[0].revents != 0, sockets[1].revents != 0);
        }
    }
}

/// Numbers that only depend on the seed (SplitMix64).
pub struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}
