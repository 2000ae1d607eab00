//! What Redis sends to clients (RESP2 and RESP3), of which messages of channels are lost, repeated and sent in another order.

use cortex_core::internals::Random;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// One in so many messages is lost, as many are repeated, and as many come late.
const RARITY: u64 = 10;
/// A message comes late by at most so many others.
const LATE_MAX: u64 = 4;

/// What happens to the messages of all connections of a proxy.
#[derive(Clone)]
pub struct Damage {
    random: Arc<Mutex<Random>>,
    done: Arc<[AtomicU64; 3]>,
}

impl Damage {
    /// The random choices depend on the seed, and on which messages come.
    pub fn new(seed: u64) -> Damage {
        Damage { random: Arc::new(Mutex::new(Random::new(seed))), done: Arc::default() }
    }

    /// How many messages were lost, were repeated, and came late.
    pub fn done(&self) -> [u64; 3] {
        [0, 1, 2].map(|kind| self.done[kind].load(Relaxed))
    }
}

/// Damages what comes over one connection.
pub struct Damager {
    damage: Damage,
    /// A part of a reply.
    received: Vec<u8>,
    /// Messages that come late, each with the number of messages that come before it.
    late: Vec<(u64, Vec<u8>)>,
}

impl Damager {
    pub fn new(damage: &Damage) -> Damager {
        Damager { damage: damage.clone(), received: Vec::new(), late: Vec::new() }
    }

    /// What the client gets after these bytes of the server.
    pub fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.received.extend_from_slice(bytes);
        let (mut passed, mut start) = (Vec::new(), 0);
        while let Some(length) = reply_length(&self.received[start..]) {
            let reply = self.received[start..start + length].to_vec();
            start += length;
            if is_message(&reply) {
                self.pass_message(reply, &mut passed);
            } else {
                passed.extend(reply);
            }
        }
        self.received.drain(..start);
        passed
    }

    fn pass_message(&mut self, message: Vec<u8>, passed: &mut Vec<u8>) {
        let (choice, late_by) = {
            let mut random = self.damage.random.lock().unwrap();
            (random.below(RARITY) as usize, 1 + random.below(LATE_MAX))
        };
        if let Some(done) = self.damage.done.get(choice) {
            done.fetch_add(1, Relaxed);
        }
        let is_late = matches!(choice, 1 | 2);
        if !matches!(choice, 0 | 2) {
            passed.extend_from_slice(&message);
        }
        self.late.iter_mut().for_each(|(by, _)| *by -= 1);
        for (_, message) in self.late.extract_if(.., |(by, _)| *by == 0) {
            passed.extend(message);
        }
        if is_late {
            self.late.push((late_by, message));
        }
    }
}

/// Whether a reply is a message of a channel: `message`, the channel and the payload, or `pmessage` with the pattern as well.
fn is_message(reply: &[u8]) -> bool {
    let heads: [&[u8]; 2] = [b"3\r\n$7\r\nmessage\r\n", b"4\r\n$8\r\npmessage\r\n"];
    reply
        .split_first()
        .is_some_and(|(kind, rest)| matches!(kind, b'*' | b'>') && heads.iter().any(|head| rest.starts_with(head)))
}

/// The length of the first reply, if all of it is there.
fn reply_length(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|end| end == b"\r\n")? + 2;
    let count = || {
        let digits = str::from_utf8(&bytes[1..line - 2]).expect("digits");
        digits.parse::<i64>().unwrap_or_else(|_| panic!("{digits:?} is not a length"))
    };
    let members = match bytes[0] {
        b'$' | b'=' | b'!' => {
            // A length of -1 stands for nothing, which has no end of its own.
            let end = line + usize::try_from(count()).map_or(0, |length| length + 2);
            return (bytes.len() >= end).then_some(end);
        }
        b'*' | b'>' | b'~' => count(),
        b'%' => 2 * count(),
        b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => 0,
        other => panic!("{:?} begins no reply of Redis", char::from(other)),
    };
    (0..members).try_fold(line, |end, _| Some(end + reply_length(&bytes[end..])?))
}

#[test]
fn messages_are_lost_repeated_and_late_and_nothing_else_is() {
    let numbered = |number: u32| format!("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$8\r\n\r\n{number:06}\r\n").into_bytes();
    let others = "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n+OK\r\n$-1\r\n*-1\r\n%1\r\n+a\r\n_\r\n*2\r\n*0\r\n$0\r\n\r\n-ERR no\r\n";
    let sent: Vec<u8> = (0..1000).flat_map(|number| [numbered(number), others.into()].concat()).collect();
    let mut random = Random::new(1);
    for _ in 0..3 {
        let damage = Damage::new(7);
        let (mut damager, mut passed, mut rest) = (Damager::new(&damage), Vec::new(), &sent[..]);
        while !rest.is_empty() {
            let (piece, next) = rest.split_at(rest.len().min(1 + random.below(100) as usize));
            passed.extend(damager.damage(piece));
            rest = next;
        }
        let passed = String::from_utf8(passed).expect("text");
        assert_eq!(passed.matches(others).count(), 1000);
        let shown: Vec<u32> = (passed.replace(others, "").split("\r\n"))
            .filter(|line| line.len() == 6)
            .map(|line| line.parse().expect("a number"))
            .collect();
        let [lost, repeated, late] = damage.done();
        assert!([lost, repeated, late].iter().all(|count| (50..200).contains(count)), "{lost}, {repeated}, {late}");
        let times = |number: u32| shown.iter().filter(|shown| **shown == number).count();
        let shown_times = |wanted: usize| (0..1000).filter(|number| times(*number) == wanted).count() as u64;
        // At the end, some that come late are still to come.
        assert!((lost..=lost + LATE_MAX).contains(&shown_times(0)));
        assert!((repeated.saturating_sub(LATE_MAX)..=repeated).contains(&shown_times(2)));
        assert!(shown.windows(2).filter(|pair| pair[0] > pair[1]).count() as u64 >= late / 2);
    }
}
