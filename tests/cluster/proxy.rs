//! A proxy between an instance and its database server that breaks connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What happens to a connection when its client sends the bytes that a test waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The bytes are not passed on, and the connection ends.
    Before,
    /// The bytes are passed on. The replies are not, and the connection ends after a while.
    After,
}

/// The bytes that break a connection, and how.
type Armed = Option<(Vec<u8>, Cut)>;

/// A proxy on a port of its own.
pub struct Proxy {
    port: u16,
    armed: Arc<Mutex<Armed>>,
}

impl Proxy {
    /// Passes connections on to a port of the loopback address.
    pub fn to(target: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let armed: Arc<Mutex<Armed>> = Arc::default();
        let shared = Arc::clone(&armed);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let armed = Arc::clone(&shared);
                thread::spawn(move || pass(client, server, &armed));
            }
        });
        Proxy { port, armed }
    }

    /// The port of the proxy.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Breaks the next connection on which a client sends these bytes.
    pub fn cut(&self, bytes: &str, cut: Cut) {
        *self.armed.lock().unwrap() = Some((bytes.as_bytes().to_vec(), cut));
    }

    /// Whether the connection has been broken.
    pub fn has_cut(&self) -> bool {
        self.armed.lock().unwrap().is_none()
    }
}

fn pass(mut client: TcpStream, mut server: TcpStream, armed: &Mutex<Armed>) {
    let is_muted = Arc::new(Mutex::new(false));
    let (mut to_client, mut from_server) = (client.try_clone().expect("a copy"), server.try_clone().expect("a copy"));
    let muted = Arc::clone(&is_muted);
    thread::spawn(move || {
        let mut buffer = [0; 65536];
        while let Ok(count @ 1..) = from_server.read(&mut buffer) {
            if !*muted.lock().unwrap() && to_client.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut buffer = [0; 65536];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        let taken = armed
            .lock()
            .unwrap()
            .take_if(|(bytes, _)| buffer[..count].windows(bytes.len()).any(|window| window == &bytes[..]));
        match taken {
            Some((_, Cut::Before)) => break,
            Some((_, Cut::After)) => {
                *is_muted.lock().unwrap() = true;
                let _ = server.write_all(&buffer[..count]);
                // The server has time to carry the statements out.
                thread::sleep(Duration::from_millis(500));
                break;
            }
            None if server.write_all(&buffer[..count]).is_err() => break,
            None => {}
        }
    }
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
}
