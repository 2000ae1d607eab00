//! Settings of the whole process: panics, file modes, signals, limits.

use crate::base::log as logging;
use crate::base::thread::{OnPanic, on_panic};

/// Exit status after an error.
const ERROR_EXIT: i32 = 1;
/// Exit status after a panic, as in the standard library.
const PANIC_EXIT: i32 = 101;
/// The open-file limit if the system does not report one (POSIX requires at least 20; Linux has 1024 by default).
const OPEN_FILES_DEFAULT: u64 = 1024;

/// Logs every panic, and ends the process if the thread was started with [`OnPanic::Process`].
pub(crate) fn handle_panics() {
    std::panic::set_hook(Box::new(|panic| {
        log::error!("{} panicked: {panic}", std::thread::current().name().unwrap_or("a thread"));
        logging::flush();
        match on_panic() {
            OnPanic::Process => std::process::exit(PANIC_EXIT),
            OnPanic::Work => {}
        }
    }));
}

/// Ends the process because of an error that was logged.
pub(crate) fn end_failed() -> ! {
    logging::flush();
    std::process::exit(ERROR_EXIT)
}

/// Makes new files readable by the process's user alone: the database contains password hashes and a signing key.
pub(crate) fn keep_files_private() {
    // SAFETY: umask sets the file mode mask of the process, and cannot fail.
    unsafe {
        libc::umask(0o077);
    }
}

/// Makes a write past the limit of a file's size (`RLIMIT_FSIZE`) an error, like a write to a full disk. By default, a signal
/// would end the process (setrlimit(2)).
pub(crate) fn ignore_file_size_signals() {
    // SAFETY: no handler is installed, and the call cannot fail for this signal.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// Raises the limit of open files to its hard limit, and returns it.
pub fn raise_open_file_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to whole structures that outlive the calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return OPEN_FILES_DEFAULT;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0 {
            limit = raised;
        }
    }
    limit.rlim_cur
}
