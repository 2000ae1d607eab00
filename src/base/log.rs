//! The backend of the `log` facade: the calling thread formats a line, and one thread writes all lines to stderr.
//!
//! Invariant: logging waits at most for a short lock, never for the terminal or pipe behind stderr. A line that finds the queue
//! full is counted, and the count is logged. Text from peers is escaped.
//!
//! This is a thread shell: it reads the wall clock for its lines.

mod line;

pub(crate) use line::{AccessLine, LogFormat};

use super::limits::{LOG_FLUSH_MILLISECONDS, LOG_PAUSE_MILLISECONDS, LOG_QUEUE_BYTES_MAX, LOG_QUEUE_MAX};
use super::metrics;
use super::thread::{OnPanic, spawn};
use super::time::WallTime;
use line::{access_line, message_line};
use log::{LevelFilter, Log, Metadata, Record};
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Most bytes in the queue.
static QUEUE_BYTES_MAX: AtomicUsize = AtomicUsize::new(LOG_QUEUE_BYTES_MAX);

/// Lowers the number of bytes that the queue may have. The lines being written are as many again.
pub(crate) fn limit_queue(bytes: usize) {
    QUEUE_BYTES_MAX.store((bytes / 2).min(LOG_QUEUE_BYTES_MAX), Ordering::Relaxed);
}

/// Stack of the logging thread, in bytes.
const LOG_STACK_BYTES: usize = 512 * 1024;

/// Starts the logging thread and makes it the backend of `log`. Fails when that was done before, or when no thread can
/// be started.
pub(crate) fn init(format: LogFormat, level: LevelFilter) -> io::Result<()> {
    let logger = Logger::start(format, level, Box::new(io::stderr()))?;
    LOGGER.set(logger).map_err(|_| io::Error::from(io::ErrorKind::AlreadyExists))?;
    log::set_logger(LOGGER.get().expect("it was just set")).map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(())
}

/// Changes which lines are written, from now on.
pub(crate) fn set_level(level: LevelFilter) {
    if let Some(logger) = LOGGER.get() {
        logger.shared.level.store(level as usize, Ordering::Relaxed);
        log::set_max_level(level);
    }
}

/// Whether `access` writes anything.
pub(crate) fn access_enabled() -> bool {
    LOGGER.get().is_some_and(|logger| logger.shared.enabled(log::Level::Info))
}

/// Logs a request, at level `INFO`.
pub(crate) fn access(line: &AccessLine<'_>) {
    if let Some(logger) = LOGGER.get() {
        logger.access(line);
    }
}

/// Waits until all that was logged before is written, for `LOG_FLUSH_MILLISECONDS` at most.
pub(crate) fn flush() {
    if let Some(logger) = LOGGER.get() {
        logger.flush();
    }
}

/// A queue of lines and the thread that writes them. The program has one; tests make their own.
struct Logger {
    shared: Arc<Shared>,
}

struct Shared {
    format: LogFormat,
    level: AtomicUsize,
    queue: Mutex<LineQueue>,
    /// The thread waits here for lines.
    work: Condvar,
    /// Signals callers of `flush`.
    written: Condvar,
}

#[derive(Default)]
struct LineQueue {
    /// Whole lines, each with its line end.
    bytes: Vec<u8>,
    /// Lines in `bytes`.
    lines: usize,
    /// Lines that found the queue full since the last write.
    lost: u64,
    /// Lines that were ever queued.
    lines_queued: u64,
    /// Of these, lines that were written.
    lines_written: u64,
    /// The thread waits for the next line, however long that takes, and must be woken.
    idle: bool,
    /// The thread shall not gather more lines before it writes.
    hurry: bool,
    /// The thread shall end when all is written.
    ended: bool,
}

impl Logger {
    fn start(format: LogFormat, level: LevelFilter, sink: Box<dyn Write + Send>) -> io::Result<Logger> {
        let shared = Arc::new(Shared {
            format,
            level: AtomicUsize::new(level as usize),
            queue: Mutex::default(),
            work: Condvar::new(),
            written: Condvar::new(),
        });
        let of_thread = shared.clone();
        spawn("log", LOG_STACK_BYTES, OnPanic::Process, move || of_thread.write_lines(sink))?;
        Ok(Logger { shared })
    }

