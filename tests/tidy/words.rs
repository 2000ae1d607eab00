//! Retired words are not used again. `docs/glossary.md` has their replacements.

use crate::Complaints;
use crate::source::{Source, is_within, is_word, outside};
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
    ("AnswerBegun", "AnswerStarted"),
    ("refusal", "rejection"),
    ("refusals", "rejections"),
];

/// Retired words that another protocol uses, each with the module that speaks it: a field of OpenAI's API.
const FOREIGN: &[(&str, &str)] = &[("responder::openai", "refusal"), ("wire::openai", "refusal")];

/// Names in code that are also ordinary English words.
const IN_CODE: &[(&str, &str)] = &[
    ("Act", "CommandKind"),
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
    ("Place", "RestoreTarget"),
    ("Who", "RateKey or UserSelector"),
    ("Standing", "UserStatus"),
    ("exchange", "request"),
    ("Meta", "RequestContext"),
    ("Plan", "AdmittedRequest"),
    ("Then", "Continuation"),
    ("Conn", "Connection"),
    ("hub", "fan_out"),
    ("Listener", "UserSubscriptions"),
    ("greet", "send_established"),
    ("Quiet", "Quiesced"),
    ("touched", "dirty"),
    ("facts", "stats"),
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
    ("Slots", "HeaderBuf"),
    ("Due", "a name that says what is due"),
    ("Flow", "std::ops::ControlFlow"),
    ("Shown", "TextSink"),
    ("Cut", "ConnectionLost"),
    ("Member", "UserRef"),
    ("exchanges", "requests"),
    ("greeting", "established"),
];

/// File names within a top-level module.
const MODULES: &[(&str, &str, &str)] = &[
    ("api", "act", "dispatch"),
    ("api", "config", "workspaces"),
    ("api", "page", "html"),
    ("api", "proxy", "forwarded"),
    ("api", "traffic", "request_metrics"),
    ("cli", "who", "user_args"),
    ("config", "live", "reloadable"),
    ("config", "read", "parse"),
    ("config", "values", "types"),
    ("config", "variables", "table"),
    ("http1", "answer", "response_parse"),
    ("http1", "query", "urlencoded"),
    ("http1", "response", "response_write"),
    ("responder", "coalesce", "answer"),
    ("responder", "desk", "scheduler"),
    ("runtime", "connections", "connection_limits"),
    ("runtime", "memory", "allocator"),
    ("runtime", "notify", "sd_notify"),
    ("runtime", "writes", "write_queue"),
    ("shard", "admit", "admission"),
    ("shard", "buckets", "rate_limiter"),
    ("shard", "exchange", "request"),
    ("shard", "hub", "fan_out"),
    ("store", "acts", "commands"),
    ("store", "beside", "sibling"),
    ("store", "chats", "conversation_queries"),
    ("store", "check", "integrity"),
    ("store", "flush", "inbox_flush"),
    ("store", "lineage", "timeline"),
    ("store", "orders", "answer_jobs"),
    ("store", "partial", "atomic_file"),
    ("store", "questions", "queries"),
    ("wire", "chat", "conversation"),
    ("wire", "query", "query_params"),
    ("wire", "transfer", "export_line"),
];

/// The retired name of a file, with its replacement.
fn retired_module(source: &Source) -> Option<(&'static str, &'static str)> {
    let (top, name) = (source.module.first()?, source.module.last()?);
    let is_it =
        |(within, retired, _): &&(&str, &str, &str)| top == within && name == retired && source.module.len() > 1;
    MODULES.iter().find(is_it).map(|(_, retired, instead)| (*retired, *instead))
}

/// The retired words in a file: in all of its text for some, in its code for others.
fn retired(source: &Source) -> Vec<(usize, &'static str, &'static str)> {
    static BY_WORD: OnceLock<[HashMap<&str, &str>; 2]> = OnceLock::new();
    let [everywhere, in_code] =
        BY_WORD.get_or_init(|| [EVERYWHERE, IN_CODE].map(|list| list.iter().copied().collect()));
    let mut found: BTreeSet<_> =
        retired_module(source).map(|(retired, instead)| (1, retired, instead)).into_iter().collect();
    for (index, line) in source.text.lines().enumerate() {
        for word in line.split(|char: char| !is_word(char)) {
            let is_foreign =
                FOREIGN.iter().any(|(module, foreign)| word == *foreign && is_within(&source.module, module));
            if let Some((retired, instead)) = everywhere.get_key_value(word).filter(|_| !is_foreign) {
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
    let found = retired(source).into_iter();
    found.map(|(line, word, instead)| (line, format!("{word} is retired, write {instead}"))).collect()
}

/// The code that uses the program, without these rules, which name the retired words.
fn users() -> impl Iterator<Item = &'static Source> {
    outside().iter().filter(|source| !source.path.starts_with("tests/tidy"))
}

#[test]
fn retired_words_do_not_come_back() {
    crate::assert_sources_tidy(retired_words);
}

/// Code in `tests`, `benches` and `fuzz` has the words that are retired everywhere. Its other words may be those of a test's
/// own subject, such as `Method::Post`.
#[test]
fn retired_words_do_not_come_back_in_tests() {
    crate::assert_tidy(users().flat_map(|source| {
        let mut complaints = retired_words(source);
        complaints.retain(|(_, what)| EVERYWHERE.iter().any(|(word, _)| what.starts_with(&format!("{word} "))));
        crate::on(&source.path, complaints).collect::<Vec<_>>()
    }));
}

#[test]
fn retired_modules_are_found() {
    let table = [
        ("api::act", true),
        ("api::v1::act", true),
        ("api", false),
        ("store::act", false),
        ("api::action", false),
        ("store::tables::lineage", true),
    ];
    for (module, expected) in table {
        assert_eq!(retired_module(&Source::sample(module, "")).is_some(), expected, "{module}");
    }
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
        ("struct MailBox; fn floors_of(receipt: u8, refusals_total: u8, active: u8) {}", &[]),
    ];
    for (text, expected) in table {
        assert_eq!(words(text), expected, "{text}");
    }
    for (module, found) in [("responder::openai::chunk", 0), ("responder::failure", 1)] {
        assert_eq!(retired(&Source::sample(module, "f(\"refusal\");")).len(), found, "{module}");
    }
}
