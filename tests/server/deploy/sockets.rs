//! Inherited sockets: accepted, rejected and foreign ones.

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
    // Both settings are ignored: the port is in use, and the address is not local.
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
        ("a datagram socket", UdpSocket::bind("127.0.0.1:0").expect("a free port").into(), "not a TCP socket"),
        ("a local socket", UnixListener::bind(&path).expect("a free path").into(), "not a TCP socket"),
        ("a connection", connected.expect("the connection is accepted").into(), "does not listen"),
    ];
    for (name, socket, why) in table {
        let failed = Server::failed_start(Options::new().pass_socket(socket));
        assert_eq!(failed.code, Some(1), "{name}: {}", failed.stderr);
        assert!(failed.stderr.contains("LISTEN_FDS") && failed.stderr.contains(why), "{name}: {}", failed.stderr);
    }
    std::fs::remove_file(&path).expect("the socket can be removed");
    let failed = Server::failed_start(Options::new().pass_socket(listener()).set("LISTEN_FDS", 2));
    assert!(failed.stderr.contains("2 sockets"), "{}", failed.stderr);
    let file = std::fs::File::open("/dev/null").expect("it is there");
    let failed = Server::failed_start(Options::new().pass_socket(file));
    assert!(failed.stderr.contains("LISTEN_FDS"), "{}", failed.stderr);
}

#[test]
fn a_socket_for_another_process_is_ignored() {
    let socket = listener();
    let addr = socket.local_addr().expect("it is bound");
    let server = Server::start(Options::new().pass_socket(socket).set("LISTEN_PID", 1));
    assert_ne!(server.addr, addr);
    assert_eq!(Client::new(server.addr).request("GET", "/").send().status, 200);
}
