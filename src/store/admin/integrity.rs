//! The invariants of the rows of a database between two transactions.
//!
//! Each violation is a finding, which is one line. `verify` prints the findings, and tests expect none. A damaged file may
//! contain any bytes, so no row makes this module panic.

use crate::base::limits::{FINDINGS_MAX, SCAN_ROWS_MAX};
use crate::domain::model::Metadata;
use crate::store::search;
use crate::store::sql::values::{number, sql};
use crate::store::sql::{SqlConnection, SqlResult, params};
use crate::store::tables::{conversation_index, inbox, journal_head, state_events};
use crate::wire::json;
use crate::wire::metadata::string_member;
use std::collections::BTreeSet;

/// The violations in the rows of a database. Calls `progress` with the numbers of completed checks and of all checks.
pub(crate) fn rows(db: &SqlConnection, mut progress: impl FnMut(u64, u64)) -> Vec<String> {
    let mut findings = Vec::new();
    let checks = RULES.len() as u64 + 5;
    for (done, rule) in (0..).zip(RULES) {
        progress(done, checks);
        check(db, &mut findings, rule.violation, |found| violations(db, rule, found));
    }
    progress(checks - 5, checks);
    if !db.is_server() {
        for rule in INDEX_RULES {
            check(db, &mut findings, rule.violation, |found| violations(db, rule, found));
        }
    }
    progress(checks - 4, checks);
    check(db, &mut findings, "the references", |found| check_references(db, found));
    progress(checks - 3, checks);
    check(db, &mut findings, "the metadata", |found| check_metadata(db, found));
    progress(checks - 2, checks);
    check(db, &mut findings, "the order of the journal", |found| check_order(db, found));
    progress(checks - 1, checks);
    check(db, &mut findings, "the inboxes", |found| check_inboxes(db, found));
    findings
}

/// Whether the index of searches has exactly the words that it should have. Cuts all texts into words.
pub(crate) fn search_index(db: &SqlConnection) -> Vec<String> {
    let mut findings = Vec::new();
    check(db, &mut findings, "the index of searches", |found| {
        if !search::integrity::is_consistent(db)? {
            found.add(|| "the index of searches differs from the texts of the messages".to_owned());
        }
        Ok(())
    });
    findings
}

/// The findings of one check: the first lines, and the number of the others.
#[derive(Default)]
struct Findings {
    lines: Vec<String>,
    others: u64,
}

impl Findings {
    fn add(&mut self, line: impl FnOnce() -> String) {
        if self.lines.len() < FINDINGS_MAX { self.lines.push(line()) } else { self.others += 1 }
    }
}

/// Runs one check under the name `subject`. An error of the check is a finding as well.
fn check(
    db: &SqlConnection,
    findings: &mut Vec<String>,
    subject: &str,
    run: impl FnOnce(&mut Findings) -> SqlResult<()>,
) {
    let mut found = Findings::default();
    let result = within_savepoint(db, || run(&mut found));
    findings.append(&mut found.lines);
    if found.others > 0 {
        findings.push(format!("{subject}: {} more", found.others));
    }
    if let Err(error) = result {
        findings.push(format!("{subject}: cannot be checked: {error}"));
    }
}

/// Runs a check so that an error in it does not end the transaction on a server, in which all checks see one state.
fn within_savepoint(db: &SqlConnection, run: impl FnOnce() -> SqlResult<()>) -> SqlResult<()> {
    if !db.is_server() || db.is_idle() {
        return run();
    }
    db.execute_batch("SAVEPOINT before_check")?;
    // If the session is lost, the next check fails as well.
    run().inspect_err(|_| drop(db.execute_batch("ROLLBACK TO SAVEPOINT before_check")))
}

/// A rule that no row may violate.
struct RowRule {
    /// The text of the finding, before the name of the row.
    violation: &'static str,
    /// Selects a name for each row that violates the rule.
    query: &'static str,
}

