//! Prompts and output on a terminal: standard input and output of the commands are a pseudo-terminal.

use super::{PASSWORD, add, login, run, users};
use crate::common::{Client, DEADLINE, Options, Sandbox, eventually};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// A command on a terminal.
struct Session {
    child: Child,
    keyboard: File,
    /// The command's end, kept open to read the terminal's settings.
    terminal: File,
    screen: Receiver<Vec<u8>>,
    shown: String,
}

impl Session {
    #[track_caller]
    fn start(sandbox: &Sandbox, arguments: &[&str]) -> Session {
        let (mut master, mut slave) = (-1, -1);
        let null = std::ptr::null_mut();
        // SAFETY: both numbers are writable, and all other arguments are null.
        let opened = unsafe { libc::openpty(&mut master, &mut slave, null, null.cast(), null.cast()) };
        assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
        // SAFETY: the descriptors are new and owned by this function.
        let (keyboard, terminal) = unsafe { (File::from_raw_fd(master), File::from_raw_fd(slave)) };
        let end = || terminal.try_clone().expect("a second handle");
        let child = sandbox.command().args(arguments).stdin(end()).stdout(end()).stderr(end()).spawn();
        let child = child.expect("the program starts");
        let mut reading = keyboard.try_clone().expect("a second handle");
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal whose other end is closed returns an error.
            while let Ok(bytes) = reading.read(&mut buffer) {
                if bytes == 0 || sender.send(buffer[..bytes].to_vec()).is_err() {
                    break;
                }
            }
        });
        Session { child, keyboard, terminal, screen, shown: String::new() }
    }

    /// Waits for the text, after the previously expected text.
    #[track_caller]
    fn expect(&mut self, text: &str) {
        let end = Instant::now() + DEADLINE;
        while !self.shown.contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{text:?} is not shown: {:?}", self.shown),
            }
        }
    }

    fn type_line(&mut self, text: &str) {
        self.keyboard.write_all(format!("{text}\n").as_bytes()).expect("the terminal takes it");
    }

    fn settings(&self) -> libc::termios {
        let mut settings = std::mem::MaybeUninit::uninit();
        // SAFETY: the buffer has room for the settings, which are initialized if the call succeeds.
        unsafe {
            assert_eq!(libc::tcgetattr(self.terminal.as_raw_fd(), settings.as_mut_ptr()), 0);
            settings.assume_init()
        }
    }

    fn echoes(&self) -> bool {
        self.settings().c_lflag & libc::ECHO != 0
    }

    /// Waits for the exit and returns the status and all output.
    #[track_caller]
    fn end(mut self) -> (ExitStatus, String) {
        let mut status = None;
        eventually("the command ends", || {
            status = self.child.try_wait().expect("the child's state can be read");
            status.is_some()
        });
        assert!(self.echoes(), "the settings are restored");
        // The last output is complete when a text written after it appears.
        self.terminal.write_all(b"the end of the session").expect("the terminal takes it");
        self.expect("the end of the session");
        (status.expect("it has exited"), self.shown)
    }
}

#[test]
fn a_password_is_prompted_twice_without_echo() {
    let sandbox = Sandbox::new(Options::new());
    let mut session = Session::start(&sandbox, &["user", "add", "ann@example.com"]);
    assert!(session.echoes());
    session.expect("Password: ");
    assert!(!session.echoes());
    session.type_line(PASSWORD);
    session.expect("Repeat it: ");
    session.type_line(PASSWORD);
    let (status, shown) = session.end();
    assert!(status.success() && !shown.contains(PASSWORD), "{status} {shown}");
    let id = users(&sandbox)[0]["id"].as_str().expect("an id").to_owned();
    assert!(shown.contains(&id), "{shown}");

    let mut session = Session::start(&sandbox, &["user", "passwd", "ann@example.com"]);
    session.expect("Password: ");
    session.type_line("quite another pass phrase");
    session.expect("Repeat it: ");
    session.type_line("quite another pass phrase");
    let (status, shown) = session.end();
    assert!(status.success() && !shown.contains("phrase"), "{status} {shown}");
    let server = sandbox.serve();
    login(&mut Client::new(server.addr), "ann@example.com", "quite another pass phrase").expect(200);
}

#[test]
fn an_invalid_password_changes_nothing() {
    let sandbox = Sandbox::new(Options::new());
    let table: [(&[&str], &str); 3] = [
        (&["short"], "the password must be 12 to 200 characters"),
        (&[PASSWORD, "a good pass phrasf"], "the passwords differ"),
        (&["\u{4}"], "has no password"),
    ];
    for (lines, says) in table {
        let mut session = Session::start(&sandbox, &["user", "add", "ann@example.com"]);
        for (line, kind) in lines.iter().zip(["Password: ", "Repeat it: "]) {
            session.expect(kind);
            session.type_line(line);
        }
        let (status, shown) = session.end();
        assert!(status.code() == Some(1) && shown.contains(says), "{status} {shown}");
    }
    assert!(users(&sandbox).is_empty());
}

#[test]
fn errors_are_reported_before_the_prompt() {
    let sandbox = Sandbox::new(Options::new());
    add(&sandbox, &["ann@example.com"]);
    for arguments in [&["user", "add", "ann@example.com"], &["user", "passwd", "nobody"]] {
        let (status, shown) = Session::start(&sandbox, arguments).end();
        assert!(status.code() == Some(1) && !shown.contains("Password"), "{status} {shown}");
    }
}

#[test]
fn a_password_on_standard_input_is_not_echoed() {
    let sandbox = Sandbox::new(Options::new());
    let mut session = Session::start(&sandbox, &["user", "add", "ann@example.com", "--password-stdin"]);
    eventually("the terminal is silent", || !session.echoes());
    session.type_line(PASSWORD);
    let (status, shown) = session.end();
    assert!(status.success() && !shown.contains(PASSWORD) && !shown.contains("Password:"), "{status} {shown}");
}

#[test]
fn a_signal_restores_the_terminal() {
    let sandbox = Sandbox::new(Options::new());
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        let mut session = Session::start(&sandbox, &["user", "add", "ann@example.com"]);
        session.expect("Password: ");
        assert!(!session.echoes());
        assert_eq!(
            session.settings().c_cc[libc::VSUSP],
            libc::_POSIX_VDISABLE,
            "suspending is disabled while the echo is off"
        );
        // SAFETY: the child has not been waited for, so its id is not reused.
        assert_eq!(unsafe { libc::kill(session.child.id() as libc::pid_t, signal) }, 0);
        let (status, _) = session.end();
        assert_eq!(status.signal(), Some(signal));
    }
    assert!(users(&sandbox).is_empty());
}

#[test]
fn deleting_a_user_asks_for_confirmation() {
    let sandbox = Sandbox::new(Options::new());
    let id = add(&sandbox, &["ann@example.com"]);
    for (response, deleted) in [("", false), ("n", false), ("yess", false), ("Yes", true)] {
        let mut session = Session::start(&sandbox, &["user", "delete", "ann@example.com"]);
        session.expect(&format!("Delete the user {id} (ann@example.com) permanently? [y/N] "));
        session.type_line(response);
        let (status, shown) = session.end();
        assert_eq!(status.code(), Some(i32::from(!deleted)), "{response:?}: {shown}");
        assert_eq!(shown.contains("nothing was deleted"), !deleted, "{shown}");
        assert_eq!(users(&sandbox)[0]["deleted"], deleted, "{response:?}");
    }
    run(&sandbox, &["user", "delete", &id]).failed(1, "--yes");
}
