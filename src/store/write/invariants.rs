//! The invariants of the store. Tests assert them after each step.

use crate::store::admin::integrity;
use crate::store::tables::{conversation_index, conversations, inbox, journal_head, state_events, users};
use crate::store::write::writer::Writer;

impl Writer {
    /// Asserts the invariants of the store. Reads the whole database.
    pub fn check_invariants(&mut self) {
        let findings = integrity::rows(&self.connection.db, |_, _| {});
        assert!(findings.is_empty(), "{}", findings.join("\n"));
        self.check_cache();
    }

    /// Asserts that the index of searches has the words of the messages. Takes long if their texts are.
    pub fn check_search_index(&self) {
        let findings = integrity::search_index(&self.connection.db);
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }

    fn check_cache(&mut self) {
        let head = journal_head::load(&self.connection.db).expect("the journal's head can be read");
        assert_eq!(self.head, head);
        let stats = state_events::stats(&self.connection.db).expect("the row can be read");
        assert!(self.cache.stats.is_none_or(|cached| cached == stats));
        self.cache
            .inboxes
            .check_invariants(&inbox::load_watermark(&self.connection.db).expect("the watermark can be read"));
        let indexed_through = conversation_index::indexed_through(&self.connection.db).expect("the row can be read");
        self.cache.index.check_invariants(indexed_through);
        self.cache.conversations.check_invariants();
        self.cache.users.check_invariants();
        let deleted = &self.cache.deleted_workspaces;
        for access in self.cache.conversations.values().filter(|access| !deleted.contains(&access.workspace.number)) {
            let stored = conversations::access(&self.connection.db, &self.meta.ids, access.number)
                .expect("the rows can be read");
            assert_eq!(stored.as_ref(), Some(&**access), "conversation {}", access.number);
        }
        for user in self.cache.users.values() {
            let stored = users::find(&self.connection.db, &user.id).expect("the row can be read");
            assert_eq!(stored.as_ref(), Some(&**user));
        }
    }
}