fn violations(db: &SqlConnection, rule: &RowRule, found: &mut Findings) -> SqlResult<()> {
    let mut statement = db.prepare_cached(rule.query)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        found.add(|| format!("{}: {name}", rule.violation));
    }
    Ok(())
}

const RULES: &[RowRule] = &[
    RowRule {
        violation: "a message has no sender, or an event no actor",
        query: "SELECT 'message ' || m.number FROM messages m LEFT JOIN users u ON u.key = m.sender WHERE u.key IS NULL \
            UNION ALL \
            SELECT 'event ' || e.number FROM state_events e LEFT JOIN users u ON u.key = e.actor WHERE u.key IS NULL",
    },
    RowRule {
        violation: "a message and a state event have the same number",
        query: "SELECT 'event ' || e.number FROM state_events e JOIN messages m ON m.number = e.number",
    },
    RowRule {
        violation: "a conversation has no state",
        query: "SELECT 'conversation ' || c.number FROM conversations c \
            LEFT JOIN conversation_state s ON s.conversation = c.number WHERE s.conversation IS NULL",
    },
    RowRule {
        violation: "a conversation's counts differ from its messages",
        query: "SELECT 'conversation ' || c.number FROM conversations c JOIN workspaces w ON w.number = c.workspace \
            JOIN conversation_state s ON s.conversation = c.number \
            LEFT JOIN (SELECT conversation, count(*) AS messages, max(number) AS last_number FROM messages \
            GROUP BY conversation) m ON m.conversation = c.number WHERE c.deleted IS NULL AND w.deleted IS NULL \
            AND (s.message_count <> coalesce(m.messages, 0) OR s.last_number < coalesce(m.last_number, 0))",
    },
    RowRule {
        violation: "an event has outlived its workspace or conversation",
        query: "SELECT 'event ' || e.number FROM state_events e LEFT JOIN workspaces w ON w.number = e.workspace \
            LEFT JOIN conversations c ON c.number = e.conversation \
            WHERE (w.number IS NULL OR (c.number IS NULL AND e.conversation IS NOT NULL)) \
            AND e.kind NOT IN ('conversation_left', 'conversation_deleted', 'workspace_deleted')",
    },
    RowRule {
        violation: "a message that waits for the index of searches is not published, or is after the indexed ones",
        query: "SELECT 'message ' || p.number FROM search_pending p JOIN messages m ON m.number = p.number \
            WHERE m.published_by IS NULL OR p.number > (SELECT through FROM search_state WHERE id = 1)",
    },
    RowRule { violation: "the statistics of the journal differ from its events", query: STATS_DIFFER },
    RowRule { violation: "a share of the journal differs from its events", query: SHARES_DIFFER },
    RowRule {
        violation: "a deleted message still exists",
        query: "SELECT 'message ' || m.number FROM state_events e JOIN messages m ON m.number = e.message \
            WHERE e.kind = 'message_deleted'",
    },
    RowRule {
        violation: "an answer job has no message of a user, or an answer that is not streaming",
        query: "SELECT 'message ' || j.message FROM answer_jobs j LEFT JOIN messages m ON m.number = j.message \
            LEFT JOIN messages a ON a.number = j.answer \
            WHERE m.role IS DISTINCT FROM 0 OR m.published_by IS DISTINCT FROM 0 OR (j.answer IS NULL) <> (j.answer_at IS NULL) \
            OR CASE WHEN j.is_begun = 1 THEN a.reply_to IS DISTINCT FROM j.message OR a.published_by IS NOT NULL \
            OR a.created_at IS DISTINCT FROM j.answer_at ELSE a.number IS NOT NULL END",
    },
    RowRule {
        violation: "an answer job differs from its message, or is marked wrongly as the first of its conversation",
        query: "SELECT 'message ' || j.message FROM answer_jobs j JOIN messages m ON m.number = j.message \
            JOIN conversations c ON c.number = m.conversation JOIN workspaces w ON w.number = c.workspace \
            WHERE (j.number = j.message AND j.user <> m.sender) OR j.conversation <> m.conversation \
            OR (c.deleted IS NULL AND w.deleted IS NULL AND (j.is_first = 1) <> \
            (j.number = (SELECT min(number) FROM answer_jobs WHERE conversation = j.conversation)))",
    },
    RowRule {
        violation: "a streaming message is published or has no answer job, or a complete message is not published",
        query: "SELECT 'message ' || m.number FROM messages m JOIN conversations c ON c.number = m.conversation \
            JOIN workspaces w ON w.number = c.workspace LEFT JOIN answer_jobs j ON j.message = m.reply_to \
            WHERE c.deleted IS NULL AND w.deleted IS NULL AND ((m.status = 1) <> (m.published_by IS NULL) \
            OR (m.status = 1 AND j.answer IS DISTINCT FROM m.number))",
    },
    RowRule {
        violation: "an answer lacks the event that publishes it, or such an event lacks its answer",
        query: "SELECT 'message ' || m.number FROM messages m JOIN conversations c ON c.number = m.conversation \
            JOIN workspaces w ON w.number = c.workspace LEFT JOIN state_events e ON e.number = m.published_by \
            WHERE c.deleted IS NULL AND w.deleted IS NULL AND m.published_by > 0 \
            AND (e.kind IS DISTINCT FROM 'output' OR e.message IS DISTINCT FROM m.number) \
            UNION ALL \
            SELECT 'event ' || e.number FROM state_events e JOIN conversations c ON c.number = e.conversation \
            JOIN workspaces w ON w.number = c.workspace LEFT JOIN messages m ON m.number = e.message \
            WHERE c.deleted IS NULL AND w.deleted IS NULL AND e.kind = 'output' \
            AND m.published_by IS DISTINCT FROM e.number",
    },
    RowRule {
        violation: "a message has two answers",
        query: "SELECT 'message ' || reply_to FROM messages WHERE reply_to IS NOT NULL AND status <> 5 \
            GROUP BY reply_to HAVING count(*) > 1",
    },
    RowRule {
        violation: "the answers to a message are not numbered, or the wrong ones are superseded",
        query: "SELECT 'message ' || n.asked FROM answers n LEFT JOIN answer_jobs j ON j.message = n.asked \
            GROUP BY n.asked, j.number HAVING min(n.attempt) <> 1 OR max(n.attempt) <> count(*) \
            OR count(CASE WHEN n.status <> 5 THEN 1 END) <> CASE WHEN j.number IS NULL THEN 1 ELSE 0 END \
            OR (j.number IS NULL AND max(n.attempt) <> \
            (SELECT max(attempt) FROM answers o WHERE o.asked = n.asked AND o.status <> 5))",
    },
    RowRule {
        violation: "an answer differs from its message, or an answer with text is not recorded",
        query: "SELECT 'message ' || a.number FROM answers n JOIN messages a ON a.number = n.answer \
            WHERE a.reply_to IS DISTINCT FROM n.asked OR a.status <> n.status OR (n.status <> 5 AND a.error IS DISTINCT FROM n.error) \
            UNION ALL \
            SELECT 'message ' || a.number FROM messages a JOIN messages m ON m.number = a.reply_to \
            WHERE a.published_by IS NOT NULL \
            AND a.number NOT IN (SELECT answer FROM answers WHERE answer IS NOT NULL)",
    },
    RowRule {
        violation: "the reasoning of a message that is not an answer",
        query: "SELECT 'message ' || r.message FROM answer_reasoning r JOIN messages m ON m.number = r.message \
            WHERE m.role <> 1 OR m.published_by IS NULL",
    },
    RowRule {
        violation: "the usage of a day differs from the sums of its conversations",
        query: "SELECT 'user ' || user || ' day ' || day FROM (SELECT user, day, answers, prompt_tokens, completion_tokens, \
            reasoning_tokens, cached_tokens FROM usage UNION ALL SELECT user, day, -answers, -prompt_tokens, \
            -completion_tokens, -reasoning_tokens, -cached_tokens FROM usage_days) sums GROUP BY user, day \
            HAVING sum(answers) <> 0 OR sum(prompt_tokens) <> 0 OR sum(completion_tokens) <> 0 \
            OR sum(reasoning_tokens) <> 0 OR sum(cached_tokens) <> 0",
    },
    // Retention may have removed some or all recipients of the oldest event of a workspace.
    RowRule {
        violation: "an event has no recipients",
        query: "SELECT 'event ' || number FROM state_events WHERE number NOT IN (SELECT number FROM event_recipients) \
            AND number NOT IN (SELECT min(number) FROM state_events WHERE kind <> 'output' GROUP BY workspace)",
    },
    RowRule {
        violation: "an event's number is in a skipped range",
        query: "SELECT 'event ' || m.number FROM skipped_ranges r JOIN messages m ON m.number > r.after AND m.number <= r.through \
            UNION ALL SELECT 'event ' || e.number FROM skipped_ranges r JOIN state_events e ON e.number > r.after AND e.number <= r.through",
    },
];

