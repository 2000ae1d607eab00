//! Retired words are not used again. `docs/glossary.md` has their replacements.

use crate::Complaints;
use crate::source::{Source, is_word, sources};
use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

/// Names with a single meaning, which are retired in code, comments and messages; each with its replacement.
const EVERYWHERE: &[(&str, &str)] = &[
    ("Refusal", "Rejection"),
    ("Receipt", "CommandResult"),
    ("OrderKey", "JobId"),
    ("UserGates", "TokenRules"),
    ("begin_anew", "start_timeline"),
    ("lineage", "timeline"),
    ("look_beside", "poll_external_writes"),
    ("open_beside", "open_shared"),
    ("is_spoiled", "is_poisoned"),
    ("hand_over", "chown_to_parent"),
    ("Roster", "ParticipantDiff"),
    ("Stranger", "Anonymous"),
    ("stranger", "anonymous"),
    ("strangers", "anonymous clients"),
    ("come_back_later", "defer_stream"),
    ("doubt_all", "mark_all_stale"),
    ("push_passing", "push_ephemeral"),
    ("Desk", "Scheduler"),
    ("desk", "scheduler"),
    ("Errand", "Work"),
    ("errand", "work"),
    ("errands", "work"),
    ("give_out", "dispatch"),
    ("push_unheard", "push_without_wake"),
    ("carry_out", "drain_outputs"),
    ("patience", "timeout"),
    ("housekeeping", "maintenance"),
    ("chores", "maintenance"),
    ("passers", "operational endpoints"),
    ("floor", "layer"),
    ("floors", "layers"),
    ("LeftAlone", "CircuitOpen"),
    ("NobodyReads", "BrokenPipe"),
    ("deceives", "is_unsafe_for_terminal"),
];

/// Names in code that are also ordinary English words.
const IN_CODE: &[(&str, &str)] = &[
    ("Act", "CommandKind"),
    ("AnswerBegun", "AnswerStarted"),
    ("Thing", "Resource"),
    ("Surface", "ApiVariant"),
    ("Listed", "Page"),
    ("admits", "accepts"),
    ("Trouble", "WriterFault"),
    ("Copied", "BackupReport"),
    ("Restored", "RestoreReport"),
    ("Imported", "ImportReport"),
    ("Verdict", "VerifyReport"),
    ("Wants", "FillResult"),
    ("Mail", "Message"),
    ("News", "Message"),
    ("Growing", "answer"),
    ("coalesce", "answer"),
    ("Garbage", "InvalidResponse"),
    ("complain", "print_error"),
    ("Mono", "MonoTime"),
    ("Wall", "WallTime"),
    ("Question", "QueryKind"),
    ("Found", "QueryResult"),
    ("Span", "Pagination"),
    ("Kept", "TruncatedEnd"),
    ("Chat", "ConversationView"),
    ("Order", "AnswerJob"),
    ("Gate", "TokenRule"),
    ("Gone", "Deleted"),
    ("trusted", "new_unchecked"),
    ("acts", "commands"),
    ("questions", "queries"),
    ("chats", "conversation_queries"),
    ("orders", "answer_jobs"),
    ("followed", "resolve_symlinks"),
    ("beside", "sibling"),
    ("Room", "ConversationAccess"),
    ("Home", "WorkspaceRef"),
    ("Touch", "ConversationUpdate"),
    ("Notice", "NewStateEvent"),
    ("admitted", "authorize"),
    ("Place", "RestoreTarget"),
    ("Who", "RateKey or UserSelector"),
    ("Standing", "UserStatus"),
    ("Stop", "Abort"),
    ("exchange", "request"),
    ("Meta", "RequestContext"),
    ("Plan", "AdmittedRequest"),
    ("Then", "Continuation"),
    ("Conn", "Connection"),
    ("buckets", "rate_limiter"),
    ("hub", "fan_out"),
    ("Listener", "UserSubscriptions"),
    ("greet", "send_established"),
    ("Quiet", "Quiesced"),
    ("touched", "dirty"),
    ("facts", "stats"),
    ("Post", "Replies"),
    ("Ports", "Workers"),
    ("Lost", "Dropped"),
    ("writes", "write_queue"),
    ("Door", "StartupListener"),
    ("Happened", "MainEvent"),
    ("hear", "on_event"),
    ("learn", "enqueue"),
    ("Taken", "Wakeup"),
    ("Reply", "Response"),
    ("because", "with_metric_reason"),
    ("Invalid", "FieldErrors"),
    ("Slots", "HeaderBuf"),
    ("Due", "a name that says what is due"),
    ("Flow", "std::ops::ControlFlow"),
    ("Shown", "TextSink"),
    ("Cut", "ConnectionLost"),
];

