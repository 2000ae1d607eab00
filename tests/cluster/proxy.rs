//! A proxy between an instance and a server that it uses: it breaks connections, delays and swallows what is sent, and damages the
//! messages of Redis.

use crate::redis_messages::{Damage, Damager};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
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

/// What happens to all that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It is passed on at once.
    Pass,
    /// Each piece is passed on after this time.
    Delay(Duration),
    /// What the client sends is lost, and so is what the server sends. No connection ends.
    Swallow,
    /// What the client sends is lost.
    SwallowRequests,
    /// What the server sends is lost.
    SwallowReplies,
    /// Connections end, and so does each new one.
    Break,
}

/// The bytes that break a connection, and how.
type Armed = Option<(Vec<u8>, Cut)>;

/// A proxy on a port of its own.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

/// What all connections of a proxy have in common.
struct Shared {
    armed: Mutex<Armed>,
    link: Mutex<Link>,
    connections: Mutex<Vec<Weak<Connection>>>,
    /// Damages the messages of Redis.
    damage: Option<Damage>,
}

/// A connection that is passed on.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// The replies are not passed on any more.
    is_muted: AtomicBool,
    /// Something that was sent is lost.
    has_lost: AtomicBool,
}

impl Proxy {
    /// Passes connections on to a port of the loopback address.
    pub fn to(target: u16) -> Proxy {
        Proxy::start(target, None)
    }

    /// Passes connections to a Redis server on, and damages the messages of its channels.
    pub fn damaging(target: u16, damage: Damage) -> Proxy {
        Proxy::start(target, Some(damage))
    }

    fn start(target: u16, damage: Option<Damage>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (link, connections) = (Mutex::new(Link::Pass), Mutex::default());
        let shared = Arc::new(Shared { armed: Mutex::default(), link, connections, damage });
        let proxy = Proxy { port, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                shared.serve(client, server);
            }
        });
        proxy
    }

    /// The port of the proxy.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Breaks the next connection on which a client sends these bytes.
    pub fn cut(&self, bytes: &str, cut: Cut) {
        *self.shared.armed.lock().unwrap() = Some((bytes.as_bytes().to_vec(), cut));
    }

    /// Whether the connection has been broken.
    pub fn has_cut(&self) -> bool {
        self.shared.armed.lock().unwrap().is_none()
    }

    /// Changes what happens to all that is sent. Connections that have lost something do not go on, unless they lose everything
    /// from now on as well.
    pub fn set(&self, link: Link) {
        let mut current = self.shared.link.lock().unwrap();
        *current = link;
        let mut connections = self.shared.connections.lock().unwrap();
        connections.retain(|connection| connection.strong_count() > 0);
        if link == Link::Break {
            connections.iter().filter_map(Weak::upgrade).for_each(|connection| connection.end());
        } else if link != Link::Swallow {
            let damaged = connections.iter().filter_map(Weak::upgrade).filter(|one| one.has_lost.load(Relaxed));
            damaged.for_each(|connection| connection.end());
        }
    }

    /// Ends all connections.
    pub fn end_connections(&self) {
        let connections = self.shared.connections.lock().unwrap();
        connections.iter().filter_map(Weak::upgrade).for_each(|connection| connection.end());
    }
}

impl Shared {
    fn serve(self: &Arc<Shared>, client: TcpStream, server: TcpStream) {
        let (is_muted, has_lost) = (AtomicBool::new(false), AtomicBool::new(false));
        let connection = Arc::new(Connection { client, server, is_muted, has_lost });
        {
            // A link that breaks meanwhile ends this connection, too.
            let link = self.link.lock().unwrap();
            self.connections.lock().unwrap().push(Arc::downgrade(&connection));
            if *link == Link::Break {
                return connection.end();
            }
        }
        let (shared, other) = (Arc::clone(self), Arc::clone(&connection));
        thread::spawn(move || {
            shared.pass_requests(&other);
            other.end();
        });
        let shared = Arc::clone(self);
        thread::spawn(move || {
            shared.pass_replies(&connection);
            connection.end();
        });
    }

    fn pass_requests(&self, connection: &Connection) {
        let (mut client, mut server) = (&connection.client, &connection.server);
        let mut buffer = [0; 65536];
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            let bytes = &buffer[..count];
            if self.loses(connection, &[Link::Swallow, Link::SwallowRequests]) {
                continue;
            }
            let is_armed = |(cut, _): &mut (Vec<u8>, Cut)| bytes.windows(cut.len()).any(|window| window == &cut[..]);
            let taken = self.armed.lock().unwrap().take_if(is_armed);
            match taken {
                Some((_, Cut::Before)) => return,
                Some((_, Cut::After)) => {
                    connection.is_muted.store(true, Relaxed);
                    let _ = server.write_all(bytes);
                    // The server has time to carry the statements out.
                    thread::sleep(Duration::from_millis(500));
                    return;
                }
                None if server.write_all(bytes).is_err() => return,
                None => {}
            }
        }
    }

    fn pass_replies(&self, connection: &Connection) {
        let (mut client, mut server) = (&connection.client, &connection.server);
        let mut damager = self.damage.as_ref().map(Damager::new);
        let mut buffer = [0; 65536];
        while let Ok(count @ 1..) = server.read(&mut buffer) {
            if self.loses(connection, &[Link::Swallow, Link::SwallowReplies]) || connection.is_muted.load(Relaxed) {
                continue;
            }
            let bytes = &buffer[..count];
            let written = match &mut damager {
                None => client.write_all(bytes),
                Some(damager) => client.write_all(&damager.damage(bytes)),
            };
            if written.is_err() {
                return;
            }
        }
    }

    /// Waits as long as the link delays. Returns whether it loses what was sent.
    fn loses(&self, connection: &Connection, losing: &[Link]) -> bool {
        let link = self.link.lock().unwrap();
        if losing.contains(&link) {
            connection.has_lost.store(true, Relaxed);
            return true;
        }
        if let Link::Delay(time) = *link {
            drop(link);
            thread::sleep(time);
        }
        false
    }
}

impl Connection {
    fn end(&self) {
        let _ = (self.client.shutdown(Shutdown::Both), self.server.shutdown(Shutdown::Both));
    }
}