/// The rules of the index by conversation, which a server keeps itself.
const INDEX_RULES: &[RowRule] = &[
    RowRule {
        violation: "the index by conversation lacks a message",
        query: "SELECT 'message ' || m.number FROM messages m CROSS JOIN conversation_index_state s \
            LEFT JOIN conversation_index i ON i.conversation = m.conversation AND i.number = m.number \
            WHERE i.number IS NULL AND (m.number <= s.indexed_through OR m.published_by IS DISTINCT FROM 0)",
    },
    RowRule {
        violation: "the index by conversation has a row without its message",
        query: "SELECT 'message ' || i.number FROM conversation_index i LEFT JOIN messages m ON m.number = i.number \
            WHERE m.conversation IS DISTINCT FROM i.conversation",
    },
    RowRule {
        violation: "the index by conversation has a wrong state",
        query: "SELECT 'event ' || h.number FROM journal_head h LEFT JOIN conversation_index_state s \
            WHERE s.indexed_through IS NULL OR s.indexed_through > h.number",
    },
];

/// Each column that refers to the key of another table.
const REFERENCES: &[(&str, &str, &str, &str)] = &[
    ("workspaces", "owner", "users", "key"),
    ("conversations", "workspace", "workspaces", "number"),
    ("conversation_state", "conversation", "conversations", "number"),
    ("participants", "conversation", "conversations", "number"),
    ("participants", "user", "users", "key"),
    ("messages", "conversation", "conversations", "number"),
    ("answer_jobs", "message", "messages", "number"),
    ("answers", "asked", "messages", "number"),
    ("answer_reasoning", "message", "messages", "number"),
    ("search_pending", "number", "messages", "number"),
    ("usage", "user", "users", "key"),
    ("usage_days", "user", "users", "key"),
    ("inbox", "user", "users", "key"),
    ("inbox_open", "user", "users", "key"),
    ("event_recipients", "user", "users", "key"),
    ("event_recipients", "number", "state_events", "number"),
    ("idempotency", "user", "users", "key"),
    ("workspace_deletions", "workspace", "workspaces", "number"),
    ("notified_users", "workspace", "workspaces", "number"),
];

