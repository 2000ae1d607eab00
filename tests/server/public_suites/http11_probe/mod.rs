//! The cases of Http11Probe at its commit 95bc6a9 (2026-02-17), in its order, under our names: what is sent, and what passes and
//! warns. <https://github.com/MDA2AV/Http11Probe>
//!
//! The suite sends bodies `hello` to `/` of a server that echoes them. Where the echo decides, the body here is the JSON of
//! a message with the same content, at `/input`. Its other cases of `POST` are served by `/auth/refresh`, which takes any
//! body. This server has no `/echo` and no `/cookie`: what is sent to `/echo` goes to `/` or `/auth/refresh`.

mod compliance;
mod malformed;
mod smuggling;
mod unscored;

use super::case::{Case, Score, run};
use super::rule::Verdict;
use super::{at_root, other_server, ours, report, server};

/// Passes only with a rejection, or without a response.
const REFUSED: &str = "400 | none";
/// A rejection passes, and a response that accepts warns.
const LENIENT_WARNS: &str = "400 | cut | ~2xx";
/// One response at most, which rejects or is the last.
const NOTHING_HIDDEN_RUNS: &str = "-two | 400 | closed";

const TABLES: [&[Case]; 6] = [
    compliance::COMPLIANCE,
    smuggling::SMUGGLING,
    malformed::MALFORMED,
    malformed::NORMALIZATION,
    unscored::CAPABILITIES,
    unscored::COOKIES,
];

#[test]
fn all_but_one_scored_case_of_http11_probe_passes_or_warns() {
    let cases: Vec<Case> = TABLES.concat();
    let scored = cases.iter().filter(|case| case.is_scored).count();
    assert_eq!((cases.len(), scored), (215, 161), "the whole suite");
    if let Some(other) = other_server() {
        return report(&cases, &run(&cases, other, at_root));
    }
    let server = server();
    let verdicts = run(&cases, server.addr, ours);
    report(&cases, &verdicts);
    let failed = |case: &Case, verdict: Verdict| case.is_scored && verdict == Verdict::Fail;
    let failed = cases.iter().zip(verdicts.iter().copied()).filter(|(case, verdict)| failed(case, *verdict));
    let failed: Vec<&str> = failed.map(|(case, _)| case.name).collect();
    // The suite accepts `400` or silence, but a length over the limit is `413`.
    assert_eq!(failed, ["length of 1 GB without a body"]);
    assert_eq!(Score::of(&cases, &verdicts), Score { passed: 149, warned: 11, failed: 1 });
}
