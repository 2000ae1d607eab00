//! Batches: commands that share a transaction.

use crate::common::*;
use cortex_core::internals::limits::{PARTICIPANTS_MAX, TRANSACTION_ROWS_MAX};
use cortex_core::internals::{
    ApiVariant, Command, CommandKind, Content, ConversationRef, Metadata, Outcome, QueryKind, QueryResult, Rejection,
    Resource, Topic,
};

#[test]
fn a_rejected_command_does_not_affect_its_batch() {
    let mut world = World::in_file();
    let workspace = world.workspace("ann");
    let conversation = world.conversation("ann", workspace, &["ben"]);
    let here = ConversationRef::Id(conversation);
    let committed = world.commit(&[
        command("ann", post(here, "one")),
        command("dan", post(here, "rejected")),
        command("ben", post(here, "two")),
        command("ann", delete_conversation(conversation)),
        command("ben", post(here, "too late")),
        command("ann", CommandKind::SetPassword { verified: "w".into(), hash: "x".into() }),
        command("eve", create_workspace("w")),
    ]);
    let results: Vec<bool> = committed.results.iter().map(|command_result| command_result.result.is_ok()).collect();
    assert_eq!(results, [true, false, true, true, false, false, true]);
    assert_eq!(committed.events.len(), 4);
    assert_eq!(committed.results[4].result.as_ref().unwrap_err(), &Rejection::NotFound(Resource::Conversation));
    world.writer().check_invariants();
    // The rejected user has no row yet.
    let (command_result, _) = world.run("dan", create_workspace("w"));
    assert!(command_result.result.is_ok());
}

#[test]
fn a_result_includes_earlier_commands_of_its_batch() {
    let SharedConversation { mut world, workspace, conversation } = SharedConversation::new();
    let committed = world.commit(&[
        command("ben", post(ConversationRef::Id(conversation), "x")),
        command("ann", update_conversation(conversation, None, Some(r#"{"a":1}"#))),
        command("ben", post(ConversationRef::Id(conversation), "y")),
    ]);
    let changed = updated(committed.results[1].result.clone().unwrap());
    assert_eq!((changed.message_count, changed.updated_at), (1, committed.events[1].at));
    let kind = QueryKind::Conversation(ConversationRef::Id(conversation));
    let QueryResult::Conversation(stored) = world.query_result("ben", kind) else { panic!() };
    assert_eq!((stored.message_count, stored.updated_at), (2, committed.events[2].at));

    let first = Some(Content::new("first").unwrap());
    let kind = CommandKind::CreateConversation {
        workspace: Some(workspace),
        topic: Topic::new("t").unwrap(),
        participants: users(&["ben", "ann", "cyd"]),
        metadata: Metadata::empty(),
        earlier_messages: Vec::new(),
        initial_message: first,
        api_variant: ApiVariant::Conversations,
    };
    let Outcome::ConversationCreated { conversation: made, first: Some(event), .. } = world.done("ann", kind) else {
        panic!()
    };
    assert_eq!(names(&made.participants), ["ben", "ann", "cyd"], "the caller keeps the position in the request");
    let kind = QueryKind::Conversation(ConversationRef::Id(made.id));
    let QueryResult::Conversation(stored) = world.query_result("ben", kind) else { panic!() };
    assert_eq!(stored, made);
    assert_eq!((made.message_count, made.updated_at), (1, event.at));
}

#[test]
fn a_transaction_ends_after_a_bounded_number_of_rows() {
    let SharedConversation { mut world, workspace, .. } = SharedConversation::new();
    let many: Vec<String> = (1..PARTICIPANTS_MAX).map(|n| format!("user {n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let full: Vec<_> = (0..16).map(|_| world.conversation("ann", workspace, &many)).collect();
    let cases: [(&str, Vec<Command>); 3] = [
        ("removals", full.iter().map(|full| command("ann", update_conversation(*full, Some(&[]), None))).collect()),
        ("creations", (0..32).map(|_| command("ann", create_conversation(Some(workspace), &many))).collect()),
        ("updates", full.iter().map(|full| command("ann", update_conversation(*full, Some(&many), None))).collect()),
    ];
    for (name, commands) in cases {
        let now = world.clocks();
        let (mut left, mut transactions) = (&commands[..], 0);
        while !left.is_empty() {
            let committed = world.writer().commit_batch(left, now);
            assert!(committed.results.iter().all(|command_result| command_result.result.is_ok()), "{name}");
            let rows: usize = committed.events.iter().map(|event| 2 + event.recipients.len()).sum();
            assert!(rows <= TRANSACTION_ROWS_MAX + 4 * PARTICIPANTS_MAX, "{name}: {rows}");
            left = &left[committed.results.len()..];
            transactions += 1;
        }
        assert!(transactions > 1, "{name}");
    }
    world.writer().check_invariants();
}