/// Checks that every row to which another refers exists.
fn check_references(db: &SqlConnection, found: &mut Findings) -> SqlResult<()> {
    for (table, column, parent, key) in REFERENCES {
        let query = format!(
            "SELECT c.{column} FROM {table} c LEFT JOIN {parent} p ON p.{key} = c.{column} WHERE p.{key} IS NULL LIMIT 100"
        );
        let mut statement = db.prepare_cached(&query)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let missing: i64 = row.get(0)?;
            found.add(|| format!("a row refers to a missing row: {table} to {parent} {missing}"));
        }
    }
    Ok(())
}

/// Checks that metadata are JSON objects, and that conversations have the responders that theirs choose.
fn check_metadata(db: &SqlConnection, found: &mut Findings) -> SqlResult<()> {
    const ROWS_MAX: i64 = 256;
    for (subject, query) in METADATA {
        let mut statement = db.prepare_cached(query)?;
        let (mut after, mut rows_read) = (0, ROWS_MAX);
        while rows_read == ROWS_MAX {
            let mut rows = statement.query([after, ROWS_MAX])?;
            rows_read = 0;
            while let Some(row) = rows.next()? {
                (after, rows_read) = (row.get(0)?, rows_read + 1);
                let metadata = row.text(1)?;
                if !(metadata.starts_with('{') && json::is_valid(metadata)) {
                    found.add(|| format!("metadata is not a JSON object: {subject} {after}"));
                    continue;
                }
                let chosen = string_member(&Metadata::new_unchecked(metadata), "responder");
                if *subject == "conversation" && row.optional_text(2)? != chosen.as_deref() {
                    found.add(|| format!("a conversation's responder differs from its metadata: {subject} {after}"));
                }
            }
        }
    }
    Ok(())
}

