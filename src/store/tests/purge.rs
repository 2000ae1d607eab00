//! Purge: rows of deleted resources are removed completely, in small steps.

use super::support::TempDir;
use super::*;
use crate::base::limits::{IDEMPOTENCY_RETENTION_SECONDS, PURGE_BYTES_MAX, PURGE_ROWS_MAX};
use crate::domain::command::Idempotency;

const TABLES: [&str; 9] = [
    "users",
    "workspaces",
    "conversations",
    "conversation_state",
    "participants",
    "messages",
    "state_events",
    "event_recipients",
    "idempotency",
];

fn rows(writer: &Writer) -> [usize; 9] {
    TABLES.map(|table| {
        let count = format!("SELECT count(*) FROM {table}");
        writer.connection.db.query_row(&count, [], |row| row.get::<i64>(0)).unwrap() as usize
    })
}

/// Runs maintenance until no work is left. Returns the largest number of rows that one step removed, and the number of steps.
fn purge(writer: &mut Writer, now: Now) -> (usize, usize) {
    let (mut most, mut steps) = (0, 0);
    loop {
        let before: usize = rows(writer).iter().sum();
        let more = maintain(writer, now);
        writer.check_invariants();
        let after: usize = rows(writer).iter().sum();
        most = most.max(before - after);
        steps += 1;
        if !more {
            return (most, steps);
        }
    }
}

fn fill(writer: &mut Writer, workspace: WorkspaceId, messages: usize, text: &str) -> ConversationId {
    let conversation = add_conversation(writer, "ann", workspace, &["ben", "cyd"]);
    let posts: Vec<Command> =
        (0..messages).map(|_| command("ben", post(ConversationRef::Id(conversation), text))).collect();
    writer.commit_batch(&posts, NOW);
    done(writer, "cyd", CommandKind::LeaveConversation { conversation: ConversationRef::Id(conversation) });
    conversation
}

#[test]
fn a_deleted_workspace_leaves_only_tombstones() {
    let directory = TempDir::new();
    let mut writer = open(&directory.file("a.db"));
    add_workspace(&mut writer, "ann");
    add_workspace(&mut writer, "ben");
    add_workspace(&mut writer, "cyd");
    let kept = rows(&writer);

    let workspace = add_workspace(&mut writer, "ann");
    let first = fill(&mut writer, workspace, 700, "x");
    fill(&mut writer, workspace, 700, "x");
    let delete =
        CommandKind::DeleteConversation { conversation: ConversationRef::Id(first), api_variant: ApiVariant::Config };
    done(&mut writer, "ann", delete);
    done(&mut writer, "ann", CommandKind::DeleteWorkspace { id: workspace });
    let seen = ["ann", "ben", "cyd"].map(|user| replay(&mut writer, user));

    let (most, steps) = purge(&mut writer, NOW);
    assert!(steps >= 6, "{steps}");
    // A step may exceed its bound by a few rows: participants, state, the resource itself, the recipients of an event.
    assert!(most <= PURGE_ROWS_MAX + 16, "{most}");
    // Two conversations were left, then a conversation and the workspace were deleted.
    let tombstones = 4;
    let recipients = 1 + 1 + 2 + 2;
    let mut expected = kept;
    expected[6] += tombstones;
    expected[7] += recipients;
    assert_eq!(rows(&writer), expected, "{TABLES:?}");
    let after = ["ann", "ben", "cyd"].map(|user| replay(&mut writer, user));
    assert_eq!(after, seen, "a purge does not change any replay");
}

#[test]
fn large_messages_are_purged_a_few_at_a_time() {
    let directory = TempDir::new();
    let mut writer = open(&directory.file("a.db"));
    let workspace = add_workspace(&mut writer, "ann");
    let messages = 20;
    let text = "x".repeat(PURGE_BYTES_MAX / 4);
    let conversation = fill(&mut writer, workspace, messages, &text);
    let delete = CommandKind::DeleteConversation {
        conversation: ConversationRef::Id(conversation),
        api_variant: ApiVariant::Config,
    };
    done(&mut writer, "ann", delete);
    let (most, steps) = purge(&mut writer, NOW);
    assert!(most <= 16 && steps >= messages / 4, "{most} rows in one of {steps} steps");
}

#[test]
fn stored_responses_are_purged_after_a_day() {
    let directory = TempDir::new();
    let mut writer = open(&directory.file("a.db"));
    for key in 0..100 {
        let mut post = command("ann", post(ConversationRef::Default, "x"));
        post.idempotency = Some(Idempotency { key: key.to_string().into(), fingerprint: [0; 32] });
        writer.commit_batch(&[post], NOW);
    }
    purge(&mut writer, after_seconds(IDEMPOTENCY_RETENTION_SECONDS - 1));
    assert_eq!(rows(&writer)[8], 100);
    let (most, _) = purge(&mut writer, after_seconds(IDEMPOTENCY_RETENTION_SECONDS + 1));
    assert_eq!(rows(&writer)[8], 0);
    assert!(most < 100, "{most}");
}
