//! The limit: a thread that only writes such frames to the same number of sockets.

use crate::streams::{DATA_START, Received, Streams, TIME_DIGITS};
use crate::support::cores;
use crate::support::histogram::Histogram;
use crate::support::http::SILENCE_MAX;
use crate::traffic::Measured;
use mio::{Events, Poll};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Stands for the number of messages while the thread is still writing.
const WRITING: u64 = u64::MAX;
const EVENTS: usize = 1024;

/// Bytes of the framing of a chunk: the size, and two line ends.
const CHUNK_BYTES: usize = 10;

/// Writes frames of `frame_bytes` to `streams` sockets for `duration`, with `joined` frames per write.
pub fn measure(
    streams: usize,
    joined: u64,
    frame_bytes: usize,
    duration: Duration,
    core: Option<usize>,
) -> Result<Measured, String> {
    run(streams, joined, frame_bytes, duration, core).map_err(|error| format!("bare write: {error}"))
}

fn run(
    streams: usize,
    joined: u64,
    frame_bytes: usize,
    duration: Duration,
    core: Option<usize>,
) -> io::Result<Measured> {
    let mut poll = Poll::new()?;
    let origin = Instant::now();
    let (writers, readers) = connect(streams)?;
    let mut streams = Streams::new(readers, poll.registry(), origin)?;
    let messages = AtomicU64::new(WRITING);
    let (start, load_cpu_before) = (Instant::now(), cores::thread_cpu_time());
    std::thread::scope(|scope| {
        let (writers, messages) = (&writers, &messages);
        let writing = scope.spawn(move || -> io::Result<(Received, Duration)> {
            core.map_or(Ok(()), cores::pin_this_thread)?;
            let given = write_frames(writers, joined, frame_bytes, start + duration, origin)?;
            messages.store(given.count, Relaxed);
            Ok((given, cores::thread_cpu_time()))
        });
        let (mut events, mut last_at) = (Events::with_capacity(EVENTS), Instant::now());
        while streams.deliveries != messages.load(Relaxed).saturating_mul(writers.len() as u64) {
            // All may have arrived before the number of messages is known.
            poll.poll(&mut events, Some(Duration::from_millis(1)))?;
            if !events.is_empty() {
                last_at = Instant::now();
            } else if last_at.elapsed() > SILENCE_MAX {
                return Err(io::ErrorKind::TimedOut.into());
            }
            for event in &events {
                streams.read(event.token().0).map_err(io::Error::other)?;
            }
        }
        let elapsed = start.elapsed();
        let (sent, cpu) = writing.join().map_err(|_| io::Error::other("the writing thread failed"))??;
        streams.check(sent).map_err(io::Error::other)?;
        let latency = std::mem::replace(&mut streams.latency, Histogram::new());
        let load_cpu = cores::thread_cpu_time() - load_cpu_before;
        Ok(Measured { elapsed, deliveries: streams.deliveries, latency, cpu, load_cpu, frame_bytes })
    })
}

/// Pairs of connected sockets: the writing sides and the reading sides.
fn connect(count: usize) -> io::Result<(Vec<TcpStream>, Vec<TcpStream>)> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let (mut writers, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..count {
        readers.push(TcpStream::connect(listener.local_addr()?)?);
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        writers.push(socket);
    }
    Ok((writers, readers))
}

/// The loop. Returns what was written to each socket.
fn write_frames(
    writers: &[TcpStream],
    joined: u64,
    frame_bytes: usize,
    end: Instant,
    origin: Instant,
) -> io::Result<Received> {
    let mut given = Received::default();
    let mut frames = Vec::with_capacity(joined as usize * frame_bytes);
    loop {
        let now = Instant::now();
        if now >= end {
            return Ok(given);
        }
        let time = (now - origin).as_nanos();
        frames.clear();
        for number in given.last + 1..=given.last + joined {
            let frame_at = frames.len();
            write!(frames, "{:06x}\r\n", frame_bytes - CHUNK_BYTES)?;
            frames.extend_from_slice(DATA_START);
            write!(frames, "{time:0TIME_DIGITS$}")?;
            let id_line = format!("\nid: {number}\n\n");
            frames.resize(frame_at + frame_bytes - id_line.len() - 2, b'x');
            frames.extend_from_slice(id_line.as_bytes());
            frames.extend_from_slice(b"\r\n");
            given.add(number);
        }
        for mut writer in writers {
            writer.write_all(&frames)?;
        }
    }
}