/// Select metadata after a number. The third column is the responder of a conversation.
const METADATA: &[(&str, &str)] = &[
    ("workspace", "SELECT number, metadata FROM workspaces WHERE number > ?1 ORDER BY number LIMIT ?2"),
    (
        "conversation",
        "SELECT number, metadata, responder FROM conversations WHERE number > ?1 ORDER BY number LIMIT ?2",
    ),
    ("message", "SELECT number, metadata FROM messages WHERE number > ?1 ORDER BY number LIMIT ?2"),
];

/// Checks that numbers and times grow together, and that none is beyond the head of the journal.
fn check_order(db: &SqlConnection, found: &mut Findings) -> SqlResult<()> {
    let head = journal_head::load(db)?;
    let mut statement = db.prepare_cached(
        "SELECT number, created_at FROM messages UNION ALL SELECT number, at FROM state_events ORDER BY 1",
    )?;
    let mut rows = statement.scan([], SCAN_ROWS_MAX)?;
    let (mut last, mut last_at) = (0, i64::MIN);
    while let Some(row) = rows.next()? {
        let (number, at): (i64, i64) = (row.get(0)?, row.get(1)?);
        if number <= last || at <= last_at {
            found.add(|| format!("an event is not later than the one before it: {number}"));
        }
        if number > sql(head.number) || at > head.at.0 {
            found.add(|| format!("an event is beyond the head of the journal: {number}"));
        }
        (last, last_at) = (number, at);
    }
    Ok(())
}

/// Checks that inboxes contain all messages through the watermark that their users may see and that are their own journal entries,
/// and no number beyond it.
fn check_inboxes(db: &SqlConnection, found: &mut Findings) -> SqlResult<()> {
    let watermark = inbox::load_watermark(db)?;
    let position = journal_head::load(db)?.number;
    // Also at most the number of the index by conversation, by which the messages are found here.
    let indexed_through = conversation_index::indexed_through(db)?.min(position);
    let is_ascending =
        watermark.flushed_through <= watermark.flushing_through && watermark.flushing_through <= indexed_through;
    if !is_ascending || watermark.is_flushing() != (watermark.users_below > 0) {
        found.add(|| format!("the inbox watermark is inconsistent: {watermark:?}"));
    }
    let mut users = db.prepare_cached("SELECT key, oid FROM users")?;
    let mut rows = users.scan([], SCAN_ROWS_MAX)?;
    while let Some(row) = rows.next()? {
        let (user, name): (i64, String) = (row.get(0)?, row.get(1)?);
        let complete_through = sql(watermark.complete_for(user));
        let numbers = inbox_of(db, user, &name, complete_through, found)?;
        let mut visible = db.prepare_cached(VISIBLE_MESSAGES)?;
        let mut messages = visible.scan(params![user, complete_through], SCAN_ROWS_MAX)?;
        while let Some(row) = messages.next()? {
            let message: i64 = row.get(0)?;
            if !numbers.contains(&message) {
                found.add(|| format!("the inbox of {name} lacks a message: {message}"));
            }
        }
    }
    Ok(())
}

