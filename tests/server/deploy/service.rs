//! Notifications to the service manager.

use crate::common::{DEADLINE, Options, Server};
use std::os::unix::net::UnixDatagram;

#[test]
fn the_service_manager_is_notified_of_start_reload_and_stop() {
    let path = std::env::temp_dir().join(format!("cortex-core-service-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let manager = UnixDatagram::bind(&path).expect("a free path");
    manager.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let receive = || {
        let mut buffer = [0; 256];
        let bytes = manager.recv(&mut buffer).expect("a notification arrives");
        String::from_utf8(buffer[..bytes].to_vec()).expect("text")
    };
    let mut server = Server::start(Options::new().set("NOTIFY_SOCKET", path.display()));
    assert_eq!(receive(), "READY=1");
    let mut second = server.second();
    server.process().signal(libc::SIGHUP);
    assert!(receive().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(receive(), "READY=1");
    server.process().signal(libc::SIGTERM);
    assert_eq!(receive(), "STOPPING=1");
    assert_eq!(server.process().wait_exit().code(), Some(0), "{}", server.log());
    // The next process notifies when it has the database, not while it waits.
    assert_eq!(receive(), "READY=1");
    second.wait_listening();
    std::fs::remove_file(&path).expect("the socket can be removed");
}

#[test]
fn a_missing_service_manager_causes_a_warning() {
    let server = Server::start(Options::new().set("NOTIFY_SOCKET", "/nobody/is/here"));
    server.wait_for_log("NOTIFY_SOCKET");
}
