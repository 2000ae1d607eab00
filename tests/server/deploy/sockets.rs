//! Sockets that are handed over: which are taken, which are refused, and which are somebody else's.

use crate::common::{Client, Options, Server};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

#[test]
fn an_inherited_socket_is_the_address() {
    let socket = listener();
    let addr = socket.local_addr().expect("it is bound");
    // Neither is looked at: the first is taken, the second is no address of this machine.
    let options = Options::new().set("PORT", addr.port()).set("HOST", "192.0.2.1").pass_socket(socket);
    let server = Server::start(options);
    assert_eq!(server.addr, addr);
    assert_eq!(Client::new(addr).request("GET", "/").send().status, 200);
}

#[test]
fn an_inherited_socket_that_does_not_listen_is_rejected() {
    let connected = TcpStream::connect(listener().local_addr().expect("it is bound"));
    let path = std::env::temp_dir().join(format!("cortex-core-deploy-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let table: [(&str, OwnedFd, &str); 3] = [
        ("a datagram socket", UdpSocket::bind("127.0.0.1:0").expect("a free port").into(), "no TCP socket"),
        ("a local socket", UnixListener::bind(&path).expect("a free path").into(), "no TCP socket"),
        ("a connection", connected.expect("somebody listens").into(), "does not listen"),
    ];
    for (name, socket, why) in table {
        let refused = Server::refused(Options::new().pass_socket(socket));
        assert_eq!(refused.code, Some(1), "{name}: {}", refused.stderr);
        assert!(refused.stderr.contains("LISTEN_FDS") && refused.stderr.contains(why), "{name}: {}", refused.stderr);
    }
    std::fs::remove_file(&path).expect("it is ours");
    let refused = Server::refused(Options::new().pass_socket(listener()).set("LISTEN_FDS", 2));
    assert!(refused.stderr.contains("2 sockets"), "{}", refused.stderr);
    let file = std::fs::File::open("/dev/null").expect("it is there");
    let refused = Server::refused(Options::new().pass_socket(file));
    assert!(refused.stderr.contains("LISTEN_FDS"), "{}", refused.stderr);
}

#[test]
fn a_socket_for_another_process_is_ignored() {
    let socket = listener();
    let addr = socket.local_addr().expect("it is bound");
    let server = Server::start(Options::new().pass_socket(socket).set("LISTEN_PID", 1));
    assert_ne!(server.addr, addr);
    assert_eq!(Client::new(server.addr).request("GET", "/").send().status, 200);
}
