//! Starts the threads of the process. The caller states the effect of a panic.

use std::cell::Cell;
use std::io;
use std::thread::{Builder, JoinHandle};

/// The effect of a panic, which is always a bug of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnPanic {
    /// The process ends, because the state of the thread is unknown, or because other threads would wait for it without bound.
    /// Acknowledged data is on disk.
    Process,
    /// One item of work fails. The thread catches the panic, reports it to the recipient of the result, and continues.
    Work,
}

thread_local! {
    static ON_PANIC: Cell<OnPanic> = const { Cell::new(OnPanic::Process) };
}

/// The effect of a panic of the calling thread. On the main thread, it ends the process.
pub(crate) fn on_panic() -> OnPanic {
    ON_PANIC.get()
}

/// Starts a thread with this name and this stack, in bytes.
///
/// # Errors
///
/// Fails if the system cannot create another thread.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    stack_bytes: usize,
    on_panic: OnPanic,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(format!("cortex-{name}")).stack_size(stack_bytes).spawn(move || {
        ON_PANIC.set(on_panic);
        run()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_its_name_and_its_meaning_of_a_panic() {
        let seen = || (std::thread::current().name().map(str::to_owned), on_panic());
        let thread = spawn("x", 64 * 1024, OnPanic::Work, seen).unwrap();
        assert_eq!(thread.join().unwrap(), (Some("cortex-x".to_owned()), OnPanic::Work));
    }
}
