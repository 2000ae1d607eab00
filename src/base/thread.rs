//! Starts the threads of the process. Whoever starts one states what a panic of it means.

use std::cell::Cell;
use std::io;
use std::thread::{Builder, JoinHandle};

/// What a panic ends. A panic is always a mistake of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnPanic {
    /// The process ends: the state that the thread owns is not known any more, or others would wait for it for ever.
    /// What was acknowledged is on disk.
    Process,
    /// One piece of work is lost. The thread catches the panic, reports it to the receiver of the result, and continues.
    Work,
    /// The thread ends, and whoever waits for its result notices.
    Thread,
}

thread_local! {
    static ON_PANIC: Cell<OnPanic> = const { Cell::new(OnPanic::Process) };
}

/// What a panic of the calling thread means. The main thread's ends the process.
pub(crate) fn on_panic() -> OnPanic {
    ON_PANIC.get()
}

/// Starts a thread with this name and this stack, in bytes.
///
/// # Errors
///
/// The system has no room for another thread.
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
