//! A proxy between the program and its server, which can lose the reply to a commit.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

/// The message `CommandComplete` of a successful commit (PostgreSQL documentation, "Message Formats").
const COMMITTED: &[u8] = b"C\0\0\0\x0bCOMMIT\0";

/// A proxy, which ends when it is dropped. Its connections end with either of their sides.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// The next reply to a commit is not passed on, and its connection ends.
    loses_reply: AtomicBool,
    is_ended: AtomicBool,
}

impl Proxy {
    pub fn start(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let proxy = Proxy { address: listener.local_addr().expect("an address"), state: Arc::default() };
        let state = Arc::clone(&proxy.state);
        thread::spawn(move || {
            for client in listener.incoming() {
                if state.is_ended.load(SeqCst) {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) else { continue };
                connect(client, server, &state);
            }
        });
        proxy
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Loses the next reply to a commit.
    pub fn lose_reply(&self) {
        self.state.loses_reply.store(true, SeqCst);
    }

    /// Whether a reply is still to be lost.
    pub fn is_losing_reply(&self) -> bool {
        self.state.loses_reply.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.is_ended.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn connect(client: TcpStream, server: TcpStream, state: &Arc<State>) {
    for socket in [&client, &server] {
        socket.set_nodelay(true).expect("an option");
    }
    let clone = |socket: &TcpStream| socket.try_clone().expect("a descriptor");
    let (from, to) = (clone(&client), clone(&server));
    thread::spawn(move || pass_on(from, to, |_| false));
    let state = Arc::clone(state);
    thread::spawn(move || {
        pass_on(server, client, |bytes| {
            let is_commit = bytes.windows(COMMITTED.len()).any(|window| window == COMMITTED);
            is_commit && state.loses_reply.swap(false, SeqCst)
        });
    });
}

/// Passes bytes on until a side ends, or `ends` is true of what arrived.
fn pass_on(mut from: TcpStream, mut to: TcpStream, ends: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if ends(&buffer[..length]) || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
