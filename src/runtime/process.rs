//! What concerns the process as a whole.

use crate::base::log as logging;
use crate::base::thread::{OnPanic, on_panic};

/// Exit status after a panic, as the standard library has it.
const PANIC_EXIT: i32 = 101;

/// Has every panic logged, and end the process where the thread was started so.
pub(crate) fn handle_panics() {
    std::panic::set_hook(Box::new(|panic| {
        log::error!("{} panicked: {panic}", std::thread::current().name().unwrap_or("a thread"));
        logging::flush();
        match on_panic() {
            OnPanic::Process => std::process::exit(PANIC_EXIT),
            OnPanic::Work | OnPanic::Thread => {}
        }
    }));
}