    fn access(&self, line: &AccessLine<'_>) {
        if self.shared.enabled(log::Level::Info) {
            self.shared.push(&access_line(self.shared.format, wall_now(), line));
        }
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.work.notify_all();
    }
}

impl Log for Logger {
    /// At `DEBUG` and `TRACE`, only lines of this program: other crates log secrets, such as the parameters of statements.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let own = metadata.level() <= log::Level::Info || metadata.target().starts_with("cortex_core");
        own && self.shared.enabled(metadata.level())
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let text = match record.args().as_str() {
                Some(text) => text.into(),
                None => std::borrow::Cow::Owned(record.args().to_string()),
            };
            let line = message_line(self.shared.format, wall_now(), record.level().as_str(), record.target(), &text);
            self.shared.push(&line);
        }
    }

    fn flush(&self) {
        let mut queue = self.shared.lock();
        let through = queue.lines_queued;
        queue.hurry = true;
        self.shared.work.notify_all();
        let longest = Duration::from_millis(LOG_FLUSH_MILLISECONDS);
        let waiting = |queue: &mut LineQueue| queue.lines_written < through || queue.lost > 0;
        // Whether all was written or the time ran out: the program ends now.
        let _ = self.shared.written.wait_timeout_while(queue, longest, waiting);
    }
}

impl Shared {
    fn enabled(&self, level: log::Level) -> bool {
        level as usize <= self.level.load(Ordering::Relaxed)
    }

    /// Nothing that can panic runs under the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, LineQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let queue_bytes_max = QUEUE_BYTES_MAX.load(Ordering::Relaxed);
        let mut queue = self.lock();
        if queue.lines >= LOG_QUEUE_MAX || queue.bytes.len() + line.len() > queue_bytes_max {
            queue.lost += 1;
            metrics::LOG_LINES_DROPPED.add(1);
            return;
        }
        queue.bytes.extend_from_slice(line);
        queue.lines += 1;
        queue.lines_queued += 1;
        let half_full = queue.lines > LOG_QUEUE_MAX / 2 || queue.bytes.len() > queue_bytes_max / 2;
        if queue.idle || (half_full && !queue.hurry) {
            queue.idle = false;
            queue.hurry |= half_full;
            self.work.notify_one();
        }
    }

    /// The logging thread. After a write it gathers lines for a moment, so that under load there is one write for many lines, and
    /// no thread has to wake it.
    fn write_lines(&self, mut sink: Box<dyn Write + Send>) {
        const CAPACITY_KEPT: usize = 64 * 1024;
        let mut batch = Vec::new();
        let mut queue = self.lock();
        loop {
            while queue.bytes.is_empty() && queue.lost == 0 {
                if queue.ended {
                    return;
                }
                queue.hurry = false;
                queue.idle = true;
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            queue.idle = false;
            queue.hurry = false;
            std::mem::swap(&mut queue.bytes, &mut batch);
            let lines = std::mem::take(&mut queue.lines) as u64;
            let lost = std::mem::take(&mut queue.lost);
            drop(queue);

            if lost > 0 {
                let text = format!("{lost} lines were lost because the queue was full");
                batch.extend_from_slice(&message_line(self.format, wall_now(), "WARN", "log", &text));
            }
            write_all(&mut *sink, &batch);
            batch.clear();
            batch.shrink_to(CAPACITY_KEPT);

            queue = self.lock();
            queue.lines_written += lines;
            self.written.notify_all();
            let pause = Duration::from_millis(LOG_PAUSE_MILLISECONDS);
            let gathering = |queue: &mut LineQueue| !queue.hurry && !queue.ended;
            queue = self.work.wait_timeout_while(queue, pause, gathering).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Errors of stderr cannot be reported, so lines that cannot be written are dropped. A stderr that another
/// program made non-blocking is waited for.
fn write_all(sink: &mut dyn Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match sink.write(bytes) {
            Ok(0) => return,
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(LOG_PAUSE_MILLISECONDS));
            }
            Err(_) => return,
        }
    }
    // Like an error of `write`, one of `flush` has nowhere to go.
    let _ = sink.flush();
}

