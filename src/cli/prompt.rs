//! Input from a terminal: passwords, which are not echoed, and confirmations.

use super::CliError;
use crate::base::limits::PASSWORD_CHARS_MAX;
use crate::wire::request::new_password;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::{emulate_default_handler, register};
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::mem::MaybeUninit;

/// Longest line of input, in bytes with its end. A password of any characters fits.
const LINE_BYTES_MAX: usize = PASSWORD_CHARS_MAX * char::MAX.len_utf8() + 2;

/// A valid new password: prompted for twice on a terminal; otherwise, or if `only_read`, one line of standard input.
pub(super) fn password(only_read: bool) -> Result<String, CliError> {
    let quiet = NoEcho::begin().map_err(|error| format!("cannot switch off the terminal's echo: {error}"))?;
    let ask = !only_read && quiet.is_some();
    let password =
        read_line(if ask { "Password: " } else { "" })?.ok_or_else(|| "standard input has no password".to_owned())?;
    new_password(&password).map_err(|rule| format!("the password {rule}"))?;
    if ask && read_line("Repeat it: ")?.as_ref() != Some(&password) {
        return Err("the passwords differ; nothing was changed".to_owned().into());
    }
    Ok(password)
}

/// Whether the user confirms a question; `None` without a terminal.
pub(super) fn confirm(question: &str) -> Result<Option<bool>, CliError> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    let answer = read_line(&format!("{question} [y/N] "))?.unwrap_or_default();
    Ok(Some(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())))
}

/// The next line of standard input without its end; `None` at its end.
fn read_line(question: &str) -> Result<Option<String>, CliError> {
    let mut stderr = io::stderr();
    // The prompt may be invisible, and the input still useful.
    let _ = stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush());
    let mut line = Vec::new();
    let read = io::stdin().lock().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line);
    read.map_err(|error| format!("cannot read standard input: {error}"))?;
    if line.len() > LINE_BYTES_MAX {
        return Err("the line is too long".to_owned().into());
    }
    if line.is_empty() {
        return Ok(None);
    }
    let line = String::from_utf8(line).map_err(|_| "the line is not UTF-8".to_owned())?;
    let text = line.strip_suffix('\n').map_or(line.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(Some(text.to_owned()))
}

/// Switches off the terminal's echo until it is dropped. A signal that ends the process switches it on again. Job control from
/// the keyboard is off meanwhile.
struct NoEcho {
    before: libc::termios,
}

impl NoEcho {
    /// `None` if standard input is not a terminal.
    fn begin() -> io::Result<Option<NoEcho>> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let mut before = MaybeUninit::uninit();
        // SAFETY: the pointer is to a whole termios, which is initialized if the call succeeds.
        let before: libc::termios = unsafe {
            check(libc::tcgetattr(libc::STDIN_FILENO, before.as_mut_ptr()))?;
            before.assume_init()
        };
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
            let restore_and_end = move || {
                let _ = set(libc::TCSANOW, &before);
                let _ = emulate_default_handler(signal);
            };
            // SAFETY: both calls are async-signal-safe (POSIX.1-2017 §2.4.3; documentation of signal-hook).
            unsafe { register(signal, restore_and_end) }?;
        }
        let mut quiet = before;
        quiet.c_lflag = quiet.c_lflag & !libc::ECHO | libc::ECHONL;
        quiet.c_cc[libc::VSUSP] = libc::_POSIX_VDISABLE;
        set(libc::TCSAFLUSH, &quiet)?;
        Ok(Some(NoEcho { before }))
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        // The terminal may be closed.
        let _ = set(libc::TCSANOW, &self.before);
    }
}

fn set(when: i32, settings: &libc::termios) -> io::Result<()> {
    // SAFETY: `settings` outlives the call, which only reads it.
    check(unsafe { libc::tcsetattr(libc::STDIN_FILENO, when, settings) })
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
