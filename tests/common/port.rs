//! A port that a server keeps over restarts.

use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where ports that the kernel gives to clients begin when it does not say so itself.
const EPHEMERAL_FROM: u16 = 32768;
/// Ports below that are looked at.
const SPAN: u32 = 8192;

/// A port that is free, and that no client gets as its own while the server is down: a client that kept trying could
/// otherwise meet itself there (RFC 9293 §3.5, simultaneous open), or keep the server from coming back.
#[track_caller]
pub fn free_port() -> u16 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let end = ephemeral_from();
    for _ in 0..SPAN {
        // Test programs that run at once begin at different places.
        let place = std::process::id().wrapping_mul(61).wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed)) % SPAN;
        let port = end - 1 - place as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free below {end}");
}

fn ephemeral_from() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let from = range.split_whitespace().next().and_then(|text| text.parse().ok());
    from.filter(|from| u32::from(*from) > 1024 + SPAN).unwrap_or(EPHEMERAL_FROM)
}