fn wall_now() -> WallTime {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: AccessLine<'_> = AccessLine {
        method: "GET",
        path: "/",
        status: 200,
        bytes: 41,
        micros: 57,
        request_id: "r-1",
        user: Some("550e8400-e29b-41d4-a716-446655440000"),
    };

    /// The written bytes. A test can block writing.
    #[derive(Clone, Default)]
    struct Sink {
        gate: Arc<Mutex<()>>,
        bytes: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.gate.lock().unwrap();
            // In small pieces, as a pipe may take them.
            let count = bytes.len().min(1000);
            self.bytes.lock().unwrap().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn lines(&self) -> Vec<String> {
            let bytes = self.bytes.lock().unwrap().clone();
            String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
        }
    }

    fn log_warning(logger: &Logger, number: usize) {
        let args = format_args!("number {number}");
        logger.log(&Record::builder().level(log::Level::Warn).target("test").args(args).build());
    }

    #[test]
    fn flushed_lines_are_written_in_order() {
        let sink = Sink::default();
        let logger = Logger::start(LogFormat::Text, LevelFilter::Info, Box::new(sink.clone())).unwrap();
        for round in 1..=20 {
            for number in 0..100 {
                log_warning(&logger, number);
            }
            logger.flush();
            let lines = sink.lines();
            assert_eq!(lines.len(), round * 100);
            assert!(lines.iter().enumerate().all(|(at, line)| line.ends_with(&format!("number {}", at % 100))));
        }
    }

    #[test]
    fn the_level_decides_and_can_change() {
        let sink = Sink::default();
        let logger = Logger::start(LogFormat::Text, LevelFilter::Warn, Box::new(sink.clone())).unwrap();
        logger.access(&LINE);
        log_warning(&logger, 1);
        logger.shared.level.store(LevelFilter::Info as usize, Ordering::Relaxed);
        logger.access(&LINE);
        logger.shared.level.store(LevelFilter::Off as usize, Ordering::Relaxed);
        log_warning(&logger, 2);
        logger.flush();
        let lines = sink.lines();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].ends_with("test: number 1") && lines[1].contains("request method=GET"), "{lines:?}");
    }

    #[test]
    fn a_full_queue_loses_lines_and_says_how_many() {
        let sink = Sink::default();
        let logger = Logger::start(LogFormat::Text, LevelFilter::Info, Box::new(sink.clone())).unwrap();
        // The thread may have taken one full queue before it came to the gate.
        let total = 2 * LOG_QUEUE_MAX + 100;
        let shut = sink.gate.lock().unwrap();
        (0..total).for_each(|number| log_warning(&logger, number));
        drop(shut);
        logger.flush();
        let lost = |line: &String| {
            line.split_once(" WARN log: ").map(|(_, rest)| rest.split(' ').next().unwrap().parse::<usize>().unwrap())
        };
        let lines = sink.lines();
        let lines_lost: usize = lines.iter().filter_map(lost).sum();
        let lines_kept = lines.iter().filter(|line| lost(line).is_none()).count();
        assert!(lines_lost >= 100, "{lines_lost}");
        assert_eq!(lines_kept + lines_lost, total);
        log_warning(&logger, total);
        logger.flush();
        assert!(sink.lines().last().unwrap().ends_with(&format!("number {total}")), "logging goes on afterwards");
    }

    #[test]
    fn the_program_has_one_logger() {
        assert!(!access_enabled(), "nothing is logged before the start");
        init(LogFormat::Text, LevelFilter::Off).unwrap();
        assert_eq!(init(LogFormat::Json, LevelFilter::Trace).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(log::max_level(), LevelFilter::Off);
        for (level, expected) in [(LevelFilter::Info, true), (LevelFilter::Warn, false), (LevelFilter::Off, false)] {
            set_level(level);
            assert_eq!((access_enabled(), log::max_level()), (expected, level));
        }
        flush();
    }

    #[test]
    fn many_threads_log_whole_lines() {
        let sink = Sink::default();
        let logger = Logger::start(LogFormat::Json, LevelFilter::Info, Box::new(sink.clone())).unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..500).for_each(|_| logger.access(&LINE)));
            }
        });
        logger.flush();
        let lines = sink.lines();
        assert_eq!(lines.len(), 2000);
        assert!(lines.iter().all(|line| line.starts_with("{\"time\":") && line.ends_with('}')));
    }
}
