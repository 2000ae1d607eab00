//! A case of a suite, and how it runs.

use super::exchange::{Reply, exchange};
use super::rule::{Decision, Verdict, decide, may_be_silent};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The bytes of one write, and the rule for the response.
type Step = (&'static [u8], &'static str);

/// What is sent on one connection.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub is_scored: bool,
    first: Step,
    second: Option<Step>,
}

/// A case that counts.
pub const fn scored(name: &'static str, bytes: &'static [u8], rule: &'static str) -> Case {
    Case { name, is_scored: true, first: (bytes, rule), second: None }
}

/// A case that only informs.
pub const fn unscored(name: &'static str, bytes: &'static [u8], rule: &'static str) -> Case {
    Case { name, is_scored: false, first: (bytes, rule), second: None }
}

impl Case {
    /// What is sent next, if the first rule does not decide.
    pub const fn then(self, bytes: &'static [u8], rule: &'static str) -> Case {
        Case { second: Some((bytes, rule)), ..self }
    }

    /// Runs the case on a connection of its own. `adapt` makes its bytes those for this server.
    fn run(&self, addr: SocketAddr, adapt: impl Fn(&[u8]) -> Vec<u8>) -> Verdict {
        let mut socket = TcpStream::connect(addr).expect("the server accepts");
        socket.set_nodelay(true).expect("the socket is open");
        let mut last = Reply::default();
        for (bytes, rule) in [Some(self.first), self.second].into_iter().flatten() {
            last = exchange(&mut socket, &adapt(&expand(bytes, &last)), may_be_silent(rule));
            if let Decision::Is(verdict) = decide(rule, &last) {
                return verdict;
            }
        }
        panic!("{}: its last rule goes on", self.name);
    }
}

/// How many scored cases passed, warned and failed. Warnings count as passed.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Score {
    pub passed: usize,
    pub warned: usize,
    pub failed: usize,
}

impl Score {
    pub fn of(cases: &[Case], verdicts: &[Verdict]) -> Score {
        let count = |wanted| cases.iter().zip(verdicts).filter(|(case, is)| case.is_scored && **is == wanted).count();
        Score { passed: count(Verdict::Pass), warned: count(Verdict::Warn), failed: count(Verdict::Fail) }
    }
}

/// Runs all cases, many at once, because they mostly wait.
pub fn run(cases: &[Case], addr: SocketAddr, adapt: fn(&[u8]) -> Vec<u8>) -> Vec<Verdict> {
    const THREADS: usize = 32;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((at, case)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, cases.get(at)?)))
        {
            done.push((at, case.run(addr, adapt)));
        }
        done
    };
    let mut done: Vec<(usize, Verdict)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no case panics")).collect()
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, verdict)| verdict).collect()
}

/// Replaces `[[TEXT * N]]` by N copies of the text, in which `#` is the number of the copy, and `[[FIELD]]` by a field of the
/// last response.
fn expand(bytes: &[u8], last: &Reply) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(begin) = find(rest, b"[[") {
        let end = begin + find(&rest[begin..], b"]]").expect("`[[` has an end");
        out.extend_from_slice(&rest[..begin]);
        let what = std::str::from_utf8(&rest[begin + 2..end]).expect("text");
        match what.rsplit_once(" * ") {
            Some(("garbage", _)) => out.extend(GARBAGE.iter().flat_map(|row| row.to_be_bytes())),
            Some((text, count)) => {
                let count = count.parse::<usize>().expect("a number");
                out.extend((0..count).flat_map(|n| text.replace('#', &n.to_string()).into_bytes()));
            }
            None => out.extend_from_slice(last.field_as(what).as_bytes()),
        }
        rest = &rest[end + 2..];
    }
    out.extend_from_slice(rest);
    out
}

/// The position of `part`.
pub fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Arbitrary bytes, among them a line feed.
const GARBAGE: [u128; 16] = [
    0x3e17ba96_ae04cd3b_99869e56_f0adbf3a,
    0x6fb74d25_55175dcc_6e8b0914_579ab036,
    0xcfd6280b_b3c707db_aef270dc_9505096e,
    0x676be7f1_0d46d827_baed2722_fbb9e4fe,
    0xd667871a_85b386a8_af727663_a7813769,
    0x819aadeb_b3bf2989_fd0051c6_9fe4e0f5,
    0x0e71052d_7eefe9b3_e53e429b_cf758038,
    0xb5bea060_0bf84a17_3efd1d84_62c009ca,
    0x91815435_7b0aea92_b1fa0674_7c8eb987,
    0x801810e0_4480ea15_27eeee80_d2645125,
    0x3577094e_204bbdab_d40dae11_f2d59ab0,
    0x44950349_af288611_963f0d8c_1b69c04c,
    0xa8e03f05_846b6734_5a650c36_d1d82251,
    0x543e3c3c_6007750c_f1f8b7e0_3d31906a,
    0x4d616812_96942bd8_2dcfef4a_1c503fbe,
    0x1dbc37dc_2c83eba1_6a32148b_b486f728,
];