/// Retired words that are still in use.
#[rustfmt::skip]
const STILL_IN_USE: &[&str] = &[
    "Door", "Happened", "Invalid", "Kept", "Listed", "Notice", "Post", "Stop",
    "admitted", "buckets", "carry_out", "chats", "complain", "exchange", "facts", "floor",
    "housekeeping", "lineage", "patience",
];

/// The retired words in a file: in all of its text for some, in its code for others.
fn retired(source: &Source) -> Vec<(usize, &'static str, &'static str)> {
    static BY_WORD: OnceLock<[HashMap<&str, &str>; 2]> = OnceLock::new();
    let [everywhere, in_code] =
        BY_WORD.get_or_init(|| [EVERYWHERE, IN_CODE].map(|list| list.iter().copied().collect()));
    let mut found = BTreeSet::new();
    for (index, line) in source.text.lines().enumerate() {
        for word in line.split(|char: char| !is_word(char)) {
            if let Some((retired, instead)) = everywhere.get_key_value(word) {
                found.insert((index + 1, *retired, *instead));
            }
        }
    }
    for token in &source.tokens {
        if let Some((retired, instead)) = in_code.get_key_value(token.text.as_str()) {
            found.insert((token.line, *retired, *instead));
        }
    }
    found.into_iter().collect()
}

fn retired_words(source: &Source) -> Complaints {
    let found = retired(source).into_iter().filter(|(_, word, _)| !STILL_IN_USE.contains(word));
    found.map(|(line, word, instead)| (line, format!("{word} is retired, write {instead}"))).collect()
}

#[test]
fn retired_words_do_not_come_back() {
    let in_use: BTreeSet<&str> = sources()
        .iter()
        .flat_map(retired)
        .map(|(_, word, _)| word)
        .filter(|word| STILL_IN_USE.contains(word))
        .collect();
    if !STILL_IN_USE.is_empty() {
        crate::report("retired words still in use", in_use.len());
        let done: Vec<&&str> = STILL_IN_USE.iter().filter(|word| !in_use.contains(*word)).collect();
        crate::report(&format!("words to remove from STILL_IN_USE {done:?}"), done.len());
    }
    crate::assert_sources_tidy(retired_words);
}

#[test]
fn retired_words_are_found() {
    let words =
        |text: &str| retired(&Source::sample("a", text)).into_iter().map(|(_, word, _)| word).collect::<Vec<_>>();
    let table: [(&str, &[&str]); 6] = [
        ("fn f(receipt: Receipt) {}", &["Receipt"]),
        ("// Each Receipt, on its floor.", &["Receipt", "floor"]),
        ("f(\"the lineage\");", &["lineage"]),
        ("struct Meta; let orders = Chat::new();", &["Chat", "Meta", "orders"]),
        ("// Who writes orders because of Plan 9?\nf(\"Found\");", &[]),
        ("struct MailBox; fn floors_of(receipt: u8, refusal: u8, active: u8) {}", &[]),
    ];
    for (text, expected) in table {
        assert_eq!(words(text), expected, "{text}");
    }
}
