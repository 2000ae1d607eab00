//! Query plans: no statement of a command, a query or a maintenance step reads a whole table.

use super::support::TempDir;
use super::*;
use crate::store::admin::account_rows;
use crate::store::read::{answer_history, caller_conversations, journal_messages, user_search, visible_messages};
use crate::store::search::{index, message_search, step};
use crate::store::sqlite::connection;
use crate::store::tables::{
    answer_jobs, answers, conversation_index, conversations, idempotency, inbox, journal_head, journal_shares,
    messages, reasoning, released_users, state_events, timeline, usage, users, workspace_deletions, workspaces,
};
use crate::store::write::{purge, retention};

#[test]
fn no_statement_scans_a_table_or_sorts_messages() {
    if !support::is_sqlite() {
        return;
    }
    let statements = [
        journal_head::LOAD,
        journal_head::STORE,
        users::FIND,
        users::INSERT,
        users::LOGIN_TAKEN,
        users::PASSWORD_RECORD,
        users::KEY,
        users::PROFILE,
        user_search::SHARES_RECENT,
        user_search::PARTICIPANT_KEYS,
        caller_conversations::OWNED,
        caller_conversations::JOINED,
        account_rows::BY_ID,
        account_rows::BY_EMAIL,
        account_rows::LIST,
        workspaces::FIND,
        workspaces::NUMBERS,
        released_users::REMOVED_THROUGH,
        released_users::REMEMBER,
        released_users::RAISE,
        released_users::FORGET,
        released_users::LOWEST,
        released_users::RELEASE_PARTICIPANTS,
        released_users::RELEASE_RECIPIENTS,
        released_users::DELETE_INBOX,
        released_users::DELETE_USER,
        workspace_deletions::FIRST_AFTER,
        workspace_deletions::INSERT,
        workspace_deletions::INSERT_NOTIFIED,
        workspace_deletions::PURGE_NOTIFIED,
        workspace_deletions::CONVERSATION_FROM,
        workspace_deletions::PARTICIPANTS_AFTER,
        conversations::ACCESS,
        conversations::PARTICIPANTS,
        conversations::FIND,
        conversations::NUMBERS,
        conversations::ITEM,
        conversations::UPDATE_STATE,
        conversations::COUNT_MESSAGE_OUT,
        messages::INSERT,
        messages::FIND_VISIBLE,
        messages::ENTRIES,
        messages::TEXTS,
        conversation_index::INDEXED_THROUGH,
        conversation_index::SET_INDEXED_THROUGH,
        conversation_index::NEWEST,
        conversation_index::NUMBERS_AFTER,
        conversation_index::NUMBERS_BEFORE,
        conversation_index::ADD,
        messages::EXISTING,
        messages::SHOWN,
        messages::LOCATE,
        messages::IS_OTHER_RESOURCE,
        timeline::SKIPPED_BEFORE,
        state_events::INSERT,
        state_events::INSERT_RECIPIENT,
        state_events::ENTRIES_AFTER,
        state_events::PAYLOAD,
        state_events::STATS,
        state_events::ADD_STATS,
        journal_shares::ADD_TO_WORKSPACE,
        journal_shares::ADD_TO_OWNER,
        journal_shares::SUBTRACT_FROM_WORKSPACE,
        journal_shares::SUBTRACT_FROM_OWNER,
        retention::OLDEST_OF_WORKSPACE,
        retention::RECIPIENTS,
        retention::DELETE_RECIPIENTS,
        retention::RAISE,
        visible_messages::VISIBLE_CONVERSATION,
        journal_messages::CONVERSATIONS_OF,
        journal_messages::TAIL,
        messages::NUMBERS_BETWEEN,
        inbox::WATERMARK,
        inbox::SET_WATERMARK,
        inbox::OPEN_CHUNK,
        inbox::CHUNK_CONTAINING,
        inbox::CHUNK_AFTER,
        inbox::INSERT_CHUNK,
        inbox::SET_OPEN_CHUNK,
        state_events::DELETE,
        state_events::DELETE_RECIPIENTS,
        answer_jobs::INSERT,
        answer_jobs::FIND,
        answer_jobs::SET_ANSWER,
        answer_jobs::DELETE,
        answer_jobs::PROMOTE,
        answer_jobs::JOB,
        answer_jobs::DELETE_THROUGH,
        messages::ANSWER_BYTES,
        messages::FIND,
        messages::FIND_SHOWN,
        answer_jobs::OF_MESSAGE,
        answer_jobs::LAST_OF_CONVERSATION,
        answers::INSERT,
        answers::LAST,
        answers::SUPERSEDE,
        answers::SET_MESSAGE_STATUS,
        reasoning::INSERT,
        reasoning::FIND,
        reasoning::DELETE,
        reasoning::DELETE_THROUGH,
        answers::DELETE_ANSWERS,
        answers::DELETE_ANSWERS_THROUGH,
        usage::ADD,
        usage::ADD_TO_DAY,
        usage::TOKENS_USED,
        usage::DAYS,
        usage::AFTER,
        messages::APPEND,
        messages::FINISH_ANSWER,
        messages::PUBLICATION,
        index::THROUGH,
        index::SET_THROUGH,
        index::ADD_PUBLISHED,
        index::IS_INDEXED_OTHERWISE,
        index::REMOVE_ONE,
        index::REMOVE_BEGINNING_OF_ONE,
        index::REMOVE_THROUGH,
        index::REMOVE_BEGINNINGS_THROUGH,
        index::END_PENDING_THROUGH,
        index::FIRST_PENDING,
        index::SET_PENDING,
        index::END_PENDING,
        index::FIRST_REMOVAL,
        index::SET_REMOVAL,
        index::END_REMOVAL,
        step::NEW_TEXTS,
        message_search::UNINDEXED,
        message_search::PENDING,
        message_search::CANDIDATE,
        message_search::TEXT,
        message_search::OWNED_WORKSPACES,
        message_search::VISIBLE_CONVERSATION,
        message_search::NTH_JOINED,
        message_search::NTH_OWNED,
        message_search::ALL_CANDIDATES,
        messages::PUBLISHED_AS,
        state_events::UNANSWERED,
        answer_jobs::NEXT_USER,
        answer_jobs::FIRST_OF_USER,
        answer_history::TURNS,
        answer_history::SYSTEM_TEXTS,
        answer_history::METADATA,
        idempotency::FIND,
        idempotency::PURGE,
        purge::CONVERSATION_OF,
        purge::MESSAGES_OF_CONVERSATION,
        purge::DELETE_MESSAGES,
        purge::EVENTS_OF_CONVERSATION,
        purge::EVENTS_OF_WORKSPACE,
    ];
    let directory = TempDir::new();
    let writer = open(&directory.file("a.db"));
    for statement in statements {
        let plan = plan(&writer, statement);
        // The subquery of `SHARES_RECENT` has a bounded number of rows, and so has the list in `ENTRIES`.
        let bounded = ["SCAN p\n", "SCAN wanted\n", "SCAN 32-ROW VALUES CLAUSE\n"];
        let rest = bounded.iter().fold(plan.clone(), |plan, scan| plan.replace(scan, ""));
        assert!(!rest.contains("SCAN"), "{statement}\n{plan}");
        // One statement sorts the participants of a conversation, whose number is bounded.
        let sorts = statement == conversations::PARTICIPANTS;
        assert!(sorts || !plan.contains("TEMP B-TREE"), "{statement}\n{plan}");
    }
    // A cursor is a position in the index, so the cost of a page does not depend on its position.
    for (statement, place) in
        [(conversation_index::NUMBERS_AFTER, "number>?"), (conversation_index::NUMBERS_BEFORE, "number<?")]
    {
        let plan = plan(&writer, statement);
        let search = format!("SEARCH conversation_index USING PRIMARY KEY (conversation=? AND {place})");
        assert_eq!(plan, search, "{statement}");
    }
    // A step resumes at a place in the index, so its cost does not depend on the number of earlier steps.
    for (statement, place) in [
        (caller_conversations::OWNED, "conversations_workspace (workspace=? AND deleted=? AND rowid>?)"),
        (caller_conversations::JOINED, "participants_user (user=? AND conversation>?)"),
        (conversations::NUMBERS, "conversations_workspace (workspace=? AND deleted=? AND rowid>?)"),
        (workspaces::NUMBERS, "workspaces_owner (owner=? AND deleted=? AND rowid>?)"),
        (answer_jobs::NEXT_USER, "answer_jobs_first (<expr>=? AND user>?)"),
        (answer_jobs::FIRST_OF_USER, "answer_jobs_first (<expr>=? AND user=? AND rowid>?)"),
        (answer_jobs::PROMOTE, "answer_jobs_conversation (conversation=?)"),
        (answer_jobs::LAST_OF_CONVERSATION, "answer_jobs_conversation (conversation=? AND rowid<?)"),
        (usage::AFTER, "PRIMARY KEY (user=? AND (day,conversation,model)>(?,?,?) AND day<?)"),
    ] {
        let plan = plan(&writer, statement);
        assert!(plan.contains(place), "{statement}\n{plan}");
    }
    // A page reads the payloads of those events alone that it returns.
    assert!(!state_events::ENTRIES_AFTER.contains("payload"));
    // These statements scan a partial index that has only the rows that they select.
    for (statement, index) in [
        (users::TOKEN_RULES, "users_token_rules"),
        (users::LAST_RULE_CHANGE, "users_rule_change"),
        (users::RULE_CHANGES, "users_rule_change"),
        (purge::DELETED_CONVERSATION, "conversations_deleted"),
        (purge::DELETED_WORKSPACE, "workspaces_deleted"),
        // These take the first row of an index.
        (journal_shares::LARGEST_BY_EVENTS, "journal_owners_events"),
        (journal_shares::LARGEST_BY_EVENTS, "journal_workspaces_events"),
        (journal_shares::LARGEST_BY_BYTES, "journal_owners_bytes"),
        (journal_shares::LARGEST_BY_BYTES, "journal_workspaces_bytes"),
    ] {
        let plan = plan(&writer, statement);
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{statement}\n{plan}");
    }
}

