//! What the service manager is told.

use crate::common::{DEADLINE, Options, Server};
use std::os::unix::net::UnixDatagram;

#[test]
fn the_service_manager_is_notified_of_start_reload_and_stop() {
    let path = std::env::temp_dir().join(format!("cortex-core-service-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let manager = UnixDatagram::bind(&path).expect("a free path");
    manager.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let hears = || {
        let mut buffer = [0; 256];
        let bytes = manager.recv(&mut buffer).expect("it is told");
        String::from_utf8(buffer[..bytes].to_vec()).expect("text")
    };
    let mut server = Server::start(Options::new().set("NOTIFY_SOCKET", path.display()));
    assert_eq!(hears(), "READY=1");
    let mut second = server.second();
    server.process().signal(libc::SIGHUP);
    assert!(hears().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(hears(), "READY=1");
    server.process().signal(libc::SIGTERM);
    assert_eq!(hears(), "STOPPING=1");
    assert_eq!(server.process().wait_exit().code(), Some(0), "{}", server.log());
    // The next says so when it has the database, and not while it waits.
    assert_eq!(hears(), "READY=1");
    second.wait_listening();
    std::fs::remove_file(&path).expect("it is ours");
}

#[test]
fn a_missing_service_manager_causes_a_warning() {
    let server = Server::start(Options::new().set("NOTIFY_SOCKET", "/nobody/is/here"));
    let end = std::time::Instant::now() + DEADLINE;
    while !server.log().contains("NOTIFY_SOCKET") {
        assert!(std::time::Instant::now() < end, "it is never logged:\n{}", server.log());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
