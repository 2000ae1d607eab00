//! The faults that every client is tested with: messages that nothing follows, cut connections, a restart and a kill of the
//! server. No message may be lost or shown twice.

use super::cutter::{Cut, Cutter};
use super::follower::{Follower, STEP_TIMEOUT};
use crate::common::port::free_port;
use crate::common::publish::{Acknowledged, Publisher};
use crate::common::token::token;
use crate::common::{Options, Server, User};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The number of messages that nothing follows until they are shown.
const LONE_MESSAGES: usize = 3;
/// Pause between two messages.
const PUBLISHING_PAUSE: Duration = Duration::from_millis(40);
/// How long the server is down after the kill: clients that reconnect meanwhile are rejected.
const DOWN: Duration = Duration::from_secs(4);

/// A fault of a client that no server can avoid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// It stores an id when it reads the line, and so skips an event that is cut right after it.
    StoresIdsEarly,
    /// It joins the complete lines of an event that was cut with the next event.
    JoinsCutEvents,
    /// It gives up for good when its connection is refused.
    NeedsServer,
}

impl Limit {
    fn spares(self, cut: Cut) -> bool {
        match self {
            Limit::StoresIdsEarly => cut == Cut::EmptyLine,
            Limit::JoinsCutEvents => matches!(cut, Cut::Number | Cut::EmptyLine),
            Limit::NeedsServer => false,
        }
    }
}

/// A server with a stream to follow, behind a proxy that cuts connections.
pub struct Course {
    server: Server,
    cutter: Cutter,
    conversation: String,
}

impl Course {
    /// Starts a server.
    #[track_caller]
    pub fn start(seed: u64) -> Course {
        let options = Options::new().set("LOG_LEVEL", "WARNING").set("WORKERS", 1);
        let server = Server::start(options.set("PORT", free_port()));
        let mut owner = User::new(&server, "reader");
        let workspace = owner.create_workspace("w");
        let conversation = owner.create_conversation(&workspace, "t", &["publisher"]);
        let cutter = Cutter::start(server.addr, seed);
        Course { server, cutter, conversation }
    }

    /// The address that a client connects to.
    pub fn addr(&self) -> SocketAddr {
        self.cutter.addr
    }

    /// The token of the user whose stream the client follows.
    pub fn token(&self) -> String {
        token("reader")
    }

    /// Takes a client through all faults.
    #[track_caller]
    pub fn run(mut self, mut client: Follower, limits: &[Limit]) {
        let addr = self.server.addr;
        let conversation = self.conversation.clone();
        let mut publisher = Publisher::new(addr, "publisher");
        let acknowledged: Mutex<Vec<Acknowledged>> = Mutex::new(Vec::new());
        let newest = || acknowledged.lock().expect("no publisher panicked").last().map_or(0, |message| message.number);

        client.wait_for_established();
        for n in 0..LONE_MESSAGES {
            let message = publisher.post(&conversation, &format!("lone message {n}"));
            client.wait_for_lone_message(message.number);
            acknowledged.lock().expect("no publisher panicked").push(message);
        }

        let stop = AtomicBool::new(false);
        let mut publisher = thread::scope(|scope| {
            let publishing = scope.spawn(|| {
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    // With characters that some clients take for the end of a line.
                    let content = format!("message {n} é😀\u{85}\u{2028}\u{2029}\r\n\u{b}\u{c}\u{1e} end");
                    let message = publisher.post(&conversation, &content);
                    acknowledged.lock().expect("no publisher panicked").push(message);
                    thread::sleep(PUBLISHING_PAUSE);
                }
                publisher
            });
            // The publisher also stops when this thread panics.
            let stopping = Stopping(&stop);
            for cuts in [
                &[Cut::Data][..],
                // The response to the client that reconnects is cut too.
                &[Cut::Number, Cut::Anywhere],
                &[Cut::EmptyLine],
                &[Cut::Data, Cut::BadGateway],
            ] {
                let is_spared = |cut| limits.iter().any(|limit| limit.spares(cut));
                let cuts = cuts.iter().map(|&cut| if is_spared(cut) { Cut::Data } else { cut });
                self.cutter.cut(&cuts.collect::<Vec<_>>());
                client.wait_for_message(newest() + 1);
            }
            let before = newest();
            self.server.restart();
            client.wait_for_message(before + 1);
            wait_for_more(&newest, before);
            client.wait_for_message(newest());

            self.cutter.stop_listening();
            self.server.kill();
            thread::sleep(DOWN);
            self.server.start_again();
            self.cutter.listen();
            let before = newest();
            wait_for_more(&newest, before);
            client.wait_for_message(newest());
            drop(stopping);
            publishing.join().expect("the publisher does not panic")
        });
        // One response was not 200, and the head of one was cut, from which browsers cannot tell its type.
        let gives_up_max = 2 + usize::from(limits.contains(&Limit::NeedsServer));
        assert!(client.gave_up <= gives_up_max, "it gave up {} times", client.gave_up);

        let mut acknowledged = acknowledged.into_inner().expect("no publisher panicked");
        acknowledged.push(publisher.post(&conversation, "the end"));
        let expected: Vec<(u64, String)> =
            acknowledged.into_iter().map(|message| (message.number, message.content)).collect();
        compare(&expected, &client.messages_to_the_end());
    }
}

/// Waits until a message with a greater number is acknowledged.
#[track_caller]
fn wait_for_more(newest: &impl Fn() -> u64, before: u64) {
    let end = Instant::now() + STEP_TIMEOUT;
    while newest() <= before {
        assert!(Instant::now() < end, "no message is acknowledged");
        thread::sleep(Duration::from_millis(5));
    }
}

#[track_caller]
fn compare(expected: &[(u64, String)], seen: &[(u64, String)]) {
    let numbers = |list: &[(u64, String)]| list.iter().map(|(number, _)| *number).collect::<Vec<_>>();
    let (expected_numbers, seen_numbers) = (numbers(expected), numbers(seen));
    let lost: Vec<_> = expected_numbers.iter().filter(|number| !seen_numbers.contains(number)).collect();
    let again: Vec<_> = seen_numbers.windows(2).filter(|pair| pair[0] >= pair[1]).map(|pair| pair[1]).collect();
    assert!(
        lost.is_empty() && again.is_empty(),
        "of {} messages, {} are lost: {:?}…, {} are shown again: {:?}…",
        expected.len(),
        lost.len(),
        &lost[..lost.len().min(5)],
        again.len(),
        &again[..again.len().min(5)]
    );
    for (want, got) in expected.iter().zip(seen) {
        assert_eq!(want, got, "a message is shown as it was sent");
    }
    assert_eq!(expected.len(), seen.len());
}

struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