/// The numbers in the inbox of a user.
fn inbox_of(
    db: &SqlConnection,
    user: i64,
    name: &str,
    complete_through: i64,
    found: &mut Findings,
) -> SqlResult<BTreeSet<i64>> {
    let mut numbers = BTreeSet::new();
    let mut chunks = db.prepare_cached(CHUNKS)?;
    let mut rows = chunks.query([user])?;
    while let Some(row) = rows.next()? {
        let chunk = inbox::read(row)?;
        let mut last = number(0);
        for number in chunk.numbers() {
            last = number;
            if numbers.last().is_some_and(|before| *before >= sql(number)) {
                found.add(|| format!("the inbox of {name} is not in order: {number}"));
                break;
            }
            numbers.insert(sql(number));
        }
        if last != chunk.last {
            found.add(|| format!("the inbox of {name} has a chunk with a wrong last number: {}", chunk.last));
        }
        if sql(last) > complete_through {
            found.add(|| format!("the inbox of {name} has a number beyond its watermark: {last}"));
        }
    }
    Ok(numbers)
}

const STATS_DIFFER: &str = concat!(
    "SELECT 'the counts of events and bytes' FROM journal_stats WHERE events <> (SELECT count(*) FROM state_events e WHERE ",
    state_events::event_expires!(),
    ") OR bytes <> (SELECT coalesce(sum",
    state_events::event_bytes!(),
    ", 0) FROM state_events e WHERE ",
    state_events::event_expires!(),
    ") + 16 * (SELECT count(*) FROM event_recipients r JOIN state_events e ON e.number = r.number WHERE ",
    state_events::event_expires!(),
    ")"
);

const SHARES_DIFFER: &str = concat!(
    "SELECT 'workspace ' || workspace FROM (SELECT workspace, events, bytes FROM journal_workspaces \
    UNION ALL SELECT e.workspace, -1, -16 * (SELECT count(*) FROM event_recipients r WHERE r.number = e.number) - ",
    state_events::event_bytes!(),
    " FROM state_events e WHERE ",
    state_events::event_expires!(),
    ") shares GROUP BY workspace HAVING sum(events) <> 0 OR sum(bytes) <> 0 \
    UNION ALL SELECT 'user ' || owner FROM (SELECT owner, events, bytes FROM journal_owners \
    UNION ALL SELECT owner, -events, -bytes FROM journal_workspaces) shares \
    GROUP BY owner HAVING sum(events) <> 0 OR sum(bytes) <> 0"
);

const CHUNKS: &str = "
    SELECT first, last, deltas FROM inbox WHERE user = ?1
    UNION ALL SELECT first, last, deltas FROM inbox_open WHERE user = ?1
    ORDER BY first";

const VISIBLE_MESSAGES: &str = "
    SELECT m.number FROM participants p
    CROSS JOIN conversations c ON c.number = p.conversation AND c.deleted IS NULL
    CROSS JOIN workspaces w ON w.number = c.workspace AND w.deleted IS NULL
    CROSS JOIN conversation_index i ON i.conversation = c.number AND i.number > p.since AND i.number <= ?2
    CROSS JOIN messages m ON m.number = i.number AND m.published_by = 0
    WHERE p.user = ?1
    UNION ALL
    SELECT m.number FROM workspaces w
    CROSS JOIN conversations c ON c.workspace = w.number AND c.deleted IS NULL
    CROSS JOIN conversation_index i ON i.conversation = c.number AND i.number <= ?2
    CROSS JOIN messages m ON m.number = i.number AND m.published_by = 0
    WHERE w.owner = ?1 AND w.deleted IS NULL";