#[test]
fn binding_a_parameter_does_not_prepare_the_statement_again() {
    if !support::is_sqlite() {
        return;
    }
    let directory = TempDir::new();
    let path = directory.file("a.db");
    let writer = open(&path);
    let (reading, _) = connection::open_reading(&path).unwrap();
    for statement in [
        state_events::ENTRIES_AFTER,
        conversation_index::NUMBERS_AFTER,
        messages::ENTRIES,
        messages::TEXTS,
        journal_messages::TAIL,
    ] {
        for db in [writer.connection.db.sqlite(), reading.sqlite()] {
            let mut prepared = db.prepare(statement).unwrap();
            for value in 1..4 {
                let values = vec![value; prepared.parameter_count()];
                let found: Vec<Option<i64>> = prepared
                    .query_map(rusqlite::params_from_iter(values), |row| row.get(0))
                    .and_then(Iterator::collect)
                    .unwrap();
                assert!(found.iter().all(Option::is_none));
            }
            assert_eq!(prepared.get_status(rusqlite::StatementStatus::RePrepare), 0, "{statement}");
        }
    }
}

fn plan(writer: &Writer, statement: &str) -> String {
    let mut explain = writer.connection.db.sqlite().prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
    let parameters = explain.parameter_count();
    let nothing = vec![rusqlite::types::Null; parameters];
    let rows = explain.query_map(rusqlite::params_from_iter(nothing), |row| row.get::<_, String>(3)).unwrap();
    rows.collect::<rusqlite::Result<Vec<_>>>().unwrap().join("\n")
}
