//! The rules by which a response is judged.
//!
//! A rule is a list of alternatives, separated by ` | `, of which the first that applies decides. An alternative passes, or
//! warns after `~`, fails after `-`, and after `>` lets the next step decide. It is a list of conditions, separated by ` + `,
//! which must all hold. What no alternative describes fails.

use super::exchange::Reply;

/// What came of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Warn,
    Fail,
}

/// What a rule makes of a response.
pub enum Decision {
    Is(Verdict),
    GoOn,
}

/// Judges a response.
pub fn decide(rule: &str, reply: &Reply) -> Decision {
    for alternative in rule.split(" | ") {
        let (decision, conditions) = match alternative.split_at(1) {
            ("~", rest) => (Decision::Is(Verdict::Warn), rest),
            ("-", rest) => (Decision::Is(Verdict::Fail), rest),
            (">", rest) => (Decision::GoOn, rest),
            _ => (Decision::Is(Verdict::Pass), alternative),
        };
        if conditions.split(" + ").all(|condition| holds(condition, reply)) {
            return decision;
        }
    }
    Decision::Is(Verdict::Fail)
}

/// Whether a rule lets a server be silent, so that waiting for it ends early.
pub fn may_be_silent(rule: &str) -> bool {
    rule.split(" | ").any(|alternative| matches!(alternative, "none" | "silence"))
}

fn holds(condition: &str, reply: &Reply) -> bool {
    let is_digit = |at: usize| condition.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    match condition {
        "any" => true,
        "response" => reply.status.is_some(),
        "none" => reply.status.is_none(),
        "closed" => reply.is_closed,
        "cut" => reply.status.is_none() && reply.is_closed,
        "silence" => reply.bytes.is_empty() && !reply.is_closed,
        "two" => reply.status_lines() >= 2,
        "empty" => reply.body().is_empty(),
        "dated" => reply.field("Date").is_some_and(is_date),
        _ if condition.ends_with("xx") => reply.status.is_some_and(|status| condition == format!("{}xx", status / 100)),
        _ if is_digit(0) => reply.status == Some(condition.parse().expect("a status")),
        _ => match condition.split_once(' ').expect("a condition with a text") {
            ("with", name) => reply.field(name).is_some(),
            ("without", name) => reply.field(name).is_none(),
            ("says", text) => reply.body().contains(text),
            // A server that responds with the same text to everything cannot echo.
            ("echoes", text) => reply.body().contains(text) || reply.body() == "OK",
            ("has", line) => {
                let line = line.strip_prefix("line ").expect("a line");
                reply.body().lines().any(|has| has.eq_ignore_ascii_case(line))
            }
            (other, _) => panic!("no such condition: {other}"),
        },
    }
}

/// RFC 9110 §5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn is_date(text: &str) -> bool {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let (day, month) = (text.get(..3).unwrap_or_default(), text.get(8..11).unwrap_or_default());
    DAYS.contains(&day) && MONTHS.contains(&month) && shape == format!("{day}, 00 {month} 0000 00:00:00 GMT")
}

#[test]
fn the_first_alternative_that_applies_decides() {
    let reply =
        Reply { status: Some(204), bytes: b"HTTP/1.1 204 No Content\r\nAllow: GET\r\n\r\n".to_vec(), is_closed: false };
    let verdict = |rule| match decide(rule, &reply) {
        Decision::Is(verdict) => Some(verdict),
        Decision::GoOn => None,
    };
    assert_eq!(verdict("400 | ~2xx | 204"), Some(Verdict::Warn));
    assert_eq!(verdict("-204 + with Allow | 2xx"), Some(Verdict::Fail));
    assert_eq!(verdict("204 + without Allow | cut | silence | none"), Some(Verdict::Fail), "nothing applies");
    assert_eq!(verdict("closed | two | >2xx + empty"), None);
    assert!(is_date("Sun, 06 Nov 1994 08:49:37 GMT") && !is_date("Sunday, 06-Nov-94 08:49:37 GMT"));
}
