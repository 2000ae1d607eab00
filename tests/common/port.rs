//! A port that stays free while a server restarts.

use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// The first ephemeral port if the kernel does not report one.
const EPHEMERAL_FROM: u16 = 32768;
/// The number of ports below it that are tried.
const PORTS_TRIED: u32 = 8192;

/// A free port outside the ephemeral range. While the server is down, no client gets it as its local port: a client
/// that keeps retrying could otherwise connect to itself (RFC 9293 §3.5, simultaneous open) or block the restart.
#[track_caller]
pub fn free_port() -> u16 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let end = ephemeral_from();
    for _ in 0..PORTS_TRIED {
        // Concurrent test programs start at different ports.
        let place =
            std::process::id().wrapping_mul(61).wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed)) % PORTS_TRIED;
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
    from.filter(|from| u32::from(*from) > 1024 + PORTS_TRIED).unwrap_or(EPHEMERAL_FROM)
}
