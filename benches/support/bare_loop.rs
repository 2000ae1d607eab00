//! The thread of a bare loop, beside which the program is measured: an epoll loop with one listener.

use super::cores;
use mio::net::TcpListener;
use mio::{Interest, Poll, Token, Waker};
use std::io;
use std::net::SocketAddr;
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// The token of the listener.
pub const LISTENER: Token = Token(usize::MAX);
/// The token of the event that ends the loop.
pub const STOP: Token = Token(usize::MAX - 1);

/// A running loop; it ends on drop.
pub struct BareLoop {
    pub address: SocketAddr,
    name: &'static str,
    stop: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl BareLoop {
    /// Listens on a free loopback port, and runs `serve` on a thread pinned to `core`, until [`STOP`].
    pub fn start(
        name: &'static str,
        core: Option<usize>,
        serve: impl FnOnce(Poll, TcpListener) -> io::Result<()> + Send + 'static,
    ) -> Result<BareLoop, String> {
        let set_up = || -> io::Result<(Poll, TcpListener, Arc<Waker>)> {
            let poll = Poll::new()?;
            let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
            poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
            let stop = Arc::new(Waker::new(poll.registry(), STOP)?);
            Ok((poll, listener, stop))
        };
        let (poll, listener, stop) = set_up().map_err(|error| format!("{name}: {error}"))?;
        let address = listener.local_addr().map_err(|error| format!("{name}: {error}"))?;
        let thread = std::thread::spawn(move || {
            if let Some(core) = core {
                cores::pin_this_thread(core).expect("the core was usable before");
            }
            serve(poll, listener).expect("loopback does not fail");
        });
        Ok(BareLoop { address, name, stop, thread: Some(thread) })
    }

    /// Processor time of its thread so far, in user space and in the kernel.
    pub fn cpu_time(&self) -> Duration {
        let thread = self.thread.as_ref().expect("it runs until it is dropped").as_pthread_t();
        let mut clock = 0;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: both pointers are valid during the calls, and the thread has not been joined.
        let failed = unsafe {
            libc::pthread_getcpuclockid(thread, &mut clock) != 0 || libc::clock_gettime(clock, &mut time) != 0
        };
        assert!(!failed, "a running thread has a clock");
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

impl Drop for BareLoop {
    fn drop(&mut self) {
        self.stop.wake().expect("the loop's eventfd is open");
        let ended = self.thread.take().expect("joined once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the {} failed", self.name);
    }
}
