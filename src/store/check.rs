//! What must hold of the rows and of the writer's memory between any two transactions.

use crate::base::time::Wall;
use crate::store::batch::Clock;
use crate::store::inbox::{self, Marker};
use crate::store::schema::{number, sql};
use crate::store::writer::Writer;
use crate::store::{conversations, journal, users};
use std::collections::{BTreeSet, HashMap};

impl Writer {
    /// Asserts the invariants of the store. Reads everything: for tests, after each of their steps.
    pub fn check_invariants(&mut self) {
        self.check_rows();
        self.check_order();
        self.check_memory();
        self.check_inboxes();
    }

    fn check_rows(&self) {
        let table = [
            ("a row refers to one that is not there", "SELECT * FROM pragma_foreign_key_check"),
            (
                "an event that is a message has a second row",
                "SELECT 1 FROM events e JOIN messages m ON m.number = e.number",
            ),
            (
                "a conversation has no state",
                "SELECT 1 FROM conversations c LEFT JOIN conversation_state s ON s.conversation = c.number \
                 WHERE s.conversation IS NULL",
            ),
            (
                "a conversation's state is not that of its messages",
                "SELECT 1 FROM conversations c JOIN workspaces w ON w.number = c.workspace \
                 JOIN conversation_state s ON s.conversation = c.number \
                 LEFT JOIN messages m ON m.conversation = c.number \
                 WHERE c.deleted IS NULL AND w.deleted IS NULL GROUP BY c.number \
                 HAVING s.message_count <> count(m.number) OR s.last_number <> coalesce(max(m.number), 0)",
            ),
            (
                "an event that is to vanish with its thing has outlived it",
                "SELECT 1 FROM events e LEFT JOIN workspaces w ON w.number = e.workspace \
                 LEFT JOIN conversations c ON c.number = e.conversation \
                 WHERE (w.number IS NULL OR (c.number IS NULL AND e.conversation IS NOT NULL)) \
                 AND e.kind NOT IN ('conversation_left', 'conversation_deleted', 'workspace_deleted')",
            ),
            ("the journal's events are not as many, or not as large, as is said", STATS_DIFFER),
            (
                "a deleted message is still there",
                "SELECT 1 FROM events e JOIN messages m ON m.number = e.message WHERE e.kind = 'message_deleted'",
            ),
            (
                "an order is about a message that asks nothing, or its answer is not being written",
                "SELECT 1 FROM orders o JOIN messages m ON m.number = o.message \
                 LEFT JOIN messages a ON a.number = o.answer \
                 WHERE m.role <> 0 OR m.published_by IS NOT 0 \
                 OR (o.answer IS NOT NULL AND (a.reply_to IS NOT o.message OR a.published_by IS NOT NULL))",
            ),
            (
                "a message streams and is published, or the other way round, or nobody writes it",
                "SELECT 1 FROM messages m JOIN conversations c ON c.number = m.conversation \
                 JOIN workspaces w ON w.number = c.workspace LEFT JOIN orders o ON o.message = m.reply_to \
                 WHERE c.deleted IS NULL AND w.deleted IS NULL AND ((m.status = 1) <> (m.published_by IS NULL) \
                 OR (m.status = 1 AND o.answer IS NOT m.number))",
            ),
            (
                "an answer has no event that publishes it, or one has no answer",
                "SELECT 1 FROM messages m JOIN conversations c ON c.number = m.conversation \
                 JOIN workspaces w ON w.number = c.workspace LEFT JOIN events e ON e.number = m.published_by \
                 WHERE c.deleted IS NULL AND w.deleted IS NULL AND m.published_by > 0 \
                 AND (e.kind IS NOT 'output' OR e.message IS NOT m.number) \
                 UNION ALL \
                 SELECT 1 FROM events e JOIN conversations c ON c.number = e.conversation \
                 JOIN workspaces w ON w.number = c.workspace LEFT JOIN messages m ON m.number = e.message \
                 WHERE c.deleted IS NULL AND w.deleted IS NULL AND e.kind = 'output' \
                 AND m.published_by IS NOT e.number",
            ),
            (
                "a message has two answers",
                "SELECT 1 FROM messages WHERE reply_to IS NOT NULL GROUP BY reply_to HAVING count(*) > 1",
            ),
            (
                "a conversation's responder is not what its metadata says",
                "SELECT 1 FROM conversations WHERE responder IS NOT \
                 CASE json_type(metadata, '$.responder') WHEN 'text' THEN metadata ->> '$.responder' END",
            ),
            (
                "an event has nobody who gets it",
                // The oldest may be on its way out.
                "SELECT 1 FROM events WHERE number NOT IN (SELECT number FROM event_recipients) \
                 AND number <> (SELECT min(number) FROM events)",
            ),
        ];
        for (broken, query) in table {
            let found = self.db.prepare(query).and_then(|mut statement| statement.exists([]));
            assert_eq!(found, Ok(false), "{broken}");
        }
    }

