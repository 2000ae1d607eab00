//! The cost of strictness: `http1::head::parse_head` compared with bare `httparse`, on three common heads.
//!
//! Both alternate in short rounds, so that a slow phase of the machine affects both; the median round counts.

mod support;

use cortex_core::internals::head::parse_head;
use cortex_core::internals::{HeadLimits, HeaderBuf};
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};
use support::figures::{self, PROGRAM};

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 16 * 1024 };
const ROUNDS: usize = 101;
const HEADS_PER_ROUND: u32 = 20_000;

const CURL: &str = "GET /health HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n";

const CLIENT_POST: &str = "POST /input HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept: */*\r\n\
    Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nUser-Agent: python-httpx/0.28.1\r\n\
    Content-Length: 231\r\nContent-Type: application/json\r\nAuthorization: Bearer \
    eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJvaWQiOiI1NTBlODQwMC1lMjliLTQxZDQtYTcxNi00NDY2NTU0NDAwMDAiLCJuYW1lIjoi\
    VGVzdCBVc2VyIiwiZW1haWwiOiJ1c2VyQGV4YW1wbGUuY29tIiwiZXhwIjoxNzY5OTM3MzMwfQ.\
    c2lnbmF0dXJlLXNpZ25hdHVyZS1zaWduYXR1cmUtc2k\r\n\r\n";

const BROWSER: &str = "GET /output/stream?named=true&ticket=c3RyZWFtLXRpY2tldA HTTP/1.1\r\nHost: localhost:8000\r\n\
    Connection: keep-alive\r\nsec-ch-ua-platform: \"Linux\"\r\nCache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36\r\n\
    Accept: text/event-stream\r\nsec-ch-ua: \"Chromium\";v=\"143\", \"Not A(Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n\
    Origin: http://localhost:5173\r\nSec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n\
    Referer: http://localhost:5173/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n\
    Last-Event-ID: 1042\r\n\r\n";

fn main() {
    // `cargo test --all-targets` runs this without the flag, in a debug build.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("head: measures under `cargo bench` only");
        return;
    }
    println!(
        "{:<14}{:>7}{:>15}{:>12}{:>15}{:>12}{:>8}",
        "head", "bytes", "parse_head ns", "MB/s", "httparse ns", "MB/s", "ratio"
    );
    for (name, head) in [("curl get", CURL), ("client post", CLIENT_POST), ("browser stream", BROWSER)] {
        let (ours, bare) = measure(head.as_bytes());
        println!(
            "{name:<14}{:>7}{ours:>15.1}{:>12.0}{bare:>15.1}{:>12.0}{:>8.2}",
            head.len(),
            megabytes_per_second(head.len(), ours),
            megabytes_per_second(head.len(), bare),
            ours / bare,
        );
        let row = format!("parsing the head of a {name}");
        figures::record(&row, PROGRAM, "ns", ours);
        figures::record(&row, "bare httparse", "ns", bare);
    }
}

fn megabytes_per_second(bytes: usize, nanoseconds: f64) -> f64 {
    bytes as f64 * 1000.0 / nanoseconds
}

/// Nanoseconds per head of `parse_head` and of bare `httparse`.
fn measure(head: &[u8]) -> (f64, f64) {
    assert_eq!(parse_ours(head), head.len());
    assert_eq!(parse_bare(head), head.len());
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(time_round(head, parse_ours));
        bare.push(time_round(head, parse_bare));
    }
    (median_per_head(ours), median_per_head(bare))
}

fn time_round(head: &[u8], parse: impl Fn(&[u8]) -> usize) -> Duration {
    let start = Instant::now();
    for _ in 0..HEADS_PER_ROUND {
        black_box(parse(black_box(head)));
    }
    start.elapsed()
}

fn median_per_head(mut rounds: Vec<Duration>) -> f64 {
    rounds.sort_unstable();
    rounds[rounds.len() / 2].as_nanos() as f64 / f64::from(HEADS_PER_ROUND)
}

#[inline(never)]
fn parse_ours(head: &[u8]) -> usize {
    let mut slots = HeaderBuf::new();
    let head = parse_head(head, &mut slots, &LIMITS).expect("a good head").expect("a whole head");
    black_box(&head).bytes
}

#[inline(never)]
fn parse_bare(head: &[u8]) -> usize {
    let mut headers = [const { MaybeUninit::uninit() }; 100];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(head, &mut headers).expect("a good head");
    black_box(&request);
    parsed.unwrap()
}