    /// Numbers and times grow together, and none is beyond the position.
    fn check_order(&self) {
        let mut statement = self
            .db
            .prepare("SELECT number, created_at FROM messages UNION ALL SELECT number, at FROM events ORDER BY 1")
            .expect("the tables are there");
        let mut rows = statement.query([]).expect("the rows can be read");
        let mut last_at = Wall(i64::MIN);
        while let Some(row) = rows.next().expect("the rows can be read") {
            let (number, at) = (number(row.get(0).expect("a number")), Wall(row.get(1).expect("a time")));
            assert!(at > last_at, "event {number} is not later than the one before");
            assert!(number <= self.clock.number && at <= self.clock.at, "event {number} is beyond the position");
            last_at = at;
        }
    }

    fn check_memory(&mut self) {
        let stored = Clock::load(&self.db).expect("the position can be read");
        assert_eq!(self.clock, stored);
        let stats = journal::stats(&self.db).expect("the row can be read");
        assert!(self.memory.stats.is_none_or(|known| known == stats));
        self.memory.rooms.check_invariants();
        self.memory.users.check_invariants();
        for room in self.memory.rooms.values() {
            let stored = conversations::room(&self.db, &self.meta.ids, room.number).expect("the rows can be read");
            assert_eq!(stored.as_ref(), Some(&**room), "conversation {}", room.number);
        }
        for user in self.memory.users.values() {
            let stored = users::find(&self.db, &user.member.id).expect("the row can be read");
            assert_eq!(stored.as_ref(), Some(&**user));
        }
    }

    /// Inboxes have what their users may see, as far as the marker says, and nothing beyond.
    fn check_inboxes(&self) {
        let marker = Marker::load(&self.db).expect("the marker can be read");
        assert!(marker.flushed_through <= marker.flushing_through && marker.flushing_through <= self.clock.number);
        assert!(marker.is_flushing() == (marker.users_below > 0), "{marker:?}");
        self.memory.inboxes.check_invariants(&marker);
        let mut found: HashMap<i64, BTreeSet<i64>> = HashMap::new();
        let mut chunks = self.db.prepare(CHUNKS).expect("SQL");
        let mut rows = chunks.query([]).expect("the rows can be read");
        while let Some(row) = rows.next().expect("the rows can be read") {
            let chunk = inbox::read(row).expect("a chunk");
            let user = row.get(3).expect("a user");
            let numbers = found.entry(user).or_default();
            let mut last = chunk.first;
            for number in chunk.numbers() {
                assert!(numbers.last().is_none_or(|last| *last < sql(number)), "inbox {user} is not in order");
                numbers.insert(sql(number));
                last = number;
            }
            assert_eq!(last, chunk.last, "inbox {user}");
            assert!(last <= marker.complete_for(user), "inbox {user} has more than the marker says");
        }
        let mut visible = self.db.prepare(VISIBLE_MESSAGES).expect("SQL");
        let mut rows = visible.query([]).expect("the rows can be read");
        while let Some(row) = rows.next().expect("the rows can be read") {
            let (user, message) = (row.get(0).expect("a user"), row.get(1).expect("a number"));
            if message <= sql(marker.complete_for(user)) {
                let inbox = found.get(&user);
                assert!(inbox.is_some_and(|numbers| numbers.contains(&message)), "inbox {user} lacks {message}");
            }
        }
    }
}

const STATS_DIFFER: &str = concat!(
    "SELECT 1 FROM journal_stats WHERE events <> (SELECT count(*) FROM events e WHERE ",
    journal::event_expires!(),
    ") OR bytes <> (SELECT coalesce(sum",
    journal::event_bytes!(),
    ", 0) FROM events e WHERE ",
    journal::event_expires!(),
    ") + 16 * (SELECT count(*) FROM event_recipients r JOIN events e ON e.number = r.number WHERE ",
    journal::event_expires!(),
    ")"
);

const CHUNKS: &str = "
    SELECT first, last, deltas, user FROM inbox UNION ALL SELECT first, last, deltas, user FROM inbox_open
    ORDER BY user, first";

const VISIBLE_MESSAGES: &str = "
    SELECT p.user, m.number FROM messages m JOIN participants p ON p.conversation = m.conversation
    JOIN conversations c ON c.number = m.conversation JOIN workspaces w ON w.number = c.workspace
    WHERE m.number > p.since AND c.deleted IS NULL AND w.deleted IS NULL
    UNION
    SELECT w.owner, m.number FROM messages m
    JOIN conversations c ON c.number = m.conversation JOIN workspaces w ON w.number = c.workspace
    WHERE c.deleted IS NULL AND w.deleted IS NULL";
